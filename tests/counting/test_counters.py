"""Where the bins of counts lie among the counters of a format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.counters import by_counter, counters_of
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("size", [20, 3000])
def test_every_weight_finds_its_bin(dtype: str, size: int) -> None:
    """By its bits alone, against a search among the values of the bins."""
    weights = np.random.default_rng(4).normal(0, 0.3, size).astype(oracle.DTYPES[dtype])
    weights[:3] = 0.0
    counts = count_magnitudes(weights)
    bits, name = as_bits(weights)
    counters = counters_of(name, exact=counts.exact)
    bins = np.stack([np.arange(1, counts.labels.size + 1), np.full(counts.labels.size, 7)])
    table = by_counter(counters, counts.labels, bins)
    found = table[:, (bits & counters.mask) >> counters.shift]
    magnitude = np.abs(weights.astype(float))
    there = magnitude > 0
    expected = np.searchsorted(counts.values, magnitude, side="right")
    np.testing.assert_array_equal(found[0], np.where(there, expected, 0))
    np.testing.assert_array_equal(found[1], np.where(there, 7, 0))
    assert (table[0] > 0).sum() >= counts.labels.size


def test_bins_of_no_counter_have_no_place() -> None:
    """Those of another format: between, below and above all of the counters."""
    counters = counters_of("F8_E4M3", exact=True)
    strange = np.array([4, counters.labels[5] + 1, counters.labels[-1] + 1024], np.int32)
    assert not by_counter(counters, strange, np.ones(3)).any()
    both = np.sort(np.append(strange, counters.labels[5]))
    assert np.flatnonzero(by_counter(counters, both, np.ones(4))).tolist() == [5]


def test_zeros_and_no_bins_at_all() -> None:
    counters = counters_of("BF16", exact=True)
    assert not by_counter(counters, counters.labels[:1], np.ones(1)).any()
    assert by_counter(counters, np.empty(0, np.int32), np.empty((2, 0))).shape == (2, 1 << 15)
