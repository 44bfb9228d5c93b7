"""Runs cases in a process of their own, so that a hang, a crash or a memory bomb is a finding.

Case i of a target is drawn from (seed, target, i) alone: what is found once is found again by
``python scripts/fuzz.py --target T --seed S --first I --cases 1 --keep DIR`` (of fits and stores up
to the time and place at which the undamaged ones were made).
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.fuzz.corpus import Files

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Target:
    """One kind of files.

    Attributes
    ----------
    undamaged : callable
        Makes files that are read.
    draw : callable
        Makes the files of a case from a source of chance.
    read : callable
        Reads them in a directory: True if they were read, False if they were refused. Whatever it
        raises is a finding.
    """

    undamaged: Callable[[], Files]
    draw: Callable[[Random], Files]
    read: Callable[[Path], bool]


@dataclass(slots=True)
class Outcome:
    """What became of the cases of one target."""

    target: str
    read: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds of processor time of one case
    memory: float = 0.0  # MB beyond what the process had before its first case
    findings: list[str] = field(default_factory=list)

    @property
    def cases(self) -> int:
        """Number of cases that were run."""
        return self.read + self.refused + len(self.findings)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one case may take."""

    seconds: float = 1.0
    megabytes: float = 200.0
    hang: float = 20.0  # seconds of a clock on the wall until a process is ended


def run(
    name: str, *, seed: int, first: int, cases: int, bounds: Bounds, module: str = __name__
) -> Outcome:
    """Run cases of a target, in a new process after every crash."""
    outcome, end = Outcome(name), first + cases
    while first < end:
        command = [sys.executable, "-m", module, name, str(seed), str(first), str(end)]
        first = _run_process(outcome, command, first, end, bounds)
    return outcome


def _run_process(outcome: Outcome, command: list[str], first: int, end: int, bounds: Bounds) -> int:
    """Run cases until the end or a crash; returns the case to go on with."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    running, rest = first, b""
    with process:
        stream: IO[bytes] = process.stdout  # type: ignore[assignment]  # it is a pipe
        while True:
            # the first line comes after the imports, and after the last the process has to end
            patience = bounds.hang + 60 * (running in (first, end))
            if not select.select([stream], [], [], patience)[0]:
                process.kill()
                outcome.findings.append(f"case {running}: took more than {patience:g} s")
                return running + 1
            received = os.read(stream.fileno(), 1 << 16)
            if not received:
                break
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                note = json.loads(line)
                _take(outcome, note, bounds)
                running = note["case"] + 1
    if running < end:
        outcome.findings.append(f"case {running}: the process ended ({process.returncode})")
        return running + 1
    return end


def _take(outcome: Outcome, note: dict[str, Any], bounds: Bounds) -> None:
    """Count the outcome of one case."""
    problem = note["problem"]
    if not problem and note["seconds"] > bounds.seconds:
        problem = f"took {note['seconds']:.1f} s"
    grown = note["megabytes"] > max(bounds.megabytes, outcome.memory)
    if not problem and grown:
        problem = f"took {note['megabytes']:.0f} MB"
    outcome.slowest = max(outcome.slowest, note["seconds"])
    outcome.memory = max(outcome.memory, note["megabytes"])
    if problem:
        outcome.findings.append(f"case {note['case']}: {problem}")
    elif note["read"]:
        outcome.read += 1
    else:
        outcome.refused += 1


def draw(target: Target, name: str, seed: int, case: int) -> Files:
    """Draw a case."""
    return target.draw(Random(f"{seed} {name} {case}"))  # noqa: S311


def write_files(files: Files, directory: Path) -> None:
    """Write files into a directory that holds nothing else."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for file, content in files.items():
        (directory / file).write_bytes(content)


def work(targets: Mapping[str, Target]) -> None:
    """Run the cases that the arguments name (target, seed, first, end), one line for each."""
    name, (seed, first, end) = sys.argv[1], map(int, sys.argv[2:])
    faulthandler.enable()
    target = targets[name]
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "case"
        write_files(target.undamaged(), directory)
        if not target.read(directory):  # it also imports and compiles what the cases need
            raise RuntimeError(f"the files that {name} begins with are refused")
        before = _peak_memory()
        _limit_memory()
        for case in range(first, end):
            write_files(draw(target, name, seed, case), directory)
            started, problem, was_read = time.process_time(), "", False
            try:
                was_read = target.read(directory)
            except Exception:  # noqa: BLE001 - whatever it is, it is a finding
                problem = traceback.format_exc(limit=-3)
            note = {"case": case, "read": was_read, "problem": problem}
            note |= {"seconds": time.process_time() - started, "megabytes": _peak_memory() - before}
            sys.stdout.write(json.dumps(note) + "\n")
            sys.stdout.flush()


def _limit_memory() -> None:
    """Let this process take 2 GB more than it has, where the system can hold it to that."""
    import resource

    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 2_000_000_000, resource.RLIM_INFINITY))


def _peak_memory() -> float:
    """Most MB that this process had."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells there begins with what the parent had
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1e3  # type: ignore[index]
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    from tests.fuzz.targets import FORMATS, OTHERS, TARGETS

    work(TARGETS | OTHERS | FORMATS)
