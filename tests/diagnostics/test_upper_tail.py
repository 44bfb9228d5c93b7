"""The upper tail: numbers of known laws, errors against simulation, and the Hill index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import weibnb as wb
from weibnb.diagnostics.upper_tail import upper_tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

UP = "model.layers.{}.mlp.up_proj.weight"
EXPERT = "model.layers.0.mlp.experts.{}.up_proj.weight"
LAWS: dict[str, Any] = {
    "gaussian": stats.halfnorm(),
    "uniform": stats.uniform(),
    "laplace": stats.expon(),
    "t5": stats.t(5),
    "t3": stats.t(3),
}


def tail_of(weights: NDArray[Any], **options: Any) -> xr.Dataset:
    return upper_tail(wb.scan({"m": {UP.format(0): weights}}), **options).squeeze()


def expected(law: Any, high: float, low: float) -> float:
    """ln of the ratio of two quantiles of |w|, less a Gaussian's, from scipy."""
    folded = law.ppf if law.support()[0] == 0 else lambda p: law.ppf((1 + p) / 2)
    gauss = stats.halfnorm.ppf
    return float(np.log(folded(high) / folded(low)) - np.log(gauss(high) / gauss(low)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", list(LAWS))
def test_ratios_are_those_of_the_law(name: str, dtype: Any) -> None:
    law = LAWS[name]
    draws = law.rvs((1024, 1024), random_state=np.random.default_rng(0)).astype(dtype)
    tail = tail_of(draws)
    grid = 2.0**-8 if dtype == ml_dtypes.bfloat16 and name == "uniform" else 0.0
    for measure, high, low in (("near_tail", 0.999, 0.9), ("far_tail", 0.9999, 0.99)):
        found, error = tail[measure].item(), tail[f"{measure}_se"].item()
        assert found == pytest.approx(expected(law, high, low), abs=4 * error + grid)
        assert 0 < error < 0.05


def test_only_heavy_tails_are_above_zero() -> None:
    """The order that the gap of `body_tail` does not give."""
    values = {name: expected(law, 0.999, 0.9) for name, law in LAWS.items()}
    assert sorted(values, key=values.__getitem__) == ["uniform", "gaussian", "laplace", "t5", "t3"]
    assert values["gaussian"] == 0


@pytest.mark.parametrize(
    ("name", "side", "measure"),
    [
        ("gaussian", 256, "near_tail"),
        ("laplace", 256, "near_tail"),
        ("t5", 256, "near_tail"),
        ("t3", 256, "near_tail"),
        ("gaussian", 512, "far_tail"),
        ("t3", 512, "far_tail"),
    ],
)
def test_an_interval_of_two_errors_covers(name: str, side: int, measure: str) -> None:
    law, rng = LAWS[name], np.random.default_rng(3)
    truth = expected(law, *{"near_tail": (0.999, 0.9), "far_tail": (0.9999, 0.99)}[measure])
    draws = 300
    weights = {
        UP.format(i): law.rvs((side, side), random_state=rng).astype(np.float32)
        for i in range(draws)
    }
    tail = upper_tail(wb.scan({"m": weights}))
    off = (tail[measure] - truth) / tail[f"{measure}_se"]
    covered = float((abs(off) < 1.96).mean())
    assert 0.90 <= covered <= 0.985
    assert float(off.std()) == pytest.approx(1, abs=0.15)


def test_errors_know_of_rows_and_columns() -> None:
    """Over draws of matrices with unequal rows the ratio spreads as its error says."""
    rng = np.random.default_rng(5)
    weights = {
        UP.format(i): (rng.normal(size=(256, 256)) * np.exp(rng.normal(0, 0.2, (256, 1)))).astype(
            np.float16
        )
        for i in range(150)
    }
    tail = upper_tail(wb.scan({"m": weights})).squeeze()
    independent = upper_tail(wb.scan({"m": weights}, structure=False)).squeeze()
    spread = float(tail["near_tail"].std())
    assert spread / float(tail["near_tail_se"].mean()) == pytest.approx(1.0, abs=0.2)
    assert spread / float(independent["near_tail_se"].mean()) > 1.25
    same = wb.scan({"m": {UP.format(0): rng.normal(size=(256, 256))}})
    clustered, alone = (
        upper_tail(fits)["near_tail_se"].item()
        for fits in (same, same.drop_vars("line_covariance"))
    )
    assert alone <= clustered < 1.15 * alone


@pytest.mark.parametrize("fields", [False, True])
def test_few_rows_of_large_scale_are_allowed_for(fields: bool) -> None:
    """Rows of H = 0.5: the sample of lines alone gives 0.4 of the spread."""
    rng = np.random.default_rng(8)
    weights = {
        UP.format(i): (rng.normal(size=(128, 256)) * np.exp(rng.normal(0, 0.5, (128, 1)))).astype(
            np.float16
        )
        for i in range(150)
    }
    tail = upper_tail(wb.scan({"m": weights}, fields=fields)).squeeze()
    off = (tail["near_tail"] - tail["near_tail"].mean()) / tail["near_tail_se"]
    assert 0.88 <= float((abs(off) < 1.96).mean()) <= 1
    assert 0.8 < float(tail["near_tail_se"].median() / tail["near_tail"].std()) < 1.3
    alone = upper_tail(wb.scan({"m": weights}, structure=False)).squeeze()
    assert float((tail["hill_se"] / alone["hill_se"]).median()) > 1.3


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
@pytest.mark.parametrize("index", [2.0, 4.0, 8.0])
def test_the_hill_index_of_a_power_law(index: float, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    draws = (1 - rng.random((512, 512))) ** (-1 / index)
    tail = tail_of(draws.astype(dtype))
    assert tail["hill"].item() == pytest.approx(index, abs=4 * tail["hill_se"].item())
    number = tail["hill_share"].item() * draws.size
    independent = tail["hill"].item() / math.sqrt(number)
    alone = upper_tail(wb.scan({"m": {UP.format(0): draws.astype(dtype)}}, structure=False))
    assert independent <= alone["hill_se"].item() <= tail["hill_se"].item() < 2.5 * independent
    assert tail["hill_ks"].item() < 1.5 / math.sqrt(number)


@pytest.mark.parametrize("law", ["power law", "t", "laplace", "normal", "rows"])
def test_the_error_of_the_hill_index_is_its_spread(law: str) -> None:
    """Also where no power law fits, and the threshold moves from draw to draw."""
    rng, shape = np.random.default_rng(11), (150, 128, 128)
    draws = {
        "power law": lambda: (1 - rng.random(shape)) ** (-1 / 4),
        "t": lambda: rng.standard_t(5, shape),
        "laplace": lambda: rng.laplace(size=shape),
        "normal": lambda: rng.normal(size=shape),
        "rows": lambda: rng.normal(size=shape) * np.exp(rng.normal(0, 0.35, (150, 128, 1))),
    }[law]()
    weights = {UP.format(i): one.astype(np.float16) for i, one in enumerate(draws)}
    tail = upper_tail(wb.scan({"m": weights})).squeeze()
    off = (tail["hill"] - tail["hill"].mean()) / tail["hill_se"]
    assert float((abs(off) < 1.96).mean()) >= 0.85
    assert 0.8 < float(tail["hill_se"].mean() / tail["hill"].std()) < 1.4


def test_draws_of_the_tail_are_the_same_at_every_call() -> None:
    fits = wb.scan({"m": {UP.format(0): np.random.default_rng(3).standard_t(4, (128, 128))}})
    assert upper_tail(fits).equals(upper_tail(fits, workers=1))


def test_the_hill_index_equals_its_definition_on_the_raw_sample() -> None:
    draws = np.abs(np.random.default_rng(2).standard_t(3, 1 << 18))
    tail = tail_of(draws.reshape(512, 512))
    m = round(tail["hill_share"].item() * draws.size)
    ordered = np.sort(draws)[::-1]
    direct = 1 / np.log(ordered[:m] / ordered[m]).mean()
    assert tail["hill"].item() == pytest.approx(direct, rel=5e-3)
    assert tail["hill"].item() == pytest.approx(3, abs=0.4)


def test_a_gaussian_has_a_large_index() -> None:
    assert tail_of(np.random.default_rng(0).normal(size=(1024, 1024)))["hill"].item() > 8


@pytest.mark.parametrize(
    ("n", "near", "far"),
    [(24_998, False, False), (25_000, True, False), (249_998, True, False), (250_000, True, True)],
)
def test_quantiles_without_enough_weights_beyond_are_not_given(
    n: int,
    near: bool,
    far: bool,
) -> None:
    tail = tail_of(np.random.default_rng(0).normal(size=(2, n // 2)))
    for measure, known in (("near_tail", near), ("far_tail", far)):
        assert np.isfinite([tail[measure].item(), tail[f"{measure}_se"].item()]).all() == known


@pytest.mark.parametrize(
    "weights",
    [np.zeros((64, 64)), np.full((64, 64), 0.5), np.full((64, 64), np.nan), np.ones((2, 3))],
)
def test_what_has_no_tail_is_nan(weights: NDArray[np.float64]) -> None:
    tail = tail_of(weights)
    assert all(np.isnan(tail[name].item()) for name in tail.data_vars)


def test_few_values_and_every_scale() -> None:
    few = np.random.default_rng(0).choice([1.0, 2.0, 3.0], (256, 256))
    assert np.isfinite(tail_of(few)["near_tail"].item())
    draws = np.random.default_rng(0).standard_t(4, (512, 512))
    plain = tail_of(draws)
    for power in (-300, 300):
        xr.testing.assert_allclose(tail_of(draws * 2.0**power), plain, rtol=1e-9)


def test_experts_give_their_median_and_absent_cells_nan() -> None:
    rng = np.random.default_rng(0)
    run = {EXPERT.format(i): rng.standard_t(3 + 3 * i, (256, 256)) for i in range(3)}
    run["model.layers.1.self_attn.q_proj.weight"] = rng.normal(size=(256, 256))
    fits = wb.scan({"m": run})
    each = upper_tail(wb.scan({"m": run}, experts="each"))["near_tail"]
    tail = upper_tail(fits)
    assert tail["near_tail"].dims == fits["k"].dims
    middle = each.sel(component="up_proj", layer=0).median("expert").item()
    assert tail["near_tail"].sel(component="up_proj", layer=0).item() == pytest.approx(middle)
    assert np.isnan(tail["near_tail"].sel(component="q_proj", layer=0).item())


@pytest.mark.parametrize("spoil", [lambda fits: fits.drop_vars("counts")])
def test_without_counts_the_scan_option_is_named(
    spoil: Callable[[xr.Dataset], xr.Dataset],
) -> None:
    fits = wb.scan({"m": {UP.format(0): np.random.default_rng(0).normal(size=(64, 64))}})
    with pytest.raises(ValueError, match="keep_counts=True"):
        upper_tail(spoil(fits))
    with pytest.raises(TypeError, match="must be an xarray"):
        upper_tail({})  # type: ignore[arg-type]
