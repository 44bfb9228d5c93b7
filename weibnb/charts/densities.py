"""Densities of at most 12 matrices, as counted and as fitted by families of distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from weibnb.charts import curves as _curves
from weibnb.charts import tables as _tables
from weibnb.charts.marks import COLOURS, counted, facet, heading, name, notice, only, quantity
from weibnb.charts.tables import cells
from weibnb.charts.vega import INK, Scale
from weibnb.families.rank import rank_families
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare
from weibnb.messages import check_choice, printable

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.charts.curves import Curve
    from weibnb.charts.vega import Spec


_WORDS = {
    "lognormal": ("lognormal", "s"),
    "gamma": ("gamma", "a"),
    "generalised_gaussian": ("generalised Gaussian", "β"),
    "student_t": ("Student's t", "ν"),
}


def density(fits: xr.Dataset, *, scale: Scale = "log", rival: bool = True) -> Spec:
    """Specify `weibnb.charts.doors.density`: its parameters, and what it raises."""
    check_choice("scale", scale, get_args(Scale))
    every = _curves.curves(fits)
    curves = [curve for curve in every if curve.share.size > 1]
    lost = pd.Series([curve.status for curve in every if curve.share.size <= 1], dtype=object)
    light = prepare(fits, light=True, dims=DIMS)
    what = "ln |w|" if scale == "log" else "|w|"
    if not curves:
        title = heading(light, f"Density of {what}")
        return notice(title, _tables.excluded(light, cells(light)))
    best = _best_families(fits) if rival else {}
    ratio = gaussian_anchor(fits).lam_over_rms
    parts, panels = [], []
    for curve, label in zip(curves, _curves.labels([c.place for c in curves]), strict=True):
        text = f"{label}, k {curve.numbers['k']:.3f}" if curve.fitted else label
        family = best.get(tuple(curve.place.values()))
        panels.append(text + (f"\n{_verdict(family)}" if rival else ""))
        part = _densities(curve, ratio, family, scale=scale)
        place = curve.place | {"panel": panels[-1], "place": len(panels) - 1}
        parts += [values | place for values in part]
    table = _tables.joined(parts)
    one = panels[0].split("\n") if len(panels) == 1 else []
    title = heading(light, f"Density of {what}", "area: counted weights", counted(lost), *one)
    return facet(_density_layers(table, scale), table, title, columns=3, width=230, height=150)


def _density_layers(table: pd.DataFrame, scale: Scale) -> list[Spec]:
    kinds = ["Weibull", "half-normal", "best family"]
    kinds = [kind for kind in kinds if kind in set(table["kind"])]
    unit = "a unit of ln |w|" if scale == "log" else "1 / unit of the weights"
    axis = {"tickCount": 4, "format": "~g", "labelOverlap": True}
    at: Spec = {
        "x": quantity("magnitude", scale={"type": scale, "nice": False}, axis=axis,
                      title="|w| (units of the weights)"),
        "y": quantity("density", title=f"density ({unit})"),
        "tooltip": [name("panel"), name("kind"), quantity("magnitude", format=".4~g"),
                    quantity("density")],
    }  # fmt: skip
    legend = {"title": None, "orient": "bottom", "symbolType": "stroke", "symbolSize": 300,
              "symbolStrokeWidth": 2}  # fmt: skip
    ranges = {"color": COLOURS, "strokeDash": ([1, 0], [5, 3], [1.5, 2])}
    looks = {
        channel: name(
            "kind", scale={"domain": kinds, "range": list(values[: len(kinds)])}, legend=legend
        )
        for channel, values in ranges.items()
    }
    area = {"type": "area", "opacity": 0.3, "color": INK}
    layers = [{"mark": area, "encoding": at, "transform": only("kind", equal="counted")}]
    if kinds:
        line = {"type": "line", "strokeWidth": 1.8}
        others = only("kind", oneOf=kinds)
        layers.append({"mark": line, "encoding": at | looks, "transform": others})
    return layers


def _best_families(fits: xr.Dataset) -> dict[tuple[Any, ...], pd.Series[Any]]:
    """Row of the family with the lowest BIC, by the place of its matrix."""
    table = rank_families(prepare(fits, dims=DIMS, mixed_protocols=True))
    table = table[table["rank"] == 1]
    dims = [dim for dim in ("model", "layer", "component", "step", "expert") if dim in table]
    return {
        tuple(printable(row[dim]) if dim in ("model", "component") else row[dim]
              for dim in dims): row
        for _, row in table.iterrows()
    }  # fmt: skip


def _verdict(best: pd.Series[Any] | None) -> str:
    if best is None:
        return "no family could be fitted"
    if best["family"] == "weibull":
        return "no rival beats Weibull"
    if best["family"] == "half_normal":
        return "best of the families: half-normal"
    words, letter = _WORDS[best["family"]]
    return f"best: {words}, {letter} {best['shape']:.3g}"


def _densities(
    curve: Curve, ratio: float, best: pd.Series[Any] | None, *, scale: Scale
) -> list[dict[str, Any]]:
    """Densities in about 80 intervals: counted, and of the distributions."""
    x, share = curve.magnitude, curve.share
    lower, upper = np.interp([0.001, 0.999], share, x)
    if scale == "log":
        edges = np.geomspace(lower, max(x[-1], lower * 1.01), 81)
        middle, width = np.sqrt(edges[1:] * edges[:-1]), np.diff(np.log(edges))
    else:
        edges = np.linspace(0, upper, 81)
        middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    below = np.interp(edges, np.concatenate([[0.0], x]), np.concatenate([[0.0], share]))
    found = {"counted": np.diff(below) / width}
    drawn = {}
    if curve.fitted:
        k, lam = curve.numbers["k"], curve.numbers["lam"]
        drawn["Weibull"] = _curves.density_of("weibull", middle, k, lam)
        drawn["half-normal"] = _curves.density_of("half_normal", middle, np.nan, lam / ratio)
    if best is not None and best["family"] in _WORDS:
        density_ = _curves.density_of(best["family"], middle, best["shape"], best["scale"])
        drawn["best family"] = density_
    found |= {kind: v if scale == "log" else v / middle for kind, v in drawn.items()}
    return [
        {"magnitude": middle, "density": value, "kind": kind, "y": middle}
        for kind, value in found.items()
    ]
