"""What makes weights grow: the three forces of AdamW on the norm of each matrix, and on λ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline
from scipy.special import gamma

from weibnb.diagnostics.dynamics import first_known
from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.schema import DIMS, FORCES, prepare
from weibnb.messages import NotHeldError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from weibnb.diagnostics.verdicts import Column

    Array = NDArray[np.float64]

#: Checkpoints that a spline takes.
FEWEST = 4
#: Of an interval: growth over decay below which the forces are near their equilibrium.
NEAR = 0.1
#: Parts of the growth of ‖W‖², in the order in which they are drawn, and what each is.
PARTS = {
    "from_alignment": "Part of Δ‖W‖² from alignment, -ΣA",
    "from_injection": "Part of Δ‖W‖² from injection, +ΣJ",
    "from_decay": "Part of Δ‖W‖² from decay, -ΣD",
    "from_second_order": "Part of Δ‖W‖² of second order",
}
_SIGNS = (-1.0, 1.0, -1.0, 1.0)
_SQUARED = "units of the weights squared"
# Last gap between checkpoints over the first from which on a spline runs in the logarithm.
_WIDER = 4.0
# Places at which the spline is looked at between two checkpoints.
_PLACES = 256


def recorded_forces(fits: xr.Dataset) -> xr.Dataset:
    """Split the growth of ‖W‖² by the forces that a `weibnb.Recorder` summed.

    `weibnb.forces`, which documents the result, calls it for fits that hold forces.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or holds no forces.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(size=(20, 20))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> recorded_forces(fits)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    weibnb.messages.NotHeldError: `fits` must hold forces; record with Recorder(..., forces=True).
    """
    fits = prepare(fits, light=True, dims=DIMS)
    if any(name not in fits for name in FORCES):
        raise NotHeldError(
            "`fits` must hold forces; record with Recorder(model, optimizer=..., forces=True)."
        )
    fits = fits.sortby("step")
    sums = np.stack([np.moveaxis(fits[name].values, 3, 0) for name in FORCES[:-1]], axis=1)
    gains = _increases(sums) * np.reshape(_SIGNS, (4, *(1,) * (sums.ndim - 2)))
    parts = {
        name: fits["squared_norm"].copy(data=np.moveaxis(gains[:, place], 0, 3))
        for place, name in enumerate(PARTS)
    }
    return balance(fits, fits["squared_norm"], parts, "recorded")


def _increases(sums: Array) -> Array:
    """Give what sums (step, force, ...) add from one known step to the next.

    Injection never falls: where it does, the sums began anew, with a training that was resumed.
    """
    last = np.full_like(sums[0], np.nan)
    gains = np.full_like(sums, np.nan)
    for place, now in enumerate(sums):
        anew = now[1] < last[1]
        gains[place] = now - np.where(anew, 0.0, last)
        last = np.where(np.isnan(now), last, now)
    return gains


def balance(
    fits: xr.Dataset, square: xr.DataArray, gains: Mapping[str, xr.DataArray], source: str
) -> xr.Dataset:
    """Sum the gains of each interval, hold them against ‖W‖² and λ, and describe the result.

    A part that `gains` lacks, or that is NaN at all steps of a matrix, is not known.
    """
    start = first_known(square)
    growth = square - start
    total = xr.zeros_like(growth)
    columns: dict[str, Column] = {"growth": (growth, "Δ‖W‖² since the first record", _SQUARED)}
    for name, long_name in PARTS.items():
        part = xr.full_like(growth, np.nan)
        if name in gains:
            gain = gains[name]
            part = gain.fillna(0).cumsum("step").assign_coords(step=growth["step"])
            part = part.where(gain.notnull().any("step") & growth.notnull())
        total = total + part.fillna(0)
        columns[name] = (part, long_name, _SQUARED)
    number = fits["n"] / (1 - fits["zero_fraction"])
    rms = np.sqrt((start + total).clip(0) / number)
    predicted = rms * fits["lam"] / fits["rms"]
    bridge = rms / np.sqrt(gamma(1 + 2 / fits["k"]))
    decay = -columns["from_decay"][0].diff("step")
    near = (abs(growth.diff("step")) < NEAR * decay).reindex_like(growth, fill_value=False)
    unit = "units of the weights"
    columns |= {
        "residual": (growth - total, "Part of Δ‖W‖² that no force explains", _SQUARED),
        "squared_norm": (square, "Sum of the squared weights", _SQUARED),
        "near_equilibrium": (near, f"Δ‖W‖² below {NEAR:g} of the decay since the last record", ""),
        "lam": (fits["lam"], "Weibull scale λ", unit),
        "lam_forces": (predicted, "λ that the forces give, by the measured λ/rms", unit),
        "lam_residual": (fits["lam"] - predicted, "λ less that which the forces give", unit),
        "lam_bridge": (bridge, "λ that the forces give, by a Weibull's λ/rms", unit),
    }
    attrs = {name: fits.attrs[name] for name in ("estimator", "trim_lower", "trim_upper")}
    return assemble(columns, attrs | {"forces": source})


def recovered_gains(
    products: Array, steps: Array, rate: Callable[[Array], Array], decay: float
) -> dict[str, Array]:
    """Estimate what alignment less injection, and decay, add between checkpoints of a matrix.

    Parameters
    ----------
    products : ndarray of float64, shape (checkpoints, checkpoints)
        Inner products of the weights at the checkpoints: all that a spline through them needs.
    steps : ndarray, shape (checkpoints,)
        Their steps, ascending; at least 4.
    rate : callable
        Learning rates η of an array of steps.
    decay : float
        Weight decay.

    Returns
    -------
    dict of str to ndarray, shape (checkpoints,)
        ``from_alignment`` and ``from_decay`` of the interval that ends there; the first is 0.

    Notes
    -----
    With C(t) the cubic spline, û(t) = -(C(t+1) - C(t))/η - λC(t), and the sums run over the steps
    of the interval, of many some 256 for all. C is cubic in ln(t - t₀ + g), g the first gap, where
    the last gap is more than 4 times the first, else in t.

    Of the injection, which makes the weights walk at random, a smooth curve knows nothing; it is
    part of the growth all the same, so what is found as alignment is A - J.

    Examples
    --------
    >>> steps = np.array([0.0, 10, 20, 30])
    >>> weights = 0.99 ** steps  # one weight that nothing but decay moves
    >>> gains = recovered_gains(np.outer(weights, weights), steps, lambda t: 0 * t + 0.1, 0.1)
    >>> bool(abs(gains["from_alignment"]).max() < 2e-3), gains["from_decay"].round(3).tolist()
    (True, [0.0, -0.183, -0.15, -0.122])
    """
    clock = _clock(steps)
    spline = CubicSpline(clock(steps), np.eye(steps.size))
    alignment, lost = np.zeros(steps.size), np.zeros(steps.size)
    for end in range(1, steps.size):
        length = steps[end] - steps[end - 1]
        places = int(min(length, _PLACES))
        at = steps[end - 1] + (np.arange(places) + 0.5) * (length / places) - 0.5
        here, next_one = spline(clock(at)), spline(clock(at + 1))
        square = np.einsum("ti,ij,tj->t", here, products, here)
        cross = np.einsum("ti,ij,tj->t", here, products, next_one)
        decays = 2 * rate(at) * decay * square
        alignment[end] = -(2 * (square - cross) - decays).sum() * length / places
        lost[end] = -decays.sum() * length / places
    return {"from_alignment": alignment, "from_decay": lost}


def _clock(steps: Array) -> Callable[[Array], Array]:
    """Give the time in which a spline runs: that of the steps, or its logarithm.

    Through checkpoints that lie ever farther apart a cubic in the step itself swings.
    """
    gaps = np.diff(steps)
    if gaps[-1] <= _WIDER * gaps[0]:
        return lambda at: at
    origin = gaps[0] - steps[0]
    return lambda at: np.log(np.maximum(at + origin, gaps[0] / 2))


def equilibrium(
    found: xr.Dataset, *, rate_factor: float = 1.0, decay_factor: float = 1.0
) -> xr.Dataset:
    """Tell what λ would be where the forces balance, also at another η or weight decay.

    Parameters
    ----------
    found : xarray.Dataset
        From `weibnb.forces`.
    rate_factor, decay_factor : float
        The learning rate and the weight decay asked for, over those of each interval.

    Returns
    -------
    xarray.Dataset
        Of the interval that ends at each step, λ in units of the weights: ``lam_equilibrium``,
        where A changes with η² as J does, and ``lam_equilibrium_cosine``, where the angle of W
        and u stays (it needs recorded forces). NaN where nothing balances, as without decay.

    Raises
    ------
    ValueError
        If a factor is not positive, or `found` does not come from `weibnb.forces`.

    Notes
    -----
    Forces balance where J - A = D. With a and b the factors of η and of the weight decay, and ‖u‖
    as it is, ‖W‖² becomes ``‖W‖² (J - A)/D · a/b``: the momentum's memory of its own updates makes
    an A that changes as J does. If A is a fixed angle instead, s = ‖W'‖/‖W‖ solves
    ``abD s² + aA s - a²J = 0``. λ/rms is taken as it is.

    Examples
    --------
    >>> names = ("squared_norm", "lam", "from_alignment", "from_injection", "from_decay")
    >>> values = ([4, 4], [0.2, 0.2], [0, -1], [0, 3], [0, -2])
    >>> found = xr.Dataset({n: ("step", np.array(v, float)) for n, v in zip(names, values)})
    >>> equilibrium(found, rate_factor=4).lam_equilibrium.values.tolist()
    [nan, 0.4]
    """
    for name, factor in (("rate_factor", rate_factor), ("decay_factor", decay_factor)):
        if not 0 < factor < np.inf:
            raise ValueError(f"`{name}` must be more than 0, got {factor!r}.")
    names = ("squared_norm", "lam", "from_alignment", "from_injection", "from_decay")
    if missing := [name for name in names if name not in found]:
        raise ValueError(f"`found` must come from weibnb.forces; it lacks {', '.join(missing)}.")
    before = found.shift(step=1)
    alignment, injection, decay = (
        sign * (found[name] - before[name])
        for name, sign in zip(names[2:], (-1, 1, -1), strict=True)
    )
    middle = np.sqrt((found["squared_norm"] + before["squared_norm"]) / 2)
    lam = found["lam"] * middle / np.sqrt(found["squared_norm"])
    ratio = (injection.fillna(0) - alignment) / decay
    ratio = ratio.where((decay > 0) & (ratio > 0)) * rate_factor / decay_factor
    quadratic = decay_factor * decay
    root: xr.DataArray = (alignment**2 + 4 * quadratic * injection * rate_factor) ** 0.5
    scale = ((root - alignment) / (2 * quadratic)).where(decay > 0)
    unit = "units of the weights"
    return assemble(
        {
            "lam_equilibrium": (lam * np.sqrt(ratio), "λ where forces balance, A as η²", unit),
            "lam_equilibrium_cosine": (lam * scale, "λ where forces balance, angle kept", unit),
        }
    )
