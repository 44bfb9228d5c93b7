"""``weibnb convert``, and ``scan --dequantise``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

import weibnb as wb
from weibnb.cli import main
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

NAME = "model.layers.0.self_attn.q_proj.weight"


def quantised(path: Path) -> Path:
    codes = np.random.default_rng(0).normal(0, 60, (64, 64)).astype(ml_dtypes.float8_e4m3fn)
    about = {NAME: ("F8_E4M3", (64, 64)), f"{NAME}_scale": ("F32", (64, 1))}
    scales = np.random.default_rng(1).uniform(1, 2, (64, 1)).astype("f4")
    return write_safetensors(path, about, [codes.view("u1"), scales])


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = quantised(tmp_path / "a.safetensors"), tmp_path / "b.safetensors"
    assert main(["convert", str(source), "-o", str(target)]) == 0
    assert f"Wrote {target}." in capsys.readouterr().out
    with wb.open_checkpoint(source) as before, wb.open_checkpoint(target) as after:
        assert before.tensors == after.tensors
        assert before.raw(NAME).tobytes() == after.raw(NAME).tobytes()
    assert main(["convert", str(source), "-o", str(target)]) == 1
    assert "there already" in capsys.readouterr().err
    assert main(["convert", str(source), "-o", str(target), "--force", "--dequantise"]) == 0
    with wb.open_checkpoint(target) as restored:
        assert list(restored.tensors) == [NAME]
        assert restored.tensors[NAME].dtype == "F32"


def test_convert_refuses_to_replace_its_source(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = quantised(tmp_path / "a.safetensors")
    assert main(["convert", str(source), "-o", str(source), "--force"]) == 1
    assert "must not be a file that is scanned" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "no.bin"), "-o", str(tmp_path / "x.safetensors")]) == 1
    assert "no such file" in capsys.readouterr().err


def test_scan_dequantise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, output = quantised(tmp_path / "a.safetensors"), tmp_path / "fits.nc"
    assert main(["scan", str(source), "--dequantise", "-o", str(output), "--quiet"]) == 0
    fits = wb.open_fits(output)
    assert fits["status"].item() == "ok"
    assert "Restored 1 tensor from FP8, counted as F32." in wb.not_fitted(fits)["reason"].tolist()
    capsys.readouterr()
