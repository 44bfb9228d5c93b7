"""Every row and column of a matrix: what errors are clustered by, and the scale of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.formats import FORMATS, INTERVAL_WIDTH
from weibnb.counting.second_look import Influence, line_sums
from weibnb.fitting.clusters import counter_labels_of
from weibnb.fitting.estimates import influences
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.fitting.weibull import Estimator

    Array = NDArray[np.float64]

# Bits that the sum of an influence over a line may take, its sign left out.
_BITS = 30
_LOW = 1 << 32


class FullLook(NamedTuple):
    """What every line of a matrix, as stored, gives.

    Attributes
    ----------
    products : ndarray of float64, shape (3,)
        Sums over rows and over columns of the squares and the product of the sums of influences
        on k and ln λ over each.
    row_rms, column_rms : ndarray of float64, shape (lines,)
        Root mean square of the finite weights of each; NaN where there are none.
    """

    products: Array
    row_rms: Array
    column_rms: Array


def look_at_all(
    bits: Bits,
    dtype: str,
    shape: tuple[int, int],
    counts: Counts,
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    workers: int,
) -> FullLook:
    """Look at every row and column of a matrix whose counts are known.

    Parameters
    ----------
    bits, dtype, shape
        As of `weibnb.counting.second_look.zero_lines`.
    counts : Counts
        Of the same weights.
    trim, estimator, workers
        As of `weibnb.scan`.

    Notes
    -----
    Influences are looked up as whole numbers, two in a word of 64 bits: each is rounded to some
    2^-30 of the largest, times the length of the longer side.
    """
    v = np.zeros((2, 0))
    if counts.labels.size:
        _, v = influences(CountRows.of([counts]), trim=trim, estimator=estimator)
        v = np.nan_to_num(v)
    step = np.abs(v).max(1, initial=0.0) * max(shape) / 2.0**_BITS
    step[step == 0.0] = 1.0
    whole = np.rint(v / step[:, None]).astype(np.int64)
    sums = line_sums(
        bits,
        dtype,
        shape,
        _by_counter(dtype, counts, whole[0] * _LOW + whole[1]),
        largest=counts.largest,
        nonfinite=counts.nans + counts.infinities > 0,
        workers=workers,
    )
    products = np.zeros(3)
    for one in (sums.rows, sums.columns):
        b = one.astype(np.int32).astype(np.int64)
        k, b = (one - b) / _LOW * step[0], b * step[1]
        products += (k @ k, b @ b, k @ b)
    return FullLook(products, sums.row_rms, sums.column_rms)


def _by_counter(dtype: str, counts: Counts, values: NDArray[np.int64]) -> Influence:
    """Lay values of bins out by the counters of a format."""
    form = FORMATS[dtype]
    word, mask = form.bits.type, (1 << 8 * form.bits.itemsize - 1) - 1
    coarser = 0 if counts.exact else INTERVAL_WIDTH.bit_length() - 1
    shift = form.shift + coarser
    labels = counter_labels_of(dtype, exact=counts.exact)[:: 1 << coarser]
    table = np.zeros((mask >> shift) + 1, np.int64)
    if counts.labels.size:
        first, stop = np.searchsorted(labels, [counts.labels[0], counts.labels[-1] + 1])
        first = max(first, 1)  # counter 0 is that of zeros
        at = np.searchsorted(counts.labels, labels[first:stop])
        there = counts.labels[at] == labels[first:stop]
        table[first:stop][there] = values[at[there]]
    return Influence(table, word(mask), word(shift))
