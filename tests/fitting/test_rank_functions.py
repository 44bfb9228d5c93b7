"""Rank functions: classes, and errors that are composed from what is kept of rows and columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import lines_of
from weibnb.fitting.estimates import COVARIANCE, COVARIANCES, fit_counts, influences
from weibnb.fitting.rank_functions import (
    CLASSES,
    EDGES,
    FUNCTIONS,
    PAIRS,
    by_class,
    clustered_part,
    rank_functions,
    standard_errors,
)
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

EVERY = 1 << 20
RANK: Literal["rank_regression"] = "rank_regression"
LIKELIHOOD = "maximum_likelihood"


def scaled(seed: int, h_rows: float, h_columns: float, shape: tuple[int, int] = (300, 200)) -> Any:
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=shape) * np.exp(h_rows * rng.normal(size=(shape[0], 1)))
    return (weights * np.exp(h_columns * rng.normal(size=shape[1]))).astype(np.float32)


def covariance_of(*weights: Array) -> tuple[CountRows, Array]:
    rows = CountRows.of([count_magnitudes(one) for one in weights])
    lines = [lines_of(*as_bits(one), one.shape, EVERY) for one in weights]
    return rows, fit_counts(rows, lines=lines)[COVARIANCE]


def test_as_many_numbers_are_kept_as_there_are_pairs() -> None:
    assert len(PAIRS[0]) == COVARIANCES == FUNCTIONS * (FUNCTIONS + 1) // 2
    assert np.iinfo(np.uint8).max > CLASSES


def test_classes_are_those_of_the_mid_rank_and_means_are_theirs() -> None:
    rng = np.random.default_rng(0)
    some = [np.abs(rng.normal(size=n)).astype(np.float16) for n in (3000, 7, 100_000)]
    rows = CountRows.of([count_magnitudes(one) for one in some])
    v = rng.normal(size=(2, rows.columns.size))
    classes, masses, means = by_class(rows, v)
    for row, (start, stop) in enumerate(zip(rows.starts, rows.starts[1:], strict=False)):
        c, own = rows.counts[start:stop].astype(float), classes[start:stop]
        middle = (np.cumsum(c) - c / 2) / c.sum()
        assert (np.diff(own.astype(int)) >= 0).all()
        np.testing.assert_array_equal(own, np.searchsorted(EDGES, middle))
        for at in np.unique(own):
            inside = own == at
            assert masses[row, at] == c[inside].sum()
            expected = np.average(v[:, start:stop][:, inside], axis=1, weights=c[inside])
            np.testing.assert_allclose(means[row, :, at], expected)
    assert (masses.sum(1) == [3000, 7, 100_000]).all()
    assert len(np.unique(classes[rows.starts[2] :])) > 0.9 * CLASSES
    part_classes, part_masses, _ = by_class(rows.part(slice(1, 3)), v[:, rows.starts[1] :])
    np.testing.assert_array_equal(part_classes, classes[rows.starts[1] :])
    np.testing.assert_array_equal(part_masses, masses[1:])


def test_the_functions_are_centred_and_those_of_the_rank() -> None:
    masses = np.array([np.full(CLASSES, 10.0), np.zeros(CLASSES)])
    found = rank_functions(masses)
    assert np.isfinite(found).all()
    assert np.abs(found[0] @ masses[0]).max() < 1e-9
    rank = (np.arange(CLASSES) + 0.5) / CLASSES
    y = np.log(-np.log1p(-rank))
    body = np.clip(y, np.log(-np.log(0.9)), np.log(-np.log(0.1)))
    expected = np.stack([y, np.exp(y), y * np.exp(y), body, body**2])
    np.testing.assert_allclose(found[0], expected - expected.mean(1, keepdims=True), atol=1e-12)


def test_a_combination_of_the_functions_is_composed_exactly() -> None:
    """Its sums over rows and columns, weight by weight, give the same variance."""
    weights = scaled(1, 0.5, 0.2)
    rows, covariance = covariance_of(weights)
    classes, masses, _ = by_class(rows, np.zeros((0, rows.columns.size)))
    share = np.array([0.3, -1.0, 0.2, 0.5, 0.1])
    v = (share @ rank_functions(masses)[0])[classes]
    found = clustered_part(rows, v[None], covariance)[0, 0, 0]
    edges = count_magnitudes(weights).values
    each = v[np.searchsorted(edges, np.abs(weights).astype(float), side="right") - 1]
    own = (each**2).sum()
    brute = ((each.sum(0) ** 2).sum() + (each.sum(1) ** 2).sum() - 2 * own) / each.size**2
    widened = brute * 1.0129  # Student's quantile of 199 degrees of freedom over the normal one
    assert found == pytest.approx(widened, rel=1e-3)
    error = standard_errors(rows, v, np.array([found]))[0]
    assert error == pytest.approx(np.sqrt(own / each.size**2 + found), rel=1e-9)


@pytest.mark.parametrize(
    ("estimator", "trim", "tolerance"),
    [
        (RANK, (0.05, 0.95), 0.06), (RANK, (0.0, 1.0), 0.06), (RANK, (0.0, 0.5), 0.2),
        (LIKELIHOOD, (0.0, 1.0), 0.03), (LIKELIHOOD, (0.1, 0.9), 0.08),
    ],
)  # fmt: skip
@pytest.mark.parametrize("h", [(0.5, 0.0), (0.0, 0.5), (0.35, 0.35), (0.0, 0.0)])
def test_errors_of_another_protocol_are_those_of_a_scan_by_it(
    h: tuple[float, float], estimator: Any, trim: tuple[float, float], tolerance: float
) -> None:
    weights = scaled(2, *h)
    rows, covariance = covariance_of(weights)
    lines = [lines_of(*as_bits(weights), weights.shape, EVERY)]
    scan = fit_counts(rows, trim=trim, estimator=estimator, lines=lines)
    again = fit_counts(rows, trim=trim, estimator=estimator, covariance=covariance)
    for name in ("k_se", "lam_se"):
        assert again[name][0] == pytest.approx(scan[name][0], rel=tolerance)
    assert again["k_lam_correlation"][0] == pytest.approx(scan["k_lam_correlation"][0], abs=0.15)
    assert COVARIANCE not in again


def test_matrices_are_told_apart_and_those_without_a_covariance_are_independent() -> None:
    some = [scaled(3, 0.5, 0.0), np.zeros((9, 9), "f4"), scaled(4, 0.0, 0.0), np.ones((9, 9), "f4")]
    rows, covariance = covariance_of(*some)
    unknown = covariance.copy()
    unknown[2] = np.nan
    plain, full, part = (
        fit_counts(rows, covariance=known)
        for known in (np.full((4, COVARIANCES), np.nan), covariance, unknown)
    )
    alone = fit_counts(*covariance_of(some[0])[:1], covariance=covariance[:1])
    assert full["k_se"][0] == pytest.approx(alone["k_se"][0], rel=1e-9)
    assert full["k_se"][0] > 1.5 * plain["k_se"][0]
    assert part["k_se"][2] == plain["k_se"][2]
    assert np.isnan(part["k_design_effect"][1:]).all()
    assert (plain["k_se"] == fit_counts(rows)["k_se"])[[0, 2]].all()
    table, v = influences(rows, trim=(0.1, 0.9), estimator=RANK)
    errors = standard_errors(rows, v[0], unknown[:, 0])
    assert np.isnan(errors[[1, 3]]).all()
    assert errors[2] == pytest.approx(plain["k_se"][2], rel=1e-2)
    assert np.isnan(table[[1, 3], 0]).all()
