"""Weights that MLX quantised to integers in groups, as the numbers that they stand for.

A row is a stream of integers of a few bits, the lowest bits first, in words of 32 bits. Each group
of neighbours in a row has a scale and a bias: w = scale × integer + bias, here in float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.io.files import CheckpointError
from weibnb.io.lazily import Computed
from weibnb.io.safetensors import TensorInfo
from weibnb.io.scales import as_float

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from weibnb.io.live import Reader

    Tensors = Mapping[str, tuple[TensorInfo, Reader]]

_MOST_BITS = 8


@dataclass(frozen=True, slots=True)
class Grouped:
    """A matrix, or a stack of them, that MLX quantised.

    Attributes
    ----------
    name, scales, biases : str
        Names of its tensors; the restored one has the name of the integers.
    """

    name: str
    scales: str
    biases: str
    words = "MLX's integers"

    @property
    def codes(self) -> str:
        """Name of the tensor of integers."""
        return self.name

    @property
    def used(self) -> set[str]:
        """Names of the tensors that it takes."""
        return {self.name, self.scales, self.biases}


def find_grouped(tensors: Tensors) -> list[Grouped]:
    """Tell which tensors MLX quantised to integers.

    Examples
    --------
    >>> info = lambda dtype, *shape: (TensorInfo("", dtype, shape, 0), "")
    >>> [found] = find_grouped({"q.weight": info("U32", 64, 8), "q.scales": info("F16", 64, 1),
    ...                         "q.biases": info("F16", 64, 1)})
    >>> found.name, found.biases
    ('q.weight', 'q.biases')
    """
    found = []
    for name, (info, _) in tensors.items():
        stem = name.removesuffix(".weight")
        scales, biases = f"{stem}.scales", f"{stem}.biases"
        if info.dtype == "U32" and stem != name and scales in tensors and biases in tensors:
            found.append(Grouped(name, scales, biases))
    return found


def restore_grouped(
    source: str, one: Grouped, tensors: Tensors, config: Mapping[str, Any]
) -> tuple[TensorInfo, Reader]:
    """Give a restored tensor: what it is, and what reads it.

    Parameters
    ----------
    source : str
        Named in errors.
    one : Grouped
        What it is made from.
    tensors : mapping of str to (TensorInfo, reader)
        As they are stored.
    config : mapping
        ``config.json``; its ``quantization`` has ``bits`` and ``group_size``, for all matrices or
        by the name of each.

    Raises
    ------
    ValueError
        If config.json does not tell how many bits, or the shapes do not fit.
    """
    bits, size = _settings(config, one.name.removesuffix(".weight"))
    stored, scales = tensors[one.name][0].shape, tensors[one.scales][0].shape
    columns = stored[-1] * 32 // bits if stored else 0
    fits = stored and stored[-1] * 32 % bits == 0 and scales == (*stored[:-1], columns // size)
    if not fits or columns % size or tensors[one.biases][0].shape != scales:
        raise ValueError(
            f"words of shape {stored} and scales of shape {scales} are not {bits} bits in groups "
            f"of {size}"
        )
    shape = (*stored[:-1], columns)
    info = TensorInfo(one.name, "F32", shape, math.prod(shape) * 4)
    readers = [tensors[name][1] for name in sorted(one.used)]
    problem = next((reader for reader in readers if isinstance(reader, str)), None)
    return info, problem or partial(_computed, source, one, info, tensors, (bits, size))


def _settings(config: Mapping[str, Any], stem: str) -> tuple[int, int]:
    """Read how many bits an integer has, and how many weights a group."""
    told = config.get("quantization", config.get("quantization_config"))
    told = told if isinstance(told, dict) else {}
    if not told:
        raise ValueError("config.json has no `quantization`")
    own = told.get(stem)
    own = own if isinstance(own, dict) else told
    bits, size = own.get("bits"), own.get("group_size")
    if type(bits) is not int or type(size) is not int or not 0 < bits <= _MOST_BITS or size < 1:
        raise ValueError(
            f"`quantization` of config.json has bits {bits!r} in groups of {size!r}, where "
            f"1 to {_MOST_BITS} bits are expected"
        )
    return bits, size


def _computed(
    source: str, one: Grouped, info: TensorInfo, tensors: Tensors, form: tuple[int, int]
) -> Any:
    """Read scales and biases; the integers are restored as they are asked for."""
    lines = math.prod(info.shape[:-1])
    words = _stored(tensors, one.name).view(np.uint32).reshape(lines, -1)
    scales, biases = (
        as_float(source, name, _stored(tensors, name), tensors[name][0].dtype).reshape(lines, -1)
        for name in (one.scales, one.biases)
    )
    compute = partial(_rows, words, scales, biases, *form)
    return Computed(lines, info.shape[-1], np.dtype(np.uint32), compute, words)


def _stored(tensors: Tensors, name: str) -> NDArray[Any]:
    """Read a tensor as it is stored."""
    reader = tensors[name][1]
    if isinstance(reader, str):
        raise CheckpointError(name, reader)
    return reader()


def _rows(
    words: NDArray[np.uint32],
    scales: NDArray[np.float32],
    biases: NDArray[np.float32],
    bits: int,
    size: int,
    first: int,
    stop: int,
) -> NDArray[np.uint32]:
    """Restore some rows."""
    values = np.empty((stop - first, scales.shape[1] * size), np.float32)
    some = np.require(words[first:stop], requirements=["C", "A"])
    _fill(some, scales[first:stop], biases[first:stop], bits, size, values)
    return values.view(np.uint32)


@compiled
def _fill(words: Any, scales: Any, biases: Any, bits: Any, size: Any, values: Any) -> None:
    """Take integers out of words, and scale and shift each group."""
    mask = np.uint64((1 << bits) - 1)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            place, shift = (j * bits) >> 5, np.uint64((j * bits) & 31)
            pair = np.uint64(words[i, place])
            if shift + np.uint64(bits) > np.uint64(32):
                pair |= np.uint64(words[i, place + 1]) << np.uint64(32)
            group = j // size
            code = np.float32((pair >> shift) & mask)
            values[i, j] = scales[i, group] * code + biases[i, group]
