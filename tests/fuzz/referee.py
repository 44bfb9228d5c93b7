"""The official parser of safetensors as referee, and where weibnb wants to differ."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import safetensors

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

deserialize: Callable[[bytes], list[tuple[str, Any]]] = safetensors.deserialize

#: What weibnb reads and the official parser refuses, by words of its message, and why.
READ_ALL_THE_SAME = {
    "unknown variant": "a type of a later version: its tensor is listed, not read",
    "floating point `-0.0`": "-0 is 0",
    "number out of range": "an integer of 309 to 4,300 digits in a field that nobody reads",
    "recursion limit": "128 to some 1,000 levels in a field that nobody reads",
}
#: What weibnb refuses and the official parser reads, by words of weibnb's message, and why.
REFUSED_ALL_THE_SAME = {
    "appears twice": "which of two entries is meant?",
    "does not start with `{`": "the format says so",
    "all natural": "an entry written as a list, or a number from 2^63 to 2^64",
    "overflows 63 bits": "a size from 2^63 to 2^64",
    "at most": "more tensors or a longer header than the limits",
}


def official(content: bytes) -> tuple[dict[str, Any], str]:
    """Read a file by the official parser: its tensors, or why it refuses them."""
    try:
        return dict(deserialize(content)), ""
    except safetensors.SafetensorError as err:
        return {}, str(err)


def disagreement(content: bytes, ours: Mapping[str, Any] | None, cause: str) -> str:
    """Say how weibnb and the official parser differ where they should not.

    `ours` are type, shape and bytes (None if they cannot be read) by name, None if it refused
    the file with `cause`.
    """
    theirs, problem = official(content)
    if ours is None:
        known = any(words in cause for words in REFUSED_ALL_THE_SAME)
        return "" if problem or known else f"only weibnb refuses it: {cause}"
    if problem:
        known = any(words in problem for words in READ_ALL_THE_SAME)
        return "" if known else f"only weibnb reads it: {problem}"
    if ours.keys() != theirs.keys():
        return "other names"
    for name, (dtype, shape, octets) in ours.items():
        there = theirs[name]
        if (dtype, list(shape), octets) != (there["dtype"], there["shape"], bytes(there["data"])):
            return f"other values of {name!r}"
    return ""
