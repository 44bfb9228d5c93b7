"""Rounding intervals and groups of weights."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.families.known import (
    CODES,
    ONE,
    SIXTEEN_MILLION,
    TRUE,
    bf16_bins,
    bins_of,
    draw,
    labels_of,
)
from weibnb.counting.formats import label_values
from weibnb.families.distributions import FAMILIES, log_masses, tails_at
from weibnb.families.samples import merge

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts

    Array = NDArray[np.float64]


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F8_E4M3", "F8_E5M2"])
def test_representable_values_tile_the_line(dtype: str) -> None:
    labels = labels_of(dtype)
    (low, high, *_), floor = bins_of(labels, np.ones(labels.size, int))
    np.testing.assert_array_equal(high[:-1], low[1:])
    assert floor == math.log(low[0]) == math.log(label_values(labels[:1])[0] / 2)


def merged(counts: Counts) -> tuple[Array, Array]:
    """Edges and masses of the groups of one matrix."""
    edges, mass = merge(bins_of(counts.labels.astype(np.int64), counts.counts)[0])
    return edges, mass


@pytest.mark.parametrize("n", [300, 65_536, SIXTEEN_MILLION])
@pytest.mark.parametrize("name", ["t3", "gaussian", "lognormal", "few outliers"])
def test_merging_keeps_every_weight_and_the_top_values_apart(name: str, n: int) -> None:
    counted = draw(ONE[name](), n, np.random.default_rng(0))
    edges, mass = merged(counted)
    assert mass.sum() == n
    assert mass.size < 200
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(mass[mass > 0][-8:], counted.counts[-8:])
    below = np.concatenate([[0], np.cumsum(mass)])
    for edge, count in zip(np.exp(edges), below, strict=True):
        assert (counted.values < edge) @ counted.counts == count


def information(code: int, v: float, u: float, edges: Array) -> Array:
    """Fisher information of masses between edges on ln shape and ln scale."""
    h = 1e-4
    mass = np.exp(log_masses(tails_at(code, v, u, edges)))

    def slope(step_v: float, step_u: float) -> Array:
        up = np.exp(log_masses(tails_at(code, v + step_v, u + step_u, edges)))
        down = np.exp(log_masses(tails_at(code, v - step_v, u - step_u, edges)))
        return np.asarray((up - down) / (2 * h))

    slopes = np.stack([slope(h, 0), slope(0, h)])[:, mass > 1e-12]
    return np.asarray(slopes / mass[mass > 1e-12] @ slopes.T)


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_keep_99_per_cent_of_the_information(family: str) -> None:
    code, v, u = CODES[family], math.log(TRUE[family][0]), math.log(0.02)
    _, low, high = bf16_bins()
    every = np.log(np.append(low, high[-1]))
    mass = np.exp(log_masses(tails_at(code, v, u, every)))
    counted = draw(mass / mass.sum(), 65_536, np.random.default_rng(0))
    edges = np.concatenate([every[:1], merged(counted)[0], every[-1:]])
    whole, grouped = information(code, v, u, every), information(code, v, u, edges)
    free = slice(1 if family == "half_normal" else 0, 2)
    error, coarse = (np.diag(np.linalg.inv(i[free, free])) for i in (whole, grouped))
    assert np.all(error / coarse > 0.99)
