"""Counts in a file: the occupied bins of all matrices, one matrix after the other.

``count_label`` and ``count_number`` lie on the dim ``entry``; for each cell, in C order,
``count_size`` tells how many of them are its own, and five more variables what a `Counts` holds
beside its bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.formats import LABELS
from weibnb.fits.inspection import FitsError
from weibnb.fits.lazy import LazyCounts, with_counts
from weibnb.fitting.rows import joined

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

#: Entries that are packed, and read, together.
CHUNK = 1 << 15
_APART: dict[str, tuple[str, type]] = {
    "count_zeros": ("zeros", np.int64),
    "count_nans": ("nans", np.int64),
    "count_infinities": ("infinities", np.int64),
    "count_largest": ("largest", np.float64),
    "count_exact": ("exact", np.bool_),
}


def flattened(fits: xr.Dataset) -> xr.Dataset:
    """Put plain variables, as a file holds them, in the place of the counts."""
    if "counts" not in fits:
        return fits
    dims, cells = fits["counts"].dims, fits["counts"].values
    counted = cells.ravel()
    labels, numbers = joined(counted)
    columns: dict[str, tuple[Any, Any]] = {
        name: (dims, np.fromiter(map(attrgetter(field), counted), kind).reshape(cells.shape))
        for name, (field, kind) in ({"count_size": ("labels.size", np.int32)} | _APART).items()
    }
    entries = {"count_label": ("entry", labels), "count_number": ("entry", numbers)}
    return fits.drop_vars("counts").assign(columns | entries)


def restored(path: Path, fits: xr.Dataset) -> xr.Dataset:
    """Put counts that are read when asked for in the place of the variables of a file."""
    if "count_size" not in fits:
        return fits
    variable = fits["count_size"].variable
    parts = _Ragged(
        path,
        np.concatenate([[0], np.cumsum(variable.values, dtype=np.int64)]),
        {field: fits[name].values.ravel() for name, (field, _) in _APART.items()},
        fits["count_label"].variable,
        fits["count_number"].variable,
    )
    rest = fits.drop_vars(["count_size", *_APART, "count_label", "count_number"])
    return with_counts(rest, variable.dims, LazyCounts(variable.shape, parts))


@dataclass(frozen=True, slots=True, eq=False)
class _Ragged:
    """Reads counts from the entries of a file."""

    path: Path
    starts: NDArray[np.int64]
    apart: dict[str, NDArray[Any]]
    labels: xr.Variable
    numbers: xr.Variable

    def __call__(self, cells: NDArray[np.int64]) -> list[Counts]:
        """Read cells by their numbers; neighbours together."""
        breaks = np.flatnonzero(np.diff(cells) != 1) + 1
        return [one for run in np.split(cells, breaks) if run.size for one in self._run(run)]

    def _run(self, cells: NDArray[np.int64]) -> list[Counts]:
        """Read cells that follow one another."""
        bounds = self.starts[cells[0] : cells[-1] + 2]
        part = slice(int(bounds[0]), int(bounds[-1]))
        try:
            labels, numbers = self.labels[part].values, self.numbers[part].values
        except (OSError, ValueError, RuntimeError) as err:
            raise FitsError(self.path, f"its values are damaged ({err})", "count_label") from err
        bounds = bounds - bounds[0]
        _check_entries(self.path, labels, numbers, bounds)
        return [
            Counts(
                labels[start:stop],
                numbers[start:stop],
                **{name: column[cell].item() for name, column in self.apart.items()},
            )
            for cell, start, stop in zip(cells, bounds[:-1], bounds[1:], strict=True)
        ]


def _check_entries(
    path: Path, labels: NDArray[Any], numbers: NDArray[Any], bounds: NDArray[np.int64]
) -> None:
    """Refuse entries that no counting gives."""
    if not labels.size:
        return
    ascending = np.diff(labels) > 0
    inner = bounds[(bounds > 0) & (bounds < labels.size)]
    ascending[inner - 1] = True
    if labels.min() < 0 or labels.max() >= LABELS or not ascending.all():
        raise FitsError(
            path, "labels of bins, ascending in each matrix, are expected", "count_label"
        )
    if numbers.min() < 1 or numbers.max() > np.iinfo(np.int64).max:
        raise FitsError(path, "numbers of at least 1 are expected", "count_number")
