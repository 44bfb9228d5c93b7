"""Counts as one labelled array, against the counts of each matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.fits.helpers import dense, experts, normal
from weibnb.counting.counts import Counts
from weibnb.fits import tables
from weibnb.fits.tables import counts_table

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("opened", [False, True])
def test_every_row_holds_the_counts_of_its_matrix(tmp_path: Path, opened: bool) -> None:
    single = {"model.layers.5.mlp.up_proj.weight": normal(30, 30, dtype="f4")}
    fits = wb.scan({"a": dense(2) | single, "moe": experts()})
    if opened:
        fits = wb.open_fits(wb.save_fits(fits, tmp_path / "fits.nc"))
    table = counts_table(fits)
    assert table.dims == (*fits["counts"].dims, "bin")
    assert (np.diff(table["magnitude"]) > 0).all()
    assert (table > 0).any(fits["counts"].dims).all()
    for at in np.ndindex(fits["counts"].shape):
        counts: Any = fits["counts"].values[at]
        row = table.values[at]
        np.testing.assert_array_equal(row[row > 0], counts.counts)
        np.testing.assert_array_equal(table["magnitude"].values[row > 0], counts.values)
        assert table["exact"].values[at] == counts.exact
    cell = {"model": "moe", "component": "up_proj", "layer": 0, "step": 0, "expert": 1}
    assert table.sel(cell).sum() == fits["counts"].sel(cell).item().n
    fits.close()


def test_a_selection_of_one_matrix() -> None:
    fits = wb.scan({"a": dense(2)}).sel(model="a", layer=1, component="q_proj", step=0)
    table = fits.weibull.counts_table()
    assert table.dims == ("bin",)
    assert table.values.tolist() == fits["counts"].item().counts.tolist()
    assert table["layer"].item() == 1


def test_sums_over_layers_are_those_of_counts() -> None:
    fits = wb.scan({"a": dense(3)})
    table, merged = counts_table(fits).sum("layer"), fits["counts"].sum("layer").item()
    np.testing.assert_array_equal(table.squeeze(), merged.counts)
    assert isinstance(merged, Counts)


def test_a_table_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = wb.scan({"a": dense(2)})
    size = counts_table(fits).nbytes
    monkeypatch.setattr(tables, "_LARGEST_TABLE", size)
    assert counts_table(fits).nbytes == size
    monkeypatch.setattr(tables, "_LARGEST_TABLE", size - 1)
    with pytest.raises(ValueError, match=r"got 2 matrices, .*Select some: fits.sel"):
        counts_table(fits)


def test_without_counts() -> None:
    with pytest.raises(ValueError, match="must hold counts"):
        counts_table(wb.scan({"a": dense(1)}, keep_counts=False))
