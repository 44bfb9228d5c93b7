"""The schema of a Dataset of fits: assemble, check, save and open."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.fits.schema import (
    _EMPTY_TEXT,
    DIMS,
    NO_EXPERT,
    VARIABLES,
    escape,
    escape_all,
    model_attributes,
    protocol_attributes,
)
from weibnb.fitting.weibull import protocol_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


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
    coords["model"] = ("model", [escape(model) for model in grid.coords["model"]])
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
            array = escape_all(array) if array.dtype == object else array
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
    variables |= {name: (("model", "step"), escape_all(text)) for name, text in table.items()}
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
                {name: escape(v) if isinstance(v, str) else v for name, v in entry.items()}
                for entry in source.not_fitted
            ]
        )
    return table


def median_present(array: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Median of what is not NaN, and NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice encountered", RuntimeWarning)
        middle: NDArray[Any] = np.nanmedian(array, axis=axis)
    return middle
