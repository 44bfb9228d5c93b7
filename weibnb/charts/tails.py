"""Charts of the tail: body against tail, and the largest weights against a Gaussian's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.layers import TITLES, map_values
from weibnb.charts.marks import (
    class_scales,
    counted,
    depth_scales,
    detail,
    facet,
    heading,
    k_axis,
    layer,
    nominal,
    nothing_drawn,
    ordinal,
    quantity,
    rule_at,
    tooltips,
)
from weibnb.charts.sentences import listed, summary
from weibnb.charts.tables import cells, components, depth_words, panels, thinned
from weibnb.charts.vega import INK
from weibnb.diagnostics.outliers import FACTORS
from weibnb.fits.schema import DIMS, prepare, protocol_of
from weibnb.fits.select import last_step
from weibnb.messages import printable

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.charts.vega import Spec

_RATIOS = [0.5, 1, 2, 3, 5, 10, 20, 50, 100, 1000]
#: Maximum number of labelled points of a strip, and what is drawn beside them.
FLAGS = 12
# Part of the axis that the name of a layer takes, in a page that is narrow.
_NAME = 0.25
STRIP_NOTE = "dashed: 1, a Gaussian; 3, the threshold for outliers"
# Estimates that `body_tail` gives for every trim.
_BY_TRIM = ("k", "k_se", "lam", "lam_se")
_UPPER = ("near_tail", "near_tail_se")


@as_chart
def body_tail_chart(fits: xr.Dataset) -> Spec:
    """Draw k of the central 80 %, 90 % and all of the weights, against that of a Gaussian.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts: the last step of each model.

    Returns
    -------
    altair chart
        One line per matrix, one small multiple per component; dashed: a Gaussian. The line of a
        Weibull is level. The smallest weights rule k of all: a steep line is no heavy upper tail.
        Tooltips have ``near_tail`` of `upper_tail` with its error.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, or there are too many panels.

    Notes
    -----
    Cost: that of `weibnb.diagnostics.tails.body_tail` and `upper_tail`.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> chart = body_tail_chart(fits)
    """
    from weibnb.diagnostics.tails import body_tail
    from weibnb.diagnostics.upper_tail import upper_tail

    whole = prepare(fits, "counts", dims=DIMS)
    light = last_step(prepare(fits, light=True, dims=DIMS))
    table, text = cells(light), "k by the share of the weights that is fitted"
    if not table["k"].notna().any():
        return nothing_drawn(light, table, text)
    gaps = counted(table["reason"])
    table["depth"] = depth_words(table)
    table = panels(table[table["reason"] == ""], "model", "component")
    table, note = thinned(table, "layer", rows=1_500)
    whole = whole.sel(step=light["step"]).isel(layer=whole["layer"].isin(table["layer"]).values)
    tail = body_tail(whole).assign(upper_tail(whole)[list(_UPPER)])
    dims = [*light["k"].dims, "trim"]
    drawn = tail[[*_BY_TRIM, *_UPPER]].reset_coords(drop=True)
    values = drawn.to_dataframe(dim_order=dims).reset_index()
    for column in ("model", "component"):
        values[column] = values[column].map(printable)
    # r² is known at the trim of the fits alone
    table = table.drop(columns=[*_BY_TRIM, "r2"])
    joined = table.merge(values, on=[str(dim) for dim in dims[:-1]])
    joined["share"] = 100 * joined["trim"]
    estimator = protocol_of(light)[0].replace("_", " ")
    heads = heading(
        light, text, f"dashed: a Gaussian by {estimator} for the same share", note, gaps
    )
    layers = _tail_layers(joined, tail)
    medians = joined.groupby("share")["k"].median()
    parts = [f"{k:.4g} of the central {share:g} %" for share, k in medians.items()]
    told = {"description": f"{text}, medians: {listed(parts)}"}
    return facet(layers, joined, heads, columns=4, width=150, height=150) | told


def _tail_layers(table: pd.DataFrame, tail: xr.Dataset) -> list[Spec]:
    """Draw one line per matrix, and that of a Gaussian."""
    x = ordinal("share", title="central share (%)", axis={"labelAngle": 0})
    place: Spec = {"x": x, "y": k_axis()}
    tips = ("trim=central share", "near_tail=upper tail", "near_tail_se=SE(upper tail)")
    each = {"detail": detail(table, "layer"), "tooltip": tooltips(table, *tips)}
    ideal = {"share": 100 * tail["trim"].values, "k": tail["gaussian_k"].values}
    line = place | depth_scales(table) | each
    return [
        layer("line", place, data=pd.DataFrame(ideal), color=INK, strokeDash=[5, 3]),
        layer("line", line, strokeWidth=1.6, point={"size": 18}),
    ]


@as_chart
def outlier_strip(fits: xr.Dataset) -> Spec:
    """Draw how far the largest weight of every matrix lies beyond a Gaussian's.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 12 models.

    Returns
    -------
    altair chart
        max |w| over the expected maximum of a Gaussian with the same body, on a logarithmic axis.
        The line at 3 is the threshold of `weibnb.find_outliers`; what lies beyond is drawn even
        where layers are left out, and labels name the layers of the largest.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a variable is missing, or there are too many models.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> chart = outlier_strip(fits)
    """
    fits = last_step(prepare(fits, light=True, dims=DIMS))
    table, text = cells(fits, {"value": map_values(fits, "outlier")}), TITLES["outlier"]
    if not table["value"].notna().any():
        return nothing_drawn(fits, table, text)
    gaps = counted(table["reason"])
    table = panels(table, "model")
    limit, value = FACTORS["gaussian"], table["value"]
    flagged = (value > limit) & (value.rank(ascending=False) <= FLAGS) & _apart(table)
    table["flag"] = np.where(flagged, "layer " + table["layer"].astype(str), "")
    table = table.sort_values("value", ascending=False)
    beyond = table["value"] > limit
    table, note = thinned(table, "layer", keep=beyond)
    if note and 0 < beyond.sum() == (table["value"] > limit).sum():
        note += ", and every outlier"
    names = components(table)
    scale = {"type": "log", "nice": False, "padding": 24}
    title = "× a Gaussian's expected maximum"
    axis = {"values": _RATIOS, "format": "~g"}
    place: Spec = {
        "x": quantity("value", scale=scale, title=title, axis=axis),
        "y": nominal("component", title=None, scale={"domain": names}, axis={"labelLimit": 220}),
    }
    looks = class_scales(table["weight_class"]) | {"tooltip": tooltips(table, "value=max ratio")}
    layers = [
        rule_at(limit, "x", "threshold of weibnb.find_outliers"),
        rule_at(1.0, "x", "a Gaussian"),
        layer("point", place | looks, filled=True, size=50, opacity=0.85),
        layer("text", place | {"text": nominal("flag")}, dy=-9, color=INK, fontSize=11),
    ]
    heads = heading(fits, text, STRIP_NOTE, note, gaps)
    height = max(26 * len(names), 80)
    told = {"description": summary(table, "value", text)}
    return facet(layers, table, heads, columns=2, width=380, height=height) | told


def _apart(table: pd.DataFrame) -> pd.Series[bool]:
    """Whether the name of a layer has room beside those of larger values in its row.

    A page does the same: js/src/again.js.
    """
    at = np.log(table["value"].where(table["value"] > 0))
    least = _NAME * (at.max() - at.min())
    room = pd.Series(data=False, index=table.index)
    for _, row in at.dropna().groupby([table["place"], table["component"]], sort=False):
        last = np.inf
        for label, place in row.sort_values(ascending=False, kind="stable").items():
            if place < last - least:
                room[label], last = True, place
    return room
