"""Forces from the checkpoints of a run, held against what moved the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.diagnostics.forces import PARTS
from weibnb.fits.schema import FORCES

NAME = "model.layers.{}.mlp.{}.weight"
RATE, DECAY = 2e-3, 0.2
AT = [0, 2, 6, 14, 30, 60, 120]


def adamw_run(seed: int = 0, *, shape: Any = (160, 128)) -> tuple[dict[int, Any], Any]:
    """Weights drawn to a target by AdamW; copies at some steps, and Σ(A - J) and ΣD until then."""
    rng = np.random.default_rng(seed)
    weights, target = rng.normal(0, 0.02, shape), rng.normal(0, 0.1, shape)
    mean, square = np.zeros(shape), np.zeros(shape)
    copies, sums, logged = {}, np.zeros(2), []
    for step in range(AT[-1] + 1):
        if step in AT:
            copies[step] = weights.astype(np.float32)
            logged.append(sums.copy())
        gradient = weights - target + rng.normal(0, 0.05, shape)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.95 * square + 0.05 * gradient**2
        update = mean / (1 - 0.9 ** (step + 1))
        update /= np.sqrt(square / (1 - 0.95 ** (step + 1))) + 1e-8
        sums += [
            2 * RATE * (weights * update).sum() - RATE**2 * (update**2).sum(),
            2 * RATE * DECAY * (weights**2).sum(),
        ]
        weights = (1 - RATE * DECAY) * weights - RATE * update
    return copies, np.array(logged)


@pytest.fixture(scope="module")
def run() -> tuple[dict[int, Any], Any]:
    return adamw_run()


def tensors(weights: Any) -> dict[str, Any]:
    return {NAME.format(0, "up_proj"): weights}


@pytest.mark.parametrize("sample", [1 << 30, 5000])
def test_drift_and_decay_are_recovered(run: Any, sample: int) -> None:
    copies, logged = run
    source = {"run": {step: tensors(weights) for step, weights in copies.items()}}
    found = wb.forces(source, learning_rate=RATE, weight_decay=DECAY, sample=sample).squeeze()
    for name, column in (("from_alignment", logged[:, 0]), ("from_decay", logged[:, 1])):
        gains, true = np.diff(found[name].values), -np.diff(column)
        assert np.corrcoef(gains, true)[0, 1] > 0.99
        assert np.median(np.abs(gains / true - 1)) < 0.1
        assert found[name].values[-1] == pytest.approx(-column[-1], rel=0.1)
    assert np.isnan(found.from_injection).all()
    norms = np.array([(w.astype(float) ** 2).sum() for w in copies.values()])
    np.testing.assert_allclose(found.squared_norm, norms)
    total = sum(found[name].fillna(0) for name in PARTS) + found.residual
    np.testing.assert_allclose(total, found.growth, atol=1e-12)
    assert abs(found.residual[-1]) < 0.05 * found.growth[-1]
    assert found.attrs["forces"] == "checkpoints"


def test_paths_fits_of_them_and_arrays_give_the_same(run: Any, tmp_path: Any) -> None:
    copies, _ = run
    for step, weights in copies.items():
        (tmp_path / "run" / f"step{step}").mkdir(parents=True)
        save_file(tensors(weights), tmp_path / "run" / f"step{step}" / "model.safetensors")
    known: dict[str, Any] = {"learning_rate": RATE, "weight_decay": DECAY}
    live = wb.forces({"run": {s: tensors(w) for s, w in copies.items()}}, **known)
    fits = wb.scan(tmp_path / "run", progress=False)
    for found in (wb.forces(tmp_path / "run", **known), wb.forces(fits, **known)):
        for name in PARTS:
            np.testing.assert_array_equal(found[name].values, live[name].values)


def test_a_schedule_is_followed(run: Any) -> None:
    """Decay goes with the rate of each step: none in the first half, twice that in the second."""
    source = {"run": {step: tensors(weights) for step, weights in run[0].items()}}
    constant = wb.forces(source, learning_rate=RATE, weight_decay=DECAY).squeeze()
    table = np.repeat([0.0, 2 * RATE], 60)
    for schedule in ([*table.tolist(), 0.0], lambda step: table[min(step, 119)]):
        found = wb.forces(source, schedule=schedule, weight_decay=DECAY).squeeze()
        assert (found.from_decay.values[:6] == 0).all()
        last = constant.from_decay.values[-1] - constant.from_decay.values[-2]
        assert found.from_decay.values[-1] == pytest.approx(2 * last)


def test_select_experts_and_models_of_their_own(run: Any) -> None:
    copies, _ = run
    name = "model.layers.0.mlp.experts.{}.up_proj.weight"
    experts = {
        step: {name.format(e): weights * (1 + e) for e in range(3)} | tensors(weights)
        for step, weights in copies.items()
    }
    short = {step: tensors(copies[step]) for step in AT[:4]}
    found = wb.forces(
        {"a": experts, "b": short}, learning_rate={"a": RATE, "b": 2 * RATE}, weight_decay=DECAY
    )
    one = wb.forces({"b": short}, learning_rate=2 * RATE, weight_decay=DECAY)
    np.testing.assert_array_equal(
        found.from_decay.sel(model="b", step=AT[:4]).dropna("component", how="all").values,
        one.from_decay.sel(model="b").values,
    )
    assert found.from_decay.sel(model="b", step=AT[4:]).isnull().all()
    cell = found.sel(model="a").isel(layer=0)
    names = {str(component) for component in cell.component.values}
    assert len(names) >= 1
    chosen = wb.forces({"a": experts}, learning_rate=RATE, weight_decay=DECAY, select={"expert": 2})
    assert int(chosen.from_decay.notnull().any("step").sum()) == 1


def test_three_checkpoints_are_too_few(run: Any) -> None:
    source = {"run": {step: tensors(run[0][step]) for step in AT[:3]}}
    with pytest.raises(ValueError, match=r"at least 4 checkpoints of a run .* got 3 of 'run'"):
        wb.forces(source, learning_rate=RATE, weight_decay=DECAY)


def test_what_is_not_given_or_not_valid_is_told(run: Any) -> None:
    source = {"run": {step: tensors(weights) for step, weights in run[0].items()}}
    with pytest.raises(ValueError, match="`learning_rate` must be given"):
        wb.forces(source, weight_decay=DECAY)
    for sample in (0, True, 2.5):
        with pytest.raises(ValueError, match="`sample` must be an integer of at least 1"):
            wb.forces(source, learning_rate=RATE, weight_decay=DECAY, sample=sample)  # type: ignore[arg-type]
    fits = wb.scan(source, keep_counts=False)
    with pytest.raises(wb.CheckpointError):
        wb.forces(fits, learning_rate=RATE, weight_decay=DECAY)  # of arrays that are gone
    recorded = fits.assign(dict.fromkeys(FORCES, fits.k * 0))
    with pytest.raises(ValueError, match="must be omitted: these fits hold the forces"):
        wb.forces(recorded, learning_rate=RATE)


def test_weights_that_are_not_finite_do_not_spread(run: Any) -> None:
    copies, _ = run
    spoilt = {step: weights.copy() for step, weights in copies.items()}
    spoilt[14][3, 5] = np.nan
    source = {"run": {step: tensors(weights) for step, weights in spoilt.items()}}
    found = wb.forces(source, learning_rate=RATE, weight_decay=DECAY)
    assert found.growth.notnull().sum() >= len(AT) - 1
    assert np.isfinite(found.from_decay.values[..., -1]).all()
