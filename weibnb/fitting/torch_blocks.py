"""Fits of matrices whose counts are on a device: numbers come back, counts stay.

Nothing here waits until `BlockFits.columns` is called.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from weibnb.counting.formats import decode
from weibnb.counting.transfers import OnTheirWay, to_device
from weibnb.fitting.clusters import with_effects
from weibnb.fitting.estimates import COLUMNS, COVARIANCE, EFFECTS, bin_grid
from weibnb.fitting.kernels import STATUS
from weibnb.fitting.rank_functions import PAIRS
from weibnb.fitting.status import FIT_WORDS, MINIMUM_WEIGHTS
from weibnb.fitting.torch_backend import ON_DEVICE, side_stream, with_less_memory
from weibnb.fitting.torch_clusters import (
    beyond_independent,
    classes_of,
    line_histograms,
    with_neighbours,
)
from weibnb.fitting.torch_fit import fit_batch
from weibnb.fitting.torch_lines import bin_of_counter, classes_of_words, spreads
from weibnb.fitting.torch_neighbours import of_neighbours
from weibnb.fitting.torch_rows import Batch
from weibnb.fitting.torch_statistics import MOMENTS, describe_batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.blocks import Block, LinesOnDevice
    from weibnb.fitting.weibull import Estimator

    Numbers = NDArray[np.int64]
    Columns = dict[str, NDArray[Any]]

# Weights of lines that are looked at once.
_WEIGHTS = 1 << 23
# Columns of a table: the fit, moments; from the end: scales, covariances, those of k and ln λ.
_FIT, _SCALES, _KEPT, _OWN = len(COLUMNS) + 1, 4, PAIRS[0].size, 3


class BlockFits:
    """Fits of some matrices of a block, begun when this is made.

    Parameters
    ----------
    block : Block
        The counts.
    rows : ndarray of int64, shape (matrices,)
        Which of them.
    lines : sequence of LinesOnDevice or None
        Lines of each matrix.
    trim, estimator
        The protocol.
    ask : bool
        Whether maximum likelihood may ask the device now and then if it is done; otherwise it
        takes all the steps that it may need, and the host waits for nothing.

    Raises
    ------
    MemoryError
        If the device has no memory for the fit of a single matrix.
    """

    def __init__(
        self,
        block: Block,
        rows: Numbers,
        lines: Sequence[LinesOnDevice | None],
        *,
        trim: tuple[float, float],
        estimator: Estimator,
        ask: bool,
    ) -> None:
        self._block, self._rows = block, rows
        each = max(ON_DEVICE // block.labels.size, 1)
        parts = np.split(np.arange(rows.size), np.arange(each, rows.size, each))

        def job(numbers: Numbers) -> OnTheirWay:
            some = [lines[number] for number in numbers]
            fitted = _fit(block, rows[numbers], some, (trim, estimator), ask=ask)
            return OnTheirWay(fitted)

        with side_stream(block.device), block.in_turn(), torch.no_grad():
            done, self._tables = with_less_memory(job, parts, block.device)
        self._order = np.concatenate(done)

    @property
    def done(self) -> bool:
        """Whether the fits are there; waits for nothing."""
        return all(table.done for table in self._tables)

    def columns(self) -> Columns:
        """Wait for the fits: columns with one entry for each matrix, in the order of `rows`.

        They are those of `weibnb.fitting.estimates.fit_counts` with lines, those that
        `weibnb.fits.build.describe` gives, ``zeros``, and ``scales``: h of rows and of columns as
        stored, each with its error, (matrices, 4).
        """
        found = np.concatenate([table.wait()[0] for table in self._tables])
        found = found[np.argsort(self._order)]
        fit, moments, quantiles, own, kept, scales = np.split(
            found,
            np.cumsum([_FIT, len(MOMENTS), found.shape[1] - _behind(), _OWN, _KEPT]),
            axis=1,
        )
        covariance = own[:, [[0, 2], [2, 1]]]
        effects = with_effects(fit, covariance)
        columns: Columns = dict(zip(COLUMNS, fit.T, strict=False))
        columns |= zip(EFFECTS, effects.T, strict=True)
        columns |= zip(MOMENTS, moments.T, strict=True)
        columns |= {COVARIANCE: kept, "magnitude_quantile": quantiles, "scales": scales}
        apart = self._block.apart
        columns["zeros"] = apart.zeros[self._rows]
        columns["nonfinite"] = (apart.nans + apart.infinities)[self._rows]
        columns["n"] = columns["n"].astype(np.int64)
        columns["max_abs"] = self._largest(columns.pop("top"))
        columns["status"] = FIT_WORDS[fit[:, STATUS].astype(int)]
        return columns

    def _largest(self, top: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give the largest magnitudes: the largest bins, or the patterns that were noted."""
        form = self._block.form
        if not form.shift:
            return top
        patterns = self._block.apart.largest[self._rows].astype(form.bits)
        return np.asarray(decode(patterns, form.name), float)


def _behind() -> int:
    """Columns of a table that are no quantiles."""
    return _FIT + len(MOMENTS) + _OWN + _KEPT + _SCALES


def _fit(
    block: Block,
    rows: Numbers,
    lines: Sequence[LinesOnDevice | None],
    protocol: tuple[tuple[float, float], Estimator],
    *,
    ask: bool,
) -> torch.Tensor:
    """Fit and describe some matrices of a block: a row of numbers for each."""
    counts, device = block.counts, block.device
    if rows.size < len(counts) or (np.diff(rows) != 1).any():
        counts = counts.index_select(0, to_device(rows, device))
    counts = counts.double()
    x, coarse = bin_grid(block.labels)
    coarse = np.zeros_like(coarse) if block.exact else coarse
    batch = Batch(
        counts,
        to_device(x[int(block.exact)], device).expand_as(counts),
        to_device(coarse, device).expand_as(counts),
        torch.full((rows.size,), block.exact, device=device),
        block.exact,
    )
    trim, estimator = protocol
    likelihood = estimator == "maximum_likelihood"
    some = any(lines)
    table, v = fit_batch(
        batch, trim, likelihood=likelihood, minimum=MINIMUM_WEIGHTS, influence=some, ask=ask
    )
    zeros = to_device(block.apart.zeros[rows].astype(float), device)[:, None]
    described = describe_batch(counts, block.labels, zeros, exact=block.exact)
    looked = counts.new_full((rows.size, _OWN + _KEPT + _SCALES), torch.nan)
    if v is not None:
        _look_at_lines(block, counts, v, lines, looked)
    return torch.cat([table, described, looked], 1)


def _look_at_lines(
    block: Block,
    counts: torch.Tensor,
    v: torch.Tensor,
    lines: Sequence[LinesOnDevice | None],
    out: torch.Tensor,
) -> None:
    """Fill in covariances and scales of the matrices that have lines, shape by shape."""
    classes, bins = classes_of(counts, v), bin_of_counter(block)
    row, column = (to_device(one + 2, block.device) for one in PAIRS)
    for numbers, of_rows, of_columns in _stacked(lines):
        chosen = to_device(numbers, block.device)
        own = type(classes)(*(one.index_select(0, chosen) for one in classes))
        rows, columns = (
            classes_of_words(words, block.form, bins, own.of_entry)
            for words in (of_rows, of_columns)
        )
        shape = columns.shape[2], rows.shape[2]
        beyond = beyond_independent(own, line_histograms(rows), line_histograms(columns), shape)
        alike = of_neighbours(own, rows, shape[0]) + of_neighbours(own, columns, shape[1])
        beyond = with_neighbours(beyond, own, alike)
        found = [
            torch.stack([beyond[:, 0, 0], beyond[:, 1, 1], beyond[:, 0, 1]], 1),
            beyond[:, row, column],
            *(spreads(words, block.form) for words in (of_rows, of_columns)),
        ]
        out.index_copy_(0, chosen, torch.cat(found, 1))


def _stacked(
    lines: Sequence[LinesOnDevice | None],
) -> Iterator[tuple[Numbers, torch.Tensor, torch.Tensor]]:
    """Stack the lines of matrices of one shape: their numbers, rows, and columns.

    Both are (matrices, lines, weights).
    """
    alike: dict[tuple[torch.Size, torch.Size], list[int]] = defaultdict(list)
    for number, one in enumerate(lines):
        if one is not None:
            alike[one.rows.shape, one.columns.shape].append(number)
    for shapes, numbers in alike.items():
        each = max(_WEIGHTS // sum(shape.numel() for shape in shapes), 1)
        for at in range(0, len(numbers), each):
            some = [one for i in numbers[at : at + each] if (one := lines[i]) is not None]
            rows = torch.stack([one.rows for one in some])
            columns = torch.stack([one.columns for one in some])
            yield np.array(numbers[at : at + each]), rows, columns.mT.contiguous()
