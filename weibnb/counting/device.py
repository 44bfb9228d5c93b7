"""Weights on a torch device, or on their way to one -> counts, a batch of matrices at a time.

Counting leaves a row of a table on the device for each matrix, and nothing waits for it until a
result is asked for: then each table is added up over the processes that share its matrices,
stripped of its empty columns and copied back once.
"""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from weibnb.counting.formats import FORMATS, Format, format_of
from weibnb.counting.staging import SIGNED, new_stage
from weibnb.counting.tables import Table, Where, choose_kernel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from weibnb.counting.counts import Counts
    from weibnb.counting.cpu import Bits
    from weibnb.counting.staging import Stage
    from weibnb.counting.tables import Kernel, Part

# Tables that a format may have before they are fetched.
TABLES = 4
# Where a matrix starts in a buffer.
_ALIGN = 512
# Weights of a tensor with gaps that are packed at once.
_PACKED = 1 << 22


class Pending:
    """Counts of a matrix that a device is counting, or will count; made by `DeviceCounter`.

    Parameters
    ----------
    counter : DeviceCounter
        Whose fetch fills it.
    """

    def __init__(self, counter: DeviceCounter) -> None:
        self._counter = counter
        self._parts: list[Part] = []
        self.rows = 0  # on devices

    def add(self, part: Part) -> None:
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
    needs these buffers, 64 MiB each, and for each format a table of 64 MiB at most, or up to
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
        self._tables: dict[Where, list[Table]] = {}
        self._queue: dict[Table, list[tuple[torch.Tensor, int]]] = {}
        self._stages: list[Stage] = []
        self._filling: Stage | None = None
        self._kernels: dict[Where, Kernel] = {}

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

    def _row(self, where: Where, pending: Pending) -> tuple[Table, int]:
        """Give a matrix a row; where all tables are full they are emptied first."""
        tables = self._tables.setdefault(where, [])
        if len(tables) < TABLES and all(table.full for table in tables):
            try:
                tables.append(Table(where))
            except MemoryError:
                if not tables:
                    raise
        if all(table.full for table in tables):
            self.launch()
            for table in tables:
                table.fetch()
        table = next(table for table in tables if not table.full)
        return table, table.take(pending)

    def _count(self, table: Table, items: list[tuple[torch.Tensor, int]]) -> None:
        if table.where not in self._kernels:
            self._kernels[table.where] = choose_kernel(table.where.device, table.where.format)
        table.enter()
        self._kernels[table.where](items, table.buffer, table.where.format, table.slot)
        table.leave()

    def _enqueue(self, tensor: torch.Tensor, pending: Pending) -> None:
        """Note a tensor for the next launch; one with gaps is packed and launched in parts."""
        local, groups = _local(tensor.detach())
        name = str(local.dtype).removeprefix("torch.")
        where = Where(local.device, format_of(name), groups)
        table, row = self._row(where, pending)
        word = SIGNED[local.element_size()]
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
        rows: dict[Where, tuple[Table, int]] = {}
        at = 0
        while at < octets.size or not rows:
            stage = self._filling = self._filling or self._free_stage()
            where = Where(stage.twin.device, form)
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

    def _free_stage(self) -> Stage:
        """Choose a buffer that its device has counted, make one, or wait for the oldest."""
        stage = next((stage for stage in self._stages if stage.free), None)
        if stage is None and len(self._stages) < 2 * len(self._devices):
            stage = new_stage(self._devices[len(self._stages) % len(self._devices)])
            self._stages.append(stage)
        if stage is None:
            stage = self._stages[0]
            stage.wait()
        self._stages.remove(stage)
        self._stages.append(stage)
        return stage


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
    if tensor.numel() <= _PACKED or not tensor.dim():
        yield tensor.contiguous().view(-1)
        return
    parts = tensor.chunk(2) if len(tensor) > 1 else tensor.unbind()
    for part in parts:
        yield from _packed(part)
