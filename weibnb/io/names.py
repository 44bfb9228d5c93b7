"""Names of one's own: which tensors are weight matrices, where no family of models tells."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

from weibnb.io.naming import LARGEST_INDEX, Role, Skip, identify, numbers_in
from weibnb.io.patterns import LONGEST_NAME, compiled_pattern
from weibnb.messages import did_you_mean, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_COMPONENT = re.compile(r"[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*", re.ASCII)
_LONGEST_COMPONENT = 100
_LISTED = 4


@dataclass(frozen=True, slots=True)
class Names:
    r"""Patterns of tensor names, each with the component that the matrices are.

    The layer is the number in the name (``net.3.weight``), as in models that are known, or the
    group ``layer`` of a regular expression; 0 without any. The group ``expert`` may tell experts.

    Examples
    --------
    >>> names = names_from({"net.*.weight": "linear"})
    >>> names.identify("net.3.weight", (64, 64))
    Role(component='linear', layer=3, expert=None, stacked=False, transposed=False)
    """

    patterns: tuple[tuple[str, re.Pattern[str], str], ...] = ()

    def identify(self, name: str, shape: tuple[int, ...]) -> Role | Skip:
        """Tell what a tensor is: by a pattern, if one fits a matrix, else by its family.

        Raises
        ------
        ValueError
            If two patterns fit, or what a pattern calls the layer is no number.
        """
        if not self.patterns or not _is_matrix(name, shape):
            return identify(name, shape)
        fitting = [(text, match, c) for text, p, c in self.patterns if (match := p.fullmatch(name))]
        if not fitting:
            return identify(name, shape)
        if len(fitting) > 1:
            both = f"{fitting[0][0]!r} and {fitting[1][0]!r}"
            raise ValueError(
                f"`names` must fit each tensor once, but {both} both fit "
                f"`{shortened(name, LONGEST_NAME)}`. Make one of them narrower."
            )
        text, match, component = fitting[0]
        layer, expert = numbers_in(name)
        groups = match.groupdict()
        if groups.get("layer") is not None:
            layer = _number(text, "layer", groups["layer"])
        if groups.get("expert") is not None:
            expert = _number(text, "expert", groups["expert"])
        return Role(component, layer or 0, expert)

    def places(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether a pattern fits a matrix."""
        return _is_matrix(name, shape) and any(p.fullmatch(name) for _, p, _ in self.patterns)

    def check_used(self, tensors: Iterable[tuple[str, tuple[int, ...]]]) -> None:
        """Raise ValueError if a pattern fits no matrix among the tensors of all checkpoints."""
        if not self.patterns:
            return
        there = [name for name, shape in tensors if _is_matrix(name, shape)]
        for text, pattern, _ in self.patterns:
            if not any(map(pattern.fullmatch, there)):
                known = ", ".join(f"`{shortened(n, LONGEST_NAME)}`" for n in there[:_LISTED])
                more = f" and {len(there) - _LISTED:,} more" if len(there) > _LISTED else ""
                raise ValueError(
                    f"`names` must hold patterns of weight matrices, but {text!r} fits none of "
                    f"{known or 'no matrices'}{more}.{did_you_mean(text, there)} `*` stands for "
                    "anything; a regular expression begins with `re:`."
                )


def names_from(names: Mapping[str, str] | None) -> Names:
    """Read what a user passes as `names`.

    Raises
    ------
    TypeError, ValueError
        If it is no mapping of patterns to components, or one of them is not valid.
    """
    if names is None:
        return Names()
    if not hasattr(names, "items"):
        raise TypeError(
            "`names` must map patterns to components, like {'net.*.weight': 'linear'}, "
            f"got {type(names).__name__}."
        )
    found = []
    for text, component in names.items():
        if not isinstance(text, str) or not isinstance(component, str):
            raise TypeError(f"`names` must map str to str, got {text!r}: {component!r}.")
        if not _COMPONENT.fullmatch(component) or len(component) > _LONGEST_COMPONENT:
            raise ValueError(
                "A component must be words of letters, digits, - and _, joined by dots, "
                f"got {shortened(component)!r}."
            )
        try:
            found.append((text, compiled_pattern(text), component))
        except ValueError as err:
            raise ValueError(f"`names` has the pattern {shortened(text)!r}, but {err}.") from err
    return Names(tuple(found))


def names_to_copy(tensors: Iterable[Mapping[str, Any]]) -> str:
    """Write a mapping of patterns for tensors that no family knows; nothing if there are none.

    Takes the entries of `weibnb.not_fitted`, as mappings.

    Examples
    --------
    >>> names_to_copy([{"tensor": "net.0.weight", "shape": [8, 8], "reason": "unrecognised"}])
    "{'net.*.weight': 'linear'}"
    """
    found = _suggested(tensors)
    return str(found) if found else ""


def names_for_shell(tensors: Iterable[Sequence[Any]]) -> str:
    """Write the same as options of ``weibnb scan``, of (tensor, shape, reason)."""
    entries = ({"tensor": n, "shape": shape, "reason": why} for n, shape, why in tensors)
    return " ".join(f"--names {quote(f'{p}={c}')}" for p, c in _suggested(entries).items())


def _suggested(tensors: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Give patterns and components for the first few tensors that no family knows."""
    found: dict[str, str] = {}
    for entry in tensors:
        name, shape = str(entry["tensor"]), tuple(entry["shape"])
        if entry["reason"] == "unrecognised" and _is_matrix(name, shape) and len(found) < _LISTED:
            words = name.split(".")
            glob = ".".join("*" if word.isdigit() else _plain(word) for word in words)
            found.setdefault(glob, _component_in(words, set(found.values())))
    return found


def _plain(word: str) -> str:
    """Write a word of a name so that a glob takes it as it is."""
    return re.sub(r"[*?\[]", "?", shortened(word))


def _component_in(words: list[str], taken: set[str]) -> str:
    """Give the last word of a name that may be a component and is not taken."""
    last = [word for word in words if word != "weight" and _COMPONENT.fullmatch(word)][-1:]
    beside_number = len(words) > 1 and words[-1] == "weight" and words[-2].isdigit()
    name = "linear" if beside_number or not last else last[0][:_LONGEST_COMPONENT]
    names = [name, *(f"{name}_{number}" for number in range(2, _LISTED + 2))]
    return next(one for one in names if one not in taken)


def _is_matrix(name: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is a matrix with a name that patterns may have."""
    return len(shape) == 2 and min(shape) > 1 and 0 < len(name) <= LONGEST_NAME


def _number(pattern: str, group: str, text: str) -> int:
    """Read the layer or expert that a group of a pattern found."""
    if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= LARGEST_INDEX:
        return int(text)
    raise ValueError(
        f"`names` must find a number as `{group}`, but {pattern!r} found {shortened(text)!r}."
    )
