"""What `weibnb.charts.outlier_strip` shows: the largest weight beside a Gaussian's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes
from weibnb import charts
from weibnb.diagnostics.outliers import exceedance

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


def dots(chart: Any) -> show.Mark:
    return show.mark(chart, "point")


def labels(chart: Any) -> dict[tuple[str, int], str]:
    """Words beside the points, where there are any."""
    drawn = show.mark(chart, "text")
    return {
        (row["component"], row["layer"]): row[drawn.field("text")]
        for row in drawn.rows
        if row[drawn.field("text")]
    }


def ratio(weights: NDArray[Any], trim: tuple[float, float] = (0.1, 0.9)) -> float:
    """Largest weight over that of a Gaussian whose body has the same λ."""
    ordered = magnitudes(weights)
    sigma = full_sort(ordered, trim).lam / wb.anchor(trim=trim).lam_over_rms
    tail = np.exp(-np.euler_gamma) / (2 * ordered.size)
    return float(ordered[-1] / (-sigma * special.ndtri(tail)))


def spiked(layers: int, spikes: dict[int, float]) -> show.Weights:
    """Gaussian matrices, of which some have one weight so many times a Gaussian's largest."""
    found = {}
    for layer in range(layers):
        rng = np.random.default_rng(70 + layer)
        values = rng.normal(0, 0.02, (64, 64)).astype(np.float16)
        if layer in spikes:
            tail = np.exp(-np.euler_gamma) / (2 * values.size)
            values[0, 0] = -spikes[layer] * 0.02 * special.ndtri(tail)
        found[show.tensor("up_proj", layer)] = values
    return found


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 1.0)])
def test_points_are_the_largest_weights_over_a_gaussians(trim: tuple[float, float]) -> None:
    drawn = dots(charts.outlier_strip(wb.refit(show.run(), trim=trim)))
    assert len(drawn.rows) == 15
    for row in drawn.rows:
        weights = show.run_weights()[2000][show.tensor(row["component"], row["layer"])]
        assert row[drawn.field("x")] == pytest.approx(ratio(weights, trim), rel=1e-6)
        assert row[drawn.tips()["max ratio"]] == row[drawn.field("x")]
        assert row[drawn.field("y")] == row["component"]
        assert row["step"] == 2000
        assert row[drawn.tips()["parameter"]] == show.tensor(row["component"], row["layer"])


def test_rules_stand_at_a_gaussian_and_at_an_outlier() -> None:
    chart = charts.outlier_strip(show.run())
    assert sorted(show.anchors(chart)) == [1, 3]
    assert "dashed: 1, a Gaussian; 3, the threshold for outliers" in show.subtitle(chart)
    spoken = " ".join(show.spoken(chart))
    assert "line: threshold of weibnb.find_outliers; value: 3" in spoken
    assert "line: a Gaussian; value: 1" in spoken


def test_a_gaussian_lies_at_one() -> None:
    chart = charts.outlier_strip(wb.scan({"m": spiked(8, {})}))
    assert np.median(dots(chart).values("x")) == pytest.approx(1, abs=0.1)
    assert not labels(chart)


def test_labels_name_the_layers_beyond_the_rule() -> None:
    fits = wb.scan({"m": spiked(6, {1: 2.5, 3: 4.0, 4: 40.0})})
    chart = charts.outlier_strip(fits)
    assert labels(chart) == {("up_proj", 3): "layer 3", ("up_proj", 4): "layer 4"}
    drawn = {row["layer"]: row["value"] for row in dots(chart).rows}
    assert drawn[4] == pytest.approx(40, rel=0.1)
    assert not show.outside(chart)
    assert ">layer 4<" in show.svg(chart)


def test_labels_of_a_row_do_not_touch() -> None:
    chart = charts.outlier_strip(wb.scan({"m": spiked(20, {i: 5.0 + i for i in range(20)})}))
    drawn = {row["layer"]: row["value"] for row in dots(chart).rows}
    assert len(drawn) == 20
    named = sorted((np.log(drawn[layer]) for _, layer in labels(chart)), reverse=True)
    assert named[0] == np.log(max(drawn.values()))
    assert len(named) >= 2
    axis = np.ptp(np.log(list(drawn.values())))
    assert -np.diff(named).max() > axis / 4


def test_only_the_twelve_largest_are_labelled() -> None:
    models = {f"m{i:02d}": spiked(2, {1: 5.0 + i}) for i in range(12)}
    models["m00"] |= {
        name.replace("up_proj", "gate_proj"): array for name, array in spiked(2, {1: 4.0}).items()
    }
    chart = charts.outlier_strip(wb.scan(models))
    assert sum(row["value"] > 3 for row in dots(chart).rows) == 13
    named = [row for row in show.mark(chart, "text").rows if row["flag"]]
    assert len(named) == 12
    assert {row["component"] for row in named} == {"up_proj"}


def test_the_axis_is_logarithmic_and_holds_every_point_and_both_rules() -> None:
    for fits in (show.run(), show.demo(), show.pair()):
        chart = charts.outlier_strip(fits)
        (axis,) = show.axes(chart, "X")
        head, values = axis.split(" with values from ")
        assert head == "X-axis titled '× a Gaussian's expected maximum' for a log scale"
        low, high = (float(part) for part in values.split(" to "))
        assert low <= min([1, *dots(chart).values("x")])
        assert high >= max([3, *dots(chart).values("x")])
        assert not show.outside(chart)


def test_components_keep_the_order_of_the_fits() -> None:
    chart = charts.outlier_strip(show.run())
    assert dots(chart).scale("y")["domain"] == list(show.RUN_COMPONENTS)
    assert show.mark(chart, "text").scale("y") == dots(chart).scale("y")
    entries = dots(charts.outlier_strip(show.pair())).scale("y")["domain"]
    assert entries == show.pair()["component"].values.tolist()


def test_classes_have_a_colour_and_a_shape_each() -> None:
    chart = charts.outlier_strip(show.run())
    drawn = dots(chart)
    for channel in ("color", "shape"):
        assert drawn.scale(channel)["domain"] == ["selection", "value", "transmission"]
        assert len(set(drawn.scale(channel)["range"])) == 3
    for row in drawn.rows:
        kind = show.run()["weight_class"].sel(component=row["component"]).item()
        assert row[drawn.field("color")] == kind
    (legend,) = show.legends(chart)
    assert legend.endswith("with 3 values: selection, value, transmission")


def test_a_panel_for_each_model_with_its_own_last_step() -> None:
    weights = show.run_weights()
    fits = wb.scan({"long": weights, "short": {step: weights[step] for step in (0, 10)}})
    chart = charts.outlier_strip(fits)
    assert show.panels(chart) == ["long", "short"]
    for row in dots(chart).rows:
        step = {"long": 2000, "short": 10}[row["panel"]]
        assert row["step"] == step
        matrix = weights[step][show.tensor(row["component"], row["layer"])]
        assert row["value"] == pytest.approx(ratio(matrix), rel=1e-6)


def test_a_mixture_shows_the_largest_weight_of_all_experts() -> None:
    fits = wb.scan({"moe": show.expert_weights()})
    strength = fits["max_abs"] / (
        -fits["lam"]
        / wb.anchor().lam_over_rms
        * special.ndtri(np.exp(-np.euler_gamma) / (2 * fits["n"]))
    )
    drawn = dots(charts.outlier_strip(fits))
    assert len(drawn.rows) == 6
    for row in drawn.rows:
        expected = strength.sel(layer=row["layer"], component=row["component"]).item()
        assert row["value"] == pytest.approx(expected, rel=1e-6)


def test_single_experts_are_drawn_apart() -> None:
    drawn = dots(charts.outlier_strip(show.each_expert()))
    stem = "model.layers.{layer}.block_sparse_moe.experts.{expert}.{name}.weight"
    files = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"}
    assert len(drawn.rows) == 18
    for row in drawn.rows:
        name = stem.format(layer=row["layer"], expert=row["expert"], name=files[row["component"]])
        assert row["value"] == pytest.approx(ratio(show.expert_weights()[name]), rel=1e-6)


def test_what_is_not_fitted_is_counted_and_not_drawn() -> None:
    chart = charts.outlier_strip(show.holes())
    assert "not drawn: 1 all_zero, 1 constant, 1 too_few" in show.subtitle(chart)
    drawn = {(row["component"], row["layer"]) for row in dots(chart).rows if row["value"]}
    assert drawn == {("up_proj", 0), ("down_proj", 0), ("down_proj", 1)}


def test_deep_models_are_thinned() -> None:
    chart = charts.outlier_strip(show.tall(2000))
    layers = {row["layer"] for row in dots(chart).rows}
    assert f"{len(layers)} of 2000 layers drawn" in show.subtitle(chart)
    assert {0, 1999} <= layers


def test_thinning_keeps_every_outlier() -> None:
    fits = show.tall(2000)
    max_abs = fits["max_abs"].copy()
    max_abs.loc[{"layer": 777, "component": "v_proj"}] *= 50
    chart = charts.outlier_strip(fits.assign(max_abs=max_abs))
    drawn = {(row["component"], row["layer"]): row["value"] for row in dots(chart).rows}
    assert max(drawn, key=lambda key: drawn[key]) == ("v_proj", 777)
    assert drawn["v_proj", 777] > 3
    assert labels(chart) == {("v_proj", 777): "layer 777"}
    assert ", and every outlier" in show.subtitle(chart)
    assert "outlier" not in show.subtitle(charts.outlier_strip(fits)).split("\n")[-1]
    assert len(drawn) <= 4500


def test_more_outliers_than_rows_leave_the_largest() -> None:
    fits = show.tall(2000)
    chart = charts.outlier_strip(
        fits.assign(max_abs=fits["max_abs"] * np.arange(100, 2100)[:, None, None])
    )
    drawn = [row["value"] for row in dots(chart).rows]
    assert len(drawn) == 4500
    assert min(drawn) > 3
    assert "rows drawn" in show.subtitle(chart)
    assert "every outlier" not in show.subtitle(chart)


@settings(max_examples=4, deadline=None)
@given(power=st.integers(-3, 4), order=st.permutations(range(2)))
def test_neither_the_unit_nor_the_order_of_layers_matters(power: int, order: list[int]) -> None:
    weights = show.checkpoint(range(2), ("q_proj", "up_proj"), 81)
    for values in weights.values():
        values[np.abs(values) < 1e-3] = np.float16(1e-3)

    def drawn(fits: xr.Dataset) -> dict[tuple[str, int], float]:
        return {
            (row["component"], row["layer"]): row["value"]
            for row in dots(charts.outlier_strip(fits)).rows
        }

    other = wb.scan({"m": show.scaled(weights, 2.0**power)}).isel(layer=order)
    assert drawn(other) == pytest.approx(drawn(wb.scan({"m": weights})), rel=2e-6)


def test_errors_name_what_is_missing() -> None:
    with pytest.raises(
        ValueError,
        match=r"must hold n, max_abs, magnitude_quantile; scan the weights: weibnb.scan\(path\)",
    ):
        charts.outlier_strip(wb.reference_cohort())
    with pytest.raises(ValueError, match=r"at most 12 models .* got 13"):
        charts.outlier_strip(show.tall(1, models=13))


@pytest.mark.parametrize("lam", [0.0, -1.0])
def test_a_scale_that_is_not_positive_expects_nothing(lam: float) -> None:
    fits = show.run().isel(step=[-1]).copy(deep=True)
    fits["lam"][0, 0, 0, 0] = lam
    assert np.isnan(exceedance(1.0, 100, 1.2, lam))
    drawn = [row for part in show.marks(charts.outlier_strip(fits)) for row in part.rows]
    assert not [row for row in drawn if row.get("lam") == lam and row.get("flag")]
