"""The explorer: one widget to filter fits and look at any matrix; state in, charts out."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, get_args
from uuid import uuid4

import anywidget
import traitlets

from weibnb.charts.layers import MapValue
from weibnb.charts.training import TrackValue
from weibnb.charts.vega import Scale, on_dark, vega_lite
from weibnb.diagnostics.bands import BANDS
from weibnb.explorer import content, export
from weibnb.explorer.filters import Cells, Choice, standing_out
from weibnb.explorer.following import Follower, carried
from weibnb.explorer.labels import NO_REFIT
from weibnb.explorer.panels import PANELS, Screen, Slot, box, experts_of
from weibnb.explorer.parts import Parts
from weibnb.explorer.python_code import python_code
from weibnb.explorer.table import table_columns
from weibnb.fits.select import keep_cells, keep_status
from weibnb.fits.tables import csv_text, tidy
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.messages import printable
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import xarray as xr

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec
    from weibnb.explorer.filters import Cell
    from weibnb.explorer.following import Newer
    from weibnb.explorer.panels import View
    from weibnb.fitting.weibull import Trim

    Reader = Callable[[xr.Dataset], xr.Dataset]

_MOST_MODELS = 6  # that a new explorer shows
_CHECKED_AT_ONCE = 2000  # matrices; of more the findings are made when their panel is opened
_MIME = {"html": "text/html", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv"}
# Traits that decide what is drawn.
_STATE = (
    "panel", "value", "band", "track", "step_scale", "filters", "layers", "step", "trim",
    "estimator", "selected", "first", "second", "side_by_side", "causes", "order",
)  # fmt: skip


class Explorer(anywidget.AnyWidget):
    """Linked charts of fits. Every trait can be set from Python; the view follows.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    reader : callable, optional
        Gives `weibnb.decompose` of some of the fits, for what needs the weights.
    newer : callable, optional
        Gives all fits where there are newer ones, else None: it is asked twice a second, in a
        thread of its own. What it raises is shown on the page, and it is asked again.
    followed : str
        What `newer` reads, as the page calls it.
    **state : Any
        Traits to begin with.

    Attributes
    ----------
    panel : {"overview", "findings", "weibull", "classes", "trajectories", "compare", "table"}
        What is shown.
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
    causes : bool
        Whether the Weibull plot also says why k is low, for which the weights are read.
    order : tuple
        Column of the table, and whether it ascends.
    follow : bool
        Whether newer fits are taken over as they come, where there is a `newer`. What was chosen
        stays; a step that stands at the last goes on to the newest.
    """

    _esm = ""
    _css = export.STATIC / "explorer.css"

    panel = traitlets.Enum(list(PANELS), "overview").tag(sync=True)
    value = traitlets.Enum(list(get_args(MapValue)), "k").tag(sync=True)
    band = traitlets.Enum(list(BANDS), "transmission-feed-forward").tag(sync=True)
    track = traitlets.Enum(list(get_args(TrackValue)), "k").tag(sync=True)
    step_scale = traitlets.Enum(list(get_args(Scale)), "log").tag(sync=True)
    filters = traitlets.Dict().tag(sync=True)
    layers = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    step = traitlets.Int().tag(sync=True)
    trim = traitlets.Tuple(
        traitlets.Float(), traitlets.Float(), default_value=(0.1, 0.9)
    ).tag(sync=True)  # fmt: skip
    estimator = traitlets.Enum(list(get_args(Estimator)), "rank_regression").tag(sync=True)
    selected: Any = traitlets.List().tag(sync=True)
    first = traitlets.Tuple().tag(sync=True)
    second = traitlets.Tuple().tag(sync=True)
    side_by_side = traitlets.Bool(default_value=False).tag(sync=True)
    causes = traitlets.Bool(default_value=False).tag(sync=True)
    order = traitlets.Tuple().tag(sync=True)

    follow = traitlets.Bool(default_value=False).tag(sync=True)

    # What the page draws: JSON as text, which the messages carry as it is.
    _controls = traitlets.Unicode().tag(sync=True)
    _checkpoints = traitlets.Unicode().tag(sync=True)
    _following = traitlets.Unicode().tag(sync=True)
    _words = traitlets.Unicode().tag(sync=True)
    _main = traitlets.Unicode().tag(sync=True)
    _detail = traitlets.Unicode().tag(sync=True)
    _side = traitlets.Unicode().tag(sync=True)
    _rows = traitlets.Unicode().tag(sync=True)
    _findings = traitlets.Unicode().tag(sync=True)
    _asked = traitlets.Int().tag(sync=True)
    _answered = traitlets.Int().tag(sync=True)
    _pages = traitlets.Int(-1).tag(sync=True)  # that show it; -1 before the first
    _theme = traitlets.Unicode("light").tag(sync=True)  # of the page that shows it
    _mark = traitlets.Unicode().tag(sync=True)  # class of the picture that outlives the kernel

    def __init__(
        self,
        fits: xr.Dataset,
        *,
        reader: Reader | None = None,
        newer: Newer | None = None,
        followed: str = "",
        **state: Any,
    ) -> None:
        unknown = sorted(set(state) - set(_STATE))
        if unknown:
            raise TypeError(
                f"`Explorer` has no trait {unknown[0]!r}; it takes {', '.join(_STATE)}."
            )
        self._parts = Parts(fits)
        self._reader = reader
        self._cells = Cells.of(self._parts.light)
        self._shown: tuple[str, ...] = ()  # the state that is on the screen
        self._charts: dict[Slot, content.DrawnView] = {}
        self._rows_from: tuple[Any, ...] = ()  # what the table lists
        self._looked_far = False
        self._lock = threading.RLock()  # a page and a follower change the state, one at a time
        self._changing = False  # whether the state is in the middle of a change
        self._follower = None if newer is None else Follower(newer, self._take, self._tell)
        self._followed = followed
        mark = f"weibnb-{uuid4().hex}"
        self._last_view = export.LastView(mark, self._picture)
        state = {name: self._checked(name, value) for name, value in state.items()}
        super().__init__(
            _esm=export.vega_bundle("explorer.js"),
            _mark=mark,
            _controls=content.controls(self._cells),
            _checkpoints=content.checkpoints(self._cells),
            follow=newer is not None,
            **(_first_state(self._parts, self._cells) | state),
        )
        self.observe(lambda _change: self._answer(), [*_STATE, "_asked"])
        self.observe(lambda _change: self._start_or_stop(), ["follow", "_pages"])
        self.observe(lambda _change: self._last_view.changed(), "_theme")
        self.on_msg(self._on_message)
        self._refresh()
        self._tell("")
        self._start_or_stop()

    def __repr__(self) -> str:
        total, kept = len(self._cells.places), self._kept_number()
        return f"<Explorer: {kept:,} of {total:,} matrices, panel {self.panel!r}>"

    @property
    def query(self) -> dict[str, Any]:
        """Indexers of what is on the screen: ``fits.sel(**explorer.query)``.

        What is chosen by status is not in them; it is in `fits` and `code`.
        """
        return self._cells.query(self._choice)

    @property
    def fits(self) -> xr.Dataset:
        """The Dataset on the screen: filtered, and fitted again where the trim was moved."""
        return self._part(self.query)

    @property
    def chart(self) -> Chart | None:
        """The chart on the screen, of several the first; None where there is only a table."""
        return next(iter(self.charts.values()), None)

    @property
    def charts(self) -> dict[str, Chart]:
        """All charts on the screen, by the function of `weibnb.charts` that draws them."""
        return {view.function: view.draw(self._part_of(view)) for view in self._views()}

    @property
    def code(self) -> str:
        """Python that draws the same from a variable ``fits``."""
        protocol = None if self._protocol == self._parts.protocol else self._protocol
        return python_code(self._views(), self.query, protocol, self._statuses())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what is on the screen to a file.

        Parameters
        ----------
        path : path-like
            ``.html``: a page with all charts, interactive, without a network; ``.svg`` or
            ``.png``: the first chart; ``.csv``: the table of the selected matrices.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the suffix is none of these, or there is no chart to draw.
        """
        target = check_target(path, [f".{form}" for form in _MIME], "explorer")
        return write_whole(target, self._export(target.suffix.removeprefix(".").lower()))

    def _export(self, form: str) -> bytes:
        if form not in _MIME:
            raise ValueError(f"`path` must end with .{', .'.join(_MIME)}, got {form!r}.")
        if form == "csv":
            return csv_text(tidy(self.fits)).encode()
        specs = self._specs()
        if form == "html":
            models = ", ".join(printable(name) for name in self.fits["model"].values[:3])
            title = f"Weibull fits of {models}"
            return export.web_page(title, self._summary(), self.code, specs).encode()
        if not specs:
            raise ValueError("The panel `table` has no chart to save: choose .csv, or a panel.")
        return export.picture(specs[0], form)

    # State

    def _checked(self, name: str, value: Any) -> Any:
        if name == "filters":
            return self._cells.check(value)
        if name == "trim":
            lower, upper = check_protocol(value, "rank_regression")[0]
            return round(lower, 6), round(upper, 6)
        if name == "selected":
            return [tuple(cell) for cell in value]
        if name == "step" and self._cells.steps and value not in self._cells.steps:
            raise ValueError(f"`step` must be one of {self._cells.steps}, got {value!r}.")
        return value

    @traitlets.validate("filters", "trim", "step", "selected")
    def _check(self, proposal: Mapping[str, Any]) -> Any:
        try:
            return self._checked(proposal["trait"].name, proposal["value"])
        except (TypeError, ValueError) as err:
            raise traitlets.TraitError(str(err)) from err

    @property
    def _choice(self) -> Choice:
        step = self.step if PANELS[self.panel].one_step else None
        return Choice(self.filters, tuple(self.layers), step)

    @property
    def _protocol(self) -> tuple[Estimator, Trim]:
        return self.estimator, self.trim

    def _statuses(self) -> list[str] | None:
        """Return the words of status that are kept; None for all."""
        return list(self.filters["status"]) if "status" in self.filters else None

    def _compared(self) -> bool:
        """Whether two checkpoints are compared."""
        return self.panel == "compare" and bool(self.second) and self.first != self.second

    def _kept_number(self) -> int:
        masks = self._cells.masks(self._choice)
        if not self._compared():
            return int(self._cells.passing(masks).sum())
        both = self._cells.of_checkpoints((self.first, self.second))
        return int((self._cells.passing(masks, without="model") & both).sum())

    def _summary(self) -> str:
        number, total = self._kept_number(), len(self._cells.places)
        return content.summary(number, total, self._protocol, compared=self._compared())

    def _part(self, query: Mapping[str, Any], *, of_status: bool = True) -> xr.Dataset:
        part = self._parts.select(query, self._protocol)
        statuses = self._statuses() if of_status else None
        return part if statuses is None else keep_status(part, statuses)

    def _part_of(self, view: View) -> xr.Dataset:
        part = self._part(view.query, of_status=view.of_status)
        if view.of_weights and self._reader is not None:
            return self._reader(keep_cells(part, view.cells) if view.cells else part)
        return part

    def _views(self) -> list[View]:
        return [drawn.view for drawn in self._charts.values() if not drawn.failed]

    def _specs(self) -> list[Spec]:
        return [vega_lite(view.spec(self._part_of(view))) for view in self._views()]

    def _picture(self) -> tuple[list[Spec], str]:
        paint = on_dark if self._theme == "dark" else dict
        return [paint(spec) for spec in self._specs()], self._summary()

    # Following

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the page changed."""
        with self._lock:
            super().set_state(sync_data)

    def close(self) -> None:
        """Take the widget from the page, and follow no more."""
        self.follow = False
        super().close()

    @traitlets.validate("follow")
    def _check_follow(self, proposal: Mapping[str, Any]) -> Any:
        if proposal["value"] and self._follower is None:
            raise traitlets.TraitError(
                "`follow` needs a store that is written or a recorder: weibnb.explore('run.db')."
            )
        return proposal["value"]

    def _start_or_stop(self) -> None:
        """Follow while it is wanted and a page shows it: one that ran again has another widget."""
        if self._follower is None:
            return
        if self.follow and self._pages != 0:
            self._follower.start()
        else:
            self._follower.stop()

    def _take(self, fits: xr.Dataset) -> None:
        """Show newer fits; what was chosen stays."""
        parts = Parts(fits)
        cells = Cells.of(parts.light)
        with self._lock:
            if not self.follow:
                return
            with self.hold_sync():
                self._show_newer(parts, cells)
            self._check_fits(anew=True)  # later: the step is seen sooner

    def _show_newer(self, parts: Parts, cells: Cells) -> None:
        """Draw newer fits."""
        before = _first_state(self._parts, self._cells)
        now = {name: getattr(self, name) for name in _STATE}
        state = carried(now, before, _first_state(parts, cells), cells)
        self._parts, self._cells = parts, cells
        self._changing = True
        try:
            self._controls = content.controls(cells)
            self._checkpoints = content.checkpoints(cells)
            for name, value in state.items():
                setattr(self, name, value)
        finally:
            self._changing = False
        self._charts, self._shown = {}, ()
        self._refresh()

    def _tell(self, problem: str) -> None:
        """Say on the page what is followed, and why it cannot be read."""
        followed = printable(self._followed)
        text = json.dumps({"followed": followed, "problem": printable(problem)})
        self._following = text if self._follower else ""

    # Drawing

    def _answer(self) -> None:
        with self._lock:
            if not self._changing:
                self._refresh()
                self._answered = self._asked

    def _refresh(self) -> None:
        """Draw what the state asks for, chart by chart; a failure is shown in words below them."""
        state = tuple(repr(getattr(self, name)) for name in _STATE)
        if state == self._shown:
            return
        self._shown = state
        try:
            self._draw()
        except Exception as err:  # noqa: BLE001  (a callback has no caller: the page shows it)
            self._words = json.dumps({"problem": f"{type(err).__name__}: {err}"})
        self._last_view.changed()

    def _draw(self) -> None:
        choice = self._choice
        masks = self._cells.masks(choice)
        empty = self._cells.why_empty(masks)
        chosen = [] if empty else self._chosen(self._cells.passing(masks))
        self._charts = {} if empty else self._draw_charts(chosen)
        for slot in get_args(Slot):
            setattr(self, f"_{slot}", self._charts[slot].text if slot in self._charts else "")
        self._list_rows([] if empty else chosen)
        self._check_fits()
        summary, models = self._summary(), self.filters.get("model")
        self._words = json.dumps({
            "count": summary,
            "left_out": content.left_out(self._cells, choice.step, models, chosen),
            "spoken": content.spoken(summary, chosen),
            "no_refit": "" if self._parts.have_counts else NO_REFIT,
            "empty": empty,
            "code": self.code,
            "chosen": content.labels_of(chosen),
            "counts": self._cells.counts(masks),
        })  # fmt: skip

    def _check_fits(self, *, anew: bool = False) -> None:
        """List what is found: of many matrices where its panel is open, of a run the last step."""
        number, opened = len(self._cells.places), self.panel == "findings"
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

    def _chosen(self, kept: Any) -> list[Cell]:
        """Return the selected cells that the filters leave, or else the first fitted one.

        Where none of them is at the step that is shown, they are looked for at this step.
        """
        found = self._cells.find(self.selected, kept)
        if not found and PANELS[self.panel].one_step:
            here = [(*cell[:3], self.step) for cell in self.selected]
            found = self._cells.find(here, kept)
        if found or not kept.any():
            return found
        return [standing_out(self._cells, self._parts.light, kept, self.step)]

    def _draw_charts(self, chosen: list[Cell]) -> dict[Slot, content.DrawnView]:
        """Draw the charts of the panel; one that stays as it is is kept."""
        light = self._parts.light
        state = {name: getattr(self, name) for name in _STATE}
        screen = Screen(state, self.query, chosen, self._parts.sizes, experts_of(light, chosen))
        made_from = (self._protocol, self._statuses())
        found: dict[Slot, content.DrawnView] = {}
        for slot, view in PANELS[self.panel].views(screen).items():
            last = self._charts.get(slot)
            if last is None or (last.view, last.made_from) != (view, made_from):
                last = content.DrawnView.of(view, self._part_of, made_from)
            found[slot] = last
        return found

    def _list_rows(self, chosen: list[Cell]) -> None:
        """List matrices: of its panel everything, once for each selection, else what is chosen."""
        if not chosen:
            self._rows, self._rows_from = "", ()
            return
        query, ragged = box(chosen, self._parts.sizes)
        if self.panel == "table":
            query, ragged = self.query, False
        made_from = (self._parts, repr(query), ragged and chosen, self._protocol, self._statuses())
        if made_from == self._rows_from:
            return
        part = self._part(query, of_status=self.panel == "table")
        self._rows = table_columns(keep_cells(part, chosen) if ragged else part)
        self._rows_from = made_from

    # The page

    def _on_message(self, _widget: Any, message: Mapping[str, Any], _buffers: Any) -> None:
        """Send a file that a button asked for."""
        form = str(message.get("save", ""))
        try:
            data = self._export(form)
        except Exception as err:  # noqa: BLE001  (a callback has no caller: the page shows it)
            self.send({"problem": f"{type(err).__name__}: {err}"})
            return
        self.send({"name": f"weibnb-{self.panel}.{form}", "type": _MIME[form]}, [data])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show the widget, and beside it the picture that is left when no kernel runs."""
        self._last_view.show()
        return super()._repr_mimebundle_(**options)


def _first_state(parts: Parts, cells: Cells) -> dict[str, Any]:
    """Return what a new explorer shows: the last step, at most six models, their protocol."""
    estimator, trim = parts.protocol
    models = [str(name) for name in cells.labels["model"]]
    steps = cells.steps or cells.labels["step"].tolist()
    state: dict[str, Any] = {
        "layers": cells.layer_range,
        "step": cells.steps[-1] if cells.steps else 0,
        "trim": trim,
        "estimator": estimator,
    }
    if len(models) > _MOST_MODELS:
        state["filters"] = {"model": tuple(models[:_MOST_MODELS])}
    if len(models) > 1 and len(steps) < 2:
        state |= {"first": (models[0], steps[-1]), "second": (models[1], steps[-1])}
    elif models:
        state |= {"first": (models[0], steps[0]), "second": (models[0], steps[-1])}
    return state
