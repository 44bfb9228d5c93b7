"""Charts of a training run: k or λ by step, and paths in the plane of λ and k."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.marks import (
    class_scales,
    counted,
    crosses,
    depth_scales,
    detail,
    facet,
    gaussian_rule,
    heading,
    k_axis,
    layer,
    nominal,
    nothing_drawn,
    notice,
    quantity,
    tooltips,
)
from weibnb.charts.sentences import course, where_falls
from weibnb.charts.tables import cells, depth_words, panels, reasons, thinned, with_few_steps
from weibnb.charts.vega import INK, Scale
from weibnb.diagnostics.bands import BANDS
from weibnb.diagnostics.verdicts import PUBLISHED_PROTOCOL
from weibnb.fits.schema import DIMS, VARIABLES, prepare, protocol_of
from weibnb.messages import check_choice

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

# Matrices that a phase portrait names in each panel, and the standard errors that k must move.
_TOLD, _SURELY = 2, 4.0

#: What a phase portrait shows.
PATHS = "Paths in the plane of λ and k"

TrackValue = Literal["k", "lam"]
By = Literal["component", "weight_class"]


@as_chart
def trajectories(
    fits: xr.Dataset,
    *,
    value: TrackValue = "k",
    by: By = "component",
    scale: Scale = "log",
) -> Spec:
    """Draw k or λ by step of a training run, one line per matrix.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of at least two steps.
    value : {"k", "lam"}
        What is drawn; λ in units of the weights.
    by : {"component", "weight_class"}
        What each small multiple holds; with several models, each has its own.
    scale : {"log", "linear"}
        Scale of the steps; on a logarithmic one, step 0 is drawn left of the first other step.

    Returns
    -------
    altair chart
        Layers differ in colour and dash; if there are more than 6, the thirds of their model do.
        With k there is a rule at the Gaussian anchor and, where it applies, a shaded band of
        published feed-forward medians. A cross at the bottom is a matrix without fit.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a word is unknown, or there are too many panels.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> run = {"m": {step: {name: rng.normal(size=(64, 64))} for step in (0, 10)}}
    >>> fits = wb.scan(run)
    >>> fits.step.values.tolist()
    [0, 10]
    >>> chart = trajectories(fits)
    """
    check_choice("value", value, get_args(TrackValue))
    check_choice("by", by, get_args(By))
    check_choice("scale", scale, get_args(Scale))
    fits = prepare(fits, light=True, dims=DIMS)
    fits, fewer = with_few_steps(fits, fits["status"] != "absent")
    table = cells(fits)
    text = title_of_course(value)
    if not table[value].notna().any():
        return nothing_drawn(fits, table, text)
    if _one_step(table):
        return notice(heading(fits, text), ["There is only one step: a line needs two."])
    table["depth"] = depth_words(table)
    table = panels(table, "model", by)
    found = where_falls(table) if value == "k" else ""
    told = course(table, value, VARIABLES[value][0])
    table, note = thinned(table, "layer")
    note = ", ".join(filter(None, (fewer, note)))
    x, table["at"] = step_axis(table["step"].to_numpy(float), scale)
    title = VARIABLES[value][0]
    titles = [title, "(units of the weights)"] if value == "lam" else title
    reach = {"type": "log", "nice": False, "padding": 6} if value == "lam" else {"zero": False}
    y = quantity(value, scale=reach, title=titles, axis={"tickCount": 5})
    layers, words = _backdrop(fits, table) if value == "k" else ([], "")
    each = {"detail": detail(table, "model", "component", "layer"), "tooltip": tooltips(table)}
    line = {"x": x, "y": y, **depth_scales(table), **each}
    layers.append(layer("line", line, strokeWidth=1.6, point={"size": 18}))
    if table[value].isna().any():
        layers.append(crosses(table, x, value))
    heads = heading(fits, found or text, text if found else "", words, note)
    drawn = facet(layers, table, heads, columns=4, width=180, height=150)
    return drawn | {"description": f"{found}. {told}" if found else told}


def title_of_course(value: TrackValue) -> str:
    """Say what trajectories show."""
    return f"{VARIABLES[value][0]} during training, one line per matrix"


def _one_step(table: pd.DataFrame) -> bool:
    return table["step"].nunique() < 2 or table["step"].dtype.kind not in "iuf"


def _backdrop(fits: xr.Dataset, table: pd.DataFrame) -> tuple[list[Spec], str]:
    """Draw the anchor, and the published band in the panels that it applies to."""
    layers, words = [gaussian_rule(fits)], "dashed: a Gaussian"
    band = BANDS["transmission-feed-forward"]
    inside = table["component"].str.rpartition(".")[2].isin(band.components)
    table["low"], table["high"] = np.nan, np.nan
    if protocol_of(fits) != PUBLISHED_PROTOCOL or not inside.any():
        return layers, words
    table.loc[inside, "low"], table.loc[inside, "high"] = band.lower, band.upper
    strip = {"y": k_axis("low") | {"aggregate": "min"}, "y2": {"field": "high", "aggregate": "max"}}
    layers.insert(0, layer("rect", strip, color=INK, opacity=0.35))
    return layers, f"{words} · shaded: published feed-forward medians"


def step_axis(steps: Array, scale: Scale) -> tuple[Spec, Array]:
    """Give the axis of training steps, and the position of each step on it."""
    if scale == "linear":
        axis: Spec = {"tickCount": 4, "format": ",~f"}
        return quantity("at", title="training step", axis=axis), steps
    positive = steps[steps > 0]
    zero = float(positive.min()) / 4
    low, high = np.log10([positive.min(), positive.max()])
    powers = 10.0 ** np.arange(np.floor(low), np.ceil(high) + 1)
    powers = powers[(powers >= positive.min()) & (powers <= positive.max())]
    powers = powers[:: max(int(np.ceil(powers.size / 4)), 1)]
    values = ([zero] if (steps == 0).any() else []) + (powers.tolist() or [float(positive.max())])
    words = f"datum.value <= {zero!r} ? '0' : format(datum.value, ',')"
    axis = {"values": values, "labelExpr": words}
    x = quantity("at", scale={"type": "log", "nice": False}, axis=axis, title="training step")
    return x, np.where(steps > 0, steps, zero)


@as_chart
def phase_portrait(fits: xr.Dataset) -> Spec:
    """Draw the path of every matrix in the plane of λ and k while it trains.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of at least two steps.

    Returns
    -------
    altair chart
        One small multiple per weight class, or per model and class. A ring marks the first step
        of a path, a triangle its last. Strong and with its name: up to two matrices in each
        whose k moved most, by at least 4 standard errors.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or there are too many panels.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> "There is only one step" in str(phase_portrait(reference_cohort()).to_dict())
    True
    """
    fits = prepare(fits, light=True, dims=DIMS)
    gaps = counted(reasons(fits))
    fits, fewer = with_few_steps(fits, fits["k"].notnull())
    table, text = cells(fits), PATHS
    fitted = table["k"].notna()
    known = fitted & (table["lam"] > 0)
    table["reason"] = table["reason"].mask(fitted & ~known, "λ is not positive")
    off = counted(table.loc[fitted & ~known, "reason"])
    if not known.any():
        return nothing_drawn(fits, table, text)
    if _one_step(table):
        return notice(heading(fits, text), ["There is only one step: a path needs two."])
    table = panels(table[known], "model", "weight_class")
    found = where_falls(table)
    told = {"description": f"{text}. {course(table, 'k', 'Weibull shape k')}"}
    table, note = thinned(table, "layer")
    note = ", ".join(filter(None, (fewer, note)))
    key = ["model", "layer", "component", *(["expert"] if "expert" in table else [])]
    steps, groups = table["step"], table.groupby(key, sort=False)["step"]
    ends = [steps == groups.transform("min"), steps == groups.transform("max")]
    table["role"] = np.select(ends, ["begin", "end"], "between")
    table["told"] = _told(table, key)
    named = table["told"].ne("") & ends[1]
    highest = table["k"].where(named).groupby(table["place"]).transform("max")
    table["level"] = np.where(named & (table["k"] < highest), "low", "high")
    scale = np.log(table["lam"].astype(float))
    table["side"] = np.where(scale < (scale.min() + scale.max()) / 2, "left", "right")
    # what is told apart is drawn last, over the rest
    table = table.sort_values(["told", "step"], kind="stable")
    words = "ring: first step, triangle: last step · dashed: a Gaussian"
    moved = "strong: whose k moved most" if table["told"].any() else ""
    heads = heading(fits, found or text, text if found else "", words, moved, note, gaps, off)
    layers = [gaussian_rule(fits), *_paths(table)]
    return facet(layers, table, heads, columns=3, width=220, height=190) | told


def _told(table: pd.DataFrame, key: list[str]) -> pd.Series[Any]:
    """Name the matrices of each panel whose k moved most, and surely; the others are empty."""
    rows = table.sort_values("step").groupby(key, sort=False)
    first, last = rows.first(), rows.last()
    sure = _SURELY * np.hypot(first["k_se"].astype(float), last["k_se"].astype(float))
    moved = (last["k"] - first["k"]).abs()
    moved = moved[~(moved < sure)]
    most = moved[moved.groupby(first["place"]).rank(ascending=False) <= _TOLD].index
    names = table["component"] + " of layer " + table["layer"].astype(str)
    return names.where(pd.MultiIndex.from_frame(table[key]).isin(most), "")


def _paths(table: pd.DataFrame) -> list[Spec]:
    """Draw lines along the steps, marks at both ends, and the names of those told apart."""
    x = quantity(
        "lam",
        scale={"type": "log", "nice": False, "padding": 12},
        title=["Weibull scale λ", "(units of the weights)"],  # as wide as a narrow panel
        axis={"tickCount": 4, "format": "~g", "labelOverlap": True, "labelSeparation": 6},
    )
    place: Spec = {"x": x, "y": k_axis()}
    told = {"field": "told", "equal": ""}

    def unless_told(then: Any, other: Any) -> Spec:
        return {"condition": {"test": told, "value": then}, "value": other}

    colour = class_scales(table["weight_class"], legend=False)["color"]
    looks = {"color": colour, "opacity": unless_told(0.2, 1)}
    path = {"order": quantity("step"), "detail": detail(table, "model", "layer", "component")}
    roles = [{"field": "role", "equal": role} for role in ("begin", "end")]
    shapes = [{"test": roles[1], "value": "triangle-up"}]
    sizes = [{"test": roles[0], "value": 45}, {"test": roles[1], "value": 60}]
    points = {
        "shape": {"condition": shapes, "value": "circle"},
        "size": {"condition": sizes, "value": 7},
        "opacity": unless_told(0.35, 1),
        "tooltip": tooltips(table),
    }
    lines = looks | {"strokeWidth": unless_told(1, 2)}
    ends = {"and": [roles[1], {"not": told}]}
    # of two lines, of which the first one is placed: the lower name begins at its mark
    low = "datum.level === 'low'"
    names = [
        layer(
            "text",
            place | {"text": nominal("told")},
            where={"and": [ends, {"field": "side", "equal": side}]},
            align=side,
            dx=9 if side == "left" else -9,
            baseline={"expr": f"{low} ? 'top' : 'bottom'"},
            dy={"expr": f"{low} ? -6 : -20"},
            lineBreak=" of ",
        )
        for side in table.loc[table["told"].ne("") & table["role"].eq("end"), "side"].unique()
    ]
    return [
        layer("line", place | path | lines),
        layer("point", place | looks | points, filled=False, strokeWidth=1.6),
        *names,
    ]
