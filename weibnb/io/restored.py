"""Quantised weights as the numbers that they stand for, computed row by row as they are read.

Each scheme is restored by its own definition: a table of the values of each byte, times a scale for
each block. Products are float32; where scales are powers of two they are exact in bfloat16, and
that is what they are given in.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.compiled import compiled
from weibnb.io.files import CheckpointError
from weibnb.io.gguf_files import dequantised, is_quantised
from weibnb.io.lazily import Computed
from weibnb.io.mlx_weights import Grouped, find_grouped, restore_grouped
from weibnb.io.safetensors import BITS, TensorInfo, word_type
from weibnb.io.scales import as_float, scale_name, side_of_block
from weibnb.io.small_floats import bfloat16_bits, values_of_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from weibnb.io.live import Reader

    Tensors = Mapping[str, tuple[TensorInfo, Reader]]
    Floats = NDArray[np.float32]

# Stored formats of eight bits, or four, that a table gives the values of.
_CODES = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4")
# Formats of scales that are powers of two; bytes are exponents, as OCP's E8M0.
_POWERS = ("U8", "F8_E8M0")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one tensor is restored.

    Attributes
    ----------
    words : str
        What people call it.
    name : str
        Of the restored tensor.
    codes : str
        Name of the tensor of bytes.
    table : str
        Format whose values its bytes are, a key of `small_floats`.
    scales : str
        Name of the tensor of scales; empty if there is none.
    times, over : str
        Name of one number that multiplies, or divides, all scales; empty if there is none.
    turned : bool
        Whether a stack is given as (experts, in, out), though stored (experts, out, in).
    """

    words: str
    name: str
    codes: str
    table: str
    scales: str = ""
    times: str = ""
    over: str = ""
    turned: bool = False

    @property
    def used(self) -> set[str]:
        """Names of the tensors that it takes."""
        return {self.codes, self.scales, self.times, self.over} - {""}


def find_schemes(tensors: Tensors) -> list[Scheme]:
    """Tell which tensors are quantised in a way that is restored here.

    Examples
    --------
    >>> info = lambda name, dtype, *shape: (TensorInfo(name, dtype, shape, 0), "")
    >>> [found] = find_schemes({"w.weight": info("w.weight", "F8_E4M3", 256, 128),
    ...                         "w.weight_scale_inv": info("", "F32", 2, 1)})
    >>> found.words, found.name
    ('FP8', 'w.weight')
    """
    found = []
    for name, (info, _) in tensors.items():
        scheme = _scheme(name, info, tensors)
        if scheme is not None and (scheme.name == name or scheme.name not in tensors):
            found.append(scheme)
    return found


def _scheme(name: str, info: TensorInfo, tensors: Tensors) -> Scheme | None:
    """Tell how one tensor is quantised, None if it is not, or in another way."""
    stem = name.removesuffix("_blocks")
    scales = _info(f"{stem}_scales", tensors)
    if stem != name and scales is not None and info.shape[:-1] == scales.shape:
        whole = info.dtype == scales.dtype == "U8" and len(info.shape) == 4
        turned = Scheme("MXFP4", stem, name, "F4", scales.name, turned=True)
        return turned if whole and info.shape[-1] == 16 else None
    if name.endswith(".weight_packed"):
        return _packed(name, info, tensors)
    if info.dtype == "U32":
        return _in_words(name, info, tensors)
    scale = scale_name(name, tensors)
    kind = "" if scale is None else tensors[scale][0].dtype
    if info.dtype in _CODES and scale is not None:
        words = f"{'MX' if kind in _POWERS else ''}FP{BITS[info.dtype]}"
        times = f"{name}_scale_2"
        if times in tensors:
            return Scheme("NVFP4", name, name, info.dtype, scale, times=times)
        return Scheme(words, name, name, info.dtype, scale)
    if info.dtype == "U8" and kind == "F8_E4M3" and f"{name}_scale_2" in tensors:
        return Scheme("NVFP4", name, name, "F4", scale or "", times=f"{name}_scale_2")
    if info.dtype in _CODES and info.dtype not in ("F8_E4M3", "F8_E5M2"):
        return Scheme(info.dtype, name, name, info.dtype)  # the two are counted as they are
    return None


def _packed(name: str, info: TensorInfo, tensors: Tensors) -> Scheme | None:
    """Tell how compressed-tensors packed a tensor of four bits."""
    stem = name.removesuffix("_packed")
    scale, over = f"{stem}_scale", f"{stem}_global_scale"
    if info.dtype != "U8" or scale not in tensors:
        return None
    if tensors[scale][0].dtype == "F8_E4M3" and over in tensors:
        return Scheme("NVFP4", stem, name, "F4", scale, over=over)
    return Scheme("MXFP4", stem, name, "F4", scale) if tensors[scale][0].dtype in _POWERS else None


def _in_words(name: str, info: TensorInfo, tensors: Tensors) -> Scheme | None:
    """Tell MLX's microscaling formats, 32 elements to a scale, by the words to a scale."""
    scales = _info(f"{name.removesuffix('.weight')}.scales", tensors)
    if scales is None or scales.dtype != "U8" or scales.shape[:-1] != info.shape[:-1]:
        return None
    for words, kind, table in ((4, "MXFP4", "F4"), (8, "MXFP8", "F8_E4M3")):
        if scales.shape and info.shape[-1] == words * scales.shape[-1]:
            return Scheme(kind, name, name, table, scales.name)
    return None


def _info(name: str, tensors: Tensors) -> TensorInfo | None:
    return tensors[name][0] if name in tensors else None


def restored(
    source: str, tensors: Tensors, config: Mapping[str, Any]
) -> tuple[list[tuple[TensorInfo, Reader]], list[str]]:
    """Put restored tensors in the place of quantised ones; notes on what was done.

    Parameters
    ----------
    source : str
        Named in errors.
    tensors : mapping of str to (TensorInfo, reader)
        As they are stored.
    config : mapping
        ``config.json``; of it ``quantization_config.weight_block_size`` counts, and of what MLX
        wrote ``quantization``.
    """
    found = dict(tensors)
    number: Counter[tuple[str, str]] = Counter()
    notes = []
    schemes: list[Scheme | Grouped] = [*find_schemes(tensors), *find_grouped(tensors)]
    for scheme in schemes:
        try:
            if isinstance(scheme, Grouped):
                made = restore_grouped(source, scheme, tensors, config)
            else:
                made = _restore(source, scheme, tensors, config)
        except ValueError as err:
            notes.append(f"`{scheme.codes}` is not restored: {err}.")
            continue
        for used in scheme.used:
            found.pop(used, None)
        found[scheme.name] = made
        number[scheme.words, made[0].dtype] += 1
    for name, (info, reader) in tensors.items():
        if is_quantised(info.dtype) and not isinstance(reader, str):
            found[name] = dequantised(info, reader)
            number[info.dtype, "F32"] += 1
    for (words, dtype), many in number.items():
        tensor = f"{many:,} tensor{'s' * (many > 1)}"
        notes.append(f"Restored {tensor} from {words}, counted as {dtype}.")
    return list(found.values()), notes


def _restore(
    source: str, scheme: Scheme, tensors: Tensors, config: Mapping[str, Any]
) -> tuple[TensorInfo, Reader]:
    """Give a restored tensor: what it is, and what reads it. ValueError if shapes do not fit."""
    stored = tensors[scheme.codes][0]
    per_byte = values_of_bytes(scheme.table).shape[1]
    whole = stored.dtype == "F4"  # the shape counts elements already, else bytes
    if scheme.turned:
        experts, out, groups, packed = stored.shape
        shape: tuple[int, ...] = (experts, groups * packed * per_byte, out)
    else:
        last = stored.shape[-1] * (1 if whole else per_byte * BITS[stored.dtype] // 8)
        shape = (*stored.shape[:-1], last) if stored.shape else ()
        if not shape or last % per_byte:
            raise ValueError(f"a tensor of shape {stored.shape} has no rows of whole bytes")
    power = not scheme.scales or tensors[scheme.scales][0].dtype in _POWERS
    dtype = "BF16" if power and not (scheme.times or scheme.over) else "F32"
    sides = _sides(scheme, shape, tensors, config)
    info = TensorInfo(scheme.name, dtype, shape, math.prod(shape) * BITS[dtype] // 8)
    parts = [tensors[name] for name in (scheme.codes, *sorted(scheme.used - {scheme.codes}))]
    problem = next((reader for _, reader in parts if isinstance(reader, str)), None)
    return info, problem or partial(_computed, source, scheme, info, tensors, sides)


def _sides(
    scheme: Scheme, shape: tuple[int, ...], tensors: Tensors, config: Mapping[str, Any]
) -> tuple[int, int]:
    """Give rows and columns of a block; ValueError if the scales do not tile the tensor."""
    rows = shape[-2] if len(shape) > 1 else 1
    if not scheme.scales or scheme.turned:
        return max(rows, 1), shape[-1]
    table = _table_shape(tensors[scheme.scales][0].shape, shape)
    told = config.get("quantization_config")
    size = told.get("weight_block_size") if isinstance(told, dict) else None
    if (
        isinstance(size, list)
        and len(size) == 2
        and all(type(n) is int and n > 0 for n in size)
        and (-(-rows // size[0]), -(-shape[-1] // size[1])) == table[1:]
    ):
        return size[0], size[1]
    return side_of_block(rows, table[1]), side_of_block(shape[-1], table[2])


def _table_shape(scales: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, int, int]:
    """See scales as (matrices, blocks down, blocks across). ValueError if they are none."""
    matrices = math.prod(shape[:-2])
    if len(scales) == len(shape) > 2 and scales[:-2] == shape[:-2]:
        return matrices, scales[-2], scales[-1]
    if len(scales) > 2:
        raise ValueError(f"scales of shape {scales} are not applied to one of shape {shape}")
    down = scales[0] if scales else 1
    if matrices > 1 and down == matrices and len(scales) < 2:
        return matrices, 1, 1  # one for each matrix of a stack
    return 1, down, scales[1] if len(scales) > 1 else 1


def _computed(
    source: str,
    scheme: Scheme,
    info: TensorInfo,
    tensors: Tensors,
    sides: tuple[int, int],
) -> Any:
    """Read the scales of a tensor; what they multiply is read as it is asked for."""
    codes = _bits(tensors, scheme.codes).view(np.uint8)
    scales = _scales(source, scheme, tensors)
    word = word_type(info.dtype)
    if scheme.turned:
        experts, columns, rows = info.shape
        blocks = codes.reshape(experts, rows, columns // 32, 16)
        compute = partial(_turned_rows, blocks, scales.reshape(experts, rows, -1))
        return Computed(experts * columns, rows, word, compute, codes)
    rows = info.shape[-2] if len(info.shape) > 1 else 1
    table = scales.reshape(_table_shape(scales.shape, info.shape))
    lines = math.prod(info.shape[:-1])
    packed = codes.reshape(lines, -1) if lines else codes.reshape(0, 1)
    kind = scheme.table, info.dtype
    compute = partial(_scaled_rows, kind, packed, table, rows, (*sides, info.shape[-1]))
    return Computed(lines, info.shape[-1], word, compute, codes)


def _bits(tensors: Tensors, name: str) -> NDArray[Any]:
    """Read the bits of a tensor."""
    info, reader = tensors[name]
    if isinstance(reader, str):
        raise CheckpointError(info.name, reader)
    return reader()


def _scales(source: str, scheme: Scheme, tensors: Tensors) -> Floats:
    """Read the scales of a tensor, times or over the number that all of them share."""
    if not scheme.scales:
        return np.ones((), np.float32)
    scales = _numbers(source, scheme.scales, tensors)
    if scheme.turned:  # as the model's own code: 255 is an exponent like others
        exponents = _bits(tensors, scheme.scales).astype(np.int32) - 127
        with np.errstate(over="ignore"):
            return np.ldexp(np.float32(1), exponents).astype(np.float32)
    for name, divides in ((scheme.times, False), (scheme.over, True)):
        if name:
            factor = _numbers(source, name, tensors).reshape(-1)
            if factor.size != 1:
                raise CheckpointError(source, "one number is expected for all scales", tensor=name)
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                scales = scales / factor[0] if divides else scales * factor[0]
    return np.asarray(scales, np.float32)


def _numbers(source: str, name: str, tensors: Tensors) -> Floats:
    """Read scales as float32, in their own shape."""
    info = tensors[name][0]
    dtype = "F8_E8M0" if info.dtype == "U8" else info.dtype
    return as_float(source, name, _bits(tensors, name), dtype).reshape(info.shape)


def _scaled_rows(
    kind: tuple[str, str],
    codes: NDArray[np.uint8],
    table: Floats,
    rows: int,
    sides: tuple[int, int, int],
    first: int,
    stop: int,
) -> NDArray[Any]:
    """Compute some rows of a tensor whose matrices have so many rows each."""
    down, across, columns = sides
    values = np.empty((stop - first, columns), np.float32)
    line = np.arange(first, stop)
    matrix = (line // rows) % table.shape[0] if table.shape[0] > 1 else 0
    scales = np.ascontiguousarray(table[matrix, (line % rows) // down])
    numbers = values_of_bytes(kind[0])
    multiply_blocks(codes[first:stop], numbers, scales, across // numbers.shape[1], values)
    return bfloat16_bits(values) if kind[1] == "BF16" else values.view(np.uint32)


def _turned_rows(
    blocks: NDArray[np.uint8], scales: Floats, first: int, stop: int
) -> NDArray[np.uint16]:
    """Compute some rows of a stack that is stored the other way round, 32 to a block."""
    height = 32 * blocks.shape[2]
    numbers = values_of_bytes("F4")
    found = np.empty((stop - first, blocks.shape[1]), np.uint16)
    at = first
    while at < stop:
        expert, row = divmod(at, height)
        until = min(height, row + stop - at)
        begin, end = row // 32, -(-until // 32)
        some = np.ascontiguousarray(blocks[expert, :, begin:end]).reshape(blocks.shape[1], -1)
        values = np.empty((blocks.shape[1], 32 * (end - begin)), np.float32)
        factors = np.ascontiguousarray(scales[expert, :, begin:end])
        multiply_blocks(some, numbers, factors, 16, values)
        wanted = values[:, row - 32 * begin : until - 32 * begin]
        found[at - first : at - first + until - row] = bfloat16_bits(wanted).T
        at += until - row
    return found


@compiled
def multiply_blocks(codes: Any, numbers: Any, scales: Any, width: Any, values: Any) -> None:
    """Look up the numbers in bytes, and multiply each row by its scales, one for `width` bytes."""
    per_byte = numbers.shape[1]
    for i in range(codes.shape[0]):
        for block in range(scales.shape[1]):
            scale = scales[i, block]
            for j in range(block * width, min((block + 1) * width, codes.shape[1])):
                for k in range(per_byte):
                    values[i, j * per_byte + k] = numbers[codes[i, j], k] * scale
