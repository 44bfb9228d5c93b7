"""Fits as tables: one row per matrix or per component; and counts as one array over bins."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.counting.formats import label_values
from weibnb.fits.rows import count_blocks
from weibnb.fits.schema import DIMS, prepare
from weibnb.messages import printable

#: How the numbers of a column are written for people.
NUMBER_FORMATS = {"Δk %": "{:+.2f}"} | dict.fromkeys(
    ["k", "k_se", "k_min", "k_max", "r2", "standard_error"], "{:.4f}"
)


#: Status words of cells whose fit is all that can be asked for.
SOUND = ("ok", "scaled")
_LARGEST_TABLE = 1 << 30  # bytes


def tidy(fits: xr.Dataset) -> pd.DataFrame:
    """Turn fits into a table with one row per matrix, for CSV, Parquet or pandas.

    ``fits.to_dataframe()`` is another thing: a row for every combination of all dims, and fits
    have dims beside those of the matrices, such as ``quantile``.

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
    there = dict(zip(dims, np.nonzero(fits["status"].values != "absent"), strict=True))
    number = there[dims[0]].size
    columns = {}
    for name in [*dims, *(one for one in fits[names].variables if one not in dims)]:
        values = fits[name].values[tuple(there[dim] for dim in fits[name].dims)]
        columns[name] = values if fits[name].dims else np.full(number, values)
    return pd.DataFrame(columns)


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


def shown_components(fits: xr.Dataset) -> pd.DataFrame:
    """Give the table of components as people see it: with what is not sound, if anything is.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}
    >>> shown_components(wb.scan({"tiny": weights}))["not sound"].tolist()
    ['1 constant']
    """
    table, cells = component_table(fits).reset_index(), tidy(fits)
    keys = ["model", "step", "component"]
    unsound = cells[~cells["status"].isin(SOUND)]
    if unsound.empty:
        return table
    words = unsound.groupby(keys)["status"].agg(_number_of_each).rename("not sound")
    return table.merge(words, "left", left_on=keys, right_index=True).fillna({"not sound": ""})


def _number_of_each(words: pd.Series[str]) -> str:
    """Count words: "2 all_zero, 1 constant"."""
    return ", ".join(f"{number} {word}" for word, number in words.value_counts().items())


def medians(cells: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Summarise the cells of groups: number of matrices, medians, and the range of k."""
    unknown = [name for name in ("k_se", "lam", "r2") if name not in cells]
    cells = cells.assign(**dict.fromkeys(unknown, np.nan))
    return cells.groupby(by, sort=False).agg(
        matrices=("n_matrices", "sum"),
        k=("k", "median"),
        k_se=("k_se", "median"),
        k_min=("k", "min"),
        k_max=("k", "max"),
        lam=("lam", "median"),
        r2=("r2", "median"),
    )


def counts_table(fits: xr.Dataset) -> xr.DataArray:
    """Lay the counts of some matrices out over the bins that any of them occupies.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts; of many matrices a selection.

    Returns
    -------
    xarray.DataArray of int64
        Weights in each bin, on the dims of ``fits.counts`` and ``bin``, with the coordinates
        ``magnitude`` (of each bin: its value, or the lower edge of its interval) and ``exact``
        (of each matrix: whether its bins are single values).

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, holds no counts, or the table would take more than
        1 GiB.

    Notes
    -----
    The Dataset itself holds one `Counts` for each matrix, which has the occupied bins alone: of
    thousands of small matrices this table would be nearly all zeros.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": np.full((2, 2), 2.0**i, np.float32)
    ...            for i in range(2)}
    >>> table = counts_table(wb.scan({"tiny": weights})).squeeze()
    >>> table.dims, table.magnitude.values.tolist(), table.values.tolist()
    (('layer', 'bin'), [1.0, 2.0], [[4, 0], [0, 4]])
    """
    fits = prepare(fits, "counts")
    counts = fits["counts"]
    labels = np.empty(0, np.int32)
    for block in count_blocks(fits):
        labels = np.unique(np.concatenate([labels, *(one.labels for one in block.counts)]))
        nbytes = counts.size * labels.size * np.dtype(np.int64).itemsize
        if nbytes > _LARGEST_TABLE:
            raise ValueError(
                f"`fits` must be few enough for a table of 1 GiB, got {counts.size:,} matrices, "
                f"whose table takes at least {nbytes / 2**30:.1f} GiB. "
                "Select some: fits.sel(layer=0)."
            )
    table = np.zeros((counts.size, labels.size), np.int64)
    exact, row = np.ones(counts.size, bool), 0
    for block in count_blocks(fits):
        for one in block.counts:
            table[row, np.searchsorted(labels, one.labels)] = one.counts
            exact[row] = one.exact
            row += 1
    dims = counts.dims
    kept = {name: coord for name, coord in counts.coords.items() if set(coord.dims) <= set(dims)}
    described = {"long_name": "Magnitude |w|", "units": "units of the weights"}
    return xr.DataArray(
        table.reshape(*counts.shape, labels.size),
        kept
        | {
            "magnitude": ("bin", label_values(labels), described),
            "exact": (dims, exact.reshape(counts.shape)),
        },
        (*dims, "bin"),
        "counts",
        {"long_name": "Weights in each magnitude bin", "units": "1"},
    )
