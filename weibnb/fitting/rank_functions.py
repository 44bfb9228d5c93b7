"""Five functions of the rank: from their sums over rows and columns every error is clustered.

The influence of a weight on an estimate is a function of its rank alone, whatever the trim and the
estimator, and close to a combination of these five. A scan keeps their covariance within rows and
columns, so that errors of estimates that are made later need no second look at the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from weibnb.compiled import compiled_sums

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

#: Classes of the rank, fine towards both ends; a function is taken as constant in each.
CLASSES = 192
#: Number of functions.
FUNCTIONS = 5
#: Row and column of each number that is kept of a covariance of the functions.
PAIRS = np.triu_indices(FUNCTIONS)
#: Ranks between the classes.
EDGES = special.ndtr(np.linspace(-4.5, 4.5, CLASSES - 1))
#: The range of the ordinate that the default trim looks at.
BODY = (np.log(-np.log(0.9)), np.log(-np.log(0.1)))


def by_class(rows: CountRows, v: Array) -> tuple[NDArray[np.uint8], Array, Array]:
    """Give the class of each entry, the weights in each class, and the means of functions there.

    `v`, of shape (functions, entries), holds the functions; the results have the shapes (entries,),
    (matrices, classes) and (matrices, functions, classes).
    """
    classes, masses, sums = _by_class(rows, v, EDGES)
    return classes, masses, sums / np.maximum(masses, 1.0)[:, None]


@compiled_sums
def _by_class(rows: Any, v: Any, edges: Any) -> Any:
    """Class of each entry, and the weights and sums of functions in the classes of each matrix."""
    size, origin = rows.exact.size, rows.starts[0]
    classes = np.empty(rows.starts[-1] - origin, np.uint8)
    masses = np.zeros((size, edges.size + 1))
    sums = np.zeros((size, v.shape[0], edges.size + 1))
    for row in range(size):
        start, stop = rows.starts[row], rows.starts[row + 1]
        total = rows.counts[start:stop].sum()
        end, seen = start, 0
        for at in range(edges.size + 1):
            begin, before = end, seen
            limit = 2.0 * edges[at] * total if at < edges.size else np.inf
            while end < stop and 2 * seen + rows.counts[end] <= limit:
                classes[end - origin] = at
                seen += rows.counts[end]
                end += 1
            masses[row, at] = seen - before
            for i in range(v.shape[0]):
                some = 0.0
                for j in range(begin, end):
                    some += rows.counts[j] * v[i, j - origin]
                sums[row, i, at] = some
    return classes, masses, sums


def rank_functions(masses: Array) -> Array:
    """Give the functions in each class, centred: (matrices, functions, classes).

    They are the ordinate y = ln(-ln(1 - F)), e^y, y e^y, and y clipped to 10 ... 90 % and its
    square: what the scores of a Weibull and a rank regression over the default trim are made of.
    """
    n = np.maximum(masses.sum(1, keepdims=True), 1.0)
    rank = np.clip((np.cumsum(masses, 1) - masses / 2) / n, 1e-12, 1 - 1e-12)
    e = -np.log1p(-rank)
    y = np.log(e)
    body = np.clip(y, *BODY)
    functions = np.stack([y, e, e * y, body, body**2], 1)
    mean: Array = (functions * masses[:, None]).sum(2, keepdims=True) / n[:, None]
    return functions - mean


def clustered_part(rows: CountRows, v: Array, covariance: Array) -> Array:
    """Covariance of the means of functions within rows and columns, beyond independent weights.

    Parameters
    ----------
    rows : CountRows
        The counts.
    v : ndarray, shape (functions, entries)
        Functions of |w|, by bin and with mean zero over each matrix.
    covariance : ndarray, shape (matrices, 15)
        That of the five functions; NaN where it is not known.

    Returns
    -------
    ndarray, shape (matrices, functions, functions)
        NaN where the covariance is.

    Notes
    -----
    Each function is projected on the five by least squares over the weights. What remains is taken
    as independent.
    """
    _, masses, means = by_class(rows, v)
    functions = rank_functions(masses)
    weighted = functions * masses[:, None]
    gram = weighted @ functions.swapaxes(1, 2)
    trace = np.trace(gram, axis1=1, axis2=2)[:, None, None]
    gram += np.eye(FUNCTIONS) * np.where(trace > 0, 1e-12 * trace, 1.0)
    share = np.linalg.solve(gram, weighted @ means.swapaxes(1, 2))
    kept = np.zeros((len(masses), FUNCTIONS, FUNCTIONS))
    kept[:, *PAIRS] = covariance
    kept[:, *PAIRS[::-1]] = covariance
    result: Array = share.swapaxes(1, 2) @ kept @ share
    return result


def standard_errors(rows: CountRows, v: Array, beyond: Array) -> Array:
    """Give the standard error of the mean of one function of |w| in each matrix.

    `v` (entries,) has mean zero over each matrix; `beyond` (matrices,) is the variance within rows
    and columns beyond that of independent weights, none where it is negative or NaN.
    """
    number = np.diff(rows.starts)
    counts = rows.counts[rows.starts[0] : rows.starts[-1]].astype(float)
    matrix = np.repeat(np.arange(number.size), number)
    n, own = (np.bincount(matrix, x, number.size) for x in (counts, counts * v * v))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt(own / n**2 + np.fmax(beyond, 0.0)))
