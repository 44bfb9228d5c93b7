"""The explorer: one widget to filter fits and look at any matrix; state in, charts out."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, get_args

import traitlets

from weibnb.charts.inside import InsideValue
from weibnb.charts.layers import MapValue
from weibnb.charts.training import TrackValue
from weibnb.charts.vega import Scale
from weibnb.charts.weibull_plots import Arrangement
from weibnb.diagnostics.bands import BANDS
from weibnb.explorer import content, export
from weibnb.explorer.growing import GrowingWidget, Growth
from weibnb.explorer.labels import LOOK_AT_WEIGHTS, LOOKING, NOT_LOOKED
from weibnb.explorer.panels import PANELS
from weibnb.explorer.parts import Parts
from weibnb.explorer.state import checked_names
from weibnb.explorer.table import Table
from weibnb.explorer.views import Views, read_view, view_text
from weibnb.messages import printable
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from weibnb.diagnostics.findings import Check
    from weibnb.explorer.drawing import Drawing, Reader
    from weibnb.explorer.following import Newer
    from weibnb.scanning.background import BackgroundCheck, BackgroundScan

_CHECKED_AT_ONCE = 2000  # matrices; of more the findings are made when their panel is opened


class Explorer(GrowingWidget):
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
    check : BackgroundCheck, optional
        What looks at the weights for the findings, once `work` is done.
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
    pinned : dict
        Matrices that stay beside the selected ones, by the names ``"A"`` and ``"B"``.
    height : int
        Height of the explorer in pixels, in which its parts scroll; 0: as high as they are.
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
    arrangement : {"overlay", "multiples", "difference"}
        How several selected matrices are drawn beside the map.
    side_by_side : bool
        Whether the Weibull plot also has the line of the other estimator.
    inside : {"rms", "largest"}
        What the map of one matrix shows.
    expert : int
        Which of its experts, from 0; of a matrix that has fewer, the last.
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
    arrangement = traitlets.Enum(list(get_args(Arrangement)), "overlay").tag(sync=True, state=True)
    side_by_side = traitlets.Bool(default_value=False).tag(sync=True, state=True)
    inside = traitlets.Enum(list(get_args(InsideValue)), "rms").tag(sync=True, state=True)
    expert = traitlets.Int(0, min=0).tag(sync=True, state=True)
    window = traitlets.Tuple().tag(sync=True, state=True)
    causes = traitlets.Bool(default_value=False).tag(sync=True, state=True)
    order = traitlets.Tuple().tag(sync=True, state=True)

    _rows = traitlets.Unicode().tag(sync=True)
    _findings = traitlets.Unicode().tag(sync=True)
    _names = traitlets.Unicode().tag(sync=True)

    _of_weights: BackgroundCheck | None = None

    def __init__(
        self,
        fits: xr.Dataset,
        *,
        reader: Reader | None = None,
        newer: Newer | None = None,
        followed: str = "",
        work: BackgroundScan | None = None,
        check: BackgroundCheck | None = None,
        state: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        keep: str | os.PathLike[str] | None = None,
        **traits: Any,
    ) -> None:
        views: dict[str, dict[str, Any]] = {}
        if isinstance(state, str | os.PathLike):
            state, views = read_view(state)
        state = checked_names(state or {}, self.class_trait_names(state=True))
        self._keep = None if keep is None else check_target(keep, [".json"], "view")
        if self._keep is not None and self._keep.exists():
            kept, views = read_view(self._keep)
            state = kept | state
        self.views = Views(self.class_trait_names(state=True), self._views_changed)
        self._looked_far = False
        self._of_weights = check
        self._table = Table()
        self._kept_text = ""  # of the file, empty until there is a view
        try:
            super().__init__(
                Parts.of(fits),
                script=export.vega_bundle("explorer.js"),
                reader=reader,
                growth=Growth(newer, work, followed),
                state=state,
                **traits,
            )
            self.views.update(views)
        except (TypeError, ValueError, traitlets.TraitError) as err:
            if self._keep is not None:
                err.add_note(f"The view is kept in {str(self._keep)!r}: remove it to begin anew.")
            raise
        self._kept_text = self._view_text()
        self.observe(lambda _change: self._check_fits(), "_pages")
        self._begin()

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, panel {self.panel!r}>"

    # Beside the charts

    def _draw_more(self, drawing: Drawing) -> None:
        self._table = Table.of(drawing, self._table, whole=self.panel == "table")
        self._rows = self._table.text
        self._check_fits()

    def _check_fits(self, *, anew: bool = False) -> None:
        """List what is found: of many matrices where its panel is open, of a run the last step.

        Not before the first page shows the charts: they need not wait for it.
        """
        if self._work is not None and not self._all_shown:
            return
        number, opened = len(self._parts.cells.places), self.panel == "findings"
        if self._pages < 0 and not opened:
            return
        known = self._findings and (self._looked_far or not opened)
        if not number or (known and not anew):
            return
        fits = self._parts.whole
        if number > _CHECKED_AT_ONCE and self.follow:
            fits = fits.isel(step=[-1])
        elif number > _CHECKED_AT_ONCE and not opened:
            return
        looks = self._looks_at_weights()
        note = LOOKING if looks else LOOK_AT_WEIGHTS
        self._findings = content.findings(fits, at_once=not opened, note=note)
        self._looked_far = opened
        if looks and not looks.begun:
            looks.start(fits, self._take_check)

    def _looks_at_weights(self) -> BackgroundCheck | None:
        """Give what checks the weights, where all of them were scanned."""
        work = self._work
        whole = work is not None and work.error is None and not work.cancelled
        return self._of_weights if whole else None

    def _take_check(self, found: Check | Exception) -> None:
        """List what was found in the weights and the fits, instead of in the fits alone."""
        with self._lock:
            self._looked_far = True
            if isinstance(found, Exception):
                note = NOT_LOOKED.format(printable(str(found) or type(found).__name__))
                self._findings = content.findings(self._parts.whole, at_once=False, note=note)
            else:
                self._findings = content.found(found)

    def close(self) -> None:
        """Take the widget from the page, and follow no more; a scan is cancelled."""
        if self._of_weights is not None:
            self._of_weights.cancel()
        super().close()

    def _grown(self) -> None:
        self._check_fits(anew=True)

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
