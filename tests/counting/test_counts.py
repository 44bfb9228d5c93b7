"""Counts of magnitudes on the common grid, and their sums."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracle
from tests.counting.samples import any_pattern, reference, wide
from tests.oracle import same_counts as same
from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_patterns_of_a_large_format_are_counted_in_intervals(dtype: str) -> None:
    weights = any_pattern(dtype, 200_000)
    value = wide(weights)
    normal = np.abs(value) >= np.finfo(dtype).tiny
    weights = weights[normal | ~np.isfinite(value)]
    counts = count_magnitudes(weights)
    same(counts, reference(weights))
    assert not counts.exact
    assert counts.nans > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormals_are_not_zeros(dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    weights = np.array([tiny, -tiny, 0, -0.0, tiny * 3, np.finfo(dtype).tiny / 2], dtype)
    counts = count_magnitudes(weights)
    assert (counts.zeros, counts.n) == (2, 4)
    assert counts.largest == np.finfo(dtype).tiny / 2
    assert (np.diff(counts.labels) > 0).all()
    assert (counts.values <= float(np.finfo(dtype).tiny) / 2).all()


def test_subnormals_of_bfloat16_stay_exact_when_upcast() -> None:
    weights = any_pattern("bfloat16")[:1024]
    same(count_magnitudes(weights), count_magnitudes(weights.astype(np.float32)))


@pytest.mark.parametrize("wide_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", oracle.EXACT)
def test_upcast_weights_have_the_counts_of_the_narrow_ones(dtype: str, wide_dtype: str) -> None:
    weights = any_pattern(dtype)
    weights = weights[~np.isnan(wide(weights))]
    same(count_magnitudes(weights), count_magnitudes(weights.astype(wide_dtype)))


MERGED = {
    "exact + exact": ("float16", "bfloat16"),
    "fp8 + exact": ("float8_e4m3fn", "float16"),
    "exact + interval": ("bfloat16", "float32"),
    "interval + exact": ("float64", "float16"),
    "interval + interval": ("float32", "float64"),
}


@pytest.mark.parametrize("case", MERGED)
def test_merging_equals_counting_the_concatenation(case: str) -> None:
    left, right = (oracle.matrix("gaussian", name, 4000, seed=5) for name in MERGED[case])
    merged = count_magnitudes(left) + count_magnitudes(right)
    together = np.concatenate([left.astype(np.float64), right.astype(np.float64)])
    same(merged, count_magnitudes(together))
    assert merged.exact == ("interval" not in case)
    same(merged + Counts(), merged)
    same(Counts() + merged, merged)


def test_merging_leaves_its_parts_alone() -> None:
    left, right = count_magnitudes([1.0, 2.0]), count_magnitudes([2.0, 1 / 3])
    before = left.counts.copy(), right.counts.copy(), left.labels.copy()
    both = left + right
    assert both.counts.tolist() == [1, 1, 2]
    for kept, now in zip(before, (left.counts, right.counts, left.labels), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_repr_tells_values_from_intervals() -> None:
    values = repr(count_magnitudes([1.0, -1.0, 0.0, np.nan, np.inf]))
    assert values == "<Counts of 2 non-zero weights in 1 values, 1 zeros, 2 not finite>"
    assert "2 intervals" in repr(count_magnitudes([1 / 3, 1 / 7]))
