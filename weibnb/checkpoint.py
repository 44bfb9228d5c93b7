"""Where weights come from: list a checkpoint's tensors, give the raw bits of one at a time.

Files are memory-mapped a tensor at a time, never loaded whole and never converted. Pickles are
never opened as pickles.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import mmap
import os
import re
import reprlib
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "CheckpointError", "TensorInfo", "find_steps", "open_checkpoint"]

RawBits: TypeAlias = npt.NDArray[np.unsignedinteger[Any]]

_MAX_HEADER = _MAX_INDEX = 100_000_000  # the limit of the safetensors library itself
_MAX_CONFIG = 10_000_000
_SUFFIX, _INDEX = ".safetensors", ".safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_FAMILIES = {
    4: "F4",
    6: "F6_E2M3 F6_E3M2",
    8: "BOOL U8 I8 F8_E4M3 F8_E5M2 F8_E4M3FNUZ F8_E5M2FNUZ F8_E8M0",
    16: "BF16 F16 U16 I16",
    32: "F32 U32 I32",
    64: "F64 U64 I64 C64",
}
_BITS = {dtype: bits for bits, family in _FAMILIES.items() for dtype in family.split()}
_LIVE = (  # what torch and numpy call them
    "bool uint8 int8 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu "
    "bfloat16 float16 uint16 int16 float32 uint32 int32 float64 uint64 int64 complex64"
)
_SPELLING = dict(zip(_LIVE.split(), (t for t in _BITS if _BITS[t] >= 8), strict=True))
_STEP = re.compile(
    r"(?:.*[-_.])?(?:step|iter|iteration|checkpoint|ckpt)[-_=]?([0-9]+)(?:-(?:tokens\w+|unsharded))?",
    re.IGNORECASE,
)
_AGAIN = "Download or save it again."
_CONVERT = (
    "Pickles can run code and are never opened here. In an environment you trust, load it with "
    "`torch.load(path, weights_only=True)` and write it with `safetensors.torch.save_file`."
)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, with one cause and the next step.

    Parameters
    ----------
    path : path-like
        The file or directory, or the class name of a module.
    cause_text : str
        What is wrong, without a full stop.
    next_step : str, optional
        What to do about it, a whole sentence.
    tensor : str, optional
        The tensor concerned.

    Examples
    --------
    >>> print(CheckpointError("a.safetensors", "the file is empty", "Download it again."))
    `a.safetensors`: the file is empty. Download it again.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        cause_text: str,
        next_step: str = "",
        tensor: str | None = None,
    ) -> None:
        super().__init__(path, cause_text, next_step, tensor)
        self.path = os.fspath(path)
        self.cause_text = cause_text
        self.next_step = next_step
        self.tensor = tensor

    def __str__(self) -> str:
        tensor = "" if self.tensor is None else f", tensor `{self.tensor}`"
        return f"`{self.path}`{tensor}: {self.cause_text}. {self.next_step}".rstrip()


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What a checkpoint says of one tensor, without its values.

    Parameters
    ----------
    name : str
        Name in the checkpoint.
    dtype : str
        Element type as safetensors spells it: ``"BF16"``, ``"F32"``, ``"F8_E4M3"`` ...
    shape : tuple of int
        Sizes in elements, also for types smaller than a byte.
    nbytes : int
        Size of the stored values.

    Examples
    --------
    >>> TensorInfo("lm_head.weight", "BF16", (1000, 64), 128000).size
    64000
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class _Shard:
    path: Path
    identity: tuple[int, ...]  # device, inode, size, modification time
    data_start: int
    header_digest: bytes
    tensors: tuple[tuple[TensorInfo, int], ...]  # with the offset in the file


class Checkpoint:
    """The tensors of one checkpoint; made by `open_checkpoint`, best used in a ``with`` block.

    Nothing is held open between calls: a tensor's map, with its file descriptor, lives exactly as
    long as the arrays that `raw` returned, also beyond `close`. Threads may share a checkpoint.

    Attributes
    ----------
    source : str
        The path as it was given, or the class name of the module or state dict.
    config : dict
        ``config.json`` beside the weights or the module's ``config``; empty if there is none.
    tensors : mapping of str to TensorInfo
        In the natural order of names: ``layers.2`` before ``layers.10``.
    problems : tuple of (str, str)
        Tensors that are listed but whose values cannot be read, each with the reason.
    notes : tuple of str
        What was left out or not understood besides tensors, in sentences.

    Examples
    --------
    >>> import numpy as np
    >>> with open_checkpoint({"w": np.ones((2, 3), np.float32)}) as checkpoint:
    ...     print(checkpoint.tensors["w"].dtype, hex(checkpoint.raw("w")[0]))
    F32 0x3f800000
    """

    def __init__(
        self,
        source: str,
        tensors: Iterable[tuple[TensorInfo, Callable[[], RawBits] | str]],
        *,
        config: dict[str, Any],
        notes: Iterable[str] = (),
        shards: tuple[_Shard, ...] = (),
    ) -> None:
        listed = sorted(tensors, key=lambda item: _natural(item[0].name))
        self.source = source
        self.config = config
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType({t.name: t for t, _ in listed})
        self.problems = tuple((info.name, how) for info, how in listed if isinstance(how, str))
        self.notes = tuple(notes)
        self._readers = {info.name: how for info, how in listed}
        self._shards = shards
        self._closed = False

    def raw(self, name: str) -> RawBits:
        """Give the bit patterns of a tensor.

        Parameters
        ----------
        name : str
            A key of `tensors`.

        Returns
        -------
        ndarray of uint8, uint16, uint32 or uint64, one-dimensional, read-only
            In C order, by item size; the packed bytes (uint8) for types smaller than a byte.
            For files a view of the memory map, for contiguous tensors on the CPU of their
            memory, else a copy.

        Raises
        ------
        CheckpointError
            The name is unknown or in `problems`, the checkpoint is closed, or its file went away
            or changed since it was opened.

        Notes
        -----
        Takes well under a millisecond and reads nothing: pages come from the disk as they are
        touched. A file that is truncated while a view of it is in use ends the process (SIGBUS),
        as with every memory map. Views are unaligned (``flags.aligned``) where the file's offsets
        are odd.
        """
        if self._closed:
            raise CheckpointError(self.source, "the checkpoint is closed", "Open it again.")
        reader = self._readers.get(name)
        if reader is None:
            close = difflib.get_close_matches(name, self.tensors, n=1)
            hint = f"The closest name is `{close[0]}`." if close else ""
            raise CheckpointError(self.source, "no tensor has this name", hint, tensor=name)
        if isinstance(reader, str):
            raise CheckpointError(self.source, reader, tensor=name)
        return reader()

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the checkpoint, the same on every machine: a SHA-256 in hexadecimal.

        Of files it covers the headers (names, types, shapes, offsets), the sizes and a sample of
        four blocks of 4 KiB a file, which tells the steps of a training run apart but proves
        nothing about the bytes between. Paths and times do not count. Of a module or state dict
        it covers names, types and shapes only.
        """
        if self._shards:
            parts = sorted(_sample(shard) for shard in self._shards)
        else:
            rows = [[t.name, t.dtype, t.shape] for t in self.tensors.values()]
            parts = [json.dumps(rows).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def close(self) -> None:
        """Let go of the source; arrays that `raw` returned stay valid."""
        self._closed = True
        self._readers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        nbytes = sum(info.nbytes for info in self.tensors.values())
        return f"<Checkpoint {self.source}: {len(self.tensors)} tensors, {nbytes / 1e9:.3g} GB>"


def open_checkpoint(
    source: str | os.PathLike[str] | torch.nn.Module | Mapping[str, Any],
) -> Checkpoint:
    """List the tensors of a checkpoint without reading their values.

    Parameters
    ----------
    source : path-like, torch.nn.Module or mapping of str to tensor or array
        A ``.safetensors`` file, a ``.safetensors.index.json`` file, a directory that holds
        either, a live module (its named parameters; shared ones once) or a state dict.

    Returns
    -------
    Checkpoint
        With `Checkpoint.notes` on files that were left out.

    Raises
    ------
    CheckpointError
        A file is missing, malformed, outside the directory, or in another format.
    TypeError
        `source` is nothing of the above.

    Notes
    -----
    A directory's index decides which files are read. Without one, all are, except
    ``consolidated*`` next to others. Files must lie in the directory; a link may lead within it
    or, in a Hugging Face cache, to its ``models--*/blobs``. Only headers are read.

    Examples
    --------
    >>> import numpy as np
    >>> open_checkpoint({"layers.10.w": np.zeros(5), "layers.9.w": np.zeros(5)})
    <Checkpoint dict: 2 tensors, 8e-08 GB>
    """
    if isinstance(source, (str, os.PathLike)):
        return _open_path(source)
    torch_module = sys.modules.get("torch")
    if torch_module is not None and isinstance(source, torch_module.nn.Module):
        return _open_live(source, source.named_parameters())
    if isinstance(source, Mapping):
        return _open_live(source, source.items())
    message = "`source` must be a path, a torch.nn.Module or a mapping of str to tensor, got "
    raise TypeError(f"{message}{type(source).__name__}.")


def find_steps(directory: str | os.PathLike[str]) -> dict[int, Path]:
    """Find the checkpoints of a training run by their names.

    Parameters
    ----------
    directory : path-like
        Holds one directory or ``.safetensors`` file a step, named like ``step1000``,
        ``step_1000``, ``global_step1000``, ``checkpoint-1000``, ``ckpt-5``, ``iter_0001000``.

    Returns
    -------
    dict of int to Path
        In the order of steps; empty if no name fits.

    Raises
    ------
    CheckpointError
        The directory cannot be listed, or two names give one step.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     for name in ("step_20", "step_3", "logs"):
    ...         Path(run, name).mkdir()
    ...     list(find_steps(run))
    [3, 20]
    """
    found: dict[int, Path] = {}
    for name in _listing(Path(directory)):
        path = Path(directory, name)
        match = _STEP.fullmatch(name.removesuffix(_SUFFIX))
        if match is None or not (path.is_dir() or name.endswith(_SUFFIX)):
            continue
        step = int(match[1])
        if step in found:
            names = f"`{found[step].name}` and `{name}`"
            raise CheckpointError(directory, f"step {step} is there twice: {names}", "Remove one.")
        found[step] = path
    return dict(sorted(found.items()))


def _open_path(source: str | os.PathLike[str]) -> Checkpoint:
    given = Path(source)
    hint = "For a Hugging Face repository, download it and pass the folder."
    try:
        path = given.expanduser().absolute()
        is_directory = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as err:
        raise CheckpointError(given, "there is no such file or directory", hint) from err
    except (OSError, ValueError, RuntimeError) as err:
        raise CheckpointError(given, f"the path cannot be used: {err}") from err
    notes: list[str] = []
    if is_directory:
        shards, notes = _open_directory(path, None)
    elif path.name.endswith(_INDEX):
        shards, notes = _open_directory(path.parent, path.name)
    else:
        shards = (_read_shard(path),)
    directory, config = path if is_directory else path.parent, {}
    if (directory / "config.json").exists():
        try:
            config = _read_json(_contained(directory, "config.json"), _MAX_CONFIG, dict)
        except CheckpointError as err:
            notes.append(f"The configuration was not read: {err}")
    tensors = [
        (info, partial(_map_bits, shard, info, offset) if info.dtype in _BITS else _unknown(info))
        for shard in shards
        for info, offset in shard.tensors
    ]
    return Checkpoint(os.fspath(source), tensors, config=config, notes=notes, shards=shards)


def _open_directory(directory: Path, index: str | None) -> tuple[tuple[_Shard, ...], list[str]]:
    names = _listing(directory)
    files = [name for name in names if name.endswith(_SUFFIX)]
    indexes = [name for name in names if name.endswith(_INDEX)]
    weight_map: dict[str, str] = {}
    if index or indexes:
        default = f"model{_INDEX}"
        index = index or (default if default in indexes else min(indexes, key=len))
        weight_map = _read_index(directory, index, names)
        used = sorted(set(weight_map.values()), key=_natural)
    elif files:
        used = [name for name in files if not name.startswith("consolidated")] or files
    else:
        raise _nothing_to_read(directory, names)
    shards = tuple(_read_shard(_contained(directory, name)) for name in used)
    place: dict[str, str] = {}
    for name, shard in zip(used, shards, strict=True):
        for info, _ in shard.tensors:
            if info.name in place:
                cause = f"two files hold this tensor: `{place[info.name]}` and `{name}`"
                step = "Pass the file that you mean, or remove the other."
                raise CheckpointError(directory, cause, step, info.name)
            place[info.name] = name
    for tensor, name in weight_map.items():
        if place.get(tensor) != name:
            cause = f"`{index}` places it in `{name}`, which does not hold it"
            raise CheckpointError(directory, cause, _AGAIN, tensor)
    left = ", ".join(f"`{n}`" for n in files + indexes if n not in used and n != index)
    note = f"Left out in favour of `{index or used[0]}`: {left}. Pass a file itself to read it."
    return shards, [note] if left else []


def _read_index(directory: Path, index: str, names: list[str]) -> dict[str, str]:
    path = _contained(directory, index)
    weight_map = _read_json(path, _MAX_INDEX, _unique_keys).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(path, "the index has no `weight_map` of tensor to file", _AGAIN)
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
            cause = f"an index must name plain files beside it, got {reprlib.repr(name)}"
            raise CheckpointError(path, cause, "Do not trust this checkpoint.", tensor)
    if missing := sorted(set(weight_map.values()) - set(names)):
        raise CheckpointError(path, f"the index names `{missing[0]}`, which is missing", _AGAIN)
    return weight_map


def _nothing_to_read(directory: Path, names: list[str]) -> CheckpointError:
    for name in names:
        if name.endswith((*_PICKLES, ".gguf")):
            return _not_safetensors(directory / name, b"", "the directory has no safetensors file")
    steps = [name for name in names if _STEP.fullmatch(name)]
    hint = f"Pass one step, such as `{steps[0]}`." if steps else "Pass the folder of the weights."
    return CheckpointError(directory, "the directory has no .safetensors file", hint)


def _listing(directory: Path) -> list[str]:
    try:
        names = [path.name for path in directory.iterdir() if not path.name.startswith(".")]
    except (OSError, ValueError) as err:
        raise CheckpointError(directory, f"the directory cannot be listed: {err}") from err
    return sorted(names, key=_natural)


def _contained(directory: Path, name: str) -> Path:
    """Refuse a link out of the directory, unless into the blobs of its Hugging Face cache."""
    path = directory / name
    try:
        real, root = path.resolve(), directory.resolve()
    except (OSError, RuntimeError) as err:
        raise CheckpointError(path, f"the link leads nowhere: {err}") from err
    blobs = [p / "blobs" for p in root.parents if p.name.startswith("models--")]
    if not any(real.is_relative_to(allowed) for allowed in (root, *blobs[:1])):
        cause = f"a link must stay in its directory or lead to `models--*/blobs`, got {real}"
        raise CheckpointError(path, cause, "Copy the file there if you trust it.")
    return path


@contextmanager
def _reading(path: Path, identity: tuple[int, ...] | None = None) -> Iterator[BinaryIO]:
    """Open a regular file, unchanged since `identity` was taken; errors become ours."""
    try:
        file = path.open("rb") if stat.S_ISREG(path.stat().st_mode) else None
    except (OSError, ValueError) as err:
        raise CheckpointError(path, f"the file cannot be opened: {err}") from err
    if file is None:
        raise CheckpointError(path, "it is not a regular file", "Pass a .safetensors file.")
    with file:
        if identity not in (None, _identity(file)):
            raise CheckpointError(path, "the file changed after it was opened", "Open it again.")
        try:
            yield file
        except OSError as err:
            raise CheckpointError(path, f"the file cannot be read: {err}") from err


def _read_json(path: Path, limit: int, pairs: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    with _reading(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > limit:
            raise CheckpointError(path, f"at most {limit:,} bytes are read, it has {size:,}")
        text = file.read(limit)
    try:
        return _parse(text, pairs)
    except ValueError as err:
        raise CheckpointError(path, f"it is not a valid JSON object: {err}", _AGAIN) from err


def _parse(text: bytes, pairs: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    try:
        value = json.loads(text.decode(), object_pairs_hook=pairs)
    except RecursionError as err:
        raise ValueError("it is nested too deeply") from err
    if not isinstance(value, dict):
        raise ValueError(f"it holds a {type(value).__name__}")  # noqa: TRY004 - a value of a file
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r} appears twice")
        key.encode()
        result[key] = value
    return result


def _read_shard(path: Path) -> _Shard:
    with _reading(path) as file:
        identity = _identity(file)
        size = identity[2]
        head = file.read(64)
        length = int.from_bytes(head[:8], "little")
        cause = ""
        if size < 8:
            cause = "the file is empty" if size == 0 else f"{size} bytes are too few for a header"
        elif length > min(size - 8, _MAX_HEADER):
            cause = f"the header takes {length:,} bytes of {size:,}, at most {_MAX_HEADER:,} may be"
        elif head[8:9] != b"{":
            cause = "the header does not start with `{`"
        if cause:
            raise _not_safetensors(path, head, cause)
        file.seek(8)
        header = file.read(length)
    try:
        entries = _parse(header, _unique_keys)
    except ValueError as err:
        raise CheckpointError(path, f"the header is not valid JSON: {err}", _AGAIN) from err
    start = 8 + length
    tensors = _check_entries(path, entries, size - start)
    placed = tuple((info, start + begin) for info, begin in tensors)
    return _Shard(path, identity, start, hashlib.sha256(header).digest(), placed)


def _not_safetensors(path: Path, head: bytes, cause: str) -> CheckpointError:
    if head.startswith((b"PK", b"\x80")) or path.name.endswith(_PICKLES):
        return CheckpointError(path, f"this is a pickle, not safetensors ({cause})", _CONVERT)
    if head.startswith(b"GGUF") or path.name.endswith(".gguf"):
        step = "Scan the safetensors that it was made from."
        return CheckpointError(path, f"this is GGUF, not safetensors ({cause})", step)
    if head.startswith(b"version https://git-lfs"):
        return CheckpointError(path, "this is a Git LFS pointer", "Run `git lfs pull`.")
    return CheckpointError(path, cause, _AGAIN)


def _check_entries(
    path: Path, entries: dict[str, Any], available: int
) -> list[tuple[TensorInfo, int]]:
    """Hold the header to the rules of the format: the tensors tile the data, without gaps."""
    metadata = entries.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(path, "`__metadata__` must map strings to strings", _AGAIN)
    found = [_check_entry(path, name, entry, available) for name, entry in entries.items()]
    found.sort(key=lambda item: (item[1], item[0].nbytes))
    end = 0
    for info, begin in found:
        if begin != end:
            what = "overlaps another tensor" if begin < end else "leaves a hole before it"
            cause = f"its data starts at byte {begin:,}, not at {end:,}: it {what}"
            raise CheckpointError(path, cause, _AGAIN, info.name)
        end = begin + info.nbytes
    if end != available:
        cause = f"the tensors take {end:,} bytes of data, the file has {available:,}"
        raise CheckpointError(path, cause, _AGAIN)
    return found


def _check_entry(path: Path, name: str, entry: Any, available: int) -> tuple[TensorInfo, int]:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]} if all(
            type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)
        ):
            pass
        case _:
            cause = "the header must give `dtype`, `shape` and two `data_offsets`, all natural"
            raise CheckpointError(path, f"{cause}, got {reprlib.repr(entry)}", _AGAIN, name)
    info = TensorInfo(name, dtype, tuple(shape), end - begin)
    if not begin <= end <= available:
        cause = f"its data would lie at bytes {begin:,} to {end:,} of {available:,}: truncated?"
        raise CheckpointError(path, cause, _AGAIN, name)
    bits = _BITS.get(dtype)
    size = 1
    for length in shape:
        size *= length
        if size >= 2**63:
            raise CheckpointError(path, "its shape overflows 63 bits", _AGAIN, name)
    if bits is not None and size * bits != 8 * info.nbytes:
        got = f"{size * bits} bits, the offsets give {8 * info.nbytes}"
        cause = f"{dtype} of shape {reprlib.repr(shape)} takes {got}"
        raise CheckpointError(path, cause, _AGAIN, name)
    return info, begin


def _identity(file: BinaryIO) -> tuple[int, ...]:
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _map_bits(shard: _Shard, info: TensorInfo, offset: int) -> RawBits:
    word = _word(info.dtype)
    if not info.nbytes:
        return _read_only(np.empty(0, word))
    inside = offset % mmap.ALLOCATIONGRANULARITY
    length, start = inside + info.nbytes, offset - inside
    with _reading(shard.path, shard.identity) as file:
        area = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=start)
    return np.frombuffer(area, word, info.nbytes // word.itemsize, inside)


def _sample(shard: _Shard) -> bytes:
    with _reading(shard.path, shard.identity) as file:
        size, digest = shard.identity[2], hashlib.sha256(shard.header_digest)
        digest.update(str(size).encode())
        for part in range(4):
            file.seek(shard.data_start + (size - shard.data_start) * part // 4)
            digest.update(file.read(4096))
    return digest.digest()


def _open_live(source: Any, items: Iterable[tuple[str, Any]]) -> Checkpoint:
    kind = type(source).__name__
    torch_module = sys.modules.get("torch")
    known = (np.ndarray, torch_module.Tensor) if torch_module else (np.ndarray,)
    tensors: list[tuple[TensorInfo, Callable[[], RawBits] | str]] = []
    notes: list[str] = []
    for name, value in items:
        if not isinstance(name, str):
            raise TypeError(f"`source` must have str keys, got {name!r}.")
        if isinstance(value, known):
            tensors.append(_describe_live(kind, name, value))
        else:
            notes.append(f"Left out `{name}`: a {type(value).__name__} is not a tensor.")
    to_dict = getattr(getattr(source, "config", None), "to_dict", None)
    return Checkpoint(kind, tensors, config=to_dict() if to_dict else {}, notes=notes)


def _describe_live(
    kind: str, name: str, tensor: Any
) -> tuple[TensorInfo, Callable[[], RawBits] | str]:
    is_numpy = isinstance(tensor, np.ndarray)
    type_name = tensor.dtype.name if is_numpy else str(tensor.dtype).removeprefix("torch.")
    dtype = _SPELLING.get(type_name, type_name)
    if hasattr(tensor, "cls_to_become"):
        return TensorInfo(name, dtype, (0,), 0), "the lazy module has not set its shape yet"
    shape = tuple(int(length) for length in tensor.shape)
    info = TensorInfo(name, dtype, shape, math.prod(shape) * tensor.dtype.itemsize)
    if dtype not in _BITS:
        return info, _unknown(info)
    if is_numpy:
        return info, partial(_array_bits, info, tensor)
    if tensor.is_meta:
        return info, "it is on the meta device and has no values"
    if hasattr(tensor, "__tensor_flatten__") or str(tensor.layout) != "torch.strided":
        return info, f"a {type(tensor).__name__} ({tensor.layout}) has no one buffer"
    return info, partial(_tensor_bits, info, kind, tensor)


def _array_bits(info: TensorInfo, array: npt.NDArray[Any]) -> RawBits:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return _read_only(little.reshape(-1).view(_word(info.dtype)))


def _tensor_bits(info: TensorInfo, kind: str, tensor: Any) -> RawBits:
    try:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        octets: npt.NDArray[np.uint8] = flat.view(sys.modules["torch"].uint8).numpy()
    except RuntimeError as err:
        cause = f"torch cannot give its bytes: {err}"
        raise CheckpointError(kind, cause, tensor=info.name) from err
    return _read_only(octets.view(_word(info.dtype)))


def _word(dtype: str) -> np.dtype[np.unsignedinteger[Any]]:
    return np.dtype(f"<u{max(_BITS[dtype] // 8, 1)}")


def _read_only(bits: RawBits) -> RawBits:
    bits.flags.writeable = False
    return bits


def _unknown(info: TensorInfo) -> str:
    return f"its type {info.dtype} is not known; the known ones are {', '.join(sorted(_BITS))}"


def _natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Order digits as numbers, whatever their length, and the rest as text."""
    parts = re.split(r"([0-9]+)", name)
    digits = [part.lstrip("0") if i % 2 else part for i, part in enumerate(parts)]
    return tuple((len(d) if i % 2 else 0, d) for i, d in enumerate(digits)), name
