"""Tables on a device with one row of counters per matrix, and the counts they are read back as."""

from __future__ import annotations

import operator
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from weibnb.counting.blocks import Apart, CountsOnDevice, LinesOnDevice, blocks_of
from weibnb.counting.formats import INTERVAL_WIDTH, counter_labels
from weibnb.counting.lines import SAMPLED, choice
from weibnb.counting.transfers import OnTheirWay, to_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Format
    from weibnb.counting.lines import Lines

    T = TypeVar("T")

MOST_ROWS = 1024
# Columns behind the counters of a row: zeros, infinities, NaNs, inexact; then one per process for
# the pattern of its largest finite magnitude.
_TOTALS = 4


@dataclass(frozen=True, slots=True)
class TableKey:
    """What the matrices of one table have in common; `groups` of processes share each of them."""

    device: torch.device
    format: Format
    groups: tuple[Any, ...] = ()


class PendingOnDevice:
    """Counts of a matrix that devices are counting, or will count; made by `DeviceCounter`."""

    was_read = True

    def __init__(self, fetch: Callable[[PendingOnDevice], None], load: float = 0.0) -> None:
        self._fetch = fetch
        self._parts: list[CountsOnDevice] = []
        self._lines: LinesOnDevice | None = None
        self._on_host: Future[Lines] | None = None
        self.load = load
        self.rows = 0  # on devices

    def look_at(self, words: torch.Tensor, form: Format) -> None:
        """Copy some rows and columns of a matrix, on the current stream of its device."""
        rows, columns = (_chosen(size, words.device) for size in words.shape)
        self._lines = LinesOnDevice(
            form, words.index_select(0, rows), words.index_select(1, columns)
        )

    def look_on_host(self, lines: Future[Lines]) -> None:
        """Take rows and columns of a matrix that are copied where it comes from."""
        self._on_host = lines

    @property
    def lines(self) -> Lines | None:
        """Rows and columns that were copied, brought back; None without any."""
        if self._on_host is not None:
            return self._on_host.result()
        return None if self._lines is None else self._lines.on_host()

    def add(self, part: CountsOnDevice) -> None:
        """Take over what one row held."""
        self._parts.append(part)
        self.rows -= 1

    @property
    def ready(self) -> bool:
        """Whether the counts are made and known; waits for nothing."""
        return not self.rows

    def result(self) -> Counts:
        """Wait for the counts; RuntimeError if the counter was closed before."""
        self._wait()
        return reduce(operator.add, [part.on_host() for part in self._parts])

    def in_place(self) -> tuple[CountsOnDevice, LinesOnDevice | None] | None:
        """Wait for counts and lines, and leave them on their device; None if they are on several.

        Raises RuntimeError as `result` does.
        """
        self._wait()
        if len(self._parts) != 1:
            return None
        lines = self._lines
        if self._on_host is not None:
            lines = LinesOnDevice.of(self._on_host.result(), self._parts[0].block.device)
        return self._parts[0], lines

    def _wait(self) -> None:
        """Let the counter fetch what is still open."""
        if self.rows:
            self._fetch(self)
        if self.rows or not self._parts:
            raise RuntimeError("The counter was closed before the counts were fetched from it.")

    def abandon(self) -> bool:
        """Nothing can be given up: the weights were read, and the counts will come."""
        return True


@lru_cache(maxsize=64)
def _chosen(size: int, device: torch.device) -> torch.Tensor:
    """Numbers of the lines that are looked at, on a device."""
    return to_device(choice(size, SAMPLED), device)


class Table:
    """Rows of counters on a device, each assigned to a matrix or to a part of one.

    Its columns are the counters of finite non-zero magnitudes; zeros, infinities, NaNs and weights
    that do not fit their counter exactly; the pattern of the largest, one column per process.
    """

    def __init__(self, key: TableKey, octets: int) -> None:
        self.key = key
        rank, processes = 0, 1
        if key.groups:
            rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.largest_at = key.format.bins + _TOTALS + rank
        columns = key.format.bins + _TOTALS + processes
        self.counters = allocate(
            lambda rows: torch.zeros(rows, columns, dtype=torch.int64, device=key.device),
            min(max(octets // (8 * columns), 1), MOST_ROWS),
            least=1,
            what=f"rows of counters on {key.device}",
        )
        self.owners: list[PendingOnDevice] = []
        cuda = key.device.type == "cuda"
        self._used = torch.cuda.Event() if cuda else None
        self._reading = torch.cuda.Stream(key.device) if cuda else None
        self._news: OnTheirWay | None = None
        self._note_use()

    @property
    def full(self) -> bool:
        """Whether no row can be assigned: none is left, or they are being read."""
        return self._news is not None or len(self.owners) == len(self.counters)

    def assign_row(self, owner: PendingOnDevice) -> int:
        """Give the next row to a matrix."""
        self.owners.append(owner)
        owner.rows += 1
        return len(self.owners) - 1

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Use the table on the current stream, after what other streams did with it."""
        if self._used is not None:
            torch.cuda.current_stream(self.key.device).wait_event(self._used)
        yield
        self._note_use()

    def _note_use(self) -> None:
        if self._used is not None:
            stream = torch.cuda.current_stream(self.key.device)
            self.counters.record_stream(stream)
            self._used.record(stream)

    def begin_reading(self) -> None:
        """Add up over processes, and begin to bring back what is occupied; waits for nothing."""
        if self._news is not None or not self.owners:
            return
        form, used = self.key.format, self.counters[: len(self.owners)]
        lowest = int(np.searchsorted(counter_labels(form), INTERVAL_WIDTH))
        with torch.cuda.stream(self._reading), self.in_turn():  # not after what came since
            for group in self.key.groups:
                torch.distributed.all_reduce(used, group=group)
            finite, totals = used[:, : form.bins], used[:, form.bins :]
            self._news = OnTheirWay(finite.any(0), finite[:, :lowest].any(1), totals)

    @property
    def read(self) -> bool:
        """Whether it is known what is occupied; waits for nothing."""
        return self._news is not None and self._news.done

    def fetch(self) -> None:
        """Give every owner its counts, which stay on the device, and start anew.

        Waits until `read`.
        """
        self.begin_reading()
        if self._news is None:
            return
        occupied, tiny, totals = self._news.wait()
        used = self.counters[: len(self.owners)]
        zeros, infinities, nans, inexact = totals[:, :_TOTALS].T
        apart = Apart(zeros, infinities, nans, totals[:, _TOTALS:].max(1))
        # magnitudes below 1e-310 share an interval: the grid ends at zero
        inexact = (inexact > 0) | tiny
        with torch.cuda.stream(self._reading), self.in_turn():
            for rows, block in blocks_of(self.key.format, used, occupied, apart, inexact):
                for row, number in enumerate(rows):
                    self.owners[number].add(CountsOnDevice(block, row))
            used.zero_()
        self.owners, self._news = [], None


def allocate(make: Callable[[int], T], size: int, *, least: int, what: str) -> T:
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
