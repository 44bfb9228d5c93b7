"""Raw weights -> counts of their magnitudes: one pass, exact integers, mergeable."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor, Future

    from numpy.typing import ArrayLike, NDArray

    Bits = NDArray[np.unsignedinteger[Any]]

# A bin is labelled by the bit pattern of its lower edge as float64 with ten mantissa bits kept,
# so every storage format counts on one common logarithmic grid of 1,024 bins an octave.
LABEL_SHIFT = 42
LABELS = 1 << 21
# A bin of float32 or float64 weights: 256 an octave, whose two lowest label bits are zero.
INTERVAL_MASK = ~3
INTERVAL_WIDTH = 4
# float32 is counted in this many patterns a bin before it is known to be exact or not.
_SHIFT_32, _SHIFT_64 = 13, LABEL_SHIFT
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


@dataclass(frozen=True, slots=True)
class Format:
    """How a storage format spells a magnitude.

    Attributes
    ----------
    name : str
        As safetensors spells it: ``"BF16"``.
    bits : numpy dtype
        Unsigned integer of the same size.
    bins : int
        Number of counters, the non-finite patterns included.
    infinity, first_nan : int
        Counter of infinity and first counter of NaN (an infinity of ``bins`` means: has none).
    shift : int
        Pattern bits below a counter; 0 where each counter is one value.
    """

    name: str
    bits: np.dtype[Any]
    bins: int
    infinity: int
    first_nan: int
    shift: int = 0

    @property
    def finite(self) -> int:
        """Number of counters of finite magnitudes; they come first."""
        return min(self.infinity, self.first_nan)


FORMATS: dict[str, Format] = {
    "BF16": Format("BF16", np.dtype(np.uint16), 1 << 15, 0x7F80, 0x7F81),
    "F16": Format("F16", np.dtype(np.uint16), 1 << 15, 0x7C00, 0x7C01),
    "F8_E4M3": Format("F8_E4M3", np.dtype(np.uint8), 1 << 7, 1 << 7, 0x7F),
    "F8_E5M2": Format("F8_E5M2", np.dtype(np.uint8), 1 << 7, 0x7C, 0x7D),
    "F32": Format("F32", np.dtype(np.uint32), 1 << 18, 255 << 10, 255 << 10, _SHIFT_32),
    "F64": Format("F64", np.dtype(np.uint64), LABELS, 2047 << 10, 2047 << 10, _SHIFT_64),
}


# What numpy and torch call the formats.
NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


def _values(name: str, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Magnitude of counter `index` of a format (the lower edge for F32 and F64)."""
    if name == "F64":
        return (index << _SHIFT_64).view(np.float64)
    if name == "F32":
        return (index << _SHIFT_32).astype(np.uint32).view(np.float32).astype(np.float64)
    if name == "BF16":
        return (index << 16).astype(np.uint32).view(np.float32).astype(np.float64)
    if name == "F16":
        return index.astype(np.uint16).view(np.float16).astype(np.float64)
    mantissa_bits, bias = (3, 7) if name == "F8_E4M3" else (2, 15)
    exponent, mantissa = index >> mantissa_bits, index & ((1 << mantissa_bits) - 1)
    normal = np.ldexp(1 + mantissa / 2.0**mantissa_bits, exponent - bias)
    return np.where(exponent > 0, normal, np.ldexp(mantissa / 2.0**mantissa_bits, 1 - bias))


@lru_cache(maxsize=8)
def _labels(name: str) -> NDArray[np.int32]:
    """Label of every finite counter of a format."""
    values = _values(name, np.arange(FORMATS[name].finite))
    if name == "F32":
        values[0] = values[1] / 2  # only the tiniest subnormals: zeros are counted apart
    return (values.view(np.int64) >> LABEL_SHIFT).astype(np.int32)


def label_values(labels: ArrayLike) -> NDArray[np.float64]:
    """Magnitude that a bin label stands for: the value itself, or the lower edge of its interval.

    Parameters
    ----------
    labels : array_like of int
        Bin labels, as in the coordinate ``bin`` of a Dataset of fits.

    Returns
    -------
    ndarray of float64
        Magnitudes, in the units of the weights.

    Examples
    --------
    >>> label_values([1047552]).tolist()
    [1.0]
    """
    return (np.asarray(labels, np.int64) << LABEL_SHIFT).view(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """How often each magnitude occurs in one matrix, or in several merged ones.

    Attributes
    ----------
    labels : ndarray of int32, shape (bins,)
        Occupied bins in ascending magnitude, see `label_values`.
    counts : ndarray of int64, shape (bins,)
        Weights in each bin.
    zeros, nans, infinities : int
        Counted apart.
    largest : float
        Largest finite magnitude, exactly.
    exact : bool
        True if each bin is one value; False if it is an interval of relative width 1/256 (F32
        and F64 weights that do not happen to fit ten mantissa bits).

    Examples
    --------
    >>> from weibnb import count_magnitudes
    >>> left, right = count_magnitudes([0.5, -0.5]), count_magnitudes([2.0, 0.0])
    >>> both = left + right
    >>> both.values.tolist(), both.counts.tolist(), both.zeros
    ([0.5, 2.0], [2, 1], 1)
    """

    labels: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    zeros: int = 0
    nans: int = 0
    infinities: int = 0
    largest: float = 0.0
    exact: bool = True

    @property
    def n(self) -> int:
        """Non-zero finite weights: those that a fit uses."""
        return int(self.counts.sum())

    @property
    def values(self) -> NDArray[np.float64]:
        """Magnitude of each bin: its value, or the lower edge of its interval."""
        return label_values(self.labels)

    def __add__(self, other: Counts) -> Counts:
        exact = self.exact and other.exact
        mask = -1 if exact else INTERVAL_MASK
        labels, position = np.unique(
            np.concatenate([self.labels, other.labels]) & mask, return_inverse=True
        )
        counts = np.zeros(labels.size, np.int64)
        np.add.at(counts, position, np.concatenate([self.counts, other.counts]))
        return Counts(
            labels.astype(np.int32),
            counts,
            self.zeros + other.zeros,
            self.nans + other.nans,
            self.infinities + other.infinities,
            max(self.largest, other.largest),
            exact,
        )

    def __repr__(self) -> str:
        kind = "values" if self.exact else "intervals"
        return (
            f"<Counts of {self.n:,} non-zero weights in {self.labels.size:,} {kind}, "
            f"{self.zeros:,} zeros, {self.nans + self.infinities:,} not finite>"
        )


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


def from_counters(
    form: Format,
    occupied: NDArray[np.int64],
    counts: NDArray[np.int64],
    apart: tuple[int, int, int],
    *,
    inexact: bool,
    largest: int,
) -> Counts:
    """Put the counters of a format on the common grid.

    Parameters
    ----------
    form : Format
        The format.
    occupied : ndarray of int64, shape (bins,)
        Counters of finite non-zero magnitudes that are not 0, in ascending order.
    counts : ndarray of int64, shape (bins,)
        What they hold.
    apart : tuple of int
        Zeros, NaNs and infinities.
    inexact : bool
        Whether a weight of a format with a `shift` has more mantissa bits than its counter.
    largest : int
        Pattern of the largest finite magnitude; read only where the format has a `shift`.

    Returns
    -------
    Counts
        The counts.
    """
    zeros, nans, infinities = apart
    labels, exact = _labels(form.name)[occupied], not inexact
    if form.shift:
        top = float(np.array([largest], form.bits).view(f"f{form.bits.itemsize}")[0])
    else:
        top = float(_values(form.name, occupied[-1:]).sum())
    if labels.size and labels[0] < INTERVAL_WIDTH:
        exact = False  # magnitudes below 1e-310 share an interval: the grid ends at zero
    if not exact and labels.size:
        labels = np.maximum(labels & INTERVAL_MASK, INTERVAL_WIDTH)
        starts = np.flatnonzero(np.diff(labels, prepend=-1))
        labels, counts = labels[starts], np.add.reduceat(counts, starts)
    return Counts(labels, counts, zeros, nans, infinities, top, exact)


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


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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


def as_bits(weights: Any) -> tuple[Bits, str]:
    """Bit patterns of an array or tensor, without a copy where its memory is contiguous.

    Parameters
    ----------
    weights : array_like or torch.Tensor
        Floating-point weights of any shape; Python numbers count as float64.

    Returns
    -------
    bits : ndarray of unsigned int, shape (n,)
        The patterns.
    dtype : str
        Their format: a key of `FORMATS`.

    Raises
    ------
    TypeError
        If the weights are not of a floating-point format that weibnb counts.

    Examples
    --------
    >>> bits, dtype = as_bits(np.array([1.0, -2.0], np.float16))
    >>> [hex(pattern) for pattern in bits], dtype
    (['0x3c00', '0xc000'], 'F16')
    """
    if hasattr(weights, "detach") and hasattr(weights, "element_size"):
        import torch

        form = format_of(str(weights.dtype).removeprefix("torch."))
        same_size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        flat = weights.detach().cpu().contiguous().view(-1)
        return flat.view(same_size[weights.element_size()]).numpy().view(form.bits), form.name
    array = np.asarray(weights)
    if array.dtype == object or array.dtype.kind in "iub":
        array = array.astype(np.float64)
    form = format_of(array.dtype.name)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    return array.view(form.bits), form.name


def format_of(name: str) -> Format:
    """Find the format of a data type.

    Parameters
    ----------
    name : str
        What numpy or torch call it.

    Returns
    -------
    Format
        One of `FORMATS`.

    Raises
    ------
    TypeError
        If weibnb does not count weights of this type.
    """
    if name not in NAMES:
        raise TypeError(
            f"`weights` must be of one of the formats {', '.join(NAMES)}, got {name}. "
            "Convert them, for example with .astype('float32')."
        )
    return FORMATS[NAMES[name]]
