"""The weight matrices of a checkpoint: listed, and counted one by one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weibnb.fits.layout import Source
from weibnb.fits.on_device import MatrixOnDevice
from weibnb.fitting.status import COUNTED
from weibnb.io.adapters import Adapter, refuse_without_base
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.guard import watch
from weibnb.io.limits import DEFAULTS
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.remote import Remote
from weibnb.io.safetensors import CheckpointError
from weibnb.scanning.weight_tensors import choose_tensors, note

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from weibnb.counting.blocks import CountsOnDevice, LinesOnDevice
    from weibnb.counting.dispatch import Counting, Pending
    from weibnb.fits.build import Matrix
    from weibnb.fitting.status import Status
    from weibnb.io.checkpoint import Checkpoint
    from weibnb.io.limits import Limits
    from weibnb.io.mapping import Origin
    from weibnb.io.sources import Planned
    from weibnb.scanning.sampled import SampledCounts, SampleLook
    from weibnb.scanning.structure import PendingWithSums, SecondLook, Structure
    from weibnb.scanning.weight_tensors import Fused, WeightTensor

    Cell = tuple[int, str, int]


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
    pending: Pending | PendingWithSums | SampledCounts | None
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

    @property
    def takes_long(self) -> bool:
        """Whether it is counted and looked at again on threads, for longer than it is counted."""
        return not self.was_read and self.look is not None and self.look.takes_long

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
    left += [note(text) for text in notes if text]
    about = (checkpoint.source, fingerprint, checkpoint.config, "", left, checkpoint.identity)
    return Listing(Source(planned.model, planned.step, *about), checkpoint, tensors)


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
            pending: Pending | PendingWithSums | None = None
            look = sums = None
            if weights is not None:
                part = tensor.one_expert(weights, expert)
                shape = None if structure is None else tensor.stored_shape
                if in_place:
                    pending = counting.submit(part, shape)
                else:
                    if structure is not None and counting.on_threads:
                        sums = structure.begin(part, tensor.info.dtype, tensor.stored_shape)
                    pending = sums or counting.submit_bits(part, tensor.info.dtype, shape)
                if structure is not None:
                    kept = origin is not None or not pending.was_read
                    if in_place:
                        kept = still and not hasattr(part, "device_mesh")
                    look = tensor.second_look(part if kept else None, structure, sums=sums)
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
