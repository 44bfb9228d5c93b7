"""Counts that are read when asked for: the cells of an index, and no others."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from xarray.core.indexing import LazilyIndexedArray

from weibnb.counting.counts import Counts
from weibnb.fits.lazy import LazyCounts, with_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHAPE = (2, 3, 4)
DIMS = ("model", "layer", "step")


class Shelf:
    """Gives cell i the label i, and remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, cells: NDArray[np.int64]) -> list[Counts]:
        self.asked += cells.tolist()
        return [Counts([i], [1]) for i in cells.tolist()]


def numbers(array: Any) -> NDArray[np.int64]:
    """Label of every cell, -1 for an empty one."""
    label = np.vectorize(lambda one: int(one.labels[0]) if one.labels.size else -1, otypes=[int])
    found: NDArray[np.int64] = label(np.asarray(array))
    return found


def lazy() -> tuple[xr.DataArray, Shelf]:
    shelf = Shelf()
    data = LazilyIndexedArray(LazyCounts(SHAPE, shelf))
    return xr.Dataset({"counts": (DIMS, data)})["counts"], shelf


INDEXERS: list[dict[str, Any]] = [
    {},
    {"model": 1},
    {"model": 1, "layer": 2, "step": 3},
    {"layer": slice(None, None, 2)},
    {"layer": [2, 0], "step": [3]},
    {"model": [], "step": 1},
    {"model": [True, False]},
    {"layer": xr.DataArray([0, 2], dims="z"), "step": xr.DataArray([1, 3], dims="z")},
]


@pytest.mark.parametrize("chosen", INDEXERS, ids=str)
@pytest.mark.parametrize("turned", [False, True])
def test_any_index_gives_what_a_plain_array_would(chosen: dict[str, Any], turned: bool) -> None:
    counts, _ = lazy()
    plain = xr.DataArray(np.arange(24).reshape(SHAPE), dims=DIMS)
    if turned and len(chosen) < len(DIMS):  # xarray cannot turn any lazy array and take one cell
        counts, plain = counts.transpose(*DIMS[::-1]), plain.transpose(*DIMS[::-1])
    np.testing.assert_array_equal(numbers(counts.isel(chosen)), plain.isel(chosen))


@pytest.mark.parametrize("chosen", INDEXERS[:7], ids=str)
def test_only_the_cells_of_the_index_are_read(chosen: dict[str, Any]) -> None:
    counts, shelf = lazy()
    part = counts.isel(chosen)
    assert shelf.asked == []
    assert "counts" in repr(part.to_dataset())
    assert shelf.asked == []
    wanted = numbers(part.values).ravel().tolist()
    assert sorted(shelf.asked) == sorted(wanted)


def test_reading_twice_keeps_nothing() -> None:
    counts, shelf = lazy()
    for _ in range(2):
        assert numbers(counts.isel(model=0, layer=0, step=1).values) == 1
    assert shelf.asked == [1, 1]
    counts.load()
    shelf.asked.clear()
    assert numbers(counts.values).tolist() == np.arange(24).reshape(SHAPE).tolist()
    assert shelf.asked == []


def test_rows_are_scattered_over_cells() -> None:
    shelf = Shelf()
    rows = np.array([[2, -1], [0, 1], [-1, -1]])
    cells = LazyCounts((3,), shelf).scattered(rows)
    counts = with_counts(xr.Dataset(), ("layer", "step"), cells)["counts"]
    np.testing.assert_array_equal(numbers(counts.values), rows)
    shelf.asked.clear()
    assert counts.isel(layer=2, step=0).item() == Counts()
    assert numbers(counts.isel(layer=0).values).tolist() == [2, -1]
    assert shelf.asked == [2]


def pickled(array: xr.DataArray) -> xr.DataArray:
    again: xr.DataArray = pickle.loads(pickle.dumps(array))  # noqa: S301  (our own)
    return again


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_copies_read_the_same(again: Any) -> None:
    counts, _ = lazy()
    np.testing.assert_array_equal(numbers(again(counts).values), numbers(counts.values))
