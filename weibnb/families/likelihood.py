"""Fit of a family to grouped weights: three grades of the likelihood, one climb to its maximum.

In all functions v is the logarithm of the shape and u that of the scale; a likelihood is a
logarithm per weight, given that no weight lies below `floor` (ln|w|).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.families.distributions import (
    HALF_NORMAL,
    SHAPE_BOUNDS,
    density_terms,
    log_density,
    log_masses,
    log_survival,
    tails_at,
)

# How the mass of a group is taken: as the density at its middle, by quadrature, or exactly from
# the tails, with derivatives by finite differences.
MIDDLE, QUADRATURE, EXACT = range(3)
# Groups with weights below which the density has no say, and only the exact masses are used.
_FEW = 8
# Difference of the quadrature's likelihood from the exact one above which it is not trusted.
_TRUST = 1e-6
# Difference of two likelihoods that means nothing.
_NOISE = 1e-10
# Step of the finite differences in v and u.
_STEP = 1e-3
_TINY = 1e-300
_NODE = math.sqrt(0.6)


@compiled
def exact_likelihood(
    family: int | np.int64, v: float, u: float, edges: Any, share: Any, floor: float
) -> tuple[float, Any]:
    """Likelihood from exact masses, and the tails at the edges."""
    tails = tails_at(family, v, u, edges)
    masses = log_masses(tails)
    level = -log_survival(family, v, u, floor)
    for j in range(share.size):
        if share[j] > 0.0:
            level += share[j] * masses[j]
    return level, tails


@compiled
def fit_family(
    family: int | np.int64, v: float, u: float, edges: Any, share: Any, floor: float, n: float
) -> tuple[float, float, float, bool, Any]:
    """Maximise the likelihood of n weights from v and u; both, its level, success, the tails.

    Quadrature finds the maximum in few steps. The exact likelihood holds it to account, and is
    climbed itself where the two differ.
    """
    closed = 0
    for j in range(share.size):
        closed += share[j] > 0.0 and math.isfinite(edges[j + 1] - edges[j])
    a, b, level, found = v, u, np.nan, closed >= _FEW
    if found:
        a, b, level, found = climb(family, a, b, edges, share, floor, np.int64(MIDDLE), 1e-6)
    if found:
        least = min(1e-8, 1e-5 / n)
        a, b, level, found = climb(family, a, b, edges, share, floor, np.int64(QUADRATURE), least)
    if found:
        exact, tails = exact_likelihood(family, a, b, edges, share, floor)
        if abs(exact - level) < _TRUST:
            return a, b, exact, True, tails
    if not math.isfinite(a + b):
        a, b = v, u
    a, b, level, found = climb(family, a, b, edges, share, floor, np.int64(EXACT), 1e-13)
    level, tails = exact_likelihood(family, a, b, edges, share, floor)
    return a, b, level, found, tails


@compiled
def climb(
    family: int | np.int64,
    v: float,
    u: float,
    edges: Any,
    share: Any,
    floor: float,
    grade: int | np.int64,
    least: float,
) -> tuple[float, float, float, bool]:
    """Newton's method until a step gains less than `least`; v, u, likelihood and success.

    Where the likelihood falls the step is damped, as by Levenberg and Marquardt, until it rises.
    """
    here, there = np.empty(6), np.empty(6)
    v = min(max(v, SHAPE_BOUNDS[family, 0]), SHAPE_BOUNDS[family, 1])
    _evaluate(family, v, u, edges, share, floor, grade, here)
    damp, gain = 0.0, np.inf
    for _ in range(100):
        step_v, step_u, gain = _step(family, v, here, damp)
        if not math.isfinite(here.sum() + gain):
            break
        if gain < least or max(abs(step_v), abs(step_u)) < 1e-7:
            return v + step_v, u + step_u, here[0] + 0.5 * gain, True
        _evaluate(family, v + step_v, u + step_u, edges, share, floor, grade, there)
        rise = there[0] - here[0]
        if not (math.isfinite(there.sum()) and rise >= -_NOISE):
            damp = max(4.0 * damp, 1e-3)
            continue
        v, u, damp = v + step_v, u + step_u, 0.1 * damp if damp > 1e-6 else 0.0
        here, there = there, here
        if rise <= _NOISE:
            return v, u, here[0], True
    # few bins make a ridge, which finite differences follow slowly for next to no gain
    return v, u, here[0], grade == EXACT and gain < _TRUST


@compiled
def shape_error(
    family: int | np.int64, v: float, u: float, edges: Any, share: Any, floor: float, n: float
) -> float:
    """Give the standard error of the shape at the maximum, by the sandwich formula H⁻¹ J H⁻¹ / n.

    J is the variance of the score of a group, so the family need not be the true one. NaN for a
    shape on its bound.
    """
    if family == HALF_NORMAL or not SHAPE_BOUNDS[family, 0] < v < SHAPE_BOUNDS[family, 1]:
        return np.nan
    d, one = np.empty(6), np.empty(6)
    _evaluate(family, v, u, edges, share, floor, np.int64(QUADRATURE), d)
    terms = density_terms(family, v)
    e_v, e_u, e_vv, e_uv, e_uu = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(share.size):
        part, half = share[j], 0.5 * (edges[j + 1] - edges[j])
        if part == 0.0:
            continue
        if math.isfinite(half):
            _, s_v, s_u, _, _, _ = _mass(family, terms, edges[j] + half - u, half)
        else:
            one[:] = 0.0
            _add_exact(family, v, u, edges[j : j + 2], share[j : j + 1], -np.inf, one)
            s_v, s_u = one[1] / part, one[2] / part
        e_v += part * s_v
        e_u += part * s_u
        e_vv += part * s_v * s_v
        e_uv += part * s_v * s_u
        e_uu += part * s_u * s_u
    j_vv, j_uv, j_uu = e_vv - e_v * e_v, e_uv - e_v * e_u, e_uu - e_u * e_u
    determinant = d[3] * d[5] - d[4] * d[4]
    if not determinant > 0.0:
        return np.nan
    by_v, by_u = d[5] / determinant, -d[4] / determinant
    variance = by_v * by_v * j_vv + 2.0 * by_v * by_u * j_uv + by_u * by_u * j_uu
    return math.exp(v) * math.sqrt(max(variance, 0.0) / n)


@compiled
def _step(family: int | np.int64, v: float, d: Any, damp: float) -> tuple[float, float, float]:
    """Newton's step in v and u, made to climb and at most 1.5 long, and twice what it gains."""
    g_v, g_u, a, h_uv, b = d[1], d[2], d[3] - damp, d[4], d[5] - damp
    bottom, top = SHAPE_BOUNDS[family]
    if family == HALF_NORMAL or (v <= bottom and g_v < 0) or (v >= top and g_v > 0):
        step_v, step_u = 0.0, g_u / max(-b, 0.02)
    else:
        highest = 0.5 * (a + b) + math.sqrt(0.25 * (a - b) ** 2 + h_uv * h_uv)
        determinant = a * b - h_uv * h_uv
        if not (a < 0.0 and determinant > 0.0):
            a, b = a - highest - 0.02, b - highest - 0.02
            determinant = a * b - h_uv * h_uv
        step_v = -(b * g_v - h_uv * g_u) / determinant
        step_u = -(a * g_u - h_uv * g_v) / determinant
    gain = g_v * step_v + g_u * step_u
    shrink = min(1.0, 1.5 / max(abs(step_v), abs(step_u), _TINY))
    step_v = min(max(v + shrink * step_v, bottom), top) - v if step_v != 0.0 else 0.0
    return step_v, shrink * step_u, gain


@compiled
def _evaluate(
    family: int | np.int64,
    v: float,
    u: float,
    edges: Any,
    share: Any,
    floor: float,
    grade: int | np.int64,
    out: Any,
) -> None:
    """Likelihood and its derivatives by v, u, vv, uv, uu; open groups are always taken exactly."""
    if grade == EXACT:
        out[:] = 0.0
        _add_exact(family, v, u, edges, share, floor, out)
        return
    terms, last = density_terms(family, v), share.size - 1
    f, g_v, g_u, h_vv, h_uv, h_uu = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(share.size):
        part, half = share[j], 0.5 * (edges[j + 1] - edges[j])
        if part == 0.0 or not math.isfinite(half):
            continue
        d = edges[j] + half - u
        if grade == QUADRATURE:
            one = _mass(family, terms, d, half)
        else:
            one = log_density(family, terms, d)
        f += part * one[0]
        g_v += part * one[1]
        g_u += part * one[2]
        h_vv += part * one[3]
        h_uv += part * one[4]
        h_uu += part * one[5]
    out[0], out[1], out[2], out[3], out[4], out[5] = f, g_v, g_u, h_vv, h_uv, h_uu
    bottom = log_survival(family, v, u, floor)
    if bottom > -1e-8:
        out[0] -= bottom
    else:
        _add_exact(family, v, u, edges[:0], share[:0], floor, out)
    if edges[0] == -np.inf:
        _add_exact(family, v, u, edges[:2], share[:1], -np.inf, out)
    if edges[-1] == np.inf:
        _add_exact(family, v, u, edges[last:], share[last:], -np.inf, out)


@compiled
def _add_exact(
    family: int | np.int64, v: float, u: float, edges: Any, share: Any, floor: float, out: Any
) -> None:
    """Add the exact likelihood of groups, and its derivatives by finite differences."""
    h = _STEP
    here = exact_likelihood(family, v, u, edges, share, floor)[0]
    out[0] += here
    up = exact_likelihood(family, v, u + h, edges, share, floor)[0]
    down = exact_likelihood(family, v, u - h, edges, share, floor)[0]
    out[2] += (up - down) / (2 * h)
    out[5] += (up - 2 * here + down) / h**2
    if family == HALF_NORMAL:
        return
    more = exact_likelihood(family, v + h, u, edges, share, floor)[0]
    less = exact_likelihood(family, v - h, u, edges, share, floor)[0]
    both = exact_likelihood(family, v + h, u + h, edges, share, floor)[0]
    neither = exact_likelihood(family, v - h, u - h, edges, share, floor)[0]
    out[1] += (more - less) / (2 * h)
    out[3] += (more - 2 * here + less) / h**2
    out[4] += (both - more - up + 2 * here - less - down + neither) / (2 * h**2)


@compiled
def _mass(
    family: int | np.int64, terms: Any, middle: float, half: float
) -> tuple[float, float, float, float, float, float]:
    """Logarithm of a group's mass and its derivatives: Gauss-Legendre with three points."""
    f0, v0, u0, vv0, uv0, uu0 = log_density(family, terms, middle - _NODE * half)
    f1, v1, u1, vv1, uv1, uu1 = log_density(family, terms, middle)
    f2, v2, u2, vv2, uv2, uu2 = log_density(family, terms, middle + _NODE * half)
    if abs(f2 - f0) > 2.5:
        return _steep_mass(family, terms, middle, half, f2 - f0)
    e0, e2 = 5.0 * math.exp(f0 - f1), 5.0 * math.exp(f2 - f1)
    total = e0 + 8.0 + e2
    norm = 1.0 / total
    e0, e1, e2 = e0 * norm, 8.0 * norm, e2 * norm
    v, u = e0 * v0 + e1 * v1 + e2 * v2, e0 * u0 + e1 * u1 + e2 * u2
    return (
        f1 + math.log(total * half / 9.0),
        v,
        u,
        e0 * (vv0 + v0 * v0) + e1 * (vv1 + v1 * v1) + e2 * (vv2 + v2 * v2) - v * v,
        e0 * (uv0 + v0 * u0) + e1 * (uv1 + v1 * u1) + e2 * (uv2 + v2 * u2) - v * u,
        e0 * (uu0 + u0 * u0) + e1 * (uu1 + u1 * u1) + e2 * (uu2 + u2 * u2) - u * u,
    )


@compiled
def _steep_mass(
    family: int | np.int64, terms: Any, middle: float, half: float, fall: float
) -> tuple[float, float, float, float, float, float]:
    """Give the same where the density falls by e^`fall`: up to 64 panels, the densest first."""
    panels = min(64, int(abs(fall)) + 2)
    inward = math.copysign(2.0 * half / panels, -fall)
    top, total = -np.inf, 0.0
    s_v, s_u, s_vv, s_uv, s_uu = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(panels):
        centre = middle + inward * (i + 0.5 - 0.5 * panels)
        for node in range(-1, 2):
            f, v, u, vv, uv, uu = log_density(family, terms, centre + 0.5 * node * _NODE * inward)
            if i == 0 and node == -1:
                top = f
            e = math.exp(min(f - top, 600.0)) * (8.0 if node == 0 else 5.0)
            total += e
            s_v += e * v
            s_u += e * u
            s_vv += e * (vv + v * v)
            s_uv += e * (uv + v * u)
            s_uu += e * (uu + u * u)
            if f < top - 40.0:
                break
    v, u = s_v / total, s_u / total
    mass = top + math.log(total / 18.0 * 2.0 * half / panels)
    return mass, v, u, s_vv / total - v * v, s_uv / total - v * u, s_uu / total - u * u
