"""What `weibnb.charts.trajectories` shows: the fits of every step, on the axes that it says."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes
from weibnb import charts


def lines(chart: Any) -> show.Mark:
    return show.mark(chart, "line")


@pytest.mark.parametrize("value", ["k", "lam"])
@pytest.mark.parametrize("by", ["component", "weight_class"])
@pytest.mark.parametrize("scale", ["log", "linear"])
def test_points_are_the_full_sort_of_the_weights(value: Any, by: Any, scale: Any) -> None:
    drawn = lines(charts.trajectories(show.run(), value=value, by=by, scale=scale))
    assert len(drawn.rows) == show.run()["k"].size
    for row, y in zip(drawn.rows, drawn.values("y"), strict=True):
        weights = show.run_weights()[row["step"]][show.tensor(row["component"], row["layer"])]
        assert row["parameter"] == show.tensor(row["component"], row["layer"])
        expected = full_sort(magnitudes(weights), (0.1, 0.9))
        assert y == pytest.approx({"k": expected.k, "lam": expected.lam}[value], rel=1e-6)


def test_step_zero_stands_left_of_the_first_step_on_the_log_axis() -> None:
    drawn = lines(charts.trajectories(show.run()))
    at = dict(zip((row["step"] for row in drawn.rows), drawn.values("x"), strict=True))
    assert {step: x for step, x in at.items() if step} == {10: 10, 300: 300, 2000: 2000}
    assert 0 < at[0] < 10
    assert drawn.scale("x")["type"] == "log"
    axis = drawn.encoding["x"]["axis"]
    assert axis["values"] == [at[0], 10, 100, 1000]
    labels = [text for text in show.svg(charts.trajectories(show.run())).split("<") if ">" in text]
    shown = {text.rsplit(">", 1)[1] for text in labels if text.startswith("text")}
    assert {"0", "10", "100", "1,000"} <= shown
    assert show.axes(charts.trajectories(show.run()), "X") == {
        f"X-axis titled 'training step' for a log scale with values from {at[0]:g} to 2,000"
    }


def test_steps_are_themselves_on_the_linear_axis() -> None:
    chart = charts.trajectories(show.run(), scale="linear")
    drawn = lines(chart)
    assert drawn.values("x") == [row["step"] for row in drawn.rows]
    (axis,) = show.axes(chart, "X")
    assert axis.startswith("X-axis titled 'training step' for a linear scale")


def test_a_run_without_step_zero_has_no_place_for_it() -> None:
    chart = charts.trajectories(show.run().sel(step=[10, 300, 2000]))
    drawn = lines(chart)
    assert sorted(set(drawn.values("x"))) == [10, 300, 2000]
    assert drawn.encoding["x"]["axis"]["values"] == [10, 100, 1000]


def test_steps_that_span_no_power_of_ten_have_a_label() -> None:
    chart = charts.trajectories(show.run().isel(step=[0, 1]).assign_coords(step=[0, 5]))
    axis = lines(chart).encoding["x"]["axis"]
    assert axis["values"] == [1.25, 5]


@pytest.mark.parametrize(
    ("steps", "ticks"),
    [((0, 50, 98), [12.5, 98]), ((0, 50, 100), [12.5, 100]), ((1, 10, 1000), [1, 10, 100, 1000])],
)
def test_no_tick_lies_beyond_the_steps(steps: tuple[int, ...], ticks: list[float]) -> None:
    fits = show.run().isel(step=[0, 1, 2]).assign_coords(step=list(steps))
    chart = charts.trajectories(fits)
    assert lines(chart).encoding["x"]["axis"]["values"] == ticks
    (axis,) = show.axes(chart, "X")
    assert axis.endswith(f"to {max(steps):,}")


def test_the_run_of_the_docstring_has_steps() -> None:
    found = wb.scan({"m": {step: show.run_weights()[step] for step in (0, 10)}})
    assert {row["step"] for row in lines(charts.trajectories(found)).rows} == {0, 10}


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [("k", "linear", "Weibull shape k"), ("lam", "log", "Weibull scale λ (units of the weights)")],
)
def test_the_axis_of_the_value_is_titled_with_its_unit(value: Any, kind: str, words: str) -> None:
    (axis,) = show.axes(charts.trajectories(show.run(), value=value), "Y")
    assert axis.startswith(f"Y-axis titled '{words}' for a {kind} scale")


def test_nothing_lies_outside_of_the_panels() -> None:
    for value in ("k", "lam"):
        for fits in (show.run(), show.demo()):
            assert not show.outside(charts.trajectories(fits, value=cast("Any", value)))


def test_a_panel_for_each_component_in_the_order_of_the_fits() -> None:
    assert show.panels(charts.trajectories(show.run())) == list(show.RUN_COMPONENTS)


def test_a_panel_for_each_class_holds_its_components() -> None:
    chart = charts.trajectories(show.run(), by="weight_class")
    assert show.panels(chart) == ["selection", "value", "transmission"]
    inside = {(row["panel"], row["component"]) for row in lines(chart).rows}
    assert inside == {
        ("selection", "q_proj"),
        ("value", "v_proj"),
        *(("transmission", name) for name in ("o_proj", "up_proj", "down_proj")),
    }


def test_panels_of_several_models_name_both() -> None:
    both = wb.scan({name: show.run_weights() for name in ("one", "two")})
    found = show.panels(charts.trajectories(both.sel(component=["q_proj", "up_proj"])))
    assert found == ["one\nq_proj", "one\nup_proj", "two\nq_proj", "two\nup_proj"]


def test_every_line_is_one_matrix() -> None:
    both = wb.scan({name: show.run_weights() for name in ("one", "two")})
    drawn = lines(charts.trajectories(both, by="weight_class"))
    parts = [part["field"] for part in drawn.encoding["detail"]]
    for key in {tuple(row[part] for part in parts) for row in drawn.rows}:
        own = [row for row in drawn.rows if tuple(row[part] for part in parts) == key]
        assert sorted(row["step"] for row in own) == list(show.RUN_STEPS)
        assert len({row["parameter"] for row in own}) == 1


def test_experts_have_lines_of_their_own() -> None:
    weights = show.expert_weights()
    found = wb.scan({"moe": {0: weights, 5: show.scaled(weights, 2)}}, experts="each")
    drawn = lines(charts.trajectories(found))
    assert "expert" in [part["field"] for part in drawn.encoding["detail"]]
    assert len(drawn.rows) == 2 * 2 * 3 * show.EXPERTS
    for row in drawn.rows:
        assert show.close(row["k"], show.cell_of(found, row, "expert")["k"].item())


def test_few_layers_have_a_colour_and_a_dash_each() -> None:
    chart = charts.trajectories(show.run())
    for channel in ("color", "strokeDash"):
        scale = lines(chart).scale(channel)
        assert scale["domain"] == [0, 1, 2]
        assert len({str(look) for look in scale["range"]}) == 3
    (legend,) = show.legends(chart)
    assert legend.startswith("Symbol legend titled 'layer'")
    assert legend.endswith("with 3 values: 0, 1, 2")


@pytest.mark.parametrize("layers", [7, 9, 20])
def test_many_layers_are_coloured_by_the_third_they_lie_in(layers: int) -> None:
    drawn = lines(charts.trajectories(show.tall(layers, steps=3)))
    words = {row["layer"]: row[drawn.field("color")] for row in drawn.rows}
    assert [words[layer] for layer in range(layers)] == [
        ("shallow", "middle", "deep")[3 * layer // layers] for layer in range(layers)
    ]
    assert drawn.scale("color")["domain"] == ["shallow", "middle", "deep"]
    assert len(set(drawn.scale("color")["range"])) == 3


def test_the_third_of_a_layer_is_that_of_its_own_model() -> None:
    tall = show.tall(9, steps=3, models=2)
    status = tall["status"].copy()
    status[1, 3:] = "absent"
    drawn = lines(charts.trajectories(tall.assign(status=status)))
    words = {(row["model"], row["layer"]): row[drawn.field("color")] for row in drawn.rows}
    assert [words["m1", layer] for layer in range(3)] == ["shallow", "middle", "deep"]
    assert ("m1", 3) not in words
    assert [words["m0", layer] for layer in (2, 3, 8)] == ["shallow", "middle", "deep"]


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.05, 0.95), (0.0, 1.0)])
def test_the_rule_is_the_gaussian_by_the_protocol(estimator: Any, trim: Any) -> None:
    fits = wb.refit(show.run(), trim=trim, estimator=estimator)
    chart = charts.trajectories(fits)
    expected = wb.anchor(trim=trim, estimator=estimator).k
    assert show.anchors(chart) == [pytest.approx(expected, rel=show.ROUNDED)]
    own = estimator == "rank_regression" and trim == (0.1, 0.9)
    assert ("shaded" in show.subtitle(chart)) is own


def test_the_scale_has_no_rule_and_no_band() -> None:
    chart = charts.trajectories(show.run(), value="lam")
    assert not show.anchors(chart)
    assert "Gaussian" not in show.subtitle(chart)


def test_the_band_lies_behind_feed_forward_matrices_only() -> None:
    chart = charts.trajectories(show.run())
    shade = show.mark(chart, "rect")
    low, high = shade.field("y"), shade.field("y2")
    edges = {row["component"]: (row[low], row[high]) for row in shade.rows}
    assert edges == {
        "q_proj": (None, None),
        "v_proj": (None, None),
        "o_proj": (None, None),
        "up_proj": (1.186, 1.204),
        "down_proj": (1.186, 1.204),
    }
    without = charts.trajectories(show.run().sel(component=["q_proj", "o_proj"]))
    assert not [part for part in show.marks(without) if part.kind == "rect"]
    assert "shaded" not in show.subtitle(without)


def test_a_matrix_without_fit_is_a_cross_with_its_status() -> None:
    weights = {step: dict(part) for step, part in show.run_weights().items()}
    weights[300][show.tensor("up_proj", 1)] = np.zeros((48, 48), np.float16)
    chart = charts.trajectories(wb.scan({"run": weights}))
    cross = show.mark(chart, "text")
    assert cross.look["text"] == "×"
    (row,) = cross.rows
    assert (row["step"], row["component"], row["layer"]) == (300, "up_proj", 1)
    assert row[cross.tips()["reason"]] == "all_zero"
    assert cross.encoding["y"] == {"value": "height"}
    assert row[cross.field("x")] == 300
    assert not [part for part in show.marks(charts.trajectories(show.run())) if part.kind == "text"]


def test_the_tooltip_says_which_matrix_and_what_it_is() -> None:
    tips = lines(charts.trajectories(show.run())).tips()
    for row in lines(charts.trajectories(show.run())).rows:
        cell = show.cell_of(show.run(), row)
        assert row[tips["n"]] == cell["n"].item()
        assert row[tips["status"]] == cell["status"].item()
        assert row[tips["parameter"]] == cell["parameter"].item()
        for words, name in {"SE(k)": "k_se", "λ": "lam", "SE(λ)": "lam_se", "r2": "r2"}.items():
            assert show.close(row[tips[words]], cell[name].item())
    text = next(
        text
        for text in show.spoken(charts.trajectories(show.run()))
        if "q_proj" in text and "step: 300" in text
    )
    for part in ("model: run", "component: q_proj", "layer: ", "status: ok"):
        assert part in text


def test_one_step_is_no_trajectory() -> None:
    chart = charts.trajectories(show.run().isel(step=[1]))
    assert show.words(chart) == "There is only one step: a line needs two."
    assert show.title(chart) == "Weibull shape k during training, one line per matrix"


def test_long_runs_are_thinned_evenly_and_keep_both_ends() -> None:
    long = show.tall(40, steps=150)
    chart = charts.trajectories(long)
    drawn = lines(chart)
    steps = sorted({row["step"] for row in drawn.rows})
    assert f"{len(steps)} of 150 steps drawn" in show.subtitle(chart)
    assert (steps[0], steps[-1]) == (0, 149)
    assert np.ptp(np.diff(steps)) <= 1
    assert {row["layer"] for row in drawn.rows} == set(range(40))
    for row in drawn.rows[::50]:
        assert show.close(row["k"], show.cell_of(long, row)["k"].item())


@pytest.mark.parametrize(
    ("argument", "given", "closest"),
    [("value", "lamb", "lam"), ("by", "weightclass", "weight_class"), ("scale", "lin", "linear")],
)
def test_unknown_words_name_the_closest(argument: str, given: str, closest: str) -> None:
    words: Any = {argument: given}
    with pytest.raises(
        ValueError, match=rf"`{argument}` must be one of .*Did you mean '{closest}'"
    ):
        charts.trajectories(show.run(), **words)


def test_too_many_panels_are_counted() -> None:
    with pytest.raises(ValueError, match=r"at most 24 pairs of model and component.* got 25"):
        charts.trajectories(show.tall(1, steps=2, models=5))
