"""Blocks of neighbouring rows of a matrix at random places: what is counted where not all is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.cpu import count_bits
from weibnb.counting.lines import FEWEST, SAMPLED, Lines, choice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits

    Shape = tuple[int, int]

#: Fewest blocks of a matrix from which an error between blocks is estimated, one of each of as many
#: parts of its rows.
FEWEST_BLOCKS = 16
# The order in which parts are visited, so that those visited so far are spread over all.
_VISITED = np.array([int(f"{i:04b}"[::-1], 2) for i in range(FEWEST_BLOCKS)])
# Rows of each of the first blocks that are kept as lines.
_ROWS_KEPT = SAMPLED // FEWEST_BLOCKS


@dataclass(frozen=True, slots=True, eq=False)
class RowBlocks:
    """A matrix cut into blocks of whole rows as stored, in the order in which they are drawn.

    Attributes
    ----------
    rows, height : int
        Rows of the matrix and of a block; the last block may have fewer.
    order : ndarray of int64, shape (blocks,)
        All blocks in an order that depends on the seed alone: more of them refine a sample. Of 16
        neighbouring parts of the rows one block each comes first, at a random place in it; then a
        second of each, and so on.

    Examples
    --------
    >>> blocks = RowBlocks.of((10, 8), itemsize=2, nbytes=64, seed=0)
    >>> blocks.height, sorted(blocks.order.tolist()), blocks.rows_of(2)
    (4, [0, 1, 2], (8, 10))
    >>> blocks = RowBlocks.of((64, 8), itemsize=2, nbytes=16, seed=0)
    >>> sorted((blocks.order[:16] // 4).tolist()) == list(range(16))
    True
    """

    rows: int
    height: int
    order: NDArray[np.int64]

    @classmethod
    def of(cls, shape: tuple[int, int], *, itemsize: int, nbytes: int, seed: int) -> RowBlocks:
        """Cut a matrix of this shape into blocks of some bytes, of one row where those are long."""
        rows, columns = shape
        height = max(min(nbytes // max(columns * itemsize, 1), rows), 1)
        return cls(rows, height, _spread(-(-rows // height), np.random.default_rng(seed)))

    def rows_of(self, block: int) -> tuple[int, int]:
        """Give the first row of a block, and the one behind its last."""
        return block * self.height, min((block + 1) * self.height, self.rows)

    def is_first(self, block: int) -> bool:
        """Whether a block is one of those that every sample holds."""
        return bool((self.order[:FEWEST_BLOCKS] == block).any())


def _spread(blocks: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Order blocks at random, so that those drawn so far are spread over all."""
    part = np.arange(blocks) * FEWEST_BLOCKS // max(blocks, 1)
    order = rng.permutation(blocks)
    order = order[np.argsort(part[order], kind="stable")]
    turn = np.arange(blocks) - np.searchsorted(part, part)  # of each block within its part
    first = rng.integers(FEWEST_BLOCKS, size=blocks)  # the part that a turn begins with
    visit = _VISITED[(part - first[turn]) % FEWEST_BLOCKS]
    return order[np.lexsort((visit, turn))]


class CountedBlock(NamedTuple):
    """What is kept of a block: its counts, and its part of some rows and columns."""

    counts: Counts
    height: int
    rows: Bits
    columns: Bits


def shapes_of_lines(height: int, columns: int, *, first: bool) -> tuple[Shape, Shape]:
    """Tell how many rows, and columns, of a block are looked at: rows of the first blocks alone."""
    return (min(height, _ROWS_KEPT) if first else 0, columns), (height, min(columns, SAMPLED))


def count_block(bits: Bits, dtype: str, *, first: bool) -> CountedBlock:
    """Count some whole rows, (rows, columns) bits, of one of the first blocks or of another."""
    counts = count_bits(bits, dtype).finish()
    (rows, _), (_, columns) = shapes_of_lines(*bits.shape, first=first)
    some = bits[choice(len(bits), rows)]
    return CountedBlock(counts, len(bits), some, bits.take(choice(bits.shape[1], columns), 1))


def lines_of_blocks(blocks: Sequence[CountedBlock], dtype: str, rows: int) -> Lines | None:
    """Put together what blocks hold of the lines of a matrix with so many rows; None for too few.

    Rows are whole rows of the matrix, columns are as long as all the blocks are high.
    """
    columns = np.concatenate([block.columns for block in blocks])
    some = np.concatenate([block.rows for block in blocks])
    if min(len(columns), some.shape[1]) < FEWEST:
        return None
    return Lines(dtype, some, columns, share=len(columns) / rows)
