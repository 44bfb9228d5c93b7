"""What the Hub says of a repository, or why it says nothing."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from weibnb.io.files import CheckpointError, natural_order
from weibnb.io.hub_local import hub_address, huggingface_hub, told_of_cache
from weibnb.io.hub_places import COMMIT
from weibnb.io.ranges import SILENCE, Patience, asked_to_wait
from weibnb.messages import did_you_mean, shortened

if TYPE_CHECKING:
    from collections.abc import Callable

    from weibnb.io.hub_places import Place

T = TypeVar("T")

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
# Most files of a folder.
_MOST_FILES = 100_000
_BUSY = frozenset((408, 429, 500, 502, 503, 504))
# What huggingface_hub raises of an answer that it does not understand, or that is a refusal.
_UNCLEAR = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


class Repository:
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
        if not COMMIT.fullmatch(commit):
            raise CheckpointError(self._place.url, "the Hub names no commit", "Try again later.")
        return commit

    @property
    def revisions(self) -> list[str]:
        """Give the names of branches and tags."""
        refs = self._ask(lambda: self._api.list_repo_refs(self._place.repository))
        return sorted({ref.name for ref in (*refs.branches, *refs.tags)}, key=natural_order)

    def files(self, commit: str) -> dict[str, Listed]:
        """Give the files of the folder at a commit, by name."""

        def listed() -> dict[str, Listed]:
            found: dict[str, Listed] = {}
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
                    found[name] = Listed(size, str(lfs.sha256 if lfs else entry.blob_id))
            return found

        return self._ask(listed)

    def _ask(self, question: Callable[[], T]) -> T:
        return ask(self._place, question)

    @property
    def _api(self) -> Any:
        return huggingface_hub().HfApi(endpoint=hub_address(), library_name="weibnb")


@dataclass(frozen=True, slots=True)
class Listed:
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
        answer: T | Refusal
        try:
            answer = question()
        except CheckpointError:
            raise
        except _UNCLEAR as err:
            answer = Refusal.of(err)  # among them HTTP errors, and answers that make no sense
        except _transport_error() as err:
            answer = Refusal("NoNetwork", type(err).__name__)
        if not isinstance(answer, Refusal):
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
class Refusal:
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


def explain(place: Place, why: Refusal) -> CheckpointError:
    """Say why the Hub does not give what was asked for, and what to do."""
    name, page = place.repository, f"{hub_address()}/{place.repository}"
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
        known = Repository(replace(place, revision="")).revisions
        listed = ", ".join(known[:5]) + (f" and {len(known) - 5:,} more" if len(known) > 5 else "")
        cause = f"the repository has no revision {revision!r}, it has {listed}"
        return CheckpointError(place.url, cause, did_you_mean(place.revision, known).lstrip())
    if why.kind in ("RemoteEntryNotFoundError", "EntryNotFoundError"):
        return CheckpointError(
            place.url, "the repository has no such folder or file", f"See {page}."
        )
    if why.kind == "OfflineModeIsEnabled":
        cause = "HF_HUB_OFFLINE is set, and the cache does not hold it"
        return CheckpointError(place.url, cause, told_of_cache(place))
    if why.kind == "HFValidationError":
        return CheckpointError(place.url, "this is no id of a repository", "It is org/name.")
    if why.status == 403:
        return CheckpointError(place.url, "the Hub does not allow to read it", log_in)
    if why.status:
        return CheckpointError(place.url, f"the Hub answers {why.status}", "Try again later.")
    if why.kind == "NoNetwork":
        cause = f"the Hub cannot be reached ({why.about})"
        return CheckpointError(place.url, cause, told_of_cache(place))
    cause = f"the Hub gives no answer that makes sense ({why.kind}: {why.about})"
    return CheckpointError(place.url, cause, "Try again later.")


def _close_ids(name: str) -> str:
    """Look for the model that was meant among those of the same organisation."""
    owner = name.partition("/")[0]
    try:
        models = (
            huggingface_hub().HfApi(endpoint=hub_address()).list_models(author=owner, limit=500)
        )
        known = [str(model.id) for model in models]
    except (*_UNCLEAR, _transport_error()):
        known = []
    return did_you_mean(name, [one for one in known if _ID.fullmatch(one)])
