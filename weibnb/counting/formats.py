"""Raw weights -> counts of their magnitudes: one pass, exact integers, mergeable."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Bits = NDArray[np.unsignedinteger[Any]]


# A bin is labelled by the bit pattern of its lower edge as float64 with ten mantissa bits kept,
# so every storage format counts on one common logarithmic grid of 1,024 bins an octave.
LABEL_SHIFT = 42
LABELS = 1 << 21
# A bin of float32 or float64 weights: 256 an octave, whose two lowest label bits are zero.
INTERVAL_MASK = ~3
INTERVAL_WIDTH = 4
# float32 is counted in this many patterns a bin before it is known to be exact or not.
_SHIFT_32, _SHIFT_64 = 13, LABEL_SHIFT


@dataclass(frozen=True, slots=True)
class Format:
    """How a storage format spells a magnitude.

    Attributes
    ----------
    name : str
        As safetensors spells it: ``"BF16"``.
    bits : numpy dtype
        Unsigned integer of the same size.
    bins : int
        Number of counters, the non-finite patterns included.
    infinity, first_nan : int
        Counter of infinity and first counter of NaN (an infinity of ``bins`` means: has none).
    shift : int
        Pattern bits below a counter; 0 where each counter is one value.
    """

    name: str
    bits: np.dtype[Any]
    bins: int
    infinity: int
    first_nan: int
    shift: int = 0

    @property
    def finite(self) -> int:
        """Number of counters of finite magnitudes; they come first."""
        return min(self.infinity, self.first_nan)


FORMATS: dict[str, Format] = {
    "BF16": Format("BF16", np.dtype(np.uint16), 1 << 15, 0x7F80, 0x7F81),
    "F16": Format("F16", np.dtype(np.uint16), 1 << 15, 0x7C00, 0x7C01),
    "F8_E4M3": Format("F8_E4M3", np.dtype(np.uint8), 1 << 7, 1 << 7, 0x7F),
    "F8_E5M2": Format("F8_E5M2", np.dtype(np.uint8), 1 << 7, 0x7C, 0x7D),
    "F32": Format("F32", np.dtype(np.uint32), 1 << 18, 255 << 10, 255 << 10, _SHIFT_32),
    "F64": Format("F64", np.dtype(np.uint64), LABELS, 2047 << 10, 2047 << 10, _SHIFT_64),
}
# What numpy and torch call the formats.
NAMES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
}


def _values(name: str, index: NDArray[np.int64]) -> NDArray[np.float64]:
    """Magnitude of counter `index` of a format (the lower edge for F32 and F64)."""
    if name == "F64":
        return (index << _SHIFT_64).view(np.float64)
    if name == "F32":
        return (index << _SHIFT_32).astype(np.uint32).view(np.float32).astype(np.float64)
    if name == "BF16":
        return (index << 16).astype(np.uint32).view(np.float32).astype(np.float64)
    if name == "F16":
        return index.astype(np.uint16).view(np.float16).astype(np.float64)
    mantissa_bits, bias = (3, 7) if name == "F8_E4M3" else (2, 15)
    exponent, mantissa = index >> mantissa_bits, index & ((1 << mantissa_bits) - 1)
    normal = np.ldexp(1 + mantissa / 2.0**mantissa_bits, exponent - bias)
    return np.where(exponent > 0, normal, np.ldexp(mantissa / 2.0**mantissa_bits, 1 - bias))


@lru_cache(maxsize=8)
def _labels(name: str) -> NDArray[np.int32]:
    """Label of every finite counter of a format."""
    values = _values(name, np.arange(FORMATS[name].finite))
    if name == "F32":
        values[0] = values[1] / 2  # only the tiniest subnormals: zeros are counted apart
    return (values.view(np.int64) >> LABEL_SHIFT).astype(np.int32)


def label_values(labels: ArrayLike) -> NDArray[np.float64]:
    """Magnitude that a bin label stands for: the value itself, or the lower edge of its interval.

    Parameters
    ----------
    labels : array_like of int
        Bin labels, as in the coordinate ``bin`` of a Dataset of fits.

    Returns
    -------
    ndarray of float64
        Magnitudes, in the units of the weights.

    Examples
    --------
    >>> label_values([1047552]).tolist()
    [1.0]
    """
    return (np.asarray(labels, np.int64) << LABEL_SHIFT).view(np.float64)


def as_bits(weights: Any) -> tuple[Bits, str]:
    """Bit patterns of an array or tensor, without a copy where its memory is contiguous.

    Parameters
    ----------
    weights : array_like or torch.Tensor
        Floating-point weights of any shape; Python numbers count as float64.

    Returns
    -------
    bits : ndarray of unsigned int, shape (n,)
        The patterns.
    dtype : str
        Their format: a key of `FORMATS`.

    Raises
    ------
    TypeError
        If the weights are not of a floating-point format that weibnb counts.

    Examples
    --------
    >>> bits, dtype = as_bits(np.array([1.0, -2.0], np.float16))
    >>> [hex(pattern) for pattern in bits], dtype
    (['0x3c00', '0xc000'], 'F16')
    """
    if hasattr(weights, "detach") and hasattr(weights, "element_size"):
        import torch

        form = format_of(str(weights.dtype).removeprefix("torch."))
        same_size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
        flat = weights.detach().cpu().contiguous().view(-1)
        return flat.view(same_size[weights.element_size()]).numpy().view(form.bits), form.name
    array = np.asarray(weights)
    if array.dtype == object or array.dtype.kind in "iub":
        array = array.astype(np.float64)
    form = format_of(array.dtype.name)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    return array.view(form.bits), form.name


def format_of(name: str) -> Format:
    """Find the format of a data type.

    Parameters
    ----------
    name : str
        What numpy or torch call it.

    Returns
    -------
    Format
        One of `FORMATS`.

    Raises
    ------
    TypeError
        If weibnb does not count weights of this type.
    """
    if name not in NAMES:
        raise TypeError(
            f"`weights` must be of one of the formats {', '.join(NAMES)}, got {name}. "
            "Convert them, for example with .astype('float32')."
        )
    return FORMATS[NAMES[name]]
