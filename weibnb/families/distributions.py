"""Six families of |w|, each described once: its shape, tails, density and a first guess.

In the compiled functions v is the logarithm of the shape and u that of the scale.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from weibnb.compiled import compiled, compiled_inline
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

Family = Literal[
    "weibull", "half_normal", "lognormal", "gamma", "generalised_gaussian", "student_t"
]
#: Families of |w| that are compared, in the order of the compiled codes.
FAMILIES: tuple[Family, ...] = get_args(Family)
WEIBULL, HALF_NORMAL, LOGNORMAL, GAMMA, GENERALISED_GAUSSIAN, STUDENT_T = range(6)
#: Free parameters of each family.
PARAMETERS = np.array([2, 1, 2, 2, 2, 2])
#: Bounds of the logarithm of each family's shape.
SHAPE_BOUNDS = np.log([(0.02, 200.0), (1, 2), (1e-3, 100), (0.02, 1e4), (0.05, 100), (0.1, 1e4)])
# Derivatives by v of the logarithms of a and p, see `_power`.
_POWER_SLOPES = np.array([(0.0, 1), (0, 0), (0, 0), (1, 0), (-1, 1), (0, 0)])
_LN_2 = math.log(2)
_HALF_LN_2_PI = 0.5 * math.log(2 * math.pi)


@compiled
def _power(family: int | np.int64, shape: float) -> tuple[float, float, float]:
    """Find a, p and c with which e^-c (|w| / scale)^p follows a gamma distribution of shape a.

    Lognormal and Student t are none of these.
    """
    if family == WEIBULL:
        return 1.0, shape, 0.0
    if family == HALF_NORMAL:
        return 0.5, 2.0, _LN_2
    if family == GAMMA:
        return shape, 1.0, 0.0
    return 1.0 / shape, shape, 0.0


@compiled
def _tail_terms(family: int | np.int64, v: float) -> tuple[float, float, float, float]:
    """Compute once what `_tails` needs of a shape: a (or the shape itself), p, c and a constant."""
    shape = math.exp(v)
    if family == STUDENT_T:
        return shape, 0.0, 0.0, _t_front(shape)
    if family == LOGNORMAL:
        return shape, 0.0, 0.0, 0.0
    a, p, c = _power(family, shape)
    return a, p, c, math.lgamma(a)


@compiled
def _tails(
    family: int | np.int64, terms: tuple[float, float, float, float], d: float
) -> tuple[float, float]:
    """Logarithms of P(|w| <= x) and P(|w| > x) at ln x = u + d."""
    a, p, c, known = terms
    if family == STUDENT_T:
        return _t_tails(a, known, d)
    if family == LOGNORMAL:
        return _normal_tails(d / a)
    return _gamma_tails(a, known, p * d - c)


@compiled
def tails_at(family: int | np.int64, v: float, u: float, edges: Any) -> Any:
    """Logarithms of P(|w| <= x) and P(|w| > x) at edges ln x: (2, edges)."""
    out, terms = np.empty((2, edges.size)), _tail_terms(family, v)
    for j in range(edges.size):
        out[0, j], out[1, j] = _tails(family, terms, edges[j] - u)
    return out


@compiled
def log_survival(family: int | np.int64, v: float, u: float, log_x: float) -> float:
    """Logarithm of P(|w| > x)."""
    return _tails(family, _tail_terms(family, v), log_x - u)[1]


@compiled
def log_masses(tails: Any) -> Any:
    """Logarithm of the mass between neighbouring edges, from the side on which tails are small."""
    out = np.empty(max(tails.shape[1] - 1, 0))
    for j in range(out.size):
        below = tails[0, j + 1] < -_LN_2
        far, near = (tails[0, j + 1], tails[0, j]) if below else (tails[1, j], tails[1, j + 1])
        if near == -np.inf:
            out[j] = far
        else:
            out[j] = far + math.log(-math.expm1(near - far)) if far > near else -np.inf
    return out


@compiled
def density_terms(
    family: int | np.int64, v: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Compute once what `log_density` needs of a shape; the last three: terms free of x."""
    k = math.exp(v)
    if family == LOGNORMAL:
        return 1.0 / k, 0.0, 0.0, 0.0, 0.0, -v - _HALF_LN_2_PI, 0.0, 0.0
    if family == STUDENT_T:
        a = 0.5 * k
        high, high_slope = digamma(a + 0.5)
        low, low_slope = digamma(a)
        first = a * (high - low)
        second = first + a * a * (high_slope - low_slope)
        level = _LN_2 + _t_front(k) - 0.5 * v
        return k, 0.0, 0.0, 0.0, 0.0, level, first - 0.5, second
    a, p, c = _power(family, k)
    by_a, by_p = _POWER_SLOPES[family]
    level, first, second = math.log(p) - math.lgamma(a), by_p, 0.0
    if by_a != 0.0:
        psi, slope = digamma(a)
        first, second = by_p - by_a * a * psi, -a * psi - a * a * slope
    return a, p, c, by_a, by_p, level, first, second


@compiled_inline
def log_density(
    family: int | np.int64, terms: Any, d: float
) -> tuple[float, float, float, float, float, float]:
    """Log density of ln|w| at u + d, and its derivatives by (v, u, vv, uv, uu).

    Most of the time of a ranking is spent here; inlined, it takes a tenth less.
    """
    a, p, c, by_a, by_p, level, first, second = terms
    if family == LOGNORMAL:  # a is 1 / shape
        t = a * d
        return level - 0.5 * t * t, t * t - 1.0, t * a, -2.0 * t * t, -2.0 * t * a, -a * a
    if family == STUDENT_T:  # a is the shape
        r = math.exp(min(2.0 * d, 600.0)) / a
        g, bulk, more = r / (1.0 + r), 0.5 * a * math.log1p(r), a + 1.0
        h = more * g / (1.0 + r)
        return (
            level + d - bulk * more / a,
            first - bulk + 0.5 * more * g,
            more * g - 1.0,
            second - bulk + a * g - 0.5 * h,
            a * g - h,
            -2.0 * h,
        )
    x = p * d - c
    z = math.exp(x)
    q, e = by_p * x, by_a * a
    return (
        level + a * x - z,
        first + e * x + (a - z) * q,
        p * (z - a),
        second + by_a * e * x + (2.0 * e - z * q + (a - z) * by_p) * q,
        p * (by_p * (z - a) + z * q - e),
        -p * p * z,
    )


def density(family: Family, magnitude: ArrayLike, shape: float, scale: float) -> Array:
    """Density of ln|w| by a family, its shape and scale as `weibnb.rank_families` gives them.

    Examples
    --------
    >>> density("weibull", [1.0], 2.0, 1.0).round(4).tolist()
    [0.7358]
    """
    check_choice("family", family, FAMILIES)
    code = FAMILIES.index(family)
    terms = density_terms(code, 0.0 if family == "half_normal" else math.log(shape))
    d = np.log(np.asarray(magnitude, float) / scale)
    return np.exp([log_density(code, terms, each)[0] for each in d])


@compiled
def starts(edges: Any, share: Any) -> Any:
    """First guess of v and u of every family, from the moments of grouped weights."""
    mean, median, below = 0.0, edges[0], 0.0
    for j in range(share.size):
        mean += share[j] * 0.5 * (edges[j] + edges[j + 1])
        if below < 0.5 <= below + share[j]:
            median = edges[j] + (0.5 - below) / share[j] * (edges[j + 1] - edges[j])
        below += share[j]
    variance, first, middle, second = 0.0, 0.0, 0.0, 0.0
    for j in range(share.size):
        if share[j] > 0.0:
            d = 0.5 * (edges[j] + edges[j + 1]) - mean
            variance += share[j] * d * d
            e = math.exp(min(d, 340.0))
            first += share[j] * e
            middle += share[j] * e * math.sqrt(e)
            second += share[j] * e * e
    deviation = max(math.sqrt(variance), 1e-3)
    gap = max(math.log(first), 1e-6)
    shape = math.log((3 - gap + math.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap))
    k = math.pi / math.sqrt(6) / deviation
    out = np.empty((6, 2))
    out[WEIBULL, 0], out[WEIBULL, 1] = math.log(k), mean + np.euler_gamma / k
    out[HALF_NORMAL, 0], out[HALF_NORMAL, 1] = 0.0, mean + 0.5 * math.log(second)
    out[LOGNORMAL, 0], out[LOGNORMAL, 1] = math.log(deviation), mean
    out[GAMMA, 0], out[GAMMA, 1] = shape, mean + gap - shape
    scale = mean + math.log(1.5 * middle) / 1.5
    out[GENERALISED_GAUSSIAN, 0], out[GENERALISED_GAUSSIAN, 1] = math.log(1.5), scale
    out[STUDENT_T, 0], out[STUDENT_T, 1] = math.log(5.0), median - math.log(0.7266868438)
    return out


@compiled
def digamma(x: float) -> tuple[float, float]:
    """Digamma and trigamma for x > 0: recurrence up to 8, then their asymptotic series."""
    first, second = 0.0, 0.0
    while x < 8.0:
        first -= 1.0 / x
        second += 1.0 / (x * x)
        x += 1.0
    s = 1.0 / (x * x)
    series = s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132)))))
    slope = s * (1 / 6 - s * (1 / 30 - s * (1 / 42 - s * (1 / 30 - s * (5 / 66)))))
    return first + math.log(x) - 0.5 / x - series, second + 1.0 / x + 0.5 * s + slope / x


@compiled
def _exponential_tails(log_z: float) -> tuple[float, float]:
    """Logarithms of 1 - exp(-z) and exp(-z)."""
    z = math.exp(log_z)
    return (math.log(-math.expm1(-z)) if z > 1e-290 else log_z), -z


@compiled
def _error_tails(log_z: float) -> tuple[float, float]:
    """Logarithms of erf and erfc of the square root of z < 600."""
    if log_z < -600.0:
        return 0.5 * (log_z + math.log(4.0 / math.pi)), 0.0
    root = math.exp(0.5 * log_z)
    body = math.erf(root)
    if root < 0.4:
        return math.log(body), math.log1p(-body)
    tail = math.erfc(root)
    return (math.log1p(-tail) if root > 1.0 else math.log(body)), math.log(tail)


@compiled
def _gamma_tails(a: float, log_gamma: float, log_z: float) -> tuple[float, float]:
    """Logarithms of the regularised incomplete gamma functions P(a, z) and Q(a, z).

    `log_gamma` is that of a. Power series up to a + 1 (and to 5 where Q keeps its digits there),
    continued fraction (modified Lentz) above: DLMF 8.7.1 and 8.9.2.
    """
    if log_z == -np.inf:
        return -np.inf, 0.0
    if log_z > 690.0:
        return 0.0, -np.inf
    if a == 1.0:
        return _exponential_tails(log_z)
    if a == 0.5 and log_z < 6.39:
        return _error_tails(log_z)
    z = math.exp(log_z)
    front = a * log_z - z - log_gamma
    if z < a + 1.0 or (z < 5.0 and a > 0.2):
        term = 1.0 / a
        total = term
        for i in range(1, 2000):
            term *= z / (a + i)
            total += term
            if term < total * 1e-16:
                break
        p = min(front + math.log(total), -1e-17)
        return p, math.log(-math.expm1(p))
    b = z + 1.0 - a
    c, d = 1e300, 1.0 / b
    fraction = d
    for i in range(1, 2000):
        step = -i * (i - a)
        b += 2.0
        d = 1.0 / (step * d + b)
        c = b + step / c
        fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    q = front + math.log(fraction)
    return math.log1p(-math.exp(q)), q


@compiled
def _normal_tails(z: float) -> tuple[float, float]:
    """Logarithms of the normal distribution and survival functions."""
    if z == 0.0:
        return -_LN_2, -_LN_2
    log_z = 2.0 * math.log(abs(z)) - _LN_2
    tail = _gamma_tails(0.5, 0.5 * math.log(math.pi), log_z)[1] - _LN_2
    body = math.log1p(-math.exp(tail))
    return (body, tail) if z > 0 else (tail, body)


@compiled
def _t_front(df: float) -> float:
    """Logarithm of 1 / B(df/2, 1/2)."""
    a = 0.5 * df
    if a < 20.0:
        return math.lgamma(a + 0.5) - math.lgamma(a) - math.lgamma(0.5)
    s = 1.0 / (a * a)  # the difference of large logarithms would lose digits: DLMF 5.11.13
    series = (1 / 8 - s * (1 / 192 - s * (1 / 640 - s * (17 / 14336)))) / a
    return 0.5 * math.log(a / math.pi) - series


@compiled
def _t_tails(df: float, front: float, log_x: float) -> tuple[float, float]:
    """Logarithms of P(|T| <= x) and P(|T| > x) for Student's t; `front` is `_t_front(df)`."""
    if log_x == -np.inf:
        return -np.inf, 0.0
    if log_x == np.inf:
        return 0.0, -np.inf
    a, b = 0.5 * df, 0.5
    ratio = 2.0 * log_x - math.log(df)  # ln(x^2 / df)
    if ratio > 0:
        log_rest = -math.log1p(math.exp(-ratio))
        log_y = log_rest - ratio
    else:
        log_y = -math.log1p(math.exp(ratio))
        log_rest = ratio + log_y
    front += a * log_y + b * log_rest
    y = math.exp(log_y)
    if y < (a + 1.0) / (a + b + 2.0):
        q = front + math.log(_beta_fraction(a, b, y) / a)
        return math.log1p(-math.exp(min(q, -1e-17))), q
    p = front + math.log(_beta_fraction(b, a, math.exp(log_rest)) / b)
    return p, math.log1p(-math.exp(min(p, -1e-17)))


@compiled
def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (modified Lentz), DLMF 8.17.22."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, 2000):
        even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        d = 1.0 / (1.0 + even * d)
        c = 1.0 + even / c
        fraction *= c * d
        odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        d = 1.0 / (1.0 + odd * d)
        c = 1.0 + odd / c
        fraction *= c * d
        if abs(c * d - 1.0) < 1e-15:
            break
    return fraction
