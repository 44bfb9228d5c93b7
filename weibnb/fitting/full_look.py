"""Every row and column of a matrix: what errors are clustered by, and the scale of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.lines import choice
from weibnb.fitting.clusters import look_across
from weibnb.fitting.estimates import influences
from weibnb.fitting.line_sums import apart, of_counts
from weibnb.fitting.neighbours import (
    OF_ALL,
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

# Power of the RMS of a line: by 1.2 errors of refits are too small where a few lines are large,
# by 2 too large where single weights are.
_POWER = 1.5


class FullLook(NamedTuple):
    """What every line of a matrix, as stored, gives.

    Attributes
    ----------
    products : ndarray of float64, shape (3, 3)
        Σ_i s_i s_i' + Σ_j s_j s_j' of three numbers of each row i, and column j: the sums of the
        influences on k and on ln λ, and its scale; with what neighbouring lines add that are alike.
    scales : ndarray of float64, shape (lines looked at,)
        Those of the rows, then columns, that were copied: a power of the RMS, less its mean.
    row_rms, column_rms : ndarray of float64, shape (lines,)
        Root mean square of the finite weights of each; NaN where there are none.
    """

    products: Array
    scales: Array
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
    products, scales = np.zeros((3, 3)), []
    for which, (one, rms) in enumerate(
        ((found.rows, found.row_rms), (found.columns, found.column_rms))
    ):
        of_lines = np.vstack([apart(one, sums.unit), _scale(rms, shape[1 - which])]).T
        of_lines -= of_lines.mean(0)
        products += of_lines.T @ of_lines
        if lines is None:
            continue
        number = lines.columns.shape[1] if which else lines.rows.shape[0]
        scales.append(of_lines[choice(rms.size, number), 2])
        width = widest(of_lines[:, :2], OF_ALL)
        if width:
            products += _of_neighbours(of_lines, width, which, lines, rows, v)
    return FullLook(products, np.concatenate([*scales, []]), found.row_rms, found.column_rms)


def _scale(rms: Array, weights: int) -> Array:
    """Give a power of the RMS over that of all, which heavy tails do not rule, times the weights.

    It is 0 for lines without a finite weight.
    """
    alive = np.nan_to_num(rms)
    largest = alive.max(initial=0.0)
    alive = alive / largest if largest else alive
    whole = np.sqrt((alive**2).mean())
    scale: Array = weights * (alive / whole if whole else alive) ** _POWER
    return scale


def _of_neighbours(
    of_lines: Array, width: int, which: int, lines: Lines, rows: CountRows, v: Array
) -> Array:
    """Give what rows (0), or columns (1), that are alike add to the products of their sums."""
    classes, _, means = by_class(rows, v)
    looked_at = look_across(rows, classes, means[0], lines, which)
    within = looked_at.within(width) * looked_at.every / looked_at.number
    found = products_of_windows(of_lines, width)
    found[:2, :2] -= within
    if not stands_out(of_lines[:, :2], found, within, width, OF_ALL):
        return np.zeros_like(found)
    return np.asarray(found * quantile(len(of_lines), width))
