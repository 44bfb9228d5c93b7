"""Lines of zeros and sums over lines, against numpy over the decoded matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from weibnb.counting import second_look
from weibnb.counting.formats import FORMATS, NAMES, as_bits, decode
from weibnb.counting.second_look import Influence, line_sums, zero_lines
from weibnb.io.fused import Part

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

DTYPES = sorted(oracle.DTYPES)
SHAPES = [(1, 1), (1, 40), (40, 1), (7, 300), (129, 130), (300, 7)]


def spoiled(dtype: str, shape: tuple[int, int], seed: int = 0) -> Array:
    """Weights with zeros of both signs, dead lines, NaN and infinities."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.3, shape) * (rng.random(shape) > 0.3)
    weights[rng.random(shape[0]) < 0.2] = -0.0
    weights[:, rng.random(shape[1]) < 0.2] = 0.0
    weights[rng.random(shape) < 0.02] = np.nan
    if dtype != "float8_e4m3fn":
        weights[rng.random(shape) < 0.02] = -np.inf
    with np.errstate(invalid="ignore"):
        return weights.astype(oracle.DTYPES[dtype])


def by_numpy(weights: Array) -> tuple[Array, Array]:
    values = decode(as_bits(weights)[0], as_bits(weights)[1]).reshape(weights.shape)
    return (values == 0).all(1), (values == 0).all(0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("block", [1, 1 << 18])
def test_lines_of_zeros(
    dtype: str, shape: tuple[int, int], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_look, "_BLOCK", block)
    weights = spoiled(dtype, shape)
    bits, form = as_bits(weights)
    for found, expected in zip(zero_lines(bits, form, shape), by_numpy(weights), strict=True):
        np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(DTYPES), st.integers(0, 2**32 - 1))
def test_one_weight_brings_its_row_and_its_column_to_life(
    rows: int, columns: int, dtype: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    form = FORMATS[NAMES[dtype]]
    bits = np.zeros((rows, columns), form.bits)
    bits[rng.random(bits.shape) < 0.5] = 1 << 8 * form.bits.itemsize - 1  # negative zeros
    assert all(flags.all() for flags in zero_lines(bits.reshape(-1), form.name, (rows, columns)))
    row, column = rng.integers(rows), rng.integers(columns)
    bits[row, column] |= form.bits.type(1)  # the smallest subnormal, of either sign
    dead = zero_lines(bits.reshape(-1), form.name, (rows, columns))
    assert np.flatnonzero(~dead[0]).tolist() == [row]
    assert np.flatnonzero(~dead[1]).tolist() == [column]


@pytest.mark.parametrize("transposed", [False, True])
def test_lines_of_a_part_of_a_fused_matrix(transposed: bool) -> None:
    part = Part("k_proj", groups=3, width=6, start=2, stop=4, transposed=transposed)
    fused = spoiled("float16", (18, 20))
    matrix = fused[[2, 3, 8, 9, 14, 15]]
    stored, expected = (fused.T, matrix.T) if transposed else (fused, matrix)
    bits = np.ascontiguousarray(stored).view(np.uint16)
    found = zero_lines(part.of(bits), "F16", expected.shape)
    for one, other in zip(found, by_numpy(np.ascontiguousarray(expected)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("workers", "block"), [(1, 1 << 18), (3, 200)])
def test_sums_over_every_line(
    dtype: str,
    shape: tuple[int, int],
    workers: int,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(second_look, "_BLOCK", block)
    weights = spoiled(dtype, shape, 5)
    bits, form = as_bits(weights)
    word = FORMATS[form].bits.type
    mask, shift = (1 << 8 * word(0).itemsize - 1) - 1, max(8 * word(0).itemsize - 16, 0)
    table = np.random.default_rng(1).integers(-(1 << 40), 1 << 40, (mask >> shift) + 1)
    table[0] = 0
    values = decode(bits, form).reshape(shape)
    finite = np.isfinite(values)
    found = line_sums(
        bits,
        form,
        shape,
        Influence(table, word(mask), word(shift)),
        largest=float(np.abs(values[finite]).max(initial=0.0)),
        nonfinite=not finite.all(),
        workers=workers,
    )
    each = table[((bits & word(mask)) >> word(shift)).astype(int)].reshape(shape)
    for axis, sums, rms in ((1, found.rows, found.row_rms), (0, found.columns, found.column_rms)):
        np.testing.assert_array_equal(sums, each.sum(axis))
        with np.errstate(invalid="ignore"):
            expected = np.sqrt(np.where(finite, values, 0.0) ** 2).astype(float)
            expected = np.sqrt((expected**2).sum(axis) / finite.sum(axis))
        np.testing.assert_allclose(rms, expected, rtol=1e-6)
