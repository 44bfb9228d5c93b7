"""The explorer: one widget to filter fits and look at any matrix; state in, charts out."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args
from uuid import uuid4

import anywidget
import numpy as np
import traitlets

from weibnb.charts.lines import TrackValue
from weibnb.charts.maps import MapValue
from weibnb.charts.tables import MAX_PANELS, cells
from weibnb.charts.vega import Scale, vega_lite
from weibnb.diagnostics.bands import BANDS
from weibnb.explorer import export as _still
from weibnb.explorer.filters import Cells, Choice, key_of
from weibnb.explorer.panels import PANELS, Slot, View, box, plan
from weibnb.fits.refit import refit
from weibnb.fits.schema import DIMS, prepare, protocol_of
from weibnb.fits.select import keep_cells, keep_status
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.messages import printable
from weibnb.report import tidy

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec
    from weibnb.explorer.filters import Cell

_STATIC = Path(__file__).parent / "static"
_MOST_MODELS = 6  # that are selected at first
_MOST_ROWS = 500
_MOST_PARTS = 8  # refitted parts that are kept
_MOST_IN_MEMORY = 1 << 30  # bytes of counts that are loaded so that a refit is quick
_MIME = {"html": "text/html", "svg": "image/svg+xml", "png": "image/png", "csv": "text/csv"}
_COLUMNS = ("model", "component", "layer", "step", "k", "k_se", "lam", "lam_se", "r2", "ks", "n",
            "status")  # fmt: skip
# Traits that decide what is drawn.
_STATE = ("panel", "value", "band", "track", "step_scale", "filters", "layers", "step", "trim",
          "estimator", "selected", "first", "second", "side_by_side")  # fmt: skip


@cache
def _script() -> str:
    return _still.vega_bundle((_STATIC / "explorer.js").read_text(encoding="utf-8"))


def explore(
    fits: xr.Dataset,
    *,
    panel: str = "overview",
    value: MapValue = "k",
    filters: Mapping[str, Sequence[str]] | None = None,
    layers: tuple[int, int] | None = None,
    step: int | None = None,
    trim: tuple[float, float] | None = None,
    estimator: Estimator | None = None,
    selected: Sequence[Cell] = (),
) -> Explorer:
    """Look at fits with linked charts: filter, click a matrix, move the trim.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`. Without counts there is no Weibull plot and no trim.
    panel : {"overview", "weibull", "classes", "trajectories", "compare", "table"}
        What is shown first.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        What the map shows.
    filters : Mapping, optional
        Labels that are kept, by facet: model, tower, weight_class, component, status, or a further
        coordinate of the fits such as a learning rate. By default everything, of more than six
        models the first six.
    layers : tuple of int, optional
        First and last layer.
    step : int, optional
        Training step; by default the last.
    trim : tuple of float, optional
        Probability interval that is fitted; by default that of the fits.
    estimator : {"rank_regression", "maximum_likelihood"}, optional
        By default that of the fits.
    selected : sequence of tuple
        ``(model, layer, component, step)`` of the matrices that are looked at.

    Returns
    -------
    Explorer
        The widget, shown where a cell returns it. Its attributes tell and set what is on the
        screen: `Explorer`.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or an argument is not valid.

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> explorer = explore(reference_cohort().isel(model=[0, 1]), value="lam")
    >>> explorer
    <Explorer: 8 of 8 matrices, panel 'overview'>
    """
    given = {
        "filters": filters,
        "layers": layers,
        "step": step,
        "trim": trim,
        "estimator": estimator,
    }
    state = {name: word for name, word in given.items() if word is not None}
    return Explorer(fits, panel=panel, value=value, selected=list(selected), **state)


class Explorer(anywidget.AnyWidget):
    """Linked charts of fits. Every trait can be set from Python; the view follows.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    **state : Any
        Traits to begin with.

    Attributes
    ----------
    panel : {"overview", "weibull", "classes", "trajectories", "compare", "table"}
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
    """

    _esm = ""
    _css = _STATIC / "explorer.css"

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

    # What the page draws: JSON as text, which the messages carry as it is.
    _controls = traitlets.Unicode().tag(sync=True)
    _words = traitlets.Unicode().tag(sync=True)
    _main = traitlets.Unicode().tag(sync=True)
    _detail = traitlets.Unicode().tag(sync=True)
    _side = traitlets.Unicode().tag(sync=True)
    _rows = traitlets.Unicode().tag(sync=True)
    _asked = traitlets.Int().tag(sync=True)
    _answered = traitlets.Int().tag(sync=True)
    _mark = traitlets.Unicode().tag(sync=True)  # class of the picture that outlives the kernel

    def __init__(self, fits: xr.Dataset, **state: Any) -> None:
        unknown = sorted(set(state) - set(_STATE))
        if unknown:
            raise TypeError(
                f"`Explorer` has no trait {unknown[0]!r}; it takes {', '.join(_STATE)}."
            )
        self._fits = prepare(fits, dims=DIMS)
        self._light = self._fits.drop_dims("bin", errors="ignore")
        self._cells = Cells.of(self._light)
        self._protocol = protocol_of(self._fits)
        self._drawn: tuple[Any, ...] = ()
        self._views: Mapping[Slot, View] = {}
        self._failed: set[str] = set()
        self._slots: dict[str, tuple[Any, ...]] = {}
        self._parts: dict[str, xr.Dataset] = {}
        mark = f"weibnb-{uuid4().hex}"
        self._last_view = _still.LastView(mark, self._picture)
        start = self._start()
        start |= {name: self._checked(name, value) for name, value in state.items()}
        super().__init__(_esm=_script(), _mark=mark, **start)
        self.observe(lambda _change: self._answer(), [*_STATE, "_asked"])
        self.on_msg(self._on_message)
        self._refresh()

    def _start(self) -> dict[str, Any]:
        """Return what a new explorer shows: the last step, at most six models, the first cell."""
        steps = self._cells.steps or self._light["step"].values.tolist()
        estimator, trim = self._protocol
        models = [str(name) for name in self._light["model"].values]
        start: dict[str, Any] = {
            "layers": self._cells.layer_range,
            "step": self._cells.steps[-1] if self._cells.steps else 0,
            "trim": trim,
            "estimator": estimator,
            "filters": {"model": tuple(models[:_MOST_MODELS])}
            if len(models) > _MOST_MODELS
            else {},
        }
        if len(models) > 1 and len(steps) < 2:
            start |= {"first": (models[0], steps[-1]), "second": (models[1], steps[-1])}
        elif models:
            start |= {"first": (models[0], steps[0]), "second": (models[0], steps[-1])}
        return start

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

    def __repr__(self) -> str:
        total, kept = len(self._cells.at), self._kept_number()
        return f"<Explorer: {kept:,} of {total:,} matrices, panel {self.panel!r}>"

    @property
    def query(self) -> dict[str, Any]:
        """Indexers of what is on the screen: ``fits.sel(**explorer.query)``.

        What is chosen by status is not in them; it is in `fits` and `code`.
        """
        return self._cells.query(self._choice, self._one_step)

    @property
    def fits(self) -> xr.Dataset:
        """The Dataset on the screen: filtered, and fitted again where the trim was moved."""
        return self._subset(self.query)

    @property
    def chart(self) -> Chart | None:
        """The chart on the screen, of several the first; None where there is only a table."""
        return next(iter(self.charts.values()), None)

    @property
    def charts(self) -> dict[str, Chart]:
        """All charts on the screen, by the function of `weibnb.charts` that draws them."""
        return {view.function: view.draw(self._part(view)) for view in self._drawable()}

    @property
    def code(self) -> str:
        """Python that draws the same from a variable ``fits``."""
        lines = [
            "import weibnb as wb",
            "from weibnb import charts",
            "from weibnb.fits import select",
            "",
        ]
        views = self._drawable()
        for view in views:
            lines += [
                *self._subset_code(view.query, of_status=view.of_status),
                *view.code("view"),
                "",
            ]
        if not views:
            lines += [*self._subset_code(self.query), "wb.tidy(view)", ""]
        return "\n".join(lines[:-1])

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
        path = Path(path)
        path.write_bytes(self._export(path.suffix.removeprefix(".").lower()))
        return path

    def _export(self, form: str) -> bytes:
        if form not in _MIME:
            raise ValueError(f"`path` must end with .{', .'.join(_MIME)}, got {form!r}.")
        if form == "csv":
            return tidy(self.fits.drop_dims("bin", errors="ignore")).to_csv(index=False).encode()
        specs = self._specs()
        if not specs and form != "html":
            raise ValueError("The panel `table` has no chart to save: choose .csv, or a panel.")
        if form == "html":
            models = ", ".join(printable(name) for name in self.fits["model"].values[:3])
            return _still.page(
                f"Weibull fits of {models}", self._summary(), self.code, specs
            ).encode()
        return _still.picture(specs[0], form)

    # State

    @property
    def _choice(self) -> Choice:
        return Choice(tuple(self.filters.items()), tuple(self.layers))

    @property
    def _one_step(self) -> int | None:
        return self.step if PANELS[self.panel].one_step else None

    def _kept_number(self) -> int:
        masks = self._cells.masks(self._choice, self._one_step)
        return int(self._cells.together(masks).sum())

    @property
    def _sizes(self) -> dict[str, int]:
        return {dim: self._light.sizes[dim] for dim in DIMS}

    @property
    def _changed_protocol(self) -> bool:
        return (self.estimator, self.trim) != self._protocol

    def _subset(self, query: Mapping[str, Any], *, of_status: bool = True) -> xr.Dataset:
        """Select, fit again if the protocol was changed, and leave out other statuses."""
        asked = repr((query, self.estimator, self.trim))
        if asked not in self._parts:
            part = self._fits.sel(query)
            if self._changed_protocol and "counts" in part:
                self._load_counts()
                part = refit(self._fits.sel(query), trim=self.trim, estimator=self.estimator)
            if len(self._parts) > _MOST_PARTS:
                self._parts.clear()
            self._parts[asked] = part
        statuses = self.filters.get("status") if of_status else None
        part = self._parts[asked]
        return part if statuses is None else keep_status(part, self._values("status", statuses))

    def _drawable(self) -> list[View]:
        return [view for slot, view in self._views.items() if slot not in self._failed]

    def _picture(self) -> tuple[Spec | None, str]:
        return next(iter(self._specs()), None), self._summary()

    def _specs(self) -> list[Spec]:
        return [vega_lite(view.spec(self._part(view))) for view in self._drawable()]

    def _part(self, view: View) -> xr.Dataset:
        return self._subset(view.query, of_status=view.of_status)

    def _subset_code(self, query: Mapping[str, Any], *, of_status: bool = True) -> list[str]:
        words = ", ".join(f"{dim}={value!r}" for dim, value in query.items())
        lines = [f"view = fits.sel({words})" if query else "view = fits"]
        if self._changed_protocol:
            lines.append(f"view = wb.refit(view, trim={self.trim}, estimator={self.estimator!r})")
        if of_status and "status" in self.filters:
            statuses = self._values("status", self.filters["status"])
            lines.append(f"view = select.keep_status(view, {statuses!r})")
        return lines

    def _values(self, facet: str, labels: tuple[str, ...]) -> list[Any]:
        known = self._cells.facets[facet]
        return [known.values[known.labels.index(label)] for label in labels]

    def _load_counts(self) -> None:
        """Load counts that lie on disk once, if they fit, so that a slider does not read them."""
        if self._fits["counts"].nbytes < _MOST_IN_MEMORY:
            self._fits["counts"].load()

    def _cells_selected(self) -> list[Cell]:
        """Return the selected cells that the filters leave, or else the first fitted one."""
        kept = self._cells.together(self._cells.masks(self._choice, self._one_step))
        found = self._cells.find(self.selected, kept)
        if found or not kept.any():
            return found
        k = self._light["k"]
        k = k.median("expert") if "expert" in k.dims else k
        fitted = np.isfinite(k.values[tuple(self._cells.at.T)]) & kept
        now = fitted & (self._cells.labels["step"][self._cells.at[:, 3]] == self.step)
        best = next(mask for mask in (now, fitted, kept) if mask.any())
        return [self._cells.cell(int(best.argmax()))]

    def _experts(self, chosen: list[Cell]) -> list[Any]:
        """Return as many experts of the selected cells as a chart has room for."""
        if "expert" not in self._light["k"].dims or not chosen:
            return []
        each = max(MAX_PANELS // len(chosen), 1)
        found: dict[Any, None] = {}
        for cell in chosen[:MAX_PANELS]:
            status = self._light["status"].sel(dict(zip(DIMS, cell, strict=True)))
            there = self._light["expert"].values[status.values != "absent"]
            found |= dict.fromkeys(there[:each].tolist())
        return list(found)

    # Drawing

    def _answer(self) -> None:
        self._refresh()
        self._answered = self._asked

    def _refresh(self) -> None:
        """Draw what the state asks for, chart by chart; a failure is shown in words below them."""
        state = tuple(repr(getattr(self, name)) for name in _STATE)
        if state == self._drawn:
            return
        self._drawn = state
        try:
            self._draw()
        except Exception as err:  # noqa: BLE001  (a callback has no caller: the page shows it)
            self._words = json.dumps({"problem": f"{type(err).__name__}: {err}"})
        self._last_view.changed()

    def _draw(self) -> None:
        masks = self._cells.masks(self._choice, self._one_step)
        empty = self._cells.why_empty(masks)
        chosen = [] if empty else self._cells_selected()
        state = {name: getattr(self, name) for name in _STATE}
        sizes = self._sizes
        self._views = {} if empty else plan(state, self.query, chosen, sizes, self._experts(chosen))
        for slot in get_args(Slot):
            setattr(self, f"_{slot}", self._slot(slot))
        self._rows = "" if empty else self._table(chosen)
        self._controls = self._describe_controls(self._cells.counts(masks))
        crowd = f"{MAX_PANELS} of {len(chosen)} selected drawn" if len(chosen) > MAX_PANELS else ""
        words = {
            "count": self._summary(),
            "empty": empty,
            "code": self.code,
            "chosen": [
                [printable(cell[0]), cell[1], printable(cell[2]), cell[3]] for cell in chosen
            ],
            "no_refit": self._no_refit(),
            "left_out": " · ".join(filter(None, (self._models_without_step(), crowd))),
        }
        self._words = json.dumps(words)

    def _slot(self, slot: Slot) -> str:
        """Return one chart as JSON; one that cannot be drawn says why, beside those that can."""
        view = self._views.get(slot)
        if view is None:
            return ""
        key = (view, self.estimator, self.trim, self.filters.get("status"))
        if self._slots.get(slot, (None,))[0] == key:
            return str(self._slots[slot][1])
        self._failed.discard(slot)
        try:
            spec = vega_lite(view.spec(self._part(view)))
            text = json.dumps({"spec": spec, "label": view.label})
        except (ValueError, TypeError, ImportError) as err:
            text = json.dumps({"problem": str(err), "label": view.label})
            self._failed.add(slot)
        self._slots[slot] = (key, text)
        return text

    def _summary(self) -> str:
        estimator, trim = self.estimator.replace("_", " "), self.trim
        return (
            f"{self._kept_number():,} of {len(self._cells.at):,} matrices · "
            f"{estimator}, trim {100 * trim[0]:g}–{100 * trim[1]:g} %"
        )

    def _models_without_step(self) -> str:
        if self._one_step is None:
            return ""
        at, steps = self._cells.at, self._cells.labels["step"]
        there = set(at[steps[at[:, 3]] == self.step, 0].tolist())
        kept = self.filters.get("model")
        gone = [
            printable(name)
            for i, name in enumerate(self._cells.labels["model"].tolist())
            if i not in there and (kept is None or str(name) in kept)
        ]
        named = ", ".join(gone[:4]) + (f" and {len(gone) - 4} more" if len(gone) > 4 else "")
        return f"No matrix at step {self.step}: {named}." if gone else ""

    def _no_refit(self) -> str:
        if "counts" in self._fits:
            return ""
        return "These fits hold no counts, so k stays as it is: scan with keep_counts=True."

    def _describe_controls(self, counts: Mapping[str, list[int]]) -> str:
        facets = [
            {
                "name": name,
                "title": facet.title,
                "labels": [printable(label) for label in facet.labels],
                "values": facet.labels,
                "counts": counts[name],
            }
            for name, facet in self._cells.facets.items()
        ]
        at = self._cells.at[:, [0, 3]]
        pairs = [
            [str(self._cells.labels["model"][m]), self._cells.labels["step"][s].item()]
            for m, s in np.unique(at, axis=0).tolist()
        ]
        controls = {
            "facets": facets,
            "layers": self._cells.layer_range,
            "steps": self._cells.steps,
            "pairs": pairs,
            "panels": {name: panel.title for name, panel in PANELS.items()},
            "bands": list(BANDS),
        }
        return json.dumps(controls)

    def _table(self, chosen: list[Cell]) -> str:
        """Return the rows of the table as JSON: of the panel all, else what is selected."""
        if self.panel == "table":
            part = self.fits
        else:
            query, ragged = box(chosen, self._sizes)
            part = self._subset(query, of_status=False)
            part = keep_cells(part, chosen) if ragged else part
        part = prepare(part.drop_dims("bin", errors="ignore"), dims=DIMS, mixed_protocols=True)
        table = cells(part, {"ks": part["ks"]} if "ks" in part else None)
        columns = [name for name in _COLUMNS if name in table]
        marks = {key_of(cell) for cell in chosen}
        places = table[list(DIMS)].itertuples(index=False, name=None)
        table["chosen"] = [key_of(cell) in marks for cell in places]
        total = len(table)
        table = table.sort_values("chosen", ascending=False, kind="stable").head(_MOST_ROWS)
        rows = json.loads(table[[*columns, "chosen"]].to_json(orient="values", double_precision=10))
        return json.dumps({"columns": columns, "rows": rows, "total": total})

    # The page

    def _on_message(self, _widget: Any, content: Mapping[str, Any], _buffers: Any) -> None:
        """Send a file that a button asked for."""
        form = str(content.get("save", ""))
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
