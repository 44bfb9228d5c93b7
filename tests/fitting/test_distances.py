"""How far a distribution moved, against scipy on the weights and against simulated pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.fitting.test_pairs import fine_tuned, rows_tuned
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import lines_of
from weibnb.fitting.distances import Moved, moved_between


def moved(before: Any, after: Any, *, errors: bool = False) -> Moved:
    lines = None
    if errors:
        one, other = (lines_of(*as_bits(w), w.shape) for w in (before, after))
        lines = one, other
    return moved_between(count_magnitudes(before), count_magnitudes(after), lines)


@pytest.mark.parametrize(("dtype", "other"), [("f2", "f2"), ("f2", "f4"), ("f4", "f4")])
def test_distance_and_rms_are_those_of_the_weights(dtype: str, other: str) -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=5000).astype(dtype)
    after = (rng.standard_t(4, size=7000) * 1.3).astype(other)
    after[:100] = 0
    found = moved(before, after)
    logs = [np.log(np.abs(w[w != 0].astype("f8"))) for w in (before, after)]
    assert found.distance == pytest.approx(stats.wasserstein_distance(*logs), abs=1e-4)
    rms = [np.sqrt((w.astype("f8") ** 2).mean()) for w in (before, after)]
    known = 1e-9 if (dtype, other) == ("f2", "f2") else 1e-4  # to the width of an interval
    assert found.log_rms == pytest.approx(np.log(rms[1] / rms[0]), abs=known)


def test_a_factor_moves_everything_by_its_logarithm_and_an_order_nothing() -> None:
    weights = np.random.default_rng(0).normal(size=(64, 64)).astype("f4")
    found = moved(weights, -4 * weights, errors=True)
    assert found.distance == pytest.approx(np.log(4), abs=1e-12)
    assert found.log_rms == pytest.approx(np.log(4), abs=1e-12)
    assert moved(weights, weights[::-1]) == pytest.approx((0, np.nan, 0, np.nan), nan_ok=True)
    assert moved(weights, weights.copy(), errors=True) == Moved(0.0, 0.0, 0.0, 0.0)


def test_without_weights_there_is_no_distance() -> None:
    assert np.isnan(moved(np.zeros(5), np.ones(5))).all()


@pytest.mark.parametrize("draw", [fine_tuned, rows_tuned])
def test_errors_equal_the_spread(draw: Any) -> None:
    """Of 200 changes that are large beside their errors: the distribution is widened first."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(200):
        before, after = draw(rng)
        found.append(moved(before, np.float32(1.5) * after, errors=True))
    spread, claimed = np.std(found, 0), np.sqrt(np.mean(np.square(found), 0))
    assert claimed[1] == pytest.approx(spread[0], rel=0.2)
    assert claimed[3] == pytest.approx(spread[2], rel=0.25)
