"""Families and populations that are known: samples, densities of scipy, masses of bf16 values."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
from scipy import stats

from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS, counter_labels, label_values
from weibnb.families.distributions import FAMILIES
from weibnb.families.samples import grid_of, occupied_bins
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BF16 = ml_dtypes.bfloat16


SIXTEEN_MILLION = 1 << 24


CODES: dict[str, int] = {name: code for code, name in enumerate(FAMILIES)}


# Shape (1 where there is none) and how a sample of |w| is drawn with it.
TRUE: dict[str, tuple[float, Callable[[np.random.Generator, int], Array]]] = {
    "weibull": (1.3, lambda rng, n: rng.weibull(1.3, n)),
    "half_normal": (1.0, lambda rng, n: np.abs(rng.normal(size=n))),
    "lognormal": (0.7, lambda rng, n: rng.lognormal(0, 0.7, n)),
    "gamma": (1.7, lambda rng, n: rng.gamma(1.7, 1, n)),
    "generalised_gaussian": (1.5, lambda rng, n: rng.gamma(1 / 1.5, 1, n) ** (1 / 1.5)),
    "student_t": (4.0, lambda rng, n: np.abs(rng.standard_t(4, n))),
}


def log_density(family: str, x: Array, shape: float, scale: float) -> Array:
    """scipy's logarithmic density of |w|."""
    folded = math.log(2)
    known: dict[str, Callable[[], Any]] = {
        "weibull": lambda: stats.weibull_min.logpdf(x, shape, scale=scale),
        "half_normal": lambda: stats.halfnorm.logpdf(x, scale=scale),
        "lognormal": lambda: stats.lognorm.logpdf(x, shape, scale=scale),
        "gamma": lambda: stats.gamma.logpdf(x, shape, scale=scale),
        "generalised_gaussian": lambda: folded + stats.gennorm.logpdf(x, shape, scale=scale),
        "student_t": lambda: folded + stats.t.logpdf(x, shape, scale=scale),
    }
    return np.asarray(known[family]())


def labels_of(dtype: str) -> NDArray[np.int64]:
    """Labels of all finite values but zero."""
    return counter_labels(FORMATS[dtype])[1:].astype(np.int64)


def bins_of(labels: NDArray[np.int64], counts: Any, *, exact: bool = True) -> tuple[Array, float]:
    """Occupied bins, (4, bins), and the floor in ln|w|."""
    rows, bins = CountRows.of([Counts(labels, counts, exact=exact)]), np.empty((4, labels.size))
    size, floor = occupied_bins(rows, 0, grid_of(rows.labels), bins)
    return bins[:, :size], floor


@lru_cache(maxsize=1)
def bf16_bins() -> tuple[NDArray[np.int64], Array, Array]:
    """Labels and rounding intervals of the bf16 values from 1e-9 to 1e4."""
    labels = labels_of("BF16")
    values = label_values(labels)
    labels = labels[(values > 1e-9) & (values < 1e4)]
    (low, high, *_), _ = bins_of(labels, np.ones(labels.size, int))
    return labels, low, high


@lru_cache(maxsize=64)
def density(name: str, shape: float = 1.0, scale: float = 0.02) -> Array:
    """Exact mass of every bf16 value, from scipy."""
    _, low, high = bf16_bins()
    sf: Any
    cdf: Any
    if name == "student_t":
        sf, cdf = (lambda x: 2 * stats.t.sf(x, shape)), (lambda x: 1 - 2 * stats.t.sf(x, shape))
    else:
        known: dict[str, Any] = {
            "half_normal": stats.halfnorm(),
            "laplace": stats.expon(),
            "uniform": stats.uniform(),
            "weibull": stats.weibull_min(shape),
            "lognormal": stats.lognorm(shape),
        }
        sf, cdf = known[name].sf, known[name].cdf
    a, b = low / scale, high / scale
    mass = np.where(cdf(b) < 0.5, cdf(b) - cdf(a), sf(a) - sf(b))
    return np.asarray(mass / mass.sum())


def draw(mass: Array, n: int, rng: np.random.Generator) -> Counts:
    counts = rng.multinomial(n, mass)
    occupied = counts > 0
    return Counts(bf16_bins()[0][occupied].astype(np.int32), counts[occupied])


def gaussians(share: float, ratio: float) -> Array:
    """A share of the weights with a σ that is `ratio` times smaller."""
    small, large = density("half_normal", scale=0.02 / ratio), density("half_normal")
    return share * small + (1 - share) * large


def row_scales(spread: float, median: float = 0.02) -> Array:
    """Gaussian rows whose ln σ is normal with this spread."""
    places = stats.norm.ppf((np.arange(60) + 0.5) / 60)
    parts = [density("half_normal", scale=median * math.exp(spread * z)) for z in places]
    return np.asarray(np.mean(parts, axis=0))


ONE: dict[str, Callable[[], Array]] = {
    "gaussian": lambda: density("half_normal"),
    "t3": lambda: density("student_t", 3.0),
    "t5": lambda: density("student_t", 5.0),
    "t10": lambda: density("student_t", 10.0),
    "laplace": lambda: density("laplace"),
    "uniform": lambda: density("uniform"),
    "weibull 0.6": lambda: density("weibull", 0.6),
    "weibull 1": lambda: density("weibull", 1.0),
    "weibull 1.4": lambda: density("weibull", 1.4),
    "lognormal": lambda: density("lognormal", 1.5),
    "two Gaussians, ratio 2": lambda: gaussians(0.5, 2),
    "rows of unlike scale": lambda: row_scales(1.0),
    "few outliers": lambda: 0.999 * density("half_normal") + 0.001 * density("uniform", scale=1.0),
}
