"""Fits of single matrices -> the Dataset: each put into its cell, and described."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import LazilyIndexedArray

from weibnb.counting.counts import Counts
from weibnb.fits.experts import merge_experts, robust_spread
from weibnb.fits.lazy import LazyCells, LazyColumn, LazyCounts, as_objects
from weibnb.fits.schema import (
    DEAD,
    DIMS,
    EMPTY_TEXT,
    FIELDS,
    NO_EXPERT,
    VARIABLES,
    escape,
    escape_all,
    model_attributes,
    protocol_attributes,
)
from weibnb.fitting.weibull import QUANTILES, protocol_text
from weibnb.io.naming import component_order, tower, weight_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from weibnb.fitting.weibull import Estimator

    Arrays = dict[str, NDArray[Any]]

_CELL = (*DIMS, "expert")
# Bytes that fields of rows and columns may take.
_LARGEST_FIELDS = 1 << 33
_LAST_DIM = {
    "magnitude_quantile": ("quantile",),
    "line_covariance": ("pair",),
    **{name: (dim,) for name, dim in FIELDS.items()},
}


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


def lay_out(
    columns: Mapping[str, Any],
    sources: Sequence[Source],
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    experts: Literal["median", "each"],
) -> xr.Dataset:
    """Scatter the columns of `estimate` onto (model, layer, component, step) or experts as well.

    Without a column of counts the Dataset has none; they may be a `LazyCounts`, and without
    experts other columns `LazyColumn`, from which cells are read when they are asked for.
    """
    coords: dict[str, list[Any]] = {
        "model": list(dict.fromkeys(source.model for source in sources)),
        "layer": np.unique(columns["layer"]).tolist(),
        "component": sorted(set(columns["component"].tolist()), key=component_order),
        "step": sorted({source.step for source in sources}),
        "expert": sorted({NO_EXPERT, *np.unique(columns["expert"]).tolist()}),
    }
    shape = tuple(len(keys) for keys in coords.values())
    place = tuple(_places(columns[name], keys) for name, keys in coords.items())
    cells: Arrays = {"n_matrices": np.zeros(shape, np.int32)}
    cells["n_matrices"][place] = 1
    rows = np.full(shape, -1)
    rows[place] = np.arange(place[0].size)
    for name in VARIABLES:
        if name in columns and name not in FIELDS:
            cells[name] = _scatter(columns[name], name, place, rows)
    spread = np.full(shape, np.nan)
    if experts == "median":
        spread = robust_spread(cells["k"]) if shape[-1] > 1 else spread[..., 0]
        cells = merge_experts(cells)
    cells["k_spread"] = spread
    fields = {name: columns[name] for name in FIELDS if name in columns}
    fields = _fields(fields, place, shape, merged=experts == "median")
    cells |= fields
    variables = _described(cells)
    if "counts" in cells:
        variables["counts"] = _counts(columns["counts"], cells["counts"])
    variables |= _checkpoint_table(coords, sources, protocol_text(trim, estimator))
    coordinates = _coordinates(coords, sources)
    coordinates |= {FIELDS[name]: np.arange(cells[name].shape[-1]) for name in fields}
    if not any("expert" in dims for dims, *_ in variables.values()):
        del coordinates["expert"]
    return xr.Dataset(variables, coordinates, protocol_attributes(trim, estimator))


def _places(column: NDArray[Any], keys: list[Any]) -> NDArray[np.int64]:
    """Index of every entry of a column among the keys."""
    at = {key: i for i, key in enumerate(keys)}
    codes, there = pd.factorize(column)
    return np.array([at[key] for key in there], np.int64)[codes]


def _scatter(
    column: Any, name: str, place: tuple[NDArray[np.int64], ...], rows: NDArray[np.int64]
) -> Any:
    """Put a column into an array of cells and experts; where there is no matrix it is empty.

    `rows` are the numbers of the matrices, -1 where there is none: the cells of counts.
    """
    if name == "counts":
        return rows
    fill: Any = np.nan if column.dtype.kind == "f" else -1 if name in DEAD else 0
    if column.dtype == object:
        fill = EMPTY_TEXT.get(name, "")
    if isinstance(column, LazyColumn):
        return LazyCells(column, rows, fill)
    if column.dtype == object:
        column = escape_all(column)
    cells = np.empty((*rows.shape, *column.shape[1:]), column.dtype)
    cells.fill(fill)
    cells[place] = column
    return cells


def _fields(
    fields: Arrays, place: tuple[NDArray[np.int64], ...], shape: tuple[int, ...], *, merged: bool
) -> Arrays:
    """Put the scales of rows and columns into cells, NaN behind the last of each matrix.

    Experts have none where they are `merged`: feature i of one is not feature i of another. None
    are given, with a warning, where they would take too much memory.
    """
    if not fields:
        return {}
    dims = 4 if merged else 5
    rows = [row for row, expert in enumerate(place[4]) if expert == 0 or not merged]
    longest = {
        name: max((len(column[row]) for row in rows), default=0) for name, column in fields.items()
    }
    nbytes = 4 * math.prod(shape[:dims]) * sum(longest.values())
    if nbytes > _LARGEST_FIELDS:
        text = f"{', '.join(fields)} are left out: with room for the longest in every cell they "
        text += f"would take {nbytes / 2**30:,.0f} GiB. Scan fewer checkpoints at once."
        warnings.warn(text, stacklevel=3)
        return {}
    found = {}
    for name, column in fields.items():
        cells = np.full((*shape[:dims], longest[name]), np.nan, np.float32)
        for row in rows:
            at = tuple(int(axis[row]) for axis in place[:dims])
            cells[at][: len(column[row])] = column[row]
        found[name] = cells
    return found


def _counts(column: Any, numbers: NDArray[np.int64]) -> tuple[Any, ...]:
    """Give every cell the counts of its matrix."""
    data: Any = (
        LazilyIndexedArray(column.scattered(numbers))
        if isinstance(column, LazyCounts)
        else as_objects([*column, Counts()])[numbers]
    )
    return _CELL[: numbers.ndim], data, {"long_name": VARIABLES["counts"][0]}


def _described(cells: Arrays) -> dict[str, Any]:
    """Give the variables of the cells their dims, long names and units."""
    variables: dict[str, Any] = {}
    for name, (long_name, units) in VARIABLES.items():
        if name in cells:
            array, last = cells[name], _LAST_DIM.get(name, ())
            dims = _CELL[: array.ndim - len(last)] + last
            described = {"long_name": long_name} | ({"units": units} if units else {})
            data = array.kept() if isinstance(array, LazyCells) else array
            variables[name] = (dims, data, described)
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
    numbers = [{key: i for i, key in enumerate(keys)} for keys in (models, steps)]
    left: dict[int, str] = {}  # many checkpoints have the same list
    for source in sources:
        at = numbers[0][source.model], numbers[1][source.step]
        for name in ("fingerprint", "problem"):
            table[name][at] = getattr(source, name)
        table["source"][at] = source.path
        number = id(source.not_fitted)
        if number not in left:
            left[number] = _as_text(source.not_fitted)
        table["not_fitted"][at] = left[number]
    return {name: (("model", "step"), escape_all(text)) for name, text in table.items()}


def _as_text(not_fitted: list[dict[str, Any]]) -> str:
    """Write down the tensors that are in no cell."""
    return json.dumps(
        [
            {name: escape(v) if isinstance(v, str) else v for name, v in entry.items()}
            for entry in not_fitted
        ]
    )
