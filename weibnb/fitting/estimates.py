"""Counts -> Weibull estimates with standard errors, for many matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.status import FIT_WORDS, MINIMUM_WEIGHTS
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

#: Names of the estimates, in the order of the compiled columns.
ESTIMATES = ("k", "lam", "r2", "ks", "ks_full", "k_se", "lam_se", "k_lam_correlation")
#: Matrices that a thread takes at once.
BATCH = 64


def as_count_rows(counts: ArrayLike) -> NDArray[np.unsignedinteger[Any]]:
    """Return counts as uint32 or, where they must be wider, uint64; NaN of a join becomes zero."""
    rows = np.asarray(counts)
    if rows.dtype == np.uint32:
        return rows
    if rows.dtype.kind == "f":
        rows = np.nan_to_num(rows)
    wide = rows.size > 0 and rows.max() > np.iinfo(np.uint32).max
    return rows.astype(np.uint64 if wide else np.uint32)


def fit_counts(
    counts: ArrayLike,
    labels: ArrayLike,
    exact: ArrayLike,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    workers: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit a Weibull to every row of a table of magnitude counts, as `fit_weibull` does to one.

    `counts` has shape (matrices, bins), `labels` (bins,) is ascending, `exact` (matrices,) says
    whether the bins of a row are single values. Returns `ESTIMATES` and ``status``, (matrices,).
    """
    from weibnb.fitting.kernels import STATUS, fit_rows

    trim, estimator = check_protocol(trim, estimator)
    rows, flags = as_count_rows(counts), np.asarray(exact, bool)
    low, high = label_values(labels), upper_edge(labels)
    x = np.log(np.stack([low / 2 + high / 2, low]))
    likelihood = estimator == "maximum_likelihood"

    def job(part: slice) -> Array:
        table: Array = fit_rows(rows[part], x, flags[part], trim, likelihood, MINIMUM_WEIGHTS)
        return table

    columns = np.concatenate(on_threads(job, slices(len(rows), BATCH), workers)).T
    fitted: dict[str, NDArray[Any]] = dict(zip(ESTIMATES, columns, strict=False))
    fitted["status"] = FIT_WORDS[columns[STATUS].astype(int)]
    return fitted
