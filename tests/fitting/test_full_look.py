"""The look at every line, against numpy over the influence of each weight."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits, decode
from weibnb.counting.lines import lines_of
from weibnb.fitting.estimates import COVARIANCE, fit_counts, influences
from weibnb.fitting.full_look import look_at_all
from weibnb.fitting.rank_functions import FUNCTIONS, PAIRS
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
    """Sum the squares and products of what rows, and columns, have.

    It is the sum of v over the line, and weights times (RMS over that of all lines) to the power
    of 1.5, less its mean.
    """
    each = np.zeros((2, *values.shape))
    there = np.isfinite(values) & (values != 0)
    at = np.searchsorted(counts.values, np.abs(values[there]), side="right") - 1
    each[:, there] = v[:, at]
    found = np.zeros((3, 3))
    for axis in (1, 0):
        rms = np.sqrt(np.nanmean(values**2, axis))
        scale = values.shape[axis] * (rms / np.sqrt(np.mean(rms**2))) ** 1.5
        of_lines = np.concatenate([each.sum(1 + axis), [scale - scale.mean()]])
        found += of_lines @ of_lines.T
    return found


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
    v = np.nan_to_num(influences(CountRows.of([counts]), **protocol)[1])
    expected = products(values, counts, v)
    np.testing.assert_allclose(look.products, expected, rtol=1e-4, atol=1e-4 * expected[0, 0])
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
    v = np.nan_to_num(influences(CountRows.of([counts]), **PROTOCOLS[0])[1])
    expected = products(weights.astype(float), counts, v)
    np.testing.assert_allclose(look.products, expected, rtol=1e-3)


def drawn(law: str, shape: tuple[int, int]) -> Array:
    """Weights in rows, columns or both of unequal scale."""
    rng = np.random.default_rng(4)
    weights = rng.normal(size=shape)
    if law != "columns":
        weights *= np.exp(rng.normal(0, 0.5, (shape[0], 1)))
    if law != "rows":
        weights *= np.exp(rng.normal(0, 0.5, shape[1]))
    return weights.astype(np.float16)


def fitted(weights: Array, sampled: int, *, look: bool) -> Any:
    """Fit with the sums over every line, or without them."""
    bits, form = as_bits(weights)
    counts = count_magnitudes(weights)
    lines = lines_of(bits, form, weights.shape, sampled)
    if look:
        found = look_at_all(
            bits, form, weights.shape, counts, workers=1, lines=lines, **PROTOCOLS[0]
        )
        lines = replace(lines, products=found.products, scales=found.scales)
    return fit_counts(CountRows.of([counts]), lines=[lines], workers=1)


def covariance(weights: Array, sampled: int, *, look: bool) -> Array:
    """Covariance of the rank functions: (functions, functions)."""
    kept = np.zeros((FUNCTIONS, FUNCTIONS))
    kept[PAIRS] = kept[PAIRS[::-1]] = fitted(weights, sampled, look=look)[COVARIANCE][0]
    return kept


@pytest.mark.parametrize("law", ["rows", "columns", "both"])
def test_what_all_lines_tell_changes_nothing_where_all_were_copied(law: str) -> None:
    """But for weights of one class that differ, which are few where all ranks have their own."""
    weights = drawn(law, (60, 45))
    alone, beside = (covariance(weights, 60, look=look) for look in (False, True))
    size = np.sqrt(np.diag(alone))
    assert np.abs((beside - alone) / np.outer(size, size)).max() < 0.02


@pytest.mark.parametrize("law", ["rows", "columns", "both"])
def test_rank_functions_follow_what_all_lines_tell(law: str) -> None:
    """Against all lines: nearer than the sample alone, and within a tenth of the variance."""
    weights = drawn(law, (500, 400))
    every = covariance(weights, 500, look=False)
    size = np.sqrt(np.diag(every))
    off = [
        np.abs(covariance(weights, 64, look=look) - every) / np.outer(size, size)
        for look in (False, True)
    ]
    assert off[1].max() < 0.1
    assert off[1].max() < off[0].max() / 2


def test_rank_functions_follow_where_many_weights_are_zero() -> None:
    weights = drawn("rows", (500, 400))
    weights[np.random.default_rng(5).random(weights.shape) < 0.1] = 0.0
    every = covariance(weights, 500, look=False)
    size = np.sqrt(np.diag(every))
    off = np.abs(covariance(weights, 64, look=True) - every) / np.outer(size, size)
    assert off.max() < 0.1


def test_scales_are_those_of_the_lines_that_were_copied() -> None:
    weights = drawn("both", (120, 90)).astype(np.float32)
    bits, form = as_bits(weights)
    lines = lines_of(bits, form, weights.shape, 20)
    look = look_at_all(
        bits, form, weights.shape, count_magnitudes(weights), workers=1, lines=lines, **PROTOCOLS[0]
    )
    own = [decode(one, form) for one in (lines.rows, lines.columns.T)]
    of_all = [np.sqrt((weights.astype(float) ** 2).mean(axis)) for axis in (1, 0)]
    for scales, some, every in zip(np.split(look.scales, 2), own, of_all, strict=True):
        power = (np.sqrt((some**2).mean(1)) / np.sqrt((every**2).mean())) ** 1.5
        mean = ((every / np.sqrt((every**2).mean())) ** 1.5).mean()
        np.testing.assert_allclose(scales, some.shape[1] * (power - mean), rtol=1e-4, atol=1e-4)
