"""Files of fits: save, check, open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from weibnb.fits.inspection import READ_LATER, FitsError, check_layout, check_variables
from weibnb.fits.older import restored_dense, with_error_kind
from weibnb.fits.ragged import CHUNK, flattened, restored
from weibnb.fits.schema import escape_all, prepare
from weibnb.fits.store_schema import STORE_SUFFIXES
from weibnb.fits.zarr_group import SUFFIX, write_zarr
from weibnb.writing import EndingError, check_target, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

# What the readers below raise for a damaged file.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError,
    OverflowError, MemoryError, NotImplementedError,
)  # fmt: skip
#: Endings of a file of fits.
SUFFIXES = (".nc", ".nc4", ".h5", ".hdf5")


def save_fits(fits: xr.Dataset, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write fits to one netCDF file that any netCDF-4 or HDF5 reader opens.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`, also concatenated or merged.
    path : path
        The file, ending in ``.nc`` (or ``.nc4``, ``.h5``, ``.hdf5``). It appears whole or not at
        all, and replaces an older file of fits. With ``.zarr`` it is a Zarr group for other
        tools, which replaces nothing (``pip install 'weibnb[zarr]'``).
    force : bool
        Replace a file that is no file of fits as well; never one that was scanned.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or the name ends otherwise.
    FileExistsError
        If the file is there and is no file of fits, or is one of those that were scanned.
    OSError
        If the file cannot be written; what was there before is untouched.

    Notes
    -----
    The file is made in memory, some 3-10 kB a matrix, and written at once, so that a full disk
    is an error and not the end of the process. Numbers carry checksums (HDF5's fletcher32).

    Examples
    --------
    >>> import numpy as np, tempfile, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     file = save_fits(fits, f"{directory}/fits.nc")
    ...     str(open_fits(file).status.item())
    'constant'
    """
    fits = prepare(fits)
    if Path(path).suffix.lower() == SUFFIX:
        return write_zarr(fits, Path(path))
    target = check_fits_target(path, force=force)
    sources = fits["source"].values.ravel() if "source" in fits else ()
    refuse_inputs(target, sorted({str(name) for name in sources if name}))
    fits = flattened(_storable(fits))
    encoding: dict[str, Any] = {}
    packed = {"zlib": True, "complevel": 2, "shuffle": True, "fletcher32": True}
    for name, variable in fits.variables.items():
        if variable.dtype.kind in "fiub" and variable.size:
            entries = variable.dims == ("entry",)
            chunks = {"chunksizes": (min(CHUNK, variable.size),)} if entries else {}
            encoding[str(name)] = packed | chunks
    content = fits.drop_encoding().to_netcdf(engine="h5netcdf", encoding=encoding)
    return write_whole(target, content)


def check_fits_target(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Check that a file of fits can be written here, before the work that fills it."""
    if Path(path).suffix.lower() in STORE_SUFFIXES:
        raise EndingError(
            f"`path` must end in {', '.join(SUFFIXES)}, got {os.fspath(path)!r}: a store is filled "
            "by weibnb.scan(source, store=path)."
        )
    target = check_target(path, SUFFIXES, "fits")
    if not force and target.exists() and not is_fits_file(target):
        raise FileExistsError(
            f"`path` must not replace a file that is no file of fits, got {str(target)!r}. "
            "Choose another name, or replace it with force=True (--force in a shell)."
        )
    return target


def is_fits_file(path: Path) -> bool:
    """Tell whether a file is one that `save_fits` wrote."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "weibnb_version" in file.attrs and "k" in file
    except OSError:
        return False


def refuse_inputs(target: Path, sources: Iterable[str | os.PathLike[str]]) -> None:
    """Raise if the target is a file that was, or will be, scanned, by whatever name."""
    if not target.exists():
        return
    for source in map(Path, sources):
        files = sorted(source.rglob("*")) if source.is_dir() else [source]
        if any(file.is_file() and file.samefile(target) for file in files):
            raise FileExistsError(
                f"`path` must not be a file that is scanned, got {str(target)!r}: "
                "its weights would be lost. Choose another name."
            )


def _storable(fits: xr.Dataset) -> xr.Dataset:
    """Escape what users may have put in since `build` did."""
    escaped = {}
    for name, variable in fits.variables.items():
        if variable.dtype.kind in "OUT" and name != "counts":
            text = escape_all(variable.values)
            if (text != variable.values).any():
                escaped[name] = (variable.dims, text, variable.attrs)
    return fits.assign(escaped) if escaped else fits


def open_fits(path: str | os.PathLike[str]) -> xr.Dataset:
    """Open a file or a store of fits; the counts stay on disk until they are asked for.

    Parameters
    ----------
    path : path
        A file that `save_fits` wrote, or a store (``.db``) that `scan` or a `Recorder` fills, also
        while it is being filled: what is not fitted yet has the status ``"pending"``.

    Returns
    -------
    xarray.Dataset
        Equal to what was saved. ``fits.close()`` lets go of the file.

    Raises
    ------
    FileNotFoundError, PermissionError
        If there is no such file, or it may not be read.
    FitsError
        If it is not a file of fits, or is damaged: a ValueError with the path, the variable and
        one cause.

    Notes
    -----
    Every variable but the counts is loaded, after the file was looked over: one whose values lie
    in other files, or are out of proportion to its size, is refused.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`path` must be a path, got {type(path).__name__}.")
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"`path` must name a file of fits, got {str(source)!r}: not found.")
    if not source.is_file():
        raise FitsError(source, "it is not a regular file")
    if not os.access(source, os.R_OK):
        raise PermissionError(f"`path` must name a file that may be read, got {str(source)!r}.")
    if source.suffix.lower() in STORE_SUFFIXES:
        from weibnb.fits.store_reading import open_store

        return prepare(open_store(source))
    return _open_file(source)


def _open_file(source: Path) -> xr.Dataset:
    """Open a netCDF file; what its readers raise becomes a `FitsError`."""
    variable = ""
    try:
        check_layout(source)
        fits = xr.open_dataset(source, engine="h5netcdf", decode_times=False)
        try:
            for name, array in fits.variables.items():
                variable = str(name)
                if name not in READ_LATER:
                    array.load()
            variable = ""
            check_variables(source, fits)
            opened = prepare(with_error_kind(restored_dense(restored(source, fits))))
        except BaseException:
            fits.close()
            raise
    except FitsError:
        raise
    except _DAMAGE as err:
        raise FitsError(source, _cause(err), variable) from err
    if opened is not fits:
        opened.set_close(fits.close)
    return opened


def _cause(err: BaseException) -> str:
    """Say in one line why a file could not be read."""
    text = " ".join(str(err).split()).rstrip(".")
    return f"it is no file of fits, or is damaged ({text or type(err).__name__})"
