"""Checkpoints -> a Dataset of fits: the one place that joins reading, counting and fitting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.build import median_present

if TYPE_CHECKING:
    from numpy.typing import NDArray


# Arrays with an axis behind the cell's.
_WITH_TAIL = ("counts", "magnitude_quantile")


def _reduce_experts(cells: dict[str, NDArray[Any]]) -> None:
    """Take the expert axis out of everything but the counts: medians, and sums where due."""
    present = cells["n_matrices"] > 0
    if present.shape[-1] == 1:
        for name in cells:
            cells[name] = cells[name][..., 0, :] if name in _WITH_TAIL else cells[name][..., 0]
        return
    first = present.argmax(-1)[..., None]
    several = np.argwhere(present.sum(-1) > 1)
    names, words = cells["parameter"], cells["status"]
    for name, array in cells.items():
        if name in ("counts", "counts_exact"):
            continue
        if name in ("n_matrices", "nonfinite"):
            cells[name] = array.sum(-1)
        elif name == "max_abs":
            cells[name] = np.fmax.reduce(array, -1)
        elif name == "n":
            cells[name] = np.nan_to_num(median_present(np.where(present, array, np.nan))).astype(
                int
            )
        elif array.dtype.kind == "f":
            cells[name] = median_present(array, axis=4)
        else:
            cells[name] = np.take_along_axis(array, first, -1)[..., 0]
    for cell in map(tuple, several):
        found = set(words[cell][present[cell]])
        if len(found) > 1:
            cells["status"][cell] = "partial" if found & {"ok", "scaled"} else min(found)
        cells["parameter"][cell] = _pattern(list(names[cell][present[cell]]))


def _pattern(names: list[str]) -> str:
    """Write several names as one, with * for the words that differ."""
    words = zip(*(name.split(".") for name in names), strict=False)
    return ".".join(word[0] if len(set(word)) == 1 else "*" for word in words)
