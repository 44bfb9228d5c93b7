"""Sums of influence over rows and columns, for many matrices at once, on tensors."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from weibnb.counting.formats import FORMATS, INTERVAL_MASK, INTERVAL_WIDTH, counter_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.counting.lines import Lines

# Weights of lines that are looked up at once.
_AT_ONCE = 1 << 20


def line_products(
    v: torch.Tensor, labels: torch.Tensor, exact: torch.Tensor, lines: Sequence[Lines | None]
) -> torch.Tensor:
    """Sum the squares and products of the sums of v over each row, and over each column.

    `weibnb.fitting.clusters.line_products` for the matrices of a batch.

    Parameters
    ----------
    v : Tensor, shape (2, matrices, width)
        Influence of each entry on k and ln λ, zero where no weight is.
    labels : Tensor of int64, shape (matrices, width)
        Label of each entry.
    exact : Tensor of bool, shape (matrices,)
        Whether each entry is one value.
    lines : sequence of Lines or None
        Rows and columns of each matrix, as arrays or tensors.

    Returns
    -------
    Tensor, shape (matrices, 3)
        NaN where there are no lines.
    """
    products = torch.full((len(lines), 3), torch.nan, dtype=v.dtype, device=v.device)
    alike: dict[Any, list[int]] = defaultdict(list)
    for number, some in enumerate(lines):
        if some is not None:
            alike[some.dtype, some.rows.shape, some.columns.shape].append(number)
    for (dtype, row_shape, column_shape), numbers in alike.items():
        most = max(_AT_ONCE // max(np.prod(row_shape), np.prod(column_shape)), 1)
        for at in range(0, len(numbers), most):
            part = numbers[at : at + most]
            together = [given for given in (lines[number] for number in part) if given is not None]
            chosen = torch.tensor(part, device=v.device)
            look_up = _Influence(v[:, chosen], labels[chosen], exact[chosen], dtype)
            rows = look_up.sums([one.rows for one in together], 2)
            columns = look_up.sums([one.columns for one in together], 1)
            products[chosen] = _products(rows) * (column_shape[0] / row_shape[0])
            products[chosen] += _products(columns) * (row_shape[1] / column_shape[1])
    return products


def _products(sums: torch.Tensor) -> torch.Tensor:
    """Add up squares and products of sums, (2, matrices, lines), over the lines."""
    k, b = sums
    return torch.stack([(k * k).sum(1), (b * b).sum(1), (k * b).sum(1)], 1)


class _Influence:
    """Influence of a weight by its bits, for some matrices of one format."""

    def __init__(
        self, v: torch.Tensor, labels: torch.Tensor, exact: torch.Tensor, dtype: str
    ) -> None:
        self._form = FORMATS[dtype]
        self._first = labels.amin(1)[:, None]
        span = int((labels.amax(1, keepdim=True) - self._first).max()) + 1
        place = labels - self._first + 1
        # between a zero at each end
        self._table = torch.zeros(2, len(labels), span + 2, dtype=v.dtype, device=v.device)
        self._table.scatter_add_(2, place.expand_as(v), v)
        known = _counter_labels(dtype, v.device)
        self._labels = known.view(-1)
        self._offset = torch.where(exact, 0, known.shape[1])[:, None]

    def sums(self, lines: Sequence[Any], along: int) -> torch.Tensor:
        """Sum over a dim of the lines of each matrix: (2, matrices, lines)."""
        device = self._table.device
        bits = torch.stack([_words(one, device) for one in lines])
        magnitude = bits.to(torch.int64).bitwise_and_((1 << 8 * bits.element_size() - 1) - 1)
        counter = (magnitude >> self._form.shift).clamp_(max=self._form.finite).flatten(1)
        width = self._table.shape[2]
        place = self._labels.take(counter.add_(self._offset)).sub_(self._first - 1)
        place.clamp_(0, width - 1)
        place += torch.arange(len(place), device=device)[:, None] * width
        found = self._table.flatten(1)[:, place.flatten()]
        return found.view(2, *bits.shape).sum(along + 1)


@cache
def _counter_labels(dtype: str, device: torch.device) -> torch.Tensor:
    """Label of the weights of each counter, as values and as intervals; -1 for no finite one."""
    labels = counter_labels(FORMATS[dtype]).astype(np.int64)
    both = np.full((2, labels.size + 1), -1)
    both[0, 1:-1] = labels[1:]  # counter 0 is that of zeros
    both[1, 1:-1] = np.maximum(labels[1:] & INTERVAL_MASK, INTERVAL_WIDTH)
    return torch.from_numpy(both).to(device)


def _words(bits: Any, device: torch.device) -> torch.Tensor:
    """View bits as integers that torch knows, on a device."""
    if isinstance(bits, torch.Tensor):
        return bits.to(device)
    return torch.from_numpy(bits.view(f"i{bits.itemsize}")).to(device)
