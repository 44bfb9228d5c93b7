"""A store that another process writes to: what is new in it, read again and again."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from weibnb.fits.growing import Growing
from weibnb.fits.layout import lay_out
from weibnb.fits.runs import is_of_run
from weibnb.fits.schema import prepare
from weibnb.fits.store_reading import Entry, about_counts, changes, checkpoints, open_store
from weibnb.fitting.weibull import check_protocol

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

# Status of matrices that another process still fits.
_OPEN = ("pending", "unreadable")


@dataclass(frozen=True, slots=True)
class News:
    """What is new in a store.

    Attributes
    ----------
    fits : xarray.Dataset
        Its new checkpoints, and those of which there is more than before.
    whole : bool
        Whether this is all that the store holds, and nothing that was given before counts.
    """

    fits: xr.Dataset
    whole: bool


class StoreNews:
    """Tells what is new in a store since it was last asked; no file is kept open between.

    A checkpoint that is just being written is given at the second look: by then a record is
    whole, and a scan that takes longer shows what it has.

    Parameters
    ----------
    path : Path
        The store; it need not be there yet.
    run : str, optional
        The model, with its branches, that is of interest, where records are written as a whole; by
        default all are.

    Attributes
    ----------
    given : dict
        The checkpoints that were given, by their numbers.
    """

    def __init__(self, path: Path, run: str | None = None) -> None:
        self._path, self._run = path, run
        self._seen: tuple[int, int, int] | None = None  # device, file and number of changes
        self.given: dict[int, Entry] = {}
        self._open: dict[int, int] = {}  # how many of their matrices are to come
        self._held_back: set[int] = set()

    def read(self) -> News | None:
        """Give what is new; None if nothing is.

        Raises
        ------
        FileNotFoundError
            If there is no store yet.
        FitsError
            If it is no store, or damaged.
        OSError
            If it cannot be read.
        """
        seen = self._look()
        if seen == self._seen and not self._held_back:
            return None
        found = {at: one for at, one in checkpoints(self._path).items() if self._is_wanted(one[:2])}
        replaced = self._seen is None or seen[:2] != self._seen[:2]
        if replaced or any(found.get(number) != one for number, one in self.given.items()):
            news = self._read_whole(found)
        else:
            news = self._read_new(found)
        self._seen = seen
        return news

    def _look(self) -> tuple[int, int, int]:
        """Tell the file, and how often it was written to."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._seen = None
            raise FileNotFoundError(f"{self._path} is not there yet: waiting for it.") from None
        return status.st_dev, status.st_ino, changes(self._path)

    def _is_wanted(self, key: tuple[str, int]) -> bool:
        return self._run is None or is_of_run(key[0], self._run)

    def _read_whole(self, found: dict[int, Entry]) -> News | None:
        """Read all that there is."""
        if not found:
            return None
        fits = self.read_all()
        self.given, self._open = found, self._unfinished(fits, found)
        self._held_back = set()
        return News(fits, whole=True)

    def read_all(self) -> xr.Dataset:
        """Read all that there is, new or not."""
        return prepare(open_store(self._path, wanted=self._is_wanted))

    def _read_new(self, found: dict[int, Entry]) -> News | None:
        """Read the checkpoints that are new, and those that were not finished."""
        candidates = {
            number: one
            for number, one in found.items()
            if number not in self.given or number in self._open
        }
        if not candidates:
            return None
        fits = self._read(candidates)
        unfinished = self._unfinished(fits, candidates)
        given = {
            number: one
            for number, one in candidates.items()
            if unfinished.get(number) != self._open.get(number) or number not in self.given
        }
        self._held_back = {
            number
            for number in given
            if number in unfinished and number not in (*self._held_back, *self._open)
        }
        given = {number: one for number, one in given.items() if number not in self._held_back}
        self.given |= given
        self._open = {number: left for number, left in unfinished.items() if number in self.given}
        if not given:
            return None
        return News(fits if given == candidates else self._read(given), whole=False)

    def _read(self, some: dict[int, Entry]) -> xr.Dataset:
        """Read some checkpoints."""
        keys = {(one.model, one.step) for one in some.values()}
        return prepare(open_store(self._path, keys=keys))

    def _unfinished(self, fits: xr.Dataset, some: dict[int, Entry]) -> dict[int, int]:
        """Count the matrices of checkpoints that are still to be fitted, where there are any."""
        if self._run is not None:
            return {}
        status = fits["status"].load().transpose("model", "step", ...)
        to_come = (status == _OPEN[0]) | (status == _OPEN[1])
        number = to_come.sum([dim for dim in status.dims if dim not in ("model", "step")])
        models, steps = fits["model"].values.tolist(), fits["step"].values.tolist()
        keys = itertools.product(models, steps)
        left = dict(zip(keys, number.values.ravel().tolist(), strict=True))
        of_all = {at: left.get((one.model, one.step), 0) for at, one in some.items()}
        return {at: number for at, number in of_all.items() if number}


class FollowedStore:
    """All fits of a store, read again where there are newer ones.

    Parameters
    ----------
    path, run
        As of `StoreNews`.
    """

    def __init__(self, path: Path, run: str | None = None) -> None:
        self._news = StoreNews(path, run)
        self._growing = Growing(no_fits())

    @property
    def fits(self) -> xr.Dataset:
        """What was read last; before, fits of nothing."""
        return self._growing.fits

    def newer(self) -> xr.Dataset | None:
        """Give all fits if some of them are new, else None; later steps cost what is new.

        Raises
        ------
        FileNotFoundError, FitsError, OSError
            As `StoreNews.read`.
        """
        news = self._news.read()
        if news is None:
            return None
        if news.whole:
            self._growing = Growing(news.fits)
        elif self._growing.add(news.fits):
            kept = [one.counts_kept for one in self._news.given.values()]
            self.fits.attrs |= about_counts(kept) if "counts" in self.fits else {}
        else:
            self._growing = Growing(self._news.read_all())
        return self.fits


def no_fits() -> xr.Dataset:
    """Give fits of nothing, by the usual protocol, for a store that is still to come."""
    kinds = {
        **dict.fromkeys(("model", "component", "status"), object),
        **dict.fromkeys(("layer", "step", "expert"), np.int64),
        **dict.fromkeys(("k", "lam"), float),
    }
    columns = {name: np.empty(0, kind) for name, kind in kinds.items()}
    trim, estimator = check_protocol(None, "rank_regression")
    return lay_out(columns, [], trim=trim, estimator=estimator, experts="median")
