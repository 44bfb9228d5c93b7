"""Where weights come from: list a checkpoint's tensors, give the raw bits of one at a time.

Files are memory-mapped a tensor at a time, never loaded whole and never converted. Pickles are
never opened as pickles.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import os
import re
import reprlib
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from weibnb.io.safetensors import (
    AGAIN,
    BITS,
    PICKLES,
    CheckpointError,
    RawBits,
    Shard,
    TensorInfo,
    map_bits,
    not_safetensors,
    read_json,
    read_only,
    read_shard,
    sample,
    unique_keys,
    word_type,
)

if TYPE_CHECKING:
    import torch

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "TensorInfo",
    "find_steps",
    "open_checkpoint",
    "step_of",
]

_MAX_INDEX, _MAX_CONFIG = 100_000_000, 10_000_000
_SUFFIX, _INDEX = ".safetensors", ".safetensors.index.json"
_LIVE = (  # what torch and numpy call them
    "bool uint8 int8 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu "
    "bfloat16 float16 uint16 int16 float32 uint32 int32 float64 uint64 int64 complex64"
)
_SPELLING = dict(zip(_LIVE.split(), (t for t in BITS if BITS[t] >= 8), strict=True))
_STEP = re.compile(
    r"(?:.*[-_.])?(?:step|iter|iteration|checkpoint|ckpt)[-_=]?([0-9]+)(?:-(?:tokens\w+|unsharded))?",
    re.IGNORECASE,
)


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
        shards: tuple[Shard, ...] = (),
        live: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        listed = sorted(tensors, key=lambda item: _natural(item[0].name))
        self.source = source
        self.config = config
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType({t.name: t for t, _ in listed})
        self.problems = tuple((info.name, how) for info, how in listed if isinstance(how, str))
        self.notes = tuple(notes)
        self._readers = {info.name: how for info, how in listed}
        self._shards = shards
        self._live = dict(live or {})
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

    def tensor(self, name: str) -> torch.Tensor | None:
        """Give the tensor itself, on whatever device, if the checkpoint is a live one.

        Parameters
        ----------
        name : str
            A key of `tensors`.

        Returns
        -------
        torch.Tensor or None
            None for what comes from a file or an array, and for what is in `problems`.
        """
        return self._live.get(name)

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the checkpoint, the same on every machine: a SHA-256 in hexadecimal.

        Of files it covers the headers (names, types, shapes, offsets), the sizes and a sample of
        four blocks of 4 KiB a file, which tells the steps of a training run apart but proves
        nothing about the bytes between. Paths and times do not count. Of a module or state dict
        it covers names, types and shapes only.
        """
        if self._shards:
            parts = sorted(sample(shard) for shard in self._shards)
        else:
            rows = [[t.name, t.dtype, t.shape] for t in self.tensors.values()]
            parts = [json.dumps(rows).encode()]
        return hashlib.sha256(b"".join(parts)).hexdigest()

    def close(self) -> None:
        """Let go of the source; arrays that `raw` returned stay valid."""
        self._closed = True
        self._readers.clear()
        self._live.clear()

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


def step_of(name: str) -> int | None:
    """Read the training step from the name of a checkpoint.

    Parameters
    ----------
    name : str
        Last word of a path.

    Returns
    -------
    int or None
        None if the name tells none.

    Examples
    --------
    >>> step_of("pythia-step1000"), step_of("checkpoint-20.safetensors"), step_of("llama-3")
    (1000, 20, None)
    """
    match = _STEP.fullmatch(name.removesuffix(_SUFFIX))
    return int(match[1]) if match else None


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
        step = step_of(name)
        if step is None or not (path.is_dir() or name.endswith(_SUFFIX)):
            continue
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
        shards = (read_shard(path),)
    directory, config = path if is_directory else path.parent, {}
    if (directory / "config.json").exists():
        try:
            config = read_json(_contained(directory, "config.json"), _MAX_CONFIG, dict)
        except CheckpointError as err:
            notes.append(f"The configuration was not read: {err}")
    tensors = [
        (info, partial(map_bits, shard, info, offset) if info.dtype in BITS else _unknown(info))
        for shard in shards
        for info, offset in shard.tensors
    ]
    return Checkpoint(os.fspath(source), tensors, config=config, notes=notes, shards=shards)


def _open_directory(directory: Path, index: str | None) -> tuple[tuple[Shard, ...], list[str]]:
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
    shards = tuple(read_shard(_contained(directory, name)) for name in used)
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
            raise CheckpointError(directory, cause, AGAIN, tensor)
    left = ", ".join(f"`{n}`" for n in files + indexes if n not in used and n != index)
    note = f"Left out in favour of `{index or used[0]}`: {left}. Pass a file itself to read it."
    return shards, [note] if left else []


def _read_index(directory: Path, index: str, names: list[str]) -> dict[str, str]:
    path = _contained(directory, index)
    weight_map = read_json(path, _MAX_INDEX, unique_keys).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(path, "the index has no `weight_map` of tensor to file", AGAIN)
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & set("/\\:\0"):
            cause = f"an index must name plain files beside it, got {reprlib.repr(name)}"
            raise CheckpointError(path, cause, "Do not trust this checkpoint.", tensor)
    if missing := sorted(set(weight_map.values()) - set(names)):
        raise CheckpointError(path, f"the index names `{missing[0]}`, which is missing", AGAIN)
    return weight_map


def _nothing_to_read(directory: Path, names: list[str]) -> CheckpointError:
    for name in names:
        if name.endswith((*PICKLES, ".gguf")):
            return not_safetensors(directory / name, b"", "the directory has no safetensors file")
    steps = [name for name in names if step_of(name) is not None]
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


def _open_live(source: Any, items: Iterable[tuple[str, Any]]) -> Checkpoint:
    kind = type(source).__name__
    torch_module = sys.modules.get("torch")
    known = (np.ndarray, torch_module.Tensor) if torch_module else (np.ndarray,)
    tensors: list[tuple[TensorInfo, Callable[[], RawBits] | str]] = []
    notes: list[str] = []
    live: dict[str, torch.Tensor] = {}
    for name, value in items:
        if not isinstance(name, str):
            raise TypeError(f"`source` must have str keys, got {name!r}.")
        if isinstance(value, known):
            tensors.append(_describe_live(kind, name, value))
            if not isinstance(value, np.ndarray) and not isinstance(tensors[-1][1], str):
                live[name] = value
        else:
            notes.append(f"Left out `{name}`: a {type(value).__name__} is not a tensor.")
    to_dict = getattr(getattr(source, "config", None), "to_dict", None)
    config = to_dict() if to_dict else {}
    return Checkpoint(kind, tensors, config=config, notes=notes, live=live)


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
    if dtype not in BITS:
        return info, _unknown(info)
    if is_numpy:
        return info, partial(_array_bits, info, tensor)
    if tensor.is_meta:
        return info, "it is on the meta device and has no values"
    if hasattr(tensor, "device_mesh"):
        if any(placement.is_partial() for placement in tensor.placements):
            return info, "it is a DTensor of partial sums; redistribute it first"
        return info, partial(_no_one_buffer, info, kind)
    if hasattr(tensor, "__tensor_flatten__") or str(tensor.layout) != "torch.strided":
        return info, f"a {type(tensor).__name__} ({tensor.layout}) has no one buffer"
    return info, partial(_tensor_bits, info, kind, tensor)


def _array_bits(info: TensorInfo, array: npt.NDArray[Any]) -> RawBits:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return read_only(little.reshape(-1).view(word_type(info.dtype)))


def _tensor_bits(info: TensorInfo, kind: str, tensor: Any) -> RawBits:
    try:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        octets: npt.NDArray[np.uint8] = flat.view(sys.modules["torch"].uint8).numpy()
    except RuntimeError as err:
        cause = f"torch cannot give its bytes: {err}"
        raise CheckpointError(kind, cause, tensor=info.name) from err
    return read_only(octets.view(word_type(info.dtype)))


def _no_one_buffer(info: TensorInfo, kind: str) -> RawBits:
    cause = "it is spread over several processes, and has no one buffer"
    raise CheckpointError(kind, cause, "Scan it in all of them.", info.name)


def _unknown(info: TensorInfo) -> str:
    return f"its type {info.dtype} is not known; the known ones are {', '.join(sorted(BITS))}"


def _natural(name: str) -> tuple[tuple[tuple[int, str], ...], str]:
    """Order digits as numbers, whatever their length, and the rest as text."""
    parts = re.split(r"([0-9]+)", name)
    digits = [part.lstrip("0") if i % 2 else part for i, part in enumerate(parts)]
    return tuple((len(d) if i % 2 else 0, d) for i, d in enumerate(digits)), name
