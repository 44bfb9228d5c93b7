"""A plan of bits, held against trying all plans."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weibnb as wb
from tests.hostile import NAMES
from weibnb.diagnostics.bit_budget import allocate

NAME = "model.layers.{}.self_attn.{}_proj.weight".format


def best(cost: Any, noise: Any, budget: float) -> float:
    """Least noise of all choices that keep to a budget."""
    rows = range(len(cost))
    found = np.inf
    for choice in product(range(cost.shape[1]), repeat=len(cost)):
        if cost[rows, choice].sum() <= budget * (1 + 1e-12):
            found = min(found, float(noise[rows, choice].sum()))
    return found


cells = st.lists(
    st.lists(st.tuples(st.integers(1, 12), st.floats(0, 100)), min_size=3, max_size=3),
    min_size=1,
    max_size=4,
)


@settings(max_examples=200, deadline=None)
@given(cells, st.integers(0, 30))
def test_no_choice_is_better_where_the_budget_is_used_up(rows: list[Any], more: int) -> None:
    table = np.array(rows, float)
    cost, noise = table[..., 0], table[..., 1]
    budget = cost.min(1).sum() + more
    at = np.arange(len(cost))
    chosen = allocate(cost, noise, budget)
    spent, found = cost[at, chosen].sum(), noise[at, chosen].sum()
    assert spent <= budget
    optimum = best(cost, noise, budget)
    # one step of one matrix is all that the hull can be behind
    assert found <= optimum + (noise.max(1) - noise.min(1)).max() + 1e-9


@settings(max_examples=100, deadline=None)
@given(cells)
def test_at_the_corners_of_the_hull_the_plan_is_the_best(rows: list[Any]) -> None:
    table = np.array(rows, float)
    cost, noise = table[..., 0], table[..., 1]
    at = np.arange(len(cost))
    for price in (0.1, 1.0, 3.7, 20.0):  # of a bit, in noise
        total = noise + price * cost
        chosen = np.array([np.lexsort((c, t))[0] for c, t in zip(cost, total, strict=True)])
        budget = cost[at, chosen].sum()
        found = allocate(cost, noise, budget)
        assert noise[at, found].sum() == pytest.approx(noise[at, chosen].sum(), abs=1e-9)


def test_a_step_without_room_is_not_jumped_over() -> None:
    cost, noise = (
        np.array([[1.0, 10.0, 11.0], [1.0, 2.0, 3.0]]),
        np.array([[50, 1, 0.9], [9, 8, 7]]),
    )
    assert allocate(cost, noise, 5.0).tolist() == [0, 2]


def model(layers: int = 5, outliers: tuple[int, ...] = (0, 1, 2)) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    weights = {NAME(i, c): rng.normal(size=(64, 64)) for i in range(layers) for c in "qkvo"}
    for i in set(outliers) & set(range(layers)):
        weights[NAME(i, "q")][3, 5] = 40
    return weights


def test_the_plan_is_a_sentence_with_ranges_of_layers() -> None:
    found = wb.quantisation(wb.scan({"m": model()}, progress=False), formats=["int8", "int4"])
    plan = found.recommend(4.7)
    assert str(plan).startswith("q_proj of layers 0–2 in int8, the rest in int4: 4.6")
    assert plan.bits <= plan.budget == 4.7
    share = 10 ** (-plan.table["sqnr"] / 10)
    mean = np.average(share, weights=plan.table["weights"])
    assert plan.sqnr == pytest.approx(-10 * np.log10(mean))
    assert plan.bits == pytest.approx(np.average(plan.table["bits"], weights=plan.table["weights"]))
    assert str(found.recommend(100)).startswith("all in int8: 8.01 of 100.00")
    assert "of all layers" in str(
        wb.quantisation(
            wb.scan({"m": model(3)}, progress=False), formats=["int8", "int4"]
        ).recommend(5.1)
    )
    layers = {NAME(0, "q"), NAME(2, "q"), NAME(4, "q")}
    fits = wb.scan({"m": model(5, (0, 2, 4))}, progress=False)
    plan = wb.quantisation(fits, formats=["int8", "int4"]).recommend(4.7)
    assert str(plan).startswith("q_proj of layers 0, 2, 4 in int8"), layers


def test_more_bits_never_make_more_noise() -> None:
    found = wb.quantisation(wb.scan({"m": model()}, progress=False))
    overall = [found.recommend(bits).sqnr for bits in np.arange(4.3, 9, 0.25)]
    assert (np.diff(overall) >= -1e-9).all()


def test_what_has_no_prediction_is_told() -> None:
    weights = model(2)
    weights[NAME(0, "k")] = weights[NAME(0, "k")] * 0
    weights[NAME(1, "k")] = (weights[NAME(1, "k")] * 10).astype(np.int8)
    fits = wb.scan({"m": weights}, progress=False)
    plan = wb.quantisation(fits, formats=["int8", "int4"]).recommend(6)
    zero = plan.table.query("component == 'k_proj' and layer == 0")
    assert zero["format"].tolist() == ["int4"]
    assert plan.not_planned[["layer", "component", "status"]].values.tolist() == [
        [1, "k_proj", "quantized"]
    ]
    assert str(plan).endswith("Not planned: 1 matrix (1 quantized).")


def test_a_plan_is_of_one_checkpoint_and_needs_enough_bits() -> None:
    fits = wb.scan({"a": model(1), "b": model(1)}, progress=False)
    with pytest.raises(ValueError, match=r"one model for a plan, got 2.*fits.sel\(model=\['b'\]\)"):
        wb.quantisation(fits).recommend(5)
    found = wb.quantisation(fits.sel(model=["a"]))
    for bits in (3.9, -1, float("nan")):
        with pytest.raises(ValueError, match=r"`bits` must be at least 4\.0"):
            found.recommend(bits)


@pytest.mark.parametrize("tower", ["", "vision."])
def test_the_same_weights_do_not_take_bits_twice(tower: str) -> None:
    rng = np.random.default_rng(0)
    fits = wb.scan({"m": model(1) | {NAME(0, "qkv"): rng.normal(size=(192, 64))}}, progress=False)
    names = [f"{tower}{name}" for name in fits["component"].values]
    found = wb.quantisation(fits.assign_coords(component=names))
    with pytest.raises(ValueError, match="fused matrix or its parts"):
        found.recommend(5)
    alone = fits.sel(component=fits["component"] == "qkv_proj")
    assert str(wb.quantisation(alone).recommend(9)).startswith("all in int8")


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name: str) -> None:
    plan = wb.quantisation(wb.scan({name: model(1)}, progress=False)).recommend(5)
    assert str(plan).isprintable()
    assert "<script" not in plan._repr_html_()
