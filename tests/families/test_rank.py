"""Families ranked: parameters against scipy, the true family first, tables of a Dataset."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
from scipy import optimize

import weibnb as wb
from tests.families.known import (
    BF16,
    SIXTEEN_MILLION,
    TRUE,
    density,
    draw,
    log_density,
)
from weibnb.counting.dispatch import count_magnitudes
from weibnb.families.distributions import FAMILIES
from weibnb.families.rank import rank_families

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def raw_sample_fit(family: str, x: Array) -> tuple[Array, Array]:
    """Logarithms of shape and scale of greatest likelihood, and their standard errors."""
    free = 1 if family == "half_normal" else 2

    def loss(theta: Array) -> float:
        shape, scale = (1.0, theta[0]) if free == 1 else theta
        if free == 1:
            return -float(log_density(family, x, 1.0, math.exp(scale)).mean())
        return -float(log_density(family, x, math.exp(shape), math.exp(scale)).mean())

    start: Array = np.array([math.log(TRUE[family][0]), 0.0])[-free:]
    best = np.asarray(optimize.fmin(loss, start, xtol=1e-7, ftol=1e-13, maxiter=2000, disp=False))
    step, hessian = 1e-3, np.zeros((free, free))
    unit = step * np.eye(free)
    for i in range(free):
        for j in range(free):
            hessian[i, j] = (
                loss(best + unit[i] + unit[j])
                - loss(best + unit[i] - unit[j])
                - loss(best - unit[i] + unit[j])
                + loss(best - unit[i] - unit[j])
            ) / (4 * step**2)
    return best, np.sqrt(np.diag(np.linalg.inv(hessian)) / x.size)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, BF16])
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_equal_those_of_the_raw_sample(family: str, dtype: Any) -> None:
    x = TRUE[family][1](np.random.default_rng(1), 10_000)
    best, error = raw_sample_fit(family, x)
    table = rank_families((0.02 * x).astype(dtype)).set_index("family")
    ours = np.log([table["shape"][family], table["scale"][family] / 0.02])[-best.size :]
    # bf16 rounding moves each weight by up to 0.4 %, grouping loses below 1 % of the information
    assert np.all(np.abs(ours - best) < 0.15 * error)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("family", FAMILIES)
def test_the_true_family_ranks_first(family: str, seed: int) -> None:
    x = TRUE[family][1](np.random.default_rng(seed), 200_000)
    for dtype in (np.float32, BF16):
        table = rank_families((0.02 * x).astype(dtype))
        assert table["family"].iloc[0] == family
        assert table["rank"].tolist() == list(range(1, 7))
        assert table["delta_bic"].iloc[0] == 0
        assert table["delta_bic"].is_monotonic_increasing
        assert table["ks"].iloc[0] < 2 / math.sqrt(200_000)  # Kolmogorov: p < 1e-3
        assert np.isfinite(
            table.drop(
                columns=["family", "shape", "shape_se", "likelihood_ratio", "gaussian_p"]
            ).to_numpy(float)
        ).all()


@pytest.mark.parametrize("n", [1_000, SIXTEEN_MILLION])
def test_gaussian_weights_at_both_ends_of_size(n: int) -> None:
    counts = draw(density("half_normal"), n, np.random.default_rng(5))
    table = rank_families(counts).set_index("family")
    assert table["rank"]["half_normal"] == 1
    assert table["scale"]["half_normal"] == pytest.approx(0.02, rel=4 / math.sqrt(2 * n))
    assert table["shape"]["generalised_gaussian"] == pytest.approx(2, abs=14 / math.sqrt(n))
    # the extra parameter of a nested family costs ln n, and gains a chi-square of one degree
    assert 0 < table["delta_bic"]["generalised_gaussian"] <= math.log(n) + 1e-6
    # ν is sought up to 10,000, a few nats from a Gaussian at 16 M weights
    assert 0 < table["delta_bic"]["student_t"] <= math.log(n) + 5
    assert table["delta_bic"]["weibull"] > (1e5 if n > 1_000 else 2)


def test_a_pruned_and_a_narrow_format_are_fitted_above_what_rounds_to_zero() -> None:
    weights = np.random.default_rng(0).normal(0, 0.004, 200_000).astype(ml_dtypes.float8_e4m3fn)
    assert (weights == 0).mean() > 0.15
    table = rank_families(weights).set_index("family")
    assert table["scale"]["half_normal"] == pytest.approx(0.004, rel=0.01)
    assert table["rank"]["half_normal"] == 1


def test_a_trim_censors_the_tails() -> None:
    firsts = []
    for seed in range(6):
        x = np.random.default_rng(seed).normal(size=100_000)
        x[:500] *= 30  # outliers, a few of which stay in the body
        whole = rank_families(x).set_index("family")
        body = rank_families(x, trim=(0.0, 0.9)).set_index("family")
        assert whole["rank"]["student_t"] == 1
        assert whole["delta_bic"]["half_normal"] > 100_000
        assert body["delta_bic"]["half_normal"] < 10
        assert body["scale"]["half_normal"] == pytest.approx(1, abs=0.02)
        firsts.append(body["rank"]["half_normal"])
    # at one seed of these the body prefers Student t, by less than 4 in BIC
    assert firsts.count(1) == 5


def test_a_table_for_every_matrix(fits: xr.Dataset) -> None:
    table = rank_families(fits)
    first = table[table["rank"] == 1].set_index(["model", "layer", "component"])["family"]
    assert first.to_dict() == {
        ("a", 0, "gate_proj"): first[("a", 0, "gate_proj")],
        ("a", 0, "down_proj"): "student_t",
        ("a", 1, "gate_proj"): "student_t",
        ("a", 2, "up_proj"): "half_normal",
        ("b", 1, "gate_proj"): "student_t",
    }
    constant = table[table["status"] == "constant"]
    assert len(constant) == 2
    assert constant["family"].isna().all()
    assert constant["rank"].isna().all()
    pooled = table[(table["component"] == "up_proj") & (table["rank"] == 1)]
    assert pooled["n"].item() == 3 * 64 * 64


def test_one_matrix_gives_the_row_of_the_dataset() -> None:
    weights = (0.02 * np.random.default_rng(1).standard_t(4, (256, 256))).astype(BF16)
    fits = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": weights}}, progress=False)
    row, alone = rank_families(fits), rank_families(weights)
    pd.testing.assert_frame_equal(row[alone.columns], alone)
    pd.testing.assert_frame_equal(rank_families(count_magnitudes(weights)), alone)


def test_classes_are_ranked_by_the_sum(fits: xr.Dataset) -> None:
    cells, classes = rank_families(fits), rank_families(fits, by="class")
    assert classes.groupby("model")["matrices"].first().to_dict() == {"a": 4, "b": 1}
    of_a = cells[cells["model"] == "a"].groupby("family")["delta_bic"].sum()
    expected = of_a - of_a.min()
    got = classes[classes["model"] == "a"].set_index("family")
    np.testing.assert_allclose(got["delta_bic"], expected[got.index])
    assert got["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert got["best"].sum() == 4


def test_experts_one_by_one() -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.experts.{}.up_proj.weight"
    weights = {name.format(i): 0.02 * rng.normal(size=(128, 128)) for i in range(2)}
    table = rank_families(wb.scan({"m": weights}, experts="each", progress=False))
    assert sorted(table["expert"].unique()) == [0, 1]


def test_fits_on_disk_give_the_same(fits: xr.Dataset, tmp_path: Path) -> None:
    with wb.open_fits(wb.save_fits(fits, tmp_path / "fits.nc")) as opened:
        pd.testing.assert_frame_equal(rank_families(opened), rank_families(fits))


def test_too_few_weights_have_one_row_without_a_family() -> None:
    x = np.random.default_rng(0).normal(size=50).astype(np.float32)
    name = "model.layers.0.mlp.up_proj.weight"
    fits = wb.scan({"m": {name: x.reshape(5, 10)}}, progress=False)
    for one in (x, np.zeros((8, 8)), fits):
        table = rank_families(one)
        assert len(table) == 1
        assert table["family"].isna().all()
        assert table[["rank", "shape", "scale", "delta_bic", "ks"]].isna().all(axis=None)


def test_some_families_only() -> None:
    x = np.random.default_rng(0).normal(size=10_000)
    assert rank_families(x, families=["weibull", "half_normal"])["family"].tolist() == [
        "half_normal",
        "weibull",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"families": ["weibul"]}, "Did you mean 'weibull'"),
        ({"families": []}, "at least one family"),
        ({"by": "layer"}, "`by` must be one of 'cell', 'class'"),
        ({"by": "class"}, "single matrix"),
        ({"trim": (0.9, 0.1)}, "`trim` must satisfy"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rank_families(np.arange(1.0, 1000.0), **arguments)


def test_a_dataset_without_counts_names_the_option(fits: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="keep_counts=True"):
        rank_families(fits.drop_vars("counts"))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e307])
def test_extreme_magnitudes(scale: float) -> None:
    x = scale * np.random.default_rng(0).normal(size=20_000)
    assert rank_families(x)["family"].iloc[0] == "half_normal"


@pytest.mark.parametrize(
    ("values", "fitted"),
    [([1.0, 2.0, 3.0], True), ([1.0, 1.001, 1.002], False), ([1e-310, 2e-310], False)],
)
def test_few_distinct_values_do_not_raise(values: list[float], *, fitted: bool) -> None:
    table = rank_families(np.random.default_rng(0).choice(values, 1_000))
    assert len(table) == (len(FAMILIES) if fitted else 1)
    assert (table["rank"].notna() == fitted).all()


@pytest.mark.parametrize(
    ("family", "law"),
    [
        ("weibull", "weibull"),
        ("weibull", "half_normal"),
        ("lognormal", "lognormal"),
        ("gamma", "lognormal"),
        ("gamma", "gamma"),
        ("generalised_gaussian", "generalised_gaussian"),
        ("student_t", "student_t"),
        ("student_t", "gamma"),
    ],
)
def test_the_error_of_a_shape_is_its_spread_over_draws(family: Any, law: str) -> None:
    """Also where the family is not the true one: 150 draws tell a spread within 6 %."""
    rng, rows = np.random.default_rng(5), []
    for _ in range(150):
        draws = TRUE[law][1](rng, 16_384).astype(np.float32)
        rows.append(rank_families(draws, families=[family])[["shape", "shape_se"]].iloc[0])
    found = pd.DataFrame(rows)
    assert found["shape_se"].median() == pytest.approx(found["shape"].std(), rel=0.18)


@pytest.mark.parametrize("trim", [(0.0, 1.0), (0.05, 0.95)])
@pytest.mark.parametrize("dtype", [np.float32, BF16])
def test_the_error_of_a_shape_for_censored_weights_and_coarse_formats(
    dtype: Any, trim: tuple[float, float]
) -> None:
    rng, rows = np.random.default_rng(5), []
    for _ in range(100):
        draws = TRUE["weibull"][1](rng, 8192).astype(dtype)
        found = rank_families(draws, families=["weibull"], trim=trim)
        rows.append(found[["shape", "shape_se"]].iloc[0])
    table = pd.DataFrame(rows)
    assert table["shape_se"].median() == pytest.approx(table["shape"].std(), rel=0.25)


def test_a_gaussian_is_rejected_as_often_as_the_level_says() -> None:
    """β = 2 lies inside, ν = ∞ at the end: half of the ratios are 0."""
    rng = np.random.default_rng(6)
    families: list[Any] = ["half_normal", "generalised_gaussian", "student_t"]
    tables: list[Any] = [
        rank_families(rng.normal(size=4096), families=families).set_index("family")
        for _ in range(400)
    ]
    inside, end = (
        np.array([table.loc[name, "gaussian_p"] for table in tables], float)
        for name in families[1:]
    )
    assert (inside < 0.05).mean() == pytest.approx(0.05, abs=0.035)
    assert (end < 0.05).mean() == pytest.approx(0.05, abs=0.035)
    assert (end == 1).mean() == pytest.approx(0.5, abs=0.1)
    assert (inside < 0.5).mean() == pytest.approx(0.5, abs=0.1)


def test_another_law_is_no_gaussian_and_the_half_normal_is_needed() -> None:
    draws = np.random.default_rng(0).standard_t(8, 100_000)
    table: Any = rank_families(draws).set_index("family")
    gain = (
        2
        * 100_000
        * (table.loc["student_t", "log_likelihood"] - table.loc["half_normal", "log_likelihood"])
    )
    assert table.loc["student_t", "likelihood_ratio"] == pytest.approx(gain)
    assert table.loc["student_t", "gaussian_p"] < 1e-10
    others = ["weibull", "half_normal", "lognormal", "gamma"]
    assert table.loc[others, ["likelihood_ratio", "gaussian_p"]].isna().all(axis=None)
    alone = rank_families(draws, families=["student_t"])
    assert alone[["likelihood_ratio", "gaussian_p"]].isna().all(axis=None)
    assert np.isnan(table.loc["half_normal", "shape_se"])


@pytest.mark.parametrize("extreme", [(1e200, 1e-200), (1e300, 1e-300), (1e200,), (1e-200,)])
def test_weights_beyond_what_a_family_can_reach(extreme: tuple[float, ...]) -> None:
    """A family that fails has no numbers; the others are ranked by theirs."""
    weights = np.random.default_rng(0).normal(size=1000)
    weights[: len(extreme)] = extreme
    table = rank_families(weights)
    there = table[table["delta_bic"].notna()]
    assert len(there) >= 3
    assert there["delta_bic"].iloc[0] == 0.0
    assert (there["rank"].diff().dropna() == 1).all()
    failed = table[table["delta_bic"].isna()]
    assert failed[["shape_se", "ks", "divergence"]].isna().all(axis=None)
