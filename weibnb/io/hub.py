"""Checkpoints on the Hugging Face Hub, by ``hf://org/name@revision``.

`huggingface_hub` knows who asks, where the Hub is and what its cache holds; that cache is read
where it holds a file of the same commit. No token goes to another host than the Hub, and none
stays in an object of ours.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from weibnb.io.directory import INDEX, SUFFIX
from weibnb.io.files import CheckpointError, natural_order, read_json
from weibnb.io.hub_answers import Refusal, Repository, ask, explain
from weibnb.io.hub_local import (
    cache_of,
    cached_commit,
    hub_address,
    hub_client,
    hub_constants,
    huggingface_hub,
    request_headers,
)
from weibnb.io.hub_places import COMMIT, Place
from weibnb.io.kinds import SAFETENSORS
from weibnb.io.links import contained
from weibnb.io.ranges import Ranges, origin
from weibnb.io.remote import named_by, plain_names, remote_json, remote_shards
from weibnb.io.safetensors import read_shard
from weibnb.messages import did_you_mean, shortened

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from weibnb.io.hub_answers import Listed
    from weibnb.io.kinds import Kind
    from weibnb.io.limits import Limits
    from weibnb.io.rooms import Rooms
    from weibnb.io.safetensors import Shard

_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class HubFolder:
    """A folder of a repository at one commit; files that the cache holds are read there.

    Attributes
    ----------
    place : str
        Its URL with the commit.
    """

    def __init__(self, place: Place, commit: str, files: dict[str, Listed] | None) -> None:
        self._at = replace(place, revision=commit)
        self.place = self._at.url
        self._listed = files
        self.revision = place
        self._cached = cache_of(place.repository) / "snapshots" / commit / place.folder

    @classmethod
    def at(cls, url: str) -> tuple[Self, str]:
        """Find a folder, and the file in it that is meant, if one is."""
        place, file = Place.of(url), ""
        if place.folder.endswith((SUFFIX, INDEX)):
            folder, _, file = place.folder.rpartition("/")
            place = replace(place, folder=folder)
        offline = bool(hub_constants().is_offline_mode())
        pinned = COMMIT.fullmatch(place.revision)
        if (offline or pinned) and (commit := cached_commit(place)):
            folder_there = cls(place, commit, None)
            if offline or folder_there.is_complete(file):
                return folder_there, file
        repository = Repository(place)
        commit = place.revision if pinned else repository.commit()
        return cls(place, commit, repository.files(commit)), file

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Only safetensors are read in ranges."""
        return (SAFETENSORS,)

    @cached_property
    def names(self) -> list[str]:
        """List its files."""
        if self._listed is not None:
            return sorted(plain_names(list(self._listed)), key=natural_order)
        try:
            return sorted((path.name for path in self._cached.iterdir()), key=natural_order)
        except OSError:
            raise explain(self.revision, Refusal("OfflineModeIsEnabled")) from None

    def is_complete(self, file: str) -> bool:
        """Whether the cache holds all that makes this a checkpoint."""
        if not self._cached.is_dir():
            return False
        there = set(self.names)
        if file or f"model{SUFFIX}" in there:
            return (file or f"model{SUFFIX}") in there
        if f"model{INDEX}" not in there:
            return False
        index = read_json(self._in_cache(f"model{INDEX}"))
        files = index.get("weight_map", {})
        return isinstance(files, dict) and there.issuperset(map(str, files.values()))

    def path(self, name: str) -> str:
        """Say what errors call a file."""
        return named_by(self.place, name)

    def shards(self, names: Sequence[str], limits: Limits) -> Iterator[Shard]:
        """Read the headers of files, a few at once; those in the cache from there."""
        away = [self._file(name) for name in names if not self._is_cached(name)]
        fetched = remote_shards(away, limits)
        for name in names:
            if not self._is_cached(name):
                yield next(fetched)
                continue
            path = self._in_cache(name)
            blob = self._listed[name].blob if self._listed else path.resolve().name
            yield replace(read_shard(path, limits), blob=blob if _BLOB.fullmatch(blob) else "")

    def read_json(
        self, name: str, *, limit: int, too_large: str = "", strict: bool = False
    ) -> dict[str, Any]:
        """Read a JSON object."""
        if self._is_cached(name):
            path = self._in_cache(name)
            return read_json(path, limit=limit, too_large=too_large, strict=strict)
        return remote_json(self._file(name), limit=limit, too_large=too_large, strict=strict)

    def _is_cached(self, name: str) -> bool:
        """Whether the cache holds a file of this commit, as long as the Hub lists it."""
        path = self._cached / name
        try:
            size = path.stat().st_size if path.is_file() else -1
        except OSError:
            return False
        return size >= 0 and (self._listed is None or size == self._listed[name].size)

    def _in_cache(self, name: str) -> Path:
        return contained(self._cached, name)

    def _file(self, name: str) -> HubFile:
        if self._listed is None:
            raise explain(self.revision, Refusal("OfflineModeIsEnabled"))
        if name not in self._listed:
            cause = "the repository has no such file"
            raise CheckpointError(self.path(name), cause, did_you_mean(name, self.names).lstrip())
        return HubFile(self._at, self.revision, name, self._listed[name])


class HubFile:
    """A file at one commit of a repository, as `weibnb.io.remote.RemoteFile`."""

    def __init__(self, at: Place, revision: Place, name: str, listed: Listed) -> None:
        self.name = named_by(at.url, name)
        self.size, self.blob = listed.size, listed.blob
        self.version = listed.blob
        self._at, self.revision = at, revision
        self._path = f"{at.folder}/{name}" if at.folder else name
        self._ranges = Ranges(
            self.name,
            self.size,
            locate=self._locate,
            headers_for=request_headers,
            client=hub_client,
        )

    def read(
        self,
        offset: int,
        length: int,
        stop: threading.Event | None = None,
        rooms: Rooms | None = None,
    ) -> memoryview:
        """Fetch a range."""
        return self._ranges.read(offset, length, stop, rooms)

    def check_unmoved(self) -> None:
        """Raise CheckpointError if the revision is another commit than when it was listed."""
        place = self.revision
        if COMMIT.fullmatch(place.revision):
            return
        now = Repository(place).commit()
        if now != self._at.revision:
            before = self._at.revision
            cause = f"the revision moved from {before[:12]} to {now[:12]} while it was read"
            step = f"Scan it again, or the commit: {replace(place, revision=before).url}"
            raise CheckpointError(place.url, cause, step)

    def _locate(self, stop: threading.Event) -> str:
        """Ask the Hub where the file can be read now, and whether it is still the same."""
        hub = huggingface_hub()
        place, endpoint = self._at, hub_address()
        url = hub.hf_hub_url(
            place.repository, self._path, revision=place.revision, endpoint=endpoint
        )
        found = ask(place, lambda: hub.get_hf_file_metadata(url, endpoint=endpoint), stop)
        cause = ""
        if found.commit_hash not in (None, place.revision):
            cause = f"the Hub gives it at another commit, {shortened(found.commit_hash)}"
        elif found.size not in (None, self.size):
            cause = f"the file has {found.size:,} bytes now, it had {self.size:,}"
        elif found.etag not in (None, self.blob):
            cause = "the file changed while it was read"
        elif origin(found.location)[0] not in ("https", origin(endpoint)[0]):
            cause = "the Hub redirects to an unsafe link"
        if cause:
            raise CheckpointError(self.name, cause, "Scan it again.")
        return str(found.location)
