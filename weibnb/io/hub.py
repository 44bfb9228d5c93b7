"""Checkpoints on the Hugging Face Hub, by ``hf://org/name@revision``.

`huggingface_hub` knows who asks, where the Hub is and what its cache holds; that cache is read
where it holds a file of the same commit. No token goes to another host than the Hub, and none
stays in an object of ours.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import quote, unquote

from weibnb.io.directory import INDEX, SUFFIX
from weibnb.io.files import CheckpointError, natural_order, read_json
from weibnb.io.kinds import SAFETENSORS
from weibnb.io.links import contained
from weibnb.io.ranges import SILENCE, Patience, Ranges, asked_to_wait, origin
from weibnb.io.remote import named_by, plain_names, remote_json, remote_shards
from weibnb.io.safetensors import read_shard
from weibnb.messages import did_you_mean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from weibnb.io.kinds import Kind
    from weibnb.io.limits import Limits
    from weibnb.io.safetensors import Shard

T = TypeVar("T")

_URL = re.compile(
    r"hf://(?:models/)?(?P<id>[\w.-]+/[\w.-]+)"
    r"(?:@(?P<revision>refs/(?:pr|convert)/[\w.-]+|[^/@]+))?(?:/(?P<path>.*))?"
)
_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
#: Most files of a repository, and characters of what is said of a server's answer.
_MOST_FILES = 100_000
_BUSY = frozenset((408, 429, 500, 502, 503, 504))
# What huggingface_hub raises of an answer that it does not understand, or that is a refusal.
_UNCLEAR = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, or file, of a repository at a revision; "" is the Hub's default, ``main``."""

    repository: str
    revision: str = ""
    folder: str = ""

    @classmethod
    def of(cls, url: str) -> Self:
        """Take a URL apart.

        Examples
        --------
        >>> Place.of("hf://EleutherAI/pythia-70m@step1000")
        Place(repository='EleutherAI/pythia-70m', revision='step1000', folder='')
        """
        found = _URL.fullmatch(url)
        path = (found["path"] or "").strip("/") if found else ""
        if found is None or ".." in path.split("/") or len(url) > 1000:
            form = "It is hf://org/name, hf://org/name@revision or hf://org/name@revision/folder."
            raise CheckpointError(url, "this names no model on the Hub", form)
        return cls(found["id"], unquote(found["revision"] or ""), path)

    @property
    def url(self) -> str:
        """Write it as one."""
        at = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://{self.repository}{at}{f'/{self.folder}' if self.folder else ''}"


def with_revisions(source: Any, revision: Any) -> Any:
    """Give the repositories of a source at some revisions; ``step*`` stands for all that fit.

    Raises
    ------
    TypeError, ValueError
        If revisions are none, or the source is no repository.
    CheckpointError
        If none fits.
    """
    if revision is None:
        return source
    wanted = [revision] if isinstance(revision, str) else revision
    if not isinstance(wanted, (list, tuple)) or not all(isinstance(one, str) for one in wanted):
        raise TypeError(f"`revision` must be a name or a list of names, got {revision!r}.")
    if not wanted or "" in wanted:
        raise ValueError(f"`revision` must name at least one revision, got {revision!r}.")
    sources = list(source) if isinstance(source, (list, tuple)) else [source]
    places = [_place_of(one) for one in sources]
    return [
        replace(place, revision=name).url
        for place in places
        for one in wanted
        for name in (_fitting(place, one) if "*" in one else [one])
    ]


def _place_of(source: Any) -> Place:
    """Give the repository that a source names, to which revisions are added."""
    text = str(source) if isinstance(source, (str, Path)) else ""
    url = text if text.startswith("hf://") else f"hf://{text}"
    local = not text.startswith("hf://") and text != "" and Path(text).exists()
    if local or not _URL.fullmatch(url):
        step = f"For the one on the Hub, pass {url!r}." if local else "It is 'org/name'."
        what = f"{text!r}, a path of this machine" if local else shortened(source, 200)
        raise ValueError(f"`revision` must come with a repository on the Hub, got {what}. {step}")
    place = Place.of(url)
    if place.revision:
        raise ValueError(f"`revision` must not be given twice, got {url!r} as well.")
    return place


def _fitting(place: Place, pattern: str) -> list[str]:
    """Give the branches and tags that a pattern fits, in natural order."""
    names = [name for name in _Repository(place).revisions if fnmatchcase(name, pattern)]
    if not names:
        cause = f"no revision fits {shortened(pattern)!r}"
        raise CheckpointError(place.url, cause, f"See {_endpoint()}/{place.repository}.")
    return names


def huggingface_hub() -> Any:
    """Import huggingface_hub, which not everybody has."""
    try:
        import huggingface_hub as hub
    except ImportError as err:
        raise ImportError(
            "to read from the Hugging Face Hub needs huggingface_hub, which is not installed: "
            "pip install 'weibnb[hub]'"
        ) from err
    return hub


def _constants() -> Any:
    """Give what the environment says of the Hub: where it is, its cache, whether to ask at all."""
    huggingface_hub()
    from huggingface_hub import constants

    return constants


def _endpoint() -> str:
    """Give the address of the Hub: HF_ENDPOINT, or its own."""
    return str(_constants().ENDPOINT)


def _headers(url: str) -> dict[str, str]:
    """Give the headers of a request: with the token for the Hub, without for any other host."""
    from huggingface_hub.utils._headers import build_hf_headers

    token = None if origin(url) == origin(_endpoint()) else False
    headers: dict[str, str] = build_hf_headers(token=token, library_name="weibnb")
    return headers


class _Repository:
    """What the Hub says of a repository."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def commit(self) -> str:
        """Give the commit that the revision is now."""
        info = self._ask(
            lambda: self._api.model_info(
                self._place.repository,
                revision=self._place.revision or None,
                expand=["sha"],
                timeout=SILENCE,
            )
        )
        commit = str(info.sha)
        if not _COMMIT.fullmatch(commit):
            raise CheckpointError(self._place.url, "the Hub names no commit", "Try again later.")
        return commit

    @property
    def revisions(self) -> list[str]:
        """Give the names of branches and tags."""
        refs = self._ask(lambda: self._api.list_repo_refs(self._place.repository))
        return sorted({ref.name for ref in (*refs.branches, *refs.tags)}, key=natural_order)

    def files(self, commit: str) -> dict[str, _Listed]:
        """Give the files of the folder at a commit, by name."""

        def listed() -> dict[str, _Listed]:
            found: dict[str, _Listed] = {}
            tree = self._api.list_repo_tree(
                self._place.repository, self._place.folder or None, revision=commit
            )
            for number, entry in enumerate(tree):
                if number >= _MOST_FILES:
                    raise CheckpointError(
                        self._place.url, f"the folder has more than {_MOST_FILES:,} files"
                    )
                name = str(entry.path).rpartition("/")[2]
                size = getattr(entry, "size", None)
                if isinstance(size, int) and size >= 0:
                    lfs = getattr(entry, "lfs", None)
                    found[name] = _Listed(size, str(lfs.sha256 if lfs else entry.blob_id))
            return found

        return self._ask(listed)

    def _ask(self, question: Callable[[], T]) -> T:
        return ask(self._place, question)

    @property
    def _api(self) -> Any:
        return huggingface_hub().HfApi(endpoint=_endpoint(), library_name="weibnb")


@dataclass(frozen=True, slots=True)
class _Listed:
    """A file as the Hub lists it: its bytes, and the hash that names its contents."""

    size: int
    blob: str


def ask(place: Place, question: Callable[[], T], stop: threading.Event | None = None) -> T:
    """Ask the Hub, again where it is busy.

    What `huggingface_hub` raises holds the request, and thus the token: it is let go before an
    error of ours is raised, which does not refer to it.

    Raises
    ------
    CheckpointError
        With what to do.
    """
    patience = Patience(place.url, stop or threading.Event())
    while True:
        answer: T | _Refusal
        try:
            answer = question()
        except CheckpointError:
            raise
        except _UNCLEAR as err:
            answer = _Refusal.of(err)  # among them HTTP errors, and answers that make no sense
        except _transport_error() as err:
            answer = _Refusal("NoNetwork", type(err).__name__)
        if not isinstance(answer, _Refusal):
            return answer
        if answer.status in _BUSY:
            patience.again(f"the Hub answers {answer.status}", answer.wait)
            continue
        raise explain(place, answer)


def _transport_error() -> type[Exception]:
    """Give what is raised where there is no connection."""
    from httpx2 import HTTPError

    return HTTPError


@dataclass(frozen=True, slots=True)
class _Refusal:
    """What went wrong with a question, without anything secret."""

    kind: str
    about: str = ""
    status: int = 0
    wait: float | None = None

    @classmethod
    def of(cls, err: Exception) -> Self:
        """Take from an error what may be told."""
        response = getattr(err, "response", None)
        status = getattr(response, "status_code", 0)
        wait = None if response is None else asked_to_wait(response.headers)
        about = "" if response is not None else shortened(err, 300)
        return cls(type(err).__name__, about, status, wait)


def explain(place: Place, why: _Refusal) -> CheckpointError:
    """Say why the Hub does not give what was asked for, and what to do."""
    name, page = place.repository, f"{_endpoint()}/{place.repository}"
    log_in = "Log in by `hf auth login`, or set HF_TOKEN."
    if why.kind == "GatedRepoError":
        cause = "its owner decides who may read it"
        return CheckpointError(place.url, cause, f"Ask for access at {page}. {log_in}")
    if why.kind == "RepositoryNotFoundError" or why.status == 401:
        cause = "the Hub has no model of this id, or it is private"
        close = _close_ids(name).lstrip()
        step = " ".join(part for part in (close, f"If it is private: {log_in}") if part)
        return CheckpointError(place.url, cause, step)
    if why.kind == "RevisionNotFoundError":
        revision = shortened(place.revision)
        known = _Repository(replace(place, revision="")).revisions
        listed = ", ".join(known[:5]) + (f" and {len(known) - 5:,} more" if len(known) > 5 else "")
        cause = f"the repository has no revision {revision!r}, it has {listed}"
        return CheckpointError(place.url, cause, did_you_mean(place.revision, known).lstrip())
    if why.kind in ("RemoteEntryNotFoundError", "EntryNotFoundError"):
        return CheckpointError(
            place.url, "the repository has no such folder or file", f"See {page}."
        )
    if why.kind == "OfflineModeIsEnabled":
        cause = "HF_HUB_OFFLINE is set, and the cache does not hold it"
        return CheckpointError(place.url, cause, _in_cache(place))
    if why.kind == "HFValidationError":
        return CheckpointError(place.url, "this is no id of a repository", "It is org/name.")
    if why.status == 403:
        return CheckpointError(place.url, "the Hub does not allow to read it", log_in)
    if why.status:
        return CheckpointError(place.url, f"the Hub answers {why.status}", "Try again later.")
    if why.kind == "NoNetwork":
        cause = f"the Hub cannot be reached ({why.about})"
        return CheckpointError(place.url, cause, _in_cache(place))
    cause = f"the Hub gives no answer that makes sense ({why.kind}: {why.about})"
    return CheckpointError(place.url, cause, "Try again later.")


def _close_ids(name: str) -> str:
    """Look for the model that was meant among those of the same organisation."""
    owner = name.partition("/")[0]
    try:
        models = huggingface_hub().HfApi(endpoint=_endpoint()).list_models(author=owner, limit=500)
        known = [str(model.id) for model in models]
    except (*_UNCLEAR, _transport_error()):
        known = []
    return did_you_mean(name, [one for one in known if _ID.fullmatch(one)])


def _in_cache(place: Place) -> str:
    """Say which revisions the cache holds."""
    refs = _cache(place.repository) / "refs"
    try:
        names = sorted((path.name for path in refs.iterdir()), key=natural_order)
    except OSError:
        names = []
    if not names:
        return f"The cache holds nothing of {place.repository}."
    listed = ", ".join(map(shortened, names[:8]))
    return f"The cache holds {listed}; HF_HUB_OFFLINE=1 reads only the cache."


def _cache(repository: str) -> Path:
    """Give the folder of a repository in the cache."""
    folder = f"models--{repository.replace('/', '--')}"
    return Path(_constants().HF_HUB_CACHE) / folder


def _cached_commit(place: Place) -> str:
    """Give the commit that a revision was when it was last downloaded, if it was."""
    revision = place.revision or "main"
    if _COMMIT.fullmatch(revision):
        return revision
    if ".." in revision.split("/") or "\0" in revision:
        return ""
    try:
        commit = (_cache(place.repository) / "refs" / revision).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return commit if _COMMIT.fullmatch(commit) else ""


class HubFolder:
    """A folder of a repository at one commit; files that the cache holds are read there.

    Attributes
    ----------
    place : str
        Its URL with the commit.
    """

    def __init__(self, place: Place, commit: str, files: dict[str, _Listed] | None) -> None:
        self._at = replace(place, revision=commit)
        self.place = self._at.url
        self._listed = files
        self.revision = place
        self._cached = _cache(place.repository) / "snapshots" / commit / place.folder

    @classmethod
    def at(cls, url: str) -> tuple[Self, str]:
        """Find a folder, and the file in it that is meant, if one is."""
        place, file = Place.of(url), ""
        if place.folder.endswith((SUFFIX, INDEX)):
            folder, _, file = place.folder.rpartition("/")
            place = replace(place, folder=folder)
        offline = bool(_constants().is_offline_mode())
        pinned = _COMMIT.fullmatch(place.revision)
        if (offline or pinned) and (commit := _cached_commit(place)):
            folder_there = cls(place, commit, None)
            if offline or folder_there.is_complete(file):
                return folder_there, file
        repository = _Repository(place)
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
            raise explain(self.revision, _Refusal("OfflineModeIsEnabled")) from None

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
            raise explain(self.revision, _Refusal("OfflineModeIsEnabled"))
        if name not in self._listed:
            cause = "the repository has no such file"
            raise CheckpointError(self.path(name), cause, did_you_mean(name, self.names).lstrip())
        return HubFile(self._at, self.revision, name, self._listed[name])


class HubFile:
    """A file at one commit of a repository, as `weibnb.io.remote.RemoteFile`."""

    def __init__(self, at: Place, revision: Place, name: str, listed: _Listed) -> None:
        self.name = named_by(at.url, name)
        self.size, self.blob = listed.size, listed.blob
        self.version = listed.blob
        self._at, self.revision = at, revision
        self._path = f"{at.folder}/{name}" if at.folder else name
        self._ranges = Ranges(
            self.name, self.size, locate=self._locate, headers_for=_headers, client=_client
        )

    def read(self, offset: int, length: int, stop: threading.Event | None = None) -> memoryview:
        """Fetch a range."""
        return self._ranges.read(offset, length, stop)

    def check_unmoved(self) -> None:
        """Raise CheckpointError if the revision is another commit than when it was listed."""
        place = self.revision
        if _COMMIT.fullmatch(place.revision):
            return
        now = _Repository(place).commit()
        if now != self._at.revision:
            before = self._at.revision
            cause = f"the revision moved from {before[:12]} to {now[:12]} while it was read"
            step = f"Scan it again, or the commit: {replace(place, revision=before).url}"
            raise CheckpointError(place.url, cause, step)

    def _locate(self, stop: threading.Event) -> str:
        """Ask the Hub where the file can be read now, and whether it is still the same."""
        hub = huggingface_hub()
        place, endpoint = self._at, _endpoint()
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


def _client() -> Any:
    """Give the client of huggingface_hub: its proxies and certificates, and its offline mode."""
    from huggingface_hub import get_session

    return get_session()
