"""A scan cut into tasks for other processes and machines, and what a worker does with one."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, cast

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
from weibnb.scanning.sampled import begin_sampling, expected_bytes
from weibnb.scanning.streaming import begin_counting_anywhere, count_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from weibnb.counting.pieces import CountedRows
    from weibnb.fits.build import Matrix
    from weibnb.fits.store import Store
    from weibnb.fits.store_blocks import KeptBlocks, NewBlocks
    from weibnb.io.limits import Limits
    from weibnb.io.sources import Planned
    from weibnb.scanning.fitter import Columns, Fitter
    from weibnb.scanning.matrices import Cell
    from weibnb.scanning.sampling import Sampling
    from weibnb.scanning.structure import Structure
    from weibnb.scanning.weight_tensors import WeightTensor

#: Bytes of weights of a task.
TASK = 1_000_000_000
# What a task holds until it fits are lines of its matrices: a byte of them weighs as much as these.
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
    sampling : Sampling or None
        How much of each matrix is read, if that is not all.
    known : dict of Cell to KeptBlocks, or None
        Blocks that need not be read again; None where nobody keeps any.
    """

    opening: Opening
    model: str
    step: int
    tensors: list[WeightTensor]
    cells: set[Cell]
    rows: range | None = None
    sampling: Sampling | None = None
    known: dict[Cell, KeptBlocks] | None = None

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
    matrices : list of (int, int, str, int)
        Number of the tensor, expert, why it could not be counted, and bytes read.
    fits : Columns
        Their fits, in this order; none for rows.
    rows : CountedRows or None
        What was counted of some rows.
    told : list of CheckpointError
        What happened on the way to other machines.
    blocks : list of (Cell, str, int, dict)
        Blocks of samples to keep, as of `weibnb.fits.store.Store.keep_blocks`.
    """

    matrices: list[tuple[int, int, str, int]]
    fits: Columns
    rows: CountedRows | None
    told: list[CheckpointError]
    blocks: Sequence[NewBlocks] = ()


@dataclass(frozen=True, slots=True)
class BlocksOfTask:
    """The blocks of a task, in the place of a store."""

    known: dict[Cell, KeptBlocks]
    new: list[NewBlocks]

    def blocks_of(self, _: tuple[str, int], cell: Cell, __: str) -> KeptBlocks:
        """Give the blocks of a matrix that were sent along."""
        return self.known[cell]

    def keep_blocks(self, _: tuple[str, int], blocks: Iterable[NewBlocks]) -> None:
        """Take blocks that are to be sent back."""
        self.new.extend(blocks)


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
    opening: Opening,
    listing: Listing,
    cells: set[Cell],
    *,
    size: int,
    fields: bool,
    sampling: Sampling | None = None,
    store: Store | None = None,
) -> Iterator[Task]:
    """Cut the cells of a checkpoint that are counted into tasks of about so many bytes.

    Matrices that lie side by side are one task, and of a large one whole rows are; not of one that
    is cut apart, whose every line is looked at, or of which a sample is read.
    """
    source = listing.source

    def together() -> Task:
        return _with_blocks(Task(opening, source.model, source.step, some, there), sampling, store)

    some: list[WeightTensor] = []
    there: set[Cell] = set()
    load = 0
    for tensor in _in_files(listing):
        for expert in tensor.experts:
            cell = tensor.role.layer, tensor.role.component, expert
            if cell not in cells:
                continue
            nbytes = expected_bytes(tensor, sampling)
            whole = tensor.part is not None or fields or sampling is not None
            if nbytes > _CUT * size and not whole:
                rows = tensor.stored_shape[0]
                for part in slices(rows, max(int(rows * size / tensor.nbytes), 1)):
                    held = range(rows)[part]
                    yield Task(opening, source.model, source.step, [tensor], {cell}, held)
                continue
            weight = max(nbytes, _LINES * _lines(tensor))
            if some and load + weight > size:
                yield together()
                some, there, load = [], set(), 0
            if not some or some[-1] is not tensor:
                some.append(tensor)
            there.add(cell)
            load += weight
    if some:
        yield together()


def _with_blocks(task: Task, sampling: Sampling | None, store: Store | None) -> Task:
    """Tell a task how much to read, and which blocks are known."""
    if sampling is None or store is None:
        return task._replace(sampling=sampling)
    cells = (
        (tensor, (tensor.role.layer, tensor.role.component, expert))
        for tensor, expert in ((task.tensors[number], expert) for number, expert in task.matrices)
    )
    key = task.model, task.step
    known = {cell: store.blocks_of(key, cell, tensor.info.dtype) for tensor, cell in cells}
    return task._replace(sampling=sampling, known=known)


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


def count_task(task: Task, structure: Structure | None, fitter: Fitter) -> Found:
    """Count and fit the matrices of a task, or count its rows, on one thread of a worker.

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
            return Found([], {}, rows, [])
        told: list[CheckpointError] = []
        numbers = {id(tensor): number for number, tensor in enumerate(task.tensors)}
        blocks = None if task.known is None else BlocksOfTask(task.known, [])
        if task.sampling is None:
            begun = begin_counting_anywhere(
                listing, counting, task.cells, structure=structure, tell=told.append
            )
        else:
            begun = begin_sampling(
                listing,
                counting,
                task.cells,
                sampling=task.sampling,
                structure=structure is not None,
                store=blocks,
                tell=told.append,
            )
        matrices, about = [], []
        for one in begun:
            matrices.append(cast("Matrix", one.finish()))  # on the host, as it is not in_place
            about.append((numbers[id(one.tensor)], one.expert, one.problem, one.nbytes))
        fits = fitter.fit(matrices, workers=1)
        return Found(about, fits, None, told, [] if blocks is None else blocks.new)


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
