"""The words of the published library, npm-weibull-py, beside weibnb's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from scipy import special

from weibnb.diagnostics.attention import SELECTION_CONVENTION, SELECTION_EDGES, SELECTION_WORDS
from weibnb.diagnostics.verdicts import (
    assemble,
    errors_of,
    interval_words,
    number_alone,
    require_protocol,
    status_where_unfitted,
)
from weibnb.fits.schema import DIMS, prepare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: The library whose words these are.
LIBRARY = "npm-weibull-py 0.4"
#: Edges of its band of transmission, and where strong selection begins; each belongs to the word
#: above it, and 1.21 to the band.
LIBRARY_TRANSMISSION, LIBRARY_STRONG = (1.18, 1.21), 0.95
#: The r2 that it asks of transmission; its k of an untrained matrix, and how near counts as one.
LIBRARY_R2, LIBRARY_UNTRAINED = 0.95, (1.205, 0.01)
#: Edges of the drift of k, in %, of its attribution.
LIBRARY_ATTRIBUTION = (1.0, 30.0)


def regimes(
    fits: xr.Dataset | None = None, *, k: float | None = None, r2: float | None = None
) -> xr.Dataset:
    """Name the regime of k as the published library does, beside weibnb's severity.

    Parameters
    ----------
    fits : xarray.Dataset, optional
        Fits by rank regression at trim 10-90 %.
    k, r2 : float, optional
        A number in place of fits, and the r2 of its Weibull plot.

    Returns
    -------
    xarray.Dataset
        On the dims of k, of a number without dims: ``k``; ``library``: ``"transmission"`` (k from
        1.18 to 1.21, and r2, where it is known, at least 0.95), ``"strong_selection"`` (below
        0.95), ``"init_baseline"`` (at step 0 within 0.01 of 1.205), else ``"mild_selection"``;
        ``weibnb``: the words of `weibnb.selection`, for whatever matrix. In both the status of
        a cell stands where it has no k.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, by another protocol, or there are neither fits nor k
        or both.

    Notes
    -----
    The library goes by the value alone, weibnb withholds a word that the standard error does not
    resolve. The library's band holds an untrained Gaussian, 1.2054, which weibnb's published band
    (1.186 to 1.204) does not; its ``"mild_selection"`` begins right above 1.21 again, so that a
    uniform matrix (1.375) is called mildly selective. Its edge to strong selection is 0.95, that
    of weibnb's ``"deep"`` 1.0.

    References
    ----------
    npm-weibull-py 0.4, core/classify.py; T. Ding, arXiv:2605.18898.

    Examples
    --------
    >>> found = regimes(k=0.97)
    >>> found.library.item(), found.weibnb.item()
    ('mild_selection', 'deep')
    """
    if fits is None or k is not None or r2 is not None:
        from weibnb.fits.imported import fits_of_numbers

        alone = fits_of_numbers(k=number_alone(fits, k=k, r2=r2))
        if r2 is not None:
            alone["r2"] = xr.full_like(alone["k"], float(r2))
        return regimes(alone.assign_coords(step=[1])).squeeze(drop=True)
    fits = prepare(fits, light=True, dims=DIMS)
    require_protocol(fits, "The regimes")
    own = interval_words(fits, fits["k"], errors_of(fits), SELECTION_EDGES, SELECTION_WORDS)
    words = fits["k"].copy(data=_library_words(fits))
    return assemble(
        {
            "k": (fits["k"], "Weibull shape k", "1"),
            "library": (status_where_unfitted(words, fits), f"Regime by {LIBRARY}", ""),
            "weibnb": (status_where_unfitted(own, fits), "Severity of selection", ""),
        },
        fits.attrs | {"library": LIBRARY, "convention": SELECTION_CONVENTION},
    )


def _library_words(fits: xr.Dataset) -> NDArray[np.object_]:
    """Name the regime of every cell as the library does."""
    k = fits["k"].values
    low, high = LIBRARY_TRANSMISSION
    straight = np.ones(k.shape, bool)
    if "r2" in fits:
        straight = ~(fits["r2"].transpose(*fits["k"].dims).values < LIBRARY_R2)
    words = np.where(k < LIBRARY_STRONG, "strong_selection", "mild_selection").astype(object)
    words[(k >= low) & (k <= high) & straight] = "transmission"
    untrained, near = LIBRARY_UNTRAINED
    start = (fits["step"] == 0).broadcast_like(fits["k"]).transpose(*fits["k"].dims).values
    words[start & (np.abs(k - untrained) < near)] = "init_baseline"
    return words


def attribution(fits: xr.Dataset) -> xr.Dataset:
    """Say whether λ or k made the weights grow, as the published library does, beside the parts.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of several steps, of a scan or from `weibnb.read_table`; λ must be known.

    Returns
    -------
    xarray.Dataset
        Since the first fitted step of each cell: ``k_drift`` (%); ``library``:
        ``"lambda_dominated"`` where it is below 1 % in size, ``"k_dominated"`` above 30 %, else
        ``"mixed"``, ``"not fitted"`` without k; and what weibnb says instead: ``from_lam`` = Δ ln λ
        and ``from_k`` = Δ ½ lnΓ(1 + 2/k), the parts of the growth of ln σ.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or has one step alone.

    Notes
    -----
    The library's word depends on k alone: a matrix of which neither k nor λ moved is
    ``"lambda_dominated"``, and one whose k fell by 20 % is ``"mixed"`` whatever λ did. The parts
    add up to the growth of the Weibull's σ, so that they say which is larger;
    `weibnb.diagnostics.dynamics.split_growth` holds them against the measured one.

    References
    ----------
    npm-weibull-py 0.4, core/trajectory.py.

    Examples
    --------
    >>> import pandas as pd, weibnb as wb
    >>> table = pd.DataFrame({"component": "o_proj", "step": [0, 9], "k": [1.2, 1.19],
    ...                       "lam": [0.01, 0.02]})
    >>> found = attribution(wb.read_table(table)).isel(step=1).squeeze()
    >>> found.library.item(), round(found.from_lam.item(), 3), round(found.from_k.item(), 3)
    ('lambda_dominated', 0.693, 0.005)
    """
    fits = prepare(fits, light=True, dims=DIMS)
    if fits.sizes["step"] < 2:
        raise ValueError(
            "`fits` must hold several steps for an attribution, got one. "
            "Scan the run with its earlier checkpoints."
        )
    known = fits["k"].notnull() & fits["lam"].notnull()
    k, lam = fits["k"].where(known), fits["lam"].where(known)
    first = known.argmax("step")
    start = k.isel(step=first).drop_vars("step")
    drift = 100 * (k - start) / start
    low, high = LIBRARY_ATTRIBUTION
    size = abs(drift.transpose(*fits["k"].dims)).values
    words = np.where(size < low, "lambda_dominated", np.where(size > high, "k_dominated", "mixed"))
    words = np.where(np.isnan(size), "not fitted", words)
    gamma = xr.apply_ufunc(special.gammaln, 1 + 2 / k) / 2
    logs = xr.apply_ufunc(np.log, lam)
    return assemble(
        {
            "k_drift": (drift, "Change of k since the first fitted step", "%"),
            "library": (fits["k"].copy(data=words), f"Attribution by {LIBRARY}", ""),
            "from_lam": (logs - logs.isel(step=first).drop_vars("step"), "Δ ln λ", "1"),
            "from_k": (gamma - gamma.isel(step=first).drop_vars("step"), "Δ ½ lnΓ(1+2/k)", "1"),
        },
        {"library": LIBRARY},
    )
