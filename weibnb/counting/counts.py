"""How often each magnitude occurs: exact integers that add up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from weibnb.counting.formats import (
    INTERVAL_MASK,
    INTERVAL_WIDTH,
    counter_labels,
    decode,
    label_values,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.formats import Format


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
        top = float(decode(np.array([largest], form.bits), form.name)[0])
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
