"""Weights on a torch device, or on their way to one -> counts, a batch of matrices at a time.

Counting leaves one row of a table on the device per matrix, and nothing waits for it until a
result is asked for: then each table is added up over the processes that share its matrices, and
stripped of its empty columns. What is left is fitted where it is, or copied back once.
"""

from __future__ import annotations

import itertools
import os
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
import torch

from weibnb.counting.bincount import count_by_bincount
from weibnb.counting.formats import FORMATS, Format, format_of
from weibnb.counting.limits import DEFAULTS, Limits
from weibnb.counting.lines import FEWEST, lines_of
from weibnb.counting.staging import WORDS, new_buffer
from weibnb.counting.tables import PendingOnDevice, Table, TableKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import Lines
    from weibnb.counting.staging import StagingBuffer

    Item: TypeAlias = tuple[torch.Tensor, int]
    Kernel: TypeAlias = Callable[[Sequence[Item], torch.Tensor, Format, int], None]


def choose_kernel(device: torch.device, form: Format) -> Kernel:
    """Choose what counts a format on a device: the Triton kernel on CUDA, else `torch.bincount`.

    Where Triton is older than 3.2, missing or cannot compile, and on other devices,
    `torch.bincount` counts.
    """
    interpreted = device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1"
    if not interpreted and (device.type != "cuda" or torch.version.cuda is None):
        return count_by_bincount
    try:
        from weibnb.counting import triton_kernel
    except ImportError:
        return count_by_bincount
    if problem := triton_kernel.problem(device, form):
        warnings.warn(f"{problem}; torch.bincount counts instead, more slowly.", stacklevel=2)
        return count_by_bincount
    return triton_kernel.launch


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Make tensors that can be used in inference mode and out of it, without gradients."""
    with torch.inference_mode(mode=False), torch.no_grad():
        yield


class DeviceCounter:
    """Counts tensors where they are, and arrays of the host on given devices, whichever is free.

    Tensors are counted on the current stream of their device, in order with what else runs there,
    and are neither copied (except those whose memory has gaps, a part at a time) nor waited for.
    Arrays pass through two buffers of fixed size per device, each on a stream of its own. A device
    needs these buffers, 64 MiB each, and for each format a table of 64 MiB at most, or up to four
    of them where many matrices are submitted at once.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        *,
        workers: int = 1,
        limits: Limits = DEFAULTS,
        choose: Callable[[torch.device, Format], Kernel] = choose_kernel,
    ) -> None:
        self._devices = list(devices)
        self._limits = limits
        self._kernel = cache(choose)
        self._copiers = ThreadPoolExecutor(workers)
        self._looks: list[Future[Lines]] = []
        self._tables: dict[TableKey, list[Table]] = {}
        self._queue: dict[Table, list[Item]] = {}
        self._buffers: list[StagingBuffer] = []
        self._filling: StagingBuffer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of tables and buffers, once the devices have done with them."""
        self._copiers.shutdown(cancel_futures=True)
        for buffer in self._buffers:
            buffer.wait()
        self._buffers, self._tables, self._queue, self._filling = [], {}, {}, None

    @_plain_tensors()
    def submit(
        self, weights: torch.Tensor, shape: tuple[int, int] | None = None
    ) -> PendingOnDevice:
        """Begin to count a tensor, or this process's shard of a DTensor; see `Counting.submit`.

        Of one of the given `shape` some rows and columns are copied. The tensor may change once
        `launch` was called.
        """
        detached = weights.detach()
        local, groups = _local(detached)
        form = format_of(str(local.dtype).removeprefix("torch."))
        pending = self._pending()
        table, row = self._assign_row(TableKey(local.device, form, groups), pending)
        word = WORDS[local.element_size()]
        whole = shape is not None and local is detached and local.numel() == shape[0] * shape[1]
        if shape is not None and whole and min(shape) >= FEWEST:
            pending.look_at(local.view(word).reshape(shape), form)
        flat = _without_gaps(local)
        if flat is not None:
            self._queue.setdefault(table, []).append((flat.view(word), row))
            return pending
        self.launch()
        for part in _packed(local, self._limits.packed):
            self._count(table, [(part.view(word), row)])
        return pending

    @_plain_tensors()
    def submit_bits(
        self, bits: Bits, dtype: str, shape: tuple[int, int] | None = None
    ) -> PendingOnDevice:
        """Begin to count bit patterns of the host, by way of the buffers.

        Of a matrix of the given `shape` some rows and columns are copied on the host meanwhile.
        """
        octets, form = bits.reshape(-1).view(np.uint8), FORMATS[dtype]
        pending = self._pending()
        rows: dict[TableKey, tuple[Table, int]] = {}
        at = 0
        while at < octets.size or not rows:
            buffer = self._filling = self._filling or self._free_buffer()
            key = TableKey(buffer.device, form)
            if key not in rows:
                rows[key] = self._assign_row(key, pending)
                continue  # to empty the table, what was filled may have been sent
            part = octets[at : at + buffer.room]
            start = buffer.fill(part, self._copiers)
            buffer.work.append((*rows[key], start, part.size // form.bits.itemsize))
            at += part.size
            if not buffer.room:
                self._send()
        if shape is not None and min(shape) >= FEWEST:
            self._looks.append(self._copiers.submit(lines_of, bits, dtype, shape))
            pending.look_on_host(self._looks[-1])
        return pending

    @_plain_tensors()
    def launch(self) -> None:
        """Start counting what was submitted; waits for nothing where the kernel counts."""
        self._send()
        for look in self._looks:
            look.result()
        self._looks.clear()
        for table, items in self._queue.items():
            self._count(table, items)
        self._queue.clear()

    @_plain_tensors()
    def begin_reading(self) -> None:
        """Start counting, and begin to bring back what is needed to know the counts."""
        self.launch()
        for table in itertools.chain.from_iterable(self._tables.values()):
            table.begin_reading()

    @_plain_tensors()
    def take(self) -> None:
        """Take over the counts that are known by now; waits for nothing."""
        for table in itertools.chain.from_iterable(self._tables.values()):
            if table.read:
                table.fetch()

    @_plain_tensors()
    def fetch(self, pending: PendingOnDevice | None = None) -> None:
        """Wait for the devices and take over all tables, or those with a part of one matrix."""
        self.launch()
        for table in itertools.chain.from_iterable(self._tables.values()):
            if pending is None or pending in table.owners:
                table.fetch()

    def _pending(self) -> PendingOnDevice:
        return PendingOnDevice(self.fetch, 1 / self._limits.matrices_waiting)

    def _assign_row(self, key: TableKey, pending: PendingOnDevice) -> tuple[Table, int]:
        """Give a matrix a row; where all tables are full they are emptied first."""
        tables = self._tables.setdefault(key, [])
        if len(tables) < self._limits.tables and all(table.full for table in tables):
            try:
                tables.append(Table(key, self._limits.table))
            except MemoryError:
                if not tables:
                    raise
        if all(table.full for table in tables):
            self.launch()
            for table in tables:
                table.fetch()
        table = next(table for table in tables if not table.full)
        return table, table.assign_row(pending)

    def _count(self, table: Table, items: Sequence[Item]) -> None:
        kernel = self._kernel(table.key.device, table.key.format)
        with table.in_turn():
            kernel(items, table.counters, table.key.format, table.largest_at)

    def _send(self) -> None:
        """Copy what was filled to its device and count it there, on the buffer's own stream."""
        buffer, self._filling = self._filling, None
        if buffer is None:
            return
        for copy in buffer.copies:
            copy.result()
        with torch.cuda.stream(buffer.stream):
            buffer.twin[: buffer.filled].copy_(buffer.host[: buffer.filled], non_blocking=True)
            for table in dict.fromkeys(table for table, *_ in buffer.work):
                items = [
                    (buffer.words(start, n, table.key.format), row)
                    for owner, row, start, n in buffer.work
                    if owner is table
                ]
                self._count(table, items)
            if buffer.done is not None:
                buffer.done.record()
        buffer.work, buffer.copies, buffer.filled = [], [], 0

    def _free_buffer(self) -> StagingBuffer:
        """Choose a buffer that its device has counted, make one, or wait for the oldest."""
        buffer = next((buffer for buffer in self._buffers if buffer.free), None)
        if buffer is None and len(self._buffers) < 2 * len(self._devices):
            device = self._devices[len(self._buffers) % len(self._devices)]
            buffer = new_buffer(device, self._limits)
            self._buffers.append(buffer)
        if buffer is None:
            buffer = self._buffers[0]
            buffer.wait()
        self._buffers.remove(buffer)
        self._buffers.append(buffer)
        return buffer


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


def _packed(tensor: torch.Tensor, most: int) -> Iterator[torch.Tensor]:
    """Give contiguous copies of the parts of a tensor, each of `most` weights at most."""
    if tensor.numel() <= most or not tensor.dim():
        yield tensor.contiguous().view(-1)
        return
    parts = tensor.chunk(2) if len(tensor) > 1 else tensor.unbind()
    for part in parts:
        yield from _packed(part, most)
