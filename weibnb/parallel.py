"""Threads: how many there may be, and rows of a table worked on side by side."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")
# Matrices that a thread takes at once: fewer are not worth one, more are not needed.
_FEWEST, _MOST = 8, 64


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_workers(workers: int | None) -> int:
    """Return a valid number of threads, that of the usable cores for None.

    Raises
    ------
    TypeError, ValueError
        If it is no integer, or less than 1.
    """
    if workers is None:
        return usable_cores()
    if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)):
        raise TypeError(f"`workers` must be an integer, got {workers!r}.")
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1, got {workers}.")
    return int(workers)


def on_threads(job: Callable[[T], R], parts: Iterable[T], workers: int | None) -> list[R]:
    """Run a job for every part, in the order of the parts; one part needs no thread."""
    listed = list(parts)
    number = min(check_workers(workers), len(listed))
    if number <= 1:
        return [job(part) for part in listed]
    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(job, listed))


def shares(matrices: int, workers: int | None) -> list[slice]:
    """Cut matrices into slices for so many threads, of 8 to 64 each."""
    each = -(-matrices // check_workers(workers))
    return slices(matrices, min(max(each, _FEWEST), _MOST))


def slices(rows: int, size: int) -> list[slice]:
    """Cut rows into slices of at most `size`; no rows make one empty slice."""
    return [slice(at, min(at + size, rows)) for at in range(0, max(rows, 1), size)]
