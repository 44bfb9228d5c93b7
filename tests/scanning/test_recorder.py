"""Recording a live model: what is recorded is what the weights were at that moment."""

from __future__ import annotations

from typing import Any

import pytest
import xarray as xr

from weibnb import scan
from weibnb.counting import dispatch as counting
from weibnb.io.safetensors import CheckpointError
from weibnb.scanning.matrices import MatrixInCounting
from weibnb.scanning.recorder import Recorder

torch = pytest.importorskip("torch")

from weibnb.counting.tables import Table


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    return torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


@pytest.fixture(params=["threads", "device"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """On the CPU's threads, or with torch's CPU in the place of a device."""
    if request.param == "device":
        monkeypatch.setattr(counting, "resolve_devices", lambda device: [torch.device("cpu")])
    return str(request.param)


@pytest.mark.usefixtures("where")
@pytest.mark.parametrize("keep_counts", [True, False])
def test_a_record_equals_a_scan_at_that_step(model: Any, keep_counts: bool) -> None:
    scans = []
    with Recorder(model, name="tiny", keep_counts=keep_counts) as recorder:
        for step in (0, 10, 7):
            recorder.record(step)
            scans.append(scan({"tiny": {step: model}}, device="cpu"))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(0.5).add_(torch.randn_like(parameter), alpha=0.01)
        fits = recorder.fits()
    together = xr.merge(scans, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    xr.testing.assert_identical(fits.k, together.k.transpose(*fits.k.dims))
    xr.testing.assert_identical(fits.lam, together.lam.transpose(*fits.k.dims))
    assert ("counts" in fits) == keep_counts
    assert fits.step.values.tolist() == [0, 7, 10]
    assert fits.model.values.tolist() == ["tiny"]
    assert (fits.lam.sel(step=10) < fits.lam.sel(step=0)).all()
    assert (fits.status == "ok").all()


def test_only_a_device_is_left_to_count_alone(
    model: Any, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On threads the weights must not change before they are counted."""
    done: list[Any] = []
    finish = MatrixInCounting.finish

    def note(item: MatrixInCounting, **where: bool) -> Any:
        done.append(item)
        return finish(item, **where)

    monkeypatch.setattr(MatrixInCounting, "finish", note)
    with Recorder(model) as recorder:
        recorder.record(0)
        assert len(done) == (8 if where == "threads" else 0)
    assert len(done) == 8


def test_a_device_that_is_busy_is_not_waited_for(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "resolve_devices", lambda device: [torch.device("cpu")])
    busy, fetched = [True], []
    monkeypatch.setattr(Table, "read", property(lambda _: not busy[0]))
    fetch = Table.fetch

    def note(table: Table) -> None:
        fetched.append(len(table.owners))
        fetch(table)

    monkeypatch.setattr(Table, "fetch", note)
    scans = []
    with Recorder(model, name="tiny") as recorder:
        for step in range(4):
            busy[0] = step < 3
            fetched.clear()
            recorder.record(step)
            assert fetched == ([] if step < 3 else [8, 8, 8])
            scans.append(scan({"tiny": {step: model}}, device="cpu"))
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.mul_(0.5)
        fits = recorder.fits()
    together = xr.merge(scans, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts")
    xr.testing.assert_identical(fits.k, together.k.transpose(*fits.k.dims))


@pytest.mark.usefixtures("where")
def test_fits_can_be_asked_for_while_recording(model: Any) -> None:
    with Recorder(model) as recorder:
        recorder.record(1)
        first = recorder.fits()
        recorder.record(2)
        second = recorder.fits()
        assert repr(recorder) == "<Recorder of TransformerEncoder: 2 steps>"
    assert first.step.values.tolist() == [1]
    assert second.step.values.tolist() == [1, 2]
    assert recorder.fits().step.values.tolist() == [1, 2]


@pytest.mark.parametrize(("step", "error"), [(-1, ValueError), (True, TypeError), (1.0, TypeError)])
def test_bad_steps_are_refused_and_recorded_nowhere(
    model: Any, step: Any, error: type[Exception]
) -> None:
    with Recorder(model) as recorder:
        recorder.record(3)
        with pytest.raises(error, match=f"`step` must .* got {step!r}"):
            recorder.record(step)
        assert recorder.steps == [3]


def test_the_protocol_is_that_of_the_recorder(model: Any) -> None:
    with Recorder(model, trim=(0.2, 0.8), keep_counts=False) as recorder:
        recorder.record(0)
        narrow = recorder.fits()
    expected = scan({"TransformerEncoder": model}, device="cpu", trim=(0.2, 0.8))
    xr.testing.assert_identical(narrow.k, expected.k)
    assert narrow.attrs["trim_lower"] == 0.2
    with pytest.raises(ValueError, match="`trim` must"):
        Recorder(model, trim=(0.8, 0.2))


def test_a_model_that_grows_is_recorded(model: Any) -> None:
    with Recorder(model) as whole, Recorder(model, keep_counts=False) as reduced:
        for step in range(2):
            whole.record(step)
            reduced.record(step)
            model.layers.append(torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True))
        for recorder in (whole, reduced):
            grown = recorder.fits().status.sel(layer=2, component="up_proj")
            assert grown.values.tolist() == [["absent", "ok"]]


@pytest.mark.parametrize("model", [None, 3, {}, "model"])
def test_what_is_no_model_is_refused_at_once(model: Any) -> None:
    with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module, got"):
        Recorder(model)


def test_nothing_to_record() -> None:
    with Recorder(torch.nn.Conv2d(3, 3, 3)) as recorder:
        with pytest.raises(CheckpointError, match="no tensor in it is a weight matrix"):
            recorder.record(0)
        with pytest.raises(ValueError, match="Nothing was recorded"):
            recorder.fits()


@pytest.mark.usefixtures("where")
def test_recording_leaves_the_model_alone(model: Any) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with Recorder(model) as recorder, torch.inference_mode():
        recorder.record(0)
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)
    assert all(parameter.requires_grad for parameter in model.parameters())
