"""What `weibnb.charts.phase_portrait` shows: the path of every matrix in the plane of λ and k."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes
from weibnb import charts


def points(chart: Any) -> show.Mark:
    return show.mark(chart, "point")


def path(chart: Any) -> show.Mark:
    return show.mark(chart, "line")


def test_points_are_the_full_sort_of_the_weights() -> None:
    drawn = points(charts.phase_portrait(show.run()))
    assert len(drawn.rows) == 3 * 5 * 4
    for row in drawn.rows:
        weights = show.run_weights()[row["step"]][show.tensor(row["component"], row["layer"])]
        fit = full_sort(magnitudes(weights), (0.1, 0.9))
        assert row[drawn.field("x")] == pytest.approx(fit.lam, rel=1e-6)
        assert row[drawn.field("y")] == pytest.approx(fit.k, rel=1e-6)


def test_a_path_joins_the_steps_of_one_matrix_in_their_order() -> None:
    both = wb.scan({name: show.run_weights() for name in ("one", "two")})
    drawn = path(charts.phase_portrait(both))
    assert drawn.field("order") == "step"
    parts = [part["field"] for part in drawn.encoding["detail"]]
    keys = {tuple(row[part] for part in parts) for row in drawn.rows}
    assert len(keys) == 2 * 3 * 5
    for key in keys:
        own = [row for row in drawn.rows if tuple(row[part] for part in parts) == key]
        assert sorted(row["step"] for row in own) == list(show.RUN_STEPS)


def test_a_ring_is_where_a_path_begins_and_a_triangle_where_it_ends() -> None:
    drawn = points(charts.phase_portrait(show.run()))
    assert {(row["step"], row["role"]) for row in drawn.rows} == {
        (0, "begin"),
        (10, "between"),
        (300, "between"),
        (2000, "end"),
    }
    (end,) = drawn.encoding["shape"]["condition"]
    assert (end["test"], end["value"]) == ({"field": "role", "equal": "end"}, "triangle-up")
    assert drawn.encoding["shape"]["value"] == "circle"
    sizes = {one["test"]["equal"]: one["value"] for one in drawn.encoding["size"]["condition"]}
    assert drawn.encoding["size"]["value"] < min(sizes["begin"], sizes["end"])
    assert "ring: first step, triangle: last step" in show.subtitle(
        charts.phase_portrait(show.run())
    )


def test_a_path_begins_and_ends_where_its_own_fits_do() -> None:
    weights = {step: dict(part) for step, part in show.run_weights().items()}
    weights[0][show.tensor("up_proj", 1)] = np.zeros((48, 48), np.float16)
    weights[2000][show.tensor("q_proj", 2)] = np.ones((48, 48), np.float16)
    chart = charts.phase_portrait(wb.scan({"run": weights}))
    assert "not drawn: 1 all_zero, 1 constant" in show.subtitle(chart)
    drawn = points(chart)

    def steps(component: str, layer: int) -> dict[int, str]:
        return {
            row["step"]: row["role"]
            for row in drawn.rows
            if (row["component"], row["layer"]) == (component, layer)
        }

    assert steps("up_proj", 1) == {10: "begin", 300: "between", 2000: "end"}
    assert steps("q_proj", 2) == {0: "begin", 10: "between", 300: "end"}
    assert steps("q_proj", 1)[2000] == "end"


def test_axes_say_what_they_are_and_clip_nothing() -> None:
    for fits in (show.run(), show.demo()):
        chart = charts.phase_portrait(fits)
        for axis in show.axes(chart, "X"):
            assert axis.startswith(
                "X-axis titled 'Weibull scale λ (units of the weights)' for a log scale"
            )
        for axis in show.axes(chart, "Y"):
            assert axis.startswith("Y-axis titled 'Weibull shape k' for a linear scale")
            assert "from 0 " not in axis
        assert not show.outside(chart)


def test_what_moved_most_and_surely_is_named() -> None:
    """In the packaged run two matrices of layer 0 leave the others, and nothing else does."""
    chart = charts.phase_portrait(show.demo())
    names = [row["told"] for part in show.marks(chart) if part.kind == "text" for row in part.rows]
    assert sorted(names) == ["o_proj of layer 0", "v_proj of layer 0"]
    assert "strong: whose k moved most" in show.subtitle(chart)
    faded = path(chart).encoding["opacity"]["condition"]
    assert faded["test"] == {"field": "told", "equal": ""}
    assert faded["value"] < 0.3
    assert path(chart).encoding["opacity"]["value"] == 1
    assert path(chart).rows[-1]["told"], "the strong ones lie over the others"
    others = show.mark(charts.class_bands(show.demo()), "point", filled=True, strokeWidth=0)
    looks = dict(zip(others.scale("color")["domain"], others.scale("color")["range"], strict=True))
    colour = path(chart).encoding["color"]
    assert colour["value"] == looks["selection"]
    found = {part["test"]["equal"]: part["value"] for part in colour["condition"]}
    assert found == {name: looks[name] for name in ("value", "transmission")}
    quiet = charts.phase_portrait(show.demo().sel(layer=[1, 2]))
    assert not [part for part in show.marks(quiet) if part.kind == "text" and part.rows]
    assert "strong" not in show.subtitle(quiet)


def test_of_many_that_moved_two_in_a_panel_are_named() -> None:
    fits = show.demo()
    moved = fits["k"] + (fits["step"] == 7000) * (1 + fits["layer"])
    chart = charts.phase_portrait(fits.assign(k=moved))
    rows = [row for part in show.marks(chart) if part.kind == "text" for row in part.rows]
    panels = [row["panel"] for row in rows]
    assert {panel: panels.count(panel) for panel in panels} == {
        "selection": 2,
        "value": 2,
        "transmission": 2,
    }


def test_the_names_of_two_in_a_panel_keep_apart() -> None:
    fits = show.demo()
    same = fits["k"] + (fits["step"] == 7000) * 1e-4 * fits["layer"]
    moved = same.where(fits["step"] != 7000, 0.5 + 1e-4 * fits["layer"])
    chart = charts.phase_portrait(fits.assign(k=moved))
    written = re.findall(r"told: (\w+ of layer \d)\".*?translate\(\S+,(\S+?)\)", show.svg(chart))
    first_lines = {name: float(y) for name, y in written}
    rows = [row for part in show.marks(chart) if part.kind == "text" for row in part.rows]
    for panel in ("selection", "value", "transmission"):
        low, high = sorted((row["k"], row["told"]) for row in rows if row["panel"] == panel)
        apart = first_lines[low[1]] - first_lines[high[1]]
        assert apart >= 2 * 11, "two lines of 11 px above where the lower name begins"


def test_a_run_fitted_at_step_zero_alone_is_drawn() -> None:
    weights = {0: show.run_weights()[0], 10: {
        name: np.zeros((48, 48), np.float16) for name in show.run_weights()[0]
    }}  # fmt: skip
    chart = charts.phase_portrait(wb.scan({"run": weights}))
    assert {row["step"] for row in points(chart).rows} == {0}
    assert "NaN" not in json.dumps(show.specification(chart))


def test_a_panel_for_each_class_holds_its_components() -> None:
    chart = charts.phase_portrait(show.run())
    assert show.panels(chart) == ["selection", "value", "transmission"]
    for row in points(chart).rows:
        kind = show.run()["weight_class"].sel(component=row["component"]).item()
        assert row["panel"] == kind
    both = wb.scan({name: show.run_weights() for name in ("one", "two")})
    found = show.panels(charts.phase_portrait(both))
    assert found == [f"{model}\n{kind}" for model in ("one", "two")
                     for kind in ("selection", "value", "transmission")]  # fmt: skip


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.05, 0.95)])
def test_the_rule_is_the_gaussian_by_the_protocol(estimator: Any, trim: Any) -> None:
    chart = charts.phase_portrait(wb.refit(show.run(), trim=trim, estimator=estimator))
    expected = wb.anchor(trim=trim, estimator=estimator).k
    assert show.anchors(chart) == [pytest.approx(expected, rel=show.ROUNDED)]


def test_the_tooltip_says_which_matrix_and_what_it_is() -> None:
    drawn = points(charts.phase_portrait(show.run()))
    for row in drawn.rows:
        cell = show.cell_of(show.run(), row)
        assert show.close(row[drawn.tips()["SE(k)"]], cell["k_se"].item())
        assert show.close(row[drawn.tips()["SE(λ)"]], cell["lam_se"].item())
        assert row[drawn.tips()["parameter"]] == show.tensor(row["component"], row["layer"])


def test_experts_have_paths_of_their_own() -> None:
    weights = show.expert_weights()
    fits = wb.scan({"moe": {0: weights, 5: show.scaled(weights, 2)}}, experts="each")
    drawn = path(charts.phase_portrait(fits))
    assert "expert" in [part["field"] for part in drawn.encoding["detail"]]
    assert len(drawn.rows) == 2 * 2 * 3 * show.EXPERTS
    for row in drawn.rows:
        assert show.close(row["lam"], show.cell_of(fits, row, "expert")["lam"].item())


def test_long_runs_are_thinned_and_keep_their_ends() -> None:
    chart = charts.phase_portrait(show.tall(40, steps=150))
    drawn = points(chart)
    steps = sorted({row["step"] for row in drawn.rows})
    assert f"{len(steps)} of 150 steps drawn" in show.subtitle(chart)
    assert (steps[0], steps[-1]) == (0, 149)
    ends = [row for row in drawn.rows if row["role"] == "end"]
    assert len(ends) == 40 * 5
    assert {row["step"] for row in ends} == {149}


@settings(max_examples=4, deadline=None)
@given(power=st.integers(-3, 4), order=st.permutations(range(2)))
def test_the_unit_of_the_weights_moves_paths_sideways(power: int, order: list[int]) -> None:
    weights = {step: show.checkpoint(range(2), ("q_proj",), 50 + step) for step in (0, 1)}
    for part in weights.values():
        for values in part.values():
            values[np.abs(values) < 1e-3] = np.float16(1e-3)
    other = {step: show.scaled(part, 2.0**power) for step, part in weights.items()}
    drawn = []
    for fits in (wb.scan({"m": weights}), wb.scan({"m": other}).isel(layer=order)):
        rows = points(charts.phase_portrait(fits)).rows
        drawn.append({(row["layer"], row["step"]): (np.log(row["lam"]), row["k"]) for row in rows})
    for place, (scale, shape) in drawn[0].items():
        assert drawn[1][place] == pytest.approx((scale + power * np.log(2), shape), abs=2e-6)


def test_one_step_is_no_path_and_too_many_panels_are_counted() -> None:
    chart = charts.phase_portrait(show.run().isel(step=[1]))
    assert show.words(chart) == "There is only one step: a path needs two."
    with pytest.raises(ValueError, match=r"pairs of model and weight_class .* got 27"):
        charts.phase_portrait(show.tall(1, steps=2, models=9))


@pytest.mark.parametrize("lam", [0.0, -1.0])
def test_a_scale_that_is_not_positive_has_no_place_on_the_axis(lam: float) -> None:
    fits = show.run().copy(deep=True)
    fits["lam"][0, 0, 0, 1] = lam
    chart = charts.phase_portrait(fits)
    assert "λ is not positive" in show.subtitle(chart)
    drawn = show.marks(chart)
    assert all(row["lam"] > 0 for part in drawn for row in part.rows if "lam" in row)
    assert sum(len(part.rows) for part in drawn if part.kind == "point") == 3 * 5 * 4 - 1
    none = charts.phase_portrait(fits.assign(lam=fits["lam"] * 0 + lam))
    assert "λ is not positive: 60" in " ".join(show.spoken(none))
