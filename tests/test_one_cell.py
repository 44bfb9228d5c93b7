"""Fits of one cell, with its dims or without them: every verb says the same of both."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import weibnb as wb
from tests.scanning.helpers import EXPERT, normal, write
from tests.test_accessor import VERBS
from weibnb import charts
from weibnb.explorer.widget import Explorer

# What verbs need beside the fits.
NEEDED: dict[str, tuple[Any, ...]] = {
    "keep_status": (["ok"],),
    "keep_cells": ([("m", 0, "up_proj", 0)],),
    "paired_growth": ("up_proj", "up_proj"),
    "save": ("fits.nc",),
    "write_report": ("fits.csv",),
}
# Charts of any fits: not that of one matrix, nor that of steps.
CHARTS = {
    name: chart.spec
    for name, chart in ((name, getattr(charts, name)) for name in dir(charts))
    if name not in ("matrix", "table", "trajectories")
    and next(iter(inspect.signature(chart.spec).parameters)) == "fits"
}
FIRST = {"model": 0, "layer": 0, "component": 0, "step": 0}


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    weights = {f"model.layers.{i}.mlp.up_proj.weight": normal(48, 40, seed=i) for i in range(2)}
    return wb.scan({"m": write(tmp_path_factory.mktemp("model"), weights)}, fields=True)


@pytest.fixture(params=["dense", "experts"])
def either(request: pytest.FixtureRequest, fits: xr.Dataset) -> xr.Dataset:
    """Fits whose cells hold the counts of one matrix, or of several."""
    if request.param == "dense":
        return fits
    return wb.scan(
        {"m": {EXPERT.format(0, i, "up_proj"): normal(48, 40, seed=i) for i in range(2)}}
    )


def both(fits: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    """Give a cell with its dims and without."""
    return fits.isel({dim: [at] for dim, at in FIRST.items()}), fits.isel(FIRST)


def told(thing: Any) -> Any:
    """Everything that a result says, whatever dims of size 1 it has."""
    if isinstance(thing, xr.Dataset):
        return {str(name): told(thing[name]) for name in thing.data_vars}
    if isinstance(thing, xr.DataArray):
        return repr(thing.values.ravel().tolist())
    if isinstance(thing, pd.DataFrame):
        return {name: repr(column.tolist()) for name, column in thing.items()}
    if isinstance(thing, Explorer):
        return told(thing.fits)
    if isinstance(thing, Path):
        return told(wb.open_fits(thing) if thing.suffix == ".nc" else pd.read_csv(thing))
    return str(thing)


def outcome(function: Any, *arguments: Any) -> Any:
    """Give what a function says, or why it refuses."""
    try:
        return told(function(*arguments))
    except (TypeError, ValueError) as err:
        return f"{type(err).__name__}: {err}"


def same(one: Any, other: Any) -> None:
    """Compare two outcomes; of tables the columns that both have, which hold what was found."""
    if isinstance(one, dict) and isinstance(other, dict):
        shared = one.keys() & other.keys()
        assert "k" in shared or one.keys() == other.keys()
        one, other = ({name: each[name] for name in shared} for each in (one, other))
    assert one == other


@pytest.mark.filterwarnings("ignore:weibnb.compare is:FutureWarning")
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_the_same_of_a_cell_without_dims(
    fits: xr.Dataset, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    needed = NEEDED.get(verb, ())
    same(*(outcome(getattr(one.weibull, verb), *needed) for one in both(fits)))


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_shows_the_same_of_a_cell_without_dims(fits: xr.Dataset, name: str) -> None:
    same(*(outcome(CHARTS[name], one) for one in both(fits)))


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
def test_a_cell_without_dims_is_fitted_again(either: xr.Dataset, estimator: Any) -> None:
    one, bare = (
        wb.refit(part, trim=(0.2, 0.8), estimator=estimator).assign_attrs(created="")
        for part in both(either)
    )
    assert bare["k"].dims == ()
    assert np.isfinite(bare["k"].item())
    assert bare["k"].item() != either["k"].isel(FIRST).item()
    xr.testing.assert_identical(bare, one.isel(FIRST))


def test_a_cell_without_dims_that_was_counted_and_no_more(either: xr.Dataset) -> None:
    pending = either.assign(status=xr.full_like(either["status"], "pending"), rms=either["rms"] * 0)
    again = wb.refit(pending.isel(FIRST))
    for name in ("k", "rms", "status"):
        assert again[name].item() == either[name].isel(FIRST).item()
