"""A scan cut into tasks for other processes and machines, and what a worker does with one."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from weibnb.counting.dispatch import Counting
from weibnb.counting.formats import FORMATS
from weibnb.counting.lines import SAMPLED
from weibnb.fits.layout import Source
from weibnb.fitting.status import COUNTED
from weibnb.io.adapters import Adapter
from weibnb.io.checkpoint import Checkpoint, open_checkpoint
from weibnb.io.files import CheckpointError
from weibnb.io.guard import guarded
from weibnb.parallel import slices
from weibnb.scanning.matrices import Listing
from weibnb.scanning.streaming import begin_counting_anywhere, count_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from weibnb.counting.pieces import CountedRows
    from weibnb.fits.build import Matrix
    from weibnb.fits.on_device import MatrixOnDevice
    from weibnb.io.limits import Limits
    from weibnb.io.sources import Planned
    from weibnb.scanning.matrices import Cell
    from weibnb.scanning.structure import Structure
    from weibnb.scanning.weight_tensors import WeightTensor

#: Bytes of weights of a task.
TASK = 1_000_000_000
# What a task gives back are mostly lines of its matrices: a byte of them weighs as much as these.
_LINES = 16
# From so many tasks of bytes on a matrix is cut into whole rows.
_CUT = 1.5

_opening = Lock()


@dataclass(frozen=True, slots=True)
class Opening:
    """What a worker needs to open a checkpoint, and to see that it is the one that was listed.

    Attributes
    ----------
    checkpoint : str, Remote or Adapter
        As `weibnb.open_checkpoint` takes it, paths from the root.
    limits, dequantise
        As they were given.
    fingerprint : str
        Of the checkpoint that was listed.
    scan : str
        Which scan it is: each opens files anew.
    """

    checkpoint: Any
    limits: Limits
    dequantise: bool
    fingerprint: str
    scan: str


class Task(NamedTuple):
    """Matrices of one checkpoint, or some rows of one of them.

    Attributes
    ----------
    opening : Opening
        The checkpoint.
    model, step
        Where it belongs.
    tensors : list of WeightTensor
        What holds the matrices.
    cells : set of Cell
        Which of them.
    rows : range or None
        Which rows of the one matrix.
    """

    opening: Opening
    model: str
    step: int
    tensors: list[WeightTensor]
    cells: set[Cell]
    rows: range | None = None

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Number of the tensor, and expert, of each matrix."""
        return [
            (number, expert)
            for number, tensor in enumerate(self.tensors)
            for expert in tensor.experts
            if (tensor.role.layer, tensor.role.component, expert) in self.cells
        ]


class Found(NamedTuple):
    """What a task gives back.

    Attributes
    ----------
    matrices : list of (int, int, Matrix, str)
        Number of the tensor, expert, what was counted, and why it could not be.
    rows : CountedRows or None
        What was counted of some rows.
    told : list of CheckpointError
        What happened on the way to other machines.
    """

    matrices: list[tuple[int, int, Matrix | MatrixOnDevice, str]]
    rows: CountedRows | None
    told: list[CheckpointError]


def opening_of(planned: Planned, listing: Listing, limits: Limits, scan: str) -> Opening:
    """Tell workers how to open a checkpoint that was listed."""
    return Opening(
        _from_root(planned.checkpoint),
        limits,
        planned.dequantise,
        listing.source.fingerprint,
        scan,
    )


def _from_root(checkpoint: Any) -> Any:
    """Give paths that mean the same in any directory."""
    if isinstance(checkpoint, Adapter):
        return Adapter(_from_root(checkpoint.path), _from_root(checkpoint.base))
    if isinstance(checkpoint, (str, os.PathLike)):
        return str(Path(checkpoint).expanduser().absolute())
    return checkpoint


def plan_tasks(
    opening: Opening, listing: Listing, cells: set[Cell], *, size: int, fields: bool
) -> Iterator[Task]:
    """Cut the cells of a checkpoint that are counted into tasks of about so many bytes.

    Matrices that lie side by side are one task, and of a large one whole rows are; not of one that
    is cut apart, or whose every line is looked at.
    """
    source = listing.source
    some: list[WeightTensor] = []
    there: set[Cell] = set()
    load = 0
    for tensor in _in_files(listing):
        for expert in tensor.experts:
            cell = tensor.role.layer, tensor.role.component, expert
            if cell not in cells:
                continue
            if tensor.nbytes > _CUT * size and tensor.part is None and not fields:
                rows = tensor.stored_shape[0]
                for part in slices(rows, max(int(rows * size / tensor.nbytes), 1)):
                    held = range(rows)[part]
                    yield Task(opening, source.model, source.step, [tensor], {cell}, held)
                continue
            weight = max(tensor.nbytes, _LINES * _lines(tensor))
            if some and load + weight > size:
                yield Task(opening, source.model, source.step, some, there)
                some, there, load = [], set(), 0
            if not some or some[-1] is not tensor:
                some.append(tensor)
            there.add(cell)
            load += weight
    if some:
        yield Task(opening, source.model, source.step, some, there)


def _lines(tensor: WeightTensor) -> int:
    """Bytes of the lines that are copied of each matrix of a tensor."""
    rows, cols = tensor.stored_shape
    each = FORMATS[tensor.info.dtype].bits.itemsize
    return each * (min(rows, SAMPLED) * cols + min(cols, SAMPLED) * rows)


def _in_files(listing: Listing) -> list[WeightTensor]:
    """Sort the tensors that are counted by where their bytes are."""
    files: dict[str, int] = {}

    def where(tensor: WeightTensor) -> tuple[float, int]:
        at = listing.checkpoint.place(tensor.info.name) if listing.checkpoint else None
        if at is None:
            return math.inf, 0
        return files.setdefault(str(at[0].path), len(files)), at[1]

    return sorted((one for one in listing.tensors if one.status in COUNTED), key=where)


def count_task(task: Task, structure: Structure | None) -> Found:
    """Count the matrices, or the rows, of a task on one thread of a worker.

    Raises
    ------
    CheckpointError
        If the worker cannot open the checkpoint, or the rows cannot be read.
    """
    source = Source(task.model, task.step, "", "", {}, "", [])
    with _opening:  # threads of a worker open a checkpoint once
        checkpoint = _opened(task.opening)
    listing = Listing(source, checkpoint, task.tensors)
    with guarded(), Counting("cpu", workers=1) as counting:
        if task.rows is not None:
            [(_, expert)], [tensor] = task.matrices, task.tensors
            rows = count_rows(
                listing, tensor, expert, task.rows, counting, structure=structure is not None
            )
            return Found([], rows, [])
        told: list[CheckpointError] = []
        numbers = {id(tensor): number for number, tensor in enumerate(task.tensors)}
        matrices = []
        for item in begin_counting_anywhere(
            listing, counting, task.cells, structure=structure, tell=told.append
        ):
            matrix = item.finish()
            matrices.append((numbers[id(item.tensor)], item.expert, matrix, item.problem))
        return Found(matrices, None, told)


@lru_cache(maxsize=4)
def _opened(opening: Opening) -> Checkpoint:
    """Open a checkpoint as this worker sees it; held for the tasks that follow."""
    checkpoint = open_checkpoint(
        opening.checkpoint,
        max_tensors=opening.limits.max_tensors,
        max_header=opening.limits.max_header,
        dequantise=opening.dequantise,
    )
    if checkpoint.fingerprint != opening.fingerprint:
        cause = "what a worker finds there is not what was listed"
        step = "Give workers the same files under the same path, and scan again."
        raise CheckpointError(checkpoint.source, cause, step)
    return checkpoint
