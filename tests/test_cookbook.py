"""Every recipe of the cookbook runs as it stands, on small models."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.cli import main

pytest.importorskip("vl_convert")
torch = pytest.importorskip("torch")

from safetensors.numpy import save_file

PAGE = Path(__file__).parents[1] / "docs" / "cookbook.md"
SECTIONS = dict(
    re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
)
COMMAND = re.compile(r"^(?:\s*- run: )?(weibnb .+)$", re.MULTILINE)


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)


class Tiny(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A model with the names of a Llama, and what PEFT adds to one."""

    def __init__(self) -> None:
        super().__init__()
        layer = torch.nn.ModuleDict({"mlp": torch.nn.ModuleDict()})
        layer["mlp"]["up_proj"] = torch.nn.Linear(64, 96, bias=False)
        self.layers = torch.nn.ModuleList([layer])

    def merge_and_unload(self) -> Tiny:
        return self


def write_adapter(directory: Path) -> None:
    """Write factors of rank 4 for a query matrix, as PEFT does."""
    directory.mkdir()
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(settings))
    stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
    rng = np.random.default_rng(0)
    shapes = {f"{stem}A.weight": (4, 128), f"{stem}B.weight": (128, 4)}
    factors = {name: rng.normal(size=shape).astype("f4") for name, shape in shapes.items()}
    save_file(factors, directory / "adapter_model.safetensors")


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give what a reader has: checkpoints in the working directory, and a few names."""
    monkeypatch.chdir(tmp_path)
    last = wb.demo_checkpoints() / "step7000"
    for name in ("checkpoint", "base"):
        shutil.copytree(last, tmp_path / name)
    shutil.copytree(wb.demo_checkpoints() / "step2000", tmp_path / "tuned")
    rng = np.random.default_rng(0)
    (tmp_path / "mine").mkdir()
    shapes = {"attn.q_proj": (32, 32), "ffn.w_in": (64, 32), "ffn.w_out": (32, 64)}
    own = {f"blocks.{layer}.{name}.weight": rng.normal(size=shape).astype(np.float32)
           for layer in range(2) for name, shape in shapes.items()}  # fmt: skip
    save_file(own, tmp_path / "mine" / "model.safetensors")
    write_adapter(tmp_path / "adapter")
    return {"wb": wb, "model": Tiny()}


def run(section: str, names: dict[str, Any]) -> SimpleNamespace:
    for text in blocks(section, "python"):
        exec(compile(text, section, "exec"), names)  # noqa: S102  (our own page)
    return SimpleNamespace(**names)


def test_every_section_is_tried_here() -> None:
    tried = set(re.findall(r'run\("(.+?)"', Path(__file__).read_text()))
    assert set(SECTIONS) == tried


def test_trainer(reader: dict[str, Any]) -> None:
    pytest.importorskip("transformers", reason="the recipe is for its Trainer")
    pytest.importorskip("accelerate", reason="a Trainer needs accelerate")
    from transformers import Trainer

    from tests.integrations.tiny import arguments, llama, rows

    reader |= {"model": llama(), "args": arguments(Path("out"), max_steps=3), "data": rows()}
    left = run("Watch a run of the Trainer", reader | {"Trainer": Trainer})
    assert left.run.step.values.tolist() == [0, 1, 2]
    assert left.run.k.notnull().all()


def test_ci(reader: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    commands = COMMAND.findall(SECTIONS["Check a checkpoint in CI"])
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0
    assert run("Check a checkpoint in CI", reader).found.ok
    capsys.readouterr()


def test_lora(reader: dict[str, Any]) -> None:
    left = run("LoRA", reader)
    assert left.fits.model.values.tolist() == ["base", "tuned"]


def test_two_models(reader: dict[str, Any]) -> None:
    left = run("Compare two models", reader)
    assert left.change.loc[(0, "o_proj")].item() == pytest.approx(1.111 - 1.007, abs=1e-3)
    assert left.z.sel(layer=0, component="o_proj").item() > 4


@pytest.mark.skipif(not hasattr(wb, "Adapter"), reason="this version reads no adapters")
def test_lora_from_its_directory(reader: dict[str, Any]) -> None:
    fits = run("LoRA, from the adapter's directory", reader).fits
    lam = fits.lam.isel(step=0)
    change = abs(lam.sel(model="tuned") - lam.sel(model="base")).to_series()
    assert change[change > 0].index.tolist() == [(0, "q_proj")]


@pytest.mark.skipif(not hasattr(wb, "diff"), reason="this version has no diff")
def test_what_changed(reader: dict[str, Any]) -> None:
    table = run("What changed, weight by weight", reader).found.table
    assert table["relative"].is_monotonic_decreasing
    assert (table["changed"] > 0).all()


@pytest.mark.skipif(not hasattr(wb, "quantisation"), reason="this version plans no quantisation")
def test_quantisation(reader: dict[str, Any]) -> None:
    table = run("Plan a quantisation", reader).planned.table
    assert len(table) == 21
    assert (table["int8"] > table["int4"]).all()


@pytest.mark.skipif(
    "names" not in inspect.signature(wb.scan).parameters, reason="this version takes no names"
)
def test_own_names(reader: dict[str, Any]) -> None:
    fits = run("Names of your own", reader).fits
    assert fits.component.values.tolist() == ["q_proj", "up_proj", "down_proj"]
    assert fits.k.notnull().all()


def test_renamed(reader: dict[str, Any]) -> None:
    fits = run("Rename on the way in", reader).fits
    assert fits.component.values.tolist() == ["q_proj", "up_proj", "down_proj"]
    assert fits.sizes["layer"] == 2
    assert "unrecognised" not in set(wb.not_fitted(fits)["reason"])


def test_figure(reader: dict[str, Any], tmp_path: Path) -> None:
    left = run("A figure for a paper", reader)
    written = {path.suffix: path.read_bytes()[:300] for path in tmp_path.glob("k_by_depth.*")}
    assert written[".pdf"].startswith(b"%PDF")
    assert written[".png"].startswith(b"\x89PNG")
    assert b"<svg" in written[".svg"]
    assert len(left.table) == 105
