"""The command at a signal, in every phase of its work: status, message, what is kept and left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
ROOT = Path(wb.__file__).parent.parent
STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
LAYERS = 6

# What sends the signals just before its n-th call; the call and the number of matrices kept.
PHASES = {
    "imports": ("weibnb.cli:_parser", 1, None),
    "listing": ("weibnb.scanning.listing:list_matrices", 1, None),
    "first matrix": ("weibnb.counting.cpu:PendingOnThreads.result", 1, None),
    "counting": ("weibnb.counting.cpu:PendingOnThreads.result", 4, 3),
    "last matrix": ("weibnb.counting.cpu:PendingOnThreads.result", LAYERS, LAYERS - 1),
    "fitting": ("weibnb.scanning.fitter:estimate", 1, 1),
    "end of threads": ("weibnb.counting.dispatch:Counting.close", 1, LAYERS),
    "laying out": ("weibnb.scanning.results:lay_out", 1, LAYERS),
    "saving": ("weibnb.writing:tempfile.mkstemp", 1, LAYERS),
    "flushing": ("os:fsync", 1, LAYERS),
    "showing": ("weibnb.cli_scan:table_text", 1, LAYERS),
}
PROGRAM = """if True:
    import importlib, json, os, signal, sys

    def send(*names):
        if names:
            try:
                os.kill(os.getpid(), getattr(signal, names[0]))
            finally:
                send(*names[1:])

    def spring(target, number, act):
        module, path = target.split(":")
        *owners, last = path.split(".")
        owner = importlib.import_module(module)
        for word in owners:
            owner = getattr(owner, word)
        begin, calls = getattr(owner, last), []

        def at_this_call(*given, **named):
            calls.append(1)
            if len(calls) == number:
                act()
            return begin(*given, **named)

        setattr(owner, last, at_this_call)
"""
# Loads what the command needs, and becomes it anew for each line: a fork for each case.
FORKS = """
    import h5netcdf, numpy
    import weibnb.cli, weibnb.diagnostics.check, weibnb.fits.files, weibnb.fits.store
    weight = numpy.random.default_rng(0).normal(0, 1, (40, 24)).astype("f2")
    weibnb.scan({"model.layers.0.mlp.up_proj.weight": weight}, progress=False)

    for line in sys.stdin:
        target, number, names, arguments, *streams = json.loads(line)
        child = os.fork()
        if not child:
            break
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    else:
        sys.exit()
    for stream, path in enumerate(streams):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), stream)
"""
COMMAND = """
    spring(target, number, lambda: send(*names.split()))
    from weibnb.cli import main
    sys.exit(main(arguments))
"""
ONCE = """
    target, number, names, arguments = json.loads(sys.argv[1])
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    code = PROGRAM + FORKS + COMMAND
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


@pytest.fixture
def model(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.{i}.mlp.up_proj.weight": rng.normal(0, 0.02, (40, 24)).astype("f2")
        for i in range(LAYERS)
    }
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    save_file(weights, tmp_path / "in" / "model.safetensors")
    return tmp_path / "in"


def run(code: str, *case: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + code, json.dumps(case)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


@dataclass
class Scan:
    """Scans a model, and sends signals in a phase."""

    model: Path
    process: subprocess.Popen[str]

    def __call__(self, phase: str, names: str, output: str) -> subprocess.CompletedProcess[str]:
        target, number, _ = PHASES[phase]
        arguments = ["scan", str(self.model), "-o", str(self.model.parent / "out" / output)]
        case = target, number, names, arguments
        if phase == "imports":
            return run(ONCE + COMMAND, *case)
        streams = [str(self.model.parent / name) for name in ("stdin", "stdout", "stderr")]
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([*case, *streams]) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        said = [Path(path).read_text() for path in streams[1:]]
        return subprocess.CompletedProcess(arguments, status, *said)


@pytest.fixture
def scan(model: Path, forks: subprocess.Popen[str]) -> Scan:
    return Scan(model, forks)


def left(model: Path) -> set[str]:
    return {path.name for path in (model.parent / "out").iterdir()}


def fitted(model: Path, output: str) -> int:
    with wb.open_fits(model.parent / "out" / output) as fits:
        words = set(fits["status"].values.flat)
        assert words <= {"ok", "pending"}
        return int((fits["status"] == "ok").sum())


@pytest.mark.parametrize(
    ("phase", "name"),
    [(phase, "SIGINT") for phase in PHASES]
    + [(p, name) for p in ("counting", "laying out", "flushing") for name in ("SIGTERM", "SIGHUP")],
)
def test_one_signal_keeps_what_was_counted(model: Path, scan: Scan, phase: str, name: str) -> None:
    done = scan(phase, name, "fits.nc")
    kept = PHASES[phase][2]
    assert done.returncode == STATUS[name], done.stderr
    assert len(done.stderr.splitlines()) == 1
    said = "interrupted" if name == "SIGINT" else f"stopped by {name}"
    assert done.stderr.startswith(f"weibnb: {said}")
    if kept is None:
        assert left(model) == set()
    else:
        assert left(model) == {"fits.nc"}
        number = fitted(model, "fits.nc")
        assert number == kept or (phase == "fitting" and number > kept)  # batches go by time
        assert re.search(f"; the {number} matrices( so far)? are kept in .*fits.nc$", done.stderr)


@pytest.mark.parametrize("phase", PHASES)
def test_a_second_signal_ends_at_once_and_leaves_no_half_file(
    model: Path, scan: Scan, phase: str
) -> None:
    done = scan(phase, "SIGTERM SIGINT", "fits.nc")
    assert (done.returncode, done.stdout, done.stderr) == (STATUS["SIGINT"], "", "")
    assert left(model) <= ({"fits.nc"} if phase == "showing" else set())


@pytest.mark.parametrize("phase", ["counting", "fitting", "end of threads", "showing"])
def test_a_store_goes_on_from_there(model: Path, scan: Scan, phase: str) -> None:
    done = scan(phase, "SIGTERM", "fits.db")
    assert done.returncode == STATUS["SIGTERM"], done.stderr
    assert len(done.stderr.splitlines()) == 1
    if phase != "showing":
        assert done.stderr.endswith("fits.db; the same command goes on from there\n")
    number, kept = fitted(model, "fits.db"), PHASES[phase][2]
    assert number == kept or (phase == "fitting" and number > 0)
    assert scan(phase, "", "fits.db").returncode == 0
    assert fitted(model, "fits.db") == LAYERS


@pytest.mark.parametrize("phase", ["counting", "laying out"])
def test_in_a_program_of_the_user(model: Path, phase: str) -> None:
    """The library raises, and installs no handler of its own."""
    code = """
    spring(target, number, lambda: send(names))
    import weibnb as wb
    try:
        wb.scan(arguments)
    except wb.ScanInterrupted as stop:
        print(int((stop.fits["status"] == "ok").sum()))
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """
    target, number, kept = PHASES[phase]
    done = run(ONCE + code, target, number, "SIGINT", str(model))
    assert (done.stdout.split(), done.stderr) == ([str(kept), "True"], "")


def test_a_terminal_that_closes_costs_no_fits(model: Path) -> None:
    import pty

    target, number, kept = PHASES["counting"]
    file = model.parent / "out" / "fits.nc"
    code = (
        PROGRAM + ONCE + COMMAND.replace("send(*names.split())", "(print(names), signal.pause())")
    )
    case = json.dumps([target, number, "now", ["scan", str(model), "-o", str(file)]])
    child, terminal = pty.fork()
    if child == 0:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.execv(sys.executable, [sys.executable, "-uc", code, case])  # noqa: S606
    seen = b""
    while b"now" not in seen:
        seen += os.read(terminal, 1024)
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 128 + signal.SIGHUP
    assert fitted(model, "fits.nc") == kept
