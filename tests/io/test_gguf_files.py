"""GGUF: tensors, names and metadata as the gguf package writes and restores them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from weibnb.io import gguf_files
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.convert import convert
from weibnb.io.files import CheckpointError
from weibnb.io.naming import identify

gguf = pytest.importorskip("gguf")
from gguf.quants import dequantize, quantize

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Kind = gguf.GGMLQuantizationType
WRITTEN = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4", "TQ1_0", "TQ2_0"]
RESTORED = [
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S"),
    *("IQ2_XS", "IQ2_XXS", "IQ1_S", "IQ1_M"),
]


def matrix(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).normal(0, 0.02, shape).astype("f4")


def write(path: Path, tensors: dict[str, tuple[Any, str]], **fields: Any) -> Path:
    """Write a file with the package's own writer, each tensor of a type."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_embedding_length(64)
    writer.add_head_count(8)
    writer.add_head_count_kv(2)
    writer.add_block_count(1)
    writer.add_token_list(["a", "bc", "d"] * 1000)
    for key, value in fields.items():
        writer.add_string(key, value)
    for name, (values, kind) in tensors.items():
        if values.dtype == np.uint8:
            writer.add_tensor(name, values, raw_dtype=Kind[kind])
        elif kind in ("F32", "F16", "F64"):
            writer.add_tensor(name, values.astype({"F32": "f4", "F16": "f2", "F64": "f8"}[kind]))
        else:
            writer.add_tensor(name, quantize(values, Kind[kind]), raw_dtype=Kind[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def refused(path: Path, content: bytes, match: str) -> CheckpointError:
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=match) as caught:
        open_checkpoint(path)
    return caught.value


def test_plain_types_are_fitted_as_they_are(tmp_path: Path) -> None:
    kinds = ["F32", "F16", "BF16", "F64"]
    values = {f"blk.{i}.attn_q.weight": (matrix(96, 64), kind) for i, kind in enumerate(kinds)}
    path = write(tmp_path / "m.gguf", values)
    with open_checkpoint(path) as checkpoint:
        for name, (one, kind) in values.items():
            known = one.astype(
                {"F32": "f4", "F16": "f2", "F64": "f8"}.get(kind, ml_dtypes.bfloat16)
            )
            assert checkpoint.tensors[name].shape == (96, 64)
            assert checkpoint.tensors[name].dtype == kind
            assert checkpoint.raw(name).tobytes() == known.tobytes()
        assert checkpoint.config["model_type"] == "llama"
        assert checkpoint.config["num_attention_heads"] == 8
        assert checkpoint.config["num_key_value_heads"] == 2
        assert dict(checkpoint.files)["m.gguf"]["general.architecture"] == "llama"
    fits = wb.scan(tmp_path, progress=False)
    assert fits["component"].values.tolist() == ["q_proj"]
    assert (fits["status"] == "ok").all()
    assert fits["n_kv_heads"].item() == 2


@pytest.mark.parametrize("kind", [*WRITTEN, *RESTORED])
def test_blocks_are_restored_as_by_the_package(tmp_path: Path, kind: str) -> None:
    name, rows, columns = "blk.0.ffn_up.weight", 48, 512
    if kind in WRITTEN:
        blocks = quantize(matrix(rows, columns), Kind[kind])
    else:
        block, size = gguf.GGML_QUANT_SIZES[Kind[kind]]
        shape = rows, columns // block * size
        blocks = np.random.default_rng(0).integers(0, 60, shape, np.uint8)
    path = write(tmp_path / "m.gguf", {name: (blocks, kind)})
    with np.errstate(all="ignore"):
        known = dequantize(blocks, Kind[kind])
    with open_checkpoint(path, dequantise=True) as checkpoint:
        assert checkpoint.tensors[name].shape == (rows, columns)
        bits = checkpoint.raw(name)
        assert np.asarray(bits).tobytes() == known.astype("f4").tobytes()
        part = np.asarray(bits[700:5000])
        assert part.tobytes() == known.astype("f4").reshape(-1)[700:5000].tobytes()
        assert f"Restored 1 tensor from {kind}, counted as F32." in checkpoint.notes
    fits = wb.scan(path, progress=False)
    assert fits["status"].item() == "quantized"


def test_a_scan_of_restored_blocks(tmp_path: Path) -> None:
    name = "blk.3.ffn_down.weight"
    values = matrix(64, 256)
    path = write(tmp_path / "m.gguf", {name: (values, "Q8_0")})
    fits = wb.scan(path, dequantise=True, progress=False)
    known = dequantize(quantize(values, Kind.Q8_0), Kind.Q8_0)
    other = wb.scan({"m": {"model.layers.3.mlp.down_proj.weight": known}}, progress=False)
    for one in ("k", "lam", "h_row", "k_se"):
        np.testing.assert_array_equal(fits[one].values, other[one].values)
    convert(path, tmp_path / "m.safetensors", dequantise=True)
    with open_checkpoint(tmp_path / "m.safetensors") as checkpoint:
        assert checkpoint.raw(name).tobytes() == known.astype("f4").tobytes()
    with pytest.raises(CheckpointError, match="safetensors has no type Q8_0"):
        convert(path, tmp_path / "n.safetensors")


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("attn_q", "q_proj"),
        ("attn_k", "k_proj"),
        ("attn_v", "v_proj"),
        ("attn_output", "o_proj"),
        ("attn_qkv", "qkv_proj"),
        ("ffn_gate", "gate_proj"),
        ("ffn_up", "up_proj"),
        ("ffn_down", "down_proj"),
        ("ffn_gate_inp", "router"),
        ("attn_q_a", "q_a_proj"),
        ("attn_kv_a_mqa", "kv_a_proj"),
        ("ffn_up_shexp", "shared_expert.up_proj"),
    ],
)
def test_names(name: str, component: str) -> None:
    role: Any = identify(f"blk.7.{name}.weight", (64, 64))
    assert (role.component, role.layer) == (component, 7)
    assert gguf.TENSOR_NAMES
    known = {word.rpartition(".")[2] for word in gguf.TENSOR_NAMES.values()}
    assert name in known
    encoder: Any = identify(f"enc.blk.7.{name}.weight", (64, 64))
    assert encoder.component == f"encoder.{component}"


def test_stacks_of_experts_and_what_is_no_projection() -> None:
    role: Any = identify("blk.7.ffn_down_exps.weight", (8, 64, 32))
    assert (role.component, role.stacked) == ("down_proj", True)
    for name, reason in [
        ("token_embd.weight", "embedding"),
        ("output.weight", "head"),
        ("blk.0.attn_norm.weight", "norm"),
        ("blk.0.attn_q_norm.weight", "norm"),
        ("blk.0.attn_q.bias", "bias"),
    ]:
        found: Any = identify(name, (64, 64))
        assert found.reason == reason


def head(tensors: int, fields: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, fields) + rest


def text(word: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(word) if length is None else length) + word


def tensor(
    name: bytes = b"w", shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0
) -> bytes:
    dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dims + struct.pack("<IQ", kind, offset)


HOSTILE = {
    "no": (b"GGML" + bytes(40), "no GGUF file"),
    "short": (b"GGUF\3\0", "truncated"),
    "version": (head(0, 0, version=9), "version 9"),
    "swapped": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "other byte order"),
    "tensors": (head(2**63, 0), "at most 500,000"),
    "few bytes": (head(400_000, 0), "truncated"),
    "fields": (head(0, 2**40), "fields of metadata"),
    "key": (head(0, 1, text(b"k", 2**62)), "text of"),
    "value": (head(0, 1, text(b"k") + struct.pack("<I", 8) + text(b"", 2**62)), "text of"),
    "type": (head(0, 1, text(b"k") + struct.pack("<I", 77)), "type 77"),
    "list": (head(0, 1, text(b"k") + struct.pack("<IIQ", 9, 4, 2**62)), "list of"),
    "words": (head(0, 1, text(b"k") + struct.pack("<IIQ", 9, 8, 2**30)), "list of"),
    "list of lists": (head(0, 1, text(b"k") + struct.pack("<IIQ", 9, 9, 1)), "type 9"),
    "dims": (head(1, 0, text(b"w") + struct.pack("<I", 2**31)), "dimensions"),
    "shape": (head(1, 0, tensor(shape=(2**40, 2**40))), "overflows"),
    "kind": (head(1, 0, tensor(kind=999)), "type 999"),
    "blocks": (head(1, 0, tensor(shape=(33, 2), kind=8)), "no whole blocks of Q8_0"),
    "outside": (head(1, 0, tensor(shape=(2**30,))), "data is not there"),
    "offset": (head(1, 0, tensor(offset=2**63)), "data is not there"),
    "twice": (head(2, 0, 2 * tensor() + bytes(100)), "two tensors have this name"),
    "alignment": (
        head(0, 1, text(b"general.alignment") + struct.pack("<II", 4, 3)),
        "power of two",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_headers(tmp_path: Path, case: str) -> None:
    refused(tmp_path / "m.gguf", *HOSTILE[case])


def test_cut_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {"blk.0.attn_q.weight": (matrix(8, 32), "F32")})
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 997):
        refused(tmp_path / "cut.gguf", whole[:length], "truncated|no GGUF|not there")
    assert len(open_checkpoint(path).tensors) == 1
    reader = gguf.GGUFReader(path)
    (known,) = reader.tensors
    with open_checkpoint(path) as checkpoint:
        bits = checkpoint.raw(known.name)
        assert bits.tobytes() == known.data.tobytes()


def test_a_long_header_names_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", {"blk.0.attn_q.weight": (matrix(8, 32), "F32")})
    with pytest.raises(CheckpointError, match="max_header"):
        open_checkpoint(path, max_header=1000)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.gguf", {"w": (matrix(8, 32), "F32")})

    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(gguf_files, "_table", missing)
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[gguf\]'") as caught:
        open_checkpoint(path)
    assert isinstance(caught.value, CheckpointError)
