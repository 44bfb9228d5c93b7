"""Experts of a cell -> one value: medians, and sums where due."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.schema import DEAD, FORCES
from weibnb.fitting.estimates import COVARIANCE, EFFECTS, ESTIMATES
from weibnb.fitting.status import FITTED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def median_present(array: NDArray[Any], axis: int = -1) -> NDArray[Any]:
    """Take the median of what is not NaN, NaN where nothing is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice encountered", RuntimeWarning)
        middle: NDArray[Any] = np.nanmedian(array, axis=axis)
    return middle


def _typical(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Take the median over experts, the fifth axis; the mean of what must go on adding up."""
    if name != COVARIANCE and name not in FORCES:
        return median_present(array, axis=4)
    number = np.isfinite(array).sum(4)
    return np.asarray(np.nansum(array, 4) / np.where(number > 0, number, np.nan))


def robust_spread(array: NDArray[Any]) -> NDArray[Any]:
    """Spread over the last axis: 1.4826 median absolute deviations, NaN of fewer than two."""
    middle = median_present(array)[..., None]
    spread: NDArray[Any] = 1.4826 * median_present(np.abs(array - middle))
    return np.where(np.isfinite(array).sum(-1) > 1, spread, np.nan)


def merge_experts(cells: Arrays) -> Arrays:
    """Take the expert axis, the fifth, out of everything but the counts."""
    present = cells["n_matrices"] > 0
    if present.shape[-1] == 1:
        return {n: a.reshape(*a.shape[:4], *a.shape[5:]) for n, a in cells.items()}
    first = present.argmax(-1)[..., None]
    merged: Arrays = {}
    for name, array in cells.items():
        if name == "counts":
            merged[name] = array
        elif name in ("n_matrices", "nonfinite"):
            merged[name] = array.sum(-1)
        elif name == "max_abs":
            merged[name] = np.fmax.reduce(array, -1)
        elif name == "n":
            middle = median_present(np.where(present, array, np.nan))
            merged[name] = np.nan_to_num(middle).astype(int)
        elif array.dtype.kind == "f":
            merged[name] = _typical(name, array)
        else:
            merged[name] = np.take_along_axis(array, first, -1)[..., 0]
    merged |= {name: _dead(cells[name], present) for name in DEAD if name in cells}
    for cell in map(tuple, np.argwhere(present.sum(-1) > 1)):
        there = present[cell]
        words = set(cells["status"][cell][there])
        if len(words) > 1:
            merged["status"][cell] = "partial" if words & set(FITTED) else min(words)
        merged["se_kind"][cell] = _kind(cells["se_kind"][cell][there])
        merged["parameter"][cell] = _pattern(list(cells["parameter"][cell][there]))
    return merged


def merge_expert_fits(fit: Arrays) -> Arrays:
    """Reduce fresh fits of experts, on the last axis, to one fit of each cell."""
    fitted = (fit["status"] == "ok").argmax(-1)[..., None]
    merged = {name: median_present(fit[name]) for name in (*ESTIMATES, *EFFECTS)}
    merged["k_spread"] = robust_spread(fit["k"])
    return merged | {"status": np.take_along_axis(fit["status"], fitted, -1)[..., 0]}


def merge_statistic(name: str, array: NDArray[Any], axis: int) -> NDArray[Any]:
    """Reduce a variable that follows from the counts of experts to one value of each cell."""
    if name == "nonfinite":
        return np.asarray(array.sum(axis))
    if name == "max_abs":
        return np.asarray(array.max(axis))
    if name == "n":
        middle = median_present(np.where(array > 0, array, np.nan), axis)
        return np.asarray(np.nan_to_num(middle), np.int64)
    return median_present(array, axis)


def _dead(dead: NDArray[Any], present: NDArray[np.bool_]) -> NDArray[Any]:
    """Add up dead lines of the experts that are there, -1 where those of one are not known."""
    known = present.any(-1) & ~(present & (dead < 0)).any(-1)
    return np.where(known, dead.sum(-1, where=present), -1).astype(dead.dtype)


def _kind(kinds: NDArray[np.object_]) -> str:
    """Say how the errors of several experts were made: those that have any."""
    return min(set(kinds) - {"none"}, default="none")


def _pattern(names: list[str]) -> str:
    """Write several names as one, with * for the words that differ."""
    words = zip(*(name.split(".") for name in names), strict=False)
    return ".".join(word[0] if len(set(word)) == 1 else "*" for word in words)
