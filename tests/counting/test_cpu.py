"""Counting on the CPU against `numpy.unique`, for every format and way to split the work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from tests.counting import samples
from tests.counting.samples import any_pattern, reference, wide
from tests.oracle import same_counts as same
from weibnb.counting.counts import Counts
from weibnb.counting.cpu import PendingOnThreads, count_bits, merged
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import NAMES, as_bits, label_values
from weibnb.counting.limits import Limits
from weibnb.parallel import slices

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")

FINFO: Any = ml_dtypes.finfo


@pytest.mark.parametrize("dtype", oracle.EXACT)
def test_every_pattern_of_a_small_format_is_counted_once_per_sign(dtype: str) -> None:
    weights = any_pattern(dtype)
    value = wide(weights)
    counts = count_magnitudes(weights)
    same(counts, reference(weights))
    assert (counts.counts == 2).all()
    limits = FINFO(oracle.DTYPES[dtype])
    assert counts.exact
    assert counts.zeros == 2
    assert counts.nans == np.isnan(value).sum() > 0
    assert counts.infinities == np.isinf(value).sum() == (0 if dtype == "float8_e4m3fn" else 2)
    assert counts.largest == counts.values[-1] == float(limits.max)
    assert counts.values[0] == float(limits.smallest_subnormal)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("distribution", ["gaussian", "lognormal"])
def test_counts_equal_unique(distribution: str, dtype: str) -> None:
    weights = oracle.matrix(distribution, dtype, 30_001)
    counts = count_magnitudes(weights)
    same(counts, reference(weights))
    assert counts.exact == (dtype in oracle.EXACT)
    assert counts.n == 30_001
    assert counts.zeros == 3
    assert counts.labels.dtype == np.int32
    assert counts.counts.dtype == np.int64
    np.testing.assert_array_equal(label_values(counts.labels), counts.values)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_empty_input(dtype: str) -> None:
    for shape in ((0,), (3, 0), (0, 4, 5)):
        counts = count_magnitudes(np.empty(shape, oracle.DTYPES[dtype]))
        same(counts, Counts())
    same(count_magnitudes(torch.empty(0, 3, dtype=getattr(torch, dtype))), Counts())
    same(count_magnitudes([]), Counts())


@pytest.mark.parametrize("size", [*range(10), 4095, 4097])
@pytest.mark.parametrize("offset", range(5))
def test_no_weight_is_lost_at_the_end_of_a_word(size: int, offset: int) -> None:
    flat = np.arange(1, size + offset + 1).astype(np.float16)[offset:]
    counts = count_magnitudes(flat)
    same(counts, reference(flat))
    assert counts.n == size


# What the weights of a stretch of a matrix may be, by format and length.
STRETCHES: dict[str, Callable[[str, int], NDArray[Any]]] = {
    "gaussian": lambda dtype, n: samples.stored(oracle.sample("gaussian", n, 1), dtype),
    "tiny": lambda dtype, n: samples.stored(1e-41 * oracle.sample("gaussian", n, 2), dtype),
    "few bits": lambda dtype, n: samples.stored(np.arange(1, n + 1) % 15 / 16, dtype),
    "zeros": lambda dtype, n: samples.stored(np.where(np.arange(n) % 3, 0.0, -0.0), dtype),
    "subnormals": lambda dtype, n: np.resize(samples.subnormals(dtype), n),
    "not finite": lambda dtype, n: np.resize(samples.not_finite(dtype), n),
    "any": lambda dtype, n: np.resize(any_pattern(dtype), n),
}
LENGTHS = st.sampled_from([1, 2, 3, 7, 8, 9, 2047, 2048, 2049, 5000])
MATRICES = st.lists(st.tuples(st.sampled_from(sorted(STRETCHES)), LENGTHS), max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(oracle.DTYPES)),
    MATRICES,
    st.integers(0, 9),
    st.sampled_from([1000, 2048, 3001, 1 << 20]),
)
def test_any_weights_at_any_address_are_counted_as_numpy_does(
    dtype: str, stretches: list[tuple[str, int]], offset: int, piece: int
) -> None:
    parts = [STRETCHES[kind](dtype, length) for kind, length in stretches]
    weights = np.concatenate([np.empty(0, oracle.DTYPES[dtype]), *parts])
    memory = np.zeros(weights.nbytes + offset, np.uint8)
    memory[offset:] = weights.view(np.uint8)
    bits = memory[offset:].view(samples.UNSIGNED[weights.itemsize])
    bits.flags.writeable = False
    found = merged([count_bits(bits[part], NAMES[dtype]) for part in slices(bits.size, piece)])
    same(found.finish(), reference(weights))


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_nothing_is_left_in_the_counters_for_the_next_matrix(dtype: str) -> None:
    for weights in (any_pattern(dtype), oracle.matrix("gaussian", dtype, 5000)):
        same(count_magnitudes(weights), reference(weights))
        same(count_magnitudes(weights[:10]), reference(weights[:10]))
        same(count_magnitudes(weights[:0]), Counts())


def test_weights_with_gaps_are_counted() -> None:
    for dtype in oracle.DTYPES:
        weights = oracle.matrix("gaussian", dtype, 5000)
        bits, name = as_bits(weights)
        same(count_bits(bits[::2], name).finish(), reference(weights[::2]))


@pytest.mark.parametrize(("size", "pieces"), [(0, 0), (99, 0), (100, 1), (101, 1), (1001, 2)])
def test_small_matrices_are_counted_where_they_are_asked_for(size: int, pieces: int) -> None:
    weights = np.arange(1, size + 1).astype(np.float32)
    with ThreadPoolExecutor(1) as pool:
        limits = Limits(worth_a_thread=100, piece=1000)
        pending = PendingOnThreads(pool, *as_bits(weights), workers=1, limits=limits)
        assert len(pending.pieces) == pieces
        same(pending.result(), reference(weights))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("chunk", [1, 7, 500, 4000, 4001, 5000])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float32"])
def test_pieces_add_up(dtype: str, chunk: int, workers: int) -> None:
    weights = oracle.matrix("laplace", dtype, 3993 if chunk > 100 else 40)
    whole = count_magnitudes(weights)
    with ThreadPoolExecutor(workers) as pool:
        pending = PendingOnThreads(
            pool,
            *as_bits(weights),
            workers=workers,
            limits=Limits(piece=chunk, pieces_waiting=3, worth_a_thread=0),
        )
        assert len(pending.pieces) == -(-weights.size // chunk)
        assert pending.load == len(pending.pieces) / (3 * workers)
        assert not pending.was_read
        same(pending.result(), whole)
        same(pending.result(), whole)


def test_pieces_of_different_precision_add_up() -> None:
    weights = np.arange(1, 2001, dtype=np.float32)
    weights[1500:] /= 3
    whole = count_magnitudes(weights)
    assert not whole.exact
    with ThreadPoolExecutor(1) as pool:
        pieces = PendingOnThreads(
            pool, *as_bits(weights), workers=1, limits=Limits(piece=1000, worth_a_thread=0)
        )
        same(pieces.result(), whole)


def test_counters_do_not_wrap_when_pieces_are_added() -> None:
    few, many = (count_bits(np.full(3, 0x3F80, np.uint16), "BF16") for _ in range(2))
    many.counts[:] = 2**32 - 1
    assert merged([few, many, many]).finish().counts.tolist() == [2 * (2**32 - 1) + 3]


def test_pieces_that_were_not_begun_are_given_up() -> None:
    begun, busy = Event(), Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(begun.set)
        pool.submit(busy.wait)
        begun.wait()
        weights = np.ones(10, np.float32)
        pending = PendingOnThreads(
            pool, *as_bits(weights), workers=1, limits=Limits(piece=3, worth_a_thread=0)
        )
        assert not pending.abandon()
        assert [piece.cancelled() for piece in pending.pieces] == [True] * 4
        busy.set()
