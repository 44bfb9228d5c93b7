"""Bit patterns -> squares of weights, line by line in vectors, without a table of values."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.compiled import compiled_inline
from weibnb.counting.formats import FORMATS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.formats import Bits

# Mantissa bits and exponent bias of each format; those of float32, as which patterns are read.
_SPELLING = {
    "BF16": (7, 127), "F16": (10, 15), "F8_E4M3": (3, 7), "F8_E5M2": (2, 15), "F32": (23, 127),
}  # fmt: skip
_MANTISSA, _BIAS = _SPELLING["F32"]


class Rule(NamedTuple):
    """How the patterns of a format are read as float32; the compiled loops take it whole.

    A magnitude is the pattern under `mask`, finite if that is below `limit`, shifted by `shift`
    and times `factor`: in a unit near the largest, so that squares neither overflow nor vanish.
    """

    mask: np.uint32
    limit: np.uint32
    shift: np.uint32
    factor: np.float32


def rule_of(dtype: str, largest: float) -> tuple[Rule, float]:
    """Give the rule for a matrix of this largest magnitude, and the unit of weights read by it.

    Weights of F64 are read as what `as_words` makes of them.
    """
    unit = math.ldexp(1.0, min(math.frexp(largest)[1], 1023))
    if dtype == "F64":
        return _rule("F32", 1.0), unit
    above = _BIAS - _SPELLING[dtype][1]
    unit = min(max(unit, math.ldexp(1.0, above - 126)), 2.0**126)
    return _rule(dtype, math.ldexp(1.0 / unit, above)), unit


def plain_rule(dtype: str) -> Rule:
    """Give the rule by which the patterns of a format, other than F64, are read as they are."""
    return _rule(dtype, math.ldexp(1.0, _BIAS - _SPELLING[dtype][1]))


@lru_cache(maxsize=256)
def _rule(dtype: str, factor: float) -> Rule:
    form, mantissa = FORMATS[dtype], _SPELLING[dtype][0]
    mask = (1 << 8 * form.bits.itemsize - 1) - 1
    limit = min(form.finite << form.shift, mask + 1)
    shift = _MANTISSA - mantissa
    return Rule(np.uint32(mask), np.uint32(limit), np.uint32(shift), np.float32(factor))


def as_words(bits: Bits, dtype: str, unit: float | NDArray[np.float64]) -> Bits:
    """Give patterns that a rule reads: of float64 those of float32, in `unit`."""
    if dtype != "F64":
        return bits
    with np.errstate(over="ignore", invalid="ignore"):
        return (bits.view(np.float64) / unit).astype(np.float32).view(np.uint32)


@compiled_inline
def squares(bits: Any, rule: Any, words: Any, values: Any, out: Any) -> Any:
    """Square some weights, 0 for those that are not finite; give how many are finite.

    `words` and `values` are the same memory, as uint32 and float32.
    """
    finite = 0
    mask, limit, shift, factor = rule
    for i in range(bits.size):
        word = np.uint32(bits[i]) & mask
        there = word < limit
        finite += there
        words[i] = (word << shift) if there else np.uint32(0)
    for i in range(bits.size):
        value = values[i] * factor
        out[i] = value * value
    return finite
