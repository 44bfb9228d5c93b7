"""Standard errors of weights that depend on each other within rows and columns."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from weibnb.compiled import compiled_inline, compiled_sums
from weibnb.counting.counters import counters_of, lay_out
from weibnb.counting.lines import lines_in, packed
from weibnb.fitting.estimates import COVARIANCES, EFFECTS
from weibnb.fitting.kernels import CORRELATION, K_SE, LAM, LAM_SE
from weibnb.fitting.neighbours import EACH, OF_SOME, Across, stand_out
from weibnb.fitting.rank_functions import (
    CLASSES,
    FUNCTIONS,
    PAIRS,
    by_class,
    clustered_part,
    rank_functions,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.lines import Lines
    from weibnb.fitting.rows import CountRows

    Array = NDArray[np.float64]

# Functions of the rank that are added up at once, whole vectors of them.
_WIDE = 8
_SMALL = 1e-12  # of the largest eigenvalue: below it lies rounding


def clustered(table: Array, rows: CountRows, v: Array, lines: Sequence[Lines | None]) -> Array:
    """Make the errors of fitted rows clustered ones where there are lines.

    Parameters
    ----------
    table : ndarray, shape (matrices, 10)
        From `weibnb.fitting.kernels.fit_rows`; its errors are independent ones.
    rows : CountRows
        The counts.
    v : ndarray, shape (2, entries)
        Influence of each bin on k and ln λ.
    lines : sequence of Lines or None
        Those of each matrix.

    Returns
    -------
    ndarray, shape (matrices, 27)
        With the design effects of k and of λ, at least 1, NaN without lines or a fit, and the
        covariance of the rank functions within rows and columns, NaN without lines.

    Notes
    -----
    With n weights and v_ij the influence of weight (i, j), the variance clustered by rows and by
    columns is [Σ_i (Σ_j v_ij)² + Σ_j (Σ_i v_ij)² - Σ_ij v_ij²] / n². Influences are taken as
    constant within each of 192 classes of the rank; what they vary within one is independent.
    v has mean zero over the matrix, so that a sample of lines loses no degree of freedom. Zeros
    and weights that are not finite have v = 0.

    Neighbouring lines that are alike add what `weibnb.fitting.neighbours` finds, where it stands
    out: a quarter of the lines that are looked at tell. It is found of the influences; what follows
    for the rank functions is told by their regression on them.

    Of a sample of blocks of rows, a share s of the matrix, the errors are those of the whole: what
    rows add to independent weights is less by s, what columns add is the same.

    References
    ----------
    A. C. Cameron, J. B. Gelbach and D. L. Miller, "Robust Inference With Multiway Clustering",
    Journal of Business & Economic Statistics 29 (2011) 238-249.
    """
    if not any(lines):
        return np.column_stack([table, np.full((len(table), len(EFFECTS) + COVARIANCES), np.nan)])
    of_all = np.array([some is not None and some.products is not None for some in lines])
    classes, masses, means = by_class(rows, v)
    scale = np.zeros((len(means), int(of_all.any()), CLASSES))  # a number of lines, not of weights
    functions = np.concatenate([means, scale, rank_functions(masses)], 1)
    beyond = np.full((len(table), functions.shape[1], functions.shape[1]), np.nan)
    may_be_alike = np.zeros((len(table), 2), np.bool_)
    for exact in (False, True):
        exactness = zip(lines, rows.exact.tolist(), strict=True)
        of_kind = [some if one == exact else None for some, one in exactness]
        for dtype, pack in packed(of_kind):
            counters = counters_of(dtype, exact=exact)
            _add_up(rows, classes, functions, masses, pack, counters, of_all, beyond, may_be_alike)
            fewest = pack.shapes[:, :, 0].min(1)
            wider = np.array([widening(number) for number in fewest.tolist()])
            beyond[pack.places] *= wider[:, None, None]
    for row, across in np.argwhere(may_be_alike).tolist():
        some = lines[row]
        if some is not None:
            one, n = rows.part(slice(row, row + 1)), masses[row].sum()
            own = classes[one.starts[0] - rows.starts[0] : one.starts[1] - rows.starts[0]]
            more = _of_neighbours(one, own, functions[row, :2], some, across) / n**2
            known = beyond[row, :2, :2] + more
            beyond[row] = _follow(beyond[row], _independent(functions[row], masses[row]), known)
    for row, some in enumerate(lines):
        if some is not None and some.products is not None and masses[row].any():
            independent = _independent(functions[row], masses[row])
            known = _by_all_lines(table[row], masses[row].sum(), some)
            beyond[row] = _follow(beyond[row], independent, known)
    kept = beyond[:, -FUNCTIONS:, -FUNCTIONS:][:, *PAIRS]
    return np.column_stack([table, with_effects(table, beyond[:, :2, :2]), kept])


def _independent(functions: Array, masses: Array) -> Array:
    """Covariance of the means of functions, by class, over independent weights."""
    return np.asarray((functions * masses) @ functions.T / masses.sum() ** 2)


def _by_all_lines(row: Array, n: float, lines: Lines) -> Array:
    """Covariance beyond independent weights of functions whose sums are known of all lines."""
    own = np.zeros((3, 3))
    k, lam = row[K_SE], row[LAM_SE] / row[LAM]
    own[:2, :2] = np.outer([k, lam], [k, lam]) * [[1, row[CORRELATION]], [row[CORRELATION], 1]]
    known: Array = (np.asarray(lines.products) / n**2 - 2.0 * own) * widening(lines.fewest)
    return known


def _follow(beyond: Array, independent: Array, known: Array) -> Array:
    """Put what is known of the first functions in, and what follows for the others.

    These follow by their regression on the first, as covariances do where a selection has changed
    those of some.

    References
    ----------
    D. N. Lawley, "A Note on Karl Pearson's Selection Formulae", Proceedings of the Royal Society
    of Edinburgh A 62 (1943) 28-30.
    """
    first = len(known)
    estimated = (beyond + 2.0 * independent)[:, :first]
    if not np.isfinite(estimated).all():  # there is no fit
        return beyond
    slopes = estimated @ _inverse(estimated[:first], independent[:first, :first])
    slopes[:first] = np.eye(first)
    changed: Array = beyond + slopes @ (known - beyond[:first, :first]) @ slopes.T
    return changed


def _inverse(estimated: Array, independent: Array) -> Array:
    """Invert a covariance that is estimated, and so may be none.

    In directions in which less than a quarter is left of what independent weights have (twice, by
    rows and by columns), a quarter is taken: there the estimate is noise, and its inverse large.
    """
    values, vectors = np.linalg.eigh(independent)
    white = vectors / np.sqrt(np.maximum(values, _SMALL * values.max()))
    found, turned = np.linalg.eigh(white.T @ estimated @ white)
    across = white @ turned
    return np.asarray((across / np.maximum(found, 0.5)) @ across.T)


def _of_neighbours(
    row: CountRows, classes: Any, functions: Array, lines: Lines, which: int
) -> Array:
    """Estimate what rows (0), or columns (1), that are alike add to products of sums."""
    share = lines.share if which == 0 else 1.0
    return share * look_across(row, classes, functions, lines, which).products()


def look_across(row: CountRows, classes: Any, functions: Array, lines: Lines, which: int) -> Across:
    """Take functions, (functions, classes), of all rows (0), or columns (1), in lines across them.

    `row` are the counts of one matrix, `classes` those of its bins.
    """
    across = lines.rows if which else lines.columns.T
    every = lines.columns.shape[0] if which else lines.rows.shape[1]
    labels = row.labels[row.columns[row.starts[0] : row.starts[1]]]
    counters = counters_of(lines.dtype, exact=bool(row.exact[0]))
    sums, values = _across_lines(np.ascontiguousarray(across), labels, classes, counters, functions)
    return Across(sums, values, len(across), every)


def composed(table: Array, rows: CountRows, v: Array, covariance: Array) -> Array:
    """Make the errors of fitted rows clustered ones where the covariance of a scan is known.

    As `clustered`, from the covariance (matrices, 15) that it gave instead of lines; the result
    (matrices, 12) has the design effects.
    """
    return np.column_stack([table, with_effects(table, clustered_part(rows, v, covariance))])


def with_effects(table: Array, beyond: Array) -> Array:
    """Widen independent errors in place, and give the design effects of k and of λ.

    `beyond`, of shape (matrices, 2, 2), is the covariance of k and ln λ beyond that of independent
    weights; where it is NaN the errors stay, and the effects are NaN.
    """
    error = np.stack([table[:, K_SE], table[:, LAM_SE] / table[:, LAM]], 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        own = error**2
        effects = 1.0 + np.maximum(np.diagonal(beyond, axis1=1, axis2=2), 0.0) / own
        effects[~np.isfinite(effects).all(1)] = np.nan
        wider = (effects > 1.0).any(1)
        covariance = table[:, CORRELATION] * error.prod(1) + beyond[:, 0, 1]
        mixed = covariance / (error.prod(1) * np.sqrt(effects.prod(1)))
    table[wider, CORRELATION] = np.clip(mixed[wider], -1.0, 1.0)
    table[:, [K_SE, LAM_SE]] *= np.sqrt(np.nan_to_num(effects, nan=1.0))
    return effects


@lru_cache(maxsize=256)
def widening(lines: float) -> float:
    """Square the ratio of Student's 97.5 % quantile to the normal one: few lines give noise."""
    ratio: float = special.stdtrit(max(lines - 1, 1), 0.975) / special.ndtri(0.975)
    return ratio**2


@compiled_sums
def _across_lines(lines: Any, labels: Any, classes: Any, counters: Any, functions: Any) -> Any:
    """Sum functions, (functions, classes), of the weights of lines, less their mean over each.

    Gives (weights, functions), and those of one line in `EACH`, (lines, weights, functions).
    """
    table = np.empty((counters.mask >> counters.shift) + 1, np.uint8)
    table[:] = CLASSES
    lay_out(table, labels, classes, counters)
    size, width = functions.shape[0], lines.shape[1]
    values = np.zeros((CLASSES + 1, _WIDE))
    values[:CLASSES, :size] = functions.T
    sums, some = np.zeros((width, size)), np.empty((-(-len(lines) // EACH), width, size))
    for i in range(len(lines)):
        mean = _sums(lines[i], table, counters, values) / width
        own = some[i // EACH]
        for j in range(width):
            at = table[np.int64((lines[i, j] & counters.mask) >> counters.shift)]
            for a in range(size):
                sums[j, a] += values[at, a] - mean[a]
        if i % EACH == 0:
            for j in range(width):
                at = table[np.int64((lines[i, j] & counters.mask) >> counters.shift)]
                for a in range(size):
                    own[j, a] = values[at, a] - mean[a]
    return sums, some


@compiled_sums
def _add_up(
    rows: Any,
    classes: Any,
    functions: Any,
    masses: Any,
    pack: Any,
    counters: Any,
    of_all: Any,
    out: Any,
    may_be_alike: Any,
) -> None:
    """Estimate the covariance of functions within rows and columns beyond independent weights.

    Tells in addition of which matrices rows, or columns, may be alike where they are neighbours;
    of those of which all lines were summed that is known.
    """
    size, seen = functions.shape[1], 0
    table = np.empty((counters.mask >> counters.shift) + 1, np.uint8)
    values = np.zeros((CLASSES + 1, _WIDE))
    for i in range(pack.places.size):
        at = pack.places[i]
        start, stop = rows.starts[at], rows.starts[at + 1]
        first, seen = seen, seen + pack.shapes[i, 0, 0] + pack.shapes[i, 1, 0]
        if start == stop:
            continue
        own = classes[start - rows.starts[0] : stop - rows.starts[0]]
        table[:] = CLASSES
        lay_out(table, rows.labels[rows.columns[start:stop]], own, counters)
        n = 0.0
        products, share = np.zeros((3, _WIDE, _WIDE)), pack.shares[i]
        for b in range(CLASSES):
            n += masses[at, b]
            for a in range(size):
                values[b, a] = functions[at, a, b]
            _add_products(products[2], values[b], (1.0 + share) * masses[at, b])
        for which in range(2):
            lines = lines_in(pack, i, which)
            every = pack.shapes[i, 1 - which, 1] * (share if which == 0 else 1.0)
            for line in lines:
                total = _sums(line, table, counters, values)
                total[2] += pack.scales[first]  # 0 but where the third is the scale of the line
                first += 1
                _add_products(products[which], total, every / len(lines))
            if not of_all[at]:
                across = _sums_across(lines, table, counters, values)
                may_be_alike[at, 1 - which] = stand_out(across, OF_SOME)
        for a in range(size):
            for b in range(size):
                of_lines = products[0, a, b] + products[1, a, b]
                out[at, a, b] = (of_lines - products[2, a, b]) / n**2


@compiled_inline
def _sums_across(lines: Any, table: Any, counters: Any, values: Any) -> Any:
    """Sum the first two functions, over one line in `EACH`, of the lines across."""
    sums = np.zeros((2, lines.shape[1]))
    for line in range(0, len(lines), np.int64(EACH)):
        for i in range(lines.shape[1]):
            at = table[np.int64((lines[line, i] & counters.mask) >> counters.shift)]
            sums[0, i] += values[at, 0]
            sums[1, i] += values[at, 1]
    return sums


@compiled_inline
def _add_products(products: Any, values: Any, weight: Any) -> None:
    """Add the products of functions, weighted."""
    for a in range(_WIDE):
        some = weight * values[a]
        for b in range(_WIDE):
            products[a, b] += some * values[b]


@compiled_inline
def _sums(line: Any, table: Any, counters: Any, values: Any) -> Any:
    """Sum every function over a line; a long one is counted by class first."""
    total, mask, shift = np.zeros(_WIDE), counters.mask, counters.shift
    if line.size < CLASSES:
        for bits in line:
            one = values[table[np.int64((bits & mask) >> shift)]]
            for a in range(_WIDE):
                total[a] += one[a]
        return total
    number = np.zeros(CLASSES + 1, np.uint32)
    for bits in line:
        number[table[np.int64((bits & mask) >> shift)]] += 1
    for b in range(CLASSES):
        for a in range(_WIDE):
            total[a] += number[b] * values[b, a]
    return total
