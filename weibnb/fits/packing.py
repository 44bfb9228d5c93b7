"""Counts as bytes for a database row: small, quick to make, read without compiled code.

Little-endian throughout. A head: number of bins and first label (uint32 each), bytes of a gap and
of a count (uint8 each). The low byte of each count as it is, for it is noise. Then, deflated
together, the gaps between labels and the higher bytes of the counts, plane by plane.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from weibnb.counting.formats import LABELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts

_HEAD = struct.Struct("<IIBB")
_GAPS, _COUNTS = (1, 2, 4), (1, 2, 4, 8)
# Of the deflation: the defaults take 256 kB from the system anew for each matrix, which costs more
# than to deflate a small one; these take 24 kB, and the result is as short.
WINDOW, MEMORY = 12, 5


def pack(counts: Counts) -> bytes:
    """Pack the bins of a matrix."""
    labels, numbers = counts.labels, counts.packed
    gaps = labels[1:] - labels[:-1]
    widest = int(gaps.max(initial=0))
    gap = 1 if widest < 1 << 8 else 2 if widest < 1 << 16 else 4
    width = numbers.itemsize
    planes = numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes()
    head = _HEAD.pack(labels.size, labels[0] if labels.size else 0, gap, width)
    rest = [gaps.astype(f"<u{gap}").tobytes(), *(planes[at::width] for at in range(1, width))]
    deflate = zlib.compressobj(1, wbits=WINDOW, memLevel=MEMORY)
    return b"".join((head, planes[::width], deflate.compress(b"".join(rest)), deflate.flush()))


def unpack(packed: bytes) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Give labels and counts back.

    Raises
    ------
    ValueError
        If the bytes are not what `pack` makes.
    """
    if len(packed) < _HEAD.size:
        raise ValueError("packed counts are too short")
    bins, first, gap, width = _HEAD.unpack_from(packed)
    steps = max(bins - 1, 0)
    if bins > LABELS or gap not in _GAPS or width not in _COUNTS:
        raise ValueError("packed counts have an impossible head")
    size, start = steps * gap + bins * (width - 1), _HEAD.size + bins
    inflate = zlib.decompressobj()
    try:
        rest = inflate.decompress(packed[start:], size + 1)
    except zlib.error as err:
        raise ValueError(f"packed counts are damaged ({err})") from err
    if len(rest) != size or not inflate.eof:
        raise ValueError("packed counts are damaged (sizes do not agree)")
    gaps = np.frombuffer(rest[: steps * gap], f"<u{gap}")
    planes = np.zeros((bins, 8), np.uint8)
    planes[:, 0] = np.frombuffer(packed[_HEAD.size : start], np.uint8)
    planes[:, 1:width] = np.frombuffer(rest[steps * gap :], np.uint8).reshape(width - 1, bins).T
    counts = planes.view("<i8")[:, 0].astype(np.int64)
    labels = first + np.cumsum(np.concatenate([[0], gaps])[:bins], dtype=np.int64)
    if bins and (labels[-1] >= LABELS or (gaps < 1).any() or (counts < 1).any()):
        raise ValueError("packed counts are damaged (labels or counts out of range)")
    return labels.astype(np.int32), counts
