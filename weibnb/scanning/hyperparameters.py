"""The training budget of fits, with what is not given looked up beside their checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.diagnostics import budget
from weibnb.fits.schema import prepare
from weibnb.io.hyperparameters import how_to_give, read_hyperparameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import xarray as xr

    from weibnb.diagnostics.budget import Convention, Schedule


def training_budget(
    fits: xr.Dataset | None = None,
    *,
    learning_rate: Any = None,
    weight_decay: Any = None,
    steps: Any = None,
    convention: Convention = "database",
    schedule: Schedule | None = None,
) -> xr.Dataset:
    """Tell how many AdamW timescales a training run lasted, T/τ, and what state that is.

    Parameters
    ----------
    fits : xarray.Dataset, optional
        Fits. What is not given is taken from their coordinates ``learning_rate``,
        ``weight_decay``, ``steps``, then from the JSON files beside the checkpoints; the number
        of steps also from the coordinate ``step`` where it says more than 0.
    learning_rate, weight_decay, steps : float, Mapping of model to float, DataArray or array
        Peak learning rate η, decoupled weight decay, and optimiser steps T.
    convention : {"database", "library"}
        Edges and words of the state.
    schedule : callable or array_like, optional
        Learning rate of each step, a function of the step 0 ... T-1 or an array of at least T;
        instead of `learning_rate`.

    Returns
    -------
    xarray.Dataset
        ``learning_rate`` (the peak), ``weight_decay``, ``steps``, ``timescale`` τ in steps at the
        peak, ``budget`` T/τ, ``power_lines`` τ/T, ``state``; over ``model`` and ``step`` where
        there are fits.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a hyperparameter is not known or not valid, or the
        schedule is shorter than the run.

    Notes
    -----
    ``T/τ = T·η·wd``, with a schedule ``Σ_t η(t)·wd`` over the T steps. The database of the paper
    calls T/τ >= 1.2 saturated, >= 0.8 near-saturated, >= 0.4 approaching, >= 0.25 partial and less
    transition; the library published with it >= 1.0 saturated, >= 0.2 approaching and less
    transition. ``power_lines`` is the AdamW timescale B/(η·λ·D) of the Power Lines paper (λ its
    weight decay, B and D batch and data in tokens), the inverse of T/τ.

    References
    ----------
    T. Ding, arXiv:2605.18898. X. Wang and L. Aitchison, arXiv:2405.13698. S. Bergsma et al.,
    "Power Lines", arXiv:2505.13738.

    Examples
    --------
    >>> pythia = training_budget(learning_rate=1e-3, weight_decay=0.01, steps=143_000)
    >>> float(pythia.budget), pythia.state.item(), round(float(pythia.power_lines), 3)
    (1.43, 'saturated', 0.699)
    """
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "steps": steps}
    if fits is not None:
        known = budget.known_hyperparameters(fits, **given)
        if schedule is not None:
            del known["learning_rate"]
        given |= {name: _look_up(fits, name) for name, array in known.items() if array is None}
    return budget.training_budget(fits, **given, convention=convention, schedule=schedule)


def unknown_hyperparameters(fits: xr.Dataset) -> dict[str, str]:
    """Say of each model why its training budget is not known; others are left out."""
    known = budget.known_hyperparameters(fits, learning_rate=None, weight_decay=None, steps=None)
    names = [name for name, array in known.items() if array is None]
    source = prepare(fits, "source", light=True, dims=("model", "step"))["source"]
    reasons: dict[str, str] = {}
    models, sources = source["model"].values, source.transpose("model", ...).values
    for model, paths in zip(models, sources, strict=True):
        for path in map(Path, paths.ravel().tolist()):
            try:
                _require(names, path)
            except ValueError as err:
                reasons.setdefault(str(model), str(err))
    return reasons


def _require(names: Iterable[str], path: Path) -> Mapping[str, float]:
    """Read the hyperparameters beside a checkpoint; ValueError if one of `names` is not there."""
    found = read_hyperparameters(path) if path.exists() else {}
    for name in names:
        if name not in found:
            raise ValueError(how_to_give(f"`{name}`", path))
    return found


def _look_up(fits: xr.Dataset, name: str) -> xr.DataArray:
    """Read a hyperparameter beside each checkpoint."""
    source = prepare(fits, "source", light=True)["source"]
    values = np.empty(source.shape)
    for position in np.ndindex(source.shape):
        values[position] = _require([name], Path(str(source.values[position])))[name]
    return source.copy(data=values)
