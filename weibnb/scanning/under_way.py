"""A scan under way: checkpoint after checkpoint is counted, here or on the workers of a cluster."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from weibnb.fits.build import Matrix
from weibnb.io.files import CheckpointError
from weibnb.messages import counted, printable, shortened
from weibnb.scanning.cluster import count_elsewhere
from weibnb.scanning.finishing import Finishing
from weibnb.scanning.fitter import Fitted
from weibnb.scanning.sampled import begin_sampling, expected_bytes
from weibnb.scanning.streaming import begin_counting_anywhere, files_away

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

    from weibnb.counting.dispatch import Counting
    from weibnb.fits.on_device import MatrixOnDevice
    from weibnb.io.limits import Limits
    from weibnb.scanning.cluster import MatrixElsewhere, Opened
    from weibnb.scanning.matrices import Cell, Listing, MatrixInCounting
    from weibnb.scanning.progress import Reporter
    from weibnb.scanning.results import Results
    from weibnb.scanning.sampling import Sampling
    from weibnb.scanning.shared_files import Shared


@dataclass(slots=True)
class ScanUnderWay:
    """A scan under way: who counts, who shows it, where fits go, and what went wrong."""

    counting: Counting
    reporter: Reporter
    results: Results
    problems: list[str]
    shared: Shared
    alone: bool  # what goes wrong with the one checkpoint of a scan is its end

    def count_all(self, opened: Sequence[Opened], client: Client | None, limits: Limits) -> None:
        """Count matrices of all checkpoints, here or on the workers of a cluster."""
        for one in opened:
            if client is None or one.is_live:
                self.count(one.listing, one.cells)
        if client is not None:
            self.count_on(client, [one for one in opened if not one.is_live], limits)

    def count(self, listing: Listing, cells: set[Cell]) -> None:
        """Count matrices of one checkpoint, a few at once; what is done is kept if it stops."""
        source = listing.source
        name = shortened(source.model)
        described = name if source.step == 0 else f"{name} step {source.step}"
        if files := files_away(listing, cells):
            described = f"{described} ({counted(len(files), 'file')})"
        # of files elsewhere how much there is to read is told before it is
        self.reporter.bar.set_description(described, refresh=bool(files))
        waiting: deque[MatrixInCounting] = deque()
        try:
            self._count(listing, cells, waiting)
        except KeyboardInterrupt:
            for item in waiting:
                if item.abandon():
                    self._finish(item)
            raise
        except CheckpointError:
            while waiting:
                self._finish(waiting.popleft())
            raise
        finally:
            if listing.checkpoint is not None:
                listing.checkpoint.close()
            self.results.flush()

    def count_on(self, client: Client, opened: Sequence[Opened], limits: Limits) -> None:
        """Count matrices of checkpoints on the workers of a cluster."""
        self.reporter.bar.set_description(
            f"on {counted(len(client.nthreads()), 'worker')}", refresh=True
        )
        found = count_elsewhere(
            client,
            opened,
            self.counting,
            limits,
            fitter=self.results.fitter,
            structure=self.results.structure,
            sampling=self.results.sampling,
            store=self.results.store,
            tell=self._tell,
        )
        try:
            with closing(found):
                for item in found:
                    self._finish(item)
        finally:
            for one in opened:
                one.close()
            self.results.flush()

    def _count(self, listing: Listing, cells: set[Cell], waiting: deque[MatrixInCounting]) -> None:
        """Count matrices, of which some may wait to be finished."""
        load = 0.0
        with Finishing(self._finish, self._take, self.results.workers) as finishing:
            for item in self._begin(listing, cells):
                name = printable(item.tensor.info.name[-60:])
                self.reporter.bar.set_postfix_str(name, refresh=False)
                self.reporter.update(item.tensor.nbytes if item.was_read else 0)
                waiting.append(item)
                load += item.load
                while load > 1:
                    load -= waiting[0].load
                    finishing.add(waiting.popleft())
            while waiting:
                finishing.add(waiting.popleft())

    def _begin(self, listing: Listing, cells: set[Cell]) -> Iterator[MatrixInCounting]:
        """Begin to count the matrices of some cells, as wholes or in part."""
        structure, sampling = self.results.structure, self.results.sampling
        if sampling is None:
            return begin_counting_anywhere(
                listing, self.counting, cells, structure=structure, tell=self._tell
            )
        return begin_sampling(
            listing,
            self.counting,
            cells,
            sampling=sampling,
            structure=structure is not None,
            store=self.results.store,
            tell=self._tell,
        )

    def _finish(self, item: MatrixInCounting | MatrixElsewhere) -> None:
        """Wait for what is counted, and hand it on."""
        self._take(item, item.finish(in_place=self.results.in_place))

    def _take(
        self, item: MatrixInCounting | MatrixElsewhere, matrix: Matrix | MatrixOnDevice | Fitted
    ) -> None:
        """Hand on what was counted, to all checkpoints that hold the same bytes there."""
        role = item.tensor.role
        self.results.add(matrix)
        place = item.source.model, item.source.step, (role.layer, role.component, item.expert)
        for source in self.shared.get(place, ()):
            if isinstance(matrix, Fitted):
                self.results.add(matrix.of(source))
            elif isinstance(matrix, Matrix):
                self.results.add(replace(matrix, model=source.model, step=source.step))
        self.problems.extend([item.problem] if item.problem else [])
        if self.results.sampling is not None and self.reporter.bar.total:
            guessed = expected_bytes(item.tensor, self.results.sampling)
            self.reporter.bar.total += item.nbytes - guessed
        self.reporter.update(0 if item.was_read else item.nbytes)
        self.reporter.tell()

    def _tell(self, err: CheckpointError) -> None:
        """Note what went wrong on the way to a checkpoint, or end the scan of this one."""
        if self.alone:
            raise err
        self.problems.append(str(err))


def bytes_to_count(sampling: Sampling | None, listing: Listing, cells: set[Cell]) -> int:
    """Bytes of the matrices of a checkpoint that are to be counted."""
    return sum(
        expected_bytes(tensor, sampling)
        for tensor in listing.tensors
        for expert in tensor.experts
        if (tensor.role.layer, tensor.role.component, expert) in cells
    )
