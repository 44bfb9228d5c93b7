"""Compiled loops of the fit: one matrix at a time, without the interpreter lock."""

from __future__ import annotations

from typing import Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.fitting.errors import (
    independent_errors,
    influence_by_bin,
    likelihood_influence,
    regression_influence,
)
from weibnb.fitting.ordinates import prefix_sum, square_sum, weibull_of_ordinate

# Columns of the result of `fit_rows`, in the order of `weibnb.fitting.estimates.COLUMNS`.
K, LAM, R2, KS, KS_FULL, K_SE, LAM_SE, CORRELATION, KS_MIDRANK, STATUS = range(10)
# Values of the column STATUS.
OK, ALL_ZERO, CONSTANT, TOO_FEW, DEGENERATE, NO_CONVERGENCE, SUBNORMAL = range(7)
# How coarse an interval is: not, if the weights are float32, in any case.
FINE, COARSE_AS_FLOAT32, COARSE = range(3)
# Share of the weights below which coarse intervals do no harm.
_LOWEST = 1e-3


@compiled
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


@compiled
def _distance(
    counts: Any, x: Any, exact: int, n: float, lower: float, upper: float, k: float, b: float
) -> tuple[float, float, float]:
    """Largest |F - F_Weibull| in the trim, everywhere, and in the trim at mid-ranks.

    At a value F takes every level from the weights below to those up to it; of these, the ones in
    [lower, upper] belong to the trim. An interval is taken at its middle and mid-rank alone.
    Outward from the body a tail is left as soon as neither distribution can differ by more.
    """
    body, full, middle = np.nan, 0.0, np.nan
    below = 0.0
    stop_low = -1
    for j in range(counts.size):
        c = float(counts[j])
        mid = (below + 0.5 * c) / n
        low = below / n if exact else mid
        below += c
        high = below / n if exact else mid
        if high < lower:
            stop_low = j
            continue
        probability = weibull_of_ordinate(k * (x[j] - b))
        if low <= upper:
            least, most = max(low, lower), min(high, upper)
            distance = max(abs(probability - least), abs(probability - most))
            body = distance if np.isnan(body) else max(body, distance)
        if lower <= mid <= upper:
            distance = abs(probability - mid)
            middle = distance if np.isnan(middle) else max(middle, distance)
        full = max(full, abs(probability - low), abs(probability - high))
        if mid > upper and max(1.0 - below / n, 1.0 - probability) < full:
            break
    above = 0.0
    for j in range(stop_low + 1):
        above += float(counts[j])
    for j in range(stop_low, -1, -1):
        c = float(counts[j])
        probability = weibull_of_ordinate(k * (x[j] - b))
        mid = (above - 0.5 * c) / n
        high = above / n if exact else mid
        above -= c
        low = above / n if exact else mid
        full = max(full, abs(probability - low), abs(probability - high))
        if max(above / n, probability) < full:
            break
    return body, full, middle


@compiled
def censored_fit(
    x: Any, g: Any, low: float, high: float, k: float, b: float
) -> tuple[float, float, tuple[float, float, float], bool]:
    """Maximise the Weibull likelihood of masses `g` at `x`, with `low` and `high` censored.

    Newton's method from k and b = ln λ; returns both, the inverse of the Hessian and success.
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
            break
        i11, i12, i22 = h22 / determinant, -h12 / determinant, h11 / determinant
        if converged:
            return k, b, (i11, i12, i22), True
        step_k, step_b = -(i11 * s1 + i12 * s2), -(i12 * s1 + i22 * s2)
        damp = min(1.0, 0.5 * k / max(abs(step_k), 1e-300), 1.0 / max(abs(step_b), 1e-300))
        k += damp * step_k
        b += damp * step_b
        converged = abs(step_k) < 1e-12 * k and abs(step_b) < 1e-12
    return np.nan, np.nan, (np.nan, np.nan, np.nan), False


@compiled
def _body(counts: Any, positions: Any, n: float, first: float, last: float, out: Any) -> Any:
    """Fill in ln|w|, weights and ordinate at the upper edge of the bins with ranks first ... last.

    Returns their number, the first ln|w| and, with x measured from it, the sums of x, x^2, xy, y.
    """
    size, seen, origin = 0, 0.0, 0.0
    sx, sxx, sxy = 0.0, 0.0, 0.0
    start, _ = prefix_sum(first - 1.0, n)
    previous = start
    for j in range(counts.size):
        low, high = max(seen, first - 1.0), min(seen + counts[j], last)
        seen += counts[j]
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
        out[0, size], out[1, size], out[2, size] = positions[j], g, y
        size += 1
    return size, origin, sx, sxx, sxy, previous - start


@compiled
def _fit_row(
    counts: Any,
    positions: Any,
    exact: int,
    n: float,
    trim: Any,
    likelihood: int,
    work: Any,
    out: Any,
    v: Any,
) -> int:
    """Fit one row, of which there is enough; returns its status.

    The influence of each bin goes to `v` (2, bins) if that has room.
    """
    first, last = trim_ranks(n, trim[0], trim[1])
    size, origin, sx, sxx, sxy, sy = _body(counts, positions, n, first, last, work)
    if size < 2:
        return DEGENERATE
    m = last - first + 1.0
    syy = square_sum(first, last, n) - sy * sy / m
    sxy -= sx * sy / m
    sxx -= sx * sx / m
    mean_x, mean_y = origin + sx / m, sy / m
    k = sxy / sxx
    b = mean_x - mean_y / k
    x, g, influence = work[0, :size], work[1, :size], work[3:, : size + 2]
    if likelihood:
        k, b, inverse, found = censored_fit(x, g, first - 1.0, n - last, k, b)
        if not found:
            return NO_CONVERGENCE
        likelihood_influence(x, g, first - 1.0, n - last, k, b, inverse, influence)
    else:
        regression_influence(x, g, work[2], (n, mean_x, mean_y, sxx / n, k), influence)
    var_k, var_b, covariance = independent_errors(influence, g, first - 1.0, n - last)
    if v.size:
        influence_by_bin(counts, first, last, influence, v)
    lam = np.exp(b)
    out[K], out[LAM], out[R2] = k, lam, sxy * sxy / (sxx * syy)
    distances = _distance(counts, positions, exact, n, trim[0], trim[1], k, b)
    out[KS], out[KS_FULL], out[KS_MIDRANK] = distances
    out[K_SE], out[LAM_SE] = np.sqrt(var_k), lam * np.sqrt(var_b)
    out[CORRELATION] = covariance / np.sqrt(var_k * var_b)
    return OK


@compiled
def _too_coarse(counts: Any, columns: Any, coarse: Any, rank: float) -> bool:
    """Whether the interval that holds a rank is too coarse for a fit.

    Weights are float32 if all intervals up to there lie on the grid of its subnormal numbers.
    """
    seen, on_grid = 0.0, True
    for j in range(counts.size):
        seen += counts[j]
        kind = coarse[columns[j]]
        on_grid = on_grid and kind == COARSE_AS_FLOAT32
        if seen >= rank:
            return bool(on_grid or kind == COARSE)
    return False


@compiled
def fit_rows(
    rows: Any, x: Any, coarse: Any, trim: Any, likelihood: int, minimum: int, influence: Any
) -> Any:
    """Fit every matrix of a `CountRows`: an array (matrices, 10), see the columns above.

    `x` (2, bins) is ln|w| of the bins read as intervals and as values; `coarse` tells how coarse
    they are as intervals. The influence of each bin on k and ln λ goes to `influence` (2, entries
    of all rows), or nowhere if that is empty.
    """
    result = np.full((rows.exact.size, 10), np.nan)
    work, positions = np.empty((5, rows.widest + 2)), np.empty(rows.widest)
    for row in range(rows.exact.size):
        start, stop = rows.starts[row], rows.starts[row + 1]
        c, column = rows.counts[start:stop], rows.columns[start:stop]
        kind = 1 if rows.exact[row] else 0
        total = 0
        for j in range(c.size):
            total += c[j]
            positions[j] = x[kind, column[j]]
        if total == 0:
            status = ALL_ZERO
        elif c.size == 1:
            status = CONSTANT
        elif total < minimum:
            status = TOO_FEW
        elif kind == 0 and _too_coarse(c, column, coarse, max(trim[0], _LOWEST) * total):
            status = SUBNORMAL
        else:
            there, n = positions[: c.size], float(total)
            v = influence[:, start - rows.starts[0] : stop - rows.starts[0]]
            status = _fit_row(c, there, kind, n, trim, likelihood, work, result[row], v)
        result[row, STATUS] = status
    return result
