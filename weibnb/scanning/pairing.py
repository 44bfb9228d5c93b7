"""Which matrices of two checkpoints belong together, and their bits in one order of storage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.changes import Side
from weibnb.counting.formats import FORMATS, decode
from weibnb.fits.schema import NO_EXPERT
from weibnb.fitting.status import COUNTED
from weibnb.io.guard import watch
from weibnb.io.mapping import origin_of
from weibnb.io.safetensors import CheckpointError
from weibnb.io.scales import read_scales, scale_name, scaled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.mapping import Origin
    from weibnb.io.safetensors import TensorInfo
    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.weight_tensors import WeightTensor

    Key = tuple[int, str, int]

#: Where a tensor is that was not compared.
BEFORE, AFTER, BOTH = "before", "after", "both"


@dataclass(frozen=True, slots=True)
class Operand:
    """A matrix, or another tensor, on one side.

    Attributes
    ----------
    checkpoint : Checkpoint
        What holds it.
    info : TensorInfo
        Its tensor.
    tensor : WeightTensor or None
        What the scan makes of the tensor; None if it is no weight matrix.
    expert : int
        Which matrix of a stack.
    """

    checkpoint: Checkpoint
    info: TensorInfo
    tensor: WeightTensor | None = None
    expert: int = NO_EXPERT

    @property
    def turned(self) -> bool:
        """Whether columns as stored are output features."""
        return self.tensor is not None and self.tensor.role.transposed

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns as stored; a tensor of other dimensions is seen as a matrix."""
        if self.tensor is not None:
            return self.tensor.stored_shape
        first = self.info.shape[0] if self.info.shape else 1
        return first, self.info.size // max(first, 1)

    @property
    def features(self) -> tuple[int, int]:
        """Output and input features."""
        rows, cols = self.stored_shape
        return (cols, rows) if self.turned else (rows, cols)

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return self.info.nbytes if self.tensor is None else self.tensor.nbytes

    @property
    def scales(self) -> str | None:
        """Name of the tensor with the scales by which it is to be multiplied."""
        form = FORMATS.get(self.info.dtype)
        if form is None or form.bits.itemsize > 1:
            return None
        return scale_name(self.info.name, self.checkpoint.tensors)

    def problem(self) -> str:
        """Say why it is not read as numbers; nothing if it is."""
        if self.info.dtype not in FORMATS:
            return f"{self.info.dtype} is not read as numbers"
        if self.tensor is not None and self.tensor.status not in COUNTED:
            return f"it is {self.tensor.status}"
        return ""

    def read(self, *, turned: bool) -> tuple[Side, Origin | None]:
        """Give its bits, scaled if it has scales, in this order of storage, and their file.

        Raises
        ------
        CheckpointError
            If it, or its scales, cannot be read.
        """
        bits = self.checkpoint.raw(self.info.name)
        watch(bits)
        dtype, matrix = self.info.dtype, bits
        if (scales := self.scales) is not None:
            matrix, dtype = self._scaled(bits, scales), "F32"
        elif self.tensor is not None:
            matrix = self.tensor.one_expert(bits, self.expert)
        if turned != self.turned:
            matrix = np.asarray(matrix).reshape(self.stored_shape).T
        flat = np.ascontiguousarray(matrix).reshape(-1)
        return Side(flat.view(FORMATS[dtype].bits), dtype), origin_of(bits)

    def _scaled(self, bits: Any, name: str) -> Any:
        """Multiply by the scales; those of a fused matrix belong to the whole."""
        scales, whole = read_scales(self.checkpoint, name), bits
        if self.tensor is not None:
            whole = replace(self.tensor, part=None).one_expert(bits, self.expert)
            if self.tensor.role.stacked and scales.ndim == len(self.info.shape):
                scales = scales[self.expert]
        shape = self.info.shape[-2:] if self.tensor is not None else self.stored_shape
        values = decode(np.ascontiguousarray(whole), self.info.dtype, narrow=True).reshape(shape)
        try:
            product = scaled(values, scales)
        except (ValueError, IndexError) as err:
            raise CheckpointError(self.checkpoint.source, str(err), tensor=name) from err
        part = None if self.tensor is None else self.tensor.part
        return product if part is None else part.of(product)


@dataclass(frozen=True, slots=True)
class Pair:
    """A matrix, or another tensor, that both sides have.

    Attributes
    ----------
    layer : int or None
        None for a tensor that is no weight matrix.
    component : str
        Its component, or what kind of tensor it is.
    expert : int
        `NO_EXPERT` for a matrix that is not one.
    before, after : Operand
    """

    layer: int | None
    component: str
    expert: int
    before: Operand
    after: Operand

    @property
    def nbytes(self) -> int:
        """Bytes of both sides."""
        return self.before.nbytes + self.after.nbytes


@dataclass(frozen=True, slots=True)
class NotCompared:
    """A tensor that is not compared: where it is, its shapes and formats, and the reason."""

    tensor: str
    where: str
    shape_before: tuple[int, ...] | None
    shape_after: tuple[int, ...] | None
    dtype_before: str
    dtype_after: str
    reason: str


def not_compared(before: Operand | None, after: Operand | None, reason: str) -> NotCompared:
    """Describe what is not compared."""
    there = before or after
    where = BOTH if before and after else BEFORE if before else AFTER
    return NotCompared(
        there.info.name if there else "",
        where,
        tuple(before.info.shape) if before else None,
        tuple(after.info.shape) if after else None,
        before.info.dtype if before else "",
        after.info.dtype if after else "",
        reason,
    )


def pair_up(before: Listing, after: Listing) -> tuple[list[Pair], list[NotCompared]]:
    """Pair the tensors of two checkpoints, listed with ``fused="both"``.

    Weight matrices belong together by layer, component and expert, however they are stored; a
    fused one meets its like, or its parts meet matrices of their own. Other tensors belong
    together by name.
    """
    pairs, left = _pair_matrices(_Matrices.of(before), _Matrices.of(after))
    others = [_others(listing) for listing in (before, after)]
    for name in dict.fromkeys([*others[0], *others[1]]):
        one, other = (there.get(name) for there in others)
        if one is not None and other is not None:
            pairs.append(Pair(None, one[1], NO_EXPERT, one[0], other[0]))
        elif one is not None:
            left.append(not_compared(one[0], None, f"on one side only: {one[1]}"))
        elif other is not None:
            left.append(not_compared(None, other[0], f"on one side only: {other[1]}"))
    return pairs, left + _notes(before, BEFORE) + _notes(after, AFTER)


@dataclass(frozen=True, slots=True)
class _Matrices:
    """Weight matrices of one side by layer, component and expert, and the parts of each tensor."""

    by_key: dict[Key, Operand]
    whole: dict[str, Key]

    @classmethod
    def of(cls, listing: Listing) -> _Matrices:
        by_key: dict[Key, Operand] = {}
        whole: dict[str, Key] = {}
        for tensor in listing.tensors:
            for expert in tensor.experts:
                key = tensor.role.layer, tensor.role.component, expert
                if listing.checkpoint is not None:
                    by_key[key] = Operand(listing.checkpoint, tensor.info, tensor, expert)
                if tensor.part is None:
                    whole[f"{tensor.info.name}\0{expert}"] = key
        return cls(by_key, whole)

    def whole_of(self, key: Key) -> Key:
        """Give the matrix that holds a part, or the matrix itself."""
        operand = self.by_key[key]
        return self.whole.get(f"{operand.info.name}\0{operand.expert}", key)


def _pair_matrices(before: _Matrices, after: _Matrices) -> tuple[list[Pair], list[NotCompared]]:
    """Pair weight matrices; a part is left out where the whole is paired."""
    both = [key for key in before.by_key if key in after.by_key]
    wholes = {
        key
        for key in both
        if before.whole_of(key) == key == after.whole_of(key)
    }  # fmt: skip
    pairs = [
        Pair(*key, before.by_key[key], after.by_key[key])
        for key in both
        if key in wholes or not (before.whole_of(key) in wholes or after.whole_of(key) in wholes)
    ]
    paired = {(pair.layer, pair.component, pair.expert) for pair in pairs}
    left = [
        not_compared(operand if side is before else None, operand if side is after else None, why)
        for side in (before, after)
        for operand, why in _unpaired(side, paired)
    ]
    return pairs, left


def _unpaired(side: _Matrices, paired: set[Any]) -> Iterator[tuple[Operand, str]]:
    """Give the matrices of a side that are in no pair, neither whole nor by any part."""
    met = {side.whole_of(key) for key in side.by_key if key in paired}
    listed: set[str] = set()
    for key, operand in side.by_key.items():
        whole = side.whole_of(key)
        if key in paired or whole in paired:
            continue
        if whole in met:
            if whole != key:  # other parts of it have met theirs
                yield operand, f"its {key[1]} is on one side only"
        elif operand.info.name not in listed:
            listed.add(operand.info.name)
            yield operand, "on one side only"


def _others(listing: Listing) -> dict[str, tuple[Operand, str]]:
    """Give the tensors of a checkpoint that are no weight matrices, by name, and their kind."""
    checkpoint = listing.checkpoint
    if checkpoint is None:
        return {}
    return {
        entry["tensor"]: (Operand(checkpoint, checkpoint.tensors[entry["tensor"]]), entry["reason"])
        for entry in listing.source.not_fitted
        if entry["dtype"]
    }


def _notes(listing: Listing, where: str) -> list[NotCompared]:
    """Give what is to be said of a checkpoint besides tensors."""
    notes = () if listing.checkpoint is None else listing.checkpoint.notes
    return [NotCompared("", where, None, None, "", "", note) for note in notes]
