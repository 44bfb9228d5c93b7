"""How far fits have drifted from where an untrained matrix stands, and which shape is nearest.

Verdicts are given and withheld as `weibnb.diagnostics.verdicts` says.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
import xarray as xr
from scipy import special

from weibnb.diagnostics.multiplicity import benjamini_hochberg, holm
from weibnb.diagnostics.verdicts import (
    PUBLISHED_PROTOCOL,
    assemble,
    errors_of,
    interval_words,
    number_alone,
    require_protocol,
    resolved,
    status_where_unfitted,
)
from weibnb.fits.schema import prepare, protocol_of
from weibnb.fitting import weibull
from weibnb.fitting.status import MINIMUM_WEIGHTS
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.diagnostics.verdicts import Column

    Array = NDArray[np.float64]

#: Severity of drift by \|Δk\| in percent of the anchor; the edges are npm-weibull-py's (0.4).
DRIFT_CONVENTION = "weibnb drift 1: invariant < 1 %, mild 1-30 %, strong > 30 %"
DRIFT_EDGES = (1.0, float(np.nextafter(30.0, np.inf)))
DRIFT_WORDS = ("invariant", "mild", "strong")

#: Shapes that `drift` knows by name.
NAMED_SHAPES: dict[str, tuple[weibull.Initialisation, float | None]] = {
    "gaussian": ("gaussian", None),
    "uniform": ("uniform", None),
    "laplace": ("laplace", None),
    "truncated_gaussian(2)": ("truncated_gaussian", 2.0),
    "truncated_gaussian(3)": ("truncated_gaussian", 3.0),
    "student_t(3)": ("student_t", 3.0),
    "student_t(5)": ("student_t", 5.0),
    "student_t(10)": ("student_t", 10.0),
    "student_t(30)": ("student_t", 30.0),
}
#: Tolerances in k, λ/rms and r2 that make one unit of `shape_distance`, before sampling noise.
SHAPE_TOLERANCES = (0.0075, 0.015, 0.0004)
#: Distance beyond which no named shape is close.
SHAPE_CLOSE = 3.0
# Standard deviation of r2 times sqrt(n): 0.06 for Gaussian, 0.15 for uniform weights (simulated).
_R2_NOISE = 0.1


def drift(
    fits: xr.Dataset | None = None,
    *,
    anchor: str | weibull.Anchor = "gaussian",
    parameter: float | None = None,
    k: float | None = None,
    k_se: float | None = None,
    n: int | None = None,
) -> xr.Dataset:
    """Tell how far k has moved from where an untrained matrix stands.

    Parameters
    ----------
    fits : xarray.Dataset, optional
        Fits from `weibnb.scan`, by any protocol: the anchor is computed for the same one.
    anchor : str or Anchor
        A distribution that `weibnb.anchor` knows (``"gaussian"``, ``"uniform"``,
        ``"truncated_gaussian"``, ...), an `Anchor` of the same protocol, or ``"step0"``: the
        same cell at step 0.
    parameter : float, optional
        As in `weibnb.anchor`: where the Gaussian is cut (in σ), or the degrees of freedom.
    k, k_se : float, optional
        A number in place of fits, by rank regression at trim 10-90 % or the protocol of an
        `Anchor`, and its standard error.
    n : int, optional
        Weights that k was fitted to, in place of its error: that of so many independent Gaussian
        weights, about ``1.364 / sqrt(n)``. It is a floor: rows of unequal scale make it larger.

    Returns
    -------
    xarray.Dataset
        On the dims of k, of a number without dims:

        - ``delta_k``, ``delta_k_percent``: distance from the anchor, in k and in % of it;
        - ``z``: the distance in its standard errors (NaN at step 0 itself); ``p_value``, of both
          sides; ``p_holm`` and ``q_value``, adjusted (Holm, Benjamini-Hochberg) over all cells:
          of 224 undrifted matrices ten have ``|z| > 2``;
        - ``severity``: ``"invariant"`` below 1 %, ``"mild"`` from 1 % to 30 %, ``"strong"``
          above; ``"not resolved"`` where ``|Δk %|`` lies too near 1 % or 30 % for its error;
          ``"no anchor"`` where step 0 has no fit; the cell's status, or
          ``"not fitted"``, where k is NaN;
        - ``lam_over_rms``: λ over the root mean square of the non-zero weights,
          ``rms / sqrt(1 - zero_fraction)``;
        - ``nearest_shape``: the closest of `NAMED_SHAPES`; ``"none"`` beyond `SHAPE_CLOSE`,
          ``"unknown"`` where λ/rms or r2 is not known;
        - ``shape_distance``: how close, in the units below;
        - ``shape_resolved``: whether every other shape is farther, in (k, λ/rms), at a false
          discovery rate of 5 % over all cells.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, there are neither fits nor k or both, the anchor is
        unknown or of another protocol, or there is no step 0 or no other step.

    Notes
    -----
    ``shape_distance`` is Euclidean in (k, λ/rms, r2), each divided by its tolerance (0.0075,
    0.015 and 0.0004) and its sampling noise added in quadrature (``k_se``, ``lam_se / rms`` and
    ``0.1 / sqrt(n)``). On large matrices 1 is thus a difference of 0.0075 in k. The standard error
    against ``"step0"`` takes both fits as independent; they are not soon after initialisation,
    so that ``z`` is too small there.

    References
    ----------
    T. Ding, arXiv:2605.18898 (k0 = 1.2054). The edges 1 % and 30 %: the library npm-weibull-py 0.4
    (trajectory.py); recorded as `DRIFT_CONVENTION`.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {"model.layers.0.mlp.up_proj.weight": rng.normal(0, 0.02, (512, 512))}
    >>> moved = drift(wb.scan({"new": weights}))
    >>> moved.severity.item(), moved.nearest_shape.item(), bool(abs(moved.z.item()) < 4)
    ('invariant', 'gaussian', True)
    >>> alone = drift(k=1.14, n=4096 * 4096)
    >>> alone.severity.item(), round(alone.delta_k_percent.item(), 2)
    ('mild', -5.43)
    """
    if fits is None or not (k is None and k_se is None and n is None):
        number = number_alone(fits, k=k, k_se=k_se, n=n)
        alone = _alone(anchor, k=number, k_se=k_se, n=n)
        return drift(alone, anchor=anchor, parameter=parameter).squeeze(drop=True)
    fits = prepare(fits, light=True)
    found, error = fits["k"], errors_of(fits)
    start, start_error, label = _start(fits, error, anchor, parameter)
    delta, total = found - start, np.hypot(error, start_error)
    z = delta / total
    p = 2 * xr.apply_ufunc(special.ndtr, -abs(z))
    percent = 100 * delta / start
    percent_error = 100 * np.hypot(error, found / start * start_error) / start
    if label == "step0":  # a fit lies at no distance from itself, for certain
        total, percent_error = (e.where(e["step"] != 0, 0.0) for e in (total, percent_error))
    words = interval_words(fits, abs(percent), percent_error, DRIFT_EDGES, DRIFT_WORDS)
    words = words.copy(data=np.where(delta.isnull(), "no anchor", words))
    words = status_where_unfitted(words, fits)
    return assemble(
        {
            "delta_k": (delta, "Distance of k from the anchor", "1"),
            "delta_k_percent": (percent, "Distance of k from the anchor", "%"),
            "z": (z, "Distance of k in standard errors", "1"),
            "p_value": (p, "Probability of a larger distance", "1"),
            "p_holm": (p.copy(data=holm(p)), "p-value, adjusted by Holm", "1"),
            "q_value": (p.copy(data=benjamini_hochberg(p)), "False discovery rate", "1"),
            "severity": (words, "Severity of the drift", ""),
            **_shapes(fits, error),
        },
        fits.attrs | {"anchor": label, "convention": DRIFT_CONVENTION},
    )


def _alone(
    anchor: str | weibull.Anchor, *, k: float, k_se: float | None, n: int | None
) -> xr.Dataset:
    """Make fits of a number by the protocol of the anchor, with the error that n weights give."""
    from weibnb.fits.imported import fits_of_numbers

    trim, estimator = weibull.check_protocol(*PUBLISHED_PROTOCOL[::-1])
    if isinstance(anchor, weibull.Anchor):
        trim, estimator = anchor.trim, anchor.estimator
    if n is not None:
        if k_se is not None:
            raise ValueError("`n` must be omitted where `k_se` is given.")
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < MINIMUM_WEIGHTS:
            raise ValueError(f"`n` must be at least {MINIMUM_WEIGHTS} weights, got {n!r}.")
        k_se = _gaussian_error(trim, estimator) / math.sqrt(n)
    return fits_of_numbers(k=k, k_se=k_se, trim=trim, estimator=estimator)


@cache
def _gaussian_error(trim: weibull.Trim, estimator: weibull.Estimator) -> float:
    """Give the standard error of k, times sqrt(n), of independent Gaussian weights."""
    from weibnb.fitting.single import fit_weibull

    number = 1 << 14
    ideal = special.ndtri((np.arange(number) + 0.5) / number)
    return fit_weibull(ideal, trim=trim, estimator=estimator).k_se * math.sqrt(number)


def _start(
    fits: xr.Dataset, error: xr.DataArray, anchor: str | weibull.Anchor, parameter: float | None
) -> tuple[Any, Any, str]:
    """Return k of the anchor, its standard error and its name."""
    estimator, trim = protocol_of(fits)
    if parameter is not None and (anchor == "step0" or isinstance(anchor, weibull.Anchor)):
        raise ValueError(f"`parameter` must be omitted for this anchor, got {parameter!r}.")
    if isinstance(anchor, weibull.Anchor):
        require_protocol(fits, "`anchor`", like=(anchor.estimator, anchor.trim))
        return anchor.k, 0.0, anchor.initialisation
    check_choice("anchor", anchor, (*get_args(weibull.Initialisation), "step0"))
    if anchor != "step0":
        name = cast("weibull.Initialisation", anchor)
        found = weibull.anchor(name, trim=trim, estimator=estimator, parameter=parameter)
        return found.k, 0.0, anchor if parameter is None else f"{anchor}({parameter:g})"
    steps = np.atleast_1d(fits["step"].values).tolist()
    if "step" not in fits["k"].dims or len(steps) < 2 or 0 not in steps:
        raise ValueError(
            f"`fits` must hold step 0 and another one for anchor='step0', got {steps}. "
            "Scan the run with its initial checkpoint, or use anchor='gaussian'."
        )
    return fits["k"].sel(step=0, drop=True), error.sel(step=0, drop=True), "step0"


def _shapes(fits: xr.Dataset, error: xr.DataArray) -> dict[str, Column]:
    """Compare every cell with the named shapes, in (k, λ/rms, r2)."""
    k, unknown = fits["k"], xr.full_like(fits["k"], np.nan)
    rms = fits.get("rms", unknown) / np.sqrt(1 - fits.get("zero_fraction", 0.0))
    n = fits.get("n", unknown)
    ratio = fits["lam"] / rms
    estimates = (k, ratio, fits.get("r2", unknown))
    errors = (error, fits.get("lam_se", unknown) / rms, _R2_NOISE * n.where(n > 0) ** -0.5)
    point, noise = (
        np.stack([part.transpose(*k.dims).values for part in parts], -1)
        for parts in (estimates, errors)
    )
    estimator, trim = protocol_of(fits)
    anchors = [
        weibull.anchor(name, trim=trim, estimator=estimator, parameter=parameter)
        for name, parameter in NAMED_SHAPES.values()
    ]
    shapes = np.array([(shape.k, shape.lam_over_rms, shape.r2) for shape in anchors])
    unit = np.hypot(SHAPE_TOLERANCES, np.nan_to_num(noise))
    away = (point[..., None, :] - shapes) / unit[..., None, :]
    distance = np.sqrt((away**2).sum(-1))
    order = np.argsort(distance, -1)
    nearest = np.take_along_axis(distance, order[..., :1], -1)[..., 0]
    words = np.array(list(NAMED_SHAPES))[order[..., 0]]
    words = np.where(nearest > SHAPE_CLOSE, "none", words)
    words = np.where(np.isnan(nearest), "unknown", words)
    lead = _lead(point, noise, shapes[order[..., 0]], shapes)
    close = nearest <= SHAPE_CLOSE
    told = resolved(np.where(close, lead, np.nan), np.where(close, 1.0, np.nan))
    named = status_where_unfitted(k.copy(data=words), fits)
    return {
        "lam_over_rms": (ratio, "λ over rms of non-zero weights", "1"),
        "nearest_shape": (named, "Nearest named shape", ""),
        "shape_distance": (k.copy(data=nearest), "Distance to the nearest shape", "1"),
        "shape_resolved": (k.copy(data=told), "Whether every other shape is farther", ""),
    }


def _lead(point: Array, noise: Array, first: Array, shapes: Array) -> Array:
    """Least distance from a bisector of the first and another shape, in standard errors.

    In the plane of k and λ/rms; NaN where an error is not known.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = noise[..., None, :2]
        x, a, b = point[..., None, :2] / unit, first[..., None, :2] / unit, shapes[:, :2] / unit
        gap = np.sqrt(((a - b) ** 2).sum(-1))
        lead = (((x - b) ** 2).sum(-1) - ((x - a) ** 2).sum(-1)) / (2 * gap)
    itself = (first[..., None, :] == shapes).all(-1)
    return np.asarray(np.where(itself, np.inf, lead).min(-1))
