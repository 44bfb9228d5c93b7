"""How |w| outside the body differs from it: trims, the Γ closure, heaviness without a model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy import special

from weibnb.compiled import compiled
from weibnb.counting.formats import MANTISSA_BITS, label_values, upper_edge, value_parts
from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.covariance import standard_error_of
from weibnb.fits.refit import refit
from weibnb.fits.rows import as_cells, table_of_counts
from weibnb.fits.schema import gaussian_anchor, prepare, protocol_of
from weibnb.fitting.estimates import influences
from weibnb.fitting.kernels import LAM, K
from weibnb.fitting.weibull import anchor, raw_moment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows
    from weibnb.fitting.weibull import Estimator

    Array = NDArray[np.float64]

#: Central shares of the weights that `body_tail` fits, and their trims.
TRIMS = {0.8: (0.1, 0.9), 0.9: (0.05, 0.95), 1.0: (0.0, 1.0)}
_ESTIMATES = ("k", "lam", "k_se", "lam_se")
_PROBABILITIES = np.array([0.1, 0.5, 0.9, 0.99, 0.999])
# What `_describe` gives after the quantiles.
_GINI, _KURTOSIS, _LARGEST = range(5, 8)


def body_tail(fits: xr.Dataset, *, errors: bool = False, workers: int | None = None) -> xr.Dataset:
    """Fit the central 80 %, 90 % and all of the weights, and compare k of the three.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts. Their estimator is kept, their trim is not.
    errors : bool
        Give ``gap_excess_se`` as well, for twice the cost.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        With a dim ``trim`` (central share 0.8, 0.9, 1.0): ``k`` (dimensionless), ``lam`` (units
        of the weights), ``k_se``, ``lam_se``, and ``gaussian_k``, what a perfect Gaussian gives.
        Without it: ``gap``, k at 80 % less k at 100 %; ``gaussian_gap``, the same of a perfect
        Gaussian; ``gap_excess``, their difference, and with `errors` ``gap_excess_se``, its
        standard error.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or holds no counts.

    Notes
    -----
    A Weibull has the same k at every trim: its gap is 0. A Gaussian is not a Weibull: its gap is
    0.0544 by rank regression. ``gap_excess`` compares with that, and is no measure of the upper
    tail: k of all weights is ruled by the smallest ones, whose logarithms spread most. By
    quadrature it is 0.063 for a uniform distribution, -0.007 for Student's t with 5 degrees of
    freedom and -0.054 for Laplace; -0.03 for a Gaussian with lognormal row scales of H = 0.5.
    `weibnb.diagnostics.upper_tail.upper_tail` measures the upper tail.
    ``gap_excess_se`` takes the difference of the two influences, by rows and columns as the scan
    saw them (``line_covariance``, see `weibnb.refit`); without that weights are independent.
    Cost: a refit for each trim that is not the fits' own.

    References
    ----------
    T. Ding, arXiv:2605.18898: median k 1.195, 1.182, 1.143; median gap 0.0519.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (512, 512))
    >>> tail = body_tail(wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> tail.trim.values.tolist(), round(float(tail.gaussian_gap), 4)
    ([0.8, 0.9, 1.0], 0.0544)
    >>> abs(float(tail.gap_excess.squeeze())) < 0.01
    True
    """
    fits = prepare(fits, "counts")
    estimator, own = protocol_of(fits)
    parts = [
        (fits if trim == own else refit(fits, trim=trim, workers=workers))[list(_ESTIMATES)]
        for trim in TRIMS.values()
    ]
    share = xr.DataArray(list(TRIMS), {"trim": list(TRIMS)}, name="trim")
    share.attrs = {"long_name": "Central share", "units": "1"}
    result = xr.concat(parts, dim=share, coords="minimal", compat="override")
    result = result.drop_vars("quantile", errors="ignore")
    ideal = share.copy(
        data=[anchor("gaussian", trim=trim, estimator=estimator).k for trim in TRIMS.values()]
    )
    gap, gaussian_gap = (
        k.sel(trim=0.8, drop=True) - k.sel(trim=1.0, drop=True) for k in (result["k"], ideal)
    )
    columns = {
        "gaussian_k": (ideal, "Weibull shape k of a Gaussian", "1"),
        "gap": (gap, "k of the central 80 % less k of all", "1"),
        "gaussian_gap": (gaussian_gap, "The gap of a Gaussian", "1"),
        "gap_excess": (gap - gaussian_gap, "Gap beyond that of a Gaussian", "1"),
    }
    if errors:
        error = _gap_error(fits, estimator, workers)
        columns["gap_excess_se"] = (error, "Standard error of gap_excess", "1")
    result.attrs = {"estimator": estimator}
    return result.assign(assemble(columns))


def _gap_error(fits: xr.Dataset, estimator: Estimator, workers: int | None) -> xr.DataArray:
    """Give the standard error of k at the narrowest trim less k at the widest."""

    def influence(rows: CountRows) -> Array:
        narrow, wide = (
            influences(rows, trim=TRIMS[share], estimator=estimator)[1][0] for share in (0.8, 1.0)
        )
        return np.asarray(narrow - wide)

    return standard_error_of(fits, influence, workers)


def closure(fits: xr.Dataset, *, errors: bool = False, workers: int | None = None) -> xr.Dataset:
    """Compare the mean square that the fitted Weibull implies with the one that was measured.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits; counts are needed for the errors alone.
    errors : bool
        Give ``excess_se`` as well, for the cost of a refit and more.
    workers : int, optional
        Threads for the errors; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        ``ratio``, λ²Γ(1+2/k) over the mean square of the fitted (non-zero) weights;
        ``relative_error`` = 100 (ratio - 1) in %; ``gaussian_ratio``, the ratio that a perfect
        Gaussian gives by the same protocol; ``excess`` = 100 (ratio / gaussian_ratio - 1) in %,
        the misfit beyond the Gaussian's, and with `errors` ``excess_se``, its standard error
        in %.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or if ``rms`` or ``zero_fraction`` is missing.

    Notes
    -----
    The mean square of the non-zero weights is ``rms² / (1 - zero_fraction)``. At trim 10-90 % a
    Gaussian gives 1.1781, because the Weibull that fits its body has too heavy a tail: a relative
    error of 17.8 % is agreement with a Gaussian. Only `excess` is misfit. Of a mixture-of-experts
    cell each factor is the median over experts; for each expert's own ratio scan with
    ``experts="each"``. ``excess_se`` is made as ``gap_excess_se`` of `body_tail`, from the
    influence of a weight on λ, on k and on the mean square; few rows or columns of large scale
    rule the latter, so it is at least what lognormal scales of spread ``h_row`` and ``h_col`` give.
    In simulations 1.96 errors covered 92 to 98 %.

    References
    ----------
    T. Ding, arXiv:2605.18898: below 2 % for 837 feed-forward fits, which at this trim only `excess`
    can be.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (512, 512))
    >>> closed = closure(wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> round(float(closed.gaussian_ratio), 4), abs(float(closed.excess.squeeze())) < 1
    (1.1781, True)
    """
    fits = prepare(fits, "rms", "zero_fraction", *(("counts",) if errors else ()))
    ideal = gaussian_anchor(fits)
    expected = float(raw_moment(2, ideal.k, ideal.lam_over_rms))
    k, lam = fits["k"], fits["lam"]
    implied = xr.apply_ufunc(raw_moment, 2, k, lam)
    ratio = implied * (1 - fits["zero_fraction"]) / fits["rms"] ** 2
    columns = {
        "ratio": (ratio, "λ²Γ(1+2/k) over the mean square", "1"),
        "relative_error": (100 * (ratio - 1), "Error of the Γ closure", "%"),
        "gaussian_ratio": (expected, "Γ closure of a Gaussian", "1"),
        "excess": (
            100 * (ratio / expected - 1), "Error of the Γ closure beyond a Gaussian's", "%",
        ),
    }  # fmt: skip
    if errors:
        error = 100 * ratio / expected * _closure_error(fits, workers)
        columns["excess_se"] = (error, "Standard error of excess", "%")
    protocol = ("estimator", "trim_lower", "trim_upper")
    return assemble(columns, {name: fits.attrs[name] for name in protocol})


def _closure_error(fits: xr.Dataset, workers: int | None) -> xr.DataArray:
    """Give the standard error of ln(λ²Γ(1+2/k) / mean square)."""
    estimator, trim = protocol_of(fits)

    def influence(rows: CountRows) -> Array:
        table, v = influences(rows, trim=trim, estimator=estimator)
        k, lam = table[:, K], table[:, LAM]
        number, there = np.diff(rows.starts), slice(rows.starts[0], rows.starts[-1])
        matrix = np.repeat(np.arange(number.size), number)
        labels = rows.labels[rows.columns[there]]
        low = label_values(labels) / lam[matrix]
        high = np.where(rows.exact[matrix], low, upper_edge(labels) / lam[matrix])
        square = (low * low + low * high + high * high) / 3
        total = np.bincount(matrix, square * rows.counts[there], number.size)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / np.bincount(matrix, rows.counts[there], number.size)
        slope = 2 / k**2 * special.digamma(1 + 2 / k)
        return np.asarray(2 * v[1] - slope[matrix] * v[0] - square / mean[matrix] + 1)

    return standard_error_of(fits, influence, workers)


def heaviness(fits: xr.Dataset, *, workers: int | None = None) -> xr.Dataset:
    """Measure how heavy the tail is without assuming a distribution, from the exact counts.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        Of the non-zero finite |w|, all dimensionless: ``q90_over_q10``, ``q99_over_q50``,
        ``q999_over_q50``, ``gini``, ``nonzero_kurtosis`` (about zero, 3 for a Gaussian) and
        ``nonzero_max_over_q99``. (``kurtosis`` of fits and ``max_over_q99`` of `outlier_strength`
        are of all weights, zeros included.) A mixture-of-experts cell holds the median over its
        experts.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or holds no counts.

    Notes
    -----
    A value of an 8-bit or 16-bit format stands for its rounding interval, from the midpoint to
    the value below to the midpoint to the value above, with the weights spread evenly inside; so
    the grid of bf16 (0.4-0.8 %) does not limit the quantiles. The grid is found from the occupied
    bins: the mantissa bits in use and the smallest spacing (subnormal numbers). Intervals of
    float32 are taken as they are. The Lorenz curve starts at (0, 0):
    ``gini = 1 - 2 ∫ L(p) dp``. Closed forms: a Weibull gives ``1 - 2^(-1/k)`` and
    ``Q90/Q10 = 21.85^(1/k)``, a Gaussian 0.4142 and 13.09. Cost: some 10 µs a matrix.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).laplace(0, 0.02, (512, 512))
    >>> tail = heaviness(wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> round(float(tail.gini.squeeze()), 2), round(float(tail.q90_over_q10.squeeze()))
    (0.5, 22)
    """
    fits = prepare(fits, "counts", "max_abs")
    dims = fits["counts"].dims
    describe = partial(_describe, probabilities=_PROBABILITIES)
    table = table_of_counts(fits, _bin_grid, describe, width=_LARGEST + 1, workers=workers)
    columns = [xr.DataArray(column, dims=dims) for column in np.moveaxis(table, -1, 0)]
    q10, q50, q90, q99, q999, gini, kurtosis, largest = columns
    known = fits["max_abs"]
    if "n_matrices" in fits:
        known = known.where(fits["n_matrices"] <= 1)
    beyond = known.fillna(largest).transpose(*dims).reset_coords(drop=True) / q99
    measures = {
        "q90_over_q10": (q90 / q10, "90th over 10th percentile of |w|", "1"),
        "q99_over_q50": (q99 / q50, "99th percentile of |w| over the median", "1"),
        "q999_over_q50": (q999 / q50, "99.9th percentile of |w| over the median", "1"),
        "gini": (gini, "Gini coefficient of |w|", "1"),
        "nonzero_kurtosis": (kurtosis, "Kurtosis about zero, without zeros", "1"),
        "nonzero_max_over_q99": (beyond, "Largest |w| over the 99th percentile without zeros", "1"),
    }
    return as_cells(assemble(measures), fits)


def _bin_grid(labels: NDArray[Any]) -> tuple[Array, Array, Array, Array, NDArray[np.int64]]:
    """Value of each bin, upper edge of its interval, its octave, lowest set bit, and mantissa."""
    octave, mantissa, lowest = value_parts(labels)
    return label_values(labels), upper_edge(labels), octave, lowest, mantissa


@compiled
def _describe(rows: Any, grid: Any, probabilities: Any) -> Any:
    """Quantiles, Gini coefficient, kurtosis and largest |w| of every row."""
    value, upper, octave, lowest, mantissa = grid
    result = np.full((rows.exact.size, probabilities.size + 3), np.nan)
    for row in range(rows.exact.size):
        start, stop, exact = rows.starts[row], rows.starts[row + 1], rows.exact[row]
        c, column = rows.counts[start:stop], rows.columns[start:stop]
        if c.size == 0:
            continue
        total, resolution, quantum = _survey(c, column, mantissa, lowest)
        n, unit = float(total), value[column[-1]]
        seen, first, square, fourth, area, i = 0.0, 0.0, 0.0, 0.0, 0.0, 0
        low, high = 0.0, 0.0
        for at in range(c.size):
            mass, j = float(c[at]), column[at]
            if not exact:
                low, high = value[j], upper[j]
                a, b = low / unit, high / unit
                square += mass * (a * a + a * b + b * b) / 3.0
                fourth += mass * (a**4 + a**3 * b + a * a * b * b + a * b**3 + b**4) / 5.0
            else:
                above = max(octave[j] * resolution, quantum)
                below = above
                if mantissa[j] == 0:
                    below = max(0.5 * octave[j] * resolution, quantum)
                if c.size == 1:
                    below, above = 0.0, 0.0
                low, high = value[j] - 0.5 * below, value[j] + 0.5 * above
                a = (value[j] / unit) ** 2
                square += mass * a
                fourth += mass * a * a
            while i < probabilities.size and probabilities[i] * n <= seen + mass:
                result[row, i] = low + (probabilities[i] * n - seen) / mass * (high - low)
                i += 1
            area += mass * (first + mass * (low / 2.0 + (high - low) / 6.0))
            first += mass * 0.5 * (low + high)
            seen += mass
        result[row, _GINI] = 1.0 - 2.0 * area / (n * first)
        result[row, _KURTOSIS] = fourth / n / (square / n) ** 2
        result[row, _LARGEST] = unit if exact else 0.5 * (low + high)
    return result


@compiled
def _survey(c: Any, column: Any, mantissa: Any, lowest: Any) -> Any:
    """Weights; spacing of their values in an octave, and the smallest."""
    total, used, quantum = 0, 0, np.inf
    for j in range(c.size):
        total += c[j]
        used |= mantissa[column[j]]
        quantum = min(quantum, lowest[column[j]])
    resolution = (used & -used) / 2.0**MANTISSA_BITS if used > 0 else 1.0
    return total, resolution, quantum
