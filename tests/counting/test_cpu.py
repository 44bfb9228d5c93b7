"""Magnitude counts against `numpy.unique`, for every format, layout and way to split the work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from tests import oracle
from tests.oracle import same_counts as same
from tests.oracle import to_torch
from weibnb.counting import cpu as histogram
from weibnb.counting.counts import Counts
from weibnb.counting.cpu import collect, submit, tally
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits, label_values

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")

FINFO: Any = ml_dtypes.finfo
UNSIGNED: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def every_pattern(dtype: str) -> NDArray[Any]:
    """Every bit pattern of a small format; a million random ones of a large format."""
    stored = oracle.DTYPES[dtype]
    unsigned = UNSIGNED[stored.itemsize]
    if stored.itemsize <= 2:
        return np.arange(1 << 8 * stored.itemsize).astype(unsigned).view(stored)
    drawn = np.random.default_rng(3).integers(0, np.iinfo(unsigned).max, 200_000, unsigned)
    return drawn.view(stored)


def bins_of_values(ordered: oracle.Array, exact: bool) -> tuple[oracle.Array, NDArray[np.int64]]:
    """Occupied values, or lower edges of the 256 intervals an octave, and their counts."""
    if not exact:
        mantissa, exponent = np.frexp(ordered)
        ordered = np.ldexp(np.floor(mantissa * 512) / 512, exponent)
    values, counts = np.unique(ordered, return_counts=True)
    return values, counts.astype(np.int64)


def wide(weights: NDArray[Any]) -> oracle.Array:
    with np.errstate(invalid="ignore"):
        return weights.astype(np.float64)


@pytest.mark.parametrize("dtype", oracle.EXACT)
def test_every_pattern_of_a_small_format_is_counted_once_per_sign(dtype: str) -> None:
    weights = every_pattern(dtype)
    value = wide(weights)
    counts = count_magnitudes(weights)
    values, expected = bins_of_values(oracle.magnitudes(value), True)
    np.testing.assert_array_equal(counts.values, values)
    np.testing.assert_array_equal(counts.counts, expected)
    assert (counts.counts == 2).all()
    limits = FINFO(oracle.DTYPES[dtype])
    assert counts.exact
    assert counts.zeros == 2
    assert counts.nans == np.isnan(value).sum() > 0
    assert counts.infinities == np.isinf(value).sum() == (0 if dtype == "float8_e4m3fn" else 2)
    assert counts.largest == values[-1] == float(limits.max)
    assert counts.values[0] == float(limits.smallest_subnormal)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_patterns_of_a_large_format_are_counted_in_intervals(dtype: str) -> None:
    weights = every_pattern(dtype)
    value = wide(weights)
    normal = np.abs(value) >= np.finfo(dtype).tiny
    weights = weights[normal | ~np.isfinite(value)]
    value = wide(weights)
    counts = count_magnitudes(weights)
    values, expected = bins_of_values(oracle.magnitudes(value), False)
    np.testing.assert_array_equal(counts.values, values)
    np.testing.assert_array_equal(counts.counts, expected)
    assert not counts.exact
    assert counts.nans == np.isnan(value).sum() > 0
    assert counts.largest == np.abs(value[np.isfinite(value)]).max()


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("distribution", ["gaussian", "lognormal"])
def test_counts_equal_unique(distribution: str, dtype: str) -> None:
    weights = oracle.matrix(distribution, dtype, 30_001)
    value = wide(weights)
    counts = count_magnitudes(weights)
    assert counts.exact == (dtype in oracle.EXACT)
    values, expected = bins_of_values(oracle.magnitudes(weights), counts.exact)
    np.testing.assert_array_equal(counts.values, values)
    np.testing.assert_array_equal(counts.counts, expected)
    assert counts.n == 30_001
    assert counts.zeros == 3
    assert counts.nans == np.isnan(value).sum()
    assert counts.infinities == np.isinf(value).sum()
    assert counts.largest == np.abs(value[np.isfinite(value)]).max()
    assert counts.labels.dtype == np.int32
    assert counts.counts.dtype == np.int64
    np.testing.assert_array_equal(label_values(counts.labels), counts.values)


@pytest.mark.parametrize(
    ("dtype", "patterns"),
    [
        ("bfloat16", [0x7F81, 0x7FC0, 0xFFFF, 0xFF81]),
        ("float16", [0x7C01, 0x7E00, 0xFFFF, 0xFC01]),
        ("float8_e4m3fn", [0x7F, 0xFF]),
        ("float8_e5m2", [0x7D, 0x7E, 0x7F, 0xFD, 0xFF]),
        ("float32", [0x7F800001, 0x7FC00000, 0xFFFFFFFF, 0xFF800001]),
        ("float64", [0x7FF0000000000001, 0x7FF8000000000000, 0xFFF0000000000001, 2**64 - 1]),
    ],
)
def test_any_payload_is_a_nan_and_its_neighbour_an_infinity(
    dtype: str, patterns: list[int]
) -> None:
    stored = oracle.DTYPES[dtype]
    unsigned = UNSIGNED[stored.itemsize]
    nans = np.array(patterns, unsigned).view(stored)
    counts = count_magnitudes(nans)
    assert (counts.nans, counts.infinities, counts.zeros, counts.n) == (len(patterns), 0, 0, 0)
    assert counts.largest == 0
    neighbour = np.array([patterns[0] - 1], unsigned).view(stored)
    below = count_magnitudes(neighbour)
    if dtype == "float8_e4m3fn":
        assert (below.largest, below.n, below.infinities) == (448, 1, 0)
    else:
        assert (below.nans, below.infinities, below.n, below.largest) == (0, 1, 0, 0)
    largest = count_magnitudes(np.array([patterns[0] - 2], unsigned).view(stored))
    assert (largest.nans, largest.infinities, largest.n) == (0, 0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormals_are_not_zeros(dtype: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    weights = np.array([tiny, -tiny, 0, -0.0, tiny * 3, np.finfo(dtype).tiny / 2], dtype)
    counts = count_magnitudes(weights)
    assert (counts.zeros, counts.n) == (2, 4)
    assert counts.largest == np.finfo(dtype).tiny / 2
    assert (np.diff(counts.labels) > 0).all()
    assert (counts.values <= float(np.finfo(dtype).tiny) / 2).all()


def test_subnormals_of_bfloat16_stay_exact_when_upcast() -> None:
    weights = every_pattern("bfloat16")[:1024]
    same(count_magnitudes(weights), count_magnitudes(weights.astype(np.float32)))


@pytest.mark.parametrize("wide_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", oracle.EXACT)
def test_upcast_weights_have_the_counts_of_the_narrow_ones(dtype: str, wide_dtype: str) -> None:
    weights = every_pattern(dtype)
    weights = weights[~np.isnan(wide(weights))]
    same(count_magnitudes(weights), count_magnitudes(weights.astype(wide_dtype)))


def test_label_values_undo_the_labels_of_a_value() -> None:
    assert label_values([1047552, 1048576]).tolist() == [1.0, 2.0]
    assert label_values(1047553) == 1 + 2**-10
    assert label_values([]).size == 0


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_empty_input(dtype: str) -> None:
    for shape in ((0,), (3, 0), (0, 4, 5)):
        counts = count_magnitudes(np.empty(shape, oracle.DTYPES[dtype]))
        same(counts, Counts())
    same(count_magnitudes(torch.empty(0, 3, dtype=getattr(torch, dtype))), Counts())
    same(count_magnitudes([]), Counts())


def unaligned(flat: NDArray[Any]) -> NDArray[Any]:
    return np.frombuffer(b"\0" + flat.tobytes(), flat.dtype, offset=1)


def read_only(flat: NDArray[Any]) -> NDArray[Any]:
    copy = flat.copy()
    copy.flags.writeable = False
    return copy


def inner_view(flat: NDArray[Any]) -> NDArray[Any]:
    padded = np.full((12, 11, 16), 7, flat.dtype)
    padded[1:11, 2:7, 3:13] = flat.reshape(10, 5, 10)
    return padded[1:11, 2:7, 3:13]


LAYOUTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "strided": lambda flat: np.repeat(flat, 2)[::2],
    "reversed": lambda flat: flat[::-1],
    "transposed": lambda flat: flat.reshape(20, 25).T,
    "fortran": lambda flat: np.asfortranarray(flat.reshape(20, 25)),
    "three dimensions": lambda flat: flat.reshape(5, 10, 10),
    "inner view": inner_view,
    "read-only": read_only,
    "unaligned": unaligned,
    "shifted by one": lambda flat: np.concatenate([flat[:1], flat])[1:],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_layout_does_not_matter(dtype: str, layout: str) -> None:
    flat = oracle.matrix("gaussian", dtype, 492)
    arranged = LAYOUTS[layout](flat)
    assert arranged.size == 500
    same(count_magnitudes(arranged), count_magnitudes(flat))


@pytest.mark.parametrize("dtype", [">f2", ">f4", ">f8", "<f4"])
def test_byte_order_does_not_matter(dtype: str) -> None:
    native = oracle.matrix("gaussian", np.dtype(dtype).newbyteorder("=").name, 500)
    same(count_magnitudes(native.astype(dtype)), count_magnitudes(native))


@pytest.mark.parametrize("scalar", [2.5, np.float16(2.5), np.float32(2.5), np.array(2.5)])
def test_single_numbers_are_matrices_of_one_weight(scalar: Any) -> None:
    counts = count_magnitudes(scalar)
    assert (counts.values.tolist(), counts.counts.tolist()) == ([2.5], [1])


@pytest.mark.parametrize("size", [*range(10), 4095, 4097])
@pytest.mark.parametrize("offset", range(5))
def test_no_weight_is_lost_at_the_end_of_a_word(size: int, offset: int) -> None:
    flat = np.arange(1, size + offset + 1).astype(np.float16)[offset:]
    counts = count_magnitudes(flat)
    values, expected = bins_of_values(oracle.magnitudes(flat), True)
    np.testing.assert_array_equal(counts.values, values)
    np.testing.assert_array_equal(counts.counts, expected)
    assert counts.n == size


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("chunk", [1, 7, 500, 4000, 4001, 5000])
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float32"])
def test_pieces_add_up(
    monkeypatch: pytest.MonkeyPatch, dtype: str, chunk: int, workers: int
) -> None:
    weights = oracle.matrix("laplace", dtype, 3993 if chunk > 100 else 40)
    whole = count_magnitudes(weights)
    monkeypatch.setattr(histogram, "CHUNK", chunk)
    with ThreadPoolExecutor(1) as pool:
        pieces = submit(pool, *as_bits(weights))
        assert len(pieces) == -(-weights.size // chunk)
        same(collect(pieces), whole)
    same(count_magnitudes(weights, workers=workers), whole)


def test_pieces_of_different_precision_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.arange(1, 2001, dtype=np.float32)
    weights[1500:] /= 3
    whole = count_magnitudes(weights)
    assert not whole.exact
    monkeypatch.setattr(histogram, "CHUNK", 1000)
    same(count_magnitudes(weights), whole)


def test_counters_do_not_wrap_when_pieces_are_added() -> None:
    piece = tally(np.full(3, 0x3F80, np.uint16), "BF16")
    piece.counters[0x3F80] = 2**32 - 1
    total = tally(np.full(3, 0x3F80, np.uint16), "BF16")
    total += piece
    total += piece
    assert total.finish().counts.tolist() == [2 * (2**32 - 1) + 3]


MERGED = {
    "exact + exact": ("float16", "bfloat16"),
    "fp8 + exact": ("float8_e4m3fn", "float16"),
    "exact + interval": ("bfloat16", "float32"),
    "interval + exact": ("float64", "float16"),
    "interval + interval": ("float32", "float64"),
}


@pytest.mark.parametrize("case", MERGED)
def test_merging_equals_counting_the_concatenation(case: str) -> None:
    left, right = (oracle.matrix("gaussian", name, 4000, seed=5) for name in MERGED[case])
    merged = count_magnitudes(left) + count_magnitudes(right)
    together = np.concatenate([left.astype(np.float64), right.astype(np.float64)])
    same(merged, count_magnitudes(together))
    assert merged.exact == ("interval" not in case)
    same(merged + Counts(), merged)
    same(Counts() + merged, merged)


def test_merging_leaves_its_parts_alone() -> None:
    left, right = count_magnitudes([1.0, 2.0]), count_magnitudes([2.0, 1 / 3])
    before = left.counts.copy(), right.counts.copy(), left.labels.copy()
    both = left + right
    assert both.counts.tolist() == [1, 1, 2]
    for kept, now in zip(before, (left.counts, right.counts, left.labels), strict=True):
        np.testing.assert_array_equal(kept, now)


def test_repr_tells_values_from_intervals() -> None:
    values = repr(count_magnitudes([1.0, -1.0, 0.0, np.nan, np.inf]))
    assert values == "<Counts of 2 non-zero weights in 1 values, 1 zeros, 2 not finite>"
    assert "2 intervals" in repr(count_magnitudes([1 / 3, 1 / 7]))


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_tensors_equal_arrays(dtype: str) -> None:
    weights = oracle.matrix("gaussian", dtype, 492)
    tensor = to_torch(weights)
    expected = count_magnitudes(weights)
    same(count_magnitudes(tensor), expected)
    same(count_magnitudes(tensor.view(20, 25)), expected)
    same(count_magnitudes(tensor.view(20, 25).t()), expected)
    same(count_magnitudes(torch.stack([tensor, tensor], 1)[:, 0]), expected)
    same(count_magnitudes(tensor[3]), count_magnitudes(weights[3]))
    same(count_magnitudes(tensor[1:]), count_magnitudes(weights[1:]))


def test_parameters_that_require_a_gradient() -> None:
    layer = torch.nn.Linear(30, 40, dtype=torch.bfloat16)
    counts = count_magnitudes(layer.weight)
    value = layer.weight.detach().to(torch.float64).numpy()
    values, expected = bins_of_values(oracle.magnitudes(value), True)
    np.testing.assert_array_equal(counts.values, values)
    np.testing.assert_array_equal(counts.counts, expected)
    assert layer.weight.requires_grad


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "bool"])
def test_integer_arrays_count_as_float64(dtype: str) -> None:
    whole = np.array([[0, 1, 3], [1, 1, 0]], dtype)
    counts = count_magnitudes(whole)
    same(counts, count_magnitudes(whole.astype(np.float64)))
    assert counts.exact
    same(count_magnitudes([0, 1, 2]), count_magnitudes([0.0, 1.0, 2.0]))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_tensors_that_are_not_floating_point_are_refused(dtype: Any) -> None:
    with pytest.raises(TypeError, match=r"`weights` must be of one of the formats float64, .* got"):
        count_magnitudes(torch.ones(3, dtype=dtype))


def test_unsupported_float8_tensors_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="got float8_e4m3fnuz"):
        count_magnitudes(torch.zeros(3, dtype=torch.float8_e4m3fnuz))


@pytest.mark.parametrize(
    ("weights", "name"),
    [
        (np.ones(3, complex), "complex128"),
        (np.array(["a", "b"]), "str"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64"),
        (np.ones(3, np.longdouble), np.dtype(np.longdouble).name),
        (np.ones(3, ml_dtypes.float8_e4m3b11fnuz), "float8_e4m3b11fnuz"),
        ("abc", "str"),
    ],
)
def test_arrays_that_are_not_floating_point_are_refused(weights: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"`weights` must be of one of the formats .* got {name}"):
        count_magnitudes(weights)
