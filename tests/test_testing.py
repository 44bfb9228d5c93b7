"""Synthetic checkpoints: the same weights forever, and files that the official library reads."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors import safe_open

import weibnb as wb
from weibnb.testing import encode, write_checkpoint, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path


def test_weights_never_change_and_do_not_depend_on_the_shards(tmp_path: Path) -> None:
    found = set()
    for shards in (1, 3):
        place = write_checkpoint(tmp_path / str(shards), layers=1, hidden=64, shards=shards, seed=5)
        assert len(list(place.glob("*.safetensors"))) == shards
        digest = hashlib.sha256()
        with wb.open_checkpoint(place) as checkpoint:
            for name, info in checkpoint.tensors.items():
                digest.update(f"{name} {info.dtype} {info.shape}".encode())
                digest.update(checkpoint.raw(name).tobytes())
        found.add(digest.hexdigest()[:16])
    assert found == {"6cd3dc8d9423b7ac"}


def test_names_of_the_same_letters_have_other_weights(tmp_path: Path) -> None:
    """A copy of a layer is a finding, which a synthetic checkpoint must not have."""
    place = write_checkpoint(tmp_path / "m", layers=12, hidden=64)
    with wb.open_checkpoint(place) as checkpoint:
        found = [checkpoint.raw(name)[:4000].tobytes() for name in checkpoint.tensors]
        large = [bits for bits in found if len(bits) == 8000]
    assert len(large) > 80
    assert len(set(large)) == len(large)


def test_the_official_library_reads_what_is_written(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 5))
    about = {dtype: (dtype, values.shape) for dtype in ("BF16", "F16", "F32", "F64")}
    data = [encode(values, dtype) for dtype in about]
    path = write_safetensors(
        tmp_path / "a.safetensors", about | {"": ("F32", ())}, [*data, data[2][0, :1]]
    )
    with safe_open(path, "pt") as theirs:
        for dtype, rounding in {"BF16": 2**-8, "F16": 2**-11, "F32": 2**-24, "F64": 0}.items():
            read = theirs.get_tensor(dtype).double().numpy()
            np.testing.assert_allclose(read, values, rtol=rounding)
        assert theirs.get_tensor("").item() == data[2][0, 0]


def test_memory_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'w' must have 12 bytes, got 24"):
        write_safetensors(tmp_path / "a", {"w": ("BF16", (2, 3))}, [np.zeros((2, 3), "f4")])
    with pytest.raises(ValueError, match="zip"):
        write_safetensors(tmp_path / "a", {"w": ("BF16", (2, 3))}, [])
    assert not (tmp_path / "a").exists()
