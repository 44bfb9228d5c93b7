"""Sums over lines made in the pass that counts, against a second pass and against numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits, decode
from weibnb.counting.lines import lines_of
from weibnb.fitting import line_sums
from weibnb.fitting.estimates import influences
from weibnb.fitting.full_look import look_at_all
from weibnb.fitting.line_sums import (
    Sums,
    apart,
    can_count_and_sum,
    count_and_sum,
    of_counts,
)
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

RANKS: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression"}
LIKELIHOOD: Any = {"trim": (0.0, 1.0), "estimator": "maximum_likelihood"}
SHAPE = (1030, 1100)


def scaled(rng: np.random.Generator, h: float = 0.5) -> Array:
    return np.exp(rng.normal(0, h, (SHAPE[0], 1))) * rng.normal(size=SHAPE)


LAWS: dict[str, Callable[[np.random.Generator], Array]] = {
    "independent": lambda rng: rng.normal(size=SHAPE),
    "rows": scaled,
    "columns": lambda rng: rng.normal(size=SHAPE) * np.exp(rng.normal(0, 0.5, SHAPE[1])),
    "Laplace": lambda rng: rng.laplace(size=SHAPE),
    "heads": lambda rng: (
        np.repeat(np.exp(rng.normal(0, 0.3, (103, 1))), 10, 0) * rng.normal(size=SHAPE)
    ),
    "ramp": lambda rng: np.linspace(0.1, 3, SHAPE[0])[:, None] * rng.normal(size=SHAPE),
}


def counted(weights: Array, how: Any, workers: int = 1) -> tuple[Array, str, Any, Any, Sums]:
    bits, form = as_bits(weights)
    return bits, form, *count_and_sum(bits, form, weights.shape, workers=workers, **how)


def own_influences(counts: Any, how: Any) -> Array:
    return np.nan_to_num(influences(CountRows.of([counts]), **how)[1])


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("shape", [SHAPE, (8, 140_001), (140_000, 9), (1024, 1024), (1025, 1031)])
def test_counts_lines_and_sums(shape: tuple[int, int], dtype: str, workers: int) -> None:
    rng = np.random.default_rng(5)
    weights = rng.normal(0, 0.02, shape)
    weights[0, :3], weights[-1, -1] = (0.0, -0.0, np.nan), np.inf
    stored = weights.astype(oracle.DTYPES[dtype])
    bits, form, counts, lines, sums = counted(stored, RANKS, workers)
    expected = count_magnitudes(stored)
    for name in ("labels", "counts", "zeros", "nans", "infinities", "largest"):
        np.testing.assert_array_equal(getattr(counts, name), getattr(expected, name))
    copied = lines_of(bits, form, shape)
    np.testing.assert_array_equal(lines.rows, copied.rows)
    np.testing.assert_array_equal(lines.columns, copied.columns)
    each = sums.table[bits & 0x7FFF].reshape(shape)
    values = np.nan_to_num(decode(bits, form).reshape(shape), posinf=0.0)
    for axis, found, rms in (
        (1, sums.of_lines.rows, sums.of_lines.row_rms),
        (0, sums.of_lines.columns, sums.of_lines.column_rms),
    ):
        np.testing.assert_array_equal(found, each.sum(axis))
        rounding = 1e-6 if max(shape) < 10_000 else 1e-5  # of sums in float32
        np.testing.assert_allclose(rms, np.sqrt((values**2).mean(axis)), rtol=rounding)


@pytest.mark.parametrize("how", [RANKS, LIKELIHOOD], ids=["ranks", "likelihood"])
@pytest.mark.parametrize("law", sorted(LAWS))
def test_what_is_summed_before_is_what_is_summed_after(law: str, how: Any) -> None:
    weights = LAWS[law](np.random.default_rng(7)).astype(np.float16)
    bits, form, counts, _, sums = counted(weights, how)
    v = own_influences(counts, how)
    kept = of_counts(bits, form, SHAPE, counts, v, workers=1, known=sums)
    assert kept.of_lines is sums.of_lines
    before, after = (
        look_at_all(bits, form, SHAPE, counts, workers=1, sums=one, **how) for one in (sums, None)
    )
    size = np.sqrt(np.diag(after.products))
    assert np.abs((before.products - after.products) / np.outer(size, size)).max() < 0.05
    for one, other in ((before.row_rms, after.row_rms), (before.column_rms, after.column_rms)):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def outliers(weights: Array) -> None:
    """A few weights that the sample does not hold rule the likelihood."""
    weights[5, 1000:1010] = 3e4


def zeros(weights: Array) -> None:
    weights[:5] = 0.0


def not_a_number(weights: Array) -> None:
    weights[700, 3] = np.nan


def one_value(weights: Array) -> None:
    weights[:] = 0.5


def sample_of_another_law(weights: Array) -> None:
    """Whatever is taken beforehand is ten times as small."""
    taken = line_sums._spread_out(np.arange(weights.size, dtype=np.uint32).reshape(SHAPE))
    weights.reshape(-1)[taken.ravel()] *= 0.1


def larger_than_any_before(weights: Array) -> None:
    """Squares in the unit of the weights before would not fit."""
    weights *= 1e-4
    weights[5, 1000] = 6e4


@pytest.mark.parametrize(
    "spoil",
    [outliers, zeros, not_a_number, one_value, sample_of_another_law, larger_than_any_before],
)
def test_what_was_summed_of_other_influences_is_not_used(spoil: Callable[[Array], None]) -> None:
    weights = np.random.default_rng(8).normal(size=SHAPE).astype(np.float16)
    spoil(weights)
    how = LIKELIHOOD if spoil is outliers else RANKS
    bits, form, counts, _, sums = counted(weights, how)
    v = own_influences(counts, how)
    anew = of_counts(bits, form, SHAPE, counts, v, workers=1, known=None)
    found = of_counts(bits, form, SHAPE, counts, v, workers=1, known=sums)
    assert found.of_lines is not sums.of_lines
    for one, other in zip(found.of_lines, anew.of_lines, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(
        apart(found.of_lines.rows, found.unit), apart(anew.of_lines.rows, anew.unit)
    )


def test_weights_are_taken_from_everywhere() -> None:
    matrix = np.arange(2048 * 2048, dtype=np.uint32).reshape(2048, 2048)
    taken = line_sums._spread_out(matrix)
    assert taken.size == 1 << 17
    assert np.unique(taken).size == taken.size
    rows, columns = np.divmod(taken, 2048)
    assert (np.bincount(rows.ravel()) == 64).all()
    assert (np.bincount(columns.ravel()) == 64).all()


def test_rows_that_alternate_are_told_by_the_weights_that_are_taken() -> None:
    """As gate and up of one matrix: every second row, of 4,096, is three times as large."""
    weights = np.random.default_rng(2).normal(size=(4096, 1024)).astype(np.float16)
    weights[1::2] *= np.float16(3)
    bits, form = as_bits(weights)
    counts, _, sums = count_and_sum(bits, form, weights.shape, workers=1, **RANKS)
    v = own_influences(counts, RANKS)
    kept = of_counts(bits, form, weights.shape, counts, v, workers=1, known=sums)
    assert kept.of_lines is sums.of_lines


@pytest.mark.parametrize(
    ("bits", "dtype", "shape", "can"),
    [
        (np.zeros(1 << 22, "u2"), "BF16", (2048, 2048), True),
        (np.zeros((1 << 22) - 2048, "u2"), "BF16", (2047, 2048), False),
        (np.zeros(1 << 22, "u4"), "F32", (2048, 2048), False),
        (np.zeros(1 << 22, "u1"), "F8_E4M3", (2048, 2048), False),
        (np.zeros(1 << 22, "u2"), "BF16", (8, 1 << 19), True),
        (np.zeros(7 << 20, "u2"), "BF16", (7, 1 << 20), False),
        (np.zeros((2048, 4096), "u2")[:, ::2], "BF16", (2048, 2048), False),
        (object(), "BF16", (2048, 2048), False),
    ],
)
def test_which_matrices_are_counted_and_summed_at_once(
    bits: Any, dtype: str, shape: tuple[int, int], can: bool
) -> None:
    assert can_count_and_sum(bits, dtype, shape) is can


def test_a_scan_that_counts_and_sums_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives what one in two passes does: the same counts and fits, errors within 1 %."""
    name = "model.layers.{}.self_attn.q_proj.weight"
    rng = np.random.default_rng(9)
    weights = {name.format(i): scaled(rng, h).astype(np.float16) for i, h in ((0, 0.5), (1, 0.0))}
    weights[name.format(1)][3] = 0.0
    counted_and_summed = []

    def count(*matrix: Any, **how: Any) -> Any:
        counted_and_summed.append(matrix)
        return count_and_sum(*matrix, **how)

    monkeypatch.setattr(line_sums, "count_and_sum", count)
    monkeypatch.setattr(line_sums, "_FROM", 1 << 20)
    at_once = wb.scan({"m": weights}, fields=True, progress=False)
    monkeypatch.setattr(line_sums, "_FROM", 1 << 40)
    in_two = wb.scan({"m": weights}, fields=True, progress=False)
    for variable in ("k", "lam", "counts", "dead_rows", "dead_cols", "status"):
        np.testing.assert_array_equal(at_once[variable].values, in_two[variable].values)
    for variable, error in (("h_row", 1e-6), ("row_rms", 1e-6), ("col_rms", 1e-6), ("k_se", 0.02)):
        np.testing.assert_allclose(at_once[variable], in_two[variable], rtol=error)
    assert at_once["dead_rows"].values.ravel().tolist() == [0, 1]
    assert len(counted_and_summed) == 2


DEGENERATE: dict[str, Callable[[np.random.Generator], Array]] = {
    "zeros": lambda _: np.zeros(SHAPE),
    "not a number": lambda _: np.full(SHAPE, np.nan),
    "infinite": lambda _: np.full(SHAPE, np.inf),
    "one value": lambda _: np.full(SHAPE, -0.3),
    "two values": lambda rng: rng.choice([0.1, -0.2], SHAPE),
    "one live row": lambda rng: rng.normal(size=SHAPE) * (np.arange(SHAPE[0]) == 7)[:, None],
    "subnormal": lambda rng: 1e-40 * rng.normal(size=SHAPE),
    "near the largest": lambda rng: 6e37 * rng.normal(size=SHAPE),
}


@pytest.mark.parametrize("kind", DEGENERATE)
def test_degenerate_matrices_are_what_they_are_in_two_passes(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = DEGENERATE[kind](np.random.default_rng(3)).astype(oracle.DTYPES["bfloat16"])
    model = {"model.layers.0.self_attn.q_proj.weight": weights}
    monkeypatch.setattr(line_sums, "_FROM", 1 << 20)
    at_once = wb.scan({"m": model}, fields=True, progress=False)
    monkeypatch.setattr(line_sums, "_FROM", 1 << 40)
    in_two = wb.scan({"m": model}, fields=True, progress=False)
    for variable in ("k", "status", "dead_rows", "dead_cols", "n", "nonfinite"):
        np.testing.assert_array_equal(at_once[variable].values, in_two[variable].values)
    for variable in ("k_se", "lam_se", "h_row", "h_col", "row_rms", "col_rms"):
        np.testing.assert_allclose(at_once[variable], in_two[variable], rtol=0.01)
