"""Learning rate, weight decay and steps of a training run, from the JSON files beside weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weibnb.io.files import read_json
from weibnb.io.links import contained
from weibnb.io.steps import step_of

if TYPE_CHECKING:
    import os

_KEYS = {
    "learning_rate": ("learning_rate", "peak_learning_rate", "max_lr", "lr"),
    "weight_decay": ("weight_decay", "weight-decay", "wd"),
    "steps": ("global_step", "steps", "train_steps", "train_iters", "max_iters", "max_steps"),
}
_SECTIONS = ("optimizer", "params", "training", "train")
# What was logged counts before what was asked for, and both before what the model carries.
_FILES = ("trainer_state.json", "training_args.json", "config.json")


def how_to_give(names: str, path: Path) -> str:
    """Say that hyperparameters are missing, and how to give them."""
    directory = path if path.is_dir() else path.parent
    message = f"{names} must be given; no JSON file beside {str(path)!r} tells."
    if (directory / "training_args.bin").exists():
        message += " `training_args.bin` is a pickle, which can run code and is never opened here."
    return message


def read_hyperparameters(path: str | os.PathLike[str]) -> dict[str, float]:
    """Read learning rate (the peak), weight decay and steps from the JSON files of a training run.

    `path` is a checkpoint's directory or a file in it; a step's directory lies in that of its run.
    ``steps`` are those done until this checkpoint if known, else those planned. The peak is the
    largest logged rate: of a checkpoint from within the warm-up it is the largest so far.

    Raises
    ------
    FileNotFoundError
        If there is no such path.
    ValueError
        If no file tells anything, or one is not valid JSON. Pickles (``training_args.bin``) are
        never opened.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"`path` must name a checkpoint, got {str(place)!r}: not found.")
    directory = place if place.is_dir() else place.parent
    found = _read_directory(directory)
    if step_of(directory.name) is not None:
        run = _read_directory(directory.parent)
        run.pop("steps", None)  # the whole run's, not this step's
        found = run | found
    if not found:
        raise ValueError(how_to_give("`learning_rate`, `weight_decay` and `steps`", place))
    return {name: found[name] for name in _KEYS if name in found}


def _read_directory(directory: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for file in (directory / name for name in _FILES):
        if file.is_file():
            content = read_json(contained(directory, file.name))
            logged = _logged(content) if file.name == "trainer_state.json" else {}
            found = _named(content) | logged | found
    return found


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if usable and 0 <= value <= sys.float_info.max else None


def _logged(state: dict[str, Any]) -> dict[str, float]:
    """Peak learning rate of a log."""
    entries = state.get("log_history")
    rates = [
        rate
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and (rate := _number(entry.get("learning_rate"))) is not None
    ]
    return {"learning_rate": max(rates)} if rates else {}


def _named(content: dict[str, Any], *, levels: int = 3) -> dict[str, float]:
    """Hyperparameters under any of their names, at the top or in a section for the training."""
    found: dict[str, float] = {}
    for section in _SECTIONS if levels else ():
        if isinstance(content.get(section), dict):
            found = _named(content[section], levels=levels - 1) | found
    for name, keys in _KEYS.items():
        numbers = (_number(content.get(key)) for key in keys)
        value = next((number for number in numbers if number is not None), None)
        if value is not None and not (name == "steps" and value == 0):
            found[name] = value
    return found
