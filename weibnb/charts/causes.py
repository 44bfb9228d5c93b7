"""Why k is low, as a waterfall: from k as it is to that of a Gaussian, cause by cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.curves import labels
from weibnb.charts.marks import (
    facet,
    k_axis,
    layer,
    names_below,
    nominal,
    notice,
    quantity,
    rule_at,
    scales,
)
from weibnb.charts.sentences import listed
from weibnb.charts.tables import MAX_PANELS, source_in_code
from weibnb.charts.vega import COLOURS, INK
from weibnb.fits.schema import protocol_of
from weibnb.fitting.weibull import protocol_text
from weibnb.messages import NeedsWeightsError, printable, shortened

if TYPE_CHECKING:
    from weibnb.charts.vega import Spec

# Bars between the first point and the last: name on the axis, variable, colour.
_STEPS = {
    "rows": ("from_rows", COLOURS[0]),
    "columns": ("from_cols", COLOURS[1]),
    "method": ("from_dividing", INK),
}
_METHOD = "method: what dividing adds to the same weights in a random order"
_PLACES = ["raw", *_STEPS, "core"]
_NEEDED = ("k_raw", "k_core", "anchor", "anchor_core", *(name for name, _ in _STEPS.values()))


@as_chart
def decomposition(found: xr.Dataset) -> Spec:
    """Draw what unequal rows and columns take from k, and what is left in the core.

    Parameters
    ----------
    found : xarray.Dataset
        From `weibnb.decompose`: at most 12 matrices, one small multiple each.

    Returns
    -------
    altair chart
        From left to right: k as it is with its standard error, what dividing the rows adds, what
        the columns add, what dividing adds to shuffled weights too ("method"), and k of the core.
        Dashed: a Gaussian; the tick beside the core is a Gaussian of this size with its rows and
        columns divided. The title of one matrix is its sentence; of several the tooltips have it.

    Raises
    ------
    TypeError, ValueError
        If `found` is something else, or has too many matrices.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.normal(size=(256, 256)) * np.exp(rng.normal(0, 0.5, (256, 1)))
    >>> chart = decomposition(wb.decompose(weights))
    """
    table = _matrices(_checked(found))
    estimator, trim = protocol_of(found)
    models = ", ".join(shortened(name, 40) for name in pd.unique(table["model"])[:3])
    notes = [
        f"{models} · {protocol_text(trim, estimator)}",
        "dashed: a Gaussian; short: one of this size, divided",
        _METHOD,
    ]
    known = table[table["k_core"].notna()]
    unknown = table[table["k_core"].isna()]
    text = "Why k is low"
    if known.empty:
        lines = [f"{row.label}: {row.sentence}" for row in unknown.head(6).itertuples()]
        return notice({"text": text, "subtitle": notes[:1]}, lines)
    if len(table) == 1:
        text = f"{known['label'].iloc[0]}: why k is low"
        notes.insert(0, str(known["sentence"].iloc[0]))
    if len(unknown):
        notes.append(f"not drawn: {', '.join(unknown['label'].head(4))}")
    title = {"text": text, "subtitle": notes}
    rule = rule_at(float(known["anchor"].iloc[0]), words="an untrained Gaussian matrix")
    marks = pd.concat([_bars(known), _points(known)], ignore_index=True)
    layers = [rule, *_layers(len(known))]
    told = listed([f"{row.label}: {str(row.sentence).rstrip('.')}" for row in table.itertuples()])
    drawn = facet(layers, marks, title, columns=3, width=55 * len(_PLACES), height=180)
    return drawn | {"description": told}


def _checked(found: xr.Dataset) -> xr.Dataset:
    """Raise for what does not come from `weibnb.decompose`, with the line to run for fits."""
    if not isinstance(found, xr.Dataset):
        raise TypeError(f"`found` must be an xarray.Dataset, got {type(found).__name__}.")
    if any(name not in found for name in (*_NEEDED, "sentence")):
        path = source_in_code(found)
        call = f"Run charts.decomposition(wb.decompose({path}, fits=fits))."
        raise NeedsWeightsError("weibnb.decompose", call)
    found = found if "matrix" in found.dims else found.expand_dims("matrix")
    if not 1 <= found.sizes["matrix"] <= MAX_PANELS:
        raise ValueError(
            f"`found` must hold 1 to {MAX_PANELS} matrices for this chart, got "
            f"{found.sizes['matrix']}. Select some: found.isel(matrix=[0, 1])."
        )
    return found


def _matrices(found: xr.Dataset) -> pd.DataFrame:
    """List matrices with their names, one row each."""
    columns = {
        str(name): np.broadcast_to(found[name].values, found.sizes["matrix"])
        for name in (*found.coords, *_NEEDED, "k_se_raw", "k_se_core", "sentence", "r2_core")
    }
    table = pd.DataFrame(columns)
    for name in ("model", "component"):
        table[name] = table[name].map(printable)
    keys = ["model", "component", "layer", "step", "expert"]
    rows = table[keys].itertuples(index=False, name=None)
    table["label"] = labels([dict(zip(keys, row, strict=True)) for row in rows])
    return table.assign(panel=table["label"], place=range(len(table)))


def _layers(panels: int) -> list[Spec]:
    """Draw bars from one level to the next, and points at both ends."""
    steps, ends = ({"field": "kind", "equal": kind} for kind in ("step", "end"))
    x = nominal("cause", scale={"domain": _PLACES}, sort=None, title=None)
    x["axis"] = names_below(_PLACES, panels=panels)
    colours = scales(nominal("cause"), list(_STEPS), None, color=[c for _, c in _STEPS.values()])
    numbers = [quantity(name, format=".4f") for name in ("k", "reaches")]
    words = [nominal("label", title="matrix"), nominal("cause"), nominal("sentence")]
    gain = quantity("gain", title="adds to k", format="+.4f")
    bar = {"x": x, "y": k_axis(), "y2": {"field": "reaches"}, "tooltip": [*words, gain, *numbers]}
    error = quantity("se", title="SE(k)", format=".2g")
    point = {"x": x, "y": k_axis(), "tooltip": [*words, quantity("k", format=".4f"), error]}
    span = {"x": x, "y": k_axis("low"), "y2": {"field": "high"}}
    tips = [nominal("label", title="matrix"), quantity("ideal", format=".4f")]
    tick = {"x": x, "y": k_axis("ideal"), "tooltip": tips}
    return [
        layer("bar", bar | colours, where=steps, size=26, opacity=0.85),
        layer("rule", span, where=ends, color=INK, strokeWidth=2),
        layer(
            "tick", tick, where={"field": "ideal", "valid": True}, color=INK, size=30, thickness=2
        ),
        layer("point", point, where=ends, filled=True, size=70, color=INK, opacity=1),
    ]


def _bars(table: pd.DataFrame) -> pd.DataFrame:
    """Give the steps from k as it is to that of the core."""
    parts, level = [], table["k_raw"]
    for cause, (name, _) in _STEPS.items():
        reaches = level + table[name]
        columns: dict[str, Any] = {
            "kind": "step",
            "cause": cause,
            "k": level,
            "reaches": reaches,
            "gain": table[name],
        }
        parts.append(table[["label", "sentence", "panel", "place"]].assign(**columns))
        level = reaches
    return pd.concat(parts, ignore_index=True)


def _points(table: pd.DataFrame) -> pd.DataFrame:
    """Give k as it is and that of the core, with one standard error to either side."""
    parts = []
    for cause in ("raw", "core"):
        k, se = table[f"k_{cause}"], table[f"k_se_{cause}"]
        columns: dict[str, Any] = {"kind": "end", "cause": cause, "k": k, "se": se}
        columns |= {"low": k - se, "high": k + se}
        columns["ideal"] = table["anchor_core"] if cause == "core" else np.nan
        parts.append(table[["label", "sentence", "panel", "place"]].assign(**columns))
    return pd.concat(parts, ignore_index=True)
