"""What changed between two checkpoints, as far as their fits tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from weibnb.diagnostics.changes import NOT_COMPARED, Diff, as_table
from weibnb.fits.refit import refit
from weibnb.fits.schema import DIMS, NO_EXPERT, prepare, protocol_of
from weibnb.fitting.distances import moved_between
from weibnb.messages import grouped, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

    from weibnb.counting.counts import Counts

    Cell = tuple[int, str, int]


def named(before: tuple[str, int], after: tuple[str, int]) -> tuple[str, str]:
    """Name two checkpoints by their models, and by their steps where these are all that differs.

    Examples
    --------
    >>> named(("run", 500), ("run", 7000))
    ('run step 500', 'run step 7,000')
    """
    if before[0] != after[0] or before[1] == after[1]:
        return before[0], after[0]
    first, second = (f"{model} step {grouped(step)}" for model, step in (before, after))
    return first, second


def compare_fits(before: xr.Dataset, after: xr.Dataset) -> Diff:
    """Compare fits of two checkpoints, as `weibnb.diff` does.

    Parameters
    ----------
    before, after : xarray.Dataset
        Fits of one model at one step each.

    Returns
    -------
    Diff

    Raises
    ------
    TypeError, ValueError
        If they are not fits of one checkpoint each, or of different protocols without counts.
    """
    one, other = _single(before, "before"), _single(after, "after")
    if protocol_of(one) != protocol_of(other):
        other = _single(_refitted(other, protocol_of(one)), "after")
    cells = [dict(_cells(side)) for side in (one, other)]
    rows = [
        _row(key, cells[0][key], cells[1][key])
        for key in cells[0]
        if key in cells[1] and not _shapes_differ(cells[0][key], cells[1][key])
    ]
    left = [_left(key, cells) for key in dict.fromkeys([*cells[0], *cells[1]])]
    listed = pd.DataFrame([entry for entry in left if entry], columns=list(NOT_COMPARED))
    names = named(*((str(s["model"].item()), int(s["step"].item())) for s in (one, other)))
    components = dict.fromkeys(
        str(name) for side in (one, other) for name in side["component"].values
    )
    return Diff(as_table(rows), listed, None, *names, tuple(components), by_fits=True)


def _single(fits: xr.Dataset, which: str) -> xr.Dataset:
    """Prepare fits, which must be of one model at one step."""
    fits = prepare(fits, dims=DIMS)
    for dim in ("model", "step"):
        if fits.sizes[dim] != 1:
            labels = ", ".join(printable(label) for label in fits[dim].values[:4])
            more = ", …" if fits.sizes[dim] > 4 else ""
            raise ValueError(
                f"`{which}` must be fits of one {dim}, got {fits.sizes[dim]}: {labels}{more}. "
                f"Select one: fits.sel({dim}=[...])."
            )
    return fits


def _refitted(fits: xr.Dataset, protocol: tuple[Any, Any]) -> xr.Dataset:
    """Bring fits to another protocol, from their counts."""
    estimator, trim = protocol
    if "counts" not in fits:
        raise ValueError(
            f"`before` and `after` must be fits by one protocol, got {protocol_of(fits)} and "
            f"{protocol}. Scan one again: weibnb.scan(source, trim={trim}, "
            f"estimator={estimator!r})."
        )
    return refit(fits, trim=trim, estimator=estimator)


def _cells(fits: xr.Dataset) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Give what is known of every matrix, or of every cell of merged experts."""
    part = fits.isel(model=0, step=0)
    order = [dim for dim in ("layer", "component", "expert") if dim in part["k"].dims]
    names = [name for name in _USED if name in part]
    arrays = {name: part[name].transpose(*order, ...).values for name in names}
    counts = part["counts"].transpose(*order, ...).values if "counts" in part else None
    for at in np.argwhere(arrays["status"] != "absent").tolist():
        place = tuple(at)
        labels = {dim: part[dim].values[i] for dim, i in zip(order, place, strict=True)}
        cell = {name: array[place] for name, array in arrays.items()}
        held: Any = [] if counts is None else np.atleast_1d(np.array(counts[place], object)).ravel()
        cell["counts"] = [one for one in held if one.n]
        yield (
            (int(labels["layer"]), str(labels["component"]), int(labels.get("expert", NO_EXPERT))),
            cell,
        )


_USED = (
    "status", "parameter", "dtype", "rows", "cols", "scaled", "k", "k_se", "lam", "lam_se", "rms",
    "kurtosis", "n", "lam_design_effect",
)  # fmt: skip


def _row(key: Cell, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Compare a matrix; scales that are not in the fits leave nothing to say of λ and rms."""
    row: dict[str, Any] = dict(zip(("layer", "component", "expert"), key, strict=True))
    row |= {
        "tensor": after.get("parameter", ""),
        "rows": after.get("rows", pd.NA),
        "cols": after.get("cols", pd.NA),
        "dtype_before": before.get("dtype", ""),
        "dtype_after": after.get("dtype", ""),
        "k_before": before["k"],
        "k_after": after["k"],
        "delta_k": after["k"] - before["k"],
        "delta_k_se": _joint(before, after, lambda cell: cell.get("k_se", np.nan)),
        "errors": "separate",
        "status": _status(before, after),
    }
    if before.get("scaled") or after.get("scaled"):
        return row
    with np.errstate(divide="ignore", invalid="ignore"):
        row["delta_ln_lam"] = np.log(after["lam"]) - np.log(before["lam"])
        row["delta_ln_rms"] = np.log(after.get("rms", np.nan)) - np.log(before.get("rms", np.nan))
        row["delta_ln_lam_se"] = _joint(before, after, _error_of_log_lam)
        row["delta_ln_rms_se"] = _joint(before, after, _error_of_log_rms)
    row["distance"] = _distance(before["counts"], after["counts"])
    return row


def _status(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Give the status of the side that is not sound, if either is not."""
    return str(before["status"] if after["status"] == "ok" else after["status"])


def _joint(before: dict[str, Any], after: dict[str, Any], error: Any) -> float:
    """Add the errors of both sides as if they had nothing in common."""
    return float(np.hypot(error(before), error(after)))


def _error_of_log_lam(cell: dict[str, Any]) -> float:
    """Give the standard error of ln λ."""
    return float(cell.get("lam_se", np.nan) / cell["lam"])


def _error_of_log_rms(cell: dict[str, Any]) -> float:
    """Give that of ln rms: as of independent weights, but widened as that of λ is."""
    effect = cell.get("lam_design_effect", np.nan)
    alone = (cell.get("kurtosis", np.nan) - 1) / (4 * max(cell.get("n", 0), 1))
    return float(np.sqrt(alone * (1.0 if np.isnan(effect) else effect)))


def _distance(before: list[Counts], after: list[Counts]) -> float:
    """Give the distance of ln|w|, the median over experts; NaN without counts of both."""
    if not before or len(before) != len(after):
        return float("nan")
    pairs = zip(before, after, strict=True)
    return float(np.median([moved_between(one, other, None).distance for one, other in pairs]))


def _shapes_differ(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a matrix has another shape on each side; unknown shapes do not differ."""
    shapes = [(cell.get("rows", 0), cell.get("cols", 0)) for cell in (before, after)]
    return shapes[0] != shapes[1] and all(all(shape) for shape in shapes)


def _left(key: Cell, cells: list[dict[Cell, dict[str, Any]]]) -> dict[str, Any] | None:
    """Describe a matrix that is not compared; None if it is."""
    one, other = (side.get(key) for side in cells)
    if one is not None and other is not None and not _shapes_differ(one, other):
        return None
    there = other if other is not None else one or {}

    def shape(cell: dict[str, Any] | None) -> tuple[int, int] | None:
        return None if cell is None else (int(cell.get("rows", 0)), int(cell.get("cols", 0)))

    return {
        "tensor": str(there.get("parameter", "")) or f"layer {key[0]} {key[1]}",
        "where": "both" if one and other else "before" if one else "after",
        "shape_before": shape(one),
        "shape_after": shape(other),
        "dtype_before": "" if one is None else str(one.get("dtype", "")),
        "dtype_after": "" if other is None else str(other.get("dtype", "")),
        "reason": "of different shape" if one and other else "on one side only",
    }
