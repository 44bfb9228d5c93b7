"""Adapters on their base, held against what PEFT 0.21 merged (scripts/make_adapters.py)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import weibnb as wb
from weibnb.io.adapters import AdapterWarning, is_adapter

HERE = Path(__file__).parent / "peft"
KINDS = sorted(path.name for path in HERE.iterdir())
INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16, torch.float16: torch.int16}


def steps_apart(ours: torch.Tensor, theirs: torch.Tensor) -> int:
    """Largest distance in representable numbers."""
    kind = INTEGERS[theirs.dtype]
    a, b = (
        torch.where(bits < 0, torch.iinfo(kind).min - bits, bits).long()
        for bits in (ours.contiguous().view(kind), theirs.contiguous().view(kind))
    )
    return int((a - b).abs().max())


def read(source: Any) -> dict[str, torch.Tensor]:
    with wb.open_checkpoint(source) as opened:
        kinds = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
        return {
            name: torch.from_numpy(opened.raw(name).copy().view("u1"))
            .view(kinds[info.dtype])
            .reshape(info.shape)
            for name, info in opened.tensors.items()
        }


def copy(kind: str, place: Path, **changed: Any) -> Path:
    """Copy an adapter, with other settings; None takes one away."""
    target = place / "adapter"
    shutil.copytree(HERE / kind, target, ignore=shutil.ignore_patterns("base*", "merged*"))
    config = json.loads((target / "adapter_config.json").read_text()) | changed
    kept = {name: value for name, value in config.items() if value is not None}
    (target / "adapter_config.json").write_text(json.dumps(kept))
    return target


@pytest.mark.parametrize("kind", KINDS)
def test_merged_as_peft_does(kind: str, tmp_path: Path) -> None:
    base = HERE / kind / "base.safetensors"
    ours, before = read(wb.Adapter(copy(kind, tmp_path), base)), load_file(base)
    theirs = load_file(HERE / kind / "merged.safetensors")
    assert ours.keys() == theirs.keys()
    changed = 0
    for name, tensor in theirs.items():
        # a sum of products in another order differs by parts of the largest summand
        close = torch.isclose(ours[name].float(), tensor.float(), rtol=1e-6, atol=1e-6)
        assert bool(close.all()) or steps_apart(ours[name], tensor) <= 1, name
        changed += not torch.equal(tensor, before[name])
        if torch.equal(tensor, before[name]):
            assert torch.equal(ours[name], tensor), name
    assert changed


@pytest.mark.parametrize("kind", ["plain", "conv1d"])
def test_a_live_base_is_one_in_files(kind: str, tmp_path: Path) -> None:
    adapter, base = copy(kind, tmp_path), HERE / kind / "base.safetensors"
    state = load_file(base)
    ours, live = read(wb.Adapter(adapter, base)), read(wb.Adapter(adapter, state))
    assert all(torch.equal(ours[name], live[name]) for name in ours)
    with wb.open_checkpoint(wb.Adapter(adapter, state)) as opened:
        changed = [name for name in state if not torch.equal(ours[name], state[name])]
        assert changed
        assert all(opened.tensor(name) is None for name in changed)


def test_a_square_matrix_goes_by_the_configuration(tmp_path: Path) -> None:
    """Of square weights no shape tells which side is which."""
    base = HERE / "conv1d" / "base.safetensors"
    name = next(n for n in load_file(base) if n.endswith("h.0.attn.c_proj.weight"))
    right = read(wb.Adapter(copy("conv1d", tmp_path / "a"), base))[name]
    wrong = read(wb.Adapter(copy("conv1d", tmp_path / "b", fan_in_fan_out=False), base))[name]
    delta = right - load_file(base)[name]
    torch.testing.assert_close(wrong - load_file(base)[name], delta.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"peft_type": "LOHA"}, "peft_type is LOHA, not LORA"),
        ({"peft_type": None}, "not LORA"),
        ({"use_dora": True}, "sets `use_dora`"),
        ({"use_qalora": True}, "sets `use_qalora`"),
        ({"layer_replication": [[0, 2]]}, "sets `layer_replication`"),
        ({"target_parameters": ["experts"]}, "sets `target_parameters`"),
        ({"something_new": 1}, "sets `something_new`"),
        ({"init_lora_weights": "pissa"}, "changes the base weights"),
        ({"init_lora_weights": "olora"}, "changes the base weights"),
        ({"lora_alpha": "8"}, "`lora_alpha` must be a number above 0"),
        ({"lora_alpha": 0}, "`lora_alpha` must be a number above 0"),
        ({"r": True}, "`r` must be a number above 0"),
        ({"r": 5}, "rank 4, adapter_config.json says 5"),
        ({"alpha_pattern": {"(a+)+b": 3}}, "take for ever"),
        ({"alpha_pattern": {"(": 3}}, "no regular expression"),
        ({"alpha_pattern": [1]}, "must map modules to numbers"),
        ({"rank_pattern": {"q_proj": -1}}, "must be a number above 0"),
    ],
)
def test_other_kinds_are_refused_with_a_next_step(
    tmp_path: Path, changed: dict[str, Any], told: str
) -> None:
    adapter = copy("plain", tmp_path, **changed)
    with pytest.raises(wb.CheckpointError, match=told) as caught:
        wb.open_checkpoint(wb.Adapter(adapter, HERE / "plain" / "base.safetensors"))
    assert caught.value.next_step


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva", "orthogonal"])
def test_starts_that_leave_the_base_alone(tmp_path: Path, start: Any) -> None:
    adapter = copy("plain", tmp_path, init_lora_weights=start)
    assert read(wb.Adapter(adapter, HERE / "plain" / "base.safetensors"))


Q = "base_model.model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("name", "tensor", "told"),
    [
        (f"{Q}.lora_magnitude_vector.weight", torch.ones(16), "no factor that is merged here"),
        ("base_model.model.other.lora_A.weight", torch.ones(4, 16), "no weight of `other`"),
        (f"{Q}.lora_A.weight", torch.ones(4, 15), "do not make"),
        (f"{Q}.lora_A.weight", torch.ones(3, 16), "do not make"),
        (f"{Q}.lora_A.weight", torch.ones(4, 16, 1), "is no matrix"),
        (f"{Q}.lora_A.weight", torch.ones(4, 16, dtype=torch.int8), "its factors as I8"),
        (f"{Q}.lora_A.weight", None, "not one factor A and one factor B"),
        (f"base_model.model.{'m' * 201}.lora_A.weight", torch.ones(4, 16), "longer than 200"),
    ],
)
def test_factors_that_do_not_fit(tmp_path: Path, name: str, tensor: Any, told: str) -> None:
    adapter = copy("plain", tmp_path)
    file = adapter / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(name, None)
    save_file(tensors | ({} if tensor is None else {name: tensor}), file)
    with pytest.raises(wb.CheckpointError, match=told) as caught:
        wb.open_checkpoint(wb.Adapter(adapter, HERE / "plain" / "base.safetensors"))
    assert caught.value.next_step


def test_an_eight_bit_base_is_not_merged(tmp_path: Path) -> None:
    base = load_file(HERE / "plain" / "base.safetensors")
    base = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in base.items()}
    with pytest.raises(wb.CheckpointError, match="stored as F8_E4M3"):
        wb.open_checkpoint(wb.Adapter(copy("plain", tmp_path), base))


def test_names_of_the_base_may_begin_otherwise(tmp_path: Path) -> None:
    adapter, base = copy("plain", tmp_path), load_file(HERE / "plain" / "base.safetensors")
    right = read(wb.Adapter(adapter, base))
    for old, new in (("model.", ""), ("model.", "language_model.model.")):
        other = {name.replace(old, new, 1): tensor for name, tensor in base.items()}
        found = read(wb.Adapter(adapter, other))
        assert all(torch.equal(found[n.replace(old, new, 1)], right[n]) for n in base)
    two = {f"{tower}.{name}": tensor for name, tensor in base.items() for tower in "ab"}
    with pytest.raises(wb.CheckpointError, match="may be meant"):
        wb.open_checkpoint(wb.Adapter(adapter, two))


def test_rounding_of_what_is_not_finite(tmp_path: Path) -> None:
    base = load_file(HERE / "rslora-bf16" / "base.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    base[name][0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    found = read(wb.Adapter(copy("rslora-bf16", tmp_path), base))[name][0, :3]
    assert found[0].isnan()
    assert found[1:].tolist() == [float("inf"), -float("inf")]


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    adapter = copy("plain", tmp_path)
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(wb.CheckpointError, match="pickle"):
        wb.open_checkpoint(wb.Adapter(adapter, HERE / "plain" / "base.safetensors"))


def test_what_is_an_adapter(tmp_path: Path) -> None:
    adapter = copy("plain", tmp_path)
    assert is_adapter(adapter)
    shutil.copy(HERE / "plain" / "base.safetensors", adapter / "model.safetensors")
    assert not is_adapter(adapter)
    assert not is_adapter(tmp_path)
    for path in (adapter, tmp_path, tmp_path / "no"):
        with pytest.raises(wb.CheckpointError, match="no adapter"):
            wb.open_checkpoint(wb.Adapter(path, HERE / "plain" / "base.safetensors"))
    with pytest.raises(TypeError, match="`path` must be"):
        wb.Adapter(3, adapter)


def test_the_identity_is_of_base_and_adapter(tmp_path: Path) -> None:
    base = tmp_path / "base.safetensors"
    shutil.copy(HERE / "plain" / "base.safetensors", base)
    one, other = copy("plain", tmp_path / "a"), copy("plain", tmp_path / "b")
    tensors = load_file(other / "adapter_model.safetensors")
    save_file({name: t + 1 for name, t in tensors.items()}, other / "adapter_model.safetensors")

    def prints(source: Any) -> str:
        with wb.open_checkpoint(source) as opened:
            assert opened.identity
            return opened.fingerprint

    found = {prints(base), prints(wb.Adapter(one, base)), prints(wb.Adapter(other, base))}
    assert len(found) == 3
    assert prints(wb.Adapter(one, base)) in found


def test_scan_of_base_and_change_is_that_of_the_merged(tmp_path: Path) -> None:
    kind = "rslora-bf16"
    adapter, base = copy(kind, tmp_path / "tuned"), HERE / kind / "base.safetensors"
    fits = wb.scan(adapter, base=base)
    direct = wb.scan({"tuned": HERE / kind / "merged.safetensors"})
    assert fits["model"].values.tolist() == ["tuned"]
    np.testing.assert_allclose(fits["rms"].values, direct["rms"].values, rtol=1e-3)
    np.testing.assert_allclose(fits["k"].values, direct["k"].values, rtol=1e-2)
    both = wb.scan([base, adapter], base=base)
    assert both["model"].values.tolist() == ["base", "tuned"]
    found = wb.find_outliers(fits, source=wb.Adapter(adapter, base), factor=0, top=1)
    assert found["magnitude"].max() == fits["max_abs"].max()
    checked = wb.check(adapter, base=base, select=["comb", "outliers", "mixed-shards"])
    assert checked.ok
    assert not checked.not_looked_at  # all three read weights or files again


def test_an_adapter_alone_says_what_to_do(tmp_path: Path) -> None:
    adapter = copy("plain", tmp_path, base_model_name_or_path="org/model")
    with pytest.raises(wb.CheckpointError, match=r"an adapter of org/model, not a .*base=folder"):
        wb.scan(adapter)
    fits = wb.scan(adapter, base=HERE / "plain" / "base.safetensors")
    with pytest.raises(wb.CheckpointError, match=r"source=weibnb\.Adapter"):
        wb.find_outliers(fits, factor=0)
    with pytest.raises(ValueError, match="`base` must come with an adapter"):
        wb.scan(HERE / "plain" / "base.safetensors", base=adapter)


class Projection(torch.nn.Module):
    """A layer of PEFT around a projection."""

    def __init__(self, *, merged: bool) -> None:
        super().__init__()
        self.base_layer = torch.nn.Linear(16, 16)
        self.merged = merged


class Tuned(torch.nn.Module):
    """What matters of a PeftModel: its configuration, and factors beside the base weights."""

    def __init__(self, *, merged: bool = False) -> None:
        super().__init__()
        self.peft_config = {"default": object()}
        self.layers = torch.nn.ModuleList([torch.nn.Module()])
        self.layers[0].q_proj = Projection(merged=merged)

    def named_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """Name the projection as a model does."""
        for name, tensor in super().named_parameters(*args, **kwargs):
            yield name.replace("q_proj", "self_attn.q_proj"), tensor


def test_a_live_model_with_an_adapter_warns_that_its_base_is_shown() -> None:
    with pytest.warns(AdapterWarning, match=r"base weights are shown, without `default`.*merge_a"):
        fits = wb.scan(Tuned())
    assert "merge_and_unload" in wb.not_fitted(fits)["reason"].str.cat()
    with wb.Recorder(Tuned()) as recorder:
        with pytest.warns(AdapterWarning, match="base weights are shown"):
            recorder.record(0)
        recorder.record(1)
    wb.scan(Tuned(merged=True))


def test_an_adapter_on_a_base_with_an_adapter_is_refused(tmp_path: Path) -> None:
    base = load_file(HERE / "plain" / "base.safetensors")
    base["model.layers.0.self_attn.q_proj.lora_A.weight"] = torch.ones(4, 16)
    with pytest.raises(wb.CheckpointError, match="an adapter of its own"):
        wb.open_checkpoint(wb.Adapter(copy("plain", tmp_path), base))


def test_factors_in_a_file_beside_the_weights_warn(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.q_proj"
    tensors = {f"{name}.base_layer.weight": torch.randn(16, 16)}
    tensors |= {f"{name}.lora_{side}.weight": torch.randn(4, 4) for side in "AB"}
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.warns(AdapterWarning, match="base weights are shown without them"):
        wb.scan(tmp_path)
