"""Plain statistics of |w| against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting.rows import CountRows
from weibnb.fitting.statistics import describe_counts
from weibnb.fitting.weibull import QUANTILES


def described(weights: Any) -> dict[str, Any]:
    counts = count_magnitudes(weights)
    found = describe_counts(CountRows.of([counts]))
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
