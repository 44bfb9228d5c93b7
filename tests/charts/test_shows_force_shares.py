"""The chart of forces: shares that stack to the whole, signs, and what is said without any."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from weibnb import charts

STEPS = [0, 1, 4, 16]


def found(*, recorded: bool = True, layers: int = 2, steps: Any = STEPS) -> xr.Dataset:
    """Forces of two components, of which one shrinks at first."""
    shape = (1, layers, 2, len(steps))
    ramp = np.broadcast_to(np.arange(len(steps), dtype=float), shape)
    sign = np.ones(shape)
    sign[:, :, 1, 1:] = -1
    gains = {"from_alignment": 3 * ramp * sign, "from_injection": ramp, "from_decay": -2 * ramp}
    if not recorded:
        gains["from_injection"] = ramp * np.nan
    growth = sum(np.nan_to_num(gain) for gain in gains.values())
    dims = ("model", "layer", "component", "step")
    return xr.Dataset(
        {name: (dims, gain) for name, gain in (gains | {"growth": growth}).items()},
        {"model": ["m"], "layer": range(layers), "component": ["q_proj", "up_proj"], "step": steps},
        {
            "estimator": "rank_regression",
            "trim_lower": 0.1,
            "trim_upper": 0.9,
            "forces": "recorded" if recorded else "checkpoints",
        },
    )


def bars(chart: Any) -> Any:
    return next(part for part in show.marks(chart) if part.kind == "rect")


def test_shares_stack_away_from_zero_to_the_whole() -> None:
    rows = bars(charts.force_shares(found())).rows
    assert {row["component"] for row in rows} == {"q_proj", "up_proj"}
    for component, net in (("q_proj", 2 / 6), ("up_proj", -4 / 6)):
        for begin in STEPS[:-1]:
            here = [r for r in rows if (r["component"], r["begin"]) == (component, begin)]
            assert sum(abs(row["share"]) for row in here) == pytest.approx(1, abs=1e-6)
            assert sum(row["share"] for row in here) == pytest.approx(here[0]["net"], abs=1e-6)
            for side in (1, -1):
                stack = sorted(
                    (r for r in here if r["share"] * side > 0), key=lambda r: abs(r["low"])
                )
                level = 0.0
                for row in stack:
                    assert row["low"] == pytest.approx(level, abs=1e-6)
                    level = row["high"]
            if begin != 0 or component == "q_proj":
                assert here[0]["net"] == pytest.approx(
                    net if component == "q_proj" else here[0]["net"]
                )


def test_intervals_touch_and_step_0_stands_left_of_the_first() -> None:
    rows = [r for r in bars(charts.force_shares(found())).rows if r["component"] == "q_proj"]
    edges = sorted({(row["at"], row["until"]) for row in rows})
    assert edges == [(0.25, 1.0), (1.0, 4.0), (4.0, 16.0)]


def test_without_injection_the_words_say_so() -> None:
    chart = charts.force_shares(found(recorded=False))
    assert {row["force"] for row in bars(chart).rows} == {"alignment", "decay"}
    assert "alignment less injection" in show.subtitle(chart)
    assert "alignment less injection" not in show.subtitle(charts.force_shares(found()))


def test_long_runs_are_joined_not_dropped() -> None:
    chart = charts.force_shares(found(steps=list(range(301))))
    rows = [r for r in bars(chart).rows if r["component"] == "q_proj"]
    assert len({row["begin"] for row in rows}) == 60
    assert sum(r["gain"] for r in rows if r["force"] == "alignment") == pytest.approx(2 * 3 * 300)
    assert "240 of 301 steps joined" in show.subtitle(chart)


def test_one_step_and_no_force_are_told() -> None:
    assert "There is only one step" in str(charts.force_shares(found().isel(step=0)).to_dict())
    none = found() * np.nan
    none.attrs = found().attrs
    assert "No force is known" in str(charts.force_shares(none).to_dict())


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(TypeError, match=r"`found` must be an xarray\.Dataset, got list"):
        charts.force_shares([])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Run charts\.force_shares\(wb\.forces\(fits\)\)"):
        charts.force_shares(wb.reference_cohort())


def test_names_are_only_text() -> None:
    hostile = found().assign_coords(model=[show.HOSTILE], component=[show.HOSTILE, "up_proj"])
    picture = show.svg(charts.force_shares(hostile))
    assert "<img" not in picture
    assert "\x1b" not in picture
