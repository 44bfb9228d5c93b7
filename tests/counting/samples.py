"""Weights that are hard to count, and their counts by `numpy.unique`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tests import oracle
from weibnb.counting.counts import Counts
from weibnb.counting.formats import FORMATS, NAMES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

UNSIGNED: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
SIGNED: dict[int, Any] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}
# Bits of a pattern below its counter.
BELOW = {"float32": 13, "float64": 42}


def wide(weights: NDArray[Any]) -> oracle.Array:
    """The same weights in float64, signalling NaNs among them."""
    with np.errstate(invalid="ignore"):
        return weights.astype(np.float64)


def reference(weights: NDArray[Any]) -> Counts:
    """Counts by `numpy.unique` of the magnitudes in float64."""
    flat = np.ascontiguousarray(weights).reshape(-1)
    value = np.abs(wide(flat))
    kept, exact = value[np.isfinite(value) & (value > 0)], True
    if flat.dtype.name in BELOW:
        low = UNSIGNED[flat.itemsize]((1 << BELOW[flat.dtype.name]) - 1)
        exact = not (flat.view(UNSIGNED[flat.itemsize]) & low).any()
        exact = exact and not (kept < 2.0**-1030).any()
    values, counts = np.unique(kept if exact else edges(kept, flat.dtype), return_counts=True)
    return Counts(
        (values.view(np.int64) >> 42).astype(np.int32),
        counts.astype(np.int64),
        int((value == 0).sum()),
        int(np.isnan(value).sum()),
        int(np.isinf(value).sum()),
        float(kept.max(initial=0)),
        exact,
    )


def edges(value: oracle.Array, dtype: np.dtype[Any]) -> oracle.Array:
    """Lower edges of the 256 intervals an octave; those of subnormals are as wide as counters."""
    step = np.ldexp(1.0, -136 if dtype == np.float32 else -1030)
    least = step / 2 if dtype == np.float32 else step
    value, tiny = value.copy(), value < np.finfo(dtype).tiny
    value[tiny] = np.maximum(np.floor(value[tiny] / step) * step, least)
    normal = value >= np.finfo(np.float64).tiny
    mantissa, exponent = np.frexp(value[normal])
    value[normal] = np.ldexp(np.floor(mantissa * 512) / 512, exponent)
    return value


def of_patterns(bits: Iterable[int] | NDArray[Any], dtype: str) -> NDArray[Any]:
    stored = oracle.DTYPES[dtype]
    return np.array(bits, UNSIGNED[stored.itemsize]).view(stored)


def stored(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return np.asarray(values).astype(oracle.DTYPES[dtype])


def any_pattern(dtype: str, drawn: int = 20_000) -> NDArray[Any]:
    """Every bit pattern of a small format, random ones of a large format."""
    width = oracle.DTYPES[dtype].itemsize
    if width <= 2:
        return of_patterns(np.arange(1 << 8 * width), dtype)
    limits = np.iinfo(UNSIGNED[width])
    bits = np.random.default_rng(3).integers(0, limits.max, drawn, UNSIGNED[width], endpoint=True)
    return of_patterns(bits, dtype)


def not_finite(dtype: str) -> NDArray[Any]:
    """NaNs of any payload and infinities, with the largest finite magnitudes among them."""
    form = FORMATS[NAMES[dtype]]
    top = (1 << 8 * form.bits.itemsize - 1) - 1
    first = form.finite << form.shift
    near = [first - 2, first - 1, first, first + (first < top), top - 1, top]
    sign = 1 << 8 * form.bits.itemsize - 1
    return of_patterns([pattern | bit for pattern in near for bit in (0, sign)] * 50, dtype)


def all_nan(dtype: str) -> NDArray[Any]:
    bits = 8 * oracle.DTYPES[dtype].itemsize
    return of_patterns([(1 << bits - 1) - 1, (1 << bits) - 1] * 300, dtype)


def subnormals(dtype: str) -> NDArray[Any]:
    tiny = {"F8_E4M3": 8, "F8_E5M2": 4, "F16": 1 << 10, "BF16": 1 << 7, "F32": 1 << 23}
    end = tiny.get(NAMES[dtype], 1 << 52)
    drawn = np.random.default_rng(5).integers(1, end, 2_000).tolist()
    return of_patterns([1, 2, end - 1, *drawn], dtype)


def lognormal(dtype: str) -> NDArray[Any]:
    """Weights over many more octaves than a window holds."""
    return stored(np.exp(40 * oracle.sample("gaussian", 5_000, 7)), dtype)
