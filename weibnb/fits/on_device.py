"""Matrices that were counted on devices -> fits of each, without their counts coming back."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.build import pending
from weibnb.fits.lazy import as_objects
from weibnb.fits.schema import SCALES, error_kind
from weibnb.fitting.estimates import EFFECTS
from weibnb.fitting.status import status_after_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from weibnb.counting.blocks import Block, CountsOnDevice, LinesOnDevice
    from weibnb.fits.build import Matrix
    from weibnb.fitting.weibull import Estimator

    Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class MatrixOnDevice:
    """A matrix that was counted, and whose counts are on a device.

    Attributes
    ----------
    about : Matrix
        The matrix, without counts and lines.
    counts : CountsOnDevice
        How often each magnitude occurs.
    lines : LinesOnDevice or None
        Some of its rows and columns as stored.
    """

    about: Matrix
    counts: CountsOnDevice
    lines: LinesOnDevice | None


class FitsOnDevice:
    """Fits of matrices whose counts are on devices, begun when this is made.

    Parameters
    ----------
    matrices : sequence of MatrixOnDevice
        At least one.
    trim, estimator, keep_counts
        As of `weibnb.scan`.
    ask : bool
        As of `weibnb.fitting.torch_blocks.BlockFits`.

    Attributes
    ----------
    matrices : list of Matrix
        In the order of the columns.

    Raises
    ------
    MemoryError
        If a device has no memory for the fit of a single matrix.
    """

    def __init__(
        self,
        matrices: Sequence[MatrixOnDevice],
        *,
        trim: tuple[float, float],
        estimator: Estimator,
        keep_counts: bool,
        ask: bool,
    ) -> None:
        from weibnb.fitting.torch_blocks import BlockFits

        self._protocol: Any = {"trim": trim, "estimator": estimator}
        self._keep_counts = keep_counts
        blocks: dict[Block, list[MatrixOnDevice]] = defaultdict(list)
        for matrix in matrices:
            blocks[matrix.counts.block].append(matrix)
        self._members = [member for members in blocks.values() for member in members]
        self.matrices = [member.about for member in self._members]
        self._fits = []
        for block, members in blocks.items():
            rows = np.array([member.counts.row for member in members])
            lines = [member.lines for member in members]
            self._fits.append(BlockFits(block, rows, lines, ask=ask, **self._protocol))
            if keep_counts:
                block.begin_copy()

    @property
    def done(self) -> bool:
        """Whether the fits are there; waits for nothing."""
        return all(fits.done for fits in self._fits)

    def columns(self) -> Arrays:
        """Wait for the fits: the columns of `weibnb.fits.build.estimate`."""
        columns = pending(self.matrices, workers=1, **self._protocol)
        before = columns["status"]
        parts = [fits.columns() for fits in self._fits]
        columns |= {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        zeros, nonfinite = columns["zeros"], columns["nonfinite"]
        columns["zero_fraction"] = _shares(columns.pop("zeros"), columns["n"])
        columns |= self._scales(columns.pop("scales"))
        if self._keep_counts:
            columns["counts"] = as_objects([member.counts.on_host() for member in self._members])
        columns["se_kind"] = error_kind(columns["k_se"], columns[EFFECTS[0]])
        columns["scaled"] = before == "scaled"
        columns["status"] = status_after_fit(
            before, columns["status"], zeros=zeros, nonfinite=nonfinite, scaled=columns["scaled"]
        )
        return columns

    def _scales(self, scales: NDArray[np.float64]) -> Arrays:
        """Name the scales of output and of input features."""
        transposed = np.array([member.about.transposed for member in self._members])
        scales[transposed] = np.roll(scales[transposed], 2, axis=1)
        return dict(zip(SCALES, scales.T, strict=True))


def _shares(zeros: NDArray[np.int64], n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the share of zeros among the finite weights, NaN without any."""
    finite = zeros + n
    return np.where(finite > 0, zeros / np.maximum(finite, 1), np.nan)
