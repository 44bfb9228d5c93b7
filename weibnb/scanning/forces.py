"""The forces behind λ: those that were recorded, or estimated from the checkpoints of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.diagnostics.forces import FEWEST, balance, recorded_forces, recovered_gains
from weibnb.fits.schema import DIMS, FORCES, prepare
from weibnb.fitting.status import COUNTED
from weibnb.messages import printable
from weibnb.scanning.chosen import chosen_matrices
from weibnb.scanning.hyperparameters import training_budget
from weibnb.scanning.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from weibnb.diagnostics.budget import Schedule

    Array = NDArray[np.float64]
    Place = tuple[Any, ...]

# Weights of each matrix that are followed from checkpoint to checkpoint.
_SAMPLE = 1 << 14


def forces(
    source: Any,
    *,
    learning_rate: Any = None,
    weight_decay: Any = None,
    schedule: Schedule | None = None,
    select: Mapping[str, Any] | None = None,
    sample: int = _SAMPLE,
) -> xr.Dataset:
    """Say what made the weights grow: alignment, injection and decay of AdamW, and λ by them.

    Parameters
    ----------
    source : xarray.Dataset, path or Mapping
        Fits with forces, from ``Recorder(model, optimizer=..., forces=True)``; or the checkpoints
        of a run, as `weibnb.scan` takes them, or fits of their files: at least 4 steps.
    learning_rate, weight_decay : float, Mapping of model to float, DataArray or array, optional
        η and weight decay for checkpoints, as in `weibnb.training_budget`: by default those in
        the JSON files beside them.
    schedule : callable or array_like, optional
        Learning rate of each step, instead of `learning_rate`, which would stand for all steps.
    select : Mapping, optional
        Which matrices of the checkpoints, as in `weibnb.decompose`.
    sample : int
        Weights of each matrix that are followed from checkpoint to checkpoint.

    Returns
    -------
    xarray.Dataset
        Over (model, layer, component, step), in squared units of the weights and since the first
        step: ``growth`` = Δ‖W‖² and its parts ``from_alignment`` = -ΣA, ``from_injection`` = ΣJ,
        ``from_decay`` = -ΣD, ``from_second_order`` and ``residual``; they add up. Also
        ``squared_norm``; ``near_equilibrium``; ``lam`` as measured, ``lam_forces`` integrated
        from the forces by the measured λ/rms of each matrix and step, ``lam_residual`` between
        them, and ``lam_bridge``, by λ/rms of a Weibull. Experts of a cell: their mean.

    Raises
    ------
    CheckpointError
        If a checkpoint cannot be read.
    TypeError, ValueError
        If an argument is not valid, a hyperparameter is not known, or there are too few steps.

    Notes
    -----
    With u the update of AdamW and W before the step, A = 2η⟨W, u⟩, J = η²‖u‖², D = 2ηλ‖W‖², and
    Δ‖W‖² = -A + J - D up to second order, which is summed too: recorded forces close to rounding.

    *Without the optimiser*, u is estimated by a cubic spline C(t) through a fixed sample of the
    weights: û = -(C(t+1) - C(t))/η - λC(t). J is not identified between checkpoints, so
    ``from_injection`` is NaN and ``from_alignment`` is -Σ(A - J). As the growth over an interval
    is known, this is growth plus decay, and near equilibrium it tends to -``from_decay`` by
    construction, whatever the weights did: where ``near_equilibrium`` is True, it says no more
    than that.

    *λ/rms* is 0.8875 of a Gaussian by the usual protocol, while a Weibull with its k has 0.8176:
    ``lam_bridge`` is that much lower.

    References
    ----------
    T. Ding, "Weibull Weight-Scale Parameter Evolution under AdamW Training Dynamics",
    arXiv:2606.19367.

    Examples
    --------
    >>> draws = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> run = {"run": {step: {name: draws * (1 - 3e-4) ** step} for step in (0, 10, 40, 160)}}
    >>> found = forces(run, learning_rate=3e-3, weight_decay=0.1).isel(step=-1).squeeze()
    >>> round(float(found.from_decay / found.growth), 3)  # nothing else was at work
    0.999
    """
    if isinstance(source, xr.Dataset) and all(name in source for name in FORCES):
        if not (learning_rate is None is weight_decay is schedule):
            raise ValueError(
                "`learning_rate`, `weight_decay` and `schedule` must be omitted: these fits hold "
                "the forces themselves."
            )
        return recorded_forces(source)
    if isinstance(sample, bool) or not isinstance(sample, int) or sample < 1:
        raise ValueError(f"`sample` must be an integer of at least 1, got {sample!r}.")
    fits, source = _fits_and_checkpoints(source)
    _check_steps(fits)
    rates = _rates(fits, learning_rate, weight_decay, schedule)
    shape = fits["k"].shape
    gains = {name: np.zeros(shape) for name in ("from_alignment", "from_decay")}
    square, number = np.zeros(shape), np.zeros(shape)
    dims = [str(dim) for dim in fits["k"].dims]
    for place, (steps, norms, products) in _followed(source, fits, select, sample).items():
        labels = dict(zip((*DIMS[:3], "expert"), place, strict=True)) | {"step": steps.astype(int)}
        at = tuple(
            fits.indexes[dim].get_indexer(pd.Index(np.atleast_1d(labels[dim]))) for dim in dims
        )
        found = recovered_gains(products, steps, *rates[str(place[0])])
        for name, values in found.items():
            gains[name][at] += values
        square[at] += norms
        number[at] += 1
    mean = np.where(number > 0, number, np.nan)
    arrays = {name: fits["k"].copy(data=values / mean) for name, values in gains.items()}
    return balance(fits, fits["k"].copy(data=square / mean), arrays, "checkpoints")


def _fits_and_checkpoints(source: Any) -> tuple[xr.Dataset, Any]:
    """Give the fits of a source in order, and what its weights can be read from."""
    if not isinstance(source, xr.Dataset):
        return scan(source, keep_counts=False, structure=False, progress=False), source
    fits = prepare(source, "source", light=True, dims=DIMS).sortby("step")
    paths = {
        str(model): {
            int(step): str(path)
            for step, path in zip(fits["step"].values, row, strict=True)
            if path
        }
        for model, row in zip(
            fits["model"].values, fits["source"].transpose("model", "step").values, strict=True
        )
    }
    return fits, paths


def _check_steps(fits: xr.Dataset) -> None:
    """Raise where a run has too few steps for a spline."""
    known = fits["k"].notnull().any([dim for dim in fits["k"].dims if dim not in ("model", "step")])
    for model, number in zip(fits["model"].values, known.sum("step").values, strict=True):
        if number < FEWEST:
            raise ValueError(
                f"`source` must hold at least {FEWEST} checkpoints of a run for a spline, got "
                f"{number} of {printable(model)!r}. Record forces while it trains: "
                "Recorder(model, optimizer=..., forces=True)."
            )


def _rates(
    fits: xr.Dataset, learning_rate: Any, weight_decay: Any, schedule: Any
) -> dict[str, tuple[Callable[[Array], Array], float]]:
    """Give the learning rate of any step, and the weight decay, of each model."""
    found = training_budget(
        fits, learning_rate=learning_rate, weight_decay=weight_decay, schedule=schedule
    )
    like = fits["source"].transpose("model", "step")
    peak, decay = (
        found[name].broadcast_like(like).transpose("model", "step").values[:, -1]
        for name in ("learning_rate", "weight_decay")
    )
    table = None
    if schedule is not None:
        steps = range(int(fits["step"].max()) + 1)
        table = np.array([schedule(t) for t in steps] if callable(schedule) else schedule, float)

    def rate_of(constant: float) -> Callable[[Array], Array]:
        def rate(at: Array) -> Array:
            if table is None:
                return np.full(at.shape, constant)
            chosen: Array = table[np.clip(np.round(at).astype(int), 0, table.size - 1)]
            return chosen

        return rate

    models = [str(model) for model in fits["model"].values]
    return {
        model: (rate_of(eta), wd)
        for model, eta, wd in zip(models, peak.tolist(), decay.tolist(), strict=True)
    }


def _followed(
    source: Any, fits: xr.Dataset, select: Mapping[str, Any] | None, sample: int
) -> dict[Place, tuple[Array, Array, Array]]:
    """Follow a sample of each matrix: its steps, ‖W‖² and the sample's inner products, scaled."""
    draws: dict[Place, list[tuple[int, float, NDArray[Any]]]] = {}
    scales: dict[Place, float] = {}
    for one in chosen_matrices(source, fits, select):
        if one.status not in COUNTED:
            continue
        place = tuple(one.place[name] for name in ("model", "layer", "component", "expert"))
        weights = one.weights().ravel()
        chosen = _sample_of(weights.size, sample)
        finite = np.isfinite(weights)
        square = float(np.square(weights, where=finite, out=np.zeros(weights.size)).sum())
        taken = np.nan_to_num(weights[chosen], posinf=0, neginf=0)
        draws.setdefault(place, []).append((one.place["step"], square, taken))
        scales[place] = weights.size / taken.size
    found = {}
    for place, taken in draws.items():
        if len(taken) < FEWEST:
            continue
        steps, squares, rows = zip(*sorted(taken, key=lambda row: row[0]), strict=True)
        table = np.stack(rows).astype(np.float64)
        products = scales[place] * table @ table.T
        found[place] = np.array(steps, float), np.array(squares), products
    return found


def _sample_of(size: int, sample: int) -> slice | NDArray[np.int64]:
    """Choose which weights of a matrix are followed, the same at every step."""
    if size <= sample:
        return slice(None)
    return np.random.default_rng(0).integers(0, size, sample)
