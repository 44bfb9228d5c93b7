"""Which distribution |w| follows, and whether it is one population or two, from the counts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import INTERVAL_MASK, label_values, rounding_interval
from weibnb.families import mixture as loops
from weibnb.fitting.status import MINIMUM_WEIGHTS
from weibnb.parallel import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


_Result = TypeVar("_Result")
# A status with which a matrix has counts.
_FITTED = ("ok", "nonfinite", "scaled", "partial")
# Below it a float64 is taken for zero: its neighbours' logarithms lose their precision.
_LEAST = 1e-290
# Counts loaded at once, and matrices that a thread takes at once.
_CHUNK_BYTES, _BATCH = 1 << 26, 64


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Counts of one matrix for the search for populations: bins, and some 200 groups."""

    edges: Array
    mass: Array
    floor: float
    bin_edges: Array
    bin_counts: Array

    @property
    def n(self) -> float:
        return float(self.mass.sum())

    @property
    def share(self) -> Array:
        share: Array = self.mass / self.n
        return share

    @property
    def centres(self) -> Array:
        return (self.edges[1:] + self.edges[:-1]) / 2


def _group(labels: NDArray[Any], counts: NDArray[Any], *, exact: bool) -> _Grouped | None:
    """Group the counts of one matrix; None if there are too few to fit."""
    occupied = (counts > 0) & (label_values(labels) > _LEAST)
    labels, weights = labels[occupied], counts[occupied].astype(np.float64)
    if not exact and (labels & ~INTERVAL_MASK).any():
        labels, place = np.unique(labels & INTERVAL_MASK, return_inverse=True)
        weights = np.bincount(place, weights).astype(np.float64)
    if weights.size < 3 or weights.sum() < MINIMUM_WEIGHTS:
        return None
    low, high, floor = rounding_interval(labels, exact=exact)
    begin, end = (label_values(labels),) * 2 if exact else (low, high)
    middle = (end[:-1] + begin[1:]) / 2
    lowest = max(begin[0] - (middle[0] - end[0]), end[0] / 2)
    with np.errstate(divide="ignore"):
        edges, mass = loops.group(low, high, weights)
        bin_edges = np.log(np.concatenate([[lowest], middle, high[-1:]]))
        return _Grouped(edges, mass, float(np.log(floor)), bin_edges, weights)


@dataclass(frozen=True, slots=True)
class _Row:
    """One matrix (or pooled experts) of a Dataset: its place, and its counts or why it has none."""

    place: tuple[int, ...]
    status: str
    grouped: _Grouped | None


def _counts_of(fits: xr.Dataset) -> tuple[xr.DataArray, bool]:
    """Give the counts, and whether their experts are pooled in one cell."""
    if "counts" not in fits:
        raise ValueError(
            "`fits` must hold the magnitude counts; scan with keep_counts=True (the default)."
        )
    return fits["counts"], "expert" in fits["counts"].dims and "expert" not in fits["status"].dims


def _rows(fits: xr.Dataset) -> Iterator[list[_Row]]:
    """Yield the matrices of a Dataset, those of one model and layer at a time."""
    counts, pooled = _counts_of(fits)
    labels = fits["bin"].values.astype(np.int64)
    for part in np.ndindex(counts.shape[:2]):
        place = dict(zip(counts.dims, part, strict=False))
        rows, exact = counts.isel(place).values, fits["counts_exact"].isel(place).values
        status = fits["status"].isel(place).values
        if pooled:
            exact = (exact | (rows.sum(-1) == 0)).all(-1)
            rows = rows.sum(-2, dtype=np.uint64)
        block = []
        for cell in np.ndindex(status.shape):
            grouped = _group(labels, rows[cell], exact=bool(exact[cell]))
            word = str(status[cell])
            if grouped is None and word in _FITTED:
                word = "too_few"
            block.append(_Row(part + cell, word, grouped))
        yield block


def _map_rows(
    fits: xr.Dataset, job: Callable[[_Grouped], _Result], workers: int | None
) -> Iterator[tuple[_Row, _Result | None]]:
    """Run `job` over the matrices of a Dataset on several threads, in order."""
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        for block in _rows(fits):
            yield from zip(
                block,
                pool.map(lambda row: None if row.grouped is None else job(row.grouped), block),
                strict=True,
            )


def _of_one(weights: Any) -> _Grouped | None:
    counted = weights if isinstance(weights, Counts) else count_magnitudes(weights)
    return _group(counted.labels.astype(np.int64), counted.counts, exact=counted.exact)


def _chunks(
    counts: xr.DataArray, counts_exact: xr.DataArray, *, pooled: bool
) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Yield counts of some layers' matrices (experts pooled) as rows, and which are exact."""
    models, layers = counts.shape[:2]
    every = max(1, _CHUNK_BYTES * layers * models // max(counts.nbytes, 1))
    for model in range(models):
        for first in range(0, layers, every):
            place = dict(zip(counts.dims, (model, slice(first, first + every)), strict=False))
            rows, exact = counts.isel(place).values, counts_exact.isel(place).values
            if pooled:
                exact = (exact | (rows.sum(-1) == 0)).all(-1)
                rows = rows.sum(-2, dtype=np.uint64)
            yield np.ascontiguousarray(rows.reshape(-1, rows.shape[-1])), exact.ravel()


def _places(fits: xr.Dataset, n: Array) -> dict[str, NDArray[Any]]:
    """Coordinates, status and size of every cell."""
    status = fits["status"]
    index = dict(zip(status.dims, np.indices(status.shape).reshape(status.ndim, -1), strict=True))
    columns = {str(dim): fits[dim].values[at] for dim, at in index.items()}
    columns["weight_class"] = fits["weight_class"].values[index["component"]]
    words = status.values.ravel().astype(object)
    words[(n == 0) & np.isin(words, _FITTED)] = "too_few"
    columns |= {"status": words, "n": n.astype(np.int64)}
    return {
        name: values.astype(object) if values.dtype.kind == "U" else values
        for name, values in columns.items()
    }
