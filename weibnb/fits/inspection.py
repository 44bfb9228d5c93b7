"""A file of fits from a stranger: looked over before any value of it is read.

HDF5 can lead to other files (external storage, links, virtual datasets), load plug-ins (filters)
and promise arrays of any size in a few bytes. Nothing of the kind is in a file that `save_fits`
wrote, so whatever has it is refused.
"""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import LABELS
from weibnb.fits.schema import DIMS, FIELDS, OF_CHECKPOINTS, TEXT, VARIABLES, protocol_of
from weibnb.fitting.estimates import COVARIANCE, COVARIANCES
from weibnb.messages import shortened

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

#: Bytes of values that may be loaded from a file of any size, and more for each byte of it.
ALWAYS_ALLOWED, ALLOWED_PER_BYTE = 1 << 27, 100
_CELL = (*DIMS, "expert")
_LAST = {
    "counts": ("bin",),
    "magnitude_quantile": ("quantile",),
    COVARIANCE: ("pair",),
    **{name: (dim,) for name, dim in FIELDS.items()},
}
# Dims without labels.
_WITHOUT_VALUES = ("entry", "pair")
_COUNTED = ("zeros", "nans", "infinities", "largest", "exact")
_COUNTS_OF_CELLS = ("count_size", *(f"count_{name}" for name in _COUNTED))
_ENTRIES = ("count_label", "count_number")
#: Variables that are not loaded when a file is opened.
READ_LATER = ("counts", *_ENTRIES)
# Bytes that a byte of deflate can stand for, at most.
_DEFLATED = 1100
_LABELS = (*_CELL, "bin", *FIELDS.values())
_DIMS_OF = {
    **{name: (*_CELL, *_LAST.get(name, ())) for name in VARIABLES},
    **dict.fromkeys((*_COUNTS_OF_CELLS, "counts_exact"), _CELL),
    **dict.fromkeys(_ENTRIES, ("entry",)),
    **dict.fromkeys(OF_CHECKPOINTS, ("model", "step")),
    **dict.fromkeys(("weight_class", "tower"), ("component",)),
    "magnitude": ("bin",),
}
_INTEGERS = {
    "layer", "step", "expert", "bin", "n", "n_matrices", "nonfinite", "rows", "cols",
    "dead_rows", "dead_cols", *FIELDS.values(), *_COUNTS_OF_CELLS[:4], "count_label",
}  # fmt: skip
# zlib, shuffle, fletcher32: part of every HDF5 library
_FILTERS = {1, 2, 3}


class FitsError(ValueError):
    """A file of fits that cannot be read, with one cause.

    Parameters
    ----------
    path : path-like
        The file.
    cause : str
        What is wrong, without a full stop.
    variable : str, optional
        The variable concerned.

    Examples
    --------
    >>> print(FitsError("fits.nc", "its values lie elsewhere", "k"))
    `fits.nc`, variable `k`: its values lie elsewhere. Pass a file that weibnb.save_fits wrote.
    """

    def __init__(self, path: str | os.PathLike[str], cause: str, variable: str = "") -> None:
        super().__init__(path, cause, variable)
        self.path = os.fspath(path)
        self.cause = cause
        self.variable = variable

    def __str__(self) -> str:
        variable = f", variable `{shortened(self.variable)}`" if self.variable else ""
        return (
            f"`{shortened(self.path, 1000)}`{variable}: {shortened(self.cause, 400)}. "
            "Pass a file that weibnb.save_fits wrote."
        )


def check_layout(path: Path) -> None:
    """Refuse a file whose values lie elsewhere, or are out of proportion to its size.

    Raises
    ------
    FitsError
        With the cause.
    """
    import h5py

    size = path.stat().st_size
    allowed = ALWAYS_ALLOWED + ALLOWED_PER_BYTE * size
    with h5py.File(path, "r") as file:
        for name in file:
            link = file.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise FitsError(path, "it is a link to another place", name)
            item = file[name]
            if problem := _storage_problem(item):
                raise FitsError(path, problem, name)
            if name in _WITHOUT_VALUES:
                if not _is_plain_dim(item):
                    raise FitsError(path, "a dim without values is expected", name)
                continue
            nbytes = math.prod(item.shape) * max(item.dtype.itemsize, 1)
            if name not in READ_LATER or item.chunks is None:
                allowed -= nbytes
            elif math.prod(item.chunks) * item.dtype.itemsize > ALWAYS_ALLOWED:
                raise FitsError(path, "its chunks are too large", name)
            if allowed < 0 or (name in _ENTRIES and nbytes > _DEFLATED * size):
                raise FitsError(path, "it holds more values than its size explains", name)
            if (
                item.ndim == 1 and name not in _ENTRIES
            ):  # a coordinate, which opening reads without telling its name
                _try_to_read(path, item, name)


def _storage_problem(item: Any) -> str:
    """Say why an entry is not stored as `save_fits` stores variables; nothing if it is."""
    if not hasattr(item, "dtype"):
        return "it is a group, where variables are expected"
    if item.external or item.is_virtual:
        return "its values lie in another file"
    plan = item.id.get_create_plist()
    if not {plan.get_filter(i)[0] for i in range(plan.get_nfilters())} <= _FILTERS:
        return "it is packed by a filter that is not part of HDF5"
    if item.dtype.kind not in "fiubOSU":
        return f"values of type {item.dtype} are not expected"
    return ""


def _is_plain_dim(item: Any) -> bool:
    """Whether an entry is a netCDF dim alone: a name and a size, for which nothing is stored."""
    return bytes(item.attrs.get("NAME", b"")).startswith(b"This is a netCDF dimension but not")


def _try_to_read(path: Path, item: Any, name: str) -> None:
    """Read the values of a variable, so that damage is reported with its name."""
    try:
        item[()]
    except (OSError, ValueError, TypeError) as err:
        raise FitsError(path, f"its values are damaged ({err})", name) from err


def check_variables(path: Path, fits: xr.Dataset) -> None:
    """Refuse variables and attributes of other types or dims than those that `build` makes.

    Raises
    ------
    ValueError
        With the cause.
    """
    for name, variable in fits.variables.items():
        known = _DIMS_OF.get(str(name), (str(name),) if name in _LABELS else None)
        if known is not None and not set(variable.dims) <= set(known):
            raise FitsError(path, f"its dims must be of {known}, got {variable.dims}", str(name))
        if problem := _type_problem(str(name), variable.dtype):
            raise FitsError(path, problem, str(name))
        if variable.dtype.kind == "O" and not all(isinstance(v, str) for v in variable.values.flat):
            raise FitsError(path, "text is expected", str(name))
    if fits.sizes.get("pair", COVARIANCES) != COVARIANCES:
        raise FitsError(path, f"{COVARIANCES} numbers of each cell are expected", COVARIANCE)
    _check_counts(path, fits)
    for text in fits["not_fitted"].values.flat if "not_fitted" in fits else ():
        if not is_list_of_tensors(text):
            raise FitsError(path, "a JSON list of tensors is expected", "not_fitted")
    _check_protocol(path, fits)


def _check_protocol(path: Path, fits: xr.Dataset) -> None:
    """Refuse a protocol that is none."""
    for name in ("trim_lower", "trim_upper"):
        if not isinstance(fits.attrs.get(name, 0.0), (float, int, np.floating, np.integer)):
            raise FitsError(path, f"the attribute `{name}` must be a number")
    if "estimator" in fits.attrs and "trim_lower" in fits.attrs:
        protocol_of(fits)


def _check_counts(path: Path, fits: xr.Dataset) -> None:
    """Refuse counts of cells that do not agree with each other or with the entries."""
    there = [name for name in (*_COUNTS_OF_CELLS, *_ENTRIES) if name in fits]
    if not there:
        return
    missing = {*_COUNTS_OF_CELLS, *_ENTRIES} - set(there)
    if missing:
        raise FitsError(path, f"the counts lack {', '.join(sorted(missing))}")
    size = fits["count_size"]
    for name in _COUNTS_OF_CELLS:
        if fits[name].dims != size.dims:
            raise FitsError(path, f"its dims must be {size.dims}, got {fits[name].dims}", name)
        if not bool((fits[name] >= 0).all()) or not bool(np.isfinite(fits[name]).all()):
            raise FitsError(path, "numbers of at least 0 are expected", name)
    entries = fits.sizes["entry"]
    if int(size.values.max(initial=0)) > LABELS or int(size.sum()) != entries:
        raise FitsError(path, f"sizes that add up to {entries} entries are expected", "count_size")


def _type_problem(name: str, dtype: np.dtype[Any]) -> str:
    """Say why a type is not that of a variable of the schema; nothing if it is."""
    if name in TEXT or name in ("model", "component"):
        return "" if dtype.kind in "OUT" else f"text is expected, got {dtype}"
    if name in _INTEGERS:
        return "" if dtype.kind in "iu" else f"integers are expected, got {dtype}"
    if name in ("counts", "count_number"):
        return "" if dtype.kind == "u" else f"unsigned integers are expected, got {dtype}"
    if name in ("scaled", "counts_exact", "count_exact"):
        return "" if dtype.kind == "b" else f"flags are expected, got {dtype}"
    if name in VARIABLES or name == "count_largest":
        return "" if dtype.kind == "f" else f"floating-point numbers are expected, got {dtype}"
    return ""


def is_list_of_tensors(text: str) -> bool:
    """Whether a text is JSON as `build` writes it: tensors with shape, dtype and reason."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(entries, list) and all(
        isinstance(entry, dict)
        and set(entry) == {"tensor", "shape", "dtype", "reason"}
        and isinstance(entry["shape"], list)
        for entry in entries
    )
