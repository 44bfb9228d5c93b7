"""Records of a training while they are counted, until a keeper takes them in their order."""

from __future__ import annotations

import warnings
from collections import deque
from typing import TYPE_CHECKING

from weibnb.fits.on_device import MatrixOnDevice
from weibnb.interrupts import held
from weibnb.messages import printable
from weibnb.scanning.matrices import begin_counting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from weibnb.counting.dispatch import Counting
    from weibnb.fits.build import Matrix
    from weibnb.fits.on_device import FitsOnDevice
    from weibnb.scanning.fitter import Columns
    from weibnb.scanning.keeping import Keeper
    from weibnb.scanning.matrices import Listing, MatrixInCounting
    from weibnb.scanning.results import Results
    from weibnb.scanning.running_forces import Sums


class InFlight:
    """A record whose matrices are counted, or are fitted where they were counted.

    Attributes
    ----------
    listing : Listing
        The model at that step.
    here : list of Matrix
        What was counted on the host, or came back to it.
    fits : FitsOnDevice or None
        Fits of what stays where it was counted.
    """

    def __init__(self, listing: Listing, items: Sequence[MatrixInCounting]) -> None:
        self.listing, self._items = listing, items
        self.here: list[Matrix] = []
        self.fits: FitsOnDevice | None = None

    @property
    def must_not_wait(self) -> bool:
        """Whether weights are still to be read, which the training will change."""
        return not all(item.pending is None or item.was_read for item in self._items)

    def go_on(self, results: Results, *, wait: bool) -> None:
        """Take over the counts, if they are known or with `wait`, and begin fits on devices."""
        if not self._items or not (wait or all(item.ready for item in self._items)):
            return
        items, self._items = self._items, ()
        done = [item.finish(in_place=results.in_place) for item in items]
        self.here = [matrix for matrix in done if not isinstance(matrix, MatrixOnDevice)]
        there = [matrix for matrix in done if isinstance(matrix, MatrixOnDevice)]
        self.fits = results.begin_fits(there) if there else None

    def is_done(self, *, wait: bool) -> bool:
        """Whether everything is counted, and fits on devices are there or may be waited for."""
        return not self._items and (wait or self.fits is None or self.fits.done)

    def columns(self, results: Results) -> Columns | None:
        """Wait for the fits on devices; None if there are none."""
        return None if self.fits is None else results.fitted(self.fits)


class Flights:
    """The records that are in flight, the oldest first."""

    def __init__(self, counting: Counting, results: Results, keeper: Keeper) -> None:
        self._counting, self._results, self._keeper = counting, results, keeper
        self._waiting: deque[InFlight] = deque()

    def begin(self, listing: Listing, forces: Callable[[], Sums] | None) -> InFlight:
        """Begin to count; on threads also wait until every weight was read."""
        structure = self._results.structure
        begun = list(begin_counting(listing, self._counting, structure=structure, still=False))
        if forces is not None:
            sums = forces()
            for item in begun:
                role = item.tensor.role
                item.forces = sums.get((role.layer, role.component, item.expert))
        self._counting.launch()
        for problem in dict.fromkeys(item.problem for item in begun if item.problem):
            warnings.warn(printable(problem), stacklevel=3)
        record = InFlight(listing, begun)
        record.go_on(self._results, wait=record.must_not_wait)
        return record

    def take(self, record: InFlight) -> None:
        """Hand a record over to be fitted, now or when a device has counted it."""
        self._waiting.append(record)
        self.collect(wait=False)

    def collect(self, *, wait: bool = True) -> None:
        """Hand over what was counted; without `wait` what is known to be."""
        for record in self._waiting:
            record.go_on(self._results, wait=wait)
        while self._waiting and self._waiting[0].is_done(wait=wait):
            with held():
                record = self._waiting.popleft()
                self._keeper.keep(record.listing, record.here, record.columns(self._results))

    def look(self) -> None:
        """Hand over what devices have counted meanwhile; waits for nothing."""
        if self._waiting:
            self._counting.take()
            self.collect(wait=False)

    def finish(self) -> None:
        """Wait until everything that was recorded is kept."""
        self.collect()
        self._keeper.finish()
