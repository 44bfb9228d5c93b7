"""k by component beside what was published: every matrix with its class band, and the cohort."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.marks import (
    class_scales,
    crosses,
    facet,
    gaussian_rule,
    heading,
    k_axis,
    layer,
    model_scales,
    names_below,
    nominal,
    nothing_drawn,
    quantity,
    room_for,
    tooltips,
    width_within,
)
from weibnb.charts.sentences import listed, summary, where_low
from weibnb.charts.tables import MAX_ROWS, cells, components, panels, thinned
from weibnb.charts.vega import INK
from weibnb.diagnostics.bands import BANDS, Band, summarise
from weibnb.diagnostics.cohorts import nearest_published, reference_cohort
from weibnb.diagnostics.verdicts import PUBLISHED_PROTOCOL, require_protocol
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare, protocol_of
from weibnb.fits.select import last_step
from weibnb.messages import check_choice, counted, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import xarray as xr

    from weibnb.charts.vega import Spec

#: What `class_bands` shows, and what it says where it has no band.
BANDS_TITLE = "Weibull shape k by component"
COHORT_TITLE = "Medians of k among the published entries"
COHORT_NOTE = "ticks: published entries · dashed: a Gaussian"
#: Title and note of the medians by another protocol.
COHORT_ALONE = (
    "Medians of k",
    "dashed: a Gaussian · no published entries: they were fitted by {}",
)
#: Models of a cohort whose nearest entry is named.
MOST_NEAREST = 3
_FEW_MODELS = 3  # beside each other, or above
_BAR = "bar: median over layers"
NO_BAND = ["no band: it was published for another protocol", _BAR]
# Within the axis: a clip is found by its id in the page, see `between` of `marks`.
_INSIDE: Spec = {"field": "beyond", "equal": "no"}
_BARRED: Spec = {"field": "barred", "equal": "yes"}
# Distance between the quartiles of k from which on an axis holds three of them to either side.
_LEAST_SPREAD = 0.1


@as_chart
def class_bands(
    fits: xr.Dataset,
    *,
    band: str | Band = "transmission-feed-forward",
    reference: bool = True,
) -> Spec:
    """Draw k of every matrix by component, with medians, a published band and published entries.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 12 models.
    band : str or Band
        A name in `weibnb.diagnostics.bands.BANDS`, or your own band.
    reference : bool
        Whether the medians of the published entries are drawn, at the right edge.

    Returns
    -------
    altair chart
        Within a component the layers run from left to right. Band and entries are left out if
        the fits have another protocol; the subtitle says so.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, has too many models, or the band is unknown.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = class_bands(reference_cohort().isel(model=[0]), band="selection-gqa")
    """
    if not isinstance(band, Band):
        check_choice("band", band, BANDS)
        band = BANDS[band]
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table = cells(fits)
    if not table["k"].notna().any():
        return nothing_drawn(fits, table, BANDS_TITLE)
    whole = _placed(table)
    table, note = thinned(whole, "layer", rows=MAX_ROWS - 500)
    low, high = _within(table["k"])
    table["beyond"] = np.select([table["k"] < low, table["k"] > high], ["below", "above"], "no")
    names = components(table)
    inside = table.loc[table["beyond"] == "no", "k"]
    ends = _ends([inside.min(), inside.max(), band.lower, band.upper], fits)
    table["barred"] = np.where(table["median"].between(ends[0], ends[1]), "yes", "no")
    notes, layers = NO_BAND, []
    if protocol_of(fits) == PUBLISHED_PROTOCOL:
        notes = band_notes(band, reference=reference)
        layers = _band_layers(names, band, ends[0], reference=reference)
        notes += _below(names, ends[0]) if reference else []
    layers += [gaussian_rule(fits), *_matrices(table, names)]
    found = where_low(whole, gaussian_anchor(fits).k)
    more = [BANDS_TITLE] if found else []
    heads = heading(fits, found or BANDS_TITLE, *more, *notes, _told_beyond(table), note)
    told = {"description": summary(whole, "k", BANDS_TITLE)}
    return _drawn_bands(layers, table, ends, heads) | told


def empty_bands(fits: xr.Dataset, band: Band) -> Spec:
    """Draw `class_bands` without matrices, with every layer that those of a part may need.

    Its rows fill it, and its axis is still to be set.
    """
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table = _placed(cells(fits)).assign(beyond="no", barred="yes")
    names, ends = components(table), [0.0, 1.0]
    layers = _band_layers(names, band, ends[0], reference=True, every=True)
    layers += [gaussian_rule(fits), *_matrices(table, names, every=True)]
    drawn = _drawn_bands(layers, table, ends, heading(fits, BANDS_TITLE))
    return drawn | {"data": drawn["data"].head(0)}


def band_notes(band: Band, *, reference: bool = True) -> list[str]:
    """Say what is drawn beside the matrices."""
    edges = f"shaded: {shortened(band.name)}, {band.lower:g} to {band.upper:g}"
    diamonds = " · diamonds: published entries" if reference else ""
    return [f"{edges} · dashed: a Gaussian", _BAR + diamonds]


def _placed(table: pd.DataFrame) -> pd.DataFrame:
    """Place the layers of every component from left to right, and take medians over them."""
    table = panels(table, "model")
    groups = table.groupby(["model", "component"])
    rank, most = groups["layer"].rank(method="dense"), groups["layer"].transform("nunique")
    offset = np.where(most > 1, (rank - 1) / (most - 1).clip(lower=1) - 0.5, 0.0) * 0.7
    return table.assign(offset=offset, median=groups["k"].transform("median"))


def _drawn_bands(layers: list[Spec], table: pd.DataFrame, ends: list[float], heads: Spec) -> Spec:
    names = components(table)
    below = "component; its layers from left to right"
    _frame(layers, ends, below, names, table["place"].nunique())
    width = max(room_for(names) * len(names), 160)
    height = 280 if table["place"].nunique() <= _FEW_MODELS else 150
    return facet(layers, table, heads, columns=2, width=width, height=height)


def _component_axis(names: list[str]) -> Spec:
    return nominal("component", scale={"domain": names, "paddingInner": 0.25}, title=None)


def _ends(values: Sequence[float], fits: xr.Dataset) -> list[float]:
    """Give the ends of the axis: published entries far below do not squash the rest."""
    anchor = gaussian_anchor(fits).k
    low, high = min([*values, anchor - 0.1]), max([*values, anchor])
    return [float(np.floor(20 * low - 0.2) / 20), float(np.ceil(20 * high + 0.2) / 20)]


def _within(k: pd.Series[float]) -> tuple[float, float]:
    """Give the range of k that an axis holds: a few values far outside do not squash the rest."""
    first, last = k.quantile([0.25, 0.75])
    reach = 3 * max(last - first, _LEAST_SPREAD)
    return float(first - reach), float(last + reach)


def _told_beyond(table: pd.DataFrame) -> str:
    """Count the matrices beyond the axis, with the farthest on each side."""
    words = []
    for side, end, farthest in (("below", "bottom", "min"), ("above", "top", "max")):
        own = table.loc[table["beyond"] == side, "k"]
        if len(own):
            number = counted(len(own), "matrix", "matrices")
            words.append(f"triangles at the {end}: {number} {side}, to {own.agg(farthest):.3f}")
    return " · ".join(words)


def _frame(
    layers: list[Spec], ends: list[float], title: str | None, names: list[str], panels: int = 1
) -> None:
    """Give all layers the same axes."""
    for each in layers:
        place = each["encoding"]
        if "field" in place["y"]:
            place["y"] |= {"scale": {"domain": ends}}
        if each["mark"]["type"] in ("bar", "tick"):
            each["mark"] |= {"size": width_within(each["mark"]["size"], names, panels=panels)}
        if "x" in place:
            place["x"] = place["x"] | {"title": title, "axis": names_below(names, panels=panels)}


def _offset() -> Spec:
    return quantity("offset", scale={"domain": [-0.5, 0.5]})


def _entries(names: list[str]) -> pd.DataFrame:
    """Medians of the published entries for these components."""
    entries = cells(prepare(reference_cohort(), light=True, dims=DIMS))
    return entries.loc[entries["component"].isin(names), ["model", "component", "k"]]


def _entry_tips() -> list[Spec]:
    k = quantity("k", format=".4f")
    return [nominal("model", title="published"), nominal("component"), k]


def _band_layers(
    names: list[str], band: Band, floor: float, *, reference: bool, every: bool = False
) -> list[Spec]:
    """Band over the components it was published for, and medians of the published entries."""
    place: Spec = {"x": _component_axis(names), "y": k_axis()}
    held = [label for label in names if label.rpartition(".")[2] in band.components]
    box = pd.DataFrame({"component": held, "k": band.lower, "high": band.upper})
    tips = [nominal("component"), quantity("k", title="lower"), quantity("high", title="upper")]
    edges = place | {"y2": {"field": "high"}, "tooltip": tips}
    shade: Spec = {"color": INK, "opacity": 0.35, "size": 38, "orient": "vertical"}
    layers = [layer("bar", edges, data=box, **shade)] if held else []
    if not reference:
        return layers
    entries = _entries(names).assign(offset=0.46)
    beside = place | {"xOffset": _offset(), "tooltip": _entry_tips()}
    diamond: Spec = {"shape": "diamond", "size": 22, "color": INK, "opacity": 0.9}
    return [*layers, *_published(entries, beside, floor, "point", every=every, **diamond)]


def _below(names: list[str], floor: float) -> list[str]:
    """Count the published entries below the axis, in a note where there are any."""
    number = int((_entries(names)["k"] < floor).sum())
    return [f"arrows: {number} published entries below the axis"] if number else []


def _published(
    entries: pd.DataFrame, place: Spec, floor: float, mark: str, *, every: bool, **looks: Any
) -> list[Spec]:
    """Mark published entries; an arrow at the bottom is one below the axis, its tooltip has k."""
    entries = entries.assign(below=np.where(entries["k"] < floor, "yes", "no"))
    within, under = ({"field": "below", "equal": word} for word in ("no", "yes"))
    layers = [layer(mark, place, data=entries, where=within, **looks)]
    if every or (entries["below"] == "yes").any():
        edge = place | {"y": {"value": "height"}}
        arrow: Spec = {"shape": "triangle-down", "fill": INK, "stroke": INK, "yOffset": -5}
        layers.append(layer("point", edge, data=entries, where=under, size=40, **arrow))
    return layers


def _matrices(table: pd.DataFrame, names: list[str], *, every: bool = False) -> list[Spec]:
    """Draw medians, matrices, and crosses at the bottom for matrices without k."""
    x = _component_axis(names)
    tips = [nominal("component"), quantity("median", format=".4f")]
    median = {"x": x, "y": k_axis("median"), "tooltip": tips}
    own = {"x": x, "y": k_axis(), "xOffset": _offset(), "tooltip": tooltips(table)}
    dots = own | class_scales(table["weight_class"])
    layers = [
        layer("tick", median, where=_BARRED, thickness=2.5, color=INK, size=36),
        layer("point", dots, where=_INSIDE, size=42, filled=True, opacity=0.85, strokeWidth=0),
    ]
    for side, edge, shape in (("below", "height", "down"), ("above", 0, "up")):
        if every or (table["beyond"] == side).any():
            at = own | {"y": {"value": edge}, "color": dots["color"]}
            mark: Spec = {"shape": f"triangle-{shape}", "size": 60, "filled": True, "opacity": 1}
            mark["yOffset"] = -6 if side == "below" else 6
            where = {"field": "beyond", "equal": side}
            layers.append(layer("point", at, where=where, **mark))
    if every or table["k"].isna().any():
        cross = crosses(table, x, "k")
        layers.append(cross | {"encoding": cross["encoding"] | {"xOffset": _offset()}})
    return layers


@as_chart
def cohort(fits: xr.Dataset) -> Spec:
    """Draw the medians of up to 6 models among the 12 published entries, component by component.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by rank regression at trim 10-90 %: the last step of each model.

    Returns
    -------
    altair chart
        Ticks are the published entries, marks the models' medians over layers ± one standard
        error. The subtitle names the entry that `weibnb.nearest_published` finds nearest.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits by this protocol, or has more than 6 models.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = cohort(reference_cohort().isel(model=[0]))
    """
    fits = prepare(fits, light=True, dims=DIMS)
    text = COHORT_TITLE
    require_protocol(fits, "The cohort")
    if not bool(fits["k"].notnull().any()):
        return nothing_drawn(fits, cells(fits), text)
    parts, notes = [], []
    for label in fits["model"].values:
        model = last_step(fits.sel(model=[label]))
        own = summarise(model).isel(model=0, step=-1)
        columns = {"component": own["component"].values, "k": own["k"].values}
        columns["component_order"] = np.arange(own.sizes["component"])
        table = pd.DataFrame(columns | {"se": own["standard_error"].values}).dropna(subset="k")
        if len(table):
            parts.append(table.assign(model=printable(label)))
            notes.append(_nearest(model, shortened(label)))
    table = pd.concat(parts, ignore_index=True)
    table["component"] = table["component"].map(printable)
    error = table["se"].fillna(0)
    table["low"], table["high"] = table["k"] - error, table["k"] + error
    ends = _ends([table["low"].min(), table["high"].max()], fits)
    heads = heading(fits, text, COHORT_NOTE, *notes[:MOST_NEAREST])
    heads["subtitle"] += _below(components(table), ends[0])
    rows = table[["model", "component", "k"]].itertuples(index=False, name=None)
    told = listed([f"{shortened(m)} {shortened(c)} {k:.4g}" for m, c, k in rows])
    return _drawn_cohort(fits, table, heads, ends) | {"description": f"{text}: {told}"}


def empty_cohort(fits: xr.Dataset) -> Spec:
    """Draw `cohort` without medians, with every layer that those of a part may need.

    Its axis is still to be set.
    """
    fits = prepare(fits, light=True, dims=DIMS)
    table = cells(fits)[["model", "component", "component_order"]].drop_duplicates()
    table = table.assign(k=0.0, se=0.0, low=0.0, high=0.0)
    drawn = _drawn_cohort(fits, table, heading(fits, COHORT_TITLE), [0.0, 1.0], every=True)
    rows = table.head(0)  # one table for all layers
    layers = [one | {"data": rows} if one.get("data") is table else one for one in drawn["layer"]]
    return drawn | {"layer": layers}


def _drawn_cohort(
    fits: xr.Dataset, table: pd.DataFrame, heads: Spec, ends: list[float], *, every: bool = False
) -> Spec:
    names = components(table)
    layers = [gaussian_rule(fits), *_medians(table, names, ends[0], every=every)]
    _frame(layers, ends, None, names)
    width = max(room_for(names) * len(names), 240)
    return {"layer": layers, "width": width, "height": 280, "title": heads}


def _nearest(model: xr.Dataset, label: str) -> str:
    """Name the published entry that is nearest to a model."""
    published = reference_cohort()["component"].values
    shared = model["k"].notnull() & model["component"].isin(published)
    if not bool(shared.any()):
        return f"{label}: no published entry has its components"
    ranked = nearest_published(model)
    first = ranked[ranked["distance"] > 0].iloc[0]  # a published entry is not its own neighbour
    note = f" ({first['note']})" if first["note"] else ""
    return f"{label}: nearest {first['entry']}, distance {first['distance']:.2f}{note}"


def _medians(own: pd.DataFrame, names: list[str], floor: float, *, every: bool) -> list[Spec]:
    """Medians of the published entries, and those of the models with their standard errors."""
    place: Spec = {"x": _component_axis(names), "y": k_axis()}
    looks = model_scales(own["model"])
    models = looks["color"]["scale"]["domain"]
    if len(models) == 1:
        looks = {name: one | {"legend": None} for name, one in looks.items()}
    apart = {"domain": models, "paddingOuter": 0.6}
    side = place | ({"xOffset": nominal("model", scale=apart)} if len(models) > 1 else {})
    bars = side | {"color": looks["color"], "y": k_axis("low"), "y2": {"field": "high"}}
    error = quantity("se", title="standard error", format=".2g")
    tips = [nominal("model"), nominal("component"), quantity("k", format=".4f"), error]
    dots = side | {"color": looks["color"], "shape": looks["shape"], "tooltip": tips}
    tick: Spec = {"color": INK, "thickness": 1.5, "size": 30}
    told = place | {"tooltip": _entry_tips()}
    return [
        *_published(_entries(names), told, floor, "tick", every=every, **tick),
        layer("rule", bars, data=own, strokeWidth=2),
        layer("point", dots, data=own, filled=True, size=90),
    ]
