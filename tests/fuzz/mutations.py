"""Changes to bytes and to JSON text, drawn from a seeded source of chance."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

_TOKENS = (
    b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0", b"-1", b"0", b"1.5", b"[]", b"{}",
    b'""', b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xef\xbb\xbf", b"\0", b",", b":", b'"', b"[",
    b"]", b"{", b"}", b"[[[[[[[[", b'"F4"', b'"F6_E3M2"', b'"F8_E8M0"', b'"BF16"', b'"F64"',
    b'"X"', b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__":{},',
    b'"weight_map":', b'"w":1,',
    b'"../x"', b"model.layers.7.mlp.experts.9.up_proj.weight", b"\xe2\x80\xae", b" ", b"\n",
)  # fmt: skip
_NUMBERS = (
    0, 1, 2, 3, 7, 8, 100, 255, 65_535, 2**31 - 1, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63,
    2**64 - 1, 2**64, 10**20, 10**400,
)  # fmt: skip


def change_bytes(chance: Random, content: bytes) -> bytes:
    """Flip, cut, repeat, insert or overwrite some bytes."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(data) + 1)
        size = chance.choice((1, 1, 2, 4, 8, 64))
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + size] = chance.randbytes(len(data[at : at + size]))
        elif kind == 2:
            del data[at : at + size]
        elif kind == 3:
            data[at:at] = data[at : at + size] * chance.choice((1, 2, 100))
        elif kind == 4:
            number = min(chance.choice(_NUMBERS), 2**64 - 1)
            data[at : at + 8] = number.to_bytes(8, "little")[: len(data[at : at + 8])]
        else:
            del data[at:]
    return bytes(data)


def change_json(chance: Random, text: bytes) -> bytes:
    """Change numbers and words of JSON, or its bytes."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        kind = chance.randrange(5)
        numbers = list(re.finditer(rb"\d+", text))
        words = list(re.finditer(rb'"[^"]*"', text))
        if kind < 2 and numbers:
            found = chance.choice(numbers)
            new = chance.choice((_near(chance, found[0]), str(chance.choice(_NUMBERS)).encode()))
        elif kind == 2 and words:
            found = chance.choice(words)
            new = chance.choice((chance.choice(words)[0], chance.choice(_TOKENS)))
        elif kind == 3:
            at = chance.randrange(len(text) + 1)
            text = text[:at] + chance.choice(_TOKENS) + text[at:]
            continue
        else:
            text = change_bytes(chance, text)
            continue
        text = text[: found.start()] + new + text[found.end() :]
    return text


def _near(chance: Random, digits: bytes) -> bytes:
    """Write a number one or a few from another."""
    return str(int(digits[:20]) + chance.choice((-2, -1, 1, 2, 8))).encode()


def change_header(chance: Random, content: bytes) -> bytes:
    """Change the header of a safetensors file, mostly with a length that is right."""
    if chance.random() < 0.2:
        return change_bytes(chance, content)
    length = int.from_bytes(content[:8], "little")
    text, data = change_json(chance, content[8 : 8 + length]), content[8 + length :]
    if chance.random() < 0.2:
        data = data[: chance.randrange(len(data) + 1)] + chance.randbytes(chance.randrange(9))
    announced = len(text) + (chance.choice((-1, 1, 2**40)) if chance.random() < 0.05 else 0)
    return struct.pack("<Q", max(announced, 0)) + text + data
