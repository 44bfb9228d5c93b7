"""Counts of several matrices as the compiled loops take them: occupied bins, row after row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts


class CountRows(NamedTuple):
    """Occupied bins of several matrices, one after the other; the compiled loops take it whole.

    Attributes
    ----------
    labels : ndarray of int32, shape (bins,)
        Bins in ascending magnitude, among them all that any matrix occupies.
    starts : ndarray of int64, shape (matrices + 1,)
        Entry with which each matrix begins; the last is the end.
    columns : ndarray of int32, shape (entries,)
        Index into `labels` of each entry, ascending within a matrix.
    counts : ndarray of uint32 or uint64, shape (entries,)
        Weights in the bin.
    exact : ndarray of bool, shape (matrices,)
        Whether each bin is one value.
    zeros, nonfinite : ndarray of int64, shape (matrices,)
        Weights that are counted apart.
    widest : int
        Most entries of a matrix.
    """

    labels: NDArray[np.int32]
    starts: NDArray[np.int64]
    columns: NDArray[np.int32]
    counts: NDArray[np.unsignedinteger[Any]]
    exact: NDArray[np.bool_]
    zeros: NDArray[np.int64]
    nonfinite: NDArray[np.int64]
    widest: int

    @classmethod
    def of(cls, counted: Collection[Counts]) -> CountRows:
        """Lay the counts of matrices out in rows.

        Examples
        --------
        >>> from weibnb import count_magnitudes
        >>> rows = CountRows.of([count_magnitudes([2.0, 1.0]), count_magnitudes([0.5, 1.0, 1.0])])
        >>> rows.starts.tolist(), rows.columns.tolist(), rows.counts.tolist()
        ([0, 2, 4], [1, 2, 0, 1], [1, 1, 1, 2])
        """
        number = len(counted)
        starts = np.zeros(number + 1, np.int64)
        np.cumsum([one.labels.size for one in counted], out=starts[1:])
        labels, counts = joined(counted)
        if counts.itemsize < 8 or counts.max() <= np.iinfo(np.uint32).max:
            counts = counts.astype(np.uint32, copy=False)
        union, columns = _union(labels, single=number == 1)
        return cls(
            union,
            starts,
            columns,
            counts,
            np.fromiter((one.exact for one in counted), bool, number),
            np.fromiter((one.zeros for one in counted), np.int64, number),
            np.fromiter((one.nans + one.infinities for one in counted), np.int64, number),
            int(np.diff(starts).max(initial=0)),
        )

    def part(self, rows: slice) -> CountRows:
        """Take neighbouring rows, without a copy."""
        start, stop, _ = rows.indices(self.exact.size)
        return self._replace(
            starts=self.starts[start : stop + 1],
            exact=self.exact[start:stop],
            zeros=self.zeros[start:stop],
            nonfinite=self.nonfinite[start:stop],
        )


def joined(
    counted: Collection[Counts],
) -> tuple[NDArray[np.int32], NDArray[np.unsignedinteger[Any]]]:
    """Labels of matrices, one after the other, and their counts."""
    labels = np.concatenate([np.empty(0, np.int32), *(one.labels for one in counted)])
    return labels, np.concatenate([np.empty(0, np.uint8), *(one.packed for one in counted)])


def _union(
    labels: NDArray[np.int32], *, single: bool
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Bins in ascending order that hold every label, and the place of each label in them.

    They are the whole range of labels, unless that is wider than the labels are many.
    """
    if single or not labels.size:
        return labels, np.arange(labels.size, dtype=np.int32)
    lowest, highest = labels.min(), labels.max()
    columns = labels - lowest
    if highest - lowest < labels.size:
        return np.arange(lowest, highest + 1, dtype=np.int32), columns
    place = np.zeros(int(highest - lowest) + 1, np.int32)
    place[columns] = 1
    union = np.flatnonzero(place).astype(np.int32)
    place[union] = np.arange(union.size, dtype=np.int32)
    return union + lowest, place[columns]
