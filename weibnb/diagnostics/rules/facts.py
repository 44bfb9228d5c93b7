"""What rules ask of the counts of a matrix, so that those of all need not be held."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from weibnb.counting.counts import Counts

#: Smallest normal magnitude of a format.
SMALLEST_NORMAL = {
    "F8_E4M3": 2.0**-6,
    "F8_E5M2": 2.0**-14,
    "F16": 2.0**-14,
    "BF16": 2.0**-126,
    "F32": 2.0**-126,
    "F64": 2.0**-1022,
}

#: Weights that may stand alone beyond the others, at most.
FEW_ALONE = 10
_BESIDE = 16  # occupied bins below that of the largest weight


class Facts(NamedTuple):
    """What is known of the weights of a matrix.

    Attributes
    ----------
    n, zeros, nonfinite : int
        Weights that a fit uses, and those that it does not.
    levels : int
        Distinct magnitudes, or intervals of them.
    exact : bool
        Whether these are values.
    largest : float
        Largest magnitude.
    at_largest, subnormal : int
        Weights of the largest magnitude, and below the normal ones of the format.
    beside_largest : int
        The most weights in one of the occupied bins next to that of the largest magnitude.
    alone : int
        Weights beyond the widest gap above which there are at most `FEW_ALONE`.
    ln_gap : float
        Logarithm of how many times the magnitudes of this gap differ.
    ln_chance : float
        Logarithm of the chance that another draw of the same law has the same counts.
    digest : bytes
        Hash of the counts.
    """

    n: int
    zeros: int
    nonfinite: int
    levels: int
    exact: bool
    largest: float
    at_largest: int
    subnormal: int
    beside_largest: int
    alone: int
    ln_gap: float
    ln_chance: float
    digest: bytes


def facts_of(counts: Counts, dtype: str) -> Facts:
    """Look at the counts of a matrix of this format."""
    below = counts.values < SMALLEST_NORMAL.get(dtype, 0.0)
    return Facts(
        counts.n,
        counts.zeros,
        counts.nans + counts.infinities,
        counts.labels.size,
        counts.exact,
        counts.largest,
        int(counts.packed[-1]) if counts.labels.size else 0,
        int(counts.counts[below].sum()),
        int(counts.packed[-1 - _BESIDE : -1].max(initial=0)),
        *_alone(counts),
        _ln_chance(counts),
        _digest(counts),
    )


def _alone(counts: Counts) -> tuple[int, float]:
    """Count the weights beyond the widest gap near the largest, and give how wide it is."""
    beyond = np.cumsum(counts.packed[:0:-1][:FEW_ALONE], dtype=np.int64)[::-1]
    beyond = beyond[beyond <= FEW_ALONE]
    if not beyond.size:
        return 0, 0.0
    gaps = np.diff(np.log(counts.values[-1 - beyond.size :]))
    widest = int(gaps.argmax())
    return int(beyond[widest]), float(gaps[widest])


def _ln_chance(counts: Counts) -> float:
    """Give the logarithm of the chance that another draw of the same law has the same counts.

    Each bin agrees with a chance of 1/√(4π c) where c weights are expected; one follows from the
    others.
    """
    if counts.labels.size < 2:
        return 0.0
    each = -0.5 * np.log(4 * np.pi * np.maximum(counts.counts, 1))
    return float(each.sum() - each.min())


def _digest(counts: Counts) -> bytes:
    """Hash counts."""
    digest = hashlib.blake2b(digest_size=16)
    apart = (counts.zeros, counts.nans, counts.infinities, counts.largest, counts.exact)
    digest.update(repr(apart).encode())
    digest.update(counts.labels.tobytes())
    digest.update(counts.counts.tobytes())
    return digest.digest()
