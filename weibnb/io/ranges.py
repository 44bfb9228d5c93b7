"""Ranges of a file by HTTP: fetched whole, by whatever number of requests that takes.

A connection that breaks is taken up again at the byte where it broke, a link that expired is
asked for anew, and a server that wants to be left alone is. What a server says of what it sends is
held against what was asked for.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urljoin, urlsplit

from weibnb.io.files import CheckpointError
from weibnb.io.rooms import Rooms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Seconds before a request is made again, the first time; twice as many each time after.
FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
#: Most seconds that a server may ask to be left alone, and requests in a row that bring nothing.
MOST_PATIENCE, MOST_TRIES = 900.0, 6
#: Bytes that an answer must bring to be something.
SOMETHING = 1 << 20
#: Seconds without a byte after which a connection is given up.
SILENCE = 30.0
_MOST_REDIRECTS = 5
_RATE_LIMIT = re.compile(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d+)")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
_BUSY = frozenset((408, 425, 429, 500, 502, 503, 504))
_EXPIRED = frozenset((400, 401, 403, 404, 410))


class GivenUpError(Exception):
    """Nobody waits for this range any more."""


@dataclass(slots=True)
class Patience:
    """How often something was tried in vain, and how long to wait before the next time."""

    place: str
    stop: threading.Event = field(default_factory=threading.Event)
    tries: int = 0

    def again(self, cause: str, seconds: float | None = None) -> None:
        """Wait, or raise CheckpointError if there is no point in it any more."""
        self.tries += 1
        if self.tries >= MOST_TRIES:
            tried = f"{cause}, {self.tries} times in a row"
            raise CheckpointError(self.place, tried, "Try again later.")
        if seconds is not None and seconds > MOST_PATIENCE:
            cause = f"{cause}, and asks to wait {seconds:,.0f} s"
            raise CheckpointError(self.place, cause, "Try again then.")
        waited = min(FIRST_WAIT * 2 ** (self.tries - 1), LONGEST_WAIT)
        if self.stop.wait(waited if seconds is None else seconds):
            raise GivenUpError

    def progressed(self) -> None:
        """Begin to count anew."""
        self.tries = 0


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Give the seconds after which a server wants to be asked again, if it says so.

    Examples
    --------
    >>> asked_to_wait({"ratelimit": '"api";r=0;t=55'}), asked_to_wait({"retry-after": "7"})
    (55.0, 7.0)
    """
    from datetime import UTC, datetime

    if limit := _RATE_LIMIT.search(headers.get("ratelimit", "")):
        return float(limit[1])
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        return max((parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None


def origin(url: str) -> tuple[str, str, int]:
    """Give scheme, host and port: what must be the same for a token to be sent."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    return parts.scheme, (parts.hostname or "").lower(), port


class Ranges:
    """Fetches ranges of one file; threads may share it.

    Parameters
    ----------
    name : str
        What errors call the file.
    size : int
        Its bytes.
    locate : callable
        Gives the link that it is read by, anew each time.
    headers_for : callable
        Gives the headers of a request to a URL: secrets for their own host alone.
    client : callable
        Gives the `httpx` client.
    """

    def __init__(
        self,
        name: str,
        size: int,
        *,
        locate: Callable[[threading.Event], str],
        headers_for: Callable[[str], dict[str, str]],
        client: Callable[[], Any],
    ) -> None:
        self._name, self._size = name, size
        self._locate, self._headers_for, self._client = locate, headers_for, client
        self._lock = threading.Lock()
        self._url = ""
        self._tag: tuple[str, str] = ("", "")  # host, and its name for what the file holds

    def read(
        self,
        offset: int,
        length: int,
        stop: threading.Event | None = None,
        rooms: Rooms | None = None,
    ) -> memoryview:
        """Fetch a range, all of it, into memory of `rooms`.

        Raises
        ------
        CheckpointError
            If that cannot be done, or the file is not what it was.
        """
        if not 0 <= offset <= offset + length <= self._size:
            self._refuse(
                f"bytes {offset:,} to {offset + length:,} of {self._size:,} were asked for"
            )
        one = _Range(offset, (rooms or Rooms()).take(length), stop or threading.Event())
        patience = Patience(self._name, one.stop)
        while one.left:
            before = one.filled
            cause, seconds = self._fetch(one)
            if one.filled - before >= min(SOMETHING, one.left or 1):
                patience.progressed()
            if one.left:
                patience.again(cause, seconds)
        return one.buffer.toreadonly()

    def _fetch(self, one: _Range) -> tuple[str, float | None]:
        """Make one request; say why it did not bring all, and how long to wait."""
        from httpx2 import HTTPError, StreamError, Timeout

        url = self._link(one.stop)
        try:
            for _ in range(_MOST_REDIRECTS):
                with self._client().stream(
                    "GET",
                    url,
                    headers=self._request(url, one),
                    follow_redirects=False,
                    timeout=Timeout(SILENCE),
                ) as response:
                    if response.has_redirect_location:
                        url = self._redirected(url, response.headers["location"])
                        continue
                    return self._take(url, response, one)
        except (HTTPError, StreamError) as err:
            return f"the connection broke ({type(err).__name__})", None
        return "the server redirects without an end", None

    def _take(self, url: str, response: Any, one: _Range) -> tuple[str, float | None]:
        """Take what an answer brings of a range."""
        status = response.status_code
        if status in _BUSY:
            return f"the server answers {status}", asked_to_wait(response.headers)
        if status in _EXPIRED:
            self._forget(url)
            return f"the server refuses the file ({status})", None
        if status == 206:
            self._check_range(response, one)
        elif status == 200 and one.filled == 0 and len(one.buffer) == self._size:
            self._check_length(response)
        else:
            self._refuse_status(status)
        self._check_tag(url, response.headers.get("etag", ""))
        for chunk in response.iter_raw():
            if one.stop.is_set():
                raise GivenUpError
            if len(chunk) > one.left:
                self._refuse("the server sends more than it said", "Do not trust this server.")
            one.add(chunk)
        return "the server ends before the range does", None

    def _refuse_status(self, status: int) -> NoReturn:
        """Say what an answer means that brings nothing of a range."""
        if status == 412:
            self._refuse("the file changed while it was read", "Scan it again.")
        if status == 416:
            shorter = f"the file became shorter than the {self._size:,} bytes that it had"
            self._refuse(shorter, "Scan it again once it is whole.")
        if status == 200:
            whole = "the server sends the whole file where a part of it was asked for"
            self._refuse(whole, "Download it, and scan the folder.")
        self._refuse(f"the server answers {status}", "Try again later.")

    def _link(self, stop: threading.Event) -> str:
        """Give the link that the file is read by; it is asked for where there is none."""
        with self._lock:
            if not self._url:
                self._url = self._locate(stop)
            return self._url

    def _forget(self, url: str) -> None:
        """Forget a link that works no longer, unless another thread has done so."""
        with self._lock:
            if self._url == url or origin(self._url) != origin(url):
                self._url = ""

    def _redirected(self, url: str, location: str) -> str:
        """Follow a redirection, but not from https to http."""
        target = urljoin(url, location)
        if urlsplit(target).scheme not in ("https", urlsplit(url).scheme):
            self._refuse("the server redirects to an unsafe link", "Do not trust this server.")
        return target

    def _request(self, url: str, one: _Range) -> dict[str, str]:
        """Give the headers of a request for what is left of a range."""
        last = one.offset + len(one.buffer) - 1
        headers = self._headers_for(url) | {
            "range": f"bytes={one.offset + one.filled}-{last}",
            "accept-encoding": "identity",
        }
        host, tag = self._tag
        if tag and host == urlsplit(url).netloc:
            headers["if-match"] = tag
        return headers

    def _check_tag(self, url: str, tag: str) -> None:
        """Refuse a file that is not the one whose first part was read; weak tags tell nothing."""
        host = urlsplit(url).netloc
        known = self._tag
        if tag.startswith("W/") or not tag:
            return
        if known[0] == host and known[1] != tag:
            self._refuse("the file changed while it was read", "Scan it again.")
        self._tag = host, tag

    def _check_range(self, response: Any, one: _Range) -> None:
        """Refuse a part that is not the one that was asked for."""
        told = response.headers.get("content-range", "")
        match = _CONTENT_RANGE.fullmatch(told)
        start, last = one.offset + one.filled, one.offset + len(one.buffer) - 1
        if match is None or int(match[1]) != start or not start <= int(match[2]) <= last:
            self._refuse(
                f"bytes {start:,} to {last:,} were asked for, the server says {told[:80]!r}",
                "Do not trust this server.",
            )
        if match[3] not in ("*", str(self._size)):
            self._refuse(
                f"the file has {int(match[3]):,} bytes now, it had {self._size:,}",
                "Scan it again once it is whole.",
            )
        self._check_encoding(response)

    def _check_length(self, response: Any) -> None:
        """Refuse a whole file that has another size."""
        told = response.headers.get("content-length", str(self._size))
        if told != str(self._size):
            self._refuse(f"the file has {told[:20]} bytes now, it had {self._size:,}")
        self._check_encoding(response)

    def _check_encoding(self, response: Any) -> None:
        """Refuse bytes that are not those of the file."""
        if response.headers.get("content-encoding", "identity") != "identity":
            self._refuse("the server sends it compressed", "Download it, and scan the folder.")

    def _refuse(self, cause: str, step: str = "") -> NoReturn:
        raise CheckpointError(self._name, cause, step)


@dataclass(slots=True)
class _Range:
    """A range in the making."""

    offset: int
    buffer: memoryview
    stop: threading.Event
    filled: int = 0

    @property
    def left(self) -> int:
        """Bytes that are still to come."""
        return len(self.buffer) - self.filled

    def add(self, chunk: bytes) -> None:
        """Take some more bytes."""
        self.buffer[self.filled : self.filled + len(chunk)] = chunk
        self.filled += len(chunk)
