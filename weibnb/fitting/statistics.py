"""Counts -> plain statistics of |w|: moments and quantiles, which need no fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.estimates import BATCH, as_count_rows
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

#: Probabilities of the quantile grid.
QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)


def describe_counts(
    counts: ArrayLike,
    labels: ArrayLike,
    exact: ArrayLike,
    zeros: ArrayLike,
    *,
    workers: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Describe |w| of every row of counts; `zeros` (matrices,) belong to it, non-finite do not.

    Returns ``n`` (non-zero weights), ``rms``, ``mean_abs``, ``kurtosis`` (about zero,
    E[w^4]/E[w^2]^2: 3 for a Gaussian), each (matrices,), and ``quantile`` (matrices, quantiles).
    """
    rows = as_count_rows(counts)
    flags, null = np.asarray(exact, bool), np.asarray(zeros, np.int64)
    low, high = label_values(labels), upper_edge(labels)
    # a power of two that keeps fourth powers in range
    unit = np.ldexp(1.0, np.frexp(high[-1])[1] - 1) if high.size else 1.0
    a, b = low / unit, high / unit
    fourth = (a**4 + a**3 * b + a * a * b * b + a * b**3 + b**4) / 5
    interval = [a / 2 + b / 2, (a * a + a * b + b * b) / 3, fourth]
    powers = np.stack([np.stack(interval), np.stack([a, a**2, a**4])])
    edges, grid = np.stack([low, high]), np.array(QUANTILES)

    def job(part: slice) -> Array:
        table: Array = _describe_rows(rows[part], powers, edges, flags[part], null[part], grid)
        return table

    table = np.concatenate(on_threads(job, slices(len(rows), BATCH), workers))
    total = np.maximum(table[:, 0] + null, 1)
    empty = table[:, 0] + null == 0
    mean_abs, square, fourth = (table[:, 1:4] / total[:, None]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = np.where(square > 0, fourth / square**2, np.nan)
    return {
        "n": table[:, 0].astype(np.int64),
        "rms": np.where(empty, np.nan, np.sqrt(square) * unit),
        "mean_abs": np.where(empty, np.nan, mean_abs * unit),
        "kurtosis": kurtosis,
        "quantile": table[:, 4:],
    }


@compiled
def _describe_rows(counts: Any, powers: Any, edges: Any, exact: Any, zeros: Any, q: Any) -> Any:
    """Weights, sums of |w|, w^2, w^4 and quantiles of every row.

    `powers` (2, 3, bins) holds the mean of the 1st, 2nd and 4th power in a bin read as an interval
    and as a value; `edges` (2, bins) its ends.
    """
    rows, bins = counts.shape
    result = np.zeros((rows, 4 + q.size))
    for row in range(rows):
        c, power = counts[row], powers[1 if exact[row] else 0]
        n = 0
        for j in range(bins):
            if c[j] > 0:
                n += c[j]
                for order in range(3):
                    result[row, 1 + order] += c[j] * power[order, j]
        result[row, 0] = n
        _quantiles(c, n, edges, exact[row], zeros[row], q, result[row, 4:])
    return result


@compiled
def _quantiles(c: Any, n: int, edges: Any, exact: Any, zeros: int, q: Any, out: Any) -> None:
    """Quantiles as numpy's: linear between the order statistics on both sides of (N-1) q.

    Inside an interval the order statistics lie evenly.
    """
    total = n + zeros
    j, below, seen = -1, 0, zeros  # bin at hand, weights before and up to it
    for i in range(q.size):
        if total == 0:
            out[i] = np.nan
            continue
        position = (total - 1) * q[i]
        floor = np.int64(np.floor(position))
        while floor >= seen:
            j += 1
            below, seen = seen, seen + c[j]
        at, before, after = j, below, seen
        for rank in (floor, floor + 1):
            weight = 1.0 - abs(position - rank)
            if weight <= 0.0 or rank < zeros:
                continue
            while rank >= after:
                at += 1
                before, after = after, after + c[at]
            place = edges[0, at]
            if not exact:
                place += (rank - before + 0.5) / c[at] * (edges[1, at] - edges[0, at])
            out[i] += weight * place
