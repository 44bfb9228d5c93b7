"""A refit of very many matrices: on a thread, some at a time, so that it can be cancelled."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from weibnb.explorer.parts import Parts
    from weibnb.fitting.weibull import Estimator, Trim


class Refit:
    """Fits a part of some fits again, and keeps it with them.

    Parameters
    ----------
    parts : Parts
        The fits.
    query, protocol
        Which part, and by which protocol.
    tell : callable
        Takes the refit, and how far it is, as JSON.
    done : callable
        Takes the refit when it has ended, unless it was cancelled.
    """

    def __init__(
        self,
        parts: Parts,
        query: Mapping[str, Any],
        protocol: tuple[Estimator, Trim],
        tell: Callable[[Refit, str], object],
        done: Callable[[Refit], object],
    ) -> None:
        self.asked = parts, query, protocol
        self.error: Exception | None = None
        self._tell, self._done = tell, done
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="weibnb-refit", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._tell(self, json.dumps({"share": 0.0}))
        self._thread.start()

    def cancel(self) -> None:
        """Fit no more; what is fitted is not kept."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended."""
        self._thread.join(timeout)

    def _run(self) -> None:
        parts, query, protocol = self.asked
        try:
            for share in parts.refit_by_pieces(query, protocol):
                if self._stop.is_set():
                    return
                self._tell(self, json.dumps({"share": share}))
        except Exception as err:  # noqa: BLE001  (a thread has no caller: who waits is told)
            self.error = err
        if not self._stop.is_set():
            self._done(self)
