"""The Hill index of the upper tail of |w|, and how far it would move in other draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.counting.formats import label_values, upper_edge
from weibnb.families.samples import occupied_bins, weights_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

# Weights beyond the threshold: fewest, largest share, and step between tries.
_FEWEST, _WIDEST, _STEP = 50, 0.1, 1.25
# Times that the tail is drawn again for the error, the same at every call.
_DRAWS, _SEED = 40, 1975


def influence_on_hill(rows: CountRows, index: Array, share: Array) -> Array:
    """Give the influence of each bin on the Hill index, (entries,).

    It is α² (mean of ln|w| - ln|w|) / share beyond the threshold, where the mean is taken, and 0
    below it and without an index.
    """
    x = np.log((label_values(rows.labels) + upper_edge(rows.labels)) / 2)[rows.columns]
    v = np.zeros(rows.starts[-1] - rows.starts[0])
    for row, (alpha, part) in enumerate(zip(index, share, strict=True)):
        entries = slice(*rows.starts[row : row + 2])
        if not alpha > 0:
            continue
        counts = rows.counts[entries].astype(float)
        beyond = np.cumsum(counts[::-1])[::-1] <= part * counts.sum() + 0.5
        mean = np.average(x[entries][beyond], weights=counts[beyond])
        own = v[entries.start - rows.starts[0] : entries.stop - rows.starts[0]]
        own[beyond] = alpha**2 * (mean - x[entries][beyond]) / part
    return v


@compiled
def spread_in_draws(rows: Any, grid: Any, indices: Any) -> Any:
    """How far the Hill index of every row moves, (rows, 1), when its tail is drawn again.

    Each draw chooses a threshold of its own.
    """
    out, work = np.full((rows.exact.size, 1), np.nan), np.empty((4, rows.widest))
    drawn, moved = np.empty(4), np.empty(_DRAWS)
    for row in range(rows.exact.size):
        index = indices[row, 0]
        if not index > 0.0:
            continue
        size, _ = occupied_bins(rows, row, grid, work)
        n = weights_of(work[:, :size])
        first, above = size, 0.0
        while first > 0 and above <= 2 * _WIDEST * n:
            first -= 1
            above += work[2, first]
        tail = work[:, first:size].copy()
        np.random.seed(_SEED)  # noqa: NPY002  (the one generator that compiled loops seed)
        for draw in range(_DRAWS):
            for j in range(tail.shape[1]):
                tail[2, j] = np.random.poisson(work[2, first + j])  # noqa: NPY002
            drawn[0] = np.nan
            hill_index(tail, n, drawn)
            moved[draw] = drawn[0] - index
        out[row, 0] = math.sqrt(np.nanmean(moved**2))
    return out


@compiled
def hill_index(bins: Any, n: float, out: Any) -> None:
    """Hill index at the threshold that is closest to a power law, its error there, share, distance.

    `n` counts all weights, of which `bins` need hold the largest alone.
    """
    above, total, enough, best = 0.0, 0.0, float(_FEWEST), np.inf
    for j in range(bins.shape[1] - 1, -1, -1):
        above += bins[2, j]
        total += bins[2, j] * math.log(bins[3, j])
        if above > _WIDEST * n:
            break
        if above < enough:
            continue
        enough = _STEP * above
        origin = math.log(bins[0, j])
        index = above / (total - above * origin)
        distance = _distance(bins[:, j:], above, origin, index, best)
        if distance < best:
            best = distance
            out[0], out[1], out[2], out[3] = index, index / math.sqrt(above), above / n, distance


@compiled
def _distance(bins: Any, above: float, origin: float, index: float, enough: float) -> float:
    """Largest distance of the weights from a power law, at the ends of their bins, or `enough`."""
    largest, seen = 0.0, 0.0
    for j in range(bins.shape[1]):
        if largest >= enough:
            break
        start = -math.expm1(-index * (math.log(bins[0, j]) - origin))
        largest = max(largest, abs(start - seen / above))
        seen += bins[2, j]
        end = -math.expm1(-index * (math.log(bins[1, j]) - origin))
        largest = max(largest, abs(end - seen / above))
    return largest
