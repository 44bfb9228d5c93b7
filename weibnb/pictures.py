"""The pictures of a report: charts of its fits as SVG, each with its words."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb import charts
from weibnb.charts.data_table import numbers_html
from weibnb.charts.tables import MAX_PANELS
from weibnb.charts.vega import vega_lite
from weibnb.explorer.export import picture
from weibnb.fits.schema import DIMS
from weibnb.fits.select import keep_cells
from weibnb.messages import grouped, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    import xarray as xr

    from weibnb.charts.vega import Spec

#: Most characters of one picture: a page stays below a megabyte.
LARGEST = 250_000


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A chart, what it is called, and what it shows in words for who does not see it."""

    title: str
    words: str
    spec: Callable[[], Spec]

    def figure(self, number: int = 0) -> str:
        """Write it as HTML, the `number`-th of a page; a chart that cannot be drawn says why."""
        head = f"<h2>{html.escape(self.title)}</h2>"
        words = html.escape(self.words)
        try:
            spec = vega_lite(self.spec())
        except ValueError as err:
            return f"{head}<p>{html.escape(f'Not drawn: {err}')}</p>"
        spec["config"] = {**spec["config"], "aria": False}  # the words stand in for each mark's
        svg = picture(spec, "svg").decode()
        if len(svg) > LARGEST:
            size = f"{len(svg):,} characters, at most {LARGEST:,} are written"
            return f"{head}<p>Not drawn: it would take {size}. Report fewer models.</p>"
        svg = _of_a_page(svg, number).replace("<svg ", f'<svg role="img" aria-label="{words}" ', 1)
        figure = f"<figure>{svg}<figcaption>{words}</figcaption></figure>"
        return f"{head}{figure}{numbers_html(spec)}"


def _of_a_page(svg: str, number: int) -> str:
    """Drop namespaces, which HTML knows, and give marks names that no other picture has."""
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    marks = {mark: f"p{number}m{i}" for i, mark in enumerate(re.findall(r' id="([\w-]+)"', svg))}
    renamed = partial(_renamed, marks)
    return re.sub(r'( id="|url\(#|href="#)([\w-]+)', renamed, svg)


def _renamed(marks: dict[str, str], found: re.Match[str]) -> str:
    """Write the new name of a mark where the old one was."""
    return found[1] + marks.get(found[2], found[2])


def pictures_of(fits: xr.Dataset, run: xr.Dataset, standing_out: pd.DataFrame) -> list[Picture]:
    """Choose the pictures of a report.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of the step that is reported.
    run : xarray.Dataset
        Fits of all steps.
    standing_out : pandas.DataFrame
        Labels of the cells that stand out, the farthest first.

    Returns
    -------
    list of Picture
        Not drawn yet.
    """
    if not bool(fits["k"].notnull().any()) or "median" in fits["layer"].values.astype(str):
        return []
    shown = fits.isel(model=slice(MAX_PANELS))
    beyond = fits.sizes["model"] - MAX_PANELS
    rest = f" The first {MAX_PANELS} models of {fits.sizes['model']:,}." if beyond > 0 else ""
    found = [
        Picture("Map of k", _extremes(shown) + rest, lambda: charts.layer_map.spec(shown)),
        *_beside_neighbours(fits, standing_out),
        Picture("Classes", _by_component(shown) + rest, lambda: charts.class_bands.spec(shown)),
    ]
    if run.sizes["step"] > 1:
        few = run.isel(model=slice(MAX_PANELS))
        found.append(Picture("Over the run", _course(few) + rest, lambda: _trajectories(few)))
    return found


def _trajectories(run: xr.Dataset) -> Spec:
    """Draw k by step, from zero on where the run begins there."""
    return charts.trajectories.spec(run)


def _extremes(fits: xr.Dataset) -> str:
    """Say where k is lowest and highest, and how many matrices have none."""
    k = fits["k"]
    ends = [_place(k, int(np.nanargmin(sign * k.values))) for sign in (1, -1)]
    there = fits["status"] != "absent"
    without = int((there & ~k.notnull()).sum())
    hatched = f" {without:,} hatched without a sound fit." if without else ""
    return f"k by layer and component: lowest {ends[0]}, highest {ends[1]}.{hatched}"


def _place(k: xr.DataArray, flat: int) -> str:
    """Write one value of k with its layer and component."""
    at = k[tuple(np.unravel_index(flat, k.shape))]
    several = f" of {shortened(at['model'].item())}" if k.sizes["model"] > 1 else ""
    where = f"{shortened(at['component'].item())} of layer {at['layer'].item()}{several}"
    return f"{at.item():.3f} ({where})"


def _by_component(fits: xr.Dataset) -> str:
    """Say the median of k of each component."""
    others = [dim for dim in fits["k"].dims if dim != "component"]
    medians = fits["k"].median(others)
    named = zip(medians["component"].values.tolist(), medians.values.tolist(), strict=True)
    parts = [f"{shortened(name)} {value:.3f}" for name, value in named if np.isfinite(value)]
    return f"k of every matrix by component; medians: {', '.join(parts)}."


def _course(run: xr.Dataset) -> str:
    """Say how the median of k moved from the first step to the last."""
    medians = run["k"].median([dim for dim in run["k"].dims if dim != "step"])
    steps, values = run["step"].values.tolist(), medians.values.tolist()
    return (
        "k by step, one line per matrix: the median goes from "
        f"{values[0]:.3f} at step {grouped(steps[0])} to "
        f"{values[-1]:.3f} at step {grouped(steps[-1])}."
    )


def _beside_neighbours(fits: xr.Dataset, standing_out: pd.DataFrame) -> list[Picture]:
    """Draw the farthest matrices of two components, each beside a layer that is like the rest."""
    if standing_out.empty or "expert" in fits["k"].dims or "counts" not in fits:
        return []
    found: list[Picture] = []
    labels = ["model", "layer", "component"]
    marked = set(map(tuple, standing_out[labels].values.tolist()))
    for model, layer, component in standing_out[labels].values.tolist():
        if len(found) == 2:
            break
        near = _neighbour(fits, (model, layer, component), marked)
        if near is None:
            continue
        step = fits["step"].values[0].item()
        cells = [(model, number, component, step) for number in (layer, near)]
        part = keep_cells(fits, cells)
        k = fits["k"].sel(model=model, component=component, step=step)
        name = f"{shortened(component)} of layer {layer}"
        several = f", {shortened(model)}" if fits.sizes["model"] > 1 else ""
        words = (
            f"Weibull plot of {name} (k {k.sel(layer=layer).item():.3f}){several}, beside layer "
            f"{near} (k {k.sel(layer=near).item():.3f}), which is like the rest."
        )
        found.append(Picture(f"Stands out: {name}", words, _weibull(part)))
    return found


def _weibull(part: xr.Dataset) -> Callable[[], Spec]:
    """Draw matrices on Weibull paper when it is asked for."""
    return lambda: charts.weibull_plot.spec(part)


def _neighbour(fits: xr.Dataset, cell: Sequence[Any], marked: set[tuple[Any, ...]]) -> int | None:
    """Find the nearest layer whose matrix of this component is sound and does not stand out."""
    model, layer, component = cell
    one = fits.sel(model=model, component=component).squeeze("step")
    if one["status"].sel(layer=layer).item() == "absent" or set(one["k"].dims) - set(DIMS):
        return None
    sound = one["layer"].values[(one["status"] == "ok").values].tolist()
    near = [number for number in sound if (model, number, component) not in marked]
    return min(near, key=lambda number: abs(number - layer)) if near else None
