"""Some whole rows and columns of a matrix, as bits: what clustered errors are estimated from."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled, compiled_inline
from weibnb.counting.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.formats import Bits

    Numbers = NDArray[np.int64]

#: Rows, and columns, of a matrix that are looked at; all of them where there are no more.
SAMPLED = 32
#: Rows, and columns, that a matrix needs for any to be looked at.
FEWEST = 8
# Bytes of lines of small matrices that are packed into one piece.
_PACKED = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Bits of some rows and columns of a matrix.

    Attributes
    ----------
    dtype : str
        Their format, a key of `weibnb.counting.formats.FORMATS`.
    rows : ndarray of unsigned int, shape (rows looked at, columns of the matrix)
        Whole rows.
    columns : ndarray of unsigned int, shape (rows of the matrix, columns looked at)
        Whole columns.
    products, scales : ndarray of float64, shapes (3, 3) and (lines looked at,), optional
        Where every line was looked at as well: of `weibnb.fitting.full_look`.
    share : float
        Share of the rows of the matrix that the columns hold; 1 but for a sample of blocks.
    """

    dtype: str
    rows: Bits
    columns: Bits
    products: NDArray[np.float64] | None = None
    scales: NDArray[np.float64] | None = None
    share: float = field(default=1.0, kw_only=True)

    @property
    def fewest(self) -> int:
        """Rows, or columns, that were looked at, whichever are fewer."""
        if self.products is not None:
            return min(int(self.columns.shape[0]), int(self.rows.shape[1]))
        return min(int(self.rows.shape[0]), int(self.columns.shape[1]))

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return self.rows.nbytes + self.columns.nbytes


class PackedLines(NamedTuple):
    """Lines of several matrices of one format in one piece; the compiled loops take it whole.

    Attributes
    ----------
    bits : ndarray of unsigned int, one dim
        Rows, then columns, of one matrix after the other, line by line.
    places : ndarray of int64, shape (matrices,)
        Which matrices they are of.
    starts : ndarray of int64, shape (matrices, 2)
        Where the rows of each matrix begin, and where its columns do.
    shapes : ndarray of int64, shape (matrices, 2, 2)
        Rows looked at and weights in each; columns looked at and weights in each.
    shares : ndarray of float64, shape (matrices,)
        Share of the rows of each matrix that the columns hold.
    scales : ndarray of float64, one dim
        Scale of each line, 0 where not every line of its matrix was looked at.
    """

    bits: Bits
    places: Numbers
    starts: Numbers
    shapes: Numbers
    shares: NDArray[np.float64]
    scales: NDArray[np.float64]


def packed(lines: Sequence[Lines | None]) -> Iterator[tuple[str, PackedLines]]:
    """Pack the lines of matrices, some at once: their format, and the pack.

    Examples
    --------
    >>> matrix = np.arange(6, dtype=np.uint16)
    >>> lines = [lines_of(matrix, "BF16", (2, 3)), None, lines_of(matrix, "BF16", (3, 2))]
    >>> [(dtype, pack.places.tolist(), pack.bits.size) for dtype, pack in packed(lines)]
    [('BF16', [0, 2], 24)]
    """
    group: dict[int, Lines] = {}
    dtype, size = "", 0
    for place, one in enumerate(lines):
        if one is None:
            continue
        nbytes = one.nbytes
        if group and (one.dtype != dtype or size + nbytes > _PACKED):
            yield dtype, _pack(group)
            group, size = {}, 0
        group[place], dtype = one, one.dtype
        size += nbytes
    if group:
        yield dtype, _pack(group)


def _pack(group: dict[int, Lines]) -> PackedLines:
    """Put lines of one format into one piece."""
    parts = [part for one in group.values() for part in (one.rows, one.columns.T)]
    shapes = np.array([part.shape for part in parts])
    sizes = shapes.prod(1)
    return PackedLines(
        np.concatenate([part.reshape(-1) for part in parts]),
        np.array(list(group)),
        (np.cumsum(sizes) - sizes).reshape(-1, 2),
        shapes.reshape(-1, 2, 2),
        np.array([one.share for one in group.values()]),
        np.concatenate([_scales(one) for one in group.values()]),
    )


def _scales(lines: Lines) -> NDArray[np.float64]:
    """Give the scale of each line."""
    number = lines.rows.shape[0] + lines.columns.shape[1]
    return np.zeros(number) if lines.scales is None else lines.scales


@compiled_inline
def lines_in(pack: Any, place: Any, which: Any) -> Any:
    """Give the rows (0) or columns (1) of a matrix in a pack, line by line."""
    number, size = pack.shapes[place, which]
    start = pack.starts[place, which]
    return pack.bits[start : start + number * size].reshape(number, size)


class LinesInCopying:
    """Lines that are copied piece by piece while a matrix is counted.

    Parameters
    ----------
    dtype : str
        Format of the weights.
    shape : tuple of int
        Rows and columns of the matrix as stored.
    """

    def __init__(self, dtype: str, shape: tuple[int, int]) -> None:
        rows, columns = shape
        self._rows, self._columns = choice(rows, SAMPLED), choice(columns, SAMPLED)
        word = FORMATS[dtype].bits
        self.lines = Lines(
            dtype,
            np.empty((self._rows.size, columns), word),
            np.empty((rows, self._columns.size), word),
        )

    def after(self, start: int) -> tuple[Any, ...]:
        """Give what `copy_lines` needs for a piece whose first weight has this number."""
        return start, self._rows, self._columns, self.lines.rows, self.lines.columns

    def some(self, first: int, stop: int) -> Lines:
        """Give what some rows of the matrix hold of the lines."""
        there = self._between(first, stop)
        return Lines(self.lines.dtype, self.lines.rows[there], self.lines.columns[first:stop])

    def put(self, some: Lines, first: int, stop: int) -> None:
        """Take over what some rows of the matrix hold of the lines."""
        self.lines.rows[self._between(first, stop)] = some.rows
        self.lines.columns[first:stop] = some.columns

    def _between(self, first: int, stop: int) -> slice:
        """Tell which of the rows that are looked at are among some."""
        return slice(*self._rows.searchsorted([first, stop]).tolist())


def lines_of(bits: Bits, dtype: str, shape: tuple[int, int], sampled: int = SAMPLED) -> Lines:
    """Copy some rows and columns of a whole matrix; all of them if it has no more.

    Examples
    --------
    >>> lines_of(np.arange(6, dtype=np.uint16), "BF16", (2, 3), 2).rows.tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    matrix = bits.reshape(shape)
    rows, columns = (choice(size, sampled) for size in shape)
    return Lines(dtype, matrix[rows], matrix.take(columns, 1))


@lru_cache(maxsize=64)
def choice(size: int, number: int) -> Numbers:
    """Choose so many of `size` lines at random, by a fixed seed, in ascending order."""
    if number >= size:
        return np.arange(size)
    return np.sort(np.random.default_rng(size).choice(size, number, replace=False))


@lru_cache(maxsize=8)
def no_lines(word: np.dtype[Any]) -> tuple[Any, ...]:
    """Give what `copy_lines` needs to copy nothing."""
    empty = np.empty((0, 0), word)
    return 0, np.empty(0, np.int64), np.empty(0, np.int64), empty, empty


@compiled
def copy_lines(bits: Any, wanted: Any) -> None:
    """Copy the parts of rows and columns that a piece holds: of each its numbers, and the place."""
    start, rows, columns, row_bits, column_bits = wanted
    if rows.size == 0:
        return
    width, stop = row_bits.shape[1], start + bits.size
    for line in range(rows.size):
        begin = rows[line] * width
        for at in range(max(begin, start), min(begin + width, stop)):
            row_bits[line, at - begin] = bits[at - start]
    for row in range(start // width, -(-stop // width)):
        begin = row * width - start
        for line in range(columns.size):
            at = begin + columns[line]
            if 0 <= at < bits.size:
                column_bits[row, line] = bits[at]


@compiled_inline
def copy_part(bits: Any, begin: Any, stop: Any, wanted: Any) -> None:
    """Copy what a part of a piece holds of lines."""
    start, rows, columns, row_bits, column_bits = wanted
    copy_lines(bits[begin:stop], (start + begin, rows, columns, row_bits, column_bits))
