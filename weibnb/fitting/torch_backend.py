"""Fits and statistics of a `CountRows` by torch, batch by batch, on the device that is chosen."""

from __future__ import annotations

import threading
import warnings
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from weibnb.counting.transfers import to_device
from weibnb.fitting.status import MINIMUM_WEIGHTS
from weibnb.fitting.torch_clusters import classes_of, clustered_part
from weibnb.fitting.torch_fit import fit_batch
from weibnb.fitting.torch_rows import TensorRows
from weibnb.parallel import on_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows
    from weibnb.fitting.torch_rows import Numbers

    Array = NDArray[np.float64]
    T = TypeVar("T")
    Fitted = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]
    Job = Callable[[Numbers], Fitted]

# Entries of a batch: what stays in the cache of a core, and what keeps a device busy.
_ON_CPU, ON_DEVICE = 1 << 18, 1 << 23
# Held while torch's number of threads is another one.
_ALONE = threading.Lock()


def fit_rows(
    rows: CountRows,
    grid: tuple[Array, NDArray[np.int8]],
    trim: tuple[float, float],
    *,
    likelihood: bool,
    device: torch.device,
    workers: int | None,
    influence: bool = False,
    covariance: Array | None = None,
) -> tuple[Array, Array, Array | None]:
    """Fit every matrix of a `CountRows`.

    Parameters
    ----------
    rows : CountRows
        The counts.
    grid : tuple of ndarray
        ln|w| of the bins, (2, bins), and how coarse they are, (bins,): see
        `weibnb.fitting.kernels.fit_rows`.
    trim, likelihood
        The protocol.
    device : torch.device
        Where.
    workers : int, optional
        Threads, on the CPU.
    influence : bool
        Whether the influence of each bin is asked for.
    covariance : ndarray, shape (matrices, 15), optional
        That of rank functions within rows and columns, from an earlier scan.

    Returns
    -------
    ndarray, shape (matrices, 10)
        As of `weibnb.fitting.kernels.fit_rows`.
    ndarray, shape (2, entries)
        Influence of each bin on k and ln λ, or (2, 0) where it is not asked for.
    ndarray, shape (matrices, 2, 2), or None
        With a `covariance`: that of k and ln λ beyond independent weights.

    Raises
    ------
    MemoryError
        If the device has no memory for the counts, or for the fit of a single matrix.
    """
    try:
        counts = TensorRows(rows, *grid, device)
    except torch.OutOfMemoryError as err:
        raise _no_memory(device, "the counts that are to be fitted", err) from err

    known = covariance is not None

    def job(numbers: Numbers) -> Fitted:
        batch = counts.batch(numbers)
        how: Any = {"likelihood": likelihood, "minimum": MINIMUM_WEIGHTS}
        table, v = fit_batch(batch, trim, influence=influence or known, **how)
        if covariance is None or v is None:
            return table, v, None
        own = to_device(covariance[numbers], device)
        beyond = clustered_part(classes_of(batch.counts, v), own)
        return table, v if influence else None, beyond

    number = counts.sizes.size
    table, beyond = np.empty((number, 10)), np.empty((number, 2, 2))
    v = np.empty((2, counts.sizes.sum() if influence else 0))
    starts = rows.starts[:-1] - rows.starts[0]
    for numbers, (columns, some, composed) in _in_batches(counts, job, workers):
        table[numbers] = columns.numpy()
        if composed is not None:
            beyond[numbers] = composed.numpy()
        if some is not None:
            place = np.arange(some.shape[2])
            there = place < counts.sizes[numbers, None]
            v[:, (starts[numbers, None] + place)[there]] = some.numpy()[:, there]
    return table, v, beyond if known else None


def _in_batches(
    counts: TensorRows, job: Job, workers: int | None
) -> Iterator[tuple[Numbers, Fitted]]:
    """Do a job for every batch; give the numbers of its matrices and the result, on the host."""
    if counts.device.type == "cpu":
        parts = counts.batches(_ON_CPU)
        with _one_thread_an_operation():
            found = on_threads(job, parts, workers)
    else:
        with side_stream(counts.device), torch.no_grad():
            parts, found = with_less_memory(job, counts.batches(ON_DEVICE), counts.device)
            found = [_on_host(*fitted) for fitted in found]
    return zip(parts, found, strict=True)


def _on_host(table: torch.Tensor, v: torch.Tensor | None, beyond: torch.Tensor | None) -> Fitted:
    """Bring the result of a job back."""
    return (
        table.cpu(),
        None if v is None else v.cpu(),
        None if beyond is None else beyond.cpu(),
    )


def with_less_memory(
    job: Callable[[Numbers], T], parts: list[Numbers], device: torch.device
) -> tuple[list[Numbers], list[T]]:
    """Do a job for every batch, in halves where the device has too little memory for one."""
    left, told = parts[::-1], False
    done: list[Numbers] = []
    found: list[T] = []
    while left:
        numbers = left.pop()
        try:
            found.append(job(numbers))
        except torch.OutOfMemoryError as err:
            if numbers.size == 1:
                raise _no_memory(device, "the fit of one matrix", err) from err
            if not told:
                what = f"the fit of {numbers.size:,} matrices at once on {device}"
                warnings.warn(f"There is too little memory for {what}: fewer do.", stacklevel=2)
            told = True
            left += [numbers[numbers.size // 2 :], numbers[: numbers.size // 2]]
        else:
            done.append(numbers)
    return done, found


def _no_memory(device: torch.device, what: str, err: Exception) -> MemoryError:
    """Make the error for a device that cannot go on."""
    return MemoryError(
        f"There is no memory on {device} for {what}: {err}. Fit on the CPU with backend='numba'."
    )


def side_stream(device: torch.device) -> torch.cuda.StreamContext | nullcontext[None]:
    """Fit beside what else runs on a CUDA device."""
    if device.type != "cuda":
        return nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))


@contextmanager
def _one_thread_an_operation() -> Iterator[None]:
    """Let each operation run on the thread that calls it: batches run side by side instead."""
    with _ALONE:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
