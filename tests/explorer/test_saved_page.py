"""What a page that is saved holds, against what the explorer shows at each step."""

from __future__ import annotations

import json
import re
import zlib
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.explorer.conftest import rows_of, slot, with_rows, words
from weibnb.explorer import saved_page
from weibnb.explorer.labels import NO_REFIT, NONE_FITTED, STAYS_OF_EXPERTS
from weibnb.exploring import explore

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.explorer.widget import Explorer


def unpacked(text: str) -> Any:
    return json.loads(zlib.decompress(b64decode(text)))


def held_in(explorer: Explorer, where: Path) -> dict[str, Any]:
    """Save a page, and read what it holds."""
    text = explorer.save(where / "view.html").read_text()
    found = re.search(r'<script type="application/json" id="saved">(.*?)</script>', text)
    assert found is not None
    held: dict[str, Any] = json.loads(found[1])
    held["cells"] = unpacked(held["cells"])
    for step, packed in held["frames"].items():
        frame = held["frames"][step] = unpacked(packed)
        frame["charts"] = {slot: with_rows(chart) for slot, chart in frame["charts"].items()}
        frame["plot"] = frame["plot"] and with_rows(frame["plot"])
        if frame.get("profile"):
            frame["profile"] = with_rows(frame["profile"])
    return held


def test_each_step_is_what_the_explorer_shows_there(
    explorer: Explorer, fits: xr.Dataset, tmp_path: Path
) -> None:
    explorer.trim = (0.05, 0.95)
    explorer.selected = [("demo", 1, "q_proj", 7000)]
    held = held_in(explorer, tmp_path)
    steps = fits["step"].values.tolist()
    assert list(held["frames"]) == [str(step) for step in steps]
    assert held["checkpoints"]["steps"] == steps
    assert held["note"] == ""
    assert held["state"]["step"] == 7000
    for step in steps:
        explorer.step = step
        frame = held["frames"][str(step)]
        assert frame["chosen"] == [["demo", 1, "q_proj", step]] == words(explorer)["chosen"]
        assert frame["matrices"] == words(explorer)["matrices"]
        assert frame["listed"] == frame["chosen"]
        for name in ("main", "side", "detail"):
            shown = frame["charts"][name]
            assert {key: shown[key] for key in ("spec", "label")} == slot(explorer, name)
    last = held["frames"]["7000"]["charts"]
    assert last["main"]["plain"] == "Weibull shape k"
    for name in ("main", "side"):
        title = last[name]["spec"]["title"]
        assert last[name]["plain"] in (title["text"], title["subtitle"][0])


def test_every_matrix_has_its_labels_and_counts(fits: xr.Dataset, tmp_path: Path) -> None:
    explorer = explore(fits, filters={"weight_class": ["selection"]}, layers=(1, 2))
    held = held_in(explorer, tmp_path)
    cells = held["cells"]
    assert {name for name, *_ in cells["facets"].items()} == {"component"}
    names = [facet["labels"] for facet in held["controls"]["facets"]]
    assert names == [["q_proj", "k_proj"]]
    at = np.array(cells["places"])
    labels = [np.array(some)[place] for some, place in zip(cells["labels"], at, strict=True)]
    assert len(at.T) == 2 * 2 * fits.sizes["step"]
    assert set(labels[1].tolist()) == {1, 2}
    component = np.array(["q_proj", "k_proj"])[cells["facets"]["component"]]
    assert (component == labels[2]).all()
    assert held["live"]["header"]["kind"] == "bins"
    assert held["live"]["header"]["dims"]["step"] == fits["step"].values.tolist()


def test_of_many_steps_some_with_both_ends_and_the_one_that_is_shown(
    fits: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = fits["step"].values.tolist()
    monkeypatch.setattr(saved_page, "_MOST_STEPS", 2)
    held = held_in(explore(fits, step=steps[1]), tmp_path)
    assert held["checkpoints"]["steps"] == [steps[0], steps[1], steps[-1]]
    assert held["note"] == "3 of 5 steps in this page"
    monkeypatch.setattr(saved_page, "_MOST_MATRICES", 21)
    held = held_in(explore(fits, step=steps[1]), tmp_path)
    assert list(held["frames"]) == [str(steps[1])]
    assert held["note"] == "1 of 5 steps in this page"


def test_counts_that_are_too_many_are_those_of_one_step_or_none(
    fits: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = held_in(explore(fits), tmp_path)["live"]
    limit = 3 * len(whole["data"]) // 4 // 2
    monkeypatch.setattr(saved_page, "_MOST_BYTES", limit)
    one = held_in(explore(fits), tmp_path)["live"]
    assert one["header"]["kind"] == "bins"
    assert one["header"]["dims"]["step"] == [7000]
    monkeypatch.setattr(saved_page, "_MOST_BYTES", 10)
    assert held_in(explore(fits), tmp_path)["live"] is None
    assert held_in(explore(fits.drop_vars("counts")), tmp_path)["live"] is None


def test_what_shows_several_steps_has_the_counts_of_all_that_it_draws_or_says_why_not(
    fits: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = held_in(explore(fits, panel="trajectories"), tmp_path)["live"]
    assert whole["header"]["dims"]["step"] == fits["step"].values.tolist()
    monkeypatch.setattr(saved_page, "_MOST_BYTES", 3 * len(whole["data"]) // 4 // 2)
    held = held_in(explore(fits, panel="trajectories"), tmp_path)
    assert held["live"] is None
    assert held["stays"].startswith("Trim and estimator need Python here: this page has room for")
    compared = held_in(explore(fits, panel="compare"), tmp_path)
    assert compared["live"]["header"]["dims"]["step"] == [0, 7000]
    assert compared["stays"] == ""
    experts = xr.concat([fits] * 2, "expert").assign_coords(expert=[0, 1])
    for panel in ("trajectories", "overview"):
        held = held_in(explore(experts, panel=panel), tmp_path)
        assert (held["live"], held["stays"]) == (None, STAYS_OF_EXPERTS)
    held = held_in(explore(fits.drop_vars("counts"), panel="compare"), tmp_path)
    assert (held["live"], held["stays"]) == (None, NO_REFIT)


def test_both_models_that_are_compared_have_counts_whatever_the_filter_says(
    fits: xr.Dataset, tmp_path: Path
) -> None:
    two = xr.concat([fits, fits.assign_coords(model=["other"])], "model", join="outer")
    explorer = explore(two, panel="compare", filters={"model": ["demo"]})
    explorer.first, explorer.second = ("demo", 7000), ("other", 7000)
    dims = held_in(explorer, tmp_path)["live"]["header"]["dims"]
    assert dims["model"] == ["demo", "other"]
    assert dims["step"] == [7000]


@pytest.mark.parametrize("panel", ["classes", "trajectories", "compare", "weibull", "table"])
def test_what_only_python_makes_anew_is_not_filtered_and_the_page_says_why(
    explorer: Explorer, tmp_path: Path, panel: str
) -> None:
    explorer.panel = panel
    held = held_in(explorer, tmp_path)
    assert held["state"]["panel"] == panel
    assert set(next(iter(held["frames"].values()))["charts"]) == set(explorer._charts)
    filtered = panel != "weibull"
    assert bool(held["controls"]["facets"]) == filtered
    said = held["controls"].get("unfiltered", "")
    assert said.startswith("Filters need Python here") == (not filtered)
    assert held["live"]["header"]["kind"] == "bins"
    assert held["stays"] == ""
    if panel == "trajectories":
        (frame,) = held["frames"].values()
        for name in ("main", "side"):
            title = frame["charts"][name]["spec"]["title"]
            assert frame["charts"][name]["plain"] in (title["text"], title["subtitle"][0])


def test_a_component_along_the_layers_is_in_the_rows_of_the_map(
    explorer: Explorer, fits: xr.Dataset, tmp_path: Path
) -> None:
    explorer.selected = [("demo", 0, "q_proj", 7000)]
    (*_, frame) = held_in(explorer, tmp_path)["frames"].values()
    explorer.selected = [("demo", 0, "up_proj", 7000)]
    spec, shown = slot(explorer, "side")["spec"], frame["profile"]["spec"]
    expected = spec["datasets"][spec["data"]["name"]]
    rows = [
        row for row in rows_of(frame["charts"]["main"]["spec"]) if row["component"] == "up_proj"
    ]
    assert len(rows) == len(expected) == fits.sizes["layer"]
    for row, drawn in zip(rows, expected, strict=True):
        ends = {"low": row["k"] - row["k_se"], "high": row["k"] + row["k_se"]}
        for name, value in drawn.items():
            assert (row | ends)[name] == (value if isinstance(value, str) else pytest.approx(value))
    assert shown["datasets"][shown["data"]["name"]] == []
    assert shown["layer"] == spec["layer"]
    assert shown["title"]["text"] in (spec["title"]["text"], *spec["title"]["subtitle"])


def test_a_map_of_medians_has_no_rows_of_a_component(fits: xr.Dataset, tmp_path: Path) -> None:
    layers = np.arange(300)
    last = fits.isel(step=[-1], layer=layers % 3).assign_coords(layer=layers)
    (frame,) = held_in(explore(last), tmp_path)["frames"].values()
    assert frame["profile"] is None
    (frame,) = held_in(explore(last.isel(layer=slice(200))), tmp_path)["frames"].values()
    assert frame["profile"] is not None
    expert = xr.concat([fits.isel(step=[-1])] * 2, "expert").assign_coords(expert=[0, 1])
    (frame,) = held_in(explore(expert), tmp_path)["frames"].values()
    assert frame["profile"] is None
    (frame,) = held_in(explore(fits, panel="compare"), tmp_path)["frames"].values()
    assert "profile" not in frame


def test_classes_that_leave_layers_out_are_not_filtered(fits: xr.Dataset, tmp_path: Path) -> None:
    layers = np.arange(700)
    many = fits.isel(step=[-1], layer=layers % 3).assign_coords(layer=layers)
    held = held_in(explore(many, panel="classes"), tmp_path)
    assert held["controls"]["facets"] == []
    assert "not all in this page" in held["controls"]["unfiltered"]
    held = held_in(explore(many.isel(layer=slice(300)), panel="classes"), tmp_path)
    assert held["controls"]["facets"]
    experts = xr.concat([fits.isel(step=[-1])] * 2, "expert").assign_coords(expert=[0, 1])
    held = held_in(explore(experts, panel="classes"), tmp_path)
    assert held["controls"]["facets"]
    assert held["live"] is None


def test_beside_the_plot_of_several_matrices_there_is_that_of_one(
    explorer: Explorer, tmp_path: Path
) -> None:
    two = [("demo", 1, "q_proj", 7000), ("demo", 0, "up_proj", 7000)]
    explorer.selected = two[:1]
    (*_, alone) = held_in(explorer, tmp_path)["frames"].values()
    assert alone["plot"] is None
    explorer.selected = two
    (*_, several) = held_in(explorer, tmp_path)["frames"].values()
    assert several["plot"] == alone["charts"]["detail"] != several["charts"]["detail"]


def test_nothing_left_is_a_page_without_charts(explorer: Explorer, tmp_path: Path) -> None:
    explorer.filters = {"component": ()}
    held = held_in(explorer, tmp_path)
    assert all(frame["charts"] == {} for frame in held["frames"].values())
    assert held["cells"]["places"] == [[], [], [], []]


def test_of_matrices_that_cannot_be_fitted_the_page_says_so(tmp_path: Path) -> None:
    name = "model.layers.{}.mlp.up_proj.weight"
    none = wb.scan({"m": {name.format(i): np.full((8, 8), np.nan) for i in range(2)}})
    held = held_in(explore(none), tmp_path)
    assert (held["live"], held["stays"]) == (None, NONE_FITTED)


def test_published_entries_whose_steps_are_words(tmp_path: Path) -> None:
    held = held_in(explore(wb.reference_cohort()), tmp_path)
    assert held["live"] is None
    assert len(held["frames"]) == 1


def test_a_page_of_many_matrices_is_light(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parts = [f"self_attn.{name}_proj" for name in "qkvo"]
    parts += [f"mlp.{name}_proj" for name in ("gate", "up", "down")]
    weights = {
        f"model.layers.{layer}.{part}.weight": rng.normal(size=(64, 64)).astype("f2")
        for layer in range(285)
        for part in parts
    }
    explorer = explore(wb.scan({"model": weights}, progress=False))
    page = explorer.save(tmp_path / "view.html")
    shown = held_in(explorer, tmp_path)["frames"]["0"]["charts"]["main"]
    assert len(shown["spec"]["datasets"]["rows0"]) == 1_995
    assert page.stat().st_size < 1_500_000
