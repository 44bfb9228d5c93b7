"""The GPU's counting loop: each program counts one piece of a matrix with counters of its own.

A trained matrix falls into some ten octaves, so a program needs counters for a window of octaves
only, and those fit into shared memory. What lies outside the window (zeros, NaN, infinities, a few
stragglers) is looked for only in tiles that have any, and counted straight into the table.

From Triton 3.8 on `tl.histogram` counts in shared memory. Before, it looks every bin up by ballots,
and the counters of a program lie in global memory (the L2 cache) instead.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.counting.formats import Format

# Weights of a piece, of the tiles in which a program reads it, and of a look at the rare ones.
PIECE, TILE, LANES = 1 << 18, 1 << 14, 1 << 10
WARPS = 32
# Programs that have counters in global memory at once: some two for each multiprocessor.
AT_ONCE = 512
# A tile whose places pass through shared memory on their way to counters in global memory.
TILE_BESIDE = 1 << 12
VERSION = tuple(map(int, re.findall(r"\d+", triton.__version__)[:2]))
IN_SHARED_MEMORY = VERSION >= (3, 8)
# Bins of an octave and of the window, powers of two, by format.
_WINDOWS = {
    "BF16": (1 << 7, 1 << 12),
    "F16": (1 << 10, 1 << 14),
    "F8_E4M3": (1 << 3, 1 << 6),
    "F8_E5M2": (1 << 2, 1 << 6),
    "F32": (1 << 10, 1 << 14),
    "F64": (1 << 10, 1 << 14),
}
_WORDS = {1: tl.int8, 2: tl.int16, 4: tl.int32, 8: tl.int64}


def problem(device: torch.device, form: Format) -> str:
    """Say why the kernel cannot count a format on a device; nothing if it can."""
    if VERSION < (3, 2):
        return f"Triton {triton.__version__} is too old; 3.2 (torch 2.6) or newer counts"
    word = getattr(torch, f"int{8 * form.bits.itemsize}")
    table = torch.zeros(1, form.bins + 5, dtype=torch.int64, device=device)
    try:
        launch([(torch.zeros(16, dtype=word, device=device), 0)], table, form, form.bins + 4)
    except (OSError, RuntimeError, subprocess.SubprocessError, triton.TritonError) as err:
        return f"Triton cannot count {form.name} on {device} ({err})"
    return ""


def launch(
    items: Sequence[tuple[torch.Tensor, int]],
    table: torch.Tensor,
    form: Format,
    largest_at: int,
    *,
    piece: int = PIECE,
    tile: int | None = None,
    lanes: int = LANES,
    warps: int = WARPS,
) -> None:
    """Add words, each with its row, to a table: those that are aligned, then the others.

    Each takes one launch, or one for every `AT_ONCE` pieces where counters lie in global memory.
    See `weibnb.counting.tables.Table` for the columns.
    """
    about = np.array(
        [(words.data_ptr(), words.numel(), row) for words, row in items], np.int64
    ).reshape(-1, 3)
    octave, window = _WINDOWS[form.name]
    tile = tile or (TILE if IN_SHARED_MEMORY else TILE_BESIDE)
    width = form.bits.itemsize
    for vector in (16, 1):
        chosen = about[(about[:, 0] % 16 == 0) == (vector == 16)]
        number = -(-chosen[:, 1] // piece)
        if not number.sum():
            continue
        pieces = np.repeat(chosen, number, 0)
        first = np.repeat(np.cumsum(number) - number, number)
        before = (np.arange(len(pieces)) - first) * piece
        pieces[:, 0] += before * width
        pieces[:, 1] = np.minimum(pieces[:, 1] - before, piece)
        listed = torch.from_numpy(pieces)
        if table.is_cuda:
            listed = listed.pin_memory().to(table.device, non_blocking=True)
        at_once = len(pieces) if IN_SHARED_MEMORY else min(len(pieces), AT_ONCE)
        size = (1, 1) if IN_SHARED_MEMORY else (at_once, window)
        counters = torch.zeros(size, dtype=torch.int32, device=table.device)
        for some in listed.split(at_once):
            with torch.cuda.device(table.device if table.is_cuda else -1):
                count_pieces[(len(some),)](
                    some,
                    table,
                    counters,
                    table.stride(0),
                    largest_at,
                    WORD=_WORDS[width],
                    MAGNITUDE=(1 << 8 * width - 1) - 1,
                    FINITE=form.finite << form.shift,
                    INFINITY=form.infinity << form.shift if form.infinity < form.bins else -1,
                    SHIFT=form.shift,
                    BINS=form.bins,
                    OCTAVE=octave,
                    WINDOW=window,
                    TILE=tile * 2 // max(width, 2),
                    LANES=lanes,
                    VECTOR=vector,
                    SHARED=IN_SHARED_MEMORY,
                    num_warps=warps,
                    enable_fp_fusion=False,
                )


@triton.jit
def count_pieces(
    pieces: tl.tensor,
    table: tl.tensor,
    counters: tl.tensor,
    columns: tl.tensor,
    largest_at: tl.tensor,
    WORD: tl.constexpr,
    MAGNITUDE: tl.constexpr,
    FINITE: tl.constexpr,
    INFINITY: tl.constexpr,
    SHIFT: tl.constexpr,
    BINS: tl.constexpr,
    OCTAVE: tl.constexpr,
    WINDOW: tl.constexpr,
    TILE: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    SHARED: tl.constexpr,
) -> None:
    """Count one piece into its row of the table.

    `pieces` holds address, length and row of each piece; `counters` are zero, and are left so.
    """
    piece = pieces + 3 * tl.program_id(0)
    words = tl.multiple_of(tl.load(piece).to(tl.pointer_type(WORD)), VECTOR)
    n = tl.load(piece + 1).to(tl.int32)
    row = table + tl.load(piece + 2) * columns
    lanes = tl.arange(0, TILE)

    # The window reaches two octaves above the largest of the first weights.
    first = tl.load(words + tl.arange(0, LANES), mask=tl.arange(0, LANES) < n, other=0) & MAGNITUDE
    top = (_largest(first, FINITE) >> SHIFT).to(tl.int32)
    low = tl.minimum(tl.maximum(top + 2 * OCTAVE - WINDOW, 1), (FINITE >> SHIFT) - WINDOW)

    window = tl.zeros((WINDOW,), tl.int32)
    own = counters + tl.program_id(0) * WINDOW
    one = tl.full((TILE,), 1, tl.int32)
    inexact, largest = tl.zeros((), tl.int64), tl.zeros((), tl.int64)
    whole = tl.multiple_of(n // 16 * 16, 16)
    for start in range(0, whole, TILE):
        inside = start + lanes < whole
        magnitude = tl.load(words + start + lanes, mask=inside, other=0) & MAGNITUDE
        place = (magnitude >> SHIFT).to(tl.int32) - low
        held = inside & (place >= 0) & (place < WINDOW)
        if SHARED:
            counted = tl.histogram(place, WINDOW, mask=held)
            window += counted
            number = tl.sum(counted)
        else:
            tl.atomic_add(own + place, one, mask=held, sem="relaxed")
            number = tl.sum(held.to(tl.int32))
        stop = tl.minimum(start + TILE, whole)
        if number < stop - start:
            _count_others(
                row,
                words,
                start,
                stop,
                low,
                MAGNITUDE,
                FINITE,
                INFINITY,
                SHIFT,
                BINS,
                WINDOW,
                LANES,
            )
        if SHIFT:
            inexact += _inexact(magnitude, SHIFT)
            largest = tl.maximum(largest, _largest(magnitude, FINITE))
    if not SHARED:
        tl.debug_barrier()  # all threads of the program have counted
        window = tl.atomic_xchg(own + tl.arange(0, WINDOW), window, sem="relaxed")
    tl.atomic_add(
        row + low + tl.arange(0, WINDOW), window.to(tl.int64), mask=window > 0, sem="relaxed"
    )
    _count_others(row, words, whole, n, 0, MAGNITUDE, FINITE, INFINITY, SHIFT, BINS, 0, LANES)
    if SHIFT:
        rest = tl.load(words + whole + tl.arange(0, 16), mask=whole + tl.arange(0, 16) < n, other=0)
        inexact += _inexact(rest & MAGNITUDE, SHIFT)
        largest = tl.maximum(largest, _largest(rest & MAGNITUDE, FINITE))
        tl.atomic_add(row + BINS + 3, inexact, sem="relaxed")
        tl.atomic_max(row + largest_at, largest, sem="relaxed")


@triton.jit
def _count_others(
    row: tl.tensor,
    words: tl.tensor,
    start: tl.tensor,
    stop: tl.tensor,
    low: tl.tensor,
    MAGNITUDE: tl.constexpr,
    FINITE: tl.constexpr,
    INFINITY: tl.constexpr,
    SHIFT: tl.constexpr,
    BINS: tl.constexpr,
    WINDOW: tl.constexpr,
    LANES: tl.constexpr,
) -> None:
    """Read a tile again and count what its window does not hold."""
    zeros = tl.zeros((LANES,), tl.int32)
    infinities = tl.zeros((LANES,), tl.int32)
    nans = tl.zeros((LANES,), tl.int32)
    one = tl.full((LANES,), 1, tl.int64)
    for at in range(start, stop, LANES):
        lanes = at + tl.arange(0, LANES)
        magnitude = tl.load(words + lanes, mask=lanes < stop, other=0) & MAGNITUDE
        place = (magnitude >> SHIFT).to(tl.int32)
        other = (lanes < stop) & ((place < low) | (place >= low + WINDOW))
        zero, infinite = magnitude == 0, magnitude == INFINITY
        finite = (magnitude < FINITE) & ~zero
        tl.atomic_add(row + place, one, mask=other & finite, sem="relaxed")
        zeros += (other & zero).to(tl.int32)
        infinities += (other & infinite).to(tl.int32)
        nans += (other & ~finite & ~zero & ~infinite).to(tl.int32)
    tl.atomic_add(row + BINS, tl.sum(zeros).to(tl.int64), sem="relaxed")
    tl.atomic_add(row + BINS + 1, tl.sum(infinities).to(tl.int64), sem="relaxed")
    tl.atomic_add(row + BINS + 2, tl.sum(nans).to(tl.int64), sem="relaxed")


@triton.jit
def _largest(magnitude: tl.tensor, FINITE: tl.constexpr) -> tl.tensor:
    return tl.max(tl.where(magnitude < FINITE, magnitude, 0), 0).to(tl.int64)


@triton.jit
def _inexact(magnitude: tl.tensor, SHIFT: tl.constexpr) -> tl.tensor:
    return tl.sum(((magnitude & ((1 << SHIFT) - 1)) != 0).to(tl.int32)).to(tl.int64)
