"""Ordinates of the Weibull plot and their sums over ranks: closed forms, tables, term by term."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from weibnb.compiled import compiled

# Within this many ranks of either end the sums over ranks are taken term by term.
_EDGE = 16
_EULER = 0.5772156649015329
# Coefficients (-1)^(m+1) / (m m!) of the power series of Ein, highest first.
_EIN = np.array(
    [(-1.0) ** (m + 1) / (m * float(np.prod(np.arange(1.0, m + 1)))) for m in range(36, 0, -1)]
)
_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(96)


def _quintic(p: Any, d: Any, s: Any) -> Any:
    """Coefficients, lowest first, of the quintic through values and two derivatives per cell."""
    p0, p1, d0, d1, s0, s1 = p[:-1], p[1:], d[:-1], d[1:], s[:-1], s[1:]
    rise = p1 - p0
    return np.stack(
        [
            p0,
            d0,
            s0 / 2,
            10 * rise - 6 * d0 - 4 * d1 - 1.5 * s0 + 0.5 * s1,
            -15 * rise + 8 * d0 + 7 * d1 + 1.5 * s0 - s1,
            6 * rise - 3 * d0 - 3 * d1 - 0.5 * s0 + 0.5 * s1,
        ],
        axis=1,
    )


def _integral_table(cells: int) -> Any:
    """Integral of y over F from 0 in `cells` equal parts of (0, 1), empty in the first and last."""
    f = np.arange(1, cells) / cells
    u, t = 1 - f, -np.log1p(-f)
    integral = -(u * np.log(t) + special.exp1(t))
    inner = _quintic(integral, np.log(t) / cells, 1 / (t * u) / cells**2)
    return np.pad(inner, ((1, 1), (0, 0)))


def _distribution_table(lowest: float, highest: float, width: float) -> Any:
    """1 - exp(-exp(s)) for s from `lowest` to `highest`."""
    s = np.linspace(lowest, highest, round((highest - lowest) / width) + 1)
    z = np.exp(s)
    slope = np.exp(s - z)
    return _quintic(-np.expm1(-z), slope * width, slope * (1 - z) * width**2)


# Interpolation errors: 2e-15 for the integral between the limits, 2e-11 for the distribution.
_CELLS, _TABLE_LIMIT, _TABLE_RANKS = 1024, 0.05, 4096
_INTEGRAL = _integral_table(_CELLS)
_LOWEST, _HIGHEST, _WIDTH = -16.0, 4.0, 1 / 16
_DISTRIBUTION = _distribution_table(_LOWEST, _HIGHEST, _WIDTH)


@compiled
def _polynomial(c: Any, d: float) -> float:
    """Value of a quintic."""
    return float(c[0] + d * (c[1] + d * (c[2] + d * (c[3] + d * (c[4] + d * c[5])))))


@compiled
def weibull_of_ordinate(s: float) -> float:
    """Distribution 1 - exp(-exp(s)) at the ordinate s of the Weibull plot."""
    if s <= _LOWEST or s >= _HIGHEST:
        return float(-np.expm1(-np.exp(s)))
    place = (s - _LOWEST) / _WIDTH
    cell = min(int(place), len(_DISTRIBUTION) - 1)
    return _polynomial(_DISTRIBUTION[cell], place - cell)


@compiled
def exponential_integral(t: float, log_t: float) -> float:
    """E1(t) for t > 0: power series up to 4, continued fraction (modified Lentz) beyond.

    The absolute error is below 1e-15 for t > 0.1; M. Abramowitz and I. Stegun, 5.1.11 and 5.1.22.
    """
    if t <= 4.0:
        ein = 0.0
        terms = 10 if t <= 0.1 else _EIN.size
        for i in range(_EIN.size - terms, _EIN.size):
            ein = ein * t + _EIN[i]
        return float(ein * t - _EULER - log_t)
    b = t + 1.0
    c, d = 1e300, 1.0 / b
    fraction = d
    for i in range(1, 200):
        step = -1.0 * i * i
        b += 2.0
        d = 1.0 / (step * d + b)
        c = b + step / c
        fraction *= c * d
        if abs(c * d - 1.0) < 1e-16:
            break
    return float(fraction * np.exp(-t))


@compiled
def ordinate_of_rank(rank: float, n: float) -> float:
    """Ordinate ln(-ln(1-F)) at the plotting position F = (rank - 1/2)/n."""
    return float(np.log(-np.log1p(-(rank - 0.5) / n)))


@compiled
def _direct_sum(first: float, last: float, n: float, power: int) -> float:
    """Sum of y or y^2 over the ranks first ... last of n, term by term."""
    total, rank = 0.0, first
    while rank <= last:
        y = ordinate_of_rank(rank, n)
        total += y if power == 1 else y * y
        rank += 1.0
    return total


@compiled
def _smooth_prefix(rank: float, n: float) -> float:
    """Sum of y over the first ranks, up to a constant: Euler-Maclaurin for the midpoint rule."""
    u = 1.0 - rank / n
    t = -np.log(u) if u < 0.5 else -np.log1p(-rank / n)
    log_t = np.log(t)
    # the integral of ln(-ln u) is u ln(-ln u) - li(u), and li(u) = -E1(-ln u)
    integral = -(u * log_t + exponential_integral(t, log_t))
    tu = t * u
    first = 1.0 / tu
    third = (t + 2.0 * (t - 1.0) ** 2) / tu**3
    return float(n * integral - first / (24.0 * n) + 7.0 * third / (5760.0 * n**3))


@compiled
def prefix_sum(rank: float, n: float) -> tuple[float, float]:
    """Sum of y over the first `rank` of n ranks, up to a constant of n alone; y at F = rank/n."""
    share = rank / n
    if n >= _TABLE_RANKS and _TABLE_LIMIT <= share <= 1.0 - _TABLE_LIMIT:
        place = share * _CELLS
        cell = int(place)
        d, c = place - cell, _INTEGRAL[cell]
        y = c[1] + d * (2 * c[2] + d * (3 * c[3] + d * (4 * c[4] + d * 5 * c[5])))
        slope = 2 * c[2] + d * (6 * c[3] + d * (12 * c[4] + d * 20 * c[5]))
        # without the third Euler-Maclaurin term, which is below 1e-9 of one rank's share here
        return n * _polynomial(c, d) - slope * _CELLS * _CELLS / (24.0 * n), y * _CELLS
    y = np.log(-np.log1p(-share)) if 0.0 < rank < n else 0.0
    inner = min(max(rank, _EDGE), n - _EDGE)
    rest = _direct_sum(inner + 1.0, rank, n, 1) - _direct_sum(rank + 1.0, inner, n, 1)
    return _smooth_prefix(inner, n) + rest, y


@compiled
def square_sum(first: float, last: float, n: float) -> float:
    """Sum of y^2 over the ranks first ... last of n."""
    start, stop = max(first - 1.0, _EDGE), min(last, n - _EDGE)
    if stop - start < 4 * _EDGE:
        return _direct_sum(first, last, n, 2)
    total = _direct_sum(first, start, n, 2) + _direct_sum(stop + 1.0, last, n, 2)
    ends = np.empty(2)
    for side in range(2):
        rank = start if side == 0 else stop
        u = 1.0 - rank / n
        t = -np.log1p(-rank / n)
        y, tu = np.log(t), t * u
        ends[side] = y
        d1, d2 = 1.0 / tu, (t - 1.0) / tu**2
        d3 = (t + 2.0 * (t - 1.0) ** 2) / tu**3
        term = -2.0 * y * d1 / (24.0 * n) + 14.0 * (3.0 * d1 * d2 + y * d3) / (5760.0 * n**3)
        total += term if side == 1 else -term
    # the integral of y^2 dF, with dF = exp(y - exp(y)) dy
    half, middle = 0.5 * (ends[1] - ends[0]), 0.5 * (ends[1] + ends[0])
    for i in range(_GAUSS_NODES.size):
        y = middle + half * _GAUSS_NODES[i]
        total += n * half * _GAUSS_WEIGHTS[i] * y * y * np.exp(y - np.exp(y))
    return float(total)
