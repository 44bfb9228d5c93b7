"""Scans: sources, cells, statistics, experts, interruption, progress; and refits from counts."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from torch import nn

import weibnb as wb
from tests.scanning.helpers import (
    HIDDEN,
    SHAPES,
    WIDE,
    Q,
    llama,
    moe,
    normal,
    only,
    same_estimates,
    write,
)
from weibnb.counting.counts import Counts
from weibnb.counting.cpu import PendingOnThreads

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

collect = PendingOnThreads.result
ORDER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def write_shards(directory: Path, parts: list[Weights], *, index: bool) -> Path:
    directory.mkdir()
    names = [f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        save_file(part, directory / name)
    if index:
        places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        text = json.dumps({"metadata": {}, "weight_map": places})
        (directory / "model.safetensors.index.json").write_text(text)
    return directory


@pytest.mark.parametrize("kind", ["file", "directory", "index", "no index"])
def test_a_checkpoint_on_disk_is_one_model(tmp_path: Path, kind: str) -> None:
    weights = llama(12)
    names = sorted(weights, reverse=True)
    parts = [{name: weights[name] for name in names[i::3]} for i in range(3)]
    if kind in ("file", "directory"):
        path = write(tmp_path / "tiny", weights)
        path = path / "model.safetensors" if kind == "file" else path
    else:
        path = write_shards(tmp_path / "tiny", parts, index=kind == "index")
    fits = wb.scan(path)
    assert fits["k"].dims == ("model", "layer", "component", "step")
    assert fits["model"].values.tolist() == ["tiny"]
    assert fits["layer"].values.tolist() == list(range(12))
    assert fits["component"].values.tolist() == ORDER
    assert fits["step"].values.tolist() == [0]
    assert (fits["status"] == "ok").all()
    assert fits["source"].item() == str(path)
    same_estimates(fits, wb.scan({"tiny": weights}))


def test_several_models_keep_their_order_and_share_a_grid(tmp_path: Path) -> None:
    folder, file = write(tmp_path / "x", llama(2)), write(tmp_path / "y", llama(3, seed=7))
    fits = wb.scan({"b": folder, "a": file / "model.safetensors"})
    assert fits["model"].values.tolist() == ["b", "a"]
    assert fits["layer"].values.tolist() == [0, 1, 2]
    assert (fits["status"].sel(model="b", layer=2) == "absent").all()
    assert fits["k"].sel(model="b", layer=2).isnull().all()
    gaps = fits["counts"].sel(model="b", layer=2).values.ravel().tolist()
    assert gaps == [Counts()] * len(SHAPES)
    same_estimates(fits.sel(model=["a"]), wb.scan({"a": llama(3, seed=7)}))


def test_run_given_as_a_mapping(tmp_path: Path) -> None:
    late = write(tmp_path / "late", llama(1, seed=1))
    fits = wb.scan({"run": {np.int64(1000): late, 0: llama(1)}})
    assert fits["step"].values.tolist() == [0, 1000]
    same_estimates(fits.sel(step=[1000]), wb.scan({"run": {1000: llama(1, seed=1)}}))


def test_run_directory(tmp_path: Path) -> None:
    for i, name in enumerate(["global_step3000", "step0", "checkpoint-2000", "step-1000"]):
        write(tmp_path / "run" / name, llama(1, seed=i))
    (tmp_path / "run" / "logs").mkdir()
    fits = wb.scan(tmp_path / "run")
    assert fits["model"].values.tolist() == ["run"]
    assert fits["step"].values.tolist() == [0, 1000, 2000, 3000]
    same_estimates(fits.sel(step=[3000]), wb.scan({"run": {3000: llama(1)}}))
    assert fits["source"].sel(step=2000).item() == str(tmp_path / "run" / "checkpoint-2000")
    assert len(set(fits["fingerprint"].values.ravel())) == 4


def test_final_weights_beside_the_steps_are_not_dropped_silently(tmp_path: Path) -> None:
    run = write(tmp_path / "run", llama(1))
    write(run / "checkpoint-500", llama(1, seed=1))
    fits = wb.scan(run)
    listed = wb.not_fitted(fits)
    reasons = " ".join(listed["reason"])
    assert fits.sizes["step"] == 2 or "model.safetensors" in reasons


def test_step_in_the_name_of_one_checkpoint(tmp_path: Path) -> None:
    assert wb.scan(write(tmp_path / "checkpoint-0250", llama(1)))["step"].item() == 250
    assert wb.scan(write(tmp_path / "step0", llama(1)))["step"].item() == 0


def test_hub_cache_gives_the_name_of_the_repository(tmp_path: Path) -> None:
    path = tmp_path / "models--org--name" / "snapshots" / "0a1b"
    assert wb.scan(write(path, llama(1)))["model"].item() == "org/name"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(HIDDEN, HIDDEN, bias=False) for name in ("q_proj", "o_proj")}
        )
        self.mlp = nn.ModuleDict({"up_proj": nn.Linear(HIDDEN, WIDE)})


class Config:
    def to_dict(self) -> dict[str, Any]:
        return {"model_type": "tiny", "num_attention_heads": 6}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([Block(), Block()])})
        self.config = Config()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_module_state_dict_and_file_agree(tmp_path: Path, dtype: torch.dtype) -> None:
    module = Decoder().to(dtype)
    save_torch(module.state_dict(), tmp_path / "module.safetensors")
    from_file = wb.scan(tmp_path / "module.safetensors")
    from_module, from_state = wb.scan(module), wb.scan({"module": module.state_dict()})
    assert from_module["model"].item() == "Decoder"
    assert from_module["n_heads"].item() == 6
    assert from_module["model_type"].item() == "tiny"
    assert from_file["component"].values.tolist() == ["q_proj", "o_proj", "up_proj"]
    for fits in (from_module, from_state, wb.scan(module.state_dict())):
        same_estimates(fits, from_file)
        np.testing.assert_array_equal(fits["counts"], from_file["counts"])
    weight = module.state_dict()["model.layers.1.mlp.up_proj.weight"]
    direct = wb.fit_weibull(weight)
    assert only(from_module, "k", layer=1, component="up_proj") == direct.k
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_meta_module_is_unreadable_beside_others() -> None:
    with torch.device("meta"):
        module = Decoder()
    fits = wb.scan({"meta": module, "real": llama(1)})
    assert (fits["status"].sel(model="meta", layer=1, component="q_proj") == "unreadable").all()
    assert fits["k"].sel(model="meta").isnull().all()
    assert (fits["status"].sel(model="real", layer=0) == "ok").all()
    listed = wb.not_fitted(fits)
    assert (listed["reason"] == "unreadable").sum() == 6


def test_meta_module_alone() -> None:
    with torch.device("meta"):
        fits = wb.scan(Decoder())
    assert (fits["status"] == "unreadable").all()
    assert fits["k"].isnull().all()


def test_without_counts() -> None:
    fits = wb.scan({"tiny": llama(1)}, keep_counts=False)
    assert "counts" not in fits
    same_estimates(fits, wb.scan({"tiny": llama(1)}))
    with pytest.raises(ValueError, match="keep_counts=True"):
        wb.refit(fits)


def test_workers_do_not_change_results(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny", llama(2) | moe(3))
    one, two = wb.scan(path, workers=1), wb.scan(path, workers=2)
    one.attrs["created"] = two.attrs["created"]
    xr.testing.assert_identical(one, two)


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pending: Any) -> Any:
        time.sleep(0.25)
        return collect(pending)

    monkeypatch.setattr(PendingOnThreads, "result", slow)
    weights = {Q.format(layer): normal(30, 30) for layer in range(4)}
    wb.scan({"tiny": weights}, progress=True)
    shown = capsys.readouterr()
    assert "tiny" in shown.err
    assert Q.format(3) in shown.err
    assert "%" in shown.err
    assert shown.out == ""
    wb.scan({"tiny": weights}, progress=False)
    assert capsys.readouterr() == ("", "")


def test_quick_work_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    wb.scan({"tiny": {Q.format(0): normal(30, 30)}}, progress=True)
    assert "%" not in capsys.readouterr().err


def test_interrupt_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def stop(pending: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return collect(pending)

    monkeypatch.setattr(PendingOnThreads, "result", stop)
    weights = llama(2)
    with pytest.raises(wb.ScanInterrupted, match="3 matrices") as caught:
        wb.scan({"tiny": weights})
    assert isinstance(caught.value, KeyboardInterrupt)
    fits = caught.value.fits
    assert fits is not None
    done = fits["status"].values == "ok"
    assert done.sum() == 3
    name = str(fits["parameter"].values[done][0])
    assert fits["k"].values[done][0] == wb.fit_weibull(weights[name]).k
    calls[:] = [1, 1, 1]
    with pytest.raises(wb.ScanInterrupted) as nothing:
        wb.scan({"tiny": weights})
    assert nothing.value.fits is None
