"""Change of k and ln λ between two checkpoints of one matrix, with the errors of the change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from weibnb.compiled import compiled
from weibnb.counting.counters import by_counter, counters_of
from weibnb.fitting.clusters import widening
from weibnb.fitting.estimates import influences
from weibnb.fitting.kernels import LAM, OK, STATUS, K
from weibnb.fitting.neighbours import EACH, OF_SOME, Across, stand_out
from weibnb.fitting.rows import CountRows
from weibnb.fitting.weibull import check_protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import Lines
    from weibnb.fitting.weibull import Estimator

    Array = NDArray[np.float64]


class Change(NamedTuple):
    """How far the estimates of one matrix moved from one checkpoint to another.

    Attributes
    ----------
    k, k_se : float
        Change of k, and its standard error.
    log_lam, log_lam_se : float
        Change of ln λ, and its standard error.
    """

    k: float
    k_se: float
    log_lam: float
    log_lam_se: float


def change_between(
    before: Counts,
    after: Counts,
    lines: tuple[Lines, Lines] | None,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
) -> Change:
    """Compare one matrix in two checkpoints: what it has in common is no noise.

    Parameters
    ----------
    before, after : Counts
        How often each magnitude occurs.
    lines : tuple of Lines, or None
        The same rows and columns of both, as `weibnb.counting.lines` chooses them by size alone;
        both as stored, neither transposed.
    trim, estimator
        The protocol, as of `weibnb.scan`.

    Returns
    -------
    Change
        NaN where a fit failed; errors NaN without lines, or with lines of different shapes.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid.

    Notes
    -----
    With v_ij / n the influence of weight (i, j) before and v'_ij / n' after, d_ij is their
    difference, and the variance that of d clustered by rows and by columns,
    Σ_i (Σ_j d_ij)² + Σ_j (Σ_i d_ij)² - Σ_ij d_ij², never less than Σ_ij d_ij²: all of them scaled
    up from the lines. It is 0 for a copy, and the sum of both variances for matrices that have
    nothing in common. The formats of both may differ.

    Neighbouring lines that change alike, such as heads, add what `weibnb.fitting.neighbours` finds.

    What lines have beyond Σ_ij d_ij² is wider by the squared ratio of Student's to the normal
    quantile. With s the sums over lines there are (Σ s²)² / Σ s⁴ degrees of freedom: few, where few
    lines of large scale rule the change.

    Examples
    --------
    >>> from weibnb import count_magnitudes
    >>> from weibnb.counting.formats import as_bits
    >>> from weibnb.counting.lines import lines_of
    >>> rng = np.random.default_rng(0)
    >>> base = rng.normal(size=(256, 256))
    >>> tuned = base + 0.02 * rng.normal(size=(256, 256))
    >>> lines = tuple(lines_of(*as_bits(w), (256, 256)) for w in (base, tuned))
    >>> change = change_between(count_magnitudes(base), count_magnitudes(tuned), lines)
    >>> bool(abs(change.k) < 3 * change.k_se), change.k_se < 0.001
    (True, True)
    """
    trim, estimator = check_protocol(trim, estimator)
    made = [_made(counts, trim, estimator) for counts in (before, after)]
    if any(one is None for one in made):
        return Change(*[np.nan] * 4)
    (before_estimates, v), (after_estimates, w) = (one for one in made if one is not None)
    moved = after_estimates - before_estimates
    errors = np.full(2, np.nan)
    if lines is not None:
        errors = error_of_change((before, v), (after, w), lines)
    return Change(*np.stack([moved, errors], 1).ravel().tolist())


def error_of_change(
    before: tuple[Counts, Array],
    after: tuple[Counts, Array],
    lines: tuple[Lines, Lines],
    *,
    carried_by_few: bool = True,
) -> Array:
    """Give the standard errors of changes, from what each bin adds to them: arrays (2, bins).

    NaN for lines of different shapes. Where few lines may carry a variance, as they do that of k
    and λ by maximum likelihood, it is wider by Student's quantile for so many.
    """
    if not _alike(*lines):
        return np.full(2, np.nan)
    tables = [_by_counter(*side, one) for side, one in zip((before, after), lines, strict=True)]
    size = lines[0].columns.shape[0], lines[0].rows.shape[1]
    sums, alike = [], np.zeros(len(before[1]))
    for which, every in zip(("rows", "columns"), size, strict=True):
        both = tuple(np.ascontiguousarray(_across(one, which)) for one in lines)
        of_lines, squares, across = _line_sums(*both, *tables[0], *tables[1])
        sums.append((of_lines, squares))
        if stand_out(across, OF_SOME):
            d = _of_weights(both[1], *tables[1]) - _of_weights(both[0], *tables[0])
            d -= d.mean(1, keepdims=True)
            found = Across(d.sum(0), d[::EACH], len(d), every).products()
            alike += np.maximum(np.diagonal(found), 0.0)
    variance = _variance(sums[0], sums[1], size, carried_by_few=carried_by_few)
    errors: Array = np.sqrt(variance + alike)
    return errors


def _made(counts: Counts, trim: Any, estimator: Estimator) -> tuple[Array, Array] | None:
    """Give k and ln λ, and the influence of each bin over n, of a matrix that can be fitted."""
    table, v = influences(CountRows.of([counts]), trim=trim, estimator=estimator)
    if table[0, STATUS] != OK:
        return None
    return np.array([table[0, K], np.log(table[0, LAM])]), v / counts.n


def _alike(one: Lines, other: Lines) -> bool:
    """Whether lines are those of matrices of one shape."""
    return one.rows.shape == other.rows.shape and one.columns.shape == other.columns.shape


def _across(lines: Lines, which: str) -> Bits:
    """Give the bits of the rows, or of the columns, one line after the other."""
    return lines.rows if which == "rows" else lines.columns.T


def _by_counter(counts: Counts, v: Array, lines: Lines) -> tuple[Any, ...]:
    """Give what a weight adds by its counter, and how its counter is found."""
    counters = counters_of(lines.dtype, exact=counts.exact)
    table = by_counter(counters, counts.labels, v)
    return np.ascontiguousarray(table.T), counters.mask, counters.shift


def _of_weights(bits: Bits, table: Array, mask: Any, shift: Any) -> Array:
    """Give what each weight adds, (lines, weights, changes)."""
    return np.asarray(table[(bits & mask) >> shift])


@compiled
def _line_sums(
    one: Any,
    other: Any,
    table: Any,
    mask: Any,
    shift: Any,
    other_table: Any,
    other_mask: Any,
    other_shift: Any,
) -> Any:
    """Sum the differences over each line, (lines, changes), and their squares over all.

    The third result has the sums over the lines across, (changes, weights).
    """
    size = table.shape[1]
    sums, squares = np.zeros((one.shape[0], size)), np.zeros(size)
    across = np.zeros((size, one.shape[1]))
    for line in range(one.shape[0]):
        for i in range(one.shape[1]):
            a = np.int64((one[line, i] & mask) >> shift)
            b = np.int64((other[line, i] & other_mask) >> other_shift)
            for k in range(size):
                d = other_table[b, k] - table[a, k]
                sums[line, k] += d
                squares[k] += d * d
                across[k, i] += d
    return sums, squares, across


def _variance(
    rows: tuple[Array, Array],
    columns: tuple[Array, Array],
    size: tuple[int, int],
    *,
    carried_by_few: bool,
) -> Array:
    """Clustered variance of the sum over a matrix of this size, from some rows and columns.

    Of each the sums over lines and the sum of all squares.
    """
    looked_at, columns_looked_at = len(rows[0]), len(columns[0])
    up, across = size[0] / looked_at, size[1] / columns_looked_at
    own = (rows[1] * up + columns[1] * across) / 2
    squares = rows[0] ** 2 * up, columns[0] ** 2 * across
    of_lines = sum(one.sum(0) for one in squares)
    wider = widening(min(looked_at, columns_looked_at))
    if carried_by_few:
        noise = sum((one**2).sum(0) for one in squares)
        freedom = np.maximum(of_lines**2 / np.where(noise > 0, noise, 1.0), 1.0)
        quantile = special.stdtrit(freedom, 0.975) / special.ndtri(0.975)
        wider = np.maximum(quantile**2, wider)
    variance: Array = own + np.maximum(of_lines - 2 * own, 0.0) * wider
    return variance
