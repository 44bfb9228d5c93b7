"""Weights on a torch device, or on their way to one -> counts, a batch of matrices at a time.

Counting leaves a row of a table on the device for each matrix, and nothing waits for it until a
result is asked for: then each table is added up over the processes that share its matrices,
stripped of its empty columns and copied back once.
"""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar

import numpy as np
import torch

from weibnb.histogram import FORMATS, Counts, Format, format_of, from_counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from weibnb.histogram import Bits

    Items: TypeAlias = Sequence[tuple[torch.Tensor, int]]
    Kernel: TypeAlias = Callable[[Items, torch.Tensor, Format, int], None]
    _T = TypeVar("_T")

# Bytes of a table, and how many of them a format may have before they are fetched.
TABLE, TABLES = 1 << 26, 4
# Bytes of each of the two pairs of buffers through which files reach a device.
STAGE = 1 << 26
_LEAST = 1 << 20
# Bytes that a thread copies at once, and where a matrix starts in a buffer.
_COPY, _ALIGN = 1 << 22, 512
# Weights that torch.bincount takes at once: it needs eight bytes or more for each.
_PART = 1 << 22
# Totals behind the counters of a row: zeros, infinities, NaNs, inexact; then one largest a process.
_TOTALS = 4
_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True, slots=True)
class _Where:
    """What matrices of one table have in common."""

    device: torch.device
    format: Format
    groups: tuple[Any, ...] = ()


class _Table:
    """Rows of counters on a device, handed out one by one."""

    def __init__(self, where: _Where) -> None:
        self.where = where
        rank, processes = 0, 1
        if where.groups:
            rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.slot = where.format.bins + _TOTALS + rank
        columns = where.format.bins + _TOTALS + processes
        self.buffer = _allocate(
            lambda rows: torch.zeros(rows, columns, dtype=torch.int64, device=where.device),
            min(max(TABLE // (8 * columns), 1), 1024),
            least=1,
            what=f"rows of counters on {where.device}",
        )
        self.rows = self.buffer.shape[0]
        self.takers: list[Pending] = []
        cuda = where.device.type == "cuda"
        self._used = torch.cuda.Event() if cuda else None
        self._fetching = torch.cuda.Stream(where.device) if cuda else None
        self.leave()

    @property
    def full(self) -> bool:
        return len(self.takers) == self.rows

    def take(self, taker: Pending) -> int:
        self.takers.append(taker)
        taker.rows += 1
        return len(self.takers) - 1

    def enter(self) -> None:
        """Make the current stream wait for what other streams did here."""
        if self._used is not None:
            torch.cuda.current_stream(self.where.device).wait_event(self._used)

    def leave(self) -> None:
        """Note what the current stream did here."""
        if self._used is not None:
            stream = torch.cuda.current_stream(self.where.device)
            self.buffer.record_stream(stream)
            self._used.record(stream)

    def fetch(self) -> None:
        """Add up over processes, copy back, give every taker its counters and start anew."""
        bins = self.where.format.bins
        used = self.buffer[: len(self.takers)]
        with torch.cuda.stream(self._fetching):  # waits for the counts, not for what came after
            self.enter()
            for group in self.where.groups:
                torch.distributed.all_reduce(used, group=group)
            occupied = used.any(0).nonzero()[:, 0]
            values, columns = used[:, occupied].cpu().numpy(), occupied.cpu().numpy()
            used.zero_()
            self.leave()
        split = int(np.searchsorted(columns, bins))
        totals = np.zeros((len(values), self.buffer.shape[1] - bins), np.int64)
        totals[:, columns[split:] - bins] = values[:, split:]
        for taker, row, rest in zip(self.takers, values[:, :split], totals, strict=True):
            found = np.flatnonzero(row)
            taker.add(_Part(self.where.format, columns[found], row[found], rest))
        self.takers = []


@dataclass(frozen=True, slots=True)
class _Part:
    """Counters of one matrix, or of a part of it, on the host."""

    format: Format
    occupied: NDArray[np.int64]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]

    def finish(self) -> Counts:
        zeros, infinities, nans, inexact = (int(total) for total in self.totals[:_TOTALS])
        return from_counters(
            self.format,
            self.occupied,
            self.counts,
            (zeros, nans, infinities),
            inexact=inexact > 0,
            largest=int(self.totals[_TOTALS:].max()),
        )


class Pending:
    """Counts of a matrix that a device is counting, or will count; made by `DeviceCounter`.

    Parameters
    ----------
    counter : DeviceCounter
        Whose fetch fills it.
    """

    def __init__(self, counter: DeviceCounter) -> None:
        self._counter = counter
        self._parts: list[_Part] = []
        self.rows = 0  # on devices

    def add(self, part: _Part) -> None:
        """Take over what a table held of this matrix."""
        self._parts.append(part)
        self.rows -= 1

    def result(self) -> Counts:
        """Wait for the counts.

        Returns
        -------
        Counts
            Of the whole matrix.

        Raises
        ------
        RuntimeError
            If the counter was closed before.
        """
        if self.rows:
            self._counter.fetch(self)
        if self.rows or not self._parts:
            raise RuntimeError("The counter was closed before the counts were fetched from it.")
        total = self._parts[0].finish()
        for part in self._parts[1:]:
            total += part.finish()
        return total


@dataclass(slots=True, eq=False)
class _Stage:
    """A buffer on the host and its twin on a device: filled, copied, counted, filled again."""

    host: torch.Tensor
    twin: torch.Tensor
    stream: torch.cuda.Stream | None = None
    done: torch.cuda.Event | None = None
    work: list[tuple[_Table, int, int, int]] = field(default_factory=list)
    copies: list[Future[None]] = field(default_factory=list)
    filled: int = 0

    @property
    def free(self) -> bool:
        return self.done is None or self.done.query()

    def wait(self) -> None:
        if self.done is not None:
            self.done.synchronize()

    @property
    def room(self) -> int:
        return self.host.numel() - self.filled

    def copy(self, octets: NDArray[np.uint8], pool: ThreadPoolExecutor) -> None:
        """Begin to copy bytes behind those that are here."""
        target = self.host.numpy()[self.filled : self.filled + octets.size]
        for at in range(0, octets.size, _COPY):
            part = slice(at, at + _COPY)
            self.copies.append(pool.submit(np.copyto, target[part], octets[part]))

    def words(self, start: int, n: int, form: Format) -> torch.Tensor:
        """View what came to the device as words of a format."""
        width = form.bits.itemsize
        return self.twin[start : start + n * width].view(_SIGNED[width])


class DeviceCounter:
    """Counts magnitudes on devices that torch knows.

    Parameters
    ----------
    devices : sequence of torch.device
        Where arrays of the host are counted, whichever is free. Tensors are counted where they
        are.
    workers : int
        Threads that copy from the host.

    Notes
    -----
    Tensors are counted on the current stream of their device, in order with what else runs there,
    and are neither copied (except those whose memory has gaps, a part at a time) nor waited for.
    Arrays pass through two buffers of fixed size a device, on a stream of its own. A device
    needs these buffers, `STAGE` bytes each, and for each format a table of `TABLE` bytes, or up to
    `TABLES` of them where many matrices are submitted at once.

    Examples
    --------
    >>> with DeviceCounter([torch.device("cpu")]) as counter:
    ...     pending = counter.submit(torch.tensor([1.0, -1.0, 0.0]))
    ...     pending.result()
    <Counts of 2 non-zero weights in 1 values, 1 zeros, 0 not finite>
    """

    def __init__(self, devices: Sequence[torch.device], *, workers: int = 1) -> None:
        self._devices = list(devices)
        self._copiers = ThreadPoolExecutor(workers)
        self._tables: dict[_Where, list[_Table]] = {}
        self._queue: dict[_Table, list[tuple[torch.Tensor, int]]] = {}
        self._stages: list[_Stage] = []
        self._filling: _Stage | None = None
        self._kernels: dict[_Where, Kernel] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of tables and buffers, once the devices have done with them."""
        self._copiers.shutdown(cancel_futures=True)
        for stage in self._stages:
            stage.wait()
        self._stages, self._tables, self._queue, self._filling = [], {}, {}, None

    def submit(self, weights: torch.Tensor | Bits, dtype: str | None = None) -> Pending:
        """Take a matrix in: a tensor to be counted where it is, or bit patterns of the host.

        Parameters
        ----------
        weights : torch.Tensor or ndarray of unsigned int, shape (n,)
            A tensor of any shape, a DTensor of which each process holds a shard, or patterns.
            A tensor may change once `launch` was called.
        dtype : str, optional
            Format of the patterns: a key of `FORMATS`. A tensor knows its own.

        Returns
        -------
        Pending
            Its ``result()`` gives the counts.

        Raises
        ------
        TypeError
            If the tensor is not of a floating-point format that weibnb counts.
        ValueError
            If it is a DTensor of partial sums.
        """
        pending = Pending(self)
        with torch.inference_mode(mode=False), torch.no_grad():
            if isinstance(weights, torch.Tensor):
                self._enqueue(weights, pending)
            else:
                self._feed(weights, FORMATS[dtype or ""], pending)
        return pending

    def launch(self) -> None:
        """Start counting what was submitted; waits for nothing where the kernel counts."""
        with torch.inference_mode(mode=False), torch.no_grad():
            self._send()
            for table, items in self._queue.items():
                self._count(table, items)
            self._queue.clear()

    def fetch(self, pending: Pending | None = None) -> None:
        """Wait for the devices and take back what they counted.

        Parameters
        ----------
        pending : Pending, optional
            Only the tables that hold a part of it. By default all.
        """
        self.launch()
        with torch.inference_mode(mode=False), torch.no_grad():
            for table in itertools.chain.from_iterable(self._tables.values()):
                if table.takers and (pending is None or pending in table.takers):
                    table.fetch()

    def _row(self, where: _Where, pending: Pending) -> tuple[_Table, int]:
        """Give a matrix a row; where all tables are full they are emptied first."""
        tables = self._tables.setdefault(where, [])
        if len(tables) < TABLES and all(table.full for table in tables):
            try:
                tables.append(_Table(where))
            except MemoryError:
                if not tables:
                    raise
        if all(table.full for table in tables):
            self.launch()
            for table in tables:
                table.fetch()
        table = next(table for table in tables if not table.full)
        return table, table.take(pending)

    def _count(self, table: _Table, items: list[tuple[torch.Tensor, int]]) -> None:
        if table.where not in self._kernels:
            self._kernels[table.where] = choose_kernel(table.where.device, table.where.format)
        table.enter()
        self._kernels[table.where](items, table.buffer, table.where.format, table.slot)
        table.leave()

    def _enqueue(self, tensor: torch.Tensor, pending: Pending) -> None:
        """Note a tensor for the next launch; one with gaps is packed and launched in parts."""
        local, groups = _local(tensor.detach())
        name = str(local.dtype).removeprefix("torch.")
        where = _Where(local.device, format_of(name), groups)
        table, row = self._row(where, pending)
        word = _SIGNED[local.element_size()]
        flat = _without_gaps(local)
        if flat is not None:
            self._queue.setdefault(table, []).append((flat.view(word), row))
            return
        self.launch()
        for part in _packed(local):
            self._count(table, [(part.view(word), row)])

    def _feed(self, bits: Bits, form: Format, pending: Pending) -> None:
        """Copy patterns into the buffers, and send each that is full on its way."""
        octets, width = bits.reshape(-1).view(np.uint8), form.bits.itemsize
        rows: dict[_Where, tuple[_Table, int]] = {}
        at = 0
        while at < octets.size or not rows:
            stage = self._filling = self._filling or self._free_stage()
            where = _Where(stage.twin.device, form)
            if where not in rows:
                rows[where] = self._row(where, pending)
                continue  # to empty the table, what was filled may have been sent
            length = min(octets.size - at, stage.room)
            stage.copy(octets[at : at + length], self._copiers)
            stage.work.append((*rows[where], stage.filled, length // width))
            stage.filled += -(-length // _ALIGN) * _ALIGN
            at += length
            if not stage.room:
                self._send()

    def _send(self) -> None:
        """Copy what was filled to its device and count it there, on the device's own stream."""
        stage, self._filling = self._filling, None
        if stage is None:
            return
        for copy in stage.copies:
            copy.result()
        with torch.cuda.stream(stage.stream):
            stage.twin[: stage.filled].copy_(stage.host[: stage.filled], non_blocking=True)
            for table in dict.fromkeys(table for table, *_ in stage.work):
                items = [
                    (stage.words(start, n, table.where.format), row)
                    for owner, row, start, n in stage.work
                    if owner is table
                ]
                self._count(table, items)
            if stage.done is not None:
                stage.done.record()
        stage.work, stage.copies, stage.filled = [], [], 0

    def _free_stage(self) -> _Stage:
        """Choose a buffer that its device has counted, make one, or wait for the oldest."""
        stage = next((stage for stage in self._stages if stage.free), None)
        if stage is None and len(self._stages) < 2 * len(self._devices):
            stage = _new_stage(self._devices[len(self._stages) % len(self._devices)])
            self._stages.append(stage)
        if stage is None:
            stage = self._stages[0]
            stage.wait()
        self._stages.remove(stage)
        self._stages.append(stage)
        return stage


def choose_kernel(device: torch.device, form: Format) -> Kernel:
    """Choose what counts on a device: the Triton kernel on CUDA, else `torch.bincount`.

    Parameters
    ----------
    device : torch.device
        The device.
    form : Format
        What it will count.

    Returns
    -------
    callable
        Takes words with their rows, the table, their format and the column of the largest.

    Notes
    -----
    Triton counts in shared memory from version 3.8; where it is older, missing or cannot compile,
    and on other devices, `torch.bincount` counts.
    """
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if not interpreted and (device.type != "cuda" or torch.version.cuda is None):
        return count_by_bincount
    try:
        from weibnb import _gpu_kernel
    except ImportError:
        return count_by_bincount
    if problem := _gpu_kernel.problem(device, form):
        warnings.warn(f"{problem}; torch.bincount counts instead, more slowly.", stacklevel=2)
        return count_by_bincount
    return _gpu_kernel.launch


def count_by_bincount(
    items: Sequence[tuple[torch.Tensor, int]], table: torch.Tensor, form: Format, slot: int
) -> None:
    """Add words to their rows of a table with `torch.bincount`, on any device.

    Parameters
    ----------
    items : sequence of (torch.Tensor, int)
        Words of signed integers, one-dimensional, and their row.
    table : torch.Tensor of int64, shape (rows, columns)
        Counters of finite non-zero magnitudes; zeros, infinities, NaNs, inexact; largest.
    form : Format
        Of the words.
    slot : int
        Column of the largest.
    """
    for words, row in items:
        size, at = _PART, 0
        while at < words.numel():
            try:
                counted, largest = _bincount(words[at : at + size], form)
            except torch.OutOfMemoryError:
                if size <= _LEAST:
                    raise
                size //= 2
                told = f"{2 * size:,} weights at once on {words.device}: {size:,} must do."
                warnings.warn(f"There is too little memory for {told}", stacklevel=2)
                continue
            table[row, : counted.numel()] += counted
            table[row, slot] = torch.maximum(table[row, slot], largest)
            at += size


def _bincount(words: torch.Tensor, form: Format) -> tuple[torch.Tensor, torch.Tensor]:
    """Count words as a row of a table does; give the largest apart."""
    infinity, finite = form.infinity << form.shift, form.finite << form.shift
    magnitude = words.to(torch.int64) & ((1 << 8 * words.element_size() - 1) - 1)
    place = torch.where(magnitude < finite, magnitude >> form.shift, form.bins + 2)
    place = torch.where(magnitude == infinity, form.bins + 1, place)
    place = torch.where(magnitude == 0, form.bins, place)
    counted = torch.bincount(place, minlength=form.bins + _TOTALS)
    if not form.shift:
        return counted, magnitude.new_zeros(())
    counted[form.bins + 3] = ((magnitude & ((1 << form.shift) - 1)) != 0).sum()
    return counted, torch.where(magnitude < finite, magnitude, 0).max()


def _new_stage(device: torch.device) -> _Stage:
    cuda = device.type == "cuda"

    def make(octets: int) -> tuple[torch.Tensor, torch.Tensor]:
        host = torch.empty(octets, dtype=torch.uint8, pin_memory=cuda)
        return host, torch.empty(octets, dtype=torch.uint8, device=device)

    host, twin = _allocate(make, STAGE, least=_LEAST, what=f"bytes of a buffer for {device}")
    if not cuda:
        return _Stage(host, twin)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return _Stage(host, twin, stream, done=torch.cuda.Event())


def _allocate(make: Callable[[int], _T], size: int, *, least: int, what: str) -> _T:
    """Allocate as much as there is room for, half of it if there is not, and say so."""
    wanted = size
    while True:
        try:
            made = make(size)
        except torch.OutOfMemoryError as err:
            if size <= least:
                raise MemoryError(f"There is no memory for {size:,} {what}: {err}") from err
            size //= 2
        else:
            break
    if size < wanted:
        warnings.warn(
            f"There is too little memory for {wanted:,} {what}: {size:,} must do.", stacklevel=2
        )
    return made


def _local(tensor: torch.Tensor) -> tuple[torch.Tensor, tuple[Any, ...]]:
    """Give what this process holds of a tensor, and the groups over which counts add up."""
    module = sys.modules.get("torch.distributed.tensor")
    if module is None or not isinstance(tensor, module.DTensor):
        return tensor, ()
    if any(placement.is_partial() for placement in tensor.placements):
        raise ValueError(
            f"`weights` must not be a DTensor of partial sums, got {tensor.placements}. "
            "Redistribute it first."
        )
    split = [i for i, place in enumerate(tensor.placements) if not place.is_replicate()]
    return tensor.to_local(), tuple(tensor.device_mesh.get_group(i) for i in split)


def _without_gaps(tensor: torch.Tensor) -> torch.Tensor | None:
    """View a tensor that fills its memory, in whatever order, as one-dimensional."""
    expected = 1
    for stride, length in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if length > 1 and stride != expected:
            return None
        expected *= length
    return tensor.as_strided((expected,), (1,))


def _packed(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Give contiguous copies of the parts of a tensor, each of bounded size."""
    if tensor.numel() <= _PART or not tensor.dim():
        yield tensor.contiguous().view(-1)
        return
    parts = tensor.chunk(2) if len(tensor) > 1 else tensor.unbind()
    for part in parts:
        yield from _packed(part)
