"""The schema of a Dataset of fits: assemble, check, save and open."""

from __future__ import annotations

import datetime as dt
import json
import os
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.weibull import Anchor, Estimator, Trim, anchor, check_protocol, protocol_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: Dimensions of every estimate; ``scan(..., experts="each")`` adds ``expert``.
DIMS = ("model", "layer", "component", "step")
#: Expert coordinate of a matrix that is not an expert.
NO_EXPERT = -1

#: Variables and what they mean: long name, units.
VARIABLES: dict[str, tuple[str, str]] = {
    "k": ("Weibull shape k", "1"),
    "lam": ("Weibull scale λ", "units of the weights"),
    "r2": ("Coefficient of determination of the Weibull plot over the trim", "1"),
    "ks": ("Kolmogorov-Smirnov distance over the trim", "1"),
    "ks_full": ("Kolmogorov-Smirnov distance over all weights", "1"),
    "k_se": ("Standard error of k under independent sampling", "1"),
    "lam_se": ("Standard error of λ under independent sampling", "units of the weights"),
    "k_lam_correlation": ("Correlation of the estimates of k and ln λ", "1"),
    "n": ("Non-zero finite weights, those that are fitted", "1"),
    "n_matrices": ("Matrices in the cell: more than one for experts", "1"),
    "zero_fraction": ("Share of finite weights that are exactly zero", "1"),
    "nonfinite": ("NaN and infinite weights", "1"),
    "rms": ("Root mean square of the finite weights", "units of the weights"),
    "mean_abs": ("Mean magnitude of the finite weights", "units of the weights"),
    "max_abs": ("Largest finite magnitude", "units of the weights"),
    "kurtosis": ("Kurtosis about zero, E[w^4]/E[w^2]^2", "1"),
    "magnitude_quantile": ("Quantile of |w| of the finite weights", "units of the weights"),
    "status": ("ok, or why the cell is not fitted or not to be trusted", ""),
    "parameter": ("Name of the tensor; * stands for the expert", ""),
    "dtype": ("Storage format", ""),
    "rows": ("Output features", "1"),
    "cols": ("Input features", "1"),
    "scaled": ("Whether a scale tensor lies beside the stored weights", "1"),
    "counts": ("Weights in each magnitude bin", "1"),
    "counts_exact": ("Whether a bin is one value (else an interval of relative width 1/256)", "1"),
}
_TEXT = (
    "status",
    "parameter",
    "dtype",
    "source",
    "fingerprint",
    "problem",
    "not_fitted",
    "protocol",
    "weight_class",
    "tower",
    "model_type",
    "tied_embeddings",
)
_EMPTY_TEXT = {"status": "absent", "not_fitted": "[]"}


@dataclass(slots=True)
class Matrix:
    """One weight matrix on its way into the Dataset.

    Attributes
    ----------
    model, layer, component, step, expert
        Its cell; `expert` is `NO_EXPERT` for a matrix that is not one.
    parameter, dtype, rows, cols
        Its tensor.
    status : str
        ``"ok"`` if it was counted, else why it was not.
    labels, counts
        Occupied bins and the weights in them.
    exact, zeros, nonfinite, largest
        What else the counting told.
    """

    model: str
    layer: int
    component: str
    step: int
    expert: int
    parameter: str
    dtype: str
    rows: int
    cols: int
    status: str
    labels: NDArray[np.int32]
    counts: NDArray[np.int64]
    exact: bool = True
    zeros: int = 0
    nonfinite: int = 0
    largest: float = float("nan")


@dataclass(frozen=True, slots=True)
class Source:
    """One checkpoint that was scanned, or could not be.

    Attributes
    ----------
    model, step
        Where it belongs.
    path, fingerprint : str
        What it was, and a hash of its names, shapes and formats.
    config : Mapping
        Its config.json.
    problem : str
        Why it could not be read; empty if it could.
    not_fitted : list of dict
        Tensors that are in no cell: tensor, shape, dtype, reason.
    """

    model: str
    step: int
    path: str
    fingerprint: str
    config: Mapping[str, Any]
    problem: str
    not_fitted: list[dict[str, Any]]


def package_version() -> str:
    """Version of weibnb that is running."""
    try:
        return version("weibnb")
    except PackageNotFoundError:
        return "unknown"


def model_attributes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a config.json says of the architecture, under one name for all families.

    Parameters
    ----------
    config : Mapping
        The parsed file; a multimodal model's ``text_config`` is used where there is one.

    Returns
    -------
    dict
        ``model_type`` and ``tied_embeddings`` ("yes", "no" or ""), and the numbers ``n_heads``,
        ``n_kv_heads``, ``n_layers``, ``hidden_size``: NaN where the file does not say.

    Examples
    --------
    >>> model_attributes({"model_type": "gpt2", "n_head": 12})["n_heads"]
    12.0
    """
    text = config.get("text_config")
    inner = {**config, **text} if isinstance(text, dict) else dict(config)

    def number(*names: str) -> float:
        for name in names:
            value = inner.get(name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return float(value) if abs(value) < 1e300 else float("nan")
        return float("nan")

    heads = number("num_attention_heads", "n_head", "n_heads", "num_heads")
    kv_heads = number("num_key_value_heads", "n_kv_heads", "num_kv_heads")
    if np.isnan(kv_heads):
        kv_heads = 1.0 if inner.get("multi_query") is True else heads
    tied = inner.get("tie_word_embeddings", inner.get("weight_tying"))
    return {
        "model_type": _escape(str(config.get("model_type", "")))[:200],
        "tied_embeddings": "yes" if tied is True else "no" if tied is False else "",
        "n_heads": heads,
        "n_kv_heads": kv_heads,
        "n_layers": number("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
        "hidden_size": number("hidden_size", "n_embd", "d_model", "dim"),
    }


@dataclass(frozen=True, slots=True)
class Grid:
    """Matrices laid out on (model, layer, component, step, expert), as plain arrays.

    Attributes
    ----------
    coords : dict
        Labels along each dim.
    arrays : dict of ndarray
        One value a cell; ``counts`` has the bins as a last axis.
    labels : ndarray of int32
        The bins.
    """

    coords: dict[str, list[Any]]
    arrays: dict[str, NDArray[Any]]
    labels: NDArray[np.int32]


def lay_out(
    matrices: Sequence[Matrix],
    sources: Sequence[Source],
    components: Sequence[str],
    labels: NDArray[np.int32],
) -> Grid:
    """Place matrices in their cells; a cell without one is absent, with zero counts.

    Parameters
    ----------
    matrices : sequence of Matrix
        At most one for each (model, layer, component, step, expert).
    sources : sequence of Source
        The checkpoints: they give the models and steps.
    components : sequence of str
        The components, in the order that the coordinate shall have.
    labels : ndarray of int32, shape (bins,)
        Union of the matrices' bins, ascending.

    Returns
    -------
    Grid
        Its ``expert`` axis is of size 1 where no matrix is an expert.
    """
    coords: dict[str, list[Any]] = {
        "model": list(dict.fromkeys(source.model for source in sources)),
        "layer": sorted({matrix.layer for matrix in matrices}),
        "component": list(components),
        "step": sorted({source.step for source in sources}),
        "expert": sorted({matrix.expert for matrix in matrices} | {NO_EXPERT}),
    }
    place = {name: {key: i for i, key in enumerate(keys)} for name, keys in coords.items()}
    shape = tuple(len(keys) for keys in coords.values())
    wide = any(m.counts.size and m.counts.max() > np.iinfo(np.uint32).max for m in matrices)
    arrays: dict[str, NDArray[Any]] = {
        "status": np.full(shape, "absent", object),
        "parameter": np.full(shape, "", object),
        "dtype": np.full(shape, "", object),
        "rows": np.zeros(shape, np.int32),
        "cols": np.zeros(shape, np.int32),
        "zeros": np.zeros(shape, np.int64),
        "nonfinite": np.zeros(shape, np.int64),
        "max_abs": np.full(shape, np.nan),
        "n_matrices": np.zeros(shape, np.int32),
        "counts_exact": np.ones(shape, bool),
        "counts": np.zeros((*shape, labels.size), np.uint64 if wide else np.uint32),
    }
    column = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    column[labels] = np.arange(labels.size, dtype=np.int32)
    for m in matrices:
        cell = tuple(place[name][getattr(m, name)] for name in coords)
        for name in ("status", "parameter", "dtype", "rows", "cols", "zeros", "nonfinite"):
            arrays[name][cell] = getattr(m, name)
        arrays["max_abs"][cell] = m.largest
        arrays["counts_exact"][cell] = m.exact
        arrays["n_matrices"][cell] = 1
        arrays["counts"][cell][column[m.labels]] = m.counts
    return Grid(coords, arrays, labels)


def build(
    grid: Grid,
    sources: Sequence[Source],
    *,
    magnitude: NDArray[np.float64],
    weight_class: Sequence[str],
    tower: Sequence[str],
    quantiles: Sequence[float],
    trim: tuple[float, float],
    estimator: str,
) -> xr.Dataset:
    """Turn a grid of estimates into the Dataset that users hold.

    Parameters
    ----------
    grid : Grid
        With the estimates among its arrays. An array without an expert axis is one value a cell.
    sources : sequence of Source
        The checkpoints.
    magnitude : ndarray, shape (bins,)
        What the bins stand for.
    weight_class, tower : sequence of str
        Class and tower of each component.
    quantiles : sequence of float
        Probabilities of ``magnitude_quantile``.
    trim, estimator
        The protocol.

    Returns
    -------
    xarray.Dataset
        Dims (model, layer, component, step), and ``expert`` where an array has it.
    """
    coords: dict[str, Any] = {name: (name, list(keys)) for name, keys in grid.coords.items()}
    coords["model"] = ("model", [_escape(model) for model in grid.coords["model"]])
    coords |= {
        "weight_class": ("component", list(weight_class)),
        "tower": ("component", list(tower)),
        "quantile": ("quantile", list(quantiles)),
        "bin": ("bin", grid.labels),
        "magnitude": ("bin", magnitude, {"long_name": "Magnitude |w|"}),
    }
    variables: dict[str, Any] = {}
    last = {"counts": ("bin",), "magnitude_quantile": ("quantile",)}
    for name, (long_name, units) in VARIABLES.items():
        if name in grid.arrays:
            array = grid.arrays[name]
            array = _escape_all(array) if array.dtype == object else array
            tail = last.get(name, ())
            dims = (*DIMS, "expert")[: array.ndim - len(tail)] + tail
            described = {"long_name": long_name} | ({"units": units} if units else {})
            variables[name] = (dims, array, described)
    if not any("expert" in dims for dims, *_ in variables.values()):
        del coords["expert"]
    configs: dict[str, Mapping[str, Any]] = {}
    for source in sources:
        if not source.problem:
            configs.setdefault(source.model, source.config)
    known = [model_attributes(configs.get(model, {})) for model in grid.coords["model"]]
    coords |= {name: ("model", [entry[name] for entry in known]) for name in model_attributes({})}
    table = _source_table(grid, sources)
    table["protocol"] = np.full_like(table["source"], protocol_text(trim, estimator))
    variables |= {name: (("model", "step"), _escape_all(text)) for name, text in table.items()}
    return xr.Dataset(variables, coords, protocol_attributes(trim, estimator))


def _source_table(grid: Grid, sources: Sequence[Source]) -> dict[str, NDArray[np.object_]]:
    models, steps = grid.coords["model"], grid.coords["step"]
    table: dict[str, NDArray[np.object_]] = {
        name: np.full((len(models), len(steps)), _EMPTY_TEXT.get(name, ""), object)
        for name in ("source", "fingerprint", "problem", "not_fitted")
    }
    for source in sources:
        at = models.index(source.model), steps.index(source.step)
        table["source"][at] = source.path
        table["fingerprint"][at] = source.fingerprint
        table["problem"][at] = source.problem
        table["not_fitted"][at] = json.dumps(
            [
                {name: _escape(v) if isinstance(v, str) else v for name, v in entry.items()}
                for entry in source.not_fitted
            ]
        )
    return table


def protocol_attributes(trim: tuple[float, float], estimator: str) -> dict[str, Any]:
    """Attributes that say when, by what and by which protocol fits were made.

    Parameters
    ----------
    trim : tuple of float
        Probability interval.
    estimator : str
        Name of the estimator.

    Returns
    -------
    dict
        For ``Dataset.attrs``.
    """
    return {
        "title": "Weibull fits of weight matrices",
        "weibnb_version": package_version(),
        "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "estimator": estimator,
        "trim_lower": float(trim[0]),
        "trim_upper": float(trim[1]),
        "plotting_position": "(i - 1/2) / n",
        "regression": "y on x, equal mass per weight" if estimator == "rank_regression" else "none",
    }


def validate(fits: xr.Dataset, *, mixed_protocols: bool = False) -> xr.Dataset:
    """Check that a Dataset is one of fits, and mend what an outer join leaves in it.

    Parameters
    ----------
    fits : xarray.Dataset
        From `weibnb.scan`, or concatenated or merged from several.
    mixed_protocols : bool
        Accept estimates that were made by different protocols.

    Returns
    -------
    xarray.Dataset
        With text in every text variable, integers in counts, and dims in the order of `DIMS`.

    Raises
    ------
    TypeError
        If it is no Dataset.
    ValueError
        If a dimension or an estimate is missing, the protocol is not recorded, or it is not the
        same for all.
    """
    if not isinstance(fits, xr.Dataset):
        raise TypeError(f"`fits` must be an xarray.Dataset of fits, got {type(fits).__name__}.")
    missing = [name for name in ("k", "lam", "status") if name not in fits]
    missing += [dim for dim in DIMS if dim not in fits.dims and dim not in fits.coords]
    missing += [name for name in ("estimator", "trim_lower") if name not in fits.attrs]
    if missing:
        raise ValueError(
            f"`fits` must be a Dataset of fits as weibnb.scan returns; it lacks "
            f"{', '.join(missing)}."
        )
    mended = {
        name: fits[name].astype(object).fillna(_EMPTY_TEXT.get(name, ""))
        for name in _TEXT
        if name in fits and pd.isna(fits[name].values).any()
    }
    for name in ("n", "n_matrices", "nonfinite", "rows", "cols"):
        if name in fits and fits[name].dtype.kind == "f":
            mended[name] = fits[name].fillna(0).astype(np.int64)
    if "counts" in fits and fits["counts"].dtype.kind == "f":
        filled = fits["counts"].fillna(0)
        wide = filled.size > 0 and float(filled.max()) > np.iinfo(np.uint32).max
        mended["counts"] = filled.astype(np.uint64 if wide else np.uint32)
    for name, value in (("counts_exact", True), ("scaled", False)):
        if name in fits and fits[name].dtype != bool:
            mended[name] = fits[name].where(fits[name].notnull(), value).astype(bool)
    fits = _single_counts(fits.assign(mended) if mended else fits)
    made_by: list[str] = list(fits["protocol"].values.ravel()) if "protocol" in fits else []
    protocols = set(made_by) - {""}
    if len(protocols) > 1 and not mixed_protocols:
        raise ValueError(
            f"`fits` must be made by one protocol, got {' and '.join(sorted(protocols))}. "
            "Bring them to one with weibnb.refit(fits, trim=...)."
        )
    order = [dim for dim in (*DIMS, "expert", "quantile", "bin") if dim in fits.dims]
    ordered = all(
        variable.dims == tuple(dim for dim in order if dim in variable.dims)
        for variable in fits.data_vars.values()
    )
    return fits if ordered else fits.transpose(*order, ...)


def with_all_dims(fits: xr.Dataset) -> xr.Dataset:
    """Give back the dims of `DIMS` that a selection of one label dropped.

    Parameters
    ----------
    fits : xarray.Dataset
        Valid fits, such as ``fits.sel(model="a")``.

    Returns
    -------
    xarray.Dataset
        The same with every dim, of size 1 where it was dropped.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with_all_dims(fits.sel(model="tiny"))["k"].dims
    ('model', 'layer', 'component', 'step')
    """
    dropped = [dim for dim in DIMS if dim not in fits["k"].dims]
    if not dropped:
        return fits
    described_by = {"model": tuple(model_attributes({})), "component": ("weight_class", "tower")}
    whole = fits.expand_dims(dropped).assign_coords(
        {
            name: (dim, np.atleast_1d(fits[name].values))
            for dim in dropped
            for name in described_by.get(dim, ())
            if name in fits.coords
        }
    )
    return validate(whole, mixed_protocols=True)


def require(fits: xr.Dataset, *names: str) -> xr.Dataset:
    """Return valid fits that hold these variables.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    *names : str
        Variables that are needed.

    Returns
    -------
    xarray.Dataset
        As `weibnb.dataset.validate` mends it.

    Raises
    ------
    TypeError
        If it is no Dataset.
    ValueError
        If it is not one of fits, or a variable is missing; the message names the remedy.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}
    >>> require(wb.scan({"tiny": weights}, keep_counts=False), "counts")
    Traceback (most recent call last):
    ValueError: `fits` must hold counts; scan with keep_counts=True (the default).
    """
    fits = validate(fits)
    missing = [name for name in names if name not in fits]
    if missing:
        counted = {"counts", "counts_exact"} & set(missing)
        remedy = "scan with keep_counts=True (the default)" if counted else "scan again"
        raise ValueError(f"`fits` must hold {', '.join(missing)}; {remedy}.")
    return fits


def protocol_of(fits: xr.Dataset) -> tuple[Estimator, Trim]:
    """Estimator and trim that fits were made by.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits, or anything with their attrs.

    Returns
    -------
    tuple
        The estimator, and the trim as a pair of probabilities.

    Raises
    ------
    ValueError
        If the attrs hold no valid protocol.
    """
    lower, upper = (float(fits.attrs.get(f"trim_{end}", np.nan)) for end in ("lower", "upper"))
    trim, estimator = check_protocol((lower, upper), str(fits.attrs["estimator"]))
    return estimator, trim


def gaussian_anchor(fits: xr.Dataset) -> Anchor:
    """Return what an untrained Gaussian matrix gives by the protocol of some fits.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits, or anything with their attrs.

    Returns
    -------
    Anchor
        See `weibnb.anchor`.
    """
    estimator, trim = protocol_of(fits)
    return anchor("gaussian", trim=trim, estimator=estimator)


def _single_counts(fits: xr.Dataset) -> xr.Dataset:
    """Undo the copies that joining with a mixture of experts makes of a dense model's counts."""
    counts = fits.get("counts")
    if counts is None or "expert" not in counts.dims or "expert" in fits["k"].dims:
        return fits
    if not isinstance(counts.variable._data, np.ndarray):  # noqa: SLF001  (no public way)
        return fits
    alone = (fits["n_matrices"] <= 1) & counts.sel(expert=NO_EXPERT).any("bin")
    copied = alone & (fits["expert"] != NO_EXPERT)
    if not bool((counts.any("bin") & copied).any()):
        return fits
    return fits.assign(counts=counts.where(~copied, 0).astype(counts.dtype))


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
    >>> import tempfile, weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}})
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     file = save_fits(fits, f"{directory}/fits.nc")
    ...     str(open_fits(file).status.item())
    'constant'
    """
    target = check_target(path)
    fits = _storable(validate(fits))
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
    """Check that a file of fits can be written, before the work that fills it.

    Parameters
    ----------
    path : path
        The file to be.

    Returns
    -------
    pathlib.Path
        The same.

    Raises
    ------
    ValueError
        If it names a Zarr store.
    FileNotFoundError, IsADirectoryError
        If its directory does not exist, or it is one itself.
    """
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


def _escape(text: str) -> str:
    """Escape what neither Arrow nor HDF5 holds: NUL, and half characters of undecodable names."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _escape_all(words: NDArray[Any]) -> NDArray[np.object_]:
    text = np.array([_escape(str(word)) for word in words.ravel()], object)
    return text.reshape(words.shape)


def _storable(fits: xr.Dataset) -> xr.Dataset:
    """Escape what users may have put in since `build` did."""
    escaped = {}
    for name, variable in fits.variables.items():
        if variable.dtype.kind in "OUT":
            text = _escape_all(variable.values)
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
        fits = validate(fits)
    except ValueError as err:
        fits.close()
        raise ValueError(f"{str(source)!r} is no file of fits: {err}") from err
    return fits


def not_fitted(fits: xr.Dataset) -> pd.DataFrame:
    """List every tensor that has no estimate, or one not to be trusted, with the reason.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Returns
    -------
    pandas.DataFrame
        Columns ``model, step, tensor, shape, dtype, reason``; a checkpoint that could not be read
        at all has one row with an empty tensor.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20)),
    ...                          "model.norm.weight": np.ones(20)}})
    >>> not_fitted(fits)[["tensor", "reason"]].values.tolist()
    [['model.layers.0.mlp.up_proj.weight', 'constant'], ['model.norm.weight', 'norm']]
    """
    fits = with_all_dims(validate(fits))
    rows: list[dict[str, Any]] = []
    bad = np.argwhere(~np.isin(fits["status"].values.astype(str), ["ok", "absent"]))
    dims = fits["status"].dims
    for position in bad:
        cell = fits[["status", "parameter", "dtype", "rows", "cols"]].isel(
            dict(zip(dims, position, strict=True))
        )
        rows.append(
            {
                "model": str(cell["model"].item()),
                "step": int(cell["step"].item()),
                "tensor": str(cell["parameter"].item()),
                "shape": (int(cell["rows"].item()), int(cell["cols"].item())),
                "dtype": str(cell["dtype"].item()),
                "reason": str(cell["status"].item()),
            }
        )
    for index in np.ndindex(fits["problem"].shape):
        checkpoint = fits[["problem", "not_fitted"]].isel(
            dict(zip(fits["problem"].dims, index, strict=True))
        )
        where = {
            "model": str(checkpoint["model"].item()),
            "step": int(checkpoint["step"].item()),
        }
        problem = str(checkpoint["problem"].item())
        if problem:
            rows.append(where | {"tensor": "", "shape": (), "dtype": "", "reason": problem})
        rows += [
            where | entry | {"shape": tuple(entry["shape"])}
            for entry in json.loads(str(checkpoint["not_fitted"].item()))
        ]
    return pd.DataFrame(rows, columns=["model", "step", "tensor", "shape", "dtype", "reason"])
