"""GGUF, the files of llama.cpp: tensors and metadata, and their quantised blocks as numbers.

The header is walked here, with every count and length held to the bytes that are there, and lists
of words are skipped; the blocks are restored by the kernels of the `gguf` package.
"""

from __future__ import annotations

import hashlib
import math
import struct
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.files import AGAIN, CheckpointError, MissingPartError, identity_of, reading
from weibnb.io.lazily import Computed
from weibnb.io.limits import raise_it
from weibnb.io.safetensors import Shard, TensorInfo, map_bits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from weibnb.io.limits import Limits
    from weibnb.io.live import Reader

SUFFIX = ".gguf"
INSTALL = "pip install 'weibnb[gguf]'"
_VERSIONS = (2, 3)
_MOST_FIELDS, _MOST_DIMS, _LONGEST_NAME, _MOST_WORDS = 1 << 16, 8, 1 << 16, 1 << 21
# Types of metadata: how they are unpacked; then text and lists.
_SCALARS = dict(enumerate(("<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?"))) | {
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_TEXT, _LIST = 8, 9
# What its plain types are called in safetensors.
_PLAIN = {"F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64"}
# Fields of config.json by the end of their key here.
_CONFIG = {
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "expert_count": "num_local_experts",
    "expert_used_count": "num_experts_per_tok",
    "context_length": "max_position_embeddings",
    "rope.freq_base": "rope_theta",
}


def read_gguf(path: Path, limits: Limits) -> Shard:
    """List the tensors of a GGUF file, with its metadata; no value is read.

    Raises
    ------
    CheckpointError
        If it is damaged, of another version or byte order, or asks for more than the limits.
    MissingPartError
        A `CheckpointError` and `ImportError`: the gguf package is not there.
    """
    kinds = _kinds(path)
    with reading(path) as file:
        identity = identity_of(file)
        size = identity[2]
        header = file.read(limits.max_index)
    if not header.startswith(b"GGUF"):
        raise CheckpointError(path, "this is no GGUF file", AGAIN)
    walk = _Walk(path, header, size, limits)
    try:
        fields, tensors = walk.all()
    except struct.error as err:
        if len(header) == size:
            raise CheckpointError(path, "its header ends early: it is truncated", AGAIN) from err
        cause = f"its header takes more than {limits.max_index:,} bytes"
        raise CheckpointError(path, cause, raise_it("max_header", limits.max_header * 2)) from err
    align = fields.get("general.alignment", 32)
    if type(align) is not int or align < 1 or align & (align - 1):
        raise CheckpointError(path, f"its alignment must be a power of two, got {align!r}", AGAIN)
    start = -(-walk.at // align) * align
    found, readers = [], {}
    digest = hashlib.sha256(header[: walk.at]).digest()
    metadata = {key: str(value) for key, value in fields.items()}
    shard = Shard(path, identity, start, digest, (), metadata)
    for name, shape, number, offset in tensors:
        info = _info(path, kinds, name, shape, number)
        at = start + offset
        if at + info.nbytes > size or name in readers:
            cause = "two tensors have this name" if name in readers else "its data is not there"
            raise CheckpointError(path, cause, AGAIN, name)
        stored = info
        if info.dtype not in _PLAIN:
            stored = TensorInfo(name, "U8", (info.nbytes,), info.nbytes)
        readers[name] = partial(map_bits, shard, stored, at)
        found.append((info, at))
    config = _config(fields)
    return Shard(
        path, identity, start, digest, tuple(found), metadata, readers, {}, (), config
    )  # fmt: skip


def is_quantised(dtype: str) -> bool:
    """Whether a type is one of GGUF's quantised ones, by its name.

    Examples
    --------
    >>> is_quantised("Q4_K"), is_quantised("IQ2_XS"), is_quantised("BF16")
    (True, True, False)
    """
    return dtype.startswith(("Q", "IQ", "TQ")) or dtype in ("MXFP4", "NVFP4")


def dequantised(info: TensorInfo, read: Any) -> tuple[TensorInfo, Reader]:
    """Give a tensor of quantised blocks as float32, computed row by row by the gguf package."""
    new = TensorInfo(info.name, "F32", info.shape, 4 * info.size)

    def compute() -> Any:
        import gguf

        kind = gguf.GGMLQuantizationType[info.dtype]
        rows, columns = math.prod(info.shape[:-1]), info.shape[-1]
        codes = read()
        blocks = codes.reshape(rows, -1)
        some = partial(_rows, blocks, kind)
        return Computed(rows, columns, np.dtype("<u4"), some, codes)

    return new, compute


def _rows(blocks: NDArray[np.uint8], kind: Any, first: int, stop: int) -> NDArray[np.uint32]:
    """Restore some rows."""
    from gguf.quants import dequantize

    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is told by the scan
        values = dequantize(np.ascontiguousarray(blocks[first:stop]), kind)
    found: NDArray[np.uint32] = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return found


class _Walk:
    """Goes through a header."""

    def __init__(self, path: Path, header: bytes, size: int, limits: Limits) -> None:
        self.path, self.header, self.size, self.limits, self.at = path, header, size, limits, 4

    def all(self) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], int, int]]]:
        """Give the fields, and of each tensor name, shape, type and offset."""
        version = self.one("<I")
        if version not in _VERSIONS:
            what = "of the other byte order" if version & 0xFFFF == 0 else f"version {version}"
            raise CheckpointError(self.path, f"this is GGUF {what}, which is not read")
        tensors, number = self.one("<Q"), self.one("<Q")
        self.limits.check_number(self.path, tensors)
        if number > _MOST_FIELDS:
            raise self.wrong(f"it announces {number:,} fields of metadata")
        return dict(self.fields(number)), [self.tensor() for _ in range(tensors)]

    def one(self, form: str) -> Any:
        """Read one number."""
        (value,) = struct.unpack_from(form, self.header, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self, longest: int | None = None) -> str:
        """Read text of a length that stands before it."""
        length = self.one("<Q")
        if length > (self.size if longest is None else longest):
            raise self.wrong(f"a text of {length:,} bytes is announced")
        self.at += length
        if self.at > len(self.header):
            raise struct.error
        return self.header[self.at - length : self.at].decode("utf-8", "surrogateescape")

    def fields(self, number: int) -> Iterator[tuple[str, Any]]:
        """Read metadata, lists left out."""
        for _ in range(number):
            key, kind = self.text(_LONGEST_NAME), self.one("<I")
            if kind != _LIST:
                yield key, self.value(kind)
                continue
            self.skip_list()

    def value(self, kind: int) -> Any:
        """Read one value."""
        if kind == _TEXT:
            return self.text()
        if kind not in _SCALARS:
            raise self.wrong(f"a field has the type {kind}, which is not known")
        return self.one(_SCALARS[kind])

    def skip_list(self) -> None:
        """Go past a list."""
        kind, length = self.one("<I"), self.one("<Q")
        if length > (_MOST_WORDS if kind == _TEXT else self.size):
            raise self.wrong(f"a list of {length:,} is announced")
        if kind == _TEXT:
            for _ in range(length):
                self.text()
        elif kind in _SCALARS:
            self.at += length * struct.calcsize(_SCALARS[kind])
        else:
            raise self.wrong(f"a list has the type {kind}, which is not read")

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Read what is said of one tensor."""
        name, dims = self.text(_LONGEST_NAME), self.one("<I")
        if dims > _MOST_DIMS:
            raise CheckpointError(self.path, f"it has {dims:,} dimensions", AGAIN, name)
        shape = tuple(self.one("<Q") for _ in range(dims))[::-1]
        if math.prod(shape) >= 2**63:
            raise CheckpointError(self.path, "its shape overflows 63 bits", AGAIN, name)
        return name, shape, self.one("<I"), self.one("<Q")

    def wrong(self, cause: str) -> CheckpointError:
        """Make the error for a header that is none."""
        return CheckpointError(self.path, cause, AGAIN)


def _info(
    path: Path,
    kinds: dict[int, tuple[str, int, int]],
    name: str,
    shape: tuple[int, ...],
    number: int,
) -> TensorInfo:
    """Describe a tensor, and tell its bytes."""
    if number not in kinds:
        cause = f"its type {number} is not known to the installed gguf"
        raise CheckpointError(path, cause, f"Install a newer one: {INSTALL}.", name)
    dtype, block, nbytes = kinds[number]
    if block > 1 and (not shape or shape[-1] % block):
        cause = f"rows of {shape[-1:]} are no whole blocks of {dtype}"
        raise CheckpointError(path, cause, AGAIN, name)
    return TensorInfo(name, dtype, shape, math.prod(shape) // block * nbytes)


def _kinds(path: Path) -> dict[int, tuple[str, int, int]]:
    """Give name, elements and bytes of a block of each type."""
    try:
        return _table()
    except ImportError as err:
        cause = "GGUF is read with the gguf package, which is not installed"
        raise MissingPartError(path, cause, f"Install it: {INSTALL}.") from err


@cache
def _table() -> dict[int, tuple[str, int, int]]:
    import gguf

    sizes = gguf.GGML_QUANT_SIZES
    known = [kind for kind in gguf.GGMLQuantizationType if kind in sizes]
    return {int(kind): (kind.name, *sizes[kind]) for kind in known}


def _config(fields: dict[str, Any]) -> dict[str, Any]:
    """Say what metadata tell in the words of config.json."""
    family = fields.get("general.architecture")
    if not isinstance(family, str):
        return {}
    told = {word: fields.get(f"{family}.{key}") for key, word in _CONFIG.items()}
    found = {word: value for word, value in told.items() if value is not None}
    return {"model_type": family, **found}
