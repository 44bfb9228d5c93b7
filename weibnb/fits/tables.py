"""Fits as tables: one row per matrix, or one per component."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from weibnb.fits.schema import DIMS, prepare
from weibnb.messages import printable

if TYPE_CHECKING:
    import xarray as xr

#: How the numbers of a column are written for people.
NUMBER_FORMATS = {"Δk %": "{:+.2f}"} | dict.fromkeys(
    ["k", "k_se", "k_min", "k_max", "r2", "standard_error"], "{:.4f}"
)


def tidy(fits: xr.Dataset) -> pd.DataFrame:
    """Turn fits into a table with one row per matrix, for CSV, Parquet or pandas.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Returns
    -------
    pandas.DataFrame
        The labels (model, layer, component, step and, where there is one, expert), what is known
        of the component and the model, and every variable that has one value per matrix.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.4.mlp.up_proj.weight": np.ones((20, 20))}
    >>> tidy(wb.scan({"tiny": weights}))[["layer", "component", "status"]].values.tolist()
    [[4, 'up_proj', 'constant']]
    """
    fits = prepare(fits, "n", "n_matrices", light=True, dims=DIMS)
    dims = fits["k"].dims
    names = [name for name, variable in fits.data_vars.items() if variable.dims == dims]
    plain = fits[names].drop_vars(
        [name for name, coord in fits[names].coords.items() if not set(coord.dims) <= set(dims)]
    )
    table = plain.to_dataframe().reset_index()
    return table[table["status"] != "absent"].reset_index(drop=True)


def csv_text(table: pd.DataFrame) -> str:
    """Write a table as CSV in which no text is a formula to a spreadsheet.

    A text that begins with ``= + - @`` gets an apostrophe before it; control characters are
    escaped, so that each row is one line.

    Examples
    --------
    >>> import pandas as pd
    >>> csv_text(pd.DataFrame({"model": ["=1+1", "a"], "k": [-1.0, 2.0]})).split()
    ['model,k', "'=1+1,-1.0", 'a,2.0']
    """

    def inert(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = printable(value)
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text

    texts = [str(name) for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: table[name].map(inert) for name in texts}).to_csv(index=False)


def component_table(fits: xr.Dataset) -> pd.DataFrame:
    """Summarise fits by model, step and component: medians over layers, and the range of k.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}
    >>> component_table(wb.scan({"tiny": weights})).matrices.tolist()
    [1]
    """
    cells = tidy(fits)
    keys = ["model", "step", "component"]
    table = medians(cells, keys)
    table.insert(0, "class", cells.groupby(keys)["weight_class"].first())
    rank = {name: i for i, name in enumerate(np.atleast_1d(fits["component"].values))}
    return table.sort_values(
        ["model", "component", "step"],
        key=lambda labels: labels.map(rank) if labels.name == "component" else labels,
    )


def medians(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Summarise the cells of groups: number of matrices, medians, and the range of k."""
    return cells.groupby(by, sort=False).agg(
        matrices=("n_matrices", "sum"),
        k=("k", "median"),
        k_se=("k_se", "median"),
        k_min=("k", "min"),
        k_max=("k", "max"),
        lam=("lam", "median"),
        r2=("r2", "median"),
    )
