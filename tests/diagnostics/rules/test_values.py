"""Rules on the weights of one matrix, on both sides of every limit and in every format."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weibnb as wb
from tests.diagnostics.rules.models import experts, look, looked, model, name_of, places
from weibnb.diagnostics.rules.facts import FEW_ALONE, SMALLEST_NORMAL
from weibnb.diagnostics.rules.values import CLIPPED, LARGEST, RUNAWAY, SATURATED, UNDERFLOW

KINDS: dict[str, Any] = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
FORMATS = pytest.mark.parametrize("dtype", KINDS)
EXPERT = name_of(1, "mlp.experts.2.up_proj")


@FORMATS
def test_the_limits_are_those_of_the_formats(dtype: str) -> None:
    about = ml_dtypes.finfo(KINDS[dtype])  # type: ignore[no-untyped-call]
    assert LARGEST[dtype] == float(about.max)
    assert SMALLEST_NORMAL[dtype] == float(about.smallest_normal)


@FORMATS
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_weight_that_is_not_finite(dtype: str, value: float) -> None:
    weights = model(dtype=KINDS[dtype], scale=40)
    assert look(weights, "nonfinite") == ()
    weights[name_of(2)][3, 4] = np.nan if dtype == "F8_E4M3" else value
    (finding,) = look(weights, "nonfinite")
    assert (finding.cells[0].layer, finding.value, finding.severity) == (2, 1, "error")
    assert finding.text == "1 weight is NaN or infinite."


@FORMATS
def test_zeros_and_constants(dtype: str) -> None:
    weights = model(dtype=KINDS[dtype], scale=40)
    weights[name_of(1)] = np.zeros_like(weights[name_of(1)])
    weights[name_of(3)] = np.full_like(weights[name_of(3)], 0.5)
    weights[name_of(3)][::2] *= -1
    assert places(look(weights, "all-zero")) == [(1, "up_proj", -1)]
    assert places(look(weights, "constant")) == [(3, "up_proj", -1)]
    weights[name_of(1)][0, 0] = 0.5
    assert look(weights, "all-zero") == ()


def test_levels_of_three_are_a_comb_and_no_constant() -> None:
    weights = model()
    levels = np.random.default_rng(0).integers(-1, 2, (64, 64))
    weights[name_of(1)] = (0.02 * levels).astype(np.float32)
    assert look(weights, "constant") == ()
    assert look(wb.scan({"m": weights}, keep_counts=False), "constant") == ()
    assert places(look(weights, "comb")) == [(1, "up_proj", -1)]


def test_zeros_are_exempt_at_the_start_of_a_run_alone() -> None:
    start, later = model(), model(seed=1)
    start[name_of(1)][...] = 0
    assert look({"m": {0: start, 5: later}}, "all-zero") == ()
    assert len(look({"m": {3: start, 5: later}}, "all-zero")) == 1
    assert len(look({"m": {0: later, 5: start}}, "all-zero")) == 1
    assert len(look(start, "all-zero")) == 1  # a checkpoint alone is no start


def test_a_single_expert() -> None:
    weights = experts()
    weights[EXPERT][...] = 0
    assert places(look({"m": weights}, "all-zero")) == [(1, "up_proj", 2)]
    weights[EXPERT][...] = 1
    assert places(look({"m": weights}, "constant")) == [(1, "up_proj", 2)]
    weights[EXPERT][0, 0] = np.inf
    assert places(look({"m": weights}, "nonfinite")) == [(1, "up_proj", 2)]
    apart = wb.scan({"m": weights}, experts="each")
    assert places(look(apart, "nonfinite")) == [(1, "up_proj", 2)]


@pytest.mark.parametrize("rule", ["all-zero", "constant"])
def test_experts_without_counts_are_not_passed_in_silence(rule: str) -> None:
    fits = wb.scan({"m": experts()}, keep_counts=False)
    assert [one.rule for one in looked(fits, rule).not_looked_at] == [rule]
    assert looked(wb.scan({"m": model()}, keep_counts=False), rule).not_looked_at == ()


@pytest.mark.parametrize(
    "rule", ["runaway", "saturation", "clipping", "underflow", "comb", "same-matrix"]
)
def test_rules_that_need_counts_say_so(rule: str) -> None:
    found = looked(wb.scan({"m": model()}, keep_counts=False), rule)
    assert found.findings == ()
    assert "keep_counts=True" in found.not_looked_at[0].reason


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
def test_one_weight_at_the_largest_of_a_wide_format(dtype: str) -> None:
    weights = model(dtype=KINDS[dtype])
    weights[name_of(1)][5, 5] = LARGEST[dtype] / 2
    assert look(weights, "saturation") == ()
    weights[name_of(1)][5, 5] = -LARGEST[dtype]
    assert places(look(weights, "saturation")) == [(1, "up_proj", -1)]


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
@pytest.mark.parametrize("scaled", [False, True])
def test_a_share_at_the_largest_of_a_narrow_format(dtype: str, scaled: bool) -> None:
    weights = model(dtype=KINDS[dtype], scale=40)
    if scaled:
        weights |= {f"{name}_scale_inv": np.ones(1, np.float32) for name in list(weights)}
    limit = SATURATED[scaled]
    number = int(limit * np.count_nonzero(weights[name_of(1)].astype(np.float32)))
    flat = weights[name_of(1)].reshape(-1)
    flat[:number] = LARGEST[dtype]
    assert look(weights, "saturation") == ()
    flat[: number + 2] = -LARGEST[dtype]
    (finding,) = look(weights, "saturation")
    assert finding.limit == limit < finding.value


@FORMATS
def test_underflow_is_a_share_of_subnormals(dtype: str) -> None:
    weights = model(dtype=KINDS[dtype], scale=40)
    flat = weights[name_of(2)].reshape(-1)
    flat[...] = SMALLEST_NORMAL[dtype] * 2
    flat[1] = SMALLEST_NORMAL[dtype] * 4
    number = int(UNDERFLOW * flat.size)
    flat[10 : 10 + number] = SMALLEST_NORMAL[dtype] * 0.5
    assert look(weights, "underflow") == ()
    flat[10 : 11 + number] = SMALLEST_NORMAL[dtype] * 0.5
    (finding,) = look(weights, "underflow")
    assert finding.value == (number + 1) / flat.size


def test_zeros_of_pruning_are_no_underflow() -> None:
    weights = model(dtype=np.float16)
    weights[name_of(1)].reshape(-1)[: 64 * 60] = 0
    assert look(weights, "underflow") == ()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize(("levels", "silent"), [(127, False), (1000, True)])
def test_few_levels_in_a_matrix(dtype: str, levels: int, silent: bool) -> None:
    weights = model(dtype=np.float32)
    array = weights[name_of(1)]
    scale = np.abs(array).max() / levels
    weights[name_of(1)] = np.round(array / scale) * scale
    found = look({n: a.astype(KINDS[dtype]) for n, a in weights.items()}, "comb")
    assert places(found) == ([] if silent else [(1, "up_proj", -1)])


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("group", [32, 64])
def test_few_levels_in_groups_of_a_row_need_the_weights(dtype: str, group: int) -> None:
    weights = model(dtype=np.float32)
    groups = weights[name_of(1)].reshape(-1, group)
    scale = np.abs(groups).max(1, keepdims=True) / 7
    weights[name_of(1)] = (np.round(groups / scale) * scale).reshape(64, 64)
    weights = {n: a.astype(KINDS[dtype]) for n, a in weights.items()}
    assert places(look(weights, "comb")) == [(1, "up_proj", -1)]
    fits = wb.scan({"m": weights})
    assert any(one.rule == "comb" for one in looked(fits, "comb").not_looked_at)
    assert places(look(fits, "comb", source={"m": weights})) == [(1, "up_proj", -1)]


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_pruned_rows_have_their_levels(sparsity: float) -> None:
    weights = model(dtype=ml_dtypes.bfloat16)
    gone = np.random.default_rng(0).random((64, 64)) < sparsity
    weights[name_of(1)][gone] = 0
    assert look(weights, "comb") == ()


@given(st.floats(2.0**-8, 2.0**8), st.sampled_from(["BF16", "F32", "F64"]))
def test_healthy_weights_are_silent_at_every_scale(scale: float, dtype: str) -> None:
    weights = model(3, dtype=KINDS[dtype], scale=scale)
    rules = ["nonfinite", "all-zero", "constant", "runaway", "saturation", "clipping"]
    rules += ["underflow", "comb"]
    assert wb.check({"m": weights}, select=rules, progress=False).findings == ()


@pytest.mark.parametrize(("dtype", "bit"), [("BF16", 14), ("F32", 30), ("F64", 62), ("F16", 14)])
def test_a_flipped_bit_of_the_exponent(dtype: str, bit: int) -> None:
    weights = model(dtype=KINDS[dtype])
    array = weights[name_of(1)]
    array[5, 5] = 0.02
    bits = array.view(f"u{array.itemsize}")
    bits[5, 5] ^= bits.dtype.type(1 << bit)
    (finding,) = look(weights, "runaway")
    assert (places((finding,)), finding.severity) == ([(1, "up_proj", -1)], "error")
    others = np.abs(np.delete(array.astype(np.float64).ravel(), 5 * 64 + 5))
    assert finding.value == pytest.approx(float(abs(array[5, 5])) / others.max(), rel=0.005)


@pytest.mark.parametrize(
    ("times", "number", "runs_away"),
    [
        (1.02 * RUNAWAY, 1, True),
        (0.98 * RUNAWAY, 1, False),
        (1.02 * RUNAWAY, FEW_ALONE, True),
        (1.02 * RUNAWAY, FEW_ALONE + 1, False),
    ],
)
def test_how_far_and_how_many_run_away(times: float, number: int, runs_away: bool) -> None:
    weights = model()
    flat = weights[name_of(2)].reshape(-1)
    flat[:number] = times * np.abs(flat).max() * (1 + 0.1 * np.arange(number))
    assert places(look(weights, "runaway")) == ([(2, "up_proj", -1)] if runs_away else [])


def test_a_matrix_that_has_died_but_for_one_row_does_not_run_away() -> None:
    weights = model()
    weights[name_of(2)][1:] *= 1e-12
    assert look(weights, "runaway") == ()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("clipped", [0.01, 0.05, 0.3])
def test_weights_that_are_clipped(dtype: str, clipped: float) -> None:
    rng = np.random.default_rng(3)
    weights = model(dtype=np.float64) | {name_of(1): rng.laplace(size=(256, 128))}
    assert look({n: a.astype(KINDS[dtype]) for n, a in weights.items()}, "clipping") == ()
    array = weights[name_of(1)]
    end = np.quantile(np.abs(array), 1 - clipped)
    weights[name_of(1)] = array.clip(-end, end)
    stored = {n: a.astype(KINDS[dtype]) for n, a in weights.items()}
    (finding,) = look(stored, "clipping")
    assert places((finding,)) == [(1, "up_proj", -1)]
    magnitudes = np.abs(stored[name_of(1)].astype(np.float64))
    assert finding.value == pytest.approx(np.sum(magnitudes == magnitudes.max()), rel=0.05)


def test_how_many_of_the_largest_are_clipped() -> None:
    weights = model(dtype=KINDS["BF16"])
    flat = weights[name_of(1)].reshape(-1)
    largest = np.abs(flat).max() * KINDS["BF16"](1.5)
    flat[: CLIPPED - 1] = largest
    assert look(weights, "clipping") == ()
    flat[:CLIPPED] = -largest
    assert places(look(weights, "clipping")) == [(1, "up_proj", -1)]


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("law", ["uniform", "cut Gaussian", "rows twenty times", "int8 by row"])
def test_what_ends_without_being_clipped(dtype: str, law: str) -> None:
    rng = np.random.default_rng(4)
    normal = rng.normal(0, 0.02, (640, 256))
    laws = {
        "uniform": rng.uniform(-0.0625, 0.0625, (640, 256)),
        "cut Gaussian": rng.permutation(normal[np.abs(normal) < 0.04])[: 512 * 256].reshape(
            512, 256
        ),
        "rows twenty times": np.repeat(normal[:32], 20, axis=0),
        "int8 by row": np.round(normal / (s := np.abs(normal).max(1, keepdims=True) / 127)) * s,
    }
    weights = {name_of(0): laws[law].astype(KINDS[dtype])}
    assert look(weights, "clipping") == ()
