"""Print how often `weibnb.check` warns of healthy models, and which planted faults it finds.

``python scripts/check_table.py [models]``: the tables of docs/check.md. A healthy model has 4 to 80
layers of seven matrices; the rms of its matrices scatters between layers by 5 to 30 %, along a
course over the depth; rows have unequal scales, whose spread (and with it k) differs between
components and a little between layers; some components have heavier tails. It is stored in one of
the formats; 8-bit matrices have a scale each, which brings their largest weight to the format's.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

import weibnb as wb
from weibnb.diagnostics.rules.values import LARGEST, SMALLEST_NORMAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weibnb.diagnostics.findings import Severity

    Weights = dict[str, NDArray[Any]]

HIDDEN, WIDE = 64, 160
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}
DTYPES: dict[str, Any] = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
#: Degrees of freedom of weights with heavier tails.
HEAVIER = 8.0


def name_of(layer: int, matrix: str) -> str:
    """Give the name of a matrix."""
    return f"model.layers.{layer}.{matrix}.weight"


def healthy(layers: int, rng: np.random.Generator) -> Weights:
    """Draw the weights of a model that was trained."""
    weights: Weights = {}
    depth = np.linspace(-1, 1, layers)
    for matrix, shape in SHAPES.items():
        size = 0.02 * np.exp(0.4 * rng.normal() + 0.2 * rng.normal() * depth)
        size = size * np.exp(rng.uniform(0.05, 0.3) * rng.normal(size=layers))
        spread = rng.uniform(0.1, 0.6) * np.exp(0.05 * rng.normal(size=layers))
        heavy = rng.random() < 0.3
        for layer in range(layers):
            draws = rng.normal(size=shape)
            if heavy:
                draws = draws / np.sqrt(rng.chisquare(HEAVIER, shape) / HEAVIER)
            rows = np.exp(spread[layer] * rng.normal(size=(shape[0], 1)))
            weights[name_of(layer, matrix)] = size[layer] * rows * draws
    return weights


def stored(weights: Weights, dtype: str, *, common_scale: float = 0.0) -> Weights:
    """Round weights to a format; 8-bit ones are scaled, each matrix by itself unless told."""
    kind = DTYPES[dtype]
    if not dtype.startswith("F8"):
        return {name: array.astype(kind) for name, array in weights.items()}
    found: Weights = {}
    for name, array in weights.items():
        scale = common_scale or LARGEST[dtype] / max(float(np.abs(array).max()), 1e-30)
        found[name] = (array * scale).astype(np.float32).astype(kind)
        found[f"{name}_scale_inv"] = np.array([1 / scale], np.float32)
    return found


def _set(layer: int, matrix: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Any:
    """Make a fault of the stored weights of one matrix."""

    def plant(weights: Weights, dtype: str) -> None:
        name = name_of(layer, matrix)
        weights[name] = change(weights[name].astype(np.float32)).astype(DTYPES[dtype])

    return plant


def _some(value: Callable[[str], float], share: float) -> Any:
    """Make a fault that gives a share of the weights of one matrix a value of the format."""

    def plant(weights: Weights, dtype: str) -> None:
        array = weights[name_of(2, "mlp.up_proj")]
        array.reshape(-1)[:: round(1 / share)] = value(dtype)

    return plant


def _dead(axis: int) -> Any:
    def change(array: NDArray[Any]) -> NDArray[Any]:
        array = array.copy()
        array[(slice(None),) * axis + (5,)] = 0
        return array

    return _set(2, "mlp.up_proj", change)


def _grid_of_rows(array: NDArray[Any]) -> NDArray[Any]:
    """Round groups of 32 neighbours to 15 levels of their own, as int4 does."""
    groups = array.reshape(-1, 32)
    scale = np.abs(groups).max(1, keepdims=True) / 7
    return np.asarray((np.round(groups / scale) * scale).reshape(array.shape))


def _grid_of_matrix(array: NDArray[Any]) -> NDArray[Any]:
    """Round to 255 levels, as int8 does."""
    scale = np.abs(array).max() / 127
    return np.asarray(np.round(array / scale) * scale)


def _copy(weights: Weights, _: str) -> None:
    weights[name_of(5, "mlp.gate_proj")] = weights[name_of(2, "mlp.gate_proj")].copy()


def _drop_layer(weights: Weights, _: str) -> None:
    for matrix in SHAPES:
        del weights[name_of(3, matrix)]


def _drop_matrix(weights: Weights, _: str) -> None:
    del weights[name_of(3, "mlp.down_proj")]


def _cut(weights: Weights, _: str) -> None:
    weights[name_of(3, "mlp.up_proj")] = weights[name_of(3, "mlp.up_proj")][: WIDE // 2]


def _below(weights: Weights, dtype: str) -> None:
    """Divide a matrix until its format hardly holds it."""
    array = weights[name_of(2, "mlp.up_proj")].astype(np.float64)
    array *= 0.3 * SMALLEST_NORMAL[dtype] / np.sqrt((array**2).mean())
    weights[name_of(2, "mlp.up_proj")] = array.astype(np.float32).astype(DTYPES[dtype])


def _nearly_dead(array: NDArray[Any]) -> NDArray[Any]:
    """Leave next to nothing of a row."""
    array = array.copy()
    array[5] *= 1e-5
    return array


def _outlier(array: NDArray[Any]) -> NDArray[Any]:
    """Make one weight some 60 times as large as the others are."""
    array = array.copy()
    array[5, 5] = 60 * np.sqrt((array**2).mean())
    return array


def _other_format(weights: Weights, dtype: str) -> None:
    """Store one matrix in another format."""
    name = name_of(2, "mlp.up_proj")
    values = weights[name].astype(np.float32)
    if dtype == "F8_E5M2":  # whose range is wider
        values /= LARGEST[dtype] / LARGEST[_OTHER[dtype]]
    weights[name] = values.astype(DTYPES[_OTHER[dtype]])


def _stranger(weights: Weights, _: str) -> None:
    """Store a matrix by a name that no family has."""
    weights["model.layers.2.mystery.weight"] = weights[name_of(2, "mlp.up_proj")]


def _adapter(weights: Weights, dtype: str) -> None:
    """Store low-rank factors beside a matrix."""
    stem = name_of(2, "mlp.up_proj").removesuffix(".weight")
    for side, shape in {"A": (4, HIDDEN), "B": (WIDE, 4)}.items():
        weights[f"{stem}.lora_{side}.weight"] = np.ones(shape, DTYPES[dtype])


_OTHER = {"BF16": "F32", "F16": "BF16", "F32": "BF16", "F8_E4M3": "F8_E5M2", "F8_E5M2": "F8_E4M3"}
#: What is done to the stored weights, and the rule that must tell of it.
FAULTS: dict[str, tuple[str, Any]] = {
    "one NaN": ("nonfinite", _some(lambda _: np.nan, 1e-4)),
    "a matrix of zeros": ("all-zero", _set(2, "mlp.up_proj", np.zeros_like)),
    "a constant matrix": ("constant", _set(2, "mlp.up_proj", lambda a: np.full_like(a, 0.0625))),
    "a layer missing": ("layer-gap", _drop_layer),
    "a matrix missing": ("missing-tensors", _drop_matrix),
    "a matrix cut in half": ("shape-conflict", _cut),
    "a matrix copied": ("same-matrix", _copy),
    "a dead row": ("dead-lines", _dead(0)),
    "a dead column": ("dead-lines", _dead(1)),
    "a row of next to nothing": ("nearly-dead-lines", _set(2, "mlp.up_proj", _nearly_dead)),
    "2 % at the largest": ("saturation", _some(lambda dtype: LARGEST[dtype], 0.02)),
    "too small for the format": ("underflow", _below),
    "restored from int8": ("comb", _set(2, "mlp.up_proj", _grid_of_matrix)),
    "restored from int4 in groups": ("comb", _set(2, "mlp.up_proj", _grid_of_rows)),
    "a layer 8 times as large": ("far-layer", _set(2, "mlp.up_proj", lambda a: 8 * a)),
    "one huge weight": ("outliers", _set(2, "mlp.up_proj", _outlier)),
    "a matrix in another format": ("mixed-formats", _other_format),
    "a matrix of no known name": ("not-fitted", _stranger),
    "an adapter beside the weights": ("adapters", _adapter),
}
#: Faults that 8-bit formats cannot show: their own levels are few, their range is narrow, and
#: scales are beside them.
NOT_IN_EIGHT_BITS = (
    "restored from int8", "restored from int4 in groups", "a layer 8 times as large",
    "a row of next to nothing", "one huge weight",
)  # fmt: skip
#: What is done to a model before it is stored, and the rule.
BEFORE = {"a layer of another shape": "far-layer", "never trained": "untrained"}


def planted(fault: str, dtype: str, rng: np.random.Generator) -> Weights:
    """Give a healthy model of 12 layers with one fault, or one that was never trained."""
    if fault == "never trained":
        drawn = {
            name_of(layer, matrix): 0.02 * rng.standard_normal(shape, np.float32)
            for layer in range(12)
            for matrix, shape in SHAPES.items()
        }
        return stored(drawn, dtype, common_scale=LARGEST[dtype] / 0.16)
    model = healthy(12, rng)
    if fault == "a layer of another shape":
        array = model[name_of(2, "mlp.up_proj")]
        model[name_of(2, "mlp.up_proj")] = 20 * array * np.abs(array)
        return stored(model, dtype)
    weights = stored(model, dtype)
    FAULTS[fault][1](weights, dtype)
    return weights


def rule_of(fault: str) -> str:
    """Name the rule that must tell of a fault."""
    return BEFORE[fault] if fault in BEFORE else FAULTS[fault][0]


def found(weights: Weights, severity: Severity = "warning") -> Counter[str]:
    """Count the findings of a model by rule, from a severity on."""
    check = wb.check({"model": weights}, progress=False)
    return Counter(one.rule for one in check.at_least(severity))


def print_false_alarms(models: int) -> None:
    """Print how many healthy models each rule warns of."""
    alarms: Counter[str] = Counter()
    any_alarm = 0
    formats = list(DTYPES)
    for i in range(models):
        rng = np.random.default_rng([15, i])
        layers = round(np.exp(rng.uniform(np.log(4), np.log(80))))
        rules = found(stored(healthy(layers, rng), formats[i % len(formats)]))
        alarms.update(set(rules))
        any_alarm += bool(rules)
        if rules:
            print(f"model {i}, {layers} layers, {formats[i % len(formats)]}: {dict(rules)}")
    print(f"\n{models:,} healthy models: {any_alarm} with any error or warning {dict(alarms)}\n")


def print_faults(models: int) -> None:
    """Print how many of planted faults are found in each format."""
    print(f"| fault | rule | {' | '.join(DTYPES)} |\n|---|---|{'---|' * len(DTYPES)}")
    for fault in (*FAULTS, *BEFORE):
        cells = []
        for dtype in DTYPES:
            if fault in NOT_IN_EIGHT_BITS and dtype.startswith("F8"):
                cells.append("–")
                continue
            draws = [planted(fault, dtype, np.random.default_rng([16, i])) for i in range(models)]
            seen = sum(bool(found(weights, "note")[rule_of(fault)]) for weights in draws)
            cells.append(f"{seen}/{models}")
        print(f"| {fault} | {rule_of(fault)} | {' | '.join(cells)} |", flush=True)


def main(models: int) -> None:
    """Print both tables."""
    print_faults(max(models // 50, 1))
    print_false_alarms(models)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
