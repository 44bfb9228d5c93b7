"""Counts as bytes: what is packed comes back, what is damaged is refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import weibnb as wb
from weibnb.counting.counts import Counts
from weibnb.counting.formats import LABELS
from weibnb.fits.packing import pack, unpack

_CELLS = st.dictionaries(
    st.integers(0, LABELS - 1), st.integers(1, 2**62) | st.integers(1, 300), max_size=60
)


@given(_CELLS)
def test_what_is_packed_comes_back(cells: dict[int, int]) -> None:
    labels = np.array(sorted(cells), np.int32)
    counts = np.array([cells[label] for label in sorted(cells)], np.int64)
    again = unpack(pack(Counts(labels, counts)))
    np.testing.assert_array_equal(again[0], labels)
    np.testing.assert_array_equal(again[1], counts)
    assert [array.dtype.name for array in again] == ["int32", "int64"]


@pytest.mark.parametrize("most", [1, 255, 256, 65535, 65536, 2**24, 2**32 - 1, 2**32, 2**62])
def test_counts_of_every_width(most: int) -> None:
    counts = np.array([1, most, 1], np.int64)
    np.testing.assert_array_equal(
        unpack(pack(Counts(np.array([0, 1, LABELS - 1], np.int32), counts)))[1], counts
    )


def test_real_counts_become_small() -> None:
    weights = np.random.default_rng(0).normal(0, 0.02, (512, 512)).astype(np.float16)
    counted = wb.count_magnitudes(weights)
    assert len(pack(counted)) < counted.labels.size * 2


def test_damage_is_a_value_error_or_still_valid() -> None:
    """Whatever bytes come, labels ascend inside the grid and counts are positive."""
    rng = np.random.default_rng(1)
    counted = wb.count_magnitudes(rng.normal(0, 0.02, (64, 64)).astype(np.float16))
    packed = np.frombuffer(pack(counted), np.uint8)
    refused = 0
    for trial in range(400):
        damaged = packed.copy()
        damaged[rng.integers(damaged.size if trial % 2 else 10, size=2)] = rng.integers(256, size=2)
        content = damaged[: rng.integers(damaged.size)] if trial % 5 == 0 else damaged
        try:
            labels, counts = unpack(content.tobytes())
        except ValueError as err:
            assert "packed counts" in str(err)  # noqa: PT017  (which of the two is chance)
            refused += 1
        else:
            assert (np.diff(labels) > 0).all()
            assert labels.min(initial=0) >= 0
            assert labels.max(initial=0) < LABELS
            assert (counts > 0).all()
    assert refused > 100


def test_a_promise_of_much_is_not_kept() -> None:
    """A head that announces 2 M bins of eight bytes over a few deflated bytes is refused."""
    bomb = struct.pack("<IIBB", LABELS, 0, 4, 8) + b"\0" * LABELS
    with pytest.raises(ValueError, match="sizes do not agree"):
        unpack(bomb + zlib.compress(b"\0" * 100))
    with pytest.raises(ValueError, match="impossible head"):
        unpack(struct.pack("<IIBB", LABELS + 1, 0, 4, 8))


@pytest.mark.parametrize(
    ("first", "gaps", "counts", "valid"),
    [
        (5, (1,), (1, 1), True),
        (5, (0,), (1, 1), False),  # the same label twice
        (5, (1,), (1, 0), False),  # a bin without weights
        (LABELS - 2, (1,), (1, 1), True),
        (LABELS - 1, (1,), (1, 1), False),  # beyond the grid
    ],
)
def test_labels_ascend_inside_the_grid_and_counts_are_positive(
    first: int, gaps: tuple[int, ...], counts: tuple[int, ...], *, valid: bool
) -> None:
    packed = struct.pack("<IIBB", 2, first, 1, 1) + bytes(counts) + zlib.compress(bytes(gaps))
    if valid:
        assert unpack(packed)[0].tolist() == [first, first + gaps[0]]
    else:
        with pytest.raises(ValueError, match="labels or counts out of range"):
            unpack(packed)
