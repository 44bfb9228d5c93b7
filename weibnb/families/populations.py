"""Which distribution |w| follows, and whether it is one population or two, from the counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.families import mixture as loops
from weibnb.families.distributions import WEIBULL, maximise
from weibnb.families.groups import _Grouped, _map_rows, _of_one
from weibnb.families.likelihood import (
    starts,
)
from weibnb.fits.schema import prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


# Windows of ln|w| in which a notch is sought, and the share of weights below all of them.
_WINDOW, _SKIP = 0.35, 0.002
# Standard errors that a notch must exceed: it is the deepest of some thousands that are tried.
_ERRORS = 5.0
#: Least depth of the notch, in nats, and least share of either population for a verdict of two.
LEAST_SEPARATION, LEAST_SHARE = 0.1, 0.02
_EM_ROUNDS, _EM_TOLERANCE = 200, 1e-9


@dataclass(frozen=True, slots=True)
class _Populations:
    """Two-component mixture of one matrix and what speaks for it."""

    parts: Array
    delta_bic: float
    separation: float
    boundary: float
    verdict: str


def _two_populations(grouped: _Grouped) -> _Populations:
    """Fit the mixture, look for a notch, and judge."""
    n, edges, share = grouped.n, grouped.edges, grouped.share
    table = loops.windows(grouped.bin_edges, grouped.bin_counts, _WINDOW, _SKIP)
    depth, place = loops.notch(table, n, LEAST_SHARE, _ERRORS)
    v, u = starts(edges, share)[WEIBULL]
    *_, one, found = maximise(WEIBULL, v, u, edges, share, -np.inf)
    split = place if depth > 0 else float(np.interp(0.3, np.cumsum(share), edges[1:]))
    x = grouped.centres
    parts = loops.mixture(x, share, split, _EM_ROUNDS, _EM_TOLERANCE)
    two = loops.mixture_likelihood(parts, edges, share)
    delta_bic = 2 * n * (two - one) - 3 * float(np.log(n)) if found else np.nan
    apart = depth > LEAST_SEPARATION and parts[:, 0].min() >= LEAST_SHARE and not delta_bic <= 0
    return _Populations(
        parts=np.column_stack([parts[:, :2], np.exp(parts[:, 2])]),
        delta_bic=delta_bic,
        separation=max(depth, 0.0),
        boundary=float(np.exp(place)) if depth > 0 else np.nan,
        verdict="two populations" if apart else "one population",
    )


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
        ``lam`` of the two components. ``verdict`` is "two populations", "one population" or "not
        fitted" (``status`` tells why); ``separation`` is the depth of the notch between them in
        nats, less five standard errors, 0 where there is none; ``boundary`` is the magnitude of
        the notch; ``delta_bic`` is the BIC of one Weibull less that of the mixture.

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
    with 1 M weights. The shares of Gaussian populations come out up to 0.06 too high for the
    small one at a ratio of 20, since a Gaussian is no Weibull. Integers restored with one scale a
    group (weights once quantised) are a comb of values and may pass for two populations.

    *Mixture.* EM on some 200 groups of neighbouring bins, first parted at the notch (or, without
    one, at the 30 % quantile), at most 200 rounds; where the verdict is one population the
    components describe the curve and mean nothing. Experts of one cell are pooled: experts of
    unlike scale may look like two populations; scan with ``experts="each"`` to tell.

    About 8 ms a matrix and core, whatever its size.

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
    if not isinstance(fits, xr.Dataset):
        grouped = _of_one(fits)
        found = None if grouped is None else _two_populations(grouped)
        word = "too_few" if grouped is None else "ok"
        return _population_dataset((), {}, [((), word, found)], {})
    fits = prepare(fits)
    cells = [
        (row.place, row.status, found) for row, found in _map_rows(fits, _two_populations, workers)
    ]
    status = fits["status"]
    return _population_dataset(status.shape, dict(status.coords), cells, fits.attrs, status.dims)


def _population_dataset(
    shape: tuple[int, ...],
    coords: dict[Any, Any],
    cells: list[tuple[tuple[int, ...], str, _Populations | None]],
    attributes: dict[Any, Any],
    dims: tuple[Any, ...] = (),
) -> xr.Dataset:
    """Lay the mixtures out on the dims of the fits."""
    numbers = {name: np.full(shape, np.nan) for name in ("delta_bic", "separation", "boundary")}
    words = {"verdict": np.full(shape, "not fitted", object), "status": np.full(shape, "", object)}
    parts = np.full((*shape, 2, 3), np.nan)
    for place, status, found in cells:
        words["status"][place] = status
        if found is not None:
            parts[place] = found.parts
            words["verdict"][place] = found.verdict
            for name, array in numbers.items():
                array[place] = getattr(found, name)
    described = {
        "share": ("Share of the weights in the component", "1"),
        "k": ("Weibull shape k of the component", "1"),
        "lam": ("Weibull scale λ of the component", "units of the weights"),
        "delta_bic": ("BIC of one Weibull less that of the mixture", "1"),
        "separation": ("Depth of the notch in ln|w| less five standard errors", "nats"),
        "boundary": ("Magnitude of the notch", "units of the weights"),
    }
    columns = {
        name: ((*dims, "population"), parts[..., i]) for i, name in enumerate(described) if i < 3
    }
    columns |= {name: (dims, array) for name, array in numbers.items()}
    texts = {name: (dims, array) for name, array in words.items()}
    population = {"population": ["small", "large"]}
    result = xr.Dataset(columns | texts, coords | population)
    for name, (long_name, units) in described.items():
        result[name].attrs = {"long_name": long_name, "units": units}
    kept = ("weibnb_version", "created")
    result.attrs = {name: attributes[name] for name in kept if name in attributes}
    result.attrs |= {
        "title": "Two-component Weibull mixtures of weight matrices",
        "least_separation": LEAST_SEPARATION,
        "least_share": LEAST_SHARE,
    }
    return result
