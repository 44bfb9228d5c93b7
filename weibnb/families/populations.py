"""Whether the weights of a matrix are one population or two, from their counts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.compiled import compiled
from weibnb.families.distributions import WEIBULL, starts
from weibnb.families.likelihood import fit_family
from weibnb.families.mixture import LEAST_SHARE, mixture, mixture_likelihood, notch
from weibnb.families.samples import merge, occupied_bins, on_rows, status_of, weights_of
from weibnb.fits.schema import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Least depth of the notch, in nats, for a verdict of two.
LEAST_SEPARATION = 0.1
#: Ratio of the 5 % quantile to the median below the notch from which on it is that of a comb.
COMB = 0.35
_VARIABLES = {
    "share": ("Share of the weights in the component", "1"),
    "k": ("Weibull shape k of the component", "1"),
    "lam": ("Weibull scale λ of the component", "units of the weights"),
    "delta_bic": ("BIC of one Weibull less that of the mixture", "1"),
    "separation": ("Depth of the notch in ln|w| less five standard errors", "nats"),
    "boundary": ("Magnitude of the notch", "units of the weights"),
}


def find_populations(fits: Any, *, workers: int | None = None) -> xr.Dataset:
    """Find matrices whose weights are two populations of unlike magnitude.

    Parameters
    ----------
    fits : xarray.Dataset, Counts or array_like
        Fits with counts, the counts of one matrix, or its weights.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    xarray.Dataset
        The dims of the fits, and ``population`` ("small", "large") for ``share``, ``k`` and
        ``lam`` of the two components. ``verdict`` is "two populations", "one population", "comb"
        (weights restored from few integers) or "not fitted" (``status`` tells why);
        ``separation`` is the depth of the notch between them in nats, less five standard errors,
        0 where there is none; ``boundary`` is the magnitude of the notch; ``delta_bic`` is the BIC
        of one Weibull less that of the mixture.

    Raises
    ------
    TypeError
        If `fits` is none of these.
    ValueError
        If the Dataset holds no counts.

    Notes
    -----
    *What counts as two.* The density of ln|w| of a Gaussian, Laplace, uniform, Weibull, gamma,
    lognormal, generalised Gaussian or Student t is log-concave, whatever the parameters. So it is
    for rows of unlike scale, as long as the density of the scales' logarithm is log-concave too
    (a convolution keeps the property). Two populations far apart break it: the log density has a
    notch below the chord over its two shoulders. The depth of the deepest one, over windows of
    0.35 in ln|w|, less five standard errors, is the ``separation``. With over 0.1 nats, at least
    2 % of the weights on either side and in either component, and a mixture better by BIC, the
    verdict is two. A better curve alone is no reason: at millions of weights a mixture of two
    Weibulls fits a plain Gaussian better than one does, by a ``delta_bic`` of 10^5.

    *What cannot be told.* Two Gaussians of equal share show a notch from a σ ratio of about 3 on
    (0.03 nats; 0.26 at 5, 0.7 at 10, 1.3 at 20), and none at 2: their pool is one population by
    this criterion. A small share near zero needs more: 5 % is seen from a ratio of about 20 on
    with 1 M weights. The share of the small one comes out too high, since a Gaussian is no
    Weibull: for 5 % by 0.15 at a ratio of 10 and 0.10 at 20, for 30 % by 0.09 and 0.05; the verdict
    does not depend on it.

    *Combs.* Integers restored with a scale for each row or group (weights once quantised) have a
    notch between the multiples 1 and 2 of their scales. What distinguishes them is the gap around
    zero: below the notch, the 5 % quantile is 0.5 to 0.9 of the median, where a Gaussian, uniform
    or Student t has 0.09 or 0.1. From 0.35 on the verdict is "comb".

    *Mixture.* EM on some 100 groups of neighbouring bins, first parted at the notch (or, without
    one, at the 30 % quantile), at most 200 rounds; where the verdict is one population the
    components describe the curve and mean nothing. Experts of one cell are pooled: experts of
    unlike scale may look like two populations; scan with ``experts="each"`` to tell.

    1 to 4 ms per matrix and core, whatever its size.

    References
    ----------
    A. Saumard and J. A. Wellner, "Log-concavity and strong log-concavity: a review", Statistics
    Surveys 8 (2014), doi:10.1214/14-SS107. T. Ding, arXiv:2605.18898 (the two populations of
    shallow feed-forward layers of large Qwen models).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sigma = np.where(np.arange(512) < 256, 0.0004, 0.02)  # half of the rows nearly died
    >>> found = find_populations(rng.normal(size=(512, 512)) * sigma[:, None])
    >>> str(found.verdict.item()), found.share.values.round(1).tolist()
    ('two populations', [0.5, 0.5])
    """
    status, attributes = xr.DataArray(np.array("ok", object)), {}
    if isinstance(fits, xr.Dataset):
        fits = prepare(fits, "counts")
        status, attributes = fits["status"], fits.attrs
    table = on_rows(_find_rows, fits, workers).reshape(*status.shape, 11)
    n, delta_bic, depth, place = (table[..., i] for i in range(4))
    parts = table[..., 5:].reshape(*status.shape, 2, 3)
    small = np.fmin(parts[..., 0, 0], parts[..., 1, 0]) < LEAST_SHARE
    apart = (depth > LEAST_SEPARATION) & ~small & ~(delta_bic <= 0)
    verdict = np.where(apart, "two populations", "one population").astype(object)
    verdict[apart & (table[..., 4] >= COMB)] = "comb"
    values: dict[str, Array] = {
        "delta_bic": delta_bic,
        "separation": np.where(n > 0, np.fmax(depth, 0.0), np.nan),
        "boundary": np.where(depth > 0, np.exp(place), np.nan),
    }
    words = {"verdict": np.where(n > 0, verdict, "not fitted"), "status": status_of(status, n)}
    columns: dict[str, Any] = {
        name: ((*status.dims, "population"), parts[..., i])
        for i, name in enumerate(("share", "k", "lam"))
    }
    columns |= {name: (status.dims, array) for name, array in (values | words).items()}
    population = {"population": ["small", "large"]}
    result = xr.Dataset(columns, dict(status.coords) | population)
    for name, (long_name, units) in _VARIABLES.items():
        result[name].attrs = {"long_name": long_name, "units": units}
    kept = ("weibnb_version", "created")
    result.attrs = {name: attributes[name] for name in kept if name in attributes}
    result.attrs |= {
        "title": "Two-component Weibull mixtures of weight matrices",
        "least_separation": LEAST_SEPARATION,
        "least_share": LEAST_SHARE,
    }
    return result


@compiled
def _find_rows(rows: Any, grid: Any) -> Any:
    """Weights (0: too few), ΔBIC, notch (depth, place, spread below), twice share, k, λ."""
    out, work = np.full((rows.exact.size, 11), np.nan), np.empty((4, rows.widest))
    for row in range(rows.exact.size):
        found, _ = occupied_bins(rows, row, grid, work)
        bins = work[:, :found]
        n = weights_of(bins)
        out[row, 0] = n
        if n == 0.0:
            continue
        edges, mass = merge(bins)
        share = mass / n
        v, u = starts(edges, share)[WEIBULL]
        _, _, one, fitted, _ = fit_family(np.int64(WEIBULL), v, u, edges, share, -np.inf, n)
        depth, place = notch(bins)
        split = place if depth > 0.0 else np.interp(0.3, np.cumsum(share), edges[1:])
        parts = mixture(0.5 * (edges[1:] + edges[:-1]), share, split)
        two = mixture_likelihood(parts, edges, share)
        out[row, 1] = 2.0 * n * (two - one) - 3.0 * math.log(n) if fitted else np.nan
        out[row, 2], out[row, 3] = depth, place
        if depth > 0.0:
            out[row, 4] = _lowest_over_median(bins, math.exp(place))
        for i, part in enumerate(parts):
            out[row, 5 + 3 * i], out[row, 6 + 3 * i] = part[0], part[1]
            out[row, 7 + 3 * i] = math.exp(part[2])
    return out


@compiled
def _lowest_over_median(bins: Any, boundary: float) -> float:
    """Ratio of the 5 % quantile to the median of the weights below a magnitude."""
    below, seen, lowest = 0.0, 0.0, 0.0
    for j in range(bins.shape[1]):
        if bins[3, j] < boundary:
            below += bins[2, j]
    for j in range(bins.shape[1]):
        seen += bins[2, j]
        if lowest == 0.0 and seen >= 0.05 * below:
            lowest = bins[3, j]
        if seen >= 0.5 * below:
            return float(lowest / bins[3, j])
    return np.nan
