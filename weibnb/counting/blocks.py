"""Counts and lines of matrices that stay on the device that counted them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from weibnb.counting.counts import Counts
from weibnb.counting.formats import (
    FORMATS,
    INTERVAL_MASK,
    INTERVAL_WIDTH,
    counter_labels,
    decode,
    label_values,
)
from weibnb.counting.lines import Lines
from weibnb.counting.transfers import OnTheirWay, to_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from weibnb.counting.formats import Format

    Numbers = NDArray[np.int64]


class Apart(NamedTuple):
    """What is not in bins, each of shape (matrices,).

    `largest` holds the pattern of the largest finite magnitude, for formats with a `shift`.
    """

    zeros: Numbers
    infinities: Numbers
    nans: Numbers
    largest: Numbers


class Block:
    """Counts of some matrices of one format, on the bins that any of them occupies.

    Parameters
    ----------
    form : Format
        Their format.
    counted : Tensor of int64, shape (matrices, counters)
        Weights of each counter in `counters`, on a device.
    counters : ndarray of int64, shape (counters,)
        Counters of the format, ascending.
    apart : Apart
        What is not in them.
    exact : bool
        Whether each bin is one value, for all of the matrices.

    Attributes
    ----------
    labels : ndarray of int32, shape (bins,)
        Bins in ascending magnitude.
    bins : ndarray of int64, shape (counters,)
        Bin of each counter.
    counts : Tensor of int64, shape (matrices, bins)
        Weights of each bin.
    """

    def __init__(
        self,
        form: Format,
        counted: torch.Tensor,
        counters: Numbers,
        apart: Apart,
        *,
        exact: bool,
    ) -> None:
        self.form, self.exact, self.apart, self.counters = form, exact, apart, counters
        self.device = counted.device
        labels = counter_labels(form)[counters]
        if not exact:
            labels = np.maximum(labels & INTERVAL_MASK, INTERVAL_WIDTH)
        self.labels, self.bins = np.unique(labels, return_inverse=True)
        self.counts = counted
        if self.labels.size < counters.size:
            merged = counted.new_zeros(len(counted), self.labels.size)
            self.counts = merged.index_add_(1, to_device(self.bins, self.device), counted)
        self._copy: OnTheirWay | None = None
        self._made: torch.cuda.Event | None = None
        if self.device.type == "cuda":
            self._made = torch.cuda.Event()
            self._made.record(torch.cuda.current_stream(self.device))

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Use the counts on the current stream, once they are made."""
        if self._made is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_event(self._made)
            self.counts.record_stream(stream)
        yield

    def begin_copy(self) -> OnTheirWay:
        """Begin to copy the counts to the host, once."""
        if self._copy is None:
            with self.in_turn():
                self._copy = OnTheirWay(self.counts)
        return self._copy

    def counts_of(self, row: int) -> Counts:
        """Give the counts of one matrix, on the host."""
        counted = self.begin_copy().wait()[0][row]
        found = np.flatnonzero(counted)
        labels = self.labels[found]
        zeros, infinities, nans, pattern = (int(one[row]) for one in self.apart)
        if self.form.shift:
            top = float(decode(np.array([pattern], self.form.bits), self.form.name)[0])
        else:
            top = float(label_values(labels[-1:]).max(initial=0.0))
        return Counts(labels, counted[found], zeros, nans, infinities, top, self.exact)


class CountsOnDevice(NamedTuple):
    """Counts of one matrix: a row of a block."""

    block: Block
    row: int

    @property
    def zeros(self) -> int:
        """Weights that are zero."""
        return int(self.block.apart.zeros[self.row])

    def on_host(self) -> Counts:
        """Bring them back."""
        return self.block.counts_of(self.row)


class LinesOnDevice(NamedTuple):
    """Bits of some rows and columns of a matrix, as `Lines`, as signed integers."""

    form: Format
    rows: torch.Tensor
    columns: torch.Tensor

    @property
    def nbytes(self) -> int:
        """Memory that they take."""
        return (self.rows.numel() + self.columns.numel()) * self.rows.element_size()

    @classmethod
    def of(cls, lines: Lines, device: torch.device) -> LinesOnDevice:
        """Take lines of the host to a device."""
        form = FORMATS[lines.dtype]
        signed = np.dtype(f"i{form.bits.itemsize}")
        rows, columns = (
            to_device(bits.view(signed), device) for bits in (lines.rows, lines.columns)
        )
        return cls(form, rows, columns)

    def on_host(self) -> Lines:
        """Bring them back."""
        rows, columns = (
            words.cpu().numpy().view(self.form.bits) for words in (self.rows, self.columns)
        )
        return Lines(self.form.name, rows, columns)


def blocks_of(
    form: Format, table: torch.Tensor, occupied: NDArray[np.bool_], apart: Apart, inexact: Any
) -> list[tuple[Numbers, Block]]:
    """Cut rows of counters into those of values and those of intervals, without empty counters.

    Returns the numbers of the rows in each block.
    """
    counters = np.flatnonzero(occupied)
    if counters.size < 2:  # a fit looks at two bins at least
        middle = form.finite // 2
        counters = np.union1d(counters, [middle, middle + 2 * INTERVAL_WIDTH])
    columns, found = to_device(counters, table.device), []
    for exact in (True, False):
        rows = np.flatnonzero(np.asarray(inexact, bool) != exact)
        if not rows.size:
            continue
        some = (
            table
            if rows.size == len(table)
            else table.index_select(0, to_device(rows, table.device))
        )
        counted = some.index_select(1, columns)
        own = Apart(*(one[rows] for one in apart))
        found.append((rows, Block(form, counted, counters, own, exact=exact)))
    return found
