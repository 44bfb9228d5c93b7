"""Many matrices looked at together: p-values adjusted for how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


def benjamini_hochberg(p: ArrayLike) -> Array:
    """Adjust p-values so that a threshold bounds the share of false ones among those found.

    Parameters
    ----------
    p : array_like
        p-values of any shape, dimensionless; NaN is not looked at and does not count.

    Returns
    -------
    numpy.ndarray of float64
        Of the same shape: the smallest false discovery rate at which each is found.

    Raises
    ------
    ValueError
        If a p-value lies outside 0 to 1.

    Notes
    -----
    ``q_(i) = min over j >= i of m p_(j) / j`` of m sorted p-values. It holds for independent and
    for positively dependent ones.

    References
    ----------
    Y. Benjamini and Y. Hochberg, J. R. Stat. Soc. B 57 (1995), 289-300.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.04, nan, 0.04]
    """
    from scipy.stats import false_discovery_control

    return _on_known(p, false_discovery_control)


def holm(p: ArrayLike) -> Array:
    """Adjust p-values so that a threshold bounds the chance of any false one.

    Parameters
    ----------
    p : array_like
        p-values of any shape, dimensionless; NaN is not looked at and does not count.

    Returns
    -------
    numpy.ndarray of float64
        Of the same shape: the smallest chance of any false alarm at which each is found.

    Raises
    ------
    ValueError
        If a p-value lies outside 0 to 1.

    Notes
    -----
    ``max over j <= i of (m - j + 1) p_(j)`` of m sorted p-values, at most 1; whatever the
    dependence between them.

    References
    ----------
    S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70.

    Examples
    --------
    >>> holm([0.01, 0.04, np.nan, 0.03]).round(3).tolist()
    [0.03, 0.06, nan, 0.06]
    """

    def adjust(known: Array) -> Array:
        order = np.argsort(known, kind="stable")
        steps = known[order] * np.arange(known.size, 0, -1)
        adjusted = np.empty_like(known)
        adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
        return adjusted

    return _on_known(p, adjust)


def _on_known(p: ArrayLike, adjust: Any) -> Array:
    """Adjust the p-values that are there, all together."""
    values = np.asarray(p, float)
    known = ~np.isnan(values)
    found = values[known]
    if ((found < 0) | (found > 1)).any():
        bad = found[(found < 0) | (found > 1)][0]
        raise ValueError(f"`p` must lie between 0 and 1, got {bad:g}.")
    adjusted = np.full(values.shape, np.nan)
    if found.size:
        adjusted[known] = adjust(found)
    return adjusted
