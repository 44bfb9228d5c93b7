"""What each panel of the explorer draws, from which part of the fits, and the code for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Literal

from weibnb import charts
from weibnb.charts.tables import MAX_PANELS
from weibnb.fits.schema import DIMS
from weibnb.fits.select import keep_cells
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import xarray as xr

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec
    from weibnb.explorer.filters import Cell

#: Places of charts; `detail` is beside the numbers of the selected matrices, on every panel.
Slot = Literal["main", "side", "more", "detail"]


@dataclass(frozen=True, slots=True)
class View:
    """One chart of a panel."""

    function: str  # its name in `weibnb.charts`
    label: str  # what a screen reader says
    query: dict[str, Any]  # indexers of what it is drawn from
    cells: tuple[Cell, ...] = ()  # that are drawn, where they do not fill a box of labels
    options: dict[str, Any] = field(default_factory=dict)  # keywords of the function
    of_status: bool = True  # whether the filter by status holds
    reads: str = ""  # function of weibnb that reads the weights again for it
    look: dict[str, Any] = field(default_factory=dict)  # keywords of that function
    told: bool = False  # whether the page lists the numbers of its matrices beside it
    brief: bool = False  # whether its legend has k alone, as the other numbers stand elsewhere

    def spec(self, part: xr.Dataset) -> Spec:
        """Specify it, of the part of the fits that `query` selects."""
        if self.cells and not self.reads:
            part = keep_cells(part, self.cells)
        spec: Spec = getattr(charts, self.function).spec(part, **self.options)
        return spec

    def draw(self, part: xr.Dataset) -> Chart:
        """Draw it as an altair chart."""
        from weibnb.charts.altair import chart_of

        return chart_of(self.spec(part))

    def code(self, name: str) -> list[str]:
        """Python that draws it from a variable."""
        lines = [f"{name} = select.keep_cells({name}, {list(self.cells)!r})"] if self.cells else []
        words = "".join(f", {key}={value!r}" for key, value in self.options.items())
        if self.reads:
            lines.append("source = view.source.values.ravel()[0]  # or what was scanned")
            look = "".join(f", {key}={value!r}" for key, value in self.look.items())
            name = f"wb.{self.reads}(source, fits={name}{look})"
        return [*lines, f"charts.{self.function}({name}{words})"]


@dataclass(frozen=True, slots=True)
class Screen:
    """What a panel is drawn from."""

    state: Mapping[str, Any]  # traits of the explorer
    query: dict[str, Any]  # indexers of what the filters leave
    chosen: Sequence[Cell]  # that are looked at closely, at least one; the pinned ones first
    sizes: Mapping[str, int]  # of the dims of the fits
    experts: Sequence[Any]  # of the chosen cells, where the fits have any
    within: Sequence[int] = ()  # experts of the first chosen cell, also where a fit is their median

    def view(self, function: str, label: str, **options: Any) -> View:
        """Draw everything that the filters leave."""
        return View(function, label, self.query, options=options)

    def close_up(self, function: str, words: str, **options: Any) -> View:
        """Draw the chosen matrices from their counts."""
        kept = tuple(self.chosen[:MAX_PANELS])
        query, ragged = box(kept, self.sizes)
        if self.experts:
            query["expert"] = list(self.experts)
        names = ", ".join(f"{shortened(cell[2])} of layer {cell[1]}" for cell in kept[:4])
        return View(
            function, f"{words} of {names}", query, kept if ragged else (), options, of_status=False
        )


Views = dict[Slot, View]


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the explorer's panels."""

    title: str  # on its tab
    views: Callable[[Screen], Views]  # its charts, by their place on the page
    options: tuple[str, ...] = ()  # traits that it offers
    one_step: bool = True  # whether it shows one step, or all
    table: bool = False  # whether it lists everything that the filters leave


def _overview(screen: Screen) -> Views:
    value = screen.state["value"]
    return {
        "main": screen.view("layer_map", f"Map of {value} by layer and component", value=value),
        "detail": _plot(screen),
        "side": _profile(screen),
    }


def _plot(screen: Screen) -> View:
    """Draw the Weibull plot of what is selected, which stays in sight on every panel."""
    how = screen.state.get("arrangement", "overlay")
    several = len(screen.chosen) > 1 and how != "overlay"
    plot = screen.close_up(
        "weibull_plot", "Weibull plot", **({"arrangement": how} if several else {})
    )
    return replace(plot, told=True)


def _profile(screen: Screen) -> View:
    components = list(dict.fromkeys(cell[2] for cell in screen.chosen))[:4]
    own = {"component": components} if screen.sizes["component"] > 1 else {}
    label = f"k of {shortened(components[0])} along the layers"
    return View("depth_profile", label, screen.query | own)


def _findings(screen: Screen) -> Views:
    """Show what was found where it is; the list stands above."""
    views = _overview(screen)
    return {slot: views[slot] for slot in ("main", "detail")}


def _weibull(screen: Screen) -> Views:
    other = {"rank_regression": "maximum_likelihood", "maximum_likelihood": "rank_regression"}
    estimators = (other[screen.state["estimator"]],)
    beside = {"estimators": estimators} if screen.state["side_by_side"] else {}
    views: Views = {
        "main": replace(screen.close_up("weibull_plot", "Weibull plot", **beside), brief=True),
        "detail": screen.close_up("density", "Density of ln |w|"),
    }
    if screen.state["causes"]:
        causes = screen.close_up("decomposition", "Why k is low")
        views["side"] = replace(causes, reads="decompose")
    return views


def _inside(screen: Screen) -> Views:
    """Show one matrix, or the part of it that is chosen, and why its k is low."""
    one = replace(screen, chosen=screen.chosen[:1])
    window = screen.state["window"]
    part = {"rows": window[:2], "cols": window[2:]} if window else {}
    of_expert: dict[str, Any] = {}
    if screen.within:
        expert = screen.within[min(screen.state["expert"], len(screen.within) - 1)]
        one = replace(one, experts=[expert] if screen.experts else ())
        of_expert = {"select": {"expert": expert}}
    main = one.close_up("matrix", "Inside", value=screen.state["inside"])
    causes = one.close_up("decomposition", "Why k is low")
    return {
        "main": replace(main, reads="look_inside", look=of_expert | part),
        "detail": replace(one.close_up("weibull_plot", "Weibull plot"), told=True),
        "side": replace(causes, reads="decompose", look=of_expert),
    }


def _classes(screen: Screen) -> Views:
    band = screen.state["band"]
    return {
        "main": screen.view("class_bands", "k of every matrix by component", band=band),
        "side": screen.view("outlier_strip", "Largest weight of every matrix"),
        "detail": _plot(screen),
    }


def _trajectories(screen: Screen) -> Views:
    value = screen.state["track"]
    options = {"value": value, "scale": screen.state["step_scale"]}
    many = prod(
        len(screen.query.get(dim, range(screen.sizes[dim]))) for dim in ("model", "component")
    )
    if many > 2 * MAX_PANELS:
        options["by"] = "weight_class"
    return {
        "main": screen.view("trajectories", f"{value} during training", **options),
        "side": screen.view("phase_portrait", "Paths in the plane of λ and k"),
        "detail": _plot(screen),
    }


def _compare(screen: Screen) -> Views:
    """Differences of two models or steps, whatever the filters of models say; and the cohort."""
    first, second = tuple(screen.state["first"]), tuple(screen.state["second"])
    cohort = screen.view("cohort", "The models among the published entries")
    if not first or not second or first == second:
        return {"main": cohort, "detail": _plot(screen)}
    rest = {dim: value for dim, value in screen.query.items() if dim not in ("model", "step")}
    picks = {
        name: dict(zip(("model", "step"), pick, strict=True))
        for name, pick in (("first", first), ("second", second))
    }
    difference = View("difference", "Difference of k, cell by cell", rest, options=picks)
    changes = View("change_map", "How far ln |w| moved, cell by cell", rest, options=picks)
    both = replace(screen, chosen=at_both(screen.chosen, first, second))
    return {"main": difference, "side": changes, "more": cohort, "detail": _plot(both)}


def at_both(chosen: Sequence[Cell], first: Sequence[Any], second: Sequence[Any]) -> list[Cell]:
    """Place the selected matrices in both checkpoints that are compared."""
    pairs = [
        (model, layer, component, step)
        for _model, layer, component, _step in chosen
        for model, step in (first, second)
    ]
    return list(dict.fromkeys(pairs))


PANELS = {
    "overview": Panel("Overview", _overview, ("value", "arrangement")),
    "findings": Panel("Findings", _findings, ("value", "arrangement")),
    "weibull": Panel("Weibull plot", _weibull, ("side_by_side", "causes")),
    "inside": Panel("Inside", _inside, ("inside", "expert", "window")),
    "classes": Panel("Classes", _classes, ("band", "arrangement")),
    "trajectories": Panel(
        "Trajectories", _trajectories, ("track", "step_scale", "arrangement"), one_step=False
    ),
    "compare": Panel("Compare", _compare, ("first", "second", "arrangement"), one_step=False),
    "table": Panel("Table", lambda screen: {"detail": _plot(screen)}, ("arrangement",), table=True),
}  # fmt: skip


def box(cells: Sequence[Cell], sizes: Mapping[str, int]) -> tuple[dict[str, Any], bool]:
    """Give indexers of the smallest box of labels that holds cells, and whether it holds others.

    A dim of size 1 needs no indexer.
    """
    labels = {dim: list(dict.fromkeys(cell[i] for cell in cells)) for i, dim in enumerate(DIMS)}
    number = prod(len(found) for found in labels.values())
    return {dim: found for dim, found in labels.items() if sizes[dim] > 1}, number > len(cells)


def experts_of(fits: xr.Dataset, chosen: Sequence[Cell]) -> list[Any]:
    """List as many experts of the chosen cells as a chart has room for."""
    if "expert" not in fits["k"].dims or not chosen:
        return []
    each = max(MAX_PANELS // len(chosen), 1)
    found: dict[Any, None] = {}
    for cell in chosen[:MAX_PANELS]:
        status = fits["status"].sel(dict(zip(DIMS, cell, strict=True)))
        there = fits["expert"].values[status.values != "absent"]
        found |= dict.fromkeys(there[:each].tolist())
    return list(found)


def experts_within(fits: xr.Dataset, cell: Cell) -> list[int]:
    """List the experts of a cell; none where it holds one matrix."""
    at = dict(zip(DIMS, cell, strict=True))
    there: list[int] = []
    if "expert" in fits["k"].dims:
        there = fits["expert"].values[fits["status"].sel(at).values != "absent"].tolist()
    elif "n_matrices" in fits:
        there = list(range(int(fits["n_matrices"].sel(at).item())))
    return there if len(there) > 1 else []
