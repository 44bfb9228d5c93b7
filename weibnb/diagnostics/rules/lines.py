"""Rules on rows and columns: those that are zero, or as good as zero beside the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.diagnostics.findings import Cell, Finding, NotLookedAt

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from weibnb.diagnostics.rules.material import Material

    Found = Iterator[Finding | NotLookedAt]

#: RMS over the median one below which a row or column is nearly dead.
NEARLY = 1e-4
_AXES = (("row", "rows"), ("col", "columns"))


def dead_lines(material: Material) -> Found:
    """Rows and columns of zeros, by whoever looked: the scan, a second look, or the zeros."""
    there = _seen_by_scan(material)
    if material.reader is not None and not there:
        found = material.reader.dead_lines()
        keys = ["model", "step", "layer", "component", "expert", "parameter", "axis"]
        for _, table in found.groupby(keys, sort=False):
            one = table.iloc[0]
            cell = Cell(
                str(one["model"]),
                int(one["step"]),
                int(one["layer"]),
                str(one["component"]),
                int(one["expert"]),
                str(one["parameter"]),
            )
            yield from _finding(material, cell, str(one["axis"]), len(table))
        return
    unseen = 0
    for matrix in material.matrices:
        dead = there.get(matrix.cell[:4])
        if dead is not None:
            for (axis, _), number in zip(_AXES, dead, strict=True):
                yield from _finding(material, matrix.cell, axis, number)
        elif matrix.status != "all_zero" and (
            matrix.counts is None or matrix.counts.zeros >= max(min(matrix.rows, matrix.cols), 1)
        ):
            unseen += matrix.counts is not None or matrix.status in ("ok", "scaled", "partial")
    if unseen:
        reason = (
            f"{unseen:,} matrices have zeros enough for a dead row or column, and nobody looked; "
            "check the checkpoint itself"
        )
        yield NotLookedAt("dead-lines", reason)


def _finding(material: Material, cell: Cell, axis: str, number: int) -> Iterator[Finding]:
    """Tell of dead lines, but for those of a start."""
    if number > 0 and (cell.model, cell.step) not in material.starts:
        words = dict(_AXES)[axis] if number > 1 else {"row": "row", "col": "column"}[axis]
        text = f"{number:,} {words} {'are' if number > 1 else 'is'} zero throughout."
        step = "fits.weibull.dead_lines() names them; a unit that never fires may be pruned."
        yield Finding("dead-lines", "warning", (cell,), number, 0, text, step)


def _seen_by_scan(material: Material) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Give dead rows and columns of the cells that the scan looked at."""
    fits = material.fits
    if "dead_rows" not in fits or "dead_cols" not in fits or "expert" in fits["k"].dims:
        return {}
    order = ("model", "step", "layer", "component")
    tables = [fits[f"dead_{axis}s"].transpose(*order) for axis, _ in _AXES]
    rows, cols = (table.fillna(-1).values.astype(int) for table in tables)
    labels = [fits[dim].values.tolist() for dim in order]
    return {
        tuple(names[i] for names, i in zip(labels, at, strict=True)): (int(rows[at]), int(cols[at]))
        for at in map(tuple, np.argwhere((rows >= 0) & (cols >= 0)).tolist())
    }


def nearly_dead_lines(material: Material) -> Found:
    """Rows and columns whose RMS is far below the median one, but not zero."""
    fits = material.fits
    names = [f"{axis}_rms" for axis, _ in _AXES if f"{axis}_rms" in fits]
    if not names:
        yield NotLookedAt(
            "nearly-dead-lines", "needs the RMS of rows and columns: scan(fields=True)"
        )
        return
    for name, words in zip(names, ("rows", "columns"), strict=False):
        yield from _nearly(material, fits[name], words)


def _nearly(material: Material, rms: xr.DataArray, words: str) -> Found:
    """Count the lines of each cell that are nearly dead."""
    line = next(str(dim) for dim in rms.dims if dim not in material.fits["k"].dims)
    rms = rms.where(rms > 0)
    number = (rms < NEARLY * rms.median(line)).sum(line)
    for at in np.argwhere(number.values > 0):
        found = number[tuple(at)]
        labels = {dim: found[dim].item() for dim in found.dims}
        cell = Cell(
            str(labels["model"]),
            int(labels["step"]),
            int(labels["layer"]),
            str(labels["component"]),
            int(labels.get("expert", -1)),
        )
        if (cell.model, cell.step) in material.starts:
            continue
        value = int(found.item())
        text = f"{value:,} {words} have an RMS below {NEARLY:g} of the median one."
        step = (
            "Look at them in fits.row_rms and fits.col_rms; a unit that never fires may be pruned."
        )
        yield Finding("nearly-dead-lines", "warning", (cell,), value, 0, text, step)
