"""Mixtures of two Weibulls, and notches of a density between two populations: compiled loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.families.distributions import WEIBULL, log_masses, tails_at

# Least width in ln|w| of the windows in which a notch is sought, and the share of the weights
# below all of them.
_WINDOW, _SKIP = 0.35, 0.002
# Standard errors that a notch must exceed: it is the deepest of some thousands that are tried.
_ERRORS = 5.0
#: Least share of the weights on either side of a notch.
LEAST_SHARE = 0.02
_ROUNDS, _TOLERANCE = 200, 1e-9
_TINY = 1e-300


@compiled
def _solve_shape(x: Any, weight: Any, k: float, rounds: int) -> tuple[float, float]:
    """Weighted maximum-likelihood Weibull at log magnitudes x: a few Newton steps on k, and ln λ.

    The score 1/k = Σ w e^{kx} x / Σ w e^{kx} - Σ w x / Σ w is monotone in k.
    """
    top, total, mean = x[-1], 0.0, 0.0
    for j in range(x.size):
        total += weight[j]
        mean += weight[j] * x[j]
    mean /= total
    for j in range(x.size):
        if weight[j] > 1e-14 * total:
            top = x[j]
    s0 = total
    for turn in range(rounds + 1):
        s0, s1, s2 = _TINY, 0.0, 0.0
        for j in range(x.size):
            d = x[j] - top
            if abs(k * d) > 60.0:
                continue
            e = weight[j] * math.exp(k * d)
            s0 += e
            s1 += e * d
            s2 += e * d * d
        if turn == rounds:
            break
        score = 1.0 / k - s1 / s0 + mean - top
        slope = -1.0 / k**2 - (s2 / s0 - (s1 / s0) ** 2)
        k = min(max(k - score / slope, 0.5 * k), 2.0 * k)
        k = min(max(k, 0.02), 200.0)
    return k, top + math.log(s0 / total) / k


@compiled
def mixture(x: Any, share: Any, split: float) -> Any:
    """Two-component Weibull mixture by EM at log magnitudes x, first parted at `split`.

    Returns share, k, ln λ of each component: (2, 3), the one of smaller median first.
    """
    result = np.empty((2, 3))
    weight = np.zeros((2, x.size))
    for j in range(x.size):
        weight[0 if x[j] < split else 1, j] = share[j]
    for i in range(2):
        result[i, 0] = weight[i].sum()
        result[i, 1], result[i, 2] = _solve_shape(x, weight[i], 1.0, 30)
    before = -np.inf
    for _ in range(_ROUNDS):
        likelihood = 0.0
        offset = np.log(np.maximum(result[:, 0], _TINY) * result[:, 1])
        for j in range(x.size):
            if share[j] == 0.0:
                continue
            d0, d1 = x[j] - result[0, 2], x[j] - result[1, 2]
            f0 = offset[0] + result[0, 1] * d0 - math.exp(min(result[0, 1] * d0, 600.0))
            f1 = offset[1] + result[1, 1] * d1 - math.exp(min(result[1, 1] * d1, 600.0))
            high = max(f0, f1)
            total = high + math.log1p(math.exp(min(f0, f1) - high))
            likelihood += share[j] * total
            weight[0, j] = share[j] * math.exp(f0 - total)
            weight[1, j] = share[j] - weight[0, j]
        if likelihood - before < _TOLERANCE:
            break
        before = likelihood
        if min(weight[0].sum(), weight[1].sum()) < 1e-9:
            break
        for i in range(2):
            result[i, 0] = weight[i].sum()
            result[i, 1], result[i, 2] = _solve_shape(x, weight[i], result[i, 1], 1)
    middle = result[:, 2] + math.log(math.log(2.0)) / result[:, 1]
    return result if middle[0] <= middle[1] else result[::-1].copy()


@compiled
def mixture_likelihood(parts: Any, edges: Any, share: Any) -> float:
    """Log-likelihood per weight of a mixture of Weibulls, from exact group masses."""
    v, amount = np.log(parts[:, 1]), np.log(np.maximum(parts[:, 0], _TINY))
    first = amount[0] + log_masses(tails_at(WEIBULL, v[0], parts[0, 2], edges))
    second = amount[1] + log_masses(tails_at(WEIBULL, v[1], parts[1, 2], edges))
    total = 0.0
    for j in range(share.size):
        if share[j] > 0.0:
            total += share[j] * np.logaddexp(first[j], second[j])
    return float(total)


@compiled
def _windows(bins: Any) -> Any:
    """Cut occupied bins into windows: centre and width in ln|w|, and weights.

    A bin reaches halfway to its neighbours, so that the gaps between values are no notches. The
    lowest weights are left out: too few in too many windows.
    """
    counts, centre = bins[2], bins[3]
    total, size = counts.sum(), counts.size
    table = np.zeros((size, 3))
    windows, seen, mass = 0, 0.0, 0.0
    begin = math.log(max(1.5 * centre[0] - 0.5 * centre[1], 0.5 * centre[0]))
    for i in range(size):
        end = math.log(0.5 * centre[i] + 0.5 * centre[i + 1] if i < size - 1 else bins[1, i])
        seen += counts[i]
        if seen < _SKIP * total:
            begin = end
            continue
        mass += counts[i]
        span = end - begin
        if span >= _WINDOW or (i == size - 1 and span > 0.5 * _WINDOW):
            table[windows] = 0.5 * (begin + end), span, mass
            windows, begin, mass = windows + 1, end, 0.0
    return table[:windows]


@compiled
def notch(bins: Any) -> tuple[float, float]:
    """Deepest significant notch of the log density of ln|w|: depth less its error, and place.

    The depth is that of a window below the chord from a window on its left to one on its right,
    in nats. No notch: (-inf, nan).
    """
    table, total = _windows(bins), bins[2].sum()
    size = table.shape[0]
    level, variance = np.empty(size), np.empty(size)
    for i in range(size):
        level[i] = math.log((table[i, 2] + 0.5) / table[i, 1])
        variance[i] = 1.0 / (table[i, 2] + 0.5)
    best, place = -np.inf, np.nan
    right = table[:, 2].sum()
    for m in range(size):
        right -= table[m, 2]
        if min(total - right - table[m, 2], right) < LEAST_SHARE * total:
            continue
        for i in range(m):
            for j in range(m + 1, size):
                t = (table[m, 0] - table[i, 0]) / (table[j, 0] - table[i, 0])
                depth = (1.0 - t) * level[i] + t * level[j] - level[m]
                if depth <= best:
                    continue
                spread = (1.0 - t) ** 2 * variance[i] + t**2 * variance[j] + variance[m]
                depth -= _ERRORS * math.sqrt(spread)
                if depth > best:
                    best, place = depth, table[m, 0]
    return best, place
