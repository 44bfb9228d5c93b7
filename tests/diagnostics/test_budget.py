"""Training budget of values and of fits, against the published table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import integrate

from tests.diagnostics.simple_fits import make
from weibnb.diagnostics.budget import state_words, timescale, training_budget

# T. Ding, arXiv:2605.18898, database v9.1 (CC BY 4.0): η, wd, T, τ, T/τ, state of T/τ
PUBLISHED = {
    "pythia-70m": (0.001, 0.01, 143_000, 100_000, 1.43, "saturated"),
    "pythia-160m": (0.0006, 0.01, 143_000, 166_667, 0.858, "near-saturated"),
    "pythia-410m": (0.0003, 0.01, 143_000, 333_333, 0.429, "approaching"),
    "pythia-1b": (0.0003, 0.01, 143_000, 333_333, 0.429, "approaching"),
    "pythia-6.9b": (0.00012, 0.01, 143_000, 833_333, 0.172, "transition"),
    "olmo-1-7b": (0.0003, 0.1, 477_000, 33_333, 14.31, "saturated"),
    "olmo-2-7b": (0.0003, 0.1, 480_000, 33_333, 14.4, "saturated"),
    "llama-3-8b": (0.0003, 0.1, 1_000_000, 33_333, 30.0, "saturated"),
    "mistral-7b": (0.0003, 0.1, 500_000, 33_333, 15.0, "saturated"),
    "qwen2.5-7b": (0.0003, 0.1, 1_100_000, 33_333, 33.0, "saturated"),
    "qwen3-8b": (0.0005, 0.1, 2_200_000, 20_000, 110.0, "saturated"),
}


def test_timescale_is_one_over_eta_wd() -> None:
    assert timescale([1e-3, 5e-4], 0.1) == pytest.approx([1e4, 2e4])
    assert timescale(3e-4, 0) == np.inf
    assert timescale(0, 0.1) == np.inf


@pytest.mark.parametrize(("eta", "decay"), [(-1e-3, 0.1), (1e-3, -0.1), (np.nan, 0.1), (1, np.inf)])
def test_timescale_refuses_what_is_no_hyperparameter(eta: float, decay: float) -> None:
    with pytest.raises(ValueError, match="must be finite and at least 0"):
        timescale(eta, decay)


def test_the_published_column_is_reproduced() -> None:
    columns = [{m: row[i] for m, row in PUBLISHED.items()} for i in range(3)]
    eta, decay, steps = columns
    budget = training_budget(learning_rate=eta, weight_decay=decay, steps=steps)
    assert budget["model"].values.tolist() == list(PUBLISHED)
    rows = list(PUBLISHED.values())
    assert budget["timescale"].values == pytest.approx([row[3] for row in rows], abs=0.5)
    assert budget["budget"].values == pytest.approx([row[4] for row in rows], abs=5e-4)
    assert budget["power_lines"].values == pytest.approx([1 / row[4] for row in rows], rel=3e-3)
    assert budget["state"].values.tolist() == [row[5] for row in rows]


def test_power_lines_is_the_timescale_in_tokens() -> None:
    """B/(η λ D) with batch B and data D in tokens, of which T steps make D = B T."""
    batch, steps = 2_097_152, 143_000
    budget = training_budget(learning_rate=1e-3, weight_decay=0.01, steps=steps)
    expected = batch / (1e-3 * 0.01 * batch * steps)
    assert float(budget["power_lines"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("convention", "edge", "above", "below"),
    [
        ("database", 1.2, "saturated", "near-saturated"),
        ("database", 0.8, "near-saturated", "approaching"),
        ("database", 0.4, "approaching", "partial"),
        ("database", 0.25, "partial", "transition"),
        ("library", 1.0, "saturated", "approaching"),
        ("library", 0.2, "approaching", "transition"),
    ],
)
def test_states_on_both_sides_of_each_edge(
    convention: Any, edge: float, above: str, below: str
) -> None:
    words = state_words([edge, edge + 1e-9, edge - 1e-9], convention=convention)
    assert words.tolist() == [above, above, below]
    for eta, decay in ((1e-3, 0.01), (3e-4, 0.1), (6e-4, 0.1), (7e-4, 0.03)):
        # exactly at the edge up to rounding, and one step in a million before it
        steps = edge / (eta * decay)
        for number, word in ((steps, above), (steps * (1 - 1e-6), below)):
            found = training_budget(
                learning_rate=eta, weight_decay=decay, steps=number, convention=convention
            )
            assert found["state"].item() == word
            assert found.attrs["convention"] == convention


def test_an_unknown_convention_and_a_missing_budget() -> None:
    with pytest.raises(ValueError, match="must be one of 'database', 'library', got 'paper'"):
        state_words(1.0, convention="paper")  # type: ignore[arg-type]
    assert state_words([np.nan, 0.0]).tolist() == ["unknown", "transition"]
    free = training_budget(learning_rate=1e-3, weight_decay=0, steps=100)
    assert (float(free["timescale"]), float(free["budget"])) == (np.inf, 0)
    assert float(free["power_lines"]) == np.inf


def test_a_schedule_is_integrated() -> None:
    peak, decay, steps, warmup = 1e-3, 0.1, 20_000, 1_000

    def cosine(step: float) -> float:
        if step < warmup:
            return peak * step / warmup
        return float(peak * 0.5 * (1 + np.cos(np.pi * (step - warmup) / (steps - warmup))))

    area = sum(integrate.quad(cosine, a, b)[0] for a, b in ((0, warmup), (warmup, steps)))
    by_function = training_budget(weight_decay=decay, steps=steps, schedule=cosine)
    assert float(by_function["budget"]) == pytest.approx(area * decay, rel=1e-4)
    assert float(by_function["learning_rate"]) == pytest.approx(peak)
    assert float(by_function["timescale"]) == pytest.approx(1 / (peak * decay))
    rates = np.array([cosine(step) for step in range(steps)])
    by_array = training_budget(weight_decay=decay, schedule=rates)
    xr.testing.assert_allclose(by_array, by_function, rtol=1e-12)
    flat = training_budget(weight_decay=decay, schedule=np.full(100, peak))
    constant = training_budget(weight_decay=decay, learning_rate=peak, steps=100)
    xr.testing.assert_allclose(flat, constant, rtol=1e-12)


def test_a_schedule_along_the_steps_of_a_run() -> None:
    fits = make([[[[1.2] * 3]]], steps=(0, 3, 7))
    rates = np.array([0.1, 0.3, 0.2, 0.1, 0.1, 0.1, 0.5, 9.0])
    budget = training_budget(fits, weight_decay=0.5, schedule=rates)
    assert budget["budget"].values == pytest.approx([0, 0.3, 0.7])
    assert budget["learning_rate"].values == pytest.approx([0, 0.3, 0.5])
    with pytest.raises(ValueError, match="a learning rate for each of 7 steps, got 6"):
        training_budget(fits, weight_decay=0.5, schedule=rates[:6])
    with pytest.raises(ValueError, match="must be omitted where a `schedule` is given"):
        training_budget(fits, learning_rate=1.0, weight_decay=0.5, schedule=rates)
    with pytest.raises(ValueError, match="`schedule` must be finite and at least 0"):
        training_budget(weight_decay=0.5, schedule=[-1.0])
    with pytest.raises(ValueError, match="one learning rate for each step"):
        training_budget(weight_decay=0.5, schedule=0.1)
    with pytest.raises(ValueError, match="must be whole numbers"):
        training_budget(weight_decay=0.5, schedule=rates, steps=1.5)


def test_hyperparameters_come_from_the_coordinates_of_fits() -> None:
    known = make([[[[1.2]]], [[[1.2]]]]).assign_coords(
        model=["a", "b"],
        learning_rate=("model", [1e-3, 1e-4]),
        weight_decay=("model", [0.01, 0.1]),
    )
    budget = training_budget(known, steps={"b": 50_000, "a": 100_000})
    assert budget["budget"].values == pytest.approx([1.0, 0.5])
    assert budget.sizes == {"model": 2}
    array = training_budget(known, steps=[100_000, 50_000], learning_rate=1e-3)
    assert array["budget"].values == pytest.approx([1.0, 5.0])
    with pytest.raises(ValueError, match="`steps` must have an entry for model 'b'"):
        training_budget(known, steps={"a": 1})
    with pytest.raises(ValueError, match="`steps` must be one number for each of 2 models"):
        training_budget(known, steps=[1, 2, 3])
    with pytest.raises(ValueError, match=r"`steps` must be given; .* looks beside the checkpoints"):
        training_budget(known)
    with pytest.raises(ValueError, match="`weight_decay` must be given; without `fits`"):
        training_budget(learning_rate=1, steps=1)
    with pytest.raises(ValueError, match="`steps` must be finite and at least 0, got -1"):
        training_budget(learning_rate=1, weight_decay=1, steps=-1)
