"""Weibull paper: its axes and points, the panel of points and lines, that of residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.charts.marks import between, decades, layer, nominal, quantity, rule_at, scales
from weibnb.charts.vega import INK
from weibnb.fits.schema import protocol_of
from weibnb.fitting.weibull import ordinate

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.curves import Curve
    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

#: Ticks of Weibull paper, in per cent of the weights.
PERCENT = np.array([0.01, 0.1, 1, 10, 30, 63.2, 90, 99, 99.99, 99.9999])
#: Shares of the weights between which lines are drawn.
LINE_ENDS = (1e-4, 1 - 1e-6)
#: Most points of a matrix that are drawn.
POINTS = 100
_SLACK = 1e-3  # of an ordinate, for ends that are computed in another way
_DOT: Spec = {"filled": True, "opacity": 0.75, "aria": False}
_LINE: Spec = {"strokeWidth": 1.5}
_MAGNITUDE = "magnitude |w| (units of the weights)"


def paper_axis(
    field: str, top: float, percent: Array = PERCENT, *, least: float = 1e-4, **more: Any
) -> Spec:
    """Encode ordinates, with the percentages of the weights as the words of the axis."""
    low = ordinate(least).item()
    axis = {
        "values": [at for at in ordinate(percent / 100).tolist() if low - _SLACK < at < top],
        "tickCount": percent.size,
        "labelOverlap": "greedy",
        "labelSeparation": 4,
        "labelExpr": "format(100 * (1 - exp(-exp(datum.value))), '.6~g')",
    }
    scale = {"domain": [low, top], "nice": False, "clamp": True}
    return quantity(field, scale=scale, axis=axis, **more)


def top_of(drawn: Sequence[Curve]) -> float:
    """Give the ordinate at which Weibull paper ends: above every point and line."""
    highest = [ordinate(curve.share[-1:]).item() + 0.3 for curve in drawn if curve.share.size]
    return max([ordinate(LINE_ENDS[1]).item(), *highest])


def trim_of(fits: xr.Dataset) -> pd.DataFrame:
    """Give the ordinates of the trim's ends."""
    low, high = np.clip(protocol_of(fits)[1], 1e-4, 1 - 1e-6)
    return pd.DataFrame({"low": [ordinate(low).item()], "high": [ordinate(high).item()]})


def matrix_scales(names: list[str], looks: list[tuple[str, str, list[int]]]) -> Spec:
    """Colour, shape and dash of each matrix, in one legend below the chart."""
    legend = {"title": None, "orient": "bottom", "columns": 1, "symbolSize": 60}
    colours, shapes, dashes = zip(*looks, strict=True)
    matrix = nominal("matrix")
    broken = scales(matrix, names, None, strokeDash=dashes)
    return scales(matrix, names, legend, color=colours, shape=shapes) | broken


def chosen_points(curve: Curve, least: float) -> NDArray[np.intp]:
    """Choose points of a matrix, evenly spaced in y from a share on, always with the largest."""
    y = ordinate(curve.share)
    kept = np.flatnonzero(curve.share >= least)
    if not kept.size:
        return kept
    targets = np.linspace(y[kept[0]], y[-1], POINTS)
    return np.unique(np.minimum(np.searchsorted(y, targets), y.size - 1))


def magnitude_axis(
    parts: Sequence[pd.DataFrame | None], *, padding: float, title: str | None
) -> Spec:
    """Encode magnitudes along a logarithmic axis; without a title it is bare."""
    drawn = np.concatenate([part["magnitude"] for part in parts if part is not None])
    axis: Spec = {"values": decades(drawn), "format": "~g", "labelOverlap": True}
    if title is None:
        axis |= {"labels": False, "ticks": False}
    scale = {"type": "log", "nice": False, "padding": padding}
    return quantity("magnitude", scale=scale, axis=axis, title=title)


def paper_panel(
    points: pd.DataFrame,
    lines: pd.DataFrame | None,
    looks: Spec,
    trim: pd.DataFrame,
    top: float,
    *,
    titled: bool,
) -> Spec:
    """Points and lines on Weibull paper."""
    at = {
        "x": magnitude_axis([points, lines], padding=8, title=_MAGNITUDE if titled else None),
        "y": paper_axis("y", top, title="weights below |w| (%, Weibull paper)"),
        "color": looks["color"],
    }
    tips = [
        nominal("matrix"),
        quantity("magnitude", title="|w|", format=".4~g"),
        quantity("percent", title="% below", format=".6~g"),
        quantity("residual", title="residual in y", format=".3~g"),
        nominal("detached", title="beyond 3 × a Gaussian's maximum"),
    ]
    told = at | {"tooltip": tips}
    shade = {"y": quantity("low"), "y2": {"field": "high"}}
    dashed = {"strokeDash": looks["strokeDash"]}
    layers = [
        layer("rect", shade, data=trim, opacity=0.12, color=INK),
        rule_at(0.0, words="63.2 %: λ"),
    ]
    if len(points):
        told |= {"shape": looks["shape"]}
        layers.append(layer("point", told, data=points, size=11, **_DOT))
    beyond = {"field": "detached", "equal": "yes"}
    if (points["detached"] == "yes").any():
        ring: Spec = {"size": 150, "filled": False, "strokeWidth": 2}
        told = told | {"shape": {"value": "circle"}}
        layers.append(layer("point", told, data=points, where=beyond, **ring))
    if lines is not None:
        ends = [ordinate(LINE_ENDS[0]).item() - _SLACK, top]
        layers += _bands_and_gaussians(lines, at, "low", "high", ends)
        fitted = between("y", ends, {"field": "kind", "oneOf": ["line", "other"]})
        layers.append(layer("line", at | dashed, data=lines, where=fitted, **_LINE))
        tip = [nominal("matrix"), quantity("magnitude", title="λ")]
        at_scale = {"field": "kind", "equal": "scale"}
        cross: Spec = {"shape": "cross", "size": 130, "filled": True}
        layers.append(layer("point", at | {"tooltip": tip}, data=lines, where=at_scale, **cross))
    return {"layer": layers, "width": 520, "height": 330}


def _bands_and_gaussians(
    lines: pd.DataFrame, at: Spec, low: str, high: str, ends: Sequence[float]
) -> list[Spec]:
    """Draw bands, which the scale cuts off, and dotted Gaussians within the ends of the axis."""
    band = {"x": at["x"], "color": at["color"], "y": quantity(low), "y2": {"field": high}}
    own, gaussian = ({"field": "kind", "equal": kind} for kind in ("line", "gaussian"))
    dots: Spec = {"strokeWidth": 1.3, "strokeDash": [1, 3]}
    inside = between(at["y"]["field"], ends, gaussian)
    drawn = [layer("line", at, data=lines, where=inside, **dots)]
    if not lines[low].notna().any():
        return drawn
    return [layer("area", band, data=lines, where=own, opacity=0.25), *drawn]


def residual_panel(points: pd.DataFrame, lines: pd.DataFrame | None, looks: Spec) -> Spec:
    """Draw the points minus the line."""
    body = points.loc[points["percent"].between(0.5, 99.99), "residual"].abs()
    reach = float(np.nan_to_num(body.max())) * 1.15 or 1.0
    ends = [-reach, reach]
    scale = {"domain": ends, "nice": False, "clamp": True}
    axis = {"tickCount": 5}
    at = {
        "x": magnitude_axis([points, lines], padding=8, title=_MAGNITUDE),
        "y": quantity("residual", scale=scale, title="y − line", axis=axis),
        "color": looks["color"],
    }
    tips = [nominal("matrix"), quantity("magnitude"), quantity("residual")]
    told = at | {"shape": looks["shape"], "tooltip": tips}
    dashed = {"strokeDash": looks["strokeDash"]}
    layers = [rule_at(0.0, words="the fitted line")]
    if len(points):
        within = between("residual", ends)
        layers.append(layer("point", told, data=points, where=within, size=9, **_DOT))
    if lines is not None:
        layers += _bands_and_gaussians(lines, at, "under", "spread", ends)
        if (lines["kind"] == "other").any():
            other = between("residual", ends, {"field": "kind", "equal": "other"})
            layers.append(layer("line", at | dashed, data=lines, where=other, **_LINE))
    return {"layer": layers, "width": 520, "height": 110}
