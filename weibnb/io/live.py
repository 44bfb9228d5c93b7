"""Tensors in memory: what each is, and a way to its raw bits or the reason why there is none."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from weibnb.io.files import CheckpointError
from weibnb.io.safetensors import BITS, RawBits, TensorInfo, read_only, unknown_type, word_type

#: Reads the bits of a tensor, or says why that cannot be done.
Reader: TypeAlias = Callable[[], RawBits] | str

# What torch and numpy call the types of whole bytes.
_NAMES = (
    "bool uint8 int8 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu "
    "bfloat16 float16 uint16 int16 float32 uint32 int32 float64 uint64 int64 complex64"
)
#: Their spelling in safetensors.
SPELLING = dict(zip(_NAMES.split(), (t for t in BITS if BITS[t] >= 8), strict=True))


def describe(source: str, name: str, tensor: Any) -> tuple[TensorInfo, Reader]:
    """Say what a tensor or array is, and how its bits are read; errors name `source`."""
    is_numpy = isinstance(tensor, np.ndarray)
    type_name = tensor.dtype.name if is_numpy else str(tensor.dtype).removeprefix("torch.")
    dtype = SPELLING.get(type_name, type_name)
    if hasattr(tensor, "cls_to_become"):
        return TensorInfo(name, dtype, (0,), 0), "the lazy module has not set its shape yet"
    shape = tuple(int(length) for length in tensor.shape)
    info = TensorInfo(name, dtype, shape, math.prod(shape) * tensor.dtype.itemsize)
    if dtype not in BITS:
        return info, unknown_type(dtype)
    if np.ma.is_masked(tensor):
        return info, "some of its values are masked; fill them first, for example with .filled(0)"
    if is_numpy:
        return info, partial(_array_bits, info, tensor)
    if tensor.is_meta:
        return info, "it is on the meta device and has no values"
    if hasattr(tensor, "device_mesh"):
        if any(placement.is_partial() for placement in tensor.placements):
            return info, "it is a DTensor of partial sums; redistribute it first"
        return info, partial(_no_one_buffer, info, source)
    if hasattr(tensor, "__tensor_flatten__") or str(tensor.layout) != "torch.strided":
        return info, f"a {type(tensor).__name__} ({tensor.layout}) has no one buffer"
    return info, partial(_tensor_bits, info, source, tensor)


def _array_bits(info: TensorInfo, array: npt.NDArray[Any]) -> RawBits:
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return read_only(little.reshape(-1).view(word_type(info.dtype)))


def _tensor_bits(info: TensorInfo, source: str, tensor: Any) -> RawBits:
    try:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        octets: npt.NDArray[np.uint8] = flat.view(sys.modules["torch"].uint8).numpy()
    except RuntimeError as err:
        cause = f"torch cannot give its bytes: {err}"
        raise CheckpointError(source, cause, tensor=info.name) from err
    return read_only(octets.view(word_type(info.dtype)))


def _no_one_buffer(info: TensorInfo, source: str) -> RawBits:
    cause = "it is spread over several processes, and has no one buffer"
    raise CheckpointError(source, cause, "Scan it in all of them.", info.name)
