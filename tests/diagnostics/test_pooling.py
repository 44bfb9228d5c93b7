"""Layers pooled: the algebra against dense matrices and Student's t, alarms against simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.diagnostics.simple_fits import make
from weibnb.diagnostics.pooling import FALSE_ALARM, FEWEST_LAYERS, pool_layers
from weibnb.diagnostics.restricted import average, restricted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SEVEN = tuple(f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down"))


def fits_of(k: Array, se: float | None = 0.003, **options: Any) -> xr.Dataset:
    """Fits of k over (model, layer, component)."""
    return make(k[..., None], se=se, components=SEVEN[: k.shape[-1]], **options)


def healthy(
    models: int, layers: int, rng: np.random.Generator, *, differ: float = 0.7, course: float = 5
) -> tuple[Array, Array]:
    """k of healthy models with standard error 0.003, and τ of their components."""
    tau = 0.01 * np.exp(differ * rng.normal(size=(models, 1, len(SEVEN))))
    slope, bend = 0.01 * course * rng.normal(size=(2, models, 1, len(SEVEN)))
    depth = np.linspace(0, 1, layers)[:, None]
    k = 1.2 + slope * depth + 0.5 * bend * np.sin(3 * depth)
    noise, error = rng.normal(size=(2, models, layers, len(SEVEN)))
    return k + tau * noise + 0.003 * error, tau


# --- the algebra


def test_the_restricted_likelihood_is_that_of_dense_matrices() -> None:
    rng = np.random.default_rng(0)
    layers, tau2, size = 9, 0.3, 2.5
    basis = np.cos(np.pi * np.arange(4) * np.linspace(0, 1, layers)[:, None])
    y, s2 = rng.normal(size=layers), rng.uniform(0.1, 1.0, layers)
    known = np.arange(layers) != 4
    level, pull, own = restricted(
        y[None], s2[None], known[None], basis, np.array([[tau2]]), np.array([[[size]]])
    )
    prior = size / np.arange(1.0, 4.0) ** 4
    whole = np.diag(s2 + tau2) + basis[:, 1:] * prior @ basis[:, 1:].T

    def generalised(rows: NDArray[np.intp]) -> tuple[Any, Array, Any]:
        """Mean, inverse covariance and restricted log likelihood, up to a constant."""
        inverse: Any = np.linalg.inv(whole[np.ix_(rows, rows)])
        mean = inverse.sum(0) @ y[rows] / inverse.sum()
        rest = y[rows] - mean
        logs = float(np.linalg.slogdet(inverse)[1]) - np.log(inverse.sum())
        return mean, inverse, 0.5 * (logs - rest @ inverse @ rest)

    rows = np.flatnonzero(known)
    constant = 2 * np.log(np.arange(1, 4)).sum()  # of the grid's point, left out
    assert level.item() + constant == pytest.approx(generalised(rows)[2])
    assert not own[0, 4].any()
    for at in rows:
        others = rows[rows != at]
        mean, inverse, less = generalised(others)
        gain = whole[at, others] @ inverse
        expected = mean + gain @ (y[others] - mean)
        variance = whole[at, at] - gain @ whole[others, at] + (1 - gain.sum()) ** 2 / inverse.sum()
        assert 1 / own[0, at].item() == pytest.approx(variance)
        away = pull[0, at].item() / own[0, at].item()
        assert y[at] - away == pytest.approx(expected)
        # the likelihood of all is that of the others times that of the cell given them
        cell = stats.norm.logpdf(away, scale=np.sqrt(variance)) + 0.5 * np.log(2 * np.pi)
        assert level.item() + constant == pytest.approx(less + cell)


@pytest.mark.parametrize("layers", [4, 6, 20])
def test_without_errors_and_course_it_is_the_studentised_residual(layers: int) -> None:
    y = np.random.default_rng(layers).normal(size=layers)
    y[0] += 4
    tau2 = np.geomspace(1e-6, 1e8, 4000)[None]
    table = (y[None], np.zeros((1, layers)), np.ones((1, layers), bool))
    level, pull, own = restricted(*table, np.ones((layers, 1)), tau2, np.ones((1, 4000, 1)))
    found = average(*table, level[..., 0], pull, own)[0]
    for at in range(layers):
        others = np.delete(y, at)
        scale = others.std(ddof=1) * np.sqrt(1 + 1 / others.size)
        p = 2 * stats.t.sf(abs(y[at] - others.mean()) / scale, layers - 2)
        expected = [y[at], 0, others.mean(), scale, layers - 2, p]
        np.testing.assert_allclose(found[at], expected, rtol=2e-4, atol=1e-6)


# --- what comes out


def test_one_broken_layer_stands_out_alone() -> None:
    k, _ = healthy(1, 32, np.random.default_rng(0))
    k[0, 7, 5] -= 0.5
    pooled = pool_layers(fits_of(k))
    assert np.argwhere(pooled.stands_out.values[..., 0]).tolist() == [[0, 7, 5]]
    cell = pooled.isel(model=0, layer=7, component=5, step=0)
    assert cell.estimate < cell.lower < cell.expected < cell.upper
    assert cell.t < -5
    assert cell.p_value < cell.q_value <= cell.p_holm < FALSE_ALARM
    assert cell.shrunken == pytest.approx(float(cell.estimate), abs=0.01)  # the fit is certain


def test_noisy_cells_are_drawn_towards_the_course_and_sure_ones_are_not() -> None:
    rng = np.random.default_rng(1)
    truth = 1.2 + 0.01 * rng.normal(size=(40, 24, 7))
    fits = fits_of(truth + 0.02 * rng.normal(size=truth.shape), se=0.02)
    pooled = pool_layers(fits)
    ours, theirs = ((one.values[..., 0] - truth) ** 2 for one in (pooled.shrunken, fits.k))
    assert ours.mean() < 0.35 * theirs.mean()
    assert (pooled.shrunken_se**2).mean() == pytest.approx(ours.mean(), rel=0.2)
    sure = pool_layers(fits_of(truth, se=1e-7))
    np.testing.assert_allclose(sure.shrunken.values[..., 0], truth, atol=1e-6)


def test_tau_is_the_scatter_beyond_the_error() -> None:
    rng = np.random.default_rng(2)
    k = 1.2 + np.hypot(0.01, 0.01) * rng.normal(size=(30, 60, 7))
    assert pool_layers(fits_of(k, se=0.01)).tau.median() == pytest.approx(0.01, rel=0.25)
    assert pool_layers(fits_of(k, se=0.0)).tau.median() == pytest.approx(0.01414, rel=0.1)


@pytest.mark.parametrize("layers", [5, 12])
def test_prediction_intervals_hold_what_they_promise(layers: int) -> None:
    k, _ = healthy(80, layers, np.random.default_rng(3))
    pooled = pool_layers(fits_of(k), confidence=0.9)
    inside = (pooled.lower <= pooled.estimate) & (pooled.estimate <= pooled.upper)
    assert 0.87 < inside.mean() < 0.96


# the table in docs/diagnostics.md, by scripts/false_alarms.py, has more draws
@pytest.mark.parametrize(("layers", "models"), [(5, 500), (12, 250), (32, 100)])
@pytest.mark.parametrize(("differ", "course"), [(0.0, 0.0), (0.7, 5.0)])
def test_healthy_models_raise_no_alarm(
    layers: int, models: int, differ: float, course: float
) -> None:
    k, _ = healthy(models, layers, np.random.default_rng(4), differ=differ, course=course)
    pooled = pool_layers(fits_of(k))
    assert pooled.stands_out.any(("layer", "component")).sum() <= 0.01 * models
    assert 0.03 < (pooled.p_value < 0.05).mean() < 0.07


@pytest.mark.parametrize(("layers", "least"), [(5, 0.3), (12, 0.9), (32, 0.95)])
def test_one_layer_ten_tau_away_is_found(layers: int, least: float) -> None:
    rng = np.random.default_rng(5)
    k, tau = healthy(60, layers, rng, differ=0.0, course=0.0)
    at = rng.integers(layers, size=60)
    k[np.arange(60), at, 3] += 10 * tau[:, 0, 3]
    found = pool_layers(fits_of(k)).stands_out.values[..., 0]
    assert found[np.arange(60), at, 3].mean() > least


# --- laws


@settings(deadline=None)
@given(st.floats(0.01, 100), st.floats(-10, 10), st.integers(0, 5))
def test_units_and_an_offset_change_nothing(unit: float, offset: float, seed: int) -> None:
    k, _ = healthy(1, 8, np.random.default_rng(seed))
    one = pool_layers(fits_of(k))
    other = pool_layers(fits_of(unit * k + offset, se=0.003 * unit))
    np.testing.assert_allclose(other.p_value, one.p_value, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(other.lower, unit * one.lower + offset, rtol=1e-6, atol=1e-9)


def test_models_and_steps_are_judged_by_themselves() -> None:
    k, _ = healthy(3, 9, np.random.default_rng(6))
    together = pool_layers(fits_of(k))
    for i in range(3):
        alone = pool_layers(fits_of(k[i : i + 1]))
        for name in ("p_holm", "q_value", "shrunken", "tau"):
            np.testing.assert_allclose(together[name][i], alone[name][0], rtol=1e-12)


def test_the_order_of_components_changes_nothing() -> None:
    fits = fits_of(healthy(1, 9, np.random.default_rng(7))[0])
    turned = pool_layers(fits.isel(component=slice(None, None, -1)))
    xr.testing.assert_allclose(turned.sel(component=fits.component), pool_layers(fits))


def test_lam_is_pooled_as_its_logarithm() -> None:
    k, _ = healthy(1, 9, np.random.default_rng(8))
    fits = fits_of(k).assign(lam=(["model", "layer", "component", "step"], np.exp(k)[..., None]))
    fits["lam_se"] = 0.003 * fits["lam"]
    xr.testing.assert_allclose(pool_layers(fits, of="lam").p_value, pool_layers(fits).p_value)
    assert pool_layers(fits, of="lam").estimate.attrs["long_name"] == "ln λ"


# --- what is not there


def test_what_is_not_fitted_is_not_judged_and_moves_nothing() -> None:
    k, _ = healthy(1, 9, np.random.default_rng(9))
    holes = np.concatenate([k, np.full((1, 9, 1), np.nan)], -1)
    holes[0, 3, 2] = np.nan
    found = pool_layers(make(holes[..., None], components=(*SEVEN, "router"), se=0.003))
    assert found.p_holm.isnull().sum() == 10
    assert not found.stands_out.isel(component=7).any()
    assert found.tau.isel(component=7).isnull().all()
    whole = pool_layers(fits_of(k)).isel(component=0)
    np.testing.assert_allclose(found.expected.isel(component=0), whole.expected, atol=2e-3)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_too_few_layers_are_not_judged(layers: int) -> None:
    pooled = pool_layers(fits_of(healthy(1, layers, np.random.default_rng(10))[0]))
    judged = layers >= FEWEST_LAYERS
    assert bool(pooled.p_value.notnull().all()) == judged
    assert bool(pooled.p_value.isnull().all()) != judged


def test_a_missing_error_among_others_is_not_judged() -> None:
    fits = fits_of(healthy(1, 9, np.random.default_rng(11))[0])
    fits["k_se"][0, 2, 3] = np.nan
    assert pool_layers(fits).p_value.isnull().values.nonzero()[1:3] == ([2], [3])
    without = pool_layers(fits.drop_vars("k_se"))
    assert bool(without.p_value.notnull().all())


@pytest.mark.parametrize("dim", ["model", "layer", "component"])
def test_nothing_to_look_at_gives_nothing(dim: str) -> None:
    fits = fits_of(np.full((2, 6, 2), 1.2))
    pooled = pool_layers(fits.isel({dim: slice(0)}))
    assert pooled.stands_out.sizes[dim] == 0
    assert not pool_layers(fits.where(fits["layer"] < 0)).stands_out.any()


def test_equal_layers_do_not_stand_out() -> None:
    for se in (0.0, 0.01, None):
        pooled = pool_layers(fits_of(np.full((1, 6, 2), 1.2), se=se))
        assert not pooled.stands_out.any()
        assert bool((pooled.p_value > 0.5).all())


def test_experts_are_sets_of_their_own() -> None:
    k, _ = healthy(2, 9, np.random.default_rng(12))
    both = xr.concat([fits_of(k[:1]), fits_of(k[1:]).assign_coords(model=["m0"])], "expert")
    both = both.assign_coords(expert=[0, 1]).transpose(..., "expert")
    found = pool_layers(both)
    assert found.p_value.dims == ("model", "layer", "component", "step", "expert")
    np.testing.assert_allclose(
        found.p_value.isel(expert=1, model=0), pool_layers(fits_of(k[1:])).p_value[0]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"of": "lambda"}, "`of` must be one of 'k', 'lam', got 'lambda'"),
        ({"confidence": 1.0}, "`confidence` must lie between 0 and 1, got 1.0"),
    ],
)
def test_arguments_that_are_not_valid(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pool_layers(fits_of(np.full((1, 6, 2), 1.2)), **options)
