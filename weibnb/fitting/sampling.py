"""The error of a fit to some blocks of a matrix, against the fit to all of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from weibnb.counting.formats import INTERVAL_MASK
from weibnb.fitting.clusters import widening
from weibnb.fitting.kernels import CORRELATION, K_SE, LAM, LAM_SE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts

    Array = NDArray[np.float64]

#: Columns of what is known of a sample: the share of the weights that is in it, and of its errors
#: the variances of k and of ln λ and their covariance.
SHARE, VARIANCE_K, VARIANCE_LN_LAM, COVARIANCE = range(4)
#: What stands for a matrix that was counted as a whole.
WHOLE = np.full(4, np.nan)


@dataclass(frozen=True, slots=True)
class BetweenBlocks:
    """How much the influence on k and on ln λ differs between blocks of a matrix.

    Attributes
    ----------
    of_one : ndarray of float64, shape (3,)
        Variance of k, of ln λ, and their covariance, of a single block.
    blocks, of : int
        Blocks that were drawn, and that there are.
    """

    of_one: Array
    blocks: int
    of: int

    @classmethod
    def measured(
        cls, drawn: Sequence[Counts], whole: Counts, influence: Array, of: int
    ) -> BetweenBlocks:
        """Measure it by the influence (2, bins) of the bins of `whole`, the sum of the blocks.

        `drawn` is in the order of the rows: neighbours are compared.

        Notes
        -----
        With t_i the sum of the influence over block i of m, n weights in all, it is the mean square
        of neighbours' differences, m²/n² Σ (t_i+1 - t_i)² / 2(m - 1), which a drift along the rows
        hardly enlarges; widened by the square of Student's 97.5 % quantile over the normal one,
        with the 2(m - 1)²/(3m - 4) degrees of freedom that it has.

        References
        ----------
        J. von Neumann et al., "The Mean Square Successive Difference", Annals of Mathematical
        Statistics 12 (1941) 153-162.
        """
        m = len(drawn)
        if m < 2:
            return cls(np.full(3, np.inf), m, of)
        sizes = [one.labels.size for one in drawn]
        block = np.repeat(np.arange(len(drawn)), sizes)
        labels = np.concatenate([one.labels for one in drawn])
        labels = (labels & (-1 if whole.exact else INTERVAL_MASK)) - whole.labels[0]
        number = np.concatenate([one.counts for one in drawn])
        table = np.zeros((2, whole.labels[-1] - whole.labels[0] + 1))
        table[:, whole.labels - whole.labels[0]] = influence
        k, b = (np.diff(np.bincount(block, number * one[labels], m)) for one in table)
        scale = (m / whole.n) ** 2 / (2 * (m - 1)) * widening(1 + 2 * (m - 1) ** 2 / (3 * m - 4))
        return cls(np.array([k @ k, b @ b, k @ b]) * scale, m, of)

    def at_least(self, earlier: BetweenBlocks | None) -> BetweenBlocks:
        """Take the larger variances of these and of those from fewer of the blocks.

        A sample that stops once its own error is small enough would else stop where it is
        underestimated.
        """
        if earlier is None:
            return self
        now, before = self.of_one[:2], earlier.of_one[:2]
        ratio = np.divide(before, now, out=np.ones(2), where=now > 0.0)
        k, b = np.sqrt(np.maximum(ratio, 1.0))
        return replace(self, of_one=self.of_one * [k * k, b * b, k * b])

    @property
    def covariance(self) -> Array:
        """Variance of k, of ln λ, and their covariance, against the fit to all blocks.

        Notes
        -----
        Blocks are drawn without replacement, m of M: the variance is (1/m - 1/M) of that of one.

        References
        ----------
        W. G. Cochran, Sampling Techniques, 3rd ed., Wiley 1977, chapters 5, 6 and 8.
        """
        if self.blocks >= self.of:
            return np.zeros(3)
        return self.of_one * (1.0 / self.blocks - 1.0 / self.of)

    def needed(self, precision: float) -> int:
        """Blocks with which the standard error of k is `precision`, as far as these tell."""
        variance = float(self.of_one[0])
        if not math.isfinite(variance):
            return self.of
        return math.ceil(variance / (precision**2 + variance / self.of)) if variance else 1


def as_of_whole(table: Array, sampled: Array) -> Array:
    """Make the independent errors of fits to samples those of the whole matrices.

    `sampled`, (matrices, 4), is NaN where a matrix was counted as a whole.
    """
    share = np.nan_to_num(sampled[:, SHARE], nan=1.0)
    table[:, [K_SE, LAM_SE]] *= np.sqrt(share)[:, None]
    return table


def with_sampling(table: Array, sampled: Array) -> Array:
    """Add the errors of samples to those that the whole matrices would have."""
    there = ~np.isnan(sampled[:, SHARE])
    if not there.any():
        return table
    some, added = table[there], sampled[there]
    k, b = some[:, K_SE], some[:, LAM_SE] / some[:, LAM]
    both = some[:, CORRELATION] * k * b + added[:, COVARIANCE]
    k = np.sqrt(k**2 + added[:, VARIANCE_K])
    b = np.sqrt(b**2 + added[:, VARIANCE_LN_LAM])
    some[:, K_SE], some[:, LAM_SE] = k, b * some[:, LAM]
    with np.errstate(invalid="ignore", divide="ignore"):
        some[:, CORRELATION] = np.clip(both / (k * b), -1.0, 1.0)
    table[there] = some
    return table
