"""Bit patterns of a matrix before and after -> how its weights differ, in one pass over both.

A piece is counted on both sides, and read again while the cache holds it: as values, whose
differences are counted as float64. Weights of 16 bits and fewer, all finite, are subtracted in
float32 where that is exact, and their own squares follow from their counts.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.counting.counts import from_counters
from weibnb.counting.cpu import Tally, count_bits, merged, take
from weibnb.counting.differences import BLOCK, compare_chunk, compare_narrow, read_values
from weibnb.counting.formats import FORMATS, LABEL_SHIFT, LABELS, decode
from weibnb.counting.lines import FEWEST, LinesInCopying, copy_lines, no_lines
from weibnb.counting.squares import plain_rule
from weibnb.parallel import slices

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits, Format
    from weibnb.counting.lines import Lines

    Numbers = NDArray[np.float64]

# Weights of a task, and of these that are compared while the second cache holds them and their
# differences.
_PIECE, _CHUNK = 1 << 20, 1 << 15
# Pieces that may wait for each thread.
_WAITING = 32
_DIFFERENCE = FORMATS["F64"]
_IN_RANGE = 1e-70, 1e70  # magnitudes whose squares may be summed up as they are
_NOTHING = np.uint64((1 << 64) - 1)
# Sums of squares that are this much alike give the product to 1e-12 of the norms.
_ALIKE = 1e-6

# What a loop sums up: four squares, weights that moved, that are not finite, and those of the
# latter that changed.
_SUMS = 7

_spare = threading.local()  # the scratch memory of each thread


@dataclass(frozen=True, slots=True)
class Side:
    """A matrix: its bits in the order of storage, in one dimension, and their format."""

    bits: Bits
    dtype: str


@dataclass(frozen=True, slots=True, eq=False)
class MatrixChange:
    """How a matrix differs before and after.

    Attributes
    ----------
    before, after, change : Counts
        How often each magnitude occurs in W, in W' and in ΔW = W' - W, in which a weight that is
        not finite on either side is NaN.
    lines : tuple of Lines, or None
        The same rows and columns of each of them, as stored.
    size, changed : int
        Weights, and those whose value differs: 0 and -0 are one value, and so are all NaN.
    squares : tuple of float
        Sums of ΔW², W², W'² and W W' over finite weights, in `unit`².
    unit : float
        Power of two: 1 unless squares of float64 weights would be out of range.
    largest_at : int
        Number of the weight with the largest |Δw|, -1 where nothing moved.
    identical : bool
        Whether every bit is the same, and the format.
    """

    before: Counts
    after: Counts
    change: Counts
    lines: tuple[Lines, Lines, Lines] | None
    size: int
    changed: int
    squares: tuple[float, float, float, float]
    unit: float
    largest_at: int
    identical: bool


class _Piece(NamedTuple):
    """What was found in a piece."""

    before: Tally
    after: Tally
    change: Tally
    sums: Numbers
    largest_at: int
    identical: bool


class PendingChange:
    """A matrix that threads compare piece by piece; a small one is compared at once.

    Parameters
    ----------
    pool : Executor
        Threads.
    before, after : Side
        Of the same number of weights.
    shape : tuple of int
        Rows and columns as stored, the same on both sides.
    workers : int
        Number of threads.
    """

    def __init__(
        self, pool: Executor, before: Side, after: Side, *, shape: tuple[int, int], workers: int
    ) -> None:
        self._sides, self._size = (before, after), before.bits.size
        self._unit = _unit_of(before, after)
        self._copying: list[LinesInCopying] = []
        if min(shape) >= FEWEST:
            dtypes = before.dtype, after.dtype, _DIFFERENCE.name
            self._copying = [LinesInCopying(dtype, shape) for dtype in dtypes]
        parts = slices(self._size, _PIECE)
        self.load = len(parts) / (_WAITING * workers)
        self._found: list[_Piece] = []
        self._pieces: list[Future[_Piece]] = []
        if len(parts) == 1:
            self._found = [self._compare(parts[0])]
        else:
            self._pieces = [pool.submit(self._compare, part) for part in parts]

    def result(self) -> MatrixChange:
        """Wait for the pieces, and add them up."""
        found = self._found or [piece.result() for piece in self._pieces]
        self._pieces = []
        sums = np.sum([piece.sums for piece in found], axis=0)
        moved, nonfinite, nonfinite_changed = sums[4:].astype(int).tolist()
        change = merged([piece.change for piece in found])
        counts = from_counters(
            _DIFFERENCE,
            change.occupied,
            change.counts,
            (self._size - moved - nonfinite, nonfinite, 0),
            inexact=change.bits_seen & ((1 << LABEL_SHIFT) - 1) != 0,
            largest=change.largest,
        )
        dd, aa, bb, ab = sums[:4].tolist()
        lines = [copying.lines for copying in self._copying]
        return MatrixChange(
            merged([piece.before for piece in found]).finish(),
            merged([piece.after for piece in found]).finish(),
            counts,
            (lines[0], lines[1], lines[2]) if lines else None,
            self._size,
            moved + nonfinite_changed,
            (dd, aa, bb, ab),
            self._unit,
            max(found, key=lambda piece: piece.change.largest).largest_at,
            all(piece.identical for piece in found),
        )

    def abandon(self) -> None:
        """Give up the pieces that were not begun."""
        for piece in self._pieces:
            piece.cancel()

    def _compare(self, part: slice) -> _Piece:
        """Count a piece on both sides, and compare it."""
        before, after = (Side(side.bits[part], side.dtype) for side in self._sides)
        copying: list[Any] = self._copying or [None] * 3
        tallies = [
            count_bits(side.bits, side.dtype, lines, part.start)
            for side, lines in zip((before, after), copying, strict=False)
        ]
        scratch = vars(_spare).pop("scratch", None) or _Scratch()
        sums, seen = np.zeros(_SUMS), np.array([0, _NOTHING, 0, 0], np.uint64)
        squares = [_square(one) for one in tallies if _is_narrow(one)]
        if len(squares) == 2 and min(squares) >= _ALIKE * max(squares):
            lines = copying[2].after(part.start) if self._copying else no_lines(_DIFFERENCE.bits)
            scratch.compare_narrow(before, after, lines, sums, seen)
            sums[1:3] = squares
            sums[3] = (sums[1] + sums[2] - sums[0]) / 2
        else:
            self._compare_wide(before, after, part.start, scratch, sums, seen)
        tally = _tally(scratch.counters, seen, before.bits.size, int(sums[4]))
        _spare.scratch = scratch  # not if anything failed: its counters may not be zero then
        same = before.dtype == after.dtype and not (sums[4] or sums[6])
        same = same and np.array_equal(before.bits, after.bits)
        return _Piece(tallies[0], tallies[1], tally, sums, int(seen[3]) - 1, same)

    def _compare_wide(
        self, before: Side, after: Side, first: int, scratch: _Scratch, sums: Any, seen: Any
    ) -> None:
        """Compare a piece of any formats, whatever its weights are."""
        read, scale = scratch.reader(before, after), 1 / self._unit
        for chunk in slices(before.bits.size, _CHUNK):
            start = first + (chunk.start or 0)
            one, other = read(chunk)
            difference = scratch.difference[: one.size]
            compare_chunk(one, other, start, scale, difference, scratch.counters, sums, seen)
            if self._copying:
                copy_lines(difference.view(np.uint64), self._copying[2].after(start))


class _Scratch:
    """Memory of a thread: counters, which are zero between two pieces, values and differences."""

    def __init__(self) -> None:
        self.counters = np.zeros(LABELS, np.uint32)
        self.difference = np.empty(_CHUNK)
        self._words = np.empty((2, _CHUNK), np.uint32)
        self._blocks = np.empty((2, BLOCK), np.uint32)

    def reader(self, before: Side, after: Side) -> Callable[[slice], tuple[Any, Any]]:
        """Make what reads a chunk of both sides: as float32, or float64 if either is stored so."""
        sides = before, after
        if _DIFFERENCE.name in (before.dtype, after.dtype):
            return lambda chunk: (_read_wide(before, chunk), _read_wide(after, chunk))
        rules = [_rule_of(side.dtype) for side in sides]

        def read(chunk: slice) -> tuple[Any, Any]:
            found = []
            for side, words, rule in zip(sides, self._words, rules, strict=True):
                bits = side.bits[chunk]
                values = words.view(np.float32)[: bits.size]
                read_values(bits, rule, words[: bits.size], values)
                found.append(values)
            return found[0], found[1]

        return read

    def compare_narrow(
        self, before: Side, after: Side, lines: tuple[Any, ...], sums: Any, seen: Any
    ) -> None:
        """Compare a piece of finite weights of 16 bits or fewer."""
        rules = _rule_of(before.dtype), _rule_of(after.dtype)
        memory = self._blocks, self.difference
        compare_narrow(before.bits, after.bits, *rules, *memory, lines, self.counters, sums, seen)


def _is_narrow(tally: Tally) -> bool:
    """Whether weights have 16 bits or fewer, and all are finite."""
    form, occupied = tally.format, tally.occupied
    return form.shift == 0 and (not occupied.size or int(occupied[-1]) < form.finite)


def _square(tally: Tally) -> float:
    """Sum the squares of weights each of whose counters is one value."""
    return float(_squares(tally.format.name)[tally.occupied] @ tally.counts)


@lru_cache(maxsize=4)
def _squares(dtype: str) -> Numbers:
    """Give the squares of the finite magnitudes of a format."""
    form = FORMATS[dtype]
    return np.asarray(decode(np.arange(form.finite, dtype=form.bits), dtype) ** 2)


def _rule_of(dtype: str) -> tuple[Any, ...]:
    """Give what `read_values` needs to read a format."""
    return (*plain_rule(dtype), *_ends_of(FORMATS[dtype]))


def _read_wide(side: Side, chunk: slice) -> Numbers:
    """Read a chunk as float64."""
    return decode(side.bits[chunk], side.dtype)


def _ends_of(form: Format) -> tuple[np.uint32, np.uint32]:
    """Give the pattern of infinity, and how far the sign of a pattern is from that of 32 bits."""
    return np.uint32(form.infinity << form.shift), np.uint32(32 - 8 * form.bits.itemsize)


def _unit_of(before: Side, after: Side) -> float:
    """Give the power of two in which the squares of a matrix stay in range."""
    sides = before, after
    wide = max((_largest(side) for side in sides if side.dtype == _DIFFERENCE.name), default=0.0)
    if wide == 0.0 or _IN_RANGE[0] < wide < _IN_RANGE[1]:
        return 1.0
    largest = max(map(_largest, sides))
    if _IN_RANGE[0] < largest < _IN_RANGE[1]:
        return 1.0
    return math.ldexp(1.0, min(max(math.frexp(largest)[1], -1000), 1023))


def _largest(side: Side) -> float:
    """Give the largest finite magnitude of a matrix."""
    values = decode(side.bits, side.dtype)
    np.abs(values, out=values)
    return float(values.max(initial=0.0, where=np.isfinite(values)))


def _tally(counters: Any, seen: Any, size: int, moved: int) -> Tally:
    """Take what was counted of a piece, zeros apart, and leave the counters at zero."""
    union, least, largest, _ = map(int, seen)
    first, last = (least + 1) >> LABEL_SHIFT, largest >> LABEL_SHIFT
    stop = last + 1 if largest else first
    counters[0] = 0
    if largest and first == 0:  # beside zeros, the tiniest subnormal numbers are counted there
        counters[0] = moved - int(counters[:stop].sum())
    occupied, counts = take(counters, min(first, stop), stop, min(size, LABELS))
    return Tally(_DIFFERENCE, occupied, counts, bits_seen=union, largest=largest)
