"""What the benchmarks share: large checkpoints on disk, paired timing, private memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Width and depth of a bf16 checkpoint of about 1 GB.
WIDTH, FEED_FORWARD, LAYERS = 2048, 8192, 8


@pytest.fixture(scope="session")
def gigabyte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one safetensors file of 1.07 GB, bf16."""
    return warm(
        write_checkpoint(
            tmp_path_factory.mktemp("one"), layers=LAYERS, hidden=WIDTH, intermediate=FEED_FORWARD
        )
    )


@pytest.fixture(scope="session")
def four_gigabytes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same four times as deep."""
    return warm(
        write_checkpoint(
            tmp_path_factory.mktemp("four"),
            layers=4 * LAYERS,
            hidden=WIDTH,
            intermediate=FEED_FORWARD,
        )
    )


def warm(checkpoint: Path) -> Path:
    """Bring a checkpoint into the page cache by reading it, as a user's machine would have."""
    file = checkpoint / "model.safetensors"
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)
    subprocess.run(["cat", str(file)], stdout=subprocess.DEVNULL, check=True)
    return checkpoint


def seconds(job: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def paired_ratio(
    job: Callable[[], object], beside: Callable[[], object], *, rounds: int = 9
) -> tuple[float, float, float]:
    """Run two jobs in turn; return the median of the pairs' ratios and both medians."""
    job()
    beside()
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(seconds(beside))
        ours.append(seconds(job))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return ratio, statistics.median(ours), statistics.median(theirs)


def in_fresh_process(code: str, *arguments: str, cores: int | None = None) -> str:
    """Run Python code in a new interpreter; return what it printed."""
    chosen = None if cores is None else sorted(os.sched_getaffinity(0))[:cores]
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=None if chosen is None else lambda: os.sched_setaffinity(0, chosen),
    ).stdout
