"""A second look at a matrix that was counted: lines of zeros, and sums over every line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled, compiled_inline, compiled_inline_sums, compiled_sums
from weibnb.counting.formats import FORMATS
from weibnb.counting.lines import Lines
from weibnb.counting.squares import as_words, rule_of
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch
    from numpy.typing import NDArray
    from typing_extensions import TypeIs

    from weibnb.counting.formats import Bits

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Numbers = NDArray[np.int64]
    _Block = tuple[int, Bits]

# Weights of whole rows that are looked at, or copied where they have gaps, at once.
_BLOCK = 1 << 18


def is_tensor(bits: object) -> TypeIs[torch.Tensor]:
    """Whether weights are a tensor, not an array or what is computed like one."""
    return hasattr(bits, "detach")


def _blocks(bits: Bits, shape: tuple[int, int], part: slice = slice(None)) -> Iterator[_Block]:
    """Cut a part of the entries of a matrix into whole rows: the number of the first, and some."""
    lines = shape[0] // len(bits)
    first, stop, _ = part.indices(len(bits))
    for some in slices(stop - first, max(_BLOCK // (lines * shape[1]), 1)):
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
    for start, block in _blocks(_entries(bits, shape), shape):
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


def some_lines(
    bits: Bits | torch.Tensor, dtype: str, shape: tuple[int, int], rows: Numbers, columns: Numbers
) -> Lines:
    """Copy rows and columns of given numbers; the others are those of `zero_lines`."""
    if is_tensor(bits):
        from weibnb.counting import device_look

        return device_look.some_lines(bits, dtype, shape, rows, columns)
    matrix = bits.reshape(shape)
    return Lines(dtype, matrix[rows], matrix.take(columns, 1))


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
    rule, unit = rule_of(dtype, largest)
    entries = _entries(bits, shape)
    rows, row_squares, row_sizes = np.zeros(shape[0], np.int64), *np.zeros((2, shape[0]))

    def job(part: slice) -> tuple[Any, Any]:
        columns, squared = np.zeros(shape[1], np.int64), np.zeros((2, shape[1]))
        for start, block in _blocks(entries, shape, part):
            words, own = as_words(block, dtype, unit), slice(start, start + len(block))
            _sum(block, words, influence, rule, rows[own], columns, row_squares[own], squared[0])
            if nonfinite:
                finite = (words & rule.mask) < rule.limit
                row_sizes[own] = finite.sum(1)
                squared[1] += finite.sum(0)
        return columns, squared

    each = -(-len(entries) // workers)
    found = on_threads(job, slices(len(entries), each), workers)
    columns = sum(one for one, _ in found)
    column_squares, column_sizes = sum(one for _, one in found)
    if not nonfinite:
        row_sizes[:], column_sizes = shape[1], np.full(shape[1], shape[0])
    with np.errstate(invalid="ignore"):
        row_rms, column_rms = (
            unit * np.sqrt(squared / sizes)
            for squared, sizes in ((row_squares, row_sizes), (column_squares, column_sizes))
        )
    return LineSums(rows, columns, row_rms, column_rms)


@compiled_sums
def _sum(
    block: Any,
    words: Any,
    influence: Any,
    rule: Any,
    rows: Any,
    columns: Any,
    row_squares: Any,
    column_squares: Any,
) -> None:
    """Add the sums of some whole rows, two at once: columns are read and written half as often."""
    size = block.shape[1]
    places = np.empty((2, size), np.uint32)
    word = np.empty(size, np.uint32)
    value, total = word.view(np.float32), np.zeros(size, np.float32)
    for i in range(0, len(block), 2):
        single = i + 1 == len(block)
        _places(block[i], influence, places[0])
        if single:
            places[1] = 0
        else:
            _places(block[i + 1], influence, places[1])
        one, other = _two_rows(places, influence.table, columns)
        rows[i] = one
        row_squares[i] = _squares(words[i], rule, word, value, total)
        if not single:
            rows[i + 1] = other
            row_squares[i + 1] = _squares(words[i + 1], rule, word, value, total)
    for j in range(size):
        column_squares[j] += total[j]


@compiled_inline
def _places(row: Any, influence: Any, places: Any) -> None:
    """Give the counter of each weight."""
    for j in range(row.size):
        places[j] = (row[j] & influence.mask) >> influence.shift


@compiled_inline_sums
def _two_rows(places: Any, table: Any, columns: Any) -> Any:
    """Sum influences over two rows, and add them to columns."""
    one = other = np.int64(0)
    for j in range(columns.size):
        first, second = table[np.uint64(places[0, j])], table[np.uint64(places[1, j])]
        one += first
        other += second
        columns[j] += first + second
    return one, other


@compiled_inline_sums
def _squares(row: Any, rule: Any, word: Any, value: Any, total: Any) -> Any:
    """Sum squares over a row, and add them to columns."""
    magnitude, limit, up, factor = rule
    for j in range(row.size):
        bits = np.uint32(row[j]) & magnitude
        word[j] = (bits << up) if bits < limit else np.uint32(0)
    some = np.float32(0.0)
    for j in range(row.size):
        square = (value[j] * factor) ** 2
        some += square
        total[j] += square
    return some
