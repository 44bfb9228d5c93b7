"""NumPy files, ``.npz`` and ``.npy``: their arrays listed, no value read, no pickle opened.

An archive is held to what ``numpy.savez`` writes: records that are stored as they are and do not
overlap. The header of each array is matched as text, never evaluated; what does not match, and
arrays of objects, which are pickles, refuse the file. The bytes are mapped like those of any other
checkpoint.
"""

from __future__ import annotations

import math
import os
import re
import struct
import zipfile
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from weibnb.io.archives import DAMAGED, check_directory, data_start
from weibnb.io.files import AGAIN, CheckpointError, identity_of, reading
from weibnb.io.live import SPELLING
from weibnb.io.safetensors import Shard, TensorInfo, unknown_type
from weibnb.io.torch_files import Entry, digest_of, fill_shard
from weibnb.messages import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.io.limits import Limits

ARCHIVE, ARRAY = ".npz", ".npy"
_MAGIC = b"\x93NUMPY"
# How the length of a header is written, by version; numpy reads no longer ones either.
_LENGTHS, _LONGEST = {1: "<H", 2: "<I", 3: "<I"}, 10_000
_MOST_DIMS, _DIGITS = 64, 20
_HEADER = re.compile(
    r"""\{\s*'descr':\s*(?:'(?P<type>[^'\\]{1,32})'|(?P<several>\[.*\])),
    \s*'fortran_order':\s*(?P<turned>True|False),
    \s*'shape':\s*\((?P<shape>[0-9L,\s]*)\)\s*,?\s*\}\s*""",
    re.VERBOSE | re.DOTALL,
)
_OBJECT = re.compile(r"'[|<>=]?O[0-9]*'")
_TYPES = {
    np.dtype(name).newbyteorder("<").str: spelling
    for name, spelling in SPELLING.items()
    if not name.startswith(("float8", "bfloat"))
}


def read_numpy_file(path: Path, limits: Limits) -> Shard:
    """List the arrays of a NumPy file; no value is read and nothing of it is evaluated.

    Raises
    ------
    CheckpointError
        If it is damaged or compressed, holds objects, or asks for more than the limits.
    """
    with reading(path) as file:
        identity = identity_of(file)
        head = file.read(6)
        if head.startswith(b"PK"):
            records, others = _records(path, file, limits)
        elif head == _MAGIC:
            records, others = {path.stem: (0, identity[2])}, []
        else:
            cause = "the file is empty" if not head else "this is no file that NumPy wrote"
            raise CheckpointError(path, cause, AGAIN)
        entries = [_entry(path, file, name, *place) for name, place in records.items()]
    notes = [f"Left out, no arrays: {', '.join(others[:8])}{', ...' * (len(others) > 8)}."]
    shard = Shard(path, identity, 0, digest_of(entries), (), {})
    return fill_shard(shard, entries, tuple(notes) if others else ())


def _records(
    path: Path, file: BinaryIO, limits: Limits
) -> tuple[dict[str, tuple[int, int]], list[str]]:
    """Give where each array of an archive begins and how long it is, and what is no array."""
    try:
        check_directory(path, file, limits)
        with zipfile.ZipFile(file) as archive:
            listed = [one for one in archive.infolist() if not one.filename.endswith("/")]
        limits.check_number(path, len(listed), "arrays")
        for one in listed:
            _check_stored(path, one)
        listed.sort(key=lambda one: one.header_offset)
        begins = [data_start(path, file, one) for one in listed]
    except DAMAGED as err:
        if isinstance(err, CheckpointError):
            raise
        raise CheckpointError(path, f"the archive is damaged: {err}", AGAIN) from err
    ends = [*(one.header_offset for one in listed[1:]), file.seek(0, os.SEEK_END)]
    for one, at, end in zip(listed, begins, ends, strict=True):
        if at + one.file_size > end:
            cause = "it overlaps another array, or ends behind the file"
            raise CheckpointError(path, cause, AGAIN, one.filename)
    names = [one.filename for one in listed]
    if len(set(names)) < len(names):
        raise CheckpointError(path, "two arrays have one name", AGAIN)
    arrays = {
        one.filename.removesuffix(ARRAY): (at, one.file_size)
        for one, at in zip(listed, begins, strict=True)
        if one.filename.endswith(ARRAY)
    }
    others = [name for name in names if not name.endswith(ARRAY)]
    return arrays, [shortened(name, 50) or "a record without a name" for name in others]


def _check_stored(path: Path, one: zipfile.ZipInfo) -> None:
    """Refuse what is not stored as it is."""
    if one.compress_type != zipfile.ZIP_STORED or one.flag_bits & 1:
        step = "Write it anew: numpy.savez('new.npz', **numpy.load('old.npz'))."
        raise CheckpointError(path, "its arrays are compressed or encrypted", step, one.filename)
    if one.file_size != one.compress_size:
        raise CheckpointError(path, "it has two sizes", AGAIN, one.filename)


def _entry(path: Path, file: BinaryIO, name: str, at: int, length: int) -> Entry:
    """Tell what an array is, and where its elements lie."""
    header, start = _header(path, file, name, at, length)
    found = _HEADER.fullmatch(header)
    if found is None:
        cause = f"its header is none that NumPy writes: {shortened(header.strip(), 100)}"
        raise CheckpointError(path, cause, AGAIN, name)
    told = found["type"] or found["several"]
    if _OBJECT.search(found["several"] or f"'{told}'"):
        cause = "it is an array of objects, a pickle, which is refused"
        raise CheckpointError(path, cause, "Save arrays of numbers alone.", name)
    shape = _shape(path, name, re.findall("[0-9]+", found["shape"]))
    inside, dtype = at + length - start, _TYPES.get(told)
    if dtype is None:
        info = TensorInfo(name, shortened(told, 50), shape, inside)
        return Entry(info, start, (0,) * len(shape), _not_read(told))
    nbytes = math.prod(shape) * np.dtype(told).itemsize
    if nbytes != inside:
        cause = f"its shape takes {nbytes:,} bytes, the file has {inside:,}: it is truncated"
        raise CheckpointError(path, cause, AGAIN, name)
    order = shape if found["turned"] == "True" else shape[::-1]
    strides = [math.prod(order[:i]) for i in range(len(order))]
    strides = strides if found["turned"] == "True" else strides[::-1]
    return Entry(TensorInfo(name, dtype, shape, nbytes), start, tuple(strides))


def _shape(path: Path, name: str, words: list[str]) -> tuple[int, ...]:
    """Read a shape, which may hold no more than fits into memory's addresses."""
    sensible = len(words) <= _MOST_DIMS and all(len(word) < _DIGITS for word in words)
    shape = tuple(map(int, words)) if sensible else ()
    if not sensible or math.prod(max(side, 1) for side in shape) >= 2**60:
        raise CheckpointError(path, "its shape overflows 63 bits", AGAIN, name)
    return shape


def _header(path: Path, file: BinaryIO, name: str, at: int, length: int) -> tuple[str, int]:
    """Read the text that describes an array, and tell where its elements begin."""
    file.seek(at)
    head = file.read(min(length, 12 + _LONGEST))
    version = head[6] if head.startswith(_MAGIC) and len(head) >= 12 else 0
    if version not in _LENGTHS:
        raise CheckpointError(path, "it is no array that NumPy wrote", AGAIN, name)
    begin = 8 + struct.calcsize(_LENGTHS[version])
    (size,) = struct.unpack_from(_LENGTHS[version], head, 8)
    if size > _LONGEST or begin + size > len(head):
        raise CheckpointError(path, f"its header would take {size:,} bytes", AGAIN, name)
    return head[begin : begin + size].decode("latin-1"), at + begin + size


def _not_read(told: str) -> str:
    """Say why the values of an array of another type cannot be read."""
    if told.startswith(">"):
        return "it is big-endian; write it anew: array.astype(array.dtype.newbyteorder('<'))"
    if told in ("|V2", "<V2"):
        return "NumPy does not say what its two bytes are; save bfloat16 as safetensors"
    return unknown_type(told)
