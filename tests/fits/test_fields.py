"""Scales of rows and columns through files, stores, joins, refits and selections."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import EXPERT, Q, back_to_version, change, normal, round_trip
from weibnb.fits import layout, store_schema
from weibnb.fits.schema import DEAD, FIELDS, SCALES, prepare
from weibnb.fits.select import keep_cells

if TYPE_CHECKING:
    from pathlib import Path

KNOWN = [*SCALES, *DEAD, *FIELDS]


def weights(seed: int = 0) -> dict[str, Any]:
    first, second = normal(30, 40, seed=seed), normal(64, 20, seed=seed)
    first[3] = 0
    return {Q.format(0): first, Q.format(1): second}


def scanned(name: str = "a", seed: int = 0, **options: Any) -> xr.Dataset:
    return wb.scan({name: weights(seed)}, fields=True, **options)


def test_a_file_keeps_them(tmp_path: Path) -> None:
    fits = scanned()
    opened = round_trip(fits, tmp_path / "fits.nc")
    xr.testing.assert_identical(opened, fits)
    assert opened["row_rms"].dtype == np.float32
    moe = {EXPERT.format(0, i): normal(20, 20, seed=i) for i in range(3)} | weights()
    each = wb.scan({"moe": moe}, experts="each", fields=True)
    xr.testing.assert_identical(round_trip(each, tmp_path / "each.nc"), each)


def test_a_zarr_group_holds_them(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    fits = scanned()
    wb.save_fits(fits, tmp_path / "fits.zarr")
    with xr.open_zarr(tmp_path / "fits.zarr", consolidated=False) as opened:
        np.testing.assert_array_equal(opened["col_rms"].values, fits["col_rms"].values)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda fits: fits.assign(row_rms=fits["row_rms"] > 0), "floating-point"),
        (lambda fits: fits.assign(row_rms=fits["row_rms"].rename(row="quantile")), "dims must be"),
        (lambda fits: fits.assign(dead_rows=fits["dead_rows"] * 0.5), "integers are expected"),
        (lambda fits: fits.assign_coords(row=fits["row"] * 0.5), "integers are expected"),
    ],
)
def test_a_file_with_other_fields_is_refused(tmp_path: Path, change: Any, cause: str) -> None:
    fits = scanned().drop_vars("magnitude_quantile").drop_dims("quantile")
    file = tmp_path / "fits.nc"
    broken = change(fits).drop_vars("counts")
    broken.to_netcdf(file, engine="h5netcdf")
    with pytest.raises(wb.FitsError, match=cause):
        wb.open_fits(file)


@pytest.mark.parametrize("experts", ["median", "each"])
def test_a_store_keeps_them(tmp_path: Path, experts: Any) -> None:
    moe = {EXPERT.format(0, i): normal(20, 20, seed=i) for i in range(3)} | weights()
    path = tmp_path / "fits.db"
    made = wb.scan({"moe": moe}, store=path, experts=experts, fields=True)
    plain = wb.scan({"moe": moe}, experts=experts, fields=True)
    for fits in (made, wb.open_fits(path)):
        xr.testing.assert_identical(fits.load().drop_attrs(), plain.drop_attrs())
        assert [fits[name].dtype for name in KNOWN] == [plain[name].dtype for name in KNOWN]


def test_a_store_without_fields_gets_them_and_keeps_them(tmp_path: Path) -> None:
    from weibnb.testing import write_checkpoint

    checkpoint, path = write_checkpoint(tmp_path / "a", layers=1, hidden=32), tmp_path / "fits.db"
    assert "row_rms" not in wb.scan(checkpoint, store=path)
    assert "row_rms" not in wb.open_fits(path)
    first = wb.scan(checkpoint, store=path, fields=True)
    assert first["row_rms"].notnull().any("row").all()
    before = path.read_bytes()
    xr.testing.assert_identical(wb.scan(checkpoint, store=path).load(), first.load())
    xr.testing.assert_identical(wb.scan(checkpoint, store=path, fields=True).load(), first.load())
    assert len(before) == len(path.read_bytes())


def test_fields_of_a_matrix_that_is_counted_anew_are_its_own(tmp_path: Path) -> None:
    path = tmp_path / "fits.db"
    scanned(store=path)
    again = wb.scan({"a": weights(5)}, store=path, rescan=True, fields=True)
    np.testing.assert_array_equal(again["row_rms"].values, scanned(seed=5)["row_rms"].values)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM fields").fetchone() == (2,)


@pytest.mark.parametrize("value", ["x'00'", "'text'", "7", "NULL"])
def test_damaged_fields_of_a_store(tmp_path: Path, value: str) -> None:
    path = tmp_path / "fits.db"
    scanned(store=path)
    change(path, f"UPDATE fields SET col_rms = {value} WHERE id = 2")  # noqa: S608
    with pytest.raises(wb.FitsError, match=r"expected|another type"):
        wb.open_fits(path)


@pytest.mark.parametrize("fields", [False, True])
def test_a_store_of_the_second_version(tmp_path: Path, fields: bool) -> None:
    """It is read as it is; a scan that goes on with it looks at what it counts."""
    from weibnb.testing import write_checkpoint

    checkpoint, path = write_checkpoint(tmp_path / "a", layers=1, hidden=32), tmp_path / "fits.db"
    whole = wb.scan(checkpoint, store=path)
    back_to_version(path, 2)
    change(path, "UPDATE matrix SET status = 'pending', k = NULL WHERE id = 1")
    before = path.read_bytes()
    opened = wb.open_fits(path)
    assert opened["h_row"].isnull().all()
    assert (opened["dead_rows"] == -1).all()
    assert path.read_bytes() == before
    fits = wb.scan(checkpoint, store=path, fields=fields)
    known = int(fits["h_row"].notnull().sum())
    assert known == (fits["k"].size if fields else 1)
    assert int((fits["dead_rows"] == 0).sum()) == known
    xr.testing.assert_identical(fits["k"].load(), whole["k"].load())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (store_schema.LATEST,)


@pytest.mark.parametrize("join", ["concat", "merge"])
def test_joins(join: str) -> None:
    """Of models with longer fields, and of fits that have none."""
    parts = [scanned("a"), wb.scan({"b": {Q.format(0): normal(80, 24)}}, fields=True)]
    parts.append(wb.scan({"c": weights(2)}))
    if join == "concat":
        both = xr.concat(parts, "model", data_vars="all", join="outer", coords="minimal")
    else:
        both = xr.merge(parts, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    both = prepare(both, "row_rms", "dead_rows")
    assert (both.sizes["row"], both["row"].values.tolist()) == (80, list(range(80)))
    for part in parts[:2]:
        name = part["model"].item()
        row = both["row_rms"].sel(model=name, layer=0).values.ravel()
        expected = part["row_rms"].sel(layer=0).values.ravel()
        np.testing.assert_array_equal(row[: expected.size], expected)
        assert np.isnan(row[expected.size :]).all()
    assert both["row_rms"].sel(model="c").isnull().all()
    dead = both["dead_rows"]
    assert dead.dtype.kind == "i"
    assert dead.sel(model=["a", "b", "c"]).values.squeeze().tolist() == [[1, 0], [0, -1], [1, 0]]


def test_a_refit_and_a_selection_keep_them() -> None:
    fits = scanned()
    for kept in (wb.refit(fits, trim=(0.05, 0.95)), keep_cells(fits, [("a", 1, "q_proj", 0)])):
        expected = fits[KNOWN].sel(layer=kept["layer"])
        xr.testing.assert_identical(kept[KNOWN].drop_attrs(), expected.drop_attrs())


def test_a_table_has_one_row_per_matrix() -> None:
    table = wb.tidy(scanned())
    assert len(table) == 2
    assert {*SCALES, *DEAD} <= set(table)
    assert not set(FIELDS) & set(table)


def test_fields_that_take_too_much_are_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scanned(store=tmp_path / "fits.db")
    nbytes = 2 * 4 * (64 + 40)  # of two cells
    monkeypatch.setattr(layout, "_LARGEST_FIELDS", nbytes)
    assert set(FIELDS) <= set(scanned())
    monkeypatch.setattr(layout, "_LARGEST_FIELDS", nbytes - 1)
    for stored in (False, True):
        with pytest.warns(UserWarning, match="row_rms, col_rms are left out"):
            fits = wb.open_fits(tmp_path / "fits.db") if stored else scanned()
        assert not {*FIELDS, *FIELDS.values()} & set(fits.variables)
        assert fits["h_row"].notnull().any()
