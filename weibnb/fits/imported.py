"""Fits without counts: from a table of k and λ that someone else made, or from bare numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.fits.schema import (
    DIMS,
    VARIABLES,
    escape,
    prepare,
    protocol_attributes,
)
from weibnb.fitting.weibull import Estimator, Trim, check_protocol, protocol_text
from weibnb.io.naming import component_order, tower, weight_class
from weibnb.messages import did_you_mean, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Bytes of a file, and cells of a Dataset, that a table may ask for.
LARGEST_FILE, MOST_CELLS = 1 << 28, 10_000_000
_LABELS = ("model", "component", "layer", "step")
_NUMBERS = ("k", "lam", "k_se", "lam_se", "r2", "rms", "n")
# Other names of columns, in small letters.
_ALIASES = {"lambda": "lam", "λ": "lam", "standard_error": "k_se", "r²": "r2"}


def read_table(
    source: str | os.PathLike[str] | pd.DataFrame,
    *,
    trim: Trim | None = None,
    estimator: Estimator = "rank_regression",
) -> xr.Dataset:
    """Take a table of k and λ from elsewhere as fits without counts.

    Parameters
    ----------
    source : path or pandas.DataFrame
        A CSV file in UTF-8 with commas and a header, or a table. Columns, in any order and in
        capitals or not:

        - ``component`` and ``k``, which must be there;
        - ``model`` (by default the name of the file, or ``"table"``), ``layer`` and ``step``
          (whole numbers, 0 by default);
        - ``lam`` (or ``lambda``, ``λ``), ``k_se``, ``lam_se``, ``r2``, ``rms``, ``n``.

        Others are left out, and listed in the attribute ``columns_left_out``.
    trim, estimator
        The protocol by which the table was made: what k means depends on it.

    Returns
    -------
    xarray.Dataset
        Fits for `weibnb.summary`, `weibnb.explore`, the charts and all diagnostics that need no
        counts. A row without k has the status ``"not_given"``; without a column ``k_se`` there are
        no errors, and verdicts go by the value alone.

    Raises
    ------
    OSError
        If the file cannot be opened.
    TypeError
        If `source` is neither a path nor a table.
    ValueError
        If the file is no table, a column is missing or there twice, a value is not what its column
        holds (a formula such as ``=1+1`` is none), k, λ, n, rms or an error is not positive, two
        rows are of one matrix, or the table is too large.

    Notes
    -----
    Names are kept as they are. They are escaped where weibnb shows them in HTML, and made inert
    where it writes CSV.

    Examples
    --------
    >>> table = pd.DataFrame({"component": ["q_proj", "o_proj"], "k": [0.81, 1.19],
    ...                       "lambda": [0.0017, 0.0024]})
    >>> fits = read_table(table)
    >>> fits.k.sel(component="q_proj").item(), fits.weight_class.values.tolist()
    (0.81, ['selection', 'transmission'])
    """
    trim, estimator = check_protocol(trim, estimator)
    if isinstance(source, pd.DataFrame):
        table, name, path = source.copy(), "table", "a table"
    elif isinstance(source, (str, os.PathLike)):
        table, path = _read_csv(Path(source)), os.fspath(source)
        name = Path(source).stem
    else:
        raise TypeError(
            f"`source` must be a path of a CSV file or a pandas.DataFrame, got "
            f"{type(source).__name__}."
        )
    columns, left_out = _columns(table, name)
    fits = _lay_out(columns, path, trim, estimator)
    fits.attrs["columns_left_out"] = ", ".join(shortened(name) for name in left_out)
    return prepare(fits)


def fits_of_numbers(
    *,
    k: float,
    lam: float | None = None,
    k_se: float | None = None,
    component: str = "matrix",
    trim: Trim | None = None,
    estimator: Estimator = "rank_regression",
) -> xr.Dataset:
    """Make fits of one matrix from its numbers.

    Raises
    ------
    TypeError, ValueError
        If k, λ or the standard error is not a positive number.

    Examples
    --------
    >>> fits_of_numbers(k=1.2).k.item()
    1.2
    """
    given = {"k": k, "lam": lam, "k_se": k_se}
    for name, value in given.items():
        if value is None and name != "k":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise TypeError(f"`{name}` must be a number, got {value!r}.")
        if not 0 < float(value) < np.inf:
            raise ValueError(f"`{name}` must be positive and finite, got {value!r}.")
    row = {name: [float(value)] for name, value in given.items() if value is not None}
    return read_table(
        pd.DataFrame({"component": [component], **row}), trim=trim, estimator=estimator
    )


def _read_csv(path: Path) -> pd.DataFrame:
    """Read a file as text, every cell of it; ValueError for what is no table."""
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise ValueError(
            f"`{shortened(path, 1000)}` must have at most {LARGEST_FILE:,} bytes for a table, got "
            f"{size:,}. Cut it into several."
        )
    try:
        table = pd.read_csv(
            path, header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
        )
    except (ValueError, pd.errors.ParserError) as err:  # also for other encodings
        raise ValueError(
            f"`{shortened(path, 1000)}` must be a CSV file in UTF-8: {shortened(err, 200)}."
        ) from err
    header = [str(name) for name in table.iloc[0].fillna("")]
    table = table.iloc[1:].fillna("").reset_index(drop=True)
    table.columns = pd.Index(header)
    return table


def _columns(table: pd.DataFrame, model: str) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Give the columns that are known, each as its type, and the names of the others."""
    names = [str(name).strip().lower() for name in table.columns]
    table.columns = pd.Index([_ALIASES.get(name, name) for name in names])
    known = [name for name in table.columns if name in (*_LABELS, *_NUMBERS)]
    if twice := sorted({name for name in known if known.count(name) > 1}):
        raise ValueError(f"A column must be there once, got {twice[0]!r} twice.")
    if missing := [name for name in ("component", "k") if name not in known]:
        got = ", ".join(shortened(name) for name in names[:20]) or "none"
        raise ValueError(
            f"The table must have the columns component and k; it lacks {', '.join(missing)}, got "
            f"{got}.{did_you_mean(missing[0], [shortened(name) for name in names])}"
        )
    if table.empty:
        raise ValueError("The table must have at least one row, got none.")
    found: dict[str, NDArray[Any]] = {
        name: np.array([escape(str(label)) for label in table[name]], object)
        if name in known
        else np.full(len(table), escape(model), object)
        for name in ("model", "component")
    }
    for name in ("layer", "step"):
        found[name] = _whole(table, name) if name in known else np.zeros(len(table), np.int64)
    for name in _NUMBERS:
        if name in known:
            found[name] = _numbers(table, name)
    return found, [str(name) for name in table.columns if name not in known]


def _numbers(table: pd.DataFrame, name: str) -> Array:
    """Read a column of numbers, NaN where it is empty; ValueError for anything else."""
    text = table[name].map(lambda value: "" if pd.isna(value) else str(value).strip())
    values = text.map(_number).to_numpy(float)
    empty = text.str.lower().isin(["", "nan", "na", "none", "null"]).to_numpy()
    _refuse(np.isnan(values) & ~empty, table, name, "a number, or empty")
    low = -np.inf if name == "r2" else 0.0
    bad = ~empty & ~((values > low) & (values < np.inf))
    _refuse(
        bad, table, name, "finite, or empty" if name == "r2" else "positive and finite, or empty"
    )
    return values


def _number(text: str) -> float:
    """Read a number as C writes it, NaN for anything else; too large ones are infinite."""
    try:
        return float(text) if "_" not in text else np.nan
    except ValueError:
        return np.nan


def _whole(table: pd.DataFrame, name: str) -> NDArray[np.int64]:
    """Read a column of whole numbers; ValueError for anything else."""
    values = pd.to_numeric(table[name], errors="coerce").to_numpy(float)
    bad = ~((values >= 0) & (values < 2**53) & (values == np.floor(values)))
    _refuse(bad, table, name, "a whole number of at least 0")
    return values.astype(np.int64)


def _refuse(bad: NDArray[np.bool_], table: pd.DataFrame, name: str, rule: str) -> None:
    """Raise ValueError for the first bad value of a column."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        value = shortened(table[name].iloc[row])
        raise ValueError(
            f"`{name}` must be {rule}, got {value!r} in row {row + 1} of the table"
            f"{f' and in {int(bad.sum()) - 1:,} more' if bad.sum() > 1 else ''}."
        )


def _lay_out(
    columns: Mapping[str, NDArray[Any]], path: str, trim: Trim, estimator: Estimator
) -> xr.Dataset:
    """Put every row into its cell."""
    keys: dict[str, list[Any]] = {
        "model": list(dict.fromkeys(columns["model"].tolist())),
        "layer": sorted(set(columns["layer"].tolist())),
        "component": sorted(set(columns["component"].tolist()), key=component_order),
        "step": sorted(set(columns["step"].tolist())),
    }
    shape = tuple(len(labels) for labels in keys.values())
    if (cells := int(np.prod(shape, dtype=object))) > MOST_CELLS:
        raise ValueError(
            f"The table must make at most {MOST_CELLS:,} cells, got {cells:,}: every model has all "
            "layers, components and steps of the others. Read one model at a time."
        )
    place = tuple(_places(columns[dim], keys[dim]) for dim in DIMS)
    _refuse_twice(columns, place, shape)
    variables: dict[str, Any] = {}
    for name in _NUMBERS[:-1]:
        if name in columns or name in ("lam", "r2"):
            cell = np.full(shape, np.nan)
            cell[place] = np.where(np.isnan(columns["k"]), np.nan, columns.get(name, np.nan))
            long_name, units = VARIABLES[name]
            variables[name] = (DIMS, cell, {"long_name": long_name, "units": units})
    status = np.full(shape, "absent", object)
    status[place] = np.where(np.isnan(columns["k"]), "not_given", "ok")
    number, matrices = np.zeros(shape, np.int64), np.zeros(shape, np.int32)
    number[place], matrices[place] = np.nan_to_num(columns.get("n", 0.0)), 1
    variables |= {"status": (DIMS, status), "n": (DIMS, number), "n_matrices": (DIMS, matrices)}
    variables |= {name: (DIMS, np.zeros(shape, np.int64)) for name in ("rows", "cols", "nonfinite")}
    for name in ("parameter", "dtype"):
        variables[name] = (DIMS, np.full(shape, "", object))
    texts = {
        "source": escape(path), "problem": "", "not_fitted": "[]", "fingerprint": "",
        "protocol": protocol_text(trim, estimator),
    }  # fmt: skip
    for name, text in texts.items():
        variables[name] = (("model", "step"), np.full((shape[0], shape[3]), text, object))
    coords = {name: (name, labels) for name, labels in keys.items()} | {
        "weight_class": ("component", [weight_class(name) for name in keys["component"]]),
        "tower": ("component", [tower(name) for name in keys["component"]]),
    }
    return xr.Dataset(variables, coords, protocol_attributes(trim, estimator))


def _places(column: NDArray[Any], keys: list[Any]) -> NDArray[np.int64]:
    """Index of every label of a column among the keys."""
    at = {key: i for i, key in enumerate(keys)}
    return np.array([at[label] for label in column.tolist()], np.int64)


def _refuse_twice(
    columns: Mapping[str, NDArray[Any]],
    place: tuple[NDArray[np.int64], ...],
    shape: tuple[int, ...],
) -> None:
    """Raise ValueError where two rows are of one matrix."""
    cells = np.ravel_multi_index(place, shape)
    _, first, number = np.unique(cells, return_index=True, return_counts=True)
    if (number > 1).any():
        row = int(first[number > 1].min())
        label = ", ".join(f"{name} {shortened(columns[name][row])}" for name in DIMS)
        raise ValueError(
            f"Each row must be of another matrix, got several of {label} "
            f"({int((number > 1).sum()):,} matrices have more than one). Leave the others out."
        )
