"""What the rules look at: fits, their matrices one by one, and whoever can read the weights."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from weibnb.counting.formats import FORMATS
from weibnb.diagnostics.findings import Cell
from weibnb.diagnostics.pooling import ESTIMATES, pool_layers
from weibnb.diagnostics.rules.facts import facts_of
from weibnb.fits.rows import count_blocks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import pandas as pd
    import xarray as xr

    from weibnb.counting.counts import Counts
    from weibnb.diagnostics.pooling import Estimate
    from weibnb.diagnostics.rules.facts import Facts

    Checkpoint = tuple[str, int]
    Pooled = Mapping[Estimate, xr.Dataset]
    OtherCounts = Mapping[Checkpoint, Mapping[str, Counts | str]]

AXES = ("row", "col")
_LAYER_IN_NAME = re.compile(r"(?:^|\.)(?:layers?|h|blocks?|resblocks|blk)\.([0-9]{1,9})\.")
_START = re.compile(r"(?:.*[-_./\\])?(?:step|iter|iteration|checkpoint|ckpt)[-_=]?0+(?:[./\\].*)?$")


class Reader(Protocol):
    """Who can read the weights that were scanned; rules ask for as little as they can."""

    def counts(self, names: Mapping[Checkpoint, Collection[str]]) -> OtherCounts:
        """Count tensors of some checkpoints, or say why one cannot be read."""

    def digests(self, cells: Collection[Cell]) -> Mapping[Cell, str]:
        """Give a hash of the bits of matrices."""

    def levels(self) -> Mapping[Cell, tuple[float, int]]:
        """Give distinct magnitudes, and of how many neighbours, where rows have few of them."""

    def outliers(self) -> pd.DataFrame:
        """List weights that stand out, also in their own rows and columns."""

    def dead_lines(self) -> pd.DataFrame:
        """List rows and columns that are zero throughout."""

    def files(self) -> Mapping[Checkpoint, list[tuple[str, Mapping[str, str]]]]:
        """Give name and metadata of the files of each checkpoint."""

    def configs(self) -> Mapping[Checkpoint, Mapping[str, Any]]:
        """Give the configuration of each checkpoint."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """One matrix of a Dataset of fits; of experts that are not kept apart, all of a cell."""

    cell: Cell
    status: str
    dtype: str
    rows: int
    cols: int
    scaled: bool
    nonfinite: int
    zeros: float  # their share
    facts: Facts | None


@dataclass(frozen=True)
class Material:
    """Fits, and what follows from them for several rules."""

    fits: xr.Dataset
    reader: Reader | None = None
    given: Pooled | None = None

    @cached_property
    def pooled(self) -> Pooled:
        """What `pool_layers` says of k and λ, unless it was given."""
        return pool_estimates(self.fits) if self.given is None else self.given

    @cached_property
    def matrices(self) -> list[Matrix]:
        """Every matrix, experts one by one where there are counts."""
        fits = self.fits
        facts = _facts_by_cell(fits)
        dims = fits["k"].dims
        labels = {str(dim): fits[dim].values.tolist() for dim in dims}
        columns = {name: fits[name].values for name in _COLUMNS if name in fits}
        found: list[Matrix] = []
        for at in np.argwhere(columns["status"].astype(str) != "absent"):
            index = tuple(at.tolist())
            place = {dim: names[i] for (dim, names), i in zip(labels.items(), index, strict=True)}
            row = {name: column[index] for name, column in columns.items()}
            found += _of_cell(place, row, facts.get(index, {}))
        return found

    @cached_property
    def by_checkpoint(self) -> dict[Checkpoint, list[Matrix]]:
        """Matrices of each (model, step) of which there is one, or a problem."""
        order = {name: i for i, name in enumerate(self.models)}
        found: dict[Checkpoint, list[Matrix]] = {key: [] for key in self.about("problem")}
        for matrix in self.matrices:
            found.setdefault((matrix.cell.model, int(matrix.cell.step or 0)), []).append(matrix)
        return {key: found[key] for key in sorted(found, key=lambda key: (order[key[0]], key[1]))}

    @cached_property
    def models(self) -> list[str]:
        """Names of the models."""
        return [str(name) for name in self.fits["model"].values]

    def about(self, name: str) -> dict[Checkpoint, str]:
        """Give a text of every checkpoint that is not empty."""
        if name not in self.fits:
            return {}
        text = self.fits[name]
        text = text.isel(dict.fromkeys({*text.dims} - {"model", "step"}, 0))
        text = text.transpose("model", "step")
        return {
            (str(model), int(step)): str(text.values[i, j])
            for i, model in enumerate(text["model"].values)
            for j, step in enumerate(text["step"].values)
            if str(text.values[i, j])
        }

    @cached_property
    def left_out(self) -> dict[Checkpoint, list[dict[str, Any]]]:
        """Tensors of each checkpoint that are in no cell."""
        listed = {key: json.loads(text) for key, text in self.about("not_fitted").items()}
        return {
            key: [e | {n: str(e[n]) for n in ("tensor", "reason")} for e in entries if e["tensor"]]
            for key, entries in listed.items()
        }

    @cached_property
    def others(self) -> dict[Checkpoint, list[dict[str, Any]]]:
        """Those of them that hold floating-point numbers."""
        return {
            key: [e for e in entries if e["dtype"] in FORMATS and 0 not in e["shape"]]
            for key, entries in self.left_out.items()
        }

    @cached_property
    def other_counts(self) -> OtherCounts:
        """The counts of those; nothing without the weights."""
        names = {key: [e["tensor"] for e in entries] for key, entries in self.others.items()}
        wanted = {key: tensors for key, tensors in names.items() if tensors}
        return {} if self.reader is None else self.reader.counts(wanted)

    @cached_property
    def configs(self) -> Mapping[Checkpoint, Mapping[str, Any]]:
        """The configuration of each checkpoint; nothing without the weights."""
        return {} if self.reader is None else self.reader.configs()

    @cached_property
    def files(self) -> Mapping[Checkpoint, list[tuple[str, Mapping[str, str]]]]:
        """Name and metadata of the files of each checkpoint; nothing without the weights."""
        return {} if self.reader is None else self.reader.files()

    @cached_property
    def median_rms(self) -> dict[str, xr.DataArray]:
        """Median RMS of the rows, and of the columns, that are not zero, where they are known."""
        found = {}
        for axis in AXES:
            if f"{axis}_rms" in self.fits:
                rms = self.fits[f"{axis}_rms"]
                found[axis] = rms.where(rms > 0).median(self.lines_of(axis))
        return found

    def lines_of(self, axis: str) -> str:
        """Name the dim of rows, or of columns."""
        rms = self.fits[f"{axis}_rms"]
        return next(str(dim) for dim in rms.dims if dim not in self.fits["k"].dims)

    @cached_property
    def starts(self) -> set[Checkpoint]:
        """Checkpoints from before the training: step 0 of a run, or what is called so."""
        sources = self.about("source")
        steps = Counter(model for model, _ in self.by_checkpoint)
        return {
            (model, step)
            for model, step in self.by_checkpoint
            if step == 0 and (steps[model] > 1 or _START.match(sources.get((model, step), "")))
        }


_COLUMNS = (
    "status", "dtype", "rows", "cols", "scaled", "nonfinite", "zero_fraction", "parameter",
    "n_matrices",
)  # fmt: skip


def layer_in(name: str) -> int | None:
    """Give the number of the layer that a tensor's name tells.

    Examples
    --------
    >>> layer_in("model.layers.7.mamba.in_proj.weight")
    7
    """
    found = _LAYER_IN_NAME.search(name)
    return int(found[1]) if found else None


def flagged(flags: xr.DataArray) -> Iterator[tuple[tuple[int, ...], Cell]]:
    """Give index and cell of every flag of an array on the dims of k."""
    labels = {str(dim): flags[dim].values.tolist() for dim in flags.dims}
    for at in np.argwhere(flags.values).tolist():
        place = {dim: names[i] for (dim, names), i in zip(labels.items(), at, strict=True)}
        yield tuple(at), _cell(place)


def _cell(place: dict[str, Any], tensor: str = "") -> Cell:
    """Name the cell of some labels."""
    return Cell(
        str(place["model"]),
        int(place["step"]),
        int(place["layer"]),
        str(place["component"]),
        int(place.get("expert", -1)),
        tensor,
    )


def _facts_by_cell(fits: xr.Dataset) -> dict[tuple[int, ...], dict[int, Facts]]:
    """Give what is known from the counts of every cell, by expert."""
    found: dict[tuple[int, ...], dict[int, Facts]] = {}
    if "counts" not in fits:
        return found
    dims, shape = fits["counts"].dims, fits["counts"].shape
    apart = "expert" in dims and "expert" not in fits["k"].dims
    experts = fits["expert"].values.tolist() if apart else [-1]
    number = np.arange(int(np.prod(shape))).reshape(shape)
    dtypes = fits["dtype"].values if "dtype" in fits else np.full(fits["k"].shape, "")
    for block in count_blocks(fits):
        for flat, counts in zip(number[block.place].ravel(), block.counts, strict=True):
            if counts.n or counts.zeros or counts.nans or counts.infinities:
                index = tuple(int(i) for i in np.unravel_index(flat, shape))
                cell, expert = (index[:-1], experts[index[-1]]) if apart else (index, -1)
                found.setdefault(cell, {})[expert] = facts_of(counts, str(dtypes[cell]))
    return found


def _of_cell(place: dict[Any, Any], row: dict[str, Any], facts: dict[int, Facts]) -> list[Matrix]:
    """Give the matrices of one cell."""
    where = _cell(place, str(row.get("parameter", "")))
    status = str(row["status"])
    about = (str(row.get("dtype", "")), int(row.get("rows", 0)), int(row.get("cols", 0)))
    scaled = bool(row.get("scaled", False))
    if not facts:
        lost, zeros = int(row.get("nonfinite", 0)), float(row.get("zero_fraction", 0.0))
        return [Matrix(where, status, *about, scaled, lost, zeros, None)]
    alone = int(row.get("n_matrices", 1)) <= 1
    return [
        Matrix(
            where if expert < 0 else where._replace(expert=expert),
            status if alone else _status(one),
            *about,
            scaled,
            one.nonfinite,
            one.zeros / max(one.n + one.zeros, 1),
            one,
        )
        for expert, one in facts.items()
    ]


def _status(facts: Facts) -> str:
    """Give the word that the weights of one expert decide."""
    if facts.n == 0:
        return "all_zero" if facts.zeros else "no_finite"
    return "constant" if facts.exact and facts.levels == 1 else "ok"


def pool_estimates(fits: xr.Dataset) -> dict[Estimate, xr.Dataset]:
    """Pool k, and λ but for matrices with a scale tensor, which decides that of stored values."""
    if "scaled" in fits:
        fits = fits.assign(lam=fits["lam"].where(~fits["scaled"]))
    return {name: pool_layers(fits, of=name) for name in ESTIMATES}
