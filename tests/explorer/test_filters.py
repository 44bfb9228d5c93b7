"""Filters against a table made by pandas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from weibnb.explorer.filters import Cells, Choice, standing_out

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

DEMO = Path(wb.__file__).parent / "data" / "demo"


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    rng = np.random.default_rng(0)
    small = {
        f"model.layers.{layer}.self_attn.{name}_proj.weight": rng.normal(size=(16, 16))
        for layer in range(2)
        for name in "qo"
    }
    small["model.layers.1.self_attn.o_proj.weight"] = np.zeros((16, 16))
    whole = wb.scan({"demo": DEMO, "small": small})
    return whole.assign_coords(width=("model", [128, 16]), optimiser=("model", ["adamw", "sgd"]))


@pytest.fixture(scope="module")
def table(fits: xr.Dataset) -> pd.DataFrame:
    return wb.tidy(fits)


@pytest.fixture(scope="module")
def cells(fits: xr.Dataset) -> Cells:
    return Cells.of(fits.drop_vars("counts"))


def test_what_stands_out_is_surely_far_from_a_gaussian() -> None:
    """Not the first, not the farthest alone, and not the one with the smallest error."""
    rng = np.random.default_rng(0)
    name = "model.layers.{}.mlp.up_proj.weight"
    weights = {name.format(i): rng.normal(size=(256, 256)) for i in range(4)}
    weights[name.format(1)] = rng.laplace(size=(256, 256))
    weights[name.format(3)] = rng.laplace(size=(10, 10)) ** 3
    fits = wb.scan({"m": weights}, structure=False)
    k = fits["k"].values.ravel()
    noisy = fits.assign(k_se=fits["k_se"].where(fits["layer"] != 3, 1.0))
    assert abs(k - 1.2054).argmax() == 3
    everything = Cells.of(noisy)
    kept = np.ones(4, bool)
    assert standing_out(everything, noisy, kept, 0) == ("m", 1, "up_proj", 0)
    kept[1] = False
    assert standing_out(everything, noisy, kept, 0)[1] in (0, 2)


def test_every_matrix_once(cells: Cells, table: pd.DataFrame) -> None:
    assert len(cells.places) == len(table) == 3 * 7 * 5 + 4


def test_facets(cells: Cells) -> None:
    assert list(cells.facets)[:4] == ["model", "weight_class", "component", "status"]
    assert {"width", "optimiser"} <= set(cells.facets)
    assert "step" not in cells.facets
    assert cells.facets["width"].values == {"128": 128, "16": 16}


def kept(cells: Cells, choice: Choice) -> int:
    return int(cells.passing(cells.masks(choice)).sum())


def test_masks_agree_with_the_table(cells: Cells, table: pd.DataFrame) -> None:
    choice = Choice({"component": ("q_proj", "o_proj"), "width": ("128",)}, (1, 2))
    rows = table["component"].isin(["q_proj", "o_proj"]) & (table["width"] == 128)
    rows &= table["layer"].between(1, 2)
    assert kept(cells, choice) == rows.sum() > 0
    assert kept(cells, replace(choice, step=500)) == (rows & (table["step"] == 500)).sum() > 0


def test_query_selects_the_same(cells: Cells, fits: xr.Dataset) -> None:
    choice = Choice({"optimiser": ("adamw",), "weight_class": ("selection",)}, (0, 1), 500)
    query = cells.query(choice)
    assert query == {
        "model": ["demo"],
        "layer": slice(0, 1),
        "component": ["q_proj", "k_proj"],
        "step": [500],
    }
    assert (fits.sel(query)["status"] != "absent").sum() == kept(cells, choice)
    assert cells.query(Choice({}, cells.layer_range)) == {}


def test_counts_lift_the_own_filter(cells: Cells, table: pd.DataFrame) -> None:
    masks = cells.masks(Choice({"component": ("q_proj",)}, cells.layer_range, 0))
    counts = cells.counts(masks)
    at_first = table[table["step"] == 0]
    for label, number in zip(cells.facets["component"].labels, counts["component"], strict=True):
        assert number == (at_first["component"] == label).sum()
    own = at_first[at_first["component"] == "q_proj"]
    for label, number in zip(cells.facets["model"].labels, counts["model"], strict=True):
        assert number == (own["model"] == label).sum()


def test_why_empty(cells: Cells) -> None:
    def why(**kept: tuple[str, ...]) -> list[str]:
        return cells.why_empty(cells.masks(Choice(kept, cells.layer_range, 0)))

    assert why(component=("q_proj",)) == []
    assert why(component=()) == ["Components excludes every matrix."]
    lines = why(status=("all_zero",), component=("q_proj",))
    assert lines[0] == "No matrix passes Status, Components, Step together."
    assert "Without the filter Components: 1." in lines
    assert all("Without the filter Step" not in line for line in lines)


def test_unknown_filters(cells: Cells) -> None:
    with pytest.raises(ValueError, match=r"`filters` must be one of .*Did you mean 'component'"):
        cells.check({"componen": ["q_proj"]})
    with pytest.raises(ValueError, match=r"`filters\['component'\]` must be one of"):
        cells.check({"component": ["q"]})
    assert cells.check({"component": ["o_proj", "q_proj"], "model": ["small", "demo"]}) == {
        "component": ("q_proj", "o_proj")
    }


def test_nothing_there(fits: xr.Dataset) -> None:
    none = Cells.of(fits.drop_vars("counts").isel(layer=[]))
    assert none.why_empty({}) == ["These fits hold no matrix."]
    assert none.layer_range == (0, 0)


def test_find(cells: Cells) -> None:
    every = np.ones(len(cells.places), bool)
    assert all(cells.find([cells.cell(i)], every) == [cells.cell(i)] for i in range(len(every)))
    first = np.arange(len(every)) == 0
    assert cells.find([cells.cell(1)], first) == []
    assert cells.find([("demo", 9, "q_proj", 0), ("no", 0, "q_proj", 0)], every) == []


def test_a_median_over_layers_means_the_nearest(cells: Cells) -> None:
    every = np.ones(len(cells.places), bool)
    assert cells.find([("demo", 1.4, "q_proj", 0)], every) == [("demo", 1, "q_proj", 0)]
    assert cells.find([("demo", 1.6, "q_proj", 0)], every) == [("demo", 2, "q_proj", 0)]
