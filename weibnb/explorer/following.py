"""A thread that asks for newer fits while they are made, and what of the view stays then."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from weibnb.messages import counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

    from weibnb.explorer.filters import Cells
    from weibnb.scanning.background import BackgroundScan
    from weibnb.scanning.progress import Progress

    #: Gives all fits where there is something new, else None; raises what keeps it from looking.
    Newer = Callable[[], xr.Dataset | None]

    class Tell(Protocol):
        """Takes why fits could not be read, empty if they could, and whether no more come."""

        def __call__(self, problem: str, *, last: bool) -> object:
            """Take both."""


_EVERY = 0.5  # seconds between two looks
_SHARE = 2  # how many times the processor time of a look it rests: the training needs it


class Follower:
    """Looks for newer fits, again and again, until it is stopped or there is no more to come.

    Parameters
    ----------
    newer : callable
        Gives them, or None.
    take : callable
        Takes them.
    tell : callable
        Takes the reason why they could not be read, and whether no more come.
    ended : callable, optional
        Tells whether the next look is the last.
    """

    def __init__(
        self,
        newer: Newer,
        take: Callable[[xr.Dataset], object],
        tell: Tell,
        ended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._newer, self._take, self._tell, self._ended = newer, take, tell, ended
        self._looking = threading.RLock()  # one thread at a time, also if it is started again
        self._late: xr.Dataset | None = None  # came after it was stopped: for the next look
        self._stop = threading.Event()
        self._stop.set()

    @property
    def runs(self) -> bool:
        """Whether it looks."""
        return not self._stop.is_set()

    def start(self) -> None:
        """Look at once, and then again and again."""
        if self.runs:
            return
        self._stop = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(self._stop,), name="weibnb-follower", daemon=True
        )
        thread.start()

    def stop(self) -> None:
        """Look no more; a look that is under way ends."""
        self._stop.set()

    def _run(self, stop: threading.Event) -> None:
        rest = 0.0
        while not stop.wait(rest):
            begun = time.thread_time()
            if self._look(stop):
                stop.set()
            rest = max(_EVERY, _SHARE * (time.thread_time() - begun))

    def look(self) -> None:
        """Look once, now."""
        self._look(threading.Event())

    def _look(self, stop: threading.Event) -> bool:
        """Hand on what is new, while no other thread does; tell whether no more comes."""
        with self._looking:
            return self._hand_on(stop)

    def _hand_on(self, stop: threading.Event) -> bool:
        """Hand on what is new; whatever goes wrong is told, and tried again."""
        last = self._ended()  # asked first: what is made meanwhile is for the next look
        try:
            newer = self._newer()
            self._late = self._late if newer is None else newer
            if self._late is not None and not stop.is_set():
                fits, self._late = self._late, None
                self._take(fits)
            problem = ""
        except Exception as err:  # noqa: BLE001  (a thread has no caller: the page shows it)
            problem = str(err) or type(err).__name__
        if not stop.is_set():
            self._tell(problem, last=last)
        return last


def told(followed: str, problem: str, work: BackgroundScan | None) -> str:
    """Write what the page says about what it follows: its name, trouble, and how far a work is."""
    words: dict[str, Any] = {"followed": printable(followed), "problem": printable(problem)}
    if work is not None:
        at, error = work.at, work.error
        words["share"] = _share(at)
        words["runs"] = not work.ended and not work.cancelled
        words["text"] = printable(_text_of(work))
        notes = at.problems if at is not None else ()
        words["problem"] = printable(
            f"{type(error).__name__}: {error}" if error is not None else problem or _noted(notes)
        )
    return json.dumps(words)


def _share(at: Progress | None) -> float:
    """Tell how much of a work is done, from 0 to 1: of the bytes, where there are any."""
    if at is None:
        return 0.0
    return at.read / at.nbytes if at.nbytes else at.done / max(at.matrices, 1)


def _text_of(work: BackgroundScan) -> str:
    """Say how far a work is, how fast, and how long it will take; nothing once it is done."""
    at = work.at
    if work.ended and not work.cancelled and work.error is None:
        return ""
    if at is None:
        return "" if work.error else "cancelled" if work.cancelled else "starting …"
    words = [f"{at.done:,} of {counted(at.matrices, 'matrix', 'matrices')}"]
    if work.cancelled:
        words.append("cancelled")
    if work.seconds > 0 and at.read:
        words.append(f"{_bytes_text(at.read / work.seconds)}/s")
    share = _share(at)
    if not work.ended and not work.cancelled and share > 0:
        words.append(f"{_time_text(work.seconds * (1 - share) / share)} left")
    return " · ".join(words)


def _bytes_text(number: float) -> str:
    """Write a number of bytes with three digits."""
    units = ["B", "kB", "MB", "GB"]
    while number >= 999.5 and len(units) > 1:
        number /= 1000
        units.pop(0)
    return f"{number:.3g} {units[0]}"


def _time_text(seconds: float) -> str:
    """Write a time as one would say it."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 99.5 else f"{minutes / 60:.1f} h"


def _noted(problems: Sequence[str]) -> str:
    """Say what could not be read: the first reason, and how many more there are."""
    if not problems:
        return ""
    more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
    return f"Not read: {problems[0]}{more}"


def carried(
    now: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], cells: Cells
) -> dict[str, Any]:
    """Carry a view over to newer fits.

    What was chosen stays. What stood where a new explorer stands, as a step at the last does, goes
    where a new one stands now; so does what is there no longer.

    Parameters
    ----------
    now : mapping
        The state of the explorer.
    before, after : mapping
        What a new explorer of the former and of the newer fits shows.
    cells : Cells
        The matrices of the newer fits.
    """
    empty: dict[str, Any] = {"filters": {}, "first": (), "second": ()}
    before, after = empty | dict(before), empty | dict(after)
    found = {}
    for name, default in after.items():
        chosen = now[name]
        stays = chosen != before[name] and _is_there(name, chosen, cells)
        found[name] = chosen if stays else default
    if found["filters"] == now["filters"]:
        found["filters"] = _still_there(now["filters"], cells)
    return found


def _is_there(name: str, chosen: Any, cells: Cells) -> bool:
    """Whether what was chosen can be shown of some fits."""
    if name == "step":
        return chosen in cells.steps
    if name in ("first", "second"):
        return tuple(chosen) in cells.checkpoints
    return True


def _still_there(filters: Mapping[str, Any], cells: Cells) -> dict[str, Any]:
    """Leave out of filters the labels that are gone, and what keeps none any more."""
    found = {}
    for name, labels in filters.items():
        if name in cells.facets:
            kept = tuple(label for label in labels if label in cells.facets[name].labels)
            if kept or not labels:
                found[name] = kept
    return found
