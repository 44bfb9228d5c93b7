"""Forces of AdamW: they add up, restarts are seen, splines find what moved the weights."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from weibnb.diagnostics.forces import FEWEST, equilibrium, recorded_forces, recovered_gains
from weibnb.fits.schema import FORCES

PARTS = ["from_alignment", "from_injection", "from_decay", "from_second_order"]
STEPS = [0, 10, 20, 30, 40]
SIZE = 32 * 32


def recorded(sums: Any, *, sigma: Any = 0.02) -> xr.Dataset:
    """Fits of one matrix with the given sums (step, force) and the norm that follows."""
    draws = np.random.default_rng(0).normal(size=(32, 32))
    draws *= 1 / np.sqrt((draws**2).mean())
    scale = np.broadcast_to(sigma, len(STEPS))
    run = {
        step: {"model.layers.0.mlp.up_proj.weight": draws * s}
        for step, s in zip(STEPS, scale, strict=True)
    }
    fits = wb.scan({"run": run}, keep_counts=False, structure=False)
    columns = np.column_stack([sums, SIZE * scale**2])
    for place, name in enumerate(FORCES):
        fits[name] = fits.k.copy(data=columns[:, place].reshape(fits.k.shape))
    return fits


def line(found: xr.Dataset, name: str) -> Any:
    return found[name].squeeze().values


def test_parts_add_up_to_the_growth_with_their_signs() -> None:
    sums = np.cumsum(np.random.default_rng(1).uniform(0, 1, (5, 4)), 0)
    found = recorded_forces(recorded(sums, sigma=np.linspace(0.02, 0.05, 5)))
    total = sum(line(found, name) for name in PARTS) + line(found, "residual")
    np.testing.assert_allclose(total, line(found, "growth"), atol=1e-12)
    for name, sign, column in zip(PARTS, (-1, 1, -1, 1), (sums - sums[0]).T, strict=True):
        np.testing.assert_allclose(line(found, name), sign * column, atol=1e-12)
    np.testing.assert_allclose(
        line(found, "growth"), SIZE * (np.linspace(0.02, 0.05, 5) ** 2 - 4e-4)
    )


def test_which_steps_are_kept_changes_no_sum() -> None:
    fits = recorded(np.cumsum(np.ones((5, 4)), 0), sigma=np.linspace(0.02, 0.05, 5))
    whole, some = recorded_forces(fits), recorded_forces(fits.isel(step=[0, 3, 4]))
    for name in (*PARTS, "growth", "residual", "lam_forces"):
        np.testing.assert_allclose(line(some, name), line(whole, name)[[0, 3, 4]], atol=1e-12)
    backwards = recorded_forces(fits.isel(step=slice(None, None, -1)))
    np.testing.assert_allclose(line(backwards, "from_decay"), line(whole, "from_decay"))


def test_a_training_that_was_resumed_goes_on() -> None:
    """Its sums begin anew; what they hold from there is added to what was there."""
    sums = np.cumsum(np.ones((5, 4)), 0)
    sums[3:] -= sums[2]
    assert line(recorded_forces(recorded(sums)), "from_decay").tolist() == [0, -1, -2, -3, -4]


def test_a_step_without_forces_is_a_gap_and_no_more() -> None:
    sums = np.cumsum(np.ones((5, 4)), 0)
    fits = recorded(sums)
    hole = fits.step != 20
    fits = fits.assign({name: fits[name].where(hole) for name in FORCES})
    assert line(recorded_forces(fits), "from_injection")[[0, 1, 3, 4]].tolist() == [0, 1, 3, 4]
    assert np.isnan(line(recorded_forces(fits), "from_injection")[2])


def test_lam_by_the_forces_is_lam_where_they_close() -> None:
    sigma = np.linspace(0.02, 0.05, 5)
    sums = np.zeros((5, 4))
    sums[:, 1] = SIZE * (sigma**2 - sigma[0] ** 2)
    found = recorded_forces(recorded(sums, sigma=sigma))
    np.testing.assert_allclose(
        line(found, "lam_forces"), line(found, "lam"), rtol=3e-4
    )  # rms of bins
    ratio = line(found, "lam_bridge") / line(found, "lam")
    np.testing.assert_allclose(ratio, 0.8176 / 0.8875, rtol=0.05)  # of 1,024 draws
    sums[-1, 1] = sums[-2, 1]  # the last interval has no force
    off = recorded_forces(recorded(sums, sigma=sigma))
    assert line(off, "lam_forces")[-1] == pytest.approx(line(off, "lam")[-2], rel=1e-3)
    assert line(off, "residual")[-1] == pytest.approx(SIZE * (sigma[-1] ** 2 - sigma[-2] ** 2))


@pytest.mark.parametrize(("growth", "near"), [(0.09, True), (0.11, False), (-0.11, False)])
def test_equilibrium_is_a_growth_below_a_tenth_of_the_decay(growth: float, near: bool) -> None:
    square = SIZE * 25e-4 + growth * np.arange(5)
    sums = np.arange(5.0)[:, None] * [0, 0, 1, 0]
    found = recorded_forces(recorded(sums, sigma=np.sqrt(square / SIZE)))
    assert line(found, "near_equilibrium").tolist() == [False] + 4 * [near]


def test_what_holds_no_forces_is_refused() -> None:
    fits = recorded(np.zeros((5, 4)))
    with pytest.raises(ValueError, match="`fits` must hold forces; record with Recorder"):
        recorded_forces(fits.drop_vars("force_decay"))
    with pytest.raises(TypeError, match=r"`fits` must be an xarray\.Dataset"):
        recorded_forces([])  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ splines
@pytest.mark.parametrize("steps", [[0, 40, 80, 120, 160], [0, 2, 8, 32, 128, 512]])
def test_a_smooth_path_gives_its_alignment_and_decay(steps: list[int]) -> None:
    """Weights that AdamW moves along a known path, whose u is exact at every step."""
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 500))
    rate, decay = 1e-3, 0.5
    times = np.arange(max(steps) + 2)

    def place(t: Any) -> Any:
        return start + np.log1p(t / 100)[:, None] * end

    path = place(times)
    update = ((1 - rate * decay) * path[:-1] - path[1:]) / rate
    drift = 2 * rate * (path[:-1] * update).sum(1)
    lost = 2 * rate * decay * (path[:-1] ** 2).sum(1)
    at = np.array(steps, float)
    some = place(at)
    gains = recovered_gains(some @ some.T, at, lambda t: np.full(t.shape, rate), decay)
    for name, true in (("from_alignment", -drift), ("from_decay", -lost)):
        sums = [true[a:b].sum() for a, b in pairwise(steps)]
        np.testing.assert_allclose(gains[name][1:], sums, rtol=0.02, atol=0.02)
        assert gains[name][0] == 0


def test_a_random_walk_shows_as_its_own_injection() -> None:
    """J is not identified: of pure noise, A = 0 and J > 0, what is found is A - J = growth + D."""
    rng = np.random.default_rng(0)
    walk = rng.normal(size=20_000) + np.cumsum(0.1 * rng.normal(size=(201, 20_000)), 0)
    at = np.arange(0.0, 201, 40)
    some = walk[at.astype(int)]
    gains = recovered_gains(some @ some.T, at, lambda t: np.full(t.shape, 1e-3), 0.1)
    growth = np.diff((some**2).sum(1))
    np.testing.assert_allclose(
        gains["from_alignment"][1:], growth - gains["from_decay"][1:], rtol=0.06
    )
    assert (gains["from_alignment"][1:] > 0.9 * growth).all()


def test_four_checkpoints_are_the_fewest() -> None:
    assert FEWEST == 4


# -------------------------------------------------------------------------------- equilibrium
def balanced(rate: float, decay: float, *, memory: float = 0.0) -> float:
    """Norm squared at which -A + J = D, iterated: ‖u‖ = 1 and A = -memory · J."""
    square = 1.0
    for _ in range(200_000):
        square += (1 + memory) * rate**2 - 2 * rate * decay * square
    return square


@pytest.mark.parametrize(("rate_factor", "decay_factor"), [(1, 1), (2, 1), (1, 3), (0.5, 2)])
@pytest.mark.parametrize("memory", [0.0, 4.0])
def test_lam_at_another_rate_or_decay(
    rate_factor: float, decay_factor: float, memory: float
) -> None:
    """Far from its own equilibrium a step tells the one that it goes to, and any other."""
    rate, decay, square = 0.01, 0.1, 0.02
    a, j, d = -memory * rate**2, rate**2, 2 * rate * decay * square
    values = {
        "squared_norm": [square, square],
        "lam": [0.1, 0.1],
        "from_alignment": [0, -a],
        "from_injection": [0, j],
        "from_decay": [0, -d],
    }
    found = xr.Dataset({name: ("step", np.array(v, float)) for name, v in values.items()})
    then = equilibrium(found, rate_factor=rate_factor, decay_factor=decay_factor).isel(step=-1)
    norm = balanced(rate * rate_factor, decay * decay_factor, memory=memory)
    assert float(then.lam_equilibrium) == pytest.approx(0.1 * np.sqrt(norm / square), rel=1e-6)
    scale = float(then.lam_equilibrium_cosine) / 0.1
    balance = (
        decay_factor * rate_factor * d * scale**2 + rate_factor * a * scale - rate_factor**2 * j
    )
    assert balance == pytest.approx(0, abs=1e-12)
    assert np.isnan(equilibrium(found).lam_equilibrium[0])


def test_without_decay_nothing_balances() -> None:
    values = {"squared_norm": 1.0, "lam": 0.1, "from_alignment": -1.0, "from_injection": 1.0}
    found = xr.Dataset({name: ("step", [v, 2 * v]) for name, v in values.items()})
    found["from_decay"] = xr.zeros_like(found.lam)
    assert np.isnan(equilibrium(found).to_array()).all()


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf])
def test_bad_factors_are_refused(factor: float) -> None:
    found = recorded_forces(recorded(np.zeros((5, 4))))
    for name in ("rate_factor", "decay_factor"):
        with pytest.raises(ValueError, match=f"`{name}` must be more than 0"):
            equilibrium(found, **{name: factor})
    with pytest.raises(ValueError, match=r"`found` must come from weibnb\.forces; it lacks lam"):
        equilibrium(found.drop_vars("lam"))
