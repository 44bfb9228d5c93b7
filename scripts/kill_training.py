"""Kill a small training at random moments, resume it, and hold its records against a whole one.

    python scripts/kill_training.py --kills 20

A process that has imported everything forks a child for each stretch of the training. The child
notes each step that it records; a record before the last one that is not in the store is lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import weibnb as wb

if TYPE_CHECKING:
    import xarray as xr

EVERY, STEPS = 2, 30


def train(folder: Path, notes: int | None = None) -> None:
    """Train a small model, saved at every sixth step and recorded at every second."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    model = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    start, saved = 0, folder / "state.pt"
    if saved.exists():
        start, weights, moments = torch.load(saved)
        model.load_state_dict(weights)
        optimizer.load_state_dict(moments)
    with wb.Recorder(
        model,
        name="run",
        store=folder / "run.db",
        steps=EVERY,
    ) as recorder:
        recorder.resume(start)
        for step in range(start, STEPS + 1):
            if step % (3 * EVERY) == 0:
                part = folder / "part.pt"
                torch.save((step, model.state_dict(), optimizer.state_dict()), part)
                part.replace(saved)
            if recorder.due(step):
                recorder.record(step)
                if notes is not None:
                    os.write(notes, bytes([step]))
            torch.manual_seed(step)
            optimizer.zero_grad()
            model(torch.randn(4, 8, 16)).square().mean().backward()
            optimizer.step()


def stretch(folder: Path, seconds: float | None) -> tuple[bool, list[int]]:
    """Go on with a training in a child, killed after some time; tell if it ended, and its steps."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            train(folder, writing)
            code = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    os.close(writing)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as notes:
        steps = list(notes.read())
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a training has failed")
    return not os.WIFSIGNALED(status), steps


def whole_steps(store: Path) -> list[int]:
    """Give the steps of which every matrix is in a store."""
    if not store.exists() or not store.stat().st_size:
        return []
    fits = wb.open_fits(store)
    done = (fits["status"] == "ok").all(["model", "layer", "component"])
    return [int(step) for step in fits["step"].values[done.values]]


def are_equal(left: xr.Dataset, right: xr.Dataset) -> bool:
    """Compare fits to the last bit, but for the time they were made."""
    left, right = (fits.load().assign_attrs(created="") for fits in (left, right))
    return left.identical(right)


def main() -> None:
    """Compare a training that was killed with one that was not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    chance = random.Random(given.seed)  # noqa: S311  (no secret)
    with tempfile.TemporaryDirectory() as place:
        folders = [Path(place, name) for name in ("whole", "killed")]
        for folder in folders:
            folder.mkdir()
        train(folders[0])  # here: what it imports and compiles every child has then
        began = time.monotonic()
        stretch(folders[1], None)
        took = time.monotonic() - began
        for file in folders[1].iterdir():
            file.unlink()
        store, kills, lost, ended = folders[1] / "run.db", 0, 0, False
        while kills < given.kills:
            ended, steps = stretch(folders[1], chance.uniform(0.02, 0.5) * took)
            kills += not ended
            missing = set(steps[:-1]) - set(whole_steps(store))
            lost = max(lost, len(missing))
            if ended:  # before it was killed: once more from the start, into the same store
                (folders[1] / "state.pt").unlink()
        stretch(folders[1], None)
        fits = [wb.open_fits(folder / "run.db") for folder in folders]
        figures = {
            "kills": kills,
            "lost_before_the_last": lost,
            "models": fits[1]["model"].values.tolist(),
            "identical": are_equal(*fits),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
