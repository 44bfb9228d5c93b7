"""Compiled loops behind `rank_families`: groups, likelihoods and their maxima, row by row."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from weibnb.families.distributions import (
    GAMMA,
    GENERALISED_GAUSSIAN,
    HALF_NORMAL,
    LOGNORMAL,
    SHAPE_BOUNDS,
    STUDENT_T,
    WEIBULL,
    fill_tails,
    log_difference,
    log_tails,
    maximise,
)

# Columns of the result of `rank_rows`.
LOG_SHAPE, LOG_SCALE, LIKELIHOOD, DIVERGENCE, KS = range(5)
# A group holds about this share of the weights, or this share of those beyond it (below the
# median) or from it on (above); it is an octave wide at most below the first decile, and an
# eighth above.
_GROUP_SHARE, _TAIL_SHARE, _LEAST_SHARE = 0.025, 0.25, 3e-4
_WIDE, _NARROW = 2.0, 2.0**0.125
# The largest values, each in a group by itself.
_SINGLE = 8
# Groups with weights below which the density has no say, and the slow search starts at once.
_FEW = 8
# Difference of the quadrature's likelihood from the exact one above which it is not trusted.
_TRUST = 1e-6
_TINY = 1e-300
_NODE = math.sqrt(0.6)
_HALF_LN_2_PI = 0.5 * math.log(2 * math.pi)
_STEP = 1e-3


@numba.njit(nogil=True, cache=True)
def merge(low: Any, high: Any, counts: Any, edges: Any, mass: Any) -> int:
    """Merge bins [low, high) into groups; fill in edges (ln|w|) and masses, return their number.

    Between two neighbouring edges lies a group, or an empty gap that no weight fell into.
    """
    bins, total = counts.size, counts.sum()
    size, seen, end = 0, 0.0, low[0]
    edges[0], mass[0] = max(low[0], _TINY), 0.0
    for i in range(bins):
        held, width = mass[size], _WIDE if seen < 0.1 * total else _NARROW
        outside = min(seen - held, total - seen + held)
        enough = min(_GROUP_SHARE * total, _TAIL_SHARE * outside + _LEAST_SHARE * total)
        single = i >= bins - _SINGLE
        if held > 0.0 and (
            single
            or held >= enough
            or held + counts[i] > 1.5 * _GROUP_SHARE * total
            or high[i] > edges[size] * width * (1.0 + 1e-9)
        ):
            gap = low[i] / end
            size += 1
            edges[size] = end
            if gap > _NARROW or (gap > 1.0 + 1e-9 and single):
                mass[size] = 0.0
                size += 1
                edges[size] = low[i]
            elif gap > 1.0 + 1e-9:
                edges[size] = low[i]
            mass[size] = 0.0
        mass[size] += counts[i]
        seen += counts[i]
        end = high[i]
    size += 1
    edges[size] = end
    for j in range(size + 1):
        edges[j] = math.log(edges[j])
    return size


@numba.njit(nogil=True, cache=True)
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
    return (
        first + math.log(x) - 0.5 / x - series,
        second + 1.0 / x + 0.5 * s + slope / x,
    )


@numba.njit(nogil=True, cache=True)
def _constants(family: int, v: float) -> tuple[float, float, float, float]:
    """Shape, and what the log density adds to the terms in x: value, two derivatives by v."""
    k = math.exp(v)
    if family == WEIBULL:
        return k, v, 1.0, 0.0
    if family == HALF_NORMAL:
        return 1.0, math.log(2.0) - _HALF_LN_2_PI, 0.0, 0.0
    if family == LOGNORMAL:
        return 1.0 / k, -v - _HALF_LN_2_PI, -1.0, 0.0
    if family == GAMMA:
        first, second = digamma(k)
        return k, -math.lgamma(k), -k * first, -k * first - k * k * second
    if family == GENERALISED_GAUSSIAN:
        b = 1.0 / k
        first, second = digamma(b)
        return k, v - math.lgamma(b), 1.0 + b * first, -b * first - b * b * second
    a = 0.5 * k
    high, high_slope = digamma(a + 0.5)
    low, low_slope = digamma(a)
    front = math.lgamma(a + 0.5) - math.lgamma(a) - 0.5 * math.log(math.pi * k)
    first = a * (high - low)
    return k, math.log(2.0) + front, first - 0.5, first + a * a * (high_slope - low_slope)


@numba.njit(nogil=True, cache=True)
def _point(
    family: int, c: tuple[float, float, float, float], d: float
) -> tuple[float, float, float, float, float, float]:
    """Log density of ln|w| at ln scale + d, and its derivatives by (v, u, vv, uv, uu).

    v is the logarithm of the shape and u that of the scale; c comes from `_constants`.
    """
    k = c[0]
    if family == WEIBULL:
        q = k * d
        z = math.exp(q)
        s = k * (z - 1.0)
        return c[1] + q - z, 1.0 + q - z * q, s, q - z * q * (1.0 + q), s + k * z * q, -k * k * z
    if family == HALF_NORMAL:
        z = math.exp(2.0 * d)
        return c[1] + d - 0.5 * z, 0.0, z - 1.0, 0.0, 0.0, -2.0 * z
    if family == LOGNORMAL:
        t = k * d
        return c[1] - 0.5 * t * t, t * t - 1.0, t * k, -2.0 * t * t, -2.0 * t * k, -k * k
    if family == GAMMA:
        z, q = math.exp(d), k * d
        return c[1] + q - z, c[2] + q, z - k, c[3] + q, -k, -z
    if family == GENERALISED_GAUSSIAN:
        q = k * d
        z = math.exp(q)
        s = z * (1.0 + q)
        return c[1] + d - z, c[2] - z * q, k * z - 1.0, c[3] - s * q, k * s, -k * k * z
    r = math.exp(min(2.0 * d, 600.0)) / k
    g, bulk, more = r / (1.0 + r), 0.5 * k * math.log1p(r), k + 1.0
    h = more * g / (1.0 + r)
    return (
        c[1] + d - bulk * more / k,
        c[2] - bulk + 0.5 * more * g,
        more * g - 1.0,
        c[3] - bulk + k * g - 0.5 * h,
        k * g - h,
        -2.0 * h,
    )


@numba.njit(nogil=True, cache=True)
def _steep(
    family: int, c: tuple[float, float, float, float], middle: float, half: float, fall: float
) -> tuple[float, float, float, float, float, float]:
    """Logarithm of a group's mass and its derivatives where the density falls by e^`fall`.

    Gauss-Legendre with three points in up to 64 panels, from the denser end inwards.
    """
    panels = min(64, int(abs(fall)) + 2)
    inward = math.copysign(2.0 * half / panels, -fall)
    top, total = -np.inf, 0.0
    s_v, s_u, s_vv, s_uv, s_uu = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(panels):
        centre = middle + inward * (i + 0.5 - 0.5 * panels)
        for node in range(-1, 2):
            f, v, u, vv, uv, uu = _point(family, c, centre + 0.5 * node * _NODE * inward)
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


@numba.njit(nogil=True, cache=True)
def _mass(
    family: int, c: tuple[float, float, float, float], middle: float, half: float
) -> tuple[float, float, float, float, float, float]:
    """Logarithm of a group's mass and its derivatives: Gauss-Legendre with three points."""
    f0, v0, u0, vv0, uv0, uu0 = _point(family, c, middle - _NODE * half)
    f1, v1, u1, vv1, uv1, uu1 = _point(family, c, middle)
    f2, v2, u2, vv2, uv2, uu2 = _point(family, c, middle + _NODE * half)
    if abs(f2 - f0) > 2.5:
        return _steep(family, c, middle, half, f2 - f0)
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


@numba.njit(nogil=True, cache=True)
def _end(family: int, v: float, u: float, side: int, log_x: float, weight: float, out: Any) -> None:
    """Add the logarithm of a tail beyond an edge, and its derivatives by finite differences."""
    h = _STEP
    here = log_tails(family, v, u, log_x)[side]
    out[0] += weight * here
    if abs(here) < 1e-8:
        return
    up, down = log_tails(family, v, u + h, log_x)[side], log_tails(family, v, u - h, log_x)[side]
    out[2] += weight * (up - down) / (2 * h)
    out[5] += weight * (up - 2 * here + down) / h**2
    if family == HALF_NORMAL:
        return
    more, less = log_tails(family, v + h, u, log_x)[side], log_tails(family, v - h, u, log_x)[side]
    both = log_tails(family, v + h, u + h, log_x)[side]
    neither = log_tails(family, v - h, u - h, log_x)[side]
    out[1] += weight * (more - less) / (2 * h)
    out[3] += weight * (more - 2 * here + less) / h**2
    out[4] += weight * (both - more - up + 2 * here - less - down + neither) / (2 * h**2)


@numba.njit(nogil=True, cache=True)
def _evaluate(family: int, v: float, u: float, groups: Any, ends: Any, fine: int, out: Any) -> None:
    """Log-likelihood a weight and its derivatives by v, u, vv, uv, uu.

    `groups` holds middle, half width and share; unless `fine`, the density at the middle stands
    for the group. `ends` holds side, edge and weight of tails.
    """
    c = _constants(family, v)
    f, g_v, g_u, h_vv, h_uv, h_uu = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(groups.shape[1]):
        d, share = groups[0, j] - u, groups[2, j]
        one = _mass(family, c, d, groups[1, j]) if fine else _point(family, c, d)
        f += share * one[0]
        g_v += share * one[1]
        g_u += share * one[2]
        h_vv += share * one[3]
        h_uv += share * one[4]
        h_uu += share * one[5]
    out[0], out[1], out[2], out[3], out[4], out[5] = f, g_v, g_u, h_vv, h_uv, h_uu
    for i in range(ends.shape[0]):
        _end(family, v, u, int(ends[i, 0]), ends[i, 1], ends[i, 2], out)


@numba.njit(nogil=True, cache=True)
def _step(family: int, v: float, d: Any) -> tuple[float, float, float]:
    """Newton's step in v and u, made to climb and at most 1.5 long, and twice what it gains."""
    g_v, g_u, a, h_uv, b = d[1], d[2], d[3], d[4], d[5]
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


@numba.njit(nogil=True, cache=True)
def _climb(
    family: int, v: float, u: float, groups: Any, ends: Any, fine: int, least: float
) -> tuple[float, float, float, bool]:
    """Newton's method until a step gains less than `least`; v, u, likelihood and success."""
    now = np.empty(6)
    before, step_v, step_u = -np.inf, 0.0, 0.0
    for _ in range(60):
        _evaluate(family, v, u, groups, ends, fine, now)
        if not math.isfinite(now.sum()) or now[0] < before - 1e-10:
            if max(abs(step_v), abs(step_u)) < 1e-9:
                break
            step_v, step_u = 0.25 * step_v, 0.25 * step_u
            v, u = v - 3.0 * step_v, u - 3.0 * step_u
            continue
        before = now[0]
        step_v, step_u, gain = _step(family, v, now)
        v, u = v + step_v, u + step_u
        if gain < least:
            return v, u, before + 0.5 * gain, True
    return v, u, before, False


@numba.njit(nogil=True, cache=True)
def starts(edges: Any, share: Any) -> Any:
    """First guess of (ln shape, ln scale) of every family, from moments."""
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
    out[WEIBULL] = math.log(k), mean + np.euler_gamma / k
    out[HALF_NORMAL] = 0.0, mean + 0.5 * math.log(second)
    out[LOGNORMAL] = math.log(deviation), mean
    out[GAMMA] = shape, mean + gap - shape
    out[GENERALISED_GAUSSIAN] = math.log(1.5), mean + math.log(1.5 * middle) / 1.5
    out[STUDENT_T] = math.log(5.0), median - math.log(0.7266868438)
    return out


@numba.njit(nogil=True, cache=True)
def censor(edges: Any, mass: Any, trim: Any) -> tuple[Any, Any]:
    """Edges and shares with everything outside a probability interval in one open group a side."""
    total, first, last = mass.sum(), 0, mass.size
    below, left, right = 0.0, 0.0, 0.0
    if trim[0] <= 0.0 and trim[1] >= 1.0:
        return edges, mass / total
    for j in range(mass.size):
        seen = below + mass[j] / total
        if seen <= trim[0]:
            first, left = j + 1, seen
        if below >= trim[1]:
            last = min(last, j)
            right += mass[j] / total
        below = seen
    size = last - first
    out, share = np.empty(size + 3), np.empty(size + 2)
    out[0], share[0] = -np.inf, left
    out[1 : size + 2], share[1 : size + 1] = edges[first : last + 1], mass[first:last] / total
    out[size + 2], share[size + 1] = np.inf, right
    begin, end = (0 if left > 0.0 else 1), (size + 2 if right > 0.0 else size + 1)
    return out[begin : end + 1], share[begin:end]


@numba.njit(nogil=True, cache=True)
def _prepare(edges: Any, share: Any, floor: float) -> tuple[Any, Any]:
    """Prepare groups with weights and open ends (the floor among them) for `_evaluate`."""
    groups, ends = np.empty((3, share.size)), np.empty((3, 3))
    size, open_ends = 0, 0
    if floor > -np.inf:
        ends[0] = 1.0, floor, -1.0
        open_ends = 1
    for j in range(share.size):
        if share[j] == 0.0:
            continue
        if edges[j] == -np.inf or edges[j + 1] == np.inf:
            lower = edges[j] == -np.inf
            ends[open_ends] = 0.0 if lower else 1.0, edges[j + 1] if lower else edges[j], share[j]
            open_ends += 1
            continue
        groups[0, size] = 0.5 * (edges[j] + edges[j + 1])
        groups[1, size] = 0.5 * (edges[j + 1] - edges[j])
        groups[2, size] = share[j]
        size += 1
    return groups[:, :size].copy(), ends[:open_ends].copy()


@numba.njit(nogil=True, cache=True)
def _exact(share: Any, p: Any, q: Any, bottom: float) -> float:
    """Log-likelihood a weight from both tails at the edges."""
    total = -bottom
    for j in range(share.size):
        if share[j] > 0.0:
            total += share[j] * log_difference(p[j], q[j], p[j + 1], q[j + 1])
    return total


@numba.njit(nogil=True, cache=True)
def _distance(mass: Any, q: Any, bottom: float, body: Any) -> float:
    """Largest |F_empirical - F| at the groups' edges inside a probability interval."""
    total, below, largest = mass.sum(), 0.0, 0.0
    for j in range(mass.size - 1):
        below += mass[j] / total
        if body[0] <= below <= body[1]:
            largest = max(largest, abs(1.0 - math.exp(q[j + 1] - bottom) - below))
    return largest


@numba.njit(nogil=True, cache=True)
def rank_groups(
    edges: Any, mass: Any, floor: float, families: Any, trim: Any, body: Any, out: Any
) -> None:
    """Fit families to the groups of one matrix; `out` is (families, 5), NaN where one fails."""
    inner, share = censor(edges, mass, trim)
    if inner[0] == -np.inf:
        floor = -np.inf
    groups, ends = _prepare(inner, share, floor)
    first, least = starts(edges, mass / mass.sum()), min(1e-8, 1e-5 / mass.sum())
    p, q, entropy = np.empty(edges.size + 2), np.empty(edges.size + 2), 0.0
    trimmed = inner.size != edges.size or not math.isfinite(inner[0] + inner[-1])
    for j in range(share.size):
        if share[j] > 0.0:
            entropy += share[j] * math.log(share[j])
    for i in range(families.size):
        family = families[i]
        v, u = first[family]
        found, level = False, np.nan
        if groups.shape[1] >= _FEW:
            v, u, level, found = _climb(family, v, u, groups, ends, 0, 1e-6)
        if found:
            v, u, level, found = _climb(family, v, u, groups, ends, 1, least)
        if found:
            fill_tails(family, v, u, inner, p, q)
            exact = _exact(share, p, q, log_tails(family, v, u, floor)[1])
            found = abs(exact - level) < _TRUST
            level = exact
        if not found:
            if not math.isfinite(v + u):
                v, u = first[family]
            v, u, level, found = maximise(family, v, u, inner, share, floor)
            fill_tails(family, v, u, inner, p, q)
        if not found:
            continue
        if trimmed:
            fill_tails(family, v, u, edges, p, q)
        out[i, LOG_SHAPE], out[i, LOG_SCALE], out[i, LIKELIHOOD] = v, u, level
        out[i, DIVERGENCE] = max(entropy - level, 0.0)
        out[i, KS] = _distance(mass, q, log_tails(family, v, u, floor)[1], body)


@numba.njit(nogil=True, cache=True)
def occupied_bins(
    counts: Any, exact: Any, grid: Any, mantissa: Any, bins: Any
) -> tuple[int, float]:
    """Fill (3, bins) lower edges, upper edges and weights of occupied bins; number and floor.

    A value stands for what rounds to it. Its format is read off the values themselves, so that
    upcast weights are treated as what they were: the fewest mantissa bits and the coarsest
    absolute grid (that of the subnormal numbers) which hold all of them. Rows of `grid`: value
    (NaN: taken for zero), its octave and its unit in the last place held, ends of its interval.
    """
    size, every, quantum = 0, 1024, np.inf
    for j in range(counts.size):
        if counts[j] == 0 or not grid[0, j] > 0.0:
            continue
        if exact:
            every |= mantissa[j]
            quantum = min(quantum, grid[2, j])
            bins[0, size], bins[1, size] = grid[0, j], grid[1, j]
        elif size > 0 and bins[0, size - 1] == grid[3, j]:
            bins[2, size - 1] += counts[j]
            continue
        else:
            bins[0, size], bins[1, size] = grid[3, j], grid[4, j]
        bins[2, size] = counts[j]
        size += 1
    if not exact:
        return size, -np.inf
    relative = (every & -every) / 1024.0
    for j in range(size):
        value, octave = bins[0, j], bins[1, j]
        below = octave if value > octave else 0.5 * octave
        bins[0, j] = value - 0.5 * max(below * relative, quantum)
        bins[1, j] = value + 0.5 * max(octave * relative, quantum)
    return size, math.log(0.5 * quantum) if size else -np.inf


@numba.njit(nogil=True, cache=True)
def rank_rows(
    counts: Any,
    exact: Any,
    grid: Any,
    mantissa: Any,
    families: Any,
    trim: Any,
    body: Any,
    minimum: int,
) -> tuple[Any, Any]:
    """Fit families to every row of counts; (rows, families, 5) and the weights (0: too few)."""
    rows, size = counts.shape
    out, n = np.full((rows, families.size, 5), np.nan), np.zeros(rows)
    bins, edges, mass = np.empty((3, size)), np.empty(2 * size + 2), np.empty(2 * size + 2)
    for row in range(rows):
        found, floor = occupied_bins(counts[row], exact[row], grid, mantissa, bins)
        total = bins[2, :found].sum()
        if found < 3 or total < minimum:
            continue
        n[row] = total
        groups = merge(bins[0, :found], bins[1, :found], bins[2, :found], edges, mass)
        rank_groups(edges[: groups + 1], mass[:groups], floor, families, trim, body, out[row])
    return out, n
