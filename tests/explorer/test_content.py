"""What the page is sent."""

from __future__ import annotations

import json
import re

import pytest

import weibnb as wb
from tests.explorer.conftest import DEMO, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from typing import TYPE_CHECKING

from weibnb.explorer.export import STATIC
from weibnb.explorer.labels import TEXTS
from weibnb.exploring import explore

if TYPE_CHECKING:
    from weibnb.explorer.widget import Explorer


def test_every_choice_has_a_name(explorer: Explorer) -> None:
    controls = json.loads(explorer._controls)
    assert list(controls["panels"]) == list(explorer.traits()["panel"].values)
    for name in ("value", "band", "track", "step_scale", "estimator"):
        assert list(controls["choices"][name]) == list(explorer.traits()[name].values)
    offered = {name for panel in controls["panels"].values() for name in panel["options"]}
    assert offered == set(controls["options"]) <= set(explorer.trait_names())


def test_the_script_has_no_words_of_its_own() -> None:
    """Every text that the script asks for is there, and is asked for."""
    script = (STATIC / "explorer.js").read_text()
    used = set(re.findall(r"texts\d*\.(\w+)", script)) | {"all", "none", "all_of", "none_of"}
    assert used == set(TEXTS)


def test_one_checkpoint_has_no_trajectories() -> None:
    controls = json.loads(explore(wb.scan({"a": DEMO / "step0"}))._controls)
    assert "trajectories" not in controls["panels"]
    assert controls["pairs"] == [[["a", 0], "a"]]


def test_what_a_screen_reader_says(explorer: Explorer) -> None:
    said = "21 of 105 matrices · rank regression, trim 10–90 %; selected: q_proj of layer 0"
    assert words(explorer)["spoken"] == said
    explorer.selected = [("demo", 1, "o_proj", 7000), ("demo", 2, "up_proj", 7000)]
    assert words(explorer)["spoken"].endswith("; selected: o_proj of layer 1 and 1 more")
