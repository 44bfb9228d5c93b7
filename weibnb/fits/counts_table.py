"""Counts of several matrices as one labelled array, for arithmetic over bins."""

from __future__ import annotations

import numpy as np
import xarray as xr

from weibnb.counting.formats import label_values
from weibnb.fits.rows import count_blocks
from weibnb.fits.schema import prepare

_LARGEST = 1 << 30  # bytes


def counts_table(fits: xr.Dataset) -> xr.DataArray:
    """Lay the counts of some matrices out over the bins that any of them occupies.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts; of many matrices a selection.

    Returns
    -------
    xarray.DataArray of int64
        Weights in each bin, on the dims of ``fits.counts`` and ``bin``, with the coordinates
        ``magnitude`` (of each bin: its value, or the lower edge of its interval) and ``exact``
        (of each matrix: whether its bins are single values).

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, holds no counts, or the table would take more than
        1 GiB.

    Notes
    -----
    The Dataset itself holds one `Counts` for each matrix, which has the occupied bins alone: of
    thousands of small matrices this table would be nearly all zeros.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": np.full((2, 2), 2.0**i, np.float32)
    ...            for i in range(2)}
    >>> table = counts_table(wb.scan({"tiny": weights})).squeeze()
    >>> table.dims, table.magnitude.values.tolist(), table.values.tolist()
    (('layer', 'bin'), [1.0, 2.0], [[4, 0], [0, 4]])
    """
    fits = prepare(fits, "counts")
    counts = fits["counts"]
    labels = np.empty(0, np.int32)
    for block in count_blocks(fits):
        labels = np.union1d(labels, block.rows.labels)
        nbytes = counts.size * labels.size * np.dtype(np.int64).itemsize
        if nbytes > _LARGEST:
            raise ValueError(
                f"`fits` must be few enough for a table of 1 GiB, got {counts.size:,} matrices, "
                f"whose table takes at least {nbytes / 2**30:.1f} GiB. "
                "Select some: fits.sel(layer=0)."
            )
    table = np.zeros((counts.size, labels.size), np.int64)
    exact, row = np.ones(counts.size, bool), 0
    for block in count_blocks(fits):
        for one in block.counts:
            table[row, np.searchsorted(labels, one.labels)] = one.counts
            exact[row] = one.exact
            row += 1
    dims = counts.dims
    kept = {name: coord for name, coord in counts.coords.items() if set(coord.dims) <= set(dims)}
    described = {"long_name": "Magnitude |w|", "units": "units of the weights"}
    return xr.DataArray(
        table.reshape(*counts.shape, labels.size),
        kept
        | {
            "magnitude": ("bin", label_values(labels), described),
            "exact": (dims, exact.reshape(counts.shape)),
        },
        (*dims, "bin"),
        "counts",
        {"long_name": "Weights in each magnitude bin", "units": "1"},
    )
