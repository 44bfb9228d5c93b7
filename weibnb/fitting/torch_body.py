"""The part of each matrix that a trim holds, on tensors, and what a weight of it changes."""

from __future__ import annotations

from typing import NamedTuple

import torch

from weibnb.fitting.torch_ordinates import prefix_sums


class Body(NamedTuple):
    """The entries that hold ranks first ... last, with a few beside; columns are (matrices, 1).

    `weights` and `x` are (matrices, width); `y` is the ordinate at the upper edge, `before` the
    same for the entry before; `begin` and `end` are the first and the last entry of the body.
    """

    n: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor
    weights: torch.Tensor
    x: torch.Tensor
    y: torch.Tensor
    before: torch.Tensor

    @property
    def low(self) -> torch.Tensor:
        """Weights below the body."""
        return self.first - 1.0

    @property
    def high(self) -> torch.Tensor:
        """Weights above it."""
        return self.n - self.last


class Influence(NamedTuple):
    """Influence on k and ln λ: of the weights below the body, in its entries, and above it.

    `below` and `above` are (2, matrices, 1), `body` is (2, matrices, width).
    """

    below: torch.Tensor
    body: torch.Tensor
    above: torch.Tensor


def trim_ranks(n: torch.Tensor, lower: float, upper: float) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last rank whose plotting position (rank - 1/2)/n lies in [lower, upper]."""
    first = (lower * n + 0.5).ceil_().clamp_(min=1.0)
    last = torch.minimum((upper * n + 0.5).floor_(), n)
    for _ in range(2):  # rounding errors of one rank
        first = first - ((first > 1.0) & ((first - 1.5) / n >= lower)).to(n.dtype)
        last = last + ((last < n) & ((last + 0.5) / n <= upper)).to(n.dtype)
    for _ in range(2):
        first = first + ((first - 0.5) / n < lower).to(n.dtype)
        last = last - ((last - 0.5) / n > upper).to(n.dtype)
    return first, last


def body_of(
    seen: torch.Tensor,
    x: torch.Tensor,
    n: torch.Tensor,
    first: torch.Tensor,
    last: torch.Tensor,
) -> tuple[Body, torch.Tensor]:
    """Give the body, and the sum of y over the ranks of each entry of it."""
    low = first - 1.0
    ranks = torch.cat([low, torch.minimum(torch.maximum(seen, low), last)], 1)
    sums, y = prefix_sums(ranks, n)
    most = x.shape[1] - 1
    begin = torch.searchsorted(seen, first).clamp_(max=most)
    end = torch.searchsorted(seen, last).clamp_(max=most)
    body = Body(n, first, last, begin, end, ranks.diff(dim=1), x, y[:, 1:], y[:, :-1])
    return body, sums.diff(dim=1)
