"""Matrices divided by the scales of their rows and columns: W = diag(a) Z diag(b)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Matrix = NDArray[np.float32]

#: How near 1 the root mean squares of all rows and columns of a core are.
TOLERANCE = 1e-6
#: Rounds after which rows and columns count as not to be made equal.
MOST_ROUNDS = 200
# Weights of a bucket in shuffling: it stays in a core's cache.
_BUCKET = 1 << 16


@dataclass(frozen=True, slots=True)
class Balance:
    """Scales of the rows and columns of a matrix.

    Attributes
    ----------
    rows, cols : ndarray, shape (rows,) and (columns,)
        Root mean squares of the lines as they are, in units of the weights.
    a, b : ndarray, shape (rows,) and (columns,)
        Scales without which all root mean squares are 1: a in units of the weights, b around 1.
    imbalance : float
        How far from 1 the root mean square of a row still is.
    rounds : int
        How often rows and columns were divided.
    """

    rows: Array
    cols: Array
    a: Array
    b: Array
    imbalance: float
    rounds: int

    @property
    def converged(self) -> bool:
        """Whether all rows and columns were made equal."""
        return self.imbalance <= TOLERANCE


def balance(weights: Matrix) -> Balance:
    """Find scales of rows and columns without which all root mean squares are 1.

    Parameters
    ----------
    weights : ndarray of float32, shape (rows, columns)
        Finite weights of which no row and no column is zero throughout.

    Returns
    -------
    Balance

    Notes
    -----
    Rows and columns are divided by their root mean squares in turn, which is Sinkhorn's iteration
    on the squares. It converges where the places of the non-zero weights allow it (total
    support), as they do in any matrix without zeros; a matrix with too many zeros has no such
    scales, and the rounds end with an `imbalance`. Each round is one pass over the weights, some
    1 ns a weight; random matrices need two to six.

    References
    ----------
    R. Sinkhorn and P. Knopp, "Concerning nonnegative matrices and doubly stochastic matrices",
    Pacific Journal of Mathematics 21 (1967) 343-348.

    Examples
    --------
    >>> found = balance(np.array([[1, -2], [3, 6]], np.float32))
    >>> (found.a[1] / found.a[0]).round(6), (found.b[1] / found.b[0]).round(6)
    (np.float64(3.0), np.float64(2.0))
    """
    height, width = weights.shape
    rows, cols = line_squares(weights)
    a, b = _round(weights, np.ones(width))
    imbalance, rounds = np.inf, 0
    while imbalance > TOLERANCE and rounds < MOST_ROUNDS:
        new_a, new_b = _round(weights, 1 / b)
        imbalance = float(np.abs(np.sqrt(new_a / a) - 1).max())
        rounds += 1
        if imbalance > TOLERANCE:
            a, b = new_a, new_b
    a, b = np.sqrt(a), np.sqrt(b)
    centre = np.exp(np.log(b).mean())
    lines = np.sqrt(rows / width), np.sqrt(cols / height)
    return Balance(*lines, a * centre, b / centre, imbalance, rounds)


def shuffled(weights: Matrix, rng: np.random.Generator) -> Matrix:
    """Put the weights of a matrix at random places, every order equally likely.

    They are cast into buckets at random and shuffled in each, which stays in the cache: three times
    as fast as `numpy.random.Generator.permutation` on 16 M weights.

    References
    ----------
    M. Sandelius, "A simple randomization procedure", Journal of the Royal Statistical Society B 24
    (1962) 472-481.
    """
    number = min(-(-weights.size // _BUCKET), 1 << 16)
    buckets = rng.integers(0, number, weights.size, np.uint16)
    draws = rng.integers(0, 1 << 32, weights.size, np.uint32)
    places: Matrix = _shuffle(weights.reshape(-1), buckets, draws, number)
    return places.reshape(weights.shape)


@compiled
def finite_part(weights: Any, factor: Any, out: Any) -> Any:
    """Copy weights times a factor, zero where they are not finite, and count those."""
    nonfinite = 0
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            value = weights[i, j] * factor
            finite = np.isfinite(value)
            nonfinite += not finite
            out[i, j] = value if finite else 0.0
    return nonfinite


@compiled
def line_squares(weights: Any) -> Any:
    """Sum the squares of every row and of every column."""
    rows, cols = np.zeros(weights.shape[0]), np.zeros(weights.shape[1])
    for i in range(weights.shape[0]):
        total = 0.0
        for j in range(weights.shape[1]):
            total += np.float64(weights[i, j]) ** 2
        rows[i] = total
        for j in range(weights.shape[1]):
            cols[j] += np.float64(weights[i, j]) ** 2
    return rows, cols


@compiled
def _round(weights: Any, factors: Any) -> Any:
    """Mean squares of rows, whose columns are divided, then of columns, whose rows are divided."""
    height, width = weights.shape
    rows, cols = np.zeros(height), np.zeros(width)
    for i in range(height):
        total = 0.0
        for j in range(width):
            total += np.float64(weights[i, j]) ** 2 * factors[j]
        rows[i] = total / width
        inverse = 1.0 / (rows[i] * height)
        for j in range(width):
            cols[j] += np.float64(weights[i, j]) ** 2 * inverse
    return rows, cols


@compiled
def divide(weights: Any, by_row: Any, by_col: Any, out: Any) -> Any:
    """Multiply rows and columns by factors, and give the mean fourth power of the result."""
    fourth = 0.0
    for i in range(weights.shape[0]):
        for j in range(weights.shape[1]):
            value = weights[i, j] * by_row[i] * by_col[j]
            out[i, j] = value
            fourth += value**4
    return fourth / weights.size


@compiled
def log_sums(weights: Any) -> Any:
    """Sum ln|w| over rows and columns, and its square; count the weights that are not zero."""
    height, width = weights.shape
    rows, cols, square = np.zeros((2, height)), np.zeros((2, width)), 0.0
    for i in range(height):
        for j in range(width):
            if weights[i, j] != 0.0:
                value = np.log(np.abs(weights[i, j]))
                square += value * value
                rows[0, i] += value
                cols[0, j] += value
                rows[1, i] += 1.0
                cols[1, j] += 1.0
    return rows, cols, square


@compiled
def _shuffle(weights: Any, buckets: Any, draws: Any, number: Any) -> Any:
    """Cast weights into buckets, and shuffle each."""
    starts = np.zeros(number + 1, np.int64)
    for i in range(weights.size):
        starts[buckets[i] + 1] += 1
    for bucket in range(number):
        starts[bucket + 1] += starts[bucket]
    out, place = np.empty_like(weights), starts[:number].copy()
    for i in range(weights.size):
        out[place[buckets[i]]] = weights[i]
        place[buckets[i]] += 1
    for bucket in range(number):
        first = starts[bucket]
        for i in range(starts[bucket + 1] - first - 1, 0, -1):
            other = (np.uint64(draws[first + i]) * np.uint64(i + 1)) >> np.uint64(32)
            at = first + np.int64(other)
            out[first + i], out[at] = out[at], out[first + i]
    return out
