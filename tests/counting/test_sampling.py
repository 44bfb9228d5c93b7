"""Blocks of rows: which, and what is kept of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weibnb import count_magnitudes
from weibnb.counting.counts import merged
from weibnb.counting.lines import SAMPLED
from weibnb.counting.sampling import RowBlocks, count_block, lines_of_blocks


@given(
    rows=st.integers(0, 300),
    columns=st.integers(1, 50),
    itemsize=st.sampled_from([1, 2, 4, 8]),
    nbytes=st.integers(1, 5000),
)
def test_blocks_tile_the_rows(rows: int, columns: int, itemsize: int, nbytes: int) -> None:
    blocks = RowBlocks.of((rows, columns), itemsize=itemsize, nbytes=nbytes, seed=3)
    places = [blocks.rows_of(place) for place in sorted(blocks.order.tolist())]
    assert [row for first, stop in places for row in range(first, stop)] == list(range(rows))
    largest = max((stop - first for first, stop in places), default=0)
    assert largest <= 1 or largest * columns * itemsize <= nbytes


def test_the_order_depends_on_the_seed_alone() -> None:
    first, again, other = (
        RowBlocks.of((100, 8), itemsize=2, nbytes=16, seed=seed).order.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("dtype", ["F16", "F32"])
def test_all_blocks_together_are_the_matrix(dtype: str) -> None:
    kind = {"F16": "f2", "F32": "f4"}[dtype]
    weights = np.random.default_rng(0).normal(size=(70, 40)).astype(kind)
    bits = weights.view(f"u{weights.itemsize}")
    blocks = RowBlocks.of(bits.shape, itemsize=bits.itemsize, nbytes=320, seed=0)
    counted = [
        count_block(bits[slice(*blocks.rows_of(i))], dtype, first=blocks.is_first(i))
        for i in sorted(blocks.order)
    ]
    assert merged([block.counts for block in counted]) == count_magnitudes(weights)
    lines = lines_of_blocks(counted, dtype, 70)
    assert lines is not None
    assert lines.share == 1.0
    assert len(lines.rows) == SAMPLED
    assert all((row == bits).all(1).any() for row in lines.rows)
    assert all((column[:, None] == bits).all(0).any() for column in lines.columns.T)


def test_too_few_rows_give_no_lines() -> None:
    counted = [count_block(np.ones((3, 40), np.uint16), "F16", first=True)]
    assert lines_of_blocks(counted, "F16", 90) is None
