"""What each panel of the explorer draws, from which part of the fits, and the code for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from weibnb import charts
from weibnb.charts.tables import MAX_PANELS
from weibnb.fits.schema import DIMS
from weibnb.fits.select import keep_cells
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from weibnb.charts.altair import Chart
    from weibnb.charts.vega import Spec
    from weibnb.explorer.filters import Cell

Slot = Literal["main", "detail", "side"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the explorer's panels.

    Attributes
    ----------
    title : str
        On its tab.
    one_step : bool
        Whether it shows one step, or all.
    """

    title: str
    one_step: bool = True


PANELS = {
    "overview": Panel("Overview"),
    "weibull": Panel("Weibull plot"),
    "classes": Panel("Classes"),
    "trajectories": Panel("Trajectories", one_step=False),
    "compare": Panel("Compare", one_step=False),
    "table": Panel("Table"),
}


@dataclass(frozen=True, slots=True)
class View:
    """One chart of a panel.

    Attributes
    ----------
    function : str
        Name in `weibnb.charts`.
    label : str
        What a screen reader says.
    query : dict
        Indexers of what it is drawn from.
    cells : tuple
        Cells of it that are drawn, if these are no box.
    options : dict
        Keywords.
    of_status : bool
        Whether the filter by status holds.
    """

    function: str
    label: str
    query: dict[str, Any]
    cells: tuple[Cell, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    of_status: bool = True

    def spec(self, part: xr.Dataset) -> Spec:
        """Specify it, of the part of the fits that `query` selects."""
        if self.cells:
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
        return [*lines, f"charts.{self.function}({name}{words})"]


def plan(
    state: Mapping[str, Any],
    query: Mapping[str, Any],
    chosen: Sequence[Cell],
    sizes: Mapping[str, int],
    experts: Sequence[Any] = (),
) -> dict[Slot, View]:
    """Decide what a panel draws.

    Parameters
    ----------
    state : Mapping
        Traits of the explorer.
    query : Mapping
        Indexers of what is selected.
    chosen : sequence of tuple
        Cells that are looked at closely, at least one.
    sizes : Mapping
        Labels along each dim of the fits.
    experts : sequence
        Experts of them that are drawn, where the fits have any.

    Returns
    -------
    dict of View
        By its place on the page; the table has none.
    """
    whole = dict(query)
    if state["panel"] == "overview":
        value = state["value"]
        return {
            "main": View("layer_map", f"Map of {value} by layer and component", whole,
                         options={"value": value}),
            "detail": _close("weibull_plot", "Weibull plot", chosen, sizes, experts),
            "side": _profile(whole, chosen, sizes),
        }  # fmt: skip
    if state["panel"] == "weibull":
        other = {"rank_regression": "maximum_likelihood", "maximum_likelihood": "rank_regression"}
        beside = {"estimators": (other[state["estimator"]],)} if state["side_by_side"] else {}
        return {
            "main": _close("weibull_plot", "Weibull plot", chosen, sizes, experts, beside),
            "detail": _close("density", "Density of ln |w|", chosen, sizes, experts),
        }
    if state["panel"] == "classes":
        return {
            "main": View("class_bands", "k of every matrix by component", whole,
                         options={"band": state["band"]}),
            "detail": View("outlier_strip", "Largest weight of every matrix", whole),
        }  # fmt: skip
    if state["panel"] == "trajectories":
        options = {"value": state["track"], "scale": state["step_scale"]}
        lines = [len(query.get(dim, range(sizes[dim]))) for dim in ("model", "component")]
        if lines[0] * lines[1] > 2 * MAX_PANELS:
            options["by"] = "weight_class"
        return {
            "main": View(
                "trajectories", f"{state['track']} along training", whole, options=options
            ),
            "detail": View("phase_portrait", "Paths in the plane of λ and k", whole),
        }
    if state["panel"] == "compare":
        return _comparison(state, whole)
    return {}


def _comparison(state: Mapping[str, Any], query: dict[str, Any]) -> dict[Slot, View]:
    """Difference of two models or steps, whatever the filters of models say; and the cohort."""
    found: dict[Slot, View] = {}
    first, second = tuple(state["first"]), tuple(state["second"])
    rest = {dim: value for dim, value in query.items() if dim not in ("model", "step")}
    if first and second and first != second:
        picks = [dict(zip(("model", "step"), pick, strict=True)) for pick in (first, second)]
        found["main"] = View(
            "difference", "Difference of k, cell by cell", rest,
            options={"first": picks[0], "second": picks[1]},
        )  # fmt: skip
    cohort = View("cohort", "The models among the published entries", query)
    found["detail" if found else "main"] = cohort
    return found


def box(cells: Sequence[Cell], sizes: Mapping[str, int]) -> tuple[dict[str, Any], bool]:
    """Indexers of the smallest box of labels that holds some cells.

    Parameters
    ----------
    cells : sequence of tuple
        Labels along `DIMS` of each.
    sizes : Mapping
        Labels along each dim of the fits; a dim with one needs no indexer.

    Returns
    -------
    tuple
        The indexers, and whether the box holds further cells.
    """
    labels = {dim: list(dict.fromkeys(cell[i] for cell in cells)) for i, dim in enumerate(DIMS)}
    number = 1
    for found in labels.values():
        number *= len(found)
    return {dim: found for dim, found in labels.items() if sizes[dim] > 1}, number > len(cells)


def _close(
    function: str,
    words: str,
    chosen: Sequence[Cell],
    sizes: Mapping[str, int],
    experts: Sequence[Any],
    options: Mapping[str, Any] = MappingProxyType({}),
) -> View:
    """Draw a few matrices from their counts."""
    kept = tuple(chosen[:MAX_PANELS])
    query, ragged = box(kept, sizes)
    if experts:
        query["expert"] = list(experts)
    names = ", ".join(f"{shortened(cell[2])} of layer {cell[1]}" for cell in kept[:4])
    label = f"{words} of {names}"
    return View(function, label, query, kept if ragged else (), dict(options), of_status=False)


def _profile(query: dict[str, Any], chosen: Sequence[Cell], sizes: Mapping[str, int]) -> View:
    own = {"component": list(dict.fromkeys(cell[2] for cell in chosen))[:4]}
    narrowed = query | (own if sizes["component"] > 1 else {})
    return View(
        "depth_profile", f"k of {shortened(own['component'][0])} along the layers", narrowed
    )
