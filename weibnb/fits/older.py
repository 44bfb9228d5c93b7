"""What files of older versions lack, or hold otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.formats import label_values, upper_edge
from weibnb.fits.lazy import LazyCounts, with_counts
from weibnb.fits.schema import NO_EXPERT, VARIABLES, error_kind
from weibnb.fitting.estimates import EFFECTS

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray


def with_error_kind(fits: xr.Dataset) -> xr.Dataset:
    """Say of fits whose errors are independent, without saying so, that they are."""
    if "se_kind" in fits or "k_se" not in fits:
        return fits
    error = fits["k_se"]
    missing = {
        name: error.copy(data=np.full(error.shape, np.nan)).assign_attrs(
            long_name=VARIABLES[name][0], units=VARIABLES[name][1]
        )
        for name in EFFECTS
    }
    kind = error.copy(data=error_kind(error.values, missing[EFFECTS[0]].values))
    kind.attrs = {"long_name": VARIABLES["se_kind"][0]}
    return fits.assign(missing | {"se_kind": kind})


def restored_dense(fits: xr.Dataset) -> xr.Dataset:
    """Read counts on the dim ``bin`` as `Counts` of each matrix; other fits stay as they are.

    Zeros are what is missing from the size of a matrix. Of merged experts neither those that are
    all zero nor weights that are not finite can be told apart any more: they are left out.
    """
    if "bin" not in fits.dims:
        return fits
    rest = fits.drop_dims("bin").drop_vars("counts_exact", errors="ignore")
    if not {"counts", "counts_exact"} <= set(fits.variables):
        return rest
    counts = fits["counts"].transpose(..., "bin").variable
    dims = counts.dims[:-1]
    single = fits["n_matrices"] <= 1
    if "expert" in dims and "expert" not in fits["k"].dims:
        single = single & (fits["expert"] == NO_EXPERT)
    known = {
        "exact": fits["counts_exact"],
        "size": fits["rows"].astype(np.int64) * fits["cols"],
        "nonfinite": fits["nonfinite"].where(single, 0),
        "largest": fits["max_abs"].where(single, 0.0).fillna(0.0),
        "all_zero": single & (fits["status"] == "all_zero"),
    }
    exact = fits["counts_exact"]
    columns = {
        name: array.broadcast_like(exact).transpose(*dims).values.ravel()
        for name, array in known.items()
    }
    load = _Dense(counts, fits["bin"].values.astype(np.int32), columns)
    return with_counts(rest, dims, LazyCounts(counts.shape[:-1], load))


@dataclass(frozen=True, slots=True, eq=False)
class _Dense:
    """Reads counts from rows of all bins."""

    counts: xr.Variable
    labels: NDArray[np.int32]
    known: dict[str, NDArray[Any]]

    def __call__(self, cells: NDArray[np.int64]) -> list[Counts]:
        """Read cells by their numbers."""
        return [self._one(int(cell)) for cell in cells]

    def _one(self, cell: int) -> Counts:
        place = np.unravel_index(cell, self.counts.shape[:-1])
        row = self.counts[tuple(int(at) for at in place)].values
        there = np.flatnonzero(row)
        labels, numbers = self.labels[there], row[there]
        known = {name: column[cell].item() for name, column in self.known.items()}
        n, nonfinite = int(numbers.sum()), int(known["nonfinite"])
        zeros = known["size"] - n - nonfinite if n or known["all_zero"] else 0
        top = label_values(labels) if known["exact"] else upper_edge(labels)
        return Counts(
            labels,
            numbers,
            max(zeros, 0),
            nans=nonfinite,
            largest=known["largest"] or float(top.max(initial=0.0)),
            exact=known["exact"],
        )
