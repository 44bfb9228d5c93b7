"""Errors of what is computed from counts, clustered by what a scan kept of rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.fits.rows import as_cells, no_grid, table_of_counts
from weibnb.fitting.estimates import COVARIANCE, COVARIANCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]


def covariance_of(fits: xr.Dataset) -> NDArray[np.float64]:
    """Covariance of rank functions within rows and columns: an array (*counts, 15).

    Of a cell of experts it is their mean; NaN where it is not known.
    """
    shape = fits["counts"].shape
    if COVARIANCE not in fits:
        return np.full((*shape, COVARIANCES), np.nan)
    known = fits[COVARIANCE].values
    if known.ndim <= len(shape):
        known = known[..., None, :]
    return np.broadcast_to(known, (*shape, COVARIANCES))


def standard_error_of(
    fits: xr.Dataset,
    influence: Callable[[CountRows], NDArray[Any]],
    workers: int | None = None,
) -> xr.DataArray:
    """Give the standard error of a value of every cell, from the influence of each weight on it.

    `influence` gives it by bin, with mean zero over each matrix, NaN for one that has no value. The
    errors are clustered by rows and columns where the scan looked at them, else independent; a
    mixture-of-experts cell has the median over its experts.
    """
    from weibnb.fitting.rank_functions import standard_errors

    def describe(rows: CountRows, _: None, known: Array) -> Array:
        return standard_errors(rows, influence(rows), known)[:, None]

    known = covariance_of(fits)
    errors = table_of_counts(fits, no_grid, describe, known, width=1, workers=workers)[..., 0]
    cells = xr.DataArray(errors, dims=fits["counts"].dims, name="error").to_dataset()
    return as_cells(cells, fits)["error"]
