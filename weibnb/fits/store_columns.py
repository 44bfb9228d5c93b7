"""Columns of estimates as bytes for a database row: bit for bit, small, read column by column.

Little-endian. The length of the head (uint32) and the head, deflated JSON: the number of rows, then
lists with an entry for each column: name, kind, numbers in a row, which byte planes are
plain and which deflated, as bits, bytes and their CRC-32. Then the columns. Of numbers of 8 bytes
plane i is their i-th bytes, the lowest first; planes of zeros are left out. Those that are noise,
the low bytes of most floats, lie there as they are; the others follow, deflated together. Text is
numbered words, which are the kind.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.packing import MEMORY, WINDOW
from weibnb.fits.schema import escape

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

_LENGTH = struct.Struct("<I")
# Planes of floats that may be noise, and the share of bytes other than zero from which they are.
_LOW, _NOISE = 6, 0.75
# Bytes of a head, numbers in a row.
_LONGEST_HEAD, _MOST_NUMBERS, _ALL_PLANES = 1 << 16, 64, 0xFF
_TYPES = {"f": "<f8", "i": "<i8"}


def pack_columns(columns: Mapping[str, NDArray[Any]]) -> bytes:
    """Pack columns of the same number of rows: floats, integers, flags, or text in few words."""
    entries: list[tuple[Any, ...]] = []
    contents: list[bytes] = []
    rows = len(next(iter(columns.values())))
    for name, column in columns.items():
        kind: Any = "f" if column.dtype.kind == "f" else "i"
        values = column
        if column.dtype == object:
            kind = list(dict.fromkeys(column.tolist()))
            values = np.array([*map(kind.index, column.tolist())])
        numbers = column.size // max(rows, 1)
        *planes, content = _pack(values.reshape(rows, -1).T, floats=kind == "f")
        entries.append((name, kind, numbers, *planes, len(content), zlib.crc32(content)))
        contents.append(content)
    text = json.dumps([rows, *zip(*entries, strict=True)], separators=(",", ":"))
    head = zlib.compress(text.encode(), 1)
    return b"".join((_LENGTH.pack(len(head)), head, *contents))


def unpack_columns(
    packed: bytes, wanted: Collection[str] | None = None, *, most: int
) -> dict[str, NDArray[Any]]:
    """Give columns back, all or those that are `wanted` and there.

    Parameters
    ----------
    packed : bytes
        From `pack_columns`.
    wanted : collection of str, optional
        Names of columns.
    most : int
        Rows that there may be.

    Raises
    ------
    ValueError
        If the bytes are not what `pack_columns` makes.
    """
    rows, head, at = _head(packed)
    if rows > most:
        raise ValueError(f"packed columns have {rows} rows, where at most {most} are expected")
    found: dict[str, NDArray[Any]] = {}
    for name, kind, numbers, plain, deflated, size, checksum in zip(*head, strict=True):
        content, at = packed[at : at + size], at + size
        if wanted is not None and name not in wanted:
            continue
        if zlib.crc32(content) != checksum:
            raise ValueError(f"packed columns are damaged (the checksum of {name!r})")
        values = _unpack(content, plain, deflated, rows * numbers)
        values = values.view(_TYPES["f" if kind == "f" else "i"]).reshape(numbers, rows).T
        if isinstance(kind, list):
            if values.size and not 0 <= values.min() <= values.max() < len(kind):
                raise ValueError(f"packed columns are damaged (words of {name!r})")
            values = np.array([*map(escape, kind)], object)[values]
        found[name] = values[:, 0] if numbers == 1 else values
    if at != len(packed):
        raise ValueError("packed columns are damaged (sizes do not agree)")
    return found


def _pack(values: NDArray[Any], *, floats: bool) -> tuple[int, int, bytes]:
    """Pack numbers of 8 bytes: which planes are plain and which deflated, and their bytes."""
    kind = _TYPES["f" if floats else "i"]
    planes = np.ascontiguousarray(values, kind).view(np.uint8).reshape(-1, 8).T
    used = np.count_nonzero(planes, axis=1)
    plain = used > _NOISE * planes.shape[1]
    plain[_LOW if floats else 0 :] = False
    deflated = (used > 0) & ~plain
    deflate = zlib.compressobj(1, wbits=-WINDOW, memLevel=MEMORY)
    rest = deflate.compress(planes[deflated].tobytes()) + deflate.flush()
    bits = np.packbits([plain, deflated], axis=1, bitorder="little")[:, 0].tolist()
    return bits[0], bits[1], planes[plain].tobytes() + rest


def _unpack(content: bytes, plain: int, deflated: int, size: int) -> NDArray[np.uint8]:
    """Give the bytes of numbers back, 8 each."""
    first, last = ([i for i in range(8) if bits >> i & 1] for bits in (plain, deflated))
    start, length = len(first) * size, len(last) * size
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        rest = inflate.decompress(content[start:], length + 1)
    except zlib.error as err:
        raise ValueError(f"packed columns are damaged ({err})") from err
    if len(content) < start or len(rest) != length or not inflate.eof or inflate.unused_data:
        raise ValueError("packed columns are damaged (sizes do not agree)")
    values = np.zeros((size, 8), np.uint8)
    planes = np.frombuffer(content[:start] + rest, np.uint8)
    values[:, first + last] = planes.reshape(len(first + last), size).T
    return values


def _head(packed: bytes) -> tuple[int, list[list[Any]], int]:
    """Read the head: the number of rows, its lists, and where the columns begin."""
    try:
        (length,) = _LENGTH.unpack_from(packed)
        inflate = zlib.decompressobj()
        text = inflate.decompress(packed[_LENGTH.size : _LENGTH.size + length], _LONGEST_HEAD)
        rows, *lists = json.loads(text)
        good = inflate.eof and not inflate.unused_data and _is_head(rows, *lists)
    except (struct.error, zlib.error, ValueError, TypeError, RecursionError) as err:
        raise ValueError(f"packed columns are damaged ({err})") from err
    if not good:
        raise ValueError("packed columns have an impossible head")
    return rows, lists, _LENGTH.size + length


def _is_head(rows: Any, names: Any, kinds: Any, numbers: Any, *rest: Any) -> bool:
    """Whether values of JSON describe columns."""
    plain, deflated, sizes, checksums = rest
    integers = [rows, *numbers, *plain, *deflated, *sizes, *checksums]
    lists = [kind for kind in kinds if kind not in ("f", "i")]
    words = [word for kind in lists for word in kind]
    return (
        {*map(type, (names, *rest))} == {list}
        and len({*map(len, (names, kinds, numbers, *rest))}) == 1
        and {*map(type, integers)} <= {int}
        and {*map(type, (*names, *words))} <= {str}
        and {*map(type, lists)} <= {list}
        and min(integers) >= 0
        and max(numbers, default=0) <= _MOST_NUMBERS
        and max((*plain, *deflated), default=0) <= _ALL_PLANES
    )
