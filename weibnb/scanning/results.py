"""Where a scan or a recording puts its fits, batch by batch: in memory, or in a store."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from weibnb.fits.layout import lay_out
from weibnb.fits.on_device import FitsOnDevice, MatrixOnDevice
from weibnb.fits.runs import branch_name
from weibnb.fits.schema import FIELDS, FORCES, NO_EXPERT, SAMPLING, escape
from weibnb.fits.store import Store
from weibnb.fits.store_reading import open_store
from weibnb.fitting.backends import backend_name
from weibnb.interrupts import held
from weibnb.parallel import check_workers
from weibnb.scanning.fitter import Fitted, Fitter
from weibnb.scanning.structure import Structure

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.fits.build import Matrix
    from weibnb.fits.layout import Source
    from weibnb.fitting.weibull import Estimator
    from weibnb.scanning.fitter import Columns
    from weibnb.scanning.matrices import Cell, Listing
    from weibnb.scanning.sampling import Sampling

    Key = tuple[str, int]

# Seconds of counting after which what was counted is fitted and kept, and matrices that are
# fitted at once: what is lost when the process is killed, and how long Ctrl-C may wait.
_BATCH_SECONDS, _BATCH_MATRICES = 0.4, 1024
# Bytes of rows and columns of matrices that wait to be fitted.
_BATCH_BYTES = 1 << 26
# Columns that tell where a matrix belongs.
_PLACE = ("model", "step", "layer", "component", "expert")
#: Variables that tell whether two records are of the same weights.
SAME = ("rows", "cols", "n", "nonfinite", "zero_fraction", "max_abs", "rms", "mean_abs")


class Results:
    """Fits in the making: counted matrices go in, a Dataset comes out; used in a ``with`` block.

    Attributes
    ----------
    store : Store or None
        Where they are kept beyond the end of the process.
    done : int
        How many matrices are counted, those that a store held already included.
    trim, estimator, workers
        As they were given; the number of threads is known.
    fitter : Fitter
        How matrices are fitted.

    Parameters
    ----------
    trim, estimator, experts, keep_counts, workers, structure, fields, names
        As in `weibnb.scan`.
    fitted_on : torch.device, optional
        Where torch fits what was counted on the host, and by default compiled code does; what was
        counted on a device is fitted there then.
    store : path, optional
        The store that keeps them, beyond the end of the process; by default memory does.
    ask : bool
        Whether a fit may ask a device if it is done, as of `weibnb.fits.on_device.FitsOnDevice`.
    forces : bool
        Whether matrices come with forces.
    sampling : Sampling, optional
        How much of each matrix is read, if that is not all.
    thin_beyond : int, optional
        As of `weibnb.fits.store.Store`.
    """

    def __init__(
        self,
        *,
        trim: tuple[float, float],
        estimator: Estimator,
        experts: Literal["median", "each"],
        keep_counts: bool,
        workers: int | None,
        fitted_on: torch.device | None,
        store: str | os.PathLike[str] | None,
        structure: bool,
        fields: bool,
        names: Mapping[str, str] | None = None,
        ask: bool = True,
        forces: bool = False,
        sampling: Sampling | None = None,
        thin_beyond: int | None = None,
    ) -> None:
        self.trim, self.estimator = trim, estimator
        self._experts: Literal["median", "each"] = experts
        self._keep_counts = keep_counts
        self.workers = check_workers(workers)
        self.structure: Structure | None = None
        if structure:
            self.structure = Structure(fields, trim, estimator, self.workers)
        left_out = {
            *(() if fields else FIELDS),
            *(() if forces or store is not None else FORCES),
            *(() if sampling is not None else SAMPLING),
            *(() if keep_counts else ("counts",)),
        }
        self.fitter = Fitter(trim, estimator, fitted_on, frozenset(left_out))
        self._ask = ask
        self.sampling = sampling
        self._names = json.dumps(dict(names)) if names else ""
        self.store: Store | None = None
        if store is not None:
            self.store = Store(
                store,
                trim=trim,
                estimator=estimator,
                experts=experts,
                keep_counts=keep_counts,
                fields=fields,
                backend=backend_name(fitted_on),
                names=self._names,
                sampling=str(sampling or ""),
                thin_beyond=thin_beyond,
            )
        self._sources: dict[Key, Source] = {}
        self._cells: dict[Key, set[Cell]] = {}
        self._listings: dict[Key, Listing] = {}
        self._open: dict[Key, set[Cell]] = {}
        self._columns: list[Columns] = []
        self._moving = threading.Lock()  # what is open becomes columns, while others look at both
        self._batch: list[Matrix | MatrixOnDevice | Fitted] = []
        self._in_fitting: list[FitsOnDevice] = []
        self._bytes = 0
        self._flushed = time.monotonic()
        self.done = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store; what was kept stays."""
        if self.store is not None:
            self.store.close()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to give."""
        if self.store is not None:
            return not self._sources
        return not (self._columns or self._batch or self._in_fitting)

    @property
    def in_place(self) -> bool:
        """Whether counts on a device are to stay there."""
        return self.fitter.fitted_on is not None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other scan writes to the store; in memory there is none."""
        if self.store is None:
            yield
            return
        with self.store.alone():
            yield

    def begin(self, listing: Listing, *, rescan: bool = False) -> set[Cell]:
        """Enter a checkpoint and its matrices; give the cells that are to be counted."""
        source, cells = listing.source, listing.cells()
        key = source.model, source.step
        self._sources[key] = source
        if self.store is not None:
            if listing.error is None:
                self._cells[escape(source.model), source.step] = cells
            left = self.store.begin(source, listing.matrices(), rescan=rescan)
            self.done += len(cells - left)
            return left
        if cells:
            with self._moving:
                self._listings[key], self._open[key] = listing, set(cells)
        return cells

    def add(self, matrix: Matrix | MatrixOnDevice | Fitted) -> None:
        """Take over a matrix that was counted; a batch is fitted at least twice a second."""
        self._batch.append(matrix)
        self.done += 1
        if not isinstance(matrix, Fitted) and matrix.lines is not None:
            self._bytes += matrix.lines.nbytes
        waited = time.monotonic() - self._flushed
        full = len(self._batch) >= _BATCH_MATRICES or self._bytes >= _BATCH_BYTES
        if full or waited > _BATCH_SECONDS:
            self.flush(wait=False)

    def flush(self, *, wait: bool = True) -> None:
        """Fit and keep what was counted; signals wait until that is done.

        Without `wait` fits on a device are begun, and kept by a later call that finds them done.
        """
        with held():
            batch, self._batch, self._bytes = self._batch, [], 0
            there = [matrix for matrix in batch if isinstance(matrix, MatrixOnDevice)]
            elsewhere = [matrix.columns for matrix in batch if isinstance(matrix, Fitted)]
            here = [one for one in batch if not isinstance(one, (MatrixOnDevice, Fitted))]
            if there:
                self._in_fitting.append(self.begin_fits(there))
            if here:
                self._keep(self._fit(here))
            if elsewhere:
                self._keep(_joined_columns(elsewhere))
            while self._in_fitting and (wait or self._in_fitting[0].done):
                self._keep(self.fitted(self._in_fitting.pop(0)))
            self._flushed = time.monotonic()

    def fits(self, wanted: Callable[[Key], bool]) -> xr.Dataset:
        """Give the fits of what was begun, or of the `wanted` (model, step) of a store.

        What is not counted yet has the status ``pending``; in memory, checkpoints of whose
        matrices none was counted are left out. Of what a store holds of a checkpoint only the
        cells that were begun are given, all of them if it could not be read.
        """
        self.flush()
        with held():
            if self.store is not None:
                return open_store(
                    self.store.path, wanted=wanted, cells=self._cells, experts=self._experts
                )
            return self._in_memory()

    def since(self, seen: int) -> tuple[int, xr.Dataset] | None:
        """Give fits and how many batches they are of, if that is more than `seen`; on any thread.

        Fits that a store keeps are read from there: `weibnb.fits.following.FollowedStore`.
        """
        number = len(self._columns)
        return (number, self._in_memory()) if number > seen else None

    def fit(self, batch: Sequence[Matrix], there: Columns | None = None) -> Columns:
        """Fit what was counted on the host, and put it behind what was fitted on devices.

        On this thread alone: it is called beside a training, which has the others.
        """
        parts = [] if there is None else [there]
        parts += [self._fit(batch, workers=1)] if batch or not parts else []
        if len(parts) == 1:
            return parts[0]
        return _joined_columns(parts)

    def fitted(self, fits: FitsOnDevice) -> Columns:
        """Wait for fits on devices."""
        return self.fitter.chosen(fits.columns())

    def keep(self, listing: Listing, columns: Columns) -> None:
        """Keep a checkpoint as a whole, in the place of one of the same step."""
        source = listing.source
        if self.store is not None:
            self.store.begin(source, listing.matrices(), rescan=True)
            self.store.add(columns)
        else:
            self._columns.append(columns)
        self._sources[source.model, source.step] = source

    def holds(self, listing: Listing, columns: Columns) -> bool:
        """Whether what is kept of a checkpoint was fitted to the same weights."""
        source = listing.source
        kept, again = self.read(source.model, source.step), self.lay_out(source, columns)
        return all(kept[dim].equals(again[dim]) for dim in ("layer", "component")) and all(
            np.allclose(kept[name], again[name], rtol=1e-9, atol=0.0, equal_nan=True)
            for name in SAME
        )

    def read(self, model: str, step: int, *, experts: bool = False) -> xr.Dataset:
        """Give the fits of one checkpoint that is kept, of each of its experts if wanted."""
        how: Literal["median", "each"] = "each" if experts else self._experts
        if self.store is not None:
            return open_store(self.store.path, keys={(escape(model), step)}, experts=how)
        own = [part for part in self._columns if (model, step) in _keys(part)]
        return self._laid_out(self._sources[model, step], own[-1], how)

    def forces_of(self, model: str, step: int) -> dict[Cell, NDArray[np.float64]]:
        """Give `FORCES` of the matrices of a checkpoint that is kept, where they are known."""
        fits = self.read(model, step, experts=True)
        if FORCES[0] not in fits:
            return {}
        if "expert" not in fits.dims:
            fits = fits.expand_dims(expert=[NO_EXPERT])
        dims = ("layer", "component", "expert")
        fits = fits[list(FORCES)].isel(model=0, step=0).transpose(*dims)
        values = np.stack([fits[name].values for name in FORCES], axis=-1)
        labels = [fits[dim].values.tolist() for dim in dims]
        return {
            (labels[0][i], labels[1][j], labels[2][at]): values[i, j, at]
            for i, j, at in np.argwhere(np.isfinite(values).all(axis=-1)).tolist()
        }

    def lay_out(self, source: Source, columns: Columns) -> xr.Dataset:
        """Lay out one checkpoint; step 0 is a start, where zeros are no fault."""
        if source.step == 0:
            source = replace(source, path="step0")
        return self._laid_out(source, columns, self._experts)

    def branch_off(self, model: str, after: int) -> str:
        """Give the checkpoints of a model after a step to a model of their own; tell its name."""
        if self.store is not None:
            return self.store.branch_off(model, after)
        name = branch_name(model, {model for model, _ in self._sources})
        for key in [key for key in self._sources if key[0] == model and key[1] > after]:
            self._sources[name, key[1]] = replace(self._sources.pop(key), model=name)
        for columns in self._columns:
            gone = (columns["model"] == model) & (columns["step"] > after)
            columns["model"] = np.where(gone, name, columns["model"])
        return name

    def kept(self, since: int = 0) -> tuple[list[Columns], dict[Key, Source]]:
        """Give what memory keeps: columns with a source each, and the sources; on any thread.

        Of the columns those `since` a number of them.
        """
        columns, sources = self._columns[since:], dict(self._sources)
        return [part for part in columns if _keys(part) <= sources.keys()], sources

    def laid_out(self, columns: Sequence[Columns], sources: Mapping[Key, Source]) -> xr.Dataset:
        """Lay out what memory keeps, or some of it."""
        keys = {key for part in columns for key in _keys(part)}
        return self._joined(columns, [source for key, source in sources.items() if key in keys])

    def _joined(self, columns: Sequence[Columns], sources: Sequence[Source]) -> xr.Dataset:
        """Lay out columns of some checkpoints."""
        about = {"backend": backend_name(self.fitter.fitted_on)}
        about |= {"names": self._names} if self._names else {}
        about |= {"sampling": str(self.sampling)} if self.sampling else {}
        return lay_out(
            _joined_columns(columns),
            sources,
            trim=self.trim,
            estimator=self.estimator,
            experts=self._experts,
        ).assign_attrs(about)

    def _in_memory(self) -> xr.Dataset:
        """Lay out what was fitted, and what is open of the checkpoints that were reached."""
        with self._moving:
            columns, sources = list(self._columns), dict(self._sources)
            still_open = {key: (self._listings[key], set(own)) for key, own in self._open.items()}
        reached = {key for part in columns for key in _keys(part)}
        waiting = [
            matrix
            for key, (listing, cells) in still_open.items()
            if key in reached
            for matrix in listing.matrices(cells)
        ]
        untouched = set(still_open) - reached
        if waiting:
            columns.append(self._fit(waiting, counted=False))
        wanted = [source for key, source in sources.items() if key not in untouched]
        return self._joined(columns, wanted)

    def _laid_out(
        self, source: Source, columns: Columns, experts: Literal["median", "each"]
    ) -> xr.Dataset:
        return lay_out(columns, [source], trim=self.trim, estimator=self.estimator, experts=experts)

    def _fit(
        self, batch: Sequence[Matrix], *, counted: bool = True, workers: int | None = None
    ) -> Columns:
        return self.fitter.fit(batch, workers=workers or self.workers, counted=counted)

    def begin_fits(self, batch: Sequence[MatrixOnDevice]) -> FitsOnDevice:
        """Begin to fit what was counted on devices; `fitted` gives the columns."""
        return FitsOnDevice(
            batch,
            trim=self.trim,
            estimator=self.estimator,
            keep_counts=self._keep_counts,
            ask=self._ask,
        )

    def _keep(self, columns: Columns) -> None:
        if self.store is not None:
            self.store.add(columns)
            return
        with self._moving:
            self._columns.append(columns)
            places = zip(*(columns[name].tolist() for name in _PLACE), strict=True)
            for model, step, layer, component, expert in places:
                self._open[model, step].discard((layer, component, expert))
            for key in _keys(columns):
                if not self._open[key]:
                    del self._open[key], self._listings[key]


def _keys(columns: Columns) -> set[Key]:
    """(model, step) of the rows of columns."""
    return set(zip(columns["model"].tolist(), columns["step"].tolist(), strict=True))


def _joined_columns(parts: Sequence[Columns]) -> Columns:
    """Put columns one behind the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
