"""Compiled distributions of |w|: tails as logarithms, masses of bins, exact likelihoods."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

WEIBULL, HALF_NORMAL, LOGNORMAL, GAMMA, GENERALISED_GAUSSIAN, STUDENT_T = range(6)
# Bounds of the logarithm of each family's shape.
SHAPE_BOUNDS = np.log(
    np.array([(0.02, 200), (1, 2), (1e-3, 100), (0.02, 1e4), (0.05, 100), (0.1, 1e4)], np.float64)
)
# Step of the finite differences in ln shape and ln scale.
_STEP = 1e-3
# A step that promises less log-likelihood a weight ends the search.
_GAIN = 1e-13
_TINY = 1e-300
_LN_2 = math.log(2)


@numba.njit(nogil=True, cache=True)
def _exponential_tails(log_z: float) -> tuple[float, float]:
    """Logarithms of 1 - exp(-z) and exp(-z)."""
    z = math.exp(log_z)
    return (math.log(-math.expm1(-z)) if z > 1e-290 else log_z), -z


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def gamma_tails(a: float, log_gamma: float, log_z: float) -> tuple[float, float]:
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


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def t_front(df: float) -> float:
    """Logarithm of 1 / B(df/2, 1/2)."""
    return math.lgamma(0.5 * df + 0.5) - math.lgamma(0.5 * df) - math.lgamma(0.5)


@numba.njit(nogil=True, cache=True)
def t_tails(df: float, front: float, log_x: float) -> tuple[float, float]:
    """Logarithms of P(|T| <= x) and P(|T| > x) for Student's t; `front` is `t_front(df)`."""
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


@numba.njit(nogil=True, cache=True)
def _normal_tails(z: float) -> tuple[float, float]:
    """Logarithms of the normal distribution and survival functions."""
    if z == 0.0:
        return -_LN_2, -_LN_2
    log_z = 2.0 * math.log(abs(z)) - _LN_2
    tail = gamma_tails(0.5, 0.5 * math.log(math.pi), log_z)[1] - _LN_2
    body = math.log1p(-math.exp(tail))
    return (body, tail) if z > 0 else (tail, body)


@numba.njit(nogil=True, cache=True)
def constant(family: int, shape: float) -> float:
    """Compute once what `tails` needs of a shape."""
    if family == STUDENT_T:
        return t_front(shape)
    if family == HALF_NORMAL:
        return 0.5 * math.log(math.pi)
    if family == GAMMA:
        return math.lgamma(shape)
    return math.lgamma(1.0 / shape) if family == GENERALISED_GAUSSIAN else 0.0


@numba.njit(nogil=True, cache=True)
def tails(family: int, shape: float, known: float, d: float) -> tuple[float, float]:
    """Logarithms of P(|w| <= x) and P(|w| > x), d = ln x - ln scale; `known` is `constant`."""
    if family == WEIBULL:
        return gamma_tails(1.0, 0.0, shape * d)
    if family == HALF_NORMAL:
        return gamma_tails(0.5, known, 2.0 * d - _LN_2)
    if family == GAMMA:
        return gamma_tails(shape, known, d)
    if family == GENERALISED_GAUSSIAN:
        return gamma_tails(1.0 / shape, known, shape * d)
    if family == STUDENT_T:
        return t_tails(shape, known, d)
    return _normal_tails(d / shape)


@numba.njit(nogil=True, cache=True)
def log_tails(family: int, log_shape: float, log_scale: float, log_x: float) -> tuple[float, float]:
    """Logarithms of P(|w| <= x) and P(|w| > x)."""
    shape = math.exp(log_shape)
    return tails(family, shape, constant(family, shape), log_x - log_scale)


@numba.njit(nogil=True, cache=True)
def fill_tails(family: int, log_shape: float, log_scale: float, edges: Any, p: Any, q: Any) -> None:
    """Logarithms of both tails at all edges (ln|w|)."""
    shape = math.exp(log_shape)
    known = constant(family, shape)
    for j in range(edges.size):
        p[j], q[j] = tails(family, shape, known, edges[j] - log_scale)


@numba.njit(nogil=True, cache=True)
def log_difference(p0: float, q0: float, p1: float, q1: float) -> float:
    """Logarithm of the mass between two points, from the side on which they are small."""
    below = p1 < -_LN_2
    far, near = (p1, p0) if below else (q0, q1)
    if near == -np.inf:
        return far
    if far <= near:
        return -np.inf
    return far + math.log(-math.expm1(near - far))


@numba.njit(nogil=True, cache=True)
def log_masses(family: int, log_shape: float, log_scale: float, edges: Any) -> Any:
    """Logarithm of the mass between each pair of neighbouring edges (ln|w|)."""
    out, p, q = np.empty(edges.size - 1), np.empty(edges.size), np.empty(edges.size)
    fill_tails(family, log_shape, log_scale, edges, p, q)
    for j in range(out.size):
        out[j] = log_difference(p[j], q[j], p[j + 1], q[j + 1])
    return out


@numba.njit(nogil=True, cache=True)
def mean_log_likelihood(
    family: int, log_shape: float, log_scale: float, edges: Any, share: Any, floor: float
) -> float:
    """Log-likelihood of grouped weights, per weight, given that none lies below `floor` (ln|w|)."""
    shape = math.exp(log_shape)
    known = constant(family, shape)
    total = -tails(family, shape, known, floor - log_scale)[1]
    fresh, p0, q0 = True, 0.0, 0.0
    for j in range(share.size):
        if share[j] == 0.0:
            fresh = True
            continue
        if fresh:
            p0, q0 = tails(family, shape, known, edges[j] - log_scale)
        p1, q1 = tails(family, shape, known, edges[j + 1] - log_scale)
        total += share[j] * log_difference(p0, q0, p1, q1)
        fresh, p0, q0 = False, p1, q1
    return total


@numba.njit(nogil=True, cache=True)
def maximise(
    family: int, v: float, u: float, edges: Any, share: Any, floor: float
) -> tuple[float, float, float, bool]:
    """Maximise over ln shape `v` and ln scale `u`; return both, the maximum, and whether it is one.

    Newton's method with central differences, damped until the likelihood rises. A half-normal has
    no shape. At a bound of the shape only the scale moves.
    """
    h, damp = _STEP, 0.0
    bottom, top = SHAPE_BOUNDS[family]
    v = min(max(v, bottom), top)
    here = mean_log_likelihood(family, v, u, edges, share, floor)
    for _ in range(80):
        up = mean_log_likelihood(family, v, u + h, edges, share, floor)
        down = mean_log_likelihood(family, v, u - h, edges, share, floor)
        g_u, h_uu = (up - down) / (2 * h), (up - 2 * here + down) / h**2
        g_v, h_vv, h_uv = 0.0, -1.0, 0.0
        if family != HALF_NORMAL:
            right = mean_log_likelihood(family, v + h, u, edges, share, floor)
            left = mean_log_likelihood(family, v - h, u, edges, share, floor)
            both = mean_log_likelihood(family, v + h, u + h, edges, share, floor)
            neither = mean_log_likelihood(family, v - h, u - h, edges, share, floor)
            g_v, h_vv = (right - left) / (2 * h), (right - 2 * here + left) / h**2
            h_uv = (both - right - up + 2 * here - left - down + neither) / (2 * h**2)
            if (v <= bottom and g_v < 0) or (v >= top and g_v > 0):
                g_v, h_vv, h_uv = 0.0, -1.0, 0.0
        if not (math.isfinite(g_u) and math.isfinite(h_uu) and math.isfinite(h_uv)):
            return v, u, here, False
        rose, gain = False, 1.0
        for _ in range(30):
            a, b = h_vv - damp, h_uu - damp
            determinant = a * b - h_uv * h_uv
            if a < 0 and determinant > 0:
                step_v = -(b * g_v - h_uv * g_u) / determinant
                step_u = -(a * g_u - h_uv * g_v) / determinant
                gain = g_v * step_v + g_u * step_u
                shrink = min(1.0, 1.5 / max(abs(step_v), abs(step_u), _TINY))
                new_v = min(max(v + shrink * step_v, bottom), top)
                new_u = u + shrink * step_u
                there = mean_log_likelihood(family, new_v, new_u, edges, share, floor)
                if there >= here - 1e-13:
                    rose = True
                    break
            damp = max(4.0 * damp, 1e-3)
        if not rose:
            return v, u, here, False
        moved = max(abs(new_v - v), abs(new_u - u))
        v, u, here = new_v, new_u, max(there, here)
        damp = 0.1 * damp if damp > 1e-6 else 0.0
        if moved < 1e-7 or gain < _GAIN:
            return v, u, here, True
    return v, u, here, False
