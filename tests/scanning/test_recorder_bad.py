"""What may go wrong around a recorder while a model trains: nothing is lost without a word."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import weibnb as wb
from tests.scanning.test_recorder_steps import Tiny, recorded, scales, straight
from weibnb.fits.schema import FORCES
from weibnb.fits.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from weibnb.diagnostics.findings import Finding

# What it says of the newest record


def test_latest_is_what_the_fits_say(tmp_path: Path) -> None:
    model = Tiny(layers=3)
    with wb.Recorder(model, name="run", store=tmp_path / "run.db") as recorder:
        assert recorder.latest() == {}
        recorded(recorder, model, 0, 3)
        fits = recorder.fits().sel(step=[3])
        found = recorder.latest()
    assert found["weibull/step"] == 3.0
    assert found["weibull/k/up_proj"] == fits.k.median().item()
    assert found["weibull/lam/up_proj"] == fits.lam.median().item()
    drifts = wb.drift(fits).delta_k_percent
    assert found["weibull/drift/up_proj"] == pytest.approx(drifts.median().item(), rel=1e-9)
    assert found["weibull/errors"] == 0.0
    assert {type(value) for value in found.values()} == {float}


def test_latest_is_of_single_experts_the_median_of_layers() -> None:
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(torch.nn.Module() for _ in range(2))
    for layer, experts in zip(model.layers, (2, 5), strict=True):
        layer.mlp = torch.nn.Module()
        layer.mlp.experts = torch.nn.ModuleList(torch.nn.Module() for _ in range(experts))
        for expert in layer.mlp.experts:
            expert.up_proj = torch.nn.Linear(16, 16, bias=False)
    with wb.Recorder(model) as recorder:
        recorder.record(0)
        fits, found = recorder.fits(), recorder.latest()
    assert found["weibull/k/up_proj"] == pytest.approx(fits.k.median("layer").item(), rel=1e-12)


def test_errors_are_those_of_a_check(tmp_path: Path) -> None:
    """Also where only the number of NaN changes, and after a store was opened again."""
    model = Tiny(layers=4)
    store = tmp_path / "run.db"
    with wb.Recorder(model, name="run", store=store) as recorder:
        for step, broken in enumerate((0, 1, 1, 3, 0, 2)):
            model.be_at(step + 1)
            with torch.no_grad():
                for parameter in list(model.parameters())[:broken]:
                    parameter[0, 0] = torch.nan
            recorder.record(step)
            errors = wb.check(recorder.fits().sel(step=[step])).at_least("error")
            assert recorder.latest()["weibull/errors"] == len(errors) == broken
        before = recorder.latest()
    with wb.Recorder(model, name="run", store=store) as recorder:
        assert recorder.latest() == before


def test_a_matrix_of_zeros_is_no_error_at_the_start() -> None:
    model = Tiny()
    with torch.no_grad():
        next(model.parameters()).zero_()
    with wb.Recorder(model) as recorder:
        recorder.record(0)
        assert recorder.latest()["weibull/errors"] == 0.0
        recorder.record(1)
        recorder.fits()
        assert recorder.latest()["weibull/errors"] == 1.0


# Findings


def rules(found: list[list[Finding]]) -> list[list[str]]:
    return [[one.rule for one in findings] for findings in found]


def test_findings_are_told_once_and_when_they_grow(tmp_path: Path) -> None:
    model = Tiny(layers=3, width=32)
    found: list[list[Finding]] = []
    store = tmp_path / "run.db"
    options: dict[str, Any] = {"name": "run", "store": store, "on_finding": found.append}
    first = next(iter(model.parameters()))
    with wb.Recorder(model, **options) as recorder:
        recorder.record(1)
        recorder.fits()
        del found[:]
        for step, dead in enumerate((0, 2, 2, 3), start=2):
            with torch.no_grad():
                first[:dead] = 0.0
            recorder.record(step)
        recorder.fits()
        assert rules(found) == [["dead-lines"], ["dead-lines"]]
        assert [one[0].value for one in found] == [2, 3]
        assert [one[0].cells[0].step for one in found] == [3, 5]
    with wb.Recorder(model, **options) as recorder:
        recorder.record(6)
        recorder.fits()
        assert len(found) == 2
        with torch.no_grad():
            first[-1, -1] = torch.nan
        recorder.record(7)
    assert rules(found)[2:] == [["nonfinite"]]


def test_a_finding_is_told_on_the_thread_of_the_training() -> None:
    model, threads = Tiny(), []
    with torch.no_grad():
        next(model.parameters())[0, 0] = torch.nan
    with wb.Recorder(model, on_finding=lambda _: threads.append(threading.get_ident())) as recorder:
        recorder.record(1)
        recorder.due(2)
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize("call", ["due", "record", "fits", "latest", "close"])
def test_what_a_callback_raises_comes_out_of_the_next_call(call: str, tmp_path: Path) -> None:
    class StopTrainingError(Exception):
        """Raised by a callback."""

    def stop(_: list[Finding]) -> None:
        raise StopTrainingError

    model = Tiny()
    with torch.no_grad():
        list(model.parameters())[1][0, 0] = torch.nan
    recorder = wb.Recorder(model, on_finding=stop, name="run", store=tmp_path / "run.db")
    with pytest.raises(StopTrainingError):  # the first record is waited for
        recorder.record(1)
    with torch.no_grad():
        next(model.parameters())[0, 0] = torch.nan
    recorder.record(2)
    recorder._keeper._waiting[-1].result()
    with pytest.raises(StopTrainingError):
        {
            "due": lambda: recorder.due(3),
            "record": lambda: recorder.record(3),
            "fits": recorder.fits,
            "latest": recorder.latest,
            "close": recorder.close,
        }[call]()
    recorder.close()
    assert wb.open_fits(tmp_path / "run.db").step.values.tolist() == [1, 2]


# The store


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Say whether the disk is full; begin and add are tried in turn."""
    state, add = [False], Store.add

    def note(store: Store, columns: Any) -> None:
        if state[0]:
            raise OSError(28, "No space left on device", str(store.path))
        add(store, columns)

    monkeypatch.setattr(Store, "add", note)
    return state


def test_a_full_disk_stops_no_training(tmp_path: Path, full: list[bool]) -> None:
    model, store = Tiny(), tmp_path / "run.db"
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0)
        full[0] = True
        recorded(recorder, model, 1)
        recorder._keeper._waiting[-1].result()
        with pytest.warns(UserWarning, match="A record was not written: .*No space left") as told:
            recorded(recorder, model, 2, 3)
        assert len(told) == 1
        recorder._keeper.finish()
        assert recorder.latest()["weibull/step"] == 3.0
        with pytest.warns(UserWarning, match="3 records are not in the store"):
            recorder.fits()
        full[0] = False
        recorded(recorder, model, 4)
        assert scales(recorder.fits()) == straight(0, 1, 2, 3, 4)


def test_what_was_never_written_is_told_at_the_end(tmp_path: Path, full: list[bool]) -> None:
    model, store = Tiny(), tmp_path / "run.db"
    recorder = wb.Recorder(model, name="run", store=store)
    recorded(recorder, model, 0)
    full[0] = True
    recorded(recorder, model, 1)
    with pytest.warns(UserWarning, match="not") as told:
        recorder.close()
    assert [str(one.message)[:35] for one in told] == [
        "A record was not written: [Errno 28",
        "1 record is not in the store, which",
    ]
    with wb.Recorder(model, name="run", store=store) as recorder:
        assert recorder.steps == [0]


def test_only_so_much_waits_for_room(
    tmp_path: Path, full: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weibnb.scanning.keeping._UNWRITTEN", 1)
    model, store = Tiny(), tmp_path / "run.db"
    recorder = wb.Recorder(model, name="run", store=store)
    recorded(recorder, model, 0)
    full[0] = True
    with pytest.warns(UserWarning, match="A record was not written"):
        recorded(recorder, model, 1, 2, 3)
    recorder._keeper.finish()
    full[0] = False
    with pytest.warns(UserWarning, match="2 records are not in the store"):
        recorder.close()
    assert scales(wb.open_fits(store)) == straight(0, 3)


def test_a_real_limit_of_the_disk(tmp_path: Path) -> None:
    """The kernel refuses to let any file grow: SQLite's own errors are those of a full disk."""
    model, store = Tiny(layers=8), tmp_path / "run.db"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0)
        size = max(file.stat().st_size for file in tmp_path.iterdir())
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
            with pytest.warns(UserWarning, match="A record was not written"):
                recorded(recorder, model, *range(1, 8))
            recorder._keeper.finish()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        recorded(recorder, model, 8)
    assert scales(wb.open_fits(store)) == straight(*range(9))


def test_others_read_while_it_records(tmp_path: Path) -> None:
    store, model = tmp_path / "run.db", Tiny()
    code = "import sys, weibnb as wb; print(wb.open_fits(sys.argv[1]).step.values.tolist())"
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0, 1)
        recorder.fits()
        command = [sys.executable, "-c", code, str(store)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
        recorded(recorder, model, 2)
    assert found.stdout.strip() == "[0, 1]"
    assert scales(wb.open_fits(store)) == straight(0, 1, 2)


# The training around it


def test_an_exception_in_the_block_loses_nothing(tmp_path: Path) -> None:
    model = Tiny()

    def fail() -> None:
        with wb.Recorder(model, name="run", store=tmp_path / "run.db") as recorder:
            recorded(recorder, model, 0, 1, 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert scales(wb.open_fits(tmp_path / "run.db")) == straight(0, 1, 2)


def test_nothing_is_recorded_after_close() -> None:
    model = Tiny()
    recorder = wb.Recorder(model, name="run")
    recorded(recorder, model, 0)
    recorder.close()
    recorder.close()
    with pytest.raises(ValueError, match="`record` must come before `close`, got step 1"):
        recorder.record(1)
    assert scales(recorder.fits()) == straight(0)
    assert recorder.latest()["weibull/step"] == 0.0


def test_a_fork_leaves_the_recording_to_its_parent(tmp_path: Path) -> None:
    """As a worker of a DataLoader has it: it may look, close and end, but not record."""
    model, store = Tiny(), tmp_path / "run.db"
    with wb.Recorder(model, name="run", store=store) as recorder:
        recorded(recorder, model, 0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: threads and fork
            child = os.fork()
        if child == 0:
            code = 1
            try:
                with pytest.raises(RuntimeError, match="`record` must be called in the process"):
                    recorder.record(1)
                recorder.due(1)
                recorder.latest()
                recorder.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        recorded(recorder, model, 2)
    assert scales(wb.open_fits(store)) == straight(0, 2)


def test_matrices_that_change_their_shape_are_told() -> None:
    model = Tiny()
    text = "1 matrix of run has another shape from step 1 on: up_proj of layer 1 is 16 x 24, and"
    with wb.Recorder(model, name="run") as recorder:
        recorder.record(0)
        model.layers[1].mlp.up_proj = torch.nn.Linear(24, 16, bias=False)  # type: ignore[union-attr]
        with pytest.warns(UserWarning, match=text):
            recorder.record(1)
        recorder.record(2)
        cols = recorder.fits().cols.sel(model="run", component="up_proj")
    assert cols.sel(layer=0).values.tolist() == [16, 16, 16]
    assert cols.sel(layer=1).values.tolist() == [16, 24, 24]


def test_parameters_that_are_replaced_are_seen() -> None:
    """Names are told once, but values are those of the parameters that the model has now."""
    model, steps = Tiny(), []
    with wb.Recorder(model, name="run") as recorder:
        for step, change in enumerate((None, "data", "parameter", "module", "dtype")):
            weights = torch.full((16, 16), 0.5 + step) * torch.linspace(0.5, 1, 16)
            layer: Any = model.layers[0].mlp
            if change == "data":
                layer.up_proj.weight.data = weights
            elif change == "parameter":
                layer.up_proj.weight = torch.nn.Parameter(weights)
            elif change == "module":
                layer.up_proj = torch.nn.Linear(16, 16, bias=False)
                layer.up_proj.weight.data.copy_(weights)
            elif change == "dtype":
                layer.up_proj.weight.data = weights.double()
            steps.append(layer.up_proj.weight.detach().abs().max().item())
            recorder.record(step)
        fits = recorder.fits().sel(model="run", layer=0, component="up_proj")
    np.testing.assert_allclose(fits.max_abs.values, steps, rtol=1e-6)
    assert fits.dtype.values.tolist() == ["F32", "F32", "F32", "F32", "F64"]


# Forces


def steps_of(model: Tiny, optimizer: torch.optim.Optimizer, *steps: int) -> None:
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()


def adamw(model: Tiny) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.3)


def forces_of(fits: xr.Dataset) -> np.ndarray[Any, Any]:
    return np.stack([fits[name].sel(model="run").values.squeeze() for name in FORCES])


@pytest.mark.parametrize("said", [False, True])
def test_forces_go_on_where_a_store_ends(tmp_path: Path, said: bool) -> None:
    model = Tiny()
    optimizer = adamw(model)
    options: dict[str, Any] = {"name": "run", "forces": True}
    with wb.Recorder(model, optimizer=optimizer, **options) as recorder:
        for step in range(4):
            recorder.record(step)
            steps_of(model, optimizer, step)
        whole = recorder.fits()
    model = Tiny()
    optimizer = adamw(model)
    options |= {"store": tmp_path / "run.db"}
    for first in (0, 2):
        state = [one.detach().clone() for one in model.parameters()], optimizer.state_dict()
        model, before = Tiny(), state
        with torch.no_grad():
            for parameter, value in zip(model.parameters(), before[0], strict=True):
                parameter.copy_(value)
        optimizer = adamw(model)
        optimizer.load_state_dict(before[1])
        with wb.Recorder(model, optimizer=optimizer, **options) as recorder:
            if said:
                recorder.resume(first)
            for step in range(first, first + 2):
                recorder.record(step)
                steps_of(model, optimizer, step)
            if first == 0:
                recorder.record(2)
    found = wb.open_fits(tmp_path / "run.db")
    np.testing.assert_allclose(forces_of(found), forces_of(whole), rtol=1e-12)


def test_forces_that_were_not_seen_are_told(tmp_path: Path) -> None:
    model = Tiny()
    optimizer = adamw(model)
    options: dict[str, Any] = {"name": "run", "forces": True, "store": tmp_path / "run.db"}
    with wb.Recorder(model, optimizer=optimizer, **options) as recorder:
        recorder.record(0)
    steps_of(model, optimizer, 0)
    with wb.Recorder(model, optimizer=optimizer, **options) as recorder:
        steps_of(model, optimizer, 1)
        with pytest.warns(UserWarning, match="Forces go on from those of step 0"):
            recorder.record(2)
        fits = recorder.fits()
    assert (fits["force_injection"].sel(step=2) > 0).all()
