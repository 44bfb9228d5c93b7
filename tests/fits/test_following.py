"""What is new in a store, while another connection writes to it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from weibnb.fits.following import FollowedStore, StoreNews, no_fits
from weibnb.fits.store import Store
from weibnb.io.sources import Planned
from weibnb.scanning.matrices import list_matrices
from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


def weights(path: Path, step: int, seed: int | None = None) -> Path:
    """Write a checkpoint beside a store, if it is not there."""
    found = path.parent / f"step{step}-{seed}"
    if not found.exists():
        write_checkpoint(found, layers=2, hidden=16, seed=step if seed is None else seed)
    return found


def scan(path: Path, *steps: int, model: str = "m") -> None:
    run = {step: weights(path, step) for step in steps}
    wb.scan({model: run}, store=path, progress=False)


def begin(path: Path, step: int) -> None:
    """Enter a checkpoint without its estimates, as a writer does that has just begun."""
    listing = list_matrices(Planned("m", step, weights(path, step)))
    with Store(
        path,
        trim=(0.1, 0.9),
        estimator="rank_regression",
        experts="median",
        keep_counts=True,
        fields=False,
    ) as store:
        store.begin(listing.source, listing.matrices(), rescan=False)


def steps(found: Any) -> list[int]:
    values: list[int] = found.fits["step"].values.tolist()
    return values


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


def test_only_what_is_new_is_read(path: Path) -> None:
    news = StoreNews(path)
    scan(path, 0, 1)
    first = news.read()
    assert first
    assert (steps(first), first.whole) == ([0, 1], True)
    assert news.read() is None
    scan(path, 2, 5)
    later = news.read()
    assert later
    assert (steps(later), later.whole) == ([2, 5], False)
    assert news.read() is None


def test_a_record_that_is_being_written_is_given_at_the_second_look(path: Path) -> None:
    news = StoreNews(path)
    scan(path, 0)
    news.read()
    begin(path, 1)
    scan(path, 2)
    complete = news.read()
    assert complete
    assert steps(complete) == [2]
    unfinished = news.read()
    assert unfinished
    assert steps(unfinished) == [1]
    assert (unfinished.fits["status"] == "pending").all()
    assert news.read() is None
    scan(path, 3)
    other = news.read()
    assert other
    assert steps(other) == [3], "what stays unfinished is not given again"
    scan(path, 1)
    finished = news.read()
    assert finished
    assert steps(finished) == [1]
    assert (finished.fits["status"] == "ok").all()


def test_a_record_that_is_finished_between_two_looks_is_given_once(path: Path) -> None:
    news = StoreNews(path)
    scan(path, 0)
    news.read()
    begin(path, 1)
    assert news.read() is None
    scan(path, 1)
    found = news.read()
    assert found
    assert (steps(found), set(found.fits["status"].values.ravel())) == ([1], {"ok"})
    assert news.read() is None


def test_a_store_that_is_still_to_come(path: Path) -> None:
    news = StoreNews(path)
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="not there yet"):
            news.read()
    path.touch()
    assert news.read() is None, "an empty file is a store in the making"
    scan(path, 0)
    assert news.read()


def test_a_checkpoint_that_is_scanned_again(path: Path) -> None:
    news = StoreNews(path)
    scan(path, 0, 1)
    news.read()
    wb.scan({"m": {1: weights(path, 1, seed=9)}}, store=path, rescan=True, progress=False)
    found = news.read()
    assert found
    assert (steps(found), found.whole) == ([0, 1], True)
    xr.testing.assert_identical(found.fits["k"], wb.open_fits(path)["k"])


def test_a_file_in_its_place(path: Path, tmp_path: Path) -> None:
    news = StoreNews(path)
    scan(path, 0, 1)
    news.read()
    other = tmp_path / "other.db"
    scan(other, 0, 7)
    other.replace(path)
    found = news.read()
    assert found
    assert (steps(found), found.whole) == ([0, 7], True)


def test_damage_is_told_and_mended(path: Path) -> None:
    news = StoreNews(path)
    scan(path, 0)
    news.read()
    whole = path.read_bytes()
    path.write_bytes(b"no database" * 1000)
    for _ in range(2):
        with pytest.raises(wb.FitsError, match="no store"):
            news.read()
    path.write_bytes(whole)
    scan(path, 1)
    found = news.read()
    assert found
    assert steps(found)[-1] == 1


def test_nothing_is_held_open(path: Path) -> None:
    """A reader with an open snapshot would let the log grow without end."""
    store = FollowedStore(path)
    scan(path, 0)
    store.newer()
    scan(path, 1)
    store.newer()
    with sqlite3.connect(path) as writer:
        busy, *_ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    writer.close()
    assert not busy


def test_all_fits_grow_and_stay_those_of_the_file(path: Path) -> None:
    store = FollowedStore(path)
    assert store.fits.sizes["step"] == 0
    for step in (0, 1, 2, 10, 3):
        scan(path, step)
        fits = store.newer()
        assert fits is store.fits
        expected = wb.open_fits(path)
        xr.testing.assert_identical(
            fits.drop_vars("counts").load(), expected.drop_vars("counts").load()
        )
        ours, theirs = (wb.refit(one, trim=(0.2, 0.8))["k"] for one in (fits, expected))
        np.testing.assert_array_equal(ours, theirs)
    scan(path, 11, model="other")
    fits = store.newer()
    assert fits is not None
    assert fits["model"].values.tolist() == ["m", "other"]
    assert store.newer() is None


def test_fits_of_nothing() -> None:
    fits = no_fits()
    assert fits["k"].shape == (0, 0, 0, 0)
    assert fits.attrs["estimator"] == "rank_regression"
