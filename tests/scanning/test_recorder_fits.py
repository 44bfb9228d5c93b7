"""Fits of a recorder, asked for again and again: those of its store, at the cost of what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.scanning.test_recorder_steps import Tiny, recorded
from weibnb.fits.store_reading import open_store
from weibnb.scanning.live_fits import live_fits
from weibnb.scanning.results import Results

if TYPE_CHECKING:
    from pathlib import Path


def same_as_file(found: xr.Dataset, store: Path) -> None:
    """Hold fits against the file opened anew, without the model that is not of the recorder."""
    opened = wb.open_fits(store)
    expected = opened.sel(model=[name for name in opened.model.values if name != "other"])
    xr.testing.assert_identical(
        found.drop_vars("counts").load(), expected.drop_vars("counts").load()
    )
    assert found.counts.dims == expected.counts.dims
    both = zip(found.counts.values.ravel(), expected.counts.values.ravel(), strict=True)
    for ours, theirs in both:
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.counts, theirs.counts)


@pytest.mark.parametrize("thinned", [False, True])
def test_fits_are_always_those_of_the_store(
    tmp_path: Path, thinned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While records are added, let go of their counts, are left behind, and fill a gap."""
    if thinned:
        monkeypatch.setattr("weibnb.scanning.recorder.THIN_BEYOND", 4)
    store, model = tmp_path / "run.db", Tiny()
    with wb.Recorder(model, name="run", store=store) as recorder:
        for step in range(0, 20, 2):
            recorded(recorder, model, step)
            same_as_file(recorder.fits(), store)
        assert ("counts_kept" in recorder.fits().attrs) == thinned
        recorder.resume(6)
        with pytest.warns(UserWarning, match="run~1"):
            recorded(recorder, model, 8, course=1)
        same_as_file(recorder.fits(), store)
        recorded(recorder, model, 30, course=1)
        same_as_file(recorder.fits(), store)
    with wb.Recorder(model, name="run", store=store) as recorder:
        same_as_file(recorder.fits(), store)
        recorded(recorder, model, 31, course=1)
        same_as_file(recorder.fits(), store)


def test_fits_are_of_the_own_model(tmp_path: Path) -> None:
    store, model = tmp_path / "run.db", Tiny()
    with wb.Recorder(Tiny(3), name="other", store=store) as recorder:
        recorder.record(0)
    with wb.Recorder(model, name="run", store=store) as recorder:
        for step in range(3):
            recorded(recorder, model, step)
            fits = recorder.fits()
            assert fits.model.values.tolist() == ["run"]
            assert fits.sizes["layer"] == 2
            assert fits.step.values.tolist() == list(range(step + 1))


@pytest.mark.parametrize("in_store", [False, True])
def test_only_what_is_new_is_read(
    tmp_path: Path, in_store: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def note(found: xr.Dataset) -> xr.Dataset:
        read.append(found.sizes["step"])
        return found

    laid_out, path = Results.laid_out, "weibnb.fits.following.open_store"
    monkeypatch.setattr(path, lambda *a, **k: note(open_store(*a, **k)))
    monkeypatch.setattr(Results, "laid_out", lambda *a: note(laid_out(*a)))
    model = Tiny()
    with wb.Recorder(model, store=tmp_path / "run.db" if in_store else None) as recorder:
        recorded(recorder, model, *range(10))
        for new in (0, 1, 3):
            recorder.fits()
            steps = recorder.steps[-1] + 1
            recorded(recorder, model, *range(steps, steps + new))
        assert recorder.fits().sizes["step"] == 14
        recorder.fits()
    assert read == [10, 1, 3]


@pytest.mark.parametrize("in_store", [False, True])
def test_fits_that_were_given_may_be_changed(tmp_path: Path, in_store: bool) -> None:
    model = Tiny()
    with wb.Recorder(model, store=tmp_path / "run.db" if in_store else None) as recorder:
        recorded(recorder, model, 0, 1)
        expected = recorder.fits().copy(deep=True)

        def spoil(fits: xr.Dataset) -> None:
            fits.k.values[...] = 0
            fits.status.isel(step=slice(2)).values[...] = "spoilt"
            fits.weight_class.values[...] = "spoilt"
            fits.attrs.clear()

        for step in (2, 3):
            spoil(recorder.fits())
            spoil(recorder.fits())
            recorded(recorder, model, step)
            found: Any = recorder.fits().sel(step=[0, 1])
            xr.testing.assert_identical(found.drop_vars("counts"), expected.drop_vars("counts"))


def test_a_branch_is_seen_before_its_first_record() -> None:
    model = Tiny()
    with wb.Recorder(model, name="run") as recorder:
        recorded(recorder, model, 0, 1, 2)
        recorder.flush()
        kept = recorder._results
        live = live_fits(kept)
        assert live.newer() is not None
        assert live.newer() is None
        assert kept.branch_off("run", 0) == "run~1"
        fits = live.newer()
        assert fits is not None
        there = (fits["status"] == "ok").any(["layer", "component"]).transpose("model", "step")
        assert fits["model"].values.tolist() == ["run", "run~1"]
        assert there.values.tolist() == [[True, False, False], [False, True, True]]
