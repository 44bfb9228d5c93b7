"""Safetensors files: what is read, what is refused, and the official parser as the referee."""

from __future__ import annotations

import itertools
import json
import math
import pickle
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch

from tests.io.handmade import entry, pack, refused, write
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.safetensors import BITS, CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

deserialize: Callable[[bytes], list[tuple[str, Any]]] = safetensors.deserialize

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
    "truncated": (pack(GOOD, b"123"), "its data would be bytes 0 to 4 of 3: it is truncated"),
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
    "gguf": (b"GGUF" + struct.pack("<IQQ", 3, 1, 1), "this is GGUF.*ends in .gguf"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    "zip pickle": (b"PK\x03\x04" + bytes(range(1, 100)), "this is a pickle.*PyTorch files end"),
    "pickle": (pickle.dumps({"w": list(range(100))}), "this is a pickle.*PyTorch files end in"),
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


NAMES = st.text("abc.019_é ", min_size=1, max_size=8)
TYPES = st.sampled_from([dtype for dtype in BITS if BITS[dtype] >= 8])
SHAPES = st.lists(st.integers(0, 3), max_size=3)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(NAMES, st.tuples(TYPES, SHAPES), max_size=5), st.randoms(), st.integers(0, 9)
)
def test_valid_files_are_read_as_safetensors_reads_them(
    tmp_path: Path, tensors: dict[str, tuple[str, list[int]]], chance: Random, pad: int
) -> None:
    header: dict[str, Any] = {"__metadata__": {"made by": "hand"}} if pad % 2 else {}
    end = 0
    for name in chance.sample(list(tensors), len(tensors)):
        dtype, shape = tensors[name]
        begin, end = end, end + BITS[dtype] // 8 * math.prod(shape)
        header[name] = entry(dtype, shape, begin, end)
    listed = dict(chance.sample(list(header.items()), len(header)))
    content = pack(json.dumps(listed).encode() + b" " * pad, chance.randbytes(end))
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    theirs = read_by_safetensors(content)
    assert theirs is not None
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tensors.keys() == theirs.keys() == tensors.keys()
        for name, info in checkpoint.tensors.items():
            there = theirs[name]
            assert (info.dtype, list(info.shape)) == (there["dtype"], there["shape"])
            assert checkpoint.raw(name).tobytes() == there["data"]
