"""What `explore` opens: fits, a file of them, or what can be scanned."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.explorer.widget import Explorer
from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

DEMO = Path(wb.__file__).parent / "data" / "demo"


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"demo": DEMO})


def test_fits(fits: xr.Dataset) -> None:
    explorer = explore(fits, panel="classes", layers=(0, 1))
    assert isinstance(explorer, Explorer)
    assert (explorer.panel, explorer.layers) == ("classes", (0, 1))
    assert isinstance(fits.weibull.explore(panel="classes"), Explorer)
    assert wb.explore is explore


def test_a_file_of_fits(fits: xr.Dataset, tmp_path: Path) -> None:
    path = wb.save_fits(fits, tmp_path / "fits.nc")
    for given in (path, str(path)):
        explorer = explore(given, trim=(0.2, 0.8))
        expected = wb.refit(fits.sel(step=[7000]), trim=(0.2, 0.8))
        np.testing.assert_allclose(explorer.fits["k"].values, expected["k"].values)


def test_a_checkpoint_is_scanned(fits: xr.Dataset) -> None:
    for source in (DEMO, str(DEMO), {"demo": DEMO}):
        explorer = explore(source)
        assert explorer.fits["k"].equals(fits.sel(step=[7000])["k"].assign_coords(
            model=explorer.fits["model"]))  # fmt: skip


def test_what_cannot_be_opened(fits: xr.Dataset, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="must name a file of fits"):
        explore(tmp_path / "no.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(ValueError, match="no file of fits"):
        explore(tmp_path / "text.nc")
    with pytest.raises(wb.CheckpointError, match="no such file"):
        explore(tmp_path / "model.safetensors")
    with pytest.raises(TypeError, match="must be"):
        explore({"k": 1})
    with pytest.raises(TypeError, match="must be"):
        explore(3)
    with pytest.raises(ValueError, match="must be a Dataset of fits"):
        explore(fits[["k"]])


def test_saved_fits_are_opened_without_numba_and_torch(fits: xr.Dataset, tmp_path: Path) -> None:
    wb.save_fits(fits, tmp_path / "fits.nc")
    code = """if True:
        import sys, weibnb as wb
        explorer = wb.explore("fits.nc")
        explorer.panel = "table"
        print(*sorted({"numba", "torch", "weibnb.io", "weibnb.scanning"} & set(sys.modules)))
        explorer.trim = (0.2, 0.8)
        print("numba" in sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["", "True"]
