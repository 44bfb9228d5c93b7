"""Stores of many records: read when asked for, thinned, and one record at a time."""

from __future__ import annotations

import copy
import pickle
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import change, normal
from weibnb.fits import store_reading
from weibnb.fits.build import estimate
from weibnb.fits.store import Store
from weibnb.fits.store_reading import open_store
from weibnb.fits.store_thinning import keeps_counts
from weibnb.io.sources import Planned
from weibnb.scanning.matrices import list_matrices

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.fits.build import Matrix

PROTOCOL: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression"}
Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"
STEPS = 9


def state(step: int) -> dict[str, Any]:
    """Weights of a step; q of layer 1 is never there, up of layer 0 is all zero at step 3."""
    weights = {Q.format(0): normal(24, 24, seed=step), UP.format(0): normal(24, 20, seed=step)}
    weights[UP.format(1)] = normal(24, 20, seed=step + 50)
    weights["model.norm.weight"] = normal(24)
    if step == 3:
        weights[UP.format(0)] = np.zeros((24, 20), np.float16)
    return weights


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A store of a run."""
    path = tmp_path / "run.db"
    wb.scan({"run": {step: state(step) for step in range(STEPS)}}, store=path, progress=False)
    return path


@pytest.fixture
def lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let even a few matrices be many."""
    monkeypatch.setattr(store_reading, "AT_ONCE", 0)


def on_disk(fits: xr.Dataset) -> set[str]:
    """Names of the variables that were not read yet."""
    return {str(name) for name, array in fits.data_vars.items() if not array._in_memory}


def test_many_matrices_are_read_when_asked_for_and_are_the_same(run: Path, lazy: None) -> None:
    del lazy
    fits = wb.open_fits(run)
    assert {"k", "rms", "status", "magnitude_quantile", "counts", "parameter"} <= on_disk(fits)
    expected = wb.scan({"run": {step: state(step) for step in range(STEPS)}}, progress=False)
    assert fits.attrs.pop("created") >= "2" < expected.attrs.pop("created")
    xr.testing.assert_identical(fits.load(), expected)


def test_at_once_and_later_are_the_same(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = wb.open_fits(run)
    assert on_disk(at_once) == {"counts"}
    monkeypatch.setattr(store_reading, "AT_ONCE", 0)
    xr.testing.assert_identical(wb.open_fits(run).load(), at_once.load())


@pytest.mark.parametrize(
    "chosen",
    [
        {"step": -1},
        {"step": [5, 3, 3], "layer": 0},
        {"component": 1, "layer": slice(None, None, -1)},
        {"step": [], "model": 0},
        {"quantile": [2, 0], "step": slice(2, 5)},
    ],
    ids=str,
)
def test_any_selection_is_that_of_the_whole(run: Path, lazy: None, chosen: Any) -> None:
    del lazy
    whole = wb.open_fits(run).load()
    part = wb.open_fits(run).isel(chosen)
    xr.testing.assert_identical(part.load(), whole.isel(chosen))


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda fits: pickle.loads(pickle.dumps(fits))],  # noqa: S301
)
def test_copies_read_the_same(run: Path, lazy: None, again: Any) -> None:
    del lazy
    xr.testing.assert_identical(again(wb.open_fits(run)).load(), wb.open_fits(run).load())


def test_what_was_read_is_kept_and_other_functions_take_it(run: Path, lazy: None) -> None:
    del lazy
    fits = wb.open_fits(run)
    assert fits["k"].isel(step=2).notnull().sum() == 3
    fits["k"].load()
    change(run, "DELETE FROM estimates")
    assert int(fits["k"].notnull().sum()) == 3 * STEPS - 1
    with pytest.raises(wb.FitsError, match="changed since it was opened"):
        fits["rms"].load()


def test_functions_take_fits_that_are_not_read_yet(run: Path, lazy: None) -> None:
    del lazy
    assert len(wb.tidy(wb.open_fits(run))) == 3 * STEPS
    assert "all_zero" in wb.not_fitted(wb.open_fits(run))["reason"].tolist()
    wider = wb.refit(wb.open_fits(run), trim=(0.2, 0.8))
    assert int(wider["k"].notnull().sum()) == 3 * STEPS - 1


def test_experts_are_read_at_once(tmp_path: Path, lazy: None) -> None:
    """A cell of many experts is a median, which needs them all."""
    del lazy
    weights = {
        f"model.layers.0.mlp.experts.{i}.up_proj.weight": normal(20, 20, seed=i) for i in range(3)
    }
    scanned = wb.scan({"moe": weights}, store=tmp_path / "a.db", progress=False)
    assert on_disk(scanned) == {"counts"}
    assert scanned["n_matrices"].item() == 3


def test_damage_is_named_when_it_is_read(run: Path, lazy: None) -> None:
    del lazy
    change(run, "UPDATE estimates SET numbers = substr(numbers, 1, length(numbers) - 3)")
    fits = wb.open_fits(run)
    with pytest.raises(wb.FitsError, match="variable `estimates`: packed columns are damaged"):
        fits["k"].load()


def test_some_records_are_opened_alone(run: Path) -> None:
    whole = wb.open_fits(run)
    keys = {("run", 7), ("run", 2), ("run", 99), ("other", 2)}
    some = open_store(run, keys=keys)
    xr.testing.assert_identical(some.load(), whole.isel(step=[2, 7]).load())


@cache
def record() -> tuple[Any, list[Matrix], dict[str, Any]]:
    """One record: what it is of, its matrices, and columns of their estimates."""
    planned = list_matrices(Planned("run", 0, state(1)))
    counted = [
        replace(m, status="ok", counts=wb.count_magnitudes(state(1)[m.parameter]))
        for m in planned.matrices()
    ]
    columns = estimate(counted, **PROTOCOL, workers=1)
    columns["line_covariance"][:] = 1.0
    return planned.source, planned.matrices(), columns


class Recording:
    """Puts records into a thinned store, as a recorder does."""

    def __init__(self, path: Path, thin_beyond: int | None) -> None:
        options: Any = {"experts": "median", "keep_counts": True, "fields": False}
        self.store = Store(path, **PROTOCOL, **options, thin_beyond=thin_beyond)

    def record(self, step: int) -> None:
        source, matrices, columns = record()
        self.store.begin(replace(source, step=step), matrices, rescan=True)
        self.store.add(columns | {"step": np.full_like(columns["step"], step)})


def kept(path: Path) -> list[int]:
    """Steps that have counts."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT DISTINCT step FROM counts JOIN checkpoint ON checkpoint.id = checkpoint"
        return sorted(step for (step,) in connection.execute(query))


def test_a_thinned_store_keeps_counts_of_log_spaced_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their steps are; of the others it lets go step by step, as further ones come."""
    path = tmp_path / "run.db"
    recording = Recording(path, thin_beyond=8)
    for number in range(8):
        recording.record(100 * number)
    assert kept(path) == [100 * number for number in range(8)]
    before = wb.open_fits(path)
    monkeypatch.setattr(store_reading, "AT_ONCE", 0)
    later = wb.open_fits(path)
    recording.record(800)
    assert kept(path) == [100 * number for number in (0, 1, 2, 4, 6, 7, 8)]
    for number in range(9, 18):
        recording.record(100 * number)
    recording.store.close()
    expected = [100 * number for number in range(18) if keeps_counts(number)]
    assert kept(path) == expected == [0, 100, 200, 400, 800, 1600]
    fits = wb.open_fits(path)
    assert fits.attrs["counts_kept"] == "6 of 18 records, log-spaced"
    assert int(fits["k"].notnull().sum()) == 3 * 18
    there = np.vectorize(lambda one: one.labels.size > 0)(fits["counts"].values)
    assert there.any((0, 1, 2)).tolist() == [100 * n in expected for n in range(18)]
    known = fits["line_covariance"].notnull().any(("model", "layer", "component", "pair"))
    assert not known.sel(step=[s for s in fits["step"].values if s not in expected]).any()
    with pytest.raises(wb.FitsError, match="changed since it was opened"):
        before["counts"].isel(step=3).load()
    with pytest.raises(wb.FitsError, match="changed since it was opened"):
        later["line_covariance"].load()
    np.testing.assert_array_equal(later["k"].isel(step=3), fits["k"].isel(step=3))


def test_a_recording_that_is_continued_goes_on_thinning(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    for number in range(14):
        recording = Recording(path, thin_beyond=4)
        recording.record(number)
        recording.store.close()
    assert kept(path) == [0, 1, 2, 4, 8]


def test_without_a_limit_all_counts_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    recording = Recording(path, thin_beyond=None)
    for number in range(5):
        recording.record(number)
    recording.store.close()
    assert kept(path) == [0, 1, 2, 3, 4]
    assert "counts_kept" not in wb.open_fits(path).attrs


def test_a_refit_of_a_thinned_store_fits_what_has_counts(tmp_path: Path) -> None:
    path = tmp_path / "run.db"
    recording = Recording(path, thin_beyond=2)
    for number in range(8):
        recording.record(number)
    recording.store.close()
    with pytest.warns(UserWarning, match="12 matrices have no counts and are left out"):
        fits = wb.refit(wb.open_fits(path), trim=(0.2, 0.8))
    there = fits.sel(component="up_proj", layer=0, model="run")
    assert there["status"].values.tolist() == [
        "ok" if keeps_counts(number) else "absent" for number in range(8)
    ]
    assert there["k"].notnull().values.tolist() == [keeps_counts(number) for number in range(8)]
