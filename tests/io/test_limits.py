"""What a checkpoint may ask for: both sides of every limit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.io.handmade import entry, index, pack, refused, write
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError
from weibnb.io.limits import MAX_HEADER, Limits

if TYPE_CHECKING:
    from pathlib import Path


def several(path: Path, number: int, prefix: str = "t") -> Path:
    header = {f"{prefix}{i}": entry("U8", [1], i, i + 1) for i in range(number)}
    return write(path, header, bytes(number))


@pytest.mark.parametrize("name", ["max_tensors", "max_header"])
def test_limits_are_positive_integers(name: str) -> None:
    def arguments(name: str, value: Any) -> dict[str, Any]:
        return {name: value}

    wrongs: list[Any] = [1.0, "1", True, None]
    for wrong in wrongs:
        with pytest.raises(TypeError, match=f"`{name}` must be an integer"):
            open_checkpoint({}, **arguments(name, wrong))
    for low in (0, -1):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got {low}"):
            open_checkpoint({}, **arguments(name, low))
    assert getattr(Limits(**{name: 1}), name) == 1


def test_tensors_of_one_file(tmp_path: Path) -> None:
    path = several(tmp_path / "a.safetensors", 10)
    assert len(open_checkpoint(path, max_tensors=10).tensors) == 10
    with pytest.raises(CheckpointError, match="lists 10 tensors, at most 9 are taken") as caught:
        open_checkpoint(path, max_tensors=9)
    assert "`max_tensors=10` (in a shell `--max-tensors 10`)" in str(caught.value)


def test_tensors_of_all_files(tmp_path: Path) -> None:
    for part in "abc":
        several(tmp_path / f"{part}.safetensors", 4, part)
    assert len(open_checkpoint(tmp_path, max_tensors=12).tensors) == 12
    for most in (4, 8, 11):
        with pytest.raises(CheckpointError, match=f"at most {most} are taken"):
            open_checkpoint(tmp_path, max_tensors=most)


def test_the_header_of_a_file(tmp_path: Path) -> None:
    path = several(tmp_path / "a.safetensors", 10)
    length = len(path.read_bytes()) - 18
    assert open_checkpoint(path, max_header=length).tensors
    with pytest.raises(CheckpointError, match=f"takes {length} bytes, at most") as caught:
        open_checkpoint(path, max_header=length - 1)
    assert f"`max_header={length}` (in a shell `--max-header {length}`)" in str(caught.value)


def test_the_header_by_default(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack(b"{}".ljust(MAX_HEADER)))
    assert not open_checkpoint(path).tensors
    path.write_bytes(pack(b"{}".ljust(MAX_HEADER + 1)))
    refused(path, "at most 10,000,000 are read")
    assert not open_checkpoint(path, max_header=MAX_HEADER + 1).tensors


def test_an_index(tmp_path: Path) -> None:
    file = f"{'a' * 230}.safetensors"  # for an index of more than four headers
    several(tmp_path / file, 10)
    path = index(tmp_path, {f"t{i}": file for i in range(10)})
    size = path.stat().st_size
    assert open_checkpoint(path, max_header=-(-size // 4), max_tensors=10).tensors
    with pytest.raises(CheckpointError, match=f"takes {size:,} bytes, at most") as caught:
        open_checkpoint(path, max_header=size // 4 - 1)
    assert "pass a quarter of that as `max_header`" in str(caught.value)
    with pytest.raises(CheckpointError, match="lists 10 tensors, at most 9") as caught:
        open_checkpoint(path, max_tensors=9)
    assert caught.value.path == str(path)


def test_real_checkpoints_of_a_trillion_weights_are_within_the_defaults() -> None:
    """Kimi K2 Thinking: 60 layers of 384 experts, three packed matrices of three tensors each."""
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.{kind}_proj.weight_{part}"
        for layer in range(1, 61)
        for expert in range(384)
        for kind in ("gate", "up", "down")
        for part in ("packed", "scale", "shape")
    ]
    weights = dict.fromkeys(names, "model-00061-of-000062.safetensors")
    limits = Limits()
    assert len(json.dumps({"weight_map": weights}, indent=2)) < limits.max_index
    assert len(names) < limits.max_tensors
    shard: dict[str, Any] = {
        name: entry("I32", [2048, 896], 10**9, 10**9) for name in names[: len(names) // 60]
    }
    assert len(json.dumps(shard)) < limits.max_header / 10
