"""PyTorch files, zip archives around a pickle: their tensors listed, no value read, no code run.

Three locks, one behind the other: the directory of the archive is held to what `torch.save`
writes; the opcodes of its pickle are listed and held to `weibnb.io.pickles`; and only then
``torch.load(mmap=True, weights_only=True)`` builds tensors without data (on the meta device), which
tell where in the file their bytes lie. Those are mapped like the bytes of any other checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import struct
import zipfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from weibnb.io.files import AGAIN, CheckpointError, MissingPartError, identity_of, reading
from weibnb.io.live import SPELLING
from weibnb.io.pickles import check_pickle
from weibnb.io.safetensors import (
    BITS,
    PICKLES,
    Shard,
    TensorInfo,
    map_bits,
    read_only,
    unknown_type,
    word_type,
)
from weibnb.io.torch_archives import not_a_zip, records_of
from weibnb.messages import shortened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import torch

    from weibnb.io.limits import Limits
    from weibnb.io.live import Reader
    from weibnb.io.safetensors import RawBits

#: Endings of files that `torch.save` writes.
SUFFIXES = tuple(ending for ending in PICKLES if ending not in (".pkl", ".pickle"))
#: Files of this kind beside a model that hold something else.
NO_MODEL = (
    "training_args.bin", "optimizer", "scheduler", "scaler", "rng_state", "random_states",
)  # fmt: skip
#: What people call the state dict in a file, in the order in which they are tried.
NESTS = (
    "state_dict", "model_state_dict", "model_state", "model", "module", "net", "network", "weights",
    "params", "ema_state_dict", "ema",
)  # fmt: skip
INSTALL = "pip install 'torch>=2.10'"
_LEAST = (2, 10)
_FLAWS = "CVE-2025-32434, CVE-2026-24747"
_DEEPEST = 16
#: What `torch.load` may raise for a damaged file.
LOAD_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, MemoryError, OSError,
    RuntimeError, TypeError, ValueError, struct.error, pickle.UnpicklingError, zipfile.BadZipFile,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a file: what it is, and where its elements lie.

    `start` is the byte of its first element in the file, `strides` are in elements.
    """

    info: TensorInfo
    start: int
    strides: tuple[int, ...]
    problem: str = ""

    @property
    def contiguous(self) -> bool:
        """Whether its elements lie in C order, without gaps."""
        expected = 1
        for length, stride in zip(reversed(self.info.shape), reversed(self.strides), strict=True):
            if length != 1 and stride != expected:
                return False
            expected *= length
        return True

    @property
    def place(self) -> tuple[Any, ...]:
        """What two names of one tensor have in common."""
        return self.start, self.info.dtype, self.info.shape, self.strides


def is_torch_file(name: str) -> bool:
    """Whether a file is one that `torch.save` writes and holds a model, by its name.

    Examples
    --------
    >>> is_torch_file("pytorch_model.bin"), is_torch_file("training_args.bin")
    (True, False)
    """
    return name.endswith(SUFFIXES) and not name.startswith(NO_MODEL)


def read_torch_file(path: Path, limits: Limits) -> Shard:
    """List the tensors of a PyTorch file; no value is read and nothing of it is called.

    Raises
    ------
    CheckpointError
        If it is damaged, legacy, no archive of tensors, or names anything but tensors.
    MissingPartError
        A `CheckpointError` and `ImportError`: torch 2.10 is not there.
    """
    with reading(path) as file:
        identity = identity_of(file)
        if file.read(4) != b"PK\x03\x04":
            raise not_a_zip(path, file)
        entries, notes = list_entries(path, file, limits)
    shard = Shard(path, identity, 0, digest_of(entries), (), {})
    return fill_shard(shard, entries, notes)


def fill_shard(shard: Shard, entries: list[Entry], notes: tuple[str, ...] = ()) -> Shard:
    """Give a file its tensors, each with what reads it; the second name of a tensor is tied."""
    readers: dict[str, Reader] = {}
    first: dict[tuple[Any, ...], str] = {}
    tied: dict[str, str] = {}
    for entry in entries:
        name = entry.info.name
        readers[name] = reader_of(shard, entry)
        if entry.info.nbytes and first.setdefault(entry.place, name) != name:
            tied[name] = first[entry.place]
    tensors = tuple((entry.info, entry.start) for entry in entries)
    return Shard(
        shard.path, shard.identity, 0, shard.header_digest, tensors, shard.metadata, readers, tied,
        notes,
    )  # fmt: skip


def reader_of(shard: Shard, entry: Entry) -> Reader:
    """Give what reads a tensor of a file, or why that cannot be done."""
    if entry.problem:
        return entry.problem
    if entry.contiguous:
        return partial(map_bits, shard, entry.info, entry.start)
    return partial(_gather, shard, entry)


def digest_of(entries: list[Entry]) -> bytes:
    """Digest what a file says of its tensors."""
    rows = [[e.info.name, e.info.dtype, e.info.shape, e.start, e.strides] for e in entries]
    return hashlib.sha256(json.dumps(rows).encode("utf-8", "surrogatepass")).digest()


def list_entries(
    path: Path, file: BinaryIO, limits: Limits, base: int | None = None
) -> tuple[list[Entry], tuple[str, ...]]:
    """List the tensors of an archive, in a file or from byte `base` of one on; notes on the rest.

    Raises
    ------
    CheckpointError
        As of `read_torch_file`.
    """
    need_torch(path)
    records = records_of(path, file, limits)
    if base is not None:
        file.seek(0)
    loaded = load(path, path if base is None else file, device="meta", mmap=base is None)
    if _is_tensor(loaded):
        return [_entry("", loaded, records, base or 0)], ()
    state, notes = find_state(path, loaded, limits)
    found = [_entry(name, tensor, records, base or 0) for name, tensor in state.items()]
    return found, notes


def need_torch(path: Path) -> None:
    """Raise unless a torch is installed whose `weights_only` keeps its word."""
    try:
        installed = version("torch")
    except PackageNotFoundError as err:
        cause = "a PyTorch file is read with torch, which is not installed"
        raise MissingPartError(path, cause, f"Install it: {INSTALL}.") from err
    numbers = tuple(int("".join(filter(str.isdigit, w)) or 0) for w in installed.split(".")[:2])
    if numbers < _LEAST:
        cause = f"torch {installed} can be made to run code by a file ({_FLAWS})"
        raise MissingPartError(path, cause, f"Install a newer one: {INSTALL}.")


def load(path: Path, file: Any, *, device: str, mmap: bool) -> Any:
    """Load what was checked before, with `weights_only`; without data on the device ``"meta"``."""
    import torch

    try:
        source = os.fspath(file) if file is path else file
        return torch.load(source, map_location=device, weights_only=True, mmap=mmap)
    except LOAD_ERRORS as err:
        cause = f"torch does not load it: {shortened(str(err).split(chr(10))[0], 200)}"
        raise CheckpointError(path, cause, AGAIN) from err


def find_state(
    path: Path, loaded: Any, limits: Limits
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Find the state dict in what people save: itself, or below `NESTS`; notes on the rest.

    Raises
    ------
    CheckpointError
        If there is none, or it cannot be told which.
    """
    where: list[str] = []
    beside: list[str] = []
    at = loaded
    while isinstance(at, dict) and not any(map(_is_tensor, at.values())):
        inside = [key for key, value in at.items() if isinstance(value, dict) and value]
        named = [key for key in NESTS if key in inside]
        holding = named or [key for key in inside if any(map(_is_tensor, at[key].values()))]
        if not holding or (not named and len(holding) > 1) or len(where) == _DEEPEST:
            break
        beside += [shortened(key, 50) for key in at if key != holding[0]]
        where.append(str(holding[0]))
        at = at[holding[0]]
    if not isinstance(at, dict) or not at:
        cause = f"it holds a {type(at).__name__}, no mapping of names to tensors"
        raise CheckpointError(path, cause, "Save a state_dict().")
    found: dict[str, torch.Tensor] = {}
    left = [*_flatten(path, at, found, limits)]
    if not found:
        keys = ", ".join(shortened(key, 50) for key in list(at)[:8])
        raise CheckpointError(path, f"no tensors are in it, but {keys}", "Save a state_dict().")
    notes = []
    if beside:
        more = ", ..." if len(beside) > 8 else ""
        notes.append(f"Left out beside `{'.'.join(where)}`: {', '.join(beside[:8])}{more}.")
    if left:
        notes.append(f"Left out, no tensors: {', '.join(left[:8])}{', ...' * (len(left) > 8)}.")
    return found, tuple(notes)


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "untyped_storage") and hasattr(value, "stride")


def _flatten(
    path: Path, mapping: Mapping[Any, Any], found: dict[str, torch.Tensor], limits: Limits
) -> Iterator[str]:
    """Put the tensors of nested dicts into `found`, names joined by dots; yield what is none."""
    waiting: list[tuple[str, Any, int]] = [("", mapping, 0)]
    seen = 0
    while waiting:
        name, value, depth = waiting.pop()
        seen += 1
        limits.check_number(path, seen, "entries")
        if isinstance(value, dict) and depth < _DEEPEST:
            items = [(f"{name}.{key}" if depth else str(key), v) for key, v in value.items()]
            waiting += [(key, one, depth + 1) for key, one in reversed(items)]
        elif not _is_tensor(value):
            yield shortened(name, 50)
        elif name in found:
            raise CheckpointError(path, "two tensors have this name", AGAIN, name)
        else:
            found[name] = value


def _entry(name: str, tensor: torch.Tensor, records: Mapping[int, int], base: int) -> Entry:
    """Tell what a tensor without data is, and where its bytes lie; hold it to its record."""
    dtype = str(tensor.dtype).removeprefix("torch.")
    dtype = SPELLING.get(dtype, dtype)
    shape = tuple(int(length) for length in tensor.shape)
    strides = tuple(int(stride) for stride in tensor.stride())
    size, width = math.prod(shape), tensor.element_size()
    info = TensorInfo(name, dtype, shape, size * width)
    storage: Any = tensor.untyped_storage()
    begin, held = getattr(storage, "_checkpoint_offset", -1), storage.nbytes()
    reach = int(tensor.storage_offset())
    reach += 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) if size else 0
    problem = ""
    if dtype not in BITS:
        problem = unknown_type(dtype)
    elif size and records.get(begin) != held:
        problem = "its storage is not a record of the file"
    elif reach * width > held or size * width > held:
        problem = f"it takes {max(reach, size) * width:,} bytes, its storage holds {held:,}"
    return Entry(info, base + begin + int(tensor.storage_offset()) * width, strides, problem)


def _gather(shard: Shard, entry: Entry) -> RawBits:
    """Read a tensor whose elements do not lie in C order: what it spans is mapped, then copied."""
    shape, word = entry.info.shape, word_type(entry.info.dtype)
    span = 1 + sum((n - 1) * step for n, step in zip(shape, entry.strides, strict=True))
    whole = TensorInfo(entry.info.name, entry.info.dtype, (span,), span * word.itemsize)
    bits = map_bits(shard, whole, entry.start)
    strides = [step * word.itemsize for step in entry.strides]
    view = np.lib.stride_tricks.as_strided(bits, shape, strides, writeable=False)
    return read_only(np.ascontiguousarray(view).reshape(-1))


def read_legacy(path: Path, limits: Limits) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    """Read a legacy file, five bare pickles and the values after them, into memory.

    Each pickle is held to `weibnb.io.pickles` before ``torch.load(weights_only=True)`` sees it.

    Raises
    ------
    CheckpointError
        If it is none, damaged, or names anything but tensors.
    MissingPartError
        If torch 2.10 is not there.
    """
    need_torch(path)
    with reading(path) as file:
        if file.read(1) != b"\x80":
            raise not_a_zip(path, file)
        file.seek(0)
        for _ in range(5):  # a magic number, a version, the system, the object, keys of storages
            check_pickle(path, file)
        file.seek(0)
        loaded = load(path, file, device="cpu", mmap=False)
    return find_state(path, loaded, limits)


def is_legacy(path: Path) -> bool:
    """Whether a PyTorch file is a bare pickle, as before torch 1.6."""
    with reading(path) as file:
        return file.read(1) == b"\x80"
