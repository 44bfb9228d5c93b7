"""Counts in a file: what lies there, what is read, and what is refused."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import Q, dense, experts, normal
from weibnb.counting.counts import Counts
from weibnb.counting.formats import LABELS
from weibnb.fits.inspection import FitsError
from weibnb.fits.tables import counts_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[h5py.File], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wb.save_fits(wb.scan({"a": dense(3)}), tmp_path_factory.mktemp("good") / "fits.nc")


def change(name: str, at: int, value: Any) -> Edit:
    def edit(file: h5py.File) -> None:
        values = file[name][()]
        values.reshape(-1)[at] = value
        file[name][...] = values

    return edit


def edited(good: Path, target: Path, edit: Edit) -> Path:
    path = target / "edited.nc"
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def test_only_occupied_bins_are_in_a_file(good: Path) -> None:
    with h5py.File(good) as file, wb.open_fits(good) as fits:
        sizes = [counts.labels.size for counts in fits["counts"].values.ravel()]
        assert file["count_size"][()].ravel().tolist() == sizes
        assert file["count_label"].size == file["count_number"].size == sum(sizes)
        assert not {"counts", "bin", "magnitude"} & set(file)


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (change("count_size", 0, 3), "sizes that add up"),
        (change("count_size", 0, -1), "at least 0"),
        (change("count_zeros", 0, -1), "at least 0"),
        (change("count_largest", 1, np.nan), "at least 0"),
        (lambda file: file.__delitem__("count_exact"), "lack count_exact"),
        (lambda file: file.__delitem__("count_label"), "lack count_label"),
    ],
    ids=["sizes", "negative size", "negative zeros", "NaN", "no flags", "no labels"],
)
def test_counts_that_do_not_agree_are_refused(
    good: Path, tmp_path: Path, edit: Edit, cause: str
) -> None:
    with pytest.raises(FitsError, match=cause):
        wb.open_fits(edited(good, tmp_path, edit))


@pytest.mark.parametrize(
    ("name", "value"),
    [("count_label", -1), ("count_label", LABELS), ("count_label", 5), ("count_number", 0)],
)
def test_entries_are_checked_when_they_are_read(
    good: Path, tmp_path: Path, name: str, value: int
) -> None:
    with h5py.File(good) as file:
        first = int(file["count_size"][()].ravel()[0])
    path = edited(good, tmp_path, change(name, first + 7, value))
    with wb.open_fits(path) as fits:
        assert fits["counts"].isel(layer=0).item().n > 0
        with pytest.raises(FitsError, match="expected") as caught:
            fits["counts"].isel(layer=1).item()
        assert caught.value.variable == name
        with pytest.raises(FitsError):
            wb.refit(fits, trim=(0.2, 0.8))


def test_a_damaged_entry_names_the_file(good: Path, tmp_path: Path) -> None:
    with h5py.File(good) as file:
        chunk = file["count_label"].id.get_chunk_info(0)
    content = bytearray(good.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(content)
    with wb.open_fits(damaged) as fits, pytest.raises(FitsError, match="damaged") as caught:
        fits["counts"].load()
    assert str(damaged) in str(caught.value)


def test_more_entries_than_the_file_can_hold_are_refused(good: Path, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        for name in ("count_label", "count_number"):
            dtype = file[name].dtype
            del file[name]
            file.create_dataset(name, (1 << 28,), dtype, chunks=(1 << 15,), compression="gzip")

    with pytest.raises(FitsError, match="more values than its size explains"):
        wb.open_fits(edited(good, tmp_path, edit))


def as_older(fits: xr.Dataset) -> xr.Dataset:
    """Lay fits out as weibnb 0.1 did: every bin of every matrix."""
    table = counts_table(fits)
    largest = int(table.max()) if table.size else 0
    exact = table["exact"].reset_coords(drop=True)
    dense_counts = table.drop_vars("exact").astype(np.uint64 if largest >> 32 else np.uint32)
    labels = (table["magnitude"].values.view(np.int64) >> 42).astype(np.int32)
    older = fits.drop_vars("counts").assign(counts=dense_counts, counts_exact=exact)
    return older.assign_coords(bin=("bin", labels))


def odd() -> dict[str, Any]:
    strange = normal(40, 40, seed=3)
    strange[0, :2] = np.nan
    strange[1, :5] = 0
    return {
        Q.format(1): strange,
        Q.format(2): np.zeros((20, 20), "f2"),
        Q.format(3): np.ones((20, 20), "i1"),
        Q.format(4): normal(40, 40, dtype="f4"),
    }


@pytest.mark.parametrize(
    "source", [odd(), experts(), odd() | experts()], ids=["odd", "moe", "both"]
)
@pytest.mark.parametrize("how", ["median", "each"])
def test_files_of_the_older_layout_are_read(tmp_path: Path, source: Any, how: Any) -> None:
    fits = wb.scan({"a": source}, experts=how)
    as_older(fits).drop_encoding().to_netcdf(tmp_path / "old.nc", engine="h5netcdf")
    with wb.open_fits(tmp_path / "old.nc") as lazy:
        assert not lazy["counts"].variable._in_memory
        old = lazy.load()
    for ours, theirs in zip(fits["counts"].values.flat, old["counts"].values.flat, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs.labels)
        np.testing.assert_array_equal(ours.counts, theirs.counts)
        assert ours.exact == theirs.exact
        assert ours.zeros == theirs.zeros
    xr.testing.assert_identical(old.drop_vars("counts"), fits.drop_vars("counts"))
    wider = [wb.refit(each, trim=(0.05, 0.95)).drop_vars("counts") for each in (fits, old)]
    for each in wider:
        each.attrs["created"] = ""
    xr.testing.assert_identical(*wider)
    again = wb.open_fits(wb.save_fits(old, tmp_path / "new.nc")).load()
    xr.testing.assert_identical(again, old)
    assert again["counts"].values.ravel()[0] == old["counts"].values.ravel()[0] != Counts([1], [1])
