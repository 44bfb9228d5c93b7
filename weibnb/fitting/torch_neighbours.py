"""Neighbouring lines that are alike, as operations on tensors.

It computes what `weibnb.fitting.neighbours` does, for many matrices at once, and waits for no
device: what does not stand out is computed too, and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from weibnb.counting.transfers import to_device
from weibnb.fitting.neighbours import CHANGES, EACH, OF_SOME, PARTS, noise, quantile, widths

if TYPE_CHECKING:
    from weibnb.fitting.torch_clusters import Classes


def of_neighbours(classes: Classes, lines: torch.Tensor, every: int) -> torch.Tensor:
    """Estimate what neighbours add to the products of sums of influences.

    Parameters
    ----------
    classes : Classes
        Of matrices of one shape.
    lines : Tensor of int64, shape (matrices, lines, weights)
        Class of the weights of some lines across the neighbours.
    every : int
        How many such lines the matrices have.

    Returns
    -------
    Tensor of float64, shape (matrices, 2, 2)
    """
    functions = classes.means.mT
    functions = torch.cat([functions, torch.zeros_like(functions[:, :1])], 1)
    size, number = lines.shape[2], lines.shape[1]
    tried = widths(size)
    if not tried.size:
        return functions.new_zeros(len(functions), functions.shape[2], functions.shape[2])
    sums, some = _sums(functions, lines)
    may_be = _stand_out(some.sum(0))
    own = sums.square().sum(1)
    quantiles = to_device(np.array([quantile(size, b) for b in tried.tolist()]), lines.device)
    limits = to_device(np.array([OF_SOME * noise(size, b) for b in tried.tolist()]), lines.device)
    all_widths = to_device(tried, lines.device)
    each = torch.stack([_own(sums, all_widths[i : i + 1]) / own for i in range(tried.size)])
    weight = (each.sum(2) * quantiles[:, None]).where(each.amax(2) > limits[:, None], -torch.inf)
    most, chosen = weight.max(0)
    width = all_widths.take(chosen)
    signs = torch.stack([_changes(sums, b) for b in tried.tolist()])
    places = torch.arange(len(lines), device=lines.device)
    leading = each[chosen, places].argmax(1)
    many = signs[chosen, places, leading] >= CHANGES
    within = torch.stack([products_of_windows(one, width) for one in some]).mean(0) * number
    found = products_of_windows(sums, width) - within
    shared = within.diagonal(dim1=1, dim2=2).clamp(min=0.0)
    least = limits.take(chosen)[:, None] * (own + shared)
    stands_out = (found.diagonal(dim1=1, dim2=2) > least).any(1)
    add = may_be & (most > 0.0) & many & stands_out & (own > 0.0).all(1)
    found = found + (limits.take(chosen) / OF_SOME)[:, None, None] * (sums.mT @ sums)
    share = max(number * (number - 1), 1) / max(every * (every - 1), 1)
    wider = quantiles.take(chosen) / share
    return (found * wider[:, None, None]).where(add[:, None, None], 0.0)


def _sums(functions: torch.Tensor, lines: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum functions over lines, less the mean over each: (matrices, weights, functions).

    The second result is of one line in `EACH`, (lines, matrices, weights, functions).
    """
    sums, some = functions.new_zeros(len(lines), lines.shape[2], functions.shape[2]), []
    for number, line in enumerate(lines.unbind(1)):
        one = functions.gather(1, line[..., None].expand(-1, -1, functions.shape[2]))
        one = one - one.mean(1, keepdim=True)
        sums = sums + one
        if number % EACH == 0:
            some.append(one)
    return sums, torch.stack(some)


def _changes(sums: torch.Tensor, width: int) -> torch.Tensor:
    """As `weibnb.fitting.neighbours.changes`: (matrices, functions)."""
    each = max(width // 4, 1)
    starts = torch.arange(0, sums.shape[1], each, device=sums.device)
    running = torch.cat([torch.zeros_like(sums[:, :1]), sums.cumsum(1)], 1)
    stops = (starts + each).clamp(max=sums.shape[1])
    positive = running.index_select(1, stops) - running.index_select(1, starts) > 0.0
    return (positive[:, 1:] != positive[:, :-1]).sum(1)


def _stand_out(sums: torch.Tensor) -> torch.Tensor:
    """As `weibnb.fitting.neighbours.stand_out`; `sums` are (matrices, lines, functions)."""
    size, width = sums.shape[1], 2
    own = sums.square().sum(1)
    found = torch.zeros_like(own[:, 0], dtype=torch.bool)
    while size // width >= PARTS:
        number = sums.shape[1] // 2
        sums = sums[:, : 2 * number].unflatten(1, (number, 2)).sum(2)
        limit = OF_SOME * (2.0 * (width - 1) / size) ** 0.5
        found = found | (sums.square().sum(1) - own > limit * own).any(1)
        width *= 2
    return found


def products_of_windows(sums: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """As `weibnb.fitting.neighbours.products_of_windows`, each matrix with a width of its own."""
    windows = _windows(sums, width)
    return windows.mT @ windows / width[:, None, None] - sums.mT @ sums


def _own(sums: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Give the products of each function with itself alone, (matrices, functions)."""
    windows = _windows(sums, width.expand(len(sums)))
    return windows.square().sum(1) / width[:, None] - sums.square().sum(1)


def _windows(sums: torch.Tensor, width: torch.Tensor) -> torch.Tensor:
    """Sum over all windows, also those that reach beyond an end."""
    size = sums.shape[1]
    running = torch.cat([torch.zeros_like(sums[:, :1]), sums.cumsum(1)], 1)
    stop = torch.arange(1, size + size // PARTS, device=sums.device).expand(len(sums), -1)
    start = (stop - width[:, None]).clamp(0, size)
    ends = (one.clamp(max=size)[..., None].expand(-1, -1, sums.shape[2]) for one in (stop, start))
    upper, lower = (running.gather(1, one) for one in ends)
    return upper - lower
