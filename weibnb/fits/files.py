"""The schema of a Dataset of fits: assemble, check, save and open."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import xarray as xr

from weibnb.fits.schema import escape_all, prepare


def save_fits(fits: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write fits to one netCDF file that any netCDF-4 or HDF5 reader opens.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`, also concatenated or merged.
    path : path
        The file; it appears whole or not at all, and replaces an older one.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import numpy as np, tempfile, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     file = save_fits(fits, f"{directory}/fits.nc")
    ...     str(open_fits(file).status.item())
    'constant'
    """
    target = check_target(path)
    fits = _storable(prepare(fits))
    encoding: dict[str, Any] = {}
    for name, variable in fits.data_vars.items():
        if variable.size == 0:
            continue
        if name == "counts":
            chunk = tuple(1 if dim != "bin" else size for dim, size in variable.sizes.items())
            encoding[name] = {"zlib": True, "complevel": 4, "shuffle": True, "chunksizes": chunk}
        elif variable.dtype.kind in "fiub" and variable.ndim:
            encoding[str(name)] = {"zlib": True, "complevel": 4, "shuffle": True}
    handle, temporary = tempfile.mkstemp(suffix=".nc", dir=target.parent)
    os.close(handle)
    try:
        plain = fits.drop_encoding()
        plain.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def check_target(path: str | os.PathLike[str]) -> Path:
    """Check that a file of fits can be written, before the work that fills it."""
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"`path` must name a file, such as fits.nc, got {str(target)!r}.")
    if target.suffix == ".zarr":
        raise ValueError(f"`path` must name a netCDF file, such as fits.nc, got {str(target)!r}.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must lie in a directory that exists, got {str(target)!r}: "
            f"make {str(target.parent)!r} first."
        )
    return target


def _storable(fits: xr.Dataset) -> xr.Dataset:
    """Escape what users may have put in since `build` did."""
    escaped = {}
    for name, variable in fits.variables.items():
        if variable.dtype.kind in "OUT":
            text = escape_all(variable.values)
            if (text != variable.values).any():
                escaped[name] = (variable.dims, text, variable.attrs)
    return fits.assign(escaped) if escaped else fits


def open_fits(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a file of fits; the counts stay on disk until they are asked for.

    Parameters
    ----------
    path : path
        A file that `save_fits` wrote.

    Returns
    -------
    xarray.Dataset
        Equal to what was saved. ``fits.close()`` lets go of the file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a file of fits.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"`path` must name a file of fits, got {str(source)!r}: not found.")
    try:
        fits = xr.open_dataset(source, engine="h5netcdf")
    except (OSError, ValueError) as err:
        raise ValueError(
            f"`path` must name a netCDF file that weibnb.save_fits wrote, got {str(source)!r}: "
            "it is no netCDF file."
        ) from err
    try:
        for name, variable in fits.variables.items():
            if name != "counts":
                variable.load()
        fits = prepare(fits)
    except ValueError as err:
        fits.close()
        raise ValueError(f"{str(source)!r} is no file of fits: {err}") from err
    return fits
