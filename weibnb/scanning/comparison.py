"""The weights of two checkpoints, read side by side -> what changed of every tensor."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.counting.changes import PendingChange
from weibnb.counting.formats import decode
from weibnb.diagnostics.changes import (
    NOT_COMPARED,
    OF_FITS,
    OF_WEIGHTS,
    Diff,
    as_table,
    directions_of,
)
from weibnb.diagnostics.changes_of_fits import named
from weibnb.fits.build import Matrix, estimate
from weibnb.fits.layout import Source, lay_out
from weibnb.fits.schema import FIELDS, NO_EXPERT, escape
from weibnb.fitting.distances import moved_between
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.pairs import change_between
from weibnb.fitting.rows import CountRows
from weibnb.io.mapping import check_unchanged
from weibnb.io.safetensors import CheckpointError
from weibnb.messages import printable
from weibnb.parallel import on_threads
from weibnb.scanning.pairing import not_compared, pair_up
from weibnb.scanning.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

    from weibnb.counting.changes import MatrixChange
    from weibnb.fitting.weibull import Estimator
    from weibnb.io.mapping import Origin
    from weibnb.scanning.matrices import Listing
    from weibnb.scanning.pairing import Pair

# Matrices that are fitted at once, and bytes of lines that wait for it.
_BATCH, _BATCH_BYTES = 256, 1 << 27


@dataclass(slots=True)
class _Waiting:
    """A pair that is being compared, and the files of both sides."""

    pair: Pair
    pending: PendingChange
    origins: tuple[Origin | None, Origin | None]


class Comparison:
    """Compares the weights of two checkpoints, a few matrices at once.

    Parameters
    ----------
    before, after : Listing
        Of checkpoints that are open, with ``fused="both"``.
    protocol : tuple
        Trim and estimator.
    workers : int
        Threads.
    """

    def __init__(
        self, before: Listing, after: Listing, protocol: tuple[Any, Estimator], workers: int
    ) -> None:
        self._pairs, self._left = pair_up(before, after)
        self._sources = before.source, after.source
        self._protocol: dict[str, Any] = dict(zip(("trim", "estimator"), protocol, strict=True))
        self._workers = workers
        self._rows: list[dict[str, Any]] = []
        self._columns: list[dict[str, Any]] = []
        self._done: list[tuple[Pair, MatrixChange]] = []
        self._names = named(*((source.model, source.step) for source in self._sources))
        if self._names[0] == self._names[1]:
            self._names = before.source.path, after.source.path

    def run(self, *, progress: bool | None) -> None:
        """Compare every pair; on Ctrl-C give up what was not begun."""
        waiting: deque[_Waiting] = deque()
        load = 0.0
        with (
            ThreadPoolExecutor(self._workers) as pool,
            progress_bar(progress=progress) as bar,
        ):
            bar.total = sum(pair.nbytes for pair in self._pairs)
            bar.set_description(f"{self._names[0]} → {self._names[1]}"[:60], refresh=False)
            try:
                for item in self._begin(pool):
                    waiting.append(item)
                    load += item.pending.load
                    while load > 1:
                        load -= waiting[0].pending.load
                        bar.update(self._finish(waiting.popleft()))
                while waiting:
                    bar.update(self._finish(waiting.popleft()))
            finally:
                for item in waiting:
                    item.pending.abandon()
        self._fit()

    def result(self) -> Diff:
        """Lay out what was found."""
        left = pd.DataFrame(
            [{name: getattr(one, name) for name in NOT_COMPARED} for one in self._left],
            columns=list(NOT_COMPARED),
        )
        table = as_table(self._rows)
        fits = self._lay_out(table)
        components = () if fits is None else tuple(fits["component"].values.tolist())
        return Diff(table, left, fits, *self._names, components)

    def _begin(self, pool: Executor) -> Iterator[_Waiting]:
        """Read both sides of each pair, and begin to compare them."""
        for pair in self._pairs:
            before, after = pair.before, pair.after
            reason = before.problem() or after.problem()
            shapes = before.features == after.features
            if not shapes or (pair.layer is None and before.info.shape != after.info.shape):
                reason = "of different shape"
            if reason:
                self._left.append(not_compared(before, after, reason + _same_bytes(pair)))
                continue
            try:
                one, origin = before.read(turned=before.turned)
                other, other_origin = after.read(turned=before.turned)
            except CheckpointError as err:
                self._left.append(not_compared(before, after, f"unreadable: {err}"))
                continue
            shape = before.stored_shape
            pending = PendingChange(pool, one, other, shape=shape, workers=self._workers)
            yield _Waiting(pair, pending, (origin, other_origin))

    def _finish(self, item: _Waiting) -> int:
        """Wait for a pair, fit when there are enough; give the bytes that were read."""
        found = item.pending.result()
        try:
            for origin in item.origins:
                check_unchanged(origin)
        except CheckpointError as err:
            self._left.append(not_compared(item.pair.before, item.pair.after, f"unreadable: {err}"))
            return item.pair.nbytes
        self._done.append((item.pair, found))
        held = sum(one.nbytes for _, done in self._done for one in done.lines or ())
        if len(self._done) >= _BATCH or held > _BATCH_BYTES:
            self._fit()
        return item.pair.nbytes

    def _fit(self) -> None:
        """Fit what was compared, and let go of its lines."""
        if not self._done:
            return
        done, self._done = self._done, []
        matrices = [self._matrix(pair, found) for pair, found in done]
        columns = estimate(matrices, workers=self._workers, **self._protocol)
        sides = [
            fit_counts(CountRows.of(counts), workers=self._workers, **self._protocol)
            for counts in zip(*((found.before, found.after) for _, found in done), strict=True)
        ]
        moves = on_threads(lambda item: self._moves(item[1]), done, self._workers)
        for i, (pair, found) in enumerate(done):
            row = _labels(pair) | moves[i] | _of_weights(pair, found)
            row |= {
                f"k_{at}": side["k"][i] for at, side in zip(("before", "after"), sides, strict=True)
            }
            row |= {
                f"change_{name}": columns[name][i] for name in ("k", "k_se", "r2", "h_row", "h_col")
            }
            row |= {"change_nonfinite": found.change.nans, "status": str(columns["status"][i])}
            if not found.change.n:
                row["status"] = "nonfinite" if found.changed else "unchanged"
            self._rows.append(row)
        kept = np.array([pair.layer is not None for pair, _ in done])
        self._columns.append({name: column[kept] for name, column in columns.items()})

    def _matrix(self, pair: Pair, found: MatrixChange) -> Matrix:
        """Describe ΔW as a scan describes a matrix."""
        rows, cols = pair.before.features
        return Matrix(
            model=escape(" → ".join(self._names)),
            layer=-1 if pair.layer is None else pair.layer,
            component=pair.component,
            step=0,
            expert=pair.expert,
            parameter=pair.after.info.name,
            dtype=pair.after.info.dtype,
            rows=rows,
            cols=cols,
            status="ok",
            counts=found.change,
            lines=None if found.lines is None else found.lines[2],
            transposed=pair.before.turned,
        )

    def _moves(self, found: MatrixChange) -> dict[str, Any]:
        """Give the changes of the estimates, with their errors."""
        lines = None if found.lines is None else found.lines[:2]
        fit = change_between(found.before, found.after, lines, **self._protocol)
        moved = moved_between(found.before, found.after, lines)
        return {
            "delta_k": fit.k,
            "delta_k_se": fit.k_se,
            "delta_ln_lam": fit.log_lam,
            "delta_ln_lam_se": fit.log_lam_se,
            "delta_ln_rms": moved.log_rms,
            "delta_ln_rms_se": moved.log_rms_se,
            "distance": moved.distance,
            "distance_se": moved.distance_se,
            "errors": "none" if lines is None else "paired",
        }

    def _lay_out(self, table: pd.DataFrame) -> xr.Dataset | None:
        """Put the fits of the change, and what the table has of it, onto layers and components."""
        columns = {
            name: np.concatenate([part[name] for part in self._columns])
            for name in (self._columns[0] if self._columns else ())
            if name not in FIELDS
        }
        if not columns or not columns["layer"].size:
            return None
        entries = [
            {"tensor": one.tensor, "shape": list(one.shape_after or one.shape_before or ()),
             "dtype": one.dtype_after or one.dtype_before, "reason": f"{one.where}: {one.reason}"}
            for one in self._left
        ]  # fmt: skip
        after = self._sources[1]
        name = " → ".join(self._names)
        source = Source(name, 0, after.path, "", after.config, "", entries)
        several = bool((columns["expert"] != NO_EXPERT).any())
        fits = lay_out(columns, [source], experts="each" if several else "median", **self._protocol)
        return _with_columns(fits, table)


def _same_bytes(pair: Pair) -> str:
    """Say whether what is not read as numbers is the same all the same."""
    one, other = pair.before.info, pair.after.info
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return ""
    try:
        bits = [side.checkpoint.raw(side.info.name) for side in (pair.before, pair.after)]
    except CheckpointError:
        return ""
    return ": the same bits" if np.array_equal(bits[0], bits[1]) else ": other bits"


def _labels(pair: Pair) -> dict[str, Any]:
    """Name a pair."""
    rows, cols = pair.before.features
    return {
        "layer": pd.NA if pair.layer is None else pair.layer,
        "component": printable(pair.component),
        "expert": pair.expert,
        "tensor": printable(pair.after.info.name),
        "rows": rows,
        "cols": cols,
        "dtype_before": pair.before.info.dtype,
        "dtype_after": pair.after.info.dtype,
    }


def _of_weights(pair: Pair, found: MatrixChange) -> dict[str, Any]:
    """Give what only the weights tell."""
    dd, aa, bb, ab = found.squares
    product = np.sqrt(aa) * np.sqrt(bb)
    row: dict[str, Any] = {
        "changed": found.changed / found.size if found.size else 0.0,
        "relative": np.sqrt(dd / aa) if aa else np.inf if dd else 0.0,
        "cosine": min(max(ab / product, -1.0), 1.0) if product else np.nan,
        "largest": found.change.largest,
        "directions": np.nan,
    }
    if dd == 0 and aa:
        row["cosine"] = 1.0
    if product:  # exactly, where counts are intervals
        row["delta_ln_rms"] = (np.log(bb) - np.log(aa)) / 2
    if found.largest_at >= 0:
        place = divmod(found.largest_at, pair.before.stored_shape[1])
        row["largest_row"], row["largest_col"] = place[::-1] if pair.before.turned else place
    if found.lines is not None:
        change = found.lines[2]
        lines = change.columns.T if pair.before.turned else change.rows
        row["directions"] = directions_of(decode(np.ascontiguousarray(lines), change.dtype))
    return row


def _with_columns(fits: xr.Dataset, table: pd.DataFrame) -> xr.Dataset:
    """Put the numbers of the table beside the fits of the change."""
    matrices = table[table["layer"].notna()]
    dims = fits["k"].dims
    places = tuple(
        pd.Index(fits[dim].values).get_indexer(matrices[dim].to_numpy(fits[dim].dtype))
        for dim in ("layer", "component", "expert")
        if dim in dims
    )
    names = [
        name
        for name in (*OF_WEIGHTS, *OF_FITS)
        if not name.startswith("change_") and name != "errors"
    ]
    order = [dim for dim in ("layer", "component", "expert") if dim in dims]
    found = {}
    for name in names:
        cells = np.full([fits.sizes[dim] for dim in order], np.nan)
        cells[places] = matrices[name].to_numpy(float, na_value=np.nan)
        found[name] = xr.DataArray(cells, dims=order).expand_dims(["model", "step"])
    return fits.assign({name: array.transpose(*dims) for name, array in found.items()})
