"""Weibull paper: at most 12 matrices, each with its counts and its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from weibnb.charts import curves as _curves
from weibnb.charts import tables as _tables
from weibnb.charts.marks import (
    COLOURS,
    DASHES,
    SHAPES,
    heading,
    name,
    notice,
    only,
    quantity,
    rule_at,
)
from weibnb.charts.tables import cells
from weibnb.charts.vega import INK
from weibnb.diagnostics.outliers import FACTORS, expected_gaussian_maximum
from weibnb.fits.refit import refit
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare, protocol_of
from weibnb.fitting.weibull import Estimator, ordinate, protocol_text
from weibnb.messages import check_choice, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.curves import Curve
    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

_PERCENT = np.array([0.01, 0.1, 1, 10, 30, 63.2, 90, 99, 99.99, 99.9999])
# Points of a curve, and most matrices that several estimators are drawn for.
_POINTS, _COMPARED = 200, 4
# A bar that stands for a line in a legend of filled symbols, broken.
_BAR = "M-1.4,-0.2H-0.3V0.2H-1.4ZM0.3,-0.2H1.4V0.2H0.3Z"


def weibull_plot(
    fits: xr.Dataset,
    *,
    level: float = 0.95,
    compare: xr.Dataset | None = None,
    estimators: Sequence[Estimator] = (),
) -> Spec:
    """Specify `weibnb.charts.doors.weibull_plot`: its parameters, and what it raises."""
    factor = _curves.check_level(level)
    curves = _both(fits, compare)
    more = " · broken: other estimators" if estimators else ""
    title = heading(fits, "Weibull plot", f"shaded: the trim · dotted: a Gaussian{more}")
    if not any(curve.share.size for curve in curves):
        light = prepare(fits, light=True, dims=DIMS)
        return notice(title, _tables.excluded(light, cells(light)))
    anchor = gaussian_anchor(fits)
    labels = _curves.labels([curve.place for curve in curves])
    names = [_legend_name(curve, label) for curve, label in zip(curves, labels, strict=True)]
    points, lines = [], []
    for i, (curve, label) in enumerate(zip(curves, names, strict=True)):
        sigma = curve.numbers["lam"] / anchor.lam_over_rms
        points.append(_points(curve, sigma) | {"matrix": label})
        if curve.fitted:
            own = _lines(curve, sigma, factor, dotted=i < 4)
            lines += [part | curve.place | {"matrix": label} for part in own]
    looks = [(COLOURS[i % 6], SHAPES[(i + i // 6) % 6], DASHES[(i + i // 6) % 6])
             for i in range(len(names))]  # fmt: skip
    for words, i, part in _others([fits, compare], curves, labels, estimators):
        names.append(words)
        looks.append((looks[i][0], _BAR, [7, 4]))
        lines.append(part | curves[i].place | {"matrix": words})
    table, line = _tables.joined(points), _tables.joined(lines) if lines else None
    scales = _matrix_scales(names, looks)
    upper = _paper_panel(table, line, scales, _trim(fits))
    lower = _residual_panel(table, line, scales)
    return {"vconcat": [upper | {"title": title}, lower], "spacing": 8}


def _both(fits: xr.Dataset, compare: xr.Dataset | None) -> list[Curve]:
    curves = _curves.curves(fits)
    if compare is not None:
        if protocol_of(fits) != protocol_of(prepare(compare, light=True, dims=DIMS)):
            raise ValueError(
                f"`compare` must have the protocol of `fits`, {protocol_of(fits)}, got "
                f"{protocol_of(compare)}. Fit again: weibnb.refit."
            )
        curves += _curves.curves(compare)
    if len(curves) > _tables.MAX_PANELS:
        raise ValueError(
            f"`fits` and `compare` must hold at most {_tables.MAX_PANELS} matrices, got "
            f"{len(curves)}."
        )
    return curves


def _legend_name(curve: Curve, label: str) -> str:
    n = curve.numbers
    if not curve.fitted:
        return f"{label}: not fitted ({shortened(curve.status)})"
    text = f"{label}:  k {n['k']:.4f} ± {n['k_se']:.2g}   λ {n['lam']:.4g}   r² {n['r2']:.4f}"
    experts = f"   median of {n['n_matrices']:.0f} experts" if n["n_matrices"] > 1 else ""
    return f"{text}   KS {n['ks']:.3f}   n {n['n']:,.0f}{experts}"


def _points(curve: Curve, sigma: float) -> dict[str, Any]:
    table = _curves.on_paper(curve, _POINTS)
    x, n = table["magnitude"], curve.numbers
    fitted = curve.line(x) if curve.fitted else np.full(x.size, np.nan)
    known = curve.fitted and n["n"] > 0
    limit = FACTORS["gaussian"] * expected_gaussian_maximum(n["n"], sigma) if known else np.inf
    detached = np.where(x > limit, "yes", "no")
    return table | {"residual": table["y"] - fitted, "detached": detached}


def _span(k: float, lam: float) -> Array:
    """Magnitudes along a line, over the plotted percentages."""
    ends = np.array([np.log(1e-4), np.log(-np.log(1e-6))]) / k + np.log(lam)
    return np.asarray(np.exp(np.linspace(ends[0], ends[1], 50)))


def _lines(curve: Curve, sigma: float, factor: float, *, dotted: bool) -> list[dict[str, Any]]:
    """Line with its band, Gaussian and λ of one matrix."""
    lam = curve.numbers["lam"]
    x = _span(curve.numbers["k"], lam)
    y, margin = curve.line(x), factor * curve.line_error(x)
    line = {
        "kind": "line", "magnitude": x, "y": y, "low": y - margin, "high": y + margin,
        "residual": np.zeros(x.size), "spread": margin, "under": -margin,
    }  # fmt: skip
    scale = {"kind": "scale", "magnitude": np.array([lam]), "y": np.zeros(1)}
    if not dotted:
        return [line, scale]
    gaussian = ordinate(np.minimum(_curves.half_normal(x, sigma), 1 - 1e-12))
    kept = gaussian < ordinate(1 - 1e-6)
    curved = {"magnitude": x[kept], "y": gaussian[kept], "residual": (gaussian - y)[kept]}
    return [line, curved | {"kind": "gaussian"}, scale]


def _others(
    parts: Sequence[xr.Dataset | None],
    curves: Sequence[Curve],
    labels: Sequence[str],
    estimators: Sequence[Estimator],
) -> list[tuple[str, int, dict[str, Any]]]:
    """Give the lines of further estimators: words for the legend, which matrix, and the line."""
    for estimator in estimators:
        check_choice("estimators", estimator, get_args(Estimator))
    if estimators and len(curves) > _COMPARED:
        raise ValueError(
            f"`fits` must hold at most {_COMPARED} matrices to compare estimators, got "
            f"{len(curves)}. Select some: fits.sel(layer=0).isel(step=-1)."
        )
    found = []
    for estimator in dict.fromkeys(estimators):
        again = [refit(part, estimator=estimator) for part in parts if part is not None]
        fresh = [curve for part in again for curve in _curves.curves(part)]
        words = protocol_text(protocol_of(again[0])[1], estimator)
        for i, (curve, own, label) in enumerate(zip(fresh, curves, labels, strict=True)):
            if not curve.fitted:
                nothing = {"kind": "other", "y": np.zeros(0)}
                found.append((f"{label}, {words}: not fitted", i, nothing))
                continue
            n = curve.numbers
            x = _span(n["k"], n["lam"])
            y = curve.line(x)
            residual = y - own.line(x) if own.fitted else np.full(x.size, np.nan)
            text = f"{label}, {words}:  k {n['k']:.4f} ± {n['k_se']:.2g}   λ {n['lam']:.4g}"
            line = {"kind": "other", "magnitude": x, "y": y, "residual": residual}
            found.append((text, i, line))
    return found


def _trim(fits: xr.Dataset) -> pd.DataFrame:
    low, high = np.clip(protocol_of(fits)[1], 1e-4, 1 - 1e-6)
    return pd.DataFrame({"low": [ordinate(low).item()], "high": [ordinate(high).item()]})


def _matrix_scales(names: list[str], looks: list[tuple[str, str, list[int]]]) -> dict[str, Spec]:
    """Colour, shape and dash of each matrix, in one legend below the chart."""
    legend = {"title": None, "orient": "bottom", "columns": 1, "symbolSize": 60}
    return {
        channel: name(
            "matrix",
            scale={"domain": names, "range": [look[i] for look in looks]},
            legend=None if channel == "strokeDash" else legend,
        )
        for i, channel in enumerate(("color", "shape", "strokeDash"))
    }


def _magnitude_axis(*, titled: bool) -> Spec:
    axis = {"tickCount": 6, "format": "~g", "labels": titled, "ticks": titled, "labelOverlap": True}
    return quantity(
        "magnitude",
        scale={"type": "log", "nice": False, "padding": 8},
        axis=axis,
        title="magnitude |w| (units of the weights)" if titled else None,
    )


def _paper_panel(
    points: pd.DataFrame, lines: pd.DataFrame | None, looks: dict[str, Spec], trim: pd.DataFrame
) -> Spec:
    top = max(float(points["y"].max()), ordinate(0.9999).item()) + 0.3
    axis = {
        "values": [at for at in ordinate(_PERCENT / 100).tolist() if at <= top],
        "tickCount": _PERCENT.size,
        "labelExpr": "format(100 * (1 - exp(-exp(datum.value))), '.6~g')",
    }
    scale = {"domain": [ordinate(1e-4).item(), top], "nice": False}
    at = {
        "x": _magnitude_axis(titled=False),
        "y": quantity("y", scale=scale, axis=axis, title="weights below |w| (%, Weibull paper)"),
        "color": looks["color"],
    }
    tips = [
        name("matrix"),
        quantity("magnitude", title="|w|", format=".4~g"),
        quantity("percent", title="% below", format=".6~g"),
        quantity("residual", title="residual in y", format=".3~g"),
        name("detached", title="beyond 3 × a Gaussian's maximum"),
    ]
    shade = {"y": quantity("low"), "y2": {"field": "high"}}
    ring = {"type": "point", "size": 150, "filled": False, "shape": "circle", "strokeWidth": 2}
    layers: list[Spec] = [
        {"data": trim, "mark": {"type": "rect", "opacity": 0.12, "color": INK}, "encoding": shade},
        rule_at(0.0, words="63.2 %: λ"),
        {
            "data": points,
            "mark": {"type": "point", "size": 11, "filled": True, "opacity": 0.75, "clip": True},
            "encoding": at | {"shape": looks["shape"], "tooltip": tips},
        },
    ]
    if (points["detached"] == "yes").any():
        layers.append(
            {"data": points, "mark": ring, "encoding": at | {"tooltip": tips},
             "transform": only("detached", equal="yes")}
        )  # fmt: skip
    if lines is not None:
        fit = {"type": "line", "strokeWidth": 1.5, "clip": True}
        cross = {"type": "point", "shape": "cross", "size": 130, "filled": True}
        tip = [name("matrix"), quantity("magnitude", title="λ")]
        layers += _line_layers(lines, at, "low", "high")
        layers += [
            {"data": lines, "mark": fit, "encoding": at | {"strokeDash": looks["strokeDash"]},
             "transform": only("kind", oneOf=["line", "other"])},
            {"data": lines, "mark": cross, "encoding": at | {"tooltip": tip},
             "transform": only("kind", equal="scale")},
        ]  # fmt: skip
    return {"layer": layers, "width": 520, "height": 330}


def _line_layers(lines: pd.DataFrame, at: Spec, low: str, high: str) -> list[Spec]:
    """Bands of the lines, and Gaussians."""
    area = {"type": "area", "opacity": 0.25, "clip": True}
    dots = {"type": "line", "strokeWidth": 1.3, "strokeDash": [1, 3], "clip": True}
    band = {"x": at["x"], "color": at["color"], "y": quantity(low), "y2": {"field": high}}
    return [
        {"data": lines, "mark": area, "encoding": band, "transform": only("kind", equal="line")},
        {"data": lines, "mark": dots, "encoding": at, "transform": only("kind", equal="gaussian")},
    ]


def _residual_panel(
    points: pd.DataFrame, lines: pd.DataFrame | None, looks: dict[str, Spec]
) -> Spec:
    body = points.loc[points["percent"].between(0.5, 99.99), "residual"].abs()
    reach = float(np.nan_to_num(body.max())) * 1.15 or 1.0
    scale, axis = {"domain": [-reach, reach], "nice": False}, {"tickCount": 5}
    at = {
        "x": _magnitude_axis(titled=True),
        "y": quantity("residual", scale=scale, title="y − line", axis=axis),
        "color": looks["color"],
    }
    tips = [name("matrix"), quantity("magnitude"), quantity("residual")]
    layers: list[Spec] = [
        rule_at(0.0, words="the fitted line"),
        {
            "data": points,
            "mark": {"type": "point", "size": 9, "filled": True, "opacity": 0.75, "clip": True},
            "encoding": at | {"shape": looks["shape"], "tooltip": tips},
        },
    ]
    if lines is not None:
        layers += _line_layers(lines, at, "under", "spread")
        if (lines["kind"] == "other").any():
            mark = {"type": "line", "strokeWidth": 1.5, "clip": True}
            layers.append(
                {"data": lines, "mark": mark, "encoding": at | {"strokeDash": looks["strokeDash"]},
                 "transform": only("kind", equal="other")}
            )  # fmt: skip
    return {"layer": layers, "width": 520, "height": 110}
