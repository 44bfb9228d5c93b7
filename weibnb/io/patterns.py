"""Patterns that people write for names: globs, or regular expressions that cannot run away."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass

#: What marks a regular expression, as in the targets of llm-compressor; all else is a glob.
REGEX = "re:"
#: Longest name that is held against a pattern, and longest pattern.
LONGEST_NAME, LONGEST_PATTERN = 200, 1000
#: Most ways in which a regular expression may try to match a name.
MOST_WAYS = 10**8

_TOKEN = re.compile(
    r"""(?P<escape>\\.)
      | (?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])
      | (?P<flags>\(\?[a-zA-Z-]+[:)])
      | (?P<open>\((?:\?(?:P<\w+>|P=|P>|<[=!]|[:=!>]|\())?)
      | (?P<close>\))
      | (?P<or>\|)
      | (?P<times>[*+?]|\{\d*,?\d*\})[?+]?
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class _Group:
    """A group that is open: how many ways its parts can match, and whether any has a choice."""

    ways: float = 1.0
    alternatives: int = 1
    free: bool = False

    @property
    def all_ways(self) -> float:
        """Ways of all alternatives."""
        return self.ways * self.alternatives


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile a glob, or a regular expression after ``re:``; both must match a whole name.

    Raises
    ------
    ValueError
        With the reason alone, if it is no pattern, or one that could run for ages.

    Examples
    --------
    >>> bool(compiled_pattern("net.*.weight").fullmatch("net.3.weight"))
    True
    >>> compiled_pattern(r"re:net\.(\d+)\.weight").fullmatch("net.3.weight")[1]
    '3'
    """
    if not pattern or len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"it must have 1 to {LONGEST_PATTERN:,} characters")
    if not pattern.startswith(REGEX):
        return re.compile(fnmatch.translate(pattern))
    return compiled_regex(pattern.removeprefix(REGEX))


def compiled_regex(text: str) -> re.Pattern[str]:
    """Compile a regular expression that holds a name to it in a bounded time.

    Raises
    ------
    ValueError
        With the reason alone.

    Examples
    --------
    >>> compiled_regex("(a+)+b")
    Traceback (most recent call last):
    ValueError: `+` repeats a group that has choices of its own, which can take for ever
    """
    if len(text) > LONGEST_PATTERN:
        raise ValueError(f"it must have at most {LONGEST_PATTERN:,} characters")
    try:
        found = re.compile(text)
    except (re.error, OverflowError, RecursionError) as err:
        raise ValueError(f"it is no regular expression: {err}") from err
    _check_ways(text)
    return found


def _check_ways(text: str) -> None:
    """Refuse an expression that can match a name in too many ways."""
    groups = [_Group()]
    closed: _Group | None = None  # the group that ended right before
    for token in _TOKEN.finditer(text):
        last, closed = closed, None
        match token.lastgroup:
            case "flags":
                raise ValueError(f"flags such as `{token[0]}` are not taken")
            case "open":
                groups.append(_Group())
            case "close":
                closed = groups.pop()
                groups[-1].ways *= closed.all_ways
                groups[-1].free |= closed.free
            case "or":
                groups[-1].alternatives += 1
                groups[-1].free = True
            case "times":
                _repeat(groups[-1], last, token["times"])
            case _:
                pass
        if groups[-1].all_ways > MOST_WAYS:
            raise ValueError("it has so many repeats and choices that it can take for ever")


def _repeat(group: _Group, inner: _Group | None, times: str) -> None:
    """Take in a quantifier, of a group that ended right before or of a character."""
    if inner is not None and inner.free and times != "?":
        raise ValueError(
            f"`{times}` repeats a group that has choices of its own, which can take for ever"
        )
    numbers = [int(n) if n else None for n in times.strip("{}").split(",")] if "{" in times else []
    if len(numbers) == 1:
        return
    bounded = len(numbers) == 2 and numbers[1] is not None
    group.ways *= 2 if times == "?" else LONGEST_NAME if not bounded else _choices(numbers)
    group.free = True


def _choices(numbers: list[int | None]) -> int:
    """Count how often something may be repeated, from the least to the most."""
    least, most = numbers
    return min((most or 0) - (least or 0) + 1, LONGEST_NAME)
