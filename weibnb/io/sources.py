"""What a source of `scan` means: which checkpoints, and the model and step of each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.files import CheckpointError, list_directory, why
from weibnb.io.links import contained

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = re.compile(
    r"(?:.*[-_.])?(?:step|iter|iteration|checkpoint|ckpt)[-_=]?([0-9]+)(?:-(?:tokens\w+|unsharded))?",
    re.IGNORECASE,
)
_MOST_DIGITS = 100  # leading zeros among them


@dataclass(frozen=True, slots=True)
class Planned:
    """One checkpoint to scan, of a model at a step."""

    model: str
    step: int
    checkpoint: Any  # what `weibnb.open_checkpoint` takes, or why it cannot be found
    note: str = ""  # what was left out beside it


def resolve_sources(source: Any) -> Iterator[Planned]:
    """Yield every checkpoint that a source of `scan` means, models as given, steps ascending."""
    if not isinstance(source, Mapping):
        yield from _resolve_one(_name_of(source), source)
        return
    if not source:
        raise ValueError("`source` must name at least one checkpoint, got an empty mapping.")
    if _is_state_dict(source):
        yield Planned("model", 0, source)
        return
    for model, entry in source.items():
        if not isinstance(model, str):
            raise TypeError(
                f"`source` must map model names to checkpoints, got the key {model!r}. "
                "A run is {'name': {step: checkpoint}}."
            )
        if isinstance(entry, Mapping) and not _is_state_dict(entry):
            yield from _resolve_run(model, entry)
        else:
            try:
                yield from _resolve_one(model, entry)
            except CheckpointError as err:
                yield Planned(model, 0, err)


def _resolve_run(model: str, steps: Mapping[Any, Any], note: str = "") -> Iterator[Planned]:
    seen: dict[int, Any] = {}
    for step, checkpoint in steps.items():
        if isinstance(step, (bool, np.bool_)) or not isinstance(step, (int, np.integer)):
            raise TypeError(f"A step must be an integer, got {step!r} for model {model!r}.")
        if step < 0:
            raise ValueError(f"A step must be at least 0, got {step} for model {model!r}.")
        if step >= 2**63:
            raise ValueError(f"A step must be less than 2^63, got {step} for model {model!r}.")
        seen[int(step)] = checkpoint
    if not seen:
        raise ValueError(f"Model {model!r} must have at least one step, got none.")
    for step in sorted(seen):
        yield Planned(model, step, seen[step], note if step == max(seen) else "")


def _resolve_one(model: str, source: Any) -> Iterator[Planned]:
    if not isinstance(source, (str, os.PathLike)):
        yield Planned(model, 0, source)
        return
    if source == "":
        raise CheckpointError("", "the path is empty", "Pass `.` for the current directory.")
    path = Path(source)
    try:
        steps = find_steps(path) if path.is_dir() else {}
        note = _beside(path, steps) if steps else ""
    except (OSError, RuntimeError) as err:  # too long, not to be searched, links in a circle
        raise CheckpointError(path, f"the path cannot be used: {why(err)}") from err
    if steps:
        yield from _resolve_run(model, steps, note)
    else:
        yield Planned(model, step_of(path.name) or 0, path)


def _beside(path: Path, steps: Mapping[int, Path | CheckpointError]) -> str:
    """Say which safetensors files of a run's directory are no steps."""
    taken = {os.path.realpath(step) for step in steps.values() if isinstance(step, Path)}
    files = path.glob("*.safetensors")
    names = [file.name for file in files if os.path.realpath(file) not in taken]
    names = [name for name in names if step_of(name) is None]
    listed = ", ".join(sorted(names)[:8]) + (", ..." if len(names) > 8 else "")
    return f"{listed} beside the steps is no step and was left out" if names else ""


def _is_state_dict(source: Mapping[Any, Any]) -> bool:
    return bool(source) and all(
        isinstance(name, str) and hasattr(value, "dtype") and hasattr(value, "shape")
        for name, value in source.items()
    )


def _name_of(source: Any) -> str:
    if not isinstance(source, (str, os.PathLike)):
        return type(source).__name__
    path = Path(os.path.abspath(source))  # noqa: PTH100  (resolve() would follow a cache's links)
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.removeprefix("models--").replace("--", "/")
    return path.stem if path.suffix == ".safetensors" else path.name


def step_of(name: str) -> int | None:
    """Read the training step from the name of a checkpoint: 1000 from `pythia-step1000`."""
    match = _STEP.fullmatch(name.removesuffix(".safetensors"))
    step = int(match[1]) if match and len(match[1]) < _MOST_DIGITS else None
    return step if step is not None and step < 2**63 else None


def find_steps(directory: str | os.PathLike[str]) -> dict[int, Path | CheckpointError]:
    """Find the checkpoints of a training run by their names, in the order of steps.

    There is one directory or ``.safetensors`` file per step, named like ``step1000``,
    ``step_1000``, ``global_step1000``, ``checkpoint-1000``, ``ckpt-5`` or ``iter_0001000``. A link
    out of the directory is an error in its place.
    """
    found: dict[int, str] = {}
    place = Path(directory)
    for name in list_directory(place):
        step = step_of(name)
        if step is None or not (name.endswith(".safetensors") or _is_directory(place / name)):
            continue
        if step in found:
            names = f"`{found[step]}` and `{name}`"
            raise CheckpointError(directory, f"step {step} is there twice: {names}", "Remove one.")
        found[step] = name
    return {step: _step_path(place, found[step]) for step in sorted(found)}


def _is_directory(path: Path) -> bool:
    """Whether this is a directory, or nobody can tell: then opening it says why."""
    try:
        return path.is_dir()
    except OSError:
        return True


def _step_path(directory: Path, name: str) -> Path | CheckpointError:
    """Give the path of a step, or the error that it is a link to another place."""
    try:
        return contained(directory, name, "If you trust it, pass {'name': {step: path}}.")
    except CheckpointError as err:
        return err


def demo_checkpoints() -> Path:
    """Return the directory of the packaged training run: five checkpoints of a small decoder.

    Three layers of width 128 that learned the source of the Python standard library, with
    rotary attention and a gated feed-forward, in bfloat16: ``step0``, ``step100``, ``step500``,
    ``step2000`` and ``step7000``.

    Returns
    -------
    pathlib.Path
        What `scan`, `check`, `decompose` and `explore` take; one checkpoint is
        ``demo_checkpoints() / "step7000"``.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.scan(wb.demo_checkpoints(), progress=False)
    >>> fits.k.sel(model="demo", layer=0, component="o_proj").round(3).values.tolist()
    [1.214, 1.207, 1.177, 1.111, 1.007]
    """
    return Path(__file__).parents[1] / "data" / "demo"
