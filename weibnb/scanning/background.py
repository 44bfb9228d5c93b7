"""A scan on a thread of its own, whose fits are looked at while it goes on, and a check."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import finalize

from weibnb.diagnostics.check import check_fits
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.sources import resolve_sources
from weibnb.scanning.check import WeightsReader
from weibnb.scanning.scan import ScanInterrupted, scan

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from weibnb.diagnostics.findings import Check
    from weibnb.scanning.progress import Progress


class BackgroundScan:
    """Scans files on a thread, from `start` on; nothing is written to the disk.

    Parameters
    ----------
    source : path, list or Mapping
        As of `weibnb.scan`, of files.
    dequantise : bool
        As of `weibnb.scan`.

    Attributes
    ----------
    at : Progress or None
        How far it is; None before the first matrix.
    error : Exception or None
        Why it ended, if it could not be done.
    ended, cancelled : bool
        Whether it goes on no more, and whether that was asked for.
    seconds : float
        How long it has worked.

    Raises
    ------
    CheckpointError
        If there is no such file.
    TypeError, ValueError
        If the source is none.
    """

    def __init__(self, source: Any, *, dequantise: bool = False) -> None:
        _refuse_what_is_missing(source)
        self.at: Progress | None = None
        self.cancelled = False
        self.error: Exception | None = None
        self._source, self._dequantise = source, dequantise
        self._seen = 0
        self._fits: xr.Dataset | None = None
        self._stop, self._go, self._end = threading.Event(), threading.Event(), threading.Event()
        self._go.set()
        self._began, self._rested = time.monotonic(), 0.0
        self._ended_at: float | None = None
        finalize(self, _let_go, self._stop, self._go)  # also when the interpreter ends

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        threading.Thread(target=self._run, name="weibnb-scan", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether it goes on no more."""
        return self._end.is_set()

    @property
    def seconds(self) -> float:
        """How long it has worked."""
        return (self._ended_at or time.monotonic()) - self._began - self._rested

    def newer(self) -> xr.Dataset | None:
        """Give all fits if there are newer ones; what is still to come is ``"pending"``."""
        if self._fits is not None:
            fits, self._fits = self._fits, None
            return fits
        found = None if self.at is None or self.ended else self.at.fits_since(self._seen)
        if found is None:
            return None
        self._seen, fits = found
        return fits

    def cancel(self) -> None:
        """End it after the matrices that are being counted; their fits are kept."""
        self.cancelled = self.cancelled or not self.ended
        _let_go(self._stop, self._go)

    def pause(self) -> None:
        """Let it rest after the matrices that are being counted."""
        if not self.cancelled:
            self._go.clear()

    def resume(self) -> None:
        """Let it go on."""
        self._go.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; tell whether it has."""
        return self._end.wait(timeout)

    def _run(self) -> None:
        try:
            self._fits = scan(self._source, dequantise=self._dequantise, progress=self._heard)
        except ScanInterrupted as stop:
            self._fits = stop.fits
        except Exception as err:  # noqa: BLE001  (a thread has no caller: who waits is told)
            self.error = err
        finally:
            self._ended_at = time.monotonic()
            self._end.set()
            if self.at is not None:
                self.at = self.at.without_fits()  # which are not held twice

    def _heard(self, at: Progress) -> None:
        """Note how far it is, and rest or end where that was asked for."""
        self.at = at
        if not self._go.is_set():
            begun = time.monotonic()
            self._go.wait()
            self._rested += time.monotonic() - begun
        if self._stop.is_set():
            raise KeyboardInterrupt


class BackgroundCheck:
    """Checks fits and the weights that they are of on a thread.

    Parameters
    ----------
    source : path, list or Mapping
        What was scanned, as of `weibnb.check`.
    dequantise : bool
        As of `weibnb.check`.

    Attributes
    ----------
    begun : bool
        Whether it was started.
    """

    def __init__(self, source: Any, *, dequantise: bool = False) -> None:
        self.begun = False
        self._source, self._dequantise = source, dequantise
        self._stop = threading.Event()
        finalize(self, self._stop.set)

    def start(self, fits: xr.Dataset, take: Callable[[Check | Exception], object]) -> None:
        """Begin; `take` gets what is found, or why nothing could be, unless it is cancelled."""
        self.begun = True
        reader = WeightsReader(
            fits, self._source, self._dequantise, before_each=partial(_end_if, self._stop)
        )
        threading.Thread(
            target=_check, args=(fits, reader, take, self._stop), name="weibnb-check", daemon=True
        ).start()

    def cancel(self) -> None:
        """End it after the matrix that is being read."""
        self._stop.set()


class _CancelledError(Exception):
    """Nobody waits for what a check finds any more."""


def _end_if(stop: threading.Event) -> None:
    if stop.is_set():
        raise _CancelledError


def _check(
    fits: xr.Dataset,
    reader: WeightsReader,
    take: Callable[[Check | Exception], object],
    stop: threading.Event,
) -> None:
    """Check fits with their weights, and hand on what came of it."""
    try:
        found: Check | Exception = check_fits(fits, reader=reader)
    except Exception as err:  # noqa: BLE001  (a thread has no caller: who waits is told)
        found = err
    if not stop.is_set():
        take(found)


def _let_go(stop: threading.Event, go: threading.Event) -> None:
    """Tell a scan to end, also one that rests."""
    stop.set()
    go.set()


def _refuse_what_is_missing(source: Any) -> None:
    """Raise what a scan would, if none of its files is there."""
    paths = [plan.checkpoint for plan in resolve_sources(source)]
    if paths and all(isinstance(path, Path) and not path.exists() for path in paths):
        open_checkpoint(paths[0])
