"""Bit patterns in the host's memory -> counts, on threads of the CPU.

What limits a loop is one read and one write of a counter per weight, so each does nothing else.
Every loop leaves the counters at zero, ready for the next matrix of its thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled, compiled_inline
from weibnb.counting.counts import from_counters
from weibnb.counting.formats import FORMATS, LABELS, Format
from weibnb.counting.limits import DEFAULTS, Limits
from weibnb.counting.lines import FEWEST, LinesInCopying, copy_part, no_lines
from weibnb.parallel import slices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits

# Weights that are looked at and then counted while the first cache still holds them.
_BLOCK = 2048
# Weights whose lines are copied while the second cache holds them.
_CHUNK = 1 << 16
# Pattern bits that a counter of interval labels has less than one of values: 1,024 / 256.
_COARSER = 2

_spare = threading.local()  # the counters of each thread


@compiled_inline
def _add(bits: Any, counters: Any, mask: Any, shift: Any) -> None:
    """Count weights one by one."""
    for i in range(bits.size):
        counters[np.uint64((bits[i] & mask) >> shift)] += np.uint32(1)


@compiled_inline
def _add_by_four(words: Any, counters: Any, mask: Any, above: Any) -> None:
    """Count four patterns of 16 bits per word; a load for each takes 1.5 times as long.

    Bits in `mask` stay where they are, those in `above` move down by one.
    """
    lane = np.uint64(0xFFFF)
    for i in range(words.size):
        word = (words[i] & mask) | ((words[i] & above) >> np.uint64(1))
        counters[word & lane] += np.uint32(1)
        counters[(word >> np.uint64(16)) & lane] += np.uint32(1)
        counters[(word >> np.uint64(32)) & lane] += np.uint32(1)
        counters[word >> np.uint64(48)] += np.uint32(1)


@compiled_inline
def _look(block: Any, mask: Any) -> Any:
    """Give the smallest and largest magnitude and the union of all: a loop of vectors."""
    smallest, largest, union = mask, mask & ~mask, mask & ~mask
    for i in range(block.size):
        magnitude = block[i] & mask
        smallest, largest = min(smallest, magnitude), max(largest, magnitude)
        union |= magnitude
    return smallest, largest, union


@compiled
def take(counters: Any, first: Any, stop: Any, most: Any) -> Any:
    """Give the counters that are not zero, at most so many, and set them to zero."""
    row, number = counters[first:stop], 0
    occupied, counts = np.empty(most, np.int64), np.empty(most, np.int64)
    for i in range(row.size):
        if row[i]:
            occupied[number], counts[number] = first + i, row[i]
            row[i] = 0
            number += 1
    return occupied[:number].copy(), counts[:number].copy()


@compiled
def _count_16(bits: Any, words: Any, counters: Any, lines: Any) -> Any:
    """Count 16-bit patterns: those of whole words, and the rest."""
    mask, first, stop = np.uint16(0x7FFF), np.int64(0), np.int64(1 << 15)
    if bits.size < 1 << 15:  # a look at the weights is quicker than one at all the counters
        low, high, _ = _look(bits, mask)
        first, stop = np.int64(low), np.int64(high) + 1
    for at in range(0, bits.size, _CHUNK):
        part = words[at // 4 : (at + _CHUNK) // 4]
        _add_by_four(part, counters, np.uint64(0x7FFF7FFF7FFF7FFF), np.uint64(0))
        copy_part(bits, at, at + _CHUNK, lines)
    _add(bits[4 * words.size :], counters, mask, np.uint16(0))
    return take(counters, first, stop, min(bits.size, 1 << 15))


@compiled
def _count_8(bits: Any, words: Any, counters: Any, lines: Any) -> Any:
    """Count 8-bit patterns in pairs, which halves the updates of counters, and take pairs apart.

    The gap of the sign between the two is closed: with it the counters in use would share few
    lines of the cache, and take 1.7 times as long.
    """
    signs, above = np.uint64(0x007F007F007F007F), np.uint64(0x7F007F007F007F00)
    for at in range(0, bits.size, _CHUNK):
        _add_by_four(words[at // 8 : (at + _CHUNK) // 8], counters, signs, above)
        copy_part(bits, at, at + _CHUNK, lines)
    single = np.zeros(1 << 7, np.uint32)
    for left in range(1 << 7):
        pairs, total = counters[left << 7 : (left + 1) << 7], np.uint32(0)
        for right in range(1 << 7):
            total += pairs[right]
            single[right] += pairs[right]
            pairs[right] = 0
        single[left] += total
    _add(bits[8 * words.size :], single, np.uint8(0x7F), np.uint8(0))
    return take(single, 0, 1 << 7, 1 << 7)


@compiled
def _union(block: Any, mask: Any) -> Any:
    """Give the union of all magnitudes."""
    return _look(block, mask)[2]


@compiled
def _count_top_bits(
    bits: Any, counters: Any, mask: Any, infinity: Any, shift: Any, least: Any, lines: Any
) -> Any:
    """Count the top bits, up to the first block that has a magnitude between 0 and `least`.

    Returns the occupied counters and their counts; how many weights were counted; the zeros and
    infinities among them, the union of all bits and the largest finite pattern.
    """
    none = mask & ~mask
    counted, copied, zeros, infinities = np.int64(0), np.int64(0), 0, 0
    first, last, union, largest = mask, none, none, none
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        low, high, seen = _look(block, mask)
        first, last = min(first, low), max(last, high)
        if low < least:
            below, nothing = _count_below(block, mask, least)
            if below > nothing:
                break
            zeros += nothing
        if high >= infinity:
            found, high = _look_at_finite(block, mask, infinity)
            infinities += found
        largest, union = max(largest, high), union | seen
        _add(block, counters, mask, shift)
        counted += block.size
        if counted - copied >= _CHUNK:
            copy_part(bits, copied, counted, lines)
            copied = counted
    copy_part(bits, copied, counted, lines)
    begin, stop = np.int64(first >> shift), np.int64(last >> shift) + 1
    bins = take(counters, begin, stop, min(counted, max(stop - begin, 0)))
    return bins, counted, zeros, infinities, np.int64(union), np.int64(largest)


@compiled_inline
def _count_below(block: Any, mask: Any, least: Any) -> Any:
    """Count magnitudes below `least`, and the zeros among them."""
    below, zeros = 0, 0
    for i in range(block.size):
        below += (block[i] & mask) < least
        zeros += (block[i] & mask) == 0
    return below, zeros


@compiled_inline
def _look_at_finite(block: Any, mask: Any, infinity: Any) -> Any:
    """Count infinities, and give the largest finite magnitude."""
    infinities, largest = 0, mask & ~mask
    for i in range(block.size):
        magnitude = block[i] & mask
        infinities += magnitude == infinity
        if magnitude < infinity:
            largest = max(largest, magnitude)
    return infinities, largest


@dataclass(slots=True, eq=False)
class Tally:
    """Occupied counters of a format in ascending order, and what they do not tell."""

    format: Format
    occupied: NDArray[np.int64]
    counts: NDArray[np.int64]
    zeros: int = 0
    infinities: int = 0
    bits_seen: int = 0
    largest: int = 0

    @property
    def number_of_zeros(self) -> int:
        """Zeros among the weights."""
        apart = bool(self.format.shift) or not self.occupied.size or self.occupied[0] != 0
        return self.zeros if apart else int(self.counts[0])

    def finish(self) -> Counts:
        """Keep zeros and non-finite patterns apart."""
        form, occupied, counts = self.format, self.occupied, self.counts
        zeros, infinities, nans, inexact = self.zeros, self.infinities, 0, False
        if occupied.size and occupied[-1] >= form.finite:
            finite, first_nan = occupied.searchsorted([form.finite, form.first_nan])
            infinities = infinities if form.shift else int(counts[finite:first_nan].sum())
            nans = int(counts[finite:].sum()) - infinities
            occupied, counts = occupied[:finite], counts[:finite]
        if form.shift:
            inexact = self.bits_seen & ((1 << form.shift) - 1) != 0
        elif occupied.size and occupied[0] == 0:
            zeros = int(counts[0])
        if zeros:
            counts[0] -= zeros
            kept = slice(int(counts[0] == 0), None)
            occupied, counts = occupied[kept], counts[kept]
        apart = (zeros, nans, infinities)
        return from_counters(form, occupied, counts, apart, inexact=inexact, largest=self.largest)


def merged(tallies: Sequence[Tally]) -> Tally:
    """Add up the tallies of the pieces of a matrix."""
    if len(tallies) == 1:
        return tallies[0]
    occupied = np.concatenate([tally.occupied for tally in tallies])
    first, stop = int(occupied.min(initial=LABELS)), int(occupied.max(initial=0)) + 1
    bins = np.zeros(stop, np.int64)
    for tally in tallies:
        bins[tally.occupied] += tally.counts
    occupied, counts = take(bins, first, stop, occupied.size)
    return Tally(
        tallies[0].format,
        occupied,
        counts,
        sum(tally.zeros for tally in tallies),
        sum(tally.infinities for tally in tallies),
        reduce(or_, (tally.bits_seen for tally in tallies)),
        max(tally.largest for tally in tallies),
    )


def count_bits(
    bits: Bits, dtype: str, copying: LinesInCopying | None = None, start: int = 0
) -> Tally:
    """Count a piece of a matrix on this thread, with the interpreter lock released.

    The piece begins at weight number `start`; what it holds of lines is copied.
    """
    form, bits = FORMATS[dtype], np.ascontiguousarray(bits).reshape(-1).view()
    bits.flags.writeable = False  # as those of a file: loops are compiled for these alone
    lines = no_lines(form.bits) if copying is None else copying.after(start)
    counters = vars(_spare).pop("counters", None)
    if counters is None:
        counters = np.zeros(LABELS, np.uint32)
    tally = (_tally_top_bits if form.shift else _tally_patterns)(bits, form, counters, lines)
    _spare.counters = counters  # not if anything failed: they may not be zero then
    return tally


def _tally_patterns(bits: Bits, form: Format, counters: Any, lines: tuple[Any, ...]) -> Tally:
    """Count every pattern."""
    whole = bits.nbytes // 8 * 8 // bits.itemsize
    count = _count_8 if bits.itemsize == 1 else _count_16
    occupied, counts = count(bits, bits[:whole].view(np.uint64), counters, lines)
    return Tally(form, occupied, counts)


def _tally_top_bits(bits: Bits, form: Format, counters: Any, lines: tuple[Any, ...]) -> Tally:
    """Count intervals where the first weights fill more than ten mantissa bits, else values."""
    mask = bits.dtype.type((1 << 8 * bits.itemsize - 1) - 1)
    tallies, counted = [], 0
    if int(_union(bits[:_BLOCK], mask)) & (1 << form.shift) - 1:
        # a quarter of the counters stays in the cache; subnormals of F32 have no coarser grid
        least = 1 << 23 if form.name == "F32" else 1
        tally, counted = _tally_grid(bits, form, counters, lines, mask, _COARSER, least)
        tallies.append(tally)
    if counted < bits.size or not tallies:
        rest = (lines[0] + counted, *lines[1:])
        tallies.append(_tally_grid(bits[counted:], form, counters, rest, mask, 0, 1)[0])
    return merged(tallies)


def _tally_grid(
    bits: Bits,
    form: Format,
    counters: Any,
    lines: tuple[Any, ...],
    mask: Any,
    coarser: int,
    least: int,
) -> tuple[Tally, int]:
    """Count on a grid that is coarser by so many bits, and say how many weights were counted."""
    word = bits.dtype.type
    infinity, shift = word(form.infinity << form.shift), word(form.shift + coarser)
    (occupied, counts), counted, zeros, infinities, union, largest = _count_top_bits(
        bits, counters, mask, infinity, shift, word(least), lines
    )
    occupied <<= coarser
    return Tally(form, occupied, counts, zeros, infinities, union, largest), counted


def _cut(bits: Bits, most: int) -> Iterator[Bits]:
    """Cut an array into views of at most `most` weights."""
    size = bits.size // max(len(bits), 1)
    if size <= most:
        yield from (bits[part] for part in slices(len(bits), most // max(size, 1)))
        return
    for line in bits:
        yield from _cut(line, most)


class PendingOnThreads:
    """Counts of a matrix that threads count piece by piece; a small one is counted at once.

    Of a matrix of known `shape`, rows and columns as stored, `lines` are there with the counts.
    """

    was_read = False
    ready = False  # without waiting

    def __init__(
        self,
        pool: Executor,
        bits: Bits,
        dtype: str,
        *,
        workers: int,
        limits: Limits = DEFAULTS,
        shape: tuple[int, int] | None = None,
    ) -> None:
        copying = None
        if shape is not None and min(shape) >= FEWEST:
            copying = LinesInCopying(dtype, shape)
        self.lines = None if copying is None else copying.lines
        self.pieces: list[Future[Tally]] = []
        self._counts: Counts | None = None
        whole = len(slices(bits.size, limits.piece))
        self.load = whole / (limits.pieces_waiting * workers)
        if bits.size < limits.worth_a_thread:
            self._counts = count_bits(bits, dtype, copying).finish()
        else:
            most, start = limits.piece if bits.ndim == 1 else limits.gathered, 0
            if not isinstance(bits, np.ndarray):
                most = limits.computed
            for part in _cut(bits, most):
                self.pieces.append(pool.submit(count_bits, part, dtype, copying, start))
                start += part.size

    def result(self) -> Counts:
        """Wait for the pieces and add them up."""
        if self._counts is None:
            self._counts = merged([piece.result() for piece in self.pieces]).finish()
            self.pieces = []
        return self._counts

    def in_place(self) -> None:
        """Nothing is on a device."""

    def abandon(self) -> bool:
        """Give up the pieces that were not begun: the counts will not come."""
        for piece in self.pieces:
            piece.cancel()
        return False
