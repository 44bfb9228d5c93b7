"""Values of floating-point formats of eight bits and less, and rounding to bfloat16."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.io.safetensors import RawBits


class _Layout(NamedTuple):
    """Bits of the mantissa, bias of the exponent, and patterns that are no numbers."""

    bits: int
    mantissa: int
    bias: int
    infinity: int = 1 << 8
    first_nan: int = 1 << 8
    nan_for_minus_zero: bool = False


_LAYOUTS = {
    "F4": _Layout(4, 1, 1),
    "F8_E4M3": _Layout(8, 3, 7, first_nan=0x7F),
    "F8_E5M2": _Layout(8, 2, 15, infinity=0x7C, first_nan=0x7D),
    "F8_E4M3FNUZ": _Layout(8, 3, 8, nan_for_minus_zero=True),
    "F8_E5M2FNUZ": _Layout(8, 2, 16, nan_for_minus_zero=True),
}
#: Formats that have a table.
SMALL = (*_LAYOUTS, "F8_E8M0")


@cache
def values_of_bytes(dtype: str) -> NDArray[np.float32]:
    """Give the numbers in each byte: one, or two of four bits, the low ones first.

    Parameters
    ----------
    dtype : str
        One of `SMALL`.

    Returns
    -------
    ndarray of float32, shape (256, 1) or (256, 2), read-only

    References
    ----------
    OCP Microscaling Formats (MX) Specification 1.0; P. Micikevicius et al., "FP8 Formats for Deep
    Learning", arXiv:2209.05433; of the FNUZ formats B. Noune et al., arXiv:2206.02915.

    Examples
    --------
    >>> values_of_bytes("F4")[0x2F].tolist()
    [-6.0, 1.0]
    """
    if dtype == "F8_E8M0":  # an exponent alone
        table = np.append(np.ldexp(np.float32(1), np.arange(255) - 127), np.float32(np.nan))
    else:
        table = _signed(_LAYOUTS[dtype])
    if table.size == 256:
        table = table[:, None]
    else:
        byte = np.arange(256)
        table = np.stack([table[byte & 15], table[byte >> 4]], 1)
    table = np.ascontiguousarray(table)
    table.flags.writeable = False
    return table


def _signed(form: _Layout) -> NDArray[np.float32]:
    """Give the value of each pattern."""
    pattern = np.arange(1 << (form.bits - 1))
    exponent, mantissa = pattern >> form.mantissa, pattern & ((1 << form.mantissa) - 1)
    significand = mantissa / 2.0**form.mantissa + (exponent > 0)
    value = np.ldexp(significand, np.maximum(exponent, 1) - form.bias)
    value[form.infinity : form.first_nan] = np.inf
    value[form.first_nan :] = np.nan
    both = np.concatenate([value, -value])
    if form.nan_for_minus_zero:
        both[pattern.size] = np.nan
    return both.astype(np.float32)


def bfloat16_bits(values: NDArray[Any]) -> RawBits:
    """Round float32 numbers to bfloat16, to nearest even; give their bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded: RawBits = ((bits + (0x7FFF + ((bits >> 16) & 1))) >> 16).astype(np.uint16)
    rounded[np.isnan(values)] = 0x7FC0
    return rounded
