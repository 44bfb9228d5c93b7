"""Tables of fits: one row per matrix or component, whatever was selected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

import weibnb as wb
from tests.hostile import SCRIPT, UP, Q, hostile, normal
from weibnb.fits.tables import component_table, tidy

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    return wb.scan(hostile())


@pytest.mark.parametrize("experts", ["median", "each"])
def test_tidy_has_a_row_for_each_present_matrix(experts: Any) -> None:
    fits = wb.scan(hostile(), experts=experts)
    rows = tidy(fits)
    assert len(rows) == int((fits["status"] != "absent").sum())
    assert not rows.duplicated(list(map(str, fits["k"].dims))).any()
    assert not {"counts", "quantile", "magnitude_quantile"} & set(rows.columns)
    names = ["k", "k_se", "lam", "r2", "n", "rms", "status", "dtype", "parameter", "weight_class"]
    for row in rows.to_dict("records"):
        cell = fits.sel({str(dim): row[str(dim)] for dim in fits["k"].dims})
        for name in names:
            np.testing.assert_equal(row[name], cell[name].item())


def test_one_cell_is_a_row(run: xr.Dataset) -> None:
    cell = run.sel(model=SCRIPT, step=10, layer=0, component="q_proj")
    assert tidy(cell)["k"].tolist() == [cell["k"].item()]


@pytest.mark.parametrize(
    "chosen",
    [{"step": 10}, {"model": SCRIPT}, {"component": "q_proj"}, {"layer": 1}],
    ids=lambda chosen: next(iter(chosen)),
)
@pytest.mark.parametrize("function", [tidy, component_table])
def test_a_dropped_dim_is_a_dim_with_one_label(
    run: xr.Dataset, function: Callable[[xr.Dataset], pd.DataFrame], chosen: dict[str, Any]
) -> None:
    kept = run.sel({dim: [label] for dim, label in chosen.items()})
    pd.testing.assert_frame_equal(function(run.sel(chosen)), function(kept), check_like=True)


def test_component_table_has_a_row_for_each_step(run: xr.Dataset) -> None:
    every = component_table(run)
    assert every.index.names == ["model", "step", "component"]
    assert every.loc[SCRIPT].index.get_level_values("step").unique().tolist() == [0, 10]
    one = component_table(run.sel(step=[0]))
    kept = every[every.index.get_level_values("step") == 0]
    pd.testing.assert_frame_equal(kept, one)


def test_component_table_is_in_the_order_of_a_layer() -> None:
    weights = {UP.format(i): normal(40, 24, seed=i) for i in range(3)}
    weights |= {Q.format(i): normal(24, 24, seed=i) for i in range(3)}
    fits = wb.scan({"tiny": weights})
    table = component_table(fits)
    assert table.index.get_level_values("component").tolist() == ["q_proj", "up_proj"]
    assert table["matrices"].tolist() == [3, 3]
    k = fits["k"].sel(component="up_proj")
    expected = [k.min().item(), k.median().item(), k.max().item()]
    assert table[["k_min", "k", "k_max"]].iloc[1].tolist() == expected


@pytest.mark.parametrize("function", [tidy, component_table])
def test_what_is_no_fits_is_refused(run: xr.Dataset, function: Callable[[Any], object]) -> None:
    others: list[Any] = [None, {}, run["k"], tidy(run)]
    for wrong in others:
        with pytest.raises(TypeError, match="Dataset of fits"):
            function(wrong)
    with pytest.raises(ValueError, match="lacks lam, status"):
        function(run[["k"]])
