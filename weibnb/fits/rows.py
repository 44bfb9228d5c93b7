"""Counts of a Dataset as rows, block by block: counts on disk are never loaded all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.fitting.estimates import as_count_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from numpy.typing import NDArray

#: Matrices in a block.
BLOCK = 2048


class Block(NamedTuple):
    """Counts of some matrices.

    Attributes
    ----------
    place : tuple
        Where they are: an index of an array on the dims of ``fits.counts_exact``.
    counts : ndarray of uint32 or uint64, shape (matrices, bins)
        Weights in each bin, contiguous; the matrices in the order of ``array[place].ravel()``.
    exact : ndarray of bool, shape (matrices,)
        Whether each bin is one value.
    """

    place: tuple[int | slice, ...]
    counts: NDArray[np.unsignedinteger[Any]]
    exact: NDArray[np.bool_]


def count_blocks(fits: xr.Dataset, size: int = BLOCK) -> Iterator[Block]:
    """Yield the counts of every matrix, `size` matrices at a time at most (or one layer row).

    `fits` comes from `weibnb.fits.schema.prepare` with ``"counts", "counts_exact"``.
    """
    counts = fits["counts"].transpose(..., "bin")
    exact = fits["counts_exact"].transpose(*counts.dims[:-1]).values
    for place in _places(counts.shape[:-1], size):
        flags = exact[place].flatten()
        rows = counts.variable[place].values.reshape(flags.size, counts.shape[-1])
        yield Block(place, np.ascontiguousarray(as_count_rows(rows)), flags)


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
