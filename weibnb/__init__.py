"""A Jupyter-native microscope for trained weights.

``weibnb.scan(path)`` fits a two-parameter Weibull to the magnitudes of every weight matrix of a
checkpoint and returns the fits as an xarray Dataset with dims (model, layer, component, step).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weibnb.checkpoint import CheckpointError, find_steps, open_checkpoint
    from weibnb.dataset import not_fitted, open_fits, save_fits
    from weibnb.fit import WeibullFit, fit_weibull
    from weibnb.histogram import Counts, count_magnitudes
    from weibnb.scanner import ScanInterrupted, refit, scan
    from weibnb.weibull import Anchor, anchor

# Public names and the rooms they live in; each room is imported when it is first needed, so that
# `import weibnb` is quick and opening saved fits needs neither numba nor torch.
_ROOMS = {
    "Anchor": "weibull",
    "CheckpointError": "checkpoint",
    "Counts": "histogram",
    "ScanInterrupted": "scanner",
    "WeibullFit": "fit",
    "anchor": "weibull",
    "count_magnitudes": "histogram",
    "find_steps": "checkpoint",
    "fit_weibull": "fit",
    "not_fitted": "dataset",
    "open_checkpoint": "checkpoint",
    "open_fits": "dataset",
    "refit": "scanner",
    "save_fits": "dataset",
    "scan": "scanner",
}

__all__ = [
    "Anchor",
    "CheckpointError",
    "Counts",
    "ScanInterrupted",
    "WeibullFit",
    "anchor",
    "count_magnitudes",
    "find_steps",
    "fit_weibull",
    "not_fitted",
    "open_checkpoint",
    "open_fits",
    "refit",
    "save_fits",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from weibnb.dataset import package_version

        return package_version()
    if name not in _ROOMS:
        raise AttributeError(f"module 'weibnb' has no attribute {name!r}")
    value = getattr(import_module(f"weibnb.{_ROOMS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
