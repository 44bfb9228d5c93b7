"""Experts of a cell: medians, sums and status, against each expert on its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
from scipy import stats

import weibnb as wb
from tests.scanning.helpers import EXPERT, HIDDEN, Q, moe, normal, only, same_estimates
from weibnb.fitting.estimates import ESTIMATES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]


def test_median_over_experts() -> None:
    weights = moe(4, layers=2)
    fits = wb.scan({"moe": weights}, structure=False)
    assert fits["k"].dims == ("model", "layer", "component", "step")
    assert fits["counts"].sizes["expert"] == 5
    for layer in range(2):
        singles = [wb.fit_weibull(weights[EXPERT.format(layer, i, "gate_proj")]) for i in range(4)]
        where = {"layer": layer, "component": "gate_proj"}
        for name in ESTIMATES:
            expected = float(np.median([getattr(one, name) for one in singles]))
            assert only(fits, name, **where) == expected
        assert only(fits, "n_matrices", **where) == 4
        assert only(fits, "status", **where) == "ok"
        assert only(fits, "parameter", **where) == EXPERT.format(layer, "*", "gate_proj")
        arrays = [np.abs(weights[EXPERT.format(layer, i, "gate_proj")]) for i in range(4)]
        assert only(fits, "max_abs", **where) == max(array.max() for array in arrays)
        rms = np.median([np.sqrt(np.mean(array.astype(float) ** 2)) for array in arrays])
        assert only(fits, "rms", **where) == pytest.approx(rms, rel=1e-12)
    assert only(fits, "n_matrices", layer=0, component="q_proj") == 1
    assert only(fits, "parameter", layer=0, component="q_proj") == Q.format(0)
    assert only(fits, "k", layer=0, component="q_proj") == wb.fit_weibull(weights[Q.format(0)]).k


def test_each_expert() -> None:
    weights = moe(3)
    fits = wb.scan({"moe": weights}, experts="each")
    assert fits["k"].dims == ("model", "layer", "component", "step", "expert")
    assert fits["expert"].values.tolist() == [-1, 0, 1, 2]
    for i in range(3):
        where = {"component": "down_proj", "expert": i}
        array = weights[EXPERT.format(0, i, "down_proj")]
        assert only(fits, "k", **where) == wb.fit_weibull(array).k
        assert only(fits, "parameter", **where) == EXPERT.format(0, i, "down_proj")
    assert only(fits, "status", component="down_proj", expert=-1) == "absent"
    assert only(fits, "status", component="q_proj", expert=-1) == "ok"
    assert only(fits, "status", component="q_proj", expert=2) == "absent"


@pytest.mark.parametrize("experts", ["median", "each"])
def test_stacked_experts_equal_single_ones(experts: Literal["median", "each"]) -> None:
    single = {EXPERT.format(0, i, "gate_up_proj"): normal(32, 48, seed=i) for i in range(3)}
    stacked = {"model.layers.0.mlp.experts.gate_up_proj": np.stack(list(single.values()))}
    one, other = (
        wb.scan({"moe": weights | {Q.format(0): normal(20, 20)}}, experts=experts)
        for weights in (single, stacked)
    )
    same_estimates(one, other)
    np.testing.assert_array_equal(one["counts"], other["counts"])
    where = {"component": "gate_up_proj"} | ({"expert": 1} if experts == "each" else {})
    assert only(other, "parameter", **where) == "model.layers.0.mlp.experts.gate_up_proj"
    assert only(other, "n_matrices", **where) == (1 if experts == "each" else 3)
    assert (only(other, "rows", **where), only(other, "cols", **where)) == (32, 48)


def test_stack_and_single_expert_of_one_cell_do_not_overwrite() -> None:
    stack = "model.layers.0.mlp.experts.gate_up_proj"
    single = EXPERT.format(0, 1, "gate_up_proj")
    weights = {stack: normal(4, 32, 32), single: 3 * normal(32, 32, seed=9)}
    fits = wb.scan({"moe": weights}, experts="each")
    kept = set(fits["parameter"].values.ravel()) - {""}
    listed = set(wb.not_fitted(fits)["tensor"])
    assert kept | listed == {stack, single}


@pytest.mark.parametrize("experts", ["each", "median"])
def test_dense_matrix_is_not_pooled_with_experts_of_its_name(experts: Any) -> None:
    dense = "model.layers.0.mlp.gate_proj.weight"
    weights = moe(2) | {dense: 5 * normal(64, 48, seed=5)}
    fits = wb.scan({"moe": weights}, experts=experts)
    listed = wb.not_fitted(fits).set_index("tensor")["reason"]
    assert "taken by model.layers.0.mlp.experts.0.gate_proj.weight" in listed[dense]
    assert fits["n_matrices"].sel(component="gate_proj").sum() == 2


@pytest.mark.parametrize("bad", ["zeros", "nan", "int8"])
def test_one_bad_expert_makes_a_partial_cell(bad: str) -> None:
    weights = moe(4)
    name = EXPERT.format(0, 2, "gate_proj")
    if bad == "int8":
        weights[name] = np.ones((32, HIDDEN), "i1")
    else:
        weights[name] = np.full_like(weights[name], 0 if bad == "zeros" else np.nan)
    fits = wb.scan({"moe": weights})
    assert only(fits, "status", component="gate_proj") == "partial"
    assert only(fits, "status", component="down_proj") == "ok"
    good = [wb.fit_weibull(weights[EXPERT.format(0, i, "gate_proj")]).k for i in (0, 1, 3)]
    assert only(fits, "k", component="gate_proj") == float(np.median(good))
    each = wb.scan({"moe": weights}, experts="each")
    word = {"zeros": "all_zero", "nan": "no_finite", "int8": "quantized"}[bad]
    assert only(each, "status", component="gate_proj", expert=2) == word
    assert "partial" in wb.not_fitted(fits)["reason"].tolist()
    same_estimates(wb.refit(fits), fits)


def test_k_spread_is_the_robust_spread_over_experts() -> None:
    weights = moe(5, layers=2)
    del weights[EXPERT.format(1, 0, "gate_proj")]
    weights[EXPERT.format(1, 1, "gate_proj")][:] = 0
    fits = wb.scan({"moe": weights})
    each = wb.scan({"moe": weights}, experts="each")
    assert fits["k_spread"].dims == fits["k"].dims
    for trim in ((0.1, 0.9), (0.05, 0.95)):
        merged, single = (wb.refit(one, trim=trim) for one in (fits, each))
        for layer, number in ((0, 5), (1, 3)):
            where = {"layer": layer, "component": "gate_proj"}
            k = single["k"].sel(where).values.ravel()
            k = k[np.isfinite(k)]
            assert k.size == number
            spread = stats.median_abs_deviation(k, scale="normal")
            assert only(merged, "k_spread", **where) == pytest.approx(spread, rel=1e-4)
        assert merged["k_spread"].sel(component="q_proj").isnull().all()
        assert single["k_spread"].isnull().all()
    assert only(fits, "k_se", layer=0, component="gate_proj") == float(
        each["k_se"].sel(layer=0, component="gate_proj").median()
    )


def test_one_fitted_expert_has_no_spread() -> None:
    weights = moe(2)
    weights[EXPERT.format(0, 1, "gate_proj")][:] = 0
    fits = wb.scan({"moe": weights})
    assert np.isnan(only(fits, "k_spread", component="gate_proj"))
    assert only(fits, "k_spread", component="down_proj") > 0
    assert np.isnan(only(wb.refit(fits, trim=(0.2, 0.8)), "k_spread", component="gate_proj"))
