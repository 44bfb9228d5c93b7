"""Maps of layers and components: a number of every matrix, and the difference of two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from weibnb.charts import tables as _tables
from weibnb.charts.marks import facet, heading, name, notice, only, quantity, tooltips
from weibnb.charts.tables import cells
from weibnb.charts.vega import INK
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare
from weibnb.messages import check_choice, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    import xarray as xr

    from weibnb.charts.vega import Spec

MapValue = Literal["k", "lam", "r2", "ks", "z", "outlier"]

#: What a map of each value is called.
TITLES = {
    "k": "Weibull shape k",
    "lam": "Weibull scale λ (units of the weights)",
    "r2": "r² of the Weibull plot",
    "ks": "Kolmogorov-Smirnov distance over the trim",
    "z": "Distance of k from the Gaussian anchor, in standard errors",
    "outlier": "Largest |w| over what a Gaussian of this body gives",
}
# Height of a cell, and distance of the strokes in one without a number, in pixels.
_HEIGHT, _STROKES = 24, 6
# Above so many cells the tooltips are short.
_FULL = 500


def layer_map(fits: xr.Dataset, *, value: MapValue = "k") -> Spec:
    """Specify `weibnb.charts.doors.layer_map`: its parameters, and what it raises."""
    check_choice("value", value, get_args(MapValue))
    fits = prepare(fits, light=True, dims=DIMS)
    table = cells(fits, {"value": map_values(fits, value)})
    title = TITLES[value]
    if table.empty or table["value"].isna().all():
        return notice(heading(fits, title), _tables.excluded(fits, table))
    unknown = table["value"].isna() & (table["reason"] == "")
    table["reason"] = table["reason"].mask(unknown, "fitted, but this number is not known")
    table = _tables.panels(table, "model", "step")
    middle = {"k": gaussian_anchor(fits).k, "z": 0.0}.get(value)
    table, note = _tables.layer_medians(table)
    digits = {"k": ".3f", "z": ".1f"}.get(value, ".3~g")
    anchor = f"{middle:.4f}" if value == "k" else ""
    notes = [note, f"middle of the colours: a Gaussian, {anchor}" if anchor else ""]
    return _heat(
        table, heading(fits, title, *notes), _axis_title(value), middle=middle, digits=digits
    )


def map_values(fits: xr.Dataset, value: MapValue) -> xr.DataArray:
    """Return the number of every matrix that a map of `value` shows."""
    if value == "outlier":
        strength = outlier_strength(fits)["gaussian_max"]
        return fits["max_abs"] / strength.where(strength > 0)
    if value == "z":
        return (fits["k"] - gaussian_anchor(fits).k) / _tables.optional(fits, "k_se")
    return _tables.optional(fits, value)


def _axis_title(value: str) -> str:
    return {"lam": "λ", "r2": "r²", "ks": "KS", "outlier": "max ratio"}.get(value, value)


def difference(fits: xr.Dataset, first: Mapping[str, Any], second: Mapping[str, Any]) -> Spec:
    """Specify `weibnb.charts.doors.difference`: its parameters, and what it raises."""
    fits = prepare(fits, light=True, dims=DIMS)
    a, b = (
        _tables.choose(fits, pick, name) for pick, name in ((first, "first"), (second, "second"))
    )
    gone = (a["status"].values == "absent") | (b["status"].values == "absent")
    joined = b.assign(status=b["status"].copy(data=np.where(gone, "absent", b["status"])))
    delta = b["k"].values - a["k"].values
    error = np.hypot(_tables.optional(a, "k_se").values, _tables.optional(b, "k_se").values)
    extra = {
        name: b["k"].copy(data=data)
        for name, data in {
            "value": delta, "noise": 2 * error, "first_k": a["k"].values, "second_k": b["k"].values,
        }.items()
    }  # fmt: skip
    table = cells(joined, extra)
    lost = table["value"].isna() & (table["reason"] == "")
    table["reason"] = table["reason"].mask(lost, "not fitted in `first`")
    names = [", ".join(f"{d} {shortened(s[d].item())}" for d in ("model", "step")) for s in (a, b)]
    title = heading(
        joined, "Difference of k", f"{names[1]} less {names[0]}", "dot: below two standard errors"
    )
    if table.empty or table["value"].isna().all():
        return notice(title, _tables.excluded(joined, table))
    table, _ = _tables.layer_medians(_tables.panels(table, "model"))
    tips = ("value=difference", "noise=two standard errors", "first_k", "second_k")
    return _heat(table, title, "Δk", middle=0.0, tips=tips, digits=".3f")


def _heat(
    table: pd.DataFrame,
    title: Spec,
    colours: str,
    *,
    middle: float | None = None,
    tips: Sequence[str] = ("value",),
    digits: str = ".3~g",
) -> Spec:
    """Draw a map of the numbers in column ``value``; the colours diverge from `middle`."""
    table = table.copy()
    value = table["value"]
    low, high, dark = _shades(value, middle)
    table["ink"] = np.where(dark, "white", "black")
    bands = table.sort_values("order")["band"].drop_duplicates().tolist()
    few = len(bands) <= _tables.MAX_PANELS
    step = 38 if few else max(4, min(26, 700 // len(bands)))
    turned = not few and max(len(band) for band in bands) > 3
    axis = {"labelOverlap": True, "labelAngle": -90 if turned else 0}
    names = list(dict.fromkeys(table["component"]))
    place: Spec = {
        "x": {"field": "band", "type": "ordinal", "scale": {"domain": bands}, "title": "layer",
              "axis": axis},
        "y": name("component", scale={"domain": names}, title=None, axis={"labelLimit": 220}),
        "tooltip": tooltips(*tips, full=len(table) <= _FULL),
    }  # fmt: skip
    scheme = "blueorange" if middle is not None else "viridis"
    legend = {"gradientLength": 110, "format": ".3~g"}
    scale = {"domain": [low, high], "scheme": scheme}
    colour = quantity("value", title=colours, scale=scale, legend=legend)
    known = only("value", valid=True)
    layers = [{"mark": {"type": "rect"}, "encoding": place | {"color": colour}, "transform": known}]
    if value.isna().any():
        layers += _hatched(place, step)
        count = int(value.isna().sum())
        words = f"hatched: {count:,} without a number (point at one for the reason)"
        title = title | {"subtitle": [*title["subtitle"], words]}
    if few:
        ink = {
            "condition": {"test": {"field": "ink", "equal": "white"}, "value": "white"},
            "value": "black",
        }
        number = place | {"text": quantity("value", format=digits), "color": ink}
        mark = {"type": "text", "fontSize": 9, "dy": -2}
        layers.append({"mark": mark, "encoding": number, "transform": known})
    if "noise" in table:
        table["quiet"] = np.where(value.abs() < table["noise"], "yes", "no")
        dot = {"type": "point", "shape": "circle", "size": 9, "filled": True, "color": "black",
               "yOffset": 7}  # fmt: skip
        layers.append({"mark": dot, "encoding": place, "transform": only("quiet", equal="yes")})
    across = max(1, min(4, 900 // (step * len(bands) + 60)))
    size = {"width": {"step": step}, "height": {"step": _HEIGHT}}
    return facet(layers, table, title, columns=across, **size)


def _hatched(place: Spec, width: int) -> list[Spec]:
    """Grey cells with diagonal strokes, for rows without a number."""
    across, up = width / 2 - 0.5, _HEIGHT / 2 - 0.5
    strokes = []
    # a stroke is x + y = at, cut off where it leaves the cell
    for at in np.arange(-across - up + _STROKES / 2, across + up, _STROKES):
        first, last = max(-across, at - up), min(across, at + up)
        strokes.append(f"M{first:.4g},{at - first:.4g}L{last:.4g},{at - last:.4g}")
    reason = place | {"tooltip": [name("reason"), *place["tooltip"]]}
    missing = only("value", valid=False)
    box = {"type": "rect", "fill": INK, "fillOpacity": 0.12, "stroke": INK, "strokeOpacity": 0.5}
    # a shape of size 4 is drawn in pixels
    lines = {"type": "point", "shape": "".join(strokes), "size": 4, "filled": False,
             "stroke": INK, "strokeWidth": 1, "opacity": 0.9}  # fmt: skip
    return [{"mark": mark, "encoding": reason, "transform": missing} for mark in (box, lines)]


def _shades(value: pd.Series[Any], middle: float | None) -> tuple[float, float, pd.Series[Any]]:
    """Return the ends of the colours, and which cells are dark under their number."""
    low, high = float(value.min()), float(value.max())
    if middle is None:
        high = high if high > low else low + (abs(low) or 1.0)
        return low, high, value < low + 0.5 * (high - low)
    reach = max(abs(low - middle), abs(high - middle)) or 1.0
    return middle - reach, middle + reach, (value - middle).abs() > 0.6 * reach
