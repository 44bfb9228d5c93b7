"""Folders of models: what lies in them, and what each is called."""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass
from pathlib import Path

from weibnb.io.files import CheckpointError, list_directory, natural_order
from weibnb.io.kinds import WHERE_NAMED, kind_in, without_ending
from weibnb.io.links import contained
from weibnb.io.steps import is_step_alone, step_of
from weibnb.messages import shortened

# Names that tell nothing of a model: its folder's name does.
_GENERIC = re.compile(
    r"model|checkpoint|ckpt|weights|pytorch_model|consolidated|adapter|adapter_model|"
    r"(?:model|consolidated)[-.]\d+(?:-of-\d+)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Inside:
    """A model in a folder, or why it is not read."""

    path: Path
    refused: CheckpointError | None = None


def expand(source: str | os.PathLike[str]) -> list[Path]:
    """Give the directories and files of tensors that a pattern fits; another path as it is.

    Raises
    ------
    CheckpointError
        If none fits.
    """
    text = os.fspath(source)
    path = Path(text)
    if not glob.has_magic(text) or os.path.lexists(text):
        return [path]
    found = sorted(glob.glob(os.path.expanduser(text), recursive=True), key=natural_order)  # noqa: PTH111, PTH207 - patterns may be absolute
    kept = [Path(one) for one in found if one.endswith(WHERE_NAMED) or os.path.isdir(one)]  # noqa: PTH112
    if not kept:
        cause = "no directory or file of tensors fits this pattern"
        raise CheckpointError(text, cause, "See what is there: ls, or pass a folder.")
    return kept


def models_in(path: Path) -> tuple[list[Inside], str] | None:
    """Give the models of a folder that is none itself, and say what else lies there.

    None if it is no such folder: a file, a checkpoint, a run, or without any model inside.
    """
    try:
        if not path.is_dir() or holds_checkpoint(path):
            return None
        folders = [name for name in list_directory(path) if (path / name).is_dir()]
        models = [name for name in folders if holds_checkpoint(path / name)]
    except (CheckpointError, OSError, RuntimeError):
        return None  # opening it says why
    if not models:
        return None
    others = [shortened(name) for name in folders if name not in models]
    listed = ", ".join(others[:8]) + (", ..." if len(others) > 8 else "")
    note = f"{listed} beside the models holds no file of tensors and was left out"
    return [_inside(path, name) for name in models], note if others else ""


def holds_checkpoint(path: Path) -> bool:
    """Whether a directory is a checkpoint or a run, by the names in it."""
    try:
        names = list_directory(path)
    except CheckpointError:
        return False
    return kind_in(names) is not None or any(_is_step(path, name) for name in names)


def _is_step(path: Path, name: str) -> bool:
    """Whether a directory in a directory is a step of a run."""
    return step_of(name) is not None and (path / name).is_dir()


def _inside(folder: Path, name: str) -> Inside:
    """Give a model of a folder, or the error that it is a link to another place."""
    try:
        return Inside(contained(folder, name, "If you trust it, pass its own path."))
    except CheckpointError as err:
        return Inside(folder / name, err)


def names_of(path: Path) -> tuple[list[str], int | None]:
    """Give what a checkpoint may be called, the shortest first, and the step in its name.

    A folder that is called ``model`` or ``checkpoint-1000`` has its parent's name.

    Examples
    --------
    >>> names_of(Path("/runs/big/checkpoint-1000"))
    (['big', 'runs/big'], 1000)
    >>> names_of(Path("/runs/big/model/model.safetensors"))
    (['big', 'big/model/model', 'runs/big/model/model'], None)
    """
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow a cache's links
    parent, above = absolute.parent, absolute.parent.parent
    if parent.name == "snapshots" and above.name.startswith("models--"):
        name = above.name.removeprefix("models--").replace("--", "/")
        return [name, f"{name}@{absolute.name[:12]}", f"{name}@{absolute.name}"], None
    words = [part for part in absolute.parts if part != absolute.anchor] or [str(absolute)]
    words[-1] = without_ending(words[-1])
    at, step = len(words) - 1, None
    while at >= 0 and (
        _GENERIC.fullmatch(words[at]) or (step is None and is_step_alone(words[at]))
    ):
        step = step_of(words[at]) if step is None else step
        at -= 1
    at = at if at >= 0 else len(words) - 1
    step = step_of(words[at]) if step is None else step
    told = [word for word in words[at + 1 :] if not is_step_alone(word)]
    tails = [[words[at]], *([words[at], *told] for _ in told[:1])]
    tails += [[*words[i:at], *tails[-1]] for i in range(at - 1, -1, -1)]
    return ["/".join(tail) for tail in tails], step


def _tells_nothing(word: str, step: int | None) -> bool:
    """Whether a word of a path names no model: a generic one, or the step where none is known."""
    return bool(_GENERIC.fullmatch(word)) or (step is None and is_step_alone(word))
