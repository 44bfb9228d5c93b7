"""Standard errors of k and λ under independent sampling, from influence functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from weibnb.compiled import compiled


@compiled
def regression_errors(x: Any, g: Any, y: Any, moments: Any) -> tuple[float, float, float]:
    """Variances of k and ln λ of rank regression, and their covariance.

    With Q the quantile function of ln|w|, dk = ∫ δQ(p) h(p) dp and d ln λ = ∫ δQ(p) m(p) dp; each
    weight contributes the integral of h (m) over ln|w| up to its own clipped position.
    `y` holds the ordinate at the upper edge of each bin of the body; `moments` is n, the weights
    below the body, mean of x and of y, Sxx/n, and k.
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
    return (e_hh - e_h * e_h) / n, (e_mm - e_m * e_m) / n, (e_hm - e_h * e_m) / n


@compiled
def likelihood_errors(
    x: Any, g: Any, low: float, high: float, k: float, b: float, inverse: Any
) -> tuple[float, float, float]:
    """Variances of k and ln λ of maximum likelihood, and their covariance.

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
    return (
        i11 * i11 * j11 + 2 * i11 * i12 * j12 + i12 * i12 * j22,
        i12 * i12 * j11 + 2 * i12 * i22 * j12 + i22 * i22 * j22,
        i11 * i12 * j11 + (i11 * i22 + i12 * i12) * j12 + i12 * i22 * j22,
    )


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
