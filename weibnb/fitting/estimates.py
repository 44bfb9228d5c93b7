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

    import torch
    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines
    from weibnb.fitting.rows import CountRows
    from weibnb.fitting.weibull import Trim

    Array = NDArray[np.float64]
    Grid = tuple[Array, NDArray[np.int8]]

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
    device: torch.device | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit a Weibull to every row of counts, as `fit_weibull` does to one.

    Compiled code does it, or torch on a `device`. Returns `COLUMNS` and ``status``, each
    (matrices,); with the `lines` of each matrix, None where there are none, also `EFFECTS`, and
    errors clustered by rows and columns.
    """
    from weibnb.fitting.kernels import STATUS

    trim, estimator = check_protocol(trim, estimator)
    low, high = label_values(rows.labels), upper_edge(rows.labels)
    grid = np.log(np.stack([low / 2 + high / 2, low])), _coarseness(low, high)
    protocol = trim, estimator == "maximum_likelihood"
    if device is None:
        columns = _by_compiled_code(rows, grid, *protocol, workers, lines).T
    else:
        columns = _by_torch(rows, grid, *protocol, workers, lines, device).T
    fitted: dict[str, NDArray[Any]] = dict(zip(COLUMNS, columns, strict=False))
    if lines is not None:
        fitted |= zip(EFFECTS, columns[-len(EFFECTS) :], strict=True)
    fitted["status"] = FIT_WORDS[columns[STATUS].astype(int)]
    return fitted


def _by_compiled_code(
    rows: CountRows,
    grid: Grid,
    trim: Trim,
    likelihood: bool,  # noqa: FBT001  (as the loops take it)
    workers: int | None,
    lines: Sequence[Lines | None] | None,
) -> Array:
    """Fit on threads: a table (matrices, 10), or 12 with lines."""
    from weibnb.fitting.clusters import clustered
    from weibnb.fitting.kernels import fit_rows

    def job(part: slice) -> Array:
        some = rows.part(part)
        size = 0 if lines is None else some.starts[-1] - some.starts[0]
        v = np.zeros((2, size))
        table: Array = fit_rows(some, *grid, trim, likelihood, MINIMUM_WEIGHTS, v)
        return table if lines is None else clustered(table, some, v, lines[part])

    return np.concatenate(on_threads(job, slices(rows.exact.size, BATCH), workers))


def _by_torch(
    rows: CountRows,
    grid: Grid,
    trim: Trim,
    likelihood: bool,  # noqa: FBT001  (as the loops take it)
    workers: int | None,
    lines: Sequence[Lines | None] | None,
    device: torch.device,
) -> Array:
    """Fit by torch: the same table."""
    from weibnb.fitting.clusters import with_effects
    from weibnb.fitting.torch_backend import fit_rows

    table, covariances = fit_rows(
        rows, grid, trim, likelihood=likelihood, device=device, workers=workers, lines=lines
    )
    if covariances is None:
        return table
    return with_effects(table, lines or (), lambda row, _: covariances[row])


def _coarseness(low: Array, high: Array) -> NDArray[np.int8]:
    """Tell which intervals are too wide for their magnitude: those of subnormal numbers.

    float32 has one for every 2^-136 there, which its label does not show.
    """
    from weibnb.fitting.kernels import COARSE, COARSE_AS_FLOAT32, FINE

    as_float32 = (low < _FLOAT32_FINE) & (np.fmod(low, _FLOAT32_GRID) == 0)
    kind = np.where(as_float32, COARSE_AS_FLOAT32, FINE)
    return np.where(high - low > low / _FEWEST_STEPS, COARSE, kind).astype(np.int8)
