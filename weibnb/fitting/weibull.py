"""The two-parameter Weibull distribution on paper: axes, moments and reference anchors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

Estimator = Literal["rank_regression", "maximum_likelihood"]
Trim = tuple[float, float]
Initialisation = Literal["gaussian", "uniform", "laplace", "truncated_gaussian", "student_t"]

DEFAULT_TRIM: dict[Estimator, Trim] = {
    "rank_regression": (0.1, 0.9),
    "maximum_likelihood": (0.0, 1.0),
}
#: Probabilities of the quantiles that are kept of every matrix.
QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
# Parameter of a distribution where none is given, and what it must be more than.
_PARAMETERS = {"truncated_gaussian": (2.0, 0.0), "student_t": (5.0, 2.0)}


def check_protocol(trim: Trim | None, estimator: str) -> tuple[Trim, Estimator]:
    """Return a valid trim, the estimator's own for None, and the estimator.

    Raises
    ------
    TypeError, ValueError
        If `trim` is not a pair of numbers, or not ``0 <= lower < upper <= 1``; if `estimator` is
        unknown.

    Examples
    --------
    >>> check_protocol(None, "rank_regression")
    ((0.1, 0.9), 'rank_regression')
    """
    check_choice("estimator", estimator, get_args(Estimator))
    chosen: Estimator = estimator  # type: ignore[assignment]
    if trim is None:
        return DEFAULT_TRIM[chosen], chosen
    try:
        lower, upper = (float(edge) for edge in trim)
    except (TypeError, ValueError) as err:
        raise TypeError(f"`trim` must be a pair of numbers (lower, upper), got {trim!r}.") from err
    if not 0 <= lower < upper <= 1:
        raise ValueError(f"`trim` must satisfy 0 <= lower < upper <= 1, got {(lower, upper)}.")
    return (lower, upper), chosen


def protocol_text(trim: Trim, estimator: str) -> str:
    """Write a protocol in words.

    Examples
    --------
    >>> protocol_text((0.05, 0.95), "rank_regression")
    'rank regression, trim 5–95 %'
    """
    lower, upper = (f"{100 * edge:.10g}" for edge in trim)
    return f"{estimator.replace('_', ' ')}, trim {lower}–{upper} %"


def cdf(magnitude: ArrayLike, k: ArrayLike, lam: ArrayLike) -> Array:
    """Probability that a Weibull magnitude is at most `magnitude`: ``1 - exp(-(x/λ)^k)``.

    Parameters
    ----------
    magnitude, k, lam : array_like
        Magnitude |w| >= 0, shape k > 0 and scale λ > 0 (in the units of `magnitude`).

    Returns
    -------
    ndarray of float64
        Probabilities, broadcast.

    Examples
    --------
    >>> float(cdf(1.0, 2.0, 1.0).round(4))
    0.6321
    """
    ratio = np.asarray(magnitude, float) / np.asarray(lam, float)
    return np.asarray(-np.expm1(-(ratio ** np.asarray(k, float))))


def quantile(probability: ArrayLike, k: ArrayLike, lam: ArrayLike) -> Array:
    """Magnitude below which a share `probability` lies: ``λ (-ln(1-p))^(1/k)``.

    Parameters
    ----------
    probability, k, lam : array_like
        Probability in [0, 1], shape k and scale λ.

    Returns
    -------
    ndarray of float64
        Magnitudes in the units of `lam`.

    Examples
    --------
    >>> float(quantile(0.5, 1.0, 1.0).round(4))
    0.6931
    """
    t = -np.log1p(-np.asarray(probability, float))
    return np.asarray(np.asarray(lam, float) * t ** (1 / np.asarray(k, float)))


def raw_moment(order: float, k: ArrayLike, lam: ArrayLike) -> Array:
    """Raw moment ``E[x^order] = λ^order Γ(1 + order/k)``.

    Parameters
    ----------
    order : float
        Order of the moment; 2 gives the mean square.
    k, lam : array_like
        Shape and scale.

    Returns
    -------
    ndarray of float64
        The moment, in units of ``lam ** order``.

    Examples
    --------
    >>> float(raw_moment(2, 1.0, 1.0))
    2.0
    """
    from scipy import special

    shape = np.asarray(k, float)
    return np.asarray(np.asarray(lam, float) ** order * special.gamma(1 + order / shape))


def mean(k: ArrayLike, lam: ArrayLike) -> Array:
    """Mean magnitude: ``λ Γ(1 + 1/k)``.

    Parameters
    ----------
    k, lam : array_like
        Shape and scale.

    Returns
    -------
    ndarray of float64
        In the units of `lam`.

    Examples
    --------
    >>> float(mean(1.0, 2.0))
    2.0
    """
    return raw_moment(1, k, lam)


def median(k: ArrayLike, lam: ArrayLike) -> Array:
    """Median magnitude: ``λ (ln 2)^(1/k)``.

    Parameters
    ----------
    k, lam : array_like
        Shape and scale.

    Returns
    -------
    ndarray of float64
        In the units of `lam`.

    Examples
    --------
    >>> float(median(1.0, 1.0).round(4))
    0.6931
    """
    return np.asarray(np.asarray(lam, float) * np.log(2) ** (1 / np.asarray(k, float)))


def standard_deviation(k: ArrayLike, lam: ArrayLike) -> Array:
    """Spread of the magnitude, its standard deviation: ``λ √(Γ(1 + 2/k) - Γ(1 + 1/k)²)``.

    It is that of |w| around its mean. The root mean square of the weights themselves, which have
    either sign, is ``raw_moment(2, k, lam) ** 0.5``.

    Parameters
    ----------
    k, lam : array_like
        Shape and scale.

    Returns
    -------
    ndarray of float64
        In the units of `lam`.

    Notes
    -----
    With a = lnΓ(1 + 2/k) and b = 2 lnΓ(1 + 1/k) it is λ e^(b/2) √(e^(a-b) - 1), which loses no
    digits where k is large and both terms are near 1.

    Examples
    --------
    >>> float(standard_deviation(1.0, 3.0).round(9))
    3.0
    """
    from scipy import special

    shape = np.asarray(k, float)
    both, twice = special.gammaln(1 + 2 / shape), 2 * special.gammaln(1 + 1 / shape)
    spread = np.exp(twice / 2) * np.sqrt(np.expm1(np.maximum(both - twice, 0)))
    return np.asarray(np.asarray(lam, float) * spread)


def ordinate(probability: ArrayLike) -> Array:
    """Ordinate of the Weibull plot, ``y = ln(-ln(1-p))``; a Weibull is a line of slope k in ln x.

    Parameters
    ----------
    probability : array_like
        Probability in [0, 1].

    Returns
    -------
    ndarray of float64
        y, zero at p = 1 - 1/e = 63.2 %, infinite at both ends.

    Examples
    --------
    >>> float(abs(ordinate(1 - np.exp(-1))).round(12))
    0.0
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(-np.log1p(-np.asarray(probability, float))))


@dataclass(frozen=True, slots=True)
class Anchor:
    """What a matrix of a known distribution gives under a protocol (population values).

    Attributes
    ----------
    k : float
        Weibull shape.
    lam_over_rms : float
        Weibull scale in units of the root mean square of the weights.
    r2 : float
        Coefficient of determination of the Weibull plot over the trim.
    initialisation, trim, estimator
        What it is the anchor of.
    """

    k: float
    lam_over_rms: float
    r2: float
    initialisation: str
    trim: Trim
    estimator: Estimator


def _magnitude_quantile(name: str, parameter: float, p: Array, u: Array) -> Array:
    """Quantile of |w| at probability p = 1 - u; both are given so that neither end loses digits."""
    from scipy import special

    if name == "gaussian":
        return np.where(p < 0.5, np.sqrt(2) * special.erfinv(p), -special.ndtri(u / 2))
    if name == "uniform":
        return p
    if name == "laplace":
        return _exponential_quantile(p, u)
    if name == "truncated_gaussian":
        mass = special.erf(parameter / np.sqrt(2))
        return np.asarray(np.sqrt(2) * special.erfinv(p * mass))
    # |t| at p is a ratio of beta quantiles: t^2/(t^2 + ν) ~ Beta(1/2, ν/2)
    near_0 = special.betaincinv(0.5, parameter / 2, p)
    near_1 = special.betaincinv(parameter / 2, 0.5, u)
    numerator = np.where(p < 0.5, near_0, 1 - near_1)
    return np.sqrt(parameter * numerator / np.where(p < 0.5, 1 - near_0, near_1))


def _exponential_quantile(p: Array, u: Array) -> Array:
    """Return ``-ln(1 - p)``, accurate at both ends."""
    return np.where(p < 0.5, -np.log1p(-np.minimum(p, 0.5)), -np.log(u))


def _nodes(trim: Trim) -> tuple[Array, Array, Array]:
    """Tanh-sinh nodes p, their complements 1 - p and weights on the trim (sum = its length)."""
    from scipy import special

    t = np.linspace(-3.6, 3.6, 1441)
    half = np.pi / 2 * np.sinh(t)
    below, above = special.expit(2 * half), special.expit(-2 * half)
    weight = np.cosh(t) / np.cosh(half) ** 2
    length = trim[1] - trim[0]
    p, u = trim[0] + length * below, (1 - trim[1]) + length * above
    return p, u, weight * (length / weight.sum())


def anchor(
    initialisation: Initialisation = "gaussian",
    *,
    trim: Trim | None = None,
    estimator: Estimator = "rank_regression",
    parameter: float | None = None,
) -> Anchor:
    """Weibull parameters of an ideal matrix, by quadrature.

    Parameters
    ----------
    initialisation : str
        Distribution of the weights: ``"gaussian"``, ``"uniform"`` (symmetric), ``"laplace"``,
        ``"truncated_gaussian"`` or ``"student_t"``.
    trim : tuple of float, optional
        Probability interval; the estimator's default when omitted.
    estimator : {"rank_regression", "maximum_likelihood"}
        The estimator whose population value is wanted.
    parameter : float, optional
        Where the Gaussian is cut in units of its σ (2 by default), or the degrees of freedom of
        Student's t (5 by default; more than 2).

    Returns
    -------
    Anchor
        k, λ over the root mean square, and r2.

    Raises
    ------
    ValueError
        If a name is unknown, the trim is not an interval, or `parameter` is out of range.

    Notes
    -----
    Rank regression has the population value
    ``k = cov(ln x, y) / var(ln x)``, ``ln λ = E[ln x] - E[y]/k`` with
    ``y = ln(-ln(1-p))`` and p uniform on the trim. Maximum likelihood solves the score equations
    of the Weibull, censored outside the trim.

    References
    ----------
    T. Ding, "A Two-Parameter Weibull Framework for Diagnosing Transformer Weight Distributions",
    arXiv:2605.18898: k0 = 1.2054, λ0 = 0.8875 σ at trim 10-90 %.

    Examples
    --------
    >>> gaussian = anchor()
    >>> round(gaussian.k, 6), round(gaussian.lam_over_rms, 6), round(gaussian.r2, 6)
    (1.205434, 0.887487, 0.99774)
    >>> round(anchor(estimator="maximum_likelihood").k, 3)
    1.263
    """
    trim, estimator = check_protocol(trim, estimator)
    check_choice("initialisation", initialisation, get_args(Initialisation))
    default, smallest = _PARAMETERS.get(initialisation, (0.0, np.inf))
    if parameter is not None and not parameter > smallest:
        rule = "be omitted" if smallest == np.inf else f"be more than {smallest:g}"
        raise ValueError(f"`parameter` must {rule} for {initialisation!r}, got {parameter!r}.")
    return _population_fit(
        initialisation, trim, estimator, default if parameter is None else float(parameter)
    )


def fit_quantiles(
    log_quantile: Callable[[Array, Array], Array], trim: Trim, estimator: Estimator
) -> tuple[float, float, float]:
    """Fit a distribution that is given by its quantiles, by quadrature.

    Parameters
    ----------
    log_quantile : callable
        Gives ln|w| at probabilities p, and their complements 1 - p beside them.
    trim, estimator
        A valid protocol.

    Returns
    -------
    tuple of float
        k, ln λ and r2.

    Examples
    --------
    >>> k, log_lam, r2 = fit_quantiles(
    ...     lambda p, u: np.log(quantile(p, 1.1, 2.0)), (0.1, 0.9), "rank_regression")
    >>> round(k, 9), round(float(np.exp(log_lam)), 9), round(r2, 9)
    (1.1, 2.0, 1.0)
    """
    p, u, weight = _nodes(trim)
    x, y = log_quantile(p, u), np.log(_exponential_quantile(p, u))
    mean_x, mean_y = np.average(x, weights=weight), np.average(y, weights=weight)
    dx, dy = x - mean_x, y - mean_y
    sxx, sxy, syy = (weight * dx**2).sum(), (weight * dx * dy).sum(), (weight * dy**2).sum()
    k, log_lam = sxy / sxx, mean_x - mean_y * sxx / sxy
    if estimator == "maximum_likelihood":
        from weibnb.fitting.kernels import censored_fit

        k, log_lam, *_ = censored_fit(x, weight, trim[0], 1 - trim[1], k, log_lam)
    return float(k), float(log_lam), float(sxy**2 / (sxx * syy))


@lru_cache(maxsize=256)
def _population_fit(name: str, trim: Trim, estimator: Estimator, parameter: float) -> Anchor:
    """Fit an ideal distribution by quadrature."""
    k, log_lam, r2 = fit_quantiles(
        lambda p, u: np.log(_magnitude_quantile(name, parameter, p, u)), trim, estimator
    )
    if name == "student_t":
        rms = np.sqrt(parameter / (parameter - 2))
    else:
        p, u, weight = _nodes((0.0, 1.0))
        rms = np.sqrt((weight * _magnitude_quantile(name, parameter, p, u) ** 2).sum())
    return Anchor(
        k=k,
        lam_over_rms=float(np.exp(log_lam) / rms),
        r2=r2,
        initialisation=name,
        trim=trim,
        estimator=estimator,
    )
