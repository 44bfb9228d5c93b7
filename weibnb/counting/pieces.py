"""Matrices whose weights come piece by piece: each is counted on a thread, and let go."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.cpu import Tally, count_bits, merged
from weibnb.counting.lines import FEWEST, LinesInCopying
from weibnb.counting.second_look import zero_lines

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import Lines


class _Piece(NamedTuple):
    """What is known of a piece: counts, rows of zeros, and which columns are zero in it."""

    tally: Tally
    zero_rows: int
    zero_columns: NDArray[np.bool_]


class CountedRows(NamedTuple):
    """What is known of some whole rows of a matrix, to be added to what is known of others.

    Attributes
    ----------
    first, stop : int
        Which rows.
    tally : Tally
        Their magnitudes.
    zero_rows : int
        Rows of nothing but zeros among them.
    zero_columns : ndarray of bool
        Columns that are zero in all of them.
    lines : Lines or None
        What they hold of the rows and columns that are copied.
    """

    first: int
    stop: int
    tally: Tally
    zero_rows: int
    zero_columns: NDArray[np.bool_]
    lines: Lines | None


@dataclass(frozen=True, slots=True)
class ZeroLines:
    """How many rows, and how many columns, of a matrix hold nothing but zeros."""

    rows: int
    columns: int


class PendingPieces:
    """Counts of a matrix of known shape, of which whole rows are added, one piece after the other.

    The same counts and lines as of the whole matrix, and its lines of zeros.

    Parameters
    ----------
    pool : Executor
        Where pieces are counted.
    dtype : str
        Format of the weights.
    shape : tuple of int
        Rows and columns as stored.
    waiting : int
        Most pieces that wait; another is added once the first of them was counted.
    structure : bool
        Copy some rows and columns.
    first : int
        Number of the row that is added first, where others are counted elsewhere.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with ThreadPoolExecutor(1) as pool:
    ...     pending = PendingPieces(pool, "F32", (2, 3), waiting=1, structure=False)
    ...     pending.add(np.float32([1, 0, 2]).view("u4"))
    ...     pending.add(np.float32([0, 0, 0]).view("u4"))
    ...     counts = pending.result()
    >>> counts.zeros, pending.zero_lines
    (4, ZeroLines(rows=1, columns=1))
    """

    was_read = False
    ready = False  # without waiting
    load = 0.4  # the next matrix may come meanwhile; what this one copied is held until it is done

    def __init__(
        self,
        pool: Executor,
        dtype: str,
        shape: tuple[int, int],
        *,
        waiting: int,
        structure: bool,
        first: int = 0,
    ) -> None:
        copied = structure and min(shape) >= FEWEST
        self._copying = LinesInCopying(dtype, shape) if copied else None
        self.lines = None if self._copying is None else self._copying.lines
        self._pool, self._dtype, self._columns = pool, dtype, shape[1]
        self._most, self._first, self._added = waiting, first, first * shape[1]
        self._pieces: deque[Future[_Piece]] = deque()
        self._tally: Tally | None = None
        self._zero_rows, self._zero_columns = 0, np.ones(shape[1], np.bool_)
        self._counts: Counts | None = None

    @property
    def zero_lines(self) -> ZeroLines:
        """Lines of zeros, once the counts are there."""
        return ZeroLines(self._zero_rows, int(np.count_nonzero(self._zero_columns)))

    def add(self, bits: Bits) -> None:
        """Count some more whole rows; waits where many wait already."""
        while len(self._pieces) >= self._most:
            self._take()
        self._pieces.append(self._pool.submit(self._count, bits, self._added))
        self._added += bits.size

    def result(self) -> Counts:
        """Wait for all pieces."""
        if self._counts is None:
            while self._pieces:
                self._take()
            tally = self._tally or count_bits(np.empty(0, "u1"), self._dtype)
            self._counts = tally.finish()
        return self._counts

    def counted_rows(self) -> CountedRows:
        """Wait for all pieces that were added here, and give what is known of their rows."""
        while self._pieces:
            self._take()
        first, stop = self._first, self._added // max(self._columns, 1)
        tally = self._tally or count_bits(np.empty(0, "u1"), self._dtype)
        lines = None if self._copying is None else self._copying.some(first, stop)
        return CountedRows(first, stop, tally, self._zero_rows, self._zero_columns, lines)

    def take_over(self, rows: CountedRows) -> None:
        """Add what was counted elsewhere."""
        self._add(_Piece(rows.tally, rows.zero_rows, rows.zero_columns))
        if self._copying is not None and rows.lines is not None:
            self._copying.put(rows.lines, rows.first, rows.stop)

    def in_place(self) -> None:
        """Nothing is on a device."""

    def abandon(self) -> bool:
        """Give up the pieces that were not begun: the counts will not come."""
        for piece in self._pieces:
            piece.cancel()
        return False

    def _take(self) -> None:
        """Wait for the first piece, and add it to what is known."""
        self._add(self._pieces.popleft().result())

    def _add(self, piece: _Piece) -> None:
        """Add a piece to what is known."""
        self._tally = piece.tally if self._tally is None else merged([self._tally, piece.tally])
        self._zero_rows += piece.zero_rows
        self._zero_columns &= piece.zero_columns

    def _count(self, bits: Bits, start: int) -> _Piece:
        """Count a piece, and look for lines of zeros where it has enough of them."""
        tally = count_bits(bits, self._dtype, self._copying, start)
        shape = bits.size // self._columns, self._columns
        if tally.number_of_zeros < min(shape):
            return _Piece(tally, 0, np.zeros(self._columns, np.bool_))
        rows, columns = zero_lines(bits, self._dtype, shape)
        return _Piece(tally, int(np.count_nonzero(rows)), columns)
