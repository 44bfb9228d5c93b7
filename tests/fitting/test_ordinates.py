"""Sums of ordinates and tables against scipy and direct sums."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from weibnb.fitting.ordinates import (
    exponential_integral,
    prefix_sum,
    square_sum,
    weibull_of_ordinate,
)


def test_exponential_integral_agrees_with_scipy() -> None:
    edges = [3.9999999, 4.0, 4.0000001, 1e-300, 1e-17, 700.0]
    t = np.concatenate([np.geomspace(1e-12, 50, 4001), edges])
    ours = np.array([exponential_integral(value, np.log(value)) for value in t])
    expected = special.exp1(t)
    assert np.abs(ours - expected).max() < 4e-14
    beyond = t > 0.1
    assert np.abs(ours - expected)[beyond].max() < 1e-15


def test_tabulated_distribution_agrees_with_its_formula() -> None:
    s = np.linspace(-40, 8, 20_011)
    ours = np.array([weibull_of_ordinate(value) for value in s])
    np.testing.assert_allclose(ours, -np.expm1(-np.exp(s)), rtol=0, atol=3e-11)


@pytest.mark.parametrize("limit", [-16.0, 4.0])
def test_tabulated_distribution_at_its_limits(limit: float) -> None:
    for s in (np.nextafter(limit, -99), limit, np.nextafter(limit, 99)):
        expected = -np.expm1(-np.exp(s))
        assert weibull_of_ordinate(float(s)) == pytest.approx(expected, abs=3e-11)


@pytest.mark.parametrize("n", [100, 101, 1000, 4095, 4096, 65536])
def test_sums_over_ranks_equal_direct_sums(n: int) -> None:
    position = (np.arange(1, n + 1) - 0.5) / n
    y = np.log(-np.log1p(-position))
    ranks = np.unique(np.r_[0:40, n - 40 : n + 1, np.linspace(0, n, 60).astype(int)])
    prefix, edge = np.array([prefix_sum(float(rank), float(n)) for rank in ranks]).T
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
            ours = square_sum(float(first), float(last), float(n))
            assert ours == pytest.approx(expected, rel=1e-9, abs=1e-9)
