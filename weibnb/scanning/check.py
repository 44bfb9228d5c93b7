"""Is this checkpoint healthy: the door to the rules, for paths, models, runs and fits."""

from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.counting.dispatch import Counting
from weibnb.counting.formats import FORMATS
from weibnb.diagnostics.check import check_fits, choose_rules
from weibnb.diagnostics.findings import Cell
from weibnb.fits.files import SUFFIXES, open_fits
from weibnb.fits.schema import DIMS, escape, prepare
from weibnb.fits.store_schema import STORE_SUFFIXES
from weibnb.io.guard import watch
from weibnb.io.hub_revisions import with_revisions
from weibnb.io.limits import MAX_HEADER, MAX_TENSORS
from weibnb.io.mapping import check_unchanged, origin_of
from weibnb.io.sources import on_base
from weibnb.scanning.locate import dead_lines, find_outliers
from weibnb.scanning.reading_again import open_again, read_again
from weibnb.scanning.scan import scan

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import pandas as pd
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.diagnostics.findings import Check
    from weibnb.io.checkpoint import Checkpoint

    Place = tuple[str, int]

#: Rows of a matrix that are looked at for few levels, and the neighbours that a group holds.
ROWS_LOOKED_AT, GROUP = 8, 32
#: Most distinct magnitudes of a row that are few, and of the non-zero weights of a row or group.
FEW_IN_A_ROW, SHARE_OF_A_ROW, SHARE_OF_A_GROUP = 128, 0.25, 0.5
_LONGEST = 4096


def check(
    source_or_fits: Any,
    *,
    revision: str | Sequence[str] | None = None,
    source: Any = None,
    base: Any = None,
    names: Mapping[str, str] | None = None,
    dequantise: bool = False,
    select: Iterable[str] | None = None,
    ignore: Iterable[str] = (),
    baseline: xr.Dataset | str | os.PathLike[str] | None = None,
    max_tensors: int = MAX_TENSORS,
    max_header: int = MAX_HEADER,
    workers: int | None = None,
    progress: bool | None = None,
) -> Check:
    """Tell whether a checkpoint is healthy: what is broken, suspicious or worth knowing.

    Parameters
    ----------
    source_or_fits : path, torch.nn.Module, Mapping or xarray.Dataset
        What `weibnb.scan` takes, which is scanned; or fits, a file of fits or a store.
    revision : str or sequence of str, optional
        As in `weibnb.scan`, of a repository on the Hub, whose weights are read twice.
    source : path, torch.nn.Module or Mapping, optional
        Where the weights of fits are, for the rules that look at them again.
    base, names
        As in `weibnb.scan`, for what is scanned.
    dequantise : bool
        As in `weibnb.scan`; of fits, whether they are of restored weights.
    select, ignore : iterable of str
        Names of rules to go by alone, or to leave out.
    baseline : xarray.Dataset or path, optional
        Fits of the same model from before: only what is new is told.
    max_tensors, max_header, workers, progress
        As in `weibnb.scan`.

    Returns
    -------
    Check
        ``ok`` if there is no error, ``findings`` and ``table`` with the worst first, and
        ``not_looked_at``, the rules that could not be answered. Prints as text.

    Raises
    ------
    CheckpointError, FitsError
        If the checkpoint, or the file of fits, cannot be read.
    TypeError, ValueError
        If an argument is not valid, a rule does not exist, or the baseline is of another model.

    Notes
    -----
    The rules, with their limits and measured false alarms, are on the page "Is it healthy?" of
    the documentation. A checkpoint is scanned once; matrices that may be copies, or have zeros
    enough for a dead line, and eight rows of each are read a second time, and the tensors that
    are no matrices of a layer once.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> weights = {f"model.layers.{i}.mlp.up_proj.weight": rng.normal(0, 0.02, (64, 64))
    ...            for i in range(4)}
    >>> weights["model.layers.3.mlp.up_proj.weight"][5, 5] = np.nan
    >>> found = check({"tiny": weights}, ignore=["untrained"])
    >>> found.ok, found.table[["rule", "layer"]].values.tolist()
    (False, [['nonfinite', 3]])
    """
    choose_rules(select, ignore)
    with fits_of(baseline) as before:
        if is_fits(source_or_fits):
            if base is not None or names is not None or revision is not None:
                raise ValueError(
                    "`base`, `names` and `revision` must come with a checkpoint, got fits: they "
                    "were made with what weibnb.scan was given."
                )
            with fits_of(source_or_fits) as fits:
                reader = None
                if source is not None:
                    reader = WeightsReader(fits, source, dequantise, workers)
                return check_fits(
                    fits, select=select, ignore=ignore, baseline=before, reader=reader
                )
        if source is not None:
            raise ValueError("`source` must come with fits; a checkpoint is its own source.")
        given = with_revisions(source_or_fits, revision)
        given = given if base is None else on_base(given, base)
        fits = scan(
            given,
            names=names,
            dequantise=dequantise,
            fields=True,
            max_tensors=max_tensors,
            max_header=max_header,
            workers=workers,
            progress=progress,
        )
        reader = WeightsReader(fits, given, dequantise, workers)
        return check_fits(fits, select=select, ignore=ignore, baseline=before, reader=reader)


def is_fits(given: Any) -> bool:
    """Whether this is a Dataset, or named as a file of fits or a store."""
    if isinstance(given, xr.Dataset):
        return True
    named = isinstance(given, (str, os.PathLike))
    return named and Path(given).suffix.lower() in (*SUFFIXES, *STORE_SUFFIXES)


def fits_of(given: Any) -> AbstractContextManager[Any]:
    """Open a file of fits; give what is open as it is."""
    return open_fits(given) if isinstance(given, (str, os.PathLike)) else nullcontext(given)


@dataclass(frozen=True, slots=True)
class WeightsReader:
    """Reads the weights of fits again, for `weibnb.diagnostics.rules`.

    Before each checkpoint and matrix it calls `before_each`, which may raise to end it.
    """

    fits: xr.Dataset
    source: Any
    dequantise: bool = False
    workers: int | None = None
    before_each: Callable[[], object] = lambda: None

    def counts(
        self, names: Mapping[Place, Collection[str]]
    ) -> Mapping[Place, Mapping[str, Counts | str]]:
        """Count tensors of some checkpoints, or say why one cannot be read."""
        again = open_again(list(names), self.fits, self.source, dequantise=self.dequantise)
        with Counting("cpu", workers=self.workers) as counting:
            return {key: self._count(opened, set(names[key]), counting) for key, opened in again}

    def digests(self, cells: Collection[Cell]) -> Mapping[Cell, str]:
        """Give a hash of the bits of matrices."""
        by_place = {cell[:5]: cell for cell in cells}
        wanted = {cell[:4] for cell in cells}
        found: dict[Cell, str] = {}
        for key, bits, dtype, _ in self._read_again(self._flag(wanted)):
            cell = by_place.get(_place(key))
            if cell is not None:
                digest = hashlib.blake2b(dtype.encode(), digest_size=16)
                digest.update(bits.data)
                found[cell] = digest.hexdigest()
        return found

    def levels(self) -> Mapping[Cell, tuple[float, int]]:
        """Give distinct magnitudes, and of how many neighbours, where rows have few of them."""
        statuses = ("ok", "nonfinite", "scaled", "partial")
        flagged = prepare(self.fits, light=True, dims=DIMS)["status"].isin(statuses)
        found: dict[Cell, tuple[float, int]] = {}
        for key, bits, dtype, width in self._read_again(flagged):
            if FORMATS[dtype].bits.itemsize > 1 and (few := few_levels(bits, width)):
                found[Cell(*_place(key))] = few
        return found

    def outliers(self) -> pd.DataFrame:
        """List weights that stand out, also in their own rows and columns."""
        return find_outliers(self.fits, source=self.source, top=1, dequantise=self.dequantise)

    def dead_lines(self) -> pd.DataFrame:
        """List rows and columns that are zero throughout."""
        return dead_lines(self.fits, source=self.source, dequantise=self.dequantise)

    def files(self) -> Mapping[Place, list[tuple[str, Mapping[str, str]]]]:
        """Give name and metadata of the files of each checkpoint."""
        return {key: opened.files for key, opened in self._opened()}

    def configs(self) -> Mapping[Place, Mapping[str, Any]]:
        """Give the configuration of each checkpoint."""
        return {key: opened.config for key, opened in self._opened()}

    def _count(
        self, checkpoint: Checkpoint, names: set[str], counting: Counting
    ) -> dict[str, Counts | str]:
        """Count the tensors of these names, or say why one cannot be read."""
        problems = dict(checkpoint.problems)
        found: dict[str, Counts | str] = {name: problems[name] for name in names & problems.keys()}
        for name, info in checkpoint.tensors.items():
            if name in names and name not in problems:
                self.before_each()
                bits = checkpoint.raw(name)
                watch(bits)
                found[name] = counting.submit_bits(bits, info.dtype).result()
                check_unchanged(origin_of(bits))
        return found

    def _read_again(
        self, flagged: xr.DataArray
    ) -> Iterator[tuple[dict[str, Any], NDArray[Any], str, int]]:
        """Read the matrices of flagged cells."""
        for matrix in read_again(flagged, self.fits, self.source, dequantise=self.dequantise):
            self.before_each()
            yield matrix

    def _opened(self) -> Iterator[tuple[Place, Checkpoint]]:
        """Open the checkpoints that could be read, one after the other."""
        about = prepare(self.fits, light=True, dims=DIMS)[["source", "problem"]]
        readable = (about["source"] != "") & (about["problem"] == "")
        readable = readable.transpose("model", "step")
        wanted = [
            (str(about["model"].values[i]), int(about["step"].values[j]))
            for i, j in np.argwhere(readable.values)
        ]
        for opened in open_again(wanted, self.fits, self.source):
            self.before_each()
            yield opened

    def _flag(self, wanted: set[tuple[Any, ...]]) -> xr.DataArray:
        """Flag cells by (model, step, layer, component)."""
        status = prepare(self.fits, light=True, dims=DIMS)["status"]
        flagged = xr.zeros_like(status, dtype=bool)
        for model, step, layer, component in wanted:
            place = {"model": model, "step": step, "layer": layer, "component": component}
            flagged.loc[place] = True
        return flagged


def _place(key: Mapping[str, Any]) -> tuple[Any, ...]:
    """Order the labels of a matrix as those of a `Cell`."""
    names = ("model", "step", "layer", "component", "expert")
    return tuple(escape(v) if isinstance(v := key[name], str) else v for name in names)


def few_levels(bits: NDArray[Any], width: int) -> tuple[float, int] | None:
    """Give distinct magnitudes, and of how many neighbours, if rows or groups have few of them.

    Looks at a few rows; zeros, which pruning makes too, count as nothing.

    Examples
    --------
    >>> rows = np.resize(np.arange(1.0, 8.0, dtype=np.float32), 64 * 64)
    >>> few_levels(rows.view(np.uint32), 64)
    (7.0, 32)
    >>> few_levels(np.arange(1.0, 4097.0, dtype=np.float32).view(np.uint32), 64) is None
    True
    """
    table = bits.reshape(-1, width)
    at = np.unique(np.linspace(0, len(table) - 1, ROWS_LOOKED_AT).astype(int))
    mask = bits.dtype.type((1 << (8 * bits.dtype.itemsize - 1)) - 1)
    rows = table[at, :_LONGEST] & mask
    groups = rows[:, : rows.shape[1] // GROUP * GROUP].reshape(-1, GROUP)
    for lines, most, share in (
        (groups, GROUP, SHARE_OF_A_GROUP),
        (rows, FEW_IN_A_ROW, SHARE_OF_A_ROW),
    ):
        lines = lines[(lines > 0).any(axis=1)]
        if not lines.size or lines.shape[1] < GROUP:
            continue
        ordered = np.sort(lines, axis=1)
        new = np.diff(ordered, axis=1, prepend=ordered.dtype.type(0)) != 0
        distinct = new.sum(axis=1)
        if distinct.mean() <= most and distinct.sum() <= share * (lines > 0).sum():
            return round(float(distinct.mean()), 1), int(lines.shape[1])
    return None
