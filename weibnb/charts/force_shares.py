"""What makes weights grow, and shrink: the shares of the three forces along a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.marks import (
    facet,
    heading,
    layer,
    nominal,
    notice,
    quantity,
    rule_at,
    scales,
)
from weibnb.charts.sentences import listed
from weibnb.charts.tables import panels
from weibnb.charts.training import step_axis
from weibnb.charts.vega import COLOURS, TITLE
from weibnb.fits.schema import DIMS
from weibnb.messages import grouped, printable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

# Parts that are drawn: their words, from the axis outwards.
_FORCES = {"from_alignment": "alignment", "from_injection": "injection", "from_decay": "decay"}
# Intervals that are drawn in each panel.
_INTERVALS = 60


@as_chart
def force_shares(found: xr.Dataset) -> Spec:
    """Draw the shares of alignment, injection and decay in what moved the weights, by step.

    Parameters
    ----------
    found : xarray.Dataset
        From `weibnb.forces`: at least two steps.

    Returns
    -------
    altair chart
        One small multiple per component, or model and component: sums over its layers, for each
        interval between records over the sum of the three magnitudes. What makes the weights grow
        stacks upwards, what makes them shrink downwards, and the line is what is left of both. Of
        checkpoints, alignment is less injection, which is not known.

    Raises
    ------
    TypeError, ValueError
        If `found` is something else, or there are too many panels.

    Examples
    --------
    >>> import weibnb as wb
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> draws = np.random.default_rng(0).normal(size=(20, 20))
    >>> run = {"run": {step: {name: draws / (1 + step)} for step in range(5)}}
    >>> chart = force_shares(wb.forces(run, learning_rate=1e-3, weight_decay=0.1))
    """
    found = _checked(found)
    text = "What makes the weights grow, and shrink"
    if found.sizes["step"] < 2:
        return notice(heading(found, text), ["There is only one step: an interval needs two."])
    some = np.unique(np.linspace(0, found.sizes["step"] - 1, _INTERVALS + 1).round().astype(int))
    left = found.sizes["step"] - some.size
    table = _intervals(found.isel(step=some))
    if table.empty:
        return notice(heading(found, text), ["No force is known of any of the matrices."])
    steps = np.concatenate([table["begin"], table["end"]]).astype(float)
    x, at = step_axis(steps, "log")
    table["at"], table["until"] = np.split(at, 2)
    table["middle"] = np.sqrt(table["at"] * table["until"])
    recorded = found.attrs.get("forces") == "recorded"
    words = [
        "share of the three magnitudes in each interval, sums over layers",
        "line: what is left of growth and shrinking"
        + ("" if recorded else " \u00b7 alignment less injection, from checkpoints"),
        f"{left} of {found.sizes['step']} steps joined with their neighbours" if left else "",
    ]
    heads = heading(found, text, *words)
    table = panels(table, "model", "component")
    layers = [*_bars(x, table), rule_at(0.0, words="neither growing nor shrinking")]
    last = table[table["end"] == table["end"].max()].groupby("force")["share"].median()
    parts = [f"{force} {share:+.0%}" for force, share in last.items()]
    told = (
        f"{text}. Medians over matrices up to step {grouped(table['end'].max())}: {listed(parts)}"
    )
    drawn = facet(layers, table, heads, columns=3, width=250, height=150)
    return drawn | {"description": told}


def _checked(found: xr.Dataset) -> xr.Dataset:
    """Raise for what does not come from `weibnb.forces`, and give back dropped dims."""
    if not isinstance(found, xr.Dataset):
        raise TypeError(f"`found` must be an xarray.Dataset, got {type(found).__name__}.")
    if any(name not in found for name in ("growth", *_FORCES)):
        raise ValueError(
            "`found` must come from weibnb.forces; these are fits. "
            "Run charts.force_shares(wb.forces(fits))."
        )
    kept = found[["growth", *_FORCES]]
    kept = kept.drop_vars([name for name in kept.coords if name not in DIMS])
    return kept.expand_dims([dim for dim in DIMS if dim not in kept.dims]).transpose(*DIMS)


def _intervals(found: xr.Dataset) -> pd.DataFrame:
    """List the shares of each force in each interval of each component, stacked."""
    known = found.diff("step").sum("layer", min_count=1)
    begin, end = found["step"].values[:-1], found["step"].values[1:]
    gains = np.stack([np.nan_to_num(known[name].values) for name in _FORCES])
    total = np.abs(gains).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares, net = gains / total, gains.sum(0) / total
    low = np.zeros_like(shares)
    for above in range(1, len(_FORCES)):
        same = np.where(np.sign(shares[:above]) == np.sign(shares[above]), shares[:above], 0.0)
        low[above] = same.sum(0)
    rows: list[dict[str, Any]] = []
    for m, c, s in np.argwhere(total > 0):
        place: dict[str, Any] = {
            "model": printable(found["model"].values[m]),
            "component": printable(found["component"].values[c]),
            "model_order": m,
            "component_order": c,
            "begin": begin[s],
            "end": end[s],
            "net": net[m, c, s],
        }
        for number, (name, word) in enumerate(_FORCES.items()):
            share = shares[number, m, c, s]
            if share:
                bar = {"force": word, "share": share, "gain": float(known[name].values[m, c, s])}
                reach = low[number, m, c, s]
                rows.append(place | bar | {"low": reach, "high": reach + share})
    return pd.DataFrame(rows)


def _bars(x: Spec, table: pd.DataFrame) -> list[Spec]:
    """Draw a bar for each force and interval, and the net share as a line."""
    present = [word for word in _FORCES.values() if (table["force"] == word).any()]
    colours = dict(zip(_FORCES.values(), (COLOURS[2], COLOURS[4], COLOURS[1]), strict=True))
    y = {"scale": {"domain": [-1, 1]}, "axis": {"format": "%", "tickCount": 5}}
    tips = [
        nominal("component"),
        nominal("force"),
        quantity("share", format="+.1%"),
        quantity("gain", format="+.4~g", title="adds to the squared norm"),
        quantity("net", format="+.1%", title="net share"),
        quantity("begin", format=",d", title="from step"),
        quantity("end", format=",d", title="to step"),
    ]
    bar = {
        "x": x,
        "x2": {"field": "until"},
        "y": quantity("low", title="share of what moves them", **y),
        "y2": {"field": "high"},
        "tooltip": tips,
    }
    legend = {"title": "force", "symbolType": "square", "symbolSize": 100}
    bar |= scales(nominal("force"), present, legend, color=[colours[word] for word in present])
    line = {"x": x | {"field": "middle"}, "y": quantity("net", **y), "tooltip": tips}
    return [
        layer("rect", bar, opacity=0.85),
        layer("line", line, color=TITLE, strokeWidth=2, point={"size": 16, "color": TITLE}),
    ]
