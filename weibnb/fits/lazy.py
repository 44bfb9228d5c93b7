"""What is read when it is asked for: counts cell by cell, columns laid out in cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from weibnb.counting.counts import Counts
from weibnb.fits.schema import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from numpy.typing import NDArray


class LazyCounts(BackendArray):
    """An array of `Counts` that lie elsewhere.

    Parameters
    ----------
    shape : tuple of int
        Cells along each dim.
    load : callable
        From numbers of cells in C order, an array of int64, to their counts.
    """

    def __init__(
        self,
        shape: Sequence[int],
        load: Callable[[NDArray[np.int64]], Sequence[Counts]],
    ) -> None:
        self.shape = tuple(shape)
        self.dtype = np.dtype(object)
        self._load = load

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def scattered(self, rows: NDArray[np.int64]) -> LazyCounts:
        """Lay these counts, in one dim, out in cells; -1 stands for a cell without counts."""
        return LazyCounts(rows.shape, _Scattered(self, rows.ravel()))

    def reshape(self, *shape: int) -> LazyCounts:
        """Lay the same cells, in C order, out in another shape."""
        return LazyCounts(shape, self._load)

    def read(self, cells: NDArray[np.int64]) -> list[Counts]:
        """Read cells by their numbers in C order."""
        return list(self._load(cells))

    def _read(self, key: tuple[Any, ...]) -> NDArray[np.object_]:
        """Read the cells of an outer index."""
        cells = np.arange(int(np.prod(self.shape)), dtype=np.int64).reshape(self.shape)
        for axis in reversed(range(cells.ndim)):
            cells = cells[(*[slice(None)] * axis, key[axis])]
        cells = np.asarray(cells)
        return as_objects(self.read(cells.ravel())).reshape(cells.shape)


class _Scattered:
    """Reads cells from the rows that they were laid out from."""

    def __init__(self, column: LazyCounts, rows: NDArray[np.int64]) -> None:
        self._column = column
        self._rows = rows

    def __call__(self, cells: NDArray[np.int64]) -> list[Counts]:
        """Read the cells, an empty `Counts` where there is no row."""
        rows = self._rows[cells]
        there = rows >= 0
        found = as_objects([Counts()]).repeat(cells.size)
        found[there] = as_objects(self._column.read(rows[there]))
        return list(found)


@dataclass(frozen=True, slots=True, eq=False)
class LazyColumn:
    """A column of numbers or text that lies elsewhere.

    Attributes
    ----------
    shape : tuple of int
        Rows, and numbers in each if there are several.
    dtype : dtype
        Type of its values.
    load : callable
        From numbers of rows, an array of int64, to their values.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    load: Callable[[NDArray[np.int64]], NDArray[Any]]


class LazyCells(BackendArray):
    """A lazy column laid out in cells.

    Parameters
    ----------
    column : LazyColumn
        What is laid out.
    rows : ndarray of int64
        The row of each cell, -1 for none.
    fill
        What stands in a cell without a row.
    """

    def __init__(self, column: LazyColumn, rows: NDArray[np.int64], fill: Any) -> None:
        self.shape = (*rows.shape, *column.shape[1:])
        self.dtype = column.dtype
        self._column, self._rows, self._fill = column, rows, fill

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def reshape(self, *shape: int) -> LazyCells:
        """Lay the same cells, in C order, out in another shape; numbers of a row stay together."""
        cells = shape[: len(shape) - len(self._column.shape) + 1]
        return LazyCells(self._column, self._rows.reshape(cells), self._fill)

    def kept(self) -> Any:
        """Give what xarray reads when it is asked for, and then keeps."""
        lazily = indexing.LazilyIndexedArray(self)
        return indexing.MemoryCachedArray(lazily)  # type: ignore[no-untyped-call]

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Read the cells of an outer index."""
        rows = self._rows
        for axis in reversed(range(rows.ndim)):
            rows = rows[(*[slice(None)] * axis, key[axis])]
        rows = np.asarray(rows)
        found = np.full((*rows.shape, *self._column.shape[1:]), self._fill, self.dtype)
        there = rows >= 0
        if there.any():
            found[there] = self._column.load(rows[there])
        last = key[self._rows.ndim :]
        return found[(..., *last)] if last else found


def as_objects(items: Collection[Any]) -> NDArray[np.object_]:
    """Make an array of counts, or of other objects, in one dim."""
    array = np.empty(len(items), object)
    for at, item in enumerate(items):
        array[at] = item
    return array


def with_counts(fits: xr.Dataset, dims: Sequence[Any], counts: LazyCounts) -> xr.Dataset:
    """Add counts, on some dims, to fits."""
    described = {"long_name": VARIABLES["counts"][0]}
    return fits.assign(counts=xr.Variable(dims, indexing.LazilyIndexedArray(counts), described))
