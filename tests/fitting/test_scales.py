"""How unequal rows and columns are: against the formula in numpy, and against simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import oracle
from weibnb.counting.formats import as_bits, decode
from weibnb.counting.lines import FEWEST, SAMPLED, lines_of
from weibnb.fitting.scales import spread, spreads

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines

    Array = NDArray[Any]
    Rng = np.random.Generator

EVERY = 1 << 20
few = settings(max_examples=40, deadline=None)


class Spread(NamedTuple):
    """What is measured of the lines of one direction."""

    h: float
    error: float
    noise: float


def measured(weights: Array, sampled: int = EVERY) -> tuple[Spread, Spread]:
    bits, dtype = as_bits(weights)
    values = decode(bits, dtype)
    lines = lines_of(bits, dtype, (weights.shape[0], weights.shape[1]), sampled)
    largest = np.abs(values[np.isfinite(values)]).max(initial=0.0)
    rows, columns = spreads([lines], np.array([largest]))[0]
    return Spread(*rows), Spread(*columns)


def by_numpy(values: Array) -> tuple[float, float]:
    """h and the noise of rows by their definition."""
    live = values[(values**2).sum(1) > 0]
    total = (live**2).sum(1, keepdims=True)
    logs = 0.5 * np.log(total[:, 0] / values.shape[1])
    share = live**2 / total
    without = share + share**2 / 2 + share**3 / 3
    noise = ((without - without.mean(0)) ** 2).sum() / (4 * (len(live) - 1))
    return np.sqrt(max(logs.var(ddof=1) - noise, 0.0)), noise


def drawn(rng: Rng, shape: tuple[int, int], h_row: float, h_col: float) -> Array:
    rows, columns = (
        np.exp(h * rng.normal(size=n)) for h, n in zip((h_row, h_col), shape, strict=True)
    )
    weights: Array = rng.normal(0, 0.02, shape) * rows[:, None] * columns
    return weights


@pytest.mark.parametrize("dtype", sorted(oracle.DTYPES))
@pytest.mark.parametrize("shape", [(8, 9), (40, 70), (300, 20)])
def test_h_is_what_its_formula_says(dtype: str, shape: tuple[int, int]) -> None:
    weights = drawn(np.random.default_rng(3), shape, 0.5, 0.3)
    weights[2] = 0.0
    if min(shape) > 8:
        weights[:, 3] = -0.0
    stored = weights.astype(oracle.DTYPES[dtype])
    values = stored.astype(float)
    for found, matrix in zip(measured(stored), (values, values.T), strict=True):
        live = min((matrix != 0).any(side).sum() for side in (0, 1))
        h, noise = by_numpy(matrix)
        if live < FEWEST:
            assert np.isnan(found[:2]).all()
            continue
        assert found.h == pytest.approx(h, rel=1e-4, abs=1e-4)
        assert found.noise == pytest.approx(noise, rel=1e-4)


@few
@given(st.integers(0, 2**32 - 1), st.sampled_from([2.0**-9, 0.25, 8.0]))
def test_what_h_does_not_depend_on(seed: int, factor: float) -> None:
    """Order and sign of lines, and the unit; rows and columns change places with the matrix."""
    rng = np.random.default_rng(seed)
    weights = drawn(rng, (24, 30), 0.4, 0.2).astype(np.float32)
    rows, columns = measured(weights)
    signs = rng.choice([-1, 1], weights.shape).astype(np.float32)
    moved = (weights * signs)[rng.permutation(24)][:, rng.permutation(30)] * factor
    for found, expected in zip(measured(moved), (rows, columns), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    turned = measured(np.ascontiguousarray(weights.T))
    np.testing.assert_allclose(turned, (columns, rows), rtol=1e-5, atol=1e-7)


@few
@given(st.integers(0, 2**32 - 1))
def test_scales_of_rows_alone_change_h_of_rows_alone(seed: int) -> None:
    """With columns that are equal up to noise, unequal rows stay no reason for unequal columns."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(64, 64))
    scales = np.exp(np.linspace(-1, 1, 64))[:, None]
    rows, _ = measured(weights * scales)
    assert rows.h == pytest.approx(np.log(scales).std(ddof=1), abs=4 * 0.088 / 64**0.5 + 0.03)


@pytest.mark.parametrize("live", [0, 1, FEWEST - 1, FEWEST])
def test_few_lines_that_are_not_zero_give_no_h(live: int) -> None:
    weights = np.zeros((40, 60))
    weights[:live] = np.random.default_rng(0).normal(size=(live, 60))
    rows, columns = measured(weights)
    assert np.isnan(rows.h) == np.isnan(rows.error) == (live < FEWEST)
    assert np.isnan(columns.h) == np.isnan(columns.error) == (live < FEWEST)


@pytest.mark.parametrize("live", [1, 2, 4, FEWEST, 12])
def test_columns_of_few_rows_that_are_not_zero_are_not_called_unequal(live: int) -> None:
    rng = np.random.default_rng(live)
    for _ in range(20):
        weights = np.zeros((64, 400))
        weights[:live] = rng.normal(size=(live, 400))
        columns = measured(weights)[1]
        assert not columns.h > 3 * columns.error


def test_a_matrix_is_measured_alike_in_any_company() -> None:
    """Of other formats, units and shapes; without lines, without weights that are not zero."""
    rng = np.random.default_rng(5)
    every = [
        drawn(rng, (20, 30), 0.5, 0.1).astype(oracle.DTYPES["bfloat16"]),
        1e200 * drawn(rng, (30, 20), 0.1, 0.5),
        1e-300 * drawn(rng, (30, 20), 0.1, 0.5),
        np.zeros((20, 20)),
        drawn(rng, (9, 70), 0.2, 0.2).astype(np.float32),
        drawn(rng, (9, 70), 0.2, 0.2),
    ]
    lines: list[Lines | None] = [lines_of(*as_bits(one), one.shape) for one in every]
    lines[-1] = None
    largest = np.array([np.abs(one.astype(float)).max() for one in every])
    found = spreads(lines, largest)
    assert np.isnan(found[[3, 5]]).all()
    for place in (0, 1, 2, 4):
        np.testing.assert_array_equal(found[place], measured(every[place], SAMPLED))
        assert np.isfinite(found[place]).all()


def test_equal_weights_have_no_spread_and_no_error() -> None:
    for found in measured(np.ones((20, 30))):
        assert found[:2] == pytest.approx((0.0, 0.0), abs=1e-7)


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_left_out(what: float) -> None:
    weights = drawn(np.random.default_rng(1), (60, 80), 0.5, 0.0)
    plain = measured(weights)
    weights[5, 7], weights[9] = what, what
    for found, expected in zip(measured(weights), plain, strict=True):
        assert found.h == pytest.approx(expected.h, abs=0.02)
    values = np.where(np.isfinite(weights), weights, 0.0)
    squares = np.delete((values**2).sum(1) / np.isfinite(weights).sum(1).clip(1), 9)
    rows = measured(weights)[0]
    assert rows.h**2 + rows.noise == pytest.approx((np.log(squares) / 2).var(ddof=1), rel=1e-4)


CORES: dict[str, Callable[[Rng, tuple[int, int]], Array]] = {
    "gaussian": lambda rng, shape: rng.normal(size=shape),
    "laplace": lambda rng, shape: rng.laplace(size=shape),
    "t5": lambda rng, shape: rng.standard_t(5, shape),
}


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize(("h_row", "h_col"), [(0.0, 0.0), (0.0, 0.5), (0.35, 0.0), (0.35, 0.5)])
@pytest.mark.parametrize("sampled", [32, EVERY])
def test_h_and_its_error_are_those_of_the_law(
    core: str, h_row: float, h_col: float, sampled: int
) -> None:
    """150 matrices of 96 x 128: neither heavy tails nor unequal columns are unequal rows."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(150):
        rows = np.exp(h_row * rng.normal(size=(96, 1)))
        columns = np.exp(h_col * rng.normal(size=128))
        weights = (CORES[core](rng, (96, 128)) * rows * columns).astype(np.float32)
        found.append(measured(weights, sampled)[0])
    h, error, noise = np.array(found).T
    covered = (np.abs(h - h_row) <= 1.96 * error).mean()
    assert covered > 0.87
    if h_row:
        assert h.mean() == pytest.approx(h_row, rel=0.05)
        assert np.sqrt((error**2).mean()) == pytest.approx(h.std(), rel=0.25)
    else:
        assert h.mean() < 0.5 * np.sqrt(noise.mean())


def test_spread_of_known_scales() -> None:
    rms = np.exp(0.3 * np.random.default_rng(0).normal(size=4000)).astype(np.float32)
    found = Spread(*spread(np.concatenate([rms, [0.0, np.nan]]), 0.0))
    assert found.h == pytest.approx(np.log(rms.astype(float)).std(ddof=1), rel=1e-6)
    assert found.error == pytest.approx(0.3 / (2 * 4000) ** 0.5, rel=0.1)
    less = Spread(*spread(rms, 0.05))
    assert less.h == pytest.approx(np.sqrt(found.h**2 - 0.05), rel=1e-6)
    nothing = Spread(*spread(rms, 1.0))
    assert nothing.h == 0
    assert nothing.error > 0


@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_lines_outside_float32_have_neither_h_nor_an_error(unit: float) -> None:
    live = np.full(96, unit) * np.exp(np.random.default_rng(0).normal(0, 0.3, 96))
    with np.errstate(over="ignore", divide="ignore"):
        found = spread(live.astype(np.float32), 0.0)
    assert np.isnan(found[:2]).all()


@pytest.mark.parametrize(("heads", "least"), [(16, 0.85), (32, 0.9)])
def test_errors_of_all_lines_cover_where_lines_of_a_head_are_alike(
    heads: int, least: float
) -> None:
    """As if lines were drawn one by one, 1.96 errors covered h in some 0.3."""
    rng, found = np.random.default_rng(8), []
    for _ in range(300):
        scale = np.repeat(np.exp(0.35 * rng.normal(size=heads)), 512 // heads)
        rms = scale * np.sqrt(rng.chisquare(128, 512) / 128)
        found.append(spread(rms.astype(np.float32), 1 / 256)[:2])
    h, error = np.array(found).T
    assert (np.abs(h - 0.35) <= 1.96 * error).mean() > least
    assert np.median(error) < 1.5 * h.std()
