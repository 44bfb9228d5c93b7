"""Fits that grow: the same as one Dataset of all steps, and what was given out stays."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from weibnb.fits.growing import Growing

if TYPE_CHECKING:
    from collections.abc import Mapping

STEPS = 7


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    rng = np.random.default_rng(0)
    name = "model.layers.{}.mlp.{}_proj.weight"
    run = {
        step: {
            name.format(layer, kind): rng.normal(size=(16, 16)) * (step + 1)
            for layer in range(2)
            for kind in ("up", "down")
        }
        for step in range(STEPS)
    }
    return wb.scan({"m": run}, progress=False)


def same(found: xr.Dataset, expected: xr.Dataset) -> None:
    xr.testing.assert_identical(found.drop_vars("counts"), expected.drop_vars("counts"))
    assert found["counts"].dims == expected["counts"].dims
    pairs = zip(found["counts"].values.ravel(), expected["counts"].values.ravel(), strict=True)
    assert all(ours is theirs for ours, theirs in pairs)


@pytest.mark.parametrize("cuts", [[1], [3], [1, 2, 3, 4, 5, 6], [2, 5]])
def test_parts_make_the_whole(fits: xr.Dataset, cuts: list[int]) -> None:
    growing = Growing(fits.isel(step=slice(cuts[0])))
    given = [(cuts[0], growing.fits)]
    for begin, end in itertools.pairwise([*cuts, STEPS]):
        assert growing.add(fits.isel(step=slice(begin, end)))
        given.append((end, growing.fits))
    for end, whole in given:
        same(whole, fits.isel(step=slice(end)))


@pytest.mark.parametrize(
    "selection",
    [
        {"step": 0},
        {"step": 4},
        {"step": [6, 0, 3, 3]},
        {"step": slice(2, 6, 2), "layer": 1},
        {"step": [], "component": [1]},
        {"step": slice(None, None, -1), "component": [1, 0], "model": 0},
    ],
)
def test_any_selection_is_that_of_the_whole(fits: xr.Dataset, selection: Mapping[str, Any]) -> None:
    growing = Growing(fits.isel(step=slice(2)))
    for step in range(2, STEPS):
        growing.add(fits.isel(step=[step]))
    same(growing.fits.isel(selection), fits.isel(selection))


def test_more_steps_than_there_was_room_for(fits: xr.Dataset) -> None:
    one = fits.isel(step=[0])
    growing = Growing(one)
    for step in range(1, 150):
        assert growing.add(_moved(one, step))
    assert growing.fits["step"].values.tolist() == list(range(150))
    expected = np.arange(150) + one["k"].values[0, 0, 0, 0]
    np.testing.assert_array_equal(growing.fits["k"].values[0, 0, 0], expected)


def _moved(one: xr.Dataset, step: int) -> xr.Dataset:
    return one.assign(k=one["k"] + step).assign_coords(step=[step])


def test_counts_are_fitted_again(fits: xr.Dataset) -> None:
    growing = Growing(fits.isel(step=slice(2)))
    growing.add(fits.isel(step=slice(2, None)))
    again = wb.refit(growing.fits, trim=(0.2, 0.8))
    np.testing.assert_allclose(again["k"], wb.refit(fits, trim=(0.2, 0.8))["k"])


def test_what_is_not_a_later_step_of_the_same_matrices_is_refused(fits: xr.Dataset) -> None:
    growing = Growing(fits.isel(step=slice(3)))
    later = fits.isel(step=[4])
    for part in (
        fits.isel(step=[2]),
        fits.isel(step=[2, 3]),
        fits.isel(step=[]),
        later.isel(layer=[0]),
        later.assign_coords(layer=[0, 5]),
        later.assign_coords(model=["other"]),
        later.drop_vars("rms"),
        later.assign(further=later["k"]),
    ):
        assert not growing.add(part)
    same(growing.fits, fits.isel(step=slice(3)))
    assert growing.add(later)
