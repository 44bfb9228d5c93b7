"""The same matrix twice: within a checkpoint, between steps and between models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weibnb as wb
from tests.diagnostics.rules.models import SIDE, experts, look, looked, model, name_of

if TYPE_CHECKING:
    from weibnb.diagnostics.findings import Finding

RULE = "same-matrix"
KINDS = (ml_dtypes.bfloat16, np.float16, np.float32, np.float64, ml_dtypes.float8_e4m3fn)


def layers_of(finding: Finding) -> list[int | None]:
    return [cell.layer for cell in finding.cells]


@pytest.mark.parametrize("dtype", KINDS)
def test_a_copied_layer_is_found_bit_by_bit(dtype: Any) -> None:
    weights = model(dtype=dtype, scale=40)
    assert look(weights, RULE) == ()
    weights[name_of(3)] = weights[name_of(1)].copy()
    (finding,) = look(weights, RULE)
    assert (layers_of(finding), finding.severity) == ([1, 3], "warning")
    assert finding.text == "it is layer 3: the same weights, bit by bit."


@pytest.mark.parametrize("change", ["rows", "signs", "transposed"])
def test_the_same_magnitudes_in_another_order(change: str) -> None:
    weights = model()
    array = weights[name_of(1)]
    weights[name_of(3)] = {"rows": array[::-1], "signs": -array, "transposed": array.T}[
        change
    ].copy()
    (finding,) = look(weights, RULE)
    assert "in another order or with other signs" in finding.text


def test_fits_alone_tell_the_counts_and_say_so() -> None:
    weights = model()
    weights[name_of(3)] = weights[name_of(1)].copy()
    found = looked(wb.scan({"m": weights}), RULE)
    assert "the same magnitudes, each as often" in found.findings[0].text
    assert "needs the weights" in found.not_looked_at[0].reason


def test_one_weight_makes_another_matrix() -> None:
    weights = model()
    weights[name_of(3)] = weights[name_of(1)].copy()
    weights[name_of(3)][0, 0] *= 1.5
    assert look(weights, RULE) == ()


def test_another_shape_is_another_matrix() -> None:
    weights = model()
    weights[name_of(3)] = weights[name_of(1)].reshape(SIDE // 2, -1).copy()
    assert look(weights, RULE) == ()


def test_matrices_that_are_equal_by_accident() -> None:
    """Of few levels, or of one, many are equal: nothing follows from that."""
    weights = model()
    rng = np.random.default_rng(0)
    for layer in range(4):
        weights[name_of(layer)][...] = rng.permutation(np.repeat([-1, 1, 0, 0], 1024)).reshape(
            64, 64
        )
        weights[name_of(layer, "mlp.down_proj")][...] = 0
    assert look(weights, RULE) == ()


def test_experts() -> None:
    weights = experts()
    assert look({"m": weights}, RULE) == ()
    weights[name_of(1, "mlp.experts.3.up_proj")] = weights[name_of(1, "mlp.experts.0.up_proj")]
    (finding,) = look({"m": weights}, RULE)
    assert [cell.expert for cell in finding.cells] == [0, 3]


def test_steps_that_are_the_same_file() -> None:
    one, other = model(), model(seed=1)
    (finding,) = look({"m": {0: one, 10: other, 143000: dict(one)}}, RULE)
    assert finding.text == "step 0 and step 143,000 hold the same 16 matrices."


def test_a_matrix_that_did_not_change_between_steps() -> None:
    one, other = model(), model(seed=1)
    other[name_of(2)] = one[name_of(2)].copy()
    (finding,) = look({"m": {1: one, 5: other}}, RULE)
    assert (finding.cells[0].step, layers_of(finding)) == (5, [2])
    assert finding.text == "it is the same as in step 1."


def test_models() -> None:
    one, other = model(), model(seed=1)
    (finding,) = look({"a": {5: one}, "b": {5: dict(one)}, "c": {5: other}}, RULE)
    assert finding.text == "a step 5 and b step 5 hold the same 16 matrices."


def test_models_that_start_from_one_seed_are_no_copies() -> None:
    one = model()
    run = {name: {0: dict(one), 5: model(seed=s)} for s, name in enumerate("ab", 1)}
    assert look(run, RULE) == ()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_different_draws_are_different(seed: int, dtype: Any) -> None:
    assert look(model(3, dtype=dtype, seed=seed, scale=40), RULE) == ()
