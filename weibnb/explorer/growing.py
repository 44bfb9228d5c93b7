"""A widget whose fits grow: a scan, a store or a recorder that it follows."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import traitlets

from weibnb.explorer import content, export
from weibnb.explorer.following import Follower, carried, told
from weibnb.explorer.linked import LinkedWidget
from weibnb.explorer.parts import Parts
from weibnb.explorer.state import checked, first_state, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from weibnb.explorer.following import Newer
    from weibnb.scanning.background import BackgroundScan

# Of a state, what cannot be shown before its labels are there.
_LATER = ("filters", "step", "first", "second")


@dataclass(frozen=True, slots=True)
class Growth:
    """Where newer fits come from: `newer` gives them, or `work` makes them; or from nowhere."""

    newer: Newer | None = None
    work: BackgroundScan | None = None
    name: str = ""  # of what is read, as the page calls it


class GrowingWidget(LinkedWidget):
    """Charts of fits that may grow; what was chosen stays."""

    follow = traitlets.Bool(default_value=False).tag(sync=True)

    _following = traitlets.Unicode().tag(sync=True)
    _pages = traitlets.Int(-1).tag(sync=True)  # that show it; -1 before the first

    # one that cannot be made is closed, too
    _follower: Follower | None = None
    _work: BackgroundScan | None = None
    _all_shown = False  # of what `_work` makes

    def __init__(
        self,
        parts: Parts,
        *,
        growth: Growth,
        state: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        newer, work = growth.newer, growth.work
        self._work, self._followed = work, growth.name
        if work is not None:
            self._follower = Follower(work.newer, self._take, self._tell, lambda: work.ended)
        elif newer is not None:
            self._follower = Follower(newer, self._take, self._tell)
        later = _LATER if self._follower is not None and not len(parts.cells.places) else ()
        asked = {**(state or {}), **given}
        super().__init__(
            parts,
            state={name: value for name, value in (state or {}).items() if name not in later},
            synced={"follow": self._follower is not None},
            **{name: value for name, value in given.items() if name not in later},
        )
        self._wanted = {name: asked[name] for name in later if name in asked}

    def _begin(self) -> None:
        """Look for newer fits, once all of the widget is there."""
        self.observe(lambda _change: self._start_or_stop(), ["follow", "_pages"])
        if self._work is not None:
            self._work.start()
        self._tell("", last=False)
        self._start_or_stop()

    def _settle(self) -> None:
        """Wait until what is explored is scanned."""
        self.wait()

    def _grown(self) -> None:
        """Do what newer fits ask for beside the charts, after these are drawn."""

    @property
    def error(self) -> Exception | None:
        """Why the scan of what is explored could not be done; None if it could, or goes on."""
        return None if self._work is None else self._work.error

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until what is explored is scanned, and shown; Ctrl-C cancels the scan.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; by default until it is done.

        Returns
        -------
        Explorer
            Itself.

        Raises
        ------
        TimeoutError
            If it is not done by then; it goes on.
        CheckpointError
            Or whatever else `weibnb.scan` raises: why it could not be done.
        ValueError
            If it is done, and has no such label or step as the explorer was asked to show.
        """
        work, follower = self._work, self._follower
        if work is None or follower is None:
            return self
        work.resume()
        try:
            if not work.wait(timeout):
                raise TimeoutError(f"The scan of {self._followed} is not done after {timeout:g} s.")
        except KeyboardInterrupt:
            self.follow = False
            raise
        follower.look()
        if work.error is not None:
            raise work.error
        if self._wanted:
            raise ValueError(self._unmet())
        return self

    def close(self) -> None:
        """Take the widget from the page, and follow no more; a scan is cancelled."""
        self.follow = False
        if self._follower is not None:
            self._follower.stop()
        super().close()

    @traitlets.validate("follow")
    def _check_follow(self, proposal: Mapping[str, Any]) -> Any:
        if proposal["value"] and self._work is not None and self._work.ended:
            raise traitlets.TraitError("`follow` of a scan that has ended stays False.")
        if proposal["value"] and self._follower is None:
            raise traitlets.TraitError(
                "`follow` needs a store that is written or a recorder: weibnb.explore('run.db')."
            )
        return proposal["value"]

    def _start_or_stop(self) -> None:
        """Follow while it is wanted and a page shows it: one that ran again has another widget."""
        if self._follower is None:
            return
        work, is_seen = self._work, self._pages != 0
        if work is not None and not self.follow:
            work.cancel()  # it is followed to its end
        elif work is not None:
            (work.resume if is_seen else work.pause)()
        if is_seen and (self.follow or work is not None):
            self._follower.start()
        else:
            self._follower.stop()

    def _take(self, fits: xr.Dataset) -> None:
        """Show newer fits; what was chosen stays."""
        parts = Parts.of(fits)
        with self._lock:
            if not self.follow and self._work is None:
                return
            with self.hold_sync():
                self._show_newer(parts)
            self._grown()  # later: the step is seen sooner

    def _show_newer(self, parts: Parts) -> None:
        """Draw newer fits."""
        before, now = first_state(self._parts), self._state_now()
        first = self._first_view()
        self._wanted = {
            name: value for name, value in self._wanted.items() if now[name] == first[name]
        }
        state = carried(now, before, first_state(parts), parts.cells) | self._arrived(parts)
        self._parts = parts
        self._changing = True
        try:
            self._controls = content.controls(parts.cells, self._panels)
            self._checkpoints = content.checkpoints(parts.cells)
            for name, value in state.items():
                setattr(self, name, value)
        finally:
            self._changing = False
        self._charts, self._shown = {}, ()
        self._refresh()

    def _arrived(self, parts: Parts) -> dict[str, Any]:
        """Take from what was asked for what can be shown now."""
        found = {}
        for name, value in list(self._wanted.items()):
            with suppress(TypeError, ValueError):
                found[name] = checked(parts.cells, name, plain(value))
                del self._wanted[name]
        return found

    def _unmet(self) -> str:
        """Say what was asked for and is not there."""
        for name, value in self._wanted.items():
            try:
                checked(self._parts.cells, name, plain(value))
            except (TypeError, ValueError) as err:
                return f"Not shown as asked: {err}"
        return ""

    def _tell(self, problem: str, *, last: bool) -> None:
        """Say on the page what is followed, how far it is, and why it cannot be read."""
        if not problem and (self._work is None or last):
            problem = self._unmet()
        if self._follower is not None:
            self._following = told(self._followed, problem, self._work)
        if last and not self._all_shown:
            with self._lock:
                self._all_shown = True
                self._grown()
        if last:
            self.follow = False

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show the widget; a program that runs the notebook gets what is finished."""
        from IPython import get_ipython

        if export.runs_unattended(get_ipython()):
            self.wait()
        return super()._repr_mimebundle_(**options)
