"""Rules on rows and columns: those that are zero, or as good as zero beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt
from weibnb.diagnostics.rules.material import AXES, flagged
from weibnb.fitting.status import FITTED
from weibnb.messages import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import xarray as xr

    from weibnb.diagnostics.rules.material import Material

    Found = Iterator[Finding | NotLookedAt]

#: RMS over the median one below which a row or column is nearly dead, and above which it is huge.
NEARLY, HUGE = 1e-4, 100.0
_NOUNS = {"row": ("row", "rows"), "col": ("column", "columns")}


def dead_lines(material: Material) -> Found:
    """Rows and columns of zeros, by whoever looked: the scan, a second look, or the zeros.

    A scan adds up those of the experts of a cell; only a second look tells which experts they are.
    """
    there = _seen_by_scan(material)
    places = [_place_in(there, matrix.cell) for matrix in material.matrices]
    of_experts = any(len(place) < 5 and any(there[place]) for place in places if place)
    if material.reader is not None and (of_experts or not all(places)):
        yield from _by_second_look(material, material.reader.dead_lines())
        return
    unseen, told = 0, set()
    for matrix in material.matrices:
        if matrix.status == "all_zero":
            continue
        place = _place_in(there, matrix.cell)
        if place is not None:
            if place not in told:
                told.add(place)
                cell = matrix.cell if len(place) > 4 else matrix.cell._replace(expert=-1)
                for axis, number in zip(AXES, there[place], strict=True):
                    yield from _finding(material, cell, axis, number)
        elif matrix.facts is not None:
            unseen += matrix.facts.zeros >= max(min(matrix.rows, matrix.cols), 1)
        else:
            unseen += matrix.status in FITTED
    if unseen:
        matrices = counted(unseen, "matrix", "matrices")
        reason = f"nobody looked at {matrices} with zeros enough; check the checkpoint itself"
        yield NotLookedAt("dead-lines", reason)


def _by_second_look(material: Material, found: pd.DataFrame) -> Iterator[Finding]:
    """Tell of the lines of a table, each axis of a matrix once."""
    empty = {m.cell[:5] for m in material.matrices if m.status == "all_zero"}
    keys = ["model", "step", "layer", "component", "expert", "parameter", "axis"]
    for _, table in found.groupby(keys, sort=False):
        one = table.iloc[0]
        cell = Cell.of_row(one)
        if cell[:5] not in empty:
            yield from _finding(material, cell, str(one["axis"]), len(table))


def _finding(material: Material, cell: Cell, axis: str, number: int) -> Iterator[Finding]:
    """Tell of dead lines, but for those of a start."""
    if number > 0 and (cell.model, cell.step) not in material.starts:
        lines = counted(number, *_NOUNS[axis])
        text = f"{lines} {'are' if number > 1 else 'is'} zero throughout."
        step = "fits.weibull.dead_lines() names them; a unit that never fires may be pruned."
        yield Finding("dead-lines", "warning", (cell,), number, 0, text, step)


def _place_in(there: dict[tuple[Any, ...], Any], cell: Cell) -> tuple[Any, ...] | None:
    """Find the entry of a matrix, or of all experts of its cell."""
    return next((place for place in (cell[:5], cell[:4]) if place in there), None)


def _seen_by_scan(material: Material) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Give dead rows and columns of the cells, or experts, that the scan looked at."""
    fits = material.fits
    if "dead_rows" not in fits or "dead_cols" not in fits:
        return {}
    order = ("model", "step", "layer", "component", *_expert_of(fits["dead_rows"]))
    tables = [fits[f"dead_{axis}s"].transpose(*order) for axis in AXES]
    rows, cols = (table.fillna(-1).values.astype(int) for table in tables)
    labels = [fits[dim].values.tolist() for dim in order]
    return {
        tuple(names[i] for names, i in zip(labels, at, strict=True)): (int(rows[at]), int(cols[at]))
        for at in map(tuple, np.argwhere((rows >= 0) & (cols >= 0)).tolist())
    }


def _expert_of(array: xr.DataArray) -> tuple[str, ...]:
    """Name the dim of experts, if an array has it."""
    return ("expert",) if "expert" in array.dims else ()


def nearly_dead_lines(material: Material) -> Found:
    """Rows and columns whose RMS is far below the median one, but not zero."""
    step = "Look at them in fits.row_rms and fits.col_rms; a unit that never fires may be pruned."
    yield from _by_rms(material, "nearly-dead-lines", (0, NEARLY), f"below {NEARLY:g} of", step)


def huge_lines(material: Material) -> Found:
    """Rows and columns whose RMS is far above the median one."""
    step = "Look at them in fits.row_rms and fits.col_rms, and compare with an earlier checkpoint."
    yield from _by_rms(material, "huge-lines", (HUGE, np.inf), f"above {HUGE:g} times", step)


def _by_rms(
    material: Material, rule: str, between: tuple[float, float], words: str, step: str
) -> Found:
    """Tell of lines whose RMS over the median one is between two numbers."""
    fits = material.fits
    looked_at = [axis for axis in AXES if f"{axis}_rms" in fits]
    if not looked_at:
        yield NotLookedAt(rule, "needs the RMS of rows and columns: scan(fields=True)")
        return
    for axis in looked_at:
        rms, median = fits[f"{axis}_rms"], material.median_rms[axis]
        inside = (rms > between[0] * median) & (rms < between[1] * median)
        numbers = inside.sum(material.lines_of(axis))
        for at, cell in flagged(numbers > 0):
            if (cell.model, cell.step) not in material.starts:
                value = int(numbers.values[at])
                lines = counted(value, *_NOUNS[axis])
                text = f"{lines} {'have' if value > 1 else 'has'} an RMS {words} the median."
                yield Finding(rule, "warning", (cell,), value, 0, text, step)
    known = fits[f"{looked_at[0]}_rms"]
    known = known.notnull().any(set(known.dims) - set(fits["k"].dims))
    unseen = int((fits["status"].isin(FITTED) & ~known).sum())
    if unseen:
        cells = counted(unseen, "cell", "cells")
        reason = f"the RMS of rows and columns of {cells} is not known: scan(fields=True)"
        yield NotLookedAt(rule, f"{reason}, for experts with experts='each'")
