"""Errors of a change between two checkpoints, against simulated pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import lines_of
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.pairs import Change, change_between
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Rng = np.random.Generator

EVERY = 1 << 20
SHAPE = (128, 128)


def normal(rng: Rng, *shape: int) -> Array:
    return rng.standard_normal(shape, dtype=np.float32)


def scales(rng: Rng) -> Array:
    return np.exp(0.5 * normal(rng, SHAPE[0], 1))


def change(before: Array, after: Array, sampled: int = 32, **protocol: Any) -> Change:
    shape = (before.shape[0], before.shape[1])
    one, other = (lines_of(*as_bits(w), shape, sampled) for w in (before, after))
    return change_between(
        count_magnitudes(before), count_magnitudes(after), (one, other), **protocol
    )


def fine_tuned(rng: Rng) -> tuple[Array, Array]:
    """Weights, and the same with a little noise."""
    weights = normal(rng, *SHAPE)
    return weights, weights + np.float32(0.05) * normal(rng, *SHAPE)


def rows_tuned(rng: Rng) -> tuple[Array, Array]:
    """Rows of unequal scale, with noise in proportion and scales that move a little."""
    before, after = fine_tuned(rng)
    scale = scales(rng)
    return before * scale, after * scale * np.exp(np.float32(0.05) * normal(rng, SHAPE[0], 1))


def heads_tuned(rng: Rng) -> tuple[Array, Array]:
    """A little noise, and heads of four rows whose scales move."""
    before, after = fine_tuned(rng)
    moved = np.repeat(np.exp(np.float32(0.1) * normal(rng, SHAPE[0] // 4, 1)), 4, axis=0)
    return before, after * moved


def rows_kept(rng: Rng) -> tuple[Array, Array]:
    """New weights in rows that keep their scales."""
    scale = scales(rng)
    return normal(rng, *SHAPE) * scale, normal(rng, *SHAPE) * scale


def apart(rng: Rng) -> tuple[Array, Array]:
    """Two draws with rows of unequal scale that have nothing in common."""
    return normal(rng, *SHAPE) * scales(rng), normal(rng, *SHAPE) * scales(rng)


def low_rank(rng: Rng) -> tuple[Array, Array]:
    """Weights, and the same with four directions added."""
    weights = normal(rng, *SHAPE)
    added = normal(rng, SHAPE[0], 4) @ normal(rng, 4, SHAPE[1])
    return weights, weights + np.float32(0.05) * added


def below_the_grid(rng: Rng) -> tuple[Array, Array]:
    """Noise far smaller than the intervals in which float32 is counted."""
    weights = normal(rng, *SHAPE)
    return weights, weights + np.float32(3e-4) * normal(rng, *SHAPE)


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("draw", [fine_tuned, rows_tuned, rows_kept, apart, low_rank])
def test_errors_equal_the_spread_of_changes(
    draw: Callable[[Rng], tuple[Array, Array]], estimator: Any
) -> None:
    """Median of 250 errors against the spread of 250 changes, known to 4.5 %."""
    rng = np.random.default_rng(9)
    found = np.array([change(*draw(rng), estimator=estimator) for _ in range(250)])
    spread, claimed = found.std(0), np.median(found, 0)
    assert claimed[1] == pytest.approx(spread[0], rel=0.2)
    assert claimed[3] == pytest.approx(spread[2], rel=0.2)
    covered = np.abs(found[:, 0] - found[:, 0].mean()) <= 1.96 * found[:, 1]
    assert 0.87 < covered.mean() < 0.99


def test_errors_cover_where_heads_move_apart() -> None:
    """By rows and columns alone, 1.96 errors of λ covered 0.70 of the changes."""
    rng = np.random.default_rng(9)
    found = np.array([change(*heads_tuned(rng)) for _ in range(250)])
    spread, claimed = found.std(0), np.median(found, 0)
    for value, error in ((0, 1), (2, 3)):
        assert 0.9 * spread[value] < claimed[error] < 1.8 * spread[value]
        covered = np.abs(found[:, value] - found[:, value].mean()) <= 1.96 * found[:, error]
        assert covered.mean() > 0.9


def test_noise_below_the_intervals_of_float32_has_an_error_on_the_safe_side() -> None:
    rng = np.random.default_rng(9)
    found = np.array([change(*below_the_grid(rng)) for _ in range(250)])
    spread, claimed = found.std(0), np.sqrt((found**2).mean(0))
    assert 0.9 * spread[0] < claimed[1] < 1.6 * spread[0] < 1e-4
    assert 0.9 * spread[2] < claimed[3] < 1.3 * spread[2]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ml_dtypes.bfloat16])
def test_a_copy_has_not_changed_at_all(dtype: Any) -> None:
    weights = normal(np.random.default_rng(0), 60, 50).astype(dtype)
    weights[3, :7] = 0
    assert change(weights, weights.copy()) == Change(0.0, 0.0, 0.0, 0.0)


def test_a_sign_that_flips_is_no_change_and_a_factor_moves_the_scale_alone() -> None:
    weights = normal(np.random.default_rng(0), 60, 50)
    assert change(weights, -weights) == Change(0.0, 0.0, 0.0, 0.0)
    doubled = change(weights, 2 * weights)
    assert abs(doubled.k) < 1e-12
    assert doubled.k_se < 1e-9
    assert doubled.log_lam == pytest.approx(np.log(2), abs=1e-12)
    assert doubled.log_lam_se < 1e-9


def test_matrices_that_share_nothing_have_the_sum_of_both_variances() -> None:
    """With all lines, in independent draws: up to noise of the estimated variance."""
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(20):
        before, after = apart(rng)
        single = [
            fit_counts(
                CountRows.of([count_magnitudes(one)]), lines=[lines_of(*as_bits(one), SHAPE, EVERY)]
            )["k_se"][0]
            for one in (before, after)
        ]
        ratios.append(change(before, after, EVERY).k_se / np.hypot(*single))
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_the_change_is_that_of_two_fits_whatever_the_formats() -> None:
    before, after = rows_tuned(np.random.default_rng(2))
    full = change(before, after)
    halves = change(before.astype("f2"), after.astype("f8"))
    fits = [fit_counts(CountRows.of([count_magnitudes(one)])) for one in (before, after)]
    assert full.k == fits[1]["k"][0] - fits[0]["k"][0]
    assert full.log_lam == np.log(fits[1]["lam"][0]) - np.log(fits[0]["lam"][0])
    assert halves.k == pytest.approx(full.k, abs=1e-3)
    assert halves.k_se == pytest.approx(full.k_se, rel=0.02)


def test_weights_that_become_zero_or_infinite_count_for_what_they_were() -> None:
    """Pruned at random: the weights that stay are the same."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        before = normal(rng, *SHAPE)
        before[0, 1:5] = 1e-45  # of the interval that is nearest to zero
        after = np.where(rng.random(SHAPE) < 0.6, np.float32(0), before)
        after[0, 0] = np.inf
        found.append(change(before, after))
    k, claimed, log_lam, of_lam = np.array(found).T
    assert np.sqrt((claimed**2).mean()) == pytest.approx(k.std(), rel=0.17)
    assert np.sqrt((of_lam**2).mean()) == pytest.approx(log_lam.std(), rel=0.17)


def test_without_lines_or_a_fit_it_says_so() -> None:
    weights = normal(np.random.default_rng(4), 60, 50)
    counts = count_magnitudes(weights)
    lines = lines_of(*as_bits(weights), (60, 50))
    unknown = change_between(counts, counts, None)
    assert (unknown.k, unknown.log_lam) == (0.0, 0.0)
    assert np.isnan([unknown.k_se, unknown.log_lam_se]).all()
    turned = lines_of(*as_bits(np.ascontiguousarray(weights.T)), (50, 60))
    assert np.isnan(change_between(counts, counts, (lines, turned)).k_se)
    flat = count_magnitudes(np.ones((60, 50)))
    assert np.isnan(change_between(counts, flat, (lines, lines))).all()
    with pytest.raises(ValueError, match="lower < upper"):
        change_between(counts, counts, None, trim=(0.9, 0.1))
