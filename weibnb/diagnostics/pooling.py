"""Which layers stand out from their component: a partially pooled model over the layers."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from weibnb.diagnostics.multiplicity import benjamini_hochberg_rows, holm_rows
from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.schema import prepare
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Estimate = Literal["k", "lam"]
#: What can be pooled, and its symbol.
ESTIMATES: dict[Estimate, str] = {"k": "k", "lam": "λ"}
#: Chance of any false alarm in a healthy model and step, for k and for λ each: together they stay
#: below 1 %, also where layers follow the model but roughly.
FALSE_ALARM = 0.003
#: Fewest fitted layers of a component that are judged: two leave no spread of the others.
FEWEST_LAYERS = 3
# Degree of the smooth course along the depth, and its variance over that of one layer.
_DEGREE = 4
_SMOOTHNESS = (0.001, 0.3, 10.0, 300.0)
# Points of the grid of τ², and how widely ln τ² may differ between the components of a model.
_POINTS = 40
_SPREADS = (0.3, 1.0, 3.0)
# Numbers in the largest array of one block of models.
_BLOCK = 1_000_000


class _Pooled(NamedTuple):
    """What the model says of every cell: (sets, components, layers); τ lacks the last axis."""

    shrunken: Array
    shrunken_se: Array
    expected: Array
    scale: Array
    freedom: Array
    p: Array
    tau: Array


def pool_layers(fits: xr.Dataset, *, of: Estimate = "k", confidence: float = 0.95) -> xr.Dataset:
    """Tell which layers stand out from the others of their component, among all looked at.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    of : {"k", "lam"}
        The estimate: k, or ln λ, which has its size along the depth.
    confidence : float
        Of the prediction intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        On the dims of k, in units of k or of ln λ:

        - ``estimate``: k or ln λ as fitted;
        - ``shrunken``, ``shrunken_se``: the best guess of the true value, drawn towards the
          component's course along the depth as far as the standard error leaves room;
        - ``expected``: what the other layers lead to expect; ``lower`` and ``upper`` of the
          prediction interval; ``t``, the distance in units of the scale of the prediction, a t
          distribution with ``freedom`` degrees of freedom;
        - ``p_value``: the probability of a larger distance to either side;
        - ``p_holm``, ``q_value``: adjusted (Holm, Benjamini-Hochberg) over all cells of the same
          model and step;
        - ``stands_out``: whether ``p_holm`` is below `FALSE_ALARM`;

        and without the dim layer ``tau``, the scatter between layers. NaN where a cell is not
        fitted or has no standard error though others have, and below `FEWEST_LAYERS` layers.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or an argument is not valid.

    Notes
    -----
    In every model m (and step, and expert), of layer l and component c,

        k_mlc = μ_mc + smooth_mc(depth) + e,   e ~ N(0, SE_mlc² + τ_mc²)

    with μ free, the known ``k_se``, and a smooth course of the Legendre polynomials of degree 1
    to 4, with variances that fall as the fourth power of the degree. τ² and the size of the smooth
    course are not set to their likeliest value: the restricted likelihood (REML) is averaged over
    a grid of both, which keeps the errors honest at five layers. The ln τ² of the components of a
    model come from one normal distribution with unknown centre and width, so that components lend
    each other what few layers cannot tell.

    Each cell is judged by the others alone: the restricted likelihood without the cell, its
    prediction and that one's precision are in closed form for every point of the grid.
    ``p_value`` is the average of the Gaussian one over the grid. Without standard errors and
    course, of one component alone, that is the externally studentised residual held against
    Student's t with n - 2 degrees of freedom. The interval is that of the t distribution whose
    precision has the same mean and variance over the grid.

    Cost: some 0.1 ms per cell.

    Scatter beyond SE is taken as normal. Two broken layers of one component hide each other where
    there are few; a break that many layers share is the course, not a break.

    References
    ----------
    H. D. Patterson and R. Thompson, Biometrika 58 (1971), 545-554. G. K. Smyth, Stat. Appl. Genet.
    Mol. Biol. 3 (2004), 3 (variances that lend each other strength).

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(0, 0.02, (128, 128))
    ...            for i in range(8)}
    >>> weights["model.layers.5.mlp.up_proj.weight"] **= 3
    >>> pooled = pool_layers(wb.scan({"tiny": weights}))
    >>> pooled.layer.values[pooled.stands_out.values.ravel()].tolist()
    [5]
    """
    check_choice("of", of, ESTIMATES)
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1, got {confidence!r}.")
    fits = prepare(fits, light=True, dims=("model", "layer", "component", "step"))
    value, error = _estimate(fits, of)
    dims = value.dims
    sets = [dim for dim in dims if dim not in ("component", "layer")]
    ordered = value.transpose(*sets, "component", "layer")
    y = ordered.values.reshape(prod(ordered.shape[:-2]), *ordered.shape[-2:])
    s2 = error.transpose(*ordered.dims).values.reshape(y.shape) ** 2
    y = np.where(np.isfinite(s2), y, np.nan)
    y[np.isfinite(y).sum(-1) < FEWEST_LAYERS] = np.nan
    found = _pool(y, s2, ordered["layer"].values)
    t = (y - found.expected) / found.scale
    half = special.stdtrit(found.freedom, 0.5 + confidence / 2) * found.scale
    looked_at = found.p.reshape(ordered.shape)
    own = tuple(ordered.dims.index(dim) for dim in ("model", "step"))
    adjusted = {
        name: _by_family(looked_at, own, adjust)
        for name, adjust in (("p_holm", holm_rows), ("q_value", benjamini_hochberg_rows))
    }

    def cell(values: Array) -> xr.DataArray:
        return ordered.copy(data=values.reshape(ordered.shape)).transpose(*dims)

    unit = "1"
    tau = ordered.sum("layer").copy(data=found.tau.reshape(ordered.shape[:-1]))
    columns = {
        "estimate": (value, "Weibull shape k" if of == "k" else "ln λ", unit),
        "shrunken": (cell(found.shrunken), "Partially pooled estimate", unit),
        "shrunken_se": (cell(found.shrunken_se), "Standard error of the pooled estimate", unit),
        "expected": (cell(found.expected), "What the other layers lead to expect", unit),
        "lower": (cell(found.expected - half), "Lower end of the prediction interval", unit),
        "upper": (cell(found.expected + half), "Upper end of the prediction interval", unit),
        "t": (cell(t), "Distance from the expected value", unit),
        "freedom": (cell(found.freedom), "Degrees of freedom of t", unit),
        "p_value": (cell(found.p), "Probability of a larger distance", unit),
        "p_holm": (cell(adjusted["p_holm"]), "p-value, adjusted by Holm", unit),
        "q_value": (cell(adjusted["q_value"]), "False discovery rate", unit),
        "stands_out": (cell(adjusted["p_holm"]) < FALSE_ALARM, "Whether the layer stands out", ""),
        "tau": (tau, "Scatter between layers", unit),
    }
    about = {"of": of, "confidence": confidence, "false_alarm": FALSE_ALARM}
    return assemble(columns, fits.attrs | about)


def _estimate(fits: xr.Dataset, of: Estimate) -> tuple[xr.DataArray, xr.DataArray]:
    """Give k or ln λ and its standard error, which is 0 where the fits have none at all."""
    value, name = fits[of].where(fits["k"].notnull()), f"{of}_se"
    error = fits[name] if name in fits else xr.zeros_like(value)
    if of == "k":
        return value, error
    positive = value.where(value > 0)
    logarithm: xr.DataArray = xr.apply_ufunc(np.log, positive)
    return logarithm, error / positive if name in fits else error


def _by_family(p: Array, own: tuple[int, ...], adjust: Callable[[Array], Array]) -> Array:
    """Adjust the p-values of each model and step by themselves."""
    moved = np.moveaxis(p, own, range(len(own)))
    flat = moved.reshape(prod(moved.shape[: len(own)]), prod(moved.shape[len(own) :]))
    return np.moveaxis(adjust(flat).reshape(moved.shape), range(len(own)), own)


def _pool(y: Array, s2: Array, layers: Array) -> _Pooled:
    """Pool sets of components over layers, in blocks that fit into memory."""
    if y.size == 0:
        return _Pooled(y, y, y, y, y, y, np.full(y.shape[:-1], np.nan))
    each = _POINTS * max(len(_SMOOTHNESS) * y[0].size, _POINTS * len(_SPREADS))
    rows = max(1, _BLOCK // each)
    depth = (layers - layers.min()) / max(np.ptp(layers), 1)
    basis = np.ascontiguousarray(np.polynomial.legendre.legvander(2 * depth - 1, _DEGREE))
    parts = [_pool_block(y[i : i + rows], s2[i : i + rows], basis) for i in range(0, len(y), rows)]
    return _Pooled(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _pool_block(y: Array, s2: Array, basis: Array) -> _Pooled:
    """Average the model over its grid of τ² and smoothness; axes: set, component, layer."""
    from weibnb.diagnostics.restricted import average, restricted

    known = np.isfinite(y)
    middle = np.nanmedian(np.where(known.any(-1, keepdims=True), y, 0.0), -1, keepdims=True)
    y, s2 = np.where(known, y - middle, 0.0), np.where(known, s2, 0.0)
    noise = s2.sum(-1) / np.maximum(known.sum(-1), 1)
    tau2 = _grid(y, noise, known)
    size = np.multiply.outer(tau2[:, None] + noise[..., None], _SMOOTHNESS)
    flat_y, flat_s2, flat_known = (array.reshape(-1, y.shape[-1]) for array in (y, s2, known))
    of_each, sizes = np.repeat(tau2, y.shape[1], 0), size.reshape(-1, *size.shape[-2:])
    level, pull, own = restricted(flat_y, flat_s2, flat_known, basis, of_each, sizes)
    level = level.reshape(size.shape)
    typical = noise.sum(-1, keepdims=True) / np.maximum(known.any(-1).sum(-1, keepdims=True), 1)
    level = level + _prior(special.logsumexp(level, -1), tau2, typical)[..., None]
    found = average(flat_y, flat_s2, flat_known, level.reshape(len(of_each), -1), pull, own)
    found = found.reshape(*y.shape, -1)
    found[..., [0, 2]] += middle[..., None]
    weight = special.softmax(level, (-2, -1)).sum(-1)
    tau = np.exp(0.5 * (weight * np.log(tau2)[:, None]).sum(-1))
    tau = np.where(known.any(-1), tau, np.nan)
    shrunken, shrunken_se, expected, scale, freedom, p = np.moveaxis(found, -1, 0)
    return _Pooled(shrunken, shrunken_se, expected, scale, freedom, p, tau)


def _grid(y: Array, noise: Array, known: Array) -> Array:
    """Points of τ² of every set: from far below noise and scatter to above every distance."""
    there = known.any(-1)
    square = np.where(known, y, np.nan) ** 2
    square[~there] = 0.0
    scatter = np.where(there, np.nanmedian(square, -1), np.inf)
    low = np.maximum(0.01 * noise, 0.001 * scatter).min(-1, where=there, initial=np.inf)
    high = np.maximum(16 * np.nanmax(square, (-2, -1)), 4 * (noise * there).max(-1))
    high = np.where(high > 0, high, 1e-24)
    low = np.clip(low, 1e-10 * high, 1e-2 * high)
    return np.asarray(np.geomspace(low, high, _POINTS, axis=-1))


def _prior(level: Array, tau2: Array, noise: Array) -> Array:
    """Log probability of each τ² for a component, from the other components of its set."""
    grid = np.log(tau2)
    # flat in ln(SE² + τ²): flat in ln τ², most would lie where the error hides τ
    centre = np.repeat(np.log(tau2 / (tau2 + noise)), len(_SPREADS), -1)
    apart = (grid[:, :, None] - grid[:, None, :])[..., None] / np.array(_SPREADS)
    bell = np.exp(-0.5 * apart**2)
    bell = (bell / bell.sum(1, keepdims=True)).reshape(*grid.shape, -1)
    likelihood = np.exp(level - level.max(-1, keepdims=True))
    support = np.log(likelihood @ bell + 1e-300)
    others = support.sum(1, keepdims=True) - support + centre[:, None]
    weight = np.exp(others - others.max(-1, keepdims=True))
    return np.asarray(np.log(weight @ bell.transpose(0, 2, 1) + 1e-300))
