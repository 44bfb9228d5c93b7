"""Marks by component: class bands, the cohort, outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from weibnb.charts import tables as _tables
from weibnb.charts.maps import TITLES, map_values
from weibnb.charts.marks import (
    class_scales,
    counted,
    crosses,
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
from weibnb.charts.vega import INK
from weibnb.diagnostics.bands import BANDS, summarise
from weibnb.diagnostics.cohorts import compare as rank_entries
from weibnb.diagnostics.cohorts import reference_cohort
from weibnb.diagnostics.outliers import FACTORS
from weibnb.diagnostics.verdicts import require_protocol
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare, protocol_of
from weibnb.fits.select import last_step
from weibnb.fitting.weibull import DEFAULT_TRIM
from weibnb.messages import check_choice, printable, shortened

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.charts.vega import Spec
    from weibnb.diagnostics.bands import Band

_RATIOS = [0.5, 1, 2, 3, 5, 10, 20, 50, 100, 1000]


def class_bands(
    fits: xr.Dataset,
    *,
    band: str | Band = "transmission-feed-forward",
    reference: bool = True,
) -> Spec:
    """Specify `weibnb.charts.doors.class_bands`: its parameters, and what it raises."""
    if isinstance(band, str):
        check_choice("band", band, BANDS)
        band = BANDS[band]
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table, note = _tables.thinned(cells(fits), "layer", rows=_tables.MAX_ROWS - 500)
    title = "Weibull shape k by component"
    if table.empty or table["k"].isna().all():
        return notice(heading(fits, title), _tables.excluded(fits, table))
    published = protocol_of(fits) == ("rank_regression", DEFAULT_TRIM["rank_regression"])
    words = f"shaded: {shortened(band.name)}, {band.lower:g} to {band.upper:g} · dashed: a Gaussian"
    bar = "bar: median over layers" + (" · diamonds: published entries" if reference else "")
    notes = [words, bar] if published else ["no band: published for another protocol", bar[:23]]
    heads = heading(fits, title, *notes, note)
    table = _tables.panels(table, "model")
    names = list(dict.fromkeys(table["component"]))
    rank = table.groupby(["model", "component"])["layer"].rank(method="dense")
    most = table.groupby(["model", "component"])["layer"].transform("nunique")
    table["offset"] = np.where(most > 1, (rank - 1) / (most - 1).clip(lower=1) - 0.5, 0.0) * 0.7
    table["median"] = table.groupby(["model", "component"])["k"].transform("median")
    layers = _band_layers(names, band, reference=reference) if published else []
    layers += _cell_layers(table, names, gaussian_anchor(fits).k)
    width = max((64 if table["place"].nunique() < 2 else 47) * len(names), 160)
    return facet(layers, table, heads, columns=2, width=width, height=280)


def _component_axis(names: list[str]) -> Spec:
    scale = {"domain": names, "paddingInner": 0.25}
    return name("component", scale=scale, title=None, axis={"labelAngle": -35})


def _offset() -> Spec:
    return quantity("offset", scale={"domain": [-0.5, 0.5]})


def _band_layers(names: list[str], band: Band, *, reference: bool) -> list[Spec]:
    """Band over the components it was published for, and medians of the published entries."""
    place: Spec = {"x": _component_axis(names), "y": k_axis()}
    held = [label for label in names if label.rpartition(".")[2] in band.components]
    box = pd.DataFrame({"component": held, "k": band.lower, "high": band.upper})
    tips = [name("component"), quantity("k", title="lower"), quantity("high", title="upper")]
    shade = {"type": "bar", "color": INK, "opacity": 0.35, "size": 38, "orient": "vertical"}
    edges = {"y2": {"field": "high"}, "tooltip": tips}
    layers = [{"data": box, "mark": shade, "encoding": place | edges}] if held else []
    if not reference:
        return layers
    tips = [name("model", title="published"), name("component"), quantity("k", format=".4f")]
    open_ = {"type": "point", "shape": "diamond", "size": 22, "color": INK, "opacity": 0.9}
    found = {"xOffset": _offset(), "tooltip": tips}
    entries = _entries(names).assign(offset=0.46)
    return [*layers, {"data": entries, "mark": open_, "encoding": place | found}]


def _entries(names: list[str]) -> pd.DataFrame:
    """Medians of the published entries for these components."""
    entries = cells(prepare(reference_cohort(), light=True, dims=DIMS))
    return entries.loc[entries["component"].isin(names), ["model", "component", "k"]]


def _cell_layers(table: pd.DataFrame, names: list[str], anchor: float) -> list[Spec]:
    """Matrices, their medians, and crosses at the foot for those without k."""
    x = _component_axis(names)
    dot = {"type": "point", "size": 42, "filled": True, "opacity": 0.85, "strokeWidth": 0}
    tick = {"type": "tick", "thickness": 2.5, "color": INK, "size": 36}
    middle = quantity("median", scale={"zero": False}, title="Weibull shape k")
    tips = [name("component"), quantity("median", format=".4f")]
    own = {"x": x, "y": k_axis(), "xOffset": _offset(), "tooltip": tooltips()}
    layers = [
        rule_at(anchor, words="an untrained Gaussian matrix"),
        {"mark": tick, "encoding": {"x": x, "y": middle, "tooltip": tips}},
        {"mark": dot, "encoding": own | class_scales(table["weight_class"])},
    ]
    if table["k"].isna().any():
        cross = crosses(x, "k")
        layers.append(cross | {"encoding": cross["encoding"] | {"xOffset": _offset()}})
    return layers


def cohort(fits: xr.Dataset) -> Spec:
    """Specify `weibnb.charts.doors.cohort`: its parameters, and what it raises."""
    fits = prepare(fits, light=True, dims=DIMS)
    text = "Medians of k among the published entries"
    require_protocol(fits, "The cohort")
    if fits["k"].size == 0 or not bool(fits["k"].notnull().any()):
        return notice(heading(fits, text), _tables.excluded(fits, cells(fits)))
    parts, notes = [], []
    for label in fits["model"].values:
        model = last_step(fits.sel(model=[label]))
        own = summarise(model).isel(model=0, step=-1)
        columns = {"component": own["component"].values, "k": own["k"].values}
        table = pd.DataFrame(columns | {"se": own["standard_error"].values})
        parts.append(table.dropna(subset="k").assign(model=printable(label)))
        notes.append(_nearest(model, shortened(label)))
    own_table = pd.concat(parts, ignore_index=True)
    own_table["component"] = own_table["component"].map(printable)
    names = list(dict.fromkeys(own_table["component"]))
    own_table["low"] = own_table["k"] - own_table["se"].fillna(0)
    own_table["high"] = own_table["k"] + own_table["se"].fillna(0)
    layers = _cohort_layers(own_table, names, gaussian_anchor(fits).k)
    heads = heading(fits, text, "ticks: published entries · dashed: a Gaussian", *notes[:3])
    width = max(64 * len(names), 240)
    return {"layer": layers, "width": width, "height": 280, "title": heads}


def _nearest(model: xr.Dataset, label: str) -> str:
    published = reference_cohort()["component"].values
    shared = model["k"].notnull() & model["component"].isin(published)
    if not bool(shared.any()):
        return f"{label}: no published entry has its components"
    first = rank_entries(model).iloc[0]
    note = f" ({first['note']})" if first["note"] else ""
    return f"{label}: nearest {first['entry']}, distance {first['distance']:.2f}{note}"


def _cohort_layers(own: pd.DataFrame, names: list[str], anchor: float) -> list[Spec]:
    place: Spec = {"x": _component_axis(names), "y": k_axis()}
    looks = model_scales(own["model"])
    models = looks["color"]["scale"]["domain"]
    apart = {"domain": models, "paddingOuter": 0.6}
    side = {"xOffset": name("model", scale=apart)} if len(models) > 1 else {}
    tips = [name("component"), quantity("k", format=".4f")]
    tick = {"type": "tick", "color": INK, "thickness": 1.5, "size": 30}
    low = quantity("low", scale={"zero": False}, title="Weibull shape k")
    bars = place | side | {"color": looks["color"], "y": low, "y2": {"field": "high"}}
    error = quantity("se", title="standard error", format=".2g")
    dots = {"color": looks["color"], "shape": looks["shape"],
            "tooltip": [name("model"), *tips, error]}  # fmt: skip
    return [
        rule_at(anchor, words="an untrained Gaussian matrix"),
        {
            "data": _entries(names),
            "mark": tick,
            "encoding": place | {"tooltip": [name("model", title="published"), *tips]},
        },
        {"data": own, "mark": {"type": "rule", "strokeWidth": 2}, "encoding": bars},
        {
            "data": own,
            "mark": {"type": "point", "filled": True, "size": 90},
            "encoding": place | side | dots,
        },
    ]


def outlier_strip(fits: xr.Dataset) -> Spec:
    """Specify `weibnb.charts.doors.outlier_strip`: its parameters, and what it raises."""
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table, text = cells(fits, {"value": map_values(fits, "outlier")}), TITLES["outlier"]
    if table.empty or table["value"].isna().all():
        return notice(heading(fits, text), _tables.excluded(fits, table))
    gaps = counted(table["reason"])
    table = _tables.panels(table, "model")
    limit = FACTORS["gaussian"]
    table["flag"] = np.where(table["value"] > limit, "layer " + table["layer"].astype(str), "")
    far = table["value"].rank(ascending=False) > 12
    table.loc[far, "flag"] = ""
    table, note = _tables.thinned(table.sort_values("value", ascending=False), "layer")
    names = [label for label in map(printable, fits["component"].values)
             if label in set(table["component"])]  # fmt: skip
    scale = {"type": "log", "nice": False, "padding": 24}
    place: Spec = {
        "x": quantity("value", scale=scale, title="largest |w| / expected largest of a Gaussian",
                      axis={"values": _RATIOS, "format": "~g"}),
        "y": name("component", title=None, scale={"domain": names}, axis={"labelLimit": 220}),
    }  # fmt: skip
    looks = class_scales(table["weight_class"]) | {"tooltip": tooltips("value=max ratio")}
    flags = {"type": "text", "dy": -9, "color": INK, "fontSize": 10}
    layers = [
        rule_at(limit, "x", "an outlier by weibnb.find_outliers"),
        rule_at(1.0, "x", "a Gaussian"),
        {
            "mark": {"type": "point", "filled": True, "size": 50, "opacity": 0.85},
            "encoding": place | looks,
        },
        {"mark": flags, "encoding": place | {"text": name("flag")}},
    ]
    rules = "dashed: 1, a Gaussian; 3, an outlier"
    heads = heading(fits, text, rules, note, gaps)
    height = max(26 * len(names), 80)
    return facet(layers, table, heads, columns=2, width=380, height=height)
