"""Neighbouring lines that are alike: clusters larger than one row or column, such as heads.

The order of rows, or of columns, tells where heads are: the sums of an influence over neighbouring
lines have one sign more often than chance gives. What they add to a variance is estimated as in
time series, from the sums over windows of lines, and only where it stands out: most matrices have
no order, and the noise of long windows would widen their errors for nothing.

References
----------
W. K. Newey and K. D. West, "A Simple, Positive Semi-definite, Heteroskedasticity and
Autocorrelation Consistent Covariance Matrix", Econometrica 55 (1987) 703-708.

N. M. Kiefer and T. J. Vogelsang, "A New Asymptotic Theory for Heteroskedasticity-Autocorrelation
Robust Tests", Econometric Theory 21 (2005) 1130-1164: the quantile for windows that are not short.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled_inline_sums, compiled_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: One of so many lines that are looked at tells which of the lines across them are alike.
EACH = 4
#: Standard deviations by which windows must stand out, where some of a matrix is looked at (what
#: they add is scaled up, and so is noise), and where all is.
OF_SOME, OF_ALL = 5.0, 3.0
#: Windows are at most this part of all lines.
PARTS = 4
#: Changes of sign along the lines that there are at least. Fewer are no draw of many heads: a
#: trend, the parts of a fused matrix, or a part that was spoiled, which a wide error would hide.
CHANGES = 3
# Of the 97.5 % quantile of the statistic with a Bartlett kernel, by powers of the width.
_QUANTILE = 1.9600, 2.9694, 0.4160, -0.5324


def widths(size: int) -> NDArray[np.int64]:
    """Give the widths of windows that are tried: powers of two, and the widest.

    Examples
    --------
    >>> widths(96).tolist(), widths(7).tolist()
    ([2, 4, 8, 16, 24], [])
    """
    most = size // PARTS
    powers = [2**i for i in range(1, most.bit_length()) if 2**i < most]
    return np.array([*powers, most] if most > 1 else [], np.int64)


def noise(size: int, width: int) -> float:
    """Give the standard deviation of what windows find among independent lines of variance 1."""
    lags = np.arange(1, width)
    return float(2.0 * np.sqrt(((1.0 - lags / width) ** 2 * (size - lags)).sum()) / size)


def quantile(size: int, width: int) -> float:
    """Square the ratio of the quantile for windows of this width to the normal one."""
    powers = (width / size) ** np.arange(len(_QUANTILE))
    return float((powers @ _QUANTILE / _QUANTILE[0]) ** 2)


class Across(NamedTuple):
    """Functions of the weights of some lines, which tell of each line across them.

    Attributes
    ----------
    sums : ndarray of float64, shape (weights, functions)
        Over the lines, each less its mean, so that what a line has in all its weights is left out.
    values : ndarray of float64, shape (lines, weights, functions)
        Of one in `EACH` of the lines.
    number : int
        How many lines there are.
    every : int
        How many the matrix has.
    """

    sums: Array
    values: Array
    number: int
    every: int

    def within(self, width: int) -> Array:
        """Sum the products of neighbours within each of the lines."""
        each = [products_of_windows(line, width) for line in self.values]
        return np.asarray(np.mean(each, axis=0) * self.number)

    def between(self, width: int) -> Array:
        """Estimate the products of neighbours of the matrix that are not of one line."""
        found = products_of_windows(self.sums, width) - self.within(width)
        return np.asarray(found / self._share)

    def products(self) -> Array:
        """Estimate what neighbours add to the products of sums, where it stands out.

        One standard deviation of its noise is added: what scales of heads do to k is small beside
        what they do to λ, and a sample that finds none of it has too small an error.
        """
        size, functions = self.sums.shape
        width = widest(self.sums[:, :2], OF_SOME)
        if width:
            within = self.within(width)
            found = products_of_windows(self.sums, width) - within
            if stands_out(self.sums[:, :2], found, within, width, OF_SOME):
                found += noise(size, width) * self.sums.T @ self.sums
                return np.asarray(found / self._share * quantile(size, width))
        return np.zeros((functions, functions))

    @property
    def _share(self) -> float:
        """Share of the pairs of different lines of the matrix that are looked at."""
        return max(self.number * (self.number - 1), 1) / max(self.every * (self.every - 1), 1)


def stands_out(sums: Array, found: Array, within: Array, width: int, limit: float) -> bool:
    """Whether the products of neighbours of different lines are no noise.

    What neighbours have within lines is noise, too: rows that stand several times.
    """
    own = (sums**2).sum(0)
    products, shared = (np.diagonal(one)[:2] for one in (found, within))
    return bool((products > limit * noise(len(sums), width) * (own + np.maximum(shared, 0))).any())


def widest(sums: Array, limit: float) -> int:
    """Choose the width of windows that adds most, of those that stand out; 0 if none does.

    `sums`, (lines, functions), have mean zero over all lines.
    """
    tried, noises, quantiles = _tried(len(sums))
    own = (sums**2).sum(0)
    if not tried.size or not (own > 0.0).all():
        return 0
    found = _squares_of_windows(sums, tried) / own - 1.0
    weight = found.sum(1) * quantiles
    weight[~(found.max(1) > limit * noises)] = 0.0
    best = int(weight.argmax())
    width = int(tried[best])
    many = changes(sums[:, found[best].argmax()], width) >= CHANGES
    return width if weight[best] > 0.0 and many else 0


def changes(sums: Array, width: int) -> int:
    """Count changes of sign along the sums over a quarter of a window each.

    Examples
    --------
    >>> changes(np.repeat([1.0, -1.0, 1.0], 8), 8), changes(np.repeat([1.0, -1.0], 12), 8)
    (2, 1)
    """
    positive = np.add.reduceat(sums, np.arange(0, len(sums), max(width // 4, 1))) > 0.0
    return int(np.count_nonzero(positive[1:] != positive[:-1]))


@lru_cache(maxsize=64)
def _tried(size: int) -> tuple[NDArray[np.int64], Array, Array]:
    """Give the widths that are tried, with their noise and their quantile."""
    tried = widths(size)
    found = [[one(size, width) for width in tried.tolist()] for one in (noise, quantile)]
    return tried, np.array(found[0]), np.array(found[1])


@compiled_sums
def _squares_of_windows(sums: Any, tried: Any) -> Any:
    """Sum the squares of the sums over windows, over their width: (widths, functions)."""
    size, functions = sums.shape
    found = np.zeros((tried.size, functions))
    for a in range(functions):
        running = np.zeros(size + 1)
        for i in range(size):
            running[i + 1] = running[i] + sums[i, a]
        for w in range(tried.size):
            width, total = tried[w], 0.0
            for i in range(width, size + 1):
                total += (running[i] - running[i - width]) ** 2
            for i in range(1, width):
                total += running[i] ** 2 + (running[size] - running[size - i]) ** 2
            found[w, a] = total / width
    return found


@compiled_sums
def products_of_windows(sums: Any, width: Any) -> Any:
    """Sum the products of neighbours, weighted by a Bartlett kernel: (functions, functions).

    Those of a line with itself are left out. `sums` is (lines, functions).
    """
    size, functions = sums.shape
    products, window = np.zeros((functions, functions)), np.zeros(functions)
    for i in range(size + width - 1):
        for a in range(functions):
            if i < size:
                window[a] += sums[i, a]
            if i >= width:
                window[a] -= sums[i - width, a]
        for a in range(functions):
            for b in range(a + 1):
                products[a, b] += window[a] * window[b]
    for a in range(functions):
        for b in range(a + 1):
            own = 0.0
            for i in range(size):
                own += sums[i, a] * sums[i, b]
            products[a, b] = products[a, b] / width - own
            products[b, a] = products[a, b]
    return products


@compiled_inline_sums
def stand_out(sums: Any, limit: Any) -> Any:
    """Whether blocks of neighbours stand out in the first look: (functions, lines), overwritten.

    Blocks of two lines, of four and so on; less is seen than by windows, in less time.
    """
    functions, size = sums.shape
    for a in range(functions):
        some = sums[a]
        mean = some.sum() / size
        own = 0.0
        for i in range(size):
            some[i] -= mean
            own += some[i] ** 2
        number, width = size // 2, 2
        while number >= np.int64(PARTS):
            of_blocks = 0.0
            for i in range(number):
                some[i] = some[2 * i] + some[2 * i + 1]
                of_blocks += some[i] ** 2
            if of_blocks - own > limit * own * np.sqrt(2.0 * (width - 1) / size):
                return True
            number, width = number // 2, 2 * width
    return False
