"""Fits of many matrices at once, at both ends of size and of magnitude."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracle
from tests.fitting.test_statistics import described
from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting.estimates import ESTIMATES, fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.single import fit_weibull
from weibnb.fitting.statistics import describe_counts
from weibnb.fitting.weibull import QUANTILES


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


@pytest.mark.parametrize("distribution", oracle.DISTRIBUTIONS)
@pytest.mark.parametrize("n", [128, 4096, 65_536])
def test_intervals_cost_less_than_one_percent_of_the_standard_error(
    n: int, distribution: str
) -> None:
    weights = (0.02 * oracle.sample(distribution, n, 5)).astype(np.float32)
    ours = fit_weibull(weights)
    reference = oracle.full_sort(oracle.magnitudes(weights), (0.1, 0.9))
    assert not ours.counts.exact
    assert abs(ours.k - reference.k) < 0.01 * ours.k_se
    assert abs(ours.lam - reference.lam) < 0.01 * ours.lam_se


def test_rows_of_one_table_do_not_touch_each_other() -> None:
    matrices = [
        oracle.matrix(name, dtype, 2000 + 7 * i)
        for i, (name, dtype) in enumerate(
            [("gaussian", "bfloat16"), ("laplace", "float32"), ("uniform", "float8_e4m3fn")] * 50
        )
    ]
    counted = [count_magnitudes(matrix) for matrix in matrices]
    rows = CountRows.of(counted)
    one, many = (fit_counts(rows, workers=workers) for workers in (1, 4))
    plain = describe_counts(rows)
    assert len(one["k"]) == 150
    for i in (0, 1, 2, 63, 64, 100, 149):
        alone = fit_weibull(matrices[i])
        for name in ESTIMATES:
            assert one[name][i] == many[name][i] == getattr(alone, name)
        for name, value in described(matrices[i]).items():
            np.testing.assert_array_equal(plain[name][i], value, name)


def test_an_empty_table() -> None:
    rows = CountRows.of([])
    assert [len(column) for column in fit_counts(rows).values()] == [0] * 10
    assert describe_counts(rows)["quantile"].shape == (0, 12)


def test_more_weights_than_32_bits_count() -> None:
    counts = count_magnitudes(oracle.matrix("gaussian", "bfloat16", 10_000))
    factor = 10**8
    rows = CountRows.of([Counts(counts.labels, counts.counts * factor)])
    fitted, plain = fit_counts(rows), describe_counts(rows)
    ordered = oracle.magnitudes(oracle.matrix("gaussian", "bfloat16", 10_000))
    reference = oracle.full_sort(np.repeat(ordered, 50), (0.1, 0.9))
    assert plain["n"][0] == 10_000 * factor
    assert fitted["k"][0] == pytest.approx(reference.k, abs=1e-5)
    assert plain["rms"][0] == pytest.approx(np.sqrt(np.mean(ordered**2)), rel=1e-12)
    expected = np.quantile(ordered, QUANTILES, method="inverted_cdf")
    apart = np.abs(np.array(QUANTILES) * 10_000 % 1 - 0.5) < 0.4
    np.testing.assert_allclose(plain["quantile"][0][apart], expected[apart], rtol=1e-12)
    assert fitted["k_se"][0] == pytest.approx(1.4e-6, rel=0.1)


def ks_of_a_gaussian(levels: int | None, dtype: Any) -> tuple[float, float]:
    """`ks` and `ks_midrank` of a Gaussian restored from integers with one scale."""
    weights = oracle.sample("gaussian", 1 << 18, 5)
    if levels:
        step = np.abs(weights).max() / levels
        weights = np.round(weights / step) * step
    found = fit_weibull(weights.astype(dtype))
    return found.ks, found.ks_midrank


def test_ks_is_the_largest_distance_and_its_mid_ranks_are_free_of_the_grid() -> None:
    four_bits = ks_of_a_gaussian(7, np.float16)
    assert four_bits == pytest.approx((0.27, 0.03), abs=0.02)
    plain, raw = ks_of_a_gaussian(None, np.float16), ks_of_a_gaussian(None, np.float32)
    assert plain[1] == pytest.approx(raw[1], abs=2e-4)
    assert plain[0] == pytest.approx(plain[1], abs=1e-3)
    assert raw[0] == raw[1]


@pytest.mark.parametrize(
    ("dtype", "scale", "status"),
    [
        ("float32", 1e-34, "ok"),
        ("float32", 1e-39, "subnormal"),
        ("float32", 1e-40, "subnormal"),
        ("float64", 1e-40, "ok"),
        ("float64", 1e-304, "ok"),
        ("float64", 1e-309, "subnormal"),
        ("float64", 1e-310, "subnormal"),
    ],
)
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.001, 1.0)])
@pytest.mark.parametrize("n", [2_000, 1 << 17])
def test_a_fit_is_right_or_refused_among_the_smallest_numbers(
    n: int, trim: tuple[float, float], dtype: str, scale: float, status: str
) -> None:
    weights = oracle.sample("gaussian", n, 5)
    found = fit_weibull((weights * scale).astype(dtype), trim=trim)
    assert found.status == status
    if status == "ok":
        expected = fit_weibull(weights.astype(dtype), trim=trim)
        assert found.k == pytest.approx(expected.k, rel=1e-3)
        assert found.lam / scale == pytest.approx(expected.lam, rel=1e-3)
    else:
        assert np.isnan(found.k)
