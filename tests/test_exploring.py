"""What `explore` opens: fits, a file of them, or what can be scanned."""

from __future__ import annotations

import subprocess
import sys
import threading
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


# A run that is going on


def weights(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    name = "model.layers.{}.mlp.{}_proj.weight"
    return {
        name.format(i, kind): rng.normal(size=(32, 32)) for i in range(2) for kind in ("up", "down")
    }


def await_step(explorer: Explorer, step: int) -> None:
    """Wait until a step is drawn, with all its fits."""
    changed = threading.Event()
    explorer.observe(lambda _: changed.set(), "_words")
    while explorer.step != step or not np.isfinite(explorer.fits["k"].values).all():
        assert changed.wait(60), explorer._following
        changed.clear()


def test_a_store_is_followed_from_before_it_is_there(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    explorer = explore(str(store), panel="table")
    assert explorer.follow
    try:
        for steps in ((0, 1), (2,), (3, 4)):
            run = {step: weights(step) for step in steps}
            wb.scan({"m": run}, store=store, progress=False)
            await_step(explorer, steps[-1])
            expected = wb.open_fits(store)
            assert explorer.fits["k"].equals(expected["k"].sel(step=[steps[-1]]))
        explorer.trim = (0.2, 0.8)
        again = wb.refit(expected, trim=(0.2, 0.8)).sel(step=[4])
        np.testing.assert_array_equal(explorer.fits["k"].values, again["k"].values)
    finally:
        explorer.close()


def test_a_store_that_is_there_is_shown_at_once(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    wb.scan({"m": {step: weights(step) for step in (0, 5)}}, store=store, progress=False)
    explorer = explore(store, step=0)
    explorer.close()
    assert explorer.fits["k"].equals(wb.open_fits(store)["k"].sel(step=[0]))
    (tmp_path / "text.db").write_bytes(b"a text of some length " * 100)
    with pytest.raises(wb.FitsError, match="no store"):
        explore(tmp_path / "text.db")


def test_a_recorder_is_followed() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with wb.Recorder(model, name="run") as recorder:
        explorer = explore(recorder)
        try:
            for step in (0, 7):
                recorder.record(step)
                await_step(explorer, step)
            assert explorer.fits["k"].equals(recorder.fits()["k"].sel(step=[7]))
        finally:
            explorer.close()


def test_a_branch_of_a_recorder_is_followed() -> None:
    """A training that goes back: what it left behind is of another model."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    with wb.Recorder(model, name="run") as recorder:
        newer = recorder.follow()
        assert newer() is None
        for step in (0, 5, 7):
            recorder.record(step)
        recorder.fits()
        assert newer() is not None
        assert newer() is None
        recorder.resume(5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
        with pytest.warns(UserWarning, match="run~1"):
            recorder.record(7)
        expected = recorder.fits()
        found = newer()
        assert found is not None
        assert found["k"].equals(expected["k"])
        assert set(found["model"].values) == {"run", "run~1"}


def test_a_store_is_followed_without_numba_and_torch(tmp_path: Path) -> None:
    wb.scan({"m": {0: weights(0)}}, store=tmp_path / "run.db", progress=False)
    code = """if True:
        import sys, weibnb as wb
        wb.explore("run.db")
        print(*sorted({"numba", "torch", "weibnb.scanning"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")
