"""What the panels draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.explorer.widget import Explorer


def test_overlay_of_cells_that_are_no_box(explorer: Explorer) -> None:
    cells = [["demo", 0, "q_proj", 7000], ["demo", 2, "up_proj", 7000]]
    explorer.selected = cells
    explorer.panel = "weibull"
    text = explorer._main
    assert "q_proj of layer 0" in text
    assert "up_proj of layer 2" in text
    assert "up_proj of layer 0" not in text
    assert "keep_cells" in explorer.code


def test_more_cells_than_a_plot_holds(explorer: Explorer) -> None:
    explorer.panel = "weibull"
    components = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
    explorer.selected = [("demo", layer, c, 7000) for layer in range(3) for c in components]
    assert "problem" not in slot(explorer)
    assert len(words(explorer)["chosen"]) == 15
    assert "12 of 15" in words(explorer)["left_out"]


def test_many_models_have_trajectories_by_class() -> None:
    explorer = explore(wb.load_cohort("stdlib"), panel="trajectories")
    assert "by='weight_class'" in explorer.code
    assert "spec" in slot(explorer)
    explorer.filters = {"model": ["gqa", "seed1"]}
    assert "by=" not in explorer.code
    assert "spec" in slot(explorer)


def test_experts() -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.{layer}.block_sparse_moe.experts.{e}.w1.weight": rng.normal(size=(16, 16))
        for layer in range(2)
        for e in range(16)
    }
    for experts in ("median", "each"):
        explorer = explore(wb.scan({"moe": weights}, experts=experts))
        for name in ("main", "detail", "side"):
            assert "spec" in slot(explorer, name), slot(explorer, name)


def test_a_chart_that_cannot_be_drawn_leaves_the_others(fits: xr.Dataset) -> None:
    explorer = explore(fits, trim=(0.2, 0.8), panel="compare")
    assert "spec" in slot(explorer)
    assert "trim" in slot(explorer, "detail")["problem"]
