"""Where a scan or a recording puts its fits, batch by batch: in memory, or in a store."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from weibnb.fits.build import estimate, pending
from weibnb.fits.layout import lay_out
from weibnb.fits.on_device import FitsOnDevice, MatrixOnDevice
from weibnb.fits.schema import FIELDS, FORCES, escape
from weibnb.fits.store import Store
from weibnb.fits.store_reading import open_store
from weibnb.fitting.backends import backend_name
from weibnb.interrupts import held
from weibnb.parallel import check_workers
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
    from weibnb.scanning.matrices import Cell, Listing

    Key = tuple[str, int]

# Seconds of counting after which what was counted is fitted and kept, and matrices that are
# fitted at once: what is lost when the process is killed, and how long Ctrl-C may wait.
_BATCH_SECONDS, _BATCH_MATRICES = 0.4, 4096
# Bytes of rows and columns of matrices that wait to be fitted.
_BATCH_BYTES = 1 << 26


class Results:
    """Fits in the making: counted matrices go in, a Dataset comes out; used in a ``with`` block.

    Attributes
    ----------
    store : Store or None
        Where they are kept beyond the end of the process.
    done : int
        How many matrices are counted, those that a store held already included.

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
        thin_beyond: int | None = None,
    ) -> None:
        self._trim, self._estimator = trim, estimator
        self._experts: Literal["median", "each"] = experts
        self._keep_counts = keep_counts
        self._workers = check_workers(workers)
        self.structure: Structure | None = None
        if structure:
            self.structure = Structure(fields, trim, estimator, self._workers)
        self._fields, self._forces = fields, forces
        self._fitted_on, self._ask = fitted_on, ask
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
                thin_beyond=thin_beyond,
            )
        self._sources: dict[Key, Source] = {}
        self._cells: dict[Key, set[Cell]] = {}
        self._listings: dict[Key, Listing] = {}
        self._open: dict[Key, set[Cell]] = {}
        self._columns: list[dict[str, NDArray[Any]]] = []
        self._batch: list[Matrix | MatrixOnDevice] = []
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
        return self._fitted_on is not None

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
            self._listings[key], self._open[key] = listing, set(cells)
        return cells

    def add(self, matrix: Matrix | MatrixOnDevice) -> None:
        """Take over a matrix that was counted; a batch is fitted at least twice a second."""
        self._batch.append(matrix)
        self.done += 1
        self._bytes += 0 if matrix.lines is None else matrix.lines.nbytes
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
            here = [matrix for matrix in batch if not isinstance(matrix, MatrixOnDevice)]
            if there:
                self._in_fitting.append(self._fit_in_place(there))
            if here:
                self._keep(here, self._fit(here))
            while self._in_fitting and (wait or self._in_fitting[0].done):
                fits = self._in_fitting.pop(0)
                self._keep(fits.matrices, self._chosen(fits.columns()))
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
            about = {"backend": backend_name(self._fitted_on)}
            about |= {"names": self._names} if self._names else {}
            return self._in_memory().assign_attrs(about)

    def _in_memory(self) -> xr.Dataset:
        """Lay out what was fitted, and what is open of the checkpoints that were reached."""
        reached = {key for columns in self._columns for key in _keys(columns)}
        waiting = [
            matrix
            for key, cells in self._open.items()
            if key in reached
            for matrix in self._listings[key].matrices(cells)
        ]
        untouched = set(self._open) - reached
        parts = [*self._columns, *([self._fit(waiting, counted=False)] if waiting else [])]
        return lay_out(
            {name: np.concatenate([part[name] for part in parts]) for name in parts[0]},
            [s for key, s in self._sources.items() if key not in untouched],
            trim=self._trim,
            estimator=self._estimator,
            experts=self._experts,
        )

    def _fit(self, batch: Sequence[Matrix], *, counted: bool = True) -> dict[str, NDArray[Any]]:
        how = estimate if counted else pending
        columns = how(
            batch,
            trim=self._trim,
            estimator=self._estimator,
            workers=self._workers,
            fitted_on=self._fitted_on,
        )
        return self._chosen(columns)

    def _fit_in_place(self, batch: Sequence[MatrixOnDevice]) -> FitsOnDevice:
        """Begin to fit what was counted on devices."""
        return FitsOnDevice(
            batch,
            trim=self._trim,
            estimator=self._estimator,
            keep_counts=self._keep_counts,
            ask=self._ask,
        )

    def _chosen(self, columns: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Drop the columns that were not asked for."""
        for name in () if self._fields else FIELDS:
            del columns[name]
        for name in () if self._forces or self.store is not None else FORCES:
            del columns[name]
        if not self._keep_counts:
            del columns["counts"]
        return columns

    def _keep(self, batch: Sequence[Matrix], columns: dict[str, NDArray[Any]]) -> None:
        if self.store is not None:
            self.store.add(columns)
            return
        self._columns.append(columns)
        for matrix in batch:
            self._open[matrix.model, matrix.step].discard(_cell(matrix))
        for key in _keys(columns):
            if not self._open[key]:
                del self._open[key], self._listings[key]


def _cell(matrix: Matrix) -> Cell:
    """Where a matrix belongs in its checkpoint."""
    return matrix.layer, matrix.component, matrix.expert


def _keys(columns: dict[str, NDArray[Any]]) -> set[Key]:
    """(model, step) of the rows of columns."""
    return set(zip(columns["model"].tolist(), columns["step"].tolist(), strict=True))
