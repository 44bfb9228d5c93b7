"""Counts -> Weibull estimates with standard errors, for many matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.status import FIT_WORDS, MINIMUM_WEIGHTS
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.parallel import on_threads, slices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines
    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

#: Names of the estimates that fits hold, in the order of the compiled columns.
ESTIMATES = ("k", "lam", "r2", "ks", "ks_full", "k_se", "lam_se", "k_lam_correlation")
#: The same with what is kept of a single fit alone.
COLUMNS = (*ESTIMATES, "ks_midrank")
# Intervals that must lie below a magnitude for it to be fitted, the grid of the subnormal
# intervals of float32, and where they are that many: some 1.5e-39.
_FEWEST_STEPS = 64
_FLOAT32_GRID, _FLOAT32_FINE = 2.0**-137, 2.0**-129
#: Clustered over independent variance, of k and of λ.
EFFECTS = ("k_design_effect", "lam_design_effect")
#: Matrices that a thread takes at once.
BATCH = 64


def fit_counts(
    rows: CountRows,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    workers: int | None = None,
    lines: Sequence[Lines | None] | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit a Weibull to every row of counts, as `fit_weibull` does to one.

    Returns `COLUMNS` and ``status``, each (matrices,); with the `lines` of each matrix, None where
    there are none, also `EFFECTS`, and errors clustered by rows and columns.
    """
    from weibnb.fitting.clusters import clustered
    from weibnb.fitting.kernels import STATUS, fit_rows

    trim, estimator = check_protocol(trim, estimator)
    x, coarse = _grid(rows.labels)
    likelihood = estimator == "maximum_likelihood"

    def job(part: slice) -> Array:
        some = rows.part(part)
        size = 0 if lines is None else some.starts[-1] - some.starts[0]
        v = np.zeros((2, size))
        table: Array = fit_rows(some, x, coarse, trim, likelihood, MINIMUM_WEIGHTS, v)
        return table if lines is None else clustered(table, some, v, lines[part])

    columns = np.concatenate(on_threads(job, slices(rows.exact.size, BATCH), workers)).T
    fitted: dict[str, NDArray[Any]] = dict(zip(COLUMNS, columns, strict=False))
    if lines is not None:
        fitted |= zip(EFFECTS, columns[-len(EFFECTS) :], strict=True)
    fitted["status"] = FIT_WORDS[columns[STATUS].astype(int)]
    return fitted


def influence_of(
    rows: CountRows, *, trim: tuple[float, float], estimator: Estimator
) -> NDArray[np.float64]:
    """Give the influence of each bin on k and ln λ, (2, entries); zeros where there is no fit."""
    from weibnb.fitting.kernels import fit_rows

    v = np.zeros((2, rows.columns.size))
    fit_rows(rows, *_grid(rows.labels), trim, estimator == "maximum_likelihood", MINIMUM_WEIGHTS, v)
    return v


def _grid(labels: NDArray[np.int32]) -> tuple[Array, NDArray[np.int8]]:
    """Give ln of the middle and of the lower edge of each bin, and which are too wide."""
    low, high = label_values(labels), upper_edge(labels)
    return np.log(np.stack([low / 2 + high / 2, low])), _coarseness(low, high)


def _coarseness(low: Array, high: Array) -> NDArray[np.int8]:
    """Tell which intervals are too wide for their magnitude: those of subnormal numbers.

    float32 has one for every 2^-136 there, which its label does not show.
    """
    from weibnb.fitting.kernels import COARSE, COARSE_AS_FLOAT32, FINE

    as_float32 = (low < _FLOAT32_FINE) & (np.fmod(low, _FLOAT32_GRID) == 0)
    kind = np.where(as_float32, COARSE_AS_FLOAT32, FINE)
    return np.where(high - low > low / _FEWEST_STEPS, COARSE, kind).astype(np.int8)
