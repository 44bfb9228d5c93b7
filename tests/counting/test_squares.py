"""Squares of weights from their bits, against decoded values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracle
from weibnb.compiled import compiled
from weibnb.counting.formats import FORMATS, NAMES, as_bits, decode
from weibnb.counting.squares import as_words, rule_of, squares

DTYPES = sorted(oracle.DTYPES)


@compiled
def _squared(bits: Any, rule: Any) -> Any:
    words, out = np.empty(bits.size, np.uint32), np.empty(bits.size, np.float32)
    finite = squares(bits, rule, words, words.view(np.float32), out)
    return finite, out


def squared(bits: Any, dtype: str, largest: float) -> tuple[int, Any]:
    rule, unit = rule_of(dtype, largest)
    finite, found = _squared(as_words(bits, dtype, unit), rule)
    return finite, found.astype(float) * unit**2


@pytest.mark.parametrize("name", [name for name in DTYPES if oracle.DTYPES[name].itemsize < 4])
def test_every_pattern_of_8_and_16_bits_has_its_square(name: str) -> None:
    form = FORMATS[NAMES[name]]
    patterns = np.arange(1 << 8 * form.bits.itemsize).astype(form.bits)
    values = np.abs(decode(patterns, form.name))
    for largest in (1e-3, 1.0, 400.0):
        near = (values <= largest) & ((values == 0) | (values > 1e-15 * largest))
        finite, found = squared(patterns[near], form.name, largest)
        assert finite == near.sum()
        np.testing.assert_allclose(found, values[near] ** 2, rtol=3e-7)
    finite, found = squared(patterns[~np.isfinite(values)], form.name, 1.0)
    assert finite == 0
    assert not found.any()


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("power", [-140, -126, -20, -3, 0, 3, 15, 100, 127])
def test_squares_neither_overflow_nor_vanish(name: str, power: int) -> None:
    with np.errstate(over="ignore", under="ignore"):
        weights = (oracle.sample("gaussian", 500, 0) * 2.0**power).astype(oracle.DTYPES[name])
    bits, form = as_bits(weights)
    values = decode(bits, form)
    there = np.abs(values[np.isfinite(values)])
    finite, found = squared(bits, form, float(there.max(initial=0.0)))
    assert finite == there.size
    expected = np.where(np.isfinite(values), values, 0.0) ** 2
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * expected.max())


@pytest.mark.parametrize("scale", [1e-300, 1e-310, 1e300])
def test_float64_beyond_the_range_of_float32(scale: float) -> None:
    weights = oracle.sample("gaussian", 500, 1) / 4 * scale
    rule, unit = rule_of("F64", float(np.abs(weights).max()))
    finite, found = _squared(as_words(weights.view(np.uint64), "F64", unit), rule)
    assert finite == 500
    np.testing.assert_allclose(np.sqrt(found), np.abs(weights / unit), rtol=1e-6)
