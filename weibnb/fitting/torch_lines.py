"""Rows and columns that stay on a device: classes of their weights, and how unequal they are.

It computes what `weibnb.fitting.clusters` and `weibnb.fitting.scales` do, for many matrices of one
shape at once, and waits for no device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import special

from weibnb.counting.lines import FEWEST
from weibnb.counting.transfers import to_device
from weibnb.fitting.rank_functions import CLASSES
from weibnb.fitting.torch_clusters import widening

if TYPE_CHECKING:
    from weibnb.counting.blocks import Block
    from weibnb.counting.formats import Format

# 97.5 % quantile of the normal distribution.
_NORMAL = float(special.ndtri(0.975))
_DTYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F32": torch.float32,
    "F64": torch.float64,
}


def bin_of_counter(block: Block) -> torch.Tensor:
    """Give the bin of each counter of a format, and one behind all of them to those without."""
    table = np.full(block.form.bins, block.labels.size)
    table[block.counters] = block.bins
    table[0] = block.labels.size  # that of zeros
    return to_device(table, block.device)


def classes_of_words(
    words: torch.Tensor, form: Format, bins: torch.Tensor, of_bin: torch.Tensor
) -> torch.Tensor:
    """Give the class of every weight: `CLASSES` for zeros and those that are not finite.

    Parameters
    ----------
    words : Tensor of int, shape (matrices, lines, weights)
        Bits of weights.
    form : Format
        Their format.
    bins : Tensor of int64
        From `bin_of_counter`.
    of_bin : Tensor of int64, shape (matrices, bins)
        Class of each bin.
    """
    mask = (1 << 8 * form.bits.itemsize - 1) - 1
    place = bins.take((words.to(torch.int64) & mask) >> form.shift)
    none = of_bin.new_full((len(of_bin), 1), CLASSES)
    found = torch.cat([of_bin, none], 1).gather(1, place.flatten(1))
    return found.view(words.shape)


def spreads(words: torch.Tensor, form: Format) -> torch.Tensor:
    """Measure how unequal lines are: h and its error, (matrices, 2).

    As `weibnb.fitting.scales.spreads` does to those of one matrix; `words` are (matrices, lines,
    weights).
    """
    logs, noise = _look(words, form)
    live = logs > -torch.inf
    number = live.sum(1, dtype=torch.float64)
    middle = logs.where(live, 0.0).sum(1) / number
    square = (logs - middle[:, None]).where(live, 0.0).square()
    second, fourth = square.sum(1) / (number - 1.0), square.square().sum(1) / number
    fourth = torch.maximum(fourth, 3.0 * second * second)
    variance = (fourth - second * second * (number - 3.0) / (number - 1.0)) / number
    error, h = variance.sqrt(), (second - noise).clamp(min=0.0).sqrt()
    least = torch.maximum(error.sqrt() / 2.0, h / _NORMAL)
    error = least.where(h * h < _NORMAL * error, (error / (2.0 * h)).where(h > 0.0, 0.0))
    error = error * widening(words.shape[1], words.device).take(number.long()).sqrt()
    unknown = (number < FEWEST) | noise.isnan()
    return torch.stack([h, error], 1).masked_fill(unknown[:, None], torch.nan)


def _look(words: torch.Tensor, form: Format) -> tuple[torch.Tensor, torch.Tensor]:
    """Give ln RMS of lines, -inf for zeros, and the noise in it."""
    values = words.view(_DTYPES[form.name])
    values = values if form.name == "F64" else values.float()
    finite = values.isfinite()
    values = values.where(finite, 0.0)
    largest = values.abs().amax((1, 2), keepdim=True)
    square = (values / largest.where(largest > 0.0, 1.0)).float().square()
    total = square.sum(2, dtype=torch.float64)
    live = total > 0.0
    logs = 0.5 * (total / finite.sum(2)).log()
    share = square / total.where(live, 1.0).float()[..., None]
    without = share + share * share * (0.5 + share / 3.0)
    fourth = without.square().sum((1, 2), dtype=torch.float64)
    mean = without.sum(1, dtype=torch.float64)
    shared, across = mean.square().sum(1), (mean > 0.0).sum(1)
    number = live.sum(1)
    noise = (fourth - shared / number).clamp(min=0.0) / (4.0 * (number - 1))
    unknown = (number < 2) | (across < FEWEST)
    return logs.where(live, -torch.inf), noise.masked_fill(unknown, torch.nan)
