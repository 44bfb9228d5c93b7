"""Charts as Vega-Lite in dicts, and their output: JSON for a page, or an altair chart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray


#: Vega-Lite in which ``data`` is a DataFrame.
Spec = dict[str, Any]
#: Of an axis.
Scale = Literal["log", "linear"]

#: Of Vega-Lite, as altair writes it.
SCHEMA = "https://vega.github.io/schema/vega-lite/v6.4.1.json"
#: Grey that is readable on white and on black.
INK = "#7a7a7a"
# Columns that rows keep even if no encoding names them.
_COORDINATES = ("model", "component", "layer", "step", "expert")
_SIGNIFICANT_DIGITS = 7
_TEXT: Spec = {"labelColor": INK, "titleColor": INK, "titleFontWeight": 400}
#: Looks of every chart, on light and dark pages.
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
    """Write a specification with its data as named records at the top, used columns only."""
    datasets: dict[str, list[dict[str, Any]]] = {}
    used = {*_columns(spec), *_COORDINATES}
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


def _columns(node: Any) -> Iterator[str]:
    """Every column that a specification names."""
    if isinstance(node, dict):
        for key, child in node.items():
            if key == "field" and isinstance(child, str):
                yield child
            elif isinstance(child, dict | list):
                yield from _columns(child)
    elif isinstance(node, list):
        for child in node:
            yield from _columns(child)


def records(table: pd.DataFrame, used: set[str]) -> list[dict[str, Any]]:
    """Rows of a table in plain values: numbers of 7 significant digits, None for NaN."""
    columns = []
    names = [str(column) for column in table.columns if column in used]
    for column in names:
        values = table[column].to_numpy()
        if values.dtype.kind == "f":
            columns.append(_rounded(values.astype(np.float64)))
        else:
            columns.append([v.item() if isinstance(v, np.generic) else v for v in values.tolist()])
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    with np.errstate(divide="ignore", invalid="ignore"):
        places = _SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(np.abs(values)))
    places = np.clip(np.where(np.isfinite(places), places, 0), -290, 290)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    found = (np.rint(values * up / down) / up * down).tolist()
    if np.isfinite(values).all():
        return list(found)
    return [v if known else None for v, known in zip(found, np.isfinite(values), strict=True)]
