"""Pieces of Vega-Lite that the charts share: marks, encodings, titles, small multiples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from weibnb.charts import tables as _tables
from weibnb.charts.tables import DEPTHS
from weibnb.charts.vega import INK
from weibnb.fits.schema import protocol_of
from weibnb.fitting.weibull import protocol_text
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr

    from weibnb.charts.vega import Spec

#: Okabe and Ito's colours, less black and yellow, which one of the two themes swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SHAPES = ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [10, 4])
#: Colour and shape of each class.
CLASSES = dict(
    zip(
        _tables.CLASSES,
        [
            (COLOURS[0], "circle"),
            (COLOURS[2], "square"),
            (COLOURS[1], "triangle-up"),
            (COLOURS[3], "diamond"),
            (INK, "cross"),
        ],
        strict=True,
    )
)


def quantity(field: str, **more: Any) -> Spec:
    """Encode a column as a quantity; further keywords are Vega-Lite's."""
    return {"field": field, "type": "quantitative", **more}


def name(field: str, **more: Any) -> Spec:
    """Encode a column as a name; further keywords are Vega-Lite's."""
    return {"field": field, "type": "nominal", **more}


def only(field: str, **test: Any) -> list[Spec]:
    """Keep the rows whose column passes a test: ``equal=``, ``oneOf=`` or ``valid=``."""
    return [{"filter": {"field": field, **test}}]


def k_axis() -> Spec:
    """Encode k along y."""
    return quantity("k", scale={"zero": False}, title="Weibull shape k")


def heading(fits: xr.Dataset, text: str, *notes: str) -> Spec:
    """Title with the models, their protocol and notes below it.

    Parameters
    ----------
    fits : xarray.Dataset
        From `weibnb.charts.tables.ready`.
    text : str
        What the chart shows.
    *notes : str
        Further lines; empty ones are left out.

    Returns
    -------
    dict
        For ``title``.
    """
    models = [shortened(label, 40) for label in np.atleast_1d(fits["model"].values)]
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    estimator, trim = protocol_of(fits)
    first = f"{named or 'no model'} · {protocol_text(trim, estimator)}"
    return {"text": text, "subtitle": [first, *(note for note in notes if note)]}


def notice(title: Spec, lines: Sequence[str]) -> Spec:
    """Make a small chart that holds words only.

    Parameters
    ----------
    title : dict
        The title that the chart would have had.
    lines : sequence of str
        What to say.

    Returns
    -------
    dict
        Vega-Lite.
    """
    encoding = {
        "x": {"value": 8},
        "y": {"field": "line", "type": "ordinal", "axis": None},
        "text": name("text"),
    }
    return {
        "data": pd.DataFrame({"text": list(lines), "line": range(len(lines))}),
        "mark": {"type": "text", "align": "left", "color": INK, "fontSize": 12},
        "encoding": encoding,
        "title": title,
        "width": 420,
        "height": 22 * len(lines),
    }


def facet(
    layers: Sequence[Spec],
    table: pd.DataFrame,
    title: Spec,
    *,
    columns: int,
    width: Any,
    height: Any,
) -> Spec:
    """Make small multiples, or one chart where there is one panel.

    Parameters
    ----------
    layers : sequence of dict
        What each panel shows; those without data have `table`.
    table : pandas.DataFrame
        From `weibnb.charts.tables.panels`.
    title : dict
        Above all.
    columns : int
        Small multiples side by side.
    width, height : number or dict
        Of a panel.

    Returns
    -------
    dict
        Vega-Lite.
    """
    panel = {"layer": list(layers), "width": width, "height": height}
    number = table["place"].nunique()
    if number < 2:
        return panel | {"data": table, "title": title}
    order = {"field": "place", "op": "min", "order": "ascending"}
    header: Spec = {"labelExpr": "split(datum.label, '\\n')"}
    if isinstance(width, int):
        header["labelLimit"] = width + 30
    spec: Spec = {
        "data": table,
        "spec": panel,
        "facet": name("panel", title=None, sort=order, header=header),
        "columns": min(columns, number),
        "title": title,
    }
    if number > columns and number % columns:
        spec["resolve"] = {"axis": {"x": "independent"}}
    return spec


def class_scales(present: pd.Series[Any]) -> Spec:
    """Encode ``weight_class`` by colour and by shape.

    Parameters
    ----------
    present : pandas.Series
        The classes of a table.

    Returns
    -------
    dict
        Both encodings; their legends merge.
    """
    names = [label for label in CLASSES if label in set(present)]
    return {
        channel: name(
            "weight_class",
            scale={"domain": names, "range": [CLASSES[label][i] for label in names]},
            legend={"title": "class", "symbolSize": 60},
        )
        for i, channel in enumerate(("color", "shape"))
    }


def model_scales(models: pd.Series[Any]) -> dict[str, Spec]:
    """Encode at most 6 models by colour, shape and dash.

    Parameters
    ----------
    models : pandas.Series
        Models of a table.

    Returns
    -------
    dict
        The encodings; the legends of the first two merge.

    Raises
    ------
    ValueError
        If there are more models.
    """
    names = list(dict.fromkeys(models))
    if len(names) > len(COLOURS):
        raise ValueError(
            f"`fits` must hold at most {len(COLOURS)} models for this chart, got {len(names)}. "
            "Select some: fits.sel(model=[...])."
        )
    legend = {"title": "model", "symbolSize": 60, "labelLimit": 260}
    ranges: dict[str, Any] = {"color": COLOURS, "shape": SHAPES, "strokeDash": DASHES}
    return {
        channel: name(
            "model",
            scale={"domain": names, "range": list(values[: len(names)])},
            legend=None if channel == "strokeDash" else legend,
        )
        for channel, values in ranges.items()
    }


def depth_scales(table: pd.DataFrame) -> dict[str, Spec]:
    """Encode the layer, or of many layers the third it lies in, by colour and by dash.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns layer and depth.

    Returns
    -------
    dict
        Both encodings.
    """
    stroke: Spec = {"symbolType": "stroke", "symbolSize": 300, "symbolStrokeWidth": 2}
    layers = table["layer"].drop_duplicates().sort_values().tolist()
    few = len(layers) <= len(COLOURS)
    values = layers if few else [word for word in DEPTHS if word in set(table["depth"])]
    base: Spec = {
        "field": "layer" if few else "depth",
        "type": "ordinal" if few else "nominal",
        "legend": {"title": "layer" if few else "third of the layers", **stroke},
    }
    count = len(values)
    ranges: dict[str, Any] = {"color": COLOURS, "strokeDash": DASHES}
    return {
        channel: base | {"scale": {"domain": values, "range": list(looks[:count])}}
        for channel, looks in ranges.items()
    }


def tooltips(*names: str, full: bool = True) -> list[Spec]:
    """Numbers of a cell for its tooltip.

    Parameters
    ----------
    *names : str
        Further columns, as ``"column"`` or ``"column=title"``.
    full : bool
        Whether the tensor, status, SE(λ), r2 and n are among them; without, rows are half as long.

    Returns
    -------
    list of dict
        Coordinates, estimates, then the further columns.
    """
    text = ["model", "component", "layer", "step", *(["status", "parameter"] if full else [])]
    numbers = ["k", "k_se=SE(k)", "lam=λ", *(["lam_se=SE(λ)", "r2"] if full else []), *names]
    found = [name(column, title=column) for column in text]
    for entry in numbers:
        column, _, title = entry.partition("=")
        found.append(quantity(column, title=title or column, format=".5~g"))
    return [*found, *([quantity("n", format=",")] if full else [])]


def detail(table: pd.DataFrame, *names: str) -> list[Spec]:
    """Columns that part one line from another, with the expert where there are several."""
    return [name(column) for column in (*names, *(["expert"] if "expert" in table else []))]


def rule_at(value: float, axis: Literal["x", "y"] = "y", words: str = "") -> Spec:
    """Draw a dashed grey line at a value.

    Parameters
    ----------
    value : float
        Where.
    axis : {"x", "y"}
        On which axis.
    words : str
        What its tooltip says.

    Returns
    -------
    dict
        A layer.
    """
    tips = [name("words", title="line"), quantity("at", format=".5~g", title="value")]
    return {
        "data": pd.DataFrame({"at": [value], "words": [words]}),
        "mark": {"type": "rule", "strokeDash": [5, 3], "color": INK, "strokeWidth": 1.5},
        "encoding": {axis: quantity("at"), "tooltip": tips},
    }


def crosses(x: Spec, column: str) -> Spec:
    """Draw a cross at the foot for every row without a number.

    Parameters
    ----------
    x : dict
        Where along the axis.
    column : str
        The number.

    Returns
    -------
    dict
        A layer whose tooltip gives the status.
    """
    mark = {"type": "text", "text": "×", "fontSize": 15, "fontWeight": 700, "color": INK}
    tips = [name(field) for field in ("reason", "model", "component", "layer", "step")]
    return {
        "mark": mark | {"baseline": "bottom"},
        "encoding": {"x": x, "y": {"value": "height"}, "tooltip": tips},
        "transform": only(column, valid=False),
    }


def counted(reasons: pd.Series[Any]) -> str:
    """Count the matrices that are not drawn, by reason.

    Parameters
    ----------
    reasons : pandas.Series
        A reason each; empty for those that are drawn.

    Returns
    -------
    str
        Words; empty if all are drawn.

    Examples
    --------
    >>> counted(pd.Series(["", "constant", "all_zero", "constant"]))
    'not fitted, not drawn: 2 constant, 1 all_zero'
    """
    lost = reasons[reasons != ""].value_counts().sort_index()
    lost = lost.sort_values(ascending=False, kind="stable")
    words = [f"{count:,} {shortened(word)}" for word, count in lost.head(4).items()]
    rest = int(lost.iloc[4:].sum())
    words += [f"{rest:,} other"] if rest else []
    return f"not fitted, not drawn: {', '.join(words)}" if words else ""
