"""What `weibnb.charts.body_tail_chart` shows: k of the central 80 %, 90 % and all weights."""

from __future__ import annotations

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
from weibnb.diagnostics.upper_tail import upper_tail

TRIMS = {80.0: (0.1, 0.9), 90.0: (0.05, 0.95), 100.0: (0.0, 1.0)}


def lines(chart: Any) -> show.Mark:
    """The matrices."""
    return show.mark(chart, "line", strokeDash=None)


def gaussian(chart: Any) -> show.Mark:
    return show.mark(chart, "line", strokeDash=[5, 3])


@pytest.fixture(scope="module")
def last() -> Any:
    return show.run().isel(step=[-1])


def test_points_are_full_sorts_at_the_three_trims(last: Any) -> None:
    drawn = lines(charts.body_tail_chart(last))
    assert len(drawn.rows) == 15 * 3
    for row in drawn.rows:
        weights = show.run_weights()[2000][show.tensor(row["component"], row["layer"])]
        fit = full_sort(magnitudes(weights), TRIMS[row[drawn.field("x")]])
        assert row[drawn.field("y")] == pytest.approx(fit.k, rel=1e-6)


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.2, 0.8), (0.0, 1.0)])
def test_points_are_refits_whatever_the_trim_of_the_fits(
    last: Any, estimator: Any, trim: Any
) -> None:
    fits = wb.refit(last, trim=trim, estimator=estimator)
    chart = charts.body_tail_chart(fits)
    drawn = lines(chart)
    for share, own in TRIMS.items():
        again = wb.refit(fits, trim=own, estimator=estimator)
        rows = [row for row in drawn.rows if row[drawn.field("x")] == share]
        assert len(rows) == 15
        for row in rows:
            cell = show.cell_of(again, row)
            assert show.close(row["k"], cell["k"].item())
            assert show.close(row[drawn.tips()["SE(k)"]], cell["k_se"].item())
            assert show.close(row[drawn.tips()["λ"]], cell["lam"].item())
            assert show.close(row[drawn.tips()["SE(λ)"]], cell["lam_se"].item())
            assert row[drawn.tips()["central share"]] == share / 100
    assert "r2" not in drawn.tips()
    ideal = gaussian(chart)
    assert {row[ideal.field("x")]: row[ideal.field("y")] for row in ideal.rows} == pytest.approx(
        {share: wb.anchor(trim=own, estimator=estimator).k for share, own in TRIMS.items()},
        rel=1e-6,
    )
    words = estimator.replace("_", " ")
    assert f"dashed: a Gaussian by {words} for the same share" in show.subtitle(chart)


def test_tooltips_have_the_upper_tail_with_its_error() -> None:
    weights = {
        f"model.layers.{i}.mlp.up_proj.weight": np.random.default_rng(i).standard_t(5, (256, 256))
        for i in range(2)
    }
    fits = wb.scan({"m": weights})
    tail = upper_tail(fits)
    drawn = lines(charts.body_tail_chart(fits))
    assert len(drawn.rows) == 6
    for row in drawn.rows:
        cell = tail.sel(layer=row["layer"])
        for tip, name in (("upper tail", "near_tail"), ("SE(upper tail)", "near_tail_se")):
            assert show.close(row[drawn.tips()[tip]], cell[name].item())


def test_a_weibull_is_level_and_a_gaussian_lies_on_the_dashes() -> None:
    rng = np.random.default_rng(8)
    fits = wb.scan(
        {
            "m": {
                show.tensor("up_proj", 0): rng.weibull(1.3, (400, 400)).astype(np.float16),
                show.tensor("down_proj", 0): rng.normal(0, 1, (400, 400)).astype(np.float16),
            }
        }
    )
    chart = charts.body_tail_chart(fits)
    ideal = {row["share"]: row["k"] for row in gaussian(chart).rows}
    for row in lines(chart).rows:
        expected = {"up_proj": 1.3, "down_proj": ideal[row["share"]]}[row["component"]]
        assert row["k"] == pytest.approx(expected, abs=0.015)


def test_axes_say_what_they_are_and_clip_nothing(last: Any) -> None:
    for fits in (last, show.demo().isel(step=[-1]), show.pair()):
        chart = charts.body_tail_chart(fits)
        assert show.axes(chart, "X") == {
            "X-axis titled 'central share (%)' for a discrete scale with 3 values: 80, 90, 100"
        }
        for axis in show.axes(chart, "Y"):
            assert axis.startswith("Y-axis titled 'Weibull shape k' for a linear scale")
            assert "from 0 " not in axis
        assert not show.outside(chart)


def test_a_panel_for_each_component_and_a_line_for_each_layer(last: Any) -> None:
    chart = charts.body_tail_chart(last)
    assert show.panels(chart) == list(show.RUN_COMPONENTS)
    drawn = lines(chart)
    assert [part["field"] for part in drawn.encoding["detail"]] == ["layer"]
    assert drawn.scale("color")["domain"] == drawn.scale("strokeDash")["domain"] == [0, 1, 2]
    assert len(set(drawn.scale("color")["range"])) == 3
    for panel in show.panels(chart):
        rows = [row for row in drawn.rows if row["panel"] == panel]
        assert sorted((row["layer"], row["share"]) for row in rows) == [
            (layer, share) for layer in range(3) for share in TRIMS
        ]
    assert show.panels(charts.body_tail_chart(show.pair())) == [
        *(f"deep\n{name}" for name in ("q_proj", "gate_proj", "up_proj", "down_proj")),
        *(f"flat\n{name}" for name in ("q_proj", "up_proj", "down_proj")),
    ]


def test_each_model_shows_its_own_last_step() -> None:
    weights = show.run_weights()
    fits = wb.scan({"long": weights, "short": {step: weights[step] for step in (0, 10)}})
    drawn = lines(charts.body_tail_chart(fits))
    assert {(row["model"], row["step"]) for row in drawn.rows} == {("long", 2000), ("short", 10)}
    assert len(drawn.rows) == 2 * 15 * 3


def test_experts_have_lines_of_their_own() -> None:
    fits = show.each_expert()
    drawn = lines(charts.body_tail_chart(fits))
    assert [part["field"] for part in drawn.encoding["detail"]] == ["layer", "expert"]
    assert len(drawn.rows) == 2 * 3 * show.EXPERTS * 3
    whole = wb.refit(fits, trim=(0.0, 1.0))
    for row in drawn.rows:
        if row["share"] == 100:
            assert show.close(row["k"], show.cell_of(whole, row, "expert")["k"].item())


def test_a_mixture_is_the_median_of_its_experts() -> None:
    fits = wb.scan({"moe": show.expert_weights()})
    whole = wb.refit(fits, trim=(0.0, 1.0))
    for row in lines(charts.body_tail_chart(fits)).rows:
        if row["share"] == 100:
            assert show.close(row["k"], show.cell_of(whole, row)["k"].item())


def test_what_is_not_fitted_is_counted_and_not_drawn() -> None:
    chart = charts.body_tail_chart(show.holes())
    assert "not drawn: 1 all_zero, 1 constant, 1 too_few" in show.subtitle(chart)
    assert {(row["component"], row["layer"]) for row in lines(chart).rows} == {
        ("up_proj", 0),
        ("down_proj", 0),
        ("down_proj", 1),
    }


def test_deep_models_are_thinned_evenly() -> None:
    fits = show.run().isel(step=[-1], component=[0], layer=np.zeros(2000, int))
    chart = charts.body_tail_chart(fits.assign_coords(layer=np.arange(2000)))
    drawn = lines(chart)
    layers = sorted({row["layer"] for row in drawn.rows})
    assert f"{len(layers)} of 2000 layers drawn" in show.subtitle(chart)
    assert (layers[0], layers[-1]) == (0, 1999)
    assert len(drawn.rows) == 3 * len(layers) <= 4500
    assert drawn.scale("color")["domain"] == ["shallow", "middle", "deep"]


def test_the_third_of_a_layer_is_that_of_its_own_model() -> None:
    names = ("up_proj",)
    fits = wb.scan(
        {"tall": show.checkpoint(range(9), names), "flat": show.checkpoint(range(3), names, 2)}
    )
    drawn = lines(charts.body_tail_chart(fits))
    depths = {(row["model"], row["layer"]): row[drawn.field("color")] for row in drawn.rows}
    assert [depths["flat", i] for i in range(3)] == ["shallow", "middle", "deep"]
    assert [depths["tall", i] for i in range(9)] == [
        *3 * ["shallow"],
        *3 * ["middle"],
        *3 * ["deep"],
    ]


def test_a_third_counts_the_layers_without_fit() -> None:
    weights = show.checkpoint(range(12), ("up_proj",))
    for layer in range(4):
        weights[show.tensor("up_proj", layer)] = np.zeros((48, 48), np.float16)
    drawn = lines(charts.body_tail_chart(wb.scan({"m": weights})))
    assert {row["layer"]: row["depth"] for row in drawn.rows} == {
        layer: "middle" if layer < 8 else "deep" for layer in range(4, 12)
    }


@settings(max_examples=4, deadline=None)
@given(power=st.integers(-3, 4), order=st.permutations(range(2)))
def test_neither_the_unit_nor_the_order_of_layers_matters(power: int, order: list[int]) -> None:
    weights = show.checkpoint(range(2), ("q_proj", "up_proj"), 61)
    for values in weights.values():
        values[np.abs(values) < 1e-3] = np.float16(1e-3)
    drawn = []
    for fits in (
        wb.scan({"m": weights}),
        wb.scan({"m": show.scaled(weights, 2.0**power)}).isel(layer=order),
    ):
        rows = lines(charts.body_tail_chart(fits)).rows
        drawn.append({(r["component"], r["layer"], r["share"]): r["k"] for r in rows})
    assert drawn[0] == pytest.approx(drawn[1], rel=2e-6)


def test_errors_name_the_remedy() -> None:
    with pytest.raises(ValueError, match="must hold counts; scan with keep_counts"):
        charts.body_tail_chart(wb.reference_cohort())
    many = show.run().isel(model=np.zeros(5, int), step=[-1])
    many = many.assign_coords(model=[f"m{i}" for i in range(5)])
    with pytest.raises(ValueError, match=r"at most 24 pairs of model and component .* got 25"):
        charts.body_tail_chart(many)
