"""Fits of matrices that were read in part: what a refit needs, and where they hold nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.schema import SAMPLING
from weibnb.fitting.sampling import SHARE, WHOLE

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def known_of_samples(fits: xr.Dataset) -> Array:
    """Give the share of every matrix that was read, and no errors yet: an array (*counts, 4)."""
    shape = fits["counts"].shape
    known = np.tile(WHOLE, (*shape, 1))
    if SAMPLING[0] in fits:
        share = fits[SAMPLING[0]].values
        if share.ndim < len(shape):
            share = share[..., None]
        known[..., SHARE] = share
        known[~np.isnan(known[..., SHARE]), SHARE + 1 :] = 0.0
    return known


def with_sampling_errors(fresh: dict[str, NDArray[Any]], fits: xr.Dataset) -> dict[str, Array]:
    """Add to fresh errors of whole matrices those of sampling; nothing without samples.

    They are as many times the errors of independent weights as they were in `fits`.
    """
    if SAMPLING[0] not in fits:
        return {}
    found = {}
    for name in ("k", "lam"):
        error, added = fresh[f"{name}_se"], fits[f"{name}_sampling_se"].values
        before = np.maximum(fits[f"{name}_se"].values ** 2 - added**2, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            old = np.sqrt(before / _effect(fits[f"{name}_design_effect"].values))
            new = error / np.sqrt(_effect(fresh[f"{name}_design_effect"]))
            scaled = np.where(added > 0.0, added * (new / old), added)
        found[f"{name}_sampling_se"] = scaled
        found[f"{name}_se"] = np.where(np.isnan(added), error, np.hypot(error, scaled))
    return found


def _effect(effect: NDArray[Any]) -> Array:
    """Take errors without a design effect as those of independent weights."""
    return np.asarray(np.nan_to_num(effect, nan=1.0))
