"""Hyperparameters from the JSON files of a training run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from weibnb.io.hyperparameters import read_hyperparameters

if TYPE_CHECKING:
    from pathlib import Path


def write(directory: Path, **files: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    return directory


STATE = {
    "global_step": 300,
    "max_steps": 1000,
    "log_history": [
        {"learning_rate": 1e-4, "step": 10},
        {"learning_rate": 5e-4, "step": 20},
        {"loss": 2.0, "step": 25},
        {"learning_rate": 3e-4, "step": 30},
    ],
}


def test_what_happened_comes_before_what_was_planned(tmp_path: Path) -> None:
    place = write(
        tmp_path,
        trainer_state=STATE,
        training_args={"learning_rate": 6e-4, "weight_decay": 0.1, "max_steps": 1000},
        config={"weight_decay": 0.9, "hidden_size": 4},
    )
    expected = {"learning_rate": 5e-4, "weight_decay": 0.1, "steps": 300}
    assert read_hyperparameters(place) == expected
    (place / "model.safetensors").touch()
    assert read_hyperparameters(place / "model.safetensors") == expected
    (place / "trainer_state.json").unlink()
    planned = {"learning_rate": 6e-4, "weight_decay": 0.1, "steps": 1000}
    assert read_hyperparameters(place) == planned


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"max_lr": 1e-3, "wd": 0}, {"learning_rate": 1e-3, "weight_decay": 0}),
        ({"optimizer": {"params": {"lr": 1e-3}}, "lr": 2e-3}, {"learning_rate": 2e-3}),
        ({"optimizer": {"params": {"lr": 1e-3}}}, {"learning_rate": 1e-3}),
        ({"max_steps": -1, "train_iters": 50, "lr": True}, {"steps": 50}),
        ({"global_step": 0, "max_steps": 9, "weight_decay": "0.1", "lr": 1}, {"learning_rate": 1}),
    ],
)
def test_names_of_several_trainers(tmp_path: Path, config: Any, found: dict[str, float]) -> None:
    assert read_hyperparameters(write(tmp_path, config=config)) == found


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not found"):
        read_hyperparameters(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"no JSON file beside '.*' tells\.$"):
        read_hyperparameters(tmp_path)
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"`training_args.bin` is a pickle.* never opened"):
        read_hyperparameters(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\xff"])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"config\.json`: it is not a valid JSON object"):
        read_hyperparameters(tmp_path)


def test_a_step_knows_what_its_run_knows_but_for_the_steps(tmp_path: Path) -> None:
    write(tmp_path, training_args={"learning_rate": 6e-4, "weight_decay": 0.1, "max_steps": 1000})
    step = write(tmp_path / "checkpoint-300", config={"hidden_size": 4})
    assert read_hyperparameters(step) == {"learning_rate": 6e-4, "weight_decay": 0.1}
    write(step, trainer_state=STATE)
    expected = {"learning_rate": 5e-4, "weight_decay": 0.1, "steps": 300}
    assert read_hyperparameters(step) == expected


def test_numbers_that_no_float_holds_are_none(tmp_path: Path) -> None:
    place = write(tmp_path, config={"lr": 10**400, "weight_decay": float("inf"), "steps": 7})
    assert read_hyperparameters(place) == {"steps": 7}


def test_sections_are_looked_into_three_levels_deep(tmp_path: Path) -> None:
    sections: dict[str, Any] = {"lr": 0.5}
    for level in range(900):
        sections = {"training": sections}
        (tmp_path / "config.json").write_text(json.dumps(sections))
        if level < 3:
            assert read_hyperparameters(tmp_path) == {"learning_rate": 0.5}
    with pytest.raises(ValueError, match="must be given"):
        read_hyperparameters(tmp_path)
