"""Scales that lie beside weights of 8 bits: which tensor holds them, and how they are applied."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from weibnb.io.files import CheckpointError
from weibnb.io.safetensors import BITS
from weibnb.io.small_floats import values_of_bytes

if TYPE_CHECKING:
    from collections.abc import Container

    from numpy.typing import NDArray

    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.safetensors import RawBits

# Formats in which scales are stored.
_READ = ("F64", "F32", "F16", "BF16", "F8_E8M0", "F8_E4M3")


def scale_name(name: str, tensors: Container[str]) -> str | None:
    """Name the tensor that holds the scales of another, None if there is none.

    Examples
    --------
    >>> scale_name("up_proj.weight", {"up_proj.weight_scale_inv"})
    'up_proj.weight_scale_inv'
    """
    stem = name.removesuffix(".weight")
    names = (f"{name}_scale_inv", f"{name}_scale", f"{stem}.scale")
    return next((one for one in names if one in tensors), None)


def read_scales(checkpoint: Checkpoint, name: str) -> NDArray[np.float32]:
    """Read a tensor of scales as float32, in its own shape.

    Raises
    ------
    CheckpointError
        If it cannot be read, or holds no floating-point numbers.
    """
    info = checkpoint.tensors[name]
    bits = checkpoint.raw(name)
    return as_float(checkpoint.source, name, bits, info.dtype).reshape(info.shape)


def as_float(source: str, name: str, bits: RawBits, dtype: str) -> NDArray[np.float32]:
    """Read the bits of scales as float32.

    Raises
    ------
    CheckpointError
        If they are no floating-point numbers.
    """
    if dtype not in _READ:
        cause = f"scales of the format {dtype} are not applied"
        raise CheckpointError(source, cause, tensor=name)
    if BITS[dtype] == 8:
        values: NDArray[np.float32] = values_of_bytes(dtype)[bits, 0]
        return values
    if dtype == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(f"<f{bits.itemsize}").astype(np.float32)


def scaled(values: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply a matrix by its scales: one, one of each row, or one of each block.

    Parameters
    ----------
    values : ndarray of float32, shape (rows, columns)
        As stored.
    scales : ndarray of float32
        One number, or of shape (rows,), (rows, 1) or (blocks down, blocks across). The sides of a
        block are powers of two, unless one block is the whole side.

    Returns
    -------
    ndarray of float32, shape (rows, columns)

    Raises
    ------
    ValueError
        If the scales do not tile the matrix.

    Examples
    --------
    >>> scaled(np.ones((2, 4), np.float32), np.array([[1, 2], [3, 4]], np.float32)).tolist()
    [[1.0, 1.0, 2.0, 2.0], [3.0, 3.0, 4.0, 4.0]]
    """
    table = scales.reshape(-1, 1) if scales.ndim < 2 else scales
    if table.ndim != 2:
        raise ValueError(f"scales of shape {scales.shape} are not applied to a matrix")
    for axis, (size, number) in enumerate(zip(values.shape, table.shape, strict=True)):
        table = np.repeat(table, side_of_block(size, number), axis=axis)[
            (slice(None),) * axis + (slice(size),)
        ]
    product: NDArray[np.float32] = values * table
    return product


def side_of_block(size: int, number: int) -> int:
    """Tell how long the blocks are of which so many make a side; ValueError if none are."""
    if number == 1:
        return size
    side = 1 << math.ceil(math.log2(max(size / number, 1))) if number else 0
    if number < 1 or -(-size // max(side, 1)) != number:
        raise ValueError(f"{number:,} scales do not tile a side of {size:,}")
    return side
