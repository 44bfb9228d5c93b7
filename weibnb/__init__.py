"""A Jupyter-native microscope for trained weights.

``weibnb.scan(path)`` fits a two-parameter Weibull to the magnitudes of every weight matrix of a
checkpoint and returns the fits as an xarray Dataset with dims (model, layer, component, step).
The everyday verbs are also ``fits.weibull.<verb>``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weibnb.anchoring import drift
    from weibnb.bands import judge
    from weibnb.budget import training_budget
    from weibnb.checkpoint import open_checkpoint
    from weibnb.cohorts import compare, load_cohort, qwen_cohort, reference_cohort
    from weibnb.counting import count_magnitudes
    from weibnb.dataset import not_fitted, open_fits, save_fits
    from weibnb.explorer import explore
    from weibnb.families import find_populations, rank_families
    from weibnb.fit import WeibullFit, fit_weibull
    from weibnb.outliers import find_outliers
    from weibnb.report import summary, tidy, write_report
    from weibnb.safetensors_file import CheckpointError
    from weibnb.scanner import ScanInterrupted, refit, scan
    from weibnb.storage import selection
    from weibnb.weibull import anchor

# Public names and the rooms they live in; each room is imported when it is first needed, so that
# `import weibnb` is quick and opening saved fits needs neither numba nor torch.
_ROOMS = {
    "CheckpointError": "safetensors_file",
    "ScanInterrupted": "scanner",
    "WeibullFit": "fit",
    "anchor": "weibull",
    "compare": "cohorts",
    "count_magnitudes": "counting",
    "drift": "anchoring",
    "explore": "explorer",
    "find_outliers": "outliers",
    "find_populations": "families",
    "fit_weibull": "fit",
    "judge": "bands",
    "load_cohort": "cohorts",
    "not_fitted": "dataset",
    "open_checkpoint": "checkpoint",
    "open_fits": "dataset",
    "qwen_cohort": "cohorts",
    "rank_families": "families",
    "reference_cohort": "cohorts",
    "refit": "scanner",
    "save_fits": "dataset",
    "scan": "scanner",
    "selection": "storage",
    "summary": "report",
    "tidy": "report",
    "training_budget": "budget",
    "write_report": "report",
}
# Rooms that need no xarray; the others bring the accessor `fits.weibull` with them.
_PLAIN = {"checkpoint", "fit", "histogram", "safetensors_file", "weibull"}

__all__ = [
    "CheckpointError",
    "ScanInterrupted",
    "WeibullFit",
    "anchor",
    "compare",
    "count_magnitudes",
    "drift",
    "explore",
    "find_outliers",
    "find_populations",
    "fit_weibull",
    "judge",
    "load_cohort",
    "not_fitted",
    "open_checkpoint",
    "open_fits",
    "qwen_cohort",
    "rank_families",
    "reference_cohort",
    "refit",
    "save_fits",
    "scan",
    "selection",
    "summary",
    "tidy",
    "training_budget",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from weibnb.dataset import package_version

        return package_version()
    if name not in _ROOMS:
        raise AttributeError(f"module 'weibnb' has no attribute {name!r}")
    value = getattr(import_module(f"weibnb.{_ROOMS[name]}"), name)
    if _ROOMS[name] not in _PLAIN:
        import_module("weibnb.accessor")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
