"""The rule for outliers: expectations against simulation, thresholds sharp, clean laws silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import weibnb as wb
from weibnb.diagnostics.outliers import (
    expected_gaussian_maximum,
    expected_maximum,
    expected_maximum_of_scales,
    outlier_strength,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

DOWN = "model.layers.{}.mlp.down_proj.weight"


def normal(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape)


def planted(*shape: int, at: tuple[int, ...], value: float, seed: int = 0) -> NDArray[np.float64]:
    weights = normal(*shape, seed=seed)
    weights[at] = value
    return weights


@pytest.mark.parametrize("k", [0.7, 1.0, 1.2, 2.0])
def test_the_largest_of_n_weibull_weights(k: float) -> None:
    n, runs = 10_000, 40_000
    largest = 0.02 * (-np.log(-np.expm1(np.log(
        np.random.default_rng(0).random(runs)) / n))) ** (1 / k)  # fmt: skip
    expected = float(expected_maximum(n, k, 0.02))
    assert largest.mean() == pytest.approx(expected, rel=8e-3)
    fits = wb.scan({"m": {DOWN.format(0): normal(100, 100)}})
    for name, number in (("n", n), ("k", k), ("lam", 0.02), ("max_abs", 1.3 * expected)):
        fits[name][...] = number
    strength = outlier_strength(fits).squeeze()
    assert float(strength["expected_max_sd"]) == pytest.approx(largest.std(), rel=0.08)
    share = float((largest >= 1.3 * expected).mean())
    assert float(strength["exceedance"]) == pytest.approx(share, abs=4e-3)
    assert float(strength["excess"]) == pytest.approx(1.3)


@pytest.mark.parametrize("n", [1_000, 1 << 20])
def test_the_largest_of_n_gaussian_weights(n: int) -> None:
    uniform = np.random.default_rng(1).random(40_000)
    largest = stats.halfnorm.isf(-np.expm1(np.log(uniform) / n))
    assert largest.mean() == pytest.approx(float(expected_gaussian_maximum(n, 1.0)), rel=8e-3)


@pytest.mark.parametrize("h", [0.0, 0.3, 0.7])
def test_the_largest_of_n_weights_of_lognormal_scale(h: float) -> None:
    """Against the mean of simulated maxima, within three of its errors and 3 %."""
    rng, n = np.random.default_rng(4), 1 << 15
    largest = [
        np.abs(np.exp(rng.normal(0, h, n)) * rng.normal(0, 2.0, n)).max() for _ in range(400)
    ]
    error = 3 * np.std(largest) / 20 + 0.03 * np.mean(largest)
    found = expected_maximum_of_scales([n, n], 2.0, h)
    assert found == pytest.approx([np.mean(largest)] * 2, abs=error)
    if h == 0.0:
        assert found == pytest.approx(expected_gaussian_maximum([n, n], 2.0))


def test_the_largest_weights_of_many_matrices_are_judged_together() -> None:
    fits = wb.scan({"m": {DOWN.format(i): normal(32, 32, seed=i) for i in range(6)}})
    strength = outlier_strength(fits)
    p = strength["exceedance"].values.ravel()
    expected = stats.false_discovery_control(p)
    np.testing.assert_allclose(strength["q_value"].values.ravel(), expected)


def test_a_fit_that_failed_is_silent_and_nan() -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    run = {"m": {DOWN.format(0): np.zeros((30, 30)), name: normal(30, 30)}}
    fits = wb.scan(run)
    strength = outlier_strength(fits)
    assert not bool(strength["needs_look"].any())
    assert np.isnan(float(strength["excess"].sel(layer=0, component="down_proj").squeeze()))


@pytest.mark.parametrize("rule", ["gaussian", "weibull"])
def test_the_threshold_is_sharp(rule: Any) -> None:
    """On both sides of factor × expectation, which does not move with one weight of many."""
    clean = planted(256, 256, at=(3, 3), value=10.0)
    threshold = float(outlier_strength(wb.scan({"m": {DOWN.format(0): clean}}), rule=rule)
                      ["threshold"].squeeze())  # fmt: skip
    for share, expected in ((0.9999, 0), (1.0001, 1)):
        clean[3, 3] = -threshold * share
        run = {"m": {DOWN.format(0): clean}}
        strength = outlier_strength(wb.scan(run), rule=rule)
        assert bool(strength["needs_look"].squeeze()) == bool(expected)


@pytest.mark.parametrize(
    ("law", "flagged"),
    [("normal", False), ("laplace", False), ("t30", False), ("t5", True), ("t3", True)],
)
@pytest.mark.parametrize("rule", ["gaussian", "weibull"])
def test_sixteen_million_clean_weights(rule: Any, law: str, flagged: bool) -> None:
    """Drawn as the order statistics demand: evenly spaced quantiles, the largest at its median."""
    n = 1 << 24
    family: Any = {"normal": stats.norm(), "laplace": stats.laplace()}.get(law)
    family = family or stats.t(int(law[1:]))
    body = family.ppf(0.5 + (np.arange(1 << 16) + 0.5) / (1 << 17)).reshape(256, 256)
    fits = wb.scan({"m": {DOWN.format(0): body}})
    largest = family.isf(np.log(2) / n / 2)
    fits["n"][...] = n
    fits["max_abs"][...] = largest
    strength = outlier_strength(fits, rule=rule)
    assert bool(strength["needs_look"].squeeze()) == flagged


def test_a_gaussian_of_sixteen_million_weights_is_silent() -> None:
    draws = np.random.default_rng(0).standard_normal((4096, 4096), np.float32)
    run = {"m": {DOWN.format(0): draws.astype(ml_dtypes.bfloat16)}}
    fits = wb.scan(run)
    strength = outlier_strength(fits).squeeze()
    assert float(strength["max_over_q99"]) == pytest.approx(5.5 / 2.576, rel=0.1)
    assert float(strength["gaussian_max"]) == pytest.approx(float(np.abs(draws).max()), rel=0.1)
    assert 0.5 < float(strength["excess"]) < 0.7
    assert float(strength["exceedance"]) > 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "student"}, "`rule` must be one of 'gaussian', 'weibull', got 'student'"),
        ({"factor": -1.0}, "`factor` must be at least 0"),
        ({"factor": float("nan")}, "`factor` must be at least 0"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], message: str) -> None:
    fits = wb.scan({"m": {DOWN.format(0): normal(20, 20)}})
    with pytest.raises(ValueError, match=message):
        outlier_strength(fits, **options)
    with pytest.raises(TypeError, match="xarray"):
        outlier_strength(xr.DataArray([1]))  # type: ignore[arg-type]
