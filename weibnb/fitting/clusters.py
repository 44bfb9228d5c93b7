"""Standard errors of weights that depend on each other within rows and columns."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from weibnb.compiled import compiled, compiled_inline
from weibnb.counting.formats import FORMATS, INTERVAL_MASK, INTERVAL_WIDTH, counter_labels
from weibnb.fitting.kernels import CORRELATION, K_SE, LAM, LAM_SE, OK, STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
    ndarray, shape (matrices, 12)
        With the design effects of k and of λ, at least 1; NaN without lines or a fit.
    """

    def covariances(row: int, some: Lines) -> Array:
        start, stop = rows.starts[row : row + 2]
        entries = slice(start - rows.starts[0], stop - rows.starts[0])
        labels, n = rows.labels[rows.columns[start:stop]], rows.counts[start:stop].sum(dtype=float)
        sums = line_products(labels, v[:, entries], some, exact=bool(rows.exact[row]))
        return np.asarray(sums / n**2)

    return with_effects(table, lines, covariances)


def with_effects(
    table: Array, lines: Sequence[Lines | None], covariances: Callable[[int, Lines], Array]
) -> Array:
    """Make the errors of fitted rows clustered ones, see `clustered`.

    `covariances` gives those sums of `line_products` of a row and its lines, over n^2.
    """
    effects = np.full((len(table), 2), np.nan)
    for row, some in enumerate(lines):
        known = table[row, [K_SE, LAM_SE, LAM]]
        if some is None or table[row, STATUS] != OK or not (np.isfinite(known) & (known > 0)).all():
            continue
        k, lam = table[row, K_SE], table[row, LAM_SE] / table[row, LAM]
        independent = (k * k, lam * lam, table[row, CORRELATION] * k * lam)
        variances = covariances(row, some) - independent
        beyond = np.maximum(variances[:2] / (k * k, lam * lam) - 1.0, 0.0)
        effects[row] = 1.0 + beyond * _widening(min(len(some.rows), some.columns.shape[1]))
        if effects[row].max() > 1.0:
            mixed = variances[2] / (k * lam * np.sqrt(effects[row].prod()))
            table[row, CORRELATION] = min(max(mixed, -1.0), 1.0)
        table[row, [K_SE, LAM_SE]] *= np.sqrt(effects[row])
    return np.column_stack([table, effects])


@lru_cache(maxsize=256)
def _widening(lines: int) -> float:
    """Square the ratio of Student's 97.5 % quantile to the normal one: few lines give noise."""
    ratio: float = special.stdtrit(max(lines - 1, 1), 0.975) / special.ndtri(0.975)
    return ratio**2


def line_products(labels: NDArray[np.int32], v: Array, lines: Lines, *, exact: bool) -> Array:
    """Sum the squares and products of the sums of v over each row, and over each column.

    Parameters
    ----------
    labels : ndarray of int32, shape (bins,)
        Occupied bins of the matrix.
    v : ndarray, shape (2, bins)
        Influence of each bin on k and ln λ, from `fit_counts`.
    lines : Lines
        Rows and columns of the matrix.
    exact : bool
        Whether each bin is one value.

    Returns
    -------
    ndarray, shape (3,)
        Of k, of ln λ, and of both; scaled up from the lines that are there to all of them.

    Notes
    -----
    With n weights and v_ij the influence of weight (i, j), the variance clustered by rows and by
    columns is [Σ_i (Σ_j v_ij)² + Σ_j (Σ_i v_ij)² - Σ_ij v_ij²] / n²: the sums given here less n²
    times the independent variance. v has mean zero over the matrix, so that a sample of lines
    loses no degree of freedom. Zeros and weights that are not finite have v = 0.

    References
    ----------
    A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust Inference With Multiway Clustering",
    Journal of Business & Economic Statistics 29 (2011) 238-249.
    """
    form = FORMATS[lines.dtype]
    word = form.bits.type
    mask, shift = word((1 << 8 * form.bits.itemsize - 1) - 1), word(form.shift)
    first, table = _table(_labels(lines.dtype, exact=exact), labels, v)
    looked_at, columns = lines.rows.shape
    rows, columns_looked_at = lines.columns.shape
    of_rows = _row_products(lines.rows, first, table, mask, shift)
    of_columns = _column_products(lines.columns, first, table, mask, shift)
    every: Array = of_rows * (rows / looked_at) + of_columns * (columns / columns_looked_at)
    return every


@lru_cache(maxsize=16)
def _labels(dtype: str, *, exact: bool) -> NDArray[np.int32]:
    """Label that the weights of each counter have in counts."""
    labels = counter_labels(FORMATS[dtype])
    return labels if exact else np.maximum(labels & INTERVAL_MASK, INTERVAL_WIDTH)


@compiled
def _table(of_counter: Any, labels: Any, v: Any) -> Any:
    """Give the first occupied counter, and influence by counter between a zero at each end."""
    first = np.searchsorted(of_counter, labels[0])
    stop = np.searchsorted(of_counter, labels[-1] + 1)
    table = np.zeros((stop - first + 2, 2), np.float32)
    at = 0
    for i in range(max(first, 1), stop):  # counter 0 is that of zeros
        while labels[at] < of_counter[i]:
            at += 1
        if labels[at] == of_counter[i]:
            table[i - first + 1, 0], table[i - first + 1, 1] = v[0, at], v[1, at]
    return first, table


@compiled_inline
def _place(bits: Any, first: Any, last: Any, mask: Any, shift: Any) -> Any:
    """Entry of the table of a weight."""
    return min(max(np.int64((bits & mask) >> shift) - first + 1, 0), last)


@compiled
def _row_products(rows: Any, first: Any, table: Any, mask: Any, shift: Any) -> Any:
    """Sum over rows the squares of both sums of v, and of their product."""
    total, last = np.zeros(3), table.shape[0] - 1
    for row in range(rows.shape[0]):
        k, b = 0.0, 0.0
        for i in range(rows.shape[1]):
            at = _place(rows[row, i], first, last, mask, shift)
            k += table[at, 0]
            b += table[at, 1]
        total += np.array([k * k, b * b, k * b])
    return total


@compiled
def _column_products(columns: Any, first: Any, table: Any, mask: Any, shift: Any) -> Any:
    """Sum over columns the squares of both sums of v, and of their product."""
    k, b, last = np.zeros(columns.shape[1]), np.zeros(columns.shape[1]), table.shape[0] - 1
    for row in range(columns.shape[0]):
        for i in range(columns.shape[1]):
            at = _place(columns[row, i], first, last, mask, shift)
            k[i] += table[at, 0]
            b[i] += table[at, 1]
    return np.array([(k * k).sum(), (b * b).sum(), (k * b).sum()])
