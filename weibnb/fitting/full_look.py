"""Every row and column of a matrix: what errors are clustered by, and the scale of each."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.counters import counters_of
from weibnb.fitting.clusters import across_lines, with_squares
from weibnb.fitting.estimates import influences
from weibnb.fitting.line_sums import OTHERS, apart, of_counts
from weibnb.fitting.neighbours import (
    OF_ALL,
    Across,
    products_of_windows,
    quantile,
    stands_out,
    widest,
)
from weibnb.fitting.rank_functions import by_class
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import Lines
    from weibnb.fitting.line_sums import Sums
    from weibnb.fitting.weibull import Estimator

    Array = NDArray[np.float64]


class FullLook(NamedTuple):
    """What every line of a matrix, as stored, gives.

    Attributes
    ----------
    products : ndarray of float64, shape (3, 3)
        Σ_i v_i v_i' + Σ_j v_j v_j' of the sums over rows and over columns of three functions: the
        influences on k and on ln λ, and w² over its mean, less 1; with what neighbouring lines add
        that are alike. NaN for the third where many weights are zero or not finite.
    row_rms, column_rms : ndarray of float64, shape (lines,)
        Root mean square of the finite weights of each; NaN where there are none.
    """

    products: Array
    row_rms: Array
    column_rms: Array


def look_at_all(
    bits: Bits | torch.Tensor,
    dtype: str,
    shape: tuple[int, int],
    counts: Counts,
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    workers: int,
    lines: Lines | None = None,
    sums: Sums | None = None,
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
    lines : Lines, optional
        Some of its rows and columns, which tell what neighbours that are alike have in common.
    sums : Sums, optional
        What was summed while they were counted; not used where the influences are others, and
        where zeros, which have none, or weights that are not finite are among them.

    Notes
    -----
    Influences are looked up as whole numbers, two in a word of 64 bits: each is rounded to some
    2^-30 of the largest, times the length of the longer side.
    """
    rows = CountRows.of([counts])
    v = np.zeros((2, 0))
    if counts.labels.size:
        v = np.nan_to_num(influences(rows, trim=trim, estimator=estimator)[1])
    sums = of_counts(bits, dtype, shape, counts, v, workers=workers, known=sums)
    found = sums.of_lines
    products = np.zeros((3, 3))
    others = counts.zeros + counts.nans + counts.infinities > OTHERS * prod(shape)
    for which, (one, rms) in enumerate(
        ((found.rows, found.row_rms), (found.columns, found.column_rms))
    ):
        squares = np.full(rms.size, np.nan) if others else _squares(rms, shape[1 - which])
        of_lines = np.vstack([apart(one, sums.unit), squares]).T
        of_lines -= of_lines.mean(0)
        products += of_lines.T @ of_lines
        width = widest(of_lines[:, :2], OF_ALL) if lines is not None else 0
        if lines is not None and width:
            products += _of_neighbours(of_lines, width, which, lines, rows, v)
    return FullLook(products, found.row_rms, found.column_rms)


def _squares(rms: Array, weights: int) -> Array:
    """Sum w² over its mean, less 1, over lines of so many weights each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = (rms / rms.max()) ** 2
        sums: Array = weights * (squares / squares.mean() - 1.0)
    return sums


def _of_neighbours(
    of_lines: Array, width: int, which: int, lines: Lines, rows: CountRows, v: Array
) -> Array:
    """Give what rows (0), or columns (1), that are alike add to the products of their sums."""
    across = lines.rows if which else np.ascontiguousarray(lines.columns.T)
    every = lines.columns.shape[0] if which else lines.rows.shape[1]
    classes, _, means = by_class(rows, with_squares(rows, v))
    counters = counters_of(lines.dtype, exact=bool(rows.exact[0]))
    found = across_lines(across, rows.labels, classes, counters, means[0])
    looked_at = Across(found[0], found[1], len(across), every)
    within = looked_at.within(width) * looked_at.every / looked_at.number
    found = products_of_windows(of_lines, width) - within
    if not stands_out(of_lines[:, :2], found, within, width, OF_ALL):
        return np.zeros_like(found)
    return np.asarray(found * quantile(len(of_lines), width))
