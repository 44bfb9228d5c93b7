"""Cells kept by status and by place, against masks made by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from weibnb.fits.select import keep_cells, keep_status

if TYPE_CHECKING:
    import xarray as xr

NAMES = {
    "q_proj": "self_attn.q_proj",
    "o_proj": "self_attn.o_proj",
    "up_proj": "mlp.up_proj",
}


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.{layer}.{name}.weight": rng.normal(size=(16, 16)).astype(np.float32)
        for layer in range(3)
        for name in NAMES.values()
    }
    weights["model.layers.1.mlp.up_proj.weight"] = np.zeros((16, 16), np.float32)
    return wb.scan({"a": weights, "b": {k: 2 * v for k, v in weights.items()}})


def test_keep_status(fits: xr.Dataset) -> None:
    kept = keep_status(fits, ["ok"])
    assert kept.sizes == fits.sizes
    fine = fits["status"].values == "ok"
    assert (~fine).sum() == 2
    assert (kept["status"].values == np.where(fine, fits["status"].values, "absent")).all()
    np.testing.assert_array_equal(kept["k"].values[fine], fits["k"].values[fine])
    none = keep_status(fits, ["all_zero"])
    assert not none["k"].notnull().any()
    assert (none["status"].values == "all_zero").sum() == 2
    assert (fits["status"].values == "ok").sum() == fine.sum(), "the original is as it was"


def test_keep_status_takes_several_words(fits: xr.Dataset) -> None:
    with pytest.raises(TypeError, match=r"write \['ok'\]"):
        keep_status(fits, "ok")


def test_keep_cells(fits: xr.Dataset) -> None:
    cells = [("b", 2, "up_proj", 0), ("a", 0, "q_proj", 0), ("a", 2, "q_proj", 0)]
    kept = keep_cells(fits, cells)
    assert dict(kept["k"].sizes) == {"model": 2, "layer": 2, "component": 2, "step": 1}
    there = {
        (str(c["model"].item()), c["layer"].item(), str(c["component"].item()), c["step"].item())
        for c in (
            kept.isel(dict(zip(kept["k"].dims, at, strict=True)))
            for at in np.argwhere(kept["k"].notnull().values)
        )
    }
    assert there == set(cells)
    for model, layer, component, step in cells:
        at = {"model": model, "layer": layer, "component": component, "step": step}
        assert kept["k"].sel(at).item() == fits["k"].sel(at).item()
        assert kept["counts"].sel(at).item() == fits["counts"].sel(at).item()


def test_keep_cells_of_a_selection(fits: xr.Dataset) -> None:
    one = fits.sel(model="a", layer=0)
    assert keep_cells(one, [("a", 0, "q_proj", 0)])["k"].size == 1


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (("c", 0, "q_proj", 0), "no model 'c'"),
        (("a", 9, "q_proj", 0), "no layer 9"),
        (("a", 0, "q_proj"), "must be"),
    ],
)
def test_a_cell_that_is_not_there(fits: xr.Dataset, cell: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        keep_cells(fits, [cell])  # type: ignore[list-item]


def test_no_cells(fits: xr.Dataset) -> None:
    assert keep_cells(fits, [])["k"].size == 0
