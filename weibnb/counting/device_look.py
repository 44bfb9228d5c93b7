"""A second look at a matrix on a torch device: what `second_look` gives, where the weights are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from weibnb.counting.squares import rule_of
from weibnb.counting.staging import WORDS
from weibnb.parallel import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from weibnb.counting.second_look import Influence

    Flags = NDArray[np.bool_]

# Weights that are looked at at once: each takes some 30 bytes of the device's memory meanwhile.
_BLOCK = 1 << 22


def zero_lines(weights: torch.Tensor, shape: tuple[int, int]) -> tuple[Flags, Flags]:
    """Tell which rows and columns are zero, as `weibnb.counting.second_look.zero_lines` does."""
    rows, columns = torch.zeros(shape[0], dtype=torch.bool), torch.zeros(shape[1], dtype=torch.bool)
    for own, block in _blocks(weights, shape):
        alive = (_words(block) & _magnitude(block)) != 0
        rows[own] = alive.any(1).cpu()
        columns |= alive.any(0).cpu()
    return ~rows.numpy(), ~columns.numpy()


def line_sums(
    weights: torch.Tensor, dtype: str, shape: tuple[int, int], influence: Influence, largest: float
) -> tuple[NDArray[Any], ...]:
    """Give what `weibnb.counting.second_look.LineSums` holds.

    Sums of influences are the same numbers, root mean squares agree but for rounding.
    """
    table, unit = torch.from_numpy(influence.table).to(weights.device), rule_of(dtype, largest)[1]
    of_rows: list[list[torch.Tensor]] = []
    of_columns: Any = (0, 0, 0)
    for _, block in _blocks(weights, shape):
        place = (_words(block) & _magnitude(block)).to(torch.int64) >> int(influence.shift)
        each = table[place]
        values = block if block.element_size() > 4 else block.to(torch.float32)
        finite = torch.isfinite(values)
        squares = (torch.where(finite, values, 0) / unit).to(torch.float32).square()
        of_rows.append([array.sum(1) for array in (each, squares, finite)])
        sums = [array.sum(0) for array in (each, squares, finite)]
        of_columns = [a + b for a, b in zip(of_columns, sums, strict=True)]
    found = [[torch.cat(parts) for parts in zip(*of_rows, strict=True)], of_columns]
    influences = [each.cpu().numpy() for each, _, _ in found]
    with np.errstate(invalid="ignore"):
        scales = [unit * np.sqrt(_host(total) / _host(number)) for _, total, number in found]
    return *influences, *scales


def _blocks(weights: torch.Tensor, shape: tuple[int, int]) -> Iterator[tuple[slice, torch.Tensor]]:
    """Cut a matrix into whole rows: their numbers, and some."""
    matrix = weights.detach().reshape(shape)
    for own in slices(shape[0], max(_BLOCK // shape[1], 1)):
        yield own, matrix[own]


def _words(weights: torch.Tensor) -> torch.Tensor:
    """View weights as integers."""
    return weights.view(WORDS[weights.element_size()])


def _magnitude(weights: torch.Tensor) -> int:
    """Give the mask that takes the sign off."""
    return (1 << 8 * weights.element_size() - 1) - 1


def _host(numbers: torch.Tensor) -> NDArray[np.float64]:
    """Bring numbers to the host."""
    return numbers.cpu().numpy().astype(np.float64)
