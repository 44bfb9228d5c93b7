"""Work on Dask: tasks are sent to workers, and what comes back is put together."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import chain
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from weibnb.fitting.status import COUNTED
from weibnb.io.files import CheckpointError
from weibnb.messages import counted
from weibnb.scanning.fitter import Fitted
from weibnb.scanning.matrices import MatrixInCounting
from weibnb.scanning.sampled import expected_bytes
from weibnb.scanning.tasks import TASK, Found, Task, count_task, opening_of, plan_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from distributed import Client, Future

    from weibnb.counting.dispatch import Counting
    from weibnb.counting.pieces import PendingPieces
    from weibnb.fits.store import Store
    from weibnb.io.limits import Limits
    from weibnb.io.sources import Planned
    from weibnb.scanning.fitter import Fitter
    from weibnb.scanning.matrices import Cell, Listing
    from weibnb.scanning.sampling import Sampling
    from weibnb.scanning.structure import Structure
    from weibnb.scanning.weight_tensors import WeightTensor

# Fewest bytes of a task, and tasks that each thread of the workers has at least, where it can.
_LEAST, _EACH = 32_000_000, 4
# Tasks that are sent out for each thread, and at least.
_AHEAD, _FEWEST_AHEAD = 4, 32
# Seconds after which a cluster that has no workers is given up, and between looks at it.
_PATIENCE, _LOOK = 300.0, 1.0


def check_client(client: Any, device: str | Sequence[str]) -> str | Sequence[str]:
    """Check a client of Dask, if one is given; tell the device that counts then.

    Raises
    ------
    ImportError
        If Dask's scheduler is not installed.
    TypeError, ValueError
        If it is none, an asynchronous one, closed, or without workers, or another device than
        the CPU is asked for beside it.
    """
    if client is None:
        return device
    try:
        from distributed import Client
    except ImportError as err:
        raise ImportError(
            "`client` needs dask.distributed, which is not installed: pip install 'weibnb[dask]'"
        ) from err
    if not isinstance(client, Client):
        raise TypeError(
            f"`client` must be a dask.distributed.Client, got {type(client).__name__}. "
            "Make one of a cluster or the address of a scheduler: Client(cluster)."
        )
    if client.asynchronous:
        raise ValueError("`client` must not be asynchronous, got asynchronous=True.")
    if client.status != "running":
        raise ValueError(
            f"`client` must be connected to a scheduler, got one that is {client.status}."
        )
    if not client.nthreads():
        raise ValueError(
            "`client` must have workers, got none. Start some, and wait for them: "
            "client.wait_for_workers(1)."
        )
    if device not in ("auto", "cpu"):
        raise ValueError(f"`device` must be 'auto' or 'cpu' with a client, got {device!r}.")
    return "cpu"


@dataclass(frozen=True, slots=True)
class MatrixElsewhere:
    """A matrix that a worker counted and fitted, as `weibnb.scanning.matrices.MatrixInCounting`."""

    tensor: WeightTensor
    source: Any
    expert: int
    fit: Fitted
    problem: str
    nbytes: int
    was_read: bool = False

    def finish(self, *, in_place: bool = False) -> Fitted:  # noqa: ARG002  (it is nowhere else)
        """Give it."""
        return self.fit


class Opened(NamedTuple):
    """A checkpoint of a scan: what was planned, what was listed, and what is to be counted."""

    planned: Planned
    listing: Listing
    cells: set[Cell]

    @property
    def is_live(self) -> bool:
        """Whether it is in the memory of this process, where no worker sees it."""
        checkpoint = self.listing.checkpoint
        return checkpoint is not None and checkpoint.is_live

    def close(self) -> None:
        """Let go of its files."""
        if self.listing.checkpoint is not None:
            self.listing.checkpoint.close()


def count_elsewhere(
    client: Client,
    opened: Sequence[Opened],
    counting: Counting,
    limits: Limits,
    *,
    fitter: Fitter,
    structure: Structure | None,
    sampling: Sampling | None,
    store: Store | None,
    tell: Callable[[CheckpointError], None],
) -> Generator[MatrixInCounting | MatrixElsewhere, None, None]:
    """Count the cells of checkpoints on workers; they come as workers are done with them.

    What happens on the way to a checkpoint is told. The end of the iteration cancels what was
    sent out.
    """
    for one in opened:
        yield from _not_counted(one)
    sources = {
        (one.listing.source.model, one.listing.source.step): one.listing.source for one in opened
    }
    size = _size(client, opened, sampling)
    fields, scan = structure is not None and structure.fields, uuid4().hex
    tasks = chain.from_iterable(
        plan_tasks(
            opening_of(one.planned, one.listing, limits, scan),
            one.listing,
            one.cells,
            size=size,
            fields=fields,
            sampling=sampling,
            store=store,
        )
        for one in opened
    )
    in_parts = _InParts(counting, structure)
    with _Tasks(client, tasks, structure, fitter) as running:
        for task, outcome in running:
            source = sources[task.model, task.step]
            if isinstance(outcome, CheckpointError):
                tell(outcome)
            problem = "" if isinstance(outcome, Found) else str(outcome)
            if task.rows is not None:
                yield from in_parts.add(task, source, outcome, problem)
                continue
            if not isinstance(outcome, Found):
                for number, expert in task.matrices:
                    tensor = task.tensors[number]
                    yield MatrixInCounting(tensor, source, expert, None, problem)
                continue
            for error in outcome.told:
                tell(error)
            if store is not None and outcome.blocks:
                store.keep_blocks((task.model, task.step), outcome.blocks)
            for row, (number, expert, why, nbytes) in enumerate(outcome.matrices):
                fit = Fitted({name: one[row : row + 1] for name, one in outcome.fits.items()})
                yield MatrixElsewhere(task.tensors[number], source, expert, fit, why, nbytes)


def _not_counted(one: Opened) -> Iterator[MatrixInCounting]:
    """Give the matrices of a checkpoint that nobody counts."""
    for tensor in one.listing.tensors:
        if tensor.status in COUNTED:
            continue
        for expert in tensor.experts:
            if (tensor.role.layer, tensor.role.component, expert) in one.cells:
                yield MatrixInCounting(tensor, one.listing.source, expert, None)


def _size(client: Client, opened: Sequence[Opened], sampling: Sampling | None) -> int:
    """Choose the bytes of a task: about 1 GB, less where threads would have too few of them.

    Of samples fewer: what is known of their blocks is sent along, and what is new sent back.
    """
    tensors = (tensor for one in opened for tensor in one.listing.tensors)
    nbytes = sum(expected_bytes(tensor, sampling) * len(tensor.experts) for tensor in tensors)
    most = TASK if sampling is None else TASK // _FEWEST_AHEAD
    return min(max(nbytes // (_EACH * _threads(client)), _LEAST), most)


def _threads(client: Client) -> int:
    """Count the threads of all workers, at least one."""
    return max(int(sum(client.nthreads().values())), 1)


class _InParts:
    """Matrices whose rows are counted by several tasks."""

    def __init__(self, counting: Counting, structure: Structure | None) -> None:
        self._counting, self._structure = counting, structure
        self._begun: dict[Any, tuple[PendingPieces, int, str]] = {}

    def add(
        self, task: Task, source: Any, outcome: Found | Exception, problem: str
    ) -> Iterator[MatrixInCounting]:
        """Put rows to the others; gives the matrix with the last of them."""
        [tensor], [cell], [(_, expert)] = task.tensors, task.cells, task.matrices
        key = task.model, task.step, cell
        if key in self._begun:
            pieces, there, before = self._begun.pop(key)
        else:
            dtype, shape = tensor.info.dtype, tensor.stored_shape
            looked = self._structure is not None
            pieces = self._counting.begin_pieces(dtype, shape, structure=looked)
            there, before = 0, ""
        there, problem = there + len(task.rows or ()), before or problem
        if isinstance(outcome, Found) and outcome.rows is not None:
            pieces.take_over(outcome.rows)
        if there < tensor.stored_shape[0]:
            self._begun[key] = pieces, there, problem
            return
        if problem:
            yield MatrixInCounting(tensor, source, expert, None, problem)
            return
        structure = self._structure
        look = None if structure is None else tensor.second_look(None, structure, pieces)
        yield MatrixInCounting(tensor, source, expert, pieces, look=look)


class _Tasks:
    """Tasks under way, so many at once; gives what came of each, as it comes."""

    def __init__(
        self,
        client: Client,
        tasks: Iterator[Task],
        structure: Structure | None,
        fitter: Fitter,
    ) -> None:
        self._client, self._tasks, self._how = client, tasks, (structure, fitter)
        self._under_way: dict[Any, tuple[Future[Any], Task]] = {}
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()

    def __enter__(self) -> Iterator[tuple[Task, Found | Exception]]:
        return self._outcomes()

    def __exit__(self, *_: object) -> None:
        futures = [future for future, _ in self._under_way.values()]
        if futures and self._client.status == "running":
            self._client.cancel(futures)

    def _outcomes(self) -> Iterator[tuple[Task, Found | Exception]]:
        """Send out tasks as others are done."""
        while True:
            self._send()
            if not self._under_way:
                return
            future = self._next_done()
            _, task = self._under_way.pop(future.key)
            yield task, _outcome(future)

    def _send(self) -> None:
        """Send out tasks as long as few enough are under way."""
        most = max(_AHEAD * _threads(self._client), _FEWEST_AHEAD)
        while len(self._under_way) < most:
            task = next(self._tasks, None)
            if task is None:
                return
            future = self._client.submit(count_task, task, *self._how, pure=False)
            self._under_way[future.key] = future, task
            future.add_done_callback(self._done.put)

    def _next_done(self) -> Future[Any]:
        """Wait for a task, as long as there are workers, or may be again."""
        seen = time.monotonic()
        while True:
            try:
                return self._done.get(timeout=_LOOK)
            except Empty:
                now = time.monotonic()
                if self._client.nthreads():
                    seen = now
                elif now - seen > _PATIENCE:
                    text = f"the cluster has had no workers for {_PATIENCE:.0f} seconds"
                    raise RuntimeError(
                        f"{text}, {counted(len(self._under_way), 'task')} waited. What was "
                        "counted is kept where a store was given."
                    ) from None


def _outcome(future: Future[Any]) -> Found | Exception:
    """Give what came of a task: counts, or why there are none.

    Raises
    ------
    RuntimeError
        If it failed for a reason that would end any other, too.
    """
    from distributed import KilledWorker

    try:
        found: Found = future.result()
    except (CheckpointError, KilledWorker) as err:
        return err
    except Exception as err:
        raise RuntimeError(
            f"a task failed on a worker: {type(err).__name__}: {err}. Workers need the same "
            "versions of Python and weibnb as here."
        ) from err
    finally:
        future.release()
    return found
