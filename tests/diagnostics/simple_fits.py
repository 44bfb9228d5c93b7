"""Fits with a given k and nothing else, for tests of the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.io.naming import tower, weight_class

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DIMS = ("model", "layer", "component", "step")


def make(
    k: Any,
    *,
    se: float | None = 0.001,
    components: Sequence[str] = ("up_proj",),
    steps: Sequence[int] = (0,),
    trim: tuple[float, float] = (0.1, 0.9),
    estimator: str = "rank_regression",
    coords: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Fits with the given k, of shape (model, layer, component, step) after broadcasting."""
    values = np.asarray(k, float)
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    variables: dict[str, Any] = {
        "k": (DIMS, values),
        "lam": (DIMS, np.full(values.shape, 0.02)),
        "status": (DIMS, np.where(np.isnan(values), "absent", "ok").astype(object)),
    }
    if se is not None:
        variables["k_se"] = (DIMS, np.full(values.shape, se))
    places = {
        "model": [f"m{i}" for i in range(values.shape[0])],
        "layer": range(values.shape[1]),
        "component": list(components),
        "step": list(steps),
        "weight_class": ("component", [weight_class(name) for name in components]),
        "tower": ("component", [tower(name) for name in components]),
    }
    attrs = {"estimator": estimator, "trim_lower": trim[0], "trim_upper": trim[1]}
    return xr.Dataset(variables, {**places, **(coords or {})}, attrs)


def cells(k: float, **options: Any) -> xr.Dataset:
    return make([[[[k]]]], **options)
