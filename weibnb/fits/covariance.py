"""Errors of what is computed from counts, clustered by what a scan kept of rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.fits.rows import as_cells, no_grid, table_of_counts
from weibnb.fitting.estimates import COVARIANCE, COVARIANCES
from weibnb.fitting.rank_functions import clustered_part, standard_errors
from weibnb.fitting.unequal import variance_by_scales

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

# Standard errors that scales are apart from equal ones if they are taken as unequal.
_RESOLVED = 1.9601


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


def known_of_lines(fits: xr.Dataset) -> NDArray[np.float64]:
    """Give what `variance_within_lines` needs of every matrix: an array (*counts, 19).

    Scales whose interval holds 0 are taken as equal.
    """
    shape = fits["counts"].shape
    columns = [covariance_of(fits)]
    for name in ("h_row", "h_col", "rows", "cols"):
        unknown = np.full(fits["k"].shape, np.nan)
        known = fits[name].values.astype(float) if name in fits else unknown
        if f"{name}_se" in fits:
            known = np.where(known <= _RESOLVED * fits[f"{name}_se"].values, 0.0, known)
        if known.ndim < len(shape):
            known = known[..., None]
        columns.append(np.broadcast_to(known, shape)[..., None])
    return np.concatenate(columns, axis=-1)


def variance_within_lines(rows: CountRows, v: Array, known: Array) -> Array:
    """Variance of means of functions of |w| within rows and columns, beyond independent weights.

    By the lines that the scan looked at, and not below what lognormal scales of rows and columns
    as unequal as these give; NaN where neither is known. `v` is (functions, entries), with mean
    zero over each matrix, `known` (matrices, 19), and the result (matrices, functions).
    """
    covariance, scales = known[:, :COVARIANCES], known[:, COVARIANCES:]
    seen = np.diagonal(clustered_part(rows, v, covariance), axis1=1, axis2=2)
    return np.asarray(np.fmax(seen, variance_by_scales(rows, v, scales)))


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

    def describe(rows: CountRows, _: None, known: Array) -> Array:
        v = influence(rows)
        beyond = variance_within_lines(rows, v[None], known)[:, 0]
        return standard_errors(rows, v, beyond)[:, None]

    known = known_of_lines(fits)
    errors = table_of_counts(fits, no_grid, describe, known, width=1, workers=workers)[..., 0]
    cells = xr.DataArray(errors, dims=fits["counts"].dims, name="error").to_dataset()
    return as_cells(cells, fits)["error"]
