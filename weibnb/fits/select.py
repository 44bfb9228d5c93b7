"""Select cells that `.sel` cannot express, and list what was not fitted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.fits.schema import DIMS, check_holds, prepare
from weibnb.fitting.estimates import ESTIMATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def keep_status(fits: xr.Dataset, statuses: Iterable[str]) -> xr.Dataset:
    """Keep the cells of some status; every other becomes absent.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    statuses : iterable of str
        Words of ``fits.status``.

    Returns
    -------
    xarray.Dataset
        The same shape; what was left out has status ``"absent"`` and no estimates.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or `statuses` is one word instead of several.

    Examples
    --------
    >>> import weibnb as wb
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> fits = wb.scan({"tiny": {name: np.zeros((16, 16), np.float32)}})
    >>> fits.status.item(), keep_status(fits, ["ok"]).status.item()
    ('all_zero', 'absent')
    """
    if isinstance(statuses, str):
        raise TypeError(
            f"`statuses` must be several words, got {statuses!r}: write [{statuses!r}]."
        )
    fits = prepare(fits, dims=DIMS)
    return _keep(fits, fits["status"].isin(list(statuses)))


def keep_cells(fits: xr.Dataset, cells: Sequence[tuple[Any, Any, Any, Any]]) -> xr.Dataset:
    """Keep some cells, given by their labels.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    cells : sequence of tuple
        ``(model, layer, component, step)`` of each.

    Returns
    -------
    xarray.Dataset
        The smallest box of labels that holds the cells, in the order of `fits`; what else lies in
        it has status ``"absent"`` and no estimates.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or a cell is not in it.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.mlp.{name}_proj.weight": rng.normal(size=(16, 16))
    ...            for i in range(2) for name in ("up", "down")}
    >>> fits = wb.scan({"tiny": weights})
    >>> kept = keep_cells(fits, [("tiny", 0, "up_proj", 0), ("tiny", 1, "down_proj", 0)])
    >>> int(kept.k.count()), kept.k.size
    (2, 4)
    """
    fits = prepare(fits, dims=DIMS)
    places = np.array([_place(fits, cell) for cell in cells], int).reshape(len(cells), len(DIMS))
    box = {dim: np.unique(places[:, i]) for i, dim in enumerate(DIMS)}
    kept = np.zeros([len(at) for at in box.values()], bool)
    kept[tuple(np.searchsorted(at, places[:, i]) for i, at in enumerate(box.values()))] = True
    return _keep(fits.isel(box), xr.DataArray(kept, dims=DIMS))


def _place(fits: xr.Dataset, cell: Sequence[Any]) -> list[int]:
    if len(cell) != len(DIMS):
        raise ValueError(f"A cell must be ({', '.join(DIMS)}), got {tuple(cell)!r}.")
    place = []
    for dim, label in zip(DIMS, cell, strict=True):
        at = np.flatnonzero(fits[dim].values == label)
        if not at.size:
            raise ValueError(f"A cell must lie in `fits`, got {tuple(cell)!r}: no {dim} {label!r}.")
        place.append(int(at[0]))
    return place


def _keep(fits: xr.Dataset, kept: xr.DataArray) -> xr.Dataset:
    status = fits["status"].where(kept, "absent").transpose(*fits["status"].dims)
    masked = {name: fits[name].where(kept) for name in ESTIMATES if name in fits}
    masked = {name: array.transpose(*fits[name].dims) for name, array in masked.items()}
    return fits.assign(masked | {"status": status})


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
        If `fits` is not a Dataset of fits, or lacks a variable that says why.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20)),
    ...                          "model.norm.weight": np.ones(20)}})
    >>> not_fitted(fits)[["tensor", "reason"]].values.tolist()
    [['model.layers.0.mlp.up_proj.weight', 'constant'], ['model.norm.weight', 'norm']]
    """
    fits = prepare(fits, dims=DIMS)
    check_holds(fits, "parameter", "rows", "cols", "dtype", "problem", "not_fitted")
    rows: list[dict[str, Any]] = []
    status = fits["status"]
    models, steps = fits["model"].values.astype(str).tolist(), fits["step"].values.tolist()
    for at in np.argwhere(~np.isin(status.values.astype(str), ["ok", "absent"])).tolist():
        index, place = tuple(at), dict(zip(status.dims, at, strict=True))
        rows.append(
            {
                "model": models[place["model"]],
                "step": steps[place["step"]],
                "tensor": str(fits["parameter"].values[index]),
                "shape": (int(fits["rows"].values[index]), int(fits["cols"].values[index])),
                "dtype": str(fits["dtype"].values[index]),
                "reason": str(status.values[index]),
            }
        )
    checkpoints = fits[["problem", "not_fitted"]]
    checkpoints = checkpoints.isel(dict.fromkeys({*checkpoints.dims} - {"model", "step"}, 0))
    problems, others = (
        array.transpose("model", "step").values for array in checkpoints.data_vars.values()
    )
    for i, j in np.ndindex(problems.shape):
        where = {"model": models[i], "step": steps[j]}
        if problem := str(problems[i, j]):
            rows.append(where | {"tensor": "", "shape": (), "dtype": "", "reason": problem})
        rows += [
            where | entry | {"shape": tuple(entry["shape"])}
            for entry in json.loads(str(others[i, j]))
        ]
    return pd.DataFrame(rows, columns=["model", "step", "tensor", "shape", "dtype", "reason"])


def last_step(fits: xr.Dataset) -> xr.Dataset:
    """Keep each model's last step that has fits."""
    if fits.sizes["step"] < 2 or 0 in fits["k"].shape:
        return fits
    others = [dim for dim in fits["k"].dims if dim not in ("model", "step")]
    there = (fits["status"] != "absent").any(others)
    fitted = fits["k"].notnull().any(others)
    known = fitted.where(fitted.any("step"), there).transpose("model", "step").values.astype(bool)
    last = known.shape[1] - 1 - known[:, ::-1].argmax(1)
    kept = xr.DataArray(last, dims="model") == xr.DataArray(np.arange(known.shape[1]), dims="step")
    fits = fits.assign(status=fits["status"].where(kept, "absent"), k=fits["k"].where(kept))
    return fits.isel(step=np.unique(last))
