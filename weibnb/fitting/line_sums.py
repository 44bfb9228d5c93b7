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
from weibnb.counting.formats import FORMATS, decode
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

#: Lines by which rank functions are clustered, and those of largest RMS among them.
LOOKED_AT, LARGEST = 64, 16
# Bits that the sum of an influence over a line may take, its sign left out.
_BITS = 30
_LOW = 1 << 32
# Weights of a matrix that is counted and summed in one pass, and how many of them tell before.
_FROM, _TO, _SOME = 1 << 22, 1 << 32, 1 << 17
# Neighbouring weights of a row that are taken together.
_TOGETHER = 64
# Root mean square by which estimated influences may be off, over their own.
_OFF = 0.05
# Share of zeros, which have no influence: more would lie in some lines rather than others.
_ZEROS = 1e-3
# Part of the largest magnitude in whose unit the squares of all can be summed.
_NEAR = 2.0**-20


class Some(NamedTuple):
    """Some lines that stand for all.

    Attributes
    ----------
    numbers : ndarray of int64, shape (lines,)
        Which they are, ascending.
    standing_for : ndarray of float64, shape (lines,)
        How many lines each stands for.
    """

    numbers: Numbers
    standing_for: Array


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
    columns : tuple of Some and ndarray of unsigned int, or None
        Columns of every scale, and their bits, (rows, columns), if they were copied on the way.
    """

    of_lines: LineSums
    table: Numbers
    unit: Array
    near: float
    columns: tuple[Some, Bits] | None = None


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
    scales = _scales(sample, dtype, shape[1], some.largest)
    columns = None if scales is None else of_every_scale(scales)
    only = np.empty(0, np.int64) if columns is None else columns.numbers
    copying = LinesInCopying(dtype, shape), LinesInCopying(dtype, shape, only)
    counts, sums = second_look.count_and_sum(
        bits,
        dtype,
        shape,
        Influence(table, counters.mask, counters.shift),
        largest=some.largest,
        workers=workers,
        copying=copying,
    )
    chosen = None if columns is None else (columns, copying[1].lines.columns)
    return counts, copying[0].lines, Sums(sums, table, np.diag(step), some.largest, chosen)


def _spread_out(matrix: Bits) -> Bits:
    """Take neighbours from rows at random, further along each row: (rows, weights)."""
    rows, columns = matrix.shape
    width = min(_TOGETHER, columns)
    lines, parts = choice(rows, _SOME // width), columns // width
    cut = matrix[:, : parts * width].reshape(rows, parts, width)
    some: Bits = cut[lines, np.arange(lines.size) % parts]
    return some


def _scales(sample: Bits, dtype: str, columns: int, largest: float) -> Array | None:
    """Estimate the scale of each column by what was `_spread_out`, if that is from all columns."""
    lines, width = sample.shape
    parts = columns // width
    times = lines // parts
    if times == 0 or largest == 0.0:
        return None
    squares = (decode(sample[: times * parts], dtype, narrow=True) / np.float32(largest)) ** 2
    seen = squares.reshape(times, -1).mean(0)
    return np.append(seen, np.full(columns - seen.size, seen.mean()))


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
    estimated = apart(known.table[np.searchsorted(labels, counts.labels)], known.unit).T
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
    """Give both influences of the whole numbers that are in each word: (entries, 2)."""
    low = whole.astype(np.int32).astype(np.int64)
    numbers: Array = np.stack([(whole - low) / _LOW, low], 1) @ unit
    return numbers


def of_every_scale(scales: Array) -> Some:
    """Choose lines by their scale.

    They are the `LARGEST` ones, which rule whatever depends on the upper tail, and of the others,
    in order of their scale, one from the middle of each of so many equal parts that there are
    `LOOKED_AT`; all lines if there are no more.
    """
    if scales.size <= LOOKED_AT:
        return Some(np.arange(scales.size), np.ones(scales.size))
    order, parts = np.argsort(np.nan_to_num(scales)), LOOKED_AT - LARGEST
    others = scales.size - LARGEST
    middle = ((np.arange(parts) + 0.5) * others / parts).astype(np.int64)
    numbers = order[np.concatenate([middle, np.arange(others, scales.size)])]
    standing_for = np.repeat([others / parts, 1.0], [parts, LARGEST])
    in_place = np.argsort(numbers)  # columns in their order are copied in a third of the time
    return Some(numbers[in_place], standing_for[in_place])
