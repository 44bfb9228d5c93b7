"""Doors beside `scan` on quantised weights: the same as on the restored ones, saved plainly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from safetensors.numpy import save_file

import weibnb as wb
from weibnb import cli
from weibnb.scanning.decompose import decompose
from weibnb.scanning.inside import look_inside
from weibnb.scanning.locate import dead_lines, find_outliers
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Pair = tuple[Path, Path]

UP, DOWN = (f"model.layers.{i}.mlp.up_proj.weight" for i in range(2))
BLOCK = 64


def weights(seed: int) -> NDArray[np.float32]:
    """Make a matrix with a dead row and a weight that stands out."""
    found = np.random.default_rng(seed).normal(0, 0.02, (128, 256)).astype("f4")
    found[7], found[70, 9] = 0.0, 2.0
    return found


def _fp8(folder: Path, state: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Write codes with a scale for each block; give what they stand for."""
    shapes: dict[str, Any] = {}
    data, plain = [], {}
    for name, one in state.items():
        tiles = one.reshape(one.shape[0] // BLOCK, BLOCK, -1, BLOCK)
        scales = (np.abs(tiles).max((1, 3)) / 448).astype("f4")
        wide = np.kron(scales, np.ones((BLOCK, BLOCK), "f4"))
        codes = (one / wide).astype(ml_dtypes.float8_e4m3fn)
        plain[name] = codes.astype("f4") * wide
        shapes |= {name: ("F8_E4M3", one.shape), f"{name}_scale_inv": ("F32", scales.shape)}
        data += [codes.view("u1"), scales]
    write_safetensors(folder / "model.safetensors", shapes, data)
    return plain


def _gguf(folder: Path, state: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Write blocks of eight bits; give what the gguf package restores."""
    gguf = pytest.importorskip("gguf")
    from gguf.quants import dequantize, quantize

    kind, plain = gguf.GGMLQuantizationType.Q8_0, {}
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    for layer, one in enumerate(state.values()):
        name = f"blk.{layer}.ffn_up.weight"
        blocks = quantize(one, kind)
        writer.add_tensor(name, blocks, raw_dtype=kind)
        plain[name] = dequantize(blocks, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return plain


def _mlx(folder: Path, state: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Write integers of eight bits with a scale and a bias for each group, as MLX does."""
    shapes: dict[str, Any] = {}
    data: list[NDArray[Any]] = []
    plain = {}
    for name, one in state.items():
        groups = one.reshape(len(one), -1, BLOCK)
        biases = groups.min(-1).astype("f4")
        scales = ((groups.max(-1) - biases) / 255).astype("f4")
        steps = np.where(scales > 0, scales, 1)[..., None]
        codes = np.rint((groups - biases[..., None]) / steps).astype("u1")
        restored = scales[..., None] * codes.astype("f4") + biases[..., None]
        plain[name] = restored.reshape(one.shape)
        words = codes.reshape(len(one), -1).view("u4")
        stem = name.removesuffix(".weight")
        parts = {name: words, f"{stem}.scales": scales, f"{stem}.biases": biases}
        shapes |= {key: ("U32" if key == name else "F32", a.shape) for key, a in parts.items()}
        data += parts.values()
    write_safetensors(folder / "model.safetensors", shapes, data)
    (folder / "config.json").write_text('{"quantization": {"bits": 8, "group_size": 64}}')
    return plain


@pytest.fixture(params=[_fp8, _gguf, _mlx], ids=["fp8", "gguf", "mlx"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Give a quantised checkpoint, and the same restored."""
    folders = tmp_path / "packed", tmp_path / "plain"
    for folder in folders:
        folder.mkdir()
    plain = request.param(folders[0], {UP: weights(0), DOWN: weights(1)})
    save_file(plain, folders[1] / "model.safetensors")
    return folders


def same_fits(one: xr.Dataset, other: xr.Dataset) -> None:
    names = ["k", "lam", "k_se", "max_abs", "dead_rows"]
    for name in names:
        np.testing.assert_array_equal(one[name].values, other[name].values)


def findings(found: Any) -> Any:
    """Give what was found, without the name of the model."""
    return found.table.drop(columns=["model"]), [one.rule for one in found.not_looked_at]


def test_check(pair: Pair) -> None:
    packed, plain = pair
    table, unseen = findings(wb.check(packed, dequantise=True, progress=False))
    known, known_unseen = findings(wb.check(plain, progress=False))
    assert unseen == known_unseen
    pd.testing.assert_frame_equal(table, known)
    assert {"outliers", "dead-lines"} <= set(table["rule"])
    fits = wb.scan(packed, dequantise=True, fields=True, progress=False)
    again, _ = findings(wb.check(fits, source=packed, dequantise=True))
    pd.testing.assert_frame_equal(again, known)


@pytest.mark.parametrize("look", [find_outliers, dead_lines])
def test_second_looks(pair: Pair, look: Any) -> None:
    packed, plain = pair
    fits = [wb.scan(packed, dequantise=True, progress=False), wb.scan(plain, progress=False)]
    same_fits(*fits)
    found, known = look(fits[0], dequantise=True), look(fits[1])
    assert len(known) == 2
    pd.testing.assert_frame_equal(found.drop(columns="model"), known.drop(columns="model"))
    with pytest.raises(ValueError, match="`dequantise` as the scan had it"):
        look(fits[0])


def test_diff(pair: Pair) -> None:
    packed, plain = pair
    assert wb.diff(packed, plain, dequantise=True, progress=False).same
    other = plain.parent / "other"
    other.mkdir()
    rng = np.random.default_rng(3)
    with wb.open_checkpoint(plain) as checkpoint:
        moved = {
            name: checkpoint.raw(name).view("f4").reshape(info.shape)
            + rng.normal(0, 0.002, info.shape).astype("f4")
            for name, info in checkpoint.tensors.items()
        }
    save_file(moved, other / "model.safetensors")
    found = wb.diff(packed, other, dequantise=True, progress=False)
    known = wb.diff(plain, other, progress=False)
    pd.testing.assert_frame_equal(found.table, known.table)
    assert not found.same
    fits = wb.scan(other, progress=False)
    found = wb.diff(packed, fits, dequantise=True, progress=False)
    known = wb.diff(plain, fits, progress=False)
    pd.testing.assert_frame_equal(found.table, known.table)


def test_explorer_and_what_it_reads_again(pair: Pair) -> None:
    packed, plain = pair
    shown = [wb.explore(packed, dequantise=True), wb.explore(plain)]
    for one in shown:
        one.wait()
        assert one.error is None
    same_fits(shown[0].fits, shown[1].fits)
    for explorer in shown:
        explorer.close()
    select = {"layer": 1, "component": "up_proj"}
    inside, known = (
        look_inside(source, select=select, dequantise=how)
        for source, how in ((packed, True), (plain, False))
    )
    names = ["model", "parameter"]
    xr.testing.assert_equal(inside.drop_vars(names), known.drop_vars(names))
    assert inside["outlier_row"].values.tolist() == [70]
    apart, known = (
        decompose(source, select=select, dequantise=how)
        for source, how in ((packed, True), (plain, False))
    )
    np.testing.assert_array_equal(apart["k_core"], known["k_core"])


@pytest.mark.parametrize("pair", [_fp8], indirect=True)
def test_commands(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    packed, plain = pair
    told = []
    for words in (
        ["check", str(packed), "--dequantise", "--quiet", "--format", "json"],
        ["check", str(plain), "--quiet", "--format", "json"],
        ["diff", str(packed), str(plain), "--dequantise", "--quiet"],
    ):
        assert cli.main(words) in (0, 1)
        told.append(capsys.readouterr().out)
    assert "outliers" in told[0]
    assert told[0].count('"rule"') == told[1].count('"rule"')
    assert cli.main(["diff", str(packed), str(plain), "--dequantise", "--quiet"]) == 0
