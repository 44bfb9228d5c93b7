"""What a recorder does beside the training: it fits its records, keeps them, and judges them."""

from __future__ import annotations

import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.diagnostics.check import check_fits, count_errors
from weibnb.fits.inspection import FitsError
from weibnb.fitting.weibull import anchor
from weibnb.messages import counted, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.diagnostics.findings import Finding
    from weibnb.fits.build import Matrix
    from weibnb.scanning.fitter import Columns
    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.results import Results

    Place = tuple[Any, ...]

# Bytes of counts that may wait for room on the disk.
_UNWRITTEN = 1 << 28
# Rules whose findings are told again when they grow.
_GROWING = ("dead-lines", "nearly-dead-lines")
# What the errors of a check depend on.
_CAUSES = ("layer", "component", "expert", "rows", "cols", "status", "nonfinite")


@dataclass(frozen=True, slots=True)
class Record:
    """One step of a training, fitted."""

    listing: Listing
    columns: Columns

    @property
    def nbytes(self) -> int:
        """Bytes of its counts."""
        counts = self.columns.get("counts", ())
        return sum(one.labels.nbytes + one.packed.nbytes for one in counts)


class Keeper:
    """Fits records on a thread of its own and puts them into results, in their order.

    What it has to say it says on the thread of the caller, at the next call of `tell`.

    Attributes
    ----------
    latest : dict of str to float
        What `Recorder.latest` gives.
    closed : bool
        Whether nothing more is taken.
    """

    def __init__(
        self, results: Results, on_finding: Callable[[list[Finding]], object] | None
    ) -> None:
        self._results, self._on_finding = results, on_finding
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="weibnb-recorder")
        self._waiting: deque[Future[None]] = deque()
        self._unwritten: deque[Record] = deque()
        self._lost = 0
        self._warnings: deque[str] = deque()
        self._findings: deque[list[Finding]] = deque()
        self._known: dict[Place, float] = {}
        self._causes: list[list[Any]] | None = None
        self._is_full = False
        self._is_new = True
        self.latest: dict[str, float] = {}
        self.closed = False

    def keep(self, listing: Listing, matrices: Sequence[Matrix], there: Columns | None) -> None:
        """Fit matrices and keep them with those that were fitted elsewhere, as one record.

        Waits for the record before, so that a crash costs no more than the last; and for the
        first, while its thread loads the compiled loops.
        """
        while self._waiting:
            self._waiting.popleft().result()
        future = self._pool.submit(self._keep, listing, matrices, there)
        self._waiting.append(future)
        if self._is_new:
            self._is_new = False
            self.finish()

    def finish(self) -> None:
        """Wait until everything is fitted, and tell what there is to tell."""
        if self.closed:
            return
        self._waiting.append(self._pool.submit(self._write))
        while self._waiting:
            self._waiting.popleft().result()
        self.tell()

    def tell(self) -> None:
        """Raise what went wrong, warn of what was not written, and hand over findings."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft().result()
        while self._warnings:
            warnings.warn(self._warnings.popleft(), stacklevel=4)
        while self._findings and self._on_finding is not None:
            self._on_finding(self._findings.popleft())

    def close(self) -> None:
        """Finish, and stop the thread."""
        if self.closed:
            return
        try:
            self.finish()
        finally:
            self.closed = True
            self._pool.shutdown()
            self.tell_missing()

    def tell_missing(self) -> None:
        """Warn of records that the store does not hold."""
        if missing := len(self._unwritten) + self._lost:
            are = "is" if missing == 1 else "are"
            records = f"{counted(missing, 'record')} {are}"
            text = f"{records} not in the store, which could not be written."
            warnings.warn(text, stacklevel=4)

    def go_on_from(self, fits: xr.Dataset) -> None:
        """Take the last record of a store for the one before the next."""
        cells = {name: fits[name].values.ravel() for name in ("k", "lam")}
        shape = fits["k"].shape
        for dim in ("layer", "component"):
            at = fits["k"].dims.index(dim)
            sides = [-1 if axis == at else 1 for axis in range(len(shape))]
            labels = np.broadcast_to(fits[dim].values.reshape(sides), shape)
            cells[dim] = labels.ravel()
        self._set_latest(int(fits["step"].values[0]), cells, count_errors(fits))
        self._known = {_place(one): one.value for one in self._check(fits)}

    def _keep(self, listing: Listing, matrices: Sequence[Matrix], there: Columns | None) -> None:
        """Fit a record, write it, and say what is wrong with it."""
        record = Record(listing, self._results.fit(matrices, there))
        self._unwritten.append(record)
        self._write()
        self._judge(record)

    def _write(self) -> None:
        """Put what was fitted into the results; what a disk has no room for waits."""
        while self._unwritten:
            record = self._unwritten[0]
            try:
                self._results.keep(record.listing, record.columns)
            except (OSError, FitsError) as err:
                self._put_off(err)
                return
            self._unwritten.popleft()
        self._is_full = False

    def _put_off(self, err: Exception) -> None:
        """Let records wait that could not be written, as many as there is memory for."""
        if not self._is_full:
            self._is_full = True
            self._warnings.append(
                f"A record was not written: {printable(str(err))}. The training goes on, and so "
                "does the recording once the store can be written again."
            )
        while len(self._unwritten) > 1 and sum(one.nbytes for one in self._unwritten) > _UNWRITTEN:
            self._unwritten.popleft()
            self._lost += 1

    def _judge(self, record: Record) -> None:
        """Sum a record up, and tell findings that the one before did not have."""
        causes = [record.columns[name].tolist() for name in _CAUSES]
        causes.append([record.listing.source.step == 0])  # where zeros are no error
        found: Sequence[Finding] = ()
        if self._on_finding is not None:
            found = self._check(self._results.lay_out(record.listing.source, record.columns))
            errors = sum(one.severity == "error" for one in found)
        elif causes == self._causes:
            errors = int(self.latest["weibull/errors"])
        else:
            errors = count_errors(self._results.lay_out(record.listing.source, record.columns))
        self._causes = causes
        self._set_latest(record.listing.source.step, record.columns, errors)
        new = [one for one in found if self._is_news(one)]
        self._known = {_place(one): one.value for one in found}
        if new:
            self._findings.append(new)

    def _check(self, fits: xr.Dataset) -> Sequence[Finding]:
        """Give the findings of one record, if anyone wants them."""
        return check_fits(fits).findings if self._on_finding is not None else ()

    def _is_news(self, finding: Finding) -> bool:
        """Whether a finding was not there before, or tells of more dead lines than before."""
        before = self._known.get(_place(finding))
        return before is None or (finding.rule in _GROWING and finding.value > before)

    def _set_latest(self, step: int, cells: Columns, errors: int) -> None:
        """Sum a record up in flat numbers."""
        found = {"weibull/step": float(step), "weibull/errors": float(errors)}
        start = anchor(trim=self._results.trim, estimator=self._results.estimator).k
        components = cells["component"]
        for component in dict.fromkeys(components.tolist()):
            own = components == component
            layers = cells["layer"][own]
            for name in ("k", "lam"):
                median = _median_of_layers(layers, cells[name][own].astype(float))
                found[f"weibull/{name}/{component}"] = median
            k = found[f"weibull/k/{component}"]
            found[f"weibull/drift/{component}"] = 100 * (k / start - 1)
        self.latest = found


def _median_of_layers(layers: NDArray[Any], values: NDArray[np.float64]) -> float:
    """Give the median over layers, each the median of its experts; NaN without any fit."""
    known = np.isfinite(values)
    if not known.any():
        return float("nan")
    layers, values = layers[known], values[known]
    if len(set(layers.tolist())) == len(layers):
        return float(np.median(values))
    own = [values[layers == layer] for layer in np.unique(layers)]
    return float(np.median([np.median(some) for some in own]))


def _place(finding: Finding) -> Place:
    """Name a finding by its rule and its cells, at whatever step; rows apart from columns."""
    cells = tuple(cell._replace(step=None) for cell in finding.cells)
    return finding.rule, cells, "column" in finding.text
