"""Whether neighbouring matrices share their scales: unit by unit along a path of the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from weibnb.diagnostics.balance import line_squares
from weibnb.fits.schema import package_version

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Path:
    """Two matrices that meet in the same units: lines of the first and of the second."""

    first: str
    second: str
    second_lines: Literal["rows", "cols"]


#: Paths by name; the first matrix writes the units with its rows.
PATHS = {
    "up-down": Path("up_proj", "down_proj", "cols"),
    "gate-down": Path("gate_proj", "down_proj", "cols"),
    "value-output": Path("v_proj", "o_proj", "cols"),
    "query-key": Path("q_proj", "k_proj", "rows"),
}
#: Fewest units for a correlation.
FEWEST = 8
_NUMBERS = {
    "units": "Units with weights on both sides",
    "r": "Correlation of ln rms along the path",
    "p_value": "Share of shuffles with as large a correlation",
    "null_sd": "Standard deviation of r over shuffles",
    "gain_sd": "Standard deviation of the gain over units",
    "balance_sd": "Standard deviation of the balance over units",
}
_FIELDS = {
    "first": "ln rms of the unit's row in the first matrix",
    "second": "ln rms of the unit's line in the second matrix",
    "gain": "Sum of both",
    "balance": "Difference of both",
}


@dataclass(frozen=True, slots=True)
class Heads:
    """Rows of a head (0: unknown), those that a rotation turns, and how it pairs them."""

    size: int
    turned: int
    pairing: str | None


def log_rms(weights: NDArray[Any]) -> tuple[Array, Array]:
    """Give ln of the root mean square of every row and column; NaN for a line of zeros.

    Parameters
    ----------
    weights : ndarray of float, shape (rows, columns)
        Those that are not finite count as zero.

    Returns
    -------
    tuple of ndarray
        Of shape (rows,) and (columns,).

    Examples
    --------
    >>> [line.round(3).tolist() for line in log_rms(np.array([[1.0, 1.0], [0.0, 0.0]]))]
    [[0.0, nan], [-0.347, -0.347]]
    """
    rows, cols = line_squares(np.where(np.isfinite(weights), weights, weights.dtype.type(0)))
    height, width = weights.shape
    with np.errstate(divide="ignore"):
        lines = np.log(rows / width) / 2, np.log(cols / height) / 2
    return np.where(rows > 0, lines[0], np.nan), np.where(cols > 0, lines[1], np.nan)


def units(name: str, first: Array, second: Array, heads: Heads) -> tuple[Array, Array] | str:
    """Bring the lines of two matrices into the units that they share, or say why not.

    Parameters
    ----------
    name : str
        A key of `PATHS`.
    first, second : ndarray
        ln rms of the lines of both.
    heads : Heads
        How the rows of queries, keys and values belong to heads.

    Returns
    -------
    tuple of ndarray or str
        Of the same length; lines of query heads that share a key-value head are averaged.

    Examples
    --------
    >>> one = np.arange(4.0)
    >>> units("value-output", one, np.repeat(one, 2)[[0, 2, 1, 3, 4, 6, 5, 7]], Heads(2, 2, "half"))
    (array([0., 1., 2., 3.]), array([0., 1., 2., 3.]))
    """
    path = PATHS[name]
    if name == "query-key":
        return _turned_pairs(first, second, heads)
    if first.size == second.size:
        return first, second
    sizes = f"{path.first} has {first.size:,} rows, {path.second} {second.size:,} columns"
    if name != "value-output" or second.size % first.size:
        return sizes
    if not _fits(first, heads):
        return f"{sizes}: pass the `head_dim` that they have in common"
    return first, _of_groups(second, first.size // heads.size, heads.size)


def _fits(lines: Array, heads: Heads) -> bool:
    """Whether lines are whole heads."""
    return heads.size > 0 and lines.size % heads.size == 0


def _of_groups(lines: Array, groups: int, size: int) -> Array:
    """Average the heads of each group, which follow each other."""
    averaged: Array = lines.reshape(groups, -1, size).mean(axis=1).reshape(-1)
    return averaged


def _turned_pairs(query: Array, key: Array, heads: Heads) -> tuple[Array, Array] | str:
    """Average query heads that share a key head, and rows that are turned together."""
    if query.size % key.size:
        return f"q_proj has {query.size:,} rows, k_proj {key.size:,}"
    if heads.pairing == "none" and query.size == key.size:
        return query, key
    if not _fits(key, heads):
        return "config.json does not say how long a head is: pass `head_dim`"
    if heads.pairing is None:
        return (
            "config.json does not say whether positions turn queries and keys: pass `rotary` as "
            "'half', 'interleaved' or 'none'"
        )
    groups = key.size // heads.size
    query = _of_groups(query, groups, heads.size)
    return _paired(query, heads), _paired(key, heads)


def _paired(lines: Array, heads: Heads) -> Array:
    """Average the lines of a head that are turned together; the others stay."""
    if heads.pairing == "none":
        return lines
    table = lines.reshape(-1, heads.size)
    turned, rest = table[:, : heads.turned], table[:, heads.turned :]
    if heads.pairing == "half":
        pairs = turned.reshape(len(table), 2, -1).mean(axis=1)
    else:
        pairs = turned.reshape(len(table), -1, 2).mean(axis=2)
    return np.concatenate([pairs, rest], axis=1).reshape(-1)


def correlation(first: Array, second: Array, shuffles: int) -> dict[str, float]:
    """Correlate two fields over units, and hold that against shuffled units.

    Parameters
    ----------
    first, second : ndarray, shape (units,)
        ln rms; NaN where a line is dead.
    shuffles : int
        How often the units of the second are shuffled, by a fixed seed.

    Returns
    -------
    dict
        The numbers that `shared_units` gives; NaN for fewer than `FEWEST` units or equal scales.

    Examples
    --------
    >>> field = np.random.default_rng(1).normal(size=64)
    >>> found = correlation(field, 2 * field + 1, 200)
    >>> round(found["r"], 6), round(found["p_value"], 3), found["units"]
    (1.0, 0.005, 64)
    """
    there = np.isfinite(first) & np.isfinite(second)
    found = dict.fromkeys(_NUMBERS, np.nan) | {"units": int(there.sum())}
    if found["units"] < FEWEST:
        return found
    x, y = first[there], second[there]
    found |= {"gain_sd": (x + y).std(ddof=1), "balance_sd": (x - y).std(ddof=1)}
    dx, dy = x - x.mean(), y - y.mean()
    length = np.sqrt((dx**2).sum() * (dy**2).sum())
    if not length > 0:
        return found
    rng = np.random.default_rng(0)
    null = np.array([rng.permutation(dy) @ dx for _ in range(shuffles)]) / length
    r = float(dx @ dy / length)
    beyond = np.count_nonzero(np.abs(null) >= abs(r) * (1 - 1e-12))
    found |= {"r": r, "p_value": (1 + beyond) / (1 + shuffles), "null_sd": null.std()}
    return {name: float(number) for name, number in found.items()} | {"units": found["units"]}


def as_dataset(
    places: Sequence[Mapping[str, Any]],
    fields: Sequence[tuple[Array, Array] | str],
    *,
    shuffles: int,
) -> xr.Dataset:
    """Lay pairs of matrices along the dim ``pair``, and their units along ``unit``.

    Parameters
    ----------
    places : sequence of mapping
        Coordinates of each pair.
    fields : sequence
        From `units`.
    shuffles : int
        As in `correlation`.

    Returns
    -------
    xarray.Dataset
        As `weibnb.shared_units` describes it.
    """
    nothing = np.empty(0), np.empty(0)
    pairs = [nothing if isinstance(pair, str) else pair for pair in fields]
    found = [correlation(*pair, shuffles) for pair in pairs]
    longest = max(first.size for first, _ in pairs)
    table = np.full((4, len(pairs), longest), np.nan, np.float32)
    for at, (first, second) in enumerate(pairs):
        table[:, at, : first.size] = first, second, first + second, first - second
    columns: dict[str, Any] = {
        name: ("pair", [one[name] for one in found], {"long_name": words, "units": "1"})
        for name, words in _NUMBERS.items()
    }
    columns |= {
        name: (("pair", "unit"), table[i], {"long_name": words, "units": "1"})
        for i, (name, words) in enumerate(_FIELDS.items())
    }
    notes = [pair if isinstance(pair, str) else "" for pair in fields]
    columns["note"] = ("pair", notes, {"long_name": "Why there is no correlation"})
    coords = {name: ("pair", [place[name] for place in places]) for name in places[0]}
    attributes = {"title": "Units that matrices share", "shuffles": shuffles}
    return xr.Dataset(columns, coords, attributes | {"weibnb_version": package_version()})
