"""Densities of at most 12 matrices, as counted and as fitted by families of distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pandas as pd

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.curves import curves, labels
from weibnb.charts.marks import (
    STROKE,
    between,
    counted,
    decades,
    facet,
    heading,
    layer,
    nominal,
    nothing_drawn,
    quantity,
    rule_at,
    scales,
)
from weibnb.charts.sentences import listed
from weibnb.charts.tables import cells, joined
from weibnb.charts.vega import COLOURS, INK, Scale
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare
from weibnb.messages import check_choice, printable

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.curves import Curve
    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

_RATIOS = [0.25, 4.0]  # over the Weibull's density, that are shown
# Display name of each family, and the letter of its shape parameter.
_WORDS = {
    "lognormal": ("lognormal", "s"),
    "gamma": ("gamma", "a"),
    "generalised_gaussian": ("generalised Gaussian", "β"),
    "student_t": ("Student's t", "ν"),
}


# Lines of the distributions, small multiples side by side.
_KINDS, _COLUMNS = ["Weibull", "half-normal", "best family"], 3
_DASHES = ([1, 0], [5, 3], [1.5, 2])
_LEGEND: dict[str, Any] = {"title": None, "orient": "bottom", "direction": "horizontal", **STROKE}


@as_chart
def density(fits: xr.Dataset, *, scale: Scale = "log", rival: bool = True) -> Spec:
    """Draw the distribution of magnitudes with the fitted Weibull and a half-normal over it.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts, at most 12 matrices.
    scale : {"log", "linear"}
        Density of ln|w|, or of |w| (up to its 99.9 % quantile).
    rival : bool
        Whether to rank families of distributions (see `weibnb.rank_families`) and draw the one
        with the lowest BIC, unless it is one of these two.

    Returns
    -------
    altair chart
        One small multiple per matrix. Area: the counted weights; solid line: the Weibull; dashed:
        a half-normal with σ = λ / (λ/σ of the Gaussian anchor); dotted: the rival, which the
        panel's title names. Below: the same over the Weibull's density, from 1/4 to 4.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, holds more than 12 matrices, or `scale` is
        unknown.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> density(fits).to_dict()["title"]["text"]
    'Density of ln |w|'
    """
    check_choice("scale", scale, get_args(Scale))
    every = curves(fits)
    drawn = [curve for curve in every if curve.share.size > 1]
    lost = pd.Series([curve.status for curve in every if curve.share.size <= 1], dtype=object)
    light = prepare(fits, light=True, dims=DIMS)
    what = "ln |w|" if scale == "log" else "|w|"
    if not drawn:
        return nothing_drawn(light, cells(light), f"Density of {what}")
    best = _best_families(fits) if rival else {}
    ratio = gaussian_anchor(fits).lam_over_rms
    parts, panels = [], []
    for curve, label in zip(drawn, labels([c.place for c in drawn]), strict=True):
        text = f"{label}, k {curve.numbers['k']:.3f}" if curve.fitted else label
        family = best.get(tuple(curve.place.values()))
        panels.append(text + (f"\n{_verdict(family)}" if rival else ""))
        place = curve.place | {"panel": panels[-1], "place": len(panels) - 1}
        parts += [part | place for part in _densities(curve, ratio, family, scale=scale)]
    table = joined(parts)
    one = panels[0].split("\n") if len(panels) == 1 else []
    title = heading(light, f"Density of {what}", "area: counted weights", counted(lost), *one)
    told = listed([panel.replace("\n", ", ") for panel in panels])
    return _in_rows(table, scale, title) | {"description": f"Density of {what}: {told}"}


def _in_rows(table: pd.DataFrame, scale: Scale, title: Spec) -> Spec:
    """Draw small multiples in rows of three, each above the ratio to its Weibull."""
    rows, kinds = [], [kind for kind in _KINDS if kind in set(table["kind"])]
    for first in range(0, table["place"].max() + 1, _COLUMNS):
        inside = table["place"].between(first, first + _COLUMNS - 1)
        own = table if inside.all() else table[inside].reset_index(drop=True)
        ends = [float(table["magnitude"].min()), float(table["magnitude"].max())]
        size: Spec = {"columns": _COLUMNS, "width": 230, "alone": table["place"].max() < 1}
        rows.append(facet(_layers(own, kinds, scale, ends), own, {"text": ""}, height=150, **size))
        if own["ratio"].notna().any():
            strip = facet(_strip(own, kinds, scale, ends), own, {"text": ""}, height=50, **size)
            if "facet" in strip:
                strip["facet"]["header"] |= {"labelExpr": "''", "labelPadding": 0}
            rows.append(strip)
    for row in rows:
        del row["title"]  # an empty one takes room
    return {"vconcat": rows, "spacing": 4, "title": title}


def _magnitudes(scale: Scale, ends: list[float], *, titled: bool) -> Spec:
    """Encode the magnitude along x, the same in all panels."""
    axis: Spec = {"format": "~g", "labelOverlap": True, "labels": titled}
    axis |= {"values": decades(ends)} if scale == "log" else {"tickCount": 4}
    return quantity(
        "magnitude",
        scale={"type": scale, "nice": False, "domain": ends},
        axis=axis | {"ticks": titled},
        title="|w| (units of the weights)" if titled else None,
    )


def _strip(table: pd.DataFrame, kinds: list[str], scale: Scale, ends: list[float]) -> list[Spec]:
    """Draw what was counted over the Weibull's density, from a quarter to four times."""
    ratio = quantity(
        "ratio",
        scale={"type": "log", "domain": _RATIOS, "nice": False},
        title="÷ Weibull",
        # where the strip is low the title goes on beside the labels of x
        axis={"values": [0.25, 1, 4], "format": "~g", "titleAnchor": "end"},
    )
    tips = [nominal("kind"), quantity("magnitude", format=".4~g"), quantity("ratio", format=".3~g")]
    place = {"x": _magnitudes(scale, ends, titled=True), "y": ratio, "tooltip": tips}
    others = [kind for kind in _KINDS if kind in set(table["kind"]) and kind != "Weibull"]
    lines = between("ratio", _RATIOS, {"field": "kind", "oneOf": others})
    counts = between("ratio", _RATIOS, {"field": "kind", "equal": "counted"})
    layers = [rule_at(1.0, words="the fitted Weibull")]
    if others:
        looks = scales(nominal("kind"), kinds, None, color=COLOURS, strokeDash=_DASHES)
        looks["detail"] = nominal("kind")
        layers.append(layer("line", place | looks, where=lines, strokeWidth=1.3))
    dots: Spec = {"size": 10, "color": INK, "opacity": 0.9, "filled": True, "aria": False}
    return [*layers, layer("point", place, where=counts, **dots)]


def _layers(table: pd.DataFrame, kinds: list[str], scale: Scale, ends: list[float]) -> list[Spec]:
    """Draw the area of the counted weights, and the lines of the distributions."""
    unit = "per ln |w|" if scale == "log" else "per unit of w"
    at: Spec = {
        "x": _magnitudes(scale, ends, titled=not table["ratio"].notna().any()),
        "y": quantity("density", title=["density", unit]),
        "tooltip": [
            nominal("panel"),
            nominal("kind"),
            quantity("magnitude", format=".4~g"),
            quantity("density"),
        ],
    }
    counts = {"field": "kind", "equal": "counted"}
    layers = [layer("area", at, where=counts, opacity=0.3, color=INK)]
    if kinds:
        looks = scales(nominal("kind"), kinds, _LEGEND, color=COLOURS, strokeDash=_DASHES)
        lines = {"field": "kind", "oneOf": kinds}
        layers.append(layer("line", at | looks, where=lines, strokeWidth=1.8))
    return layers


def _best_families(fits: xr.Dataset) -> dict[tuple[Any, ...], pd.Series[Any]]:
    """Find the family with the lowest BIC for every matrix, by its coordinates."""
    from weibnb.families.rank import rank_families

    table = rank_families(prepare(fits, dims=DIMS, mixed_protocols=True))
    table = table[table["rank"] == 1].copy()
    for column in ("model", "component"):
        table[column] = table[column].map(printable)
    dims = [dim for dim in (*DIMS, "expert") if dim in table]
    return {tuple(row[dim] for dim in dims): row for _, row in table.iterrows()}


def _verdict(best: pd.Series[Any] | None) -> str:
    if best is None:
        return "no family could be fitted"
    if best["family"] == "weibull":
        return "no rival beats Weibull"
    if best["family"] == "half_normal":
        return "best family: half-normal"
    words, letter = _WORDS[best["family"]]
    return f"best: {words}, {letter} {best['shape']:.3g}"


def _densities(
    curve: Curve, ratio: float, best: pd.Series[Any] | None, *, scale: Scale
) -> list[dict[str, Any]]:
    """Compute densities in 80 intervals: as counted, and of the distributions."""
    from weibnb.families.distributions import density as family_density

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
        drawn["Weibull"] = family_density("weibull", middle, k, lam)
        drawn["half-normal"] = family_density("half_normal", middle, np.nan, lam / ratio)
    if best is not None and best["family"] in _WORDS:
        drawn["best family"] = family_density(best["family"], middle, best["shape"], best["scale"])
    found |= {kind: v if scale == "log" else v / middle for kind, v in drawn.items()}
    weibull = np.where(found.get("Weibull", 0) > 0, found.get("Weibull", np.nan), np.nan)
    return [
        {"magnitude": middle, "density": value, "kind": kind, "y": middle}
        | {"ratio": np.where(value > 0, value, np.nan) / weibull}
        for kind, value in found.items()
    ]
