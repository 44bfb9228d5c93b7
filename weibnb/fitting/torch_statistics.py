"""Moments and quantiles of |w| from counts, as operations on tensors, for many matrices at once.

It computes what `weibnb.fitting.statistics` does, and waits for no device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from weibnb.counting.formats import label_values, upper_edge
from weibnb.counting.transfers import to_device
from weibnb.fitting.weibull import QUANTILES

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Columns before the quantiles: the last of them is the largest bin.
MOMENTS = ("n", "rms", "mean_abs", "kurtosis", "top")


def describe_batch(
    counts: torch.Tensor, labels: NDArray[np.int32], zeros: torch.Tensor, *, exact: bool
) -> torch.Tensor:
    """Describe |w| of every matrix of a batch; zeros belong to it.

    Parameters
    ----------
    counts : Tensor of float64, shape (matrices, bins)
        Weights of each bin.
    labels : ndarray of int32, shape (bins,)
        The bins, ascending.
    zeros : Tensor of float64, shape (matrices, 1)
        Weights that are zero.
    exact : bool
        Whether each bin is one value.

    Returns
    -------
    Tensor of float64, shape (matrices, 5 + quantiles)
        `MOMENTS`, of which ``top`` is the lower edge of the largest bin, and `QUANTILES`.
    """
    ends = label_values(labels), upper_edge(labels)
    units = np.ldexp(1.0, np.frexp(ends[1])[1] - 1)
    low, high, unit = to_device(np.stack([*ends, units]), counts.device)
    number = torch.arange(labels.size, device=counts.device)
    last = (number * (counts > 0.0)).amax(1, keepdim=True)
    seen = counts.cumsum(1)
    n, unit = seen[:, -1:], unit.take(last)
    total = n + zeros
    # bins beyond the largest of a matrix could overflow there, and hold nothing
    a, b = (torch.minimum(end, 2.0 * unit) / unit for end in (low, high))
    sums = _sums(counts, a, None if exact else b)
    mean_abs, square, fourth = (one / total.clamp(min=1.0) for one in sums)
    empty, nothing = total == 0.0, n == 0.0
    columns = [
        n,
        (square.sqrt() * unit).masked_fill(empty, torch.nan),
        (mean_abs * unit).masked_fill(empty, torch.nan),
        fourth / square**2,
        low.take(last).masked_fill(nothing, 0.0),
        _quantiles(counts, seen + zeros, low, None if exact else high - low, zeros),
    ]
    return torch.cat(columns, 1)


def _sums(
    counts: torch.Tensor, low: torch.Tensor, high: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sum |w|, w^2 and w^4, over values or over intervals, each (matrices, 1)."""
    if high is None:
        square = low * low
        powers = low, square, square * square
    else:
        aa, ab, bb = low * low, low * high, high * high
        fourth = aa * aa + aa * ab + aa * bb + ab * bb + bb * bb
        powers = low / 2.0 + high / 2.0, (aa + ab + bb) / 3.0, fourth / 5.0
    first, second, fourth = ((counts * power).sum(1, keepdim=True) for power in powers)
    return first, second, fourth


def _quantiles(
    counts: torch.Tensor,
    seen: torch.Tensor,
    low: torch.Tensor,
    width: torch.Tensor | None,
    zeros: torch.Tensor,
) -> torch.Tensor:
    """Quantiles as numpy's: linear between the order statistics on both sides of (N-1) q.

    `seen` counts the weights up to each bin, zeros included. Inside an interval the order
    statistics lie evenly.
    """
    total = seen[:, -1:]
    position = (total - 1.0).clamp(min=0.0) * to_device(np.array(QUANTILES), counts.device)
    floor, found = position.floor(), torch.zeros_like(position)
    for rank in (floor, floor + 1.0):
        share = 1.0 - (position - rank).abs()
        at = torch.searchsorted(seen, rank, right=True).clamp_(max=counts.shape[1] - 1)
        place = low.take(at)
        if width is not None:
            size = counts.gather(1, at)
            before = seen.gather(1, at) - size
            place += (rank - before + 0.5) / size.clamp(min=1.0) * width.take(at)
        found += (share * place).masked_fill((share <= 0.0) | (rank < zeros), 0.0)
    return found.masked_fill(total == 0.0, torch.nan)
