"""The training budget: what the user and the fits do not tell is read beside the checkpoints."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.diagnostics import budget
from weibnb.scanning.hyperparameters import training_budget

if TYPE_CHECKING:
    from pathlib import Path

UP = "model.layers.0.mlp.up_proj.weight"
STATE = {"global_step": 300, "max_steps": 1000, "log_history": [{"learning_rate": 5e-4}]}


def trained(directory: Path, **files: Any) -> Path:
    """A checkpoint of one matrix, with JSON files beside it."""
    directory.mkdir(parents=True)
    weights = np.random.default_rng(0).normal(0, 0.02, (16, 16))
    save_file({UP: weights}, directory / "model.safetensors")
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


def test_the_package_gives_the_door_that_looks() -> None:
    assert wb.training_budget is training_budget


def test_what_is_missing_is_read_beside_the_checkpoints(tmp_path: Path) -> None:
    for model, decay in (("a", 0.1), ("b", 0.2)):
        trained(tmp_path / model, trainer_state=STATE, training_args={"weight_decay": decay})
    fits = wb.scan({name: tmp_path / name for name in ("a", "b")})
    found = training_budget(fits)
    assert found["budget"].values.ravel() == pytest.approx(300 * 5e-4 * np.array([0.1, 0.2]))
    (tmp_path / "b" / "training_args.json").unlink()
    (tmp_path / "b" / "training_args.bin").touch()
    with pytest.raises(ValueError, match=r"`weight_decay` must be given.*is a pickle"):
        training_budget(fits)
    assert training_budget(fits, weight_decay=0.1)["steps"].values.ravel().tolist() == [300, 300]
    with pytest.raises(ValueError, match=r"`learning_rate` must be given; .* also looks"):
        budget.training_budget(fits)


def test_the_user_and_the_fits_come_before_the_files(tmp_path: Path) -> None:
    fits = wb.scan({"a": trained(tmp_path / "a", trainer_state=STATE, config={"wd": 0.1})})
    told = fits.assign_coords(learning_rate=("model", [1e-3]), weight_decay=("model", [0.2]))
    assert training_budget(fits)["budget"].item() == pytest.approx(300 * 5e-4 * 0.1)
    assert training_budget(told)["budget"].item() == pytest.approx(300 * 1e-3 * 0.2)
    assert training_budget(told, steps=7)["budget"].item() == pytest.approx(7 * 1e-3 * 0.2)


def test_a_schedule_stands_for_the_learning_rate(tmp_path: Path) -> None:
    fits = wb.scan({"a": trained(tmp_path / "a", config={"weight_decay": 0.1, "max_steps": 4})})
    found = training_budget(fits, schedule=[0.1, 0.3, 0.2, 0.1, 9.0])
    assert found["budget"].item() == pytest.approx(0.7 * 0.1)
    assert found["learning_rate"].item() == pytest.approx(0.3)
    with pytest.raises(ValueError, match="`learning_rate` must be omitted"):
        training_budget(fits, learning_rate=0.1, schedule=[0.1] * 4)


def test_nothing_beside_the_checkpoint_is_said() -> None:
    draws = np.random.default_rng(0).normal(0, 0.02, (16, 16))
    fits = wb.scan({"a": {UP: draws}})
    with pytest.raises(ValueError, match="`steps` must be given; no JSON file"):
        training_budget(fits, learning_rate=1e-3, weight_decay=0.1)
    with pytest.raises(ValueError, match="`weight_decay` must be given; without `fits`"):
        training_budget(learning_rate=1, steps=1)
