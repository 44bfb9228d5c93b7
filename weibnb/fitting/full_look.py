"""Every row and column of a matrix: what errors are clustered by, and the scale of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.formats import by_counter, counters_of
from weibnb.counting.second_look import Influence, line_sums
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
        Σ_i (Σ_j v_ij)² + Σ_j (Σ_i v_ij)² of the influences v on k and on ln λ, and the same of
        their product.
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
        v = np.nan_to_num(influences(CountRows.of([counts]), trim=trim, estimator=estimator)[1])
    step = np.abs(v).max(1, initial=0.0) * max(shape) / 2.0**_BITS
    step[step == 0.0] = 1.0
    whole = np.rint(v / step[:, None]).astype(np.int64)
    counters = counters_of(dtype, exact=counts.exact)
    table = by_counter(counters, counts.labels, whole[0] * _LOW + whole[1])
    sums = line_sums(
        bits,
        dtype,
        shape,
        Influence(table, counters.mask, counters.shift),
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
