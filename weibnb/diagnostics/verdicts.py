"""What every verdict on fits shares: its standard error, its words, the protocol it holds for.

A verdict is a word, and every word is given only where the estimate lies at least `RESOLUTION`
standard errors from the edges that could change it; elsewhere it is ``"not resolved"``. Where
the Dataset holds no standard errors at all, as published medians do not, the verdict is that of
the value alone and the standard error is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from weibnb.fits.schema import protocol_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Words = NDArray[np.str_]

#: Standard errors that an estimate must lie from an edge for its verdict to be given.
RESOLUTION = 1.0
NOT_RESOLVED, NOT_FITTED = "not resolved", "not fitted"
#: Estimator and trim of every published figure.
PUBLISHED_PROTOCOL = ("rank_regression", (0.1, 0.9))


def require_protocol(
    fits: xr.Dataset, what: str, *, like: tuple[str, tuple[float, float]] = PUBLISHED_PROTOCOL
) -> None:
    """Raise unless fits were made by the protocol that a figure belongs to.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits, or anything with their attrs.
    what : str
        What needs the protocol, for the message.
    like : tuple
        Estimator and trim.

    Raises
    ------
    ValueError
        If estimator or trim differ.
    """
    own = protocol_of(fits)
    if own[0] != like[0] or not np.allclose(own[1], like[1], rtol=0, atol=1e-9):
        raise ValueError(
            f"{what} must be compared with fits by {like[0]} at trim {like[1]}, got {own[0]} at "
            f"trim {own[1]}. Fit again: weibnb.refit(fits, trim={like[1]}, estimator={like[0]!r})."
        )


def errors_of(fits: xr.Dataset) -> xr.DataArray:
    """Give the standard errors of k; NaN where the fits bring none with them."""
    return fits["k_se"] if "k_se" in fits else xr.full_like(fits["k"], np.nan)


def margin(fits: xr.Dataset, error: xr.DataArray) -> xr.DataArray:
    """Give the error that a verdict must respect: none where the fits bring none with them."""
    return error if "k_se" in fits else error.fillna(0.0)


def interval_words(
    value: Array, error: Array, edges: Sequence[float], words: Sequence[str]
) -> Words:
    """Word of the interval a value lies in; an unknown error, as a large one, resolves nothing.

    Parameters
    ----------
    value, error : ndarray of float64
        What is judged, and its standard error, of the same shape.
    edges : sequence of float
        Ascending; each belongs to the interval above it.
    words : sequence of str
        One more than edges.

    Returns
    -------
    ndarray of str
        The words, or `NOT_RESOLVED`.

    Examples
    --------
    >>> value, error = np.array([0.5, 1.05]), np.array([0.1, 0.1])
    >>> interval_words(value, error, (1.0,), ("low", "high")).tolist()
    ['low', 'not resolved']
    """
    bounds = np.asarray(edges)
    found = np.asarray(words)[np.searchsorted(bounds, value, side="right")]
    far = np.abs(np.asarray(value)[..., None] - bounds).min(-1) >= RESOLUTION * error
    return np.where(far, found, NOT_RESOLVED)


def unfitted(words: Words, k: xr.DataArray, status: xr.DataArray) -> Words:
    """Put the status in place of the word where there is no estimate."""
    reason = status.broadcast_like(k).transpose(*k.dims).values.astype(str)
    reason = np.where(np.isin(reason, ("", "ok")), NOT_FITTED, reason)
    return np.where(np.isnan(k.values), reason, words)
