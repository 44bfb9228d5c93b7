"""Other formats than safetensors: good files, how they are changed, and who reads them again.

What both read must be the same; what only one reads is no finding, for checksums of values are not
looked at here, and what is refused here without a reason is a bug like others.
"""

from __future__ import annotations

import io
import json
import tempfile
import warnings
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.fuzz.corpus import Q
from tests.fuzz.mutations import change_bytes, change_json
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.files import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from tests.fuzz.corpus import Files

    Found = dict[str, tuple[tuple[int, ...], bytes]]

TORCH, TORCH_INDEX = "model.pt", "pytorch_model.bin.index.json"
GGUF, NUMPY = "model.gguf", "model.npz"


class Otherwise(Exception):  # noqa: N818 - a finding, not an error
    """A case that was read otherwise than it is."""


def _numbers(*shape: int) -> Any:
    return np.random.default_rng(0).normal(0, 0.02, shape).astype("f4")


@cache
def _torch() -> tuple[bytes, bytes]:
    import torch

    made = []
    for i in range(2):
        one = torch.from_numpy(_numbers(16, 24))
        state = {Q.format(i): one.to(torch.bfloat16), f"{i}.turned": one.t(), f"{i}.tied": one}
        written = io.BytesIO()
        torch.save({"state_dict": state, "step": 3} if i else state, written)
        made.append(written.getvalue())
    return made[0], made[1]


def torch_file() -> Files:
    """Make a PyTorch file."""
    return {TORCH: _torch()[1]}


def torch_shards() -> Files:
    """Make two PyTorch files and their index."""
    files = {f"pytorch_model-{i}.bin": content for i, content in enumerate(_torch())}
    weights = {
        f"{prefix}": f"pytorch_model-{i}.bin"
        for i in range(2)
        for prefix in (Q.format(i), f"{i}.turned", f"{i}.tied")
    }
    return files | {TORCH_INDEX: json.dumps({"weight_map": weights}).encode()}


@cache
def _distributed() -> tuple[tuple[str, bytes], ...]:
    import torch
    from torch.distributed.checkpoint.state_dict_saver import save

    one = torch.from_numpy(_numbers(16, 24))
    state = {"model": {Q.format(0): one, "half": one.half()}, "step": 3}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is told that one process saves alone
        save(state, checkpoint_id=folder, no_dist=True)
        return tuple((path.name, path.read_bytes()) for path in Path(folder).iterdir())


def distributed() -> Files:
    """Make a distributed checkpoint."""
    return dict(_distributed())


@cache
def _gguf() -> bytes:
    import gguf

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, GGUF)
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_embedding_length(32)
        writer.add_token_list(["a", "bc"])
        writer.add_tensor("blk.0.attn_q.weight", _numbers(16, 32))
        writer.add_tensor("blk.0.attn_k.weight", _numbers(16, 32).astype("f2"))
        blocks = gguf.quants.quantize(_numbers(16, 32), gguf.GGMLQuantizationType.Q8_0)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor("blk.0.attn_v.weight", blocks, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()


def gguf_file() -> Files:
    """Make a GGUF file."""
    return {GGUF: _gguf()}


def numpy_file() -> Files:
    """Make an archive of arrays."""
    written = io.BytesIO()
    arrays = {Q.format(0): _numbers(16, 24), "turned": np.asfortranarray(_numbers(5, 7))}
    np.savez(written, **arrays, half=_numbers(9).astype("f2"), one=np.int64(3))
    return {NUMPY: written.getvalue()}


def draw_torch(chance: Random) -> Files:
    """Change a PyTorch file, or the index of two."""
    if chance.random() < 0.3:
        files = torch_shards()
        return files | {TORCH_INDEX: change_json(chance, files[TORCH_INDEX])}
    return {TORCH: _change_archive(chance, _torch()[chance.randrange(2)], "data.pkl")}


def draw_distributed(chance: Random) -> Files:
    """Change what a distributed checkpoint says of its files, or one of them."""
    files = distributed()
    name = chance.choice(sorted(files))
    return files | {name: change_bytes(chance, files[name])}


def draw_gguf(chance: Random) -> Files:
    """Change a GGUF file, mostly its header."""
    content = _gguf()
    header = 600 if chance.random() < 0.8 else len(content)
    return {GGUF: change_bytes(chance, content[:header]) + content[header:]}


def draw_numpy(chance: Random) -> Files:
    """Change an archive of arrays."""
    return {NUMPY: _change_archive(chance, numpy_file()[NUMPY], ".npy")}


def _change_archive(chance: Random, content: bytes, ending: str) -> bytes:
    """Change bytes of an archive, or of one record so that its checksum is right."""
    if chance.random() < 0.4:
        return change_bytes(chance, content)
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        names = old.namelist()
        wanted = [name for name in names if name.endswith(ending)]
        changed = chance.choice(wanted if chance.random() < 0.8 else names)
        for name in names:
            record = old.read(name)
            if name == changed:
                head = 128 if ending == ".npy" else len(record)
                record = change_bytes(chance, record[:head]) + record[head:]
            new.writestr(name, record)
    return written.getvalue()


def read_and_compare(source: Path, again: Callable[[Path], Found]) -> bool:
    """Read a checkpoint; what another reader reads of it must be the same."""
    try:
        with open_checkpoint(source) as checkpoint:
            broken = dict(checkpoint.problems)
            ours = {
                name: (info.shape, checkpoint.raw(name).tobytes())
                for name, info in checkpoint.tensors.items()
                if name not in broken
            }
    except CheckpointError:
        return False
    try:
        theirs = again(source)
    except Exception:  # noqa: BLE001 - then only we read it
        return True
    for name in ours.keys() & theirs.keys():
        if ours[name] != theirs[name]:
            raise Otherwise(f"{name!r} has other values")
    return True


def torch_again(source: Path) -> Found:
    """Load the PyTorch file of a directory with torch."""
    import torch

    loaded = torch.load(source / TORCH, weights_only=True)
    tensors = loaded.get("state_dict", loaded)
    return {
        name: (tuple(one.shape), one.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        for name, one in tensors.items()
    }


def gguf_again(source: Path) -> Found:
    """Read the GGUF file of a directory with the gguf package."""
    import gguf

    tensors = gguf.GGUFReader(source / GGUF).tensors
    return {one.name: (tuple(map(int, one.shape[::-1])), one.data.tobytes()) for one in tensors}


def numpy_again(source: Path) -> Found:
    """Read the archive of a directory with NumPy."""
    with np.load(source / NUMPY, allow_pickle=False) as file:
        found: Found = {}
        for name in file.files:
            try:
                one = file[name]
            except Exception:  # noqa: BLE001, S112 - this one alone
                continue
            if isinstance(one, np.ndarray):
                found[name] = one.shape, one.tobytes()
        return found


def nothing_again(_: Path) -> Found:
    """Read nothing: there is no other reader."""
    return {}
