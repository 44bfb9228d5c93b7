"""Trajectories and scaling, against plain numpy, scipy and the published Pythia sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from scipy import special, stats

import weibnb as wb
from tests.diagnostics.simple_fits import make
from weibnb.diagnostics.dynamics import (
    FALSE_ALARM,
    first_departure,
    lambda_scaling,
    paired_growth,
    scaling,
    split_growth,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

UP = "model.layers.{}.mlp.up_proj.weight"
DOWN = "model.layers.{}.mlp.down_proj.weight"
O = "model.layers.{}.self_attn.o_proj.weight"  # noqa: E741

# Pythia sizes: η (wd is 0.01), λ of o_proj, up_proj, down_proj
PYTHIA = {
    "70m": (0.001, (0.0186, 0.026, 0.021)),
    "160m": (0.0006, (0.0157, 0.0241, 0.0189)),
    "410m": (0.0003, (0.018, 0.0208, 0.0172)),
    "1b": (0.0003, (0.0188, 0.0202, 0.0173)),
    "6.9b": (0.00012, (0.013, 0.0168, 0.0147)),
}


def normal(*shape: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape)


def run(steps: dict[int, float], power: float = 1.0, model: str = "run") -> xr.Dataset:
    """Fits of one matrix: at each step |w| to the given power."""
    draws = normal(128, 128)
    source = {s: {UP.format(0): np.sign(draws) * np.abs(draws) ** p} for s, p in steps.items()}
    return wb.scan({model: source})


def made(k: list[float], k_se: float = 0.01) -> xr.Dataset:
    """Fits of one cell whose k over the steps 0, 10, 20, ... is given."""
    draws = normal(16, 16)
    fits = wb.scan({"m": {10 * i: {UP.format(0): draws} for i in range(len(k))}})
    fits["k"][...] = np.reshape(k, (1, 1, 1, -1))
    fits["k_se"][...] = np.where(np.isnan(fits["k"]), np.nan, k_se)
    return fits


# --- growth


def test_growth_splits_exactly_along_the_whole_path() -> None:
    rng = np.random.default_rng(0)
    source: dict[int, dict[str, Any]] = {}
    for step, (power, scale, zeros) in enumerate(
        [(1, 1, 0), (1.1, 3, 9), (0.9, 2, 0), (1.2, 5, 4)]
    ):
        draws = np.abs(rng.normal(0, 1, (128, 128))) ** power * scale
        draws[:zeros] = 0
        source[step * 100] = {UP.format(0): draws}
    fits = wb.scan({"run": source})
    parts = split_growth(fits).squeeze()
    total = parts["from_lam"] + parts["from_k"] + parts["from_zeros"] + parts["residual"]
    np.testing.assert_allclose(total, parts["growth"], atol=1e-14)
    k, lam, rms = (fits[name].values.ravel() for name in ("k", "lam", "rms"))
    raw = [w[UP.format(0)] for w in source.values()]
    assert rms == pytest.approx([np.sqrt((w**2).mean()) for w in raw], rel=5e-5)
    for name, level in {
        "growth": np.log(rms),
        "from_lam": np.log(lam),
        "from_k": 0.5 * np.log(special.gamma(1 + 2 / k)),
        "from_zeros": 0.5 * np.log([(w != 0).mean() for w in raw]),
    }.items():
        walked = np.concatenate([[0], np.cumsum(np.diff(level))])
        np.testing.assert_allclose(parts[name], walked, atol=1e-12)
    misfit = [np.sqrt((w[w > 0] ** 2).mean()) for w in raw]
    misfit = np.log(misfit / np.sqrt(stats.weibull_min(k, scale=lam).moment(2)))
    np.testing.assert_allclose(parts["residual"], misfit - misfit[0], atol=6e-5)
    fewer = split_growth(fits.isel(step=[0, 3])).squeeze()
    for variable in parts.data_vars:
        assert fewer[variable].values[-1] == pytest.approx(parts[variable].values[-1], abs=1e-14)


def test_pure_scaling_is_all_from_lam_and_reshaping_from_k() -> None:
    draws = normal(256, 256)
    doubled = wb.scan({"run": {0: {UP.format(0): draws}, 1: {UP.format(0): 2 * draws}}})
    parts = split_growth(doubled).isel(step=1).squeeze()
    assert float(parts["from_lam"]) == pytest.approx(np.log(2), rel=1e-12)
    assert [abs(float(parts[n])) < 1e-12 for n in ("from_k", "from_zeros", "residual")] == [
        True
    ] * 3
    law = np.random.default_rng(1).weibull(1, (1024, 1024))  # λ = 1 for every power
    shaped = wb.scan({"run": {0: {UP.format(0): law}, 1: {UP.format(0): law**0.8}}})
    parts = split_growth(shaped).isel(step=1).squeeze()
    exact = 0.5 * np.log(special.gamma(1 + 2 * 0.8) / special.gamma(3))
    assert float(parts["from_k"]) == pytest.approx(exact, rel=0.02)
    assert abs(float(parts["from_lam"])) < 5e-3
    assert abs(float(parts["residual"])) < 5e-3


def test_growth_starts_at_the_first_fitted_step() -> None:
    draws = normal(64, 64)
    steps = {0: np.zeros_like(draws), 1: draws, 2: 3 * draws}
    fits = wb.scan({"run": {s: {UP.format(0): w} for s, w in steps.items()}})
    grown = split_growth(fits)["growth"].squeeze().values
    assert np.isnan(grown[0])
    assert grown[1:] == pytest.approx([0, np.log(3)], rel=5e-5)
    with pytest.raises(ValueError, match="must hold rms"):
        split_growth(fits.drop_vars("rms"))


# --- departure


@pytest.mark.parametrize(
    ("k", "stays", "leaves"),
    [
        ([1.2, 1.2, 1.25, 1.3], 20, 20),
        ([1.2, 1.25, 1.2, 1.3], 30, 10),
        ([1.2, 1.25, 1.3, 1.2], np.nan, 10),
        ([1.2, 1.2, 1.2, 1.2], np.nan, np.nan),
        ([1.2, 1.15, 1.25, 1.15], 10, 10),
        ([np.nan, 1.2, 1.3, np.nan], 20, 20),
        ([1.2, 1.3, np.nan, 1.2], np.nan, 10),
        ([1.2, 1.3, np.nan, 1.3], 10, 10),
        ([np.nan, np.nan, np.nan, np.nan], np.nan, np.nan),
    ],
)
def test_first_departure_for_good_and_at_all(k: list[float], stays: float, leaves: float) -> None:
    fits = made(k)
    np.testing.assert_equal(first_departure(fits).values.ravel(), [stays])
    np.testing.assert_equal(first_departure(fits, stays=False).values.ravel(), [leaves])


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("reference", ["own", "gaussian"])
def test_departure_begins_beyond_the_error(reference: Any, side: int) -> None:
    start = wb.anchor().k
    error = 0.01 * (np.sqrt(2) if reference == "own" else 1)
    for distance, expected in ((2 * error * 0.999, np.nan), (2 * error * 1.001, 10)):
        fits = made([start, start + side * distance])
        found = first_departure(fits, reference=reference, sigmas=2)
        np.testing.assert_equal(found.values.ravel(), [expected])
    wider = first_departure(made([start, start + side * 2.5 * error]), sigmas=3)
    assert bool(wider.isnull().all())


@pytest.mark.parametrize("steps", [1, 20])
def test_departure_is_told_among_all_matrices_and_steps(steps: int) -> None:
    error = 0.01 * np.sqrt(2)
    enough = error * stats.norm.isf(FALSE_ALARM / 2 / steps)
    for distance, expected in ((enough * 0.999, np.nan), (enough * 1.001, 10.0 * steps)):
        fits = made([1.2, *[1.2 + 1e-9] * (steps - 1), 1.2 + distance])
        np.testing.assert_equal(first_departure(fits).values.ravel(), [expected])


def test_a_run_without_any_change_is_silent() -> None:
    rng = np.random.default_rng(0)
    k = 1.2 + 0.01 * rng.normal(size=(400, 7, 1, 12))
    fits = make(k, se=0.01, steps=range(12))
    some = first_departure(fits, stays=False).notnull().any(("layer", "component"))
    assert some.mean() <= FALSE_ALARM + 2 * np.sqrt(FALSE_ALARM / 400)
    at_two = first_departure(fits, sigmas=2, stays=False).notnull().any(("layer", "component"))
    assert at_two.mean() > 0.8


def test_a_matrix_that_never_was_gaussian_has_left_at_once() -> None:
    fits = run({0: 1.3, 5: 1.3})
    assert first_departure(fits, reference="gaussian").values.ravel().tolist() == [0]
    assert bool(first_departure(fits).isnull().all())
    assert first_departure(fits.sel(step=5), reference="gaussian").values.ravel().tolist() == [5]
    assert first_departure(fits).dims == ("model", "layer", "component")
    with pytest.raises(ValueError, match="`sigmas` must be at least 0"):
        first_departure(fits, sigmas=-1)
    with pytest.raises(ValueError, match="`reference` must be one of 'own', 'gaussian'"):
        first_departure(fits, reference="uniform")  # type: ignore[arg-type]


# --- paired growth


def paired(pairs: int, noise: float = 0.0) -> xr.Dataset:
    draws = normal(64, 64)
    rng = np.random.default_rng(2)
    source = {
        s: {
            name.format(layer): draws * np.exp(power * s + noise * rng.normal()) * (1 + layer)
            for name, power in ((O, 0.2), (DOWN, 0.1))
            for layer in range(3)
        }
        for s in range(pairs)
    }
    return wb.scan({"run": source})


def test_paired_growth_is_pearson_in_log_log() -> None:
    fits = paired(9, noise=0.3)
    found = paired_growth(fits, "o_proj", "down_proj")
    x, y = (
        np.log(np.median(fits["lam"].sel(component=name).values, axis=1)).ravel()
        for name in ("o_proj", "down_proj")
    )
    test = stats.pearsonr(x, y)
    interval = test.confidence_interval(0.95)
    assert float(found["r"]) == pytest.approx(test.statistic, rel=1e-12)
    assert float(found["r_lower"]) == pytest.approx(interval.low, rel=1e-9)
    assert float(found["r_upper"]) == pytest.approx(interval.high, rel=1e-9)
    assert float(found["slope"]) == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-9)
    assert int(found["n_pairs"]) == 9
    both = paired_growth(fits, ["o_proj", "down_proj"], "down_proj", confidence=0.5)
    assert float(both["r"]) == pytest.approx(np.corrcoef((x + y) / 2, y)[0, 1], rel=1e-12)


@pytest.mark.parametrize(("pairs", "known"), [(3, False), (4, True)])
def test_four_pairs_are_the_fewest(pairs: int, known: bool) -> None:
    found = paired_growth(paired(pairs, noise=0.1), "o_proj", "down_proj")
    assert int(found["n_pairs"]) == pairs
    for name in ("r", "r_lower", "r_upper", "slope"):
        assert bool(found[name].notnull()) == known


def test_a_perfect_pair_and_unknown_names() -> None:
    fits = paired(5)
    perfect = paired_growth(fits, "o_proj", "o_proj")
    assert [float(perfect[name]) for name in ("r", "r_lower", "r_upper")] == pytest.approx([1] * 3)
    with pytest.raises(ValueError, match=r"got 'o_projj'\. Did you mean 'o_proj'"):
        paired_growth(fits, "o_projj", "down_proj")
    with pytest.raises(ValueError, match="`confidence` must lie between 0 and 1"):
        paired_growth(fits, "o_proj", "down_proj", confidence=1)


# --- scaling


def cohort() -> xr.Dataset:
    return xr.Dataset(
        {"lam": (("model", "component"), [lam for _, lam in PYTHIA.values()])},
        {
            "model": list(PYTHIA),
            "component": ["o_proj", "up_proj", "down_proj"],
            "learning_rate": ("model", [eta for eta, _ in PYTHIA.values()]),
            "weight_decay": ("model", [0.01] * 5),
        },
    )


def test_the_published_pythia_sizes() -> None:
    line = lambda_scaling(cohort())
    # λ is published to three digits: rounding moves r between 0.936 and 0.944
    assert float(line["r"]) == pytest.approx(0.93998, abs=1e-5)
    assert float(line["r"]) == pytest.approx(0.941, abs=4e-3)
    assert float(line["slope_origin"]) == pytest.approx(0.0854, abs=5e-5)
    assert int(line["n_models"]) == 5
    assert line["residual"].sel(model="70m").size == 1


def test_both_lines_agree_with_scipy_and_least_squares() -> None:
    line = lambda_scaling(cohort(), confidence=0.9)
    x, y = line["predictor"].values, line["lam"].values
    assert x == pytest.approx([np.sqrt(eta / 0.01) for eta, _ in PYTHIA.values()])
    free = stats.linregress(x, y)
    t = stats.t.ppf(0.95, 3)
    for name, estimate, error in (
        ("slope", free.slope, free.stderr),
        ("intercept", free.intercept, free.intercept_stderr),
    ):
        assert float(line[name]) == pytest.approx(estimate)
        assert float(line[f"{name}_lower"]) == pytest.approx(estimate - t * error)
        assert float(line[f"{name}_upper"]) == pytest.approx(estimate + t * error)
    origin = np.linalg.lstsq(x[:, None], y, rcond=None)[0][0]
    error = np.sqrt(((y - origin * x) ** 2).sum() / 4 / (x**2).sum()) * stats.t.ppf(0.95, 4)
    assert float(line["slope_origin"]) == pytest.approx(origin)
    assert float(line["slope_origin_upper"]) == pytest.approx(origin + error)
    interval = stats.pearsonr(x, y).confidence_interval(0.9)
    assert float(line["r_lower"]) == pytest.approx(interval.low)
    assert float(line["r_upper"]) == pytest.approx(interval.high)
    np.testing.assert_allclose(line["residual_origin"], y - origin * x)
    np.testing.assert_allclose(line["residual"], y - free.intercept - free.slope * x, atol=1e-15)


@pytest.mark.parametrize("models", [0, 1, 2, 3, 4])
def test_few_models_give_what_they_can(models: int) -> None:
    line = lambda_scaling(cohort().isel(model=slice(models)))
    known = {
        name: bool(line[name].notnull().all()) for name in line.data_vars if not line[name].ndim
    }
    assert int(line["n_models"]) == models
    assert known["slope_origin"] == (models >= 1)
    assert known["slope_origin_lower"] == (models >= 2)
    assert known["slope"] == known["intercept"] == known["r"] == (models >= 2)
    assert known["slope_lower"] == known["intercept_upper"] == (models >= 3)
    assert known["r_lower"] == (models >= 4)


def test_scaling_of_fits_takes_medians_over_layers_and_the_last_step() -> None:
    draws = normal(64, 64)
    models = {
        name: {
            step: {O.format(layer): draws * size * (1 + step) * (1 + layer) for layer in range(3)}
            for step in steps
        }
        for name, size, steps in (("a", 1, (0, 10)), ("b", 2, (0, 5)))
    }
    fits = wb.scan(models).assign_coords(
        learning_rate=("model", [1e-4, 4e-4]), weight_decay=("model", [0.1, 0.1])
    )
    line = lambda_scaling(fits, components=["o_proj"])
    lam = fits["lam"].sel(component="o_proj", layer=1)
    expected = [float(lam.sel(model="a", step=10)), float(lam.sel(model="b", step=5))]
    assert line["lam"].values.tolist() == expected
    assert line["model"].values.tolist() == ["a", "b"]


def test_models_that_are_not_known_are_left_out_and_mistakes_refused() -> None:
    line = scaling([0.1, np.nan, 0.3], [1e-4, 1e-4, np.nan], [0.1, 0.1, 0.1])
    assert int(line["n_models"]) == 1
    assert line["lam"].isnull().values.tolist() == [False, True, True]
    with pytest.raises(ValueError, match="must be more than 0"):
        scaling([0.1], [1e-4], [0.0])
    with pytest.raises(ValueError, match="`learning_rate` must be finite"):
        scaling([0.1], [-1e-4], [0.1])
    with pytest.raises(ValueError, match="one number for each model"):
        scaling([0.1, 0.2], [1e-4], [0.1])
    with pytest.raises(ValueError, match="must hold learning_rate; add coordinates"):
        lambda_scaling(cohort().drop_vars("learning_rate"))
    with pytest.raises(ValueError, match="Did you mean 'up_proj'"):
        lambda_scaling(cohort(), components=["up_prj"])
