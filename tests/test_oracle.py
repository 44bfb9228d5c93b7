"""Estimates against a full sort, a direct maximisation and `scipy`, for every storage format."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import optimize, stats

from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting.single import fit_weibull

if TYPE_CHECKING:
    from weibnb.counting.counts import Counts

SMALL = (100, 101, 1005)
LARGE = 512 * 512 - 8  # the eight weights that are left out fill the square


@lru_cache(maxsize=16)
def counted(distribution: str, dtype: str, n: int) -> tuple[Counts, oracle.Array]:
    weights = oracle.matrix(distribution, dtype, n)
    shape = (512, 512) if n == LARGE else (1, -1)
    return count_magnitudes(weights.reshape(shape)), oracle.magnitudes(weights)


@pytest.mark.parametrize("trim", oracle.TRIMS)
@pytest.mark.parametrize("n", [*SMALL, LARGE])
@pytest.mark.parametrize("dtype", oracle.EXACT)
@pytest.mark.parametrize("distribution", oracle.DISTRIBUTIONS)
def test_exact_formats_equal_the_full_sort(
    distribution: str, dtype: str, n: int, trim: tuple[float, float]
) -> None:
    counts, ordered = counted(distribution, dtype, n)
    ours, reference = fit_weibull(counts, trim=trim), oracle.full_sort(ordered, trim)
    assert (ours.n, ours.status, counts.exact) == (n, "nonfinite", True)
    assert ours.k == pytest.approx(reference.k, abs=1e-9)
    assert ours.lam == pytest.approx(reference.lam, rel=1e-9)
    assert ours.r2 == pytest.approx(reference.r2, abs=1e-9)


@pytest.mark.parametrize("trim", oracle.TRIMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distribution", oracle.DISTRIBUTIONS)
def test_large_float32_and_float64_matrices_are_within_1e_4(
    distribution: str, dtype: str, trim: tuple[float, float]
) -> None:
    counts, ordered = counted(distribution, dtype, LARGE)
    ours, reference = fit_weibull(counts, trim=trim), oracle.full_sort(ordered, trim)
    assert (ours.n, ours.status, counts.exact) == (LARGE, "nonfinite", False)
    tolerance = 5e-5 if trim == (0.3, 0.6) else 2e-5
    assert ours.k == pytest.approx(reference.k, abs=tolerance)
    assert ours.lam == pytest.approx(reference.lam, rel=tolerance)
    assert ours.r2 == pytest.approx(reference.r2, abs=tolerance)


@pytest.mark.parametrize("n", SMALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("distribution", oracle.DISTRIBUTIONS)
def test_small_float32_and_float64_matrices_err_far_below_the_standard_error(
    distribution: str, dtype: str, n: int
) -> None:
    counts, ordered = counted(distribution, dtype, n)
    for trim in oracle.TRIMS:
        ours, reference = fit_weibull(counts, trim=trim), oracle.full_sort(ordered, trim)
        assert abs(ours.k - reference.k) < 0.01 * ours.k_se
        assert abs(ours.lam - reference.lam) < 0.02 * ours.lam_se
        assert ours.r2 == pytest.approx(reference.r2, abs=2e-3)


@pytest.mark.parametrize("wide", ["float32", "float64"])
@pytest.mark.parametrize("narrow", oracle.EXACT)
def test_upcast_weights_stay_exact(narrow: str, wide: str) -> None:
    stored = oracle.matrix("gaussian", narrow, 20_000)
    upcast = stored.astype(wide)
    ours = fit_weibull(upcast)
    reference = oracle.full_sort(oracle.magnitudes(stored), (0.1, 0.9))
    assert ours.counts.exact
    assert ours.k == pytest.approx(reference.k, abs=1e-9)
    assert ours.lam == pytest.approx(reference.lam, rel=1e-9)
    assert ours.r2 == pytest.approx(reference.r2, abs=1e-9)


@pytest.mark.parametrize("wide", ["float32", "float64"])
def test_one_weight_of_full_precision_turns_values_into_intervals(wide: str) -> None:
    upcast = np.random.default_rng(0).normal(size=5000).astype(np.float16).astype(wide)
    upcast[77] = 1 / 3
    ours, reference = fit_weibull(upcast), oracle.full_sort(oracle.magnitudes(upcast), (0.1, 0.9))
    assert not ours.counts.exact
    assert abs(ours.k - reference.k) > 1e-9
    assert abs(ours.k - reference.k) < 0.05 * ours.k_se


@pytest.mark.parametrize("n", [100, 1005, 40_000])
@pytest.mark.parametrize("dtype", oracle.EXACT)
@pytest.mark.parametrize("distribution", oracle.DISTRIBUTIONS)
def test_maximum_likelihood_is_the_root_of_the_profile(
    distribution: str, dtype: str, n: int
) -> None:
    counts, ordered = counted(distribution, dtype, n)
    ours = fit_weibull(counts, estimator="maximum_likelihood")
    reference = oracle.maximum_likelihood(ordered)
    assert ours.trim == (0, 1)
    assert ours.k == pytest.approx(reference.k, rel=1e-10)
    assert ours.lam == pytest.approx(reference.lam, rel=1e-10)
    assert ours.r2 == pytest.approx(oracle.full_sort(ordered, (0, 1)).r2, abs=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [("bfloat16", 1e-7), ("float64", 2e-5)])
@pytest.mark.parametrize("distribution", ["gaussian", "weibull"])
def test_maximum_likelihood_agrees_with_scipy(
    distribution: str, dtype: str, tolerance: float
) -> None:
    def simplex(*arguments: Any, **options: Any) -> Any:
        return optimize.fmin(*arguments, **{**options, "xtol": 1e-9, "ftol": 1e-9})

    counts, ordered = counted(distribution, dtype, 40_000)
    ours = fit_weibull(counts, estimator="maximum_likelihood")
    scale = ordered.mean()  # the simplex starts at a scale of one
    k, _, lam = stats.weibull_min.fit(ordered / scale, floc=0, optimizer=simplex)
    assert ours.k == pytest.approx(k, rel=tolerance)
    assert ours.lam == pytest.approx(lam * scale, rel=tolerance)


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 0.5), (0.4, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("n", [101, 4096])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "lognormal", "weibull"])
def test_censored_likelihood_equals_its_direct_maximum(
    distribution: str, dtype: str, n: int, trim: tuple[float, float]
) -> None:
    counts, ordered = counted(distribution, dtype, n)
    ours = fit_weibull(counts, trim=trim, estimator="maximum_likelihood")
    reference = oracle.censored_maximum_likelihood(ordered, trim)
    assert ours.k == pytest.approx(reference.k, rel=1e-6)
    assert ours.lam == pytest.approx(reference.lam, rel=1e-6)


def heavy_tails(name: str) -> oracle.Array:
    rng = np.random.default_rng(8)
    if name == "cauchy":
        return rng.standard_cauchy(20_000)
    if name == "bimodal":
        return np.concatenate([rng.normal(0, 1e-4, 9000), rng.normal(0, 1, 11_000)])
    if name == "outliers":
        return np.concatenate([rng.normal(size=20_000), [1e4, 1e5, 1e-7]])
    if name == "two atoms":
        return np.concatenate([rng.normal(size=300), np.full(400, 1e-3), np.full(400, 7.0)])
    return oracle.sample(name, 20_000, 8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("trim", [*oracle.TRIMS, (0.45, 0.55), (0.6, 1.0)])
@pytest.mark.parametrize(
    "name", ["cauchy", "bimodal", "outliers", "two atoms", "lognormal", "uniform", "gaussian"]
)
def test_distances_equal_a_search_over_all_bins(
    name: str, trim: tuple[float, float], dtype: str
) -> None:
    counts = count_magnitudes(heavy_tails(name).astype(oracle.DTYPES[dtype]))
    middle = counts.values
    if dtype == "float32":
        mantissa, exponent = np.frexp(counts.values)
        middle = np.ldexp(mantissa + 1 / 1024, exponent)
    ours = fit_weibull(counts, trim=trim)
    if name == "two atoms" and trim in {(0.45, 0.55), (0.6, 1.0)}:
        trim_is_in_an_atom = np.isnan(ours.k)
        assert trim_is_in_an_atom == (ours.status == "degenerate")
        if trim_is_in_an_atom:
            return
    body, full = oracle.distances_at_mid_ranks(middle, counts.counts, trim, ours.k, ours.lam)
    assert ours.ks_midrank == pytest.approx(body, abs=1e-10)
    if dtype == "float32":
        assert ours.ks == pytest.approx(body, abs=1e-10)
        assert ours.ks_full == pytest.approx(full, abs=1e-10)
        return
    ordered = np.repeat(counts.values, counts.counts)
    expected = oracle.kolmogorov_smirnov(ordered, trim, ours.k, ours.lam)
    assert ours.ks == pytest.approx(expected, abs=1e-10)
    law = stats.weibull_min(ours.k, scale=ours.lam)
    assert ours.ks_full == pytest.approx(stats.kstest(ordered, law.cdf).statistic, abs=1e-10)
