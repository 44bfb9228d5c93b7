"""Influence of a weight on k and ln λ, and the variances that independent weights would have.

The influence v is a function of |w| alone, and an estimate is off by its mean over the weights.
Each function here fills in `v`, of shape (2, bins of the body + 2): that of k and that of ln λ
for the weights below the body, in each of its bins, and above it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from weibnb.compiled import compiled


@compiled
def regression_influence(x: Any, g: Any, y: Any, moments: Any, v: Any) -> None:
    """Influence on rank regression, up to a constant.

    With Q the quantile function of ln|w|, dk = ∫ δQ(p) h(p) dp and d ln λ = ∫ δQ(p) m(p) dp; each
    weight contributes the integral of h (m) over ln|w| up to its own clipped position.
    `y` holds the ordinate at the upper edge of each bin of the body; `moments` is n, mean of x and
    of y, Sxx/n, and k.
    """
    n, mean_x, mean_y, sxx, k = moments
    share = g.sum() / n
    h, m = 0.0, 0.0
    v[:, :2] = 0.0
    for j in range(1, g.size):
        dx = x[j] - x[j - 1]
        slope = (y[j - 1] - mean_y - 2.0 * k * (0.5 * (x[j] + x[j - 1]) - mean_x)) / sxx
        h += slope * dx
        m += (1.0 / share + mean_y / (k * k) * slope) * dx
        v[0, j + 1], v[1, j + 1] = h, m
    v[0, g.size + 1], v[1, g.size + 1] = h, m


@compiled
def likelihood_influence(
    x: Any, g: Any, low: float, high: float, k: float, b: float, inverse: Any, v: Any
) -> None:
    """Influence on maximum likelihood, up to a constant.

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
    i11, i12, i22 = inverse
    for j in range(-1, size + 1):
        d = x[min(max(j, 0), size - 1)] - b
        z = np.exp(k * d)
        a1, a2 = 1.0 / k + d - z * d, k * z - k
        if j < size:
            a1, a2 = a1 - right1, a2 - right2
        if j < 0:
            a1, a2 = a1 - left1, a2 - left2
        v[0, j + 1] = -n * (i11 * a1 + i12 * a2)
        v[1, j + 1] = -n * (i12 * a1 + i22 * a2)


@compiled
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


@compiled
def independent_errors(v: Any, g: Any, low: float, high: float) -> tuple[float, float, float]:
    """Centre an influence; give the variances of k and ln λ, and their covariance."""
    n, size = low + high + g.sum(), g.size
    for i in range(2):
        mean = low * v[i, 0] + high * v[i, size + 1]
        for j in range(size):
            mean += g[j] * v[i, j + 1]
        for j in range(size + 2):
            v[i, j] -= mean / n
    kk, bb, kb = 0.0, 0.0, 0.0
    for j in range(size + 2):
        mass = low if j == 0 else (high if j == size + 1 else g[j - 1])
        kk += mass * v[0, j] * v[0, j]
        bb += mass * v[1, j] * v[1, j]
        kb += mass * v[0, j] * v[1, j]
    return kk / n / n, bb / n / n, kb / n / n


@compiled
def influence_by_bin(counts: Any, first: float, last: float, v: Any, out: Any) -> None:
    """Fill in the influence in each occupied bin, `out` (2, bins): the mean over its weights.

    `v` (2, bins of the body + 2) is that of the fit to the ranks first ... last.
    """
    seen, body, above = 0.0, 0, v.shape[1] - 1
    for j in range(counts.size):
        c = float(counts[j])
        low = min(max(first - 1.0 - seen, 0.0), c)
        high = min(max(seen + c - last, 0.0), c)
        inside = c - low - high
        seen += c
        body += inside > 0.0
        for i in range(2):
            middle = inside * v[i, body] if inside > 0.0 else 0.0
            out[i, j] = (low * v[i, 0] + middle + high * v[i, above]) / c
