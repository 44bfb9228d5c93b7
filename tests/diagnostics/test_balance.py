"""Scales of rows and columns, held against their definition and a plain iteration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from weibnb.diagnostics import balance as module
from weibnb.diagnostics.balance import (
    MOST_ROUNDS,
    TOLERANCE,
    balance,
    divide,
    finite_part,
    line_squares,
    log_sums,
    shuffled,
)


def normal(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(height, width)).astype(np.float32)


def core_of(weights: Any) -> Any:
    found = balance(weights)
    return weights / found.a[:, None] / found.b


def rms(weights: Any, axis: int) -> Any:
    return np.sqrt((np.asarray(weights, float) ** 2).mean(axis))


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(2, 40),
    width=st.integers(2, 40),
    spread=st.floats(0, 1.5),
    seed=st.integers(0, 99),
)
@example(height=2, width=2, spread=0.0, seed=64)
def test_all_lines_of_a_core_have_one_rms(
    height: int, width: int, spread: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, spread, (height, 1)) + rng.normal(0, spread, width))
    weights = (rng.normal(size=(height, width)) * scale).astype(np.float32)
    found = balance(weights)
    core = weights / found.a[:, None] / found.b
    assert found.converged or (height, width) == (2, 2)
    if not found.converged:  # of four weights one may be so small that balance is approached slowly
        assert found.imbalance > 1e-6
        assert found.imbalance == pytest.approx(np.abs(rms(core, 1) - 1).max(), rel=0.1)
        return
    assert np.abs(rms(core, 0) - 1).max() <= 1e-6
    assert np.abs(rms(core, 1) - 1).max() <= 1.01e-6
    assert np.log(found.b).mean() == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(found.rows, rms(weights, 1), rtol=1e-6)
    np.testing.assert_allclose(found.cols, rms(weights, 0), rtol=1e-6)


def test_scales_that_were_put_in_come_out() -> None:
    core = core_of(normal(60, 90)).astype(np.float32)
    rng = np.random.default_rng(1)
    a, b = np.exp(rng.normal(0, 0.7, 60)), np.exp(rng.normal(0, 0.3, 90))
    found = balance((core * a[:, None] * b).astype(np.float32))
    centre = np.exp(np.log(b).mean())
    np.testing.assert_allclose(found.a, a * centre, rtol=1e-5)
    np.testing.assert_allclose(found.b, b / centre, rtol=1e-5)


def test_zeros_without_support_do_not_converge_and_zeros_with_it_do() -> None:
    triangle = np.tril(np.ones((12, 12), np.float32))
    found = balance(triangle)
    assert not found.converged
    assert found.rounds == MOST_ROUNDS
    assert found.imbalance > TOLERANCE
    blocks = np.kron(np.eye(3), np.ones((4, 4))).astype(np.float32) * normal(12, 12)
    assert balance(blocks).converged


def test_shuffling_keeps_the_weights_and_is_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUCKET", 2)
    rng, orders = np.random.default_rng(0), np.zeros((6, 6))
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    for _ in range(3000):
        mixed = shuffled(weights, rng).reshape(-1).astype(int)
        assert sorted(mixed) == list(range(6))
        orders[np.arange(6), mixed] += 1
    # 36 counts of binomial(3000, 1/6), each within 5 standard deviations
    assert np.abs(orders - 500).max() < 5 * np.sqrt(3000 * 5 / 36)


def test_shuffling_parts_neighbours() -> None:
    weights = np.arange(1 << 18, dtype=np.float32).reshape(512, 512)
    mixed = shuffled(weights, np.random.default_rng(0))
    assert np.array_equal(np.sort(mixed, axis=None), weights.reshape(-1))
    assert abs(np.corrcoef(mixed.reshape(-1), weights.reshape(-1))[0, 1]) < 0.01
    means = mixed.mean(axis=1)
    expected = weights.std() / np.sqrt(512)
    assert means.std() == pytest.approx(expected, rel=0.15)


def test_sums_are_those_of_numpy() -> None:
    weights = normal(7, 11)
    weights[2, 3] = weights[5] = 0
    rows, cols = line_squares(weights)
    wide = weights.astype(float)
    np.testing.assert_allclose(rows, (wide**2).sum(1))
    np.testing.assert_allclose(cols, (wide**2).sum(0))
    logs = np.log(np.abs(weights), where=weights != 0, out=np.zeros_like(weights)).astype(float)
    of_rows, of_cols, square = log_sums(weights)
    np.testing.assert_allclose(of_rows, [logs.sum(1), (weights != 0).sum(1)], atol=1e-5)
    np.testing.assert_allclose(of_cols, [logs.sum(0), (weights != 0).sum(0)], atol=1e-5)
    assert square == pytest.approx((logs**2).sum())
    a, b, out = np.arange(1.0, 8), np.arange(1.0, 12), np.empty_like(weights)
    fourth = divide(weights, a, b, out)
    np.testing.assert_allclose(out, wide * a[:, None] * b, rtol=1e-6)
    assert fourth == pytest.approx(((wide * a[:, None] * b) ** 4).mean())


def test_what_is_not_finite_is_left_out() -> None:
    weights, out = normal(4, 4), np.empty((4, 4), np.float32)
    weights[0, 0], weights[1, 1], weights[2, 2] = np.nan, np.inf, -np.inf
    assert finite_part(weights, np.float32(2), out) == 3
    assert np.array_equal(out, np.where(np.isfinite(weights), 2 * weights, 0))
