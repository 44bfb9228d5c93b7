"""Counts of a Dataset as rows, block by block: counts on disk are never loaded all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from numpy.typing import NDArray

#: Matrices in a block.
BLOCK = 1024


class Block(NamedTuple):
    """Counts of some matrices.

    Attributes
    ----------
    place : tuple
        Where they are: an index of an array on the dims of ``fits.counts``.
    counts : ndarray of Counts, shape (matrices,)
        The matrices in the order of ``array[place].ravel()``.
    """

    place: tuple[int | slice, ...]
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


def _places(shape: tuple[int, ...], size: int) -> list[tuple[int | slice, ...]]:
    """Cut an array of cells along its first axes into parts of at most `size` cells."""
    axis = 0
    while axis < len(shape) and np.prod(shape[axis:]) > size:
        axis += 1
    if axis == 0:
        return [()]
    step = max(size // max(int(np.prod(shape[axis:])), 1), 1)
    return [
        (*lead, slice(start, min(start + step, shape[axis - 1])))
        for lead in np.ndindex(shape[: axis - 1])
        for start in range(0, shape[axis - 1], step)
    ]
