"""Bit patterns in the host's memory -> counts, on threads of the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from weibnb.compiled import compiled
from weibnb.counting.counts import from_counters
from weibnb.counting.formats import FORMATS, Format
from weibnb.counting.limits import DEFAULTS, Limits
from weibnb.parallel import slices

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits


@compiled
def _count(bits: Any, counts: Any, mask: Any) -> None:
    for i in range(bits.size):
        counts[bits[i] & mask] += np.uint32(1)


@compiled
def _count_16_by_four(words: Any, counts: Any) -> None:
    """Count four weights per load; what limits it is one store per cycle."""
    mask = np.uint64(0x7FFF)
    for i in range(words.size):
        word = words[i]
        counts[np.intp(word & mask)] += np.uint32(1)
        counts[np.intp((word >> np.uint64(16)) & mask)] += np.uint32(1)
        counts[np.intp((word >> np.uint64(32)) & mask)] += np.uint32(1)
        counts[np.intp((word >> np.uint64(48)) & mask)] += np.uint32(1)


@compiled
def _count_top_bits(bits: Any, counts: Any, mask: Any, infinity: Any, shift: Any) -> Any:
    """Count the top bits; return zeros, infinities, the union of all bits and the largest."""
    zeros, infinities = 0, 0
    union, largest = mask & ~mask, mask & ~mask
    for i in range(bits.size):
        magnitude = bits[i] & mask
        union |= magnitude
        zeros += magnitude == 0
        infinities += magnitude == infinity
        if magnitude < infinity:
            largest = max(largest, magnitude)
        counts[np.intp(magnitude >> shift)] += np.uint32(1)
    return zeros, infinities, np.int64(union), np.int64(largest)


@dataclass(slots=True, eq=False)
class Tally:
    """Counters of one format while they fill; pieces of a matrix add up in any order."""

    format: Format
    counters: NDArray[np.unsignedinteger[Any]]
    zeros: int = 0
    infinities: int = 0
    bits_seen: int = 0
    largest: int = 0

    def __iadd__(self, other: Tally) -> Self:
        if self.counters.dtype != np.uint64:
            self.counters = self.counters.astype(np.uint64)
        self.counters += other.counters
        self.zeros += other.zeros
        self.infinities += other.infinities
        self.bits_seen |= other.bits_seen
        self.largest = max(self.largest, other.largest)
        return self

    def finish(self) -> Counts:
        """Keep the occupied bins, zeros and non-finite patterns apart; uses the tally up."""
        form, bins = self.format, self.counters
        zeros, infinities, inexact = self.zeros, self.infinities, False
        if form.shift:
            inexact = self.bits_seen & ((1 << form.shift) - 1) != 0
        else:
            zeros = int(bins[0])
            infinities = int(bins[form.infinity : form.first_nan].sum())
        bins[0] -= bins.dtype.type(zeros)
        nonfinite = int(bins[form.finite :].sum())
        occupied = np.flatnonzero(bins[: form.finite])
        counts = bins[occupied].astype(np.int64)
        apart = (zeros, nonfinite - infinities, infinities)
        return from_counters(form, occupied, counts, apart, inexact=inexact, largest=self.largest)


def count_bits(bits: Bits, dtype: str) -> Tally:
    """Count a piece of a matrix on this thread, with the interpreter lock released."""
    form, word = FORMATS[dtype], bits.dtype.type
    counters, mask = np.zeros(form.bins, np.uint32), word((1 << 8 * bits.itemsize - 1) - 1)
    if form.shift:
        infinity, shift = word(form.infinity << form.shift), word(form.shift)
        return Tally(form, counters, *_count_top_bits(bits, counters, mask, infinity, shift))
    whole = 0
    if bits.itemsize == 2 and bits.flags.c_contiguous and bits.ctypes.data % 8 == 0:
        whole = bits.size // 4 * 4
        _count_16_by_four(bits[:whole].view(np.uint64), counters)
    _count(bits[whole:], counters, mask)
    return Tally(form, counters)


class PendingOnThreads:
    """Counts of a matrix that threads count piece by piece."""

    was_read = False

    def __init__(
        self, pool: Executor, bits: Bits, dtype: str, *, workers: int, limits: Limits = DEFAULTS
    ) -> None:
        self.pieces = [
            pool.submit(count_bits, bits[piece], dtype) for piece in slices(bits.size, limits.piece)
        ]
        self.load = len(self.pieces) / (limits.pieces_waiting * workers)
        self._counts: Counts | None = None

    def result(self) -> Counts:
        """Wait for the pieces and add them up."""
        if self._counts is None:
            total = self.pieces[0].result()
            for piece in self.pieces[1:]:
                total += piece.result()
            self._counts, self.pieces = total.finish(), []
        return self._counts

    def abandon(self) -> bool:
        """Give up the pieces that were not begun: the counts will not come."""
        for piece in self.pieces:
            piece.cancel()
        return False
