"""Pieces of Vega-Lite that the charts are made of: encodings, layers, titles, small multiples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from weibnb.charts.tables import CLASSES, DEPTHS, excluded
from weibnb.charts.vega import COLOURS, INK
from weibnb.fits.schema import gaussian_anchor, protocol_of
from weibnb.fitting.weibull import protocol_text
from weibnb.messages import TooManyError, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.vega import Spec

SHAPES = ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [10, 4])
#: Legend symbol that shows the dash of a line.
STROKE: Spec = {"symbolType": "stroke", "symbolSize": 300, "symbolStrokeWidth": 2}
_SHARE = 0.6  # of the room for a name, that a mark over it may take
# Pixels of a letter, between two names, and of the longest name that is written from left to right.
_LETTER, _GAP, _WIDEST = 6.4, 4, 100
# Decades beyond the data that have ticks, and decades of which powers of ten are enough.
_BEYOND, _MANY = 3, 3
_LEAST = -307  # power of ten that a page can draw
_SWATCHES = 9  # squares in a legend of colours
_COORDINATES = ("model", "component", "layer", "expert", "step")
_CLASS_COLOURS = (COLOURS[0], COLOURS[2], COLOURS[1], COLOURS[3], INK)
_CLASS_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")


def quantity(field: str, **more: Any) -> Spec:
    """Encode a column as a quantity; further keywords are Vega-Lite's."""
    return {"field": field, "type": "quantitative", **more}


def nominal(field: str, **more: Any) -> Spec:
    """Encode a column as a name; further keywords are Vega-Lite's."""
    return {"field": field, "type": "nominal", **more}


def ordinal(field: str, **more: Any) -> Spec:
    """Encode a column as ordered names; further keywords are Vega-Lite's."""
    return {"field": field, "type": "ordinal", **more}


def names_below(names: Sequence[str], *, panels: int = 1) -> Spec:
    """Axis of names, which are slanted where the chart is too narrow to write them side by side.

    Side by side the words of a name, which dots join, stand one below the other. `panels` is the
    number of small multiples; a page may draw a chart in any width.
    """
    longest = _longest_word(names)
    narrow = (
        f"{_width(panels)} < {(longest + _GAP) * len(names):.0f}" if longest <= _WIDEST else "true"
    )
    looks = {"labelAngle": (-35, 0), "labelAlign": ("'right'", "'center'")}
    return {
        **{name: {"expr": f"{narrow} ? {a} : {b}"} for name, (a, b) in looks.items()},
        "labelExpr": f"{narrow} ? datum.label : split(datum.label, '.')",
    }


def width_within(pixels: float, names: Sequence[str], *, panels: int = 1) -> Spec:
    """Width of a mark over its name, so that those of neighbours keep apart in any chart."""
    return {"expr": f"min({pixels:g}, {_SHARE:g} * {_width(panels)} / {len(names)})"}


def _width(panels: int) -> str:
    """Name the signal that holds the width of a chart, or of each of several."""
    return "width" if panels < 2 else "child_width"


def room_for(names: Sequence[str]) -> float:
    """Give the pixels for each of the names below a chart."""
    return max(64, min(_longest_word(names), _WIDEST) + 2 * _GAP)


def _longest_word(names: Sequence[str]) -> float:
    """Give the pixels of the longest of the words that dots join."""
    return _LETTER * max(len(word) for name in names for word in name.split("."))


def decades(magnitudes: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Give the ticks of a logarithmic axis: powers of ten, of few with their twos and fives.

    They go on beyond the data: a page may draw other matrices in the same chart.
    """
    drawn = np.asarray(magnitudes, dtype=float)
    drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
    low, high = np.log10([drawn.min(), drawn.max()]) if drawn.size else (0.0, 0.0)
    factors = (1,) if high - low > _MANY else (1, 2, 5)
    first, last = int(np.floor(low)) - _BEYOND, int(np.ceil(high)) + _BEYOND
    powers = range(max(first, _LEAST), min(last, -_LEAST))
    return [float(f"{factor}e{power}") for power in powers for factor in factors]


def k_axis(field: str = "k") -> Spec:
    """Encode k, or another column in the units of k, along y."""
    return quantity(field, scale={"zero": False}, title="Weibull shape k")


def layer(
    mark: str,
    encoding: Spec,
    *,
    data: pd.DataFrame | None = None,
    where: Spec | None = None,
    **looks: Any,
) -> Spec:
    """Draw one mark per row of data, or per row that passes the test `where`."""
    found: Spec = {"mark": {"type": mark, **looks}, "encoding": encoding}
    if data is not None:
        found["data"] = data
    if where is not None:
        found["transform"] = [{"filter": where}]
    return found


def between(field: str, ends: Sequence[float], where: Spec | None = None) -> Spec:
    """Test whether a column lies within an axis, and of the rows that pass another test.

    It stands in the place of a clip, which is found by its id in the page: of two charts, the
    second is cut off by the frame of the first, and by none where that one is hidden.
    """
    inside: Spec = {"field": field, "range": [*ends]}
    return inside if where is None else {"and": [where, inside]}


def heading(fits: xr.Dataset, text: str, *notes: str) -> Spec:
    """Title with the models, their protocol and notes below it; empty notes are left out."""
    models = [shortened(label, 40) for label in np.atleast_1d(fits["model"].values)]
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    estimator, trim = protocol_of(fits)
    first = f"{named or 'no model'} · {protocol_text(trim, estimator)}"
    return {"text": text, "subtitle": [first, *(note for note in notes if note)]}


def notice(title: Spec, lines: Sequence[str]) -> Spec:
    """Make a small chart of text alone, under the title that the chart would have had."""
    encoding: Spec = {"x": {"value": 8}, "y": ordinal("line", axis=None), "text": nominal("text")}
    encoding["tooltip"] = [nominal("text", title="note")]
    table = pd.DataFrame({"text": list(lines), "line": range(len(lines))})
    words = layer("text", encoding, data=table, align="left", fontSize=12)
    told = {"description": " ".join([str(title["text"]) + ":", *lines])}
    return words | told | {"title": title, "width": 420, "height": 22 * len(lines)}


def nothing_drawn(fits: xr.Dataset, table: pd.DataFrame, text: str, *notes: str) -> Spec:
    """Make the chart that says why none of the selected matrices can be drawn."""
    return notice(heading(fits, text, *notes), excluded(fits, table))


def facet(
    layers: Sequence[Spec],
    table: pd.DataFrame,
    title: Spec,
    *,
    columns: int,
    width: Any,
    height: Any,
    alone: bool = True,
) -> Spec:
    """Make small multiples of a table from `panels`, or one chart where one panel stands `alone`.

    Panels that differ in two columns are a grid, whose rows and columns are named once, at its
    edges. Layers without data have `table`; width and height are those of a panel.
    """
    panel = {"layer": list(layers), "width": width, "height": height}
    number = table["place"].nunique()
    if number < 2 and alone:
        return panel | {"data": table, "title": title}
    header: Spec = {}
    if isinstance(width, int):
        header["labelLimit"] = width + 30
    spec: Spec = {"data": table, "spec": panel, "title": title}
    if "down" in table:
        beside: Spec = {"labelAngle": 0, "labelAlign": "left", "labelLimit": 160}
        if isinstance(width, int):
            panel["width"] = max(min(width, 840 // table["across_place"].nunique()), 90)
        panel["layer"] = [_untitled(_untitled(each, "x"), "y") for each in layers]
        row = _header("down", beside | _AT_LEFT, _title_of(layers, "y"))
        column = _header("across", header | _BELOW, _title_of(layers, "x"))
        return spec | {"facet": {"row": row, "column": column}, "spacing": 14}
    header["labelExpr"] = "split(datum.label, '\\n')"
    panel["layer"] = [_untitled(each, "x") for each in layers]
    if number > columns:
        beside = {"titleOpacity": {"expr": f"parent.data === {_middle(number, columns)} ? 1 : 0"}}
        panel["layer"] = [_with_axis(each, "y", beside) for each in panel["layer"]]
    below = _header("panel", header | _BELOW, _title_of(layers, "x"))
    spec |= {"facet": below, "columns": min(columns, number)}
    if number > columns and number % columns:  # the last row is incomplete: every panel has an axis
        spec["resolve"] = {"axis": {"x": "independent"}}
    return spec


_TITLE: Spec = {"titleFontWeight": 400, "titleFontSize": 12}
_BELOW: Spec = {"titleOrient": "bottom", **_TITLE}
_AT_LEFT: Spec = {"titleOrient": "left", "titleAngle": -90, **_TITLE}


def _title_of(layers: Sequence[Spec], axis: Literal["x", "y"]) -> Any:
    """Give the title of an axis, which stands once beside small multiples.

    A page does the same in its own width: js/src/sizes.js.
    """
    return next(
        filter(None, (each["encoding"].get(axis, {}).get("title") for each in layers)), None
    )


def _middle(number: int, columns: int) -> int:
    """Give the row, from 0, beside which the title of y stands."""
    return (-(-number // columns) - 1) // 2


def _untitled(each: Spec, axis: Literal["x", "y"]) -> Spec:
    """Hide the title of an axis, where there is one; screen readers still have it."""
    return _with_axis(each, axis, {"titleOpacity": 0, "titleFontSize": 1, "titlePadding": 0})


def _with_axis(each: Spec, axis: Literal["x", "y"], looks: Spec) -> Spec:
    """Give the axis of a layer other looks, where it has one."""
    place = each["encoding"].get(axis, {})
    if "field" not in place or ("axis" in place and place["axis"] is None):
        return each
    drawn = {axis: place | {"axis": place.get("axis", {}) | looks}}
    return each | {"encoding": each["encoding"] | drawn}


def _header(field: str, header: Spec, title: Any) -> Spec:
    """Encode the panels along one side of small multiples, in the order of the fits."""
    place = "place" if field == "panel" else f"{field}_place"
    order = {"field": place, "op": "min", "order": "ascending"}
    return nominal(field, title=title, sort=order, header=header)


def scales(base: Spec, domain: Sequence[Any], legend: Spec | None, **ranges: Any) -> Spec:
    """Encode a column by several channels, which map `domain` to the first values of a range.

    Without a legend they are values that depend on the column, which no legend then contradicts.
    """
    if legend is None:
        field = base["field"]
        return {channel: _by_label(field, domain, looks) for channel, looks in ranges.items()}
    return {
        channel: base
        | {"scale": {"domain": domain, "range": list(looks[: len(domain)])}, "legend": legend}
        for channel, looks in ranges.items()
    }


def swatches(low: float, high: float, *, middle: str = "", **more: Any) -> Spec:
    """Legend of colours from low to high, as squares; `middle` says what lies between the two.

    A strip would be filled by a gradient that is found by its id in the page: of two charts, the
    second has the colours of the first, and none where that one is hidden.
    """
    last = _SWATCHES - 1
    words = f"datum.label + ' · {middle}'" if middle else "datum.label"
    label = f"datum.index % {last} === 0 ? datum.label : ''"
    return {
        "type": "symbol",
        "symbolType": "square",
        "symbolSize": 225,
        "symbolStrokeWidth": 0,
        "rowPadding": 0,
        "columns": 1,
        "values": np.linspace(high, low, _SWATCHES).tolist(),
        "format": ".3~g",
        "labelExpr": f"datum.index === {last // 2} ? {words} : {label}",
        **more,
    }


def _by_label(field: str, domain: Sequence[Any], looks: Sequence[Any]) -> Spec:
    """Give the first label the first look, and so on, without a scale."""
    others = [
        {"test": {"field": field, "equal": label}, "value": look}
        for label, look in zip(domain[1:], looks[1:], strict=False)
    ]
    return {"value": looks[0], **({"condition": others} if others else {})}


def class_scales(present: pd.Series[Any], *, legend: bool = True) -> Spec:
    """Encode the weight classes by colour and shape, the same in every chart."""
    shown = set(present)
    chosen = [i for i, label in enumerate(CLASSES) if label in shown]
    return scales(
        nominal("weight_class"),
        [CLASSES[i] for i in chosen],
        {"title": "class", "symbolSize": 60} if legend else None,
        color=[_CLASS_COLOURS[i] for i in chosen],
        shape=[_CLASS_SHAPES[i] for i in chosen],
    )


def model_scales(models: pd.Series[Any]) -> Spec:
    """Encode models by colour, shape and dash; raise if there are more models than colours."""
    names = list(dict.fromkeys(models))
    if len(names) > len(COLOURS):
        room = f"{len(COLOURS)} models"
        raise TooManyError(room, len(names), use="for this chart", select="fits.sel(model=[...])")
    legend = {"title": "model", "symbolSize": 60, "labelLimit": 260}
    dashes = scales(nominal("model"), names, None, strokeDash=DASHES)
    return scales(nominal("model"), names, legend, color=COLOURS, shape=SHAPES) | dashes


def depth_scales(table: pd.DataFrame) -> Spec:
    """Encode the layer, or its third of the model if there are many, by colour and dash."""
    layers = table["layer"].drop_duplicates().sort_values().tolist()
    if len(layers) <= len(COLOURS):
        base, domain, title = ordinal("layer"), layers, "layer"
    else:
        domain = [word for word in DEPTHS if word in set(table["depth"])]
        base, title = nominal("depth"), "third of the layers"
    return scales(base, domain, {"title": title, **STROKE}, color=COLOURS, strokeDash=DASHES)


def tooltips(table: pd.DataFrame, *names: str, full: bool = True) -> list[Spec]:
    """Coordinates and estimates of a cell, then columns as ``"column"`` or ``"column=title"``.

    Columns that the table lacks, or that hold nothing, are left out. Without `full` so are the
    tensor, the status, SE(λ), r² and n, which halves the rows.
    """
    table = table.dropna(axis="columns", how="all")
    text = [*_COORDINATES, *(["status", "parameter"] if full else [])]
    numbers = ["k", "k_se=SE(k)", "lam=λ", *(["lam_se=SE(λ)", "r2"] if full else []), *names]
    found = [nominal(column, title=column) for column in text if column in table]
    for entry in numbers:
        column, _, title = entry.partition("=")
        if column in table:
            found.append(quantity(column, title=title or column, format=".5~g"))
    return [*found, *([quantity("n", format=",")] if full and "n" in table else [])]


def detail(table: pd.DataFrame, *names: str) -> list[Spec]:
    """Columns that tell one line from another, with the expert where there are several."""
    return [nominal(column) for column in (*names, *(["expert"] if "expert" in table else []))]


def rule_at(value: float, axis: Literal["x", "y"] = "y", words: str = "") -> Spec:
    """Draw a dashed grey line at a value, with words for its tooltip."""
    tips = [nominal("words", title="line"), quantity("at", format=".5~g", title="value")]
    table = pd.DataFrame({"at": [value], "words": [words]})
    encoding = {axis: quantity("at"), "tooltip": tips}
    return layer("rule", encoding, data=table, strokeDash=[5, 3], color=INK, strokeWidth=1.5)


def gaussian_rule(fits: xr.Dataset) -> Spec:
    """Draw a dashed line at the k of an untrained Gaussian matrix."""
    return rule_at(gaussian_anchor(fits).k, words="an untrained Gaussian matrix")


def crosses(table: pd.DataFrame, x: Spec, column: str) -> Spec:
    """Draw a cross at the bottom for every row without a number; its tooltip gives the reason."""
    tips = [nominal(field) for field in ("reason", *_COORDINATES) if field in table]
    return layer(
        "text",
        {"x": x, "y": {"value": "height"}, "tooltip": tips},
        where={"field": column, "valid": False},
        text="×",
        fontSize=15,
        fontWeight=700,
        baseline="bottom",
    )


def end_labels(values: Sequence[float], y: Spec, words: Sequence[str], *, span: float) -> Spec:
    """Name a few lines at the right edge, where they end, apart from each other.

    `y` is the encoding of the lines, and `span` what a pixel is in its units.
    """
    order, least = np.argsort(values), 18 * span
    places = np.asarray(values, float)[order]
    for i in range(1, places.size):
        places[i] = max(places[i], places[i - 1] + least)
    table = pd.DataFrame({y["field"]: places, "words": [shortened(words[i], 40) for i in order]})
    encoding = {"x": {"value": "width"}, "y": y, "text": nominal("words")}
    return layer("text", encoding, data=table, align="left", dx=6, baseline="middle")


def counted(reasons: pd.Series[Any]) -> str:
    """Count the matrices that are not drawn, by reason; those without a reason are drawn."""
    lost = reasons[reasons != ""].value_counts().sort_index()
    lost = lost.sort_values(ascending=False, kind="stable")
    words = [f"{count:,} {shortened(word)}" for word, count in lost.head(4).items()]
    rest = int(lost.iloc[4:].sum())
    words += [f"{rest:,} other"] if rest else []
    return f"not drawn: {', '.join(words)}" if words else ""
