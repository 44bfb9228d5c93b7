"""Any checkpoint that is read here -> one safetensors file: `convert`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.checkpoint import Checkpoint, open_checkpoint
from weibnb.io.files import CheckpointError
from weibnb.io.guard import guarded, watch
from weibnb.io.limits import DEFAULTS
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.safetensors import BITS
from weibnb.io.torch_files import SUFFIXES, is_legacy, read_legacy
from weibnb.writing import check_target, write_whole

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from weibnb.io.limits import Limits
    from weibnb.io.safetensors import TensorInfo

# Elements that are written at once.
_PIECE = 1 << 22


def convert(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    dequantise: bool = False,
    force: bool = False,
    limits: Limits = DEFAULTS,
) -> tuple[str, ...]:
    """Write the tensors of a checkpoint as one safetensors file, whole or not at all.

    Parameters
    ----------
    source : path
        What `weibnb.open_checkpoint` takes, or a legacy PyTorch file.
    path : path
        The file to write, which ends in ``.safetensors``.
    dequantise : bool
        Write quantised weights as the numbers that they stand for.
    force : bool
        Replace a file that is there.
    limits : Limits
        What the headers of the source may hold.

    Returns
    -------
    tuple of str
        What was left out, and names of one tensor, in sentences.

    Raises
    ------
    CheckpointError
        If the source cannot be read; nothing is written then.
    FileExistsError, OSError, ValueError
        If the target is there, cannot be written, or is named otherwise.

    Notes
    -----
    Names, types and shapes stay, and so does what the header of a safetensors file says beside
    them. Of several names of one tensor (tied weights) the first is written and the others go to
    the header as ``{other: first}``, as `safetensors.torch.save_model` does. No pickle is executed:
    PyTorch files go through the door that scans use, legacy ones through
    ``torch.load(weights_only=True)`` into memory once their opcodes were checked. All else is
    written piece by piece.

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     target = Path(folder, "again.safetensors")
    ...     _ = convert(wb.demo_checkpoints() / "step0", target)
    ...     print(len(wb.open_checkpoint(target).tensors))
    29
    """
    target = check_target(path, (".safetensors",), "model")
    if target.exists() and not force:
        raise FileExistsError(f"{str(target)!r} is there already; pass force=True to replace it.")
    checkpoint, tied, notes = _open(Path(source), dequantise=dequantise, limits=limits)
    with checkpoint, guarded():
        for name, problem in checkpoint.problems:
            raise CheckpointError(checkpoint.source, problem, "Nothing was written.", name)
        written = [info for name, info in checkpoint.tensors.items() if name not in tied]
        for info in written:
            if info.dtype not in BITS:
                cause = f"safetensors has no type {info.dtype}"
                raise CheckpointError(checkpoint.source, cause, "Nothing was written.", info.name)
        metadata = {key: text for _, said in checkpoint.files for key, text in said.items()}
        metadata = {"format": "pt"} | metadata | tied
        written.sort(key=lambda info: (-BITS[info.dtype], info.name))
        write_whole(target, _parts(checkpoint, written, metadata))
    return (*notes, *(f"{other} is {first}: written once." for other, first in tied.items()))


def _open(
    path: Path, *, dequantise: bool, limits: Limits
) -> tuple[Checkpoint, dict[str, str], tuple[str, ...]]:
    """Open a source: its tensors, which names are of one tensor, and what was left out."""
    number, header = limits.max_tensors, limits.max_header
    if path.name.endswith(SUFFIXES) and path.is_file() and is_legacy(path):
        state, notes = read_legacy(path, limits)
        places: dict[tuple[Any, ...], str] = {}
        tied = {}
        for name, one in state.items():
            place = (one.data_ptr(), one.dtype, one.shape, one.stride())
            if one.numel() and places.setdefault(place, name) != name:
                tied[name] = places[place]
        live = open_checkpoint(state, max_tensors=number, max_header=header, dequantise=dequantise)
        return live, tied, (*notes, *live.notes)
    checkpoint = open_checkpoint(path, max_tensors=number, max_header=header, dequantise=dequantise)
    return checkpoint, checkpoint.tied, checkpoint.notes


def _parts(
    checkpoint: Checkpoint, written: list[TensorInfo], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    """Give the header of a file, then the bytes of its tensors, piece by piece."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for info in written:
        begin, end = end, end + info.nbytes
        entry = {"dtype": info.dtype, "shape": list(info.shape), "data_offsets": [begin, end]}
        header[info.name] = entry
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    yield len(text).to_bytes(8, "little") + text
    for info in written:
        bits = checkpoint.raw(info.name)
        watch(bits)
        for start in range(0, bits.size, _PIECE):
            piece = np.ascontiguousarray(bits[start : start + _PIECE])
            yield piece.view(np.uint8).data
        check_unchanged(origin_of(bits))
