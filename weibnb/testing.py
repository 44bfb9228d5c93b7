"""Seeded synthetic checkpoints with real names and shapes, for tests, benchmarks and examples."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.io.live import SPELLING
from weibnb.io.safetensors import BITS

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

# The formats by the names that numpy and torch give them.
_NAMES = {dtype: name for name, dtype in SPELLING.items()}
# Normal deviates that are drawn once and cut at another place for each matrix.
_POOL = 1 << 22


def encode(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Round values to a storage format, to nearest even.

    Parameters
    ----------
    values : ndarray of float
        Finite weights.
    dtype : {"F64", "F32", "F16", "BF16"}
        The format, as safetensors spells it.

    Returns
    -------
    ndarray
        float64, float32 or float16, or for BF16 the bit patterns as uint16.

    Examples
    --------
    >>> encode(np.array([1.0, -2.0]), "BF16").tolist()
    [16256, 49152]
    """
    if dtype != "BF16":
        return np.asarray(values).astype({"F64": "f8", "F32": "f4", "F16": "f2"}[dtype])
    bits = np.asarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def llama_shapes(
    *, layers: int, hidden: int, intermediate: int, kv_share: int = 1, vocabulary: int = 0
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Llama-style decoder.

    Parameters
    ----------
    layers, hidden, intermediate : int
        Depth, width and feed-forward width.
    kv_share : int
        Query heads that share a key-value head.
    vocabulary : int
        Rows of the embedding; without one if 0.

    Returns
    -------
    dict
        Shape of every tensor, by name.

    Examples
    --------
    >>> llama_shapes(layers=1, hidden=8, intermediate=16, kv_share=4)[
    ...     "model.layers.0.self_attn.k_proj.weight"]
    (2, 8)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    if vocabulary:
        shapes["model.embed_tokens.weight"] = (vocabulary, hidden)
    narrow = hidden // kv_share
    for layer in range(layers):
        stem = f"model.layers.{layer}"
        shapes |= {
            f"{stem}.self_attn.q_proj.weight": (hidden, hidden),
            f"{stem}.self_attn.k_proj.weight": (narrow, hidden),
            f"{stem}.self_attn.v_proj.weight": (narrow, hidden),
            f"{stem}.self_attn.o_proj.weight": (hidden, hidden),
            f"{stem}.mlp.gate_proj.weight": (intermediate, hidden),
            f"{stem}.mlp.up_proj.weight": (intermediate, hidden),
            f"{stem}.mlp.down_proj.weight": (hidden, intermediate),
            f"{stem}.input_layernorm.weight": (hidden,),
        }
    return shapes


def write_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    data: Iterable[NDArray[Any]],
) -> Path:
    """Write a safetensors file of tensors in any format, also one that numpy does not know.

    Parameters
    ----------
    path : path
        The file.
    tensors : Mapping
        (format, shape) of each tensor, by name; formats as safetensors spells them.
    data : iterable of ndarray
        The tensors' memory, in the same order; all of it is held until the file is written.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If an array has not the size that was announced.

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> with tempfile.TemporaryDirectory() as place:
    ...     about = {"w": ("F8_E4M3", (2, 3))}
    ...     file = write_safetensors(f"{place}/a.safetensors", about, [np.arange(6, dtype="u1")])
    ...     wb.open_checkpoint(file).raw("w").tolist()
    [0, 1, 2, 3, 4, 5]
    """
    from safetensors import TensorSpec, serialize_file

    arrays = [np.ascontiguousarray(array) for array in data]
    described = {}
    for (name, (dtype, shape)), array in zip(tensors.items(), arrays, strict=True):
        size = math.prod(shape) * BITS[dtype] // 8
        if array.nbytes != size:
            raise ValueError(f"{name!r} must have {size} bytes, got {array.nbytes}.")
        described[name] = TensorSpec(
            dtype=_NAMES[dtype], shape=shape, data_ptr=array.ctypes.data, data_len=size
        )
    target = Path(path)
    serialize_file(described, target)
    return target


def _start(name: str) -> int:
    """Choose where a matrix begins in the deviates, by a hash that is the same everywhere."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _POOL


def write_checkpoint(
    directory: str | os.PathLike[str],
    *,
    layers: int = 2,
    hidden: int = 256,
    intermediate: int | None = None,
    kv_share: int = 1,
    dtype: str = "BF16",
    shards: int = 1,
    scale: float = 0.02,
    seed: int = 0,
) -> Path:
    """Write a Llama-style checkpoint of Gaussian weights, with config.json and index.

    Parameters
    ----------
    directory : path
        Made if it is not there.
    layers, hidden, intermediate, kv_share
        As in `llama_shapes`; the feed-forward is 4 times as wide by default.
    dtype : {"F64", "F32", "F16", "BF16"}
        Storage format.
    shards : int
        Number of files.
    scale : float
        Standard deviation of the weights.
    seed : int
        Of the random generator. Large checkpoints repeat its deviates.

    Returns
    -------
    pathlib.Path
        The directory.

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> with tempfile.TemporaryDirectory() as place:
    ...     wb.scan(write_checkpoint(f"{place}/tiny", layers=3)).sizes["layer"]
    3
    """
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    wide = intermediate or 4 * hidden
    shapes = llama_shapes(
        layers=layers, hidden=hidden, intermediate=wide, kv_share=kv_share, vocabulary=64
    )
    deviates = encode(np.random.default_rng(seed).normal(0, scale, _POOL), dtype)
    endless = np.resize(deviates, _POOL + max(map(math.prod, shapes.values())))
    index: dict[str, str] = {}
    for i in range(shards):
        number = f"-{i + 1:05d}-of-{shards:05d}" if shards > 1 else ""
        part = {name: (dtype, shapes[name]) for name in list(shapes)[i::shards]}
        starts = {name: _start(name) for name in part}
        weights = (endless[at : at + math.prod(shapes[name])] for name, at in starts.items())
        file = write_safetensors(target / f"model{number}.safetensors", part, weights)
        index |= dict.fromkeys(part, file.name)
    if shards > 1:
        (target / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": index})
        )
    heads = max(hidden // 64, 1)
    config = {
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": wide,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(heads // kv_share, 1),
        "tie_word_embeddings": True,
    }
    (target / "config.json").write_text(json.dumps(config))
    return target
