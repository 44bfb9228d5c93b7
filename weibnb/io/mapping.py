"""Maps of files, and what happened to a file while its map was read."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

import numpy as np

from weibnb.io.files import CheckpointError, changed, identity_at, reading

if TYPE_CHECKING:
    from pathlib import Path


class Watch(Protocol):
    """What catches faults in a map, as `weibnb.io.guard` does."""

    @property
    def caught(self) -> bool:
        """Whether there was one: zeros were read in place of the file."""

    def end(self) -> None:
        """Let go of the map, before its addresses mean something else."""


@dataclass(slots=True)
class Origin:
    """The file of a map, as it was when it was opened; stays when the map is gone."""

    path: Path
    identity: tuple[int, ...]  # device, inode, size, modification time
    watch: Watch | None = None


class MappedFile(mmap.mmap):
    """A map that knows its file, and who watches it."""

    origin: Origin | None = None

    def __del__(self) -> None:
        if self.origin is not None and self.origin.watch is not None:
            self.origin.watch.end()


# Parts below `_SMALL` bytes share maps of `_WINDOW` bytes while one of them is in use: to open
# the file takes as long as to count such a part.
_SMALL, _WINDOW = 1 << 20, 1 << 26
_shared: WeakValueDictionary[tuple[Path, tuple[int, ...], int], MappedFile] = WeakValueDictionary()


def map_part(
    path: Path, identity: tuple[int, ...], offset: int, length: int
) -> tuple[MappedFile, int]:
    """Map a part of a file that has not changed since `identity` was taken; where it starts in it.

    Raises
    ------
    CheckpointError
        If the file changed, or cannot be opened.
    """
    if length >= _SMALL:
        inside = offset % mmap.ALLOCATIONGRANULARITY
        return map_file(path, identity, offset - inside, inside + length), inside
    start = offset - offset % _WINDOW
    key = path, identity, start
    area = _shared.get(key)
    if area is None:
        stop = min(start + _WINDOW + _SMALL, identity[2])
        area = _shared[key] = map_file(path, identity, start, stop - start)
    elif identity_at(path) != identity:
        raise changed(path)
    return area, offset - start


def map_file(path: Path, identity: tuple[int, ...], offset: int, length: int) -> MappedFile:
    """Map whole pages of a file."""
    with reading(path, identity) as file:
        try:
            area = MappedFile(file.fileno(), length, access=mmap.ACCESS_READ, offset=offset)
        except ValueError as err:  # it became shorter just now
            raise changed(path) from err
    area.origin = Origin(path, identity)
    return area


def mapped_file(bits: Any) -> MappedFile | None:
    """Find the map that an array, or a part of one, is a view of."""
    bits = getattr(bits, "stored", bits)  # of what is computed from a map
    while isinstance(bits, np.ndarray):
        bits = bits.base
    area = bits.obj if isinstance(bits, memoryview) else bits
    return area if isinstance(area, MappedFile) else None


def will_need(bits: Any) -> None:
    """Ask the system to read a part of a map, without waiting; nothing for what is none."""
    area = mapped_file(bits)
    if area is None or not isinstance(bits, np.ndarray) or not bits.size:
        return
    start = bits.ctypes.data - np.frombuffer(area, np.uint8).ctypes.data
    inside = start % mmap.PAGESIZE
    if hasattr(mmap, "MADV_WILLNEED"):
        area.madvise(mmap.MADV_WILLNEED, start - inside, inside + bits.nbytes)


def origin_of(bits: Any) -> Origin | None:
    """Tell which file an array is a view of, None for memory."""
    area = mapped_file(bits)
    return None if area is None else area.origin


def check_unchanged(origin: Origin | None) -> None:
    """Check, once bits were read, that they were those of the file as it was opened.

    A file that was replaced by another one stays whole in its maps.

    Raises
    ------
    CheckpointError
        If the file was truncated or written to, or its disk failed.
    """
    if origin is None:
        return
    cause = ""
    was, now = origin.identity, identity_at(origin.path)
    if now[:2] == was[:2] and now != was:
        cause = f"the file {'was truncated' if now[2] < was[2] else 'changed'} while it was read"
    elif origin.watch is not None and origin.watch.caught:
        cause = "a part of the file could not be read: its disk failed, or it was truncated"
    if cause:
        raise CheckpointError(origin.path, cause, "Scan it again once it is whole.")
