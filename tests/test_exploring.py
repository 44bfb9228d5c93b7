"""What `explore` opens: fits, a file of them, or what can be scanned."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.explorer.widget import Explorer
from weibnb.exploring import explore
from weibnb.scanning.background import BackgroundScan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

    from weibnb.scanning.progress import Progress

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
        explorer = explore(source).wait()
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


# A scan that is going on

WAIT = 60.0  # seconds: a slow machine is no failure
HELD_AT = 5  # matrices


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hold background scans after some matrices, each of them fitted at once."""
    opened = threading.Event()
    heard = BackgroundScan._heard

    def hold(scan: BackgroundScan, at: Progress) -> None:
        heard(scan, at)
        if at.done == HELD_AT:
            assert opened.wait(WAIT)
            heard(scan, at)

    monkeypatch.setattr(BackgroundScan, "_heard", hold)
    monkeypatch.setattr("weibnb.scanning.results._BATCH_SECONDS", -1.0)
    monkeypatch.setattr("weibnb.explorer.following._EVERY", 0.02)
    yield opened
    opened.set()


def told(explorer: Explorer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(explorer._following)
    return found


def await_true(explorer: Explorer, is_so: Callable[[], bool]) -> None:
    """Wait until something holds, which a drawing brings about."""
    changed = threading.Event()
    explorer.observe(lambda _: changed.set(), "_words")
    while not is_so():
        assert changed.wait(WAIT), explorer._following
        changed.clear()


def await_fits(explorer: Explorer, number: int) -> None:
    """Wait until as many matrices are shown fitted."""
    await_true(explorer, lambda: int((explorer.fits["status"] == "ok").sum()) == number)


def await_end(explorer: Explorer) -> None:
    """Wait until nothing is followed any more."""
    ended = threading.Event()
    explorer.observe(lambda _: ended.set(), "follow")
    while explorer.follow:
        assert ended.wait(WAIT), explorer._following


def test_matrices_are_shown_as_they_are_fitted(fits: xr.Dataset, gate: threading.Event) -> None:
    explorer = explore(DEMO / "step7000", panel="table")
    await_fits(explorer, HELD_AT)
    assert explorer.follow
    assert set(explorer.fits["status"].values.ravel()) == {"ok", "pending"}
    assert (told(explorer)["runs"], told(explorer)["problem"]) == (True, "")
    with pytest.raises(TimeoutError, match="not done after 0 s"):
        explorer.wait(0)
    gate.set()
    assert explorer.wait() is explorer
    one = fits["k"].sel(step=[7000])
    np.testing.assert_array_equal(explorer.fits["k"].values, one.values)
    await_end(explorer)
    assert (told(explorer)["runs"], told(explorer)["text"], told(explorer)["share"]) == (
        *(False, ""), 1.0,
    )  # fmt: skip
    assert explorer.error is None
    with pytest.raises(Exception, match="has ended"):
        explorer.follow = True


def test_a_scan_is_cancelled(gate: threading.Event) -> None:
    explorer = explore(str(DEMO))
    await_fits(explorer, HELD_AT)
    explorer.follow = False
    gate.set()
    explorer.wait()
    assert int((explorer.fits["status"] == "ok").sum()) == HELD_AT
    assert explorer.error is None
    assert "5 of 105 matrices · cancelled" in told(explorer)["text"]
    assert not told(explorer)["runs"]


def test_an_explorer_that_is_closed_ends_its_scan(gate: threading.Event) -> None:
    explorer = explore(DEMO)
    await_fits(explorer, HELD_AT)
    explorer.close()
    gate.set()
    assert explorer._work is not None
    assert explorer._work.wait(WAIT)
    assert explorer._work.cancelled


def test_ctrl_c_while_a_scan_is_awaited_ends_it(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    explorer = explore(DEMO)
    await_fits(explorer, HELD_AT)
    work = explorer._work
    assert work is not None
    with monkeypatch.context() as patch:
        patch.setattr(work, "wait", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            explorer.wait()
    gate.set()
    assert work.wait(WAIT)
    assert work.cancelled


def test_a_scan_rests_while_no_page_shows_it(fits: xr.Dataset, gate: threading.Event) -> None:
    explorer = explore(DEMO)
    await_fits(explorer, HELD_AT)
    explorer.set_state({"_pages": 1})
    explorer.set_state({"_pages": 0})
    gate.set()
    work = explorer._work
    assert work is not None
    assert not work.wait(0.1)
    assert work.at is not None
    assert work.at.done == HELD_AT
    explorer.set_state({"_pages": 1})
    assert work.wait(WAIT)
    await_end(explorer)
    assert int((explorer.fits["status"] == "ok").sum()) == 21
    explorer.close()


def test_a_scan_that_ends_while_its_fits_are_asked_for_is_followed_to_its_end(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = BackgroundScan.newer

    asked = threading.Event()

    def slow(scan: BackgroundScan) -> xr.Dataset | None:
        found = newer(scan)
        if found is None and scan.at is not None and scan.at.done == HELD_AT:
            asked.set()
            assert scan.wait(WAIT)
        return found

    monkeypatch.setattr(BackgroundScan, "newer", slow)
    explorer = explore(DEMO)
    assert asked.wait(WAIT)
    gate.set()
    await_end(explorer)
    assert int((explorer.fits["status"] == "ok").sum()) == 21
    explorer.close()


def test_an_awaited_scan_does_not_rest(gate: threading.Event) -> None:
    explorer = explore(DEMO)
    gate.set()
    explorer.set_state({"_pages": 0})
    explorer.wait(WAIT)
    assert int((explorer.fits["status"] == "ok").sum()) == 21


def test_why_a_scan_failed(tmp_path: Path) -> None:
    whole = (DEMO / "step0" / "model.safetensors").read_bytes()
    (tmp_path / "<b>.safetensors").write_bytes(whole[:-1000])
    explorer = explore(tmp_path / "<b>.safetensors")
    with pytest.raises(wb.CheckpointError) as caught:
        explorer.wait()
    assert explorer.error is caught.value
    await_end(explorer)
    assert told(explorer)["problem"].startswith("CheckpointError: ")
    assert not told(explorer)["runs"]
    with pytest.raises(wb.CheckpointError):
        explorer.save(tmp_path / "view.html")


def test_what_could_not_be_read_is_told(tmp_path: Path) -> None:
    whole = (DEMO / "step0" / "model.safetensors").read_bytes()
    for step, data in ((1, whole), (2, whole[:50])):
        (tmp_path / f"step{step}").mkdir()
        (tmp_path / f"step{step}" / "model.safetensors").write_bytes(data)
    with pytest.warns(UserWarning, match="step 2"):
        explorer = explore(tmp_path).wait()
    await_end(explorer)
    assert explorer.fits.sizes["step"] == 1
    assert "step 2" in told(explorer)["problem"]


def test_a_program_that_runs_a_notebook_gets_the_finished_picture(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = {"content": {"allow_stdin": False}}
    shell = SimpleNamespace(kernel=SimpleNamespace(get_parent=lambda _channel: request))
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    monkeypatch.setattr("weibnb.explorer.export.LastView.show", lambda _: None)
    explorer = explore(DEMO)
    threading.Timer(0.05, gate.set).start()
    explorer._repr_mimebundle_()
    assert int((explorer.fits["status"] == "ok").sum()) == 21


def test_saving_waits_for_a_scan(fits: xr.Dataset, tmp_path: Path) -> None:
    path = explore(DEMO).save(tmp_path / "table.csv")
    assert len(path.read_text().splitlines()) == 1 + 21


def test_what_was_asked_for_is_shown_when_it_is_there(gate: threading.Event) -> None:
    cell = ("demo", 1, "v_proj", 2000)
    wanted = {"component": ["q_proj", "v_proj"]}
    explorer = explore(DEMO, step=2000, filters=wanted, layers=(1, 2), selected=[cell])
    await_true(explorer, lambda: explorer.layers == (1, 2))
    assert explorer.step == 0
    gate.set()
    explorer.wait()
    assert (explorer.step, explorer.layers, explorer.selected) == (2000, (1, 2), [cell])
    assert explorer.fits.sizes["component"] == explorer.fits.sizes["layer"] == 2


def test_what_was_asked_for_and_never_comes_is_told() -> None:
    explorer = explore(DEMO, filters={"component": ["q_prj"]})
    with pytest.raises(ValueError, match="q_prj"):
        explorer.wait()
    await_end(explorer)
    assert "q_proj" in told(explorer)["problem"]
    with pytest.raises(TypeError, match="no trait"):
        Explorer(explorer.fits, colour="red")


def test_live_weights_are_scanned_first() -> None:
    explorer = explore(weights(0))
    assert explorer._work is None
    assert int((explorer.fits["status"] == "ok").sum()) == 4


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
