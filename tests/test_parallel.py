"""Matrices that threads share."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weibnb.parallel import shares


@given(st.integers(0, 2000), st.integers(1, 128))
def test_every_matrix_once_in_order(number: int, workers: int) -> None:
    parts = shares(number, workers)
    assert [i for part in parts for i in range(part.start, part.stop)] == list(range(number))


@pytest.mark.parametrize(
    ("number", "workers", "sizes"),
    [
        (8, 2, [8]),
        (9, 2, [8, 1]),
        (32, 2, [16, 16]),
        (128, 2, [64, 64]),
        (129, 2, [64, 64, 1]),
        (128, 1, [64, 64]),
        (0, 2, [0]),
    ],
)
def test_threads_are_used_where_they_are_worth_it(
    number: int, workers: int, sizes: list[int]
) -> None:
    assert [part.stop - part.start for part in shares(number, workers)] == sizes
