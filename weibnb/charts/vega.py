"""Specifications of charts as plain dicts, and the JSON that a page draws of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

Spec = dict[str, Any]
#: Of an axis.
Scale = Literal["log", "linear"]

#: Of Vega-Lite, as altair writes it.
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"

#: Grey that can be read on white and on black.
INK = "#7a7a7a"
#: Fields that every row of a matrix keeps, encoded or not.
_COORDINATES = ("model", "component", "layer", "step", "expert")
# Significant digits of the numbers in the rows.
_DIGITS = 7
_TEXT: Spec = {"labelColor": INK, "titleColor": INK, "titleFontWeight": 400}
CONFIG: Spec = {
    "background": "transparent",
    "view": {"stroke": INK, "strokeOpacity": 0.4},
    "axis": {**_TEXT, "gridColor": INK, "gridOpacity": 0.2, "domainColor": INK, "tickColor": INK},
    "legend": {**_TEXT, "labelLimit": 640, "symbolOpacity": 1},
    "header": {"labelColor": INK, "titleColor": INK, "labelLimit": 260},
    "title": {
        "color": INK,
        "subtitleColor": INK,
        "anchor": "start",
        "frame": "group",
        "fontSize": 13,
        "offset": 10,
    },
}


def vega_lite(spec: Spec) -> Spec:
    """Write a specification as the JSON that a page draws, without altair.

    Parameters
    ----------
    spec : dict
        Vega-Lite, where ``data`` is a DataFrame; columns that no encoding names are left out.

    Returns
    -------
    dict
        Plain values only, with the data as named records at the top.
    """
    datasets: dict[str, list[dict[str, Any]]] = {}
    used = columns_of(spec)
    seen: dict[int, str] = {}

    def plain(node: Spec) -> Spec:
        parts = dict(node)
        if "data" in parts:
            table = parts["data"]
            if id(table) not in seen:
                seen[id(table)] = f"rows{len(seen)}"
                datasets[seen[id(table)]] = records(table, used)
            parts["data"] = {"name": seen[id(table)]}
        for key in ("vconcat", "layer"):
            if key in parts:
                parts[key] = [plain(child) for child in parts[key]]
        if "spec" in parts:
            parts["spec"] = plain(parts["spec"])
        return parts

    return {"$schema": SCHEMA, "config": CONFIG, **plain(spec), "datasets": datasets}


def columns_of(spec: Spec) -> set[str]:
    """Columns that a specification names, and the coordinates of its matrices."""
    return {*_fields(spec), *_COORDINATES}


def _fields(node: Any) -> Iterator[str]:
    """Every column that a specification names."""
    if isinstance(node, dict):
        for key, child in node.items():
            if key == "field" and isinstance(child, str):
                yield child
            elif isinstance(child, dict | list):
                yield from _fields(child)
    elif isinstance(node, list):
        for child in node:
            yield from _fields(child)


def records(table: pd.DataFrame, used: set[str] | None = None) -> list[dict[str, Any]]:
    """Rows of a table, of plain values; numbers have 7 significant digits, NaN is None.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns of text, numbers or truth values.
    used : set of str, optional
        The columns that are taken, by default all.

    Returns
    -------
    list of dict
        As JSON takes them.

    Examples
    --------
    >>> import pandas as pd
    >>> records(pd.DataFrame({"k": [1 / 3, np.nan], "layer": [0, 1]}))
    [{'k': 0.3333333, 'layer': 0}, {'k': None, 'layer': 1}]
    """
    columns = []
    names = [str(column) for column in table.columns if used is None or column in used]
    for column in names:
        values = table[column].to_numpy()
        if values.dtype.kind == "f":
            columns.append(_rounded(values.astype(np.float64)))
        else:
            columns.append([v.item() if isinstance(v, np.generic) else v for v in values.tolist()])
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    with np.errstate(divide="ignore", invalid="ignore"):
        places = _DIGITS - 1 - np.floor(np.log10(np.abs(values)))
    places = np.clip(np.where(np.isfinite(places), places, 0), -290, 290)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    found = (np.rint(values * up / down) / up * down).tolist()
    if np.isfinite(values).all():
        return list(found)
    return [v if known else None for v, known in zip(found, np.isfinite(values), strict=True)]
