"""Inside a matrix: where its weights are large, its rows and columns beside it, its outliers."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.marks import layer, nominal, quantity, swatches
from weibnb.charts.tables import source_in_code
from weibnb.charts.vega import COLOURS, INK
from weibnb.messages import NeedsWeightsError, check_choice, counted, shortened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.charts.vega import Spec

#: What a map of one matrix shows.
InsideValue = Literal["rms", "largest"]
_WORDS = {"rms": "RMS of w", "largest": "largest |w|"}
# Colours from small to large, which are told apart on white and on black (viridis).
_SHADES = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30",
           "#fde725")  # fmt: skip
_WIDTH, _SMALLEST, _PROFILE = 420, 90, 70  # px
_TIPS = 24  # places along each side that have a tooltip
_TOP = 99.5  # percentile of the cells at which the colours end
_NAMED = 3  # outliers that the title names
_NEEDED = ("rms", "largest", "row_rms", "row_highest", "col_rms", "col_highest", "outlier_z")


@as_chart
def matrix(found: xr.Dataset, *, value: InsideValue = "rms") -> Spec:
    """Map where in one matrix its weights are large, with its rows and columns beside the map.

    Parameters
    ----------
    found : xarray.Dataset
        From `weibnb.look_inside`.
    value : {"rms", "largest"}
        What the colours show of the weights in a cell. They end at the 99.5th percentile.

    Returns
    -------
    altair chart
        The map, one pixel a cell; above it the RMS of the columns and at its right that of the
        rows: of all in a cell, and pale of the one that has the highest. Circles are outliers,
        with row, column, value and z in their tooltips.

    Raises
    ------
    TypeError, ValueError
        If `found` is something else, or `value` is unknown.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> chart = matrix(wb.look_inside(np.random.default_rng(0).normal(size=(96, 128))))
    """
    check_choice("value", value, get_args(InsideValue))
    found = _checked(found)
    shape = found.attrs["rows"], found.attrs["cols"]
    ends = [(int(found[d].values[0]), int(found[f"{d}_stop"].values[-1])) for d in ("row", "col")]
    sides = [stop - first for first, stop in ends]
    height = int(np.clip(_WIDTH * sides[0] / sides[1], _SMALLEST, _WIDTH))
    size = {"width": _WIDTH, "height": height}
    x = quantity("col", scale=_scale(ends[1]), title="input feature (column)")
    y = quantity("row", scale=_scale(ends[0], down=True), title="output feature (row)")
    across = x | {"axis": {"labels": False, "ticks": False, "title": None}}
    down = y | {"axis": {"labels": False, "ticks": False, "title": None}}
    rms = quantity(
        "rms",
        title="RMS of w",
        scale={"zero": True},
        axis={
            "tickCount": 2,
            "format": ".2~g",
            "labelAngle": 0,
            "labelOverlap": True,
            "labelFlush": True,
        },
    )
    columns = {"layer": _profile(found, "col", across, "y", rms), "width": _WIDTH}
    rows = {"layer": _profile(found, "row", down, "x", rms), "height": height}
    middle = {"name": "cells", "layer": _map(found, value, x, y), **size}
    title, notes = _title(found), _notes(found, value, shape, sides)
    return {
        "title": {"text": title, "subtitle": notes},
        "description": f"Inside of {title}. {'; '.join(notes)}; σ {found.attrs['sigma']:.4f}.",
        "data": pd.DataFrame({"row": [0]}),
        "vconcat": [
            columns | {"height": _PROFILE},
            {"name": "beside", "hconcat": [middle, rows | {"width": _PROFILE}], "spacing": 8},
        ],
        "spacing": 14,
        "bounds": "flush",
    }


def _checked(found: xr.Dataset) -> xr.Dataset:
    """Raise for what is not from `look_inside`, with the line to run for fits."""
    if not isinstance(found, xr.Dataset):
        raise TypeError(f"`found` must be an xarray.Dataset, got {type(found).__name__}.")
    if any(name not in found for name in _NEEDED):
        path = source_in_code(found)
        call = (
            f"Run charts.matrix(wb.look_inside({path}, fits=fits)), or wb.explore(fits, "
            f"source={path})."
        )
        raise NeedsWeightsError("weibnb.look_inside", call)
    return found


def _scale(ends: tuple[int, int], *, down: bool = False) -> Spec:
    """Make a scale from the first line to the last; rows go down the page."""
    return {"domain": list(ends), "nice": False, "zero": False, "reverse": down}


def _title(found: xr.Dataset) -> str:
    """Name the matrix and what is most worth knowing of it."""
    number = int(found.attrs["outliers"])
    where = f"{shortened(found['component'].item(), 40)} of layer {found['layer'].item()}"
    if int(found["expert"].item()) >= 0:
        where += f", expert {found['expert'].item()}"
    return f"{where}: {counted(number, 'outlier') if number else 'no outlier'}"


def _notes(
    found: xr.Dataset, value: InsideValue, shape: tuple[int, int], sides: list[int]
) -> list[str]:
    """Say what a cell is, and where the largest outliers are."""
    per = [-(-side // found.sizes[dim]) for side, dim in zip(sides, ("row", "col"), strict=True)]
    whole = "" if tuple(sides) == shape else f" of {shape[0]:,} × {shape[1]:,}"
    cell = f"{_WORDS[value]} in each cell of {per[0]} × {per[1]}" if max(per) > 1 else "|w| of each"
    notes = [f"{sides[0]:,} × {sides[1]:,} weights{whole} · {cell}"]
    number = min(found.sizes["outlier"], _NAMED)
    if number:
        some = (found[f"outlier_{name}"].values[:number] for name in ("row", "col", "value", "z"))
        words = [
            f"{w:.3g} ({z:+.0f} σ) at {row}, {col}" for row, col, w, z in zip(*some, strict=True)
        ]
        notes.append(f"largest, at row and column: {'; '.join(words)}")
    if found.attrs["nonfinite"]:
        notes.append(f"{found.attrs['nonfinite']:,} NaN or infinite, left out")
    return notes


def _profile(found: xr.Dataset, dim: str, along: Spec, axis: str, rms: Spec) -> list[Spec]:
    """Draw the RMS of rows or columns, and pale behind it that of the highest one in each cell."""
    middle = (found[dim].values + found[f"{dim}_stop"].values) / 2
    table = pd.DataFrame({dim: middle, "rms": found[f"{dim}_rms"].values,
                          "highest": found[f"{dim}_highest"].values,
                          "lines": _spans(found, dim)})  # fmt: skip
    other = "x" if axis == "y" else "y"
    tips = [
        nominal("lines", title="rows" if dim == "row" else "columns"),
        quantity("rms", format=".4~g", title="RMS of all"),
        quantity("highest", format=".4~g", title="RMS of the highest"),
    ]
    order = {"field": dim, "type": "quantitative"}
    base = {other: along, "order": order, "tooltip": tips}
    highest = rms | {"field": "highest"}
    thin: Spec = {"strokeWidth": 1.2, "strokeJoin": "round"}
    return [
        layer("line", base | {axis: highest}, data=table, color=INK, **thin, opacity=0.7),
        layer("line", base | {axis: rms}, data=table, color=COLOURS[0], **thin),
    ]


def _spans(found: xr.Dataset, dim: str) -> list[str]:
    """Name the lines of each cell: ``"0–20"``."""
    pairs = zip(found[dim].values, found[f"{dim}_stop"].values - 1, strict=True)
    return [f"{a:,}–{b:,}" if b > a else f"{a:,}" for a, b in pairs]


def _map(found: xr.Dataset, value: InsideValue, x: Spec, y: Spec) -> list[Spec]:
    """Draw the cells as a picture, tooltips over it, and circles around outliers."""
    cells = found[value].values
    domain = _domain(cells)
    picture = pd.DataFrame({"picture": [_png(_coloured(cells, domain))]})
    at = {"x": {"value": 0}, "y": {"value": 0}, "url": nominal("picture")}
    # a page may draw the chart wider than it was made
    size = {"width": {"expr": "cells_width"}, "height": {"expr": "beside_height"}}
    image = layer(
        "image", at, data=picture, align="left", baseline="top", aspect=False, smooth=False, **size
    )
    legend = {"title": _WORDS[value], **swatches(*domain)}
    scale = {"domain": list(domain), "range": list(_SHADES), "interpolate": "rgb", "clamp": True}
    places = _places(found)
    tips = [nominal("rows"), nominal("columns"), quantity("rms", format=".4~g", title="RMS"),
            quantity("largest", format=".4~g", title="largest |w|")]  # fmt: skip
    over = {
        "x": x, "x2": {"field": "col_stop"}, "y": y, "y2": {"field": "row_stop"}, "tooltip": tips,
        "color": quantity(value, scale=scale, legend=legend),
    }  # fmt: skip
    return [image, layer("rect", over, data=places, opacity=0), *_circles(found, x, y)]


def _circles(found: xr.Dataset, x: Spec, y: Spec) -> list[Spec]:
    """Draw a circle around each outlier that lies in the part."""
    names = ("row", "col", "value", "z", "z_in_lines")
    table = pd.DataFrame({name: found[f"outlier_{name}"].values for name in names})
    for dim in ("row", "col"):
        inside = table[dim].between(found[dim].values[0], found[f"{dim}_stop"].values[-1] - 1)
        table = table[inside]
    table = table.assign(at_row=table["row"] + 0.5, at_col=table["col"] + 0.5)
    tips = [
        nominal("row"),
        nominal("col", title="column"),
        quantity("value", format=".5~g"),
        quantity("z", format=".3~g", title="z (over σ)"),
        quantity("z_in_lines", format=".3~g", title="z in its row and column"),
    ]
    place = {"x": x | {"field": "at_col"}, "y": y | {"field": "at_row"}, "tooltip": tips}
    looks: Spec = {"shape": "circle", "size": 110, "filled": False, "opacity": 1}
    return [
        layer("point", place, data=table, strokeWidth=4, stroke="black", **looks),
        layer("point", place, data=table, strokeWidth=2, stroke="white", **looks),
    ]


def _places(found: xr.Dataset) -> pd.DataFrame:
    """Gather the cells in few places, with what a tooltip tells of them."""
    starts, ends, sides = {}, {}, {}
    for dim in ("row", "col"):
        first, stop = found[dim].values, found[f"{dim}_stop"].values
        at = np.linspace(0, first.size, min(first.size, _TIPS) + 1).round().astype(int)
        starts[dim], sides[dim] = at[:-1], stop - first
        ends[dim] = first[at[:-1]], stop[at[1:] - 1]
    rms, largest = found["rms"].values, found["largest"].values
    weights = np.where(np.isfinite(rms), np.outer(sides["row"], sides["col"]), 0.0)
    squares = _gathered(np.add, weights * np.square(np.nan_to_num(rms)), starts)
    number = _gathered(np.add, weights, starts)
    table = {
        "rms": np.sqrt(squares / np.where(number > 0, number, np.nan)),
        "largest": _gathered(np.fmax, largest, starts),
    }
    for dim, axis in (("row", 0), ("col", 1)):
        for name, values in zip((dim, f"{dim}_stop"), ends[dim], strict=True):
            table[name] = np.broadcast_to(np.expand_dims(values, 1 - axis), number.shape)
    places = pd.DataFrame({name: values.ravel() for name, values in table.items()})
    for name, dim in (("rows", "row"), ("columns", "col")):
        pairs = zip(places[dim], places[f"{dim}_stop"] - 1, strict=True)
        places[name] = [f"{a:,}–{b:,}" for a, b in pairs]
    return places


def _gathered(
    how: np.ufunc, cells: NDArray[np.float64], starts: dict[str, NDArray[Any]]
) -> NDArray[np.float64]:
    """Reduce cells to places that begin at these rows and columns of cells."""
    rows: NDArray[np.float64] = how.reduceat(cells, starts["row"], axis=0)
    return np.asarray(how.reduceat(rows, starts["col"], axis=1))


def _domain(cells: NDArray[np.float64]) -> tuple[float, float]:
    """Give the ends of the colours: few cells, such as those with outliers, may lie beyond."""
    known = cells[np.isfinite(cells)]
    if not known.size:
        return 0.0, 1.0
    low, high = float(known.min()), float(np.percentile(known, _TOP))
    if low < high / 2:
        return 0.0, high
    return (low, high) if high > low else (low, 2 * low or 1.0)


def _coloured(cells: NDArray[np.float64], domain: tuple[float, float]) -> NDArray[np.uint8]:
    """Give red, green, blue and opacity of every cell; one without a number is clear."""
    stops = np.array([[int(s[i : i + 2], 16) for i in (1, 3, 5)] for s in _SHADES], float)
    share = np.clip((np.nan_to_num(cells) - domain[0]) / (domain[1] - domain[0]), 0, 1)
    at = share * (len(stops) - 1)
    pixels = np.full((*cells.shape, 4), 255.0)
    for channel in range(3):
        pixels[..., channel] = np.interp(at, np.arange(len(stops)), stops[:, channel])
    pixels[..., 3] = np.where(np.isfinite(cells), 255, 0)
    return np.asarray(pixels.round(), np.uint8)


def _png(pixels: NDArray[np.uint8]) -> str:
    """Write pixels as a PNG in a URL, which needs no network."""
    height, width, _ = pixels.shape
    lines = np.zeros((height, 1 + 4 * width), np.uint8)  # each begins with its filter: none
    lines[:, 1:] = pixels.reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + chunk(b"IEND", b"")
    data = b64encode(b"\x89PNG\r\n\x1a\n" + head + body).decode("ascii")
    return f"data:image/png;base64,{data}"
