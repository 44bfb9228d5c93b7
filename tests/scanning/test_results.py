"""Scans and recordings into a store: what is kept, what is done again, who waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

import weibnb as wb
from tests.scanning.helpers import llama, moe, write
from weibnb.counting.cpu import PendingOnThreads
from weibnb.fits.store import Store
from weibnb.io.checkpoint import Checkpoint
from weibnb.scanning import results

SCRIPTS = Path(__file__).parents[2] / "scripts"
MATRICES = 14  # of llama(2)


def same(left: xr.Dataset, right: xr.Dataset) -> None:
    """Compare to the last bit, but for the time they were made."""
    left, right = left.load(), right.load()
    left.attrs.pop("created")
    right.attrs.pop("created")
    xr.testing.assert_identical(left, right)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    return note_counted(monkeypatch)


def note_counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect a one for every matrix that is counted from now on."""
    calls: list[int] = []
    collect = PendingOnThreads.result

    def note(pending: PendingOnThreads) -> Any:
        calls.append(1)
        return collect(pending)

    monkeypatch.setattr(PendingOnThreads, "result", note)
    return calls


def stop_after(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let Ctrl-C come when some matrices were counted."""
    calls: list[int] = []
    collect = PendingOnThreads.result

    def stop(pending: PendingOnThreads) -> Any:
        calls.append(1)
        if len(calls) > number:
            raise KeyboardInterrupt
        return collect(pending)

    monkeypatch.setattr(PendingOnThreads, "result", stop)


@pytest.mark.parametrize("experts", ["median", "each"])
def test_a_store_changes_nothing(tmp_path: Path, experts: Any) -> None:
    sources = {
        "dense": write(tmp_path / "a", llama(2), {"model_type": "llama"}),
        "moe": write(tmp_path / "b", moe()),
        "run": {0: llama(1), 10: llama(1, seed=3)},
    }
    store = tmp_path / "fits.db"
    alone = wb.scan(sources, experts=experts)
    same(wb.scan(sources, experts=experts, store=store), alone.copy())
    same(wb.open_fits(store), alone.copy())


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, counted: list[int]) -> None:
    source, store = write(tmp_path / "m", llama(2)), tmp_path / "fits.db"
    first = wb.scan(source, store=store)
    assert len(counted) == MATRICES
    same(wb.scan(source, store=store), first)
    assert len(counted) == MATRICES


@pytest.mark.parametrize("what", ["time", "content", "size", "rescan"])
def test_what_has_changed_is_scanned_anew(tmp_path: Path, counted: list[int], what: str) -> None:
    source, store = write(tmp_path / "m", llama(2)), tmp_path / "fits.db"
    wb.scan(source, store=store)
    file = source / "model.safetensors"
    before = file.stat()
    if what == "content":
        write(source, llama(2, seed=5))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif what == "size":
        write(source, llama(3, seed=5))
    elif what == "time":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    del counted[:]
    fits = wb.scan(source, store=store, rescan=what == "rescan")
    assert len(counted) == (MATRICES * 3 // 2 if what == "size" else MATRICES)
    same(fits, wb.scan(source))


def test_a_moved_checkpoint_is_the_same(tmp_path: Path, counted: list[int]) -> None:
    source, store = write(tmp_path / "x" / "m", llama(2)), tmp_path / "fits.db"
    wb.scan(source, store=store)
    moved = source.rename(tmp_path / "m")
    wb.scan(moved, store=store)
    assert len(counted) == MATRICES


def test_another_checkpoint_of_the_same_name_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "fits.db"
    wb.scan(write(tmp_path / "x" / "m", llama(2)), store=store)
    other = write(tmp_path / "y" / "m", llama(2, seed=9))
    with pytest.raises(ValueError, match="holds another checkpoint as 'm', step 0") as caught:
        wb.scan(other, store=store)
    assert str(other) in str(caught.value)
    wb.scan({"other": other}, store=store)
    assert wb.open_fits(store)["model"].values.tolist() == ["m", "other"]
    wb.scan(other, store=store, rescan=True)
    same(wb.open_fits(store).sel(model=["m"]), wb.scan(other))


def test_a_scan_gives_what_it_was_asked_for(tmp_path: Path) -> None:
    store = tmp_path / "fits.db"
    wb.scan({"a": llama(1), "run": {0: llama(1), 5: llama(1)}}, store=store)
    fits = wb.scan({"run": {5: llama(1), 7: llama(1)}}, store=store)
    assert (fits["model"].values.tolist(), fits["step"].values.tolist()) == (["run"], [5, 7])
    assert wb.open_fits(store)["step"].values.tolist() == [0, 5, 7]


def test_a_checkpoint_that_went_away_keeps_its_fits(tmp_path: Path) -> None:
    source, store = write(tmp_path / "m", llama(2)), tmp_path / "fits.db"
    wb.scan(source, store=store)
    (source / "model.safetensors").unlink()
    with pytest.raises(wb.CheckpointError, match=r"no \.safetensors file"):
        wb.scan(source, store=store)
    with pytest.warns(UserWarning, match="m, step 0 is left out"):
        wb.scan({"m": source, "new": llama(1)}, store=store)
    fits = wb.open_fits(store)
    assert fits["k"].sel(model="m").notnull().all()
    assert fits["problem"].sel(model="m").item() == ""


def test_what_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    store = tmp_path / "fits.db"
    with pytest.warns(UserWarning, match="gone, step 0 is left out"):
        wb.scan({"gone": tmp_path / "gone", "m": llama(1)}, store=store)
    assert "no such file" in wb.open_fits(store)["problem"].sel(model="gone").item()
    write(tmp_path / "gone", llama(1))
    wb.scan({"gone": tmp_path / "gone"}, store=store)
    fits = wb.open_fits(store)
    assert fits["problem"].sel(model="gone").item() == ""
    assert fits["k"].sel(model="gone").notnull().all()


def test_a_matrix_that_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = write(tmp_path / "m", llama(1)), tmp_path / "fits.db"
    raw = Checkpoint.raw

    def fail(self: Checkpoint, name: str) -> Any:
        if "q_proj" in name:
            raise wb.CheckpointError(source, "the disk is busy", tensor=name)
        return raw(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "raw", fail)
        with pytest.warns(UserWarning, match="the disk is busy"):
            fits = wb.scan(source, store=store)
    assert (fits["status"] == "unreadable").sum() == 1
    calls = note_counted(monkeypatch)
    same(wb.scan(source, store=store), wb.scan(source))
    assert len(calls) == 1 + MATRICES // 2


def test_an_interrupted_scan_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = write(tmp_path / "m", llama(2)), tmp_path / "fits.db"
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(wb.ScanInterrupted, match="5 matrices were fitted") as caught:
            wb.scan(source, store=store)
    for fits in (caught.value.fits, wb.open_fits(store)):
        assert fits is not None
        assert (fits["status"] == "pending").sum() == MATRICES - 5
        assert fits["k"].notnull().sum() == 5
        reasons = wb.not_fitted(fits)["reason"].tolist()
        assert reasons.count("pending") == MATRICES - 5
        counted = [one.n > 0 for one in fits["counts"].values.ravel()]
        assert counted == (fits["status"] == "ok").values.ravel().tolist()
    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(wb.ScanInterrupted, match="7 matrices were fitted") as caught:
            wb.scan(source, store=store)
    assert caught.value.matrices == 7
    calls = note_counted(monkeypatch)
    same(wb.scan(source, store=store), wb.scan(source))
    assert len(calls) == MATRICES - 7 + MATRICES


def test_an_interrupted_scan_in_memory_shows_what_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(wb.ScanInterrupted) as caught:
            wb.scan({"run": {0: llama(2), 1: llama(2)}})
    fits = caught.value.fits
    assert fits is not None
    assert fits["step"].values.tolist() == [0]  # nothing of step 1 was counted
    assert (fits["status"] == "pending").sum() == MATRICES - 3
    xr.testing.assert_identical(wb.refit(fits)["status"], fits["status"])


def test_single_experts_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack of experts that was half counted when the scan stopped is counted to its end."""
    stack = {"model.layers.0.mlp.experts.down_proj": torch.randn(6, 32, 48)}
    source, store = tmp_path / "stack.safetensors", tmp_path / "fits.db"
    from safetensors.torch import save_file

    save_file(stack, source)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        with pytest.raises(wb.ScanInterrupted):
            wb.scan(source, store=store, experts="each")
    same(wb.scan(source, store=store, experts="each"), wb.scan(source, experts="each"))


def test_batches_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, seen = tmp_path / "fits.db", []
    monkeypatch.setattr(results, "_BATCH_SECONDS", -1.0)
    add = Store.add

    def note(self: Store, columns: Any) -> None:
        add(self, columns)
        seen.append(int((wb.open_fits(store)["status"] == "ok").sum()))

    monkeypatch.setattr(Store, "add", note)
    wb.scan({"m": llama(2)}, store=store)
    assert seen == list(range(1, MATRICES + 1))


def test_a_second_scan_waits_and_finds_the_work_done(
    tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, store = write(tmp_path / "m", llama(2)), tmp_path / "fits.db"
    held, go_on = threading.Event(), threading.Event()
    begin = Store.begin

    def hold(self: Store, *arguments: Any, **options: Any) -> Any:
        held.set()
        assert go_on.wait(60)
        return begin(self, *arguments, **options)

    monkeypatch.setattr(Store, "begin", hold)
    first = threading.Thread(target=wb.scan, args=(source,), kwargs={"store": store})
    first.start()
    assert held.wait(60)
    threading.Timer(0.2, go_on.set).start()
    with pytest.warns(UserWarning, match="Another scan writes to .*waiting until it ends"):
        wb.scan(source, store=store)
    first.join()
    assert len(counted) == MATRICES


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    """Both scan other models into it at once; each finds its own, and the store holds all."""
    store = tmp_path / "fits.db"
    code = (
        "import sys, warnings, weibnb as wb; warnings.simplefilter('ignore');"
        "print(int(wb.scan({sys.argv[2]: sys.argv[1]}, store=sys.argv[3]).k.notnull().sum()))"
    )
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                str(write(tmp_path / name, llama(2, seed=i))),
                name,
                store,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i, name in enumerate("abc")
    ]
    assert [process.communicate(timeout=120)[0].strip() for process in running] == ["14"] * 3
    fits = wb.open_fits(store)
    assert sorted(fits["model"].values.tolist()) == ["a", "b", "c"]
    assert (fits["status"] == "ok").all()


def test_killed_scans_go_on(tmp_path: Path) -> None:
    """``kill -9`` at random moments: equal to the last bit, at most a second of work is lost."""
    command = [sys.executable, str(SCRIPTS / "kill_scans.py"), "--kills", "6", "--matrices", "400"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    figures = json.loads(done.stdout)
    assert figures["kills"] == 6
    assert figures["identical"] is True


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0)
    return torch.nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


def test_a_recording_is_in_the_store_as_it_goes(tmp_path: Path, model: Any) -> None:
    store = tmp_path / "fits.db"
    with wb.Recorder(model, name="net", store=store) as recorder:
        recorder.record(0)
        assert wb.open_fits(store)["step"].values.tolist() == [0]
        recorder.record(5)
        fits = recorder.fits()
        assert wb.open_fits(store)["step"].values.tolist() == [0, 5]
    with wb.Recorder(model, name="net") as memory:
        memory.record(0)
        memory.record(5)
        same(fits, memory.fits())
