"""How far the distribution of |w| moved between two matrices, from their counts alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.pairs import error_of_change

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.lines import Lines

    Array = NDArray[np.float64]


class Moved(NamedTuple):
    """How far a distribution moved.

    Attributes
    ----------
    log_rms, log_rms_se : float
        Change of ln rms, and its standard error.
    distance, distance_se : float
        Wasserstein distance between the two distributions of ln|w|, and its standard error.
    """

    log_rms: float
    log_rms_se: float
    distance: float
    distance_se: float


def moved_between(before: Counts, after: Counts, lines: tuple[Lines, Lines] | None) -> Moved:
    """Compare the distributions of |w| of two matrices.

    Parameters
    ----------
    before, after : Counts
        How often each magnitude occurs.
    lines : tuple of Lines, or None
        As of `weibnb.fitting.pairs.change_between`.

    Returns
    -------
    Moved
        NaN without a weight other than zero on either side; errors NaN without lines.

    Notes
    -----
    The distance is ∫ |F(x) - G(x)| dx over x = ln|w| of the weights other than zero: how far, on
    average, ln|w| has to move. A factor on all weights moves it by the logarithm of that factor;
    places do not count. A bin that is an interval stands at its middle. Errors follow to first
    order from what each weight adds; that of the distance holds where it is several errors large,
    and below that the distance is noise, which is positive.

    References
    ----------
    C. Villani, *Optimal Transport* (2009), chapter 6 (the distance W1 on the line).

    Examples
    --------
    >>> from weibnb import count_magnitudes
    >>> weights = np.random.default_rng(0).normal(size=1000)
    >>> one, other = count_magnitudes(weights), count_magnitudes(2 * weights)
    >>> [round(number, 9) for number in moved_between(one, other, None)[::2]]
    [0.693147181, 0.693147181]
    """
    if not (before.n and after.n):
        return Moved(*[np.nan] * 4)
    squares = [_square_shares(counts) for counts in (before, after)]
    log_rms = (squares[1][1] - squares[0][1]) / 2
    log_rms += np.log(before.n + before.zeros) / 2 - np.log(after.n + after.zeros) / 2
    distance, adds = _distance(before, after)
    errors = np.full(2, np.nan)
    if lines is not None:
        parts = [
            (counts, np.stack([share, add]))
            for counts, (share, _), add in zip((before, after), squares, adds, strict=True)
        ]
        errors = error_of_change(parts[0], parts[1], lines, carried_by_few=False)
    return Moved(float(log_rms), float(errors[0]), distance, float(errors[1]))


def _square_shares(counts: Counts) -> tuple[Array, float]:
    """Give half the share of a weight of each bin in the sum of squares, and ln of that sum."""
    low, high = label_values(counts.labels), upper_edge(counts.labels)
    unit = float(high[-1])
    a, b = low / unit, (low if counts.exact else high) / unit
    squares = (a * a + a * b + b * b) / 3
    total = float((squares * counts.counts).sum())
    return squares / (2 * total), np.log(total) + 2 * np.log(unit)


def _distance(before: Counts, after: Counts) -> tuple[float, tuple[Array, Array]]:
    """Give the Wasserstein distance of ln|w|, and what a weight of each bin adds to it."""
    places = [_log_middle(counts) for counts in (before, after)]
    x = np.unique(np.concatenate(places))
    at = [np.searchsorted(x, place) for place in places]
    below = np.zeros((2, x.size))
    for row, counts, place in zip(below, (before, after), at, strict=True):
        np.add.at(row, place, counts.counts / counts.n)
    gap = np.diff(below.cumsum(axis=1), axis=0)[0][:-1]
    width = np.diff(x)
    distance = float((np.abs(gap) * width).sum())
    # the distance is the mean of `beyond` over the weights after, less that over those before
    signed = np.where(np.abs(gap) > 1e-12, np.sign(gap), 0.0) * width
    beyond = np.concatenate([np.cumsum(signed[::-1])[::-1], [0.0]])
    adds = [
        (beyond[place] - np.average(beyond[place], weights=counts.counts)) / counts.n
        for counts, place in zip((before, after), at, strict=True)
    ]
    return distance, (adds[0], adds[1])


def _log_middle(counts: Counts) -> Array:
    """Give ln|w| of each bin: of its value, or of the middle of its interval."""
    low = label_values(counts.labels)
    middle: Array = np.log(low if counts.exact else low / 2 + upper_edge(counts.labels) / 2)
    return middle
