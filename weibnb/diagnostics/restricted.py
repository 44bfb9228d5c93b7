"""Restricted likelihood of a smooth course with scatter, and its average over a grid of both.

``y_l = basis_l · b + e_l`` with ``e_l ~ N(0, s_l² + τ²)``; the first coefficient is free, number j
has the variance ``size / j⁴``. With ``w_l = 1 / (s_l² + τ²)`` and A the precision of the
coefficients, a cell's precision given the others is ``own_l = w_l - w_l² f_l·A⁻¹f_l``, and its
distance from what they predict ``pull_l / own_l`` with ``pull_l = w_l (y_l - f_l·b)``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from weibnb.compiled import compiled, compiled_inline


@compiled
def restricted(y: Any, s2: Any, known: Any, basis: Any, tau2: Any, size: Any) -> Any:
    """Log likelihood, pull and own precision of rows of layers at every point of their grids.

    `y`, `s2` and `known` are (rows, layers), `tau2` (rows, points), `size` (rows, points, shapes).
    """
    rows, points, shapes = size.shape
    layers, width = basis.shape
    level = np.zeros((rows, points, shapes))
    pull = np.zeros((rows, layers, points, shapes))
    own = np.zeros((rows, layers, points, shapes))
    gram, lower = np.empty((width, width)), np.empty((width, width))
    score, half, w = np.empty(width), np.empty(width), np.empty(layers)
    for row in range(rows):
        for t in range(points):
            square, logs = _moments(
                y[row], s2[row] + tau2[row, t], known[row], basis, w, gram, score
            )
            for r in range(shapes):
                lower[:] = gram
                for j in range(1, width):
                    lower[j, j] += j**4 / size[row, t, r]
                determinant = _cholesky(lower)
                _forward(lower, score, half)
                logs_of_prior = (width - 1) * math.log(size[row, t, r])
                rest = square - (half * half).sum()
                level[row, t, r] = 0.5 * (logs - logs_of_prior - determinant - rest)
                _cells(y[row], w, basis, lower, half, pull[row, :, t, r], own[row, :, t, r])
    return level, pull, own


@compiled_inline
def _moments(
    y: Any, variance: Any, known: Any, basis: Any, w: Any, gram: Any, score: Any
) -> tuple[float, float]:
    """Fill the weights and the normal equations; give Σ w y² and Σ ln w."""
    gram[:], score[:], square, logs = 0.0, 0.0, 0.0, 0.0
    if not known.any():
        gram[0, 0] = 1.0
    for at in range(y.size):
        w[at] = 1.0 / variance[at] if known[at] else 0.0
        if not known[at]:
            continue
        square += w[at] * y[at] * y[at]
        logs += math.log(w[at])
        for i in range(score.size):
            score[i] += w[at] * y[at] * basis[at, i]
            for j in range(i + 1):
                gram[i, j] += w[at] * basis[at, i] * basis[at, j]
    return square, logs


@compiled_inline
def _cholesky(a: Any) -> float:
    """Replace the lower half of a matrix by its Cholesky factor; give ln of the determinant."""
    logs = 0.0
    for i in range(len(a)):
        for j in range(i + 1):
            value = a[i, j]
            for k in range(j):
                value -= a[i, k] * a[j, k]
            a[i, j] = math.sqrt(value) if i == j else value / a[j, j]
        logs += 2.0 * math.log(a[i, i])
    return logs


@compiled_inline
def _forward(lower: Any, right: Any, out: Any) -> None:
    """Solve ``lower @ out = right``."""
    for i in range(right.size):
        value = right[i]
        for k in range(i):
            value -= lower[i, k] * out[k]
        out[i] = value / lower[i, i]


@compiled_inline
def _cells(y: Any, w: Any, basis: Any, lower: Any, half: Any, pull: Any, own: Any) -> None:
    """Fill the pull and the own precision of every layer; both stay 0 where nothing is known."""
    out = np.empty(half.size)
    for at in range(y.size):
        if w[at] > 0.0:
            _forward(lower, basis[at], out)
            pull[at] = w[at] * (y[at] - (out * half).sum())
            own[at] = w[at] - w[at] * w[at] * (out * out).sum()


@compiled
def average(y: Any, s2: Any, known: Any, level: Any, pull: Any, own: Any) -> Any:
    """Average every cell over the grid, weighted by the likelihood ``exp(level)``.

    Gives (rows, layers, 6): the shrunken estimate and its standard error, by all cells; what the
    others lead to expect, the scale and the degrees of freedom of its t distribution, and the
    two-sided p-value, by the likelihood without the cell.
    """
    rows, layers, points, shapes = pull.shape
    out = np.full((rows, layers, 6), np.nan)
    weight = np.empty((points, shapes))
    for row in range(rows):
        whole = np.exp(level[row] - level[row].max())
        whole /= whole.sum()
        for at in range(layers):
            if not known[row, at]:
                continue
            p, o = pull[row, at], own[row, at]
            guess = y[row, at] - s2[row, at] * p
            centre = (whole * guess).sum()
            spread = s2[row, at] - s2[row, at] ** 2 * o + (guess - centre) ** 2
            out[row, at, 0] = centre
            out[row, at, 1] = math.sqrt(max((whole * spread).sum(), 0.0))
            weight[:] = level[row] - 0.5 * (np.log(o) - p * p / o)
            weight[:] = np.exp(weight - weight.max())
            weight /= weight.sum()
            away = y[row, at] - p / o
            centre, once = (weight * away).sum(), (weight * o).sum()
            beyond = (weight * (o / once - 1.0) ** 2).sum()
            out[row, at, 2] = centre
            out[row, at, 3] = math.sqrt(1.0 / once + (weight * (away - centre) ** 2).sum())
            out[row, at, 4] = 2.0 / max(beyond, 1e-6)
            tail = 0.0
            for t in range(points):
                for r in range(shapes):
                    tail += weight[t, r] * math.erfc(abs(p[t, r]) / math.sqrt(2.0 * o[t, r]))
            out[row, at, 5] = min(tail, 1.0)
    return out
