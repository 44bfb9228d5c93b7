"""What MLX quantised: every element as its definition, and as MLX itself, restores it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from weibnb.io.checkpoint import open_checkpoint
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

Q = "model.layers.0.self_attn.q_proj"
UP = "model.layers.0.mlp.switch_mlp.up_proj"
RNG = np.random.default_rng(0)
SPELLING = {"uint32": "U32", "uint8": "U8", "float16": "F16", "bfloat16": "BF16", "float32": "F32"}


def write(folder: Path, config: Any, name: str = Q, **parts: Any) -> Path:
    """Write a model of one quantised matrix, or stack."""
    folder.mkdir(exist_ok=True)
    about = {f"{name}.{part}": (SPELLING[a.dtype.name], a.shape) for part, a in parts.items()}
    write_safetensors(folder / "model.safetensors", about, list(parts.values()))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def settings(bits: Any, size: Any) -> dict[str, Any]:
    return {"quantization": {"bits": bits, "group_size": size}}


def words(*shape: int) -> Array:
    return RNG.integers(0, 2**32, shape, np.uint32)


def integers(stored: Array, bits: int) -> Array:
    """Take words apart bit by bit, the lowest first."""
    stream = np.unpackbits(stored.view(np.uint8), axis=-1, bitorder="little")
    apart = stream.reshape(*stored.shape[:-1], -1, bits)
    found: Array = (apart * (1 << np.arange(bits))).sum(-1)
    return found


def restored(folder: Path, name: str = Q) -> Array:
    with open_checkpoint(folder, dequantise=True) as checkpoint:
        info = checkpoint.tensors[f"{name}.weight"]
        bits = np.asarray(checkpoint.raw(info.name))
        wide: Array = bits.view("f4") if info.dtype == "F32" else bits.view(ml_dtypes.bfloat16)
        return wide.astype("f4").reshape(info.shape)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("kind", ["f2", "f4", ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(40,), (3, 16)])
def test_every_integer_with_its_scale_and_bias(
    tmp_path: Path, bits: int, size: int, kind: Any, shape: tuple[int, ...]
) -> None:
    stored = words(*shape, 256 * bits // 32)
    scales, biases = (
        RNG.normal(0, 0.02, (*shape, 256 // size)).astype(kind) for _ in range(2)
    )  # fmt: skip
    name = Q if len(shape) == 1 else UP
    parts: Any = {"weight": stored, "scales": scales, "biases": biases}
    write(tmp_path, settings(bits, size), name, **parts)
    factor, shift = (np.repeat(one.astype("f4"), size, -1) for one in (scales, biases))
    expected = factor * integers(stored, bits).astype("f4") + shift
    np.testing.assert_array_equal(restored(tmp_path, name), expected)


# What mlx 0.32.4 made of ((7 i mod 32) - 15.5) / 64, i from 0 to 31, in one group, and restored
MADE = {
    3: (
        ["82979737", "de14dcbb", "4ef2a6e5"],
        (-0.060546875, 0.2421875),
        [-0.181640625, -0.12109375, 0.0, 0.060546875, 0.181640625, -0.181640625, -0.060546875, 0.0],
        [0.12109375, 0.181640625, -0.181640625, -0.060546875, 0.060546875, 0.12109375],
    ),
    6: (
        ["86563cbf", "400e76be", "b7c21797", "67d8245f", "386ff8a6", "31ba7811"],
        (-0.007568359375, 0.2421875),
        [-0.234619140625, -0.13623046875, -0.022705078125, 0.083251953125, 0.19677734375],
        [0.2119140625, -0.181640625, -0.068115234375, 0.037841796875, 0.1513671875],
    ),
}


@pytest.mark.parametrize("bits", MADE)
def test_what_mlx_restores(tmp_path: Path, bits: int) -> None:
    codes, (scale, bias), first, last = MADE[bits]
    stored = np.array([[int(word, 16) for word in codes]], np.uint32)
    one: Any = {"scales": np.array([[scale]], "f4"), "biases": np.array([[bias]], "f4")}
    write(tmp_path, settings(bits, 32), weight=stored, **one)
    (row,) = restored(tmp_path)
    assert row[: len(first)].tolist() == first
    assert row[-len(last) :].tolist() == last


@pytest.mark.parametrize(("word", "kind"), [(4, "MXFP4"), (8, "MXFP8")])
def test_microscaling_in_words(tmp_path: Path, word: int, kind: str) -> None:
    stored, scales = words(40, 3 * word), RNG.integers(110, 130, (40, 3), np.uint8)
    if kind == "MXFP8":
        stored = stored & np.uint32(0x77777777)
    folder = write(tmp_path / "m", {}, weight=stored, scales=scales)
    codes = stored.view(np.uint8)
    if kind == "MXFP4":
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(40, -1)
    small: Any = ml_dtypes.float4_e2m1fn if kind == "MXFP4" else ml_dtypes.float8_e4m3fn
    powers = np.ldexp(np.float32(1), np.repeat(scales, 32, 1).astype(int) - 127)
    np.testing.assert_array_equal(restored(folder), codes.view(small).astype("f4") * powers)
    with open_checkpoint(folder) as checkpoint:
        assert f"quantised as {kind}: weibnb.scan(..., dequantise=True)" in checkpoint.notes[0]


def test_each_matrix_may_have_its_own_bits(tmp_path: Path) -> None:
    stored, one = words(40, 32), np.ones((40, 4), "f2")
    config = settings(4, 64)
    config["quantization"][Q] = {"bits": 8, "group_size": 32}
    config["quantization"]["model.embed_tokens"] = False
    write(tmp_path, config, weight=stored, scales=one, biases=0 * one)
    np.testing.assert_array_equal(restored(tmp_path), integers(stored, 8))
    config["quantization"][Q] = True
    write(tmp_path, config, weight=words(40, 32), scales=one, biases=0 * one)
    assert restored(tmp_path).shape == (40, 256)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "config.json has no `quantization`"),
        ({"quantization": 4}, "config.json has no `quantization`"),
        (settings(None, 64), "bits None in groups of 64"),
        (settings(True, 64), "bits True in groups of 64"),
        (settings(9, 64), "bits 9 in groups of 64"),
        (settings(4, 0), "bits 4 in groups of 0"),
        (settings(10**400, 64), "1 to 8 bits are expected"),
        (settings(4, 10**30), "are not 4 bits in groups of"),
        (settings(8, 64), "are not 8 bits in groups of 64"),
        (settings(7, 64), "are not 7 bits in groups of 64"),
        (settings(4, 32), "are not 4 bits in groups of 32"),
    ],
)
def test_what_does_not_fit_stays_as_it_is(tmp_path: Path, config: Any, why: str) -> None:
    one = np.ones((40, 4), "f2")
    folder = write(tmp_path / "m", config, weight=words(40, 32), scales=one, biases=one)
    with open_checkpoint(folder, dequantise=True) as checkpoint:
        assert checkpoint.tensors[f"{Q}.weight"].dtype == "U32"
        assert f"`{Q}.weight` is not restored: " in checkpoint.notes[0]
        assert why in checkpoint.notes[0]
    assert wb.scan(folder, dequantise=True, progress=False)["status"].item() == "quantized"


def test_biases_of_another_shape_are_refused(tmp_path: Path) -> None:
    one = np.ones((40, 4), "f2")
    write(tmp_path, settings(4, 64), weight=words(40, 32), scales=one, biases=one[:, :3])
    with open_checkpoint(tmp_path, dequantise=True) as checkpoint:
        assert "is not restored" in checkpoint.notes[0]


def test_a_scan_is_that_of_the_numbers(tmp_path: Path) -> None:
    stored = words(256, 32)
    scales = RNG.uniform(1e-3, 2e-3, (256, 4)).astype("f2")
    parts: Any = {"weight": stored, "scales": scales, "biases": (-8 * scales).astype("f2")}
    folder = write(tmp_path / "m", settings(4, 64), **parts)
    fits = wb.scan(folder, dequantise=True, progress=False)
    known = wb.scan({"m": {f"{Q}.weight": restored(folder)}}, progress=False)
    assert fits["status"].item() == "ok"
    for one in ("k", "lam", "k_se", "h_row", "h_col", "rms"):
        np.testing.assert_array_equal(fits[one].values, known[one].values)
    told = wb.not_fitted(wb.scan(folder, progress=False))["reason"]
    assert told.str.contains(r"1 tensor is quantised as MLX's integers: .*dequantise=True").any()
