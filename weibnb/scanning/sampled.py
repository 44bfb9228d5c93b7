"""Counting some blocks of rows of each matrix, here or elsewhere, and more where it takes more."""

from __future__ import annotations

import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weibnb.counting.formats import as_bits
from weibnb.counting.sampling import FEWEST_BLOCKS, count_block
from weibnb.fits.store_blocks import KeptBlocks
from weibnb.fitting.status import COUNTED
from weibnb.io.ahead import SMALL_IN_FLIGHT, Ahead, Part
from weibnb.io.files import CheckpointError
from weibnb.io.guard import watch
from weibnb.io.mapping import origin_of, will_need
from weibnb.io.safetensors import word_type
from weibnb.scanning.matrices import MatrixInCounting
from weibnb.scanning.sampling import BLOCK, Sample, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from weibnb.counting.counts import Counts
    from weibnb.counting.dispatch import Counting
    from weibnb.counting.lines import Lines
    from weibnb.counting.sampling import CountedBlock
    from weibnb.fits.layout import Source
    from weibnb.fits.store_blocks import NewBlocks
    from weibnb.io.mapping import Origin
    from weibnb.io.remote import RemoteFile
    from weibnb.scanning.matrices import Cell, Listing
    from weibnb.scanning.sampling import Sampling
    from weibnb.scanning.weight_tensors import WeightTensor

# Matrices whose blocks are counted, judged and counted further together, and blocks that wait.
_TOGETHER, _WAITING = 64, 64
# Seconds after which a store is given the blocks that were counted.
_KEEP_SECONDS = 0.5


@dataclass(slots=True)
class _Matrix:
    """A matrix of which some blocks are read.

    Attributes
    ----------
    tensor, expert
        What it is.
    sample : Sample
        Its blocks.
    known : dict of int to CountedBlock
        Those that an earlier scan counted.
    weights : array, tensor or None
        All rows of its tensor as stored, if they are here.
    file, offset : RemoteFile and int, or None and 0
        Where its first row is, if it is elsewhere.
    read : int
        Bytes that were read.
    problem : str
        Why it could not be read.
    """

    tensor: WeightTensor
    expert: int
    sample: Sample
    known: dict[int, CountedBlock]
    weights: Any = None
    file: RemoteFile | None = None
    offset: int = 0
    origin: Origin | None = None
    read: int = 0
    problem: str = ""

    @property
    def cell(self) -> Cell:
        """Where it belongs."""
        return self.tensor.role.layer, self.tensor.role.component, self.expert

    def still_unread(self) -> list[int]:
        """Take over what is known of the blocks that are wanted next, and give the others."""
        wanted = self.sample.still_wanted()
        self.sample.counted |= {one: self.known[one] for one in wanted if one in self.known}
        return [block for block in wanted if block not in self.known]

    def to_keep(self) -> Iterator[NewBlocks]:
        """Give what a store is to keep of it beyond what is known; of a whole matrix nothing."""
        blocks, counted = self.sample.blocks, self.sample.counted
        new = {number: block for number, block in counted.items() if number not in self.known}
        if new and len(counted) < len(blocks.order):
            yield self.cell, self.sample.dtype, blocks.height, new

    @property
    def start(self) -> int:
        """Where it begins in its tensor, in bytes."""
        rows, columns = self.tensor.info.shape[-2:]
        number = self.expert if self.tensor.role.stacked else 0
        return int(number * rows * columns) * word_type(self.tensor.info.dtype).itemsize

    def place(self, block: int) -> tuple[int, int]:
        """Give the bytes of the rows that hold a block: where they begin, and how many."""
        first, stop = self.tensor.stored_rows(*self.sample.blocks.rows_of(block))
        row = self.tensor.info.shape[-1] * word_type(self.tensor.info.dtype).itemsize
        return self.offset + first * row, (stop - first) * row

    def rows_here(self, block: int) -> Any:
        """Give the rows, of what is on this machine, that hold a block."""
        first, stop = self.tensor.stored_rows(*self.sample.blocks.rows_of(block))
        start = self.expert * self.tensor.info.shape[-2] if self.tensor.role.stacked else 0
        return self.weights[start + first : start + stop]

    def count_here(self, block: int) -> CountedBlock:
        """Read and count a block of what is on this machine."""
        rows = self.rows_here(block)
        rows = as_bits(rows)[0] if hasattr(rows, "detach") else np.asarray(rows)
        return self._counted(rows, block)

    def count_fetched(self, block: int, fetched: memoryview) -> CountedBlock:
        """Count a block of what is elsewhere, once its bytes are here."""
        rows = np.frombuffer(fetched, word_type(self.tensor.info.dtype))
        rows = rows.reshape(-1, self.tensor.info.shape[-1])
        return self._counted(rows, block)

    def _counted(self, rows: Any, block: int) -> CountedBlock:
        blocks = self.sample.blocks
        own = self.tensor.rows_of_part(rows, *blocks.rows_of(block))
        return count_block(own, self.sample.dtype, first=blocks.is_first(block))


@dataclass(frozen=True, slots=True)
class SampledCounts:
    """The counts of a sample, in the place of those of a matrix that is being counted."""

    sample: Sample
    was_read = False
    ready = True
    load = 2.0  # it is finished at once: its blocks need not be held

    @property
    def lines(self) -> Lines | None:
        """Some rows and columns of it."""
        return self.sample.lines()

    def result(self) -> Counts:
        """Give the counts."""
        return self.sample.add_up()

    def in_place(self) -> None:
        """Nothing is on a device."""

    def abandon(self) -> bool:
        """Say that the counts are there all the same."""
        return True


@dataclass(frozen=True, slots=True)
class SampleLook:
    """What is known of a sample besides its counts, in the place of a second look."""

    sample: Sample
    transposed: bool
    structure: bool
    at_all = takes_long = False

    def __call__(self, _: Counts, lines: Lines | None) -> dict[str, Any]:
        """Give the attributes of `weibnb.fits.build.Matrix`."""
        sampled = np.array([self.sample.share, *self.sample.errors])
        kept = lines if self.structure else None
        return {"transposed": self.transposed, "lines": kept, "sampled": sampled}

    def for_zeros(self, _: int) -> dict[str, Any]:
        """Say nothing of dead lines: most lines were not looked at."""
        return {"transposed": self.transposed}


class KeepsBlocks(Protocol):
    """What keeps the blocks of matrices by model and step, and cell: a store, or a task."""

    def blocks_of(self, key: tuple[str, int], cell: Cell, dtype: str, /) -> KeptBlocks:
        """Give those of a matrix."""

    def keep_blocks(self, key: tuple[str, int], blocks: Iterable[NewBlocks], /) -> None:
        """Keep more of them."""


def expected_bytes(tensor: WeightTensor, sampling: Sampling | None) -> int:
    """Tell how many bytes of a matrix are read; of a sample as a guess."""
    if sampling is None:
        return tensor.nbytes
    share = 0.0 if sampling.share is None else sampling.share * tensor.nbytes
    return min(int(max(share, FEWEST_BLOCKS * BLOCK)), tensor.nbytes)


def begin_sampling(
    listing: Listing,
    counting: Counting,
    cells: set[Cell],
    *,
    sampling: Sampling,
    structure: bool,
    store: KeepsBlocks | None,
    tell: Callable[[CheckpointError], None],
) -> Iterator[MatrixInCounting]:
    """Count samples of some cells of a checkpoint, some matrices together.

    Blocks that the store keeps are not read again. What happens on the way to matrices elsewhere is
    told, each thing once.
    """
    matrices = _matrices(listing, counting, cells, sampling, store)
    files: list[RemoteFile] = []
    failed = ""
    while group := list(islice(matrices, _TOGETHER)):
        begun = [one for one in group if isinstance(one, _Matrix)]
        for one in begun:
            one.problem = failed if one.file is not None else ""
        good = [one for one in begun if not one.problem]
        key = listing.source.model, listing.source.step
        with closing(_Keeping(store, key, good)) as keeping:
            failed = _count_all(good, counting, sampling, tell, keeping) or failed
        files += [one.file for one in begun if one.file is not None and not one.problem]
        for item in group:
            if isinstance(item, _Matrix):
                yield _done(item, listing.source, structure=structure)
            else:
                yield item
    if files and not failed:
        try:
            files[0].check_unmoved()
        except CheckpointError as err:
            tell(err)


def _done(one: _Matrix, source: Source, *, structure: bool) -> MatrixInCounting:
    """Give a matrix whose sample was counted."""
    if one.problem:
        return MatrixInCounting(one.tensor, source, one.expert, None, one.problem)
    look = SampleLook(one.sample, one.tensor.role.transposed, structure)
    return MatrixInCounting(
        one.tensor,
        source,
        one.expert,
        SampledCounts(one.sample),
        origin=one.origin,
        look=look,
        read=one.read,
    )


def _matrices(
    listing: Listing,
    counting: Counting,
    cells: set[Cell],
    sampling: Sampling,
    store: KeepsBlocks | None,
) -> Iterator[_Matrix | MatrixInCounting]:
    """Give the matrices of some cells, first those on this machine; unreadable ones as they are."""
    away = []
    for tensor in listing.tensors:
        role = tensor.role
        wanted = [e for e in tensor.experts if (role.layer, role.component, e) in cells]
        weights, problem = None, ""
        at = listing.checkpoint.place(tensor.info.name) if listing.checkpoint else None
        elsewhere = at is not None and at[0].remote is not None and tensor.status in COUNTED
        if wanted and not elsewhere and listing.checkpoint and tensor.status in COUNTED:
            try:
                weights = _rows_here(listing, tensor, counting)
            except CheckpointError as err:
                problem = str(err)
        for expert in wanted:
            if weights is None and not elsewhere:
                yield MatrixInCounting(tensor, listing.source, expert, None, problem)
                continue
            one = _cut(listing.source, tensor, expert, sampling, store, away=elsewhere)
            if at is not None and elsewhere:
                one.file, one.offset = at[0].remote, at[1] + one.start
                away.append(one)
            else:
                one.weights, one.origin = weights, origin_of(weights)
                yield one
    yield from sorted(away, key=lambda one: (str(one.file and one.file.name), one.offset))


def _rows_here(listing: Listing, tensor: WeightTensor, counting: Counting) -> Any:
    """Give all rows of a tensor as stored, of a stack one matrix after the other."""
    name, checkpoint = tensor.info.name, listing.checkpoint
    if checkpoint is None:
        raise CheckpointError(listing.source.path, "it was not opened", tensor=name)
    weights: Any = checkpoint.tensor(name)
    if hasattr(weights, "device_mesh"):
        cause = "a tensor that is spread over processes is not sampled"
        raise CheckpointError(checkpoint.source, cause, "Scan a checkpoint of it.", name)
    if counting.counts_in_place(weights):
        weights = weights.detach()
    else:
        weights = checkpoint.raw(name)
        watch(weights)
    shape = tensor.info.shape
    return weights.reshape(prod(shape[:-1]), shape[-1])


def _cut(
    source: Source,
    tensor: WeightTensor,
    expert: int,
    sampling: Sampling,
    store: KeepsBlocks | None,
    *,
    away: bool,
) -> _Matrix:
    """Cut a matrix into blocks, as an earlier scan did whose blocks a store keeps."""
    role, dtype = tensor.role, tensor.info.dtype
    kept = KeptBlocks(Path())
    if store is not None:
        cell = role.layer, role.component, expert
        kept = store.blocks_of((source.model, source.step), cell, dtype)
    name = f"{tensor.info.name} {role.component} {expert}"
    shape, itemsize = tensor.stored_shape, word_type(dtype).itemsize
    blocks = sampling.cut(shape, itemsize, name, away=away, height=kept.height)
    known = kept.counted(blocks, shape[1], dtype)
    return _Matrix(
        tensor, expert, Sample(blocks, dtype, sampling.at_first(len(blocks.order))), known
    )


def _count_all(
    matrices: Sequence[_Matrix],
    counting: Counting,
    sampling: Sampling,
    tell: Callable[[CheckpointError], None],
    keeping: _Keeping,
) -> str:
    """Count the blocks that are wanted of matrices, until no more are; say what stopped it."""
    samples = {id(one.sample): one for one in matrices}
    wanted, failed = list(matrices), ""
    while wanted:
        _count_stage([one for one in wanted if one.file is None], counting, keeping)
        try:
            _fetch_stage([one for one in wanted if one.file is not None], counting, keeping)
        except CheckpointError as err:
            tell(err)
            failed = str(err)
            for one in wanted:
                one.problem = failed if one.file is not None else ""
        good = [one.sample for one in wanted if not one.problem]
        wanted = [samples[id(one)] for one in judge(good, sampling)]
    return failed


def _count_stage(matrices: Sequence[_Matrix], counting: Counting, keeping: _Keeping) -> None:
    """Count the blocks that are wanted next of matrices on this machine."""
    wanted = [(one, block) for one in matrices for block in one.still_unread()]
    with closing(_Queue(keeping)) as queue:
        for one, block in wanted:
            will_need(one.rows_here(block))
        for one, block in wanted:
            one.read += one.place(block)[1]
            queue.add(one, block, counting.begin(one.count_here, block))


def _fetch_stage(matrices: Sequence[_Matrix], counting: Counting, keeping: _Keeping) -> None:
    """Fetch and count the blocks that are wanted next of matrices elsewhere."""
    wanted = [(one, block) for one in matrices for block in one.still_unread()]
    parts = (Part(one.file, *one.place(block)) for one, block in wanted if one.file is not None)
    with Ahead(parts, in_flight=SMALL_IN_FLIGHT) as ahead, closing(_Queue(keeping)) as queue:
        for one, block in wanted:
            fetched = ahead.take()
            one.read += len(fetched)
            queue.add(one, block, counting.begin(one.count_fetched, block, fetched))


class _Queue:
    """Blocks that are being counted, in order, and not too many of them."""

    def __init__(self, keeping: _Keeping) -> None:
        self._keeping = keeping
        self._waiting: deque[tuple[_Matrix, int, Future[CountedBlock]]] = deque()

    def add(self, one: _Matrix, block: int, counted: Future[CountedBlock]) -> None:
        """Take one more; waits where many wait already."""
        self._waiting.append((one, block, counted))
        while len(self._waiting) > _WAITING:
            self._take()

    def close(self) -> None:
        """Wait for all."""
        while self._waiting:
            self._take()

    def _take(self) -> None:
        one, block, counted = self._waiting.popleft()
        one.sample.counted[block] = counted.result()
        self._keeping.tick()


class _Keeping:
    """Gives the blocks of some matrices to a store, at least twice a second and at the end."""

    def __init__(
        self, store: KeepsBlocks | None, key: tuple[str, int], matrices: Sequence[_Matrix]
    ) -> None:
        self._store, self._key, self._matrices = store, key, matrices
        self._kept = time.monotonic()

    def tick(self) -> None:
        """Keep what was counted, if it is time."""
        if time.monotonic() - self._kept > _KEEP_SECONDS:
            self.close()

    def close(self) -> None:
        """Keep what was counted."""
        if self._store is not None:
            self._store.keep_blocks(self._key, [k for one in self._matrices for k in one.to_keep()])
            for one in self._matrices:
                one.known |= one.sample.counted
        self._kept = time.monotonic()
