"""Standard errors of weights that depend on each other within rows and columns."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from weibnb.compiled import compiled, compiled_inline
from weibnb.counting.formats import FORMATS, INTERVAL_MASK, INTERVAL_WIDTH, counter_labels
from weibnb.fitting.estimates import COVARIANCES, EFFECTS
from weibnb.fitting.kernels import CORRELATION, K_SE, LAM, LAM_SE
from weibnb.fitting.rank_functions import (
    CLASSES,
    PAIRS,
    by_class,
    clustered_part,
    rank_functions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines
    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]


def clustered(table: Array, rows: CountRows, v: Array, lines: Sequence[Lines | None]) -> Array:
    """Make the errors of fitted rows clustered ones where there are lines.

    Parameters
    ----------
    table : ndarray, shape (matrices, 10)
        From `weibnb.fitting.kernels.fit_rows`; its errors are independent ones.
    rows : CountRows
        The counts.
    v : ndarray, shape (2, entries)
        Influence of each bin on k and ln λ.
    lines : sequence of Lines or None
        Those of each matrix.

    Returns
    -------
    ndarray, shape (matrices, 27)
        With the design effects of k and of λ, at least 1, NaN without lines or a fit, and the
        covariance of the rank functions within rows and columns, NaN without lines.

    Notes
    -----
    With n weights and v_ij the influence of weight (i, j), the variance clustered by rows and by
    columns is [Σ_i (Σ_j v_ij)² + Σ_j (Σ_i v_ij)² - Σ_ij v_ij²] / n². Influences are taken as
    constant within each of 192 classes of the rank; what they vary within one is independent.
    v has mean zero over the matrix, so that a sample of lines loses no degree of freedom. Zeros
    and weights that are not finite have v = 0.

    References
    ----------
    A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust Inference With Multiway Clustering",
    Journal of Business & Economic Statistics 29 (2011) 238-249.
    """
    if not any(lines):
        return np.column_stack([table, np.full((len(table), len(EFFECTS) + COVARIANCES), np.nan)])
    classes, masses, means = by_class(rows, v)
    functions = np.concatenate([means, rank_functions(masses)], 1)
    beyond = np.full((len(table), functions.shape[1], functions.shape[1]), np.nan)
    for row, some in enumerate(lines):
        start, stop = rows.starts[row : row + 2]
        if some is None or start == stop:
            continue
        labels = rows.labels[rows.columns[start:stop]]
        place = classes[start - rows.starts[0] : stop - rows.starts[0]]
        of_rows, of_columns = line_histograms(labels, place, some, exact=bool(rows.exact[row]))
        f, n = functions[row], masses[row].sum()
        products = _products(of_rows @ f.T, some.columns.shape[0])
        products += _products(of_columns @ f.T, some.rows.shape[1])
        products -= 2.0 * (f * masses[row]) @ f.T
        beyond[row] = products * widening(min(len(of_rows), len(of_columns))) / n**2
        if some.products is not None:
            beyond[row, :2, :2] = _beyond_independent(table[row], some, n)
            beyond[row, 2:, 2:] = some.functions
    kept = beyond[:, 2:, 2:][:, *PAIRS]
    return np.column_stack([table, with_effects(table, beyond[:, :2, :2]), kept])


def _beyond_independent(row: Array, lines: Lines, n: float) -> Array:
    """Covariance of k and ln λ that the look at every line found beyond independent weights."""
    k, lam = row[K_SE], row[LAM_SE] / row[LAM]
    own = np.array([k * k, lam * lam, row[CORRELATION] * k * lam])
    kk, bb, kb = (np.asarray(lines.products) / n**2 - 2.0 * own) * widening(lines.fewest)
    return np.array([[kk, kb], [kb, bb]])


def composed(table: Array, rows: CountRows, v: Array, covariance: Array) -> Array:
    """Make the errors of fitted rows clustered ones where the covariance of a scan is known.

    As `clustered`, from the covariance (matrices, 15) that it gave instead of lines; the result
    (matrices, 12) has the design effects.
    """
    return np.column_stack([table, with_effects(table, clustered_part(rows, v, covariance))])


def with_effects(table: Array, beyond: Array) -> Array:
    """Widen independent errors in place, and give the design effects of k and of λ.

    `beyond`, of shape (matrices, 2, 2), is the covariance of k and ln λ beyond that of independent
    weights; where it is NaN the errors stay, and the effects are NaN.
    """
    error = np.stack([table[:, K_SE], table[:, LAM_SE] / table[:, LAM]], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = error**2
        effects = 1.0 + np.maximum(np.diagonal(beyond, axis1=1, axis2=2), 0.0) / own
        effects[~np.isfinite(effects).all(1)] = np.nan
        wider = (effects > 1.0).any(1)
        covariance = table[:, CORRELATION] * error.prod(1) + beyond[:, 0, 1]
        mixed = covariance / (error.prod(1) * np.sqrt(effects.prod(1)))
    table[wider, CORRELATION] = np.clip(mixed[wider], -1.0, 1.0)
    table[:, [K_SE, LAM_SE]] *= np.sqrt(np.nan_to_num(effects, nan=1.0))
    return effects


def _products(sums: Array, lines: int) -> Array:
    """Sum the products of sums over lines, scaled up from those there are to all of them."""
    every: Array = sums.T @ sums * (lines / len(sums))
    return every


@lru_cache(maxsize=256)
def widening(lines: int) -> float:
    """Square the ratio of Student's 97.5 % quantile to the normal one: few lines give noise."""
    ratio: float = special.stdtrit(max(lines - 1, 1), 0.975) / special.ndtri(0.975)
    return ratio**2


def line_histograms(
    labels: NDArray[np.int32], classes: NDArray[np.uint8], lines: Lines, *, exact: bool
) -> tuple[Array, Array]:
    """Count the weights of each class in each row, and in each column, that was looked at.

    Parameters
    ----------
    labels : ndarray of int32, shape (bins,)
        Occupied bins of the matrix.
    classes : ndarray of uint8, shape (bins,)
        Class of each bin.
    lines : Lines
        Rows and columns of the matrix.
    exact : bool
        Whether each bin is one value.

    Returns
    -------
    tuple of ndarray, shapes (rows, classes) and (columns, classes)
        Zeros and weights that are not finite are in none.
    """
    mask, shift = counter_of(lines.dtype)
    of_counter = counter_labels_of(lines.dtype, exact=exact)
    first, table = _table(of_counter, labels, classes, np.uint8(CLASSES))
    of_rows = np.zeros((len(lines.rows), CLASSES + 1), np.uint32)
    of_columns = np.zeros((lines.columns.shape[1], CLASSES + 1), np.uint32)
    _count_rows(lines.rows, first, table, mask, shift, of_rows)
    _count_columns(lines.columns, first, table, mask, shift, of_columns)
    return of_rows[:, :CLASSES].astype(float), of_columns[:, :CLASSES].astype(float)


def counter_of(dtype: str) -> tuple[Any, Any]:
    """Mask and shift that turn the bits of a weight into its counter."""
    form = FORMATS[dtype]
    word = form.bits.type
    return word((1 << 8 * form.bits.itemsize - 1) - 1), word(form.shift)


@lru_cache(maxsize=16)
def counter_labels_of(dtype: str, *, exact: bool) -> NDArray[np.int32]:
    """Label that the weights of each counter have in counts."""
    labels = counter_labels(FORMATS[dtype])
    return labels if exact else np.maximum(labels & INTERVAL_MASK, INTERVAL_WIDTH)


@compiled
def _table(of_counter: Any, labels: Any, classes: Any, none: Any) -> Any:
    """Give the first occupied counter, and the class by counter, `none` at each end."""
    first = np.searchsorted(of_counter, labels[0])
    stop = np.searchsorted(of_counter, labels[-1] + 1)
    table = np.full(stop - first + 2, none)
    at = 0
    for i in range(max(first, 1), stop):  # counter 0 is that of zeros
        while labels[at] < of_counter[i]:
            at += 1
        if labels[at] == of_counter[i]:
            table[i - first + 1] = classes[at]
    return first, table


@compiled_inline
def _place(bits: Any, first: Any, last: Any, mask: Any, shift: Any) -> Any:
    """Entry of the table of a weight."""
    return min(max(np.int64((bits & mask) >> shift) - first + 1, 0), last)


@compiled
def _count_rows(rows: Any, first: Any, table: Any, mask: Any, shift: Any, out: Any) -> None:
    """Count the weights of each class in each row."""
    last = table.size - 1
    for row in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            out[row, table[_place(rows[row, i], first, last, mask, shift)]] += 1


@compiled
def _count_columns(columns: Any, first: Any, table: Any, mask: Any, shift: Any, out: Any) -> None:
    """Count the weights of each class in each column."""
    last = table.size - 1
    for row in range(columns.shape[0]):
        for i in range(columns.shape[1]):
            out[i, table[_place(columns[row, i], first, last, mask, shift)]] += 1
