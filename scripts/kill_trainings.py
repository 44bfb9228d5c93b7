"""Kill trainings of Hugging Face's Trainer at random moments, resume them, and compare.

    python scripts/kill_trainings.py --kills 20

A process that has imported everything forks a child for each training, so that moments are spread
over the training and not over the imports. The child notes each record that was made; what was
noted, and is not in the store after the kill, was not yet written; the resumed training, which
begins before, records it again. A training that came to its end must have the records of one that
was left alone, each once and with the same fits.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import weibnb as wb
from tests.integrations.tiny import trainer
from weibnb.integrations.transformers import WeibullCallback

if TYPE_CHECKING:
    import xarray as xr

_NOTE = struct.Struct("<i")


def train_in_child(out: Path, store: Path, steps: int) -> tuple[int, int]:
    """Begin or go on with a training in a forked child; give its number and the pipe of notes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, reader
    os.close(reader)
    record = wb.Recorder.record

    def note(recorder: wb.Recorder, step: Any) -> None:
        record(recorder, step)
        os.write(writer, _NOTE.pack(step))

    wb.Recorder.record = note  # type: ignore[method-assign, assignment]  # in this child alone
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.dup2(os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        torch.set_num_threads(1)
        callback = WeibullCallback(store, steps=1)
        training = trainer(out, callback, max_steps=steps, save_steps=10)
        training.train(resume_from_checkpoint=newest_checkpoint(out))
        status = 0
    finally:
        os._exit(status)


def newest_checkpoint(out: Path) -> str | None:
    """Find the last checkpoint that was saved as a whole, and remove what was cut short."""
    found = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    while found:
        last = found.pop()
        try:
            json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(last)
        else:
            return str(last)
    return None


def stored(store: Path) -> list[int]:
    """Give the steps in a store whose records are whole."""
    try:
        with wb.open_fits(store) as fits:
            if fits.sizes["model"] > 1:
                raise RuntimeError(f"the run has branches: {fits.model.values}")
            whole = (fits.status == "ok").all(["model", "layer", "component"])
            return [int(step) for step in fits.step.values[whole.values]]
    except (FileNotFoundError, wb.FitsError):  # killed before there were tables
        return []


def finish(child: int, reader: int, store: Path, before: list[int]) -> tuple[bool, list[int]]:
    """Wait for a child; tell whether it was killed, and which records of it were lost."""
    _, status = os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as pipe:
        notes = [step for (step,) in _NOTE.iter_unpack(pipe.read())]
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a training that was not killed failed")
    kept = set(stored(store))
    return os.WIFSIGNALED(status), sorted({*before, *notes} - kept)


def is_same(one: xr.Dataset, other: xr.Dataset) -> bool:
    """Whether two runs have the same records, bit for bit."""
    return one.step.equals(other.step) and all(
        np.array_equal(one[name].values, other[name].values) for name in ("k", "lam", "rms", "n")
    )


def main() -> int:
    """Print one line of figures as JSON; status 1 if a run has other records in the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    late: list[int] = []
    finished, different = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        alone = Path(directory, "alone.db")
        for _ in range(2):  # the first compiles
            alone.unlink(missing_ok=True)
            shutil.rmtree(Path(directory, "alone"), ignore_errors=True)
            begun = time.monotonic()
            finish(*train_in_child(Path(directory, "alone"), alone, options.steps), alone, [])
            seconds = time.monotonic() - begun
        while len(late) < options.kills:
            out = Path(directory, f"run{finished}")
            store = out.with_suffix(".db")
            while len(late) < options.kills:
                before = stored(store)
                child, reader = train_in_child(out, store, options.steps)
                time.sleep(float(rng.uniform(0, seconds)))
                os.kill(child, signal.SIGKILL)
                was_killed, gone = finish(child, reader, store, before)
                if not was_killed:
                    break
                late.append(len(gone))
                records = len(stored(store))
                print(f"kill {len(late)}: {records} records, not yet written: {gone}", flush=True)
            else:  # the last one goes on to its end
                finish(*train_in_child(out, store, options.steps), store, stored(store))
            finished += 1
            with wb.open_fits(alone) as one, wb.open_fits(store) as other:
                different += not is_same(one, other)
    figures = {
        "kills": len(late),
        "seconds_alone": round(seconds, 2),
        "records_not_yet_written_at_most": max(late),
        "kills_with_such_records": sum(number > 0 for number in late),
        "runs_to_the_end": finished,
        "runs_that_differ": different,
    }
    print(json.dumps(figures))
    return int(different > 0)


if __name__ == "__main__":
    raise SystemExit(main())
