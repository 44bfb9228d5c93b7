"""How often each magnitude occurs: exact integers that add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import (
    INTERVAL_MASK,
    INTERVAL_WIDTH,
    LABELS,
    counter_labels,
    label_values,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import ArrayLike, NDArray

    from weibnb.counting.formats import Format


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Counts:
    """How often each magnitude occurs in one matrix, or in several merged ones.

    Parameters
    ----------
    labels : ndarray of int32, shape (bins,)
        Occupied bins in ascending magnitude, see `label_values`.
    counts : ndarray of int, shape (bins,)
        Weights in each bin, at least 1.
    zeros, nans, infinities : int
        Counted apart.
    largest : float
        Largest finite magnitude, exactly.
    exact : bool
        True if each bin is one value; False if it is an interval of relative width 1/256 (F32
        and F64 weights that do not happen to fit ten mantissa bits).

    Attributes
    ----------
    packed : ndarray
        The counts in the smallest unsigned integers that hold them, as they are kept.

    Examples
    --------
    >>> from weibnb import count_magnitudes
    >>> left, right = count_magnitudes([0.5, -0.5]), count_magnitudes([2.0, 0.0])
    >>> both = left + right
    >>> both.values.tolist(), both.counts.tolist(), both.zeros
    ([0.5, 2.0], [2, 1], 1)
    >>> both == sum([right, left])
    True
    """

    labels: NDArray[np.int32]
    packed: NDArray[np.unsignedinteger[Any]]
    zeros: int
    nans: int
    infinities: int
    largest: float
    exact: bool

    def __init__(
        self,
        labels: ArrayLike = (),
        counts: ArrayLike = (),
        zeros: int = 0,
        nans: int = 0,
        infinities: int = 0,
        largest: float = 0.0,
        exact: bool = True,  # noqa: FBT001, FBT002  (a field as the others)
    ) -> None:
        keep = object.__setattr__
        keep(self, "labels", np.asarray(labels, np.int32))
        keep(self, "packed", _smallest(np.asarray(counts)))
        keep(self, "zeros", zeros)
        keep(self, "nans", nans)
        keep(self, "infinities", infinities)
        keep(self, "largest", largest)
        keep(self, "exact", exact)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Weights in each bin."""
        return self.packed.astype(np.int64)

    @property
    def n(self) -> int:
        """Non-zero finite weights: those that a fit uses."""
        return int(self.packed.sum(dtype=np.int64))

    @property
    def values(self) -> NDArray[np.float64]:
        """Magnitude of each bin: its value, or the lower edge of its interval."""
        return label_values(self.labels)

    def __add__(self, other: Counts) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return merged([self, other])

    def __radd__(self, other: object) -> Counts:
        """Let ``sum`` begin with 0."""
        return self if isinstance(other, (int, np.integer)) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Counts):
            return NotImplemented
        return (
            self._apart == other._apart
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.packed, other.packed)
        )

    __hash__ = None  # type: ignore[assignment]  # equal by value, as arrays are

    @property
    def _apart(self) -> tuple[int, int, int, float, bool]:
        """What is not in bins."""
        return self.zeros, self.nans, self.infinities, self.largest, self.exact

    def __repr__(self) -> str:
        kind = "values" if self.exact else "intervals"
        return (
            f"<Counts of {self.n:,} non-zero weights in {self.labels.size:,} {kind}, "
            f"{self.zeros:,} zeros, {self.nans + self.infinities:,} not finite>"
        )


def merged(parts: Collection[Counts]) -> Counts:
    """Add up the counts of several matrices: on intervals if any of them is."""
    if len(parts) == 1:
        return next(iter(parts))
    exact = all(part.exact for part in parts)
    labels = np.concatenate([np.empty(0, np.int32), *(part.labels for part in parts)])
    labels &= -1 if exact else INTERVAL_MASK
    numbers = np.concatenate([np.empty(0, int), *(part.counts for part in parts)])
    lowest = labels.min(initial=LABELS)
    table = np.zeros(max(int(labels.max(initial=0)) - int(lowest) + 1, 0), np.int64)
    np.add.at(table, labels - lowest, numbers)
    occupied = np.flatnonzero(table)
    return Counts(
        occupied + lowest,
        table[occupied],
        sum(part.zeros for part in parts),
        sum(part.nans for part in parts),
        sum(part.infinities for part in parts),
        max((part.largest for part in parts), default=0.0),
        exact,
    )


def _smallest(counts: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
    """Return counts in the smallest unsigned integers that hold them."""
    return counts.astype(np.min_scalar_type(int(counts.max(initial=0))), copy=False)


def from_counters(
    form: Format,
    occupied: NDArray[np.int64],
    counts: NDArray[np.int64],
    apart: tuple[int, int, int],
    *,
    inexact: bool,
    largest: int,
) -> Counts:
    """Put the occupied finite counters of a format, in ascending order, on the common grid.

    `apart` are zeros, NaNs and infinities. Formats with a `shift` also say whether any weight has
    more mantissa bits than its counter, and the pattern of the largest finite magnitude.
    """
    zeros, nans, infinities = apart
    labels, exact = counter_labels(form)[occupied], not inexact
    if form.shift:
        top = float(np.array(largest, form.bits).view(f"f{form.bits.itemsize}"))
    else:
        top = float(label_values(labels[-1:]).max(initial=0.0))
    if labels.size and labels[0] < INTERVAL_WIDTH:
        exact = False  # magnitudes below 1e-310 share an interval: the grid ends at zero
    if not exact and labels.size:
        labels = np.maximum(labels & INTERVAL_MASK, INTERVAL_WIDTH)
        new = labels[1:] != labels[:-1]
        if not new.all():
            starts = np.flatnonzero(np.concatenate([[True], new]))
            labels, counts = labels[starts], np.add.reduceat(counts, starts)
    return Counts(labels, counts, zeros, nans, infinities, top, exact)
