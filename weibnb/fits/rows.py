"""Counts of a Dataset as rows, block by block: counts on disk are never loaded all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.fitting.rows import CountRows
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import EllipsisType

    import xarray as xr
    from numpy.typing import NDArray

    Place = tuple[int | slice | EllipsisType, ...]

#: Matrices in a block.
BLOCK = 1024
# Matrices that a thread takes at once.
_ROWS_A_TASK = 64


class Block(NamedTuple):
    """Counts of some matrices.

    Attributes
    ----------
    place : tuple
        Where they are: an index of an array on the dims of ``fits.counts``, which gives an array
        also of a single cell.
    counts : ndarray of Counts, shape (matrices,)
        The matrices in the order of ``array[place].ravel()``.
    """

    place: Place
    counts: NDArray[np.object_]

    @property
    def rows(self) -> CountRows:
        """The counts as the compiled loops take them."""
        return CountRows.of(self.counts)


def count_blocks(fits: xr.Dataset, size: int = BLOCK) -> Iterator[Block]:
    """Yield the counts of every matrix, `size` matrices at a time at most (or one layer row).

    `fits` comes from `weibnb.fits.schema.prepare` with ``"counts"``.
    """
    counts = fits["counts"].variable
    for place in _places(counts.shape, size):
        yield Block(place, counts[place].values.ravel())


def table_of_counts(
    fits: xr.Dataset,
    grid_of: Callable[[NDArray[np.int32]], Any],
    describe: Callable[..., NDArray[np.float64]],
    *beside: NDArray[np.float64],
    width: int,
    workers: int | None,
) -> NDArray[np.float64]:
    """Describe the counts of every cell and expert, on threads: an array (*cells, `width`).

    `grid_of` tells of the labels of a block what its bins mean, `describe` makes a table of rows,
    from them, that, and what arrays (*cells, n) `beside` the counts hold of the same matrices.
    """
    table = np.full((*fits["counts"].shape, width), np.nan)
    for block in count_blocks(fits):
        grid, size = grid_of(block.rows.labels), block.counts.size
        known = [array[block.place].reshape(size, -1) for array in beside]

        def job(
            part: slice, rows: CountRows = block.rows, grid: Any = grid, known: Any = known
        ) -> Any:
            return describe(rows.part(part), grid, *(array[part] for array in known))

        found = on_threads(job, slices(block.counts.size, _ROWS_A_TASK), workers)
        table[block.place] = np.concatenate(found).reshape(table[block.place].shape)
    return table


def no_grid(_: NDArray[np.int32]) -> None:
    """Tell nothing of bins, for what is computed from counts and labels alone."""


def as_cells(described: xr.Dataset, fits: xr.Dataset) -> xr.Dataset:
    """Give what was made of counts the cells of fits: medians where those hold experts."""
    if "expert" in described.dims and "expert" not in fits["k"].dims:
        described = described.median("expert", keep_attrs=True)
    return described.assign_coords(fits["k"].coords)


def _places(shape: tuple[int, ...], size: int) -> list[Place]:
    """Cut an array of cells along its first axes into parts of at most `size` cells."""
    axis = 0
    while axis < len(shape) and np.prod(shape[axis:]) > size:
        axis += 1
    if axis == 0:
        return [(...,)]
    step = max(size // max(int(np.prod(shape[axis:])), 1), 1)
    return [
        (*lead, slice(start, min(start + step, shape[axis - 1])), ...)
        for lead in np.ndindex(shape[: axis - 1])
        for start in range(0, shape[axis - 1], step)
    ]
