"""The error of samples of blocks, against draws and by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from weibnb import count_magnitudes
from weibnb.counting.counts import merged
from weibnb.counting.sampling import RowBlocks, count_block, lines_of_blocks
from weibnb.fitting.estimates import fit_counts, influences
from weibnb.fitting.rows import CountRows
from weibnb.fitting.sampling import WHOLE, BetweenBlocks

PROTOCOL: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression"}


def test_between_blocks_compares_neighbours() -> None:
    rng = np.random.default_rng(0)
    drawn = [count_magnitudes(rng.normal(size=50 + i)) for i in range(5)]
    whole = merged(drawn)
    v = rng.normal(size=(2, whole.labels.size))
    place = {label: i for i, label in enumerate(whole.labels.tolist())}
    sums = np.zeros((2, 5))
    for block, one in enumerate(drawn):
        for label, number in zip(one.labels.tolist(), one.counts.tolist(), strict=True):
            sums[:, block] += number * v[:, place[label]]
    found = BetweenBlocks.measured(drawn, whole, v, of=20).covariance
    wider = (stats.t.ppf(0.975, 32 / 11) / stats.norm.ppf(0.975)) ** 2
    k, b = sums[:, 1:] - sums[:, :-1]
    of_one = np.array([k @ k, b @ b, k @ b]) / 8 * 25 / whole.n**2
    assert found == pytest.approx(of_one * (1 / 5 - 1 / 20) * wider)


def test_a_drift_is_not_taken_for_noise_and_noise_is_not_missed() -> None:
    """Mean square of differences of neighbours over that of all: 1 for noise, 1/m² for a drift."""
    rng = np.random.default_rng(0)
    found = {}
    for name, scales in (("noise", np.ones(400)), ("drift", np.exp(np.linspace(-1, 1, 400)))):
        drawn = [count_magnitudes(rng.normal(size=400) * scale) for scale in scales]
        whole = merged(drawn)
        v = influences(CountRows.of([whole]), **PROTOCOL)[1]
        ordered = BetweenBlocks.measured(drawn, whole, v, of=4000).of_one
        mixed = [drawn[i] for i in rng.permutation(400)]
        found[name] = ordered / BetweenBlocks.measured(mixed, whole, v, of=4000).of_one
    assert found["noise"][:2] == pytest.approx(1.0, abs=0.3)
    assert found["drift"][1] < 0.05


@pytest.mark.parametrize("precision", [0.3, 0.03, 0.003, 1e-9])
def test_as_many_blocks_as_needed_and_no_more(precision: float) -> None:
    between = BetweenBlocks(np.array([0.03, 0.01, 0.0]), blocks=16, of=500)
    needed = between.needed(precision)

    def error(blocks: int) -> float:
        variance = between.covariance[0] / (1 / 16 - 1 / 500) * (1 / blocks - 1 / 500)
        return math.sqrt(max(variance, 0.0))

    assert needed <= 500
    assert error(needed) <= precision * (1 + 1e-9)
    assert needed == 1 or error(needed - 1) > precision


def test_all_blocks_leave_no_error_and_one_tells_nothing() -> None:
    of_one = np.array([4.0, 1.0, 0.0])
    assert not BetweenBlocks(of_one, 20, 20).covariance.any()
    counts = count_magnitudes(np.random.default_rng(0).normal(size=500))
    one = BetweenBlocks.measured([counts], counts, np.ones((2, counts.labels.size)), of=20)
    assert np.isinf(one.covariance[0])
    assert one.needed(0.1) == 20


def test_an_error_is_never_less_than_it_was_estimated_before() -> None:
    earlier = BetweenBlocks(np.array([4.0, 1.0, 1.0]), 16, 500)
    now = BetweenBlocks(np.array([1.0, 9.0, 1.5]), 20, 500)
    both = now.at_least(earlier)
    assert both.of_one.tolist() == [4.0, 9.0, 3.0]  # the correlation stays
    assert (both.blocks, both.of) == (20, 500)
    assert now.at_least(None) is now
    zero = BetweenBlocks(np.zeros(3), 20, 500)
    assert not zero.at_least(earlier).of_one.any()


def test_errors_of_a_sample_are_those_of_the_whole_matrix() -> None:
    """By rows and columns of unequal scale, each within the noise of 32 lines."""
    rng = np.random.default_rng(1)
    scales = np.exp(rng.normal(0, 0.3, (1024, 1)) + rng.normal(0, 0.3, 512))
    weights = (rng.normal(size=(1024, 512)) * scales).astype("f2")
    bits = weights.view("u2")
    effects = []
    for part in (64, 16):
        blocks = RowBlocks.of(bits.shape, itemsize=2, nbytes=16 * 1024, seed=5)
        drawn = [
            count_block(bits[slice(*blocks.rows_of(i))], "F16", first=blocks.is_first(i))
            for i in blocks.order[:part]
        ]
        counts = merged([one.counts for one in drawn])
        lines = lines_of_blocks(drawn, "F16", 1024)
        share = part / 64
        found = fit_counts(
            CountRows.of([counts]),
            lines=[lines],
            sampled=np.array([[share, 0.0, 0.0, 0.0]]),
            **PROTOCOL,
        )
        effects.append((found["k_design_effect"][0], found["k_se"][0]))
    (effect, error), (of_sample, error_of_sample) = effects
    assert effect > 4
    assert of_sample == pytest.approx(effect, rel=0.5)
    assert error_of_sample == pytest.approx(error, rel=0.3)


def test_errors_of_both_kinds_add_up() -> None:
    rows = CountRows.of([count_magnitudes(np.random.default_rng(0).normal(size=4096))] * 2)
    sampled = np.array([[1.0, 3e-4, 2e-4, 1e-4], WHOLE])
    found = fit_counts(rows, sampled=sampled, **PROTOCOL)
    lam = found["lam"][0]
    assert found["k_se"][0] == pytest.approx(math.hypot(found["k_se"][1], math.sqrt(3e-4)))
    own = found["lam_se"][1] / lam
    assert found["lam_se"][0] / lam == pytest.approx(math.hypot(own, math.sqrt(2e-4)))
    covariance = found["k_lam_correlation"] * found["k_se"] * found["lam_se"] / lam
    assert covariance[0] - covariance[1] == pytest.approx(1e-4)


def test_a_fourth_of_the_rows_has_half_of_the_error_of_independent_weights_again() -> None:
    counts = count_magnitudes(np.random.default_rng(0).normal(size=4096))
    table = influences(CountRows.of([counts]), **PROTOCOL)[0]
    sampled = np.array([[0.25, 0.0, 0.0, 0.0]])
    found = fit_counts(CountRows.of([counts]), sampled=sampled, **PROTOCOL)
    assert found["k_se"][0] == pytest.approx(table[0, 5] / 2)
