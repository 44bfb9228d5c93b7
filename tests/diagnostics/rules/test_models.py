"""What belongs together: layers, shapes, files, formats, adapters, pieces left out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from tests.diagnostics.rules.models import MATRICES, experts, look, looked, model, name_of, places
from weibnb.io.adapters import AdapterWarning

if TYPE_CHECKING:
    from pathlib import Path

BLANK = np.ones((64, 64), np.float32)


def written(directory: Path, weights: Any, config: dict[str, Any] | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(config or {}))
    return directory


def without(weights: Any, *layers: int) -> Any:
    return {n: a for n, a in weights.items() if int(n.split(".")[2]) not in layers}


@pytest.mark.parametrize("lost", [(1,), (0,), (2, 3), (0, 3)])
def test_a_gap_in_the_layers(lost: tuple[int, ...]) -> None:
    assert look(model(6), "layer-gap") == ()
    (finding,) = look({"m": without(model(6), *lost)}, "layer-gap")
    assert (finding.severity, finding.value) == ("error", len(lost))
    assert [cell.layer for cell in finding.cells] == list(lost)


def test_layers_that_config_json_counts(tmp_path: Path) -> None:
    weights = model(4)
    whole = written(tmp_path / "a", weights, {"num_hidden_layers": 4})
    assert look(whole, "layer-gap") == ()
    (finding,) = look(written(tmp_path / "b", weights, {"num_hidden_layers": 6}), "layer-gap")
    assert finding.text == "layer 4-5 are not there."
    extra = written(tmp_path / "c", weights, {"num_hidden_layers": 3})  # with a draft layer
    assert look(extra, "layer-gap") == ()


def test_layers_of_another_kind_are_no_gap() -> None:
    """Of a hybrid the other layers hold matrices that no rule knows; a norm is none."""
    weights = without(model(6), 2)
    gap = {"m": weights | {"model.layers.2.input_layernorm.weight": np.ones(64, np.float32)}}
    assert len(look(gap, "layer-gap")) == 1
    hybrid = {"m": weights | {"model.layers.2.mamba.in_proj.weight": BLANK}}
    assert look(hybrid, "layer-gap") == ()
    convolution = {"m": weights | {"model.layers.2.conv.in_proj.weight": BLANK}}
    assert look(convolution, "layer-gap") == ()


def test_one_layer_alone_is_no_gap_and_towers_count_for_themselves() -> None:
    assert look({"m": {name_of(7): BLANK}}, "layer-gap") == ()
    towers = {f"encoder.{n}": a for n, a in model(2).items()}
    towers |= {f"decoder.{n}": a for n, a in model(5).items()}
    assert look({"m": towers}, "layer-gap") == ()


def test_an_absurd_number_of_layers_costs_nothing() -> None:
    assert look({"m": {name_of(0): BLANK, name_of(10**8): BLANK}}, "layer-gap") == ()


@pytest.mark.parametrize("matrix", MATRICES)
def test_a_missing_matrix(matrix: str) -> None:
    weights = model()
    assert look(weights, "missing-tensors") == ()
    del weights[name_of(2, matrix)]
    found = look(weights, "missing-tensors")
    assert places(found) == [(2, matrix.rpartition(".")[2], -1)]


def test_layers_that_lack_a_whole_block_are_no_fault() -> None:
    weights = model()
    for matrix in MATRICES[:2]:
        del weights[name_of(2, matrix)]
    assert look(weights, "missing-tensors") == ()
    weights = model()
    del weights[name_of(1, "mlp.up_proj")]
    weights[name_of(1, "mlp.gate_up_proj")] = np.ones((128, 64), np.float32)
    assert look(weights, "missing-tensors") == ()


@pytest.mark.parametrize(("layer", "number"), [(3, 0), (2, 1)])
def test_the_last_layer_of_a_diffusion_transformer_only_reads_the_text(
    layer: int, number: int
) -> None:
    leaves = ("to_q", "to_out.0", "add_q_proj", "add_k_proj", "to_add_out")
    weights = {
        f"transformer_blocks.{n}.attn.{leaf}.weight": BLANK * (1 + n)
        for n in range(4)
        for leaf in leaves
    }
    del weights[f"transformer_blocks.{layer}.attn.to_add_out.weight"]
    assert len(look({"m": weights}, "missing-tensors")) == number


def test_shapes_of_a_layer() -> None:
    weights = model()
    assert look(weights, "shape-conflict") == ()
    weights[name_of(2)] = weights[name_of(2)][:32].copy()
    (finding,) = look(weights, "shape-conflict")
    assert finding.text == "up_proj of 32 × 64 beside down_proj of 64 × 64 cannot be joined."
    for layer in range(4):  # what most layers do is the architecture
        weights[name_of(layer)] = weights[name_of(layer)][:32].copy()
    assert look(weights, "shape-conflict") == ()


def test_feed_forwards_of_every_width_and_experts() -> None:
    weights = model()
    for layer in range(4):
        wide = 32 * (layer + 1)
        weights[name_of(layer)] = np.ones((wide, 64), np.float32)
        weights[name_of(layer, "mlp.down_proj")] = np.ones((64, wide), np.float32)
    assert look(weights, "shape-conflict") == ()
    assert look({"m": experts()}, "shape-conflict") == ()


def test_a_layer_of_another_width() -> None:
    weights = model(12)
    for matrix in MATRICES:
        weights[name_of(5, matrix)] = np.ones((48, 48), np.float32)
    found = look(weights, "shape-conflict")
    names = ("q_proj", "up_proj", "o_proj", "down_proj")
    assert places(found) == [(5, name, -1) for name in names]
    assert {(finding.value, finding.limit) for finding in found} == {(48, 64)}
    assert found[0].text == "it takes 48 features, the other layers take 64."
    assert found[2].text == "it gives 48 features, the other layers give 64."


@pytest.mark.parametrize("matrix", ["self_attn.o_proj", "mlp.down_proj"])
@pytest.mark.parametrize("damage", [lambda w: w.T.copy(), lambda w: w[:40].copy()])
def test_an_output_that_is_transposed_or_cut(matrix: str, damage: Any) -> None:
    weights = model(12)
    for layer in range(12):
        weights[name_of(layer)] = np.ones((160, 64), np.float32)
        for out, wide in (("self_attn.o_proj", 96), ("mlp.down_proj", 160)):
            weights[name_of(layer, out)] = np.ones((64, wide), np.float32)
    assert look(weights, "shape-conflict") == ()
    weights[name_of(7, matrix)] = damage(weights[name_of(7, matrix)])
    found = [f for f in look(weights, "shape-conflict") if "the other layers give 64" in f.text]
    assert places(tuple(found)) == [(7, matrix.split(".")[1], -1)]


@pytest.mark.parametrize(("hidden", "number"), [(64, 0), (96, 1)])
def test_the_width_of_config_json(tmp_path: Path, hidden: int, number: int) -> None:
    path = written(tmp_path / "m", model(), {"hidden_size": hidden})
    assert len(look(path, "shape-conflict")) == number


def test_heads_of_linear_attention_are_not_those_of_config_json(tmp_path: Path) -> None:
    weights = attention(heads=4, shared=4, size=16)
    config = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16}
    (finding,) = look(written(tmp_path / "m", weights, config), "shape-conflict")
    assert "4 heads of queries and 2 of keys" in finding.text
    strange = {
        f"model.layers.{layer}.self_attn.f_proj.weight": np.ones((8, 64), np.float32)
        for layer in range(2)
    }
    assert look(written(tmp_path / "n", weights | strange, config), "shape-conflict") == ()


def test_matrices_between_two_of_another_width(tmp_path: Path) -> None:
    """As of MobileBERT, whose layers are narrower than what is between them."""
    weights = model()
    (finding,) = look(written(tmp_path / "m", weights, {"hidden_size": 96}), "shape-conflict")
    assert finding.limit == 96
    for name, shape in (("model.layers.0.bottleneck.weight", (64, 96)), ("norm.weight", (96,))):
        more = weights | {name: np.ones(shape, np.float32)}
        path = written(tmp_path / name, more, {"hidden_size": 96})
        assert look(path, "shape-conflict") == ()
    biases = weights | {"model.layers.0.mlp.up_proj.bias": np.ones(96, np.float32)}
    assert look(written(tmp_path / "b", biases, {"hidden_size": 96}), "shape-conflict") != ()


def test_two_stacks_of_layers_are_counted_together(tmp_path: Path) -> None:
    weights = {
        f"model.{stack}.{name.removeprefix('model.')}": array
        for stack in ("slow", "fast")
        for name, array in model().items()
    }
    path = written(tmp_path / "m", weights, {"num_hidden_layers": 8})
    assert look(path, "layer-gap") == ()
    alone = {name: array for name, array in weights.items() if "slow" in name}
    (finding,) = look(written(tmp_path / "n", alone, {"num_hidden_layers": 8}), "layer-gap")
    assert finding.value == 4


def attention(*, heads: int, shared: int, size: int, gated: bool = False) -> Any:
    """A layer whose queries have so many heads of a size, and whose keys share so many."""
    rng = np.random.default_rng(1)
    shapes = {
        "self_attn.q_proj": (heads * size * (1 + gated), 64),
        "self_attn.k_proj": (shared * size, 64),
        "self_attn.v_proj": (shared * size, 64),
        "self_attn.o_proj": (64, heads * size),
        "mlp.gate_proj": (160, 64),
        "mlp.up_proj": (160, 64),
        "mlp.down_proj": (64, 160),
    }
    return {
        name_of(layer, name): rng.normal(size=shape).astype(np.float32)
        for layer in range(2)
        for name, shape in shapes.items()
    }


LLAMA = {
    "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 160,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({}, ""),
        ({"head_dim": None}, ""),
        ({"hidden_size": 160}, "hidden_size 160, which no matrix takes"),
        ({"num_key_value_heads": 4}, "4 heads of queries and 4 of keys"),
        ({"num_key_value_heads": 1}, "4 heads of queries and 1 of keys"),
        ({"num_attention_heads": 8}, "8 heads of queries and 2 of keys"),
        ({"intermediate_size": 320}, "intermediate_size 320"),
        ({"intermediate_size": 80}, "intermediate_size 80"),
        ({"intermediate_size": 128}, "intermediate_size 128"),
        ({"intermediate_size": 128, "num_experts": 4}, ""),  # experts may have a width of their own
    ],
)
def test_numbers_of_config_json(tmp_path: Path, changed: dict[str, Any], problem: str) -> None:
    config = {name: value for name, value in (LLAMA | changed).items() if value is not None}
    path = written(tmp_path / "m", attention(heads=4, shared=2, size=16), config)
    texts = [finding.text for finding in look(path, "shape-conflict")]
    assert len(texts) == bool(problem)
    assert all(problem in text for text in texts)


@pytest.mark.parametrize(("size", "problem"), [(16, False), (32, True)])
def test_queries_with_a_gate_have_twice_the_rows(tmp_path: Path, size: int, problem: bool) -> None:
    weights = attention(heads=4, shared=2, size=16, gated=True)
    path = written(tmp_path / "m", weights, LLAMA | {"head_dim": size})
    assert bool(look(path, "shape-conflict")) == problem


def test_saved_fits_know_the_heads(tmp_path: Path) -> None:
    weights = attention(heads=4, shared=2, size=16)
    for shared, found in ((1, 1), (2, 0), (4, 0)):  # 4: queries may have a gate
        config = LLAMA | {"num_key_value_heads": shared}
        fits = wb.scan(written(tmp_path / str(shared), weights, config), progress=False)
        assert len(look(fits, "shape-conflict")) == found


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["model-00001-of-00002", "model-00002-of-00002"], ""),
        (["model-00001-of-00002", "model-00002-of-00003"], "differently"),
        (["model-00001-of-00003", "model-00002-of-00003"], "2 files of 3"),
        (["model-00001-of-00002", "other"], "differently"),
        (["first", "second"], ""),
        (["model-00002-of-00002"], "1 file of 2"),
        (["model-00001-of-00001"], ""),
    ],
)
def test_files_that_count_themselves(tmp_path: Path, names: list[str], problem: str) -> None:
    weights = model()
    for i, name in enumerate(names):
        part = dict(list(weights.items())[i :: len(names)])
        save_file(part, tmp_path / f"{name}.safetensors")
    texts = [finding.text for finding in look(tmp_path, "mixed-shards")]
    assert len(texts) == bool(problem)
    assert all(problem in text for text in texts)


def test_one_file_of_several_may_be_chosen_and_is_said_to_be_one(tmp_path: Path) -> None:
    for number, unseen in ((2, ["one file of 2; check the directory"]), (1, [])):
        save_file(model(), file := tmp_path / f"model-00001-of-{number:05}.safetensors")
        check = looked({"m": file}, "mixed-shards")
        assert check.findings == ()
        assert [one.reason for one in check.not_looked_at] == unseen


def test_files_of_different_writers(tmp_path: Path) -> None:
    weights = list(model().items())
    first = {"format": "pt", "part": "a"}
    save_file(dict(weights[::2]), tmp_path / "0.safetensors", first)
    for other in ({"format": "np", "part": "b"}, {"format": "pt"}, None):
        save_file(dict(weights[1::2]), tmp_path / "1.safetensors", other)
        (finding,) = look(tmp_path, "mixed-shards")
        assert "different metadata" in finding.text
    save_file(dict(weights[1::2]), tmp_path / "1.safetensors", {"format": "pt", "part": "b"})
    assert look(tmp_path, "mixed-shards") == ()
    assert "the files" in looked(wb.scan(tmp_path), "mixed-shards").not_looked_at[0].reason


def test_formats_adapters_and_pieces() -> None:
    weights = model()
    for rule in ("mixed-formats", "adapters", "not-fitted"):
        assert look(weights, rule) == ()
    weights[name_of(1)] = weights[name_of(1)].astype(np.float16)
    (finding,) = look(weights, "mixed-formats")
    assert finding.text == "15 matrices in F32, 1 matrix in F16."
    weights["base_model.model.model.layers.0.mlp.up_proj.lora_A.default.weight"] = BLANK[:8]
    with pytest.warns(AdapterWarning, match="Low-rank factors"):
        (finding,) = look(weights, "adapters")
    assert "merge_and_unload" in finding.next_step
    weights["model.layers.0.strange.weight"] = BLANK
    weights[name_of(2)] = np.ones((64, 64), np.int8)
    with pytest.warns(AdapterWarning, match="Low-rank factors"):
        found = look(weights, "not-fitted")
    assert [finding.text for finding in found] == [
        "not fitted: quantized.",
        "1 tensor not fitted that may hold matrices.",
    ]
    assert all(finding.severity == "note" for finding in found)


def test_a_step_that_cannot_be_read(tmp_path: Path) -> None:
    for step in (1, 2):
        written(tmp_path / f"step{step}", model(seed=step))
    (tmp_path / "step2" / "model.safetensors").write_bytes(b"nothing")
    with pytest.warns(wb.io.files.UnreadableWarning):
        (finding,) = look(tmp_path, "unreadable")
    assert (finding.severity, finding.cells[0].step) == ("error", 2)
    with pytest.raises(wb.CheckpointError):
        wb.check(tmp_path / "step2")
