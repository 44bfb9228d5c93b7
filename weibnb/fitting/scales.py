"""How unequal the scales of rows and columns are: the spread of ln RMS without its noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled, compiled_inline_sums, compiled_sums
from weibnb.counting.lines import FEWEST, lines_in, packed
from weibnb.counting.squares import Rule, as_words, rule_of, squares
from weibnb.fitting.clusters import widening
from weibnb.fitting.neighbours import OF_ALL, products_of_windows, quantile, widest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines

    Array = NDArray[np.float64]


# 97.5 % quantile of the normal distribution.
_NORMAL = 1.959964


#: What is measured of the rows, and of the columns, of a matrix.
SPREAD = ("h", "error", "noise")


def spreads(lines: Sequence[Lines | None], largest: Array) -> Array:
    """Measure how unequal the scales of rows, and of columns, of matrices are by some of them.

    Parameters
    ----------
    lines : sequence of Lines or None
        Rows and columns of each matrix.
    largest : ndarray of float64, shape (matrices,)
        Largest finite magnitude of each.

    Returns
    -------
    ndarray of float64, shape (matrices, 2, 3)
        Of rows and of columns as they are stored: the standard deviation h of ln RMS over lines
        without the noise of RMS, its standard error, and the variance of ln RMS over lines of
        one scale. NaN without lines, with fewer than `weibnb.counting.lines.FEWEST` of them that
        are not zero, and where fewer weights of each than that are in lines that are not zero.

    Notes
    -----
    With w_ij the weights of L lines of m weights each, q_i the sum of squares of line i,
    u_ij = -ln(1 - w_ij² / q_i), to the third power, and ū_j its mean over lines,

        h² = Var_i(½ ln q_i) - Σ_ij (u_ij - ū_j)² / [4 (L - 1)],

    at least 0. The second term is the jackknife's estimate of the noise in ½ ln q_i, 1/(2m) for
    Gaussian weights: it takes their fourth moment from themselves, so that heavy tails are not
    taken for unequal lines, and leaves out what all lines have in common, unequal scales across
    them. Lines of zeros are left out, and of the others the weights that are not finite.

    The variance of h² is that of a variance, [m₄ - s⁴ (L - 3)/(L - 1)] / L, with a fourth moment
    m₄ that is not below a Gaussian's. The error of h is √Var(h²) / 2h; where h² lies within 1.96
    of its errors from 0 it is h / 1.96, so that the interval of h holds 0, and at least
    ½ Var(h²)^¼. It is wider by Student's quantile over the normal one.
    """
    found = np.full((len(lines), 2, len(SPREAD)), np.nan)
    for dtype, pack in packed(lines):
        live = largest[pack.places] > 0
        rules, units = zip(*(rule_of(dtype, size) for size in largest[pack.places]), strict=True)
        if dtype == "F64":
            sizes = pack.shapes.prod(2).sum(1)
            pack = pack._replace(bits=as_words(pack.bits, dtype, np.repeat(units, sizes)))
        factors = np.array([rule.factor for rule in rules])
        some, number = _spreads(pack, rules[0], factors)
        some[..., 1] *= _wider(number)
        found[pack.places[live]] = some[live]
    return found


def _wider(live: NDArray[np.int64]) -> Array:
    """Student's quantile over the normal one for errors by so many lines."""
    wider = [widening(number) ** 0.5 for number in live.ravel().tolist()]
    return np.array(wider).reshape(live.shape)


def spread(rms: NDArray[Any], noise: float) -> tuple[float, float, float]:
    """Give what `spreads` does by the RMS of each line, and the noise in its logarithm.

    The lines are in their order: where neighbours are alike the error is wider by what
    `weibnb.fitting.neighbours` finds in their squares.
    """
    live = rms[rms > 0]
    logs = np.log(live.astype(float))
    h, error = _spread(logs, noise)
    if not math.isfinite(h):
        return h, error, noise
    return h, error * (widening(live.size) * _of_neighbours(logs)) ** 0.5, noise


def _of_neighbours(logs: Array) -> float:
    """Give the variance of a variance where neighbours are alike, over that where none are."""
    squares = (logs - logs.mean()) ** 2
    centred = (squares - squares.mean())[:, None]
    width = widest(centred, OF_ALL)
    if not width:
        return 1.0
    beyond = products_of_windows(centred, width).item() * quantile(logs.size, width)
    return float(1.0 + max(beyond, 0.0) / (centred**2).sum())


@compiled_sums
def _spreads(pack: Any, rule: Any, factors: Any) -> Any:
    """Measure the spreads of matrices without `_wider`, and count the lines that are not zero."""
    found = np.empty((factors.size, 2, 3))
    number = np.empty((factors.size, 2), np.int64)
    mask, limit, shift, _ = rule
    for i in range(factors.size):
        own = Rule(mask, limit, shift, factors[i])
        for which in range(2):
            logs, noise = _look(lines_in(pack, i, which), own)
            h, error = _spread(logs, noise)
            found[i, which, 0], found[i, which, 1], found[i, which, 2] = h, error, noise
            number[i, which] = (logs > -np.inf).sum()
    return found, number


@compiled_inline_sums
def _look(bits: Any, rule: Any) -> Any:
    """Give ln RMS of lines, -inf for zeros, and the noise in it."""
    number, size = bits.shape
    logs, mean = np.full(number, -np.inf), np.zeros(size, np.float32)
    words, square = np.empty(size, np.uint32), np.empty(size, np.float32)
    values = words.view(np.float32)
    live, fourth, half, third = 0, np.float32(0), np.float32(1 / 2), np.float32(1 / 3)
    for i in range(number):
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
    shared, across = np.float32(0.0), 0
    for j in range(size):
        shared += mean[j] * mean[j]
        across += mean[j] > 0.0
    if live < 2 or across < FEWEST:
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
    if live < FEWEST or np.isnan(noise):
        return np.nan, np.nan
    second, fourth = 0.0, 0.0
    for one in logs:
        if one > -np.inf:
            square = (one - middle / live) ** 2
            second += square
            fourth += square * square
    if not second < np.inf:  # a scale beyond what the lines are kept in
        return np.nan, np.nan
    second, fourth = second / (live - 1), fourth / live
    fourth = max(fourth, 3.0 * second * second)
    error = math.sqrt((fourth - second * second * (live - 3) / (live - 1)) / live)
    h = math.sqrt(max(second - noise, 0.0))
    if h * h < _NORMAL * error:
        return h, max(math.sqrt(error) / 2.0, h / _NORMAL)
    return h, error / (2.0 * h) if h > 0.0 else 0.0
