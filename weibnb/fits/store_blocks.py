"""Blocks of matrices that were read in part, as a store keeps them: a larger sample adds to them.

Little-endian, one block after the other: its number, zeros, NaNs, infinities (uint64 each), largest
magnitude (float64), whether bins are values (uint8), bytes of the bins (uint32); then the bins, as
`weibnb.fits.packing` has them, and the bits of its part of some rows and of some columns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS
from weibnb.counting.sampling import CountedBlock, shapes_of_lines
from weibnb.fits.inspection import FitsError
from weibnb.fits.packing import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from weibnb.counting.sampling import RowBlocks

#: Blocks of a matrix that are to be kept: its cell and format, rows of a block, and the blocks.
NewBlocks = tuple[tuple[int, str, int], str, int, dict[int, CountedBlock]]
_HEAD = struct.Struct("<QQQQd?I")


@dataclass(frozen=True, slots=True)
class KeptBlocks:
    """What a store keeps of the blocks of a matrix.

    Attributes
    ----------
    path : Path
        The store.
    height : int
        Rows of a block; 0 where nothing is kept.
    packed : sequence of bytes
        The blocks, by `pack_blocks`.
    """

    path: Path
    height: int = 0
    packed: Sequence[bytes] = ()

    def counted(self, cut: RowBlocks, columns: int, dtype: str) -> dict[int, CountedBlock]:
        """Give the blocks of a matrix that is cut in this way.

        Raises
        ------
        FitsError
            If they are not those of such a matrix.
        """
        try:
            return {
                number: block
                for some in self.packed
                for number, block in _unpacked(some, cut, columns, dtype)
            }
        except (ValueError, struct.error) as err:
            raise FitsError(self.path, f"{err}", "blocks") from err


def read_blocks(
    execute: Callable[..., Any], path: Path, checkpoint: int, place: int, dtype: str
) -> KeptBlocks:
    """Read what is kept of a matrix of this format."""
    query = "SELECT height, content FROM blocks WHERE checkpoint = ? AND place = ? AND dtype = ?"
    rows = execute(query, (checkpoint, place, dtype)).fetchall()
    if not all(isinstance(one, int) and isinstance(blob, bytes) for one, blob in rows):
        raise FitsError(path, "values of another type than ours", "blocks")
    heights = {height for height, _ in rows}
    if len(heights) > 1 or min(heights, default=1) < 1:
        raise FitsError(path, "blocks of one height are expected", "blocks")
    return KeptBlocks(path, max(heights, default=0), [blob for _, blob in rows])


def pack_blocks(blocks: Mapping[int, CountedBlock]) -> bytes:
    """Pack blocks of a matrix, by their numbers."""
    parts = []
    for number, block in blocks.items():
        counts, bins = block.counts, pack(block.counts)
        apart = counts.zeros, counts.nans, counts.infinities, counts.largest, counts.exact
        parts += [_HEAD.pack(number, *apart, len(bins)), bins]
        parts += [block.rows.tobytes(), block.columns.tobytes()]
    return b"".join(parts)


def _unpacked(
    packed: bytes, cut: RowBlocks, columns: int, dtype: str
) -> Iterator[tuple[int, CountedBlock]]:
    """Give blocks back; every weight of each must be counted."""
    word, at = FORMATS[dtype].bits, 0
    while at < len(packed):
        number, zeros, nans, infinities, largest, exact, size = _HEAD.unpack_from(packed, at)
        at += _HEAD.size
        if number >= len(cut.order):
            raise ValueError(f"there is no block {number}")
        first, stop = cut.rows_of(number)
        bins = unpack(packed[at : at + size])
        counts = Counts(*bins, zeros, nans, infinities, largest, exact)
        at += size
        if counts.n + zeros + nans + infinities != (stop - first) * columns:
            raise ValueError(f"block {number} does not have {(stop - first) * columns} weights")
        lines = []
        for shape in shapes_of_lines(stop - first, columns, first=cut.is_first(number)):
            lines.append(np.frombuffer(packed, word, prod(shape), at).reshape(shape))
            at += lines[-1].nbytes
        yield number, CountedBlock(counts, stop - first, *lines)
