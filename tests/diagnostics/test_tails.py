"""Tails: trims, Γ closure and heaviness, against numpy on raw samples and closed forms."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import weibnb as wb
from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS, LABEL_SHIFT
from weibnb.diagnostics.outliers import outlier_strength
from weibnb.diagnostics.tails import body_tail, closure, heaviness
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.rows import CountRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

UP = "model.layers.{}.mlp.up_proj.weight"
EXPERTS: Any = ("median", "each")
EXPERT = "model.layers.0.mlp.experts.{}.up_proj.weight"


def one(weights: NDArray[Any], **options: Any) -> xr.Dataset:
    return wb.scan({"m": {UP.format(0): weights}}, **options)


def value(table: xr.Dataset, name: str) -> float:
    return float(table[name].squeeze().item())


def bf16_edges() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """All positive finite bf16 values and the midpoints at which rounding changes."""
    patterns = np.arange(1, FORMATS["BF16"].infinity, dtype=np.uint32)
    values = (patterns << 16).view(np.float32).astype(float)
    middle = (values[1:] + values[:-1]) / 2
    return values, np.concatenate([[0.0], middle, [np.inf]])


def counted(cdf: Callable[[Any], Any], n: int, seed: int = 0) -> xr.Dataset:
    """Fits of n draws from a distribution of |w|, rounded to bf16, without drawing them."""
    values, edges = bf16_edges()
    mass = np.diff(cdf(edges))
    mass = np.maximum(mass, 0) / mass.sum()
    counts = np.random.default_rng(seed).multinomial(n, mass)
    occupied = np.flatnonzero(counts)
    labels = (values[occupied].view(np.int64) >> LABEL_SHIFT).astype(np.int32)
    drawn = Counts(labels, counts[occupied], largest=float(values[occupied[-1]]))
    fits = one(np.random.default_rng(0).normal(0, 0.02, (64, 64)).astype("f2"))
    fits["counts"] = fits["counts"].copy(data=np.full((1, 1, 1, 1), drawn, object))
    fits["max_abs"] = fits["max_abs"].copy(data=np.full((1, 1, 1, 1), values[occupied[-1]]))
    fitted = fit_counts(CountRows.of([drawn]))
    return fits.assign({k: fits[k].copy(data=fitted[k].reshape(1, 1, 1, 1)) for k in ("k", "lam")})


# --- heaviness


def test_q90_over_q10_tells_1_186_from_1_200_through_the_bf16_grid() -> None:
    found = {}
    for k in (1.186, 1.200):
        exact = (np.log(10) / -np.log(0.9)) ** (1 / k)
        ratios = [
            value(heaviness(counted(stats.weibull_min(k, scale=0.0123).cdf, 1 << 24, seed)), name)
            for seed in range(4)
            for name in ("q90_over_q10",)
        ]
        np.testing.assert_allclose(ratios, exact, rtol=2.5e-3)
        found[k] = ratios
    assert min(found[1.186]) - max(found[1.200]) > 0.75 * (13.47 - 13.06)


@pytest.mark.parametrize("scale", [0.0111, 0.0123, 0.0137, 0.0152, 0.017])
def test_the_grid_adds_no_error_wherever_the_quantiles_fall(scale: float) -> None:
    law = stats.weibull_min(1.2, scale=scale)
    tail = heaviness(counted(law.cdf, 4_000_000_000))
    q10, q50, q90, q99, q999 = law.ppf([0.1, 0.5, 0.9, 0.99, 0.999])
    assert value(tail, "q90_over_q10") == pytest.approx(q90 / q10, rel=3e-4)
    assert value(tail, "q99_over_q50") == pytest.approx(q99 / q50, rel=3e-4)
    assert value(tail, "q999_over_q50") == pytest.approx(q999 / q50, rel=3e-4)
    assert value(tail, "gini") == pytest.approx(1 - 2 ** (-1 / 1.2), rel=1e-4)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ml_dtypes.bfloat16])
@pytest.mark.parametrize("law", ["normal", "laplace", "uniform"])
def test_heaviness_is_that_of_the_raw_sample(law: str, dtype: Any) -> None:
    rng = np.random.default_rng(3)
    raw = getattr(rng, law)(*((-0.03, 0.03) if law == "uniform" else (0, 0.02)), (512, 512))
    tail = heaviness(one(raw.astype(dtype)))
    x = np.sort(np.abs(raw).ravel())
    q = np.quantile(x, [0.1, 0.5, 0.9, 0.99, 0.999])
    n = x.size
    gini = 2 * (np.arange(1, n + 1) * x).sum() / (n * x.sum()) - (n + 1) / n
    assert value(tail, "q90_over_q10") == pytest.approx(q[2] / q[0], rel=1e-3)
    assert value(tail, "q99_over_q50") == pytest.approx(q[3] / q[1], rel=1e-3)
    assert value(tail, "q999_over_q50") == pytest.approx(q[4] / q[1], rel=2e-3)
    assert value(tail, "gini") == pytest.approx(gini, rel=1e-4)
    assert value(tail, "nonzero_kurtosis") == pytest.approx(
        (x**4).mean() / (x**2).mean() ** 2, rel=1e-3
    )
    stored = float(np.abs(raw.astype(dtype)).max())
    assert value(tail, "nonzero_max_over_q99") == pytest.approx(stored / q[3], rel=1e-3)


@pytest.mark.parametrize(
    ("law", "gini"),
    [("normal", np.sqrt(2) - 1), ("laplace", 0.5), ("uniform", 1 / 3)],
)
def test_gini_has_its_closed_form(law: str, gini: float) -> None:
    raw = getattr(np.random.default_rng(5), law)(size=(1024, 1024))
    raw = 2 * raw - 1 if law == "uniform" else raw
    assert value(heaviness(one(raw.astype("f4"))), "gini") == pytest.approx(gini, abs=1.5e-3)


@pytest.mark.parametrize("dtype", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2, "f2"])
def test_subnormal_spacing_is_the_formats(dtype: Any) -> None:
    """Nearly all of these weights lie below the smallest normal number of their format."""
    scale = {"float8_e4m3fn": 0.02, "float8_e5m2": 1e-4, "float16": 3e-5}[np.dtype(dtype).name]
    raw = np.random.default_rng(1).normal(0, scale, (1024, 1024))
    stored = raw.astype(dtype)
    kept = np.abs(raw[stored.astype(float) != 0])
    tail = heaviness(one(stored))
    q = np.quantile(kept, [0.5, 0.99])
    assert value(tail, "q99_over_q50") == pytest.approx(q[1] / q[0], rel=0.03)
    x = np.sort(kept)
    n = x.size
    gini = 2 * (np.arange(1, n + 1) * x).sum() / (n * x.sum()) - (n + 1) / n
    assert value(tail, "gini") == pytest.approx(gini, rel=0.02)


def test_a_power_of_two_has_a_narrower_half_below() -> None:
    """In e4m3 these three values stand for 0.90625 ... 0.96875 ... 1.0625 ... 1.1875."""
    values = np.repeat([0.9375, 1.0, 1.125], 100).reshape(30, 10)
    tail = heaviness(one(values.astype(ml_dtypes.float8_e4m3fn)))
    q10, q50, q90 = 0.90625 + 0.3 * 0.0625, 0.96875 + 0.5 * 0.09375, 1.0625 + 0.7 * 0.125
    assert value(tail, "q90_over_q10") == pytest.approx(q90 / q10, rel=1e-12)
    assert value(tail, "q99_over_q50") == pytest.approx((1.0625 + 0.97 * 0.125) / q50, rel=1e-12)


def test_upcast_weights_are_as_heavy_as_the_originals() -> None:
    half = np.random.default_rng(2).normal(0, 0.02, (256, 256)).astype(ml_dtypes.bfloat16)
    xr.testing.assert_allclose(heaviness(one(half)), heaviness(one(half.astype("f4"))), rtol=1e-13)


def test_zeros_do_not_count_and_one_magnitude_is_a_point() -> None:
    weights = np.random.default_rng(4).normal(0, 0.02, (256, 256)).astype("f2")
    sparse = np.zeros((512, 256), "f2")
    sparse[::2] = weights
    xr.testing.assert_allclose(heaviness(one(weights)), heaviness(one(sparse)), rtol=1e-12)
    flat = heaviness(one(np.full((20, 20), 1.5, "f2")))
    assert [value(flat, str(name)) for name in flat.data_vars] == [1, 1, 1, 0, 1, 1]
    empty = heaviness(one(np.zeros((20, 20), "f2")))
    assert all(np.isnan(value(empty, str(name))) for name in empty.data_vars)


def test_experts_are_measured_one_by_one_and_their_median_is_given() -> None:
    rng = np.random.default_rng(6)
    experts = [np.abs(rng.normal(0, 0.02, (64, 64))) ** (1 + 0.2 * i) for i in range(3)]
    run = {"m": {EXPERT.format(i): w for i, w in enumerate(experts)}}
    run["m"]["model.layers.0.self_attn.q_proj.weight"] = experts[0]
    merged, each = heaviness(wb.scan(run)), heaviness(wb.scan(run, experts="each"))
    assert "expert" not in merged.dims
    assert each.sizes["expert"] == 4
    middle = each.sel(component="up_proj", expert=[0, 1, 2]).median("expert").squeeze()
    for name in each.data_vars:
        # the largest of a merged cell's expert is its last bin, 1/256 wide
        tolerance = 4e-3 if name == "nonzero_max_over_q99" else 1e-12
        merged_value = value(merged.sel(component="up_proj"), str(name))
        assert merged_value == pytest.approx(float(middle[name]), rel=tolerance)


def test_heaviness_reads_counts_from_disk(tmp_path: Any) -> None:
    rng = np.random.default_rng(7)
    fits = wb.scan({"m": {UP.format(i): rng.normal(0, 1, (40, 40)) for i in range(5)}})
    with wb.open_fits(wb.save_fits(fits, tmp_path / "fits.nc")) as stored:
        xr.testing.assert_identical(heaviness(stored), heaviness(fits))
    layer = heaviness(fits.sel(layer=3))
    xr.testing.assert_equal(layer, heaviness(fits).sel(layer=3))


def test_zeros_part_the_two_meanings_of_kurtosis_and_of_the_maximum() -> None:
    weights = np.random.default_rng(0).normal(0, 0.02, (512, 512))
    weights[:256] = 0
    fits = one(weights)
    tail, strength = heaviness(fits), outlier_strength(fits)
    assert value(tail, "nonzero_kurtosis") == pytest.approx(3, abs=0.1)
    assert value(fits, "kurtosis") == pytest.approx(6, abs=0.2)
    largest = np.abs(weights).max() / 0.02
    assert value(tail, "nonzero_max_over_q99") == pytest.approx(largest / 2.576, rel=0.02)
    assert value(strength, "max_over_q99") == pytest.approx(largest / 2.326, rel=0.02)


# --- trims


def test_a_gaussian_has_the_gap_of_a_gaussian_and_a_weibull_none() -> None:
    gauss = body_tail(counted(stats.halfnorm(scale=0.02).cdf, 1 << 26))
    assert value(gauss, "gaussian_gap") == pytest.approx(1.205434 - 1.151067, abs=1e-6)
    assert gauss["k"].squeeze().values == pytest.approx([1.205434, 1.190923, 1.151067], abs=2e-3)
    assert gauss["gaussian_k"].values == pytest.approx([1.205434, 1.190923, 1.151067], abs=1e-6)
    assert abs(value(gauss, "gap_excess")) < 2e-3
    assert gauss["lam"].squeeze().values == pytest.approx(
        0.02 * np.array([0.887487, 0.880888, 0.874835]), rel=2e-3
    )
    weibull = body_tail(counted(stats.weibull_min(1.19, scale=0.02).cdf, 1 << 26))
    assert abs(value(weibull, "gap")) < 2e-3
    assert value(weibull, "gap_excess") == pytest.approx(-0.0544, abs=2e-3)


@pytest.mark.parametrize(
    ("law", "excess"),
    [
        (stats.uniform(), 0.063),
        (stats.expon(), -0.0544),  # |w| of Laplace
        (stats.t(5), -0.007),
        (stats.t(3), -0.006),
    ],
)
def test_the_gap_does_not_order_laws_by_their_upper_tail(law: Any, excess: float) -> None:
    found = body_tail(counted(law.cdf, 1 << 26))
    assert value(found, "gap_excess") == pytest.approx(excess, abs=2e-3)


def test_the_gap_of_a_gaussian_with_unequal_rows() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(0, 0.02, (2048, 512)) * np.exp(rng.normal(0, 0.5, (2048, 1)))
    assert value(body_tail(one(weights)), "gap_excess") == pytest.approx(-0.03, abs=5e-3)


# --- what docs/reading.md says of the body


def test_large_weights_do_not_move_k_but_leaving_them_out_does() -> None:
    weights = np.random.default_rng(0).normal(0, 0.02, (1024, 1024))
    k = wb.fit_weibull(weights).k
    for sigmas in (1.7, 2.0, 3.0):
        edge = 0.02 * sigmas
        clipped = weights.clip(-edge, edge)
        assert wb.fit_weibull(clipped).k == pytest.approx(k, abs=1e-9)
    drawn_anew = weights[np.abs(weights) < 0.04]
    assert wb.fit_weibull(drawn_anew).k - k == pytest.approx(1.2272 - 1.2054, abs=2e-3)
    grown = weights * np.where(np.random.default_rng(1).random(weights.shape) < 0.02, 20, 1)
    assert wb.fit_weibull(grown).k - k == pytest.approx(-0.010, abs=2e-3)


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
def test_body_tail_is_three_scans(estimator: Any) -> None:
    weights = np.random.default_rng(8).normal(0, 0.02, (256, 256)).astype("f2")
    for start in ((0.1, 0.9), (0.2, 0.8)):
        tail = body_tail(one(weights, estimator=estimator, trim=start, structure=False))
        for share, trim in ((0.8, (0.1, 0.9)), (0.9, (0.05, 0.95)), (1.0, (0.0, 1.0))):
            again = one(weights, estimator=estimator, trim=trim, structure=False)
            for name in ("k", "lam", "k_se", "lam_se"):
                assert value(tail.sel(trim=share), name) == value(again, name)
            ideal = wb.anchor(trim=trim, estimator=estimator).k
            assert float(tail["gaussian_k"].sel(trim=share)) == ideal


# --- closure


@pytest.mark.parametrize("zeros", [0, 100])
def test_closure_is_of_the_weights_that_are_fitted(zeros: int) -> None:
    weights = np.random.default_rng(9).normal(0, 0.02, (1024, 1024))
    weights[:zeros] = 0
    fits = one(weights)
    closed = closure(fits)
    square = (weights[weights != 0] ** 2).mean()
    law = stats.weibull_min(value(fits, "k"), scale=value(fits, "lam"))
    implied = law.var() + law.mean() ** 2
    assert value(closed, "ratio") == pytest.approx(implied / square, rel=2e-5)
    assert value(closed, "relative_error") == pytest.approx(100 * (implied / square - 1), rel=2e-4)
    assert abs(value(closed, "excess")) < 0.5
    expected = 100 * (implied / square / value(closed, "gaussian_ratio") - 1)
    assert value(closed, "excess") == pytest.approx(expected, abs=2e-3)


def test_a_true_weibull_closes_and_a_gaussian_misses_by_its_constant() -> None:
    draws = np.random.default_rng(10).weibull(1.2, (2048, 1024)) * 0.02
    closed = closure(one(draws))
    assert abs(value(closed, "relative_error")) < 0.6
    assert value(closed, "excess") == pytest.approx(100 * (1 / 1.17808 - 1), abs=0.6)
    law = stats.weibull_min(1.205434, scale=0.887487)
    assert value(closed, "gaussian_ratio") == pytest.approx(law.var() + law.mean() ** 2, rel=1e-5)
    full = closure(one(draws, trim=(0.0, 1.0)))
    law = stats.weibull_min(1.151067, scale=0.874835)
    assert value(full, "gaussian_ratio") == pytest.approx(law.var() + law.mean() ** 2, rel=1e-5)


# --- what is missing, and cost


@pytest.mark.parametrize("function", [body_tail, heaviness])
def test_without_counts_the_scan_option_is_named(function: Any) -> None:
    fits = one(np.random.default_rng(0).normal(size=(64, 64)), keep_counts=False)
    with pytest.raises(ValueError, match="keep_counts=True"):
        function(fits)
    closure(fits)
    with pytest.raises(ValueError, match="`fits` must hold rms"):
        closure(fits.drop_vars("rms"))
    with pytest.raises(TypeError, match="must be an xarray"):
        function({})


def test_a_cell_that_is_absent_is_nan() -> None:
    draws = np.random.default_rng(0).normal(size=(64, 64))
    name = "model.layers.1.self_attn.q_proj.weight"
    fits = wb.scan({"m": {UP.format(0): draws, name: draws}})
    for table in (heaviness(fits), closure(fits), body_tail(fits)):
        absent = table.sel(layer=0, component="q_proj").squeeze()
        for variable in table.data_vars:
            if not str(variable).startswith("gaussian"):
                assert bool(absent[variable].isnull().all()), variable
                assert bool(table[variable].sel(layer=1, component="q_proj").notnull().all())


def test_a_thousand_matrices_cost_a_fraction_of_a_second() -> None:
    rng = np.random.default_rng(0)
    run = {UP.format(i): rng.normal(0, 0.02, (128, 128)).astype("f2") for i in range(20)}
    fits = wb.scan({"m": run})
    many = xr.concat([fits.assign_coords(model=[f"m{i}"]) for i in range(50)], dim="model")
    heaviness(fits)
    start = time.process_time()
    heaviness(many)
    closure(many)
    assert time.process_time() - start < 1


# --- errors


def scaled_rows(rng: np.random.Generator, h: float) -> NDArray[Any]:
    shape = (96, 96)
    drawn: NDArray[Any] = rng.standard_normal(shape, dtype=np.float32)
    scales: NDArray[Any] = np.exp(np.float32(h) * rng.standard_normal((96, 1), dtype=np.float32))
    drawn *= scales
    return drawn


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("h", [0.0, 0.3])
def test_errors_of_gap_and_closure_are_their_spread(h: float, estimator: Any) -> None:
    """Over 300 matrices drawn anew; their spread is known to 4 %, errors of few lines to less."""
    rng = np.random.default_rng(12)
    run = {UP.format(i): scaled_rows(rng, h) for i in range(300)}
    fits = wb.scan({"m": run}, estimator=estimator)
    for function, name in ((body_tail, "gap_excess"), (closure, "excess")):
        table = function(fits, errors=True)
        claimed = float((table[f"{name}_se"] ** 2).mean() ** 0.5)
        assert claimed == pytest.approx(float(table[name].std()), rel=0.2)
        assert table[f"{name}_se"].dims == table[name].dims


def test_errors_of_gap_and_closure_without_lines_are_independent() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(400, 300)) * np.exp(0.5 * rng.normal(size=(400, 1)))
    plain, lined = one(weights, structure=False), one(weights)
    for function, name in ((body_tail, "gap_excess_se"), (closure, "excess_se")):
        assert name not in function(plain)
        table = function(plain, errors=True)
        assert 0 < value(table, name) < value(function(lined, errors=True), name)
        bare = plain.drop_vars("line_covariance")
        assert value(function(bare, errors=True), name) == value(table, name)
    with pytest.raises(ValueError, match="must hold counts"):
        closure(plain.drop_vars("counts"), errors=True)


def test_errors_of_gap_and_closure_of_experts_are_of_a_typical_one() -> None:
    rng = np.random.default_rng(6)
    run = {EXPERT.format(i): scaled_rows(rng, 0.2) for i in range(5)}
    run[EXPERT.format(5)] = np.zeros((96, 96), "f4")
    cell, each = (wb.scan({"m": run}, experts=how, structure=False) for how in EXPERTS)
    for function, name in ((body_tail, "gap_excess_se"), (closure, "excess_se")):
        single = function(each, errors=True)[name].squeeze()
        assert bool(single.sel(expert=5).isnull())
        middle = single.median("expert").item()
        assert value(function(cell, errors=True), name) == pytest.approx(middle, rel=0.02)
