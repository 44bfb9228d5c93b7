"""Ctrl-C and other signals to stop: when they are raised, and what ends at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], object]

#: What asks a program to stop; Windows has no SIGHUP.
STOPPING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, on the road of Ctrl-C: what keeps work at one keeps it at the other.

    Attributes
    ----------
    number : int
        The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class _Held:
    """Stands in for handlers: notes the first signal, and hands on both when a second comes."""

    def __init__(self, handlers: dict[int, Handler | signal.Handlers]) -> None:
        self.handlers = handlers
        self.active = False
        self.first: tuple[int, FrameType | None] | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.active and self.first is None:
            self.first = number, frame
            return
        try:
            self.deliver()
        finally:
            self._hand_on(number, frame)

    def deliver(self) -> None:
        """Hand on what was noted."""
        first, self.first = self.first, None
        if first is not None:
            self._hand_on(*first)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        handler = self.handlers[number]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


@contextmanager
def held() -> Iterator[None]:
    """Hold signals to stop back while a short piece of work is done, which must not be halved.

    One that comes inside goes to the handler that was there when the block ends; a second one
    sends both there at once. What is ignored stays ignored. Outside of the main thread, where no
    handler runs, and inside of another such block nothing is done.

    Raises
    ------
    KeyboardInterrupt
        At the end of the block, or whatever else the handler raises.

    Examples
    --------
    >>> done = []
    >>> try:
    ...     with held():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("the work")
    ... except KeyboardInterrupt:
    ...     done.append("then Ctrl-C")
    >>> done
    ['the work', 'then Ctrl-C']
    """
    holder = _Held(_handlers())
    inside = any(isinstance(handler, _Held) for handler in holder.handlers.values())
    if inside or threading.current_thread() is not threading.main_thread():
        yield
        return
    try:
        for number in holder.handlers:
            signal.signal(number, holder)
        holder.active = True
        yield
    finally:
        holder.active = False
        for number, handler in holder.handlers.items():
            signal.signal(number, handler)
        holder.deliver()


class Stop:
    """Which signal came, if one did.

    Attributes
    ----------
    number : int or None
        The first of them.
    """

    def __init__(self, number: int | None = None) -> None:
        self.number = number

    @property
    def status(self) -> int:
        """What a program that was stopped ends with: 128 and the signal, SIGINT by default."""
        return 128 + (self.number or signal.SIGINT)

    @property
    def text(self) -> str:
        """What happened, in words."""
        if self.number in (None, signal.SIGINT):
            return "interrupted"
        return f"stopped by {signal.Signals(self.number).name}"


@contextmanager
def signals_as_interrupts(clean_up: Callable[[], None]) -> Iterator[Stop]:
    """Let SIGTERM and SIGHUP take the road of Ctrl-C; a second signal ends the process at once.

    What is ignored (``nohup``) stays so. A second SIGHUP changes nothing: a terminal that closes
    may send two.

    Parameters
    ----------
    clean_up : callable
        What is called before the process ends at once.

    Raises
    ------
    KeyboardInterrupt
        On SIGINT; its subclass `Terminated` on SIGTERM and SIGHUP.
    """
    stop = Stop()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.number is None:
            stop.number = number
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            _leave_a_lost_terminal()
            raise Terminated(number)
        if signal.Signals(number).name != "SIGHUP":
            clean_up()
            os._exit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    found = _handlers()
    try:
        for number in found:
            signal.signal(number, handle)
        yield stop
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)


def end_at_once_if_command() -> None:
    """Let a signal end weibnb's own command with one line while its imports go on.

    Who imports weibnb in a program of their own keeps their handlers.
    """
    if not _is_command() or threading.current_thread() is not threading.main_thread():
        return

    def end(number: int, _: FrameType | None) -> None:
        stop = Stop(number)
        with suppress(OSError):  # nobody is there to read it
            os.write(2, f"weibnb: {stop.text}\n".encode())
        os._exit(stop.status)

    for number, handler in _handlers().items():
        if handler in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)


def _handlers() -> dict[int, Handler | signal.Handlers]:
    """Tell what is done on each signal to stop that is neither ignored nor someone else's."""
    found = {number: signal.getsignal(number) for number in STOPPING}
    return {
        number: handler  # type: ignore[misc]  # no int is among them
        for number, handler in found.items()
        if callable(handler) or handler == signal.SIG_DFL
    }


def _is_command() -> bool:
    """Whether this process is ``weibnb`` or ``python -m weibnb``."""
    words = getattr(sys, "argv", [])
    if not words:
        return False
    if words[0] == "-m":  # the module's place among the words that Python was given
        return sys.orig_argv[-len(words)].removeprefix("-m") in ("weibnb", "weibnb.cli")
    name = os.path.basename(words[0])  # noqa: PTH119  (pathlib would be imported for it)
    return name in ("weibnb", "weibnb.exe")


def _leave_a_lost_terminal() -> None:
    """Turn output to a terminal that is gone into nothing, so that what comes can be saved."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # no stream, or one without a descriptor
            number = stream.fileno()
            try:
                os.write(number, b"")
            except OSError:
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
