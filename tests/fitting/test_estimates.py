"""Standard errors against simulation, plain statistics against numpy, statuses, kernels."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tests import oracle
from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting import kernels
from weibnb.fitting.estimates import (
    ESTIMATES,
    QUANTILES,
    as_count_rows,
    describe_counts,
    fit_counts,
    fit_weibull,
)
from weibnb.fitting.status import MINIMUM_WEIGHTS

torch = pytest.importorskip("torch")

REPLICATIONS = 1500
RANK, LIKELIHOOD = "rank_regression", "maximum_likelihood"


@lru_cache(maxsize=2)
def replications(distribution: str, n: int) -> tuple[Any, Any]:
    rng, shape = np.random.default_rng(11), (REPLICATIONS, n)
    normal = np.abs(rng.standard_normal(shape, dtype=np.float32))
    if distribution == "gaussian":
        drawn = normal
    elif distribution == "lognormal":
        drawn = np.exp(rng.standard_normal(shape, dtype=np.float32))
    elif distribution == "uniform":
        drawn = rng.random(shape, dtype=np.float32)
    elif distribution == "bimodal":
        drawn = normal * np.where(rng.random(shape) < 0.5, np.float32(1), np.float32(0.05))
    else:
        power = {"laplace": 1, "weibull 1.5": 1.5, "weibull 0.6": 0.6}[distribution]
        drawn = rng.standard_exponential(shape, dtype=np.float32) ** np.float32(1 / power)
    return oracle.simulated_counts(np.maximum(drawn, np.float32(1e-9)))


def check_standard_errors(
    distribution: str, n: int, estimator: Any, trim: tuple[float, float], tolerance: float = 0.1
) -> None:
    """Compare with the spread over replications, itself known to 2 %."""
    counts, labels = replications(distribution, n)
    exact = np.ones(REPLICATIONS, bool)
    fitted = fit_counts(counts, labels, exact, trim=trim, estimator=estimator)
    assert set(fitted["status"]) == {"ok"}
    k, lam = fitted["k"], fitted["lam"]
    assert np.sqrt(np.mean(fitted["k_se"] ** 2)) == pytest.approx(k.std(), rel=tolerance)
    assert np.sqrt(np.mean(fitted["lam_se"] ** 2)) == pytest.approx(lam.std(), rel=tolerance)
    correlation = np.corrcoef(k, np.log(lam))[0, 1]
    assert fitted["k_lam_correlation"].mean() == pytest.approx(correlation, abs=tolerance)


@pytest.mark.parametrize(
    ("estimator", "trim"),
    [(RANK, (0.1, 0.9)), (RANK, (0.0, 1.0)), (RANK, (0.3, 0.6)), (LIKELIHOOD, (0.0, 1.0))],
)
@pytest.mark.parametrize(
    ("distribution", "n"),
    [
        ("gaussian", 4096),
        ("gaussian", 256),
        ("weibull 1.5", 1024),
        ("weibull 0.6", 1024),
        ("laplace", 1024),
        ("uniform", 1024),
    ],
)
def test_standard_errors_equal_the_spread_of_simulations(
    distribution: str, n: int, estimator: Any, trim: tuple[float, float]
) -> None:
    check_standard_errors(distribution, n, estimator, trim)


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.3, 0.6), (0.0, 0.5)])
@pytest.mark.parametrize("distribution", ["weibull 1.5", "laplace"])
def test_censored_standard_errors_of_a_weibull(
    distribution: str, trim: tuple[float, float]
) -> None:
    check_standard_errors(distribution, 1024, LIKELIHOOD, trim)


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 0.5)])
@pytest.mark.parametrize("distribution", ["gaussian", "uniform", "lognormal", "bimodal"])
def test_censored_standard_errors_of_what_is_no_weibull(
    distribution: str, trim: tuple[float, float]
) -> None:
    check_standard_errors(distribution, 1024, LIKELIHOOD, trim, 0.15)


@pytest.mark.parametrize("n", [4096, 1 << 18])
def test_standard_error_of_gaussian_weights_is_near_1_4_over_root_n(n: int) -> None:
    fitted = fit_weibull(oracle.sample("gaussian", n, 2).astype(np.float32))
    assert fitted.k_se * n**0.5 == pytest.approx(1.4, rel=0.08)


def test_standard_errors_scale_with_root_n_and_with_the_weights() -> None:
    counts, labels = replications("gaussian", 4096)
    row = counts[:1]
    once = fit_counts(row, labels, [True])
    fourfold = fit_counts(4 * row, labels, [True])
    assert fourfold["k"][0] == pytest.approx(once["k"][0], rel=2e-3)
    assert fourfold["k_se"][0] == pytest.approx(once["k_se"][0] / 2, rel=2e-2)
    doubled = fit_counts(row, labels + 1024, [True])
    assert doubled["lam_se"][0] == pytest.approx(2 * once["lam_se"][0], rel=1e-9)


def described(weights: Any) -> dict[str, Any]:
    counts = count_magnitudes(weights)
    found = describe_counts(counts.counts[None], counts.labels, [counts.exact], [counts.zeros])
    return {name: value[0] for name, value in found.items()}


@pytest.mark.parametrize("zeros", [0, 3, 7000])
@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("distribution", ["gaussian", "lognormal", "weibull"])
def test_statistics_equal_numpy(distribution: str, dtype: str, zeros: int) -> None:
    n = 20_000
    ordered = oracle.magnitudes(oracle.matrix(distribution, dtype, n))
    value = np.concatenate([np.zeros(zeros), ordered])
    special_values = [np.nan] if dtype == "float8_e4m3fn" else [np.nan, np.inf]
    stored = np.concatenate([value, special_values]).astype(oracle.DTYPES[dtype])
    found = described(stored)
    relative, sums = (1e-12, 1e-12) if dtype in oracle.EXACT else (2e-3, 1e-4)
    if distribution == "gaussian":
        sums = min(sums, 1e-5)
    assert found["n"] == n
    assert found["rms"] == pytest.approx(np.sqrt(np.mean(value**2)), rel=sums)
    assert found["mean_abs"] == pytest.approx(value.mean(), rel=sums)
    kurtosis = np.mean(value**4) / np.mean(value**2) ** 2
    assert found["kurtosis"] == pytest.approx(kurtosis, rel=max(sums, relative))
    expected = np.quantile(value, QUANTILES)
    if dtype in oracle.EXACT:
        np.testing.assert_allclose(found["quantile"], expected, rtol=relative)
    else:
        np.testing.assert_allclose(found["quantile"], expected, rtol=4e-3)
        inner = (np.array(QUANTILES) > 0.04) & (np.array(QUANTILES) < 0.96)
        np.testing.assert_allclose(found["quantile"][inner], expected[inner], rtol=relative)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10, 11, 100, 101])
def test_quantiles_of_few_weights_interpolate_as_numpy(n: int) -> None:
    value = np.round(np.random.default_rng(n).lognormal(size=n) * 8) / 8
    found = described(value)
    np.testing.assert_allclose(found["quantile"], np.quantile(value, QUANTILES), rtol=1e-14)


@pytest.mark.parametrize("n", [101, 700, 1000, 1500])
def test_neighbouring_quantiles_between_the_same_two_weights(n: int) -> None:
    stored = oracle.sample("lognormal", n, 9).astype(oracle.DTYPES["bfloat16"])
    found = described(stored)
    expected = np.quantile(np.abs(stored.astype(np.float64)), QUANTILES)
    np.testing.assert_allclose(found["quantile"], expected, rtol=1e-12)


def test_statistics_of_nothing() -> None:
    zeros = described(np.zeros(5))
    assert (zeros["n"], zeros["rms"], zeros["mean_abs"]) == (0, 0, 0)
    assert np.isnan(zeros["kurtosis"])
    assert zeros["quantile"].tolist() == [0] * len(QUANTILES)
    for weights in (np.empty(0), np.full(3, np.nan)):
        nothing = described(weights)
        assert nothing["n"] == 0
        assert np.isnan([nothing["rms"], nothing["mean_abs"], nothing["kurtosis"]]).all()
        assert np.isnan(nothing["quantile"]).all()


@pytest.mark.parametrize("scale", [1e-36, 1e30])
def test_fourth_powers_stay_in_range(scale: float) -> None:
    weights = (oracle.sample("gaussian", 5000, 3) * scale).astype(np.float32)
    value = weights.astype(np.float64) / scale
    found = described(weights)
    assert found["rms"] == pytest.approx(np.sqrt(np.mean(value**2)) * scale, rel=1e-4)
    assert found["kurtosis"] == pytest.approx(np.mean(value**4) / np.mean(value**2) ** 2, rel=1e-4)


@pytest.mark.parametrize("largest", [1.5e308, 1.7976931348623157e308])
def test_the_largest_float64_is_described_and_fitted(largest: float) -> None:
    weights = np.abs(oracle.sample("gaussian", 2000, 3)) + 1e-3
    weights = weights / weights.max() * largest
    found, ours = described(weights), fit_weibull(weights)
    assert found["rms"] == pytest.approx(
        np.sqrt(np.mean((weights / largest) ** 2)) * largest, rel=1e-3
    )
    assert found["quantile"][-1] == pytest.approx(np.quantile(weights, QUANTILES[-1]), rel=4e-3)
    reference = oracle.full_sort(oracle.magnitudes(weights), (0.1, 0.9))
    assert ours.k == pytest.approx(reference.k, rel=1e-3)


def test_a_subnormal_float64_among_normal_weights() -> None:
    weights = oracle.sample("gaussian", 5000, 3)
    weights[:2] = 5e-324
    ours = fit_weibull(weights)
    reference = oracle.full_sort(oracle.magnitudes(weights), (0.1, 0.9))
    assert ours.k == pytest.approx(reference.k, rel=1e-3)
    assert described(weights)["n"] == 5000
    assert np.isfinite(fit_weibull(weights, trim=(0, 1)).k)


def test_rows_of_one_table_do_not_touch_each_other() -> None:
    matrices = [
        oracle.matrix(name, dtype, 2000 + 7 * i)
        for i, (name, dtype) in enumerate(
            [("gaussian", "bfloat16"), ("laplace", "float32"), ("uniform", "float8_e4m3fn")] * 50
        )
    ]
    counted = [count_magnitudes(matrix) for matrix in matrices]
    labels = np.unique(np.concatenate([counts.labels for counts in counted]))
    table = np.zeros((len(counted), labels.size), np.uint32)
    for row, counts in zip(table, counted, strict=True):
        row[np.searchsorted(labels, counts.labels)] = counts.counts
    exact = [counts.exact for counts in counted]
    zeros = [counts.zeros for counts in counted]
    one, many = (fit_counts(table, labels, exact, workers=workers) for workers in (1, 4))
    plain = describe_counts(table, labels, exact, zeros)
    assert len(one["k"]) == 150
    for i in (0, 1, 2, 63, 64, 100, 149):
        alone = fit_weibull(matrices[i])
        for name in ESTIMATES:
            assert one[name][i] == many[name][i] == getattr(alone, name)
        single = described(matrices[i])
        assert plain["rms"][i] == pytest.approx(single["rms"], rel=1e-14)
        np.testing.assert_allclose(plain["quantile"][i], single["quantile"], rtol=1e-14)


def test_an_empty_table() -> None:
    labels = np.array([1047552])
    fitted = fit_counts(np.zeros((0, 1), np.uint32), labels, np.zeros(0, bool))
    assert [len(column) for column in fitted.values()] == [0] * 9
    assert describe_counts(np.zeros((0, 1)), labels, [], [])["quantile"].shape == (0, 12)


def test_count_rows_fill_what_a_join_left_open_and_widen_when_they_must() -> None:
    rows = as_count_rows([[1.0, np.nan], [3.0, 4.0]])
    assert rows.tolist() == [[1, 0], [3, 4]]
    assert rows.dtype == np.uint32
    same = np.zeros((1, 2), np.uint32)
    assert as_count_rows(same) is same
    assert as_count_rows([[2**32 - 1]]).dtype == np.uint32
    assert as_count_rows([[2**32]]).dtype == np.uint64


def test_more_weights_than_32_bits_count() -> None:
    counts = count_magnitudes(oracle.matrix("gaussian", "bfloat16", 10_000))
    factor = 10**8
    table = counts.counts[None] * factor
    fitted = fit_counts(table, counts.labels, [True])
    plain = describe_counts(table, counts.labels, [True], [0])
    ordered = oracle.magnitudes(oracle.matrix("gaussian", "bfloat16", 10_000))
    reference = oracle.full_sort(np.repeat(ordered, 50), (0.1, 0.9))
    assert plain["n"][0] == 10_000 * factor
    assert fitted["k"][0] == pytest.approx(reference.k, abs=1e-5)
    assert plain["rms"][0] == pytest.approx(np.sqrt(np.mean(ordered**2)), rel=1e-12)
    expected = np.quantile(ordered, QUANTILES, method="inverted_cdf")
    apart = np.abs(np.array(QUANTILES) * 10_000 % 1 - 0.5) < 0.4
    np.testing.assert_allclose(plain["quantile"][0][apart], expected[apart], rtol=1e-12)
    assert fitted["k_se"][0] == pytest.approx(1.4e-6, rel=0.1)


def repeated(*parts: tuple[float, int]) -> oracle.Array:
    return np.concatenate([np.full(count, value) for value, count in parts])


GAUSSIAN = oracle.sample("gaussian", 100, 1)


@pytest.mark.parametrize(
    ("weights", "status"),
    [
        (np.zeros((3, 4)), "all_zero"),
        (np.full((30, 40), 0.25), "constant"),
        (np.full(5, -0.25), "constant"),
        (repeated((0.25, 100), (-0.25, 100), (0.0, 9)), "constant"),
        (GAUSSIAN[:99], "too_few"),
        (GAUSSIAN, "ok"),
        (np.concatenate([GAUSSIAN[:99], np.zeros(50)]), "too_few"),
        (np.concatenate([GAUSSIAN[:99], [np.nan] * 9]), "too_few"),
        (np.concatenate([GAUSSIAN, [np.nan]]), "nonfinite"),
        (np.concatenate([GAUSSIAN, [-np.inf]]), "nonfinite"),
        (np.concatenate([GAUSSIAN, np.zeros(9)]), "ok"),
        (repeated((1.0, 60), (2.0, 60)), "ok"),
        (repeated((1.0, 5), (2.0, 95)), "degenerate"),
        (repeated((1.0, 5), (2.0, 90), (3.0, 5)), "degenerate"),
        (repeated((1.0, 11), (2.0, 89)), "ok"),
        (repeated((1.0, 10), (2.0, 90)), "degenerate"),
        (np.full(200, np.nan), "no_finite"),
        (np.array([np.inf, np.nan]), "no_finite"),
        (np.array([0.0, np.nan]), "all_zero"),
        (np.empty((0, 7)), "empty"),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_statuses(weights: oracle.Array, status: str, dtype: str) -> None:
    fitted = fit_weibull(weights.astype(oracle.DTYPES[dtype]))
    assert fitted.status == status
    missing = [np.isnan(getattr(fitted, name)) for name in ESTIMATES]
    assert missing == [status not in {"ok", "nonfinite"}] * len(ESTIMATES)
    assert fitted.n == fitted.counts.n == np.count_nonzero(weights[np.isfinite(weights)])


def test_a_wider_trim_may_fit_what_a_narrow_one_cannot() -> None:
    weights = repeated((1.0, 5), (2.0, 90), (3.0, 5))
    assert fit_weibull(weights, trim=(0, 1)).status == "ok"
    assert fit_weibull(weights, estimator="maximum_likelihood").status == "ok"


@pytest.mark.parametrize("estimator", [RANK, LIKELIHOOD])
def test_two_values_give_the_line_of_the_full_sort(estimator: Any) -> None:
    weights = repeated((1.0, 70), (2.0, 50))
    fitted = fit_weibull(weights, trim=(0, 1), estimator=estimator)
    ordered = oracle.magnitudes(weights)
    reference = (
        oracle.full_sort(ordered, (0, 1))
        if estimator == RANK
        else oracle.maximum_likelihood(ordered)
    )
    assert fitted.k == pytest.approx(reference.k, rel=1e-9)
    assert fitted.lam == pytest.approx(reference.lam, rel=1e-9)


def test_the_fewest_weights_are_a_hundred() -> None:
    assert MINIMUM_WEIGHTS == 100


def test_repr_states_the_estimates_the_reference_and_the_protocol() -> None:
    weights = oracle.sample("gaussian", 10_000, 1)
    fitted = fit_weibull(weights)
    text = repr(fitted)
    assert text.startswith(f"<WeibullFit: k = {fitted.k:.4f} ± {fitted.k_se:.4f} (Gaussian 1.2054)")
    assert text.endswith("n = 10,000; rank regression, trim 10–90 %>")
    likelihood = repr(fit_weibull(weights, estimator="maximum_likelihood"))
    assert "(Gaussian 1.2628)" in likelihood
    assert likelihood.endswith("maximum likelihood, trim 0–100 %>")
    weights[0] = np.nan
    assert repr(fit_weibull(weights)).startswith("<WeibullFit [nonfinite]: k =")
    assert repr(fit_weibull(np.zeros(3))) == (
        "<WeibullFit: all_zero; n = 0; rank regression, trim 10–90 %>"
    )


def test_weights_may_be_lists_tensors_and_counts() -> None:
    weights = oracle.sample("laplace", 500, 1).reshape(20, 25)
    expected = fit_weibull(weights)
    for form in (weights.tolist(), torch.tensor(weights), count_magnitudes(weights)):
        found = fit_weibull(form)
        assert [getattr(found, name) for name in ESTIMATES] == [
            getattr(expected, name) for name in ESTIMATES
        ]
    counts = count_magnitudes(weights)
    assert fit_weibull(counts).counts is counts
    assert fit_weibull(Counts()).status == "empty"


def test_protocol_errors_come_before_the_work() -> None:
    unknown: Any = "ols"
    with pytest.raises(ValueError, match="`estimator` must be one of"):
        fit_weibull("not even weights", estimator=unknown)
    with pytest.raises(ValueError, match="`trim`"):
        fit_counts([[1]], [1047552], [True], trim=(0.9, 0.1))
    with pytest.raises(TypeError, match="`trim`"):
        fit_counts([[1]], [1047552], [True], trim=0.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="complex64"):
        fit_weibull(np.ones(200, np.complex64))
    with pytest.raises(ValueError, match="`device`"):
        fit_weibull(np.ones(200), device="gpu")


def test_exponential_integral_agrees_with_scipy() -> None:
    edges = [3.9999999, 4.0, 4.0000001, 1e-300, 1e-17, 700.0]
    t = np.concatenate([np.geomspace(1e-12, 50, 4001), edges])
    ours = np.array([kernels.exponential_integral(value, np.log(value)) for value in t])
    expected = special.exp1(t)
    assert np.abs(ours - expected).max() < 4e-14
    beyond = t > 0.1
    assert np.abs(ours - expected)[beyond].max() < 1e-15


def test_tabulated_distribution_agrees_with_its_formula() -> None:
    s = np.linspace(-40, 8, 20_011)
    ours = np.array([kernels.weibull_of_ordinate(value) for value in s])
    np.testing.assert_allclose(ours, -np.expm1(-np.exp(s)), rtol=0, atol=3e-11)


@pytest.mark.parametrize("limit", [-16.0, 4.0])
def test_tabulated_distribution_at_its_limits(limit: float) -> None:
    for s in (np.nextafter(limit, -99), limit, np.nextafter(limit, 99)):
        expected = -np.expm1(-np.exp(s))
        assert kernels.weibull_of_ordinate(float(s)) == pytest.approx(expected, abs=3e-11)


@pytest.mark.parametrize("n", [100, 101, 1000, 4095, 4096, 65536])
def test_sums_over_ranks_equal_direct_sums(n: int) -> None:
    position = (np.arange(1, n + 1) - 0.5) / n
    y = np.log(-np.log1p(-position))
    ranks = np.unique(np.r_[0:40, n - 40 : n + 1, np.linspace(0, n, 60).astype(int)])
    prefix, edge = np.array([kernels.prefix_sum(float(rank), float(n)) for rank in ranks]).T
    direct = np.concatenate([[0.0], np.cumsum(y.astype(np.longdouble))]).astype(float)[ranks]
    np.testing.assert_allclose(prefix - prefix[0], direct, rtol=1e-11, atol=3e-9)
    inner = (ranks > 0) & (ranks < n)
    share = ranks[inner] / n
    np.testing.assert_allclose(edge[inner], np.log(-np.log1p(-share)), rtol=1e-9, atol=1e-11)
    for first in (1, 2, 16, 17, 18, n // 10, n // 2):
        for last in (first, first + 1, n // 2 + 70, n - 17, n - 16, n - 15, n - 1, n):
            if not first <= last <= n:
                continue
            expected = np.sum(y[first - 1 : last] ** 2)
            ours = kernels.square_sum(float(first), float(last), float(n))
            assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9)


EDGES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 0.05, 0.1, 0.3, 0.5, 0.6, 0.9, 0.95, 1.0]),
    st.fractions(0, 1, max_denominator=200).map(float),
)


@settings(max_examples=400, deadline=None)
@given(st.integers(1, 3000), EDGES, EDGES)
def test_trim_ranks_equal_a_direct_comparison(n: int, a: float, b: float) -> None:
    lower, upper = min(a, b), max(a, b)
    position = (np.arange(1, n + 1) - 0.5) / n
    inside = np.flatnonzero((position >= lower) & (position <= upper)) + 1
    first, last = kernels.trim_ranks(float(n), lower, upper)
    if inside.size:
        assert (first, last) == (inside[0], inside[-1])
    else:
        assert first > last


@pytest.mark.parametrize(
    ("n", "trim", "ranks"),
    [
        (100, (0.1, 0.9), (11, 90)),
        (105, (0.1, 0.9), (11, 95)),
        (1005, (0.1, 0.9), (101, 905)),
        (1000, (0.0, 1.0), (1, 1000)),
        (10, (0.05, 0.95), (1, 10)),
        (10, (0.0501, 0.9499), (2, 9)),
        (2**40, (0.1, 0.9), (109951162779, 989560464998)),
    ],
)
def test_trim_ranks_at_their_edges(
    n: int, trim: tuple[float, float], ranks: tuple[int, int]
) -> None:
    assert kernels.trim_ranks(float(n), *trim) == ranks
