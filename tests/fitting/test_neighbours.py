"""Neighbouring lines that are alike: the sums over windows, and errors against simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import special

from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import lines_of
from weibnb.fitting.estimates import COVARIANCE, fit_counts
from weibnb.fitting.full_look import look_at_all
from weibnb.fitting.neighbours import (
    OF_ALL,
    Across,
    noise,
    products_of_windows,
    quantile,
    stand_out,
    widest,
    widths,
)
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

HOW: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression"}


def blocks(rng: np.random.Generator, shape: tuple[int, int], number: int, h: float) -> Array:
    """Gaussian weights in so many blocks of rows, each of a lognormal scale."""
    scale = np.repeat(np.exp(rng.normal(0, h, number)), shape[0] // number)
    drawn: Array = (rng.normal(size=shape) * scale[:, None]).astype(np.float32)
    return drawn


def fitted(weights: Array, *, fields: bool = False) -> dict[str, Any]:
    """Fit a matrix, with errors by some of its lines or by all."""
    bits, dtype = as_bits(weights)
    counts = count_magnitudes(weights, device="cpu", workers=1)
    lines = lines_of(bits, dtype, weights.shape)
    if fields:
        look = look_at_all(bits, dtype, weights.shape, counts, lines=lines, workers=1, **HOW)
        lines = replace(lines, products=look.products, scales=look.scales)
    return fit_counts(CountRows.of([counts]), lines=[lines], workers=1)


def errors(drawn: list[Array], *, fields: bool = False) -> tuple[Array, Array]:
    """Estimates (matrices, 2) of k and ln λ, and their errors."""
    fits = [fitted(weights, fields=fields) for weights in drawn]
    k, lam, k_se, lam_se = (
        np.array([one[name][0] for one in fits]) for name in ("k", "lam", "k_se", "lam_se")
    )
    return np.stack([k, np.log(lam)], 1), np.stack([k_se, lam_se / lam], 1)


@pytest.mark.parametrize(("size", "width"), [(9, 2), (40, 7), (40, 10), (5, 5)])
def test_products_of_windows_are_those_of_pairs_by_their_distance(size: int, width: int) -> None:
    sums = np.random.default_rng(size).normal(size=(size, 3))
    expected = np.zeros((3, 3))
    for i in range(size):
        for j in range(size):
            if i != j:
                weight = max(1.0 - abs(i - j) / width, 0.0)
                expected += weight * np.outer(sums[i], sums[j])
    np.testing.assert_allclose(products_of_windows(sums, width), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("width", [2, 8, 50])
def test_the_noise_of_windows_is_that_of_independent_lines(width: int) -> None:
    rng, size = np.random.default_rng(1), 200
    drawn = [rng.normal(size=(size, 1)) for _ in range(2000)]
    found = [products_of_windows(one, width)[0, 0] / (one**2).sum() for one in drawn]
    assert np.std(found) == pytest.approx(noise(size, width), rel=0.08)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25])
def test_the_quantile_is_that_of_a_mean_over_its_error_by_windows(share: float) -> None:
    """Of a mean of independent numbers, whose error windows of a share of all of them give."""
    rng, size = np.random.default_rng(2), 400
    drawn = rng.normal(size=(20_000, size))
    centred = drawn - drawn.mean(1, keepdims=True)
    variance = (centred**2).sum(1)
    width = int(share * size)
    for lag in range(1, width):
        weight = 2.0 * (1.0 - lag / width)
        variance += weight * (centred[:, lag:] * centred[:, :-lag]).sum(1)
    t = np.abs(drawn.sum(1)) / np.sqrt(variance)
    expected = np.quantile(t, 0.95) / special.ndtri(0.975)
    assert np.sqrt(quantile(size, width)) == pytest.approx(expected, rel=0.03)


def test_widths_end_at_a_quarter_of_the_lines() -> None:
    assert widths(256).tolist() == [2, 4, 8, 16, 32, 64]
    assert widths(300).tolist() == [2, 4, 8, 16, 32, 64, 75]
    assert widths(7).tolist() == []


def test_blocks_stand_out_and_independent_lines_do_not() -> None:
    rng = np.random.default_rng(3)
    alike = [np.repeat(rng.normal(size=16), 16)[:, None] + rng.normal(size=(256, 2)) for _ in "ab"]
    assert all(widest(one - one.mean(0), OF_ALL) >= 16 for one in alike)
    assert all(stand_out(one.T.copy(), 5.0) for one in alike)
    alone = rng.normal(size=(1000, 256, 2))
    assert sum(widest(one - one.mean(0), OF_ALL) > 0 for one in alone) < 80
    assert sum(stand_out(one.T.copy(), 5.0) for one in alone) < 20


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("part", [slice(0, 77), slice(0, 128), slice(90, 150), slice(240, 256)])
def test_a_part_that_was_spoiled_keeps_its_error_small(part: slice, *, fields: bool) -> None:
    """One part of other scale is no draw of many heads, and a wide error would hide it."""
    weights = np.random.default_rng(9).normal(size=(256, 192)).astype(np.float32)
    weights[part] /= 20
    sound = weights[np.random.default_rng(1).permutation(256)]
    found, expected = fitted(weights, fields=fields), fitted(sound, fields=fields)
    # of 32 rows, by chance more or fewer are of the part
    assert found["k_se"][0] < (1.1 if fields else 2.0) * expected["k_se"][0]


def test_sums_of_nothing_do_not_stand_out() -> None:
    assert widest(np.zeros((64, 2)), OF_ALL) == 0
    assert not stand_out(np.zeros((2, 64)), 5.0)
    assert not stand_out(np.zeros((2, 3)), 5.0)


def test_what_a_line_has_in_common_is_not_counted_twice() -> None:
    """Rows that stand four times are alike within columns, by which errors are clustered."""
    rng, found = np.random.default_rng(4), []
    for _ in range(50):
        values = np.repeat(rng.normal(size=(64, 50)), 4, axis=0)
        every = (values - values.mean(0)).T[:, :, None]
        sums = every.sum(0)
        across = Across(sums, every[::4], 50, 50)
        both = products_of_windows(sums, 4)[0, 0], across.between(4)[0, 0]
        found.append(np.array(both) / (sums**2).sum())
    together, between = np.mean(found, 0)
    assert together == pytest.approx(1.5, rel=0.2)
    assert abs(between) < 0.1


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("across", [False, True])
def test_errors_cover_where_heads_are_of_unequal_scale(*, across: bool, fields: bool) -> None:
    rng = np.random.default_rng(5)
    drawn = [blocks(rng, (256, 128), 16, 0.35) for _ in range(100)]
    drawn = [np.ascontiguousarray(one.T) for one in drawn] if across else drawn
    estimates, error = errors(drawn, fields=fields)
    covered = (np.abs(estimates - estimates.mean(0)) < 1.96 * error).mean(0)
    assert (covered >= (0.82 if fields else 0.78)).all()
    spread = estimates.std(0)
    assert (np.median(error, 0) > 0.6 * spread).all()
    assert (np.median(error, 0) < 1.5 * spread).all()


@pytest.mark.parametrize("fields", [False, True])
def test_errors_of_independent_weights_stay(*, fields: bool) -> None:
    rng = np.random.default_rng(6)
    drawn = [rng.normal(size=(256, 128)).astype(np.float32) for _ in range(100)]
    estimates, error = errors(drawn, fields=fields)
    assert np.median(error, 0) == pytest.approx(estimates.std(0), rel=0.2)
    assert (np.mean(error, 0) < 1.1 * np.median(error, 0)).all()


def test_the_covariance_of_refits_has_it_too() -> None:
    """By the rank functions that a scan keeps, errors of its own protocol are those of the scan."""
    rng = np.random.default_rng(7)
    for fields in (False, True):
        weights = blocks(rng, (512, 256), 16, 0.4)
        fits = fitted(weights, fields=fields)
        rows = CountRows.of([count_magnitudes(weights, device="cpu", workers=1)])
        again = fit_counts(rows, covariance=fits[COVARIANCE], workers=1)
        assert again["k_se"][0] == pytest.approx(fits["k_se"][0], rel=0.25)
        assert again["lam_se"][0] == pytest.approx(fits["lam_se"][0], rel=0.25)
