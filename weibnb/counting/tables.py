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

from weibnb.counting.counts import from_counters
from weibnb.counting.lines import SAMPLED, Lines, choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Format

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
        self._parts: list[Counts] = []
        self._lines: tuple[Format, torch.Tensor, torch.Tensor] | None = None
        self._on_host: Future[Lines] | None = None
        self.load = load
        self.rows = 0  # on devices

    def look_at(self, words: torch.Tensor, form: Format) -> None:
        """Copy some rows and columns of a matrix, on the current stream of its device."""
        rows, columns = (_chosen(size, words.device) for size in words.shape)
        self._lines = form, words.index_select(0, rows), words.index_select(1, columns)

    def look_on_host(self, lines: Future[Lines]) -> None:
        """Take rows and columns of a matrix that are copied where it comes from."""
        self._on_host = lines

    @property
    def lines(self) -> Lines | None:
        """Rows and columns that were copied, brought back; None without any."""
        if self._on_host is not None:
            return self._on_host.result()
        if self._lines is None:
            return None
        form, *both = self._lines
        rows, columns = (words.cpu().numpy().view(form.bits) for words in both)
        return Lines(form.name, rows, columns)

    def add(self, part: Counts) -> None:
        """Take over what one row held."""
        self._parts.append(part)
        self.rows -= 1

    def result(self) -> Counts:
        """Wait for the counts; RuntimeError if the counter was closed before."""
        if self.rows:
            self._fetch(self)
        if self.rows or not self._parts:
            raise RuntimeError("The counter was closed before the counts were fetched from it.")
        return reduce(operator.add, self._parts)

    def abandon(self) -> bool:
        """Nothing can be given up: the weights were read, and the counts will come."""
        return True


@lru_cache(maxsize=64)
def _chosen(size: int, device: torch.device) -> torch.Tensor:
    """Numbers of the lines that are looked at, on a device."""
    numbers = torch.from_numpy(choice(size, SAMPLED))
    if device.type == "cuda":
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


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
        self._fetching = torch.cuda.Stream(key.device) if cuda else None
        self._note_use()

    @property
    def full(self) -> bool:
        """Whether every row is assigned."""
        return len(self.owners) == len(self.counters)

    @property
    def done(self) -> bool:
        """Whether the device has done all that was asked of it with this table."""
        return self._used is None or self._used.query()

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

    def fetch(self) -> None:
        """Add up over processes, copy back, give every owner its counts and start anew."""
        form = self.key.format
        used = self.counters[: len(self.owners)]
        with torch.cuda.stream(self._fetching), self.in_turn():  # not after what came since
            for group in self.key.groups:
                torch.distributed.all_reduce(used, group=group)
            occupied = used.any(0).nonzero()[:, 0]
            values, columns = used[:, occupied].cpu().numpy(), occupied.cpu().numpy()
            used.zero_()
        split = int(np.searchsorted(columns, form.bins))
        totals = np.zeros((len(values), self.counters.shape[1] - form.bins), np.int64)
        totals[:, columns[split:] - form.bins] = values[:, split:]
        for owner, row, rest in zip(self.owners, values[:, :split], totals, strict=True):
            found = np.flatnonzero(row)
            zeros, infinities, nans, inexact = map(int, rest[:_TOTALS])
            apart, largest = (zeros, nans, infinities), int(rest[_TOTALS:].max())
            counters = columns[found], row[found]
            owner.add(from_counters(form, *counters, apart, inexact=inexact > 0, largest=largest))
        self.owners = []


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
