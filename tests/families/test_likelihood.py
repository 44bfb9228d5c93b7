"""The maximum of the likelihood, however it is reached."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.families.known import (
    CODES,
    ONE,
    bins_of,
    density,
    draw,
    gaussians,
)
from weibnb.families.likelihood import EXACT, climb, exact_likelihood
from weibnb.families.rank import rank_families
from weibnb.families.samples import merge

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


HARD: dict[str, Callable[[], Array]] = {
    "two Gaussians": lambda: gaussians(0.45, 50),
    "outliers to 50 σ": lambda: 0.9 * density("half_normal") + 0.1 * density("uniform", scale=1.0),
    "outliers to 5,000 σ": lambda: (
        0.999 * density("half_normal") + 0.001 * density("uniform", scale=100.0)
    ),
    "t1": lambda: density("student_t", 1.0),
    "narrow": lambda: density("lognormal", 0.02),
}


@pytest.mark.parametrize("name", [*("gaussian", "t5", "uniform", "weibull 0.6"), *HARD])
def test_the_maximum_is_that_of_the_exact_likelihood(name: str) -> None:
    counted = draw((ONE | HARD)[name](), 1 << 20, np.random.default_rng(1))
    bins, floor = bins_of(counted.labels.astype(np.int64), counted.counts)
    edges, mass = merge(bins)
    exact = (edges, mass / mass.sum(), floor)
    for _, row in rank_families(counted).iterrows():
        code = CODES[row["family"]]
        v = 0.0 if np.isnan(row["shape"]) else math.log(row["shape"])
        u = math.log(row["scale"])
        level = exact_likelihood(code, v, u, *exact)[0]
        assert row["log_likelihood"] == pytest.approx(level, abs=1e-12)
        *_, best, found = climb(code, v, u, *exact, EXACT, 1e-13)
        assert found
        assert best - level < 1e-9  # a thousandth of a nat for all weights
