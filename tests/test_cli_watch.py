"""``weibnb watch`` as people run it: beside a process that writes, stopped, or into a pipe."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from tests.writer import writer
from weibnb import cli_watch
from weibnb.cli import main
from weibnb.cli_watch import Lines
from weibnb.fits.following import News

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import xarray as xr

WAIT = 90.0  # seconds: a slow machine is no failure
NAME = "model.layers.{}.{}.weight"
KINDS = ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj", "mlp.down_proj")


def run(*steps: int, zeros_at: int | None = None) -> dict[int, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    found = {
        step: {NAME.format(i, kind): rng.normal(size=(16, 16)) for i in range(3) for kind in KINDS}
        for step in steps
    }
    if zeros_at is not None:
        found[zeros_at][NAME.format(1, "mlp.up_proj")][:] = 0
    return found


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"m": run(0, 10, 1000, zeros_at=10)}, progress=False)


def lines_of(*parts: News, last: int | None = None, unfinished: bool = False) -> list[str]:
    lines = Lines(last, unfinished=unfinished)
    return [line for part in parts for line in lines.of(part)]


# The lines


def test_a_line_tells_medians_and_errors(fits: xr.Dataset) -> None:
    head, *lines = lines_of(News(fits, whole=True))
    names = ["step", "k selection", "k value", "k transmission", "λ", "errors"]
    assert re.split(r"  +", head.strip()) == names
    assert [line.split()[0] for line in lines] == ["0", "10", "1,000"]
    assert [line.split()[-1] for line in lines] == ["0", "1", "0"]
    for at, line in enumerate(lines):
        one = fits.isel(step=at)
        own = [one["k"].where(one["weight_class"] == name) for name in
               ("selection", "value", "transmission")]  # fmt: skip
        expected = [f"{np.nanmedian(k):.4f}" for k in own] + [f"{np.nanmedian(one['lam']):.4g}"]
        assert line.split()[1:-1] == expected


def test_each_record_is_told_once_and_anew_where_it_has_changed(fits: xr.Dataset) -> None:
    first, rest = fits.isel(step=[0]), fits.isel(step=[1, 2])
    told = lines_of(News(first, whole=True), News(rest, whole=False), News(rest, whole=False))
    assert told == lines_of(News(fits, whole=True))
    again = fits.assign(k=fits["k"].where(fits["step"] != 10, 2.0))
    more = lines_of(News(fits, whole=True), News(again, whole=True))
    assert [line.split()[:2] for line in more[4:]] == [["10", "2.0000"]]


def test_what_is_not_fitted_yet_is_told_when_it_is(fits: xr.Dataset) -> None:
    status = fits["status"].copy()
    status[0, 0, :3, 2] = "pending"
    half = fits.assign(status=status, k=fits["k"].where(status != "pending"))
    whole = lines_of(News(fits, whole=True))
    assert lines_of(News(half, whole=True)) == whole[:3]
    assert lines_of(News(half, whole=True), News(fits.isel(step=[2]), whole=False)) == whole
    last = lines_of(News(half, whole=True), unfinished=True)[-1]
    assert last.endswith("9 of 12 matrices")


def test_the_last_records_to_begin_with(fits: xr.Dataset) -> None:
    whole = lines_of(News(fits, whole=True))
    assert lines_of(News(fits, whole=True), last=1) == [whole[0], whole[-1]]
    assert lines_of(News(fits, whole=True), last=9) == whole
    part = News(fits.isel(step=[0, 1]), whole=True)
    later = News(fits, whole=True)
    assert lines_of(part, later, last=0) == [whole[0], whole[-1]]


def test_a_second_model_brings_a_column(fits: xr.Dataset) -> None:
    two = wb.scan({"m": run(0), "n\x1b[2J": run(0)}, progress=False)
    head, *lines = lines_of(News(two, whole=True))
    assert head.endswith("  model")
    assert [line.rpartition("  ")[2] for line in lines] == ["m", "n\x1b[2J"]
    told = lines_of(News(fits.isel(step=[0]), whole=True), News(two, whole=True))
    assert sum("errors" in line for line in told) == 2


# The command


def test_once(tmp_path: Path, capsys: pytest.CaptureFixture[str], fits: xr.Dataset) -> None:
    store = tmp_path / "run.db"
    wb.scan({"m": run(0, 10, 1000, zeros_at=10)}, store=store, progress=False)
    assert main(["watch", str(store), "--once"]) == 0
    assert capsys.readouterr().out.splitlines() == lines_of(News(fits, whole=True))
    assert main(["watch", str(store), "--once", "--last", "1"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_names_cannot_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "run.db"
    wb.scan({"m": run(0), "n\x1b[2J": run(0)}, store=store, progress=False)
    assert main(["watch", str(store), "--once"]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none.db", [], "not there yet"),
        ("text.db", [], "no store"),
        ("fits.nc", [], "`STORE` must end in .db"),
    ],
)
def test_once_and_nothing_to_read(
    name: str,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.db").write_bytes(b"a text of some length " * 100)
    assert main(["watch", str(tmp_path / name), "--once", *options]) == 1
    assert message in capsys.readouterr().err


def test_it_goes_on_after_trouble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "run.db"
    acts: list[Callable[[], object]] = [
        lambda: None,
        lambda: store.write_bytes(b"a text of some length " * 100),
        lambda: None,
        store.unlink,
        lambda: wb.scan({"m": run(0)}, store=store, progress=False),
    ]

    def rest(_: float) -> None:
        if not acts:
            raise KeyboardInterrupt
        acts.pop(0)()

    monkeypatch.setattr(cli_watch, "_rest", rest)
    assert main(["watch", str(store)]) == 130
    found = capsys.readouterr()
    assert [line.split()[0] for line in found.out.splitlines()] == ["step", "0"]
    assert found.err.count("not there yet") == 2
    assert found.err.count("no store") == 1


class Said:
    """What a process says, line by line."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(stream,), daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))

    def next(self) -> str:
        return self._lines.get(timeout=WAIT)


@contextmanager
def watching(store: Path) -> Iterator[tuple[subprocess.Popen[str], Said, Said]]:
    """Run the command, and read what it says."""
    command = [sys.executable, "-m", "weibnb.cli", "watch", str(store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        try:
            yield process, Said(process.stdout), Said(process.stderr)
        finally:
            process.kill()


def test_beside_a_training_that_is_killed_and_resumed(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    with watching(store) as (process, out, err):
        assert "not there yet" in err.next()
        with writer(store) as training:
            training.record(0)
            assert "errors" in out.next()
            assert out.next().split()[0] == "0"
            training.record(1)
            assert out.next().split()[0] == "1"
            training.process.send_signal(signal.SIGKILL)
            training.process.wait()
        with writer(store) as training:
            training.record(2)
            assert out.next().split()[0] == "2"
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT) == 130
        assert err.next() == "weibnb: interrupted"


@pytest.mark.skipif(os.name == "nt", reason="poll is not on Windows")
def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    store = tmp_path / "run.db"
    wb.scan({"m": run(0)}, store=store, progress=False)
    command = [sys.executable, "-m", "weibnb.cli", "watch", str(store)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        assert "errors" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(WAIT) == 1
        assert process.stderr.read() == ""
