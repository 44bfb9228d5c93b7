"""Counts -> Weibull estimates with standard errors, for many matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.status import FIT_WORDS, MINIMUM_WEIGHTS
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

#: Names of the estimates, in the order of the compiled columns.
ESTIMATES = ("k", "lam", "r2", "ks", "ks_full", "k_se", "lam_se", "k_lam_correlation")
#: Matrices that a thread takes at once.
BATCH = 64


def fit_counts(
    rows: CountRows,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    workers: int | None = None,
    influence: Array | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit a Weibull to every row of counts, as `fit_weibull` does to one.

    Returns `ESTIMATES` and ``status``, each (matrices,). The influence of the weights of each bin
    on k and ln λ goes to `influence`, zeros of shape (2, entries), if it is given: their mean
    square over the weights is n times the variance that independent weights would have.
    """
    from weibnb.fitting.kernels import STATUS, fit_rows

    trim, estimator = check_protocol(trim, estimator)
    low, high = label_values(rows.labels), upper_edge(rows.labels)
    x = np.log(np.stack([low / 2 + high / 2, low]))
    likelihood = estimator == "maximum_likelihood"
    v = np.empty((2, 0)) if influence is None else influence

    def job(part: slice) -> Array:
        table: Array = fit_rows(rows.part(part), x, trim, likelihood, MINIMUM_WEIGHTS, v)
        return table

    columns = np.concatenate(on_threads(job, slices(rows.exact.size, BATCH), workers)).T
    fitted: dict[str, NDArray[Any]] = dict(zip(ESTIMATES, columns, strict=False))
    fitted["status"] = FIT_WORDS[columns[STATUS].astype(int)]
    return fitted
