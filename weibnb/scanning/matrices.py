"""Which tensors of a checkpoint are weight matrices, and their bits matrix by matrix."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from weibnb.counting.formats import FORMATS
from weibnb.fits.build import Matrix
from weibnb.fits.layout import Source
from weibnb.fits.on_device import MatrixOnDevice
from weibnb.fits.schema import NO_EXPERT
from weibnb.fitting.status import COUNTED, MINIMUM_WEIGHTS
from weibnb.io.adapters import Adapter, refuse_without_base
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.fused import is_fused, is_transposed, layout_of
from weibnb.io.gguf_files import is_quantised
from weibnb.io.guard import watch
from weibnb.io.limits import DEFAULTS
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.names import Names
from weibnb.io.naming import Role, Skip, identify, tower
from weibnb.io.remote import Remote
from weibnb.io.safetensors import CheckpointError
from weibnb.messages import shortened
from weibnb.scanning.structure import SecondLook

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from weibnb.counting.blocks import CountsOnDevice, LinesOnDevice
    from weibnb.counting.counts import Counts
    from weibnb.counting.dispatch import Counting, Pending
    from weibnb.counting.formats import Bits
    from weibnb.counting.pieces import PendingPieces
    from weibnb.fitting.status import Status
    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.fused import Part
    from weibnb.io.limits import Limits
    from weibnb.io.mapping import Origin
    from weibnb.io.safetensors import TensorInfo
    from weibnb.io.sources import Planned
    from weibnb.scanning.sampled import SampledCounts, SampleLook
    from weibnb.scanning.structure import Structure

    Cell = tuple[int, str, int]

Fused: TypeAlias = Literal["keep", "split", "both"]
FUSED: tuple[Fused, ...] = ("keep", "split", "both")
#: Longest side of a matrix: what its columns of the Dataset hold.
LARGEST_SIDE = 2**31 - 1
_INTEGERS = {"I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64", "F4", "BOOL"}


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """A tensor that holds a weight matrix, or those of several experts, or a part of them.

    Attributes
    ----------
    info : TensorInfo
        Its name, format and shape as stored.
    role : Role
        What its name says.
    status : Status
        A word of `COUNTED`, or why it is not counted.
    part : Part or None
        Which of the matrices that are fused in it; the role is then that of the part.
    """

    info: TensorInfo
    role: Role
    status: Status
    part: Part | None = None

    @property
    def experts(self) -> range:
        """Numbers of the experts in it; `NO_EXPERT` alone for a matrix that is not one.

        A stack that is not counted is one entry, whatever number of experts its shape promises.
        """
        if self.role.stacked:
            counted = self.status in COUNTED
            return range(self.info.shape[0]) if counted else range(NO_EXPERT, NO_EXPERT + 1)
        number = NO_EXPERT if self.role.expert is None else self.role.expert
        return range(number, number + 1)

    @property
    def features(self) -> tuple[int, int]:
        """Output and input features of each matrix."""
        rows, cols = self.stored_shape
        return (cols, rows) if self.role.transposed else (rows, cols)

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of each matrix in the order of storage."""
        rows, cols = self.info.shape[-2:]
        if self.part is None:
            return rows, cols
        features = self.part.features
        return (rows, features) if self.part.transposed else (features, cols)

    @property
    def nbytes(self) -> int:
        """Bytes of each matrix."""
        nbytes = self.info.nbytes // max(len(self.experts), 1)
        if self.part is None:
            return nbytes
        return nbytes * self.part.features // (self.part.groups * self.part.width)

    def stored_rows(self, first: int, stop: int) -> tuple[int, int]:
        """Give the rows of the tensor's matrix, as stored, that hold these of the part."""
        if self.part is None or self.part.transposed or first == stop:
            return first, stop
        return self.part.stored(first), self.part.stored(stop - 1) + 1

    def rows_of_part(self, rows: Any, first: int, stop: int) -> Any:
        """Take rows of this part from the stored rows that hold them."""
        if self.part is None:
            return rows
        if self.part.transposed:
            return self.part.of(rows).reshape(len(rows), -1)
        lowest = self.part.stored(first)
        return rows[[self.part.stored(row) - lowest for row in range(first, stop)]]

    def matrix(
        self,
        source: Source,
        expert: int,
        status: Status = "pending",
        counts: Counts | None = None,
        **found: Any,
    ) -> Matrix:
        """Describe the matrix of one expert, not counted yet or with what was found of it."""
        rows, cols = self.features
        return Matrix(
            model=source.model,
            layer=self.role.layer,
            component=self.role.component,
            step=source.step,
            expert=expert,
            parameter=self.info.name,
            dtype=self.info.dtype,
            rows=rows,
            cols=cols,
            status=status if self.status in COUNTED else self.status,
            counts=counts,
            **found,
        )

    def second_look(
        self,
        bits: Bits | torch.Tensor | None,
        structure: Structure,
        pieces: PendingPieces | None = None,
    ) -> SecondLook:
        """Prepare to look at a matrix again, whose bits are given if they stay what they are."""
        dtype, transposed = self.info.dtype, self.role.transposed
        return SecondLook(bits, dtype, self.stored_shape, transposed, structure, pieces)

    def one_expert(self, weights: Any, expert: int) -> Any:
        """Take the matrix of one expert from the tensor, or from its bits in one dimension.

        Bits of a part are in one dimension where they follow each other, else in three.
        """
        shape = self.info.shape[-2:]
        if self.role.stacked:
            size = shape[0] * shape[1]
            several = weights.ndim > 1
            weights = weights[expert] if several else weights[expert * size : (expert + 1) * size]
        return self.of_matrix(weights)

    def of_matrix(self, weights: Any) -> Any:
        """Take this part of a matrix, or all of it."""
        if self.part is None:
            return weights
        part = self.part.of(weights.reshape(self.info.shape[-2:]))
        adjacent = self.part.groups == 1 and not self.part.transposed
        return part.reshape(-1) if adjacent and weights.ndim == 1 else part


@dataclass(frozen=True, slots=True)
class Listing:
    """A checkpoint whose headers were read, or could not be.

    Attributes
    ----------
    source : Source
        What is known of it.
    checkpoint : Checkpoint or None
        To read its values.
    tensors : list of WeightTensor
        Its weight matrices.
    error : CheckpointError or None
        Why it could not be read.
    """

    source: Source
    checkpoint: Checkpoint | None
    tensors: list[WeightTensor]
    error: CheckpointError | None = None

    def cells(self) -> set[Cell]:
        """Tell where its matrices belong."""
        return {(t.role.layer, t.role.component, e) for t in self.tensors for e in t.experts}

    def matrices(self, cells: Container[Cell] | None = None) -> list[Matrix]:
        """Describe its matrices, or those of some `cells`, none of them counted yet."""
        return [
            tensor.matrix(self.source, expert)
            for tensor in self.tensors
            for expert in tensor.experts
            if cells is None or (tensor.role.layer, tensor.role.component, expert) in cells
        ]


@dataclass(slots=True)
class MatrixInCounting:
    """A matrix whose counts are being made, or that has none.

    Attributes
    ----------
    tensor : WeightTensor
        The tensor that holds it.
    source : Source
        The checkpoint of that tensor.
    expert : int
        Which of its matrices.
    pending : Pending or None
        Its counts, when they are there.
    problem : str
        Why its tensor could not be read; once it is finished also why that went wrong.
    origin : Origin or None
        The file that it is read from.
    look : SecondLook or None
        What is looked at once the counts are there.
    forces : ndarray of float64 or None
        `FORCES` until the record that counts it.
    held : float
        Share of the memory that may wait.
    read : int or None
        Bytes that are read of it, where that is not all of it.
    """

    tensor: WeightTensor
    source: Source
    expert: int
    pending: Pending | SampledCounts | None
    problem: str = ""
    origin: Origin | None = None
    look: SecondLook | SampleLook | None = None
    forces: NDArray[np.float64] | None = None
    held: float = 0.0
    read: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are read of it."""
        return self.tensor.nbytes if self.read is None else self.read

    @property
    def load(self) -> float:
        """Share of the work, and of the memory, that may wait."""
        return 0.0 if self.pending is None else max(self.pending.load, self.held)

    @property
    def was_read(self) -> bool:
        """Whether its weights were read when the counting began."""
        return self.pending is not None and self.pending.was_read

    @property
    def ready(self) -> bool:
        """Whether a device has made its counts; waits for nothing."""
        return self.pending is None or self.pending.ready

    def abandon(self) -> bool:
        """Give up what was not begun; True if the counts will come all the same."""
        return self.pending is not None and self.pending.abandon()

    def finish(self, *, in_place: bool = False) -> Matrix | MatrixOnDevice:
        """Wait for the counts, and check that what was counted is what the file held.

        They stay on the device that made them if they may be `in_place` and are on one alone.
        """
        there, counts, found = self._in_place() if in_place else None, None, {}
        if there is not None:
            found = {} if self.look is None else self.look.for_zeros(there[0].zeros)
        elif self.pending is not None:
            counts = self.pending.result()
            found = {} if self.look is None else self.look(counts, self.pending.lines)
        self.look = None
        try:
            check_unchanged(self.origin)
        except CheckpointError as err:
            self.problem, there, counts, found = str(err), None, None, {}
        status: Status = "unreadable" if self.problem else self.tensor.status
        found |= {"forces": self.forces}
        matrix = self.tensor.matrix(self.source, self.expert, status, counts, **found)
        return matrix if there is None else MatrixOnDevice(matrix, *there)

    def _in_place(self) -> tuple[CountsOnDevice, LinesOnDevice | None] | None:
        """Wait for counts and lines on one device, if there are any and none must come back."""
        if self.pending is None or (self.look is not None and self.look.at_all):
            return None
        return self.pending.in_place()


def list_matrices(planned: Planned, limits: Limits = DEFAULTS, *, fused: Fused = "keep") -> Listing:
    """Open a checkpoint and tell its weight matrices from the rest, without reading values.

    What is wrong with the checkpoint becomes the `error` of the listing.
    """
    try:
        if isinstance(planned.checkpoint, CheckpointError):
            raise planned.checkpoint
        if isinstance(planned.checkpoint, (str, os.PathLike)):
            refuse_without_base(Path(planned.checkpoint))
        checkpoint = open_checkpoint(
            planned.checkpoint,
            max_tensors=limits.max_tensors,
            max_header=limits.max_header,
            dequantise=planned.dequantise,
        )
        fingerprint = checkpoint.fingerprint
        tensors, left = choose_tensors(checkpoint, fused, planned.names)
        check_number_of_matrices(checkpoint, tensors, limits)
    except CheckpointError as err:
        given = planned.checkpoint
        given = given.path if isinstance(given, Adapter) else given
        path = os.fspath(given) if isinstance(given, (str, os.PathLike)) else err.path
        path = given.name if isinstance(given, Remote) else path
        source = Source(planned.model, planned.step, path, "", {}, str(err), [])
        return Listing(source, None, [], err)
    notes = (*checkpoint.notes, checkpoint.unmerged, planned.note)
    left += [_note(text) for text in notes if text]
    about = (checkpoint.source, fingerprint, checkpoint.config, "", left, checkpoint.identity)
    return Listing(Source(planned.model, planned.step, *about), checkpoint, tensors)


def choose_tensors(
    checkpoint: Checkpoint, fused: Fused = "keep", names: Names | None = None
) -> tuple[list[WeightTensor], list[dict[str, Any]]]:
    """Part the tensors of a checkpoint into weight matrices, and the rest with its reason.

    A cell holds one matrix, one stack of experts, or experts of different numbers; the first
    tensor to take a place keeps it, and a part of a fused matrix takes no tensor's place: what a
    cell holds does not depend on `fused`.
    """
    unreadable = dict(checkpoint.problems)
    roles = _roles(checkpoint, names or Names())
    chosen: list[WeightTensor] = []
    left: list[dict[str, Any]] = []
    taken: dict[tuple[int, str], dict[int | None, str]] = {}
    for name, info in checkpoint.tensors.items():
        role = roles[name]
        if isinstance(role, Role) and (problem := _shape_problem(info, role)):
            reason = problem
        elif isinstance(role, Role):
            there = taken.setdefault((role.layer, role.component), {})
            new_expert = role.expert is not None and role.expert not in there and None not in there
            if not there or new_expert:
                there[role.expert] = name
                status = _initial_status(info, checkpoint)
                if status in COUNTED and name in unreadable:
                    status = "unreadable"
                transposed = is_transposed(role, info.shape, checkpoint.config)
                if transposed != role.transposed:
                    role = replace(role, transposed=transposed)
                chosen.append(WeightTensor(info, role, status))
                continue
            reason = f"its cell is taken by {shortened(next(iter(there.values())), 200)}"
        else:
            reason = "quantized" if role.reason == "packed" else role.reason
        left.append(
            {"tensor": name, "shape": list(info.shape), "dtype": info.dtype, "reason": reason}
        )
    if fused == "keep":
        return chosen, left
    chosen, notes = _with_parts(chosen, checkpoint, whole=fused == "both")
    return chosen, left + notes


def _roles(checkpoint: Checkpoint, names: Names) -> dict[str, Role | Skip]:
    """Tell what each tensor is; a component of the user's own keeps its prefix."""
    tensors = checkpoint.tensors
    placed = {
        name: names.identify(name, info.shape)
        for name, info in tensors.items()
        if names.places(name, info.shape)
    }
    known = {name: identify(name, i.shape) for name, i in tensors.items() if name not in placed}
    found = _one_tower_needs_no_prefix(known) | placed
    _check_places(found, placed)
    return {name: found[name] for name in tensors}


def _check_places(roles: Mapping[str, Role | Skip], placed: Container[str]) -> None:
    """Raise if a pattern of the user puts a tensor where another is."""
    there: dict[tuple[int, str, int | None], str] = {}
    for name, role in roles.items():
        if isinstance(role, Role):
            first = there.setdefault((role.layer, role.component, role.expert), name)
            if first != name and (name in placed or first in placed):
                raise ValueError(
                    f"`names` must give each matrix a place of its own, but "
                    f"`{shortened(first, 200)}` and `{shortened(name, 200)}` would both be layer "
                    f"{role.layer} of {role.component!r}. Give them different components, or "
                    r"find the layer with `re:...(?P<layer>\d+)...`."
                )


def _with_parts(
    tensors: list[WeightTensor], checkpoint: Checkpoint, *, whole: bool
) -> tuple[list[WeightTensor], list[dict[str, Any]]]:
    """Put parts in the place of fused matrices, or beside the `whole`; note what stays whole."""
    taken = {(tensor.role.layer, tensor.role.component) for tensor in tensors}
    found: list[WeightTensor] = []
    kept: Counter[tuple[str, str]] = Counter()
    for tensor in tensors:
        parts = _parts(tensor, checkpoint, taken) if is_fused(tensor.role.component) else []
        if isinstance(parts, str):
            kept[tensor.role.component, parts] += 1
            parts = []
        found += [tensor, *parts] if whole or not parts else parts
    notes = [
        f"{component} is kept as one matrix in {number:,} tensor{'s'[: number > 1]}: {reason}"
        for (component, reason), number in kept.items()
    ]
    return found, [_note(text) for text in notes]


def _parts(
    tensor: WeightTensor, checkpoint: Checkpoint, taken: set[tuple[int, str]]
) -> list[WeightTensor] | str:
    """Give the parts of a fused tensor, or why it stays whole."""
    info, role = tensor.info, tensor.role
    if tensor.status not in COUNTED:
        return f"its status is {tensor.status}"
    layout = layout_of(info.name, role, info.shape, checkpoint.config)
    if isinstance(layout, str):
        return layout
    if hasattr(checkpoint.tensor(info.name), "device_mesh"):
        return "it is spread over processes"
    parts = [
        replace(
            tensor,
            role=replace(role, component=part.component, transposed=part.transposed),
            part=part,
        )
        for part in layout
    ]
    for part in parts:
        if (role.layer, part.role.component) in taken:
            return f"the layer has a {part.role.component} of its own"
        if min(part.features) < 2 or part.features[0] * part.features[1] < MINIMUM_WEIGHTS:
            return f"its {part.role.component} would be {part.features[0]} x {part.features[1]}"
    return parts


def _note(text: str) -> dict[str, Any]:
    """Say something of a checkpoint where its tensors that are not fitted are listed."""
    return {"tensor": "", "shape": [], "dtype": "", "reason": text}


def check_number_of_matrices(
    checkpoint: Checkpoint, tensors: list[WeightTensor], limits: Limits
) -> None:
    """Raise if the stacks of experts in the files of a checkpoint hold too many matrices."""
    if checkpoint.is_live:
        return
    number = sum(len(tensor.experts) for tensor in tensors)
    limits.check_number(checkpoint.source, number, "matrices")


def begin_counting(
    listing: Listing,
    counting: Counting,
    cells: Container[Cell] | None = None,
    *,
    structure: Structure | None = None,
    still: bool = True,
) -> Iterator[MatrixInCounting]:
    """Begin to count the matrices of a checkpoint, one by one, experts one after the other.

    Of the (layer, component, expert) in it only some `cells`, if they are given; `structure`
    tells how their rows and columns are looked at, if they are, and `still` whether tensors on
    devices stay what they are until their counts are there.
    """
    for tensor in listing.tensors:
        role = tensor.role
        experts = [
            expert
            for expert in tensor.experts
            if cells is None or (role.layer, role.component, expert) in cells
        ]
        weights, problem = None, ""
        if experts and listing.checkpoint is not None and tensor.status in COUNTED:
            try:
                weights = _weights(listing.checkpoint, tensor, counting)
                watch(weights)
            except CheckpointError as err:
                problem = str(err)
        origin, in_place = origin_of(weights), counting.counts_in_place(weights)
        for expert in experts:
            pending, look = None, None
            if weights is not None:
                part = tensor.one_expert(weights, expert)
                shape = None if structure is None else tensor.stored_shape
                if in_place:
                    pending = counting.submit(part, shape)
                else:
                    pending = counting.submit_bits(part, tensor.info.dtype, shape)
                if structure is not None:
                    kept = origin is not None or not pending.was_read
                    if in_place:
                        kept = still and not hasattr(part, "device_mesh")
                    look = tensor.second_look(part if kept else None, structure)
            yield MatrixInCounting(tensor, listing.source, expert, pending, problem, origin, look)


def _weights(checkpoint: Checkpoint, tensor: WeightTensor, counting: Counting) -> Any:
    """Give a live tensor that is counted where it is, else its bits on the host."""
    name = tensor.info.name
    live = checkpoint.tensor(name)
    if not counting.counts_in_place(live):
        return checkpoint.raw(name)
    if tensor.role.stacked and hasattr(live, "device_mesh"):
        cause = "a stack of experts that is spread over processes is not counted"
        raise CheckpointError(checkpoint.source, cause, "Scan a checkpoint of it.", name)
    return live


def _one_tower_needs_no_prefix(roles: dict[str, Role | Skip]) -> dict[str, Role | Skip]:
    """Drop the tower from the components of a model that has only one (OPT's ``decoder``)."""
    towers = {tower(role.component) for role in roles.values() if isinstance(role, Role)}
    if len(towers) != 1 or towers == {""}:
        return roles
    prefix = f"{towers.pop()}."
    return {
        name: replace(role, component=role.component.removeprefix(prefix))
        if isinstance(role, Role)
        else role
        for name, role in roles.items()
    }


def _shape_problem(info: TensorInfo, role: Role) -> str:
    """Say why matrices of this shape have no place in a Dataset; nothing if they do."""
    rows, cols = info.shape[-2:]
    if max(rows, cols) > LARGEST_SIDE:
        return f"a side of its matrix is longer than {LARGEST_SIDE:,}"
    if role.stacked and rows * cols < MINIMUM_WEIGHTS:
        return f"its experts have {rows * cols} weights each, at least {MINIMUM_WEIGHTS} are fitted"
    return ""


def _initial_status(info: TensorInfo, checkpoint: Checkpoint) -> Status:
    """Tell from its format whether a tensor can be counted."""
    if info.dtype in FORMATS:
        stem = info.name.removesuffix(".weight")
        scales = (f"{info.name}_scale_inv", f"{info.name}_scale", f"{stem}.scale")
        return "scaled" if any(name in checkpoint.tensors for name in scales) else "ok"
    packed = info.dtype in _INTEGERS or is_quantised(info.dtype)
    return "quantized" if packed else "unsupported_dtype"
