"""The fit of one matrix, from weights or counts to k and λ with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.counting.dispatch import Counting, resolve_devices
from weibnb.fitting.backends import check_backend, fitting_device
from weibnb.fitting.estimates import COLUMNS, fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.status import status_after_fit
from weibnb.fitting.weibull import Estimator, anchor, check_protocol, protocol_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from weibnb.fitting.backends import Backend


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
    ks_midrank : float
        The distance over the trim at the mid-ranks of tied weights, free of the grid of the format.
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
    ks_midrank: float
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
    backend: Backend = "auto",
    workers: int | None = None,
) -> WeibullFit:
    """Fit a two-parameter Weibull to the magnitudes of one matrix.

    Parameters
    ----------
    weights : array_like, torch.Tensor or Counts
        Floating-point weights of any shape, or their magnitude counts.
    trim : tuple of float, optional
        Probability interval that is fitted: by default (0.1, 0.9) for rank regression and (0, 1)
        for maximum likelihood.
    estimator : {"rank_regression", "maximum_likelihood"}
        How k and λ are estimated.
    device : str or sequence of str
        Where to count, as in `count_magnitudes`.
    backend : {"auto", "numba", "torch"}
        What fits: compiled code on the CPU, or torch on the device that counts. ``"auto"``: torch
        for tensors that are counted on a CUDA device, else compiled code.
    workers : int, optional
        Threads; by default the cores that this process may use.

    Returns
    -------
    WeibullFit
        ``.k .lam .r2 .ks .k_se .lam_se .n .status``.

    Raises
    ------
    TypeError
        If the weights are not floating-point.
    ValueError
        If the trim, the estimator, the device or the backend is not valid.
    RuntimeError
        If the device is not there.
    ImportError
        If torch is needed and not installed.

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
    empirical distribution, on both sides of its jumps; ``ks_midrank`` halves the jumps.

    References
    ----------
    T. Ding, arXiv:2605.18898 (the method). A. W. van der Vaart, *Asymptotic Statistics* (1998),
    chapters 5 (sandwich) and 22 (L-statistics).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> result = fit_weibull(rng.normal(0, 0.02, (512, 512)))
    >>> abs(result.k - 1.2054) < 4 * result.k_se, result.status
    (True, 'ok')
    """
    trim, estimator = check_protocol(trim, estimator)
    check_backend(backend)
    if isinstance(weights, Counts):
        counted, devices = weights, [] if device == "auto" else resolve_devices(device)
    else:
        with Counting(device, workers=workers) as counting:
            devices = counting.devices_for(weights)
            counted = counting.submit(weights).result()
    fitted = fit_counts(
        CountRows.of([counted]),
        trim=trim,
        estimator=estimator,
        workers=workers,
        device=fitting_device(backend, devices),
    )
    nonfinite = counted.nans + counted.infinities
    return WeibullFit(
        **{name: float(fitted[name][0]) for name in COLUMNS},
        n=counted.n,
        status=str(
            status_after_fit("ok", fitted["status"], zeros=counted.zeros, nonfinite=nonfinite)[0]
        ),
        trim=trim,
        estimator=estimator,
        counts=counted,
    )
