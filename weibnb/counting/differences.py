"""Values before and after -> differences, their counters and sums, on one thread of the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from weibnb.compiled import compiled, compiled_inline, compiled_sums
from weibnb.counting.formats import LABEL_SHIFT
from weibnb.counting.lines import copy_lines

#: Weights that the first cache holds, with their differences.
BLOCK = 2048
_MAGNITUDE, _NOTHING = np.uint64((1 << 63) - 1), np.uint64((1 << 64) - 1)
_INFINITY, _NAN = np.uint32(0x7F800000), np.uint32(0x7FC00000)
# The same of float32: magnitudes, the smallest normal number, the bits below a label of float64,
# and what labels of both differ by.
_MAGNITUDE_32, _NOTHING_32 = np.uint32((1 << 31) - 1), np.uint32((1 << 32) - 1)
_NORMAL_32, _SHIFT_32 = np.uint32(1 << 23), np.uint32(LABEL_SHIFT - 29)
_EXPONENTS = np.uint32((1023 - 127) << (52 - LABEL_SHIFT))


@compiled
def read_values(bits: Any, rule: Any, words: Any, values: Any) -> None:
    """Read patterns of 32 bits or fewer as float32; `values` are the memory of `words`."""
    mask, limit, shift, factor, infinity, above = rule
    sign = mask + np.uint32(1)
    if factor == np.float32(1):  # BF16 and F32
        for i in range(bits.size):
            words[i] = np.uint32(bits[i]) << above
        return
    for i in range(bits.size):
        words[i] = (np.uint32(bits[i]) & mask) << shift
    for i in range(bits.size):
        values[i] *= factor
    for i in range(bits.size):
        word = np.uint32(bits[i])
        magnitude = word & mask
        outside = _INFINITY if magnitude == infinity else _NAN
        words[i] = (words[i] if magnitude < limit else outside) | (word & sign) << above


@compiled_sums
def _differ(one: Any, other: Any, scale: Any, difference: Any) -> Any:
    """Subtract values, and sum squares and products."""
    dd, aa, bb, ab = 0.0, 0.0, 0.0, 0.0
    for i in range(difference.size):
        a, b = np.float64(one[i]), np.float64(other[i])
        difference[i] = b - a
        a, b = a * scale, b * scale
        dd += (b - a) * (b - a)
        aa += a * a
        bb += b * b
        ab += a * b
    return dd, aa, bb, ab


@compiled
def _without_nonfinite(one: Any, other: Any) -> Any:
    """Set weights that are not finite on either side to 0 on both; count them, and what changed."""
    nonfinite, changed = 0, 0
    for i in range(one.size):
        a, b = one[i], other[i]
        if not (np.isfinite(a) and np.isfinite(b)):
            nonfinite += 1
            changed += not (a == b or (np.isnan(a) and np.isnan(b)))
            one[i], other[i] = 0, 0
    return nonfinite, changed


@compiled_inline
def _look(patterns: Any) -> Any:
    """Give the union of magnitudes, the smallest less 1 but for zeros, the largest, and zeros."""
    union, least, largest, zeros = np.uint64(0), _NOTHING, np.uint64(0), 0
    for i in range(patterns.size):
        magnitude = patterns[i] & _MAGNITUDE
        union |= magnitude
        least, largest = min(least, magnitude - np.uint64(1)), max(largest, magnitude)
        zeros += magnitude == 0
    return union, least, largest, zeros


@compiled_inline
def _find(patterns: Any, wanted: Any) -> int:
    """Give the number of the first pattern of this magnitude."""
    for i in range(patterns.size):
        if patterns[i] & _MAGNITUDE == wanted:
            return i
    return -1


@compiled
def compare_chunk(
    one: Any,
    other: Any,
    start: Any,
    scale: Any,
    difference: Any,
    counters: Any,
    sums: Any,
    seen: Any,
) -> None:
    """Compare two chunks of values: differences and counters, sums, and what was seen of them.

    The latter are the union of patterns, the smallest less 1, the largest, and where it is plus 1.
    """
    patterns = difference.view(np.uint64)
    for at in range(0, one.size, BLOCK):
        a, b = one[at : at + BLOCK], other[at : at + BLOCK]
        d, pattern = difference[at : at + BLOCK], patterns[at : at + BLOCK]
        found = _differ(a, b, scale, d)
        if not np.isfinite(found[0] + found[1] + found[2]):
            nonfinite, changed = _without_nonfinite(a, b)
            sums[5] += nonfinite
            sums[6] += changed
            found = _differ(a, b, scale, d)
        for i in range(4):
            sums[i] += found[i]
        union, least, largest, zeros = _look(pattern)
        sums[4] += a.size - zeros
        if zeros == a.size:
            continue
        for i in range(pattern.size):
            counters[(pattern[i] & _MAGNITUDE) >> np.uint64(LABEL_SHIFT)] += np.uint32(1)
        seen[0] |= union
        seen[1] = min(seen[1], least)
        if largest > seen[2]:
            seen[2], seen[3] = largest, start + at + _find(pattern, largest) + 1


@compiled
def _subtract(one: Any, other: Any, difference: Any) -> int:
    """Subtract in float32, and count the differences that it does not hold exactly."""
    inexact = 0
    for i in range(one.size):
        a, b = -one[i], other[i]
        d = a + b
        part = d - b
        difference[i] = d
        inexact += (b - (d - part)) + (a - part) != np.float32(0)  # the error of the sum
    return inexact


@compiled_sums
def _sum_squares(values: Any) -> float:
    """Sum the squares of float32 in float64."""
    total = 0.0
    for i in range(values.size):
        total += np.float64(values[i]) * np.float64(values[i])
    return total


@compiled
def _count_narrow(patterns: Any, counters: Any) -> None:
    """Count differences of float32 where those of float64 are."""
    for i in range(patterns.size):
        counters[((patterns[i] & _MAGNITUDE_32) >> _SHIFT_32) + _EXPONENTS] += np.uint32(1)


@compiled
def _look_narrow(patterns: Any) -> Any:
    """Do as `_look` of patterns of float32."""
    union, least, largest, zeros = np.uint32(0), _NOTHING_32, np.uint32(0), 0
    for i in range(patterns.size):
        magnitude = patterns[i] & _MAGNITUDE_32
        union |= magnitude
        least, largest = min(least, magnitude - np.uint32(1)), max(largest, magnitude)
        zeros += magnitude == np.uint32(0)
    return union, least, largest, zeros


@compiled_inline
def _widened(magnitude: Any) -> Any:
    """Give the pattern of a normal float32 as float64."""
    exponents = np.uint64(1023 - 127) << np.uint64(52)
    return (np.uint64(magnitude) << np.uint64(29)) + exponents


@compiled
def compare_narrow(
    before: Any,
    after: Any,
    rule_before: Any,
    rule_after: Any,
    words: Any,
    wide: Any,
    lines: Any,
    counters: Any,
    sums: Any,
    seen: Any,
) -> None:
    """Compare a piece of finite weights of 16 bits or fewer; of the squares those of ΔW count.

    `sums` and `seen` are those of `compare_chunk`, to which a block goes whose differences float32
    does not hold; `words` is memory for a block of both sides, `wide` one for differences.
    """
    first, rows, columns, row_bits, column_bits = lines
    narrow = np.empty(BLOCK, np.float32)
    for at in range(0, before.size, BLOCK):
        bits, others = before[at : at + BLOCK], after[at : at + BLOCK]
        one, other = words[0][: bits.size], words[1][: bits.size]
        a, b, d = one.view(np.float32), other.view(np.float32), narrow[: bits.size]
        read_values(bits, rule_before, one, a)
        read_values(others, rule_after, other, b)
        start, inexact = first + at, _subtract(a, b, d)
        pattern = d.view(np.uint32)
        union, least, largest, zeros = _look_narrow(pattern)
        if inexact or (zeros < d.size and least + np.uint32(1) < _NORMAL_32):
            difference = wide[: d.size]
            compare_chunk(a, b, start, 1.0, difference, counters, sums, seen)
            where = (start, rows, columns, row_bits, column_bits)
            copy_lines(difference.view(np.uint64), where)
            continue
        values = (start, rows, columns, row_bits.view(np.float64), column_bits.view(np.float64))
        copy_lines(d, values)
        sums[4] += d.size - zeros
        if zeros == d.size:
            continue
        sums[0] += _sum_squares(d)
        _count_narrow(pattern, counters)
        if zeros:  # those are counted at the label of the smallest exponent of float32
            counters[_EXPONENTS] -= np.uint32(zeros)
        seen[0] |= np.uint64(union) << np.uint64(29)
        seen[1] = min(seen[1], _widened(least + np.uint32(1)) - np.uint64(1))
        if _widened(largest) > seen[2]:
            seen[2] = _widened(largest)
            seen[3] = start + _find_narrow(pattern, largest) + 1


@compiled_inline
def _find_narrow(patterns: Any, wanted: Any) -> int:
    """Do as `_find` of patterns of float32."""
    for i in range(patterns.size):
        if patterns[i] & _MAGNITUDE_32 == wanted:
            return i
    return -1
