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
    alike : bool or None
        The same, if it is known to hold for all of them.
    """

    counts: torch.Tensor
    x: torch.Tensor
    coarse: torch.Tensor
    exact: torch.Tensor
    alike: bool | None = None

    def near(self, entries: slice) -> Batch:
        """Take some entries of every matrix."""
        counts, x, coarse = (one[:, entries] for one in (self.counts, self.x, self.coarse))
        return Batch(counts, x, coarse, self.exact, self.alike)


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
        kinds = np.unique(rows.exact)
        self._alike = bool(kinds[0]) if kinds.size == 1 else None
        self._all_fine = bool(rows.exact.all()) or not coarse.any()
        # a bin and an entry where there are none, so that an empty matrix can be looked up
        width = max(rows.labels.size, 1)
        self._x = self._there(np.resize(x, (2, width)).reshape(-1))
        self._coarse = self._there(
            np.resize([coarse, np.zeros_like(coarse)], (2, width)).reshape(-1)
        )
        self._columns = self._there(_some(rows.columns[used]))
        self._counts = self._there(_some(_signed(rows.counts[used])))

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
        bins = _look_up(self._columns, entry).to(torch.int64)
        exact = self._exact[self._there(numbers)]
        coarse = torch.zeros((), dtype=torch.int8, device=self.device).expand_as(bins)
        width = self._x.numel() // 2
        if self._alike is None:
            bins.add_(exact[:, None], alpha=width)
        elif self._alike:
            bins += width
        x = _look_up(self._x, bins)
        if not self._all_fine:
            coarse = _look_up(self._coarse, bins)
        counts = _look_up(self._counts, entry).to(torch.float64).masked_fill_(~inside, 0.0)
        return Batch(counts, x, coarse, exact, self._alike)

    def _entries(self, numbers: Numbers) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the counts of some matrices lie, and whether there are so many."""
        chosen = self._there(numbers)
        sizes = self._sizes[chosen][:, None]
        place = torch.arange(max(int(self.sizes[numbers].max()), 2), device=self.device)
        inside = place < sizes
        entry = torch.minimum(place, sizes - 1).add_(self._starts[chosen][:, None])
        return entry.clamp_(min=0, max=self._counts.numel() - 1), inside


def _look_up(values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """Take values at places: on a CPU faster than `torch.Tensor.take`."""
    return values.index_select(0, place.view(-1)).view(place.shape)


def _some(array: NDArray[Any]) -> NDArray[Any]:
    """Give an array, or a zero for one without entries."""
    return array if array.size else np.zeros(1, array.dtype)


def _signed(counts: NDArray[np.unsignedinteger[Any]]) -> NDArray[np.signedinteger[Any]]:
    """Give counts as integers that torch knows, without a copy where they fit."""
    if counts.dtype.itemsize == 8:
        return counts.view(np.int64)
    if counts.dtype.itemsize == 4 and counts.max(initial=0) <= np.iinfo(np.int32).max:
        return counts.view(np.int32)
    return counts.astype(np.int64)
