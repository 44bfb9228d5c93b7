"""How long a training run was: its budget in AdamW timescales, from the user or its JSON files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr

from weibnb.fits.schema import prepare
from weibnb.io.hyperparameters import how_to_give, read_hyperparameters

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


def timescale(learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    """AdamW timescale ``τ = 1 / (η·wd)``: over how many steps weight decay forgets.

    Parameters
    ----------
    learning_rate : array_like
        Learning rate η, dimensionless, at least 0.
    weight_decay : array_like
        Decoupled weight decay, dimensionless, at least 0.

    Returns
    -------
    ndarray of float64
        τ in steps, broadcast; infinite where either is 0.

    Raises
    ------
    ValueError
        If a value is negative, NaN or infinite.

    References
    ----------
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
    """Return a hyperparameter as an array, of which every value must be finite and at least 0.

    Parameters
    ----------
    name : str
        The parameter, for the message.
    value : array_like
        What was given.

    Returns
    -------
    ndarray of float64
        The values.

    Raises
    ------
    ValueError
        If a value is negative, NaN or infinite.
    """
    array = np.asarray(value, float)
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"`{name}` must be finite and at least 0, got {array[bad].flat[0]:g}.")
    return array


def state_words(budget: ArrayLike, *, convention: Convention = "database") -> NDArray[np.object_]:
    """Word for a training budget T/τ.

    Parameters
    ----------
    budget : array_like
        T/τ, dimensionless.
    convention : {"database", "library"}
        Whose edges; see `training_budget`.

    Returns
    -------
    ndarray of object
        The words; "unknown" where the budget is NaN.

    Raises
    ------
    ValueError
        If the convention is unknown.

    Examples
    --------
    >>> state_words([1.2, 1.0, 0.2]).tolist()
    ['saturated', 'near-saturated', 'transition']
    >>> state_words([1.2, 1.0, 0.2], convention="library").tolist()
    ['saturated', 'saturated', 'approaching']
    """
    if convention not in get_args(Convention):
        valid = " or ".join(map(repr, get_args(Convention)))
        raise ValueError(f"`convention` must be {valid}, got {convention!r}.")
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
    TypeError
        If `fits` is no Dataset.
    ValueError
        If something is not known or not valid, or the schedule is shorter than the run.

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
    if schedule is not None and learning_rate is not None:
        raise ValueError("`learning_rate` must be omitted where a `schedule` is given.")
    rates = None if callable(schedule) or schedule is None else _per_step(schedule)
    if rates is not None and steps is None and fits is None:
        given["steps"] = rates.size
    if schedule is not None:
        given["learning_rate"] = 0.0
    known = _hyperparameters(fits, given)
    number, decay = known["steps"], known["weight_decay"]
    budget = number * known["learning_rate"] * decay
    if schedule is not None:
        rates = _evaluate(schedule, number) if rates is None else rates
        total, peak = _integrate(rates, number)
        budget, known["learning_rate"] = total * decay, peak
    tau = xr.apply_ufunc(timescale, known["learning_rate"], decay)
    with np.errstate(divide="ignore"):
        inverse = 1 / budget
    words = xr.apply_ufunc(lambda value: state_words(value, convention=convention), budget)
    columns = {
        "learning_rate": (known["learning_rate"], "Peak learning rate η", "1"),
        "weight_decay": (decay, "Weight decay", "1"),
        "steps": (number, "Optimiser steps T", "1"),
        "timescale": (tau, "AdamW timescale τ = 1/(η·wd)", "steps"),
        "budget": (budget, "Training budget T/τ", "1"),
        "power_lines": (inverse, "AdamW timescale B/(η·λ·D) of Power Lines, τ/T", "1"),
        "state": (words, f"State by the convention of the {convention}", ""),
    }
    result = xr.Dataset(attrs={"convention": convention})
    for name, (array, long_name, units) in columns.items():
        described = {"long_name": long_name} | ({"units": units} if units else {})
        result[name] = array.reset_coords(drop=True).assign_attrs(described)
    return result


def _per_step(schedule: Any) -> Array:
    rates = at_least_zero("schedule", schedule)
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(f"`schedule` must be one learning rate a step, got shape {rates.shape}.")
    return rates


def _evaluate(schedule: Any, steps: xr.DataArray) -> Array:
    last = int(np.nanmax(steps.values, initial=0))
    return at_least_zero("schedule", [float(schedule(step)) for step in range(last)])


def _integrate(rates: Array, steps: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Sum and largest of the learning rates of the first `steps` steps."""
    number = steps.values
    if not np.array_equal(number, np.round(number)):
        raise ValueError("`steps` must be whole numbers where a `schedule` is given.")
    if number.size and number.max() > rates.size:
        raise ValueError(
            f"`schedule` must give a learning rate for each of {int(number.max())} steps, "
            f"got {rates.size}."
        )
    at = number.astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(rates)])[at]
    peak = np.concatenate([[0.0], np.maximum.accumulate(rates)])[at]
    return steps.copy(data=total), steps.copy(data=peak)


def _hyperparameters(fits: xr.Dataset | None, given: dict[str, Any]) -> dict[str, xr.DataArray]:
    """Give η, wd and T as arrays over model (and step): from the user, the fits or the files."""
    if fits is None:
        known = {name: _as_array(name, value, None) for name, value in given.items()}
    else:
        fits = prepare(fits)
        known = {
            name: _as_array(name, fits.coords.get(name) if value is None else value, fits)
            for name, value in given.items()
        }
        if known["steps"] is None and bool((fits["step"] > 0).any()):
            known["steps"] = fits["step"].astype(float)
        for name in [name for name, value in known.items() if value is None]:
            known[name] = _from_files(fits, name)
    for name, array in known.items():
        if array is None:
            raise ValueError(f"`{name}` must be given; without `fits` it cannot be looked up.")
        at_least_zero(name, array.values)
    return {name: array for name, array in known.items() if array is not None}


def _as_array(name: str, value: Any, fits: xr.Dataset | None) -> xr.DataArray | None:
    """Turn what a user may give into floats, over `model` where it names or counts models."""
    if value is None:
        return None
    if isinstance(value, xr.DataArray):
        return value.astype(float)
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


def _from_files(fits: xr.Dataset, name: str) -> xr.DataArray:
    """Read a hyperparameter beside each checkpoint."""
    source = prepare(fits, "source")["source"]
    values = np.empty(source.shape)
    for position in np.ndindex(source.shape):
        path = str(source.values[position])
        found = read_hyperparameters(path) if Path(path).exists() else {}
        if name not in found:
            raise ValueError(how_to_give(f"`{name}`", Path(path)))
        values[position] = found[name]
    return source.copy(data=values)
