"""Charts as Vega-Lite in dicts, and their output: JSON for a page, or an altair chart."""

from __future__ import annotations

import re
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
#: Text of titles and of labels, and of numbers on strong and on pale cells of a map.
TITLE, LABEL = "#1f1f1f", "#595959"
ON_STRONG, ON_PALE = "#ffffff", "#000000"
#: Grey of lines and marks, which is seen on white and on black.
INK = "#767676"
#: Colours that tell groups apart: those of Okabe and Ito, dark enough to be seen on white.
COLOURS = ("#0072b2", "#d55e00", "#008a65", "#b8608f", "#b07a00", "#3f93c6")
#: Colours on both sides of a middle.
DIVERGING = (
    "#0b4f8a", "#2e7ab4", "#7db3d8", "#c6dcea", "#f3f1ed", "#f6d9b8", "#eda964", "#b35f19",
    "#8a4100",
)  # fmt: skip
_DARK_COLOURS = ("#4aa8e8", "#ff8a3d", "#2cc79a", "#e39ac4", "#f0b429", "#9fd6f7")
_DARK_DIVERGING = (
    "#7cc4f5", "#3a7aab", "#345f7d", "#30475a", "#2c2d2f", "#54432f", "#7a5529", "#a0692b",
    "#ffc27a",
)  # fmt: skip
#: What becomes of each colour on a dark page.
DARK = {
    **dict(zip(COLOURS, _DARK_COLOURS, strict=True)),
    **dict(zip(DIVERGING, _DARK_DIVERGING, strict=True)),
    TITLE: "#f2f2f2", LABEL: "#bdbdbd", INK: "#8c8c8c", ON_STRONG: ON_PALE, ON_PALE: ON_STRONG,
}  # fmt: skip
# Columns that rows keep even if no encoding names them.
_COORDINATES = ("model", "component", "layer", "step", "expert")
_SIGNIFICANT_DIGITS = 7
_TEXT: Spec = {
    "labelColor": LABEL, "titleColor": LABEL, "titleFontWeight": 400, "labelFontSize": 11,
    "titleFontSize": 12,
}  # fmt: skip
#: Looks of every chart: black titles on white.
CONFIG: Spec = {
    "background": "white",
    "view": {"stroke": INK, "strokeOpacity": 0.4},
    "axis": {**_TEXT, "gridColor": INK, "gridOpacity": 0.18, "domainColor": INK, "tickColor": INK},
    "legend": {**_TEXT, "labelLimit": 640, "symbolOpacity": 1},
    "header": {"labelColor": LABEL, "titleColor": LABEL, "labelLimit": 260, "labelFontSize": 12},
    "text": {"color": LABEL, "fontSize": 11},
    "title": {
        "color": TITLE,
        "subtitleColor": LABEL,
        "anchor": "start",
        "frame": "group",
        "fontSize": 15,
        "fontWeight": 600,
        "subtitleFontSize": 12,
        "subtitlePadding": 4,
        "offset": 12,
    },
}


# Columns in an expression.
_OF_ROWS = re.compile(r"\bdatum\.(\w+)")


def on_dark(node: Any) -> Any:
    """Repaint a specification for a dark page; the page's own scripts do the same."""
    if isinstance(node, dict):
        return {
            key: child if key == "datasets" else on_dark(child) for key, child in node.items()
        } | ({"background": "#111111"} if node.get("background") == "white" else {})
    if isinstance(node, list | tuple):
        return [on_dark(child) for child in node]
    return DARK.get(node, node) if isinstance(node, str) else node


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
        for key in ("vconcat", "hconcat", "layer"):
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
            elif key == "expr" and isinstance(child, str):
                yield from _OF_ROWS.findall(child)
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
            columns.append(rounded(values.astype(np.float64)))
        else:
            columns.append([v.item() if isinstance(v, np.generic) else v for v in values.tolist()])
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def rounded(values: NDArray[np.float64], digits: int = _SIGNIFICANT_DIGITS) -> list[float | None]:
    """Round to significant digits, None for what is not finite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        places = digits - 1 - np.floor(np.log10(np.abs(values)))
    places = np.clip(np.where(np.isfinite(places), places, 0), -290, 290)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)
    found = (np.rint(values * up / down) / up * down).tolist()
    if np.isfinite(values).all():
        return list(found)
    return [v if known else None for v, known in zip(found, np.isfinite(values), strict=True)]
