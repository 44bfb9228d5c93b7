"""Checkpoints: raw bits and how long they live, identity, no torch."""

from __future__ import annotations

import gc
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import weibnb as wb
from tests.io.handmade import entry, one, write
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError
from weibnb.io.safetensors import TensorInfo

MIB = 2**20


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


def test_wrong_type_of_source() -> None:
    with pytest.raises(TypeError, match=r"`source` must be a path, .* got int"):
        open_checkpoint(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`source` must have str keys, got 1"):
        open_checkpoint({1: np.zeros(1)})  # type: ignore[dict-item]


def test_views_are_the_map(tmp_path: Path) -> None:
    bits = open_checkpoint(one(tmp_path / "a.safetensors")).raw("w")
    assert not bits.flags.owndata
    assert not bits.flags.writeable
    base: Any = bits
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


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


def test_unknown_name() -> None:
    with open_checkpoint({"lm_head.weight": np.zeros(2)}) as checkpoint:
        with pytest.raises(
            CheckpointError, match=r"no tensor has this name\. Did you mean 'lm_head\.weight'\?"
        ) as caught:
            checkpoint.raw("lm_head.weigth")
        assert caught.value.tensor == "lm_head.weigth"
        assert repr(checkpoint).startswith("<Checkpoint dict: 1 tensors")


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


def test_torch_is_not_imported(tmp_path: Path) -> None:
    path = one(tmp_path / "a.safetensors")
    code = (
        "import sys, numpy, weibnb.io.checkpoint as room\n"
        f"assert room.open_checkpoint({str(path)!r}).raw('w').tolist() == [7, 7]\n"
        "room.open_checkpoint({'w': numpy.zeros(2)}).raw('w')\n"
        "assert 'torch' not in sys.modules\n"
    )
    root = Path(wb.__file__).parent
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=root)
