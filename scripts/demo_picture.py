"""Draw the README's picture from the packaged demo.

Run ``python scripts/demo_picture.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import altair as alt
import numpy as np
import pandas as pd

import weibnb as wb
from weibnb.fitting.weibull import ordinate, quantile

if TYPE_CHECKING:
    import xarray as xr

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "images" / "demo.png"
PERCENT = np.array([0.1, 1, 10, 63.2, 99, 99.99])
WIDTH, HEIGHT = 360, 300
CLASS_COLOURS = {"selection": "#0072b2", "value": "#009e73", "transmission": "#d55e00"}
STEP_COLOURS = ["#999999", "#d55e00"]


def trajectories(fits: xr.Dataset, marked: xr.Dataset) -> alt.LayerChart:
    """Draw k by step, one line per matrix, with the anchor and one matrix named."""
    table = fits[["k"]].to_dataframe().reset_index()
    table["matrix"] = table["component"] + " " + table["layer"].astype(str)
    table["step"] = table["step"].clip(lower=10)
    colour = alt.Color(
        "weight_class:N",
        title="class",
        scale=alt.Scale(domain=list(CLASS_COLOURS), range=list(CLASS_COLOURS.values())),
        legend=alt.Legend(orient="bottom-left", fillColor="white", padding=4),
    )
    x = alt.X(
        "step:Q",
        scale=alt.Scale(type="log", domain=[10, 20_000], nice=False),
        axis=alt.Axis(
            values=[10, 100, 1000, 10_000], labelExpr="datum.value == 10 ? '0' : datum.label"
        ),
        title="training step",
    )
    y = alt.Y("k:Q", scale=alt.Scale(zero=False), title="Weibull shape k")
    lines = (
        alt.Chart(table)
        .mark_line(point=alt.OverlayMarkDef(size=22), strokeWidth=1.3)
        .encode(x=x, y=y, color=colour, detail="matrix:N")
    )
    anchor = wb.anchor().k
    rule = alt.Chart(pd.DataFrame({"k": [anchor]})).mark_rule(strokeDash=[4, 3]).encode(y="k:Q")
    note = pd.DataFrame(
        {"step": [marked.step.item()], "k": [marked.k.item()], "text": [_name(marked)]}
    )
    label = (
        alt.Chart(note)
        .mark_text(align="right", dx=-9, dy=2, fontSize=11)
        .encode(x="step:Q", y="k:Q", text="text:N")
    )
    title = alt.Title(
        "Shape k while a small decoder trains, one line per matrix",
        subtitle=f"dashed: an untrained Gaussian matrix, k = {anchor:.4f}",
    )
    chart = alt.layer(rule, lines, label).properties(width=WIDTH, height=HEIGHT, title=title)
    return cast("alt.LayerChart", chart)


def weibull_plot(fits: xr.Dataset, marked: xr.Dataset) -> alt.LayerChart:
    """One matrix on Weibull paper before and after training, fitted lines and trim."""
    points, lines = [], []
    for step in (int(fits.step[0]), int(marked.step)):
        cell = fits.sel(
            component=marked.component.item(), layer=marked.layer.item(), step=step
        ).squeeze()
        counted = cell["counts"].item()
        counts = counted.counts.astype(float)
        share = (counts.cumsum() - counts / 2) / counts.sum()
        kept = np.flatnonzero(share > PERCENT[0] / 100)[::2]
        label = f"step {step}: k = {cell.k:.3f} ± {cell.k_se:.3f}, λ = {cell.lam:.3f}"
        y = ordinate(share[kept])
        points.append(pd.DataFrame({"|w|": counted.values[kept], "y": y, "fit": label}))
        ends = PERCENT[[0, -1]] / 100
        line = {"|w|": quantile(ends, cell.k.item(), cell.lam.item()), "y": ordinate(ends)}
        lines.append(pd.DataFrame(line | {"fit": label}))
    trim = pd.DataFrame([dict(zip(("low", "high"), ordinate([0.1, 0.9]), strict=True))])
    y_axis = alt.Y(
        "y:Q",
        scale=alt.Scale(domain=ordinate(PERCENT[[0, -1]] / 100).tolist(), nice=False),
        axis=alt.Axis(
            values=ordinate(PERCENT / 100).tolist(),
            labelExpr="format(100 * (1 - exp(-exp(datum.value))), '.4~g') + ' %'",
        ),
        title="share of weights below |w|, on Weibull paper",
    )
    x = alt.X("|w|:Q", scale=alt.Scale(type="log"), axis=alt.Axis(tickCount=6), title="|w|")
    colour = alt.Color(
        "fit:N",
        title=None,
        sort=None,
        scale=alt.Scale(range=STEP_COLOURS),
        legend=alt.Legend(orient="bottom-right", fillColor="white", padding=4, labelLimit=300),
    )
    shade = alt.Chart(trim).mark_rect(opacity=0.1).encode(y="low:Q", y2="high:Q")
    dots = alt.Chart(pd.concat(points)).mark_circle(size=12, clip=True).encode(x, y_axis, colour)
    fit = alt.Chart(pd.concat(lines)).mark_line(strokeWidth=1).encode(x, y_axis, colour)
    title = alt.Title(
        f"Weibull plot of {_name(marked)}, before and after",
        subtitle="lines: fitted to the middle 80 % (shaded)",
    )
    chart = alt.layer(shade, dots, fit).properties(width=WIDTH, height=HEIGHT, title=title)
    return cast("alt.LayerChart", chart)


def _name(cell: xr.Dataset) -> str:
    return f"{cell.component.item()} of layer {cell.layer.item()}"


def main() -> None:
    """Scan the demo and write the picture."""
    fits = wb.scan({"demo": ROOT / "weibnb" / "data" / "demo"})
    last = fits.isel(step=-1)
    marked = last.isel(last.k.argmin(["model", "layer", "component"]))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    chart = alt.hconcat(trajectories(fits, marked), weibull_plot(fits, marked), spacing=30)
    chart = chart.resolve_scale(color="independent").configure(background="white")
    chart.configure_view(stroke=None).configure_axis(gridOpacity=0.5).save(TARGET, scale_factor=1.6)


if __name__ == "__main__":
    main()
