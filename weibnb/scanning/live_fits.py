"""Fits of a recorder beside the training: read on another thread, for which it never waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from weibnb.fits.following import FollowedStore
from weibnb.fits.growing import Growing

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr

    from weibnb.scanning.results import Results

    Key = tuple[str, int]


def follow(results: Results) -> Callable[[], xr.Dataset | None]:
    """Give what tells, on any thread, all fits that are kept if some of them are new, else None."""
    if results.store is not None:
        return FollowedStore(results.store.path).newer
    return _InMemory(results).newer


class _InMemory:
    """What is kept in memory: records are only added to it, and given to a branch as a whole."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._growing: Growing | None = None
        self._taken = 0
        self._keys: set[Key] = set()

    def newer(self) -> xr.Dataset | None:
        """Give all fits if some of them are new; a new record costs what is new."""
        columns, sources = self._results.kept()
        if not self._keys <= set(sources):  # a branch: records are of another model now
            self._growing, self._taken = None, 0
        columns = columns[self._taken :]
        if not columns:
            return None
        part = self._results.laid_out(columns, sources)
        if self._growing is None or not self._growing.add(part):
            whole, _ = self._results.kept()
            columns = whole[: self._taken + len(columns)]
            self._growing = Growing(self._results.laid_out(columns, sources))
            self._taken = 0
        self._taken += len(columns)
        self._keys = set(sources)
        return self._growing.fits
