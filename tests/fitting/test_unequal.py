"""Variance by unequal scales, against matrices drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from weibnb.counting.dispatch import count_magnitudes
from weibnb.fitting.rows import CountRows
from weibnb.fitting.unequal import variance_by_scales

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

SHAPE = (200, 150)
# Of |w| over the root mean square of a very large matrix.
FUNCTIONS: list[Callable[[Any], Any]] = [
    lambda x: x > 2.0,
    lambda x: x < 0.3,
    np.square,
    lambda x: np.log(np.maximum(x, 1e-9)),
]


def drawn(rng: np.random.Generator, core: str, h_row: float, h_col: float) -> Array:
    z = getattr(rng, core)(size=SHAPE)
    scales = np.exp(h_row * rng.normal(size=(SHAPE[0], 1)) + h_col * rng.normal(size=SHAPE[1]))
    return np.asarray(z * scales / (2.0 if core == "laplace" else 1.0) ** 0.5)


@pytest.mark.parametrize("core", ["normal", "laplace"])
@pytest.mark.parametrize("h", [(0.4, 0.0), (0.0, 0.4), (0.3, 0.2)])
def test_it_is_the_variance_of_means_over_draws(h: tuple[float, float], core: str) -> None:
    """Beyond that of independent weights; known to 10 % from 400 draws, by median of estimates."""
    rng = np.random.default_rng(1)
    root = np.exp(h[0] ** 2 + h[1] ** 2)
    means, estimates, own = [], [], []
    for i in range(400):
        magnitudes = np.abs(drawn(rng, core, *h)) / root
        each = np.stack([function(magnitudes) for function in FUNCTIONS]).astype(float)
        means.append(each.mean((1, 2)))
        own.append(each.var((1, 2)) / magnitudes.size)
        if i < 20:
            rows = CountRows.of([count_magnitudes(magnitudes)])
            v = np.stack([function(count_magnitudes(magnitudes).values) for function in FUNCTIONS])
            scales = np.array([[*h, *SHAPE]])
            estimates.append(variance_by_scales(rows, v.astype(float), scales)[0])
    expected = np.var(means, axis=0) - np.mean(own, axis=0)
    tolerance = 0.3 if core == "normal" else 0.6
    np.testing.assert_allclose(np.median(estimates, 0), expected, rtol=tolerance)


def test_equal_scales_add_nothing_and_unknown_ones_are_unknown() -> None:
    counts = count_magnitudes(np.random.default_rng(0).normal(size=(50, 40)))
    rows = CountRows.of([counts, count_magnitudes(np.zeros(9)), counts])
    v = np.tile(np.log(counts.values), 2)[None]
    scales = [[0.0, 0.0, 50, 40], [0.3, 0.3, 3, 3], [np.nan, 0.0, 50, 40]]
    found = variance_by_scales(rows, v, np.array(scales))[:, 0]
    assert found[0] == pytest.approx(0.0, abs=1e-12)
    assert np.isnan(found[1:]).all()


def test_rows_of_a_batch_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(3)
    counted = [count_magnitudes(drawn(rng, "normal", 0.3, 0.0)) for _ in range(3)]
    scales = np.array([[0.3, 0.1, *SHAPE], [0.5, 0.0, *SHAPE], [0.0, 2.5, *SHAPE]])
    whole = CountRows.of(counted)
    v = np.log(np.concatenate([one.values for one in counted]))[None]
    part = variance_by_scales(whole.part(slice(1, 3)), v[:, whole.starts[1] :], scales[1:])
    np.testing.assert_array_equal(part, variance_by_scales(whole, v, scales)[1:])
    for i, one in enumerate(counted):
        alone = variance_by_scales(CountRows.of([one]), np.log(one.values)[None], scales[i : i + 1])
        np.testing.assert_allclose(alone[0], variance_by_scales(whole, v, scales)[i], rtol=1e-9)
