"""Charts along the layers: maps of a number or of a difference, and profiles of k."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np
import xarray as xr

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.marks import (
    crosses,
    detail,
    facet,
    gaussian_rule,
    heading,
    k_axis,
    layer,
    model_scales,
    nominal,
    nothing_drawn,
    ordinal,
    quantity,
    swatches,
    tooltips,
)
from weibnb.charts.sentences import summary, where_low, where_lower
from weibnb.charts.tables import MAX_PANELS, cells, components, layer_medians, panels, thinned
from weibnb.charts.vega import DIVERGING, INK, ON_PALE, ON_STRONG
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare
from weibnb.fits.select import last_step
from weibnb.messages import check_choice, grouped, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from weibnb.charts.vega import Spec

MapValue = Literal["k", "lam", "r2", "ks", "z", "outlier"]

#: What a map of each value is called.
TITLES = {
    "k": "Weibull shape k",
    "lam": "Weibull scale λ (units of the weights)",
    "r2": "r² of the Weibull plot",
    "ks": "Kolmogorov-Smirnov distance within the trim",
    "z": "Distance of k from the Gaussian anchor, in standard errors",
    "outlier": "Largest |w| over the maximum expected of a Gaussian",
}
#: What a difference and a profile are called.
DIFFERENCE = "Difference of k"
PROFILE = "Weibull shape k by layer, ± one standard error"
_LEGENDS = {"lam": "λ", "r2": "r²", "ks": "KS", "outlier": "max ratio"}
# Width of a cell with a number, height of a cell, and distance between the strokes of a hatched
# cell, in pixels.
_WIDTH, _HEIGHT, _STROKES = 44, 24, 6
# Width of a cell that is alone in its row.
_WIDE = 88
# Standard errors from the middle of the colours to their ends, at least; without errors, k.
_REACH, _REACH_OF_K = 6.0, 0.05
# Maximum number of layers at which dots stand apart: of a profile, and of a map.
_DOTTED = 60
# Above this number of cells the tooltips are short.
_FULL = 500
_KNOWN, _MISSING = {"field": "value", "valid": True}, {"field": "value", "valid": False}


@as_chart
def layer_map(fits: xr.Dataset, *, value: MapValue = "k") -> Spec:
    """Draw a number of every matrix as a map of layers and components.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: at most 12 pairs of model and step, one small multiple each.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        An estimate; the distance of k from the Gaussian anchor in standard errors; or the largest
        |w| over the maximum that a Gaussian with the same body is expected to have.

    Returns
    -------
    altair chart
        The colours of k and z diverge from the Gaussian anchor. A hatched cell is a matrix
        without this number; its tooltip gives the reason. Medians are drawn over experts, and
        over bins of layers where a map would have more than 2,000 cells; the subtitle says so.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits or has too many pairs, or `value` is unknown.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = layer_map(reference_cohort().isel(model=[0, 1]), value="lam")
    """
    check_choice("value", value, get_args(MapValue))
    fits = prepare(fits, light=True, dims=DIMS)
    table = cells(fits, {"value": map_values(fits, value)})
    if not table["value"].notna().any():
        return nothing_drawn(fits, table, TITLES[value])
    table, note = layer_medians(panels(table, "model", "step"))
    digits = {"k": ".3f", "z": ".1f"}.get(value, ".3g")
    colours = None
    if value == "k":
        colours = Colours(gaussian_anchor(fits).k, "a Gaussian", least_reach(table["k_se"]))
    elif value == "z":
        colours = Colours(0.0, "a Gaussian", _REACH)
    found = where_low(table, gaussian_anchor(fits).k) if value == "k" else ""
    title = heading(fits, found or TITLES[value], TITLES[value] if found else "", note)
    drawn = heat(table, title, _LEGENDS.get(value, value), colours=colours, digits=digits)
    told = summary(table, "value", TITLES[value])
    return drawn | {"description": f"{found}. {told}" if found else told}


class Colours(NamedTuple):
    """Colours that diverge from a middle, which noise does not fill."""

    middle: float
    words: str  # what the middle is
    least: float  # distance from the middle to the ends of the colours, at least


def least_reach(errors: pd.Series[Any]) -> float:
    """Give a distance that noise does not reach, of all but the least certain matrices."""
    error = errors.astype(float).quantile(0.9)
    return _REACH * float(error) if error > 0 else _REACH_OF_K


def map_values(fits: xr.Dataset, value: MapValue) -> xr.DataArray:
    """Return the number of every matrix that a map of `value` shows."""
    if value == "outlier":
        strength = outlier_strength(fits)["gaussian_max"]
        return fits["max_abs"] / strength.where(strength > 0)
    if value == "z":
        return (fits["k"] - gaussian_anchor(fits).k) / _variable(fits, "k_se")
    return _variable(fits, value)


def _variable(fits: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable, or NaN where the fits do not hold it."""
    found: xr.DataArray = fits[name] if name in fits else xr.full_like(fits["k"], np.nan)
    return found


@as_chart
def difference(fits: xr.Dataset, first: Mapping[str, Any], second: Mapping[str, Any]) -> Spec:
    """Map how far k of one model or step differs from that of another, cell by cell.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits that hold both.
    first, second : Mapping
        Labels that choose one model and one step each, as for ``fits.sel``. Layers, components
        and experts must be the same in both.

    Returns
    -------
    altair chart
        k of `second` minus k of `first`. A dot marks cells where the difference is below two
        standard errors, the noise floor. In a hatched cell at least one of the two has no k.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a choice is not one model and one step of `fits`, or
        the two differ in layers, components or experts.

    Notes
    -----
    The standard error treats both fits as independent; for two steps of one run it is too large.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> entries = reference_cohort()
    >>> chart = difference(entries, {"model": "pythia-70m"}, {"model": "llama-3-8b"})
    """
    fits = prepare(fits, light=True, dims=DIMS)
    a, b = choose(fits, first, "first"), choose(fits, second, "second")
    _check_same_cells(a, b, first, second)
    gone = (a["status"].values == "absent") | (b["status"].values == "absent")
    joined = b.assign(status=b["status"].copy(data=np.where(gone, "absent", b["status"])))
    noise = 2 * np.hypot(_variable(a, "k_se").values, _variable(b, "k_se").values)
    first_k, second_k = a["k"].values, b["k"].values
    numbers = {
        "value": second_k - first_k, "noise": noise, "first_k": first_k, "second_k": second_k
    }  # fmt: skip
    extra = {name: b["k"].copy(data=data) for name, data in numbers.items()}
    table = cells(joined, extra, unknown="not fitted in `first`")
    differ = [d for d in ("model", "step") if a[d].item() != b[d].item()] or ["step"]
    words = {"model": "", "step": "step "}
    names = [", ".join(words[d] + shortened(grouped(s[d].item())) for d in differ) for s in (a, b)]
    notes = [f"{names[1]} minus {names[0]}"]
    if not table["value"].notna().any():
        return nothing_drawn(joined, table, DIFFERENCE, *notes)
    found = where_lower(table)
    table, note = layer_medians(panels(table, "model"))
    tips = ("value=difference", "noise=two standard errors", "first_k=first k", "second_k=second k")
    text = DIFFERENCE
    title = heading(joined, found or text, text if found else "", *notes, note)
    colours = Colours(0.0, "no change", least_reach(table["noise"] / 2))
    drawn = heat(table, title, "Δk", colours=colours, tips=tips, digits=".3f")
    return drawn | {"description": summary(table, "value", f"k of {notes[0]}")}


def choose(fits: xr.Dataset, picked: Mapping[str, Any], argument: str) -> xr.Dataset:
    """Select one model and one step, or raise."""
    if not isinstance(picked, Mapping):
        raise TypeError(
            f"`{argument}` must be a mapping of dims to labels of `fits`, got {picked!r}. "
            f"Write {argument}={{'model': ..., 'step': ...}}."
        )
    try:
        chosen: xr.Dataset = prepare(fits.sel(dict(picked)), dims=DIMS, mixed_protocols=True)
    except (KeyError, ValueError, TypeError, IndexError) as err:
        there = "; ".join(f"{dim}s {_labels(fits, dim)}" for dim in ("model", "step"))
        raise ValueError(
            f"`{argument}` must be labels of `fits`, got {dict(picked)!r}. Choose from {there}."
        ) from err
    for dim in ("model", "step"):
        if chosen.sizes[dim] != 1:
            raise ValueError(
                f"`{argument}` must choose one {dim}, got {dict(picked)!r}: "
                f"{_labels(chosen, dim)}. Add {dim!r} to `{argument}`."
            )
    return chosen


def _labels(fits: xr.Dataset, dim: str) -> str:
    """Write the first labels of a dim."""
    labels = fits[dim].values.tolist()
    shown = [*map(repr, labels[:6]), *(["…"] if len(labels) > 6 else [])]
    return ", ".join(shown) or "(none)"


def _check_same_cells(
    a: xr.Dataset, b: xr.Dataset, first: Mapping[str, Any], second: Mapping[str, Any]
) -> None:
    """Raise unless both choices hold the same layers, components and experts."""
    for dim in ("layer", "component", "expert"):
        left, right = (s[dim].values if dim in s.coords else np.array([]) for s in (a, b))
        if not np.array_equal(left, right):
            raise ValueError(
                f"`first` and `second` must choose the same {dim}s, got {dict(first)!r} and "
                f"{dict(second)!r}. Select them in `fits` instead: fits.sel({dim}=[...])."
            )


def heat(
    table: pd.DataFrame,
    title: Spec,
    name: str,
    *,
    colours: Colours | None = None,
    tips: Sequence[str] = ("value",),
    digits: str,
) -> Spec:
    """Draw a map of the numbers in column ``value``, in colours that ascend or diverge."""
    value, notes = table["value"], list(title["subtitle"])
    domain, dark = _shades(value, colours)
    table = table.assign(strong=np.where(dark, "yes", "no"))
    bands = table.sort_values("order")["band"].drop_duplicates().tolist()
    few = len(bands) <= MAX_PANELS
    step = _WIDTH if few else max(4, min(26, 700 // len(bands)))
    place = _place(table, bands, tips)
    colour = quantity("value", title=name, **_colour_scale(domain, colours))
    layers = [layer("rect", place | {"color": colour}, where=_KNOWN)]
    if missing := int(value.isna().sum()):
        layers += _hatched(place, step)
        notes.append(f"hatched: {missing:,} without a number (hover for the reason)")
    if few:
        on_strong, on_pale = (ON_STRONG, ON_PALE) if colours else ("white", "black")
        white = {"test": {"field": "strong", "equal": "yes"}, "value": on_strong}
        ink = {"condition": white, "value": on_pale}
        number = place | {"text": quantity("value", format=digits), "color": ink}
        layers.append(layer("text", number, where=_KNOWN, fontSize=11, dy=-1))
    if "noise" in table and (quiet := value.abs() < table["noise"]).any():
        if len(bands) <= _DOTTED:
            table["quiet"] = np.where(quiet, "yes", "no")
            dot: Spec = {"shape": "circle", "size": 9, "filled": True, "yOffset": 8}
            dot["color"] = ON_PALE if colours else "black"
            layers.append(layer("point", place, where={"field": "quiet", "equal": "yes"}, **dot))
            notes.append("dot: below two standard errors")
        else:  # dots would touch each other
            notes.append("noise is pale: hover for two standard errors of a cell")
    if len(bands) == 1:
        step = _WIDE  # with room for the name of a panel
    across = max(1, min(4, 900 // (step * len(bands) + 60)))
    if len(bands) > 1 and len(set(table["model"])) > 1:
        across = 1  # layers of all models below each other
    size: Spec = {"width": {"step": step}, "height": {"step": _HEIGHT}}
    return facet(layers, table, title | {"subtitle": notes}, columns=across, **size)


def _colour_scale(domain: list[float], colours: Colours | None) -> Spec:
    """Scale and legend of a map; the legend of colours that diverge names their middle."""
    if colours is None:
        scale: Spec = {"domain": domain, "scheme": "viridis"}
        return {"scale": scale, "legend": swatches(domain[0], domain[-1])}
    scale = {"domain": domain, "range": list(DIVERGING), "interpolate": "rgb"}
    legend = swatches(domain[0], domain[-1], middle=colours.words, format=".4~f")
    return {"scale": scale, "legend": legend}


def _place(table: pd.DataFrame, bands: list[str], tips: Sequence[str]) -> Spec:
    """Encode layer, component and tooltip of a cell."""
    axis = {"labelOverlap": True, "labelAngle": 0, "ticks": len(bands) <= 4 * MAX_PANELS}
    names = components(table)
    return {
        "x": ordinal("band", scale={"domain": bands}, title="layer", axis=axis),
        "y": nominal("component", scale={"domain": names}, title=None, axis={"labelLimit": 220}),
        "tooltip": tooltips(table, *tips, full=len(table) <= _FULL),
    }


def _hatched(place: Spec, width: int) -> list[Spec]:
    """Draw grey cells with diagonal strokes for rows without a number."""
    across, up = width / 2 - 0.5, _HEIGHT / 2 - 0.5
    strokes = []
    # a stroke is x + y = at, cut off where it leaves the cell
    for at in np.arange(-across - up + _STROKES / 2, across + up, _STROKES):
        first, last = max(-across, at - up), min(across, at + up)
        strokes.append(f"M{first:.4g},{at - first:.4g}L{last:.4g},{at - last:.4g}")
    reason = place | {"tooltip": [nominal("reason"), *place["tooltip"]]}
    box: Spec = {"fill": INK, "fillOpacity": 0.12, "stroke": INK, "strokeOpacity": 0.5}
    # a shape of size 4 is drawn in pixels
    lines: Spec = {"shape": "".join(strokes), "size": 4, "filled": False}
    lines |= {"stroke": INK, "strokeWidth": 1, "opacity": 0.9}
    return [
        layer("rect", reason, where=_MISSING, **box),
        layer("point", reason, where=_MISSING, **lines),
    ]


def _shades(value: pd.Series[Any], colours: Colours | None) -> tuple[list[float], pd.Series[Any]]:
    """Return the domain of the colours, and which cells are dark under their number."""
    low, high = float(value.min()), float(value.max())
    if colours is None:
        high = high if high > low else low + (abs(low) or 1.0)
        return [low, high], value < low + 0.5 * (high - low)
    middle = colours.middle
    reach = max(abs(low - middle), abs(high - middle), colours.least) or 1.0
    digits = 1 - int(np.floor(np.log10(reach)))
    reach = float(np.ceil(reach * 10.0**digits) / 10.0**digits)  # a round one
    ends = np.linspace(middle - reach, middle + reach, len(DIVERGING))
    return ends.tolist(), (value - middle).abs() > 0.75 * reach


@as_chart
def depth_profile(fits: xr.Dataset) -> Spec:
    """Draw k along the layers of each component, with standard errors.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 6 models.

    Returns
    -------
    altair chart
        One small multiple per component; models differ in colour, shape and dash.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, has more than 6 models, or too many components.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> chart = depth_profile(reference_cohort().isel(model=[0]))
    """
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table, text = cells(fits), PROFILE
    if not table["k"].notna().any():
        return nothing_drawn(fits, table, text)
    found = where_low(table, gaussian_anchor(fits).k)
    looks = model_scales(table["model"])
    table, note = thinned(panels(table, "component"), "layer")
    heads = heading(fits, found or text, text if found else "", "dashed: a Gaussian", note)
    return _drawn_profile(fits, table, looks, heads)


def empty_profile(fits: xr.Dataset) -> Spec:
    """Draw `depth_profile` without rows, for those of any one component of up to 6 models.

    They need ``low`` and ``high``, k ± one standard error, and what rows of `layer_map` have.
    """
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    heads = heading(fits, PROFILE, "dashed: a Gaussian")
    table = cells(fits).assign(place=0)
    looks = model_scales(table["model"])
    drawn = _drawn_profile(fits, table, looks, heads, full=len(table) <= _FULL)
    return drawn | {"data": drawn["data"].head(0)}


def _drawn_profile(
    fits: xr.Dataset, table: pd.DataFrame, looks: Spec, heads: Spec, *, full: bool = True
) -> Spec:
    """Draw the matrices of a table."""
    table["low"], table["high"] = table["k"] - table["k_se"], table["k"] + table["k_se"]
    layers = [gaussian_rule(fits), *_profiles(table, looks, full=full)]
    width = 200 if table["layer"].nunique() <= _DOTTED else 420
    drawn = facet(layers, table, heads, columns=4 if width == 200 else 2, width=width, height=140)
    return drawn | {"description": summary(table, "k", "Weibull shape k by layer")}


def _profiles(table: pd.DataFrame, looks: Spec, *, full: bool) -> list[Spec]:
    """Draw line, points and standard errors of each model, and crosses where k is unknown."""
    few = table["layer"].nunique() <= _DOTTED
    x = ordinal("layer", title="layer", axis={"labelOverlap": True, "labelAngle": 0, "ticks": few})
    if table["model"].nunique() < 2:
        looks |= {channel: looks[channel] | {"legend": None} for channel in ("color", "shape")}
    error = {"y": quantity("low", title="Weibull shape k"), "y2": {"field": "high"}}
    at: Spec = {"x": x, "y": k_axis(), "color": looks["color"]}
    line = at | {"strokeDash": looks["strokeDash"], "detail": detail(table, "model")}
    dots = at | {"shape": looks["shape"], "tooltip": tooltips(table, full=full)}
    faint: Spec = {} if few else {"opacity": 0.35}
    layers = [
        layer("line", line, strokeWidth=1),
        layer("point", dots, filled=True, size=40 if few else 9),
    ]
    if table["k_se"].notna().any():
        layers.insert(0, layer("rule", at | error, strokeWidth=1.5 if few else 1, **faint))
    return [*layers, crosses(table, x, "k")] if table["k"].isna().any() else layers
