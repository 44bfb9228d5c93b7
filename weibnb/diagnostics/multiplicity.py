"""Many matrices looked at together: p-values adjusted for how many there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return _of_all(p, benjamini_hochberg_rows)


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
    return _of_all(p, holm_rows)


def holm_rows(p: Array) -> Array:
    """Adjust each row of p-values by itself, as `holm` does; NaN is not looked at."""
    return _by_rank(p, lambda steps: np.maximum.accumulate(steps, axis=1), from_largest=True)


def benjamini_hochberg_rows(p: Array) -> Array:
    """Adjust each row of p-values by itself, as `benjamini_hochberg` does."""
    return _by_rank(
        p, lambda steps: np.minimum.accumulate(steps[:, ::-1], axis=1)[:, ::-1], from_largest=False
    )


def _by_rank(p: Array, gather: Callable[[Array], Array], *, from_largest: bool) -> Array:
    """Scale the sorted p-values of each row by their rank, make them monotonic, and sort back."""
    order = np.argsort(p, axis=1, kind="stable")  # NaN comes last
    number = np.count_nonzero(~np.isnan(p), axis=1)[:, None]
    rank = np.arange(1, p.shape[1] + 1)
    factor = number - rank + 1 if from_largest else number / rank
    steps = np.take_along_axis(p, order, 1) * factor
    steps = np.where(rank > number, -np.inf if from_largest else np.inf, steps)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(gather(steps), 1.0), 1)
    return np.where(np.isnan(p), np.nan, adjusted)


def _of_all(p: ArrayLike, adjust: Callable[[Array], Array]) -> Array:
    """Adjust p-values of any shape, all together."""
    values = np.asarray(p, float)
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise ValueError(f"`p` must lie between 0 and 1, got {values[outside][0]:g}.")
    return adjust(values.reshape(1, -1)).reshape(values.shape)
