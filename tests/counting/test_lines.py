"""Rows and columns that are copied while a matrix is counted, against slices of the matrix."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.cpu import PendingOnThreads, count_bits
from weibnb.counting.formats import FORMATS, as_bits
from weibnb.counting.limits import Limits
from weibnb.counting.lines import FEWEST, SAMPLED, Lines, choice, lines_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check(lines: Lines, matrix: NDArray[Any]) -> None:
    """Hold the copies equal to what indexing gives."""
    rows, columns = (choice(size, SAMPLED) for size in matrix.shape)
    np.testing.assert_array_equal(lines.rows, matrix[rows])
    np.testing.assert_array_equal(lines.columns, matrix[:, columns])
    assert lines.nbytes == lines.rows.nbytes + lines.columns.nbytes


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("shape", [(8, 8), (33, 31), (31, 33), (257, 300), (700, 130)])
@pytest.mark.parametrize("piece", [1000, 4096, 1 << 20])
def test_lines_are_those_of_the_matrix_and_counts_are_the_same(
    dtype: str, shape: tuple[int, int], piece: int
) -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.02, shape).astype(oracle.DTYPES[dtype])
    bits, form = as_bits(weights)
    limits = Limits(worth_a_thread=900, piece=piece)
    with ThreadPoolExecutor(3) as pool:
        pending = PendingOnThreads(pool, bits, form, workers=3, limits=limits, shape=shape)
        counts = pending.result()
    oracle.same_counts(counts, count_bits(bits, form).finish())
    assert pending.lines is not None
    check(pending.lines, bits.reshape(shape))


def test_lines_of_weights_that_leave_the_coarse_grid() -> None:
    """The counting of F32 begins anew where a subnormal comes; what it copied is whole."""
    weights = np.random.default_rng(1).normal(0, 1, (300, 700)).astype(np.float32)
    weights[150, 100] = 1e-40
    bits, form = as_bits(weights)
    check(lines_of(bits, form, (300, 700)), bits.reshape(300, 700))
    with ThreadPoolExecutor(1) as pool:
        pending = PendingOnThreads(pool, bits, form, workers=1, shape=(300, 700))
        pending.result()
    assert pending.lines is not None
    check(pending.lines, bits.reshape(300, 700))


@pytest.mark.parametrize("shape", [None, (FEWEST - 1, 400), (400, FEWEST - 1), (0, 0)])
def test_no_lines_without_a_shape_or_of_few_rows_or_columns(shape: Any) -> None:
    bits = np.ones(400 if shape is None else shape[0] * shape[1], FORMATS["BF16"].bits)
    with ThreadPoolExecutor(1) as pool:
        assert PendingOnThreads(pool, bits, "BF16", workers=1, shape=shape).lines is None


def test_the_choice_is_the_same_each_time_without_repeats_and_spread_over_all() -> None:
    chosen = choice(1000, SAMPLED)
    choice.cache_clear()
    np.testing.assert_array_equal(chosen, choice(1000, SAMPLED))
    assert np.unique(chosen).size == SAMPLED
    assert chosen[0] < 150 < 850 < chosen[-1] < 1000
    np.testing.assert_array_equal(choice(SAMPLED, SAMPLED), np.arange(SAMPLED))
    np.testing.assert_array_equal(choice(3, SAMPLED), [0, 1, 2])
