"""What the page is sent, as JSON: its controls, its charts, its findings and its sentences."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from weibnb.charts.marks import heading, layer, nominal
from weibnb.charts.tables import MAX_PANELS
from weibnb.charts.vega import DARK, vega_lite
from weibnb.diagnostics.bands import BANDS
from weibnb.diagnostics.check import check_fits
from weibnb.diagnostics.findings import SEVERITIES, sentence_of
from weibnb.explorer.labels import (
    CHOICES,
    COLUMNS,
    EMPTY,
    FACETS,
    LOOK_AT_WEIGHTS,
    MAIN_TOWER,
    NO_WEIGHTS,
    NOT_HELD,
    OPTIONS,
    TEXTS,
    TOO_MANY,
)
from weibnb.messages import (
    NeedsWeightsError,
    NotHeldError,
    TooManyError,
    counted,
    grouped,
    printable,
    shortened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

    from weibnb.charts.vega import Spec
    from weibnb.diagnostics.findings import Cell as Place
    from weibnb.diagnostics.findings import Check
    from weibnb.explorer.filters import Cell, Cells
    from weibnb.explorer.panels import Panel, View
    from weibnb.fitting.weibull import Estimator, Trim

_MOST_FINDINGS = 200
_MOST_NAMED = 4  # matrices that are named in their Weibull plot; of more there is a legend
# The rule that needs compiled code, which takes a second to load.
_SLOW = "far-layer"
_HEALTHY = "no finding"


def controls(cells: Cells, panels: Mapping[str, Panel]) -> str:
    """Describe what hardly changes: filters, panels and every word of the page."""
    facets = [
        {
            "name": name,
            "title": facet.title,
            "labels": [printable(label) or unnamed(name) for label in facet.labels],
            "values": facet.labels,
            "more": name not in FACETS,
        }
        for name, facet in cells.facets.items()
    ]
    offered = {
        name: {"title": panel.title, "options": panel.options, "one_step": panel.one_step}
        for name, panel in panels.items()
        if len(cells.steps) > 1 or name != "trajectories"
    }
    bands = {name: name.replace("-", " ") for name in BANDS}
    return json.dumps({
        "facets": facets,
        "layers": cells.layer_range,
        "panels": offered,
        "options": OPTIONS,
        "choices": CHOICES | {"band": bands},
        "columns": COLUMNS,
        "texts": TEXTS,
        "dark": DARK,
    })  # fmt: skip


def unnamed(facet: str) -> str:
    """Call what has no name in a filter, where a box without a word would stand."""
    return MAIN_TOWER if facet == "tower" else EMPTY


def checkpoints(cells: Cells) -> str:
    """List the steps, and the models with theirs: null where those are all steps."""
    steps: dict[str, list[Any]] = {}
    for model, step in cells.checkpoints:
        steps.setdefault(model, []).append(step)
    models = [
        [model, printable(model), None if own == cells.steps else own]
        for model, own in steps.items()
    ]
    return json.dumps({"steps": cells.steps, "models": models})


@dataclass(frozen=True, slots=True)
class DrawnView:
    """A chart as the page gets it; one that cannot be drawn says why, beside those that can."""

    view: View
    made_from: tuple[Any, ...]  # what else decides what it shows
    spec: Spec | None  # None where it cannot be drawn
    text: str  # JSON of it, with its data by columns, or of a reason

    @classmethod
    def of(
        cls, view: View, part_of: Callable[[View], xr.Dataset], made_from: tuple[Any, ...]
    ) -> DrawnView:
        """Draw a view from its part of the fits."""
        spec: Spec | None = None
        try:
            part = part_of(view)
            said = said_once(view.spec(part), part)
            if view.told:
                said = _named_in_place(said)
            elif view.brief:
                said = _with_legend(said, {"labelExpr": "split(datum.label, '   λ')[0]"})
            spec = vega_lite(said)
            content: dict[str, Any] = {"spec": for_page(spec)}
        except (ValueError, TypeError, ImportError) as err:
            content = {"problem": _why_not(view.label, err)}
        text = json.dumps(content | {"label": view.label}, separators=(",", ":"))
        return cls(view, made_from, spec, text)


def for_page(spec: Spec) -> Spec:
    """Give a chart with its tables by columns."""
    return spec | {"datasets": {name: _by_columns(rows) for name, rows in spec["datasets"].items()}}


def _by_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay out a table for the page, in half the bytes.

    A value that all rows have stands once, and a column that is like one before it is its name.
    """
    columns: dict[str, list[Any] | str] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        if all(one == values[0] for one in values):
            columns[name] = values[:1]
        else:
            like = next((other for other, held in columns.items() if held == values), None)
            columns[name] = like or values
    return {"rows": len(rows), "columns": columns}


def _why_not(label: str, error: Exception) -> str:
    """Say why a chart is not drawn, as somebody can mend it who has the page alone."""
    if isinstance(error, TooManyError):
        return TOO_MANY.format(label, error.room, f"{error.number:,}")
    if isinstance(error, NeedsWeightsError):
        return NO_WEIGHTS.format(label, error.call)
    return NOT_HELD.format(label) if isinstance(error, NotHeldError) else str(error)


def said_once(spec: Spec, part: xr.Dataset) -> Spec:
    """Leave out of the titles what stands above all charts: their models and the protocol."""
    if "title" not in spec:
        first, *others = spec["vconcat"]
        return spec | {"vconcat": [said_once(first, part), *others]}
    if "estimator" not in part.attrs:  # what was seen inside a matrix has no protocol
        return spec
    notes = spec["title"]["subtitle"]
    line = heading(part, "")["subtitle"][0]
    protocol = line.rpartition(" · ")[2]
    own = [note.removesuffix(f" · {protocol}") for note in notes if note != line]
    return spec | {"title": spec["title"] | {"subtitle": own}}


def _named_in_place(spec: Spec) -> Spec:
    """Name the few matrices of a Weibull plot in it, without the numbers that stand beside it."""
    if "vconcat" not in spec:
        return spec
    upper, *rest = spec["vconcat"]
    scale = _scale_of_names(upper)
    names = [name.partition(":  ")[0] for name in scale["domain"]]
    if len(names) > _MOST_NAMED:
        short: Spec = _with_legend(spec, {"labelExpr": "split(datum.label, ':  ')[0]"})
        return short
    shown = zip(reversed(names), reversed(scale["range"]), strict=True) if len(names) > 1 else ()
    words = [
        layer(
            "text",
            {"x": {"value": "width"}, "y": {"value": "height"}, "text": nominal("words")},
            data=pd.DataFrame({"words": [shortened(name, 44)]}),
            align="right",
            baseline="bottom",
            dx=-8,
            dy=-6 - 16 * i,
            color=colour,
            limit={"expr": "width - 16"},
            fontSize=12,
            fontWeight=600,
        )
        for i, (name, colour) in enumerate(shown)
    ]
    named = {**upper, "layer": [*upper["layer"], *words]}
    found: Spec = _with_legend({**spec, "vconcat": [named, *rest]}, None)
    return found


def _scale_of_names(panel: Spec) -> Spec:
    """Give the scale by which matrices have their colours; an empty one where there are none."""
    colours = (one.get("encoding", {}).get("color", {}) for one in panel["layer"])
    found: Spec = next(
        (one["scale"] for one in colours if "scale" in one), {"domain": [], "range": []}
    )
    return found


def _with_legend(node: Any, more: Spec | None) -> Any:
    """Add to the legends of matrices, or leave them out."""
    if isinstance(node, list):
        return [_with_legend(child, more) for child in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_legend(child, more) for key, child in node.items()}
    if node.get("field") == "matrix" and node.get("legend"):
        found["legend"] = None if more is None else node["legend"] | more
    return found


def findings(fits: xr.Dataset, *, at_once: bool, note: str = LOOK_AT_WEIGHTS) -> str:
    """List what `weibnb.check` finds in fits alone, worst first, and what it cannot look at.

    Layers far from their neighbours are left out if it has to be there `at_once`.
    """
    try:
        check = check_fits(fits, ignore=(_SLOW,) if at_once else ())
    except ValueError as err:
        nothing = {"badge": "", "severity": "", "headline": "Not checked.", "rows": []}
        return json.dumps(nothing | {"note": str(err)})
    return found(check, note=note, healthy="" if at_once else _HEALTHY)


def found(check: Check, *, note: str = "", healthy: str = _HEALTHY) -> str:
    """List what a check found, worst first, and what it could not look at."""
    number_of = Counter(one.severity for one in check.findings)
    worst = next((word for word in SEVERITIES if number_of[word]), None)
    rows = [
        {
            "severity": one.severity,
            "rule": one.rule,
            "where": _where(one.cells[0]),
            "text": sentence_of(one),
            "cells": [cell for cell in map(_on_the_map, one.cells) if cell is not None],
        }
        for one in check.findings[:_MOST_FINDINGS]
    ]
    rows += [
        {
            "severity": "not looked at",
            "rule": one.rule,
            "where": "",
            "text": printable(one.reason),
            "cells": [],
        }
        for one in check.not_looked_at
    ]
    number = len(check.findings)
    headline = f"{counted(number, 'finding')}:" if number else "No finding by the rules tried."
    hidden = number - _MOST_FINDINGS
    more = f"{hidden:,} more are not listed. " if hidden > 0 else ""
    told = {
        "badge": counted(number_of[worst], worst) if worst else healthy,
        "severity": worst or "",
        "headline": headline,
    }
    return json.dumps(told | {"rows": rows, "note": more + note})


def _where(cell: Place) -> str:
    """Name a place in few words: what it is within its model, else the model."""
    if cell.tensor and not cell.component:
        return shortened(cell.tensor, 40)
    parts = [f"layer {cell.layer}"] if cell.layer is not None else []
    parts += [shortened(cell.component, 40)] if cell.component else []
    return " ".join(parts) or shortened(cell.model, 40)


def _on_the_map(cell: Place) -> Cell | None:
    """Give the labels of a matrix as the page shows them; None where a finding is about more."""
    if cell.step is None or cell.layer is None or not cell.component:
        return None
    return printable(cell.model), cell.layer, printable(cell.component), cell.step


def summary(
    kept: int, total: int, protocol: tuple[Estimator, Trim], *, compared: bool = False
) -> str:
    """Say how many matrices are kept, and how they were fitted."""
    estimator, (lower, upper) = protocol
    return (
        f"{kept:,} of {total:,} matrices{' compared' if compared else ''} · "
        f"{CHOICES['estimator'][estimator]}, trim {100 * lower:g}–{100 * upper:g} %"
    )


def left_out(
    cells: Cells, step: int | None, models: Sequence[str] | None, chosen: Sequence[Cell]
) -> str:
    """Name the kept models without a matrix at the step, and say if not all that is chosen fits."""
    words = []
    if step is not None and cells.steps:
        there = {model for model, at in cells.checkpoints if at == step}
        known = [str(name) for name in cells.labels["model"].tolist()]
        gone = [
            printable(name)
            for name in known
            if name not in there and (models is None or name in models)
        ]
        more = f" and {len(gone) - 4} more" if len(gone) > 4 else ""
        if gone:
            words.append(f"No matrix at step {grouped(step)}: {', '.join(gone[:4])}{more}.")
    if len(chosen) > MAX_PANELS:
        words.append(f"{MAX_PANELS} of {len(chosen)} selected drawn")
    return " · ".join(words)


def spoken(count: str, chosen: Sequence[Cell]) -> str:
    """Say in one sentence, for a screen reader, what is shown and what is selected."""
    if not chosen:
        return count
    _model, layer, component, _step = chosen[0]
    more = f" and {len(chosen) - 1} more" if len(chosen) > 1 else ""
    return f"{count}; selected: {printable(component)} of layer {layer}{more}"


def labels_of(chosen: Sequence[Cell]) -> list[list[Any]]:
    """Write cells with names that are safe to show."""
    return [[printable(label) if isinstance(label, str) else label for label in cell]
            for cell in chosen]  # fmt: skip
