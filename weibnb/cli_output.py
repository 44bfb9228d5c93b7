"""What commands say, and to whom: also where a stream is closed, full or cannot spell it."""

from __future__ import annotations

import io
import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from weibnb.io.files import UnreadableWarning
from weibnb.messages import printable_lines

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator


class Stopped(KeyboardInterrupt):
    """A command was interrupted; the text says what is left of its work."""


def say(text: str) -> None:
    """Print; names from a file cannot steer the terminal."""
    print(printable_lines(text))


def tell(text: str) -> None:
    """Print to stderr, if anyone is there to read it."""
    try:
        print(f"weibnb: {printable_lines(text)}", file=sys.stderr, flush=True)
    except OSError:
        to_nowhere(sys.stderr)


def open_closed_streams() -> None:
    """Open what the shell closed to nowhere, lest a file take its number; spell what can be."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, io.TextIOWrapper(io.FileIO(nowhere, "w"), encoding="utf-8"))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # λ and Δ on a terminal that lacks them


def to_nowhere(stream: TextIO) -> None:
    """Let nothing more come to a stream that does not take it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def warnings_told() -> Iterator[list[str]]:
    """Tell warnings as all else is told; give those on what could not be read."""
    unreadable: list[str] = []
    with warnings.catch_warnings(record=True) as raised:
        try:
            yield unreadable
        finally:
            for warning in raised:
                text = str(warning.message)
                unreadable += [text] * issubclass(warning.category, UnreadableWarning)
                tell(text)


def judged(
    run: Callable[[argparse.Namespace], tuple[str, int]], options: argparse.Namespace
) -> int:
    """Print what a command found; 2 where it could not look."""
    try:
        with warnings_told():
            text, status = run(options)
    except (ValueError, OSError, ImportError, RuntimeError) as err:
        tell(str(err))
        return 2
    say(text)
    return status
