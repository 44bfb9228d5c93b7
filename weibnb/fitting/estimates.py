"""Counts -> Weibull estimates with standard errors, and plain statistics, for many matrices."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import label_values, upper_edge
from weibnb.fitting import kernels
from weibnb.fitting.status import FIT_WORDS, MINIMUM_WEIGHTS, status_after_fit
from weibnb.fitting.weibull import Estimator, anchor, check_protocol, protocol_text
from weibnb.parallel import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


#: Probabilities of the quantile grid.
QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
#: Names of the estimates, in the order of the compiled columns.
ESTIMATES = ("k", "lam", "r2", "ks", "ks_full", "k_se", "lam_se", "k_lam_correlation")
_METHODS: dict[Estimator, int] = {
    "rank_regression": kernels.RANK_REGRESSION,
    "maximum_likelihood": kernels.MAXIMUM_LIKELIHOOD,
}
_ROWS_A_TASK = 64


def _in_tasks(job: Callable[[slice], Array], rows: int, workers: int | None) -> Array:
    """Run `job` over slices of rows on several threads; concatenate what it returns."""
    parts = [slice(at, at + _ROWS_A_TASK) for at in range(0, max(rows, 1), _ROWS_A_TASK)]
    if len(parts) == 1:
        return job(parts[0])
    with ThreadPoolExecutor(workers or usable_cores()) as pool:
        return np.concatenate(list(pool.map(job, parts)))


def as_count_rows(counts: ArrayLike) -> NDArray[np.unsignedinteger[Any]]:
    """Return counts as unsigned integers, missing ones as zero.

    Parameters
    ----------
    counts : array_like, shape (matrices, bins)
        Integers, or floats with NaN where an outer join left nothing.

    Returns
    -------
    ndarray of uint32 or uint64
        The same counts.
    """
    rows = np.asarray(counts)
    if rows.dtype == np.uint32:
        return rows
    if rows.dtype.kind == "f":
        rows = np.nan_to_num(rows)
    wide = rows.size > 0 and rows.max() > np.iinfo(np.uint32).max
    return rows.astype(np.uint64 if wide else np.uint32)


def fit_counts(
    counts: ArrayLike,
    labels: ArrayLike,
    exact: ArrayLike,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    workers: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Fit a Weibull to every row of a table of magnitude counts.

    Parameters
    ----------
    counts : array_like of int, shape (matrices, bins)
        Weights in each bin.
    labels : array_like of int, shape (bins,)
        Bin labels, ascending (see `weibnb.counting.formats.label_values`).
    exact : array_like of bool, shape (matrices,)
        Whether a row's bins are single values.
    trim : tuple of float, optional
        Probability interval that is fitted: by default (0.1, 0.9) for rank regression and (0, 1)
        for maximum likelihood.
    estimator : {"rank_regression", "maximum_likelihood"}
        How k and λ are estimated.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    dict of ndarray, each of shape (matrices,)
        ``k`` (dimensionless), ``lam`` (units of the weights), ``r2``, ``ks`` over the trim and
        ``ks_full`` over everything, ``k_se``, ``lam_se``, ``k_lam_correlation``, and ``status``:
        ``"ok"``, or why the estimates are NaN.

    Raises
    ------
    ValueError
        If the trim or the estimator is not valid.

    Notes
    -----
    *Rank regression* regresses ``y = ln(-ln(1 - F))`` on ``ln|w|`` at ``F_i = (i - 1/2)/n`` over
    the order statistics i whose F lies in the trim, each with equal mass. Ties are summed
    exactly: the sum of y over the ranks of a bin is an integral with a closed form plus
    Euler-Maclaurin terms, so that the result is that of the full sort. *Maximum likelihood*
    solves the score equations; weights outside the trim are censored.

    Standard errors assume independent draws. For rank regression they come from the influence
    function of the estimator, for maximum likelihood from the sandwich formula; neither assumes
    that the weights follow a Weibull. ``ks`` is the largest distance between the fitted and the
    empirical distribution at the mid-ranks of the occupied bins.

    References
    ----------
    T. Ding, arXiv:2605.18898 (the method). A. W. van der Vaart, *Asymptotic Statistics* (1998),
    chapters 5 (sandwich) and 22 (L-statistics).

    Examples
    --------
    >>> from weibnb.counting.dispatch import count_magnitudes
    >>> rng = np.random.default_rng(0)
    >>> c = count_magnitudes(rng.weibull(1.5, 100_000))
    >>> fitted = fit_counts(c.counts[None], c.labels, [c.exact])
    >>> abs(float(fitted["k"][0]) - 1.5) < 4 * float(fitted["k_se"][0])
    True
    """
    trim, estimator = check_protocol(trim, estimator)
    rows = as_count_rows(counts)
    flags = np.asarray(exact, bool)
    low, high = _edges(np.asarray(labels))
    x = np.log(np.stack([low / 2 + high / 2, low]))
    method = _METHODS[estimator]

    def job(part: slice) -> Array:
        table: Array = kernels.fit_rows(
            rows[part], x, flags[part], trim[0], trim[1], method, MINIMUM_WEIGHTS
        )
        return table

    columns = _in_tasks(job, len(rows), workers).T
    fitted: dict[str, NDArray[Any]] = dict(zip(ESTIMATES, columns, strict=False))
    fitted["status"] = FIT_WORDS[columns[kernels.STATUS].astype(int)]
    return fitted


def _edges(labels: NDArray[Any]) -> tuple[Array, Array]:
    return label_values(labels), upper_edge(labels)


def describe_counts(
    counts: ArrayLike,
    labels: ArrayLike,
    exact: ArrayLike,
    zeros: ArrayLike,
    *,
    workers: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Plain statistics of |w| from its counts; zeros belong to them, non-finite weights do not.

    Parameters
    ----------
    counts, labels, exact, workers
        As in `fit_counts`.
    zeros : array_like of int, shape (matrices,)
        Weights that are exactly zero.

    Returns
    -------
    dict of ndarray
        ``n`` (non-zero finite weights), ``rms``, ``mean_abs``, ``kurtosis`` (about zero,
        E[w^4]/E[w^2]^2: 3 for a Gaussian), each of shape (matrices,), and ``quantile`` of shape
        (matrices, len(QUANTILES)).

    Examples
    --------
    >>> from weibnb.counting.dispatch import count_magnitudes
    >>> c = count_magnitudes(np.array([3.0, -4.0, 0.0, 0.0]))
    >>> stats = describe_counts(c.counts[None], c.labels, [c.exact], [c.zeros])
    >>> float(stats["rms"][0]), float(stats["mean_abs"][0])
    (2.5, 1.75)
    """
    rows = as_count_rows(counts)
    flags, null = np.asarray(exact, bool), np.asarray(zeros, np.int64)
    low, high = _edges(np.asarray(labels))
    # a power of two that keeps fourth powers in range
    unit = np.ldexp(1.0, np.frexp(high[-1])[1] - 1) if high.size else 1.0
    a, b = low / unit, high / unit
    interval = [a / 2 + b / 2, (a * a + a * b + b * b) / 3, _mean_fourth_power(a, b)]
    powers = np.stack([np.stack(interval), np.stack([a, a**2, a**4])])
    edges, grid = np.stack([low, high]), np.array(QUANTILES)

    def job(part: slice) -> Array:
        table: Array = kernels.describe_rows(
            rows[part], powers, edges, flags[part], null[part], grid
        )
        return table

    table = _in_tasks(job, len(rows), workers)
    total = np.maximum(table[:, 0] + null, 1)
    empty = table[:, 0] + null == 0
    mean_abs, square, fourth = (table[:, 1:4] / total[:, None]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        kurtosis = np.where(square > 0, fourth / square**2, np.nan)
    return {
        "n": table[:, 0].astype(np.int64),
        "rms": np.where(empty, np.nan, np.sqrt(square) * unit),
        "mean_abs": np.where(empty, np.nan, mean_abs * unit),
        "kurtosis": kurtosis,
        "quantile": table[:, 4:],
    }


def _mean_fourth_power(a: Array, b: Array) -> Array:
    return (a**4 + a**3 * b + a * a * b * b + a * b**3 + b**4) / 5


@dataclass(frozen=True, slots=True)
class WeibullFit:
    """Weibull fit of one matrix.

    Attributes
    ----------
    k, lam : float
        Shape (dimensionless) and scale (units of the weights); NaN if `status` is not "ok".
    r2 : float
        Coefficient of determination of the Weibull plot over the trim.
    ks, ks_full : float
        Kolmogorov-Smirnov distance over the trim and over everything.
    k_se, lam_se : float
        Standard errors under independent sampling.
    k_lam_correlation : float
        Correlation of the two estimates (of k and ln λ).
    n : int
        Non-zero finite weights.
    status : str
        ``"ok"``, ``"nonfinite"`` (fitted without the NaN and infinite weights), or why there is
        no fit.
    trim, estimator
        The protocol.
    counts : Counts
        The magnitude counts.
    """

    k: float
    lam: float
    r2: float
    ks: float
    ks_full: float
    k_se: float
    lam_se: float
    k_lam_correlation: float
    n: int
    status: str
    trim: tuple[float, float]
    estimator: Estimator
    counts: Counts

    def __repr__(self) -> str:
        protocol = protocol_text(self.trim, self.estimator)
        if np.isnan(self.k):
            return f"<WeibullFit: {self.status}; n = {self.n:,}; {protocol}>"
        note = "" if self.status == "ok" else f" [{self.status}]"
        reference = anchor("gaussian", trim=self.trim, estimator=self.estimator)
        return (
            f"<WeibullFit{note}: k = {self.k:.4f} ± {self.k_se:.4f} (Gaussian {reference.k:.4f}), "
            f"λ = {self.lam:.4g} ± {self.lam_se:.2g}, r2 = {self.r2:.4f}, KS = {self.ks:.4f}, "
            f"n = {self.n:,}; {protocol}>"
        )


def fit_weibull(
    weights: Any,
    *,
    trim: tuple[float, float] | None = None,
    estimator: Estimator = "rank_regression",
    device: str | Sequence[str] = "auto",
    workers: int | None = None,
) -> WeibullFit:
    """Fit a two-parameter Weibull to the magnitudes of one matrix.

    Parameters
    ----------
    weights : array_like, torch.Tensor or Counts
        Floating-point weights of any shape, or their magnitude counts.
    trim, estimator, workers
        As in `fit_counts`.
    device : str or sequence of str
        Where to count, as in `count_magnitudes`.

    Returns
    -------
    WeibullFit
        ``.k .lam .r2 .ks .k_se .lam_se .n .status``.

    Raises
    ------
    TypeError
        If the weights are not floating-point.
    ValueError
        If the trim, the estimator or the device is not valid.
    RuntimeError
        If the device is not there.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> result = fit_weibull(rng.normal(0, 0.02, (512, 512)))
    >>> abs(result.k - 1.2054) < 4 * result.k_se, result.status
    (True, 'ok')
    """
    trim, estimator = check_protocol(trim, estimator)
    if isinstance(weights, Counts):
        counted = weights
    else:
        counted = count_magnitudes(weights, device=device, workers=workers)
    fitted = fit_counts(
        counted.counts[None],
        counted.labels,
        [counted.exact],
        trim=trim,
        estimator=estimator,
        workers=workers,
    )
    nonfinite = counted.nans + counted.infinities
    return WeibullFit(
        **{name: float(fitted[name][0]) for name in ESTIMATES},
        n=counted.n,
        status=str(
            status_after_fit("ok", fitted["status"], zeros=counted.zeros, nonfinite=nonfinite)[0]
        ),
        trim=trim,
        estimator=estimator,
        counts=counted,
    )
