"""Files that appear whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from weibnb.interrupts import held

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# Files that are being written.
_unfinished: set[Path] = set()


class EndingError(ValueError):
    """A name of a file whose ending does not say what is to be written."""


def check_target(path: str | os.PathLike[str], suffixes: Sequence[str], what: str) -> Path:
    """Check that a file can be written, before the work that fills it.

    Raises
    ------
    EndingError
        If its name does not end in one of `suffixes`: a ValueError.
    FileNotFoundError, IsADirectoryError, PermissionError
        If its directory does not exist, it is one itself, it is something else than a file, or
        the file is read-only.
    """
    target = Path(path)
    example = f"such as {what}{suffixes[0]}"
    if target.is_dir():
        raise IsADirectoryError(f"`path` must name a file, {example}, got {str(target)!r}.")
    if target.suffix.lower() not in suffixes:
        endings = " or ".join(filter(None, [", ".join(suffixes[:-1]), suffixes[-1]]))
        raise EndingError(f"`path` must end in {endings}, {example}, got {str(target)!r}.")
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"`path` must lie in a directory that exists, got {str(target)!r}: "
            f"make {str(target.parent)!r} first."
        )
    if target.exists() and not target.is_file():
        raise PermissionError(f"`path` must name a regular file, got {str(target)!r}.")
    if target.exists() and not target.stat().st_mode & 0o222:
        raise PermissionError(f"`path` must not name a read-only file, got {str(target)!r}.")
    return target


@held()
def write_whole(
    path: str | os.PathLike[str], content: bytes | memoryview | str | Iterable[bytes | memoryview]
) -> Path:
    """Write a file beside its target, flush it to the disk and move it over in one step.

    A target that is there keeps its mode, and a link keeps leading to it. Text is UTF-8. Ctrl-C
    waits until the file is there; a second one ends the writing and leaves what was there. What
    comes in parts is written as it comes.

    Raises
    ------
    OSError
        If it cannot be written; what was there before is untouched.
    """
    target = Path(path)
    place = Path(os.path.realpath(target))
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=place.parent)
        temporary = Path(name)
        _unfinished.add(temporary)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines([data] if isinstance(data, (bytes, memoryview)) else data)
                file.flush()
                os.fchmod(file.fileno(), _mode(place))
                os.fsync(file.fileno())
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
            _unfinished.discard(temporary)
        _flush_directory(place.parent)
    except OSError as err:
        size = f"{len(data):,} bytes" if isinstance(data, (bytes, memoryview)) else "the file"
        was = "; the file that was there is untouched" if place.exists() else ""
        raise type(err)(
            err.errno, f"{size} could not be written: {err.strerror}{was}", str(target)
        ) from err
    return target


def remove_unfinished() -> None:
    """Remove the files that are being written, before the process ends at once."""
    for temporary in list(_unfinished):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _mode(place: Path) -> int:
    """Permissions of the file that is there, or of a new one."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(place.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _flush_directory(directory: Path) -> None:
    """Make a new name durable, where directories can be flushed."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
