"""The look at every line, against numpy over the influence of each weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits, decode
from weibnb.counting.lines import FEWEST
from weibnb.fitting.estimates import influences
from weibnb.fitting.full_look import look_at_all
from weibnb.fitting.line_sums import LARGEST, LOOKED_AT, of_every_scale
from weibnb.fitting.rank_functions import by_class, rank_functions
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
    v = np.nan_to_num(influences(CountRows.of([counts]), **protocol)[1])
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
    v = np.nan_to_num(influences(CountRows.of([counts]), **PROTOCOLS[0])[1])
    expected = products(weights.astype(float), counts, v)
    np.testing.assert_allclose(look.products, expected, rtol=1e-3)


@pytest.mark.parametrize("shape", [(60, 45), (300, 150), (7, 400)])
def test_rank_functions_are_clustered_by_many_lines(shape: tuple[int, int]) -> None:
    """Against sums over all lines of a decoded matrix."""
    rng = np.random.default_rng(4)
    weights = (rng.normal(size=shape) * np.exp(rng.normal(0, 0.5, (shape[0], 1)))).astype("f2")
    bits, form = as_bits(weights)
    counts = count_magnitudes(weights)
    found = look_at_all(bits, form, shape, counts, workers=1, **PROTOCOLS[0]).functions
    if min(shape) < FEWEST:
        assert np.isnan(found).all()
        return
    rows = CountRows.of([counts])
    classes, masses, _ = by_class(rows, np.empty((0, counts.labels.size)))
    f = rank_functions(masses)[0]
    each = f[:, classes[np.searchsorted(counts.values, np.abs(weights.astype(float)))]]
    own = np.einsum("aij,bij->ab", each, each)
    of_lines = sum(each.sum(axis) @ each.sum(axis).T for axis in (1, 2))
    ratio = stats.t.ppf(0.975, min(shape) - 1) / stats.norm.ppf(0.975)
    expected = (of_lines - 2 * own) / weights.size**2 * ratio**2
    error = np.sqrt(np.outer(*2 * [np.diag(expected)])) * (0 if max(shape) <= LOOKED_AT else 0.05)
    assert (np.abs(found - expected) <= error + 1e-9 * np.abs(expected)).all()


@pytest.mark.parametrize("size", [8, LOOKED_AT, LOOKED_AT + 1, 500, 5000])
def test_lines_of_every_scale_stand_for_all(size: int) -> None:
    rms = np.exp(np.random.default_rng(1).normal(0, 0.5, size))
    rms[3] = np.nan
    numbers, standing_for = of_every_scale(rms)
    assert standing_for.sum() == pytest.approx(size)
    assert np.unique(numbers).size == numbers.size == min(size, LOOKED_AT)
    largest = np.argsort(np.nan_to_num(rms))[-min(size, LARGEST) :]
    assert np.isin(largest, numbers).all()
    assert (standing_for[np.isin(numbers, largest)] == 1).all()
    known = np.nan_to_num(rms) ** 4
    assert standing_for @ known[numbers] == pytest.approx(known.sum(), rel=0.1)
