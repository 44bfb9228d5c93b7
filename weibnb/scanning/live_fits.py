"""Fits of a recorder while it records: read beside the training, at the cost of what is new."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from weibnb.fits.following import FollowedStore, no_fits
from weibnb.fits.growing import Growing
from weibnb.fits.schema import escape
from weibnb.fits.store_reading import AT_ONCE

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.scanning.results import Results

    Key = tuple[str, int]


class LiveFits(Protocol):
    """Fits that are kept, read again where there are newer ones, on any one thread."""

    @property
    def fits(self) -> xr.Dataset:
        """What was read last; before, fits of nothing."""

    def newer(self) -> xr.Dataset | None:
        """Give all fits if some of them are new, else None; a new record costs what is new."""


def live_fits(results: Results, run: str | None = None) -> LiveFits:
    """Give what reads all fits that are kept, or those of a run and its branches."""
    if results.store is not None:
        return FollowedStore(results.store.path, None if run is None else escape(run))
    return _InMemory(results)


def apart(fits: xr.Dataset) -> xr.Dataset:
    """Give fits of their own, which may be changed; many stay unread until they are asked for."""
    fits = fits.copy()
    if fits["k"].size <= AT_ONCE:
        fits.drop_vars("counts", errors="ignore").load()
    return fits


class _InMemory:
    """What is kept in memory: records are only added to it, and given to a branch as a whole."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._growing = Growing(no_fits())
        self._taken = 0
        self._keys: set[Key] = set()

    @property
    def fits(self) -> xr.Dataset:
        """What was read last; before, fits of nothing."""
        return self._growing.fits

    def newer(self) -> xr.Dataset | None:
        """Give all fits if some of them are new, else None."""
        new, sources = self._results.kept(self._taken)
        if not self._keys <= sources.keys():  # a branch: records are of another model now
            self._taken = 0
            new, sources = self._results.kept()
        if not new:
            return None
        taken = self._taken + len(new)
        if not (self._taken and self._growing.add(self._results.laid_out(new, sources))):
            columns, sources = self._results.kept()
            self._growing = Growing(self._results.laid_out(columns[:taken], sources))
        self._taken, self._keys = taken, set(sources)
        return self.fits
