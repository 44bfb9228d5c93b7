"""The widget without a browser: traits set as the page sets them, and what it answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import DEMO, from_page, rows_of, slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from traitlets import TraitError

from weibnb.diagnostics.cohorts import reference_cohort
from weibnb.explorer.widget import Explorer
from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr


def test_first_view(explorer: Explorer, fits: xr.Dataset) -> None:
    assert explorer.query == {"step": [7000]}
    assert repr(explorer) == "<Explorer: 21 of 105 matrices, panel 'overview'>"
    drawn = {(row["component"], row["layer"]): row["value"]
             for row in rows_of(slot(explorer)["spec"]) if "value" in row}  # fmt: skip
    k = fits["k"].sel(model="demo", step=7000)
    assert len(drawn) == 21
    for (component, layer), value in drawn.items():
        expected = k.sel(component=component, layer=layer).item()
        assert value == pytest.approx(expected, rel=1e-5)
    assert words(explorer)["chosen"] == [["demo", 0, "o_proj", 7000]]


def test_a_click_draws_that_matrix(explorer: Explorer, fits: xr.Dataset) -> None:
    before = explorer._main
    from_page(explorer, selected=[["demo", 2, "up_proj", 7000]])
    assert explorer._main == before, "the map is not sent again"
    k = fits["k"].sel(model="demo", layer=2, component="up_proj", step=7000).item()
    text = explorer._detail
    assert f"k {k:.4f}" in text
    assert "up_proj of layer 2" in slot(explorer, "detail")["label"]
    assert explorer._answered == explorer._asked == 1
    table = json.loads(explorer._rows)
    assert table["total"] == 1
    (listed,) = (one["values"] for one in table["columns"] if one["name"] == "k")
    assert listed == pytest.approx([k])


def test_filters(explorer: Explorer, fits: xr.Dataset) -> None:
    from_page(explorer, filters={"weight_class": ["selection"]}, layers=[1, 2])
    assert explorer.query == {
        "layer": slice(1, 2),
        "component": ["q_proj", "k_proj"],
        "step": [7000],
    }
    expected = fits.sel(layer=slice(1, 2), component=["q_proj", "k_proj"], step=[7000])
    assert explorer.fits.equals(expected)
    assert words(explorer)["count"].startswith("4 of 105")
    assert words(explorer)["counts"]["weight_class"] == [4, 2, 8]


def test_empty_filters_say_why(explorer: Explorer) -> None:
    from_page(explorer, filters={"component": []})
    assert words(explorer)["empty"] == ["Components excludes every matrix."]
    assert explorer._main == explorer._detail == explorer._rows == ""
    assert explorer.chart is None
    from_page(explorer, filters={})
    assert words(explorer)["empty"] == []
    assert explorer._main


def test_status_is_a_filter(fits: xr.Dataset) -> None:
    zero = {f"model.layers.{i}.mlp.up_proj.weight": np.full((16, 16), float(i)) for i in range(3)}
    zero["model.layers.2.mlp.up_proj.weight"] = np.random.default_rng(0).normal(size=(16, 16))
    explorer = explore(wb.scan({"a": zero}), filters={"status": ["ok"]})
    assert (explorer.fits["status"].values.ravel() == ["absent", "absent", "ok"]).all()
    assert "keep_status(view, ['ok'])" in explorer.code
    explorer.filters = {"status": ["all_zero", "constant"]}
    assert not explorer.fits["k"].notnull().any()


def test_an_extra_coordinate_is_a_filter(fits: xr.Dataset) -> None:
    both = wb.scan({"a": DEMO / "step0", "b": DEMO / "step7000"})
    both = both.assign_coords(optimiser=("model", ["adamw", "muon"]))
    explorer = explore(both, filters={"optimiser": ["muon"]})
    assert explorer.query["model"] == ["b"]
    assert (explorer.first, explorer.second) == (("a", 0), ("b", 7000))


def test_steps(explorer: Explorer, fits: xr.Dataset) -> None:
    from_page(explorer, step=500)
    assert explorer.query == {"step": [500]}
    assert (explorer.fits["step"] == [500]).all()
    from_page(explorer, panel="trajectories")
    assert explorer.query == {}
    steps = {row["step"] for row in rows_of(slot(explorer)["spec"]) if "step" in row}
    assert steps == set(fits["step"].values.tolist())


def test_published_entries() -> None:
    explorer = explore(reference_cohort())
    assert len(explorer.filters["model"]) == 6
    assert "spec" in slot(explorer)


def test_a_model_without_the_step_is_named(fits: xr.Dataset) -> None:
    both = wb.scan({"run": DEMO, "other": DEMO / "step0"})
    explorer = explore(both)
    assert words(explorer)["left_out"] == "No matrix at step 7,000: other."


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"panle": "overview"}, TypeError, "no trait 'panle'"),
        ({"panel": "map"}, TraitError, "overview"),
        ({"filters": {"component": ["q"]}}, ValueError, "must be one of"),
        ({"trim": (0.9, 0.1)}, ValueError, "trim"),
        ({"step": 1}, ValueError, "`step` must be one of"),
    ],
)
def test_bad_state(
    fits: xr.Dataset, state: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Explorer(fits, **state)


def test_bad_traits_are_refused(explorer: Explorer) -> None:
    for name, value in (("filters", {"x": []}), ("trim", (0.5, 0.5)), ("step", 3)):
        with pytest.raises(TraitError):
            setattr(explorer, name, value)
    assert explorer.step == 7000


def test_a_failure_is_shown(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of ink")

    monkeypatch.setattr(explorer, "_draw", fail)
    from_page(explorer, panel="classes")
    assert words(explorer)["problem"] == "RuntimeError: out of ink"
    assert explorer._answered == explorer._asked


def test_a_button_gets_its_file(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(
        explorer, "send", lambda content, buffers=None: sent.append((content, buffers))
    )
    explorer._handle_custom_msg({"save": "csv"}, [])
    explorer._handle_custom_msg({"save": "exe"}, [])
    assert sent[0][0] == {"name": "weibnb-overview.csv", "type": "text/csv"}
    assert sent[0][1][0].startswith(b"model,")
    assert "must end with" in sent[1][0]["problem"]
