"""What the page is sent."""

from __future__ import annotations

import json
import re

import pytest
import xarray as xr

import weibnb as wb
from tests.explorer.conftest import DEMO, rows_of, slot, with_rows, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from typing import TYPE_CHECKING, Any

from weibnb.explorer.content import _by_columns
from weibnb.explorer.export import STATIC
from weibnb.explorer.labels import TEXTS
from weibnb.exploring import explore

if TYPE_CHECKING:
    from weibnb.explorer.widget import Explorer


@pytest.mark.parametrize("values", [[1, 2, 1], [1, 1, 1], [None, 1.5, None], ["a"], [None, None]])
def test_columns_hold_what_rows_did(values: list[Any]) -> None:
    rows = [
        {"value": value, "place": at, "layer": at, "model": "m"} for at, value in enumerate(values)
    ]
    table = _by_columns(rows)
    assert table["columns"]["model"] == ["m"]
    assert table["columns"]["layer"] == ("place" if len(rows) > 1 else [0])
    spec = {"datasets": {"rows": json.loads(json.dumps(table))}}
    assert with_rows({"spec": spec})["spec"]["datasets"]["rows"] == rows


def test_no_rows_are_no_columns() -> None:
    assert _by_columns([]) == {"rows": 0, "columns": {}}


def test_every_choice_has_a_name(explorer: Explorer) -> None:
    controls = json.loads(explorer._controls)
    assert list(controls["panels"]) == list(explorer.traits()["panel"].values)
    for name in ("value", "band", "track", "step_scale", "estimator"):
        assert list(controls["choices"][name]) == list(explorer.traits()[name].values)
    offered = {name for panel in controls["panels"].values() for name in panel["options"]}
    assert offered == set(controls["options"]) <= set(explorer.trait_names())


def test_every_box_of_a_filter_has_a_word(fits: xr.Dataset) -> None:
    names = [name if i % 2 else f"vision.{name}" for i, name in enumerate(fits["component"].values)]
    towers = ("component", [name.rpartition(".")[0] for name in names])
    own = ("model", [""])
    two = fits.assign_coords(component=names, tower=towers, lab=own)
    other = two.assign_coords(model=["other"], lab=("model", ["x"]))
    both = xr.concat([two, other], "model", data_vars="all")
    facets = json.loads(explore(both)._controls)["facets"]
    found = {facet["name"]: (facet["labels"], facet["values"]) for facet in facets}
    assert found["tower"] == (["vision", "(main)"], ["vision", ""])
    assert found["lab"] == (["(none)", "x"], ["", "x"])
    assert all(all(facet["labels"]) for facet in facets)
    assert explore(both, filters={"tower": [""]}).query["component"] == names[1::2]


def test_the_script_has_no_words_of_its_own() -> None:
    """Every text that the scripts ask for is there, and is asked for."""
    script = "".join((STATIC / f"{name}.js").read_text() for name in ("explorer", "page"))
    used = set(re.findall(r"texts\d*\.(\w+)", script)) | {"all", "none", "all_of", "none_of"}
    assert used == set(TEXTS)


def test_one_checkpoint_has_no_trajectories() -> None:
    controls = json.loads(explore(wb.scan({"a": DEMO / "step0"}))._controls)
    assert "trajectories" not in controls["panels"]


def test_checkpoints_name_the_steps_that_are_not_all(fits: xr.Dataset) -> None:
    steps = fits["step"].values.tolist()
    one = json.loads(explore(fits)._checkpoints)
    assert one == {"steps": steps, "models": [["demo", "demo", None]]}
    few = fits.isel(step=[1, 3]).assign_coords(model=["few\x1b"])
    two = json.loads(
        explore(xr.concat([fits, few], "model", data_vars="all", join="outer"))._checkpoints
    )
    assert two["steps"] == steps
    assert two["models"] == [
        ["demo", "demo", None],
        ["few\x1b", "few\\x1b", [steps[1], steps[3]]],
    ]


def test_what_a_screen_reader_says(explorer: Explorer) -> None:
    said = "21 of 105 matrices · rank regression, trim 10–90 %; selected: o_proj of layer 0"
    assert words(explorer)["spoken"] == said
    explorer.selected = [("demo", 1, "o_proj", 7000), ("demo", 2, "up_proj", 7000)]
    assert words(explorer)["spoken"].endswith("; selected: o_proj of layer 1 and 1 more")


def test_what_was_published_is_not_missing() -> None:
    explorer = explore(wb.reference_cohort())
    assert words(explorer)["left_out"] == ""
    assert "lines without points" in str(slot(explorer, "detail"))
    assert "`" not in slot(explorer, "side").get("problem", "")
    explorer.value = "outlier"
    problem = slot(explorer)["problem"]
    assert "Scan the weights: weibnb.scan(path)" in problem
    assert "`fits`" not in problem
    explorer.panel = "compare"
    assert "np.str_" not in slot(explorer, "side").get("problem", "")
    assert "dot: below" not in str(slot(explorer))
    assert "distance 0.00" not in str(slot(explorer, "detail"))


def test_what_is_compared_is_counted(explorer: Explorer) -> None:
    explorer.panel = "compare"
    assert words(explorer)["count"].startswith("42 of 105 matrices compared · ")
    explorer.layers = (1, 1)
    assert words(explorer)["count"].startswith("14 of 105 matrices compared · ")
    explorer.second = explorer.first
    assert words(explorer)["count"].startswith("35 of 105 matrices · ")


def test_the_protocol_is_said_once(explorer: Explorer) -> None:
    """The line above the charts says it, so their titles need not; a file of them has it."""
    assert "trim 10–90 %" in words(explorer)["count"]
    for name in ("main", "side", "detail"):
        assert "rank regression" not in str(slot(explorer, name)["spec"])
        assert "trim 10–90" not in str(slot(explorer, name)["spec"])
    assert "trim 10–90 %" in str(explorer._specs())


def test_a_legend_has_k_alone_where_the_other_numbers_stand_beside_it(explorer: Explorer) -> None:
    explorer.panel = "weibull"
    spec = slot(explorer)["spec"]
    name = next(row["matrix"] for row in rows_of(spec) if row.get("kind") == "line")
    k = words(explorer)["matrices"]["rows"][0][1]
    assert name.split("   λ")[0] == f"o_proj of layer 0:  k {k}"
    assert "split(datum.label, '   λ')[0]" in json.dumps(spec, ensure_ascii=False)


def test_too_many_models_are_told_without_a_call() -> None:
    fits = wb.reference_cohort()
    many = xr.concat(
        [fits.isel(model=[0]).assign_coords(model=[f"m{i}"]) for i in range(500)], "model"
    )
    explorer = explore(many)
    assert "spec" in slot(explorer)
    explorer.filters = {}
    for name, room in (("main", "12 pairs of model and step"), ("side", "6 models")):
        problem = slot(explorer, name)["problem"]
        assert problem.endswith(
            f"it has room for {room}, and the filters leave 500. Choose fewer in them."
        )
    assert "spec" in slot(explorer, "detail")


def test_layers_that_run_backwards_are_shown_as_any_others(fits: xr.Dataset) -> None:
    backwards = fits.isel(layer=slice(None, None, -1))
    drawn = []
    for some in (fits, backwards):
        rows = rows_of(slot(explore(some, layers=(0, 1)), "main")["spec"])
        cells = [row for row in rows if "component" in row]
        drawn.append({(row["layer"], row["component"]): row["k"] for row in cells})
    assert drawn[0]
    assert drawn[0] == drawn[1]
