"""Weights of one matrix, grouped by magnitude with their rounding intervals; a row for each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from weibnb.compiled import compiled
from weibnb.counting.counts import Counts, merged
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import (
    INTERVAL_MASK,
    MANTISSA_BITS,
    label_values,
    upper_edge,
    value_parts,
)
from weibnb.fits.rows import BLOCK, count_blocks
from weibnb.fitting.rows import CountRows
from weibnb.fitting.status import FITTED, MINIMUM_WEIGHTS
from weibnb.parallel import on_threads, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# Below it a float64 is taken for zero: its neighbours' logarithms lose their precision.
_LEAST = 1e-290
# A group holds about this share of the weights, or this share of those beyond it (below the
# median) or from it on (above); it is an octave wide at most below the first decile, and an
# eighth above.
_GROUP_SHARE, _TAIL_SHARE, _LEAST_SHARE = 0.025, 0.25, 3e-4
_WIDE, _NARROW = 2.0, 2.0**0.125
# The largest values, each in a group by itself.
_SINGLE = 8
_TINY = 1e-300


class Grid(NamedTuple):
    """What the labels of bins say: value (NaN: taken for zero), octave, unit in the last place."""

    value: Array
    octave: Array
    unit: Array
    mantissa: NDArray[np.int64]
    low: Array
    high: Array


def grid_of(labels: ArrayLike) -> Grid:
    """Read the values and the ends of the intervals of bins off their labels."""
    value = label_values(labels)
    octave, mantissa, unit = value_parts(labels)
    start = np.asarray(labels, np.int64) & INTERVAL_MASK
    low, high = label_values(start), upper_edge(start)
    return Grid(np.where(value > _LEAST, value, np.nan), octave, unit, mantissa, low, high)


def on_rows(loop: Callable[..., Array], fits: Any, workers: int | None = None) -> Array:
    """Run a compiled loop over the counts of one matrix, or of every cell of a Dataset of fits.

    The loop takes a `CountRows` and the `Grid` of its labels, and gives an array of rows.
    """
    if isinstance(fits, xr.Dataset):
        blocks = _pooled_blocks(fits)
    else:
        blocks = iter([[fits if isinstance(fits, Counts) else count_magnitudes(fits)]])
    parts: list[Array] = []
    for block in blocks:
        rows = CountRows.of(block)
        grid = grid_of(rows.labels)

        def job(part: slice, rows: CountRows = rows, grid: Grid = grid) -> Array:
            return loop(rows.part(part), grid)

        parts += on_threads(job, shares(len(block), workers), workers)
    return np.concatenate(parts)


def _pooled_blocks(fits: xr.Dataset) -> Iterator[Sequence[Counts]]:
    """Yield the counts of every cell, experts pooled where the status has none."""
    experts = fits["counts"].sizes.get("expert", 1)
    pooled = experts if "expert" not in fits["status"].dims else 1
    for block in count_blocks(fits, max(BLOCK, experts)):
        cells = block.counts.reshape(-1, pooled)
        yield [merged(cell) for cell in cells]


def status_of(status: xr.DataArray, n: Array) -> NDArray[np.object_]:
    """Status words of the cells, ``"too_few"`` where counts are, but too few to be grouped."""
    words = status.values.astype(object)
    return np.where((n == 0) & np.isin(words, FITTED), "too_few", words)


@compiled
def occupied_bins(rows: Any, row: int, grid: Any, bins: Any) -> tuple[int, float]:
    """Fill in lower edge, upper edge, weights and centre of the bins of a matrix.

    Returns their number and the floor (ln|w|).

    A value stands for what rounds to it. Its format is read off the values themselves, so that
    upcast weights are treated as what they were: the fewest mantissa bits and the coarsest
    absolute grid (that of the subnormal numbers) which hold all of them. What lies below the floor
    rounds to zero.
    """
    size, every, quantum = 0, 1 << MANTISSA_BITS, np.inf
    exact = rows.exact[row]
    for i in range(rows.starts[row], rows.starts[row + 1]):
        j, count = rows.columns[i], rows.counts[i]
        if not grid.value[j] > 0.0:
            continue
        if exact:
            every |= grid.mantissa[j]
            quantum = min(quantum, grid.unit[j])
            bins[1, size], bins[3, size] = grid.octave[j], grid.value[j]
        elif size > 0 and bins[0, size - 1] == grid.low[j]:
            bins[2, size - 1] += count
            continue
        else:
            bins[0, size], bins[1, size] = grid.low[j], grid.high[j]
            bins[3, size] = 0.5 * grid.low[j] + 0.5 * grid.high[j]
        bins[2, size] = count
        size += 1
    if not exact:
        return size, -np.inf
    relative = (every & -every) / (1 << MANTISSA_BITS)
    for j in range(size):
        octave, value = bins[1, j], bins[3, j]
        below = octave if value > octave else 0.5 * octave
        bins[0, j] = value - 0.5 * max(below * relative, quantum)
        bins[1, j] = value + 0.5 * max(octave * relative, quantum)
    return size, math.log(0.5 * quantum) if size else -np.inf


@compiled
def merge(bins: Any) -> tuple[Any, Any]:
    """Merge occupied bins into groups; their edges (ln|w|) and the weights in between.

    Between two neighbouring edges lies a group, or an empty gap that no weight fell into.
    """
    low, high, counts = bins[0], bins[1], bins[2]
    occupied, total = counts.size, counts.sum()
    edges, mass = np.empty(2 * occupied + 1), np.empty(2 * occupied)
    size, seen, end = 0, 0.0, low[0]
    edges[0], mass[0] = max(low[0], _TINY), 0.0
    for i in range(occupied):
        held, width = mass[size], _WIDE if seen < 0.1 * total else _NARROW
        outside = min(seen - held, total - seen + held)
        enough = min(_GROUP_SHARE * total, _TAIL_SHARE * outside + _LEAST_SHARE * total)
        single = i >= occupied - _SINGLE
        if held > 0.0 and (
            single
            or held >= enough
            or held + counts[i] > 1.5 * _GROUP_SHARE * total
            or high[i] > edges[size] * width * (1.0 + 1e-9)
        ):
            gap = low[i] / end
            size += 1
            edges[size] = end
            if gap > _NARROW or (gap > 1.0 + 1e-9 and single):
                mass[size] = 0.0
                size += 1
                edges[size] = low[i]
            elif gap > 1.0 + 1e-9:
                edges[size] = low[i]
            mass[size] = 0.0
        mass[size] += counts[i]
        seen += counts[i]
        end = high[i]
    size += 1
    edges[size] = end
    return np.log(edges[: size + 1]), mass[:size].copy()


@compiled
def weights_of(bins: Any) -> float:
    """Weights in occupied bins, 0 where they or the bins are too few to be fitted."""
    total = bins[2].sum()
    return total if bins.shape[1] >= 3 and total >= MINIMUM_WEIGHTS else 0.0
