"""A thread that asks for newer fits while a model trains, and what of the view stays then."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import xarray as xr

    from weibnb.explorer.filters import Cells

    #: Gives all fits where there is something new, else None; raises what keeps it from looking.
    Newer = Callable[[], xr.Dataset | None]

_EVERY = 0.5  # seconds between two looks
_SHARE = 2  # how many times the processor time of a look it rests: the training needs it


class Follower:
    """Looks for newer fits, again and again, until it is stopped.

    Parameters
    ----------
    newer : callable
        Gives them, or None.
    take : callable
        Takes them.
    tell : callable
        Takes the reason why they could not be read, empty once they can.
    """

    def __init__(
        self,
        newer: Newer,
        take: Callable[[xr.Dataset], object],
        tell: Callable[[str], object],
    ) -> None:
        self._newer, self._take, self._tell = newer, take, tell
        self._looking = threading.Lock()  # one thread at a time, also if it is started again
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
            with self._looking:
                self._look(stop)
            rest = max(_EVERY, _SHARE * (time.thread_time() - begun))

    def _look(self, stop: threading.Event) -> None:
        """Hand on what is new; whatever goes wrong is told, and tried again."""
        try:
            fits = self._newer()
            if fits is not None and not stop.is_set():
                self._take(fits)
            problem = ""
        except Exception as err:  # noqa: BLE001  (a thread has no caller: the page shows it)
            problem = str(err) or type(err).__name__
        if not stop.is_set():
            self._tell(problem)


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
