"""The steps of a training run, by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from weibnb.io.files import CheckpointError
from weibnb.io.sources import find_steps

if TYPE_CHECKING:
    from pathlib import Path


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
