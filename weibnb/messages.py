"""Words for people: errors that name the closest valid name, and names that are safe to print."""

from __future__ import annotations

from difflib import get_close_matches
from numbers import Integral
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class NotHeldError(ValueError):
    """Fits lack what a function reads of them."""


class NeedsWeightsError(ValueError):
    """Fits were given to a function that shows what was read of the weights.

    Attributes
    ----------
    call : str
        What to run instead.
    """

    def __init__(self, made_by: str, call: str) -> None:
        super().__init__(
            f"`found` must come from {made_by}, which reads the weights; these are fits. {call}"
        )
        self.call = call


class TooManyError(ValueError):
    """Fits hold more than a chart has room for.

    Attributes
    ----------
    room : str
        How many of what it has room for.
    number : int
        How many there are.
    """

    def __init__(self, room: str, number: int, *, use: str, select: str) -> None:
        super().__init__(
            f"`fits` must hold at most {room} {use}, got {number}. Select some: {select}."
        )
        self.room, self.number = room, number


def did_you_mean(value: object, valid: Iterable[str]) -> str:
    """Write " Did you mean 'layer'?", or nothing where no valid name is close."""
    names = {name.lower(): name for name in valid}
    close = get_close_matches(str(value).lower(), names, n=1, cutoff=0.4)
    return f" Did you mean {names[close[0]]!r}?" if close else ""


def unknown_name(argument: str, value: object, valid: Iterable[str]) -> ValueError:
    """Make the error for a value that is none of the valid names.

    Examples
    --------
    >>> unknown_name("by", "modell", ("layer", "model"))
    ValueError("`by` must be one of 'layer', 'model', got 'modell'. Did you mean 'model'?")
    """
    names = list(valid)
    choices = ", ".join(map(repr, names))
    hint = did_you_mean(value, names)
    return ValueError(f"`{argument}` must be one of {choices}, got {value!r}.{hint}")


def check_choice(argument: str, value: object, valid: Iterable[str]) -> None:
    """Raise unless a value is one of the valid names."""
    names = list(valid)
    if not isinstance(value, str) or value not in names:
        raise unknown_name(argument, value, names)


def printable(name: object) -> str:
    r"""Write a name from data with everything escaped that does not print as itself.

    Control characters, ESC and BEL among them, C1, and marks that change the direction of text.

    Examples
    --------
    >>> printable("a\nb")
    'a\\nb'
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def printable_lines(text: str) -> str:
    """Write text of several lines with all other control characters escaped."""
    return "\n".join(map(printable, text.split("\n")))


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with its noun.

    Examples
    --------
    >>> counted(1, "weight"), counted(1200, "matrix", "matrices")
    ('1 weight', '1,200 matrices')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def shortened(name: object, length: int = 48) -> str:
    """Write a printable name in at most `length` characters, with an ellipsis where it was cut.

    Examples
    --------
    >>> shortened("abcdef", 4)
    'abc…'
    """
    text = printable(str(name)[: length + 1])
    return text if len(text) <= length else f"{text[: length - 1]}…"


def grouped(label: object) -> str:
    """Write a label of a step as people read it: a whole number with commas from 1,000 on."""
    return f"{label:,}" if isinstance(label, Integral) else str(label)
