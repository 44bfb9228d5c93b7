"""Counting what is not on this machine: matrices in the order of their bytes, fetched ahead.

A matrix is held whole only if it is small, if it is cut apart (`fused`) or every line is looked at
(`fields`); else whole rows of it come, are counted and are let go.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weibnb.fitting.status import COUNTED
from weibnb.io.ahead import Ahead, Part
from weibnb.io.files import CheckpointError
from weibnb.io.guard import watch
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.safetensors import word_type
from weibnb.parallel import slices
from weibnb.scanning.matrices import MatrixInCounting, begin_counting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from weibnb.counting.dispatch import Counting
    from weibnb.counting.formats import Bits
    from weibnb.counting.pieces import CountedRows
    from weibnb.fits.layout import Source
    from weibnb.io.safetensors import TensorInfo
    from weibnb.scanning.matrices import Cell, Listing
    from weibnb.scanning.structure import Structure
    from weibnb.scanning.weight_tensors import WeightTensor

#: Bytes of a matrix that is held whole, and of the rows of a larger one that come at once.
PIECE = 1 << 23
#: Bytes of matrices that may wait to be finished.
MOST_WAITING = 64_000_000


@dataclass(slots=True)
class Block:
    """The bytes of one matrix as stored, and the matrices of the Dataset that it holds.

    Attributes
    ----------
    info : TensorInfo
        The tensor that it is a part of.
    wanted : list of (WeightTensor, int)
        Those matrices, with the number of the expert.
    parts : list of Part
        Bytes to be fetched, whole rows each.
    """

    info: TensorInfo
    wanted: list[tuple[WeightTensor, int]]
    parts: list[Part]

    @property
    def nbytes(self) -> int:
        """Its bytes."""
        return sum(part.length for part in self.parts)


def blocks_of(
    listing: Listing, wanted: Sequence[tuple[WeightTensor, int]], *, fields: bool
) -> list[Block]:
    """Sort matrices by where their bytes are: file by file, from the first byte to the last."""
    found: dict[tuple[str, int], Block] = {}
    order: dict[tuple[str, int], tuple[int, int]] = {}
    files: dict[str, int] = {}
    for tensor, expert in wanted:
        at = listing.checkpoint.place(tensor.info.name) if listing.checkpoint else None
        if at is None or at[0].remote is None:
            continue
        file, offset = at[0].remote, at[1]
        number = expert if tensor.role.stacked else 0
        rows, columns = tensor.info.shape[-2:]
        length = rows * columns * word_type(tensor.info.dtype).itemsize
        offset += number * length
        key = tensor.info.name, number
        if key not in found:
            found[key] = Block(tensor.info, [], [Part(file, offset, length)])
            order[key] = files.setdefault(file.name, len(files)), offset
        found[key].wanted.append((tensor, expert))
    for block in found.values():
        whole = fields or any(tensor.part is not None for tensor, _ in block.wanted)
        if not whole:
            block.parts = list(_cut(block.parts[0], block.info.shape[-2]))
    return [found[key] for key in sorted(order, key=order.__getitem__)]


def _cut(part: Part, rows: int) -> Iterator[Part]:
    """Cut the bytes of a matrix into parts of some whole rows."""
    if part.length <= PIECE or not rows:
        yield part
        return
    row = part.length // rows
    step = max(PIECE // row, 1)
    for first in range(0, rows, step):
        stop = min(first + step, rows)
        yield Part(part.file, part.offset + first * row, (stop - first) * row)


def begin_counting_anywhere(
    listing: Listing,
    counting: Counting,
    cells: set[Cell],
    *,
    structure: Structure | None,
    tell: Callable[[CheckpointError], None],
) -> Iterator[MatrixInCounting]:
    """Begin to count some cells of a checkpoint: first what is here, then what is elsewhere.

    What happens on the way to matrices elsewhere is told, each thing once.
    """
    away = [
        (tensor, expert)
        for tensor in listing.tensors
        if is_away(listing, tensor)
        for expert in tensor.experts
        if (tensor.role.layer, tensor.role.component, expert) in cells
    ]
    here = [tensor for tensor in listing.tensors if not is_away(listing, tensor)]
    yield from begin_counting(replace(listing, tensors=here), counting, cells, structure=structure)
    if not away:
        return
    blocks = blocks_of(listing, away, fields=structure is not None and structure.fields)
    with Ahead(part for block in blocks for part in block.parts) as ahead:
        for block in blocks:
            try:
                yield from _begin_block(block, ahead, listing.source, counting, structure)
            except CheckpointError as err:
                tell(err)
                for tensor, expert in block.wanted:
                    yield MatrixInCounting(tensor, listing.source, expert, None, str(err))
        if ahead.failure is None:
            try:
                blocks[0].parts[0].file.check_unmoved()
            except CheckpointError as err:
                tell(err)


def count_rows(
    listing: Listing,
    tensor: WeightTensor,
    expert: int,
    rows: range,
    counting: Counting,
    *,
    structure: bool,
) -> CountedRows:
    """Count some whole rows, as stored, of one matrix that is not a part of another.

    Raises
    ------
    CheckpointError
        If they cannot be read.
    """
    dtype, shape = tensor.info.dtype, tensor.stored_shape
    pieces = counting.begin_pieces(dtype, shape, structure=structure, first=rows.start)
    if is_away(listing, tensor):
        [block] = blocks_of(listing, [(tensor, expert)], fields=True)
        [whole] = block.parts
        row = whole.length // shape[0]
        part = Part(whole.file, whole.offset + rows.start * row, len(rows) * row)
        parts = list(_cut(part, len(rows)))
        with Ahead(parts) as ahead:
            for _ in parts:
                pieces.add(_bits(ahead.take(), dtype))
        whole.file.check_unmoved()
        return pieces.counted_rows()
    bits = listing.checkpoint.raw(tensor.info.name) if listing.checkpoint else np.empty(0)
    watch(bits)
    matrix = tensor.one_expert(bits, expert)
    row = shape[1] * word_type(dtype).itemsize
    for some in slices(len(rows), max(PIECE // row, 1)):
        first, stop = rows[some.start], rows[some.stop - 1] + 1
        pieces.add(np.asarray(matrix[first * shape[1] : stop * shape[1]]))
    counted = pieces.counted_rows()
    check_unchanged(origin_of(bits))
    return counted


def files_away(listing: Listing, cells: set[Cell]) -> set[str]:
    """Name the files on other machines that some cells of a checkpoint are read from."""
    return {
        at[0].remote.name
        for tensor in listing.tensors
        if is_away(listing, tensor)
        and any((tensor.role.layer, tensor.role.component, e) in cells for e in tensor.experts)
        and (at := listing.checkpoint.place(tensor.info.name) if listing.checkpoint else None)
        and at[0].remote is not None
    }


def is_away(listing: Listing, tensor: WeightTensor) -> bool:
    """Whether the bytes of a tensor that is counted are on another machine."""
    at = listing.checkpoint.place(tensor.info.name) if listing.checkpoint else None
    return at is not None and at[0].remote is not None and tensor.status in COUNTED


def _begin_block(
    block: Block,
    ahead: Ahead,
    source: Source,
    counting: Counting,
    structure: Structure | None,
) -> Iterator[MatrixInCounting]:
    """Begin to count the matrices of one block."""
    dtype = block.info.dtype
    if len(block.parts) > 1:
        tensor, expert = block.wanted[0]
        pieces = counting.begin_pieces(dtype, tensor.stored_shape, structure=structure is not None)
        for _ in block.parts:
            pieces.add(_bits(ahead.take(), dtype))
        look = None if structure is None else tensor.second_look(None, structure, pieces)
        yield MatrixInCounting(tensor, source, expert, pieces, look=look)
        return
    bits = _bits(ahead.take(), dtype)
    for tensor, expert in block.wanted:
        part = tensor.of_matrix(bits)
        shape = None if structure is None else tensor.stored_shape
        pending = counting.submit_on_threads(part, dtype, shape)
        look = None if structure is None else tensor.second_look(part, structure)
        held = bits.nbytes / MOST_WAITING
        yield MatrixInCounting(tensor, source, expert, pending, look=look, held=held)


def _bits(part: memoryview, dtype: str) -> Bits:
    """View bytes as weights."""
    word = word_type(dtype)
    return np.frombuffer(part, word) if len(part) else np.empty(0, word)
