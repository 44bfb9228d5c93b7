"""Weights beyond what their matrix's body explains: how far, and in which row and column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import xarray as xr
from scipy import special

from weibnb.diagnostics.multiplicity import benjamini_hochberg
from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.schema import gaussian_anchor, prepare
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


Rule = Literal["gaussian", "weibull"]
#: How many times the expected maximum a weight must exceed, for each rule.
FACTORS: dict[Rule, float] = {"gaussian": 3.0, "weibull": 1.5}
# Standard normal deviates, by which scales are averaged, and the share of each.
_NODES, _SHARES = special.roots_hermitenorm(60)
_SHARES /= _SHARES.sum()
_HALVINGS = 40
#: Variables of fits that the rules need.
NEEDED = ("n", "max_abs", "magnitude_quantile")


def expected_maximum(n: Any, k: Any, lam: Any) -> Array:
    """Largest of n Weibull magnitudes to be expected: ``λ (ln n + γ)^(1/k)``.

    Exact to 0.1 %: ``(max/λ)^k`` is the largest of n unit exponentials, with mean ``ln n + γ``.
    """
    reach = np.log(np.asarray(n, float)) + np.euler_gamma
    with np.errstate(over="ignore"):  # beyond float64, of weights that span hundreds of decades
        return np.asarray(np.asarray(lam, float) * reach ** (1 / np.asarray(k, float)))


def expected_gaussian_maximum(n: Any, sigma: Any) -> Array:
    """Largest of n Gaussian magnitudes to be expected: where n(1-F) = exp(-γ).

    Examples
    --------
    >>> float(expected_gaussian_maximum(2**24, 1.0).round(2))
    5.52
    """
    tail = np.exp(-np.euler_gamma) / (2 * np.asarray(n, float))
    return np.asarray(-np.asarray(sigma, float) * special.ndtri(tail))


def expected_maximum_of_scales(n: Any, sigma: Any, h: Any) -> Array:
    """Largest of n Gaussian magnitudes to be expected whose scales are lognormal, in the same way.

    `sigma` is the median scale, and `h` the standard deviation of its logarithm over weights.

    Examples
    --------
    >>> expected_maximum_of_scales([2**18, 2**18], 1.0, [0.0, 0.5]).round(1)
    array([ 4.7, 18.3])
    """
    n, sigma, h = np.broadcast_arrays(*(np.asarray(one, float) for one in (n, sigma, h)))
    scale = np.exp(h[..., None] * _NODES)
    low, high = (np.log(expected_gaussian_maximum(n, 1.0)) + reach * h for reach in (0.0, 8.0))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        tail = special.erfc(np.exp(middle)[..., None] / scale / np.sqrt(2)) @ _SHARES
        beyond = n * tail > np.exp(-np.euler_gamma)
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return np.asarray(sigma * np.exp(high))


def exceedance(magnitude: Any, n: Any, k: Any, lam: Any) -> Array:
    """Probability that the largest of n Weibull magnitudes is at least `magnitude`.

    NaN where λ is not positive.
    """
    lam = np.where(np.asarray(lam) > 0, lam, np.nan)
    tail = np.exp(-((np.asarray(magnitude, float) / lam) ** np.asarray(k, float)))
    with np.errstate(divide="ignore"):
        return np.asarray(-np.expm1(n * np.log1p(-tail)))


def outlier_strength(
    fits: xr.Dataset, *, rule: Rule = "gaussian", factor: float | None = None
) -> xr.Dataset:
    """Measure how far each matrix's largest weight lies beyond its body, without the weights.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits; counts are not needed.
    rule : {"gaussian", "weibull"}
        Whose expected maximum `factor` multiplies; see `find_outliers`.
    factor : float, optional
        3 for the Gaussian, 1.5 for the Weibull.

    Returns
    -------
    xarray.Dataset
        ``max_over_q99``, the largest |w| over the 99th percentile, zeros included (`heaviness`
        gives it without); ``expected_max`` and
        ``expected_max_sd`` of n weights of the fitted Weibull; ``gaussian_max``, the expected
        maximum of a Gaussian with the same body; ``excess`` = max_abs / expected_max;
        ``exceedance``, the probability that the fitted Weibull's maximum is as large;
        ``q_value``, the same adjusted over all cells (Benjamini-Hochberg);
        ``threshold``, from which on a weight is an outlier; ``needs_look``, whether one is.
        Magnitudes in the units of the weights, the others dimensionless.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, lacks a variable, or the rule or factor is not valid.

    Notes
    -----
    The scale of rows and columns is not allowed for: a Gaussian with rows of unequal scale, a
    large ``h_row``, has larger weights than one of equal rows with the same body, and
    ``needs_look`` may be true without a single weight that stands out in its row.
    `weibnb.find_outliers` scales the rows and columns of large weights out.

    The standard deviation of the maximum is that of Gumbel's law, carried over to first order:
    ``(λ/k) (ln n + γ)^(1/k - 1) π/√6``. The Gaussian's σ is λ over the Gaussian anchor's λ/σ.
    The fit of a Gaussian matrix puts the maximum at 9.4 σ for n = 2^24, the Gaussian at 5.5 σ:
    its ``excess`` is 0.59, not 1. Of a mixture-of-experts cell, max_abs is the largest of all
    experts and the fit their median.

    References
    ----------
    T. Ding, arXiv:2605.18898: median max_over_q99 of eight models 6.6 to 27.7.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (512, 512))
    >>> weights[3, 5] = 1.0
    >>> strength = outlier_strength(wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> bool(strength.needs_look.item()), float(strength.max_over_q99.round().item())
    (True, 19.0)
    """
    check_choice("rule", rule, get_args(Rule))
    factor = FACTORS[rule] if factor is None else float(factor)
    if not factor >= 0:
        raise ValueError(f"`factor` must be at least 0, got {factor!r}.")
    fits = prepare(fits, *NEEDED, light=True)
    largest, q99 = fits["max_abs"], fits["magnitude_quantile"].sel(quantile=0.99, drop=True)
    n, k, lam = fits["n"].where(fits["n"] > 0), fits["k"], fits["lam"]
    weibull = xr.apply_ufunc(expected_maximum, n, k, lam)
    sigma = lam / gaussian_anchor(fits).lam_over_rms
    gaussian = xr.apply_ufunc(expected_gaussian_maximum, n, sigma)
    deviation = weibull / k / (np.log(n) + np.euler_gamma) * np.pi / np.sqrt(6)
    likely = xr.apply_ufunc(exceedance, largest, n, k, lam)
    found = likely.copy(data=benjamini_hochberg(likely))
    expected, whose = {
        "gaussian": (gaussian, "a Gaussian of the body's width"),
        "weibull": (weibull, "the fitted Weibull"),
    }[rule]
    threshold, same = factor * expected, "units of the weights"
    columns = {
        "max_over_q99": (largest / q99.where(q99 > 0), "Largest |w| over the 99th percentile", "1"),
        "expected_max": (weibull, "Expected largest |w| of the fitted Weibull", same),
        "expected_max_sd": (deviation, "Its standard deviation", same),
        "gaussian_max": (gaussian, "Expected largest |w| of a Gaussian with the same body", same),
        "excess": (largest / weibull, "Largest |w| over the expected one", "1"),
        "exceedance": (likely, "Probability that the fitted Weibull's largest is as large", "1"),
        "q_value": (found, "False discovery rate under the fitted Weibull", "1"),
        "threshold": (threshold, "Magnitude from which on a weight is an outlier", same),
        "needs_look": (largest > threshold, "Whether the largest |w| is an outlier", ""),
    }
    return assemble(columns, {"rule": f"|w| > {factor:g} × the expected maximum of {whose}"})
