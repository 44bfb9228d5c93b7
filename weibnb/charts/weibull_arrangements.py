"""Weibull plots of several matrices: one small multiple each, or their distance to the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.charts.marks import end_labels, facet, layer, nominal, quantity, rule_at, scales
from weibnb.charts.tables import joined
from weibnb.charts.vega import COLOURS, INK
from weibnb.charts.weibull_paper import (
    LINE_ENDS,
    chosen_points,
    magnitude_axis,
    paper_axis,
    top_of,
)
from weibnb.fitting.weibull import ordinate
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from weibnb.charts.curves import Curve
    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

# Fewer ticks in a small panel.
_FEW = np.array([0.1, 1, 10, 63.2, 99, 99.99])
# Share of the weights from which differences are drawn: below, single weights scatter.
_LEAST = 1e-3
_SMALL: Spec = {"size": 8, "filled": True, "opacity": 0.75, "aria": False}
_THIN: Spec = {"strokeWidth": 1.5}


def first_fitted(drawn: Sequence[Curve]) -> int | None:
    """Place of the matrix that the others are compared with."""
    return next((i for i, curve in enumerate(drawn) if curve.fitted), None)


def multiples(drawn: Sequence[Curve], short: Sequence[str], title: Spec) -> Spec:
    """Draw each matrix in a panel of its own, with the line of the first one in all of them."""
    parts: list[dict[str, Any]] = []
    first = first_fitted(drawn)
    for i, (curve, label) in enumerate(zip(drawn, short, strict=True)):
        place = curve.place | {"panel": _head(curve, label), "place": i}
        parts.append(_points(curve) | place)
        if curve.fitted:
            parts.append(_line(curve) | place | {"kind": "line"})
        if first is not None and i != first:
            parts.append(_line(drawn[first]) | place | {"kind": "reference"})
    table = joined(parts)
    x = magnitude_axis([table], padding=6, title="|w| (units of the weights)")
    at: Spec = {"x": x, "y": paper_axis("y", top_of(drawn), _FEW, title="weights below |w| (%)")}
    kinds = {kind: {"field": "kind", "equal": kind} for kind in ("points", "line", "reference")}
    layers = [
        layer("line", at, where=kinds["reference"], color=INK, strokeDash=[5, 3], **_THIN),
        layer(
            "point",
            at | {"tooltip": _tips()},
            where=kinds["points"],
            color=COLOURS[0],
            **_SMALL,
        ),
        layer("line", at, where=kinds["line"], color=COLOURS[1], **_THIN),
    ]
    return facet(layers, table, title, columns=4, width=190, height=160)


def _head(curve: Curve, label: str) -> str:
    """Name a panel, with the estimate in its second line."""
    n = curve.numbers
    if not curve.fitted:
        return f"{label}\nnot fitted ({shortened(curve.status)})"
    error = f" ± {n['k_se']:.2g}" if np.isfinite(n["k_se"]) else ""
    return f"{label}\nk {n['k']:.3f}{error}"


def _points(curve: Curve, least: float = 1e-4) -> dict[str, Any]:
    """Give points of a matrix, from a share on."""
    kept = chosen_points(curve, least)
    share, magnitude = curve.share[kept], curve.magnitude[kept]
    return {"kind": "points", "magnitude": magnitude, "y": ordinate(share), "percent": 100 * share}


def _line(curve: Curve, least: float = 1e-4) -> dict[str, Any]:
    """Both ends of a fitted line."""
    y = ordinate(np.array([least, LINE_ENDS[1]]))
    return {"magnitude": curve.numbers["lam"] * np.exp(y / curve.numbers["k"]), "y": y}


def _tips(*more: Spec) -> list[Spec]:
    numbers = [quantity("magnitude", title="|w|", format=".4~g")]
    numbers.append(quantity("percent", title="% below", format=".6~g"))
    return [nominal("model"), nominal("component"), nominal("layer"), *numbers, *more]


def differences(
    drawn: Sequence[Curve], short: Sequence[str], names: Sequence[str], title: Spec
) -> Spec:
    """Draw how far each matrix lies above the line of the first one, quantile by quantile."""
    first = first_fitted(drawn)
    base = drawn[0 if first is None else first]
    parts: list[dict[str, Any]] = []
    for curve, name in zip(drawn, names, strict=True):
        own = [_points(curve, _LEAST)]
        if curve.fitted:
            own.append(_line(curve, _LEAST) | {"kind": "line"})
        for part in own:
            gap = part["y"] - base.line(part["magnitude"])
            parts.append(part | curve.place | {"matrix": name, "gap": gap})
    table = joined(parts)
    legend = None if len(names) <= len(COLOURS) - 2 else _legend()
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(names))]
    looks = scales(nominal("matrix"), names, legend, color=colours)
    label = short[0 if first is None else first]
    x = paper_axis("y", top_of(drawn), least=_LEAST, title="weights below |w| (%, Weibull paper)")
    gap = quantity("gap", title=f"y − line of {shortened(label, 40)}", axis={"tickCount": 6})
    at: Spec = {"x": x, "y": gap, "detail": nominal("matrix"), **looks}
    tip = quantity("gap", title="above the line of the first", format=".3~g")
    points, lines = ({"field": "kind", "equal": kind} for kind in ("points", "line"))
    layers = [
        rule_at(0.0, words=f"the line of {label}"),
        layer("point", at | {"tooltip": _tips(tip)}, where=points, **_SMALL),
        layer("line", at, where=lines, **_THIN),
    ]
    width, height = 520, 300
    if legend is None:
        layers.append(end_labels(_ends(table, names), gap, short, span=_span(table) / height))
    return {"layer": layers, "data": table, "title": title, "width": width, "height": height}


def _span(table: pd.DataFrame) -> float:
    """Give the height of the panel in units of y."""
    found = float(np.ptp(np.append(table["gap"].dropna(), 0.0)))
    return found or 1.0


def _legend() -> Spec:
    return {"title": None, "orient": "bottom", "columns": 1, "symbolSize": 60}


def _ends(table: pd.DataFrame, names: Sequence[str]) -> list[float]:
    """Give the last finite distance of each matrix: of its line where it has one."""
    found = []
    for name in names:
        own = table[(table["matrix"] == name) & table["gap"].notna()]
        lines = own[own["kind"] == "line"]
        kept = lines if len(lines) else own
        found.append(float(kept["gap"].iloc[-1]) if len(kept) else 0.0)
    return found
