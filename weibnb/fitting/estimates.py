"""Counts -> Weibull estimates with standard errors, for many matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting.status import FIT_WORDS, MINIMUM_WEIGHTS
from weibnb.fitting.weibull import Estimator, check_protocol
from weibnb.parallel import on_threads, shares

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch
    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines
    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]
    Fit = Callable[[slice], tuple[Array, Array]]
    Grid = tuple[Array, NDArray[np.int8]]

#: Names of the estimates that fits hold, in the order of the compiled columns.
ESTIMATES = ("k", "lam", "r2", "ks", "ks_full", "k_se", "lam_se", "k_lam_correlation")
#: The same with what is kept of a single fit alone.
COLUMNS = (*ESTIMATES, "ks_midrank")
# Intervals that must lie below a magnitude for it to be fitted, the grid of the subnormal
# intervals of float32, and where they are that many: some 1.5e-39.
_FEWEST_STEPS = 64
_FLOAT32_GRID, _FLOAT32_FINE = 2.0**-137, 2.0**-129
# Compiled columns: the status is one of them.
_WIDTH = len(COLUMNS) + 1
#: Clustered over independent variance, of k and of λ.
EFFECTS = ("k_design_effect", "lam_design_effect")
#: Covariance of rank functions within rows and columns, and how many numbers that is.
COVARIANCE, COVARIANCES = "line_covariance", 15


def fit_counts(
    rows: CountRows,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    workers: int | None = None,
    lines: Sequence[Lines | None] | None = None,
    covariance: Array | None = None,
    device: torch.device | None = None,
    sampled: Array | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit a Weibull to every row of counts, as `fit_weibull` does to one.

    Compiled code does it, or torch on a `device`. Returns `COLUMNS` and ``status``, each
    (matrices,). With the `lines` of each matrix, None where there are none, also `EFFECTS` and
    `COVARIANCE`, (matrices, 15), and errors that are clustered by rows and columns; with the
    `covariance` that an earlier call gave, NaN where there is none, `EFFECTS` and clustered errors.
    Of rows that are samples, `sampled` (matrices, 4) as `weibnb.fitting.sampling` has it, errors
    are those of the whole matrices and of the sampling together.
    """
    from weibnb.fitting.clusters import clustered, composed, with_effects
    from weibnb.fitting.kernels import STATUS
    from weibnb.fitting.sampling import WHOLE, as_of_whole, with_sampling

    trim, estimator = check_protocol(trim, estimator)
    known = np.tile(WHOLE, (rows.exact.size, 1)) if sampled is None else sampled
    alone, grid = lines is None and covariance is None, bin_grid(rows.labels)

    def by_compiled_code(part: slice) -> tuple[Array, Array]:
        some = rows.part(part)
        return influences(some, trim=trim, estimator=estimator, grid=grid, needed=not alone)

    fit: Fit = by_compiled_code
    beyond = None
    if device is not None:
        fit, beyond = _by_torch(
            rows, grid, trim, estimator, device, workers, lines=lines, covariance=covariance
        )

    def widened(table: Array, v: Array, part: slice) -> Array:
        if lines is not None:
            return clustered(table, rows.part(part), v, lines[part])
        if beyond is not None:
            return np.column_stack([table, with_effects(table, beyond[part])])
        return (
            table if covariance is None else composed(table, rows.part(part), v, covariance[part])
        )

    def job(part: slice) -> Array:
        table, v = fit(part)
        return with_sampling(widened(as_of_whole(table, known[part]), v, part), known[part])

    table = np.concatenate(on_threads(job, shares(rows.exact.size, workers), workers))
    fitted: dict[str, NDArray[Any]] = dict(zip(COLUMNS, table.T, strict=False))
    if not alone:
        fitted |= zip(EFFECTS, table.T[_WIDTH:], strict=False)
    if lines is not None:
        fitted[COVARIANCE] = table[:, _WIDTH + len(EFFECTS) :]
    fitted["status"] = FIT_WORDS[table[:, STATUS].astype(int)]
    return fitted


def _by_torch(
    rows: CountRows,
    grid: Grid,
    trim: tuple[float, float],
    estimator: Estimator,
    device: torch.device,
    workers: int | None,
    *,
    lines: Any,
    covariance: Array | None,
) -> tuple[Fit, Array | None]:
    """Fit all rows; give what takes a part of the fits, and of k and ln λ what `composed` needs."""
    from weibnb.fitting.torch_backend import fit_rows

    table, v, beyond = fit_rows(
        rows,
        grid,
        trim,
        likelihood=estimator == "maximum_likelihood",
        device=device,
        workers=workers,
        influence=lines is not None,
        covariance=covariance,
    )

    def part_of(part: slice) -> tuple[Array, Array]:
        entries = rows.part(part).starts[[0, -1]] - rows.starts[0]
        return table[part], v[:, slice(*entries)]

    return part_of, beyond


def influences(
    rows: CountRows,
    *,
    trim: tuple[float, float],
    estimator: Estimator,
    grid: tuple[Array, NDArray[np.int8]] | None = None,
    needed: bool = True,
) -> tuple[Array, Array]:
    """Fit every row of counts: the compiled columns, and the influence of each bin.

    The influence on k and ln λ has the shape (2, entries), or (2, 0) where it is not `needed`; of
    rows without a fit it is NaN. `grid` is `bin_grid` of their labels, if that is at hand.
    """
    from weibnb.fitting.kernels import fit_rows

    x, coarse = bin_grid(rows.labels) if grid is None else grid
    likelihood = estimator == "maximum_likelihood"
    v = np.full((2, rows.starts[-1] - rows.starts[0] if needed else 0), np.nan)
    table: Array = fit_rows(rows, x, coarse, trim, likelihood, MINIMUM_WEIGHTS, v)
    return table, v


def bin_grid(labels: NDArray[np.int32]) -> tuple[Array, NDArray[np.int8]]:
    """Give ln|w| of bins read as intervals and as values, (2, bins), and how coarse they are."""
    low, high = label_values(labels), upper_edge(labels)
    return np.log(np.stack([low / 2 + high / 2, low])), _coarseness(low, high)


def _coarseness(low: Array, high: Array) -> NDArray[np.int8]:
    """Tell which intervals are too wide for their magnitude: those of subnormal numbers.

    float32 has one for every 2^-136 there, which its label does not show.
    """
    from weibnb.fitting.kernels import COARSE, COARSE_AS_FLOAT32, FINE

    as_float32 = low < _FLOAT32_FINE
    as_float32[as_float32] = np.fmod(low[as_float32], _FLOAT32_GRID) == 0
    kind = np.where(as_float32, COARSE_AS_FLOAT32, FINE)
    return np.where(high - low > low / _FEWEST_STEPS, COARSE, kind).astype(np.int8)
