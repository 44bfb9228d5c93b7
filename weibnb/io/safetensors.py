"""One safetensors file: hold its header to the format, map the raw bits of a tensor.

Files are memory-mapped one tensor at a time, never loaded whole and never converted; of those on
other machines a tensor's bytes are fetched. Pickles are never opened as pickles.
"""

from __future__ import annotations

import hashlib
import math
import reprlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from weibnb.io.files import (
    AGAIN,
    CheckpointError,
    identity_of,
    parse_json,
    reading,
)
from weibnb.io.limits import raise_it
from weibnb.io.mapping import map_part
from weibnb.messages import shortened

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from weibnb.io.limits import Limits
    from weibnb.io.remote import RemoteFile

__all__ = ["BITS", "CheckpointError", "Shard", "TensorInfo", "map_bits", "read_shard"]

RawBits: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_FAMILIES = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E4M3FNUZ F8_E5M2FNUZ F8_E8M0",
    16: "BF16 F16 U16 I16",
    32: "F32 U32 I32",
    64: "F64 U64 I64 C64",
}
#: Bits of an element by its type, as safetensors spells it.
BITS = {dtype: bits for bits, family in _FAMILIES.items() for dtype in family.split()}
_LARGEST_HEADER = 100_000_000  # of the format
_PICKLE = (
    "PyTorch files end in .bin, .pt, .pth or .ckpt; other pickles can run code and are not opened."
)


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a checkpoint says of one tensor, without its values.

    Examples
    --------
    >>> TensorInfo("lm_head.weight", "BF16", (1000, 64), 128000).size
    64000
    """

    name: str
    dtype: str  # as safetensors spells it: BF16, F32, F8_E4M3, ...
    shape: tuple[int, ...]  # in elements, also for types smaller than a byte
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of tensors, its header read and checked."""

    path: Path
    identity: tuple[int, ...]  # device, inode, size, modification time
    data_start: int
    header_digest: bytes
    tensors: tuple[tuple[TensorInfo, int], ...]  # with the offset in the file
    metadata: Mapping[str, str]  # what its writer says of it
    # Of other formats: what reads each tensor, or why it cannot be; names of one tensor; remarks;
    # what the file says in the words of config.json.
    readers: Mapping[str, Callable[[], RawBits] | str] = field(default_factory=dict)
    tied: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    remote: RemoteFile | None = None  # where it is, if not on this machine
    blob: str = ""  # a hash of all its bytes, where one is known without reading them


def read_shard(path: Path, limits: Limits) -> Shard:
    """Read and check the header of a safetensors file; no value is read."""
    with reading(path) as file:
        identity = identity_of(file)
        length = header_length(path, file.read(64), identity[2], limits)
        file.seek(8)
        header = file.read(length)
    return shard_of(path, identity, header, limits)


def header_length(place: str | os.PathLike[str], head: bytes, size: int, limits: Limits) -> int:
    """Tell how long the JSON of a header is, by the first 64 bytes of a file and its size."""
    length = int.from_bytes(head[:8], "little")
    cause = ""
    if size < 8:
        cause = "the file is empty" if size == 0 else f"{size} bytes are too few for a header"
    elif length > min(size - 8, _LARGEST_HEADER):
        cause = f"the header takes {length:,} bytes of {size:,}, at most {_LARGEST_HEADER:,} may be"
    elif head[8:9] != b"{":
        cause = "the header does not start with `{`"
    if cause:
        raise not_safetensors(place, head, cause)
    if length > limits.max_header:
        cause = f"the header takes {length:,} bytes, at most {limits.max_header:,} are read"
        raise CheckpointError(place, cause, raise_it("max_header", length))
    return length


def shard_of(
    path: Path,
    identity: tuple[int, ...],
    header: bytes,
    limits: Limits,
    remote: RemoteFile | None = None,
) -> Shard:
    """Check the JSON of a header, and what it says of a file of this identity."""
    place = path if remote is None else remote.name
    try:
        entries = parse_json(header, strict=True)
    except ValueError as err:
        raise CheckpointError(place, f"the header is not valid JSON: {err}", AGAIN) from err
    start = 8 + len(header)
    metadata = entries.pop("__metadata__", None)
    if metadata is None:  # not there, or null
        metadata = {}
    if not _is_text_to_text(metadata):
        raise CheckpointError(place, "`__metadata__` must map strings to strings", AGAIN)
    tensors = _check_entries(place, entries, identity[2] - start, limits)
    placed = tuple((info, start + begin) for info, begin in tensors)
    digest = hashlib.sha256(header).digest()
    blob = "" if remote is None else remote.blob
    return Shard(path, identity, start, digest, placed, metadata, remote=remote, blob=blob)


def map_bits(shard: Shard, info: TensorInfo, offset: int) -> RawBits:
    """Map, or fetch, the bit patterns of one tensor, by item size; packed bytes below a byte.

    The array is one-dimensional and read-only; the map lives as long as the array.
    """
    word = word_type(info.dtype)
    if not info.nbytes:
        return read_only(np.empty(0, word))
    if shard.remote is not None:
        return read_only(np.frombuffer(shard.remote.read(offset, info.nbytes), word))
    area, inside = map_part(shard.path, shard.identity, offset, info.nbytes)
    return np.frombuffer(area, word, info.nbytes // word.itemsize, inside)


def sample(shard: Shard) -> bytes:
    """Digest the header, the size and four blocks of 4 KiB of a file, or what tells of them all."""
    if shard.remote is not None or shard.blob:
        version = shard.blob if shard.remote is None else shard.remote.version
        parts = shard.header_digest, str(shard.identity[2]).encode(), version.encode()
        return hashlib.sha256(b"\0".join(parts)).digest()
    with reading(shard.path, shard.identity) as file:
        size, digest = shard.identity[2], hashlib.sha256(shard.header_digest)
        digest.update(str(size).encode())
        for part in range(4):
            file.seek(shard.data_start + (size - shard.data_start) * part // 4)
            digest.update(file.read(4096))
    return digest.digest()


def not_safetensors(path: str | os.PathLike[str], head: bytes, cause: str) -> CheckpointError:
    """Error for a file that is not safetensors, with what it is instead."""
    name = str(path)
    if head.startswith((b"PK", b"\x80")) or name.endswith(PICKLES):
        return CheckpointError(path, f"this is a pickle, not safetensors ({cause})", _PICKLE)
    if head.startswith(b"GGUF") or name.endswith(".gguf"):
        step = "Give it a name that ends in .gguf."
        return CheckpointError(path, f"this is GGUF, not safetensors ({cause})", step)
    if head.startswith(b"version https://git-lfs"):
        return CheckpointError(path, "this is a Git LFS pointer", "Run `git lfs pull`.")
    return CheckpointError(path, cause, AGAIN)


def unknown_type(dtype: str) -> str:
    """Say why the values of a tensor of another type cannot be read."""
    known = ", ".join(sorted(BITS))
    return f"its type {shortened(dtype)} is not known; the known ones are {known}"


def word_type(dtype: str) -> np.dtype[np.unsignedinteger[Any]]:
    """Give the unsigned integer that an element of this type is read as."""
    return np.dtype(f"<u{max(BITS[dtype] // 8, 1)}")


def read_only(bits: RawBits) -> RawBits:
    """Give the same bits, locked against writing."""
    bits.flags.writeable = False
    return bits


def _check_entries(
    path: str | os.PathLike[str], entries: dict[str, Any], available: int, limits: Limits
) -> list[tuple[TensorInfo, int]]:
    """Hold the header to the rules of the format: the tensors tile the data, without gaps."""
    limits.check_number(path, len(entries))
    found = []
    while entries:  # what was checked is let go
        name, entry = entries.popitem()
        found.append(_check_entry(path, name, entry, available))
    found.sort(key=lambda item: (item[1], item[0].nbytes, item[0].name))
    end = 0
    for info, begin in found:
        if begin != end:
            what = "overlaps another tensor" if begin < end else "leaves a hole before it"
            cause = f"its data starts at byte {begin:,}, not at {end:,}: it {what}"
            raise CheckpointError(path, cause, AGAIN, info.name)
        end = begin + info.nbytes
    if end != available:
        cause = f"the tensors take {end:,} bytes of data, the file has {available:,}"
        raise CheckpointError(path, cause, AGAIN)
    return found


def _is_text_to_text(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())


def _check_entry(
    path: str | os.PathLike[str], name: str, entry: Any, available: int
) -> tuple[TensorInfo, int]:
    """Hold one tensor to the format: its bytes lie in the file and are those of its shape."""
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if all(
            type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)
        ):
            pass
        case _:
            cause = "the header must give `dtype`, `shape` and two `data_offsets`, all natural"
            raise CheckpointError(path, f"{cause}, got {reprlib.repr(entry)}", AGAIN, name)
    info = TensorInfo(name, dtype, tuple(shape), end - begin)
    if not begin <= end <= available:
        cause = f"its data would be bytes {begin:,} to {end:,} of {available:,}: it is truncated"
        raise CheckpointError(path, cause, AGAIN, name)
    size = 1
    for length in shape:
        size *= length
        if size >= 2**63:
            raise CheckpointError(path, "its shape overflows 63 bits", AGAIN, name)
    bits = BITS.get(dtype)
    if bits is not None and size * bits != 8 * info.nbytes:
        got = f"{size * bits} bits, the offsets give {8 * info.nbytes}"
        cause = f"{dtype} of shape {reprlib.repr(shape)} takes {got}"
        raise CheckpointError(path, cause, AGAIN, name)
    return info, begin
