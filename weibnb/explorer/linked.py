"""What every widget is: traits that decide what is drawn, and a page that draws it."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, ClassVar, get_args
from uuid import uuid4

import anywidget
import traitlets

from weibnb.charts.vega import on_dark
from weibnb.explorer import content, export, saving
from weibnb.explorer.drawing import SLOTS, Drawing
from weibnb.explorer.page_counts import send_counts
from weibnb.explorer.refitting import Refit
from weibnb.explorer.state import checked, checked_names, difference, first_state, plain
from weibnb.explorer.views import view_text
from weibnb.fitting.weibull import Estimator
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec
    from weibnb.explorer.drawing import Charts, Reader
    from weibnb.explorer.panels import Panel, View
    from weibnb.explorer.parts import Parts


class LinkedWidget(anywidget.AnyWidget):
    """Charts of fits in one state.

    A trait that is tagged ``state`` decides what is drawn: when one changes, from Python or from
    the page, the widget makes a `Drawing` and sends the page what is different.

    Parameters
    ----------
    parts : Parts
        The fits.
    reader : callable, optional
        Gives what a function of weibnb finds in the weights of some of the fits.
    script : str
        Module that draws the page.
    state : mapping, optional
        Traits to begin with, as `state` gives them.
    synced : mapping, optional
        Further traits.
    **traits : Any
        Traits to begin with; one of these holds where `state` has it, too.
    """

    _esm = ""
    _css = export.STATIC / "explorer.css"

    #: Indexers of what is on the screen, ``fits.sel(**explorer.query)``, to be read and observed.
    #: What is chosen by status is not in them; it is in `fits` and `code`.
    query: Any = traitlets.Dict(read_only=True)

    filters = traitlets.Dict().tag(sync=True, state=True)
    layers = traitlets.Tuple(
        traitlets.Int(), traitlets.Int(), default_value=(0, 0)
    ).tag(sync=True, state=True)  # fmt: skip
    step = traitlets.Int().tag(sync=True, state=True)
    trim = traitlets.Tuple(
        traitlets.Float(), traitlets.Float(), default_value=(0.1, 0.9)
    ).tag(sync=True, state=True)  # fmt: skip
    estimator = traitlets.Enum(list(get_args(Estimator)), "rank_regression").tag(
        sync=True, state=True
    )
    selected: Any = traitlets.List().tag(sync=True, state=True)
    pinned: Any = traitlets.Dict().tag(sync=True, state=True)
    height = traitlets.Int(min=0).tag(sync=True, state=True)

    _function: ClassVar[str]  # that makes one, in `weibnb`
    _panels: ClassVar[Mapping[str, Panel]]  # that it has
    panel: Any = traitlets.Unicode().tag(sync=True)  # the one that is shown

    # What the page draws: JSON as text, which the messages carry as it is.
    _controls = traitlets.Unicode().tag(sync=True)
    _checkpoints = traitlets.Unicode().tag(sync=True)
    _words = traitlets.Unicode().tag(sync=True)
    _main = traitlets.Unicode().tag(sync=True)
    _detail = traitlets.Unicode().tag(sync=True)
    _side = traitlets.Unicode().tag(sync=True)
    _more = traitlets.Unicode().tag(sync=True)
    _asked = traitlets.Int().tag(sync=True)
    _answered = traitlets.Int().tag(sync=True)
    _working = traitlets.Unicode().tag(sync=True)  # how far a refit is; empty where there is none
    _theme = traitlets.Unicode("light").tag(sync=True)  # of the page that shows it
    _mark = traitlets.Unicode().tag(sync=True)  # class of the picture that outlives the kernel

    def __init__(
        self,
        parts: Parts,
        *,
        script: str,
        reader: Reader | None = None,
        state: Mapping[str, Any] | None = None,
        synced: Mapping[str, Any] | None = None,
        **traits: Any,
    ) -> None:
        known = self.class_trait_names(state=True)
        unknown = sorted(set(traits) - set(known))
        if unknown:
            raise TypeError(
                f"`{type(self).__name__}` has no trait {unknown[0]!r}; it takes {', '.join(known)}."
            )
        self._parts = parts
        self._reader = reader
        self._wanted: dict[str, Any] = {}  # of the state, what is to come with newer fits
        self._shown: tuple[str, ...] = ()  # the state that is on the screen
        self._charts: Charts = {}
        self._drawn_by = parts.protocol  # the charts
        self._refit: Refit | None = None  # of very many matrices, that goes on
        self._lock = threading.RLock()  # a page and a follower change the state, one at a time
        self._changing = False  # whether the state is in the middle of a change
        mark = f"weibnb-{uuid4().hex}"
        self._last_view = export.LastView(mark, self._picture)
        given = {**checked_names(state or {}, known), **traits}
        given = {name: checked(parts.cells, name, plain(given[name])) for name in given}
        super().__init__(
            _esm=script,
            _mark=mark,
            _controls=content.controls(parts.cells, self._panels),
            _checkpoints=content.checkpoints(parts.cells),
            **(synced or {}),
            **(self._first_view() | given),
        )
        self.observe(lambda _change: self._answer(), [*known, "_asked"])
        self.observe(lambda _change: self._last_view.changed(), "_theme")
        self.on_msg(self._on_message)
        self._refresh()

    def __repr__(self) -> str:
        number, total = self._drawing.number, len(self._parts.cells.places)
        return f"<{type(self).__name__}: {number:,} of {total:,} matrices>"

    @property
    def state(self) -> dict[str, Any]:
        """What differs from the first view: traits and their values, as JSON has them.

        It can be kept and set again: ``explorer.state = {}`` is the first view. What it does not
        name goes back to the first view; nothing changes where a value is not valid.
        """
        wanted: dict[str, Any] = plain(self._wanted)
        return difference(self._state_now(), self._first_view()) | wanted

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        known = self.class_trait_names(state=True)
        wanted = self._first_view() | dict(checked_names(state, known))
        with self._lock, self.hold_trait_notifications():
            for name, value in wanted.items():
                setattr(self, name, value)
        self._wanted = {}

    @property
    def fits(self) -> xr.Dataset:
        """The Dataset on the screen: filtered, and fitted again where the trim was moved."""
        drawing = self._drawing
        return drawing.part(drawing.query)

    @property
    def chart(self) -> Chart | None:
        """The chart on the screen, of several the first; None where nothing is left to draw."""
        return next(iter(self.charts.values()), None)

    @property
    def charts(self) -> dict[str, Chart]:
        """All charts on the screen, by the function of `weibnb.charts` that draws them."""
        drawing = self._drawing
        return {view.function: view.draw(drawing.part_of(view)) for view in self._views()}

    @property
    def code(self) -> str:
        """Python that draws the same from a variable ``fits``."""
        return self._drawing.code(self._views())

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write what is on the screen to a file, once all of it is there.

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
            Or whatever else `weibnb.scan` raises, where what is shown is still scanned.
        """
        self._settle()
        target = check_target(path, [f".{form}" for form in saving.MIME], "explorer")
        return write_whole(target, self._export(target.suffix.removeprefix(".").lower()))

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take over what the page changed."""
        with self._lock:
            super().set_state(sync_data)

    # State

    @property
    def _drawing(self) -> Drawing:
        """What is shown in the state that it is in."""
        return Drawing(self._parts, self._state_now(), self._panels[self.panel], self._reader)

    def _first_view(self) -> dict[str, Any]:
        """Return the state of a new widget of these fits."""
        known = self.class_trait_names(state=True)
        first = {name: self.trait_defaults(name) for name in known}
        return first | {name: v for name, v in first_state(self._parts).items() if name in known}

    def _state_now(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.class_trait_names(state=True)}

    @traitlets.validate(
        *("filters", "layers", "trim", "step", "selected", "pinned"),
        *("first", "second", "order", "window"),
    )
    def _check(self, proposal: Mapping[str, Any]) -> Any:
        try:
            return checked(self._parts.cells, proposal["trait"].name, proposal["value"])
        except (TypeError, ValueError) as err:
            raise traitlets.TraitError(str(err)) from err

    # Drawing

    def _views(self) -> list[View]:
        return [drawn.view for drawn in self._charts.values() if drawn.spec is not None]

    def _specs(self) -> list[Spec]:
        return saving.specs_of(self._drawing, self._views())

    def _picture(self) -> tuple[list[Spec], str]:
        paint = on_dark if self._theme == "dark" else dict
        return [paint(spec) for spec in self._specs()], self._drawing.summary

    def _answer(self) -> None:
        with self._lock:
            if not self._changing and self._refresh(later=True):
                self._answered = self._asked

    def _refits(self) -> bool:
        """Whether so much is to be fitted again that a thread does it before anything is drawn."""
        drawing = self._drawing
        asked = self._parts, drawing.query, drawing.protocol
        slow = self._parts.is_slow(drawing.query, drawing.protocol)
        if self._refit is not None and (not slow or self._refit.asked != asked):
            self._end_refit()
        if slow and self._refit is None:
            self._refit = Refit(*asked, self._tell_work, self._refit_done)
            self._refit.start()
        return slow

    def _end_refit(self) -> None:
        """Let go of a refit, whether it has ended or not."""
        if self._refit is not None:
            self._refit.cancel()
        self._refit, self._working = None, ""

    def _tell_work(self, refit: Refit, text: str) -> None:
        with self._lock:
            if refit is self._refit:
                self._working = text

    def _refit_done(self, refit: Refit) -> None:
        """Draw what a thread has fitted; where it could not, what there was before."""
        with self._lock:
            if refit is not self._refit:
                return
            if refit.error is not None:
                self._cancel_refit()
                self.send({"problem": f"{type(refit.error).__name__}: {refit.error}"})
                return
            self._end_refit()
            self._answer()

    def _cancel_refit(self) -> None:
        """Go back to the protocol by which the charts are drawn."""
        with self._lock:
            self._end_refit()
            with self.hold_trait_notifications():
                self.estimator, self.trim = self._drawn_by
            self._answer()

    def _refresh(self, *, later: bool = False) -> bool:
        """Draw what the state asks for, chart by chart; a failure is shown in words below them.

        False where a thread fits it first, which `later` allows.
        """
        state = tuple(repr(value) for value in self._state_now().values())
        try:
            if later and self._refits():
                return False
            if state == self._shown:
                return True
            self._shown = state
            drawing = self._drawing
            self.set_trait("query", drawing.query)
            self._draw(drawing)
        except Exception as err:  # noqa: BLE001  (a callback has no caller: the page shows it)
            self._words = json.dumps({"problem": f"{type(err).__name__}: {err}"})
        self._last_view.changed()
        return True

    def _draw(self, drawing: Drawing) -> None:
        """Send the page what a drawing holds; the words come last: the page waits for them."""
        self._charts, self._drawn_by = drawing.charts(self._charts), drawing.protocol
        for slot in SLOTS:
            setattr(self, f"_{slot}", self._charts[slot].text if slot in self._charts else "")
        self._draw_more(drawing)
        self._words = drawing.words(drawing.code(self._views()), self._call())

    def _call(self) -> str:
        """Python that opens the same view again."""
        state = f", state={self.state!r}" if self.state else ""
        return f"wb.{self._function}(fits{state})"

    def _settle(self) -> None:
        """Wait for what is still to come."""

    def _draw_more(self, drawing: Drawing) -> None:
        """Send what stands beside the charts."""

    # The page

    def _export(self, form: str) -> bytes:
        if form == "json":
            return self._view_text().encode()
        if form == "html":
            return saving.page_of(self._drawing, self.panel, self._charts).encode()
        return saving.file_of(self._drawing, self._views(), form)

    def _view_text(self) -> str:
        return view_text(self.state, {})

    def _on_message(self, _widget: Any, message: Mapping[str, Any], _buffers: Any) -> None:
        """Send a file that a button asked for, or counts; or cancel what takes long."""
        if "counts" in message:
            send_counts(self._parts.whole, self.query, self.send)
            return
        if "cancel" in message:
            self._cancel_refit()
            return
        form = str(message.get("save", ""))
        try:
            data = self._export(form)
        except Exception as err:  # noqa: BLE001  (a callback has no caller: the page shows it)
            self.send({"problem": f"{type(err).__name__}: {err}"})
            return
        self.send({"name": f"weibnb-{self.panel}.{form}", "type": saving.MIME[form]}, [data])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """Show the widget, and beside it the picture that is left when no kernel runs."""
        self._last_view.show()
        return super()._repr_mimebundle_(**options)
