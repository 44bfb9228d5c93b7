"""Files of fits: what is opened is what was saved, and bad files are refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import UP, Q, dense, experts, normal, round_trip
from weibnb.fits.ragged import flattened
from weibnb.testing import encode, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ({"run": {0: dense(1), 2000: dense(1, seed=5)}, "other": experts()}, "median"),
        ({"moe": experts()}, "each"),
        ({"zeros": {Q.format(0): np.zeros((20, 20), "f2")}}, "median"),
        ({"whole": {Q.format(0): np.ones((20, 20), "i1")}}, "each"),
    ],
    ids=["run and experts", "each expert", "all zero", "quantized"],
)
def test_what_is_opened_is_what_was_saved(tmp_path: Path, source: Any, how: Any) -> None:
    fits = wb.scan(source, experts=how)
    again = round_trip(fits, tmp_path / "fits.nc")
    xr.testing.assert_identical(again, fits)
    assert again["k"].dims[:4] == ("model", "layer", "component", "step")
    assert wb.not_fitted(again).equals(wb.not_fitted(fits))


def test_without_counts(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": dense()}, keep_counts=False)
    xr.testing.assert_identical(round_trip(fits, tmp_path / "fits.nc"), fits)


def test_counts_stay_on_disk(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense()}), tmp_path / "fits.nc")
    with wb.open_fits(file) as fits:
        assert not fits["counts"].variable._in_memory
        assert fits["k"].variable._in_memory
        wb.not_fitted(fits)
        part = fits.sel(layer=[1])
        wb.refit(part, trim=(0.2, 0.8))
        assert not fits["counts"].variable._in_memory
        assert part["counts"].sum().item().n == np.count_nonzero(dense()[Q.format(1)])


UNUSUAL = ["org/name", "模型-🐍", "<script>alert(1)</script>", "a b\n\t\"'", "", "../../etc"]


def test_unusual_names(tmp_path: Path) -> None:
    source = {
        name: {f"{name}.{Q.format(0)}": normal(20, 20), f"{name}.norm.weight": normal(20)}
        for name in UNUSUAL
    }
    again = round_trip(wb.scan(source), tmp_path / "fits.nc")
    assert again["model"].values.tolist() == UNUSUAL
    for name in UNUSUAL:
        row = again.sel(model=name)
        assert row["parameter"].item() == f"{name}.{Q.format(0)}"
        assert row["k"].item() == wb.fit_weibull(normal(20, 20)).k
    listed = wb.not_fitted(again)
    assert listed["tensor"].tolist() == [f"{name}.norm.weight" for name in UNUSUAL]


def test_null_in_a_tensor_name(tmp_path: Path) -> None:
    fits = wb.scan({"a": {f"x\0y.{Q.format(0)}": normal(20, 20)}})
    again = round_trip(fits, tmp_path / "fits.nc")
    assert again["parameter"].item().endswith(Q.format(0))
    assert again["k"].item() == fits["k"].item()


@pytest.mark.parametrize("text", ["a\udcff", "a\0b"], ids=["surrogate", "null"])
def test_names_that_no_file_can_hold_do_not_lose_the_fits(tmp_path: Path, text: str) -> None:
    fits = wb.scan({"a": dense(1)})
    fits["source"][:] = text
    fits = fits.assign_coords(model_type=("model", [text]))
    again = round_trip(fits, tmp_path / "fits.nc")
    assert again["source"].item().startswith("a")
    np.testing.assert_array_equal(again["k"], fits["k"])


def test_saving_over_the_file_that_is_open(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense()}), tmp_path / "fits.nc")
    with wb.open_fits(file) as fits:
        wider = wb.refit(fits, trim=(0.05, 0.95))
        wb.save_fits(wider, file)
        wider.load()
    with wb.open_fits(file) as again:
        xr.testing.assert_identical(again.load(), wider)
        assert again.attrs["trim_lower"] == 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["fits.nc"]


def test_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = wb.scan({"tiny": dense()})
    file = wb.save_fits(fits, tmp_path / "fits.nc")
    before = file.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_netcdf", fail)
        with pytest.raises(OSError, match="No space left"):
            wb.save_fits(wb.refit(fits, trim=(0, 1)), file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fits.nc"]


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense(1)}), tmp_path / "fits.nc")
    plain = tmp_path / "plain"
    plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode


def test_size_of_a_file(tmp_path: Path) -> None:
    shape = (512, 512)
    names = [UP.format(i) for i in range(16)]
    data = [encode(normal(*shape, seed=i, dtype="f4"), "BF16") for i in range(16)]
    described = dict.fromkeys(names, ("BF16", shape))
    path = write_safetensors(tmp_path / "m.safetensors", described, data)
    small = wb.save_fits(wb.scan(path, keep_counts=False), tmp_path / "small.nc").stat().st_size
    size = wb.save_fits(wb.scan(path), tmp_path / "fits.nc").stat().st_size
    assert (size - small) / len(names) < 8192
    assert size < 16 * 8192 + 145_000


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "not found"),
        (b"hello", ValueError, "that weibnb.save_fits wrote"),
        (b"", ValueError, "that weibnb.save_fits wrote"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, ValueError, "that weibnb.save_fits wrote"),
    ],
    ids=["missing", "text", "empty", "broken"],
)
def test_open_refuses(
    tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "fits.nc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        wb.open_fits(path)
    assert "fits.nc" in str(caught.value)


def test_open_names_the_netcdf_file_that_holds_no_fits(tmp_path: Path) -> None:
    path = tmp_path / "other.nc"
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match="lacks k, lam, status") as caught:
        wb.open_fits(path)
    assert "other.nc" in str(caught.value)


def test_truncated_file(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense()}), tmp_path / "fits.nc")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"fits\.nc"):
        wb.open_fits(file)


def test_save_refuses(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": dense(1)})
    with pytest.raises(TypeError, match=r"xarray\.Dataset of fits, got DataArray"):
        wb.save_fits(fits["k"], tmp_path / "fits.nc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lacks k"):
        wb.save_fits(fits.drop_vars("k"), tmp_path / "fits.nc")
    with pytest.raises(ValueError, match=r"must end in \.nc"):
        wb.save_fits(fits, tmp_path / "fits.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", [None, 3, b"fits.nc"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    with pytest.raises(TypeError, match=rf"`path` must be a path, got {type(path).__name__}"):
        wb.open_fits(path)


def test_save_into_a_missing_directory_names_it(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": dense(1)})
    with pytest.raises(OSError, match="missing") as caught:
        wb.save_fits(fits, tmp_path / "missing" / "fits.nc")
    assert "tmp" not in str(caught.value).replace(str(tmp_path), "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        wb.save_fits(fits, tmp_path / "folder")
    assert ".nc'" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_zarr_group_holds_what_the_file_holds(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": experts()})
    group = wb.save_fits(fits, tmp_path / "fits.zarr")
    with xr.open_zarr(group, consolidated=False) as opened:
        xr.testing.assert_identical(opened.load(), flattened(fits))
    with pytest.raises(FileExistsError, match="must not be there yet"):
        wb.save_fits(fits, group)
    with pytest.raises(FileNotFoundError, match="directory that exists"):
        wb.save_fits(fits, tmp_path / "nowhere" / "fits.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["fits.zarr"]


def test_a_zarr_group_needs_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[zarr\]'"):
        wb.save_fits(wb.scan({"tiny": experts()}), tmp_path / "fits.zarr")
