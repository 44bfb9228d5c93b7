"""The bits of each storage format, and the common grid of magnitudes on which all of them count."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    Bits = NDArray[np.unsignedinteger[Any]]


# A bin is labelled by the bit pattern of its lower edge as float64 with ten mantissa bits kept,
# so every storage format counts on one common logarithmic grid of 1,024 bins per octave.
MANTISSA_BITS = 10
LABEL_SHIFT = 52 - MANTISSA_BITS
LABELS = 1 << 21
# A bin of float32 or float64 weights: 256 per octave, whose two lowest label bits are zero.
INTERVAL_MASK = ~3
INTERVAL_WIDTH = 4


@dataclass(frozen=True, slots=True)
class Format:
    """How a storage format spells a magnitude."""

    name: str  # as safetensors spells it
    bits: np.dtype[Any]  # unsigned integers of the same size
    bins: int  # counters, those of the non-finite patterns included
    infinity: int  # counter of infinity; `bins` if it has none
    first_nan: int
    shift: int = 0  # pattern bits below a counter; 0 where each counter is one value

    @property
    def finite(self) -> int:
        """Number of counters of finite magnitudes; they come first."""
        return min(self.infinity, self.first_nan)


FORMATS: dict[str, Format] = {
    "BF16": Format("BF16", np.dtype(np.uint16), 1 << 15, 0x7F80, 0x7F81),
    "F16": Format("F16", np.dtype(np.uint16), 1 << 15, 0x7C00, 0x7C01),
    "F8_E4M3": Format("F8_E4M3", np.dtype(np.uint8), 1 << 7, 1 << 7, 0x7F),
    "F8_E5M2": Format("F8_E5M2", np.dtype(np.uint8), 1 << 7, 0x7C, 0x7D),
    "F32": Format("F32", np.dtype(np.uint32), 1 << 18, 255 << 10, 255 << 10, 13),
    "F64": Format("F64", np.dtype(np.uint64), LABELS, 2047 << 10, 2047 << 10, LABEL_SHIFT),
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


def decode(bits: NDArray[Any], dtype: str, *, narrow: bool = False) -> NDArray[Any]:
    """Signed values of bit patterns of a format, which is a key of `FORMATS`.

    In float64 or, if `narrow`, in float32 for all formats that fit into it.
    """
    form = np.float32 if narrow and dtype != "F64" else np.float64
    if FORMATS[dtype].bits.itemsize == 1:
        return _float8_values(dtype).astype(form).take(bits)
    if dtype == "BF16":
        bits = bits.astype(np.uint32) << 16
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return bits.view(f"f{bits.itemsize}").astype(form, copy=dtype != "BF16")


@lru_cache(maxsize=2)
def _float8_values(dtype: str) -> Array:
    """Value of each pattern of an 8-bit format."""
    form = FORMATS[dtype]
    mantissa_bits, bias = (3, 7) if dtype == "F8_E4M3" else (2, 15)
    pattern = np.arange(form.bins)
    exponent, mantissa = pattern >> mantissa_bits, pattern & ((1 << mantissa_bits) - 1)
    significand = mantissa / 2.0**mantissa_bits + (exponent > 0)
    value = np.ldexp(significand, np.maximum(exponent, 1) - bias)
    value[form.infinity : form.first_nan] = np.inf
    value[form.first_nan :] = np.nan
    return np.concatenate([value, -value])


@lru_cache(maxsize=8)
def counter_labels(form: Format) -> NDArray[np.int32]:
    """Label of every finite counter of a format."""
    values = decode((np.arange(form.finite) << form.shift).astype(form.bits), form.name)
    if form.name == "F32":
        values[0] = values[1] / 2  # only the tiniest subnormals: zeros are counted apart
    return (values.view(np.int64) >> LABEL_SHIFT).astype(np.int32)


def label_values(labels: ArrayLike) -> Array:
    """Magnitude that a bin label stands for: the value itself, or the lower edge of its interval.

    Examples
    --------
    >>> label_values([1047552]).tolist()
    [1.0]
    """
    return (np.asarray(labels, np.int64) << LABEL_SHIFT).view(np.float64)


def upper_edge(labels: ArrayLike) -> Array:
    """Upper edge of intervals whose lower edges have these labels; always finite."""
    edges = label_values(np.asarray(labels, np.int64) + INTERVAL_WIDTH)
    return np.minimum(edges, np.finfo(np.float64).max)


def value_parts(labels: ArrayLike) -> tuple[Array, NDArray[np.int64], Array]:
    """Octave of each value (a power of two), its mantissa, and its lowest bit as a magnitude."""
    wide = np.asarray(labels, np.int64)
    mantissa = wide & ((1 << MANTISSA_BITS) - 1)
    octave = np.ldexp(1.0, np.maximum(wide >> MANTISSA_BITS, 1) - 1023)
    whole = mantissa | 1 << MANTISSA_BITS
    return octave, mantissa, octave * ((whole & -whole) / 2.0**MANTISSA_BITS)


def as_bits(weights: Any) -> tuple[Bits, str]:
    """Bit patterns of an array or tensor, flat, and their format: a key of `FORMATS`.

    Contiguous memory is not copied; Python numbers count as float64. TypeError if weibnb does not
    count weights of this type.

    Examples
    --------
    >>> bits, dtype = as_bits(np.array([1.0, -2.0], np.float16))
    >>> [hex(pattern) for pattern in bits], dtype
    (['0x3c00', '0xc000'], 'F16')
    """
    if hasattr(weights, "detach") and hasattr(weights, "element_size"):
        import torch

        form = format_of(str(weights.dtype).removeprefix("torch."))
        word = getattr(torch, f"int{8 * weights.element_size()}")
        flat = weights.detach().cpu().contiguous().view(-1)
        return flat.view(word).numpy().view(form.bits), form.name
    if np.ma.is_masked(weights):  # numpy would take what is masked for weights
        raise TypeError("`weights` must have no masked values; give weights.compressed().")
    array = np.asarray(weights)
    if array.dtype == object or array.dtype.kind in "iub":
        array = array.astype(np.float64)
    form = format_of(array.dtype.name)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(-1)
    return array.view(form.bits), form.name


def format_of(name: str) -> Format:
    """Find the format of a data type by what numpy or torch call it; TypeError if it has none."""
    if name not in NAMES:
        raise TypeError(
            f"`weights` must be of one of the formats {', '.join(NAMES)}, got {name}. "
            "Convert them, for example with .astype('float32')."
        )
    return FORMATS[NAMES[name]]
