"""Number formats that weights are quantised to: their levels, and how a scale is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from weibnb.counting.formats import FORMATS as STORED
from weibnb.counting.formats import decode

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True)
class NumberFormat:
    """A number format, and the protocol by which weights are scaled to it.

    Every weight becomes the nearest level times the scale of its block.

    Attributes
    ----------
    name : str
    levels : ndarray of float64, shape (levels,)
        What a weight can be, in units of the scale, ascending.
    reach : float
        The largest magnitude of a block is at `reach` scales. With `power_of_two` the scale is
        the power of two at which it lies in [reach, 2 reach): what is beyond the last level
        becomes the last level.
    bits : int
        Of a weight.
    scale_bits : int
        Of a scale.
    block : int or None
        Weights that share a scale where the format itself says so.
    power_of_two : bool
        Whether scales are powers of two.
    source : str
        Who defines it.
    """

    name: str
    levels: Array
    reach: float
    bits: int
    source: str
    scale_bits: int = 32
    block: int | None = None
    power_of_two: bool = False

    @cached_property
    def sides(self) -> tuple[tuple[Array, Array], ...]:
        """Levels of positive and of negative weights, as magnitudes, and the bounds between them.

        One side alone where a weight and its negative have the same error.
        """
        both = tuple(_side(sign * self.levels) for sign in (1, -1))
        furthest = 2 * self.reach if self.power_of_two else self.reach
        up, down = (bounds[bounds < furthest] for _, bounds in both)
        return both[:1] if np.array_equal(up, down) else both

    @property
    def symmetric(self) -> bool:
        """Whether a weight and its negative have the same error, up to the largest of a block."""
        return len(self.sides) == 1


def _side(levels: Array) -> tuple[Array, Array]:
    """Give the levels from the one nearest zero on, and the bounds between neighbours."""
    ordered = np.sort(levels)
    kept = ordered[ordered >= 0]
    return kept, (kept[1:] + kept[:-1]) / 2


def _two_complement(bits: int) -> Array:
    """Give the integers of so many bits."""
    return np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1), dtype=float)


def _both_signs(magnitudes: Array) -> Array:
    """Give magnitudes with either sign."""
    return np.unique(np.concatenate([-magnitudes, magnitudes]))


# bitsandbytes, csrc/kernels.cu: quantiles of a normal distribution over the largest of them.
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
_E4M3 = decode(np.arange(STORED["F8_E4M3"].finite, dtype=np.uint8), "F8_E4M3")
_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
_TORCHAO = "torchao, MappingType.SYMMETRIC: the scale is max|w| / ((quant_max - quant_min) / 2)"

_ALL = (
    NumberFormat("int8", _two_complement(8), 127.5, 8, _TORCHAO),
    NumberFormat("int4", _two_complement(4), 7.5, 4, _TORCHAO),
    NumberFormat(
        "fp8_e4m3", _both_signs(_E4M3), 448.0, 8, "OCP OFP8 1.0; torchao: the scale is max|w| / 448"
    ),
    NumberFormat(
        "nf4", np.array(_NF4), 1.0, 4, "bitsandbytes; T. Dettmers et al., arXiv:2305.14314"
    ),
    NumberFormat(
        "mxfp4",
        _both_signs(_E2M1),
        4.0,
        4,
        "OCP Microscaling Formats (MX) 1.0, sections 5.2 and 6.3: E2M1 elements, E8M0 scale",
        scale_bits=8,
        block=32,
        power_of_two=True,
    ),
)
#: The formats by name.
NUMBER_FORMATS = MappingProxyType({one.name: one for one in _ALL})
