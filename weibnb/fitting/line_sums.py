"""Sums over every line of a matrix: in the pass that counts it, or in a second one.

Influences follow from the counts. Of a large matrix some weights tell them well enough, so that all
of it is counted and summed at once; with the counts it is seen whether they were right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from weibnb.counting import second_look
from weibnb.counting.counters import by_counter, counters_of
from weibnb.counting.cpu import count_bits
from weibnb.counting.formats import FORMATS
from weibnb.counting.lines import FEWEST, LinesInCopying, choice
from weibnb.counting.second_look import Influence
from weibnb.fitting.estimates import influences
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import Lines
    from weibnb.counting.second_look import LineSums
    from weibnb.fitting.weibull import Estimator

    Array = NDArray[np.float64]
    Numbers = NDArray[np.int64]

# Share of zeros, which have no influence: more would lie in some lines rather than others.
_ZEROS = 1e-3
# Bits that the sum of an influence over a line may take, its sign left out.
_BITS = 30
_LOW = 1 << 32
# Weights of a matrix that is counted and summed in one pass, and how many of them tell before.
_FROM, _TO, _SOME = 1 << 22, 1 << 32, 1 << 17
# Neighbouring weights of a row that are taken together.
_TOGETHER = 64
# Root mean square by which estimated influences may be off, over their own.
_OFF = 0.05
# Part of the largest magnitude in whose unit the squares of all can be summed.
_NEAR = 2.0**-20


class Sums(NamedTuple):
    """Sums of influences, and of squares, over every line.

    Attributes
    ----------
    of_lines : LineSums
        Those of influences as whole numbers.
    table : ndarray of int64, shape (counters,)
        The influences, as of `weibnb.counting.second_look.Influence`.
    unit : ndarray of float64, shape (2, 2)
        What 1 in each of the two numbers of a word is of both influences.
    near : float
        The magnitude in whose unit squares are summed.
    """

    of_lines: LineSums
    table: Numbers
    unit: Array
    near: float


def can_count_and_sum(bits: object, dtype: str, shape: tuple[int, int]) -> bool:
    """Whether `count_and_sum` takes a matrix: a large one of 16-bit weights, without gaps."""
    there = isinstance(bits, np.ndarray) and bits.flags.c_contiguous
    fits = min(shape) >= FEWEST and _FROM <= shape[0] * shape[1] < _TO
    return there and fits and FORMATS[dtype].bits.itemsize == 2


def count_and_sum(
    bits: Bits,
    dtype: str,
    shape: tuple[int, int],
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    workers: int,
) -> tuple[Counts, Lines, Sums]:
    """Count a matrix, copy some lines, and sum over all of them, in one pass.

    The influences are those on the fit of some weights. The parameters are those of
    `weibnb.fitting.full_look.look_at_all`.
    """
    sample = _spread_out(bits.reshape(shape))
    some = count_bits(sample, dtype).finish()
    v = influences(CountRows.of([some]), trim=trim, estimator=estimator)[1]
    counters = counters_of(dtype, exact=True)
    table, step = np.zeros(int(counters.mask) + 1, np.int64), np.ones(2)
    if v.size and not np.isnan(v).any():
        first, last = np.searchsorted(counters.labels, some.labels[[0, -1]])
        between = counters.labels[first : last + 1]
        estimated = np.stack([np.interp(between, some.labels, one) for one in v])
        whole, step = _whole_numbers(estimated, max(shape))
        table[1:first], table[first : last + 1], table[last + 1 :] = whole[0], whole, whole[-1]
    copying = LinesInCopying(dtype, shape)
    counts, sums = second_look.count_and_sum(
        bits,
        dtype,
        shape,
        Influence(table, counters.mask, counters.shift),
        largest=some.largest,
        workers=workers,
        copying=copying,
    )
    return counts, copying.lines, Sums(sums, table, np.diag(step), some.largest)


def _spread_out(matrix: Bits) -> Bits:
    """Take neighbours from rows at random, further along each row: (rows, weights)."""
    rows, columns = matrix.shape
    width = min(_TOGETHER, columns)
    lines, parts = choice(rows, _SOME // width), columns // width
    cut = matrix[:, : parts * width].reshape(rows, parts, width)
    some: Bits = cut[lines, np.arange(lines.size) % parts]
    return some


def of_counts(
    bits: Bits | torch.Tensor,
    dtype: str,
    shape: tuple[int, int],
    counts: Counts,
    v: Array,
    *,
    workers: int,
    known: Sums | None,
) -> Sums:
    """Give the sums of the influences v, (2, bins), on the fit of the counts.

    They are what is `known`, if that was right, else they are made in a second pass.
    """
    return _scaled(known, dtype, counts, v) or _sum_anew(bits, dtype, shape, counts, v, workers)


def _scaled(known: Sums | None, dtype: str, counts: Counts, v: Array) -> Sums | None:
    """Make what was summed of estimated influences that of those of the counts, if they are near.

    These are close to two combinations of the others: what an error of λ adds to the influence on
    k is in proportion to that on λ, whose sums over lines may be ten times as large.
    """
    n = counts.counts.sum()
    if known is None or counts.nans + counts.infinities > 0 or counts.zeros > _ZEROS * n:
        return None
    if not known.near > counts.largest * _NEAR:
        return None
    labels = counters_of(dtype, exact=counts.exact).labels
    estimated = apart(known.table[np.searchsorted(labels, counts.labels)], known.unit)
    estimated -= (estimated @ counts.counts / n)[:, None]
    weighted = estimated * counts.counts
    try:
        mix = np.linalg.solve(weighted @ estimated.T, weighted @ v.T)
    except np.linalg.LinAlgError:
        return None
    off, own = (one**2 @ counts.counts for one in (mix.T @ estimated - v, v))
    near = (off <= _OFF**2 * own).all() and own.all()
    return known._replace(unit=known.unit @ mix) if near else None


def _sum_anew(
    bits: Bits | torch.Tensor,
    dtype: str,
    shape: tuple[int, int],
    counts: Counts,
    v: Array,
    workers: int,
) -> Sums:
    """Sum in a second pass."""
    counters = counters_of(dtype, exact=counts.exact)
    whole, step = _whole_numbers(v, max(shape))
    table = by_counter(counters, counts.labels, whole)
    found = second_look.line_sums(
        bits,
        dtype,
        shape,
        Influence(table, counters.mask, counters.shift),
        largest=counts.largest,
        nonfinite=counts.nans + counts.infinities > 0,
        workers=workers,
    )
    return Sums(found, table, np.diag(step), counts.largest)


def _whole_numbers(v: Array, longest: int) -> tuple[Numbers, Array]:
    """Round influences, (2, entries), to whole numbers, two in a word; say what 1 stands for."""
    step = np.abs(v).max(1, initial=0.0) * longest / 2.0**_BITS
    step[step == 0.0] = 1.0
    whole = np.rint(v / step[:, None]).astype(np.int64)
    return whole[0] * _LOW + whole[1], step


def apart(whole: Numbers, unit: Array) -> Array:
    """Give both influences of the whole numbers that are in each word: (2, entries)."""
    low = whole.astype(np.int32).astype(np.int64)
    numbers: Array = unit.T @ np.stack([(whole - low) / _LOW, low])
    return numbers
