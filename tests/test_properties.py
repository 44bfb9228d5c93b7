"""What must hold for any weights at all: symmetries, merging, bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from tests import oracle
from tests.oracle import same_counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting.estimates import ESTIMATES
from weibnb.fitting.rows import CountRows
from weibnb.fitting.single import WeibullFit, fit_weibull
from weibnb.fitting.statistics import describe_counts
from weibnb.fitting.weibull import QUANTILES, anchor

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


SEEDS = st.integers(0, 2**32 - 1)
TRIM = st.tuples(st.floats(0, 0.45), st.floats(0.55, 1))
ESTIMATOR: st.SearchStrategy[Any] = st.sampled_from(["rank_regression", "maximum_likelihood"])
DTYPE = st.sampled_from(sorted(oracle.DTYPES))
NAME = st.sampled_from(oracle.DISTRIBUTIONS)
SIZE = st.integers(100, 1500)
few = settings(max_examples=60, deadline=None)


def drawn(name: str, dtype: str, size: int, seed: int) -> NDArray[Any]:
    wide = oracle.sample(name, size, seed)
    with np.errstate(over="ignore", invalid="ignore"):
        return wide.astype(oracle.DTYPES[dtype])


def patterns(dtype: str) -> st.SearchStrategy[NDArray[Any]]:
    """Arrays of any bit patterns: NaN, infinities, subnormals and zeros come often enough."""
    stored = oracle.DTYPES[dtype]
    unsigned = np.dtype(f"u{stored.itemsize}")
    sizes = st.integers(0, 60)
    return hnp.arrays(unsigned, sizes).map(lambda bits: bits.view(stored))


def estimates(fit: WeibullFit) -> list[float]:
    return [getattr(fit, name) for name in ESTIMATES]


@few
@given(st.data(), DTYPE)
def test_every_weight_is_counted_once(data: st.DataObject, dtype: str) -> None:
    weights = data.draw(patterns(dtype))
    with np.errstate(invalid="ignore"):
        value = weights.astype(np.float64)
    counts = count_magnitudes(weights)
    assert counts.zeros == np.count_nonzero(value == 0)
    assert counts.nans == np.count_nonzero(np.isnan(value))
    assert counts.infinities == np.count_nonzero(np.isinf(value))
    assert counts.n + counts.zeros + counts.nans + counts.infinities == weights.size
    ordered = oracle.magnitudes(value)
    assert counts.largest == (ordered[-1] if ordered.size else 0)
    assert (np.diff(counts.labels) > 0).all()
    assert (counts.counts > 0).all()
    if counts.exact:
        np.testing.assert_array_equal(np.repeat(counts.values, counts.counts), ordered)


@few
@given(st.data(), DTYPE, DTYPE)
def test_merging_is_counting_together(data: st.DataObject, left: str, right: str) -> None:
    one, two = data.draw(patterns(left)), data.draw(patterns(right))
    merged = count_magnitudes(one) + count_magnitudes(two)
    same_counts(merged, count_magnitudes(two) + count_magnitudes(one))
    if left == right:
        same_counts(merged, count_magnitudes(np.concatenate([one, two])))


@few
@given(st.data(), DTYPE)
def test_merging_is_associative(data: st.DataObject, dtype: str) -> None:
    a, b = (count_magnitudes(data.draw(patterns(dtype))) for _ in range(2))
    c = count_magnitudes(data.draw(patterns("float16")))
    same_counts((a + b) + c, a + (b + c))


@few
@given(NAME, DTYPE, SIZE, SEEDS, ESTIMATOR)
def test_signs_order_and_shape_do_not_matter(
    name: str, dtype: str, size: int, seed: int, estimator: Any
) -> None:
    weights = drawn(name, dtype, size, seed)
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], size).astype(weights.dtype)
    shuffled = rng.permutation(weights * signs).reshape(1, -1, 1)
    left, right = (fit_weibull(array, estimator=estimator) for array in (weights, shuffled))
    np.testing.assert_equal(estimates(left), estimates(right))
    assert left.status == right.status


@few
@given(NAME, DTYPE, SIZE, SEEDS, st.floats(0, 1), TRIM)
def test_split_and_merged_counts_give_the_same_fit(
    name: str, dtype: str, size: int, seed: int, at: float, trim: tuple[float, float]
) -> None:
    weights = drawn(name, dtype, size, seed)
    cut = round(at * size)
    whole = fit_weibull(weights, trim=trim)
    merged = count_magnitudes(weights[:cut]) + count_magnitudes(weights[cut:])
    np.testing.assert_equal(estimates(fit_weibull(merged, trim=trim)), estimates(whole))
    same_counts(merged, whole.counts)


@few
@given(NAME, SIZE, SEEDS, st.integers(-60, 60), TRIM, ESTIMATOR)
def test_powers_of_two_leave_the_shape(
    name: str, size: int, seed: int, power: int, trim: tuple[float, float], estimator: Any
) -> None:
    weights = drawn(name, "bfloat16", size, seed)
    assume((np.abs(weights[weights != 0].astype(float)) > 2.0**-60).all())
    scaled = (weights.astype(np.float64) * 2.0**power).astype(weights.dtype)
    left = fit_weibull(weights, trim=trim, estimator=estimator)
    right = fit_weibull(scaled, trim=trim, estimator=estimator)
    assert right.k == pytest.approx(left.k, rel=1e-12)
    assert right.lam == pytest.approx(left.lam * 2.0**power, rel=1e-11)
    assert right.k_se == pytest.approx(left.k_se, rel=1e-8)
    assert right.ks_full == pytest.approx(left.ks_full, abs=1e-10)
    assert right.r2 == pytest.approx(left.r2, abs=1e-10)


@few
@given(NAME, SIZE, SEEDS, st.floats(1e-6, 1e6))
def test_any_factor_scales_lambda_alone(name: str, size: int, seed: int, factor: float) -> None:
    weights = drawn(name, "float64", size, seed)
    left, right = fit_weibull(weights), fit_weibull(weights * factor)
    assert abs(right.k - left.k) < 0.1 * left.k_se
    assert abs(right.lam / factor - left.lam) < 0.1 * left.lam_se


@few
@given(SIZE, SEEDS, st.floats(0.5, 4))
def test_powers_of_weights_divide_the_shape(size: int, seed: int, power: float) -> None:
    weights = np.abs(drawn("gaussian", "float64", size, seed))
    left, right = fit_weibull(weights), fit_weibull(weights**power)
    assert abs(right.k * power - left.k) < 0.1 * left.k_se
    assert right.lam ** (1 / power) == pytest.approx(left.lam, rel=5e-3)


@few
@given(NAME, DTYPE, SIZE, SEEDS, TRIM, ESTIMATOR)
def test_estimates_stay_in_their_bounds(
    name: str, dtype: str, size: int, seed: int, trim: tuple[float, float], estimator: Any
) -> None:
    weights = drawn(name, dtype, size, seed)
    fit = fit_weibull(weights, trim=trim, estimator=estimator)
    if fit.status not in {"ok", "nonfinite"}:
        rank = np.arange(fit.n) + 0.5
        ordered = oracle.magnitudes(weights)
        inside = ordered[(rank >= trim[0] * fit.n) & (rank <= trim[1] * fit.n)]
        assert fit.status == ("too_few" if fit.n < 100 else "degenerate")
        assert fit.status == "too_few" or np.unique(inside).size == 1
        return
    assert 0 < fit.k < np.inf
    assert 0 < fit.lam < np.inf
    assert 0 <= fit.r2 <= 1 + 1e-12
    assert 0 <= fit.ks <= fit.ks_full <= 1
    assert fit.k_se > 0
    assert fit.lam_se > 0
    assert -1 - 1e-9 <= fit.k_lam_correlation <= 1 + 1e-9


@few
@given(st.data(), DTYPE)
def test_any_patterns_give_a_status_and_ordered_quantiles(data: st.DataObject, dtype: str) -> None:
    weights = data.draw(patterns(dtype))
    with np.errstate(invalid="ignore"):
        value = np.abs(weights.astype(np.float64))
    # bins at either end of float64 are tested one by one
    assume(dtype != "float64" or ((value > 1e-307) & (value < 8e307) | (value == 0)).all())
    fit = fit_weibull(np.tile(weights, 7))
    counts = fit.counts
    assert (fit.status in {"ok", "nonfinite"}) == np.isfinite(fit.k)
    described = describe_counts(CountRows.of([counts]))
    quantiles = described["quantile"][0]
    if counts.n + counts.zeros == 0:
        assert np.isnan(quantiles).all()
        return
    assert (np.diff(quantiles) >= -1e-12 * quantiles[-1]).all()
    assert quantiles[0] >= 0
    subnormal_bin = 2.0**-136 if dtype == "float32" else 0
    assert quantiles[-1] <= max(counts.largest * (1 + 1 / 256), subnormal_bin)
    finite = np.tile(value[np.isfinite(value)], 7)
    if counts.exact:
        np.testing.assert_allclose(quantiles, np.quantile(finite, QUANTILES), rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.3, 5), st.floats(1e-4, 1e3), SEEDS, TRIM, ESTIMATOR)
def test_a_weibull_is_recovered(
    k: float, lam: float, seed: int, trim: tuple[float, float], estimator: Any
) -> None:
    weights = lam * np.random.default_rng(seed).weibull(k, 40_000)
    fit = fit_weibull(weights, trim=trim, estimator=estimator)
    assert abs(fit.k - k) < 6 * fit.k_se
    assert abs(fit.lam - lam) < 6 * fit.lam_se
    assert fit.k_se < 0.02 * k
    assert fit.ks < 0.02


QUANTILE: dict[Any, Callable[[oracle.Array], oracle.Array]] = {
    "gaussian": stats.halfnorm.ppf,
    "uniform": lambda p: p,
    "laplace": stats.expon.ppf,
    "truncated_gaussian": lambda p: stats.halfnorm.ppf(p * stats.halfnorm.cdf(2)),
    "student_t": lambda p: stats.t.ppf((1 + p) / 2, 5),
}


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(QUANTILE)), TRIM, ESTIMATOR)
def test_anchors_lie_between_the_slopes_of_their_plot(
    name: Any, trim: tuple[float, float], estimator: Any
) -> None:
    found = anchor(name, trim=trim, estimator=estimator)
    p = np.linspace(max(trim[0], 1e-9), min(trim[1], 1 - 1e-12), 20_001)
    slope = np.diff(np.log(-np.log1p(-p))) / np.diff(np.log(QUANTILE[name](p)))
    assert slope.min() - 1e-6 <= found.k <= slope.max() + 1e-6
    assert 0.5 < found.lam_over_rms < 2
    assert 0.8 < found.r2 <= 1 + 1e-12
