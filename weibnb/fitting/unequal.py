"""What unequal scales of rows and columns do to an error, if they are lognormal.

A sample of lines seldom holds the few of large scale that rule the upper tail of a matrix, and the
spread of sums over the sample is then too small. How unequal lines are is known far better.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import special

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.rank_functions import by_class

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

# ln|w| on which laws are laid out, and scales over which they are mixed, with their weights.
_X = np.linspace(-16.0, 6.0, 1101)
_NODES, _WEIGHTS = special.roots_hermitenorm(31)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Spreads of scales are rounded to this; laws are the same beyond the widest.
_STEP, _WIDEST = 0.005, 2.0
# How far ln|w| of a core may be wider than that of a Gaussian.
_CORES = (0.8, 2.0)


def variance_by_scales(rows: CountRows, v: Array, scales: Array) -> Array:
    """Variance of the means of functions of |w| because rows and columns have unequal scales.

    Parameters
    ----------
    rows : CountRows
        The counts.
    v : ndarray, shape (functions, entries)
        Functions of |w|, by bin and with mean zero over each matrix.
    scales : ndarray, shape (matrices, 4)
        Standard deviations of ln scale over rows and over columns, and how many rows and columns
        there are; NaN where that is not known.

    Returns
    -------
    ndarray, shape (matrices, functions)
        NaN where the scales are.

    Notes
    -----
    The model is ``ln|w_ij| = g (ln|z_ij| + s_i + t_j)`` with z, s and t Gaussian, s and t of
    standard deviation h_row/g and h_col/g, and g such that the quartiles of |w| are as far apart as
    they are. A function v depends on the rank of a weight alone, so its mean over a row of scale
    s follows from g and both spreads; the variance is that of these means over s, divided by the
    rows, and the same of columns. Functions are taken as constant within each of 192 classes of the
    rank, as everywhere. Cost: some 0.5 ms a matrix of unequal scales.

    Examples
    --------
    >>> from weibnb import count_magnitudes
    >>> from weibnb.fitting.rows import CountRows
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.normal(size=(400, 300)) * np.exp(rng.normal(0, 0.5, (400, 1)))
    >>> rows = CountRows.of([count_magnitudes(weights)])
    >>> squares = label_values(rows.labels) ** 2 / np.mean(weights**2) - 1
    >>> found = variance_by_scales(rows, squares[None], np.array([[0.5, 0.0, 400, 300]]))
    >>> bool(abs(found.item() / ((np.e - 1) / 400) - 1) < 0.2)
    True
    """
    x = np.log((label_values(rows.labels) + upper_edge(rows.labels)) / 2)[rows.columns]
    entries = slice(*rows.starts[[0, -1]])
    _, masses, means = by_class(rows, np.concatenate([v, x[None, entries]]))
    found = np.full((rows.exact.size, len(v)), np.nan)
    for row, (h_row, h_col, height, width) in enumerate(scales):
        there = masses[row] > 0
        if not h_row + h_col + height + width >= 0 or not there.any():
            continue
        below, functions = np.cumsum(masses[row, there]), means[row][:, there]
        core = _core(below, masses[row, there], functions[-1], float(np.hypot(h_row, h_col)))
        rank = below[:-1] / below[-1]
        of_lines = (
            _variance_of_lines(rank, functions[:-1], own / core, other / core) if own > 0 else 0.0
            for own, other in ((h_row, h_col), (h_col, h_row))
        )
        found[row] = next(of_lines) / height + next(of_lines) / width
    return found


def _core(below: Array, masses: Array, x: Array, spread: float) -> float:
    """Give how much wider ln|w| of a core is than that of a Gaussian, from quartiles of |w|."""
    lower, upper = np.interp([0.25, 0.75], (below - masses / 2) / below[-1], x)
    core = 1.0
    for _ in range(4):
        quartiles = np.interp([0.25, 0.75], _law(spread / core), _X)
        core = float(np.clip((upper - lower) / (quartiles[1] - quartiles[0]), *_CORES))
    return core


def _variance_of_lines(rank: Array, functions: Array, own: float, other: float) -> Array:
    """Variance over lines, with spread `own` of ln scale, of the mean of functions over a line.

    `rank` is that of the upper edge of each class but the last.
    """
    edges = np.interp(rank, _law(float(np.hypot(own, other))), _X)
    share = np.ones((_NODES.size, rank.size + 1))
    share[:, :-1] = np.interp(edges - own * _NODES[:, None], _X, _law(other))
    means = np.diff(share, axis=1, prepend=0.0) @ functions.T
    variance: Array = _WEIGHTS @ (means - _WEIGHTS @ means) ** 2
    return variance


def _law(spread: float) -> Array:
    """Give the law of ln|w| of a Gaussian with lognormal scales of this spread, at `_X`."""
    return _law_at(round(min(spread, _WIDEST) / _STEP))


@lru_cache(maxsize=512)
def _law_at(step: int) -> Array:
    scales = step * _STEP * _NODES
    law: Array = special.erf(np.exp(_X[:, None] - scales) / np.sqrt(2.0)) @ _WEIGHTS
    return law
