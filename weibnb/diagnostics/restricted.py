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

from weibnb.compiled import compiled


@compiled
def restricted(y: Any, s2: Any, known: Any, basis: Any, tau2: Any, size: Any) -> Any:
    """Log likelihood, pull and own precision of rows of layers at every point of their grids.

    `y`, `s2` and `known` are (rows, layers), `tau2` (rows, points), `size` (rows, points, shapes).
    """
    rows, points, shapes = size.shape
    layers, width = basis.shape
    level = np.zeros((rows, points, shapes))
    pull = np.zeros((rows, layers, points * shapes))
    own = np.zeros((rows, layers, points * shapes))
    gram, lower = np.empty((width, width)), np.empty((width, width))
    score, half, w = np.empty(width), np.empty(width), np.empty(layers)
    for row in range(rows):
        for t in range(points):
            square, logs = _moments(
                y[row], s2[row] + tau2[row, t], known[row], basis, w, gram, score
            )
            for r in range(shapes):
                point = t * shapes + r
                for i in range(width):
                    for j in range(width):
                        lower[i, j] = gram[i, j]
                    lower[i, i] += i**4 / size[row, t, r]
                determinant = _cholesky(lower)
                explained = _forward(lower, score, half)
                logs_of_prior = (width - 1) * math.log(size[row, t, r])
                rest = square - explained
                level[row, t, r] = 0.5 * (logs - logs_of_prior - determinant - rest)
                _cells(y[row], w, basis, lower, half, pull[row, :, point], own[row, :, point])
    return level, pull, own


@compiled
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


@compiled
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


@compiled
def _forward(lower: Any, right: Any, out: Any) -> float:
    """Solve ``lower @ out = right``; give the sum of the squares."""
    total = 0.0
    for i in range(right.size):
        value = right[i]
        for k in range(i):
            value -= lower[i, k] * out[k]
        out[i] = value / lower[i, i]
        total += out[i] * out[i]
    return total


@compiled
def _cells(y: Any, w: Any, basis: Any, lower: Any, half: Any, pull: Any, own: Any) -> None:
    """Fill the pull and the own precision of every layer; both stay 0 where nothing is known."""
    out = np.empty(half.size)
    for at in range(y.size):
        if w[at] > 0.0:
            leverage, fitted = _forward(lower, basis[at], out), 0.0
            for i in range(half.size):
                fitted += out[i] * half[i]
            pull[at] = w[at] * (y[at] - fitted)
            own[at] = w[at] * (1.0 - w[at] * leverage)


@compiled
def average(y: Any, s2: Any, known: Any, level: Any, pull: Any, own: Any) -> Any:
    """Average every cell over the grid, weighted by the likelihood ``exp(level)``.

    Gives (rows, layers, 6): the shrunken estimate and its standard error, by all cells; what the
    others lead to expect, the scale and the degrees of freedom of its t distribution, and the
    two-sided p-value, by the likelihood without the cell. `level` is (rows, points).
    """
    rows, layers, points = pull.shape
    out = np.full((rows, layers, 6), np.nan)
    whole, without = np.empty(points), np.empty(points)
    for row in range(rows):
        for t in range(points):
            whole[t] = level[row, t]
        _normalise(whole)
        for at in range(layers):
            if known[row, at]:
                p, o, cell = pull[row, at], own[row, at], out[row, at]
                for t in range(points):
                    without[t] = level[row, t] - 0.5 * (math.log(o[t]) - p[t] * p[t] / o[t])
                _normalise(without)
                _shrink(y[row, at], s2[row, at], whole, p, o, cell)
                _predict(y[row, at], without, p, o, cell)
    return out


@compiled
def _normalise(weight: Any) -> None:
    """Turn logarithms into weights that add up to 1."""
    top, total = weight.max(), 0.0
    for t in range(weight.size):
        weight[t] = math.exp(weight[t] - top)
        total += weight[t]
    for t in range(weight.size):
        weight[t] /= total


@compiled
def _shrink(y: float, s2: float, weight: Any, pull: Any, own: Any, out: Any) -> None:
    """Give mean and standard deviation of the true value of a cell."""
    mean, square, inner = 0.0, 0.0, 0.0
    for t in range(weight.size):
        move = s2 * pull[t]
        mean += weight[t] * move
        square += weight[t] * move * move
        inner += weight[t] * own[t]
    out[0] = y - mean
    out[1] = math.sqrt(max(s2 - s2 * s2 * inner + square - mean * mean, 0.0))


@compiled
def _predict(y: float, weight: Any, pull: Any, own: Any, out: Any) -> None:
    """Give what the other cells lead to expect of one, and how far it may lie from that."""
    mean, square, once, twice, tail = 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(weight.size):
        away = pull[t] / own[t]
        mean += weight[t] * away
        square += weight[t] * away * away
        once += weight[t] * own[t]
        tail += weight[t] * math.erfc(abs(away) * math.sqrt(0.5 * own[t]))
    for t in range(weight.size):
        twice += weight[t] * (own[t] / once - 1.0) ** 2
    out[2] = y - mean
    out[3] = math.sqrt(1.0 / once + max(square - mean * mean, 0.0))
    out[4] = 2.0 / max(twice, 1e-6)
    out[5] = min(tail, 1.0)
