"""Drift: every edge from both sides, the anchor of the protocol, shapes told from weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import weibnb as wb
from tests.diagnostics.simple_fits import cells, make
from weibnb.diagnostics.drift import NAMED_SHAPES, SHAPE_CLOSE, drift

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

GAUSSIAN = wb.anchor().k


def scan_one(draw: Callable[[tuple[int, int]], NDArray[Any]], size: int = 384) -> xr.Dataset:
    name = "model.layers.0.mlp.up_proj.weight"
    return wb.scan({"one": {name: draw((size, size)).astype(np.float32)}})


@pytest.mark.parametrize("name", list(NAMED_SHAPES))
def test_drift_names_the_shape_that_weights_were_drawn_from(name: str) -> None:
    rng = np.random.default_rng(1)
    word, parameter = NAMED_SHAPES[name]

    def draw(shape: tuple[int, int]) -> NDArray[Any]:
        if word == "truncated_gaussian":
            many = rng.normal(size=2 * shape[0] * shape[1])
            return many[np.abs(many) < (parameter or 0)][: shape[0] * shape[1]].reshape(shape)
        if word == "student_t":
            return rng.standard_t(parameter or 0, shape)
        draws = {"gaussian": rng.normal, "laplace": rng.laplace}
        return draws[word](size=shape) if word in draws else rng.uniform(-1, 1, shape)

    moved = drift(scan_one(draw)).squeeze()
    assert moved.nearest_shape.item() == name
    assert moved.shape_distance.item() < SHAPE_CLOSE
    assert moved.shape_resolved.item()


def test_drift_does_not_claim_a_shape_that_it_cannot_tell() -> None:
    rng = np.random.default_rng(0)
    small = drift(scan_one(lambda shape: rng.normal(size=shape), size=40)).squeeze()
    assert not small.shape_resolved.item()
    sharp = drift(scan_one(lambda shape: rng.normal(size=shape) ** 5)).squeeze()
    assert sharp.nearest_shape.item() == "none"
    assert not sharp.shape_resolved.item()


def test_a_shape_of_small_matrices_is_named_for_certain_only_where_it_is_right() -> None:
    """Every shape on 64 x 64: what is resolved is right in 95 of 100 cases."""
    rng = np.random.default_rng(2)
    name, weights = "model.layers.{}.mlp.up_proj.weight", {}
    draws: dict[str, Callable[..., Any]] = {
        "gaussian": rng.normal,
        "uniform": lambda size: rng.uniform(-1, 1, size),
        "laplace": lambda size: rng.laplace(size=size),
        "student_t(3)": lambda size: rng.standard_t(3, size),
        "student_t(30)": lambda size: rng.standard_t(30, size),
    }
    truth = np.repeat(list(draws), 30)
    for layer, shape in enumerate(truth):
        weights[name.format(layer)] = draws[shape](size=(64, 64)).astype(np.float32)
    found = drift(wb.scan({"one": weights})).squeeze()
    sure = found.shape_resolved.values
    assert (found.nearest_shape.values == truth)[sure].mean() > 0.95
    assert not sure[np.isin(truth, ("gaussian", "student_t(30)"))].any()
    assert sure[truth == "laplace"].mean() > 0.9


def test_drift_of_many_is_adjusted_for_how_many_there_are() -> None:
    z = np.random.default_rng(3).normal(size=224)
    z[17] = 6.0
    moved = drift(make((GAUSSIAN + 0.001 * z)[:, None, None]))
    np.testing.assert_allclose(moved.z.values.ravel(), z, rtol=1e-6, atol=1e-6)
    p = 2 * stats.norm.sf(np.abs(z))
    np.testing.assert_allclose(moved.p_value.values.ravel(), p, rtol=1e-4)
    assert (np.abs(z) > 2).sum() > 5
    for name in ("p_holm", "q_value"):
        assert np.flatnonzero(moved[name].values.ravel() < 0.05).tolist() == [17]
    assert moved.p_holm.values.ravel()[17] == pytest.approx(224 * p[17], rel=1e-4)


def test_drift_leaves_zeros_out_of_the_root_mean_square() -> None:
    rng = np.random.default_rng(0)
    sparse = scan_one(lambda shape: rng.normal(size=shape) * (rng.random(shape) < 0.3))
    assert sparse.zero_fraction.item() > 0.6
    assert drift(sparse).lam_over_rms.item() == pytest.approx(0.8875, abs=0.01)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("gaussian", None), ("uniform", None), ("truncated_gaussian", 2.0), ("student_t", 5.0)],
)
@pytest.mark.parametrize(
    ("trim", "estimator"),
    [
        ((0.1, 0.9), "rank_regression"),
        ((0.05, 0.95), "rank_regression"),
        ((0.0, 1.0), "maximum_likelihood"),
    ],
)
def test_drift_takes_the_anchor_of_the_protocol(
    name: Any, parameter: float | None, trim: tuple[float, float], estimator: Any
) -> None:
    anchor = wb.anchor(name, trim=trim, estimator=estimator, parameter=parameter)
    fits = cells(anchor.k + 0.003, trim=trim, estimator=estimator)
    moved = drift(fits, anchor=name, parameter=parameter)
    assert moved.delta_k.item() == pytest.approx(0.003)
    assert moved.delta_k_percent.item() == pytest.approx(0.3 / anchor.k)
    assert moved.z.item() == pytest.approx(3)
    xr.testing.assert_equal(moved.delta_k, drift(fits, anchor=anchor).delta_k)


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(
    ("percent", "se_percent", "word"),
    [
        (0.0, 0.6, "invariant"),
        (0.0, 0.62, "not resolved"),
        (0.8, 0.1, "invariant"),
        (0.95, 0.1, "not resolved"),
        (1.05, 0.1, "not resolved"),
        (1.2, 0.1, "mild"),
        (1.0, 0.0, "mild"),
        (29.0, 0.5, "mild"),
        (29.8, 0.5, "not resolved"),
        (30.2, 0.5, "not resolved"),
        (31.0, 0.5, "strong"),
    ],
)
def test_drift_severity_on_both_sides_of_its_edges(
    percent: float, se_percent: float, word: str, sign: int
) -> None:
    k = GAUSSIAN * (1 + sign * (percent + 1e-9) / 100)
    moved = drift(cells(k, se=GAUSSIAN * se_percent / 100))
    assert moved.severity.item() == word


def test_drift_from_step_zero_combines_both_errors() -> None:
    fits = make([[[[1.20, 1.10, np.nan]]], [[[np.nan, 1.1, 1.1]]]], se=0.003, steps=(0, 100, 200))
    fits["k_se"][:, :, :, 1] = 0.004
    moved = drift(fits, anchor="step0").isel(layer=0, component=0)
    assert moved.delta_k.dims == ("model", "step")
    first = moved.sel(model="m0")
    assert first.delta_k.values[:2] == pytest.approx([0, -0.1])
    assert first.z.values[1] == pytest.approx(-20)
    assert first.severity.values.tolist() == ["invariant", "mild", "absent"]
    assert moved.sel(model="m1").severity.values.tolist() == ["absent", "no anchor", "no anchor"]


def test_drift_of_each_expert_from_step_zero_takes_its_own_error() -> None:
    fits = make([[[[1.20, 1.10]]]], steps=(0, 100)).expand_dims(expert=[0, 1], axis=-1)
    fits["k_se"] = fits["k_se"] * xr.DataArray([1.0, 1000.0], dims="expert")
    severity = drift(fits, anchor="step0").severity.sel(step=100)
    assert severity.values.ravel().tolist() == ["mild", "not resolved"]


@pytest.mark.parametrize(("steps", "shown"), [((0,), r"\[0\]"), ((5, 10), r"\[5, 10\]")])
def test_drift_needs_step_zero_and_another(steps: tuple[int, ...], shown: str) -> None:
    fits = make([[[[1.2] * len(steps)]]], steps=steps)
    with pytest.raises(ValueError, match=rf"step 0 and another one .*got {shown}.*gaussian"):
        drift(fits, anchor="step0")


def test_drift_of_cells_without_a_fit_says_why() -> None:
    fits = make([[[[np.nan], [np.nan], [1.2]]]], components=("gate_proj", "up_proj", "down_proj"))
    fits["status"][0, 0, :, 0] = ["all_zero", "ok", "ok"]
    moved = drift(fits)
    assert moved.severity.values.ravel().tolist() == ["all_zero", "not fitted", "invariant"]
    assert moved.nearest_shape.values.ravel().tolist() == ["all_zero", "not fitted", "unknown"]


def test_drift_without_errors_goes_by_the_value_and_with_a_missing_one_does_not() -> None:
    assert drift(cells(1.2, se=None)).severity.item() == "invariant"
    assert drift(cells(1.2, se=np.nan)).severity.item() == "not resolved"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"anchor": "gausian"}, r"`anchor` must be one of .*'step0', got 'gausian'.*'gaussian'\?"),
        ({"anchor": "step0", "parameter": 2.0}, r"`parameter` must be omitted"),
        ({"anchor": "gaussian", "parameter": 2.0}, r"`parameter` must be omitted"),
        ({"anchor": wb.anchor(trim=(0.0, 1.0))}, r"trim \(0.0, 1.0\), got .*refit"),
    ],
)
def test_drift_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        drift(cells(1.2), **options)
