"""Clustered errors against brute force over the weights, and against simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from tests import oracle
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import Lines, lines_of
from weibnb.fitting.clusters import clustered, widening
from weibnb.fitting.estimates import COVARIANCE, EFFECTS, fit_counts, influences
from weibnb.fitting.rank_functions import CLASSES, PAIRS, by_class, rank_functions
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts

    Array = NDArray[Any]

EVERY = 1 << 20
RANK: Literal["rank_regression"] = "rank_regression"
LIKELIHOOD = "maximum_likelihood"
PROTOCOLS = [
    (RANK, (0.1, 0.9)), (RANK, (0.0, 1.0)), (RANK, (0.3, 0.6)), (RANK, (0.0, 0.5)),
    (LIKELIHOOD, (0.0, 1.0)), (LIKELIHOOD, (0.1, 0.9)), (LIKELIHOOD, (0.0, 0.5)),
]  # fmt: skip


def influence(counts: Counts, trim: tuple[float, float], estimator: Any) -> Array:
    """Influence of each bin on k and ln λ."""
    return influences(CountRows.of([counts]), trim=trim, estimator=estimator)[1]


def of_weights(weights: Array, counts: Counts, v: Array) -> Array:
    """Influence of each weight by its value: zeros and what is not finite have none."""
    magnitude = np.abs(weights.astype(float))
    found = np.zeros((2, *weights.shape))
    there = np.isfinite(magnitude) & (magnitude > 0)
    edges = counts.values
    at = np.searchsorted(edges, magnitude[there], side="right") - 1
    found[:, there] = v[:, at]
    return found


def brute_force(v: Array) -> Array:
    """Sum v_ij v_kl over all pairs of weights that share a row or a column, one by one."""
    total, (rows, columns) = np.zeros(3), v.shape[1:]
    for a, b, out in ((0, 0, 0), (1, 1, 1), (0, 1, 2)):
        for i in range(rows):
            for j in range(columns):
                partners = v[b, i, :].sum() + v[b, :, j].sum() - v[b, i, j]
                total[out] += v[a, i, j] * partners
    return total


@pytest.mark.parametrize(("estimator", "trim"), PROTOCOLS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_independent_variance_is_the_mean_square_of_the_influence(
    dtype: str, estimator: Any, trim: tuple[float, float]
) -> None:
    """No bin straddles the trim where the weights are as many as they are different."""
    counts = count_magnitudes(oracle.sample("gaussian", 40_000, 3).astype(dtype))
    v, n = influence(counts, trim, estimator), counts.n
    fitted = fit_counts(CountRows.of([counts]), trim=trim, estimator=estimator)
    k, b = fitted["k_se"][0], fitted["lam_se"][0] / fitted["lam"][0]
    assert (counts.counts @ v[0] ** 2) / n**2 == pytest.approx(k**2, rel=1e-3)
    assert (counts.counts @ v[1] ** 2) / n**2 == pytest.approx(b**2, rel=1e-3)
    assert abs(counts.counts @ v[0]) / n < 1e-9
    mixed = (counts.counts @ (v[0] * v[1])) / n**2
    assert mixed == pytest.approx(fitted["k_lam_correlation"][0] * k * b, abs=1e-3 * k * b)


@pytest.mark.parametrize(("estimator", "trim"), PROTOCOLS[::2])
def test_the_influence_is_what_one_more_weight_does(
    estimator: Any, trim: tuple[float, float]
) -> None:
    """A weight more moves an estimate by its influence over n: at both ends and between."""
    weights = oracle.sample("gaussian", 200_000, 5).astype(np.float16)
    counts = count_magnitudes(weights)
    v, n = influence(counts, trim, estimator), counts.n
    plain = fit_counts(CountRows.of([counts]), trim=trim, estimator=estimator)
    scale = np.abs(v).max(1)
    for quantile in (0.02, 0.2, 0.4, 0.8, 0.98):
        at = int(np.searchsorted(np.cumsum(counts.counts), quantile * n))
        some = 2000  # weights of this magnitude: the ends of the trim move by whole bins
        more = count_magnitudes(np.full(some, counts.values[at], np.float16)) + counts
        moved = fit_counts(CountRows.of([more]), trim=trim, estimator=estimator)
        dk = (moved["k"][0] - plain["k"][0]) * n / some
        db = np.log(moved["lam"][0] / plain["lam"][0]) * n / some
        assert dk == pytest.approx(v[0, at], abs=0.06 * scale[0])
        assert db == pytest.approx(v[1, at], abs=0.06 * scale[1])


def clustered_variance(v: Array) -> Array:
    """Variances of the means of k and ln λ over a matrix, and their covariance, by brute force."""
    total: Array = brute_force(v) / v[0].size ** 2
    return total


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("spoiled", [False, True])
@pytest.mark.parametrize("shape", [(23, 17), (12, CLASSES + 9)])
def test_covariances_of_functions_equal_brute_force(
    shape: tuple[int, int], dtype: str, spoiled: bool
) -> None:
    """Lines of fewer and more weights than classes; zeros and what is not finite have no part."""
    rng = np.random.default_rng(2)
    weights = rng.normal(0, 0.3, shape) * np.exp(rng.normal(0, 0.5, (shape[0], 1)))
    if spoiled:
        weights[3, :5], weights[7, 2], weights[0, 0] = 0.0, np.nan, -0.0
        weights[4, 4] = np.nan if dtype == "float8_e4m3fn" else np.inf
    stored = weights.astype(oracle.DTYPES[dtype])
    counts = count_magnitudes(stored)
    rows = CountRows.of([counts])
    table, v = influences(rows, trim=(0.1, 0.9), estimator=RANK)
    classes, masses, _ = by_class(rows, v)
    place = of_weights(stored, counts, np.stack([classes + 1.0] * 2))[0].astype(int)  # 0: none
    functions = np.pad(rank_functions(masses)[0], ((0, 0), (1, 0)))
    expected = []
    for a, b in zip(*PAIRS, strict=True):
        pair = np.stack([functions[a][place], functions[b][place]])
        expected.append(brute_force(pair)[2] - (pair[0] * pair[1]).sum())
    found = clustered(table, rows, v, [lines_of(*as_bits(stored), shape, EVERY)])
    beyond = found[0, -len(PAIRS[0]) :] * counts.n**2 / widening(min(shape))
    np.testing.assert_allclose(beyond, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("sampled", [5, EVERY])
def test_a_matrix_has_the_same_errors_in_any_company(sampled: int) -> None:
    """Of other formats, sizes, without weights or lines; too large for a piece with others."""
    rng = np.random.default_rng(3)
    shapes = [(16, 16), (9, 700), (300, 12), (400, 900), (16, 16)]
    dtypes = ["bfloat16", "bfloat16", "float32", "float64", "float8_e4m3fn"]
    every = [
        rng.normal(0, 0.3, shape).astype(oracle.DTYPES[dtype])
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    every.insert(2, np.zeros((20, 20), np.float32))
    counts = [count_magnitudes(one) for one in every]
    lines: list[Lines | None] = [lines_of(*as_bits(one), one.shape, sampled) for one in every]
    lines[1] = None
    rows = CountRows.of(counts)
    together = fit_counts(rows, lines=lines)
    for place, (one, some) in enumerate(zip(counts, lines, strict=True)):
        alone = fit_counts(CountRows.of([one]), lines=[some])
        for name in ("k_se", "lam_se", *EFFECTS, COVARIANCE):
            np.testing.assert_allclose(together[name][place], alone[name][0], rtol=1e-12)


@pytest.mark.parametrize(("estimator", "trim"), PROTOCOLS)
def test_errors_are_those_of_brute_force(estimator: Any, trim: tuple[float, float]) -> None:
    """Influences are constant within a class of the rank: 3 % in an error, of 3,000 weights."""
    rng = np.random.default_rng(2)
    weights = rng.normal(0, 1, (60, 50)) * np.exp(rng.normal(0, 0.5, (60, 1)))
    stored = weights.astype(np.float16)
    counts = count_magnitudes(stored)
    each = of_weights(stored, counts, influence(counts, trim, estimator))
    k, b, mixed = clustered_variance(each)
    lines = lines_of(*as_bits(stored), (60, 50), EVERY)
    found = fit_counts(CountRows.of([counts]), trim=trim, estimator=estimator, lines=[lines])
    effects = np.array([found[name][0] for name in EFFECTS])
    narrow = np.sqrt((1 + (effects - 1) / widening(50)) / effects)
    assert found["k_se"][0] * narrow[0] == pytest.approx(k**0.5, rel=0.03)
    assert found["lam_se"][0] / found["lam"][0] * narrow[1] == pytest.approx(b**0.5, rel=0.03)
    assert found["k_lam_correlation"][0] == pytest.approx(mixed / (k * b) ** 0.5, abs=0.05)


def test_a_sample_of_lines_is_right_on_average() -> None:
    rng = np.random.default_rng(4)
    weights = rng.normal(0, 1, (60, 90)) * np.exp(rng.normal(0, 0.5, (60, 1)))
    bits = weights.astype(np.float16).view(np.uint16)
    rows = CountRows.of([count_magnitudes(bits.view(np.float16))])
    table, v = influences(rows, trim=(0.1, 0.9), estimator=RANK)

    def covariance(lines: Lines) -> Array:
        found: Array = clustered(table.copy(), rows, v, [lines])[0, -len(PAIRS[0]) :]
        return found / widening(min(len(lines.rows), lines.columns.shape[1]))

    whole = covariance(Lines("F16", bits, bits))
    found = []
    for _ in range(400):
        some, others = rng.choice(60, 20, replace=False), rng.choice(90, 20, replace=False)
        found.append(covariance(Lines("F16", bits[some], bits[:, others])))
    error = np.std(found, axis=0) / 20
    assert (np.abs(np.mean(found, axis=0) - whole) < 4 * error).all()


def fit_with_lines(weights: Array, sampled: int = 32, **protocol: Any) -> dict[str, Array]:
    lines = lines_of(*as_bits(weights), (weights.shape[0], weights.shape[1]), sampled)
    rows = CountRows.of([count_magnitudes(weights)])
    return fit_counts(rows, lines=[lines], **protocol)


def test_errors_are_independent_ones_times_the_root_of_the_effects() -> None:
    rng = np.random.default_rng(6)
    scaled = rng.normal(size=(200, 300)) * np.exp(0.5 * rng.normal(size=(200, 1)))
    weights = scaled.astype(np.float32)
    plain = fit_counts(CountRows.of([count_magnitudes(weights)]))
    assert not set(EFFECTS) & set(plain)
    found = fit_with_lines(weights)
    for name, effect in zip(("k_se", "lam_se"), EFFECTS, strict=True):
        assert found[effect][0] > 3
        assert found[name][0] == pytest.approx(plain[name][0] * found[effect][0] ** 0.5)
    for name in ("k", "lam", "r2", "ks", "ks_full"):
        assert found[name][0] == plain[name][0]
    transposed = fit_with_lines(np.ascontiguousarray(weights.T), EVERY)
    assert transposed["k_se"][0] == pytest.approx(fit_with_lines(weights, EVERY)["k_se"][0])


def test_matrices_without_lines_or_a_fit_have_no_effect() -> None:
    weights = oracle.sample("gaussian", 900, 1).reshape(30, 30)
    flat = np.ones((30, 30))
    lines = [lines_of(*as_bits(one), (30, 30)) for one in (weights, flat)]
    rows = CountRows.of([count_magnitudes(one) for one in (weights, flat, weights)])
    found = fit_counts(rows, lines=[*lines, None])
    assert found["k_design_effect"][0] >= 1
    assert np.isnan(found["k_design_effect"][1:]).all()
    assert found["k_se"][2] == fit_counts(rows)["k_se"][2]


@pytest.mark.parametrize("transposed", [False, True])
def test_dead_lines_and_few_lines_give_finite_errors(transposed: bool) -> None:
    weights = np.zeros((8, 200), np.float32)
    weights[1:6, :150] = oracle.sample("gaussian", 750, 1).reshape(5, 150)
    found = fit_with_lines(np.ascontiguousarray(weights.T) if transposed else weights)
    assert found["k_se"][0] > 0
    assert abs(found["k_lam_correlation"][0]) <= 1


def test_widening_is_that_of_student() -> None:
    assert widening(32) == pytest.approx((2.0395134 / 1.9599640) ** 2, rel=1e-6)
    assert widening(10**6) == pytest.approx(1, abs=1e-4)


def _scaled(rng: np.random.Generator, h_rows: float, h_columns: float) -> Array:
    rows, columns = (
        np.exp(h_rows * rng.normal(size=(96, 1))),
        np.exp(h_columns * rng.normal(size=96)),
    )
    return (rng.normal(size=(96, 96)) * rows * columns).astype(np.float32)


LAWS: dict[str, Any] = {
    "gaussian": lambda rng: rng.normal(size=(96, 96)).astype(np.float32),
    "laplace": lambda rng: rng.laplace(size=(96, 96)).astype(np.float32),
    "rows": lambda rng: _scaled(rng, 0.5, 0.0),
    "columns": lambda rng: _scaled(rng, 0.0, 0.5),
    "both": lambda rng: _scaled(rng, 0.35, 0.35),
    "repeated": lambda rng: np.repeat(rng.normal(size=(24, 96)), 4, axis=0).astype(np.float32),
}


@pytest.mark.parametrize("estimator", [RANK, LIKELIHOOD])
@pytest.mark.parametrize("law", LAWS)
def test_errors_equal_the_spread_of_matrices_drawn_anew(law: str, estimator: Any) -> None:
    """Root mean square of 300 errors against the spread of 300 estimates, known to 4 %."""
    rng = np.random.default_rng(9)
    fits = [fit_with_lines(LAWS[law](rng), estimator=estimator) for _ in range(300)]
    for value, error in (("k", "k_se"), ("lam", "lam_se")):
        spread = np.std([fit[value][0] for fit in fits])
        claimed = np.sqrt(np.mean([fit[error][0] ** 2 for fit in fits]))
        assert claimed == pytest.approx(spread, rel=0.15)


def test_lines_of_zeros_alone_give_no_errors() -> None:
    zeros = np.zeros((20, 30), np.float16)
    lines = lines_of(*as_bits(zeros), (20, 30))
    for some in (lines, replace(lines, products=np.zeros(3))):
        found = fit_counts(CountRows.of([count_magnitudes(zeros)]), lines=[some])
        assert np.isnan(found["k_se"]).all()
        assert np.isnan(found[EFFECTS[0]]).all()
