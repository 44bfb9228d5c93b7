"""The map of what changed, and the Weibull plot of the change below it."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.scanning.helpers import llama, moe
from weibnb import charts

if TYPE_CHECKING:
    from weibnb.diagnostics.changes import Diff


def tuned(base: dict[str, Any]) -> dict[str, Any]:
    """Weights that change more from layer to layer."""
    rng = np.random.default_rng(0)
    return {
        name: (w + 0.001 * (1 + (".1." in name)) * rng.normal(size=w.shape)).astype("f4")
        for name, w in base.items()
    }


@cache
def found() -> Diff:
    return wb.diff({"base": llama(dtype="f4")}, {show.HOSTILE: tuned(llama(dtype="f4"))})


@cache
def by_fits() -> Diff:
    base = llama(dtype="f4")
    return wb.diff(wb.scan({"base": base}), wb.scan({"tuned": tuned(base)}))


def cells(chart: Any) -> dict[tuple[int, str], float]:
    rects = [part for part in show.marks(chart) if part.kind == "rect" and "layer" in part.rows[0]]
    return {(row["layer"], row["component"]): row["value"] for row in rects[0].rows}


@pytest.mark.parametrize(
    "value",
    ["relative", "changed", "change_k", "directions", "distance", "delta_k", "delta_ln_lam",
     "delta_ln_rms"],
)  # fmt: skip
def test_the_map_holds_the_numbers_of_the_table(value: Any) -> None:
    chart = charts.change_map(found(), value=value)
    chart.to_dict()  # held against the schema of Vega-Lite
    drawn, table = cells(chart), found().table
    matrices = table[table["layer"].notna()]
    assert len(drawn) == len(matrices) == 14
    for _, row in matrices.iterrows():
        shown = drawn[row["layer"], row["component"]]
        assert shown == pytest.approx(row[value], rel=show.ROUNDED, abs=1e-12)


def test_a_share_is_written_in_percent() -> None:
    picture = show.svg(charts.change_map(found(), value="changed", select=[]))
    shown = re.findall(r">(\d+)%<", picture)
    assert sorted(map(int, shown)) == sorted(round(100 * v) for v in shares())


def shares() -> list[float]:
    table = found().table
    return table.loc[table["layer"].notna(), "changed"].tolist()


def test_components_stand_in_the_order_of_a_layer() -> None:
    for diff in (found(), by_fits()):
        rect = next(p for p in show.marks(charts.change_map(diff)) if p.kind == "rect")
        order = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        assert rect.scale("y")["domain"] == order


def test_below_is_the_weibull_plot_of_what_changed_most_or_is_chosen() -> None:
    first = found().table.iloc[0]
    texts = show.svg(charts.change_map(found()))
    assert f"{first['component']} of layer {first['layer']}:" in texts
    assert f"k {first['change_k']:.4f}" in texts.replace("\u00a0", " ")
    two = show.svg(charts.change_map(found(), select=[(0, "q_proj"), (1, "o_proj")]))
    assert "q_proj of layer 0:" in two
    assert "o_proj of layer 1:" in two
    assert "Weibull plot" not in show.svg(charts.change_map(found(), select=[]))


def test_fits_have_a_map_alone() -> None:
    chart = charts.change_map(by_fits())
    assert "vconcat" not in chart.to_dict()
    assert "Wasserstein" in str(chart.to_dict()["title"])
    quiet = charts.change_map(by_fits(), value="delta_k")
    dots = [part for part in show.marks(quiet) if part.kind == "point"]
    table = by_fits().table
    below = (table["delta_k"].abs() < 2 * table["delta_k_se"]).sum()
    assert len(dots[0].rows if dots else []) == below > 0


def test_two_models_of_fits_are_compared() -> None:
    base = llama(dtype="f4")
    fits = wb.scan({"base": base, "tuned": tuned(base)})
    chart = charts.change_map(fits, {"model": "base"}, {"model": "tuned"})
    assert cells(chart) == cells(charts.change_map(by_fits()))
    with pytest.raises(ValueError, match="`second` must choose one model"):
        charts.change_map(fits, {"model": "base"})


def test_experts_are_medians() -> None:
    base = {name: w.astype("f4") for name, w in moe().items()}
    diff = wb.diff(base, tuned(base))
    chart = charts.change_map(diff)
    chart.to_dict()
    gates = diff.table.query("component == 'gate_proj'")["relative"]
    assert cells(chart)[0, "gate_proj"] == pytest.approx(gates.median(), rel=1e-6)


def test_names_are_text() -> None:
    picture = show.svg(charts.change_map(found()))
    assert "<img" not in picture
    assert "\x1b" not in picture


def test_nothing_to_draw_is_said() -> None:
    nothing = wb.diff({"w": np.ones(5)}, {"w": np.ones(5)})
    assert "no weight matrix is on both sides" in show.svg(charts.change_map(nothing))
    bare = charts.change_map(by_fits(), value="relative")
    assert "no matrix has this number" in show.svg(bare)
    same = charts.change_map(wb.diff(llama(), llama()))
    assert set(cells(same).values()) == {0.0}


def test_bad_input() -> None:
    with pytest.raises(TypeError, match=r"`found` must come from weibnb\.diff, got int"):
        charts.change_map(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Did you mean 'relative'"):
        charts.change_map(found(), value="relativ")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`select` must name .*\(9, 'q_proj'\)"):
        charts.change_map(found(), select=[(9, "q_proj")])
