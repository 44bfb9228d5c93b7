"""Columns as bytes: what is packed comes back bit for bit, what is damaged is refused."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weibnb.fits.store_columns import pack_columns, unpack_columns

_BITS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40)
_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300)


def some() -> dict[str, Any]:
    """Columns of every kind."""
    rng = np.random.default_rng(0)
    return {
        "place": np.arange(30),
        "k": rng.normal(1.2, 0.01, 30),
        "flag": rng.random(30) < 0.5,
        "quantile": rng.normal(0, 1, (30, 4)).astype(np.float32).astype(float),
        "status": np.array(["ok", "pending", "all_zero"] * 10, object),
        "nothing": np.full(30, np.nan),
        "zero": np.zeros(30),
    }


@given(_BITS)
def test_floats_come_back_bit_for_bit(bits: list[int]) -> None:
    values = np.array(bits, np.uint64).view(np.float64)
    found = unpack_columns(pack_columns({"k": values}), most=len(bits))["k"]
    assert found.dtype == np.float64
    assert found.tobytes() == values.tobytes()


@given(st.lists(_NUMBERS, min_size=1, max_size=40))
def test_integers_come_back(numbers: list[int]) -> None:
    found = unpack_columns(pack_columns({"n": np.array(numbers, np.int64)}), most=40)["n"]
    assert found.dtype == np.int64
    assert found.tolist() == numbers


@given(st.lists(st.sampled_from(["ok", "", "λ", '"', "a,b"]), min_size=1, max_size=40))
def test_words_come_back(words: list[str]) -> None:
    found = unpack_columns(pack_columns({"status": np.array(words, object)}), most=40)["status"]
    assert found.tolist() == words


def test_columns_of_every_kind_come_back_together_and_alone() -> None:
    columns = some()
    packed = pack_columns(columns)
    found = unpack_columns(packed, most=30)
    assert list(found) == list(columns)
    for name, column in columns.items():
        np.testing.assert_array_equal(found[name], column)
        (alone,) = unpack_columns(packed, [name], most=30).values()
        np.testing.assert_array_equal(alone, column)
    assert unpack_columns(packed, ["other"], most=30) == {}


def test_noise_is_not_deflated_and_the_rest_becomes_small() -> None:
    """Six bytes of a random mantissa, less than one and a half for sign, exponent and the rest."""
    noise = np.random.default_rng(0).normal(1.2, 0.01, 1000)
    assert len(pack_columns({"k": noise})) < 6.5 * 1000 + 200
    assert len(pack_columns({"k": np.full(1000, 0.5)})) < 200
    half = np.random.default_rng(0).normal(0, 1, 1000).astype(np.float16).astype(float)
    assert len(pack_columns({"k": half})) < 2.5 * 1000


@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_no_changed_byte_goes_unseen(flip: int) -> None:
    """Bits that fill up the last byte of a deflated head mean nothing."""
    packed, seen = pack_columns(some()), 0
    for at in range(len(packed)):
        damaged = bytearray(packed)
        damaged[at] ^= flip
        try:
            found = unpack_columns(bytes(damaged), most=30)
        except ValueError as err:
            assert "packed columns" in str(err)  # noqa: PT017  (which of the two is chance)
            seen += 1
        else:
            for name, column in some().items():
                np.testing.assert_array_equal(found[name], column)
    assert seen >= len(packed) - 1


def test_no_lost_or_added_byte_goes_unseen() -> None:
    packed = pack_columns(some())
    for content in (*(packed[:size] for size in range(len(packed))), packed + b"\0"):
        with pytest.raises(ValueError, match="packed columns"):
            unpack_columns(content, most=30)


def test_more_rows_than_there_are_matrices_are_refused() -> None:
    packed = pack_columns(some())
    with pytest.raises(ValueError, match="30 rows, where at most 29"):
        unpack_columns(packed, most=29)


def made(rows: Any, *entry: Any, content: bytes = b"\x03\0") -> bytes:
    """Packed columns with one entry of a stranger."""
    checksum = zlib.crc32(content)
    lists = [[value] for value in (*entry, len(content), checksum)]
    head = zlib.compress(json.dumps([rows, *lists]).encode())
    return struct.pack("<I", len(head)) + head + content


@pytest.mark.parametrize(
    ("entry", "cause"),
    [
        ((3, "k", "f", 1, 0, 0), ""),
        ((3, "k", "f", 0, 0, 0), ""),
        ((-1, "k", "f", 1, 0, 0), "impossible head"),
        ((3.0, "k", "f", 1, 0, 0), "impossible head"),
        ((True, "k", "f", 1, 0, 0), "impossible head"),
        ((3, 7, "f", 1, 0, 0), "impossible head"),
        ((3, "k", "x", 1, 0, 0), "impossible head"),
        ((3, "k", {"a": 1}, 1, 0, 0), "impossible head"),
        ((3, "k", [1], 1, 0, 0), "impossible head"),
        ((3, "k", "f", 65, 0, 0), "impossible head"),
        ((3, "k", "f", 1, 256, 0), "impossible head"),
        ((3, "k", "f", 1, 0, 256), "impossible head"),
        ((3, "k", "f", 1, 0, None), "impossible head"),
        ((3, "k", "f", 1, 1, 0), "sizes do not agree"),
        ((3, "k", "f", 1, 0, 1), "sizes do not agree"),
        ((3, "k", [], 1, 0, 0), "words of 'k'"),
        ((3, "k", ["a"], 1, 0, 0), ""),
    ],
)
def test_heads_of_strangers_are_checked(entry: tuple[Any, ...], cause: str) -> None:
    packed = made(*entry)
    if not cause:
        assert list(unpack_columns(packed, most=3)) == ["k"]
        return
    with pytest.raises(ValueError, match=cause):
        unpack_columns(packed, most=3)


@pytest.mark.parametrize(
    "head",
    ["1", "[]", "[3]", "{}", "[3,[],[],[],[],[],[]]", "[3,[[]],1,1,1,1,1,1]", "[" * 5000],
)
def test_other_json_is_refused(head: str) -> None:
    packed = zlib.compress(head.encode())
    with pytest.raises(ValueError, match="packed columns"):
        unpack_columns(struct.pack("<I", len(packed)) + packed, most=3)


def test_a_promise_of_much_is_not_kept() -> None:
    """Neither a head that deflates a gigabyte of blanks nor planes of as many zeros."""
    head = zlib.compress(b" " * 2**27)
    with pytest.raises(ValueError, match="packed columns"):
        unpack_columns(struct.pack("<I", len(head)) + head, most=10**9)
    deflate = zlib.compressobj(wbits=-15)
    content = deflate.compress(b"\0" * 2**27) + deflate.flush()
    with pytest.raises(ValueError, match="sizes do not agree"):
        unpack_columns(made(3, "k", "f", 1, 0, 0x80, content=content), most=3)
