"""Tables on a device with a row of counters a matrix, and what fills and fetches them."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
import torch

from weibnb.counting.counts import Counts, from_counters

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.formats import Format

    Items: TypeAlias = Sequence[tuple[torch.Tensor, int]]
    Kernel: TypeAlias = Callable[[Items, torch.Tensor, Format, int], None]
    T = TypeVar("T")

# Bytes of a table.
TABLE = 1 << 26
# Weights that torch.bincount takes at once, and the fewest: it needs eight bytes or more for each.
PART, LEAST = 1 << 22, 1 << 20
# Totals behind the counters of a row: zeros, infinities, NaNs, inexact; then one largest a process.
_TOTALS = 4


class Taker(Protocol):
    """Who has rows in tables, and takes over what they held."""

    rows: int

    def add(self, part: Part) -> None:
        """Take over what a row held."""


@dataclass(frozen=True, slots=True)
class Where:
    """What matrices of one table have in common."""

    device: torch.device
    format: Format
    groups: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """Counters of one matrix, or of a part of it, on the host."""

    format: Format
    occupied: NDArray[np.int64]
    counts: NDArray[np.int64]
    totals: NDArray[np.int64]

    def finish(self) -> Counts:
        """Put the counters on the common grid."""
        zeros, infinities, nans, inexact = (int(total) for total in self.totals[:_TOTALS])
        return from_counters(
            self.format,
            self.occupied,
            self.counts,
            (zeros, nans, infinities),
            inexact=inexact > 0,
            largest=int(self.totals[_TOTALS:].max()),
        )


class Table:
    """Rows of counters on a device, handed out one by one."""

    def __init__(self, where: Where) -> None:
        self.where = where
        rank, processes = 0, 1
        if where.groups:
            rank, processes = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.slot = where.format.bins + _TOTALS + rank
        columns = where.format.bins + _TOTALS + processes
        self.buffer = allocate(
            lambda rows: torch.zeros(rows, columns, dtype=torch.int64, device=where.device),
            min(max(TABLE // (8 * columns), 1), 1024),
            least=1,
            what=f"rows of counters on {where.device}",
        )
        self.rows = self.buffer.shape[0]
        self.takers: list[Taker] = []
        cuda = where.device.type == "cuda"
        self._used = torch.cuda.Event() if cuda else None
        self._fetching = torch.cuda.Stream(where.device) if cuda else None
        self.leave()

    @property
    def full(self) -> bool:
        """Whether every row is taken."""
        return len(self.takers) == self.rows

    def take(self, taker: Taker) -> int:
        """Give a row to a matrix."""
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
            taker.add(Part(self.where.format, columns[found], row[found], rest))
        self.takers = []


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
        from weibnb.counting import triton_kernel
    except ImportError:
        return count_by_bincount
    if problem := triton_kernel.problem(device, form):
        warnings.warn(f"{problem}; torch.bincount counts instead, more slowly.", stacklevel=2)
        return count_by_bincount
    return triton_kernel.launch


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
        size, at = PART, 0
        while at < words.numel():
            try:
                counted, largest = _bincount(words[at : at + size], form)
            except torch.OutOfMemoryError:
                if size <= LEAST:
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
