"""Regular files and directories, read with care: every failure is a `CheckpointError`."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Most bytes of JSON that are read, but for headers and indexes.
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


class MissingPartError(CheckpointError, ImportError):  # type: ignore[misc]  # both have a path
    """A checkpoint needs a package that is not installed, or is too old."""


class UnreadableWarning(UserWarning):
    """A checkpoint, or a part of one, could not be read and is missing in the result."""


def why(err: Exception) -> str:
    """Say what went wrong with a path, without naming it again."""
    return (getattr(err, "strerror", None) or str(err)).rstrip(".")


@contextmanager
def reading(path: Path, identity: tuple[int, ...] | None = None) -> Iterator[BinaryIO]:
    """Open a regular file that has not changed since `identity` was taken."""
    try:
        # neither a pipe nor a device is opened, nor waited for if it takes the file's place
        regular = stat.S_ISREG(path.stat().st_mode)
        file = open(path, "rb", opener=_without_waiting) if regular else None  # noqa: SIM115 - entered below
    except (OSError, ValueError) as err:
        raise CheckpointError(path, f"the file cannot be opened: {why(err)}") from err
    if file is None:
        raise CheckpointError(path, "it is not a regular file", "Pass a .safetensors file.")
    with file:
        if identity not in (None, identity_of(file)):
            raise changed(path)
        try:
            yield file
        except OSError as err:
            raise CheckpointError(path, f"the file cannot be read: {why(err)}") from err


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def identity_of(file: BinaryIO) -> tuple[int, ...]:
    """Return device, inode, size and modification time of an open file."""
    return _identity(os.fstat(file.fileno()))


def changed(path: Path) -> CheckpointError:
    """Make the error for a file that is another than it was."""
    return CheckpointError(path, "the file changed after it was opened", "Open it again.")


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
    path: Path, *, limit: int = LARGEST_JSON, too_large: str = "", strict: bool = False
) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes; `too_large` says what to do beyond."""
    with reading(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            cause = f"it takes {size:,} bytes, at most {limit:,} are read"
            raise CheckpointError(path, cause, too_large)
        text = file.read(size)
    try:
        return parse_json(text, strict=strict)
    except ValueError as err:
        raise CheckpointError(path, f"it is not a valid JSON object: {err}", AGAIN) from err


def parse_json(text: bytes, *, strict: bool = False) -> dict[str, Any]:
    """Parse a JSON object, or raise ValueError.

    Whatever is not `strict` may repeat keys, and hold what Python writes beside JSON: NaN and
    infinities, lone surrogates.
    """
    try:
        if not strict:
            value = json.loads(text.decode())
        else:
            value = json.loads(
                text.decode(),
                object_pairs_hook=_unique_keys,
                parse_constant=_not_a_number,
                parse_float=_finite,
            )
            if re.search(rb"\\u[dD][89a-fA-F]", text):
                json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")  # noqa: TRY004 - a value of a file
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of key-value pairs, none of which may repeat a key."""
    result = dict(pairs)
    if len(result) < len(pairs):
        number = Counter(key for key, _ in pairs)
        twice = next(key for key in number if number[key] > 1)
        raise ValueError(f"the key {shortened(twice)!r} appears twice")
    return result


def _not_a_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(word: str) -> float:
    if math.isinf(number := float(word)):
        raise ValueError(f"the number {shortened(word)} is out of range")
    return number


def list_directory(directory: Path) -> list[str]:
    """List the names in a directory in natural order, hidden ones left out."""
    try:
        names = [path.name for path in directory.iterdir() if not path.name.startswith(".")]
    except (OSError, ValueError) as err:
        raise CheckpointError(directory, f"the directory cannot be listed: {why(err)}") from err
    return sorted(names, key=natural_order)


def natural_order(name: str) -> tuple[str, str]:
    """Sort digits as numbers, whatever their length, and the rest as text."""
    return re.sub(r"[0-9]+", _by_size, name), name


def _by_size(digits: re.Match[str]) -> str:
    """Write a number so that text order is its order, before any other text."""
    number = digits[0].lstrip("0")
    return f"\0{len(number):09d}{number}"
