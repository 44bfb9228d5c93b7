"""The parts of the explorer as widgets of their own, to lay out and to link.

Each shows fits in one state, and each trait of it can be read, set, observed and linked, as those
of any Jupyter widget::

    filters = wb.widgets.Filter(fits)
    layers, plot = wb.widgets.LayerMap(fits), wb.widgets.WeibullPlot(fits)
    wb.widgets.link(filters, layers, plot)
    ipywidgets.HBox([filters, layers, plot])
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, get_args

import traitlets

from weibnb.charts.layers import MapValue
from weibnb.charts.training import TrackValue
from weibnb.charts.vega import Scale
from weibnb.diagnostics.bands import BANDS
from weibnb.explorer import export
from weibnb.explorer.linked import LinkedWidget
from weibnb.explorer.panels import PANELS, Panel
from weibnb.explorer.parts import Parts
from weibnb.explorer.widget import Explorer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr

    from weibnb.explorer.panels import Screen, Views

__all__ = ["ClassBands", "Filter", "LayerMap", "Trajectories", "WeibullPlot", "link"]

#: What widgets of the same fits share.
SHARED = ("filters", "layers", "step", "trim", "estimator", "selected")
# What a part offers beside its chart.
_OPTIONS = ("value", "side_by_side", "band", "track", "step_scale")


def _part_of(name: str) -> Panel:
    """Take the first chart of one of the explorer's panels as a panel of its own."""
    panel = PANELS[name]
    usual = {name: trait.default() for name, trait in Explorer.class_traits(state=True).items()}

    def views(screen: Screen) -> Views:
        return {"main": panel.views(replace(screen, state={**usual, **screen.state}))["main"]}

    options = tuple(name for name in panel.options if name in _OPTIONS)
    return Panel(panel.title, views, options, panel.one_step)


class _Part(LinkedWidget):
    """A widget with one chart, or none."""

    # shares a row evenly with others, and fills a column
    _layout: ClassVar = {"flex": "1 1 0%", "min_width": "240px"}

    def __init__(
        self,
        fits: xr.Dataset,
        *,
        state: Mapping[str, Any] | None = None,
        layout: Any = None,
        **traits: Any,
    ) -> None:
        synced = {"layout": self._layout if layout is None else layout}
        super().__init__(
            Parts.of(fits), script=self._script(), state=state, synced=synced, **traits
        )

    @staticmethod
    def _script() -> str:
        return export.vega_bundle("widgets.js")


class Filter(_Part):
    """Which matrices are looked at: models, classes, components, layers, the step.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    state : mapping, optional
        Traits to begin with, as `state` gives them.
    layout : ipywidgets.Layout or mapping, optional
        Its size and place among others.
    **traits : Any
        Traits to begin with: see Attributes.

    Attributes
    ----------
    filters : dict
        Labels that are kept, by facet; a facet that is not named keeps all.
    layers : tuple of int
        First and last layer.
    step : int
        Step that is shown.
    trim : tuple of float
        Probability interval of the Weibull plot that is fitted.
    estimator : {"rank_regression", "maximum_likelihood"}
        How k and λ are estimated.
    selected : list of tuple
        ``(model, layer, component, step)`` of the matrices that were clicked.
    query : dict
        Indexers of what is kept, ``fits.sel(**query)``: to be observed.

    Raises
    ------
    TypeError, ValueError
        If `fits` are no fits, or a trait is not known or not valid.

    Examples
    --------
    >>> import weibnb as wb
    >>> some = Filter(wb.reference_cohort().isel(model=[0, 1]))
    >>> some.filters = {"component": ["qkv_proj"]}
    >>> some
    <Filter: 2 of 8 matrices>
    >>> some.query
    {'component': ['qkv_proj']}
    """

    _layout: ClassVar = {"flex": "none", "width": "220px"}
    _function = "widgets.Filter"
    _panels: ClassVar = {"filter": Panel("Filter", lambda _screen: {})}
    panel = traitlets.Enum(list(_panels), "filter").tag(sync=True)

    @staticmethod
    def _script() -> str:
        return (export.STATIC / "widgets.js").read_text(encoding="utf-8")  # draws no chart


class LayerMap(_Part):
    """Every matrix by layer and component, coloured by one value; a click selects.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    state : mapping, optional
        Traits to begin with, as `state` gives them.
    layout : ipywidgets.Layout or mapping, optional
        Its size and place among others.
    **traits : Any
        Traits to begin with.

    Attributes
    ----------
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        What the colours show.
    filters, layers, step, trim, estimator, selected, query
        As those of `Filter`.

    Raises
    ------
    TypeError, ValueError
        If `fits` are no fits, or a trait is not known or not valid.

    Examples
    --------
    >>> import weibnb as wb
    >>> LayerMap(wb.reference_cohort().isel(model=[0, 1]), value="lam")
    <LayerMap: 8 of 8 matrices>
    """

    _function = "widgets.LayerMap"
    _panels: ClassVar = {"map": _part_of("overview")}
    panel = traitlets.Enum(list(_panels), "map").tag(sync=True)
    value = traitlets.Enum(list(get_args(MapValue)), "k").tag(sync=True, state=True)


class WeibullPlot(_Part):
    """The selected matrices on Weibull paper, with the trim and the estimator to change.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    state : mapping, optional
        Traits to begin with, as `state` gives them.
    layout : ipywidgets.Layout or mapping, optional
        Its size and place among others.
    **traits : Any
        Traits to begin with.

    Attributes
    ----------
    side_by_side : bool
        Whether it also has the line of the other estimator.
    filters, layers, step, trim, estimator, selected, query
        As those of `Filter`.

    Raises
    ------
    TypeError, ValueError
        If `fits` are no fits, or a trait is not known or not valid.

    Examples
    --------
    >>> import weibnb as wb
    >>> WeibullPlot(wb.reference_cohort().isel(model=[0, 1]), side_by_side=True)
    <WeibullPlot: 8 of 8 matrices>
    """

    _function = "widgets.WeibullPlot"
    _panels: ClassVar = {"weibull": _part_of("weibull")}
    panel = traitlets.Enum(list(_panels), "weibull").tag(sync=True)
    side_by_side = traitlets.Bool(default_value=False).tag(sync=True, state=True)


class ClassBands(_Part):
    """Every matrix by component, before a published band; a click selects.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    state : mapping, optional
        Traits to begin with, as `state` gives them.
    layout : ipywidgets.Layout or mapping, optional
        Its size and place among others.
    **traits : Any
        Traits to begin with.

    Attributes
    ----------
    band : str
        Name of the published band.
    filters, layers, step, trim, estimator, selected, query
        As those of `Filter`.

    Raises
    ------
    TypeError, ValueError
        If `fits` are no fits, or a trait is not known or not valid.

    Examples
    --------
    >>> import weibnb as wb
    >>> ClassBands(wb.reference_cohort().isel(model=[0, 1]))
    <ClassBands: 8 of 8 matrices>
    """

    _function = "widgets.ClassBands"
    _panels: ClassVar = {"classes": _part_of("classes")}
    panel = traitlets.Enum(list(_panels), "classes").tag(sync=True)
    band = traitlets.Enum(list(BANDS), "transmission-feed-forward").tag(sync=True, state=True)


class Trajectories(_Part):
    """k or λ of every component during training; a click selects.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    state : mapping, optional
        Traits to begin with, as `state` gives them.
    layout : ipywidgets.Layout or mapping, optional
        Its size and place among others.
    **traits : Any
        Traits to begin with.

    Attributes
    ----------
    track : {"k", "lam"}
        What is drawn.
    step_scale : {"log", "linear"}
        The axis of the steps.
    filters, layers, step, trim, estimator, selected, query
        As those of `Filter`; all steps are drawn, whichever `step` is.

    Raises
    ------
    TypeError, ValueError
        If `fits` are no fits, or a trait is not known or not valid.

    Examples
    --------
    >>> import weibnb as wb
    >>> run = wb.scan({"demo": wb.demo_checkpoints()}, progress=False)
    >>> Trajectories(run, track="lam")
    <Trajectories: 105 of 105 matrices>
    """

    _function = "widgets.Trajectories"
    _panels: ClassVar = {"trajectories": _part_of("trajectories")}
    panel = traitlets.Enum(list(_panels), "trajectories").tag(sync=True)
    track = traitlets.Enum(list(get_args(TrackValue)), "k").tag(sync=True, state=True)
    step_scale = traitlets.Enum(list(get_args(Scale)), "log").tag(sync=True, state=True)


def link(*widgets: LinkedWidget, traits: Sequence[str] = SHARED) -> list[traitlets.link]:
    """Keep traits of several widgets the same: what changes in one changes in all.

    Parameters
    ----------
    *widgets : LinkedWidget
        At least two; all take over what the first one shows. The explorer is one of them, too.
    traits : sequence of str
        Traits that are linked.

    Returns
    -------
    list of traitlets.link
        One for each trait of each widget but the first; ``.unlink()`` ends it.

    Raises
    ------
    TypeError
        If there are not two widgets, or one of them has no such trait.

    Examples
    --------
    >>> import weibnb as wb
    >>> fits = wb.reference_cohort().isel(model=[0, 1])
    >>> filters, layers = Filter(fits), LayerMap(fits)
    >>> links = link(filters, layers)
    >>> filters.filters = {"component": ["q_proj"]}
    >>> layers.filters
    {'component': ('q_proj',)}
    """
    if len(widgets) < 2:
        raise TypeError(f"`link` takes two widgets or more, got {len(widgets)}.")
    first, *others = widgets
    for widget in widgets:
        missing = [name for name in traits if not widget.has_trait(name)]
        if missing:
            raise TypeError(f"`{type(widget).__name__}` has no trait {missing[0]!r} to link.")
    return [traitlets.link((first, name), (other, name)) for other in others for name in traits]
