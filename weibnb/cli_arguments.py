"""Arguments that several commands take: paths, names, and what a checkpoint may ask for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from weibnb.messages import shortened

if TYPE_CHECKING:
    import xarray as xr

#: Makes the parser of a command: `add_parser` of the subparsers.
AddCommand: TypeAlias = Callable[..., argparse.ArgumentParser]


def describe_limits(command: argparse.ArgumentParser) -> None:
    """Add what tells of a checkpoint beyond its path: base, names, and what it may ask for."""
    command.add_argument(
        "--base", type=as_source, metavar="DIR", help="the model that adapters were trained on"
    )
    command.add_argument(
        "--names",
        action=_AddName,
        metavar="PATTERN=COMPONENT",
        help="what matrices of unknown names are: 'net.*.weight=linear'; may be repeated",
    )
    describe_sizes(command)


def describe_sizes(command: argparse.ArgumentParser) -> None:
    """Add what the headers of a checkpoint may hold."""
    from weibnb.io.limits import MAX_HEADER, MAX_TENSORS

    for name, metavar, number, what in (
        ("--max-tensors", "N", MAX_TENSORS, "most tensors of a checkpoint"),
        ("--max-header", "BYTES", MAX_HEADER, "most bytes of a header"),
    ):
        described = f"{what} (default: {number:,})"
        command.add_argument(name, type=whole(1), metavar=metavar, default=number, help=described)


class _AddName(argparse.Action):
    """Gathers patterns and their components."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Take one more; the pattern may hold =, the component does not."""
        pattern, equals, component = str(values).rpartition("=")
        names = dict(getattr(namespace, self.dest) or {})
        if not equals or pattern in names:
            problem = "was given before" if equals else f"is no PATTERN=COMPONENT: {component!r}"
            parser.error(f"{option_string} {pattern!r} {problem}")
        setattr(namespace, self.dest, {**names, pattern: component})


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Make what takes a whole number within limits from the command line."""

    def take(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least or (most is not None and number > most):
            limits = f"at least {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"must be a whole number, {limits}, got {text!r}")
        return number

    return take


def between(least: float, most: float, *, ends: bool = False) -> Callable[[str], float]:
    """Make what takes a number between limits, or one of them, from the command line."""

    def take(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not (least < number < most or (ends and number in (least, most))):
            limits = f"above {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
            raise argparse.ArgumentTypeError(f"must be a number {limits}, got {text!r}")
        return number

    return take


class Interval(argparse.Action):
    """Takes the lower and the upper end of an interval."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Take both."""
        lower, upper = values
        if lower >= upper:
            parser.error(f"argument {option_string}: must ascend, got {lower:g} {upper:g}")
        setattr(namespace, self.dest, (lower, upper))


def as_path(text: str) -> Path:
    """Take a path from the command line; an empty one, of a variable without value, is refused."""
    if not text:
        raise argparse.ArgumentTypeError("a path is empty; pass . for the current directory")
    return Path(text)


def as_source(text: str) -> Path | str:
    """Take a path, or a URL, which is none."""
    return text if "://" in text else as_path(text)


def check_step(step: int | None, fits: xr.Dataset) -> None:
    """Raise wrong usage unless fits have the step, and name those they have."""
    known = fits["step"].values.ravel().tolist()
    if step is not None and step not in known:
        steps = shortened(", ".join(map(str, known)), 200)
        raise argparse.ArgumentError(None, f"--step must be one of {steps}, got {step}.")
