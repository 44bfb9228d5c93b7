"""Counts -> plain statistics of |w|: moments and quantiles, which need no fit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.weibull import QUANTILES
from weibnb.parallel import on_threads, shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]


def describe_counts(rows: CountRows, *, workers: int | None = None) -> dict[str, NDArray[Any]]:
    """Describe |w| of every row of counts; zeros belong to it, non-finite weights do not.

    Returns ``n`` (non-zero weights), ``rms``, ``mean_abs``, ``kurtosis`` (about zero,
    E[w^4]/E[w^2]^2: 3 for a Gaussian), each (matrices,), and ``quantile`` (matrices, quantiles).
    """
    edges = np.stack([label_values(rows.labels), upper_edge(rows.labels)])
    grid = np.array(QUANTILES)

    def job(part: slice) -> Array:
        table: Array = _describe_rows(rows.part(part), edges, grid)
        return table

    table = np.concatenate(on_threads(job, shares(rows.exact.size, workers), workers))
    total = np.maximum(table[:, 0] + rows.zeros, 1)
    empty = table[:, 0] + rows.zeros == 0
    mean_abs, square, fourth = (table[:, 1:4] / total[:, None]).T
    unit = table[:, 4]
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = np.where(square > 0, fourth / square**2, np.nan)
    return {
        "n": table[:, 0].astype(np.int64),
        "rms": np.where(empty, np.nan, np.sqrt(square) * unit),
        "mean_abs": np.where(empty, np.nan, mean_abs * unit),
        "kurtosis": kurtosis,
        "quantile": table[:, 5:],
    }


@compiled
def _describe_rows(rows: Any, edges: Any, q: Any) -> Any:
    """Weights, sums of |w|, w^2 and w^4 in a unit, this unit, and quantiles of every matrix.

    `edges` (2, bins) holds the ends of the bins. The unit is a power of two that keeps fourth
    powers in range.
    """
    result = np.zeros((rows.exact.size, 5 + q.size))
    for row in range(rows.exact.size):
        start, stop = rows.starts[row], rows.starts[row + 1]
        c, place = rows.counts[start:stop], rows.columns[start:stop]
        exact = rows.exact[row]
        unit = 1.0
        if stop > start:
            unit = math.ldexp(1.0, math.frexp(edges[1, place[-1]])[1] - 1)
        n, first, second, fourth = 0, 0.0, 0.0, 0.0
        for j in range(c.size):
            a = edges[0, place[j]] / unit
            n += c[j]
            if exact:
                first += c[j] * a
                second += c[j] * (a * a)
                fourth += c[j] * (a * a * (a * a))
            else:
                b = edges[1, place[j]] / unit
                aa, ab, bb = a * a, a * b, b * b
                first += c[j] * (a / 2.0 + b / 2.0)
                second += c[j] * ((aa + ab + bb) / 3.0)
                fourth += c[j] * ((aa * aa + aa * ab + aa * bb + ab * bb + bb * bb) / 5.0)
        result[row, 0], result[row, 1], result[row, 2] = n, first, second
        result[row, 3], result[row, 4] = fourth, unit
        _quantiles(c, place, n, edges, exact, rows.zeros[row], q, result[row, 5:])
    return result


@compiled
def _quantiles(
    c: Any, columns: Any, n: int, edges: Any, exact: Any, zeros: int, q: Any, out: Any
) -> None:
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
            place = edges[0, columns[at]]
            if not exact:
                width = edges[1, columns[at]] - place
                place += (rank - before + 0.5) / c[at] * width
            out[i] += weight * place
