"""k taken apart: planted causes, held against simulation, quadrature and plain numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weibnb.diagnostics.decompose import (
    VARIABLES,
    _gaussian_core,
    as_dataset,
    gaussian_alpha,
    nothing,
    take_apart,
)
from weibnb.diagnostics.explanation import explain
from weibnb.fitting.single import fit_weibull
from weibnb.fitting.weibull import anchor

if TYPE_CHECKING:
    from weibnb.diagnostics.decompose import Found

PROTOCOL: Any = ("rank_regression", (0.1, 0.9))
ANCHOR = anchor().k


def gaussian(height: int = 512, width: int = 512, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 0.02, (height, width))


def lognormal(spread: float, *shape: int, seed: int = 7) -> Any:
    return np.exp(np.random.default_rng(seed).normal(0, spread, shape))


def apart(weights: Any) -> Found:
    return take_apart(weights, PROTOCOL)


def balanced(weights: Any) -> Any:
    """Divide rows and columns in turn, by numpy."""
    for _ in range(60):
        weights = weights / np.sqrt((weights**2).mean(1, keepdims=True))
        weights = weights / np.sqrt((weights**2).mean(0, keepdims=True))
    return weights


def test_k_of_every_stage_is_that_of_the_divided_matrix() -> None:
    weights = gaussian(200, 300) * lognormal(0.5, 200, 1) * lognormal(0.3, 300, seed=8)
    found = apart(weights)
    rows = weights / np.sqrt((weights**2).mean(1, keepdims=True))
    cols = weights / np.sqrt((weights**2).mean(0, keepdims=True))
    stages = {"raw": weights, "rows": rows, "cols": cols, "core": balanced(weights)}
    for stage, matrix in stages.items():
        fit = fit_weibull(matrix)
        for name in ("k", "lam", "r2"):
            assert found[f"{name}_{stage}"] == pytest.approx(getattr(fit, name), rel=2e-5)
    assert found["k_se_core"] == pytest.approx(fit_weibull(balanced(weights)).k_se, rel=0.5)
    assert found["k_se_raw"] > 1.5 * fit_weibull(weights).k_se  # rows depend on each other


@pytest.mark.parametrize(("rows", "cols"), [(0.5, 0.0), (0.0, 0.5), (0.35, 0.2), (0.0, 0.0)])
def test_planted_scales_are_named_and_measured(rows: float, cols: float) -> None:
    weights = gaussian() * lognormal(rows, 512, 1) * lognormal(cols, 512, seed=8)
    found = apart(weights)
    a, b = np.log(lognormal(rows, 512)).std(), np.log(lognormal(cols, 512, seed=8)).std()
    assert found["h_row"] == pytest.approx(a, abs=0.012)
    assert found["h_col"] == pytest.approx(b, abs=0.012)
    assert found["k_core"] == pytest.approx(found["anchor_core"], abs=4 * found["k_se_core"])
    sentence = found["sentence"]
    assert ("unequal rows" in sentence) == (rows > 0)
    assert ("unequal columns" in sentence) == (cols > 0)
    assert sentence.endswith("the core is Gaussian.")
    assert ("not low" in sentence) == (rows == cols == 0)


@pytest.mark.parametrize(
    ("spread", "alpha", "k"), [(0.1, 0.59, 1.2004), (0.2, 0.63, 1.1840), (0.35, 0.66, 1.1408),
                               (0.5, 0.68, 1.0795)]
)  # fmt: skip
def test_the_bridge_of_a_gaussian(spread: float, alpha: float, k: float) -> None:
    """Simulated values, and a simulation of our own whose scales are quantiles of the law."""
    from scipy import special

    expected = gaussian_alpha(spread, PROTOCOL)
    assert expected == pytest.approx(alpha, abs=0.025)
    assert (ANCHOR**-2 + expected * spread**2) ** -0.5 == pytest.approx(k, abs=1e-3)
    scale = np.exp(spread * special.ndtri((np.arange(2048) + 0.5) / 2048))[:, None]
    found = apart(gaussian(2048, 1024, seed=3) * scale)
    assert found["k_raw"] == pytest.approx(k, abs=3e-3)
    assert found["alpha"] == pytest.approx(expected, abs=0.02 + 0.0005 / spread**2)
    assert found["alpha_gaussian"] == pytest.approx(expected, abs=0.02)
    assert found["bridge"] == pytest.approx(found["k_raw"] ** -2 - found["k_core"] ** -2)


def test_alpha_of_a_weibull_begins_at_six_over_pi_squared() -> None:
    """A pool of Weibulls of one shape, over the whole range, by the variance of ln|w|."""
    rng = np.random.default_rng(0)
    weights = rng.weibull(1.2, (1024, 1024)) * rng.choice([-1.0, 1.0], (1024, 1024))
    found = take_apart(weights * lognormal(0.2, 1024, 1), ("rank_regression", (0.0, 1.0)))
    assert found["alpha"] == pytest.approx(6 / np.pi**2, abs=0.06)


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(16, 80),
    width=st.integers(16, 80),
    rows=st.floats(0, 1),
    cols=st.floats(0, 1),
    law=st.sampled_from(["normal", "laplace", "standard_t"]),
    power=st.integers(-60, 60),
    seed=st.integers(0, 50),
)
def test_laws(
    height: int, width: int, rows: float, cols: float, law: str, power: int, seed: int
) -> None:
    """Parts add up; scales of rows, columns and the whole change nothing in the core."""
    rng = np.random.default_rng(seed)
    draw = {"normal": rng.normal, "laplace": rng.laplace}.get(
        law, lambda size: rng.standard_t(5, size)
    )
    weights = np.asarray(draw(size=(height, width)), np.float32)
    scaled = weights * lognormal(rows, height, 1) * lognormal(cols, width, seed=8) * 2.0**power
    plain, found = apart(weights), apart(scaled.astype(np.float32))
    parts = [found[f"from_{name}"] for name in ("rows", "cols", "dividing", "core")]
    assert sum(parts) == pytest.approx(found["below"], abs=1e-12)
    assert found["below"] == pytest.approx(ANCHOR - found["k_raw"])
    shares = [found[f"share_{name}"] for name in ("rows", "cols", "core")]
    assert sum(shares) == pytest.approx(1)
    assert found["k_core"] == pytest.approx(plain["k_core"], abs=1e-3)
    assert found["core_populations"] == plain["core_populations"]
    turned = apart(np.ascontiguousarray(scaled.T).astype(np.float32))
    for one, other in (("rows", "cols"), ("cols", "rows"), ("core", "core")):
        assert found[f"k_{one}"] == pytest.approx(turned[f"k_{other}"], abs=2e-5)
        assert found[f"share_{one}"] == pytest.approx(turned[f"share_{other}"], abs=1e-5)


def test_rows_of_a_matrix_are_columns_of_its_transpose() -> None:
    """Neither comes first: what both together explain is parted evenly."""
    weights = gaussian() * lognormal(0.6, 512, 1) * lognormal(0.5, 512, seed=8)
    found, turned = apart(weights), apart(np.ascontiguousarray(weights.T))
    assert found["from_rows"] == pytest.approx(turned["from_cols"], abs=1.5e-3)
    assert found["from_cols"] == pytest.approx(turned["from_rows"], abs=1.5e-3)
    first = found["k_rows"] - found["k_raw"]
    last = found["k_core"] - found["k_cols"]
    assert abs(last - first) > 0.006
    assert found["from_rows"] == pytest.approx((first + last) / 2, abs=4e-3)


def test_shares_of_variance() -> None:
    rows, cols = lognormal(0.6, 400, 1), lognormal(0.3, 400, seed=8)
    found = apart(gaussian(400, 400) * rows * cols)
    whole = np.log(rows).var() + np.log(cols).var() + np.pi**2 / 8  # of a Gaussian's ln|w|
    assert found["share_rows"] == pytest.approx(np.log(rows).var() / whole, abs=0.01)
    assert found["share_cols"] == pytest.approx(np.log(cols).var() / whole, abs=0.01)


def test_independent_heavy_tails_are_neither_rows_nor_columns() -> None:
    weights = np.random.default_rng(0).standard_t(5, (512, 512))
    found = apart(weights)
    assert found["sentence"].startswith("None of the 0.05 below the anchor is unequal rows")
    assert "more unequal than a Gaussian's" in found["sentence"]
    assert abs(found["from_rows"]) + abs(found["from_cols"]) < 2e-3
    assert found["from_core"] == pytest.approx(found["below"], abs=5e-3)
    laplace = np.random.default_rng(1).laplace(size=(512, 512)) * lognormal(0.5, 512, 1)
    both = apart(laplace)
    assert both["from_core"] == pytest.approx(ANCHOR - 1, abs=0.01)
    assert both["from_rows"] > 0.05
    assert "unequal rows; the core's magnitudes are more unequal" in both["sentence"]


def test_the_control_is_what_dividing_does_to_shuffled_weights() -> None:
    weights = gaussian(96, 96) * lognormal(0.6, 96, 1)
    rng = np.random.default_rng(5)
    drawn = [
        fit_weibull(balanced(rng.permutation(weights.reshape(-1)).reshape(96, 96))).k
        for _ in range(60)
    ]
    found = apart(weights)
    assert found["k_shuffled"] == pytest.approx(np.mean(drawn), abs=float(np.std(drawn)))
    assert found["from_dividing"] == pytest.approx(found["k_shuffled"] - found["k_raw"])


@pytest.mark.parametrize("shape", [(16, 64), (64, 64), (512, 64)])
def test_a_divided_gaussian_lies_above_the_anchor(shape: tuple[int, int]) -> None:
    drawn = [fit_weibull(balanced(gaussian(*shape, seed=seed))).k for seed in range(120)]
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert _gaussian_core(shape, PROTOCOL)[0] == pytest.approx(np.mean(drawn), abs=4 * error)
    assert np.mean(drawn) > ANCHOR + 3 * error


@pytest.mark.parametrize("shape", [(8, 5000), (5000, 8), (12, 4000)])
def test_a_gaussian_of_few_rows_has_a_gaussian_core(shape: tuple[int, int]) -> None:
    # eight weights of one length are a point on a sphere: r2 0.9954, far from a Gaussian's 0.9977
    for seed in range(5):
        found = apart(gaussian(*shape, seed=seed))
        own = fit_weibull(balanced(gaussian(*shape, seed=seed))).r2
        assert found["anchor_r2_core"] == pytest.approx(own, abs=0.001)
        assert found["sentence"].endswith("the core is Gaussian.")


@pytest.mark.parametrize(
    "weights",
    [
        np.diag(gaussian(1, 128)[0]),
        np.outer(gaussian(1, 200), gaussian(1, 300, seed=1)),
        np.kron(np.diag(gaussian(1, 16)[0]), np.ones((8, 12))),
    ],
    ids=["diagonal", "rank one", "blocks"],
)
def test_a_core_of_one_magnitude_has_no_k(weights: Any) -> None:
    found = apart(weights)
    assert found["converged"]
    assert found["status_core"] == "constant"
    assert np.isnan(found["k_core"])
    assert np.isnan(found["from_rows"])
    assert "divided by rows and columns, all weights have one magnitude" in found["sentence"]
    assert "Gaussian." not in found["sentence"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_magnitudes_that_float32_does_not_span_are_not_left_out_in_silence(dtype: Any) -> None:
    widest = 80 if dtype == np.float32 else 600
    exponents = np.random.default_rng(1).uniform(-widest, widest, (96, 160))
    exponents[0, :2] = -widest, widest
    found = apart(np.exp(exponents).astype(dtype))
    assert found["status"] == "ok"
    assert found["status_core"] == "subnormal"
    assert np.isnan(found["k_core"])
    assert "the weights span more magnitudes than float32 holds" in found["sentence"]


def test_two_populations_by_rows_are_one_when_divided() -> None:
    by_rows = gaussian()
    by_rows[:150] /= 20
    found = apart(by_rows)
    assert (found["populations"], found["core_populations"]) == (
        "two populations",
        "one population",
    )
    assert found["sentence"].endswith("The weights are two populations, divided one.")
    anywhere = gaussian()
    anywhere.flat[np.random.default_rng(1).choice(anywhere.size, 80_000, replace=False)] /= 20
    assert "the core is two populations" in apart(anywhere)["sentence"]
    assert apart(anywhere)["sentence"].endswith("two populations, also when divided.")


def test_cores_that_are_not_gaussian_are_not_called_so() -> None:
    rng = np.random.default_rng(0)
    uniform = apart(rng.uniform(-1, 1, (256, 256)))
    assert "is not low; the core's magnitudes are less unequal" in uniform["sentence"]
    weibull = rng.weibull(ANCHOR, (512, 512)) * rng.choice([-1.0, 1.0], (512, 512))
    assert "the core has a Gaussian's k, but not its shape" in apart(weibull)["sentence"]
    assert "the core is a comb" in apart(np.round(gaussian() / 0.02 * 3))["sentence"]


def test_a_healthy_gaussian_is_silent() -> None:
    for seed in range(60):
        sentence = apart(gaussian(96, 64, seed=seed))["sentence"]
        assert "is not low; the core is Gaussian." in sentence


# ------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_not_called_zeros(value: float) -> None:
    weights = gaussian(64, 64)
    weights[3] = value
    found = apart(weights)
    assert (found["dead_rows"], found["nonfinite"]) == (1, 64)
    left = "Left out: 1 row of zeros, NaN or infinities, 64 NaN or infinite weights."
    assert found["sentence"].endswith(left)


def test_dead_lines_are_left_out_and_said() -> None:
    weights = gaussian() * lognormal(0.5, 512, 1)
    there = np.random.default_rng(0).permutation(512)
    dead = weights.copy()
    dead[there[:51]] = 0
    dead[:, there[:3]] = 0
    found = apart(dead)
    alive = apart(np.delete(np.delete(weights, there[:51], 0), there[:3], 1))
    assert (found["dead_rows"], found["dead_cols"]) == (51, 3)
    assert found["sentence"].endswith("Left out: 51 rows of zeros, 3 columns of zeros.")
    for name in ("k_raw", "k_core", "h_row", "share_core", "k_shuffled"):
        assert found[name] == pytest.approx(alive[name], rel=1e-6)


def test_nan_and_infinity_are_left_out_and_said() -> None:
    weights = gaussian(128, 128)
    zeroed = weights.copy()
    weights[3, 4], weights[5, 6] = np.nan, -np.inf
    zeroed[3, 4] = zeroed[5, 6] = 0
    found, expected = apart(weights), apart(zeroed)
    assert found["status"] == "nonfinite"
    assert found["sentence"].endswith("Left out: 2 NaN or infinite weights.")
    assert found["k_core"] == pytest.approx(expected["k_core"], abs=1e-12)


@pytest.mark.parametrize("live", [(1, 512), (512, 1), (7, 512), (512, 7)])
def test_too_few_lines_cannot_be_divided(live: tuple[int, int]) -> None:
    weights = np.zeros((512, 512))
    weights[: live[0], : live[1]] = gaussian(*live)
    for matrix in (weights, gaussian(*live)):
        found = apart(matrix)
        assert np.isfinite(found["k_raw"])
        assert np.isnan([found[name] for name in ("k_rows", "k_cols", "k_core", "h_row")]).all()
        assert f"{live[0]} x {live[1]} hold weights, and at least 8 x 8" in found["sentence"]
    assert np.isfinite(apart(gaussian(8, 64))["k_core"])


@pytest.mark.parametrize(
    ("weights", "status"),
    [
        (np.zeros((20, 20)), "all_zero"),
        (np.ones((20, 20)), "constant"),
        (gaussian(9, 9), "too_few"),
        (np.full((20, 20), np.nan), "no_finite"),
        (gaussian(64, 64).astype(np.float32) * np.float32(1e-38), "subnormal"),
        (np.zeros((0, 20)), "empty"),
    ],
)
def test_what_has_no_fit_says_why(weights: Any, status: str) -> None:
    found = apart(weights)
    assert found["status"] == status
    assert found["sentence"].startswith("There is no k: ")
    assert np.isnan(found["k_raw"])


def test_zeros_that_forbid_a_core_are_said() -> None:
    triangle = np.tril(gaussian(64, 64))
    found = apart(triangle)
    assert not found["converged"]
    assert found["imbalance"] > 1e-6
    assert np.isfinite(found["k_rows"])
    assert np.isnan(found["k_core"])
    assert "200 rounds did not make rows and columns equal, which zeros" in found["sentence"]


@pytest.mark.parametrize("factor", [1e-290, 1e-30, 1e30, 1e300])
def test_the_unit_of_float64_weights_does_not_matter(factor: float) -> None:
    weights = gaussian(96, 96) * lognormal(0.4, 96, 1)
    found, scaled = apart(weights), apart(weights * factor)
    for name in ("k_raw", "k_core", "h_row", "from_rows"):
        assert scaled[name] == pytest.approx(found[name], abs=2e-4)


def test_the_result_does_not_depend_on_threads() -> None:
    weights = gaussian(96, 96) * lognormal(0.4, 96, 1)
    one, two = (take_apart(weights, PROTOCOL, workers=workers) for workers in (1, 2))
    assert one == pytest.approx(two, nan_ok=True)


def test_a_dataset_holds_what_was_found() -> None:
    found = [apart(gaussian(64, 64)), nothing("quantized", (8, 9), PROTOCOL)]
    places = [{"layer": 0, "component": "o_proj"}, {"layer": 1, "component": "o_proj"}]
    result = as_dataset(found, places, PROTOCOL)
    assert set(result.data_vars) == set(VARIABLES)
    assert result["status"].values.tolist() == ["ok", "quantized"]
    assert explain(result.isel(matrix=0)) == found[0]["sentence"]
    assert "integers or packed values" in result["sentence"].values[1]
    assert all(result[name].attrs["long_name"] for name in VARIABLES)
    assert result["rows"].values.tolist() == [64, 8]
