"""Checkpoints: formats, what is refused and how, raw bits, identity."""

from __future__ import annotations

import gc
import itertools
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from weibnb.io import checkpoint as room
from weibnb.io.checkpoint import find_steps, open_checkpoint
from weibnb.io.safetensors import CheckpointError, TensorInfo

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 2**20
deserialize: Callable[[bytes], list[tuple[str, Any]]] = safetensors.deserialize


def pack(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str, shape: list[Any], begin: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def write(path: Path, header: Any, data: bytes = b"") -> Path:
    path.write_bytes(pack(header, data))
    return path


def one(path: Path, name: str = "w", value: int = 7) -> Path:
    """Write a file with one U16 tensor."""
    return write(path, {name: entry("U16", [2], 0, 4)}, struct.pack("<2H", value, value))


def index(directory: Path, weight_map: Any, name: str = "model.safetensors.index.json") -> Path:
    path = directory / name
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def refused(path: Path, cause: str, *, names: str | None = None) -> CheckpointError:
    with pytest.raises(CheckpointError, match=cause) as caught:
        open_checkpoint(path)
    assert (names or str(path)) in str(caught.value)
    return caught.value


# --- what is read


def test_single_file_by_hand(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "b.10": entry("F32", [1], 4, 8),
        "b.9": entry("BF16", [2, 1], 0, 4),
    }
    path = write(tmp_path / "a.safetensors", header, struct.pack("<HHf", 1, 2, 1.0))
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.source == str(path)
        assert list(checkpoint.tensors) == ["b.9", "b.10"]
        assert checkpoint.tensors["b.9"] == TensorInfo("b.9", "BF16", (2, 1), 4)
        assert checkpoint.tensors["b.9"].size == 2
        np.testing.assert_array_equal(checkpoint.raw("b.9"), np.array([1, 2], np.uint16))
        assert checkpoint.raw("b.10").tolist() == [0x3F800000]
        assert checkpoint.config == {}
        assert checkpoint.problems == ()
        assert checkpoint.notes == ()


LIVE_TYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn,
    torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool,
    torch.complex64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", LIVE_TYPES, ids=str)
@pytest.mark.parametrize("shape", [(5, 3), (), (0, 4)], ids=str)
def test_types_agree_with_safetensors(
    tmp_path: Path, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    tensor = torch.randn(shape, dtype=torch.float64).mul(3).abs().to(dtype)
    path = tmp_path / "a.safetensors"
    save_torch({"w": tensor, "x": torch.zeros(3, dtype=torch.uint8)}, path)
    expected = load_torch(path)["w"].reshape(-1).view(torch.uint8).numpy()
    with safetensors.safe_open(path, "pt") as theirs:
        spelled = theirs.get_slice("w").get_dtype()
    for source in (path, {"w": tensor}):
        with open_checkpoint(source) as checkpoint:
            info, bits = checkpoint.tensors["w"], checkpoint.raw("w")
        assert (info.dtype, info.shape, info.nbytes) == (spelled, shape, expected.size)
        assert bits.dtype.kind == "u"
        assert bits.itemsize == dtype.itemsize
        assert bits.ndim == 1
        assert not bits.flags.writeable
        np.testing.assert_array_equal(bits.view(np.uint8), expected)


@pytest.mark.parametrize(
    ("dtype", "shape", "nbytes"),
    [("F4", [4, 3], 6), ("F6_E2M3", [4], 3), ("F6_E3M2", [8], 6), ("F8_E8M0", [5], 5)],
)
def test_packed_types_give_bytes(tmp_path: Path, dtype: str, shape: list[int], nbytes: int) -> None:
    data = bytes(range(nbytes))
    path = write(tmp_path / "a.safetensors", {"w": entry(dtype, shape, 0, nbytes)}, data)
    deserialize(path.read_bytes())
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tensors["w"].nbytes == nbytes
        assert checkpoint.tensors["w"].size == np.prod(shape)
        assert checkpoint.raw("w").tobytes() == data


def test_unknown_type_is_a_problem_of_that_tensor_only(tmp_path: Path) -> None:
    header = {"a": entry("F3_NEW", [9], 0, 5), "b": entry("U8", [1], 5, 6)}
    path = write(tmp_path / "a.safetensors", header, b"123456")
    with open_checkpoint(path) as checkpoint:
        ((name, reason),) = checkpoint.problems
        assert (name, checkpoint.tensors["a"].nbytes) == ("a", 5)
        assert "F3_NEW" in reason
        assert checkpoint.raw("b").tolist() == [ord("6")]
        with pytest.raises(CheckpointError, match="tensor `a`: its type F3_NEW"):
            checkpoint.raw("a")


@pytest.mark.parametrize("pad", range(8))
def test_unaligned_data(tmp_path: Path, pad: int) -> None:
    header = json.dumps({"w": entry("F32", [2], 0, 8)}).encode() + b" " * pad
    path = write(tmp_path / "a.safetensors", header, struct.pack("<2I", 1, 2**31))
    with open_checkpoint(path) as checkpoint:
        bits = checkpoint.raw("w")
    assert bits.tolist() == [1, 2**31]
    assert not bits.flags.owndata


def test_tensor_across_pages(tmp_path: Path) -> None:
    values = np.arange(40_000, dtype=np.uint16)
    cuts = [0, 3, 9_000, 9_001, 40_000]
    pairs = list(itertools.pairwise(cuts))
    header = {f"t{i}": entry("U16", [b - a], 2 * a, 2 * b) for i, (a, b) in enumerate(pairs)}
    path = write(tmp_path / "a.safetensors", header, values.tobytes())
    with open_checkpoint(path) as checkpoint:
        got = np.concatenate([checkpoint.raw(name) for name in checkpoint.tensors])
    np.testing.assert_array_equal(got, values)


def test_no_tensors(tmp_path: Path) -> None:
    with open_checkpoint(write(tmp_path / "a.safetensors", {})) as checkpoint:
        assert not checkpoint.tensors


def test_natural_order(tmp_path: Path) -> None:
    names = ["b", "l.10.w", "l.2.w", "l.2.a", "l.02.w", "a", f"l.{'9' * 5000}"]
    save_numpy({name: np.zeros(1, np.float32) for name in names}, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        order = list(checkpoint.tensors)
    assert order == ["a", "b", "l.2.a", "l.02.w", "l.2.w", "l.10.w", f"l.{'9' * 5000}"]


# --- directories


def test_shards_with_index(tmp_path: Path) -> None:
    one(tmp_path / "m-2.safetensors", "b", 2)
    one(tmp_path / "m-1.safetensors", "a", 1)
    write(
        tmp_path / "m-3.safetensors",
        {"c": entry("U8", [1], 0, 1), "unlisted": entry("U8", [1], 1, 2)},
        b"xy",
    )
    path = index(tmp_path, {"a": "m-1.safetensors", "b": "m-2.safetensors", "c": "m-3.safetensors"})
    for source in (tmp_path, path, str(tmp_path)):
        with open_checkpoint(source) as checkpoint:
            assert list(checkpoint.tensors) == ["a", "b", "c", "unlisted"]
            assert [int(checkpoint.raw(n)[0]) for n in checkpoint.tensors] == [1, 2, 120, 121]
            assert checkpoint.notes == ()


def test_shards_without_index(tmp_path: Path) -> None:
    one(tmp_path / "m-2.safetensors", "b")
    one(tmp_path / "m-1.safetensors", "a")
    (tmp_path / "._m-1.safetensors").write_bytes(b"AppleDouble")
    with open_checkpoint(tmp_path) as checkpoint:
        assert list(checkpoint.tensors) == ["a", "b"]


def test_consolidated_copy_is_left_out(tmp_path: Path) -> None:
    one(tmp_path / "model-1.safetensors", "a")
    one(tmp_path / "consolidated.safetensors", "other")
    for _ in range(2):
        with open_checkpoint(tmp_path) as checkpoint:
            assert list(checkpoint.tensors) == ["a"]
            assert len(checkpoint.notes) == 1
            assert "`consolidated.safetensors`" in checkpoint.notes[0]
        index(tmp_path, {"a": "model-1.safetensors"})


def test_several_indexes(tmp_path: Path) -> None:
    for variant in ("", ".fp16"):
        one(tmp_path / f"d{variant}-1.safetensors", "a", len(variant))
        index(tmp_path, {"a": f"d{variant}-1.safetensors"}, f"d{variant}.safetensors.index.json")
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.raw("a")[0] == 0
        assert "`d.fp16.safetensors.index.json`" in checkpoint.notes[0]
    with open_checkpoint(tmp_path / "d.fp16.safetensors.index.json") as checkpoint:
        assert checkpoint.raw("a")[0] == 5


def test_tensor_in_two_files(tmp_path: Path) -> None:
    one(tmp_path / "a.safetensors")
    one(tmp_path / "b.safetensors")
    error = refused(tmp_path, "two files hold this tensor: `a.safetensors` and `b.safetensors`")
    assert error.tensor == "w"


def test_index_and_shard_disagree(tmp_path: Path) -> None:
    one(tmp_path / "a.safetensors", "w")
    path = index(tmp_path, {"w": "a.safetensors", "v": "a.safetensors"})
    refused(tmp_path, "tensor `v`: `model.safetensors.index.json` places it in `a.safetensors`")
    index(tmp_path, {"w": "b.safetensors"})
    refused(tmp_path, "names `b.safetensors`, which is missing", names=str(path))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"{", "not a valid JSON object"),
        (b"[1]", "it holds a list"),
        (b"\xff\xfe", "not a valid JSON object"),
        (b"[" * 200_000, "nested too deeply"),
        (b"{}", "no `weight_map`"),
        (b'{"weight_map": []}', "no `weight_map`"),
        (b'{"weight_map": {}}', "no `weight_map`"),
        (b'{"weight_map": {"w": "a.safetensors", "w": "b.safetensors"}}', "'w' appears twice"),
        (b'{"weight_map": {"w": 3}}', "plain files beside it, got 3"),
        (b'{"weight_map": {"w": ""}}', "plain files"),
    ],
)
def test_bad_index(tmp_path: Path, content: bytes, cause: str) -> None:
    one(tmp_path / "a.safetensors")
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(content)
    refused(tmp_path, cause, names=str(path))


@pytest.mark.parametrize(
    "name", ["../x.safetensors", "/x.safetensors", "sub/x.safetensors", "..", ".",
             "sub/../x.safetensors", "..\\x.safetensors", "C:x.safetensors", "x\0.safetensors"],
)  # fmt: skip
def test_index_must_not_leave_the_directory(tmp_path: Path, name: str) -> None:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    for place in (tmp_path, model, model / "sub"):
        one(place / "x.safetensors")
    path = index(model, {"w": name})
    assert refused(model, "plain files beside it", names=str(path)).tensor == "w"


# --- links


def hub_cache(root: Path) -> Path:
    """Lay out two shards, an index and a configuration as huggingface_hub does."""
    repository = root / "models--org--name"
    snapshot = repository / "snapshots" / "abc"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for i in (1, 2):
        one(snapshot / f"model-{i}.safetensors", f"t{i}", i)
    index(snapshot, {f"t{i}": f"model-{i}.safetensors" for i in (1, 2)})
    (snapshot / "config.json").write_text('{"model_type": "llama"}')
    for number, path in enumerate(sorted(snapshot.iterdir())):
        blob = repository / "blobs" / f"{number:064x}"
        path.rename(blob)
        path.symlink_to(f"../../blobs/{blob.name}")
    return snapshot


def test_hub_cache(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    with open_checkpoint(snapshot) as checkpoint:
        assert {n: int(checkpoint.raw(n)[0]) for n in checkpoint.tensors} == {"t1": 1, "t2": 2}
        assert checkpoint.config == {"model_type": "llama"}
    (tmp_path / "alias").symlink_to(snapshot)
    assert list(open_checkpoint(tmp_path / "alias").tensors) == ["t1", "t2"]
    assert list(open_checkpoint(snapshot / "model-1.safetensors").tensors) == ["t1"]


@pytest.mark.parametrize("with_index", [False, True])
def test_link_out_of_the_directory(tmp_path: Path, with_index: bool) -> None:
    model = tmp_path / "model"
    model.mkdir()
    secret = one(tmp_path / "secret.safetensors")
    link = model / "a.safetensors"
    link.symlink_to(secret)
    if with_index:
        index(model, {"w": "a.safetensors"})
    refused(model, "a link must stay in its directory", names=str(link))
    assert list(open_checkpoint(link).tensors) == ["w"]  # the user named it


def test_link_out_of_a_hub_cache(tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path)
    secret = one(tmp_path / "models--org--name" / "secret.safetensors", "t1")
    link = snapshot / "model-1.safetensors"
    link.unlink()
    link.symlink_to(secret)
    refused(snapshot, "models--\\*/blobs", names=str(link))


def test_link_within_the_directory(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    one(tmp_path / "store" / "x")
    (tmp_path / "a.safetensors").symlink_to("store/x")
    assert list(open_checkpoint(tmp_path).tensors) == ["w"]


def test_links_to_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "a.safetensors"
    link.symlink_to("missing")
    refused(tmp_path, "cannot be opened: .*No such file", names=str(link))
    link.unlink()
    link.symlink_to("a.safetensors")
    refused(tmp_path, "a.safetensors")


# --- configuration


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "not a valid JSON"), (b"[]", "it holds a list"), (b"\xff", "not a valid JSON"),
     (b" " * 10_000_001, "at most 10,000,000 bytes")],
)  # fmt: skip
def test_bad_config_is_a_note(tmp_path: Path, content: bytes, reason: str) -> None:
    one(tmp_path / "a.safetensors")
    (tmp_path / "config.json").write_bytes(content)
    with open_checkpoint(tmp_path) as checkpoint:
        assert checkpoint.config == {}
        assert list(checkpoint.tensors) == ["w"]
        (note,) = checkpoint.notes
    assert reason in note
    assert "config.json" in note


def test_config_beside_a_file(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "x": NaN}')
    config = open_checkpoint(one(tmp_path / "a.safetensors")).config
    assert config["model_type"] == "gpt2"


def test_config_link_out_of_the_directory(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    one(model / "a.safetensors")
    (tmp_path / "secret.json").write_text('{"key": 1}')
    (model / "config.json").symlink_to(tmp_path / "secret.json")
    checkpoint = open_checkpoint(model)
    assert checkpoint.config == {}
    assert "a link must stay" in checkpoint.notes[0]


# --- what is refused

GOOD = {"w": entry("U16", [2], 0, 4)}
BAD_FILES = {
    "empty": (b"", "the file is empty"),
    "short": (b"abc", "3 bytes are too few"),
    "announces 2^60": (pack(GOOD, b"1234", length=2**60), "header takes 1,152,921,504,606,846,976"),
    "header past the end": (pack(GOOD, length=1000), "the header takes 1,000 bytes"),
    "not an object": (pack(b"[1]"), "does not start with `{`"),
    "zeros": (bytes(100), "does not start with `{`"),
    "cut header": (pack(b'{"w": '), "the header is not valid JSON"),
    "not UTF-8": (pack(b'{"\xff": 1}'), "not valid JSON: 'utf-8' codec"),
    "lone surrogate": (pack(b'{"\\ud800": 1}'), "not valid JSON: .*surrogates"),
    "deep": (pack(b'{"a":' + b"[" * 100_000), "nested too deeply"),
    "long number": (pack(b'{"a":' + b"9" * 5000 + b"}"), "not valid JSON"),
    "twice": (pack(b'{"w": 1, "w": 2}'), "the key 'w' appears twice"),
    "metadata": (pack({"__metadata__": {"a": 1}}), "`__metadata__` must map strings to strings"),
    "no dtype": (pack({"w": {"shape": [], "data_offsets": [0, 0]}}), "tensor `w`: the header must"),
    "entry is a list": (pack({"w": [1]}), "tensor `w`: the header must give `dtype`"),
    "dtype is a number": (pack({"w": {**GOOD["w"], "dtype": 1}}), "must give `dtype`"),
    "negative": (pack({"w": entry("U8", [-4], 0, 4)}, b"1234"), "all natural"),
    "fraction": (pack({"w": entry("U8", [4.0], 0, 4)}, b"1234"), "all natural"),
    "boolean": (pack({"w": entry("U8", [True], 0, 1)}, b"1"), "all natural"),
    "three offsets": (pack({"w": {**GOOD["w"], "data_offsets": [0, 1, 2]}}), "all natural"),
    "truncated": (pack(GOOD, b"123"), "tensor `w`: its data would lie at bytes 0 to 4 of 3"),
    "backwards": (pack({"w": entry("U8", [0], 2, 1)}, b"12"), "bytes 2 to 1"),
    "trailing": (pack(GOOD, b"12345"), "take 4 bytes of data, the file has 5"),
    "hole": (pack({"w": entry("U8", [1], 1, 2)}, b"12"), "leaves a hole"),
    "overlap": (
        pack({"v": entry("U8", [2], 0, 2), "w": entry("U8", [2], 1, 3)}, b"123"),
        "tensor `w`: .* overlaps",
    ),
    "size": (pack({"w": entry("F32", [2], 0, 4)}, b"1234"), "takes 64 bits, the offsets give 32"),
    "half a byte": (pack({"w": entry("F4", [3], 0, 1)}, b"1"), "takes 12 bits"),
    "overflow": (pack({"w": entry("U8", [2**62, 4], 0, 0)}), "overflows"),
    "overflow to zero": (pack({"w": entry("U8", [2**62, 4, 0], 0, 0)}), "overflows"),
    "huge shape": (pack({"w": entry("U8", [2**62] * 50_000, 0, 0)}), "overflows"),
    "gguf": (b"GGUF" + struct.pack("<IQQ", 3, 1, 1), "this is GGUF.*Scan the safetensors"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "zip pickle": (b"PK\x03\x04" + bytes(range(1, 100)), "this is a pickle.*weights_only=True"),
    "pickle": (pickle.dumps({"w": list(range(100))}), "this is a pickle.*save_file"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file(tmp_path: Path, case: str) -> None:
    content, cause = BAD_FILES[case]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    error = refused(path, cause)
    assert error.path == str(path)
    assert error.cause_text in str(error)
    assert len(str(error)) < 1000
    refused(tmp_path, cause, names=str(path))
    if case not in {"empty", "short"}:
        with pytest.raises(safetensors.SafetensorError):
            deserialize(content)


def test_header_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 100_000_001) + b"{")
        file.truncate(200_000_000)
    refused(path, "at most 100,000,000 may be")


def test_header_length_that_looks_like_a_pickle(tmp_path: Path) -> None:
    header = json.dumps(GOOD).encode().ljust(0x80)
    path = write(tmp_path / "a.safetensors", header, b"1234")
    assert path.read_bytes().startswith(b"\x80")
    assert list(open_checkpoint(path).tensors) == ["w"]


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "no", "no such file or directory.*Hugging Face")
    one(tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors" / "b", "no such file or directory")
    with pytest.raises(CheckpointError, match="cannot be used"):
        open_checkpoint("a\0b")


def test_directories_without_safetensors(tmp_path: Path) -> None:
    refused(tmp_path, "no .safetensors file. Pass the folder")
    (tmp_path / "step-20").mkdir()
    (tmp_path / "step-3").mkdir()
    refused(tmp_path, "Pass one step, such as `step-3`")
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    refused(tmp_path, "this is GGUF", names="x.gguf")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.pt", "a.pth", "a.ckpt"])
def test_directory_of_pickles(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    refused(tmp_path, "this is a pickle.*weights_only=True.*save_file", names=name)
    refused(tmp_path / name, "this is a pickle")


class Malice:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "a.pt"])
def test_pickles_are_never_run(tmp_path: Path, name: str, protocol: int) -> None:
    target = tmp_path / "ran"
    evil = pickle.dumps(Malice(target), protocol=protocol)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / name).write_bytes(evil)
    (folder / "config.json").write_bytes(evil)
    refused(folder, name)
    refused(folder / name, name)
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr("archive/data.pkl", evil)
    refused(folder / name, "this is a pickle")
    assert not target.exists()
    pickle.loads(evil)  # noqa: S301 - shows that the file would have done it
    assert target.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_not_a_regular_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    os.mkfifo(path)
    refused(path, "not a regular file")
    refused(tmp_path, "not a regular file", names=str(path))
    path.unlink()
    path.mkdir()
    refused(tmp_path, "not a regular file", names=str(path))
    if Path("/dev/zero").exists():
        refused(Path("/dev/zero"), "not a regular file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_no_permission(tmp_path: Path) -> None:
    path = one(tmp_path / "a.safetensors")
    path.chmod(0)
    refused(path, "cannot be opened: .*Permission denied")


def test_wrong_type_of_source() -> None:
    with pytest.raises(TypeError, match=r"`source` must be a path, .* got int"):
        open_checkpoint(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`source` must have str keys, got 1"):
        open_checkpoint({1: np.zeros(1)})  # type: ignore[dict-item]


def test_error_survives_pickling() -> None:
    error = CheckpointError(Path("a"), "cause", "Next.", "w")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(again) == str(error) == "`a`, tensor `w`: cause. Next."
    assert (again.path, again.tensor, again.cause_text) == ("a", "w", "cause")


SEED = pack(
    {"__metadata__": {"a": "b"}, "v": entry("F32", [2], 0, 8), "w": entry("BF16", [2, 1], 8, 12)},
    bytes(range(12)),
)


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(SEED) - 1),
            st.one_of(st.integers(0, 255), st.sampled_from(b'019,[]{}":')),
        ),
        min_size=1,
        max_size=4,
    ),
    st.one_of(st.none(), st.integers(0, len(SEED))),
)
def test_corrupted_bytes_open_or_are_refused(
    tmp_path: Path, changes: list[tuple[int, int]], length: int | None
) -> None:
    content = bytearray(SEED)
    for place, value in changes:
        content[place] = value
    path = tmp_path / "a.safetensors"
    path.write_bytes(content[:length])
    try:
        checkpoint = open_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error)  # noqa: PT017 - both outcomes are fine
        return
    theirs = read_by_safetensors(bytes(content[:length]))
    broken = dict(checkpoint.problems)
    for name in checkpoint.tensors.keys() - broken.keys():
        bits = checkpoint.raw(name)
        assert theirs is None or bits.tobytes() == theirs[name]["data"]
    assert bool(broken) == (theirs is None)


def read_by_safetensors(content: bytes) -> dict[str, Any] | None:
    """Let safetensors read what we accepted; None if it knows not all of the types."""
    try:
        return dict(deserialize(content))
    except safetensors.SafetensorError as error:
        if "unknown variant" not in str(error):
            raise
        return None


# --- memory and life time


def test_views_are_the_map(tmp_path: Path) -> None:
    bits = open_checkpoint(one(tmp_path / "a.safetensors")).raw("w")
    assert not bits.flags.owndata
    assert not bits.flags.writeable
    base: Any = bits
    while isinstance(base, np.ndarray):
        base = base.base
    assert "mmap" in repr(base.obj if isinstance(base, memoryview) else base)


def anonymous_memory() -> int:
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.split("RssAnon:")[1].split()[0])


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_reading_takes_no_memory(tmp_path: Path) -> None:
    nbytes = 200 * MIB
    path = write(tmp_path / "a.safetensors", {"w": entry("BF16", [nbytes // 2], 0, nbytes)})
    with path.open("rb+") as file:
        file.truncate(path.stat().st_size + nbytes)
    before = anonymous_memory()
    with open_checkpoint(path) as checkpoint:
        bits = checkpoint.raw("w")
        assert int(bits.max()) == 0
        assert anonymous_memory() - before < 20 * MIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
def test_no_descriptor_is_kept(tmp_path: Path) -> None:
    for i in range(50):
        one(tmp_path / f"m-{i}.safetensors", f"t{i}")
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    checkpoint = open_checkpoint(tmp_path)
    for name in checkpoint.tensors:
        checkpoint.raw(name)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_views_outlive_the_checkpoint_and_the_file(tmp_path: Path) -> None:
    path = one(tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(path)
    bits = checkpoint.raw("w")
    checkpoint.close()
    checkpoint.close()
    with pytest.raises(CheckpointError, match="the checkpoint is closed"):
        checkpoint.raw("w")
    path.unlink()
    del checkpoint
    gc.collect()
    assert bits.tolist() == [7, 7]


def test_file_that_changes(tmp_path: Path) -> None:
    path = one(tmp_path / "a.safetensors")
    checkpoint = open_checkpoint(path)
    shutil.copy(path, tmp_path / "b")
    (tmp_path / "b").replace(path)
    with pytest.raises(CheckpointError, match=r"changed after it was opened\. Open it again"):
        checkpoint.raw("w")
    path.unlink()
    with pytest.raises(CheckpointError, match="cannot be opened"):
        checkpoint.raw("w")


def test_unknown_name() -> None:
    with open_checkpoint({"lm_head.weight": np.zeros(2)}) as checkpoint:
        with pytest.raises(
            CheckpointError, match=r"The closest name is `lm_head\.weight`"
        ) as caught:
            checkpoint.raw("lm_head.weigth")
        assert caught.value.tensor == "lm_head.weigth"
        assert repr(checkpoint).startswith("<Checkpoint dict: 1 tensors")


# --- identity


def test_fingerprint_is_the_same_elsewhere(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for i in range(3):
            one(tmp_path / folder / f"m{i}.safetensors", f"t{i}", i)
    os.utime(tmp_path / "b" / "m0.safetensors", (1, 1))
    first, second = (open_checkpoint(tmp_path / folder).fingerprint for folder in "ab")
    assert first == second
    assert len(bytes.fromhex(first)) == 32


def test_fingerprint_differs(tmp_path: Path) -> None:
    header = {"w": entry("U8", [MIB], 0, MIB)}
    base = write(tmp_path / "a.safetensors", header, bytes(MIB))
    prints = {open_checkpoint(base).fingerprint}
    write(tmp_path / "b.safetensors", header, b"\1" * MIB)
    write(tmp_path / "c.safetensors", {"v": header["w"]}, bytes(MIB))
    write(tmp_path / "d.safetensors", {"w": entry("I8", [MIB], 0, MIB)}, bytes(MIB))
    prints |= {open_checkpoint(tmp_path / f"{x}.safetensors").fingerprint for x in "bcd"}
    prints.add(open_checkpoint({"w": np.zeros(2)}).fingerprint)
    prints.add(open_checkpoint({"w": np.zeros(3)}).fingerprint)
    assert len(prints) == 6


# --- modules and state dicts


class Config:
    def to_dict(self) -> dict[str, Any]:
        return {"model_type": "tiny"}


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.config = Config()
        self.embed = torch.nn.Embedding(4, 3)
        self.head = torch.nn.Linear(3, 4, bias=False, dtype=torch.bfloat16)
        self.tied = torch.nn.Linear(3, 4, bias=False)
        self.tied.weight = self.embed.weight
        self.register_buffer("buffer", torch.zeros(1))


def test_module() -> None:
    module = Tiny()
    with open_checkpoint(module) as checkpoint:
        assert checkpoint.source == "Tiny"
        assert checkpoint.config == {"model_type": "tiny"}
        assert list(checkpoint.tensors) == ["embed.weight", "head.weight"]
        assert checkpoint.tensors["head.weight"] == TensorInfo("head.weight", "BF16", (4, 3), 24)
        bits = checkpoint.raw("head.weight")
        assert bits.dtype == np.uint16
        assert bits.ctypes.data == module.head.weight.data_ptr()
        assert not bits.flags.writeable
        assert len(checkpoint.fingerprint) == 64
    with pytest.raises(CheckpointError, match="closed"):
        checkpoint.raw("head.weight")


def test_non_contiguous_tensor_is_read_in_c_order() -> None:
    tensor = torch.arange(6, dtype=torch.int32).reshape(2, 3).T
    with open_checkpoint({"w": tensor, "v": tensor.numpy()}) as checkpoint:
        assert checkpoint.raw("w").tolist() == checkpoint.raw("v").tolist() == [0, 3, 1, 4, 2, 5]


def test_tensors_without_bits_are_problems() -> None:
    module = torch.nn.ModuleDict(
        {
            "meta": torch.nn.Linear(2, 2, bias=False, device="meta"),
            "lazy": torch.nn.LazyLinear(2, bias=False),
        }
    )
    sparse = torch.eye(2).to_sparse()
    state = {"sparse": sparse, "wide": torch.zeros(2, dtype=torch.complex128), "epoch": 3}
    with open_checkpoint(module) as live, open_checkpoint(state) as stored:
        problems = dict(live.problems + stored.problems)
        assert "meta device" in problems["meta.weight"]
        assert "lazy" in problems["lazy.weight"]
        assert "sparse" in problems["sparse"]
        assert "complex128" in problems["wide"]
        assert live.tensors["meta.weight"].shape == (2, 2)
        assert stored.notes == ("Left out `epoch`: a int is not a tensor.",)
        with pytest.raises(CheckpointError, match=r"`ModuleDict`, tensor `meta\.weight`: it is on"):
            live.raw("meta.weight")


def test_tensor_that_torch_cannot_view() -> None:
    tensor = torch.zeros(2, dtype=torch.complex64).conj()
    with pytest.raises(CheckpointError, match="`dict`, tensor `w`: torch cannot give its bytes"):
        open_checkpoint({"w": tensor}).raw("w")


@pytest.mark.parametrize(
    ("dtype", "spelled"),
    [
        (ml_dtypes.bfloat16, "BF16"),
        (ml_dtypes.float8_e4m3fn, "F8_E4M3"),
        (ml_dtypes.float8_e5m2, "F8_E5M2"),
        (ml_dtypes.float8_e8m0fnu, "F8_E8M0"),
        (np.float16, "F16"),
        (">f4", "F32"),
        (np.bool_, "BOOL"),
    ],
)
def test_numpy_arrays(dtype: Any, spelled: str) -> None:
    array = np.array([[1, 2], [4, 0]]).astype(dtype)
    with open_checkpoint({"w": array}) as checkpoint:
        bits = checkpoint.raw("w")
        assert checkpoint.tensors["w"] == TensorInfo("w", spelled, (2, 2), array.nbytes)
    little = array.astype(array.dtype.newbyteorder("<"))
    assert bits.tobytes() == little.tobytes()
    assert np.shares_memory(bits, array) == (dtype != ">f4")
    assert array.flags.writeable


# --- steps


@pytest.mark.parametrize(
    "name",
    ["step1000", "step-1000", "step_1000", "checkpoint-1000", "global_step1000", "iter_0001000",
     "ckpt-1000", "step1000-unsharded", "stage1-step1000-tokens5B", "epoch=3-step=1000",
     "Checkpoint_1000", "step1000.safetensors"],
)  # fmt: skip
def test_step_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.touch() if path.suffix else path.mkdir()
    assert find_steps(str(tmp_path)) == {1000: path}


def test_steps_are_sorted_and_other_names_ignored(tmp_path: Path) -> None:
    for name in ("step-100", "step-20", "step-3", "latest", "step-best", "misstep4", "layer-5"):
        (tmp_path / name).mkdir()
    (tmp_path / "step-7").touch()
    (tmp_path / "step-8.pt").touch()
    assert list(find_steps(tmp_path)) == [3, 20, 100]


def test_no_steps(tmp_path: Path) -> None:
    assert find_steps(tmp_path) == {}
    with pytest.raises(CheckpointError, match="cannot be listed"):
        find_steps(tmp_path / "no")


def test_step_given_twice(tmp_path: Path) -> None:
    (tmp_path / "step10").mkdir()
    (tmp_path / "step-10").mkdir()
    with pytest.raises(CheckpointError, match="step 10 is there twice: `step10` and `step-10`"):
        find_steps(tmp_path)


# --- without torch


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = one(tmp_path / "a.safetensors")
    code = (
        "import sys, numpy, weibnb.io.checkpoint as room\n"
        f"assert room.open_checkpoint({str(path)!r}).raw('w').tolist() == [7, 7]\n"
        "room.open_checkpoint({'w': numpy.zeros(2)}).raw('w')\n"
        "assert 'torch' not in sys.modules\n"
    )
    root = Path(room.__file__).parents[1]
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=root)
