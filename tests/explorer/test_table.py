"""The table as the page gets it: every matrix, in columns that give back what the fits hold."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.explorer.conftest import from_page

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.charts.layers import layer_map
from weibnb.explorer import table
from weibnb.explorer.labels import COLUMNS
from weibnb.exploring import explore


def unpacked(text: str) -> dict[str, list[Any]]:
    """Read the columns as the page does."""
    return {
        one["name"]: [one["values"][code] for code in one["codes"]]
        if "codes" in one
        else one["values"]
        for one in json.loads(text)["columns"]
    }


@pytest.fixture(scope="module")
def many(fits: xr.Dataset) -> xr.Dataset:
    """Give more matrices than a page can show at once, each with a k of its own."""
    light = fits.drop_vars("counts")
    copies = [light.assign_coords(model=[f"m{i}"]) for i in range(20)]
    whole: xr.Dataset = xr.concat(copies, "model")
    k = np.random.default_rng(0).permutation(np.linspace(0.9, 1.3, whole["k"].size))
    return whole.assign(k=whole["k"].copy(data=k.reshape(whole["k"].shape)))


def test_every_matrix_is_sent_with_its_numbers(many: xr.Dataset) -> None:
    sent = unpacked(table.table_columns(many))
    assert list(sent) == list(COLUMNS)
    assert {len(column) for column in sent.values()} == {many["k"].size} == {2100}
    dims = ("model", "layer", "component", "step")
    for row in range(0, 2100, 97):
        place = {dim: sent[dim][row] for dim in dims}
        held = many.sel(place)
        for name in ("k", "lam", "r2", "ks"):
            assert sent[name][row] == pytest.approx(float(held[name]), rel=1e-6)
        assert sent["k_se"][row] == pytest.approx(float(held["k_se"]), rel=1e-3)
        assert sent["n"][row] == int(held["n"])
    assert min(sent["k"]) == pytest.approx(float(many["k"].min()))


@pytest.mark.parametrize("last", [[], ["model"], ["step"], ["model", "step"]])
def test_what_all_rows_share_stands_last(many: xr.Dataset, last: list[str]) -> None:
    part = many.isel({dim: slice(0, 1) for dim in last})
    names = list(unpacked(table.table_columns(part)))
    assert names == [name for name in COLUMNS if name not in last] + last


def test_a_status_that_is_not_ok_of_all_is_in_sight(many: xr.Dataset) -> None:
    status = many["status"].copy(deep=True)
    status[0, 0, 0, 0] = "constant"
    names = list(unpacked(table.table_columns(many.assign(status=status))))
    others = [name for name in COLUMNS if name != "status"]
    at = others.index("k")
    assert names == [*others[:at], "status", *others[at:]]


def test_few_different_values_are_sent_once(many: xr.Dataset) -> None:
    columns = {one["name"]: one for one in json.loads(table.table_columns(many))["columns"]}
    assert columns["model"]["values"] == [f"m{i}" for i in range(20)]
    assert columns["status"]["values"] == ["ok"]
    assert "codes" not in columns["k"]


def test_what_is_not_known_is_null() -> None:
    weights = {
        f"model.layers.{i}.mlp.up_proj.weight": np.full((32, 32), i, np.float32) for i in range(2)
    }
    text = table.table_columns(wb.scan({"m": weights}))
    assert "NaN" not in text
    assert unpacked(text)["k"] == [None, None]
    assert json.loads(text)["bars"]["reach"] > 0
    published = unpacked(table.table_columns(wb.reference_cohort()))
    assert set(published["k_se"]) == {None}


def test_bars_are_in_the_colours_of_the_map(fits: xr.Dataset) -> None:
    part = fits.isel(step=[-1])
    bars = json.loads(table.table_columns(part))["bars"]
    (scale,) = (
        layer["encoding"]["color"]["scale"]
        for layer in layer_map.spec(part)["layer"]
        if layer["mark"]["type"] == "rect"
    )
    assert bars["colours"] == scale["range"]
    middle = scale["domain"][len(scale["domain"]) // 2]
    assert bars["middle"] == pytest.approx(middle)
    farthest = float(abs(part["k"] - middle).max())
    assert bars["reach"] == pytest.approx(farthest)
    assert bars["largest"] == pytest.approx(float(part["lam"].max()))


def test_a_list_that_no_browser_lays_out_says_what_is_left_out(
    fits: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "_MOST_ROWS", 50)
    text = table.table_columns(fits)
    assert json.loads(text)["total"] == 105
    assert len(unpacked(text)["k"]) == 50


def test_the_order_is_kept_and_sends_no_rows_again(many: xr.Dataset) -> None:
    explorer = explore(many, panel="table")
    before = explorer._rows
    from_page(explorer, order=["k", True])
    assert explorer.order == ("k", True)
    assert explorer._rows is before
    from_page(explorer, selected=[("m3", 0, "q_proj", 7000)])
    assert explorer._rows is before
    from_page(explorer, filters={"model": ["m3"]})
    assert len(unpacked(explorer._rows)["k"]) == 21


def test_hostile_names_are_printable() -> None:
    weights = {"model.layers.0.mlp.up_proj.weight": np.random.default_rng(0).normal(size=(32, 32))}
    assert unpacked(table.table_columns(wb.scan({"a\x1b[31m\n": weights})))["model"] == [
        "a\\x1b[31m\\n"
    ]
