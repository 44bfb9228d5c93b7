"""What one state of a widget shows of its fits: state in, charts out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from weibnb.charts.tables import MAX_PANELS
from weibnb.explorer import content
from weibnb.explorer.filters import Choice, standing_out
from weibnb.explorer.labels import NO_REFIT
from weibnb.explorer.matrices import close_up, numbers
from weibnb.explorer.panels import Screen, Slot, at_both, box, experts_of, experts_within
from weibnb.explorer.python_code import python_code
from weibnb.fits.select import keep_cells, keep_status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

    from weibnb.explorer.filters import Cell, Mask
    from weibnb.explorer.panels import Panel, View
    from weibnb.explorer.parts import Parts
    from weibnb.fitting.weibull import Estimator, Trim

    #: Reads the weights of some of the fits again: by which function of weibnb, and its keywords.
    Reader = Callable[[xr.Dataset, str, Mapping[str, Any]], xr.Dataset]

    #: Charts by their place on the page.
    Charts = dict[Slot, content.DrawnView]


@dataclass(frozen=True)
class Drawing:
    """Fits in one state: which matrices are shown, and how. It never changes."""

    parts: Parts
    state: Mapping[str, Any]  # the traits that decide what is drawn
    panel: Panel
    reader: Reader | None = None

    @cached_property
    def choice(self) -> Choice:
        """What the filters keep."""
        step = self.state["step"] if self.panel.one_step else None
        return Choice(self.state["filters"], tuple(self.state["layers"]), step)

    @property
    def protocol(self) -> tuple[Estimator, Trim]:
        """How k and λ are estimated."""
        return self.state["estimator"], self.state["trim"]

    @property
    def drawn(self) -> dict[str, Any]:
        """What a page needs to know to draw the same by another protocol."""
        return {name: self.state.get(name) for name in ("trim", "estimator", "value")}

    @property
    def statuses(self) -> list[str] | None:
        """Words of status that are kept; None for all."""
        kept = self.state["filters"].get("status")
        return None if kept is None else list(kept)

    @property
    def compared(self) -> bool:
        """Whether two checkpoints are compared."""
        first, second = self.state.get("first"), self.state.get("second")
        return "second" in self.panel.options and bool(second) and first != second

    @cached_property
    def masks(self) -> dict[str, Mask]:
        """Which matrices pass each filter."""
        return self.parts.cells.masks(self.choice)

    @cached_property
    def empty(self) -> list[str]:
        """Which filters exclude everything; nothing if something is left."""
        return self.parts.cells.why_empty(self.masks)

    @cached_property
    def chosen(self) -> list[Cell]:
        """Selected cells that the filters leave, or else the one that stands out most.

        Where none of them is at the step that is shown, they are looked for at this step.
        """
        cells, selected = self.parts.cells, self.state["selected"]
        kept = cells.passing(self.masks)
        if not kept.any():
            return []
        found = cells.find(selected, kept)
        if not found and self.panel.one_step:
            here = [(*cell[:3], self.state["step"]) for cell in selected]
            found = cells.find(here, kept)
        if self.compared:
            both = kept & cells.in_both((self.state["first"], self.state["second"]))
            kept = both if both.any() else kept
        return found or [standing_out(cells, self.parts.light, kept, self.state["step"])]

    @cached_property
    def number(self) -> int:
        """How many matrices are shown."""
        cells = self.parts.cells
        if not self.compared:
            return int(cells.passing(self.masks).sum())
        both = cells.of_checkpoints((self.state["first"], self.state["second"]))
        return int((cells.passing(self.masks, without="model") & both).sum())

    @cached_property
    def query(self) -> dict[str, Any]:
        """Indexers of what is shown."""
        return self.parts.cells.query(self.choice)

    @property
    def summary(self) -> str:
        """How many matrices are shown, and how they were fitted."""
        total = len(self.parts.cells.places)
        return content.summary(self.number, total, self.protocol, compared=self.compared)

    def part(self, query: Mapping[str, Any], *, of_status: bool = True) -> xr.Dataset:
        """Select a part of the fits, fitted as the state says."""
        part = self.parts.select(query, self.protocol)
        statuses = self.statuses if of_status else None
        return part if statuses is None else keep_status(part, statuses)

    def part_of(self, view: View) -> xr.Dataset:
        """Select what a chart is drawn from."""
        part = self.part(view.query, of_status=view.of_status)
        if view.reads and self.reader is not None:
            part = keep_cells(part, view.cells) if view.cells else part
            return self.reader(part, view.reads, view.look)
        return part

    def charts(self, last: Charts) -> Charts:
        """Draw the charts of the panel; one of the last that stays as it is is kept."""
        if self.empty:
            return {}
        cells = close_up(self.chosen, self.pins)
        experts = experts_of(self.parts.light, cells)
        screen = Screen(
            self.state, self.query, cells, self.parts.sizes, experts, self.experts_within
        )
        made_from = (self.protocol, self.statuses)
        found: Charts = {}
        for slot, view in self.panel.views(screen).items():
            drawn = last.get(slot)
            if drawn is None or (drawn.view, drawn.made_from) != (view, made_from):
                drawn = content.DrawnView.of(view, self.part_of, made_from)
            found[slot] = drawn
        return found

    def code(self, views: Sequence[View]) -> str:
        """Python that draws some charts from a variable ``fits``."""
        protocol = None if self.protocol == self.parts.protocol else self.protocol
        table = self.panel.table
        return python_code(views, self.query, protocol, self.statuses, table=table)

    def words(self, code: str, call: str) -> str:
        """Write what the page says about the state, as JSON.

        `code` draws the charts, `call` opens the same view again.
        """
        cells, chosen = self.parts.cells, self.chosen
        models = self.state["filters"].get("model")
        return json.dumps({
            "count": self.summary,
            "left_out": content.left_out(cells, self.choice.step, models, chosen),
            "spoken": content.spoken(self.summary, chosen),
            "no_refit": "" if self.parts.have_counts else NO_REFIT,
            "empty": self.empty,
            "code": code,
            "call": call,
            "chosen": content.labels_of(chosen),
            "matrices": None if self.empty else self.numbers(),
            "counts": cells.counts(self.masks),
            "drawn": self.drawn,
            "experts": len(self.experts_within),
        })  # fmt: skip

    @cached_property
    def pins(self) -> dict[str, Cell]:
        """The pinned matrices that the fits hold, whatever the filters leave."""
        everything = np.ones(len(self.parts.cells.places), bool)
        pinned = sorted(self.state["pinned"].items())
        found = {pin: self.parts.cells.find([cell], everything) for pin, cell in pinned}
        return {pin: cells[0] for pin, cells in found.items() if cells}

    @cached_property
    def experts_within(self) -> list[int]:
        """The experts of the matrix that is looked into, where it has several."""
        cells = close_up(self.chosen, self.pins)
        return experts_within(self.parts.light, cells[0]) if cells else []

    def numbers(self) -> dict[str, Any] | None:
        """List the numbers of the matrices that are looked at closely."""
        chosen, pins = self.chosen, self.pins
        if self.compared:
            both = self.state["first"], self.state["second"]
            chosen, pins = at_both(close_up(chosen, pins), *both), {}
        query, _ragged = box(close_up(chosen[:MAX_PANELS], pins), self.parts.sizes)
        part = self.part(query, of_status=False)
        return numbers(part, chosen, pins, dated=self.parts.sizes["step"] > 1)

    def chosen_fits(self) -> xr.Dataset:
        """Select the chosen matrices alone."""
        query, ragged = box(self.chosen, self.parts.sizes)
        part = self.part(query, of_status=False)
        return keep_cells(part, self.chosen) if ragged else part


SLOTS: tuple[Slot, ...] = get_args(Slot)
