"""Checkpoints behind URLs and in object stores: ``https://``, ``s3://``, ``gs://``, ``az://``.

`obstore` finds the credentials as the tools of each store do, and takes up again what broke. What
it raises may hold them: errors of ours do not refer to it.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from weibnb.io.directory import INDEX, SUFFIX
from weibnb.io.files import CheckpointError, natural_order
from weibnb.io.kinds import SAFETENSORS
from weibnb.io.ranges import GivenUpError
from weibnb.io.remote import Remote, named_by, plain_names, remote_json, remote_shards
from weibnb.io.safetensors import not_safetensors

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

    from weibnb.io.kinds import Kind
    from weibnb.io.limits import Limits
    from weibnb.io.rooms import Rooms
    from weibnb.io.safetensors import Shard

T = TypeVar("T")

#: Bytes of one request: of longer ranges several are made, so that a scan that ends is not held up.
_AT_ONCE = 32_000_000
_LARGEST_INDEX = 400_000_000
_LOG_IN = "See what your credentials may read."
_CAUSES = {
    "PreconditionError": ("the file changed while it was read", "Scan it again."),
    "NotSupportedError": (
        "the server sends the whole file where a part of it was asked for",
        "Download it, and scan the folder.",
    ),
    "PermissionDeniedError": ("the server does not allow to read it", _LOG_IN),
    "UnauthenticatedError": ("the server wants to know who asks", _LOG_IN),
    "FileNotFoundError": ("there is no such file or directory", ""),
    "NotFoundError": ("there is no such file or directory", ""),
}


def obstore() -> Any:
    """Import obstore, which not everybody has."""
    try:
        import obstore as library
    except ImportError as err:
        raise ImportError(
            "to read from URLs and object stores needs obstore, which is not installed: "
            "pip install 'weibnb[remote]'"
        ) from err
    return library


def ask(name: str, question: Callable[[], T]) -> T:
    """Ask a store; what goes wrong is told without what obstore says of it."""
    answer: T | CheckpointError
    try:
        return question()
    except Exception as err:
        if isinstance(err, CheckpointError):
            raise
        kind = type(err).__name__
        cause, step = _CAUSES.get(kind, (f"it cannot be read ({kind})", "Try again later."))
        answer = CheckpointError(name, cause, step)
    raise answer


class ObjectFolder:
    """A folder of an object store, or the place of one file on a server.

    Attributes
    ----------
    place : str
        Its URL, without anything secret.
    """

    def __init__(self, place: str, store: Any, file: str = "", *, listed: bool = True) -> None:
        self.place = place
        self._store, self._file, self._can_list = store, file, listed

    @classmethod
    def at(cls, url: str) -> tuple[Self, str]:
        """Find a folder, and the file in it that is meant, if one is."""
        name, parts = Remote(url).name, urlsplit(url)
        if parts.query or parts.fragment:
            cause = "a link with a query or a fragment is not read"
            raise CheckpointError(name, cause, "Download the file, and scan the folder.")
        web = parts.scheme in ("http", "https")
        folder, file = parts.path.rstrip("/"), ""
        if web or folder.endswith((SUFFIX, INDEX)):
            folder, _, file = folder.rpartition("/")
            file = unquote(file)
        if web and not file.endswith((SUFFIX, INDEX)):
            raise not_safetensors(name, b"", f"a link must end in {SUFFIX} or {INDEX}")
        from_url = _from_url()
        base = urlunsplit((parts.scheme, parts.netloc, folder, "", ""))
        options = {"client_options": {"allow_http": True}} if parts.scheme == "http" else {}
        store = ask(name, lambda: from_url(base, **options))
        place = Remote(base).name
        return cls(place, store, file, listed=not web), file

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Only safetensors are read in ranges."""
        return (SAFETENSORS,)

    @cached_property
    def names(self) -> list[str]:
        """List its files; of a server that lists none, those that belong to the one meant."""
        return sorted(plain_names(list(self._sizes)), key=natural_order)

    @cached_property
    def _sizes(self) -> dict[str, dict[str, Any]]:
        """What is known of each file: its bytes, and what changes with its contents."""
        if self._can_list:
            found = ask(self.place, lambda: obstore().list_with_delimiter(self._store))
            return {str(one["path"]).rpartition("/")[2]: dict(one) for one in found["objects"]}
        names = [self._file, "config.json"]
        if self._file.endswith(INDEX):
            index = ObjectFile(
                self.path(self._file), self._store, self._file, self._head(self._file)
            )
            content = remote_json(index, limit=_LARGEST_INDEX)
            places = content.get("weight_map")
            if isinstance(places, dict):
                names += plain_names([str(one) for one in set(places.values())])
        found = {name: self._head(name, missing=True) for name in names}
        return {name: about for name, about in found.items() if about}

    def _head(self, name: str, *, missing: bool = False) -> dict[str, Any]:
        """Ask what is known of a file."""
        try:
            return dict(ask(self.path(name), lambda: obstore().head(self._store, name)))
        except CheckpointError as err:
            if missing and err.cause_text == _CAUSES["NotFoundError"][0]:
                return {}
            if missing and name == "config.json":  # some servers hide what is not there
                return {}
            raise

    def path(self, name: str) -> str:
        """Say what errors call a file."""
        return named_by(self.place, name)

    def shards(self, names: Sequence[str], limits: Limits) -> Iterator[Shard]:
        """Read the headers of files, a few at once."""
        return remote_shards([self._open(name) for name in names], limits)

    def read_json(
        self, name: str, *, limit: int, too_large: str = "", strict: bool = False
    ) -> dict[str, Any]:
        """Read a JSON object."""
        return remote_json(self._open(name), limit=limit, too_large=too_large, strict=strict)

    def _open(self, name: str) -> ObjectFile:
        if name not in self._sizes:
            raise CheckpointError(self.path(name), *_CAUSES["NotFoundError"])
        return ObjectFile(self.path(name), self._store, name, self._sizes[name])


def _from_url() -> Callable[..., Any]:
    """Give what makes a store of a URL."""
    obstore()
    from obstore.store import from_url

    return from_url


class ObjectFile:
    """A file of a store, as `weibnb.io.remote.RemoteFile`; nobody knows a hash of all its bytes."""

    def __init__(self, name: str, store: Any, path: str, about: dict[str, Any]) -> None:
        self.name, self.size, self.blob = name, int(about["size"]), ""
        tag = str(about.get("e_tag") or "")
        self._tag = "" if tag.startswith("W/") else tag
        self.version = tag or str(about.get("last_modified", ""))
        self._store, self._path = store, path

    def read(
        self,
        offset: int,
        length: int,
        stop: threading.Event | None = None,
        _rooms: Rooms | None = None,
    ) -> memoryview:
        """Fetch a range, into memory of the library's own."""
        if not length:
            return memoryview(b"")
        parts = []
        for start in range(offset, offset + length, _AT_ONCE):
            if stop is not None and stop.is_set():
                raise GivenUpError
            end = min(start + _AT_ONCE, offset + length)
            parts.append(ask(self.name, lambda: self._part(start, end)))  # noqa: B023 - asked at once
        return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))

    def check_unmoved(self) -> None:
        """Every range was asked for by what the file holds, where the server tells that."""

    def _part(self, start: int, end: int) -> memoryview:
        """Make one request, and hold the answer against it."""
        options: dict[str, Any] = {"range": (start, end)}
        if self._tag:
            options["if_match"] = self._tag
        answer = obstore().get(self._store, self._path, options=options)
        about, (first, last) = answer.meta, answer.range
        if int(about["size"]) != self.size:
            self._refuse(f"the file has {about['size']:,} bytes now, it had {self.size:,}")
        if self._tag and str(about.get("e_tag") or self._tag) != self._tag:
            self._refuse("the file changed while it was read")
        data = memoryview(answer.bytes()).cast("B")
        if (first, last) != (start, end) or len(data) != end - start:
            self._refuse(f"bytes {start:,} to {end:,} were asked for, {len(data):,} bytes came")
        return data

    def _refuse(self, cause: str) -> NoReturn:
        raise CheckpointError(self.name, cause, "Scan it again.")
