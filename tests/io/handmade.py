"""Checkpoints written by hand, byte for byte, and how they must be refused."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import pytest

from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path


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
