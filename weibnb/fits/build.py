"""Counted matrices -> the Dataset: place them, fit them, describe them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from weibnb.counting.formats import LABELS, label_values
from weibnb.fits.experts import merge_experts
from weibnb.fits.schema import (
    DIMS,
    EMPTY_TEXT,
    NO_EXPERT,
    VARIABLES,
    escape,
    escape_all,
    model_attributes,
    protocol_attributes,
)
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.statistics import QUANTILES, describe_counts
from weibnb.fitting.status import COUNTED, status_after_fit
from weibnb.fitting.weibull import protocol_text
from weibnb.io.naming import component_order, tower, weight_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.fitting.status import Status
    from weibnb.fitting.weibull import Estimator

    Arrays = dict[str, NDArray[Any]]

_CELL = (*DIMS, "expert")
_LAST_DIM = {"counts": ("bin",), "magnitude_quantile": ("quantile",)}


@dataclass(frozen=True, slots=True)
class Matrix:
    """One weight matrix, counted or not.

    Attributes
    ----------
    model, layer, component, step, expert
        Its cell; `expert` is `NO_EXPERT` for a matrix that is not one.
    parameter, dtype, rows, cols
        Its tensor, by output and input features.
    status : str
        ``"ok"`` or ``"scaled"`` if it was counted, else why it was not.
    counts : Counts or None
        How often each magnitude occurs.
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
    status: Status
    counts: Counts | None


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
    identity : str
        Names, sizes and times of its files, and the fingerprint; empty for a live model.
    """

    model: str
    step: int
    path: str
    fingerprint: str
    config: Mapping[str, Any]
    problem: str
    not_fitted: list[dict[str, Any]]
    identity: str = ""


def build(
    matrices: Sequence[Matrix],
    sources: Sequence[Source],
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    experts: Literal["median", "each"],
    keep_counts: bool,
    workers: int,
) -> xr.Dataset:
    """Fit counted matrices and lay the fits out on (model, layer, component, step).

    `matrices` has at most one for each cell and expert; `sources` give the models and steps. The
    other parameters are those of `weibnb.scan`.
    """
    labels = _occupied_labels(matrices)
    coords: dict[str, list[Any]] = {
        "model": list(dict.fromkeys(source.model for source in sources)),
        "layer": sorted({matrix.layer for matrix in matrices}),
        "component": sorted({matrix.component for matrix in matrices}, key=component_order),
        "step": sorted({source.step for source in sources}),
        "expert": sorted({matrix.expert for matrix in matrices} | {NO_EXPERT}),
    }
    cells = _place(matrices, coords, labels)
    cells |= _estimate(cells, labels, trim=trim, estimator=estimator, workers=workers)
    del cells["zeros"]
    if not keep_counts:
        del cells["counts"], cells["counts_exact"]
    if experts == "median":
        cells = merge_experts(cells)
    variables = _described(cells)
    variables |= _checkpoint_table(coords, sources, protocol_text(trim, estimator))
    coordinates = _coordinates(coords, sources)
    if keep_counts:
        coordinates["bin"] = ("bin", labels)
        coordinates["magnitude"] = ("bin", label_values(labels), {"long_name": "Magnitude |w|"})
    if not any("expert" in dims for dims, *_ in variables.values()):
        del coordinates["expert"]
    return xr.Dataset(variables, coordinates, protocol_attributes(trim, estimator))


def _occupied_labels(matrices: Sequence[Matrix]) -> NDArray[np.int32]:
    """Union of the bins of all matrices, ascending."""
    occupied = np.zeros(LABELS, bool)
    for matrix in matrices:
        if matrix.counts is not None:
            occupied[matrix.counts.labels] = True
    return np.flatnonzero(occupied).astype(np.int32)


def _place(
    matrices: Sequence[Matrix], coords: dict[str, list[Any]], labels: NDArray[np.int32]
) -> Arrays:
    """Put matrices into arrays of cells and experts; where there is none the cell is absent."""
    place = {name: {key: i for i, key in enumerate(keys)} for name, keys in coords.items()}
    shape = tuple(len(keys) for keys in coords.values())
    most = max((int(m.counts.counts.max(initial=0)) for m in matrices if m.counts), default=0)
    cells: Arrays = {
        "status": np.full(shape, "absent", object),
        "parameter": np.full(shape, "", object),
        "dtype": np.full(shape, "", object),
        "rows": np.zeros(shape, np.int32),
        "cols": np.zeros(shape, np.int32),
        "n_matrices": np.zeros(shape, np.int32),
        "zeros": np.zeros(shape, np.int64),
        "nonfinite": np.zeros(shape, np.int64),
        "max_abs": np.full(shape, np.nan),
        "counts_exact": np.ones(shape, bool),
        "counts": np.zeros((*shape, labels.size), np.uint64 if most >> 32 else np.uint32),
    }
    column = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    column[labels] = np.arange(labels.size, dtype=np.int32)
    for matrix in matrices:
        cell = tuple(place[name][getattr(matrix, name)] for name in _CELL)
        for name in ("status", "parameter", "dtype", "rows", "cols"):
            cells[name][cell] = getattr(matrix, name)
        cells["n_matrices"][cell] = 1
        counts = matrix.counts
        if counts is not None:
            cells["zeros"][cell] = counts.zeros
            cells["nonfinite"][cell] = counts.nans + counts.infinities
            cells["max_abs"][cell] = counts.largest
            cells["counts_exact"][cell] = counts.exact
            cells["counts"][cell][column[counts.labels]] = counts.counts
    return cells


def _estimate(
    cells: Arrays,
    labels: NDArray[np.int32],
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    workers: int,
) -> Arrays:
    """Give the estimates, plain statistics and final status of every cell."""
    shape = cells["status"].shape
    counts = cells["counts"].reshape(cells["status"].size, labels.size)
    exact, zeros = cells["counts_exact"].ravel(), cells["zeros"].ravel()
    before, nonfinite = cells["status"].ravel(), cells["nonfinite"].ravel()
    found = describe_counts(counts, labels, exact, zeros, workers=workers)
    found["magnitude_quantile"] = found.pop("quantile")
    finite = found["n"] + zeros
    found["zero_fraction"] = np.where(finite > 0, zeros / np.maximum(finite, 1), np.nan)
    counted = np.isin(before, COUNTED)
    for column in found.values():
        if column.dtype.kind == "f":
            column[~counted] = np.nan
    found |= fit_counts(counts, labels, exact, trim=trim, estimator=estimator, workers=workers)
    scaled = before == "scaled"
    settled = status_after_fit(
        before, found["status"], zeros=zeros, nonfinite=nonfinite, scaled=scaled
    )
    found |= {"status": settled, "scaled": scaled}
    return {name: column.reshape((*shape, *column.shape[1:])) for name, column in found.items()}


def _described(cells: Arrays) -> dict[str, Any]:
    """Give the variables of the cells their dims, long names and units."""
    variables: dict[str, Any] = {}
    for name, (long_name, units) in VARIABLES.items():
        if name in cells:
            array = escape_all(cells[name]) if cells[name].dtype == object else cells[name]
            last = _LAST_DIM.get(name, ())
            dims = _CELL[: array.ndim - len(last)] + last
            described = {"long_name": long_name} | ({"units": units} if units else {})
            variables[name] = (dims, array, described)
    return variables


def _coordinates(coords: dict[str, list[Any]], sources: Sequence[Source]) -> dict[str, Any]:
    """Give the coordinates of the Dataset; a model is described by its first readable config."""
    configs: dict[str, Mapping[str, Any]] = {}
    for source in sources:
        if not source.problem:
            configs.setdefault(source.model, source.config)
    known = [model_attributes(configs.get(model, {})) for model in coords["model"]]
    components = coords["component"]
    return {
        **{name: (name, keys) for name, keys in coords.items()},
        "model": ("model", [escape(model) for model in coords["model"]]),
        "weight_class": ("component", [weight_class(name) for name in components]),
        "tower": ("component", [tower(name) for name in components]),
        "quantile": ("quantile", list(QUANTILES)),
        **{name: ("model", [entry[name] for entry in known]) for name in model_attributes({})},
    }


def _checkpoint_table(
    coords: dict[str, list[Any]], sources: Sequence[Source], protocol: str
) -> dict[str, Any]:
    """Give the variables of (model, step): what was scanned, and what of it is in no cell."""
    models, steps = coords["model"], coords["step"]
    table: dict[str, NDArray[np.object_]] = {
        name: np.full((len(models), len(steps)), EMPTY_TEXT.get(name, ""), object)
        for name in ("source", "fingerprint", "problem", "not_fitted", "protocol")
    }
    table["protocol"][...] = protocol
    for source in sources:
        at = models.index(source.model), steps.index(source.step)
        for name in ("fingerprint", "problem"):
            table[name][at] = getattr(source, name)
        table["source"][at] = source.path
        table["not_fitted"][at] = json.dumps(
            [
                {name: escape(v) if isinstance(v, str) else v for name, v in entry.items()}
                for entry in source.not_fitted
            ]
        )
    return {name: (("model", "step"), escape_all(text)) for name, text in table.items()}
