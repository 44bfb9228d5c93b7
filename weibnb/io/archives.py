"""Zip archives of tensors: their directory bounded before it is read, and where records lie."""

from __future__ import annotations

import os
import struct
import zipfile
from typing import TYPE_CHECKING, BinaryIO

from weibnb.io.files import AGAIN, CheckpointError
from weibnb.io.limits import raise_it

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.io.limits import Limits

#: What the standard library raises for a damaged archive.
DAMAGED = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, EOFError)


def check_directory(path: Path, file: BinaryIO, limits: Limits) -> None:
    """Refuse an archive whose directory is longer than its tensors explain, before it is read.

    Raises
    ------
    CheckpointError
        If it is, or there is none.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - (1 << 16) - 76, 0))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise CheckpointError(path, "the archive has no directory: it is truncated", AGAIN)
    (length,) = struct.unpack_from("<I", tail, at + 12)
    if tail[at - 20 : at - 16] == b"PK\x06\x07" and tail[at - 76 : at - 72] == b"PK\x06\x06":
        (length,) = struct.unpack_from("<Q", tail, at - 36)
    if length > limits.max_index:
        cause = f"its directory takes {length:,} bytes, at most {limits.max_index:,} are read"
        raise CheckpointError(path, cause, raise_it("max_header", -(-length // 4)))


def data_start(path: Path, file: BinaryIO, record: zipfile.ZipInfo) -> int:
    """Give the byte at which a record's data begin.

    Raises
    ------
    CheckpointError
        If the record is not where the directory says.
    """
    file.seek(record.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04":
        raise CheckpointError(path, "the archive is damaged: a record is not where it says", AGAIN)
    name, more = struct.unpack_from("<HH", header, 26)
    return record.header_offset + 30 + int(name) + int(more)
