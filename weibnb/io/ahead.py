"""Parts of files on other machines, fetched before they are asked for."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Self

from weibnb.io.files import CheckpointError
from weibnb.io.remote import IN_FLIGHT
from weibnb.io.rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from weibnb.io.remote import RemoteFile

#: Bytes from which parts that lie side by side are one request, and share of gaps in it.
REQUEST, GAPS = 16_000_000, 0.01
#: Requests under way at once that are too small for their bytes to matter: what they wait for is
#: the server's answer.
SMALL_IN_FLIGHT = 16
#: Requests that wait to be taken beyond those under way, and most bytes of both.
READY, MOST_BYTES = 2, 100_000_000


class Part(NamedTuple):
    """Bytes of a file."""

    file: RemoteFile
    offset: int
    length: int


@dataclass(slots=True)
class Request:
    """Parts of a file that are fetched at once, gaps between them included."""

    file: RemoteFile
    offset: int
    length: int = 0
    parts: deque[Part] = field(default_factory=deque)
    fetched: Future[memoryview] | None = None


def requests(parts: Iterable[Part]) -> Iterator[Request]:
    """Put parts together that lie side by side, or almost.

    Examples
    --------
    >>> parts = [Part(None, 0, 9_000_000), Part(None, 9_000_100, 9_000_000), Part(None, 50, 7)]
    >>> [(one.offset, one.length) for one in requests(parts)]
    [(0, 18000100), (50, 7)]
    """
    one: Request | None = None
    for part in parts:
        if one is not None and not _fits(one, part):
            yield one
            one = None
        if one is None:
            one = Request(part.file, part.offset)
        one.parts.append(part)
        one.length = part.offset + part.length - one.offset
    if one is not None:
        yield one


def _fits(one: Request, part: Part) -> bool:
    """Whether a part is fetched along with those before it."""
    gap = part.offset - one.offset - one.length
    beside = one.file is part.file and 0 <= gap <= GAPS * (one.length + part.length)
    return beside and one.length < REQUEST


class Ahead:
    """Gives parts in the order in which they were listed, while the next are on their way.

    Best used in a ``with`` block, whose end gives up what is on its way. Once something could not
    be fetched, nothing more is: every further part raises the same error.

    Parameters
    ----------
    parts : iterable of Part
        What is wanted.
    in_flight : int
        Requests under way at once.
    """

    def __init__(self, parts: Iterable[Part], *, in_flight: int = IN_FLIGHT) -> None:
        self._waiting = requests(parts)
        self._begun: deque[Request] = deque()
        self._most = in_flight + READY
        self._rooms = Rooms()
        self._pool = ThreadPoolExecutor(in_flight, thread_name_prefix="weibnb-fetch")
        self._stop = threading.Event()
        self._next: Request | None = next(self._waiting, None)
        self.failure: CheckpointError | None = None
        self._begin()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what is on its way."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take(self) -> memoryview:
        """Wait for the next part.

        Raises
        ------
        CheckpointError
            If it, or one before it, cannot be fetched.
        """
        if self.failure is not None:
            raise self.failure
        one = self._begun[0]
        part = one.parts.popleft()
        try:
            whole = one.fetched.result() if one.fetched else memoryview(b"")
        except CheckpointError as err:
            self.failure = err
            self.close()
            raise
        if not one.parts:
            self._begun.popleft()
            self._begin()
        return whole[part.offset - one.offset :][: part.length]

    def _begin(self) -> None:
        """Begin requests as long as few enough wait to be taken."""
        while self._next is not None and len(self._begun) < self._most:
            one, there = self._next, sum(request.length for request in self._begun)
            if there and there + one.length > MOST_BYTES:
                return
            one.fetched = self._pool.submit(
                one.file.read, one.offset, one.length, self._stop, self._rooms
            )
            self._begun.append(one)
            self._next = next(self._waiting, None)
