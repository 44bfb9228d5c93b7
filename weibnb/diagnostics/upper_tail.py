"""How heavy the upper tail of |w| is, with errors: quantile ratios and the Hill index."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy import special

from weibnb.compiled import compiled
from weibnb.diagnostics.hill import hill_index, influence_on_hill, spread_in_draws
from weibnb.diagnostics.verdicts import assemble
from weibnb.families.samples import grid_of, occupied_bins, weights_of
from weibnb.fits.covariance import known_of_lines, variance_within_lines
from weibnb.fits.rows import as_cells, no_grid, table_of_counts
from weibnb.fits.schema import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

#: Shares of the weights beyond the two quantiles of each ratio.
TAILS = {"near_tail": (0.1, 0.001), "far_tail": (0.01, 0.0001)}
# The slope of a quantile is taken from it to this part of its share on either side.
_REACH = 0.4
# Fewest weights beyond a quantile whose slope can be estimated.
_FEWEST_BEYOND = 25
_SHARES = np.array([0.1, 0.01, 0.001, 0.0001])
_PROBABILITIES = 1 - (_SHARES[:, None] * (1 + _REACH * np.array([1, 0, -1]))).ravel()


def upper_tail(fits: xr.Dataset, *, workers: int | None = None) -> xr.Dataset:
    """Measure how heavy the upper tail of |w| is, against a Gaussian's, with errors.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        Of the non-zero finite |w|, all dimensionless, on the dims of k:

        - ``near_tail`` and ``near_tail_se``: ln(Q99.9 / Q90) less that of a Gaussian (0.6934);
        - ``far_tail`` and ``far_tail_se``: ln(Q99.99 / Q99) less that of a Gaussian (0.4124);
          NaN below 250,000 weights, of which 25 lie beyond Q99.99;
        - ``hill`` and ``hill_se``: tail index α of ``P(|w| > x) ~ x^-α``, small if the tail is
          heavy; ``hill_share``, the share of the weights that it describes, and ``hill_ks``,
          the Kolmogorov-Smirnov distance of those from a power law.

        A mixture-of-experts cell holds the medians over its experts.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or holds no counts.

    Notes
    -----
    *Ratios.* Above zero the tail is heavier than a Gaussian's, whatever the width of the body. With
    x_p the p-quantile of ln|w| and s_p its slope dx/dp, taken between the shares 0.6 (1-p) and
    1.4 (1-p), the delta method gives for q < p

    ``n Var(x_p - x_q) = s_p² p (1-p) + s_q² q (1-q) - 2 s_p s_q q (1-p)``.

    *Hill index.* The mean of ln(|w| / threshold) beyond a threshold is 1/α, with a relative error
    of 1/√m from m weights. The threshold is the one, of some 30 to 60 that leave from 10 % of the
    weights down to 50 of them, at which the distance from the power law is least (Clauset et al.).
    The error is the root mean square by which the index moves in 40 tails that are drawn from the
    counts (Poisson, the same at every call), each with a threshold of its own: that moves it up to
    four times as far as 1/√m says. In simulations 1.96 errors covered 85 to 95 %.
    Every law has a Hill index: that of a Gaussian is about 10, and ``hill_ks`` far above ``1/√m``
    says that no power law fits.

    Errors are clustered by rows and columns where the scan looked at them, by the influence
    ``s_p [1(x > x_p) - (1-p)]`` of a weight, less that of q, and ``line_covariance``, and not below
    what lognormal scales of spread ``h_row`` and ``h_col`` give: few lines of large scale rule a
    tail, and a sample seldom holds them. In simulations 1.96 errors of ``near_tail`` covered 92 to
    98 %, also where scales are very unequal; 86 to 89 % where each row stands there four times.
    Rows of unequal scale make a heavy tail too: counts cannot tell the two apart. Values stand for
    their rounding intervals, as in `heaviness`. Cost: some 10 ms a matrix.

    References
    ----------
    B. M. Hill, Annals of Statistics 3 (1975), doi:10.1214/aos/1176343247. A. Clauset, C. R.
    Shalizi and M. E. J. Newman, SIAM Review 51 (2009), doi:10.1137/070710111.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> laws = {"normal": rng.normal(size=(512, 512)), "t5": rng.standard_t(5, (512, 512))}
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> tail = upper_tail(wb.scan({law: {name: weights} for law, weights in laws.items()}))
    >>> z = (tail.near_tail / tail.near_tail_se).squeeze().values
    >>> bool(abs(z[0]) < 3), bool(z[1] > 20)
    (True, True)
    """
    fits = prepare(fits, "counts")
    dims, shape = fits["counts"].dims, fits["counts"].shape
    describe = partial(_describe_rows, probabilities=_PROBABILITIES)
    table = table_of_counts(
        fits, grid_of, describe, width=1 + _PROBABILITIES.size + 4, workers=workers
    )
    columns: dict[str, tuple[xr.DataArray, str, str]] = {}
    n, quantiles = table[..., 0], table[..., 1:-4].reshape(*shape, _SHARES.size, 3)
    slopes = (quantiles[..., 2] - quantiles[..., 0]) / (2 * _REACH * _SHARES)
    hill, hill_share = table[..., -4], table[..., -2]
    known = np.concatenate([slopes, np.stack([hill, hill_share], -1)], -1)
    beyond = _variance_within_lines(fits, known, workers)
    drawn = table_of_counts(fits, grid_of, spread_in_draws, hill, width=1, workers=workers)
    table[..., -3] = np.sqrt(
        np.fmax(table[..., -3], drawn[..., 0]) ** 2 + np.fmax(beyond[..., -1], 0.0)
    )
    for i, (name, (wide, narrow)) in enumerate(TAILS.items()):
        ratio, error = _log_ratio(n, quantiles[..., 1], slopes, beyond[..., i], wide, narrow)
        text = f"ln of the {100 * (1 - narrow):g}th over the {100 * (1 - wide):g}th percentile"
        columns[name] = (xr.DataArray(ratio, dims=dims), f"{text}, less a Gaussian's", "1")
        columns[f"{name}_se"] = (xr.DataArray(error, dims=dims), "Its standard error", "1")
    texts = {
        "hill": "Tail index of a power law",
        "hill_se": "Its standard error",
        "hill_share": "Share of the weights that it describes",
        "hill_ks": "Kolmogorov-Smirnov distance of these from a power law",
    }
    for i, (name, text) in enumerate(texts.items()):
        columns[name] = (xr.DataArray(table[..., i - 4], dims=dims), text, "1")
    return as_cells(assemble(columns), fits)


def _log_ratio(
    n: Array, quantiles: Array, slopes: Array, beyond: Array, wide: float, narrow: float
) -> tuple[Array, Array]:
    """Logarithm of the ratio of two quantiles, less a Gaussian's, and its standard error.

    `beyond` is the variance within rows and columns beyond that of independent weights.
    """
    at = [_SHARES.tolist().index(share) for share in (wide, narrow)]
    x_q, x_p = np.moveaxis(quantiles[..., at], -1, 0)
    s_q, s_p = np.moveaxis(slopes[..., at], -1, 0)
    spread = (
        s_p**2 * narrow * (1 - narrow)
        + s_q**2 * wide * (1 - wide)
        - 2 * s_p * s_q * (1 - wide) * narrow
    )
    gaussian = math.log(special.ndtri(narrow / 2) / special.ndtri(wide / 2))
    known = n * narrow >= _FEWEST_BEYOND
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(spread / n + np.fmax(beyond, 0.0))
    return np.where(known, x_p - x_q - gaussian, np.nan), np.where(known, error, np.nan)


def _variance_within_lines(fits: xr.Dataset, tails: Array, workers: int | None) -> Array:
    """Variance of both ratios, and of the Hill index, within rows and columns.

    An array (*cells, 3) of what they have beyond independent weights, NaN where the scan did not
    look at rows and columns; `tails` holds the slopes of the quantiles, the index and its share.
    """

    def describe(rows: CountRows, _: None, known: Array, tails: Array) -> Array:
        v = _influence(rows, tails[:, :-2])
        of_hill = influence_on_hill(rows, tails[:, -2], tails[:, -1])
        return variance_within_lines(rows, np.stack([*v, of_hill]), known)

    known = known_of_lines(fits)
    return table_of_counts(
        fits, no_grid, describe, known, tails, width=len(TAILS) + 1, workers=workers
    )


def _influence(rows: CountRows, slopes: Array) -> Array:
    """Influence of each bin on the ratios, (2, entries): s_p [1(x > x_p) - 1 + p], less that of q.

    Of a bin that holds a quantile the share beyond it counts.
    """
    number = np.diff(rows.starts)
    counts = rows.counts[rows.starts[0] : rows.starts[-1]].astype(float)
    matrix = np.repeat(np.arange(number.size), number)
    n = np.bincount(matrix, counts, number.size)
    above = np.cumsum(n)[matrix] - np.cumsum(counts)
    beyond = np.clip((_SHARES[:, None] * n[matrix] - above) / counts, 0.0, 1.0)
    each = slopes.T[:, matrix] * (beyond - _SHARES[:, None])
    order = _SHARES.tolist()
    return np.stack([each[order.index(p)] - each[order.index(q)] for q, p in TAILS.values()])


@compiled
def _describe_rows(rows: Any, grid: Any, probabilities: Any) -> Any:
    """Weights, quantiles of ln|w|, and Hill index, its error, share and distance of every row."""
    size = probabilities.size
    out, work = np.full((rows.exact.size, 1 + size + 4), np.nan), np.empty((4, rows.widest))
    for row in range(rows.exact.size):
        found, _ = occupied_bins(rows, row, grid, work)
        bins = work[:, :found]
        n = weights_of(bins)
        if n == 0.0:
            continue
        out[row, 0] = n
        _log_quantiles(bins, n, probabilities, out[row, 1 : 1 + size])
        hill_index(bins, n, out[row, 1 + size :])
    return out


@compiled
def _log_quantiles(bins: Any, n: float, probabilities: Any, out: Any) -> None:
    """Logarithms of quantiles, the weights of a bin spread evenly over it."""
    seen, i = 0.0, 0
    for j in range(bins.shape[1]):
        mass = bins[2, j]
        while i < probabilities.size and probabilities[i] * n <= seen + mass:
            part = (probabilities[i] * n - seen) / mass
            out[i] = math.log(bins[0, j] + part * (bins[1, j] - bins[0, j]))
            i += 1
        seen += mass
