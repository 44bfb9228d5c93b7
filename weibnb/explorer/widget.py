"""The explorer: one widget to filter fits and look at any matrix; state in, charts out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Self, get_args

import traitlets

from weibnb.charts.inside import InsideValue
from weibnb.charts.layers import MapValue
from weibnb.charts.training import TrackValue
from weibnb.charts.vega import Scale
from weibnb.diagnostics.bands import BANDS
from weibnb.explorer import content, export
from weibnb.explorer.following import Follower, carried, told
from weibnb.explorer.linked import LinkedWidget
from weibnb.explorer.panels import PANELS
from weibnb.explorer.parts import Parts
from weibnb.explorer.state import first_state
from weibnb.explorer.table import Table
from weibnb.explorer.views import Views, read_view, view_text
from weibnb.messages import printable
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from weibnb.explorer.drawing import Drawing, Reader
    from weibnb.explorer.following import Newer
    from weibnb.scanning.background import BackgroundScan

_CHECKED_AT_ONCE = 2000  # matrices; of more the findings are made when their panel is opened


class Explorer(LinkedWidget):
    """Linked charts of fits. Every trait can be set from Python; the view follows.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    reader : callable, optional
        Gives what a function of weibnb finds in the weights of some of the fits.
    newer : callable, optional
        Gives all fits where there are newer ones, else None: it is asked twice a second, in a
        thread of its own. What it raises is shown on the page, and it is asked again.
    followed : str
        What `newer` or `work` reads, as the page calls it.
    work : BackgroundScan, optional
        What makes the fits while they are shown, in the place of `newer`.
    state : mapping or path, optional
        Traits to begin with, as `state` gives them, or a file that ``save("view.json")`` wrote.
    keep : path, optional
        A ``.json`` that the view is kept in: it is opened as it was left, if the file is there, and
        written when the view changes.
    **traits : Any
        Traits to begin with; one of these holds where `state` has it, too.

    Attributes
    ----------
    panel : str
        What is shown: ``"overview"``, ``"findings"``, ``"weibull"``, ``"inside"``, ``"classes"``,
        ``"trajectories"``, ``"compare"`` or ``"table"``.
    filters : dict
        Labels that are kept, by facet (model, tower, weight_class, component, status, and every
        further coordinate of the fits); a facet that is not named keeps all.
    layers : tuple of int
        First and last layer.
    step : int
        Step that is shown; trajectories show all.
    trim : tuple of float
        Probability interval of the Weibull plot that is fitted.
    estimator : {"rank_regression", "maximum_likelihood"}
        How k and λ are estimated.
    selected : list of tuple
        ``(model, layer, component, step)`` of the matrices that were clicked.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        What the map shows.
    band : str
        Name of the published band behind the classes.
    track : {"k", "lam"}
        What the trajectories show.
    step_scale : {"log", "linear"}
        Their axis.
    first, second : tuple
        ``(model, step)`` of the two that are compared.
    side_by_side : bool
        Whether the Weibull plot also has the line of the other estimator.
    inside : {"rms", "largest"}
        What the map of one matrix shows.
    window : tuple of int
        Its part that is shown: first row, the one after the last, and likewise columns; empty for
        all of it.
    causes : bool
        Whether the Weibull plot also says why k is low, for which the weights are read.
    order : tuple
        Column of the table, and whether it ascends.
    follow : bool
        Whether newer fits are taken over as they come, where there is a `newer`. What was chosen
        stays; a step that stands at the last goes on to the newest. Of a scan it is true while it
        goes on, and False cancels it.
    state : dict
        What differs from the first view, as JSON has it; it can be set.
    views : Views
        States by name: ``explorer.views["mine"] = explorer.state`` keeps one.
    """

    _function = "explore"
    _panels = PANELS
    panel = traitlets.Enum(list(PANELS), "overview").tag(sync=True, state=True)
    value = traitlets.Enum(list(get_args(MapValue)), "k").tag(sync=True, state=True)
    band = traitlets.Enum(list(BANDS), "transmission-feed-forward").tag(sync=True, state=True)
    track = traitlets.Enum(list(get_args(TrackValue)), "k").tag(sync=True, state=True)
    step_scale = traitlets.Enum(list(get_args(Scale)), "log").tag(sync=True, state=True)
    first = traitlets.Tuple().tag(sync=True, state=True)
    second = traitlets.Tuple().tag(sync=True, state=True)
    side_by_side = traitlets.Bool(default_value=False).tag(sync=True, state=True)
    inside = traitlets.Enum(list(get_args(InsideValue)), "rms").tag(sync=True, state=True)
    window = traitlets.Tuple().tag(sync=True, state=True)
    causes = traitlets.Bool(default_value=False).tag(sync=True, state=True)
    order = traitlets.Tuple().tag(sync=True, state=True)

    follow = traitlets.Bool(default_value=False).tag(sync=True)

    _following = traitlets.Unicode().tag(sync=True)
    _rows = traitlets.Unicode().tag(sync=True)
    _findings = traitlets.Unicode().tag(sync=True)
    _names = traitlets.Unicode().tag(sync=True)
    _pages = traitlets.Int(-1).tag(sync=True)  # that show it; -1 before the first

    def __init__(
        self,
        fits: xr.Dataset,
        *,
        reader: Reader | None = None,
        newer: Newer | None = None,
        followed: str = "",
        work: BackgroundScan | None = None,
        state: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        keep: str | os.PathLike[str] | None = None,
        **traits: Any,
    ) -> None:
        views: dict[str, dict[str, Any]] = {}
        if isinstance(state, str | os.PathLike):
            state, views = read_view(state)
        self._keep = None if keep is None else check_target(keep, [".json"], "view")
        if self._keep is not None and self._keep.exists():
            kept, views = read_view(self._keep)
            state = kept | dict(state or {})
        self.views = Views(self.class_trait_names(state=True), self._views_changed)
        self._looked_far = False
        self._table = Table()
        self._kept_text = ""  # of the file, empty until there is a view
        self._work, self._followed = work, followed
        self._follower = None
        if work is not None:
            self._follower = Follower(work.newer, self._take, self._tell, lambda: work.ended)
        elif newer is not None:
            self._follower = Follower(newer, self._take, self._tell)
        synced = {"follow": self._follower is not None}
        script = export.vega_bundle("explorer.js")
        try:
            super().__init__(
                Parts.of(fits), script=script, reader=reader, state=state, synced=synced, **traits
            )
            self.views.update(views)
        except (TypeError, ValueError, traitlets.TraitError) as err:
            if self._keep is not None:
                err.add_note(f"The view is kept in {str(self._keep)!r}: remove it to begin anew.")
            raise
        self._kept_text = self._view_text()
        self.observe(lambda _change: self._start_or_stop(), ["follow", "_pages"])
        if work is not None:
            work.start()
        self._tell("")
        self._start_or_stop()

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, panel {self.panel!r}>"

    # Beside the charts

    def _draw_more(self, drawing: Drawing) -> None:
        self._table = Table.of(drawing, self._table, whole=self.panel == "table")
        self._rows = self._table.text
        self._check_fits()

    def _check_fits(self, *, anew: bool = False) -> None:
        """List what is found: of many matrices where its panel is open, of a run the last step."""
        if self._work is not None and not self._work.ended:
            return
        number, opened = len(self._parts.cells.places), self.panel == "findings"
        known = self._findings and (self._looked_far or not opened)
        if not number or (known and not anew):
            return
        fits = self._parts.whole
        if number > _CHECKED_AT_ONCE and self.follow:
            fits = fits.isel(step=[-1])
        elif number > _CHECKED_AT_ONCE and not opened:
            return
        self._findings = content.findings(fits, at_once=not opened)
        self._looked_far = opened

    # Views that are kept

    def _views_changed(self) -> None:
        self._names = json.dumps([[name, printable(name)] for name in self.views])
        self._keep_view()

    def _view_text(self) -> str:
        return view_text(self.state, self.views)

    def _answer(self) -> None:
        super()._answer()
        self._keep_view()

    def _keep_view(self) -> None:
        """Write the view to its file, where it has one, if it changed."""
        if self._keep is None or self._kept_text in ("", text := self._view_text()):
            return
        self._kept_text = text
        try:
            write_whole(self._keep, text)
        except OSError as err:  # it has no caller: the page shows it
            self.send({"problem": f"The view is not kept: {err}"})

    def _on_message(self, widget: Any, message: Mapping[str, Any], buffers: Any) -> None:
        """Keep, open or forget a view, or send a file."""
        name = message.get("view")
        if name is None:
            super()._on_message(widget, message, buffers)
            return
        try:
            self._change_view(str(message.get("act")), str(name))
        except (KeyError, ValueError, TypeError, traitlets.TraitError) as err:
            self.send({"problem": printable(err.args[0])})

    def _change_view(self, act: str, name: str) -> None:
        if act == "keep":
            self.views[name] = self.state
        elif act == "open":
            self.state = self.views[name]
        elif act == "forget":
            del self.views[name]

    # Following

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
        return self

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what is on the screen to a file, when what is explored is scanned.

        Parameters
        ----------
        path : path-like
            ``.html``: a page with all charts, interactive, without a network; ``.svg`` or
            ``.png``: the first chart; ``.csv``: the table of the matrices on the screen;
            ``.json``: the view itself, which ``weibnb.explore(fits, state=path)`` opens again.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the suffix is none of these, or there is no chart to draw.
        CheckpointError
            As `wait`.
        """
        self.wait()
        return super().save(path)

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
            self._check_fits(anew=True)  # later: the step is seen sooner

    def _show_newer(self, parts: Parts) -> None:
        """Draw newer fits."""
        before = first_state(self._parts)
        state = carried(self._state_now(), before, first_state(parts), parts.cells)
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

    def _tell(self, problem: str) -> None:
        """Say on the page what is followed, how far it is, and why it cannot be read."""
        if self._follower is not None:
            self._following = told(self._followed, problem, self._work)
        if self._work is not None and self._work.ended:
            self.follow = False

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show the widget; a program that runs the notebook gets what is finished."""
        from IPython import get_ipython

        if export.runs_unattended(get_ipython()):
            self.wait()
        return super()._repr_mimebundle_(**options)
