"""Reference computations that share nothing with weibnb: full sorts, quadrature, simulation."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from scipy import integrate, optimize, special, stats

from weibnb.counting.counts import Counts

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Every storage format, by the name of its numpy dtype.
DTYPES: dict[str, np.dtype[Any]] = {
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
}
#: Formats whose counts lose nothing.
EXACT = ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
DISTRIBUTIONS = ("gaussian", "uniform", "laplace", "student_t", "lognormal", "weibull")
TRIMS = ((0.1, 0.9), (0.05, 0.95), (0.0, 1.0), (0.3, 0.6), (0.0, 0.5))


def same_counts(left: Counts, right: Counts) -> None:
    """Hold two counts equal in all that they say."""
    np.testing.assert_array_equal(left.labels, right.labels)
    np.testing.assert_array_equal(left.counts, right.counts)
    for name in ("zeros", "nans", "infinities", "largest", "exact", "n"):
        assert getattr(left, name) == getattr(right, name), name


def to_torch(weights: NDArray[Any]) -> Any:
    """View an array of any of the formats as a tensor."""
    import torch

    signed = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}[weights.itemsize]
    return torch.from_numpy(weights.view(signed)).view(getattr(torch, weights.dtype.name))


def sample(distribution: str, size: int, seed: int) -> Array:
    """Draw seeded float64 weights of unit scale with random signs."""
    rng = np.random.default_rng(seed)
    if distribution == "gaussian":
        return rng.normal(size=size)
    if distribution == "uniform":
        return rng.uniform(-1, 1, size)
    if distribution == "laplace":
        return rng.laplace(size=size)
    if distribution == "student_t":
        return rng.standard_t(5, size)
    signs = rng.choice([-1.0, 1.0], size)
    if distribution == "lognormal":
        return signs * rng.lognormal(0, 1, size)
    assert distribution == "weibull"
    return signs * rng.weibull(0.6, size)


@lru_cache(maxsize=16)
def matrix(distribution: str, dtype: str, n: int, seed: int = 0) -> NDArray[Any]:
    """`n` non-zero finite weights in a storage format, and zeros, NaN and infinities among them."""
    wide = sample(distribution, n + n // 4 + 100, seed) * (1.0 if "float8" in dtype else 0.02)
    with np.errstate(over="ignore", invalid="ignore"):
        stored = wide.astype(DTYPES[dtype])
        special = np.array([0.0, -0.0, 0.0, np.nan, -np.nan, np.inf, -np.inf, np.nan])
        left_out = special.astype(DTYPES[dtype])
    back = stored.astype(np.float64)
    kept = stored[np.isfinite(back) & (back != 0)][:n]
    assert kept.size == n
    weights = np.concatenate([kept, left_out])
    return weights[np.random.default_rng(seed + 1).permutation(weights.size)]


def magnitudes(weights: NDArray[Any]) -> Array:
    """Sorted |w| of the non-zero finite weights, as float64."""
    wide = np.abs(weights.astype(np.float64).ravel())
    return np.sort(wide[np.isfinite(wide) & (wide > 0)])


@dataclass(frozen=True)
class Fit:
    """Estimates of a reference."""

    k: float
    lam: float
    r2: float = np.nan


def full_sort(ordered: Array, trim: tuple[float, float]) -> Fit:
    """Rank regression over every order statistic of sorted magnitudes."""
    n = ordered.size
    position = (np.arange(1, n + 1) - 0.5) / n
    inside = (position >= trim[0]) & (position <= trim[1])
    x, y = np.log(ordered[inside]), np.log(-np.log1p(-position[inside]))
    dx, dy = x - x.mean(), y - y.mean()
    k = float(dx @ dy / (dx @ dx))
    return Fit(
        k, float(np.exp(x.mean() - y.mean() / k)), float((dx @ dy) ** 2 / (dx @ dx) / (dy @ dy))
    )


def maximum_likelihood(ordered: Array) -> Fit:
    """Root of the profile likelihood of an uncensored Weibull sample."""
    x = np.log(ordered / ordered[-1])

    def profile(k: float) -> float:
        power = np.exp(k * x)
        return float((power @ x) / power.sum() - x.mean() - 1 / k)

    k = float(optimize.brentq(profile, 0.01, 100, xtol=1e-14, rtol=1e-14))
    return Fit(k, float(np.mean(np.exp(k * x)) ** (1 / k) * ordered[-1]))


def censored_maximum_likelihood(ordered: Array, trim: tuple[float, float]) -> Fit:
    """Direct maximisation of the Weibull likelihood, weights outside the trim censored."""
    n = ordered.size
    position = (np.arange(1, n + 1) - 0.5) / n
    inside = np.flatnonzero((position >= trim[0]) & (position <= trim[1]))
    x = np.log(ordered[inside])
    below, above = inside[0], n - 1 - inside[-1]

    def loss(theta: Array) -> float:
        k, b = np.exp(theta[0]), theta[1]
        z = k * (x - b)
        t = np.exp(z)
        total = (np.log(k) + z - x - t).sum() - above * t[-1]
        if below:
            total += below * np.log(-np.expm1(-t[0]))
        return float(-total / n)

    start = np.array([0.0, float(x.mean())])
    found = optimize.minimize(
        loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 2000}
    )
    return Fit(float(np.exp(found.x[0])), float(np.exp(found.x[1])))


def distances_at_mid_ranks(
    values: Array, counts: NDArray[np.int64], trim: tuple[float, float], k: float, lam: float
) -> tuple[float, float]:
    """Largest distance at the mid-ranks of occupied bins: in the trim, and everywhere."""
    n = counts.sum()
    middle = (np.cumsum(counts) - counts / 2) / n
    distance = np.abs(-np.expm1(-((values / lam) ** k)) - middle)
    inside = (middle >= trim[0]) & (middle <= trim[1])
    return float(distance[inside].max(initial=0)), float(distance.max())


def kolmogorov_smirnov(ordered: Array, trim: tuple[float, float], k: float, lam: float) -> float:
    """Largest distance of sorted weights, one by one, at the levels of a trim."""
    n = ordered.size
    level = np.concatenate([np.arange(n) / n, np.arange(1, n + 1) / n, trim])
    at = [int(max(np.ceil(p * n), 1)) - 1 for p in trim]
    probability = -np.expm1(-((ordered / lam) ** k))
    probability = np.concatenate([probability, probability, probability[at]])
    inside = (level >= trim[0]) & (level <= trim[1])
    return float(np.abs(probability - level)[inside].max())


def quantile_function(
    distribution: str, parameter: float | None = None
) -> tuple[Callable[[float], float], float]:
    """Quantile function of |w| and the root mean square of w."""
    if distribution == "gaussian":
        return lambda p: float(-special.ndtri((1 - p) / 2)), 1.0
    if distribution == "uniform":
        return lambda p: p, 3**-0.5
    if distribution == "laplace":
        return lambda p: float(-np.log1p(-p)), 2**0.5
    assert parameter is not None
    if distribution == "student_t":
        return lambda p: float(-special.stdtrit(parameter, (1 - p) / 2)), float(
            stats.t(parameter).std()
        )
    assert distribution == "truncated_gaussian"
    outside = float(special.ndtr(-parameter))
    rms = float(stats.truncnorm(-parameter, parameter).std())
    return lambda p: float(-special.ndtri((1 - p) / 2 + outside * p)), rms


def population_rank_regression(
    distribution: str, trim: tuple[float, float], parameter: float | None = None
) -> Fit:
    """Rank regression of a population by adaptive quadrature; `lam` is in units of the rms."""
    quantile, rms = quantile_function(distribution, parameter)

    def mean(function: Callable[[float, float], float]) -> float:
        def integrand(p: float) -> float:
            return function(float(np.log(quantile(p))), float(np.log(-np.log1p(-p))))

        value = integrate.quad(integrand, *trim, epsabs=1e-12, epsrel=1e-12, limit=400)[0]
        return float(value) / (trim[1] - trim[0])

    x, y = mean(lambda x, y: x), mean(lambda x, y: y)
    xx = mean(lambda a, b: (a - x) ** 2)
    xy = mean(lambda a, b: (a - x) * (b - y))
    yy = mean(lambda a, b: (b - y) ** 2)
    k = xy / xx
    return Fit(k, float(np.exp(x - y / k)) / rms, xy**2 / (xx * yy))


def population_maximum_likelihood(density: Callable[[float], float], rms: float, top: float) -> Fit:
    """Root of the profile likelihood of a population with a density of |w| on (0, `top`)."""

    def mean(function: Callable[[float], float]) -> float:
        return sum(
            float(integrate.quad(lambda x: density(x) * function(x), a, b, epsabs=1e-13)[0])
            for a, b in ((0, min(1.0, top)), (min(1.0, top), top))
        )

    mean_log = mean(lambda x: float(np.log(x)))

    def profile(k: float) -> float:
        return mean(lambda x: float(x**k * np.log(x))) / mean(lambda x: x**k) - 1 / k - mean_log

    k = float(optimize.brentq(profile, 0.5, 3, xtol=1e-12))
    return Fit(k, mean(lambda x: x**k) ** (1 / k) / rms)


def simulated_counts(magnitude: NDArray[np.float32]) -> list[Counts]:
    """Counts of rows of positive float32 magnitudes rounded to bfloat16."""
    pattern = (magnitude.view(np.uint32) + np.uint32(0x8000)) >> np.uint32(16)
    low, high = int(pattern.min()), int(pattern.max())
    bins, rows = high - low + 1, len(magnitude)
    index = (pattern - np.uint32(low)).astype(np.int64) + bins * np.arange(rows)[:, None]
    counts = np.bincount(index.ravel(), minlength=rows * bins).reshape(rows, bins)
    values = (np.arange(low, high + 1, dtype=np.uint32) << np.uint32(16)).view(np.float32)
    labels = values.astype(np.float64).view(np.int64) >> 42
    return [Counts(labels[row > 0], row[row > 0]) for row in counts]
