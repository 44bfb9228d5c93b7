"""Counts -> Weibull estimates with standard errors, and plain statistics, for many matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


#: Fewest non-zero finite weights that are fitted.
MINIMUM_WEIGHTS = 100
_STATUS_WORDS = np.array(
    ["ok", "all_zero", "constant", "too_few", "degenerate", "no_convergence"], dtype=object
)


def final_status(status: ArrayLike, zeros: ArrayLike, nonfinite: ArrayLike) -> NDArray[np.object_]:
    """Status of a matrix once what was left out of its fit is known.

    Parameters
    ----------
    status : array_like of str
        Status of the fit of the non-zero finite weights.
    zeros, nonfinite : array_like of int
        Weights that are exactly zero; weights that are NaN or infinite.

    Returns
    -------
    ndarray of object
        An ``"ok"`` with non-finite weights becomes ``"nonfinite"``; a matrix without one finite
        weight is ``"no_finite"``, one without any weight ``"empty"``.

    Examples
    --------
    >>> final_status(["ok", "ok", "all_zero", "all_zero"], [0, 0, 9, 0], [0, 3, 0, 3]).tolist()
    ['ok', 'nonfinite', 'all_zero', 'no_finite']
    """
    words = np.array(status, object, ndmin=1)
    null, bad = np.asarray(zeros), np.asarray(nonfinite)
    words[(words == "ok") & (bad > 0)] = "nonfinite"
    words[(words == "all_zero") & (null == 0)] = "no_finite"
    words[(words == "no_finite") & (bad == 0)] = "empty"
    return words
