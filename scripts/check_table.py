"""Print how often `weibnb.check` warns of healthy models, and which planted faults it finds.

``python scripts/check_table.py [models]``: the tables of docs/check.md. A healthy model has 4 to 80
layers of seven matrices; the rms of its matrices scatters between layers by 5 to 30 %, along a
course over the depth; rows have unequal scales, whose spread (and with it k) differs between
components and a little between layers; some components have heavier tails. It is stored in one of
the formats, as two files with a config.json; 8-bit matrices have a scale each, which brings their
largest weight to the format's.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

import weibnb as wb
from weibnb.diagnostics.rules.facts import SMALLEST_NORMAL
from weibnb.diagnostics.rules.material import layer_in
from weibnb.diagnostics.rules.values import LARGEST
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from weibnb.diagnostics.findings import Severity

    Weights = dict[str, NDArray[Any]]

HIDDEN, WIDER, VOCABULARY = 64, 256, 512
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
NORMS = ("input_layernorm", "post_attention_layernorm")


def shapes_of(hidden: int) -> dict[str, tuple[int, int]]:
    """Give the shapes of the matrices of a layer, by their names."""
    wide = 5 * hidden // 2
    return {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden // 2, hidden),
        "self_attn.v_proj": (hidden // 2, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (wide, hidden),
        "mlp.up_proj": (wide, hidden),
        "mlp.down_proj": (hidden, wide),
    }


SHAPES = shapes_of(HIDDEN)
DTYPES: dict[str, Any] = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
#: Degrees of freedom of weights with heavier tails.
HEAVIER = 8.0
_SPELLING = {np.dtype(kind): name for name, kind in DTYPES.items()}


def name_of(layer: int, matrix: str) -> str:
    """Give the name of a matrix."""
    return f"model.layers.{layer}.{matrix}.weight"


def bias_of(layer: int) -> str:
    """Give the name of a bias."""
    return f"model.layers.{layer}.self_attn.q_proj.bias"


def healthy(layers: int, rng: np.random.Generator, hidden: int = HIDDEN) -> Weights:
    """Draw the weights of a model that was trained."""
    weights: Weights = {}
    depth = np.linspace(-1, 1, layers)
    for matrix, shape in shapes_of(hidden).items():
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
    return weights | around(layers, rng, hidden)


def around(layers: int, rng: np.random.Generator, hidden: int = HIDDEN) -> Weights:
    """Draw embedding, norms, biases and head."""
    weights = {name: 0.02 * rng.normal(size=(VOCABULARY, hidden)) for name in (EMBEDDING, HEAD)}
    for layer in range(layers):
        for norm in NORMS:
            weights[name_of(layer, norm)] = 1 + 0.1 * rng.normal(size=hidden)
        weights[bias_of(layer)] = 0.01 * rng.normal(size=hidden)
    return weights | {"model.norm.weight": 1 + 0.1 * rng.normal(size=hidden)}


def stored(weights: Weights, dtype: str, *, common_scale: float = 0.0) -> Weights:
    """Round weights to a format; 8-bit ones are scaled, each matrix by itself unless told.

    What is no matrix inside a layer is in BF16 then.
    """
    kind = DTYPES[dtype]
    if not dtype.startswith("F8"):
        return {name: array.astype(kind) for name, array in weights.items()}
    found: Weights = {}
    for name, array in weights.items():
        if not name.endswith("_proj.weight"):
            found[name] = array.astype(ml_dtypes.bfloat16)
            continue
        scale = common_scale or LARGEST[dtype] / max(float(np.abs(array).max()), 1e-30)
        found[name] = (array * scale).astype(np.float32).astype(kind)
        found[f"{name}_scale_inv"] = np.array([1 / scale], np.float32)
    return found


def write(weights: Weights, directory: Path) -> Path:
    """Write a checkpoint of two files, with what config.json says of it."""
    files: list[Weights] = [{}, {}]
    for name, array in weights.items():
        files[".mlp." in name][name] = np.ascontiguousarray(array)
    for number, tensors in enumerate(files, start=1):
        about = {name: (_SPELLING[array.dtype], array.shape) for name, array in tensors.items()}
        file = directory / f"model-{number:05}-of-00002.safetensors"
        write_safetensors(file, about, tensors.values())
    wide, hidden = weights[name_of(0, "mlp.up_proj")].shape
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 1 + max(layer_in(name) or 0 for name in weights),
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
    (directory / "config.json").write_text(json.dumps(config))
    return directory


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


def _fill(name: str, value: float, number: int | None = None) -> Any:
    """Make a fault that gives the first weights of a tensor a value, or all."""

    def plant(weights: Weights, _: str) -> None:
        weights[name].reshape(-1)[:number] = value

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
    for name in list(weights):
        if layer_in(name) == 3:
            del weights[name]


def _drop(name: str) -> Any:
    """Make a fault that leaves out one tensor."""

    def damage(weights: Weights, _: str) -> None:
        del weights[name]

    return damage


def _cut(weights: Weights, _: str) -> None:
    weights[name_of(3, "mlp.up_proj")] = weights[name_of(3, "mlp.up_proj")][: len(SHAPES) * 10]


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


def _sparse(array: NDArray[Any]) -> NDArray[Any]:
    """Set half of a matrix to zero, at random."""
    return np.asarray(array * (np.random.default_rng(0).random(array.shape) < 0.5))


def _huge(array: NDArray[Any]) -> NDArray[Any]:
    """Make a row 300 times as large."""
    array = array.copy()
    array[5] *= 300
    return array


def _outlier(array: NDArray[Any]) -> NDArray[Any]:
    """Make one weight some 60 times as large as the others are."""
    array = array.copy()
    array[5, 5] = 60 * np.sqrt((array**2).mean())
    return array


def _flipped(weights: Weights, _dtype: str) -> None:
    """Flip the highest bit of the exponent of one weight."""
    array = weights[name_of(2, "mlp.up_proj")].copy()
    array.view(f"u{array.itemsize}")[5, 5] ^= 1 << (8 * array.itemsize - 2)
    weights[name_of(2, "mlp.up_proj")] = array


def _clipped(array: NDArray[Any]) -> NDArray[Any]:
    """Cut a matrix at twice its RMS."""
    end = 2 * np.sqrt((array.astype(np.float32) ** 2).mean())
    return array.clip(-end, end).astype(array.dtype)


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
    for side, shape in {"A": (4, HIDDEN), "B": (SHAPES["mlp.up_proj"][0], 4)}.items():
        weights[f"{stem}.lora_{side}.weight"] = np.ones(shape, DTYPES[dtype])


def _config(**numbers: int) -> Any:
    """Make a fault of config.json."""

    def damage(directory: Path) -> None:
        file = directory / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | numbers))

    return damage


def _lose_a_file(directory: Path) -> None:
    (directory / "model-00002-of-00002.safetensors").unlink()


def _rename_a_file(directory: Path) -> None:
    file = directory / "model-00002-of-00002.safetensors"
    file.rename(directory / "model-00002-of-00003.safetensors")


_OTHER = {"BF16": "F32", "F16": "BF16", "F32": "BF16", "F8_E4M3": "F8_E5M2", "F8_E5M2": "F8_E4M3"}
#: What is done to the stored weights, and the rule that must tell of it.
FAULTS: dict[str, tuple[str, Any]] = {
    "one NaN": ("nonfinite", _some(lambda _: np.nan, 1e-4)),
    "one NaN in the embedding": ("nonfinite", _fill(EMBEDDING, np.nan, 1)),
    "one infinite value in a bias": ("nonfinite", _fill(bias_of(4), np.inf, 1)),
    "a norm of zeros": ("all-zero", _fill(name_of(3, NORMS[1]), 0)),
    "an embedding of zeros": ("all-zero", _fill(EMBEDDING, 0)),
    "a matrix of zeros": ("all-zero", _set(2, "mlp.up_proj", np.zeros_like)),
    "a constant matrix": ("constant", _set(2, "mlp.up_proj", lambda a: np.full_like(a, 0.0625))),
    "a layer missing": ("layer-gap", _drop_layer),
    "a matrix missing": ("missing-tensors", _drop(name_of(3, "mlp.down_proj"))),
    "a norm missing": ("missing-tensors", _drop(name_of(3, NORMS[0]))),
    "the head missing": ("missing-tensors", _drop(HEAD)),
    "a matrix cut in half": ("shape-conflict", _cut),
    "a matrix transposed": ("shape-conflict", _set(3, "mlp.down_proj", np.transpose)),
    "a matrix copied": ("same-matrix", _copy),
    "a dead row": ("dead-lines", _dead(0)),
    "a dead column": ("dead-lines", _dead(1)),
    "a row of next to nothing": ("nearly-dead-lines", _set(2, "mlp.up_proj", _nearly_dead)),
    "a row 300 times too large": ("huge-lines", _set(2, "mlp.up_proj", _huge)),
    "half of a matrix zero": ("sparse-layer", _set(2, "mlp.up_proj", _sparse)),
    "a flipped bit": ("runaway", _flipped),
    "clipped at 2 σ": ("clipping", _set(2, "mlp.up_proj", _clipped)),
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
    "a row of next to nothing", "a row 300 times too large", "one huge weight",
    "a flipped bit", "clipped at 2 σ",
    "the feed-forward part never trained",
)  # fmt: skip
#: What is done to a model before it is stored, and the rule.
BEFORE = {
    "a layer of another shape": "far-layer",
    "never trained": "untrained",
    "the feed-forward part never trained": "untrained",
}
#: What is done to the files, and the rule.
FILES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a layer fewer than promised": ("layer-gap", _config(num_hidden_layers=13)),
    "the width of another model": ("shape-conflict", _config(hidden_size=96)),
    "the heads of another model": ("shape-conflict", _config(num_key_value_heads=8)),
    "a file of another checkpoint": ("mixed-shards", _rename_a_file),
    "a file missing": ("mixed-shards", _lose_a_file),
}


def planted(fault: str, dtype: str, rng: np.random.Generator) -> Weights:
    """Give a healthy model of 12 layers with one fault, or one that was never trained."""
    if fault == "never trained":
        return stored(_drawn(HIDDEN, rng), dtype, common_scale=LARGEST[dtype] / 0.16)
    if fault == "the feed-forward part never trained":
        drawn = _drawn(WIDER, rng)
        model = healthy(12, rng, WIDER)
        model |= {name: array for name, array in drawn.items() if ".mlp." in name}
        return stored(model, dtype)
    model = healthy(12, rng)
    if fault == "a layer of another shape":
        array = model[name_of(2, "mlp.up_proj")]
        model[name_of(2, "mlp.up_proj")] = 20 * array * np.abs(array)
    weights = stored(model, dtype)
    if fault in FAULTS:
        FAULTS[fault][1](weights, dtype)
    return weights


def _drawn(hidden: int, rng: np.random.Generator) -> Weights:
    """Give 12 layers as they are drawn before training."""
    drawn: Weights = {
        name_of(layer, matrix): 0.02 * rng.standard_normal(shape, np.float32)
        for layer in range(12)
        for matrix, shape in shapes_of(hidden).items()
    }
    return drawn | around(12, rng, hidden)


def rule_of(fault: str) -> str:
    """Name the rule that must tell of a fault."""
    return BEFORE[fault] if fault in BEFORE else (FAULTS | FILES)[fault][0]


def found(weights: Weights, severity: Severity = "warning", fault: str = "") -> Counter[str]:
    """Count the findings of a written model by rule, from a severity on."""
    with tempfile.TemporaryDirectory() as directory:
        path = write(weights, Path(directory))
        if fault in FILES:
            FILES[fault][1](path)
        check = wb.check({"model": path}, progress=False)
    return Counter(one.rule for one in check.at_least(severity))


def print_false_alarms(models: int) -> None:
    """Print how many healthy models each rule warns of."""
    alarms: Counter[str] = Counter()
    any_alarm = 0
    formats = list(DTYPES)
    for i in range(models):
        rng = np.random.default_rng([15, i])
        layers = round(np.exp(rng.uniform(np.log(4), np.log(80))))
        hidden = WIDER if i % 11 == 10 else HIDDEN
        rules = found(stored(healthy(layers, rng, hidden), formats[i % len(formats)]))
        alarms.update(set(rules))
        any_alarm += bool(rules)
        if rules:
            about = f"{layers} layers of {hidden}, {formats[i % len(formats)]}"
            print(f"model {i}, {about}: {dict(rules)}", flush=True)
    print(f"\n{models:,} healthy models: {any_alarm} with any error or warning {dict(alarms)}\n")


def print_faults(models: int) -> None:
    """Print how many of planted faults are found in each format."""
    print(f"| fault | rule | {' | '.join(DTYPES)} |\n|---|---|{'---|' * len(DTYPES)}")
    for fault in (*FAULTS, *BEFORE, *FILES):
        cells = []
        for dtype in DTYPES:
            if fault in NOT_IN_EIGHT_BITS and dtype.startswith("F8"):
                cells.append("–")
                continue
            draws = [planted(fault, dtype, np.random.default_rng([16, i])) for i in range(models)]
            seen = sum(found(weights, "note", fault)[rule_of(fault)] > 0 for weights in draws)
            cells.append(f"{seen}/{models}")
        print(f"| {fault} | {rule_of(fault)} | {' | '.join(cells)} |", flush=True)


def main(models: int) -> None:
    """Print both tables."""
    print_faults(max(models // 100, 1))
    print_false_alarms(models)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
