"""The parts of the explorer alone: what each shows, and how they are linked."""

from __future__ import annotations

import gc
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.explorer.conftest import DEMO, from_page, slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

import ipywidgets
import traitlets

from weibnb import widgets
from weibnb.explorer.parts import Parts
from weibnb.fits.schema import DIMS

if TYPE_CHECKING:
    from collections.abc import Callable

# Each with the panel of the explorer that has its chart.
CHARTS = [
    (widgets.LayerMap, "overview"),
    (widgets.WeibullPlot, "weibull"),
    (widgets.ClassBands, "classes"),
    (widgets.Trajectories, "trajectories"),
]
ALL: list[Any] = [widgets.Filter, *(made for made, _ in CHARTS)]


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"demo": DEMO})


@pytest.mark.parametrize(("make", "panel"), CHARTS)
def test_a_chart_is_that_of_the_explorer(fits: xr.Dataset, make: Any, panel: str) -> None:
    state: Any = {"filters": {"component": ["q_proj", "up_proj"]}, "trim": (0.2, 0.8), "step": 500}
    widget = make(fits, **state)
    explorer = wb.explore(fits, panel=panel, **state)
    assert slot(widget) == slot(explorer)
    assert (widget.query, widget.fits.attrs) == (explorer.query, explorer.fits.attrs)
    xr.testing.assert_identical(widget.fits, explorer.fits)
    assert "call" in words(widget)
    again = eval(words(widget)["call"], {"wb": wb, "fits": fits})  # noqa: S307  (our own text)
    assert isinstance(again, make)
    assert (again.state, again._main) == (widget.state, widget._main)


def test_the_filter_draws_nothing_and_counts(fits: xr.Dataset) -> None:
    widget = widgets.Filter(fits)
    seen: list[Any] = []
    widget.observe(lambda change: seen.append(change["new"]), "query")
    from_page(widget, filters={"weight_class": ["selection"]})
    assert seen == [{"component": ["q_proj", "k_proj"], "step": [7000]}]
    assert words(widget)["counts"]["weight_class"] == [6, 3, 12]
    assert widget._main == ""
    assert len(widget._esm) < 100_000, "no Vega"
    with pytest.raises(traitlets.TraitError):
        widget.query = {}


def test_what_changes_in_one_changes_in_all(fits: xr.Dataset) -> None:
    all_of = [make(fits) for make in ALL[:3]]
    explorer = wb.explore(fits)
    links = widgets.link(*all_of, explorer)
    assert len(links) == 3 * len(widgets.SHARED)
    filters, layers, plot = all_of
    from_page(layers, selected=[["demo", 1, "v_proj", 7000]])
    from_page(plot, trim=[0.2, 0.7])
    from_page(filters, step=500, filters={"component": ["v_proj", "q_proj"]})
    assert len({json.dumps(widget.state, sort_keys=True) for widget in all_of}) == 1
    assert explorer.state == filters.state
    assert "v_proj of layer 1" in slot(plot)["label"]
    assert explorer.query == layers.query == {"component": ["q_proj", "v_proj"], "step": [500]}
    assert "20–70 %" in words(explorer)["count"]
    for one in links:
        one.unlink()
    filters.step = 0
    assert layers.step == 500


def test_links_that_cannot_be(fits: xr.Dataset) -> None:
    filters, layers = widgets.Filter(fits), widgets.LayerMap(fits)
    with pytest.raises(TypeError, match="two widgets or more, got 1"):
        widgets.link(filters)
    with pytest.raises(TypeError, match="`Filter` has no trait 'value'"):
        widgets.link(layers, filters, traits=["value"])
    layers.step = 500
    links = widgets.link(filters, layers, traits=["selected"])
    assert (filters.step, len(links)) == (7000, 1)


def test_other_widgets_link_to_one_trait(fits: xr.Dataset) -> None:
    plot = widgets.WeibullPlot(fits)
    slider = ipywidgets.FloatRangeSlider(value=(0.1, 0.9), min=0, max=1, step=0.01)
    traitlets.link((slider, "value"), (plot, "trim"))
    slider.value = (0.3, 0.6)
    expected = wb.refit(fits, trim=(0.3, 0.6))["k"].sel(step=[7000])
    np.testing.assert_allclose(plot.fits["k"].values, expected.values)
    box = ipywidgets.HBox([plot, widgets.Filter(fits, layout={"width": "300px"})])
    assert box.children[1].layout.width == "300px"
    ipywidgets.jslink((plot, "selected"), (box.children[1], "selected"))


# Held once


def test_widgets_of_the_same_fits_share_them(
    fits: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Any] = []
    refit = Parts._fitted

    def counted(self: Parts, query: Any, protocol: Any) -> xr.Dataset:
        fitted.append((query, protocol))
        return refit(self, query, protocol)

    layers, bands = widgets.LayerMap(fits), widgets.ClassBands(fits)
    explorer = wb.explore(fits)
    assert layers._parts is bands._parts is explorer._parts
    monkeypatch.setattr(Parts, "_fitted", counted)
    layers.trim = bands.trim = (0.15, 0.85)
    assert fitted
    assert len({repr(one) for one in fitted}) == len(fitted)
    other = widgets.LayerMap(fits.copy())
    assert other._parts is not layers._parts


def test_fits_that_were_changed_are_other_fits(fits: xr.Dataset) -> None:
    fits = fits.copy(deep=True)
    before = widgets.Filter(fits)
    fits.coords["rate"] = ("layer", [0.1, 0.2, 0.2])
    widget = widgets.Filter(fits, filters={"rate": ["0.1"]})
    assert widget._parts is not before._parts
    assert widget.query["layer"] == [0]
    fits["status"].values[..., -1] = "all_zero"
    assert "status" in json.loads(widgets.Filter(fits)._words)["counts"]
    assert "status" not in words(widget)["counts"]


def test_fits_are_let_go_of(fits: xr.Dataset) -> None:
    from weibnb.explorer.parts import _IN_USE

    mine = fits.copy()
    made = Parts.of(mine)
    assert made in _IN_USE
    del made
    gc.collect()
    assert all(parts._made_of[0] is not mine for parts in _IN_USE)


# Bad input


HOSTILE = '</script><img src=x onerror="alert(1)">\x1b]0;x\x07\u202e{{7*7}}'


def one_matrix(fits: xr.Dataset) -> xr.Dataset:
    return fits.isel(layer=[0], component=[0], step=[-1])


def many_models(fits: xr.Dataset) -> xr.Dataset:
    small = fits.isel(layer=[0], component=[0, 1]).drop_vars("counts")
    return small.isel(model=[0] * 500).assign_coords(model=[f"m{i}" for i in range(500)])


def no_numbers(fits: xr.Dataset) -> xr.Dataset:
    floats = [name for name, array in fits.data_vars.items() if array.dtype.kind == "f"]
    return fits.drop_vars("counts").assign({name: fits[name] * np.nan for name in floats})


def hostile(fits: xr.Dataset) -> xr.Dataset:
    names = [HOSTILE, "q" * 300, *fits["component"].values[2:]]
    return fits.assign_coords(model=[HOSTILE * 5], component=names)


def without_counts(fits: xr.Dataset) -> xr.Dataset:
    return fits.drop_vars("counts")


def no_step(fits: xr.Dataset) -> xr.Dataset:
    return fits.isel(step=0, model=0)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    "change", [one_matrix, many_models, no_numbers, hostile, without_counts, no_step]
)
def test_odd_fits(fits: xr.Dataset, make: Any, change: Callable[[xr.Dataset], xr.Dataset]) -> None:
    odd = change(fits)
    widget = make(odd)
    said = words(widget)
    assert "problem" not in said
    assert not said["empty"]
    assert make is widgets.Filter or set(slot(widget)) == {"spec", "label"}
    cell = widget._drawing.chosen[0]
    widget.selected = [cell]
    assert widget.state == {"selected": [list(cell)]}
    from_page(widget, filters={name: [] for name in words(widget)["counts"]})
    assert widget.state.get("filters", {}) == {name: [] for name in said["counts"]}
    assert bool(words(widget)["empty"]) == bool(said["counts"])
    page = json.dumps([said["spoken"], said["left_out"], said["chosen"], widget._controls])
    assert "\\u001b" not in json.dumps(json.loads(page)[:3])
    assert set(widget.query) <= set(DIMS)


@pytest.mark.parametrize("make", ALL)
def test_what_is_no_fits_or_no_trait(fits: xr.Dataset, make: Any) -> None:
    with pytest.raises(TypeError, match=r"must be an xarray.Dataset"):
        make({"k": 1})
    with pytest.raises(TypeError, match=f"`{make.__name__}` has no trait 'panel'"):
        make(fits, panel="map")
    with pytest.raises(ValueError, match="`step` must be one of"):
        make(fits, step=3)
    with pytest.raises(ValueError, match="`state` must be one of"):
        make(fits, state={"panel": "map"})
