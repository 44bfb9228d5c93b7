"""Raw weights -> counts of their magnitudes: one pass, exact integers, mergeable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numba
import numpy as np

from weibnb.counting.counts import Counts, from_counters
from weibnb.counting.formats import _SHIFT_32, _SHIFT_64, FORMATS, Format

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    Bits = NDArray[np.unsignedinteger[Any]]


# Weights a task counts at once: large enough to hide its cost, small enough for uint32 counters.
CHUNK = 1 << 23


@numba.njit(nogil=True, cache=True)
def _count_8(bits: Any, counts: Any) -> None:
    for i in range(bits.size):
        counts[bits[i] & 0x7F] += np.uint32(1)


@numba.njit(nogil=True, cache=True)
def _count_16(bits: Any, counts: Any) -> None:
    for i in range(bits.size):
        counts[bits[i] & 0x7FFF] += np.uint32(1)


@numba.njit(nogil=True, cache=True)
def _count_16_by_four(words: Any, counts: Any) -> None:
    """Count four weights a load; what limits it is one store a cycle."""
    mask = np.uint64(0x7FFF)
    for i in range(words.size):
        word = words[i]
        counts[np.intp(word & mask)] += np.uint32(1)
        counts[np.intp((word >> np.uint64(16)) & mask)] += np.uint32(1)
        counts[np.intp((word >> np.uint64(32)) & mask)] += np.uint32(1)
        counts[np.intp((word >> np.uint64(48)) & mask)] += np.uint32(1)


@numba.njit(nogil=True, cache=True)
def _count_32(bits: Any, counts: Any) -> Any:
    """Count the top bits; return zeros, infinities, the union of low bits and the largest."""
    zeros, infinities = 0, 0
    union, largest = np.uint32(0), np.uint32(0)
    for i in range(bits.size):
        magnitude = bits[i] & np.uint32(0x7FFFFFFF)
        union |= magnitude
        zeros += magnitude == 0
        infinities += magnitude == np.uint32(0x7F800000)
        if magnitude < np.uint32(0x7F800000):
            largest = max(largest, magnitude)
        counts[magnitude >> np.uint32(_SHIFT_32)] += np.uint32(1)
    return zeros, infinities, np.int64(union), np.int64(largest)


@numba.njit(nogil=True, cache=True)
def _count_64(bits: Any, counts: Any) -> Any:
    """Count the top bits; return zeros, infinities, the union of low bits and the largest."""
    zeros, infinities = 0, 0
    union, largest = np.uint64(0), np.uint64(0)
    infinity = np.uint64(0x7FF0000000000000)
    for i in range(bits.size):
        magnitude = bits[i] & np.uint64(0x7FFFFFFFFFFFFFFF)
        union |= magnitude
        zeros += magnitude == 0
        infinities += magnitude == infinity
        if magnitude < infinity:
            largest = max(largest, magnitude)
        counts[np.intp(magnitude >> np.uint64(_SHIFT_64))] += np.uint32(1)
    return zeros, infinities, np.int64(union), np.int64(largest)


@dataclass(slots=True, eq=False)
class Tally:
    """Counters of one format while they fill; parts of a matrix add up in any order."""

    format: Format
    counters: NDArray[np.unsignedinteger[Any]]
    zeros: int = 0
    infinities: int = 0
    union: int = 0
    largest: int = 0

    def __iadd__(self, other: Tally) -> Self:
        if self.counters.dtype != np.uint64:
            self.counters = self.counters.astype(np.uint64)
        self.counters += other.counters
        self.zeros += other.zeros
        self.infinities += other.infinities
        self.union |= other.union
        self.largest = max(self.largest, other.largest)
        return self

    def finish(self) -> Counts:
        """Keep the occupied bins, zeros and non-finite patterns apart; uses the tally up."""
        form, bins = self.format, self.counters
        zeros, infinities, inexact = self.zeros, self.infinities, False
        if form.shift:
            inexact = self.union & ((1 << form.shift) - 1) != 0
        else:
            zeros = int(bins[0])
            infinities = int(bins[form.infinity : form.first_nan].sum())
        bins[0] -= bins.dtype.type(zeros)
        nonfinite = int(bins[form.finite :].sum())
        occupied = np.flatnonzero(bins[: form.finite])
        counts = bins[occupied].astype(np.int64)
        apart = (zeros, nonfinite - infinities, infinities)
        return from_counters(form, occupied, counts, apart, inexact=inexact, largest=self.largest)


def tally(bits: Bits, dtype: str) -> Tally:
    """Count one piece of a matrix on this thread, with the interpreter lock released.

    Parameters
    ----------
    bits : ndarray of unsigned int, shape (n,)
        Bit patterns of the weights, at most `CHUNK` of them.
    dtype : str
        Their format: a key of `FORMATS`.

    Returns
    -------
    Tally
        Its ``finish()`` gives the `Counts`.
    """
    form = FORMATS[dtype]
    counters = np.zeros(form.bins, np.uint32)
    if form.bits.itemsize == 4:
        return Tally(form, counters, *_count_32(bits, counters))
    if form.bits.itemsize == 8:
        return Tally(form, counters, *_count_64(bits, counters))
    if form.bits.itemsize == 1:
        _count_8(bits, counters)
    elif bits.flags.c_contiguous and bits.ctypes.data % 8 == 0:
        whole = bits.size // 4 * 4
        _count_16_by_four(bits[:whole].view(np.uint64), counters)
        _count_16(bits[whole:], counters)
    else:
        _count_16(bits, counters)
    return Tally(form, counters)


def submit(pool: Executor, bits: Bits, dtype: str) -> list[Future[Tally]]:
    """Hand one matrix to a pool in pieces of at most `CHUNK` weights.

    Parameters
    ----------
    pool : concurrent.futures.Executor
        Threads to count on.
    bits : ndarray of unsigned int, shape (n,)
        Bit patterns of the weights.
    dtype : str
        Their format: a key of `FORMATS`.

    Returns
    -------
    list of Future
        The pieces, for `collect`.
    """
    starts = range(0, max(bits.size, 1), CHUNK)
    return [pool.submit(tally, bits[at : at + CHUNK], dtype) for at in starts]


def collect(pieces: Sequence[Future[Tally]]) -> Counts:
    """Wait for the pieces of one matrix and add them up.

    Parameters
    ----------
    pieces : sequence of Future
        What `submit` returned.

    Returns
    -------
    Counts
        The counts of the whole matrix.
    """
    total = pieces[0].result()
    for piece in pieces[1:]:
        total += piece.result()
    return total.finish()
