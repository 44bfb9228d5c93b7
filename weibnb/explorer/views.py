"""Views that are kept: by name in an explorer, and as JSON in a file beside the notebook."""

from __future__ import annotations

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weibnb.explorer.state import checked_names, plain
from weibnb.fits.schema import package_version
from weibnb.messages import did_you_mean, printable, unknown_name

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

_KEYS = ("weibnb", "state", "views")
_MOST_BYTES = 4_000_000
_LONGEST_NAME = 100


class Views(MutableMapping[str, dict[str, Any]]):
    """Named views of an explorer: ``explorer.views["name"] = explorer.state`` keeps one.

    Parameters
    ----------
    traits : sequence of str
        Names that a state may have.
    changed : callable
        Called when a view was kept or forgotten.
    """

    def __init__(self, traits: Sequence[str], changed: Callable[[], object]) -> None:
        self._traits, self._changed = traits, changed
        self._states: dict[str, dict[str, Any]] = {}

    def __getitem__(self, name: str) -> dict[str, Any]:
        """State of a view."""
        if name not in self._states:
            known = ", ".join(map(repr, self._states)) or "none yet"
            hint = did_you_mean(name, self._states)
            raise KeyError(f"No view has the name {name!r}; there are {known}.{hint}")
        return dict(self._states[name])

    def __setitem__(self, name: str, state: Mapping[str, Any]) -> None:
        """Keep a view."""
        if not isinstance(name, str) or not 0 < len(name.strip()) <= _LONGEST_NAME:
            raise ValueError(
                f"The name of a view must be text of 1 to {_LONGEST_NAME} characters, got {name!r}."
            )
        self._states[name] = plain(checked_names(state, self._traits))
        self._changed()

    def __delitem__(self, name: str) -> None:
        """Forget a view."""
        self[name]
        del self._states[name]
        self._changed()

    def __iter__(self) -> Iterator[str]:
        """Names, in the order in which they were first kept."""
        return iter(self._states)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._states)

    def __repr__(self) -> str:
        return f"<Views: {', '.join(map(printable, self)) or 'none'}>"


def view_text(state: Mapping[str, Any], views: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a view, and the named ones, as the text of a file."""
    content = {"weibnb": package_version(), "state": state, "views": dict(views)}
    return json.dumps(content, indent=1) + "\n"


def read_view(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Read a view, and the named ones, from a file that `view_text` fills.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it holds something else.
    """
    file = Path(path)
    size = file.stat().st_size
    if size > _MOST_BYTES:
        raise ValueError(f"{printable(path)}: no view has {size:,} bytes.")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{printable(path)}: no JSON of a view: {printable(err)}") from err
    found = _mapping(path, "its content", content)
    for key in found:
        if key not in _KEYS:
            raise ValueError(f"{printable(path)}: {unknown_name('key', key, _KEYS)}")
    views = _mapping(path, "`views`", found.get("views", {}))
    state = _mapping(path, "`state`", found.get("state", {}))
    return state, {name: _mapping(path, f"`views[{name!r}]`", views[name]) for name in views}


def _mapping(path: str | os.PathLike[str], what: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise ValueError(f"{printable(path)}: {what} must be an object, got {type(value).__name__}.")
