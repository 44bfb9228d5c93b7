"""Ranks inside a trim against a direct comparison."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weibnb.fitting.kernels import trim_ranks

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
    first, last = trim_ranks(float(n), lower, upper)
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
    assert trim_ranks(float(n), *trim) == ranks
