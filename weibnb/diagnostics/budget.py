"""How long a training run was, in AdamW timescales: the rule, of values and of fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr

from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.schema import prepare
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


Convention = Literal["database", "library"]
Schedule: TypeAlias = "Callable[[int], float] | ArrayLike"
#: Words for T/τ by convention, each with the lowest T/τ it stands for, highest first.
STATES: dict[Convention, tuple[tuple[float, str], ...]] = {
    "database": (
        (1.2, "saturated"),
        (0.8, "near-saturated"),
        (0.4, "approaching"),
        (0.25, "partial"),
        (0.0, "transition"),
    ),
    "library": ((1.0, "saturated"), (0.2, "approaching"), (0.0, "transition")),
}
# T/τ is compared with the edges of the states to this many decimals.
_DIGITS = 12
_ELSEWHERE = "weibnb.training_budget also looks beside the checkpoints."


def timescale(learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    """AdamW timescale ``τ = 1 / (η·wd)`` in steps, over which weight decay forgets; else infinite.

    X. Wang and L. Aitchison, arXiv:2405.13698.

    Examples
    --------
    >>> float(timescale(3e-4, 0.1).round()), float(timescale(3e-4, 0.0))
    (33333.0, inf)
    """
    eta = at_least_zero("learning_rate", learning_rate)
    decay = at_least_zero("weight_decay", weight_decay)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (eta * decay))


def at_least_zero(name: str, value: Any) -> Array:
    """Return a hyperparameter as an array, of which every value must be finite and at least 0."""
    array = np.asarray(value, float)
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"`{name}` must be finite and at least 0, got {array[bad].flat[0]:g}.")
    return array


def state_words(budget: ArrayLike, *, convention: Convention = "database") -> NDArray[np.object_]:
    """Word for each training budget T/τ; "unknown" where it is NaN.

    Examples
    --------
    >>> state_words([1.2, 1.0, 0.2]).tolist()
    ['saturated', 'near-saturated', 'transition']
    """
    check_choice("convention", convention, get_args(Convention))
    value = np.round(np.asarray(budget, float), _DIGITS)
    words = np.full(value.shape, "unknown", object)
    for edge, word in reversed(STATES[convention]):
        words[value >= edge] = word
    return words


def training_budget(
    fits: xr.Dataset | None = None,
    *,
    learning_rate: Any = None,
    weight_decay: Any = None,
    steps: Any = None,
    convention: Convention = "database",
    schedule: Schedule | None = None,
) -> xr.Dataset:
    """Tell T/τ of a training run and its state, from values alone.

    `weibnb.training_budget`, which documents the parameters, also looks for what is missing in
    the files beside the checkpoints; this function opens no files.

    Examples
    --------
    >>> pythia = training_budget(learning_rate=1e-3, weight_decay=0.01, steps=143_000)
    >>> float(pythia.budget), pythia.state.item()
    (1.43, 'saturated')
    """
    if schedule is not None:
        if learning_rate is not None:
            raise ValueError("`learning_rate` must be omitted where a `schedule` is given.")
        learning_rate = 0.0  # until the steps tell the schedule's peak
        if steps is None and fits is None and not callable(schedule):
            steps = np.size(schedule)
    known = known_hyperparameters(
        fits, learning_rate=learning_rate, weight_decay=weight_decay, steps=steps
    )
    for name, value in known.items():
        if value is None:
            raise ValueError(
                f"`{name}` must be given; "
                + ("without `fits` it cannot be looked up." if fits is None else _ELSEWHERE)
            )
        at_least_zero(name, value.values)
    peak, decay, number = (value for value in known.values() if value is not None)
    budget = number * peak * decay
    if schedule is not None:
        total, peak = _integrate(schedule, number)
        budget = total * decay
    with np.errstate(divide="ignore"):
        inverse = 1 / budget
    words = xr.apply_ufunc(lambda value: state_words(value, convention=convention), budget)
    tau = xr.apply_ufunc(timescale, peak, decay)
    columns = {
        "learning_rate": (peak, "Peak learning rate η", "1"),
        "weight_decay": (decay, "Weight decay", "1"),
        "steps": (number, "Optimiser steps T", "1"),
        "timescale": (tau, "AdamW timescale τ = 1/(η·wd)", "steps"),
        "budget": (budget, "Training budget T/τ", "1"),
        "power_lines": (inverse, "AdamW timescale B/(η·λ·D) of Power Lines, τ/T", "1"),
        "state": (words, f"State by the convention of the {convention}", ""),
    }
    return assemble(columns, {"convention": convention})


def known_hyperparameters(
    fits: xr.Dataset | None, *, learning_rate: Any, weight_decay: Any, steps: Any
) -> dict[str, xr.DataArray | None]:
    """Give η, wd and T over model (and step), from the user or the fits; None where unknown."""
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "steps": steps}
    if fits is None:
        return {name: _as_array(name, value, None) for name, value in given.items()}
    fits = prepare(fits, light=True)
    known = {
        name: _as_array(name, fits.coords.get(name) if value is None else value, fits)
        for name, value in given.items()
    }
    if known["steps"] is None and bool((fits["step"] > 0).any()):
        known["steps"] = fits["step"].astype(float).reset_coords(drop=True)
    return known


def _integrate(schedule: Any, steps: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Sum and largest of the learning rates of the first `steps` steps."""
    number = steps.values
    last = int(np.nanmax(number, initial=0))
    if callable(schedule):
        schedule = [float(schedule(step)) for step in range(max(last, 1))]
    rates = at_least_zero("schedule", schedule)
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(
            f"`schedule` must be one learning rate for each step, got shape {rates.shape}."
        )
    if not np.array_equal(number, np.round(number)):
        raise ValueError("`steps` must be whole numbers where a `schedule` is given.")
    if last > rates.size:
        raise ValueError(
            f"`schedule` must give a learning rate for each of {last} steps, got {rates.size}."
        )
    at = number.astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(rates)])[at]
    peak = np.concatenate([[0.0], np.maximum.accumulate(rates)])[at]
    return steps.copy(data=total), steps.copy(data=peak)


def _as_array(name: str, value: Any, fits: xr.Dataset | None) -> xr.DataArray | None:
    """Turn what a user may give into floats, over `model` where it names or counts models."""
    if value is None:
        return None
    if isinstance(value, xr.DataArray):
        return value.astype(float).reset_coords(drop=True)
    models = [] if fits is None else np.atleast_1d(fits["model"].values).tolist()
    if isinstance(value, Mapping):
        models = models or list(value)
        missing = [model for model in models if model not in value]
        if missing:
            raise ValueError(f"`{name}` must have an entry for model {missing[0]!r}.")
        value = [value[model] for model in models]
    array = np.asarray(value, float)
    if array.ndim == 0:
        return xr.DataArray(array)
    if array.ndim != 1 or (models and array.size != len(models)):
        expected = f"one number for each of {len(models)} models" if models else "one-dimensional"
        raise ValueError(f"`{name}` must be {expected}, got shape {array.shape}.")
    return xr.DataArray(array, {"model": models} if models else None, dims="model")
