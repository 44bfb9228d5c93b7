"""Bit patterns: of every type, layout and way to hold weights, and what their labels stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from tests import oracle
from tests.counting.samples import UNSIGNED, any_pattern, of_patterns, reference
from tests.oracle import same_counts as same
from tests.oracle import to_torch
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import (
    FORMATS,
    LABEL_SHIFT,
    NAMES,
    decode,
    label_values,
    value_parts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_patterns_are_decoded_with_their_sign(dtype: str) -> None:
    weights = any_pattern(dtype)
    with np.errstate(invalid="ignore"):
        expected = weights.astype(np.float64)
    bits = weights.view(UNSIGNED[weights.itemsize])
    found = decode(bits, NAMES[dtype])
    np.testing.assert_array_equal(found, expected)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(expected)[known])
    np.testing.assert_array_equal(decode(bits[::-3], NAMES[dtype]), expected[::-3])
    assert decode(bits[:0], NAMES[dtype]).dtype == np.float64


def test_label_values_undo_the_labels_of_a_value() -> None:
    assert label_values([1047552, 1048576]).tolist() == [1.0, 2.0]
    assert label_values(1047553) == 1 + 2**-10
    assert label_values([]).size == 0


def labels_of(dtype: str) -> NDArray[np.int64]:
    """Labels of all finite values of a small format but zero."""
    form = FORMATS[NAMES[dtype]]
    values = decode(np.arange(1, form.finite).astype(form.bits), form.name)
    return values.view(np.int64) >> LABEL_SHIFT


@pytest.mark.parametrize("dtype", oracle.EXACT)
def test_values_are_made_of_their_parts(dtype: str) -> None:
    labels = labels_of(dtype)
    octave, mantissa, lowest = value_parts(labels)
    values = label_values(labels)
    np.testing.assert_array_equal(octave * (1 + mantissa / 1024), values)
    np.testing.assert_array_equal(octave, 2.0 ** np.floor(np.log2(values)))
    steps = values / lowest
    assert (steps % 2 == 1).all()


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
    counts = count_magnitudes(of_patterns(patterns, dtype))
    assert (counts.nans, counts.infinities, counts.zeros, counts.n) == (len(patterns), 0, 0, 0)
    assert counts.largest == 0
    below = count_magnitudes(of_patterns([patterns[0] - 1], dtype))
    if dtype == "float8_e4m3fn":
        assert (below.largest, below.n, below.infinities) == (448, 1, 0)
    else:
        assert (below.nans, below.infinities, below.n, below.largest) == (0, 1, 0, 0)
    largest = count_magnitudes(of_patterns([patterns[0] - 2], dtype))
    assert (largest.nans, largest.infinities, largest.n) == (0, 0, 1)


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
    same(counts, reference(value.astype(ml_dtypes.bfloat16)))
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
