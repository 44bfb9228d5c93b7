"""One pass over two matrices, against numpy in float64 on the whole of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from weibnb.counting import changes
from weibnb.counting.changes import MatrixChange, PendingChange, Side
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.lines import lines_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TYPES: dict[str, Any] = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}


def side(weights: Array) -> Side:
    flat = np.ascontiguousarray(weights).reshape(-1)
    return Side(flat.view(f"u{flat.itemsize}"), NAMES[weights.dtype])


def compare(before: Array, after: Array, workers: int = 2) -> MatrixChange:
    shape = (before.shape[0], before.shape[1])
    with ThreadPoolExecutor(workers) as pool:
        pending = PendingChange(pool, side(before), side(after), shape=shape, workers=workers)
        return pending.result()


def pair(shape: tuple[int, int] = (60, 50), size: float = 0.1) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    base = rng.normal(size=shape)
    return base, base + size * rng.normal(size=shape)


def held_against_numpy(found: MatrixChange, before: Array, after: Array) -> None:
    """Everything that one pass finds, from values as float64."""
    a, b = before.astype("f8"), after.astype("f8")
    finite = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    assert found.size == a.size
    assert found.changed == np.count_nonzero(~same)
    with np.errstate(invalid="ignore"):
        d = b - a
    inside = np.where(finite, d, 0.0)
    assert found.change == count_magnitudes(np.where(finite, d, np.nan))
    a, b = (np.where(finite, w, 0.0) / found.unit for w in (a, b))
    expected = [((b - a) ** 2).sum(), (a**2).sum(), (b**2).sum(), (a * b).sum()]
    np.testing.assert_allclose(found.squares[:3], expected[:3], rtol=1e-12, atol=1e-300)
    norms = np.sqrt(expected[1]) * np.sqrt(expected[2])
    np.testing.assert_allclose(
        found.squares[3], expected[3], rtol=1e-12, atol=1e-12 * norms + 1e-300
    )
    at = int(np.abs(inside).argmax())
    assert found.largest_at == (at if inside.any() else -1)
    assert found.change.largest == np.abs(inside).max(initial=0.0)


@pytest.mark.parametrize(("before", "after"), list(product(TYPES, TYPES)))
def test_every_pair_of_formats(before: str, after: str) -> None:
    a, b = (w.astype(TYPES[name]) for w, name in zip(pair(), (before, after), strict=True))
    a[3, :5], b[4, :7], b[3, 0] = np.nan, np.nan, np.nan
    a[7, :4], b[7, :4] = 0.0, -0.0
    if before != "F8_E4M3":  # it has no infinity
        a[5, :3] = np.inf
        b[5, 2] = np.inf if after != "F8_E4M3" else 1
    found = compare(a, b)
    held_against_numpy(found, a, b)
    assert not found.identical
    for weights, counts in ((a, found.before), (b, found.after)):
        assert counts == count_magnitudes(side(weights).bits.view(weights.dtype).astype("f8")) or (
            weights.dtype.itemsize >= 4
        )


def test_lines_are_those_of_both_sides_and_of_the_difference() -> None:
    a, b = (w.astype("f4") for w in pair((90, 70)))
    found = compare(a, b)
    assert found.lines is not None
    for lines, weights in zip(found.lines, (a, b, b.astype("f8") - a), strict=True):
        expected = lines_of(side(weights).bits, NAMES[weights.dtype], (90, 70))
        np.testing.assert_array_equal(lines.rows, expected.rows)
        np.testing.assert_array_equal(lines.columns, expected.columns)
    assert compare(a[:7], b[:7]).lines is None


@pytest.mark.parametrize("name", TYPES)
def test_a_copy_is_zero_exactly(name: str) -> None:
    weights = pair()[0].astype(TYPES[name])
    weights[0, :3] = np.nan
    found = compare(weights, weights.copy())
    assert (found.changed, found.squares[0], found.largest_at) == (0, 0.0, -1)
    assert found.squares[1] == found.squares[2] == found.squares[3]
    assert found.change.n == 0
    assert found.identical


def test_a_zero_that_changes_its_sign_and_another_nan_are_no_change_but_other_bits() -> None:
    weights = pair()[0].astype("f4")
    weights[0, 0], weights[0, 1] = 0.0, np.nan
    other = weights.copy()
    other[0, 0] = -0.0
    other.view("u4")[0, 1] ^= 1
    found = compare(weights, other)
    assert found.changed == 0
    assert not found.identical
    assert compare(weights, weights.astype("f8")).changed == 0
    assert not compare(weights, weights.astype("f8")).identical


def test_pieces_chunks_and_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (w.astype(ml_dtypes.bfloat16) for w in pair((301, 97)))
    b[200, 13] = 9
    whole = compare(a, b)
    monkeypatch.setattr(changes, "_PIECE", 5000)
    monkeypatch.setattr(changes, "_CHUNK", 3000)
    for workers in (1, 3):
        found = compare(a, b, workers)
        held_against_numpy(found, a, b)
        assert found.change == whole.change
        assert (found.before, found.after) == (whole.before, whole.after)
    assert found.largest_at == 200 * 97 + 13


@pytest.mark.parametrize(
    "some",
    [
        [(1.0, 2.0**-17), (2.0**-17, -1.0), (-1.0, 2.0**-40)],  # float32 holds 24 bits
        [(2.0**-130, 2.0**-129), (2.0**-133, 0.0), (0.0, 2.0**-126)],  # subnormal in float32
        [(3e38, -3e38), (-3.3e38, 3.3e38)],  # beyond float32
    ],
)
def test_differences_that_float32_does_not_hold(some: list[tuple[float, float]]) -> None:
    a, b = (w.astype(ml_dtypes.bfloat16) for w in pair((96, 64)))
    for i, (before, after) in enumerate(some):
        for row in (3, 70):  # in two blocks of three
            a[row, 5 * i], b[row, 5 * i] = before, after
    found = compare(a, b)
    held_against_numpy(found, a, b)
    assert found.lines is not None
    expected = lines_of(side(b.astype("f8") - a.astype("f8")).bits, "F64", (96, 64))
    np.testing.assert_array_equal(found.lines[2].rows, expected.rows)
    np.testing.assert_array_equal(found.lines[2].columns, expected.columns)


def test_a_piece_with_nan_beside_pieces_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_PIECE", 2048)
    a, b = (w.astype(ml_dtypes.bfloat16) for w in pair((96, 64)))
    a[50, 3], b[51, 4], b[52, 4] = np.nan, np.inf, 3e38
    held_against_numpy(compare(a, b), a, b)


def test_the_first_of_equal_differences_is_the_largest() -> None:
    weights = np.zeros((40, 4000), "f4")
    other = weights.copy()
    other[3, 100], other[30, 7] = -2, 2
    assert compare(weights, other).largest_at == 3 * 4000 + 100


@pytest.mark.parametrize("scale", [1e-290, 1e290])
def test_squares_of_float64_stay_in_range(scale: float) -> None:
    a, b = (w * scale for w in pair())
    found = compare(a, b)
    held_against_numpy(found, a, b)
    assert 0 < found.squares[0] < np.inf


@pytest.mark.parametrize("sizes", [(5e-197, 1.0), (1.0, 5e-197), (1e-197, 0.0), (1e200, 1.0)])
def test_tiny_and_huge_numbers_beside_those_of_a_narrow_format(sizes: tuple[float, float]) -> None:
    a, b = np.full((9, 11), sizes[0]), np.full((9, 11), sizes[1])
    narrow = tuple(
        w.astype("f2") if size < 1e5 else w for w, size in zip((a, b), sizes, strict=True)
    )
    held_against_numpy(compare(a, narrow[1]), a, narrow[1])
    held_against_numpy(compare(narrow[0], b), narrow[0], b)


@pytest.mark.parametrize("smaller", [1e-2, 1e-3, 1e-4, 1e-7])
def test_products_of_sides_of_very_different_scale(smaller: float) -> None:
    a = np.random.default_rng(0).normal(0, 100, (64, 80)).astype("f2")
    for b in ((a * smaller).astype("f2"), -(a.T[:64, :1] * smaller).astype("f2") + 0 * a):
        held_against_numpy(compare(a, b), a, b)
        held_against_numpy(compare(b, a), b, a)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(["f2", "f4", "f8"]), st.sampled_from(["f2", "f4", "f8"]))
def test_any_values(data: st.DataObject, before: str, after: str) -> None:
    a, b = (
        data.draw(arrays.arrays(kind, (9, 11), elements=arrays.from_dtype(np.dtype(kind))))
        for kind in (before, after)
    )
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(b.astype("f8") - a.astype("f8")).all():
            return  # differences of the largest float64 overflow
    held_against_numpy(compare(a, b), a, b)


def test_nothing_is_nothing() -> None:
    found = compare(np.empty((0, 4), "f4"), np.empty((0, 4), "f4"))
    assert (found.size, found.changed, found.largest_at) == (0, 0, -1)
    assert found.identical
