"""The look at every line, against numpy over the influence of each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits, decode
from weibnb.fitting.estimates import influences
from weibnb.fitting.full_look import look_at_all
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts

    Array = NDArray[Any]

PROTOCOLS: list[Any] = [
    {"trim": (0.1, 0.9), "estimator": "rank_regression"},
    {"trim": (0.0, 1.0), "estimator": "maximum_likelihood"},
]


def products(values: Array, counts: Counts, v: Array) -> Array:
    """Sum the squares and products of the sums of v over rows, and over columns."""
    each = np.zeros((2, *values.shape))
    there = np.isfinite(values) & (values != 0)
    at = np.searchsorted(counts.values, np.abs(values[there]), side="right") - 1
    each[:, there] = v[:, at]
    sums = np.concatenate([each.sum(2), each.sum(1)], 1)
    return np.array([sums[0] @ sums[0], sums[1] @ sums[1], sums[0] @ sums[1]])


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", ["plain", "spoiled", "upcast"])
@pytest.mark.parametrize("dtype", sorted(oracle.DTYPES))
def test_products_and_scales_of_every_line(dtype: str, kind: str, protocol: Any) -> None:
    rng = np.random.default_rng(2)
    shape = (60, 45)
    weights = rng.normal(0, 0.3, shape) * np.exp(rng.normal(0, 0.5, (60, 1)))
    if kind == "upcast":
        weights = weights.astype(oracle.DTYPES["bfloat16"]).astype(float)
    if kind == "spoiled":
        weights[3], weights[7, 2], weights[:, 5], weights[0, 0] = 0.0, np.nan, -0.0, np.nan
    stored = weights.astype(oracle.DTYPES[dtype])
    bits, form = as_bits(stored)
    counts = count_magnitudes(stored)
    look = look_at_all(bits, form, shape, counts, workers=2, **protocol)
    values = decode(bits, form).reshape(shape)
    _, v = influences(CountRows.of([counts]), **protocol)
    expected = products(values, counts, v)
    np.testing.assert_allclose(look.products, expected, rtol=1e-4, atol=1e-4 * expected[0])
    for axis, rms in ((1, look.row_rms), (0, look.column_rms)):
        np.testing.assert_allclose(rms, np.sqrt(np.nanmean(values**2, axis)), rtol=1e-6)


@pytest.mark.parametrize("value", [0.0, -0.0, np.nan])
def test_a_matrix_without_a_weight_to_fit(value: float) -> None:
    weights = np.full((5, 9), value, np.float32)
    counts = count_magnitudes(weights)
    bits, form = as_bits(weights)
    look = look_at_all(bits, form, (5, 9), counts, workers=1, **PROTOCOLS[0])
    assert not look.products.any()
    expected = 0.0 if value == 0 else np.nan
    np.testing.assert_array_equal(look.row_rms, np.full(5, expected))
    np.testing.assert_array_equal(look.column_rms, np.full(9, expected))


def test_sums_of_long_lines_fit_their_word() -> None:
    """All weights of a line have the largest influence, of one sign."""
    weights = np.ones((2, 70_000), np.float16)
    weights[0] = np.linspace(0.5, 2, 70_000)
    weights[1, :35_000] = 1e-3
    counts = count_magnitudes(weights)
    bits, form = as_bits(weights)
    look = look_at_all(bits, form, (2, 70_000), counts, workers=1, **PROTOCOLS[0])
    _, v = influences(CountRows.of([counts]), **PROTOCOLS[0])
    expected = products(weights.astype(float), counts, v)
    np.testing.assert_allclose(look.products, expected, rtol=1e-3)
