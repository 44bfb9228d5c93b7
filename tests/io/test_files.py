"""Files: what is no regular file, what changes, errors, natural order."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file as save_numpy

from tests.io.handmade import one, refused
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError


def test_natural_order(tmp_path: Path) -> None:
    names = ["b", "l.10.w", "l.2.w", "l.2.a", "l.02.w", "a", f"l.{'9' * 5000}"]
    save_numpy({name: np.zeros(1, np.float32) for name in names}, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path) as checkpoint:
        order = list(checkpoint.tensors)
    assert order == ["a", "b", "l.2.a", "l.02.w", "l.2.w", "l.10.w", f"l.{'9' * 5000}"]


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


def test_error_survives_pickling() -> None:
    error = CheckpointError(Path("a"), "cause", "Next.", "w")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(again) == str(error) == "`a`, tensor `w`: cause. Next."
    assert (again.path, again.tensor, again.cause_text) == ("a", "w", "cause")


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    os.mkfifo(path)
    monkeypatch.setattr("stat.S_ISREG", lambda mode: True)
    with pytest.raises(CheckpointError):
        open_checkpoint(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_beside_the_weights_is_a_note(tmp_path: Path) -> None:
    one(tmp_path / "model.safetensors")
    os.mkfifo(tmp_path / "config.json")
    (note,) = open_checkpoint(tmp_path).notes
    assert "it is not a regular file" in note
