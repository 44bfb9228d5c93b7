"""Compiled loops of the fit: one row of counts at a time, without the interpreter lock."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from scipy import special

RANK_REGRESSION, MAXIMUM_LIKELIHOOD = range(2)
# Columns of the result of `fit_rows`.
K, LAM, R2, KS, KS_FULL, K_SE, LAM_SE, CORRELATION, STATUS = range(9)
# Values of the column STATUS.
OK, ALL_ZERO, CONSTANT, TOO_FEW, DEGENERATE, NO_CONVERGENCE = range(6)

# Within this many ranks of either end the sums over ranks are taken term by term.
_EDGE = 16
_EULER = 0.5772156649015329
# Coefficients (-1)^(m+1) / (m m!) of the power series of Ein, highest first.
_EIN = np.array(
    [(-1.0) ** (m + 1) / (m * float(np.prod(np.arange(1.0, m + 1)))) for m in range(36, 0, -1)]
)
_GAUSS_NODES, _GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(96)


def _quintic(p: Any, d: Any, s: Any) -> Any:
    """Coefficients, lowest first, of the quintic through values and two derivatives at knots.

    The derivatives are taken per cell width, and so is the argument of the polynomial.
    """
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
    """Integral of y over F from 0, in `cells` equal parts of (0, 1); its two ends are not used."""
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


@numba.njit(nogil=True, cache=True)
def weibull_of_ordinate(s: float) -> float:
    """Distribution 1 - exp(-exp(s)) at the ordinate s of the Weibull plot."""
    if s <= _LOWEST or s >= _HIGHEST:
        return float(-np.expm1(-np.exp(s)))
    place = (s - _LOWEST) / _WIDTH
    cell = min(int(place), len(_DISTRIBUTION) - 1)
    d, c = place - cell, _DISTRIBUTION[cell]
    return float(c[0] + d * (c[1] + d * (c[2] + d * (c[3] + d * (c[4] + d * c[5])))))


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def ordinate_of_rank(rank: float, n: float) -> float:
    """Ordinate ln(-ln(1-F)) at the plotting position F = (rank - 1/2)/n."""
    return float(np.log(-np.log1p(-(rank - 0.5) / n)))


@numba.njit(nogil=True, cache=True)
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


@numba.njit(nogil=True, cache=True)
def prefix_sum(rank: float, n: float) -> tuple[float, float]:
    """Sum of y over the first `rank` of n ranks, up to a constant of n alone; y at F = rank/n."""
    share = rank / n
    if n >= _TABLE_RANKS and _TABLE_LIMIT <= share <= 1.0 - _TABLE_LIMIT:
        place = share * _CELLS
        cell = int(place)
        d, c = place - cell, _INTEGRAL[cell]
        integral = c[0] + d * (c[1] + d * (c[2] + d * (c[3] + d * (c[4] + d * c[5]))))
        y = c[1] + d * (2 * c[2] + d * (3 * c[3] + d * (4 * c[4] + d * 5 * c[5])))
        slope = 2 * c[2] + d * (6 * c[3] + d * (12 * c[4] + d * 20 * c[5]))
        # without the third Euler-Maclaurin term, which is below 1e-9 of one rank's share here
        return n * integral - slope * _CELLS * _CELLS / (24.0 * n), y * _CELLS
    y = np.log(-np.log1p(-share)) if 0.0 < rank < n else 0.0
    low, rest = min(max(rank, _EDGE), n - _EDGE), 0.0
    if rank < low:
        i = rank + 1.0
        while i <= low:
            rest -= ordinate_of_rank(i, n)
            i += 1.0
    elif rank > low:
        i = low + 1.0
        while i <= rank:
            rest += ordinate_of_rank(i, n)
            i += 1.0
    return _smooth_prefix(low, n) + rest, y


@numba.njit(nogil=True, cache=True)
def square_sum(first: float, last: float, n: float) -> float:
    """Sum of y^2 over the ranks first ... last of n."""
    total = 0.0
    start, stop = max(first - 1.0, _EDGE), min(last, n - _EDGE)
    if stop - start < 4 * _EDGE:
        i = first
        while i <= last:
            total += ordinate_of_rank(i, n) ** 2
            i += 1.0
        return float(total)
    i = first
    while i <= start:
        total += ordinate_of_rank(i, n) ** 2
        i += 1.0
    i = stop + 1.0
    while i <= last:
        total += ordinate_of_rank(i, n) ** 2
        i += 1.0
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


@numba.njit(nogil=True, cache=True)
def trim_ranks(n: float, lower: float, upper: float) -> tuple[float, float]:
    """First and last rank whose plotting position (rank - 1/2)/n lies in [lower, upper]."""
    first = max(np.ceil(lower * n + 0.5), 1.0)
    while first > 1.0 and (first - 1.5) / n >= lower:
        first -= 1.0
    while (first - 0.5) / n < lower:
        first += 1.0
    last = min(np.floor(upper * n + 0.5), n)
    while last < n and (last + 0.5) / n <= upper:
        last += 1.0
    while (last - 0.5) / n > upper:
        last -= 1.0
    return float(first), float(last)


@numba.njit(nogil=True, cache=True)
def _distance(counts: Any, x: Any, n: float, lower: float, upper: float, k: float, b: float) -> Any:
    """Largest |F - F_Weibull| at the occupied bins' mid-ranks: in the trim, and everywhere.

    Outward from the body a tail is left as soon as neither distribution can differ by more.
    """
    body, full = np.nan, 0.0
    below = 0.0
    stop_low = -1
    for j in range(counts.size):
        c = float(counts[j])
        if c == 0.0:
            continue
        mid = (below + 0.5 * c) / n
        below += c
        if mid < lower:
            stop_low = j
            continue
        probability = weibull_of_ordinate(k * (x[j] - b))
        distance = abs(probability - mid)
        if mid <= upper:
            body = distance if np.isnan(body) else max(body, distance)
        full = max(full, distance)
        if mid > upper and max(1.0 - below / n, 1.0 - probability) < full:
            break
    above = 0.0
    for j in range(stop_low + 1):
        above += float(counts[j])
    for j in range(stop_low, -1, -1):
        c = float(counts[j])
        if c == 0.0:
            continue
        probability = weibull_of_ordinate(k * (x[j] - b))
        full = max(full, abs(probability - (above - 0.5 * c) / n))
        above -= c
        if max(above / n, probability) < full:
            break
    return body, full


@numba.njit(nogil=True, cache=True)
def _density(x: Any, g: Any, n: float, step: int) -> float:
    """Density of ln|w| over 2 % of the mass, inward from the lower (step 1) or upper (-1) end."""
    mass, last = 0.0, 0 if step == 1 else g.size - 1
    j = last
    while 0 <= j + step < g.size:
        mass += 0.5 * (g[j] + g[j + step])
        j += step
        if mass >= 0.02 * n:
            break
    return float(mass / n / abs(x[j] - x[last])) if j != last else np.inf


@numba.njit(nogil=True, cache=True)
def _likelihood_errors(
    x: Any, g: Any, low: float, high: float, k: float, b: float, inverse: Any, out: Any
) -> None:
    """Variances and covariance of k and ln λ from the influence function of the likelihood.

    A weight contributes its score, clipped to the body, and shifts the magnitudes at which the
    others are censored; `inverse` holds the inverse of the Hessian.
    """
    n, size = low + high + g.sum(), g.size
    left1, left2, right1, right2 = 0.0, 0.0, 0.0, 0.0
    if low > 0.0:
        d = x[0] - b
        z = np.exp(k * d)
        r, scale = 1.0 / np.expm1(z), low / n / _density(x, g, n, 1)
        left1 = scale * r * z * (1.0 + k * d - (1.0 + r) * k * z * d)
        left2 = scale * k * k * r * z * ((1.0 + r) * z - 1.0)
    if high > 0.0:
        d = x[size - 1] - b
        z = np.exp(k * d)
        scale = high / n / _density(x, g, n, -1)
        right1, right2 = -scale * z * (1.0 + k * d), scale * k * k * z
    e1, e2, e11, e12, e22 = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(-1, size + 1):
        weight = (low if j < 0 else (high if j == size else g[j])) / n
        d = x[min(max(j, 0), size - 1)] - b
        z = np.exp(k * d)
        a1, a2 = 1.0 / k + d - z * d, k * z - k
        if j < size:
            a1, a2 = a1 - right1, a2 - right2
        if j < 0:
            a1, a2 = a1 - left1, a2 - left2
        e1 += weight * a1
        e2 += weight * a2
        e11 += weight * a1 * a1
        e12 += weight * a1 * a2
        e22 += weight * a2 * a2
    j11, j12, j22 = n * (e11 - e1 * e1), n * (e12 - e1 * e2), n * (e22 - e2 * e2)
    i11, i12, i22 = inverse
    out[2] = i11 * i11 * j11 + 2 * i11 * i12 * j12 + i12 * i12 * j22
    out[3] = i12 * i12 * j11 + 2 * i12 * i22 * j12 + i22 * i22 * j22
    out[4] = i11 * i12 * j11 + (i11 * i22 + i12 * i12) * j12 + i12 * i22 * j22


@numba.njit(nogil=True, cache=True)
def _censored_newton(x: Any, g: Any, low: float, high: float, k: float, b: float, out: Any) -> int:
    """Maximise the Weibull likelihood of body masses `g` at `x`, `low` and `high` censored.

    Leaves k, ln λ, their variances and their covariance in `out`; returns 0 on success.
    """
    converged = False
    for _ in range(60):
        s1, s2, h11, h12, h22 = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(-1, g.size + 1):
            weight = low if j < 0 else (high if j == g.size else g[j])
            if weight == 0.0:
                continue
            d = x[min(max(j, 0), g.size - 1)] - b
            z = np.exp(k * d)
            if j < 0:
                r = 1.0 / np.expm1(z)
                curve = -r * (1.0 + r)
                a1, a2 = r * z * d, -r * k * z
                c11 = curve * (z * d) ** 2 + r * z * d * d
                c12 = -curve * k * z * z * d - r * (k * z * d + z)
                c22 = curve * (k * z) ** 2 + r * k * k * z
            elif j == g.size:
                a1, a2 = -z * d, k * z
                c11, c12, c22 = -z * d * d, k * z * d + z, -k * k * z
            else:
                a1, a2 = 1.0 / k + d - z * d, k * z - k
                c11, c12, c22 = -1.0 / (k * k) - z * d * d, k * z * d + z - 1.0, -k * k * z
            s1 += weight * a1
            s2 += weight * a2
            h11 += weight * c11
            h12 += weight * c12
            h22 += weight * c22
        determinant = h11 * h22 - h12 * h12
        if not determinant > 0.0:
            return 1
        i11, i12, i22 = h22 / determinant, -h12 / determinant, h11 / determinant
        if converged:
            out[0], out[1] = k, b
            _likelihood_errors(x, g, low, high, k, b, (i11, i12, i22), out)
            return 0
        step_k, step_b = -(i11 * s1 + i12 * s2), -(i12 * s1 + i22 * s2)
        damp = min(1.0, 0.5 * k / max(abs(step_k), 1e-300), 1.0 / max(abs(step_b), 1e-300))
        k += damp * step_k
        b += damp * step_b
        converged = abs(step_k) < 1e-12 * k and abs(step_b) < 1e-12
    return 1


@numba.njit(nogil=True, cache=True)
def _regression_errors(x: Any, g: Any, y: Any, moments: Any, out: Any) -> None:
    """Variances and covariance of k and ln λ from the influence function of rank regression.

    With Q the quantile function of ln|w|, dk = ∫ δQ(p) h(p) dp and d ln λ = ∫ δQ(p) m(p) dp; each
    weight contributes the integral of h (m) over ln|w| up to its own clipped position.
    `y` holds the ordinate at the upper edge of each body bin; `moments` is n, mass below,
    mean of x and of y, Sxx/n, and k.
    """
    n, below, mean_x, mean_y, sxx, k = moments
    body = 0.0
    for j in range(g.size):
        body += g[j]
    share = body / n
    p = (below + g[0]) / n
    h, m = 0.0, 0.0
    e_h, e_m, e_hh, e_mm, e_hm = 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(1, g.size):
        dx = x[j] - x[j - 1]
        slope = (y[j - 1] - mean_y - 2.0 * k * (0.5 * (x[j] + x[j - 1]) - mean_x)) / sxx
        h += slope * dx
        m += (1.0 / share + mean_y / (k * k) * slope) * dx
        mass = g[j] / n if j < g.size - 1 else 1.0 - p
        p += mass
        e_h += mass * h
        e_m += mass * m
        e_hh += mass * h * h
        e_mm += mass * m * m
        e_hm += mass * h * m
    out[2] = (e_hh - e_h * e_h) / n
    out[3] = (e_mm - e_m * e_m) / n
    out[4] = (e_hm - e_h * e_m) / n


@numba.njit(nogil=True, cache=True)
def fit_rows(
    counts: Any, x: Any, exact: Any, lower: float, upper: float, method: int, minimum: int
) -> Any:
    """Fit every row of `counts` (matrices, bins); `x` is ln|w| of bins, (2, bins): interval, exact.

    Returns an array (matrices, 9): see the column names at the head of this module.
    """
    rows, bins = counts.shape
    result = np.full((rows, 9), np.nan)
    body_x, body_g, body_y = np.empty(bins), np.empty(bins), np.empty(bins)
    estimate = np.empty(5)
    for row in range(rows):
        c = counts[row]
        positions = x[1] if exact[row] else x[0]
        total, occupied = 0, 0
        for j in range(bins):
            total += c[j]
            occupied += c[j] > 0
        n = float(total)
        status = OK
        if total == 0:
            status = ALL_ZERO
        elif occupied == 1:
            status = CONSTANT
        elif total < minimum:
            status = TOO_FEW
        result[row, STATUS] = status
        if status != OK:
            continue
        first, last = trim_ranks(n, lower, upper)
        m = last - first + 1.0
        # sums over the body, x measured from its first bin
        size, seen = 0, 0.0
        origin, sx, sxx, sxy = 0.0, 0.0, 0.0, 0.0
        start_sum, _ = prefix_sum(first - 1.0, n)
        previous = start_sum
        for j in range(bins):
            if c[j] == 0:
                continue
            low, high = max(seen, first - 1.0), min(seen + c[j], last)
            seen += c[j]
            if high <= low:
                if seen >= last:
                    break
                continue
            here, y = prefix_sum(high, n)
            if size == 0:
                origin = positions[j]
            dx, g = positions[j] - origin, high - low
            sx += g * dx
            sxx += g * dx * dx
            sxy += dx * (here - previous)
            previous = here
            body_x[size], body_g[size] = positions[j], g
            body_y[size] = y
            size += 1
        if size < 2:
            result[row, STATUS] = DEGENERATE
            continue
        sy = previous - start_sum
        syy = square_sum(first, last, n) - sy * sy / m
        sxy -= sx * sy / m
        sxx -= sx * sx / m
        mean_x, mean_y = origin + sx / m, sy / m
        k = sxy / sxx
        b = mean_x - mean_y / k
        if method == RANK_REGRESSION:
            moments = (n, first - 1.0, mean_x, mean_y, sxx / n, k)
            _regression_errors(body_x[:size], body_g[:size], body_y, moments, estimate)
            estimate[0], estimate[1] = k, b
        elif _censored_newton(body_x[:size], body_g[:size], first - 1.0, n - last, k, b, estimate):
            result[row, STATUS] = NO_CONVERGENCE
            continue
        k, b = estimate[0], estimate[1]
        lam = np.exp(b)
        result[row, K], result[row, LAM], result[row, R2] = k, lam, sxy * sxy / (sxx * syy)
        body, full = _distance(c, positions, n, lower, upper, k, b)
        result[row, KS], result[row, KS_FULL] = body, full
        result[row, K_SE] = np.sqrt(estimate[2])
        result[row, LAM_SE] = lam * np.sqrt(estimate[3])
        result[row, CORRELATION] = estimate[4] / np.sqrt(estimate[2] * estimate[3])
    return result


@numba.njit(nogil=True, cache=True)
def describe_rows(counts: Any, powers: Any, edges: Any, exact: Any, zeros: Any, q: Any) -> Any:
    """Sum |w|, w^2, w^4 and take quantiles, zeros included, of every row of `counts`.

    `powers` (2, 3, bins) holds the mean of the 1st, 2nd and 4th power in a bin read as an interval
    and as a value; `edges` (2, bins) its ends. A quantile is numpy's: linear between the order
    statistics on both sides of (N-1) q; inside an interval these lie evenly.
    """
    rows, bins = counts.shape
    result = np.zeros((rows, 4 + q.size))
    for row in range(rows):
        c, power = counts[row], powers[1 if exact[row] else 0]
        n = 0
        for j in range(bins):
            if c[j] > 0:
                n += c[j]
                for order in range(3):
                    result[row, 1 + order] += c[j] * power[order, j]
        result[row, 0] = n
        total = n + zeros[row]
        j, below, seen = -1, 0, zeros[row]  # bin at hand, weights before and up to it
        for i in range(q.size):
            if total == 0:
                result[row, 4 + i] = np.nan
                continue
            position = (total - 1) * q[i]
            floor = np.int64(np.floor(position))
            while floor >= seen:
                j += 1
                below, seen = seen, seen + c[j]
            at, before, after = j, below, seen
            value = 0.0
            for rank in (floor, floor + 1):
                weight = 1.0 - abs(position - rank)
                if weight <= 0.0 or rank < zeros[row]:
                    continue
                while rank >= after:
                    at += 1
                    before, after = after, after + c[at]
                place = edges[0, at]
                if not exact[row]:
                    place += (rank - before + 0.5) / c[at] * (edges[1, at] - edges[0, at])
                value += weight * place
            result[row, 4 + i] = value
    return result
