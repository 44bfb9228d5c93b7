"""Lines along steps, layers and trims: trajectories, paths, depth profiles, body against tail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import pandas as pd

from weibnb.charts import tables as _tables
from weibnb.charts.marks import (
    COLOURS,
    counted,
    crosses,
    depth_scales,
    detail,
    facet,
    heading,
    k_axis,
    model_scales,
    name,
    notice,
    quantity,
    rule_at,
    tooltips,
)
from weibnb.charts.tables import cells
from weibnb.charts.vega import INK, Scale
from weibnb.diagnostics.bands import BANDS
from weibnb.diagnostics.tails import body_tail
from weibnb.fits.schema import DIMS, VARIABLES, gaussian_anchor, prepare, protocol_of
from weibnb.fits.select import last_step
from weibnb.fitting.weibull import DEFAULT_TRIM
from weibnb.messages import check_choice, printable

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

TrackValue = Literal["k", "lam"]
By = Literal["component", "weight_class"]


def trajectories(
    fits: xr.Dataset,
    *,
    value: TrackValue = "k",
    by: By = "component",
    scale: Scale = "log",
) -> Spec:
    """Specify `weibnb.charts.doors.trajectories`: its parameters, and what it raises."""
    for argument, given, valid in (
        ("value", value, TrackValue),
        ("by", by, By),
        ("scale", scale, Scale),
    ):
        check_choice(argument, given, get_args(valid))
    fits = prepare(fits, light=True, dims=DIMS)
    table = cells(fits)
    text = f"{VARIABLES[value][0]} along training, a line a layer"
    if table.empty or table[value].isna().all():
        return notice(heading(fits, text), _tables.excluded(fits, table))
    if table["step"].nunique() < 2 or table["step"].dtype.kind not in "iuf":
        return notice(heading(fits, text), ["There is one step only: a line needs two."])
    table, note = _tables.thinned(_tables.panels(table, "model", by), "step", "layer")
    table["depth"] = _tables.depth_words(table)
    x, table["at"] = _step_axis(table["step"].to_numpy(float), scale)
    title = VARIABLES[value][0] + (" (units of the weights)" if value == "lam" else "")
    y = quantity(
        value,
        scale={"type": "log", "nice": False, "padding": 6} if value == "lam" else {"zero": False},
        title=title,
        axis={"tickCount": 5},
    )
    layers, words = _track_backdrop(fits, table) if value == "k" else ([], "")
    line = {
        "x": x, "y": y, **depth_scales(table),
        "detail": detail(table, "model", "component", "layer"), "tooltip": tooltips(),
    }  # fmt: skip
    mark = {"type": "line", "strokeWidth": 1.6, "point": {"size": 18}}
    layers.append({"mark": mark, "encoding": line})
    if table[value].isna().any():
        layers.append(crosses(x, value))
    heads = heading(fits, text, words, note)
    return facet(layers, table, heads, columns=4, width=180, height=150)


def _track_backdrop(fits: xr.Dataset, table: pd.DataFrame) -> tuple[list[Spec], str]:
    """Anchor, and the published band as a strip along the panels that it applies to."""
    layers = [rule_at(gaussian_anchor(fits).k, words="an untrained Gaussian matrix")]
    words = "dashed: a Gaussian"
    band = BANDS["transmission-feed-forward"]
    inside = table["component"].str.rpartition(".")[2].isin(band.components)
    table["low"], table["high"] = np.nan, np.nan
    own = ("rank_regression", DEFAULT_TRIM["rank_regression"])
    if protocol_of(fits) != own or not inside.any():
        return layers, words
    table.loc[inside, "low"], table.loc[inside, "high"] = band.lower, band.upper
    low = quantity("low", aggregate="min", scale={"zero": False}, title="Weibull shape k")
    strip = {"y": low, "y2": {"field": "high", "aggregate": "max"}}
    mark = {"type": "rect", "color": INK, "opacity": 0.35}
    layers.insert(0, {"mark": mark, "encoding": strip})
    return layers, f"{words} · shaded: published feed-forward medians"


def _step_axis(steps: Array, scale: Scale) -> tuple[Spec, Array]:
    """Axis of training steps, and where on it each step stands."""
    if scale == "linear":
        axis: Spec = {"tickCount": 4, "format": "~s"}
        return quantity("at", title="training step", axis=axis), steps
    positive = steps[steps > 0]
    zero = float(positive.min()) / 4
    powers = 10.0 ** np.arange(np.ceil(np.log10(positive.min())), np.log10(positive.max()) + 0.01)
    powers = powers[:: max(int(np.ceil(powers.size / 4)), 1)]
    values = ([zero] if (steps == 0).any() else []) + (powers.tolist() or [float(positive.max())])
    words = f"datum.value <= {zero!r} ? '0' : format(datum.value, '~s')"
    axis = {"values": values, "labelExpr": words}
    x = quantity("at", scale={"type": "log", "nice": False}, axis=axis, title="training step")
    return x, np.where(steps > 0, steps, zero)


def phase_portrait(fits: xr.Dataset) -> Spec:
    """Specify `weibnb.charts.doors.phase_portrait`: its parameters, and what it raises."""
    fits = prepare(fits, light=True, dims=DIMS)
    table, text = cells(fits), "Paths in the plane of λ and k"
    if table.empty or table["k"].isna().all():
        return notice(heading(fits, text), _tables.excluded(fits, table))
    if table["step"].nunique() < 2 or table["step"].dtype.kind not in "iuf":
        return notice(heading(fits, text), ["There is one step only: a path needs two."])
    gaps = counted(table["reason"])
    table = _tables.panels(table[table["k"].notna()], "model", "weight_class")
    table, note = _tables.thinned(table, "step", "layer")
    key = ["model", "layer", "component", *(["expert"] if "expert" in table else [])]
    groups = table.groupby(key, sort=False)["step"]
    table["role"] = np.select(
        [table["step"] == groups.transform("min"), table["step"] == groups.transform("max")],
        ["begin", "end"],
        "between",
    )
    words = "dashed: a Gaussian · ring: begin, triangle: end"
    heads = heading(fits, text, words, note, gaps)
    layers = _path_layers(table, key, gaussian_anchor(fits).k)
    return facet(layers, table, heads, columns=3, width=240, height=210)


def _path_layers(table: pd.DataFrame, key: list[str], anchor: float) -> list[Spec]:
    x = quantity("lam", scale={"type": "log", "nice": False, "padding": 8},
                 title="Weibull scale λ (units of the weights)",
                 axis={"tickCount": 4, "format": "~g", "labelOverlap": True})  # fmt: skip
    first = float(table.loc[table["step"] > 0, "step"].min())
    values = [0, first, float(table["step"].max())]
    colour = quantity(
        "step",
        scale={"type": "symlog", "constant": first, "range": [COLOURS[0], INK, COLOURS[1]]},
        legend={"title": "step", "format": ",d", "values": values},
    )
    roles = ["begin", "between", "end"]
    shapes = {"domain": roles, "range": ["circle", "stroke", "triangle-up"]}
    sizes = {"domain": roles, "range": [55, 12, 60]}
    place: Spec = {"x": x, "y": k_axis()}
    path = {"order": quantity("step"), "detail": [name(column) for column in key]}
    points = {
        "color": colour,
        "shape": name("role", scale=shapes, legend=None),
        "size": name("role", scale=sizes, legend=None),
        "tooltip": tooltips(),
    }
    line = {"type": "line", "color": INK, "opacity": 0.6, "strokeWidth": 1}
    mark = {"type": "point", "filled": False, "strokeWidth": 1.6}
    return [
        rule_at(anchor, words="an untrained Gaussian matrix"),
        {"mark": line, "encoding": place | path},
        {"mark": mark, "encoding": place | points},
    ]


def depth_profile(fits: xr.Dataset) -> Spec:
    """Specify `weibnb.charts.doors.depth_profile`: its parameters, and what it raises."""
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table, text = cells(fits), "Weibull shape k along the layers, ± one standard error"
    if table.empty or table["k"].isna().all():
        return notice(heading(fits, text), _tables.excluded(fits, table))
    table, note = _tables.thinned(_tables.panels(table, "component"), "layer")
    table["low"], table["high"] = table["k"] - table["k_se"], table["k"] + table["k_se"]
    layers = _profile_layers(table, gaussian_anchor(fits).k)
    heads = heading(fits, text, "dashed: a Gaussian", note)
    return facet(layers, table, heads, columns=4, width=200, height=140)


def _profile_layers(table: pd.DataFrame, anchor: float) -> list[Spec]:
    x: Spec = {"field": "layer", "type": "ordinal", "title": "layer",
               "axis": {"labelOverlap": True, "labelAngle": 0}}  # fmt: skip
    looks = model_scales(table["model"])
    error = {"y": quantity("low", title="Weibull shape k"), "y2": {"field": "high"}}
    at: Spec = {"x": x, "y": k_axis(), "color": looks["color"]}
    line = at | {"strokeDash": looks["strokeDash"], "detail": detail(table, "model")}
    dots = at | {"shape": looks["shape"], "tooltip": tooltips()}
    layers = [
        rule_at(anchor, words="an untrained Gaussian matrix"),
        {"mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": at | error},
        {"mark": {"type": "line", "strokeWidth": 1}, "encoding": line},
        {"mark": {"type": "point", "filled": True, "size": 40}, "encoding": dots},
    ]
    return [*layers, crosses(x, "k")] if table["k"].isna().any() else layers


def body_tail_chart(fits: xr.Dataset) -> Spec:
    """Specify `weibnb.charts.doors.body_tail_chart`: its parameters, and what it raises."""
    whole = prepare(fits, "counts", "counts_exact", dims=DIMS)
    light = last_step(prepare(fits, light=True, dims=DIMS))
    table, text = cells(light), "k by the share of weights that is fitted"
    if table.empty or table["k"].isna().all():
        return notice(heading(light, text), _tables.excluded(light, table))
    gaps = counted(table["reason"])
    table = table[table["reason"] == ""]
    table, note = _tables.thinned(_tables.panels(table, "model", "component"), "layer", rows=1_500)
    whole = whole.sel(step=light["step"]).isel(layer=whole["layer"].isin(table["layer"]).values)
    tail = body_tail(whole)
    dims = [*light["k"].dims, "trim"]
    values = tail[["k", "k_se"]].reset_coords(drop=True).to_dataframe(dim_order=dims).reset_index()
    for column in ("model", "component"):
        values[column] = values[column].map(printable)
    joined = table.drop(columns=["k", "k_se"]).merge(values, on=[str(dim) for dim in dims[:-1]])
    joined["share"], joined["depth"] = 100 * joined["trim"], _tables.depth_words(joined)
    layers = _tail_layers(joined, tail)
    estimator = protocol_of(light)[0].replace("_", " ")
    heads = heading(light, text, f"dashed: a Gaussian by {estimator} of the same share", note, gaps)
    return facet(layers, joined, heads, columns=4, width=150, height=150)


def _tail_layers(table: pd.DataFrame, tail: xr.Dataset) -> list[Spec]:
    x: Spec = {"field": "share", "type": "ordinal", "title": "central share (%)",
               "axis": {"labelAngle": 0}}  # fmt: skip
    ideal = {"share": 100 * tail["trim"].values, "k": tail["gaussian_k"].values}
    place: Spec = {"x": x, "y": k_axis()}
    more = {"detail": detail(table, "layer"), "tooltip": tooltips("trim=central share")}
    dashed = {"type": "line", "color": INK, "strokeDash": [5, 3]}
    line = {"type": "line", "strokeWidth": 1.6, "point": {"size": 18}}
    return [
        {"data": pd.DataFrame(ideal), "mark": dashed, "encoding": place},
        {"mark": line, "encoding": place | depth_scales(table) | more},
    ]
