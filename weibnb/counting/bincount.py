"""What counts on a device where Triton does not: `torch.bincount`, several times slower."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.counting.formats import Format


def count_by_bincount(
    items: Sequence[tuple[torch.Tensor, int]],
    table: torch.Tensor,
    form: Format,
    largest_at: int,
    *,
    at_once: int = 1 << 22,
    least: int = 1 << 20,
) -> None:
    """Add words, each with its row, to a table of counters on any device.

    `at_once` weights need eight bytes or more each; where memory is short, `least` must do.
    See `weibnb.counting.tables.Table` for the columns.
    """
    for words, row in items:
        size, at = at_once, 0
        while at < words.numel():
            try:
                counted, largest = _bincount(words[at : at + size], form)
            except torch.OutOfMemoryError:
                if size <= least:
                    raise
                size //= 2
                told = f"{2 * size:,} weights at once on {words.device}: {size:,} must do."
                warnings.warn(f"There is too little memory for {told}", stacklevel=2)
                continue
            table[row, : counted.numel()] += counted
            table[row, largest_at] = torch.maximum(table[row, largest_at], largest)
            at += size


def _bincount(words: torch.Tensor, form: Format) -> tuple[torch.Tensor, torch.Tensor]:
    """Count words as a row of a table does; give the largest apart."""
    infinity, finite = form.infinity << form.shift, form.finite << form.shift
    magnitude = words.to(torch.int64) & ((1 << 8 * words.element_size() - 1) - 1)
    place = torch.where(magnitude < finite, magnitude >> form.shift, form.bins + 2)
    place = torch.where(magnitude == infinity, form.bins + 1, place)
    place = torch.where(magnitude == 0, form.bins, place)
    counted = torch.bincount(place, minlength=form.bins + 4)
    if not form.shift:
        return counted, magnitude.new_zeros(())
    counted[form.bins + 3] = ((magnitude & ((1 << form.shift) - 1)) != 0).sum()
    return counted, torch.where(magnitude < finite, magnitude, 0).max()
