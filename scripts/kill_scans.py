"""Kill scans into a store at random moments, go on, and compare with a scan that was left alone.

    python scripts/kill_scans.py --kills 100

A process that has imported everything forks a child for each scan, so that moments are spread
over the scan and not over the imports. The child notes when each matrix was handed over; what was
handed over and is not in the store after the kill is lost work.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.scanning.results import Results

if TYPE_CHECKING:
    from weibnb.fits.build import Matrix

_NOTE = struct.Struct("<d")


def write_checkpoint(path: Path, matrices: int, size: int) -> None:
    """Write a checkpoint of many small matrices."""
    rng = np.random.default_rng(0)
    save_file(
        {
            f"model.layers.{i // 2}.mlp.{('up', 'down')[i % 2]}_proj.weight": rng.normal(
                0, 0.02, (size, size)
            ).astype(np.float16)
            for i in range(matrices)
        },
        path,
    )


def scan_in_child(source: Path, store: Path) -> tuple[int, int]:
    """Begin a scan in a forked child; give its number and the pipe of its notes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    os.close(reader)
    add = Results.add

    def note(results: Results, matrix: Matrix) -> None:
        os.write(writer, _NOTE.pack(time.monotonic()))
        add(results, matrix)

    Results.add = note  # type: ignore[method-assign, assignment]  # in this child alone
    status = 1
    try:
        wb.scan(source, store=store, progress=False, workers=1)
        status = 0
    finally:
        os._exit(status)


def done_in(store: Path) -> int:
    """Count the matrices that a store holds."""
    try:
        with wb.open_fits(store) as fits:
            return int((fits["status"] != "pending").sum())
    except (FileNotFoundError, wb.FitsError):  # killed before there were tables
        return 0


def kill_once(source: Path, store: Path, moment: float, before: int) -> tuple[bool, float]:
    """Scan until `moment` seconds are over; tell whether it was killed, and seconds lost."""
    child, reader = scan_in_child(source, store)
    time.sleep(moment)
    killed = time.monotonic()
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        notes = [when for (when,) in _NOTE.iter_unpack(pipe.read())]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a scan that was not killed failed")
    kept = done_in(store) - before
    lost = killed - notes[kept] if kept < len(notes) else 0.0
    return os.WIFSIGNALED(status), lost


def main() -> int:
    """Print one line of figures as JSON; status 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--matrices", type=int, default=6000)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    killed, losses, finished = 0, [], 0
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "model.safetensors")
        write_checkpoint(source, options.matrices, options.size)
        wb.scan(source, progress=False, workers=1)  # compiles
        started = time.monotonic()
        alone = wb.scan(source, progress=False, workers=1)
        seconds = time.monotonic() - started
        while killed < options.kills:
            store = Path(directory, f"fits{finished}.db")
            before = 0
            while before < options.matrices and killed < options.kills:
                moment = float(rng.uniform(0, seconds))
                was_killed, lost = kill_once(source, store, moment, before)
                killed += was_killed
                losses.append(lost)
                before = done_in(store)
            fits = wb.scan(source, store=store, progress=False, workers=1).load()
            fits.attrs["created"] = alone.attrs["created"]
            xr.testing.assert_identical(fits, alone)
            finished += 1
    figures = {
        "kills": killed,
        "scans": finished,
        "identical": True,
        "lost_at_most_s": round(max(losses), 3),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
