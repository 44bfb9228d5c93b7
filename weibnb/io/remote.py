"""Checkpoints on other machines: what names them, and what a scan asks of their files.

`hub` knows the Hugging Face Hub, `objects` knows URLs and object stores; nothing is written to
disk.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from weibnb.io.directory import INDEX, SUFFIX, open_folder, read_config
from weibnb.io.files import AGAIN, CheckpointError, parse_json
from weibnb.io.folders import names_of
from weibnb.io.safetensors import header_length, shard_of
from weibnb.io.steps import step_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence
    from threading import Event

    from weibnb.io.directory import Folder
    from weibnb.io.limits import Limits
    from weibnb.io.rooms import Rooms
    from weibnb.io.safetensors import Shard

# Bytes of a file that are asked for to read its header: a share, at least and at most. Longer
# headers are asked for once more.
_SHARE, _LEAST, _MOST = 1 / 400, 100_000, 4_000_000
#: Requests under way at once.
IN_FLIGHT = 4
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_FILES = (SUFFIX, ".json", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".db", ".nc")
_SCHEMES = ("hf", "https", "http", "s3", "s3a", "gs", "az", "abfs", "abfss")


class RemoteFile(Protocol):
    """A file that is not on this machine, as it was when it was found.

    Attributes
    ----------
    name : str
        What errors call it; holds no secret.
    size : int
        Its bytes.
    blob : str
        A hash of its contents, empty where the server tells none.
    version : str
        What changes with its contents.
    """

    name: str
    size: int
    blob: str
    version: str

    def read(
        self, offset: int, length: int, stop: Event | None = None, rooms: Rooms | None = None, /
    ) -> memoryview:
        """Fetch a range, all of it, or raise CheckpointError; a `stop` that is set ends it."""

    def check_unmoved(self) -> None:
        """Raise CheckpointError if what names the file names another now."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A checkpoint on another machine, by its URL."""

    url: str

    def __post_init__(self) -> None:
        scheme = self.url.partition("://")[0].lower()
        if scheme not in _SCHEMES:
            known = ", ".join(f"{name}://" for name in _SCHEMES if name not in ("s3a", "abfss"))
            cause = f"weights are not read from {scheme}://"
            raise CheckpointError(self.name, cause, f"Pass a path, or one of {known}.")

    @property
    def name(self) -> str:
        """Its URL without user, password and query, which may hold secrets."""
        parts = urlsplit(self.url)
        if parts.scheme == "hf":
            return self.url
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    @property
    def is_hub(self) -> bool:
        """Whether it lies on the Hugging Face Hub."""
        return self.url.startswith("hf://")

    def named(self) -> tuple[list[str], int | None]:
        """Give what it may be called, the shortest name first, and the step in its name."""
        if self.is_hub:
            from weibnb.io.hub_places import Place

            at = Place.of(self.url)
            tail = f"/{at.folder}" if at.folder else ""
            names = [at.repository + tail, f"{at.repository}@{at.revision or 'main'}{tail}"]
            return names, step_of(at.revision)
        parts = urlsplit(self.name)
        return names_of(Path(f"/{parts.netloc}{parts.path.removesuffix('.index.json')}"))

    def __repr__(self) -> str:
        return f"Remote({self.name!r})"


def _may_be_id(text: str) -> bool:
    """Whether this may be the id of a repository, and is no path of this machine.

    A folder of the name wins; where there is a folder of the organisation's name, a path is meant.
    """
    if not _ID.fullmatch(text) or text.endswith(_FILES):
        return False
    path = Path(text)
    try:
        return not (path.is_symlink() or path.exists() or path.parent.exists())
    except (OSError, ValueError):
        return False


def as_remote(source: object) -> Remote | None:
    """Take a URL, or the id of a model on the Hub, for what it is; None for anything else."""
    if is_remote(source):
        return Remote(str(source))
    if isinstance(source, (str, Path)) and _may_be_id(str(source)):
        return Remote(f"hf://{source}")
    return source if isinstance(source, Remote) else None


def is_remote(source: object) -> bool:
    """Whether a source of a scan is a URL.

    Examples
    --------
    >>> is_remote("hf://EleutherAI/pythia-70m"), is_remote("EleutherAI/pythia-70m")
    (True, False)
    """
    return isinstance(source, str) and _SCHEME.match(source) is not None


def read_remote(
    remote: Remote, limits: Limits
) -> tuple[tuple[Shard, ...], dict[str, Any], list[str], str]:
    """Read the headers of a checkpoint's files, and give its lasting name too."""
    folder: Folder
    if remote.is_hub:
        from weibnb.io.hub import HubFolder

        folder, name = HubFolder.at(remote.url)
    else:
        from weibnb.io.objects import ObjectFolder

        folder, name = ObjectFolder.at(remote.url)
    notes: list[str] = []
    if name.endswith(SUFFIX):
        shards = tuple(folder.shards([name], limits))
    else:
        shards, notes = open_folder(folder, name if name.endswith(INDEX) else None, limits)
    config = read_config(folder, notes) if "config.json" in folder.names else {}
    lasting = f"{folder.place}/{name}" if name else str(folder.place)
    return shards, config, notes, lasting


def remote_shard(file: RemoteFile, limits: Limits) -> Shard:
    """Read and check the header of a file by one request, or two where it is long."""
    first = int(min(max(_SHARE * file.size, _LEAST), _MOST))
    head = bytes(file.read(0, min(first, file.size)))
    length = header_length(file.name, head[:64], file.size, limits)
    if 8 + length > len(head):
        head += bytes(file.read(len(head), 8 + length - len(head)))
    path = Path(PurePosixPath(file.name).name)
    return shard_of(path, (0, 0, file.size, 0), head[8 : 8 + length], limits, file)


def remote_shards(files: Sequence[RemoteFile], limits: Limits) -> Iterator[Shard]:
    """Read the headers of files, a few at once."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for at in range(0, len(files), IN_FLIGHT):
            some = files[at : at + IN_FLIGHT]
            yield from pool.map(lambda file: remote_shard(file, limits), some)


def remote_json(
    file: RemoteFile, *, limit: int, too_large: str = "", strict: bool = False
) -> dict[str, Any]:
    """Read a JSON object of at most `limit` bytes; `too_large` says what to do beyond."""
    if file.size > limit:
        cause = f"it takes {file.size:,} bytes, at most {limit:,} are read"
        raise CheckpointError(file.name, cause, too_large)
    try:
        return parse_json(bytes(file.read(0, file.size)), strict=strict)
    except ValueError as err:
        raise CheckpointError(file.name, f"it is not a valid JSON object: {err}", AGAIN) from err


def plain_names(names: Sequence[str]) -> list[str]:
    """Keep the names that a folder on any machine could hold."""
    return [n for n in names if n and n not in (".", "..") and not set(n) & set("/\\\0")]


def named_by(place: str | os.PathLike[str], name: str) -> str:
    """Name a file of a folder on another machine."""
    return f"{place}/{name}"
