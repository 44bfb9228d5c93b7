"""Counts of many matrices as tensors: a table of occupied bins per batch of like matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Numbers = NDArray[np.int64]


class Batch(NamedTuple):
    """Counts of several matrices in one table; entries without weights may lie between others.

    Attributes
    ----------
    counts : Tensor of float64, shape (matrices, width)
        Weights of each entry.
    x : Tensor of float64, shape (matrices, width)
        Their ln|w|, ascending.
    coarse : Tensor of int8, shape (matrices, width)
        How coarse the entry is, see `weibnb.fitting.kernels`.
    exact : Tensor of bool, shape (matrices,)
        Whether each entry is one value.
    """

    counts: torch.Tensor
    x: torch.Tensor
    coarse: torch.Tensor
    exact: torch.Tensor

    def near(self, entries: slice) -> Batch:
        """Take some entries of every matrix."""
        return Batch(
            self.counts[:, entries], self.x[:, entries], self.coarse[:, entries], self.exact
        )


class TensorRows:
    """The counts of a `CountRows` on a device, from which batches are taken.

    Parameters
    ----------
    rows : CountRows
        The counts.
    x : ndarray of float64, shape (2, bins)
        ln|w| of the bins read as intervals, and as values.
    coarse : ndarray of int8, shape (bins,)
        How coarse they are as intervals.
    device : torch.device
        Where they go.
    """

    def __init__(
        self,
        rows: CountRows,
        x: NDArray[np.float64],
        coarse: NDArray[np.int8],
        device: torch.device,
    ) -> None:
        self.device = device
        self.sizes = np.diff(rows.starts)
        used = slice(int(rows.starts[0]), int(rows.starts[-1]))
        self._sizes = self._there(self.sizes)
        self._starts = self._there(rows.starts[:-1] - used.start)
        self._exact = self._there(rows.exact)
        self._kinds = np.unique(rows.exact)
        self._all_fine = bool(rows.exact.all()) or not coarse.any()
        # one entry more, and a bin where there are none, so that an empty matrix can be looked up
        self._columns = self._there(np.append(rows.columns[used], np.int32(0)))
        self._counts = self._there(_signed(rows.counts[used]))
        width = max(rows.labels.size, 1)
        self._x = self._there(np.resize(x, (2, width)))
        self._coarse = self._there(np.resize([coarse, np.zeros_like(coarse)], (2, width)))

    def _there(self, array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def batches(self, entries: int) -> list[Numbers]:
        """Give numbers of matrices with some as many bins, for about so many entries at once."""
        order = np.argsort(-self.sizes, kind="stable")
        parts, at = [], 0
        while at < order.size:
            number = max(entries // max(int(self.sizes[order[at]]), 1), 1)
            parts.append(order[at : at + number])
            at += number
        return parts

    def batch(self, numbers: Numbers) -> Batch:
        """Lay the counts of some matrices out in a table, as wide as the widest of them."""
        entry, inside = self._entries(numbers)
        bins = self._columns.take(entry).to(torch.int64)
        exact = self._exact[self._there(numbers)]
        coarse = torch.zeros((), dtype=torch.int8, device=self.device).expand_as(bins)
        if self._kinds.size == 1:
            bins += int(self._kinds[0]) * self._x.shape[1]
        else:
            bins.add_(exact[:, None], alpha=self._x.shape[1])
        x = self._x.take(bins)
        if not self._all_fine:
            coarse = self._coarse.take(bins)
        counts = self._counts.take(entry).to(torch.float64).masked_fill_(~inside, 0.0)
        return Batch(counts, x, coarse, exact)

    def _entries(self, numbers: Numbers) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the counts of some matrices lie, and whether there are so many."""
        chosen = self._there(numbers)
        sizes = self._sizes[chosen][:, None]
        place = torch.arange(max(int(self.sizes[numbers].max()), 2), device=self.device)
        last = (sizes - 1).clamp_(min=0)
        return self._starts[chosen][:, None] + torch.minimum(place, last), place < sizes


def _signed(counts: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Give counts as integers that torch knows, and a zero behind them."""
    wide = counts.dtype.itemsize == 8 or counts.max(initial=0) > np.iinfo(np.int32).max
    return np.append(counts, counts.dtype.type(0)).astype(np.int64 if wide else np.int32)
