"""What a page that is saved holds, so that step, filters and fit can be changed without Python."""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.charts.classes import BANDS_TITLE, COHORT_TITLE
from weibnb.charts.layers import DIFFERENCE, PROFILE, TITLES, empty_profile
from weibnb.charts.training import PATHS, title_of_course
from weibnb.charts.vega import COLOURS
from weibnb.explorer import content
from weibnb.explorer.filters import Cells
from weibnb.explorer.labels import (
    NO_REFIT,
    NONE_FITTED,
    NOT_ALL_DRAWN,
    ONLY_SELECTED,
    STAYS_OF_COUNTS,
    STAYS_OF_EXPERTS,
    STAYS_OF_WEIGHTS,
)
from weibnb.explorer.made_again import MADE_AGAIN, made_again, rows_of, template
from weibnb.explorer.matrices import close_up
from weibnb.explorer.page_counts import page_counts
from weibnb.explorer.panels import PANELS, at_both
from weibnb.fits.schema import DIMS
from weibnb.fits.select import keep_status
from weibnb.messages import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from weibnb.explorer.content import DrawnView
    from weibnb.explorer.drawing import Charts, Drawing
    from weibnb.explorer.filters import Cell

#: Charts of which a page can show some of the matrices: each is a row, or it makes them again.
_FILTERED = MADE_AGAIN | {
    "layer_map", "depth_profile", "weibull_plot", "trajectories", "phase_portrait", "difference",
    "change_map",
}  # fmt: skip
#: Those that it can fit again, too.
_ALIVE = _FILTERED | {"density"}
#: Those that it fits again where a row is a matrix, and no median over experts.
_OF_ONE = _ALIVE - {"layer_map", "depth_profile"}
_PLAIN = {
    "depth_profile": PROFILE,
    "phase_portrait": PATHS,
    "class_bands": BANDS_TITLE,
    "outlier_strip": TITLES["outlier"],
    "difference": DIFFERENCE,
    "cohort": COHORT_TITLE,
}
_MOST_STEPS, _MOST_MATRICES = 60, 20_000  # that a page holds
_MOST_BYTES = 3_000_000  # of counts


def held_by_page(drawing: Drawing, panel: str, charts: Charts) -> dict[str, Any]:
    """Give what a page holds: what is drawn at each step, labels of the matrices, and counts.

    `charts` are those of the step that is shown, on the panel of this name.
    """
    drawn = {chart.view.function for chart in charts.values()}
    query = drawing.query
    steps, note = _steps(drawing, charts)
    if "step" in query and drawing.panel.one_step:
        query = query | {"step": steps}
    fits = drawing.parts.light.sel(query)
    if drawing.statuses is not None:
        fits = keep_status(fits, drawing.statuses)
    cells = Cells.of(fits)
    controls = json.loads(content.controls(cells, {panel: drawing.panel}))
    controls |= {"options": {}, "columns": {}}  # of the explorer
    frames = {step: _frame(drawing, step, charts) for step in steps}
    if whole := _why_unfiltered(drawn, frames.values()):
        controls |= {"facets": [], "layers": (0, 0), "unfiltered": whole}
    live, stays = _live(drawing, drawn, query)
    return {
        "controls": controls,
        "checkpoints": json.loads(content.checkpoints(cells)),
        "state": {"panel": panel}
        | {name: drawing.state[name] for name in ("step", "trim", "estimator")},
        "cells": _packed(_labels(cells, controls["facets"])),
        "frames": {step: _packed(frame) for step, frame in frames.items()},
        "drawn": drawing.drawn,
        "compared": _compared(drawing) if "difference" in drawn else None,
        "note": note,
        "live": live,
        "stays": stays,
    }


def _why_unfiltered(drawn: set[str], frames: Iterable[dict[str, Any]]) -> str:
    """Say why rows cannot be taken out of charts: what stays would no longer be true."""
    if not drawn <= _FILTERED:
        return ONLY_SELECTED
    shown = [chart for frame in frames for chart in frame["charts"].values()]
    partly = any(chart.get("again", chart) is None for chart in shown)
    return NOT_ALL_DRAWN if partly else ""


def _compared(drawing: Drawing) -> list[list[Any]]:
    """Give model and step of both checkpoints as the page writes them."""
    pairs = drawing.state["first"], drawing.state["second"]
    return [[printable(label) if isinstance(label, str) else label for label in pair]
            for pair in pairs]  # fmt: skip


def _steps(drawing: Drawing, charts: Charts) -> tuple[list[int], str]:
    """Choose steps for a page, with the one that is shown, and say if these are not all."""
    now, steps = drawing.state["step"], drawing.parts.cells.steps
    reads = any(drawn.view.reads for drawn in charts.values())
    if not drawing.panel.one_step or not steps:
        return [now], ""
    room = min(_MOST_STEPS, _MOST_MATRICES // max(drawing.number, 1))
    if reads or room < 2:
        kept = [now]
    else:
        at = np.linspace(0, len(steps) - 1, min(room, len(steps))).round().astype(int)
        kept = sorted({now, *(steps[i] for i in at)})
    note = f"{len(kept):,} of {len(steps):,} steps in this page" if len(kept) < len(steps) else ""
    return kept, note


def _frame(drawing: Drawing, step: int, charts: Charts) -> dict[str, Any]:
    """Draw one step."""
    if step != drawing.state["step"]:
        drawing = replace(drawing, state={**drawing.state, "step": step})
        charts = drawing.charts({})
    matrices = None if drawing.empty else drawing.numbers()
    listed = _listed(drawing)[: len(matrices["heads"])] if matrices else []
    plot = None
    detail = charts.get("detail")
    if len(listed) > 1 and detail is not None and detail.view.function == "weibull_plot":
        # a page makes the plot of another matrix from that of one alone
        one = listed[-1] if drawing.compared else listed[0]
        alone = {**drawing.state, "step": one[3], "selected": [one], "pinned": {}}
        plot = replace(drawing, state=alone, panel=PANELS["table"]).charts({}).get("detail")
    return {
        "charts": {
            slot: _content(drawn) | made_again(drawing, drawn) for slot, drawn in charts.items()
        },
        "plot": plot and _content(plot),
        "chosen": content.labels_of(drawing.chosen),
        "listed": content.labels_of(listed),
        "matrices": matrices,
        **_profile(drawing, charts),
    }


def _listed(drawing: Drawing) -> list[Cell]:
    """List the matrices whose numbers are told."""
    cells = close_up(drawing.chosen, drawing.pins)
    if drawing.compared:
        return at_both(cells, drawing.state["first"], drawing.state["second"])
    return cells


def _profile(drawing: Drawing, charts: Charts) -> dict[str, Any]:
    """Give the chart along the layers without rows: a page takes those of a component of the map.

    None where the map has medians, or there are more models than colours.
    """
    shown, beside = charts.get("main"), charts.get("side")
    if shown is None or beside is None or beside.view.function != "depth_profile":
        return {}
    part = drawing.part_of(shown.view)
    single = "expert" not in part["k"].dims and rows_of(shown) == drawing.number
    if not single or part.sizes["model"] > len(COLOURS):
        return {"profile": None}
    spec = template(empty_profile(part), part)
    return {"profile": {"spec": content.for_page(spec), "label": "", "plain": PROFILE}}


def _content(drawn: DrawnView) -> dict[str, Any]:
    """Give a chart, and a title that stays true when rows are taken out of it."""
    found: dict[str, Any] = json.loads(drawn.text)
    if drawn.view.function == "layer_map":
        found["plain"] = TITLES[drawn.view.options["value"]]
    elif drawn.view.function == "trajectories":
        found["plain"] = title_of_course(drawn.view.options["value"])
    elif drawn.view.function in _PLAIN:
        found["plain"] = _PLAIN[drawn.view.function]
    return found


def _labels(cells: Cells, facets: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the labels of every matrix: along the dims, and of each facet."""
    shown = [
        [printable(label) if isinstance(label, str) else label for label in labels.tolist()]
        for labels in (cells.labels[dim] for dim in DIMS)
    ]
    codes = {facet["name"]: cells.facets[facet["name"]].codes.tolist() for facet in facets}
    return {"labels": shown, "places": cells.places.T.tolist(), "facets": codes}


def _live(
    drawing: Drawing, drawn: set[str], query: dict[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    """Give the counts that let a page fit by itself, or else why it cannot."""
    if not drawing.parts.have_counts:
        return None, NO_REFIT
    if not drawing.parts.whole["k"].sel(drawing.query).notnull().any():
        return None, NONE_FITTED
    if not drawn <= _ALIVE:
        return None, STAYS_OF_WEIGHTS
    if "expert" in drawing.parts.whole["k"].dims and drawn & _OF_ONE:
        return None, STAYS_OF_EXPERTS
    asked = [query, drawing.query] if drawing.panel.one_step else [_all_steps(drawing, drawn)]
    for part in asked:
        sent = page_counts(drawing.parts.whole.sel(part), most=_MOST_BYTES)
        one = drawing.panel.one_step and part is drawing.query
        if sent is not None and (sent[0]["kind"] == "bins" or one):
            return {"header": sent[0], "data": b64encode(sent[1]).decode("ascii")}, ""
    return None, STAYS_OF_COUNTS.format(_MOST_BYTES / 1e6)


def _all_steps(drawing: Drawing, drawn: set[str]) -> dict[str, Any]:
    """Choose what charts of several steps are drawn from: where two are compared, these.

    The medians beside them are of the last step of each model.
    """
    query = drawing.query
    if "difference" not in drawn:
        return query
    pairs = [drawing.state["first"], drawing.state["second"]]
    last = dict(sorted(drawing.parts.cells.checkpoints, key=lambda pair: pair[1]))
    query = query | {"step": sorted({*last.values(), *(step for _, step in pairs)})}
    if "model" in query:
        query["model"] = list(dict.fromkeys([*query["model"], *(model for model, _ in pairs)]))
    return query


def _packed(content: dict[str, Any]) -> str:
    """Write JSON as text, compressed."""
    text = json.dumps(content, separators=(",", ":"))
    return b64encode(zlib.compress(text.encode(), 9)).decode("ascii")
