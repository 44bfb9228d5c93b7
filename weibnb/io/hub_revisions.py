"""Repositories on the Hub at the revisions that a user names."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from weibnb.io.files import CheckpointError
from weibnb.io.hub_answers import Repository
from weibnb.io.hub_local import hub_address
from weibnb.io.hub_places import HUB_URL, Place
from weibnb.messages import shortened


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
    if local or not HUB_URL.fullmatch(url):
        step = f"For the one on the Hub, pass {url!r}." if local else "It is 'org/name'."
        what = f"{text!r}, a path of this machine" if local else shortened(source, 200)
        raise ValueError(f"`revision` must come with a repository on the Hub, got {what}. {step}")
    place = Place.of(url)
    if place.revision:
        raise ValueError(f"`revision` must not be given twice, got {url!r} as well.")
    return place


def _fitting(place: Place, pattern: str) -> list[str]:
    """Give the branches and tags that a pattern fits, in natural order."""
    names = [name for name in Repository(place).revisions if fnmatchcase(name, pattern)]
    if not names:
        cause = f"no revision fits {shortened(pattern)!r}"
        raise CheckpointError(place.url, cause, f"See {hub_address()}/{place.repository}.")
    return names
