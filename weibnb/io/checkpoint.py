"""The tensors of a checkpoint, by name: what each is, and its raw bits one at a time.

Files are memory-mapped one tensor at a time, never loaded whole and never converted; of those on
other machines only what is asked for is fetched.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from weibnb.io.adapters import CONFIG, Adapter, is_adapter, merged, unmerged
from weibnb.io.directory import read_files
from weibnb.io.files import CheckpointError, natural_order, why
from weibnb.io.limits import MAX_HEADER, MAX_TENSORS, Limits
from weibnb.io.live import Reader, describe
from weibnb.io.remote import Remote, as_remote, read_remote
from weibnb.io.safetensors import BITS, RawBits, Shard, TensorInfo, map_bits, sample, unknown_type
from weibnb.messages import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


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
    unmerged : str
        What is shown, where an adapter lies beside the weights; empty without one.

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
        tensors: Iterable[tuple[TensorInfo, Reader]],
        *,
        config: dict[str, Any],
        notes: Iterable[str] = (),
        shards: tuple[Shard, ...] = (),
        adapter: tuple[Shard, ...] = (),
        live: Mapping[str, torch.Tensor] | None = None,
        unmerged: str = "",
        dequantised: bool = False,
    ) -> None:
        listed = sorted(tensors, key=lambda item: natural_order(item[0].name))
        self.source = source
        self.config = config
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType({t.name: t for t, _ in listed})
        self.problems = tuple((info.name, how) for info, how in listed if isinstance(how, str))
        self.notes = tuple(notes)
        self._readers = {info.name: how for info, how in listed}
        self._shards = shards
        self._adapter = adapter if shards else ()
        self.unmerged = unmerged
        self._dequantised = dequantised
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
            memory, else a copy. What is restored is a `weibnb.io.lazily.Computed`, an array that
            is computed as it is read.

        Raises
        ------
        CheckpointError
            The name is unknown or in `problems`, the checkpoint is closed, or its file went away
            or changed since it was opened.

        Notes
        -----
        Takes well under a millisecond and reads nothing: pages come from the disk as they are
        touched. A file that is truncated while a view of it is in use ends the process (SIGBUS),
        as with every memory map; scans catch that on Linux, for the views of their own. Views
        are unaligned (``flags.aligned``) where the file's offsets are odd.
        """
        if self._closed:
            raise CheckpointError(self.source, "the checkpoint is closed", "Open it again.")
        reader = self._readers.get(name)
        if reader is None:
            hint = did_you_mean(name, self.tensors).lstrip()
            raise CheckpointError(self.source, "no tensor has this name", hint, tensor=name)
        if isinstance(reader, str):
            raise CheckpointError(self.source, reader, tensor=name)
        return reader()

    def tensor(self, name: str) -> torch.Tensor | None:
        """Give the tensor itself, on whatever device, if the checkpoint is a live one.

        None for what comes from a file or an array, and for what is in `problems`.
        """
        return self._live.get(name)

    @property
    def is_live(self) -> bool:
        """Whether it is a module or a state dict, not files."""
        return not self._shards

    def place(self, name: str) -> tuple[Shard, int] | None:
        """Tell which file holds a tensor as it is, and where in it; None where none does."""
        return self._places.get(name)

    @cached_property
    def _places(self) -> dict[str, tuple[Shard, int]]:
        if self._adapter:
            return {}
        return {
            info.name: (shard, at)
            for shard in self._shards
            for info, at in shard.tensors
            if self.tensors.get(info.name) == info  # not of what is restored
        }

    @property
    def files(self) -> list[tuple[str, Mapping[str, str]]]:
        """Name and metadata of each of its files; none if it is live."""
        return [(shard.path.name, shard.metadata) for shard in self._shards]

    @property
    def tied(self) -> dict[str, str]:
        """Other names of tensors of its files, each with the first name of the same tensor."""
        return {name: first for shard in self._shards for name, first in shard.tied.items()}

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the checkpoint, the same on every machine: a SHA-256 in hexadecimal.

        Of files it covers the headers (names, types, shapes, offsets), the sizes and a sample of
        four blocks of 4 KiB per file, which tells the steps of a training run apart but proves
        nothing about the bytes between. Paths and times do not count. Of a module or state dict
        it covers names, types and shapes only.
        """
        if self._shards:
            parts = sorted(map(sample, self._shards)) + sorted(map(sample, self._adapter))
        else:
            rows = [[t.name, t.dtype, t.shape] for t in self.tensors.values()]
            parts = [json.dumps(rows).encode()]
        parts += [b"dequantised"] * self._dequantised
        return hashlib.sha256(b"".join(parts)).hexdigest()

    @property
    def identity(self) -> str:
        """Names, sizes and times of its files with the fingerprint, as JSON; empty if live.

        Files with the same identity were not written to between.
        """
        if not self._shards:
            return ""
        shards = self._shards + self._adapter
        files = sorted([shard.path.name, *shard.identity[2:]] for shard in shards)
        return json.dumps({"fingerprint": self.fingerprint, "files": files})

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
    source: str | os.PathLike[str] | torch.nn.Module | Mapping[str, Any] | Adapter,
    *,
    max_tensors: int = MAX_TENSORS,
    max_header: int = MAX_HEADER,
    dequantise: bool = False,
) -> Checkpoint:
    """List the tensors of a checkpoint without reading their values.

    Parameters
    ----------
    source : path-like, torch.nn.Module, mapping of str to tensor or array, or Adapter
        A ``.safetensors`` file, a PyTorch file (``.bin``, ``.pt``, ``.pth``, ``.ckpt``), an index
        of either (``.index.json``), a directory that holds any of these, a URL
        (``hf://org/name@revision``, ``https://``, ``s3://``, ``gs://``, ``az://``) or a model id
        of the Hugging Face Hub, a live module (its named parameters; shared ones once), a state
        dict, or an adapter with its base.
    max_tensors : int
        Most tensors that the files may list.
    max_header : int
        Most bytes of a file's header, and a quarter of those of an index: some 110 a tensor.
    dequantise : bool
        Give quantised weights as the numbers that they stand for, computed as they are read.

    Returns
    -------
    Checkpoint
        With `Checkpoint.notes` on files that were left out.

    Raises
    ------
    CheckpointError
        A file is missing, malformed, outside the directory, in another format, or lists more
        than the limits.
    TypeError, ValueError
        `source` is nothing of the above, or a limit is not an integer of at least 1.

    Notes
    -----
    A directory's index decides which files are read. Without one, all are, except
    ``consolidated*`` next to others. Files must lie in the directory; a link may lead within it
    or to the ``models--*/blobs`` of a Hugging Face cache. Only headers are read; memory is at
    most some 40 times theirs.

    Examples
    --------
    >>> import numpy as np
    >>> open_checkpoint({"layers.10.w": np.zeros(5), "layers.9.w": np.zeros(5)})
    <Checkpoint dict: 2 tensors, 8e-08 GB>
    """
    limits = Limits(max_tensors=max_tensors, max_header=max_header)
    contents = _read(source, limits)
    contents = _restored(source, contents) if dequantise else _with_advice(contents)
    name = source.path if isinstance(source, Adapter) else source
    name = os.fspath(name) if isinstance(name, (str, os.PathLike)) else type(source).__name__
    name = contents.place or name
    names = (info.name for info, _ in contents.tensors)
    merged_already = isinstance(source, Adapter)
    return Checkpoint(
        name,
        contents.tensors,
        config=contents.config,
        notes=contents.notes,
        shards=contents.shards,
        adapter=contents.adapter,
        live=contents.live,
        unmerged="" if merged_already else unmerged(source, names),
        dequantised=dequantise,
    )


def _with_advice(contents: _Contents) -> _Contents:
    """Say what to do with tensors that are quantised, if there are any."""
    from weibnb.io.packed import advice

    notes = advice({info.name: (info, reader) for info, reader in contents.tensors})
    return replace(contents, notes=[*contents.notes, *notes]) if notes else contents


def _restored(source: Any, contents: _Contents) -> _Contents:
    """Give the same with quantised weights restored."""
    from weibnb.io.restored import restored

    if isinstance(source, Adapter):
        cause = "quantised weights under an adapter are not restored"
        raise CheckpointError(source.path, cause, "Merge it first: model.merge_and_unload().")
    stored = {info.name: (info, reader) for info, reader in contents.tensors}
    name = os.fspath(source) if isinstance(source, (str, os.PathLike)) else type(source).__name__
    tensors, notes = restored(name, stored, contents.config)
    same = {t[0].name for t in tensors if stored.get(t[0].name) is t}
    live = {name: one for name, one in contents.live.items() if name in same}
    return replace(contents, tensors=tensors, notes=[*contents.notes, *notes], live=live)


@dataclass(frozen=True, slots=True)
class _Contents:
    """What was found in a source."""

    tensors: Sequence[tuple[TensorInfo, Reader]]
    config: dict[str, Any]
    notes: list[str]
    shards: tuple[Shard, ...] = ()
    adapter: tuple[Shard, ...] = ()
    live: Mapping[str, torch.Tensor] = field(default_factory=dict)
    place: str = ""  # on another machine


def _read(source: Any, limits: Limits) -> _Contents:
    """List what a source holds."""
    if isinstance(source, Adapter):
        return _read_adapter(source, limits)
    if isinstance(source, (str, os.PathLike, Remote)):
        return _read_files(source, limits)
    torch_module = sys.modules.get("torch")
    if torch_module is not None and isinstance(source, torch_module.nn.Module):
        return _read_live(source, source.named_parameters())
    if isinstance(source, Mapping):
        return _read_live(source, source.items())
    message = "`source` must be a path, a torch.nn.Module or a mapping of str to tensor, got "
    raise TypeError(f"{message}{type(source).__name__}.")


def _read_files(source: str | os.PathLike[str] | Remote, limits: Limits) -> _Contents:
    """List what lies in files; whatever goes wrong with a path or its content is told as such."""
    remote, place = as_remote(source), ""
    try:
        if remote is not None:
            shards, config, notes, place = read_remote(remote, limits)
        elif not isinstance(source, Remote):
            shards, config, notes = read_files(source, limits)
    except CheckpointError:
        raise
    except (OSError, ValueError, OverflowError, RecursionError) as err:
        cause = f"it cannot be read: {why(err) or type(err).__name__}"
        at = source if isinstance(source, (str, os.PathLike)) else source.name
        raise CheckpointError(at, cause) from err
    tensors = [
        (info, shard.readers.get(info.name) or _mapped(shard, info, at))
        for shard in shards
        for info, at in shard.tensors
    ]
    return _Contents(tensors, config, notes, shards, place=place)


def _mapped(shard: Shard, info: TensorInfo, offset: int) -> Reader:
    """Give what maps a tensor of a safetensors file."""
    known = info.dtype in BITS
    return partial(map_bits, shard, info, offset) if known else unknown_type(info.dtype)


def _read_adapter(source: Adapter, limits: Limits) -> _Contents:
    """List the tensors of a base with an adapter on it."""
    path = Path(source.path).expanduser()
    if not is_adapter(path):
        cause = f"this is no adapter: it has no {CONFIG}, or a model beside it"
        raise CheckpointError(path, cause, "Pass the folder that PEFT wrote.")
    base = _read(source.base, limits)
    factors = _read_files(path, limits)
    tensors = merged(
        path,
        {info.name: (info, reader) for info, reader in base.tensors},
        {info.name: (info, reader) for info, reader in factors.tensors},
    )
    if unmerged(source.base, (info.name for info, _ in base.tensors)):
        cause = "its base has an adapter of its own"
        raise CheckpointError(path, cause, "Merge that first: model.merge_and_unload().")
    readers = {info.name: reader for info, reader in base.tensors}
    same = {name: t for name, t in base.live.items() if tensors[name][1] is readers[name]}
    return replace(base, tensors=list(tensors.values()), adapter=factors.shards, live=same)


def _read_live(source: Any, items: Iterable[tuple[str, Any]]) -> _Contents:
    kind = type(source).__name__
    torch_module = sys.modules.get("torch")
    known = (np.ndarray, torch_module.Tensor) if torch_module else (np.ndarray,)
    tensors: list[tuple[TensorInfo, Reader]] = []
    notes: list[str] = []
    live: dict[str, torch.Tensor] = {}
    for name, value in items:
        if not isinstance(name, str):
            raise TypeError(f"`source` must have str keys, got {name!r}.")
        if isinstance(value, known):
            tensors.append(describe(kind, name, value))
            if not isinstance(value, np.ndarray) and not isinstance(tensors[-1][1], str):
                live[name] = value
        else:
            notes.append(f"Left out `{name}`: a {type(value).__name__} is not a tensor.")
    to_dict = getattr(getattr(source, "config", None), "to_dict", None)
    return _Contents(tensors, to_dict() if to_dict else {}, notes, live=live)
