"""How unequal the scales of rows and columns are: the spread of ln RMS without its noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled, compiled_sums
from weibnb.counting.lines import FEWEST
from weibnb.counting.squares import as_words, rule_of, squares
from weibnb.fitting.clusters import widening

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines

    Array = NDArray[np.float64]


# 97.5 % quantile of the normal distribution.
_NORMAL = 1.959964


class Spread(NamedTuple):
    """Spread of the scales of some lines of a matrix.

    Attributes
    ----------
    h, error : float
        Standard deviation of ln RMS over the lines without the noise of RMS, and its standard
        error; NaN with fewer than `weibnb.counting.lines.FEWEST` lines that are not zero.
    noise : float
        Variance of ln RMS over lines of one scale.
    """

    h: float = math.nan
    error: float = math.nan
    noise: float = math.nan


def spreads(lines: Lines, largest: float) -> tuple[Spread, Spread]:
    """Measure how unequal rows, and columns, are by some of them.

    Parameters
    ----------
    lines : Lines
        Rows and columns of a matrix.
    largest : float
        Its largest finite magnitude.

    Returns
    -------
    tuple of Spread
        Of rows and of columns as they are stored.

    Notes
    -----
    With w_ij the weights of L lines of m weights each, q_i the sum of squares of line i,
    u_ij = -ln(1 - w_ij² / q_i), to the third power, and ū_j its mean over lines,

        h² = Var_i(½ ln q_i) - Σ_ij (u_ij - ū_j)² / [4 (L - 1)],

    at least 0. The second term is the jackknife's estimate of the noise in ½ ln q_i, 1/(2m) for
    Gaussian weights: it takes their fourth moment from themselves, so that heavy tails are not
    taken for unequal lines, and leaves out what all lines have in common, unequal scales across
    them. Lines of zeros are left out, and of the others the weights that are not finite.
    """
    if not largest > 0:
        return Spread(), Spread()
    rule, unit = rule_of(lines.dtype, largest)
    across = np.ascontiguousarray(lines.columns.T)
    found = [
        _look(as_words(bits, lines.dtype, unit), rule, bits.shape[1])
        for bits in (lines.rows, across)
    ]
    rows, columns = (_spread_of(logs, noise) for logs, noise in found)
    return rows, columns


def spread(rms: NDArray[Any], noise: float) -> Spread:
    """Measure how unequal lines are by the RMS of each, and the noise in its logarithm."""
    live = rms[rms > 0]
    return _spread_of(np.log(live.astype(float)), noise)


def _spread_of(logs: Array, noise: float) -> Spread:
    """Measure how unequal lines are by ln RMS of each, -inf for zeros, and the noise in it.

    The variance of h² is that of a variance, [m₄ - s⁴ (L - 3)/(L - 1)] / L, with a fourth moment
    m₄ that is not below a Gaussian's. The error of h is √Var(h²) / 2h; where h² lies within 1.96
    of its errors from 0 it is h / 1.96, so that the interval of h holds 0, and at least
    ½ Var(h²)^¼. It is wider by Student's quantile over the normal one.
    """
    h, error = _spread(logs, noise)
    live = int(np.count_nonzero(logs > -np.inf))
    return Spread(h, error * widening(live) ** 0.5, noise)


@compiled_sums
def _look(bits: Any, rule: Any, size: Any) -> Any:
    """Give ln RMS of lines, -inf for zeros, and the noise in it."""
    logs, mean = np.full(bits.shape[0], -np.inf), np.zeros(size, np.float32)
    words, square = np.empty(size, np.uint32), np.empty(size, np.float32)
    values = words.view(np.float32)
    live, fourth, half, third = 0, np.float32(0), np.float32(1 / 2), np.float32(1 / 3)
    for i in range(bits.shape[0]):
        finite, total = squares(bits[i], rule, words, values, square), np.float32(0)
        for j in range(size):
            total += square[j]
        if total == 0.0:
            continue
        live += 1
        logs[i] = 0.5 * math.log(total / finite)
        inverse, some = np.float32(1.0) / total, np.float32(0.0)
        for j in range(size):
            share = square[j] * inverse
            without = share + share * share * (half + third * share)
            mean[j] += without
            some += without * without
        fourth += some
    shared = np.float32(0.0)
    for j in range(size):
        shared += mean[j] * mean[j]
    if live < 2:
        return logs, np.nan
    beyond = float(fourth) - float(shared) / live
    return logs, max(beyond, 0.0) / (4.0 * (live - 1))


@compiled
def _spread(logs: Any, noise: Any) -> Any:
    """Give h and its error."""
    live, middle = 0, 0.0
    for one in logs:
        if one > -np.inf:
            live += 1
            middle += one
    if live < FEWEST:
        return np.nan, np.nan
    second, fourth = 0.0, 0.0
    for one in logs:
        if one > -np.inf:
            square = (one - middle / live) ** 2
            second += square
            fourth += square * square
    second, fourth = second / (live - 1), fourth / live
    fourth = max(fourth, 3.0 * second * second)
    error = math.sqrt((fourth - second * second * (live - 3) / (live - 1)) / live)
    h = math.sqrt(max(second - noise, 0.0))
    if h * h < _NORMAL * error:
        return h, max(math.sqrt(error) / 2.0, h / _NORMAL)
    return h, error / (2.0 * h) if h > 0.0 else 0.0
