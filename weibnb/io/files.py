"""Regular files and directories, read with care: every failure is a `CheckpointError`."""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Most bytes of JSON that are read; the limit of the safetensors library for its headers.
LARGEST_JSON = 100_000_000
AGAIN = "Download or save it again."


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, with one cause and the next step.

    Parameters
    ----------
    path : path-like
        The file or directory, or the class name of a module.
    cause_text : str
        What is wrong, without a full stop.
    next_step : str, optional
        What to do about it, a whole sentence.
    tensor : str, optional
        The tensor concerned.

    Examples
    --------
    >>> print(CheckpointError("a.safetensors", "the file is empty", "Download it again."))
    `a.safetensors`: the file is empty. Download it again.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        cause_text: str,
        next_step: str = "",
        tensor: str | None = None,
    ) -> None:
        super().__init__(path, cause_text, next_step, tensor)
        self.path = os.fspath(path)
        self.cause_text = cause_text
        self.next_step = next_step
        self.tensor = tensor

    def __str__(self) -> str:
        tensor = "" if self.tensor is None else f", tensor `{shortened(self.tensor, 200)}`"
        cause = shortened(self.cause_text, 1000)
        return f"`{shortened(self.path, 1000)}`{tensor}: {cause}. {self.next_step}".rstrip()


class UnreadableWarning(UserWarning):
    """A checkpoint, or a part of one, could not be read and is missing in the result."""


@contextmanager
def reading(path: Path, identity: tuple[int, ...] | None = None) -> Iterator[BinaryIO]:
    """Open a regular file that has not changed since `identity` was taken."""
    try:
        file = path.open("rb") if stat.S_ISREG(path.stat().st_mode) else None
    except (OSError, ValueError) as err:
        raise CheckpointError(path, f"the file cannot be opened: {err}") from err
    if file is None:
        raise CheckpointError(path, "it is not a regular file", "Pass a .safetensors file.")
    with file:
        if identity not in (None, identity_of(file)):
            raise CheckpointError(path, "the file changed after it was opened", "Open it again.")
        try:
            yield file
        except OSError as err:
            raise CheckpointError(path, f"the file cannot be read: {err}") from err


def identity_of(file: BinaryIO) -> tuple[int, ...]:
    """Return device, inode, size and modification time of an open file."""
    return _identity(os.fstat(file.fileno()))


def identity_at(path: Path) -> tuple[int, ...]:
    """Return the same of what has a name now, nothing if nothing has."""
    try:
        return _identity(path.stat())
    except FileNotFoundError:
        return ()
    except OSError as err:
        raise CheckpointError(path, f"the file cannot be found again: {err}") from err


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Take what tells a file from others, and from itself after a change."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def read_json(
    path: Path, *, limit: int = LARGEST_JSON, pairs: Callable[[Any], dict[str, Any]] = dict
) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes; `pairs` makes its dicts, as `unique_keys`."""
    with reading(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise CheckpointError(path, f"at most {limit:,} bytes are read, it has {size:,}")
        text = file.read(size)
    try:
        return parse_json(text, pairs)
    except ValueError as err:
        raise CheckpointError(path, f"it is not a valid JSON object: {err}", AGAIN) from err


def parse_json(text: bytes, pairs: Callable[[Any], dict[str, Any]] = dict) -> dict[str, Any]:
    """Parse a JSON object, or raise ValueError."""
    try:
        value = json.loads(text.decode(), object_pairs_hook=pairs)
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")  # noqa: TRY004 - a value of a file
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of key-value pairs, none of which may repeat a key."""
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} appears twice")
        key.encode()
        result[key] = value
    return result


def list_directory(directory: Path) -> list[str]:
    """List the names in a directory in natural order, hidden ones left out."""
    try:
        names = [path.name for path in directory.iterdir() if not path.name.startswith(".")]
    except (OSError, ValueError) as err:
        raise CheckpointError(directory, f"the directory cannot be listed: {err}") from err
    return sorted(names, key=natural_order)


def natural_order(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Sort digits as numbers, whatever their length, and the rest as text."""
    parts = re.split(r"([0-9]+)", name)
    digits = [part.lstrip("0") if i % 2 else part for i, part in enumerate(parts)]
    return tuple((len(d) if i % 2 else 0, d) for i, d in enumerate(digits)), name
