"""Checkpoints of torch.distributed.checkpoint: ``.metadata`` and files that end in ``.distcp``.

Its metadata is a plain pickle, read with an allow-list: the few names in it are looked up in a
table of stand-ins that keep what they are given and do nothing. No class of torch, nor any other,
is ever touched by it. The tensors lie in the other files as small PyTorch archives, which go
through the locks of `weibnb.io.torch_files` when they are read.
"""

from __future__ import annotations

import hashlib
import io
import math
import pickle
import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.files import AGAIN, CheckpointError, identity_of, reading
from weibnb.io.limits import raise_it
from weibnb.io.links import contained
from weibnb.io.live import SPELLING
from weibnb.io.pickles import OPCODES, check_pickle
from weibnb.io.safetensors import BITS, Shard, TensorInfo, read_only, word_type
from weibnb.io.torch_files import NESTS, list_entries, need_torch, reader_of
from weibnb.messages import shortened

if TYPE_CHECKING:
    from pathlib import Path

    from weibnb.io.limits import Limits
    from weibnb.io.safetensors import RawBits

SUFFIX, METADATA = ".distcp", ".metadata"
# What protocol 4 has beside the opcodes of files of tensors.
_OPCODES = OPCODES | {"FRAME", "MEMOIZE", "STACK_GLOBAL", "NEWOBJ", "SHORT_BINUNICODE"}
_PLACE = "torch.distributed.checkpoint"
_RECORDS = (
    *(f"{_PLACE}.metadata {name}" for name in (
        "Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
        "TensorProperties", "MetadataIndex", "StorageMeta", "_MEM_FORMAT_ENCODING",
    )),
    f"{_PLACE}.filesystem _StorageInfo", "torch.serialization _get_layout", "pathlib PosixPath",
    "pathlib WindowsPath", "pathlib._local PosixPath", "pathlib._local WindowsPath",
)  # fmt: skip
_DAMAGED = (
    ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, TypeError, ValueError,
    struct.error, pickle.UnpicklingError, RecursionError,
)  # fmt: skip


def read_distributed(directory: Path, limits: Limits) -> tuple[Shard, ...]:
    """List the tensors of a distributed checkpoint; no value is read, nothing of it is called.

    Raises
    ------
    CheckpointError
        If its metadata is missing, damaged, or names anything but what torch writes there.
    MissingPartError
        A `CheckpointError` and `ImportError`: torch 2.10 is not there.
    """
    need_torch(directory)
    path = contained(directory, METADATA)
    with reading(path) as file:
        if (size := identity_of(file)[2]) > limits.max_index:
            cause = f"it takes {size:,} bytes, at most {limits.max_index:,} are read"
            raise CheckpointError(path, cause, raise_it("max_header", -(-size // 4)))
        content = file.read()
    check_pickle(path, content, (), _OPCODES)
    try:
        tensors, files, notes = _listed(_Unpickler(io.BytesIO(content)).load(), limits, path)
    except CheckpointError:
        raise
    except _DAMAGED as err:
        cause = f"its metadata is not what torch writes: {shortened(err, 200)}"
        raise CheckpointError(path, cause, AGAIN) from err
    digest = hashlib.sha256(content).digest()
    shards: dict[str, Shard] = {}
    for name in files:
        if not name.endswith(SUFFIX) or set(name) & set("/\\:\0"):
            cause = f"metadata must name files beside them, got {shortened(name)!r}"
            raise CheckpointError(path, cause, "Do not trust this checkpoint.")
        place = contained(directory, name)
        with reading(place) as file:
            shards[name] = Shard(place, identity_of(file), 0, digest, (), {})
    readers = {
        info.name: partial(_assembled, shards, info, chunks, limits) for info, chunks in tensors
    }
    listed = tuple((info, 0) for info, _ in tensors)
    first, *rest = shards.values()
    whole = Shard(
        first.path, first.identity, 0, digest, listed, {}, readers, notes=tuple(notes)
    )  # fmt: skip
    return whole, *rest


class _Unpickler(pickle.Unpickler):
    """Knows the names that torch writes, and gives a stand-in for each."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self._known = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        """Give a stand-in; nothing is imported."""
        found = self._known.get(f"{module} {name}")
        if found is None:
            cause = f"its pickle names `{shortened(module, 100)}.{shortened(name, 100)}`"
            raise CheckpointError(METADATA, f"{cause}, which is refused", "Nothing of it was run.")
        return found


def _stand_ins() -> dict[str, Any]:
    """Make what the names mean, anew for each file: records that keep their state, and tuples."""

    class Record:
        state: Any = None

        def __init__(self, *_: Any) -> None: ...

        def __setstate__(self, state: Any) -> None:
            self.state = state

    class Size(tuple[Any, ...]):
        __slots__ = ()

    found: dict[str, Any] = {name: type(name.split()[1], (Record,), {}) for name in _RECORDS}
    types = {f"torch {name}": spelling for name, spelling in SPELLING.items()}
    return found | types | {"torch Size": Size}


# A part of a tensor: where it begins in it, its shape, and its file, offset and length there.
_Chunk = tuple[tuple[int, ...], tuple[int, ...], str, int, int]


def _listed(
    metadata: Any, limits: Limits, path: Path
) -> tuple[list[tuple[TensorInfo, list[_Chunk]]], list[str], list[str]]:
    """Give the tensors with their chunks, the files that hold them, and notes on the rest."""
    told = metadata.state
    described, stored = told["state_dict_metadata"], told["storage_data"]
    limits.check_number(path, len(described))
    limits.check_number(path, len(stored), "chunks")
    places: dict[tuple[str, tuple[int, ...] | None], Any] = {}
    for index, where in stored.items():
        offset = index.state.get("offset")
        places[index.state["fqn"], None if offset is None else _natural(offset)] = where.state
    names, notes = _names(described, told.get("planner_data"))
    tensors = []
    for key, name in names.items():
        what = described[key].state
        dtype, shape = what["properties"].state[0], _natural(what["size"])
        size = math.prod(shape)
        if dtype not in BITS or size >= 2**60:
            raise CheckpointError(path, "its type or shape is not read", AGAIN, key)
        chunks = [_chunk(one.state, places, key) for one in what["chunks"]]
        _check_chunks(path, key, shape, chunks)
        tensors.append((TensorInfo(name, dtype, shape, size * BITS[dtype] // 8), chunks))
    if not tensors:
        raise CheckpointError(path, "it holds no tensors", "Save a state_dict().")
    files = sorted({chunk[2] for _, chunks in tensors for chunk in chunks})
    return tensors, files, notes


def _names(described: dict[str, Any], paths: Any) -> tuple[dict[str, str], list[str]]:
    """Name the tensors of the model by their keys, and note what lies beside it."""
    tensors = [k for k, one in described.items() if type(one).__name__ == "TensorStorageMetadata"]
    paths = paths if isinstance(paths, dict) else {}
    split = {key: tuple(map(str, paths.get(key, (key,)))) for key in described}
    tops = {path[0] for key, path in split.items() if len(path) > 1 and key in tensors}
    nest = next((name for name in NESTS if name in tops), None)
    if nest is None:
        return {key: key for key in tensors}, []
    others = {path[0] for path in split.values()} - {nest}
    listed = ", ".join(shortened(name, 50) for name in sorted(others)[:8])
    names = {key: ".".join(split[key][1:]) for key in tensors if split[key][0] == nest}
    return names, [f"Left out beside `{nest}`: {listed}."] if others else []


def _natural(numbers: Any) -> tuple[int, ...]:
    """Check that these are natural numbers."""
    if not isinstance(numbers, tuple) or not all(
        type(n) is int and 0 <= n < 2**63 for n in numbers
    ):
        raise ValueError(f"{shortened(numbers)} are no natural numbers")
    return tuple(numbers)


def _chunk(told: Any, places: dict[Any, Any], key: str) -> _Chunk:
    """Tell where a part of a tensor lies."""
    begin, shape = _natural(told["offsets"]), _natural(told["sizes"])
    where = places[key, begin]
    if where.get("transform_descriptors"):
        raise ValueError("its files are compressed")
    offset, length = _natural((where["offset"], where["length"]))
    return begin, shape, str(where["relative_path"]), offset, length


def _check_chunks(path: Path, key: str, shape: tuple[int, ...], chunks: list[_Chunk]) -> None:
    """Raise unless chunks lie in their tensor and are as large as it together."""
    inside = all(
        len(begin) == len(size) == len(shape)
        and all(a + n <= length for a, n, length in zip(begin, size, shape, strict=True))
        for begin, size, *_ in chunks
    )
    if not inside or sum(math.prod(size) for _, size, *_ in chunks) != math.prod(shape):
        raise CheckpointError(path, "its chunks do not make it up", AGAIN, key)


def _assembled(
    shards: dict[str, Shard], info: TensorInfo, chunks: list[_Chunk], limits: Limits
) -> RawBits:
    """Read a tensor: one chunk is mapped, several are put together."""
    word = word_type(info.dtype)
    if len(chunks) == 1:
        return _read_chunk(shards, info, chunks[0], limits)
    whole = np.zeros(info.shape, word)
    for chunk in chunks:
        begin, size = chunk[:2]
        at = tuple(slice(a, a + n) for a, n in zip(begin, size, strict=True))
        whole[at] = _read_chunk(shards, info, chunk, limits).reshape(size)
    return read_only(whole.reshape(-1))


def _read_chunk(
    shards: dict[str, Shard], info: TensorInfo, chunk: _Chunk, limits: Limits
) -> RawBits:
    """Read one chunk, an archive within a file."""
    _, size, name, offset, length = chunk
    shard = shards[name]
    with reading(shard.path, shard.identity) as file:
        if offset + length > shard.identity[2]:
            raise CheckpointError(shard.path, "a chunk lies behind its end", AGAIN, info.name)
        window: Any = io.BufferedReader(_Window(file, offset, length))
        (entry,), _ = list_entries(shard.path, window, limits, offset)
    if entry.info.dtype != info.dtype or entry.info.shape != size:
        raise CheckpointError(shard.path, "a chunk is not what metadata say", AGAIN, info.name)
    reader = reader_of(shard, entry)
    if isinstance(reader, str):
        raise CheckpointError(shard.path, reader, AGAIN, info.name)
    return reader()


class _Window(io.RawIOBase):
    """A part of a file, read as if it were a file."""

    def __init__(self, file: Any, start: int, length: int) -> None:
        super().__init__()
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that it can be gone through."""
        return True

    def tell(self) -> int:
        """Tell where it stands."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go elsewhere."""
        self._at = max(offset + (0, self._at, self._length)[whence], 0)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read what is left, as much as there is room for."""
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), max(self._length - self._at, 0)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
