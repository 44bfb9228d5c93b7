"""What all diagnostics share: the words of a verdict, its standard error, the form of a result.

A verdict is a word that is given only where the estimate lies so far from every edge that could
change it that, of all words of the call, the share `FALSE_VERDICTS` at most is expected to be
wrong; elsewhere it is ``"not resolved"``. Where a Dataset holds no standard errors at all, as
published medians do not, the value alone decides and the standard error is NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from scipy import special

from weibnb.diagnostics.multiplicity import benjamini_hochberg
from weibnb.fits.schema import protocol_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    #: Value, long name, and units (empty for words and flags).
    Column = tuple[Any, str, str]

#: Share of the words of one call that may be wrong (Benjamini-Hochberg). Of a single word it is
#: the chance, which asks for 1.645 standard errors from the nearest edge.
FALSE_VERDICTS = 0.05
NOT_RESOLVED, NOT_FITTED = "not resolved", "not fitted"
#: Estimator and trim of every published figure.
PUBLISHED_PROTOCOL = ("rank_regression", (0.1, 0.9))


def require_protocol(
    fits: xr.Dataset, what: str, *, like: tuple[str, tuple[float, float]] = PUBLISHED_PROTOCOL
) -> None:
    """Raise ValueError unless fits were made by the estimator and trim that `what` belongs to."""
    own = protocol_of(fits)
    if own[0] != like[0] or not np.allclose(own[1], like[1], rtol=0, atol=1e-9):
        raise ValueError(
            f"{what} must be compared with fits by {like[0]} at trim {like[1]}, got {own[0]} at "
            f"trim {own[1]}. Fit again: weibnb.refit(fits, trim={like[1]}, estimator={like[0]!r})."
        )


def number_alone(fits: xr.Dataset | None, *, k: float | None, **others: float | None) -> float:
    """Give the number that is given in place of fits; raise unless it is one or the other."""
    if fits is not None:
        given = next(name for name, value in {"k": k, **others}.items() if value is not None)
        raise ValueError(f"`{given}` must be omitted where fits are given.")
    if k is None:
        raise TypeError("`fits` or `k` must be given.")
    return k


def errors_of(fits: xr.Dataset) -> xr.DataArray:
    """Give the standard errors of k; NaN where the fits have none."""
    return fits["k_se"] if "k_se" in fits else xr.full_like(fits["k"], np.nan)


def interval_words(
    fits: xr.Dataset,
    value: xr.DataArray,
    error: xr.DataArray,
    edges: Sequence[float],
    words: Sequence[str],
) -> xr.DataArray:
    """Name the interval that each value lies in, where `resolved` says so.

    Edges ascend, and each belongs to the interval above it; `words` has one more than `edges`. An
    unknown error resolves nothing, unless the fits have no errors at all.
    """
    margin = error if "k_se" in fits else error.fillna(0.0)
    bounds = np.asarray(edges)
    found = np.asarray(words)[np.searchsorted(bounds, value.values, side="right")]
    away = np.abs(value.values[..., None] - bounds).min(-1)
    known = resolved(away, margin.transpose(*value.dims).values)
    return xr.DataArray(np.where(known, found, NOT_RESOLVED), value.coords, value.dims)


def resolved(away: Array, error: Array) -> NDArray[np.bool_]:
    """Tell which of many distances from an edge the standard errors resolve, all looked at."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        distance = np.where((error == 0) & (away >= 0), np.inf, away / error)
    return np.asarray(benjamini_hochberg(special.ndtr(-distance)) <= FALSE_VERDICTS)


def status_where_unfitted(words: xr.DataArray, fits: xr.Dataset) -> xr.DataArray:
    """Put the cell's status in place of the word where there is no estimate."""
    lost = fits["k"].isnull().transpose(*words.dims).values
    status = fits["status"].broadcast_like(fits["k"]).transpose(*words.dims).values[lost]
    reason = np.where(np.isin(status.astype(str), ("", "ok")), NOT_FITTED, status.astype(str))
    values = words.values.astype(np.result_type(words.dtype, reason.dtype))
    values[lost] = reason
    return words.copy(data=values)


def assemble(columns: Mapping[str, Column], attrs: Mapping[Any, Any] | None = None) -> xr.Dataset:
    """Build the Dataset of a diagnostic, each variable with its long name and its units."""
    result = xr.Dataset({name: value for name, (value, *_) in columns.items()}, attrs=attrs)
    for name, (_, long_name, units) in columns.items():
        result[name].attrs = {"long_name": long_name} | ({"units": units} if units else {})
    return result
