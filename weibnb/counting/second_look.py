"""A second look at a matrix that was counted: lines of zeros, and sums over every line."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import (
    as_float32,
    compiled,
    compiled_inline,
    compiled_inline_sums,
    compiled_sums,
)
from weibnb.counting.cpu import Tally, take
from weibnb.counting.formats import FORMATS
from weibnb.counting.lines import copy_part, no_lines
from weibnb.counting.squares import as_words, rule_of
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import LinesInCopying

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.int64]
    _Block = tuple[int, Bits]

# Weights of whole rows that are looked at, or copied where they have gaps, at once.
_BLOCK = 1 << 18
# Weights whose columns are added up in float32, and whose lines are copied from the cache.
_CHUNK = 1 << 16


def is_tensor(bits: object) -> TypeIs[torch.Tensor]:
    """Whether weights are a tensor, not an array or what is computed like one."""
    return hasattr(bits, "detach")


def _blocks(bits: Bits, shape: tuple[int, int], part: slice, most: int) -> Iterator[_Block]:
    """Cut a part of the entries of a matrix into whole rows: the number of the first, and some."""
    lines = shape[0] // len(bits)
    first, stop, _ = part.indices(len(bits))
    for some in slices(stop - first, max(most // (lines * shape[1]), 1)):
        at = slice(first + some.start, first + some.stop)
        yield at.start * lines, np.ascontiguousarray(bits[at]).reshape(-1, shape[1])


def _entries(bits: Bits, shape: tuple[int, int]) -> Bits:
    """View a matrix as entries of whole rows; in several dims it is so already."""
    return bits.reshape(shape) if bits.ndim == 1 else bits


def zero_lines(
    bits: Bits | torch.Tensor, dtype: str, shape: tuple[int, int]
) -> tuple[Flags, Flags]:
    """Tell which rows, and which columns, hold nothing but zeros, of either sign.

    Parameters
    ----------
    bits : ndarray of unsigned int, or torch.Tensor
        The matrix as `weibnb.counting.dispatch.Counting.submit_bits` takes it, not empty, or
        weights that are looked at where they are.
    dtype : str
        Its format, a key of `weibnb.counting.formats.FORMATS`.
    shape : tuple of int
        Its rows and columns as stored.

    Returns
    -------
    tuple of ndarray of bool, shapes (rows,) and (columns,)

    Examples
    --------
    >>> matrix = np.array([[0.0, -0.0], [0.0, 1.0]]).view("u8")
    >>> [flags.tolist() for flags in zero_lines(matrix, "F64", (2, 2))]
    [[True, False], [True, False]]
    """
    if is_tensor(bits):
        from weibnb.counting import device_look

        return device_look.zero_lines(bits, shape)
    word = FORMATS[dtype].bits.type
    mask = word((1 << 8 * np.dtype(word).itemsize - 1) - 1)
    rows, columns = np.zeros(shape[0], word), np.zeros(shape[1], word)
    for start, block in _blocks(_entries(bits, shape), shape, slice(None), _BLOCK):
        _unite(block, mask, rows[start : start + len(block)], columns)
    return rows == 0, columns == 0


@compiled
def _unite(block: Any, mask: Any, rows: Any, columns: Any) -> None:
    """Unite the bits of magnitudes over each row and over each column."""
    for i in range(block.shape[0]):
        union = mask & ~mask
        for j in range(block.shape[1]):
            magnitude = block[i, j] & mask
            union |= magnitude
            columns[j] |= magnitude
        rows[i] = union


class Influence(NamedTuple):
    """What each weight does to two estimates, by its counter; the compiled loops take it whole.

    Attributes
    ----------
    table : ndarray of int64, shape (counters,)
        Two numbers of 32 bits in one: 2^32 times the first, and the second. The first entry, of
        weights that are zero, is 0.
    mask, shift : unsigned int
        The counter of a pattern is what of it is under the mask, shifted.
    """

    table: NDArray[np.int64]
    mask: np.unsignedinteger[Any]
    shift: np.unsignedinteger[Any]


class LineSums(NamedTuple):
    """Sums over every line of a matrix.

    Attributes
    ----------
    rows, columns : ndarray of int64, shape (lines,)
        Of both influences, as they stand in the table.
    row_rms, column_rms : ndarray of float64, shape (lines,)
        Root mean square of the finite weights, in their units; NaN where there are none.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    row_rms: Array
    column_rms: Array


def line_sums(
    bits: Bits | torch.Tensor,
    dtype: str,
    shape: tuple[int, int],
    influence: Influence,
    *,
    largest: float,
    nonfinite: bool,
    workers: int,
) -> LineSums:
    """Sum influences and squares over every row and every column.

    Parameters
    ----------
    bits, dtype, shape
        As of `zero_lines`.
    influence : Influence
        Whose sums over a line fit 32 bits each.
    largest : float
        Largest finite magnitude.
    nonfinite : bool
        Whether some weights are not finite.
    workers : int
        Threads.
    """
    if is_tensor(bits):
        from weibnb.counting import device_look

        return LineSums(*device_look.line_sums(bits, dtype, shape, influence, largest))
    sums, _ = _sums(bits, dtype, shape, influence, largest, workers, nonfinite=nonfinite)
    return sums


def count_and_sum(
    bits: Bits,
    dtype: str,
    shape: tuple[int, int],
    influence: Influence,
    *,
    largest: float,
    workers: int,
    copying: LinesInCopying,
) -> tuple[Counts, LineSums]:
    """Count fewer than 2^32 weights of 16 bits, sum over lines, and copy some, in one pass.

    The parameters are those of `line_sums`, `largest` a magnitude near the largest one. Root mean
    squares are right if all weights are finite.
    """
    bits = bits.view()
    bits.flags.writeable = False  # as those of a file: loops are compiled for these alone
    sums, counters = _sums(bits, dtype, shape, influence, largest, workers, copying=copying)
    found = take(counters, 0, counters.size, min(counters.size, prod(shape)))
    return Tally(FORMATS[dtype], *found).finish(), sums


def _sums(
    bits: Bits,
    dtype: str,
    shape: tuple[int, int],
    influence: Influence,
    largest: float,
    workers: int,
    *,
    nonfinite: bool = False,
    copying: LinesInCopying | None = None,
) -> tuple[LineSums, Numbers]:
    """Sum over lines; where some are copied, count the patterns of 16 bits as well."""
    rule, unit = rule_of(dtype, largest)
    entries, (table, mask, shift) = _entries(bits, shape), influence
    none = no_lines(as_words(bits[:0], dtype, unit).dtype)
    rows, row_squares, row_sizes = np.zeros(shape[0], np.int64), *np.zeros((2, shape[0]))

    def job(part: slice) -> tuple[Any, Any, Any]:
        columns, squared = np.zeros(shape[1], np.int64), np.zeros((2, shape[1]))
        counters = np.zeros(table.size if copying else 0, np.uint32)
        for start, block in _blocks(entries, shape, part, bits.size if copying else _BLOCK):
            words, own = as_words(block, dtype, unit), slice(start, start + len(block))
            wanted = none if copying is None else copying.after(start * shape[1])
            out = rows[own], row_squares[own], columns, squared[0]
            _sum(block, mask, shift, words, table, counters, rule, wanted, *out)
            if nonfinite:
                finite = (words & rule.mask) < rule.limit
                row_sizes[own] = finite.sum(1)
                squared[1] += finite.sum(0)
        return columns, squared, counters

    each = -(-len(entries) // workers)
    found = on_threads(job, slices(len(entries), each), workers)
    columns, squared, counted = (reduce(np.add, some) for some in zip(*found, strict=True))
    column_squares, column_sizes = squared
    if not nonfinite:
        row_sizes[:], column_sizes = shape[1], np.full(shape[1], shape[0])
    with np.errstate(invalid="ignore"):
        row_rms, column_rms = (
            unit * np.sqrt(squared / sizes)
            for squared, sizes in ((row_squares, row_sizes), (column_squares, column_sizes))
        )
    return LineSums(rows, columns, row_rms, column_rms), counted


@compiled_sums
def _sum(
    bits: Any,
    mask: Any,
    shift: Any,
    words: Any,
    table: Any,
    counters: Any,
    rule: Any,
    wanted: Any,
    rows: Any,
    row_squares: Any,
    columns: Any,
    column_squares: Any,
) -> None:
    """Add the sums of some whole rows, count places if there are counters, and copy lines."""
    size, flat = bits.shape[1], words.reshape(-1)
    step = max(_CHUNK // size // 3 * 3, 3)
    for first in range(0, len(bits), step):
        stop = min(first + step, len(bits))
        total = np.zeros(size, np.float32)
        for i in range(first, stop - 2, 3):
            a, b, c = bits[i], bits[i + 1], bits[i + 2]
            if counters.size:
                found = _count_three_rows(a, b, c, mask, table, counters, columns)
            else:
                found = _three_rows(a, b, c, mask, shift, table, columns)
            rows[i], rows[i + 1], rows[i + 2] = found
            found = _three_squares(words[i], words[i + 1], words[i + 2], rule, total)
            row_squares[i], row_squares[i + 1], row_squares[i + 2] = found
        for i in range(stop - (stop - first) % 3, stop):
            for j in range(size):
                at, square = np.uint64((bits[i, j] & mask) >> shift), _square(words[i, j], rule)
                if counters.size:
                    counters[at] += np.uint32(1)
                rows[i] += table[at]
                columns[j] += table[at]
                row_squares[i] += square
                total[j] += square
        for j in range(size):
            column_squares[j] += total[j]
        copy_part(flat, first * size, stop * size, wanted)


@compiled_inline_sums
def _three_rows(a: Any, b: Any, c: Any, mask: Any, shift: Any, table: Any, columns: Any) -> Any:
    """Sum influences over three rows, and add them to columns."""
    of_a = of_b = of_c = np.int64(0)
    for j in range(columns.size):
        first = table[np.uint64((a[j] & mask) >> shift)]
        second = table[np.uint64((b[j] & mask) >> shift)]
        third = table[np.uint64((c[j] & mask) >> shift)]
        of_a += first
        of_b += second
        of_c += third
        columns[j] += first + second + third
    return of_a, of_b, of_c


@compiled_inline_sums
def _count_three_rows(
    a: Any, b: Any, c: Any, mask: Any, table: Any, counters: Any, columns: Any
) -> Any:
    """Do what `_three_rows` does of patterns that are counters, and count."""
    of_a = of_b = of_c = np.int64(0)
    for j in range(columns.size):
        at_a, at_b, at_c = np.uint64(a[j] & mask), np.uint64(b[j] & mask), np.uint64(c[j] & mask)
        counters[at_a] += np.uint32(1)
        counters[at_b] += np.uint32(1)
        counters[at_c] += np.uint32(1)
        of_a += table[at_a]
        of_b += table[at_b]
        of_c += table[at_c]
        columns[j] += table[at_a] + table[at_b] + table[at_c]
    return of_a, of_b, of_c


@compiled_inline_sums
def _three_squares(a: Any, b: Any, c: Any, rule: Any, total: Any) -> Any:
    """Sum squares over three rows, and add them to columns."""
    of_a = of_b = of_c = np.float32(0.0)
    for j in range(total.size):
        first, second, third = _square(a[j], rule), _square(b[j], rule), _square(c[j], rule)
        of_a += first
        of_b += second
        of_c += third
        total[j] += first + second + third
    return of_a, of_b, of_c


@compiled_inline
def _square(pattern: Any, rule: Any) -> Any:
    """Square a weight, 0 if it is not finite."""
    magnitude, limit, up, factor = rule
    bits = np.uint32(pattern) & magnitude
    value = as_float32((bits << up) if bits < limit else np.uint32(0)) * factor
    return value * value
