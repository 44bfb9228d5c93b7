"""What a scan learns of the rows and columns of a matrix once it was counted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from weibnb.counting.second_look import zero_lines

if TYPE_CHECKING:
    import torch

    from weibnb.counting.counts import Counts
    from weibnb.counting.formats import Bits
    from weibnb.counting.lines import Lines
    from weibnb.counting.pieces import PendingPieces
    from weibnb.fitting.line_sums import Sums
    from weibnb.fitting.weibull import Estimator


#: Weights of a matrix that is looked at by several threads; of others each has its own.
LARGE = 1 << 25


@dataclass(frozen=True, slots=True)
class Structure:
    """How a scan looks at rows and columns.

    Attributes
    ----------
    fields : bool
        Look at all of them, and keep the RMS of each.
    trim, estimator, workers
        As of `weibnb.scan`; a matrix that is not `LARGE` is looked at by one thread.
    """

    fields: bool
    trim: tuple[float, float]
    estimator: Estimator
    workers: int

    def threads(self, shape: tuple[int, int]) -> int:
        """Tell how many threads look at a matrix."""
        return self.workers if prod(shape) >= LARGE else 1

    def begin(self, bits: object, dtype: str, shape: tuple[int, int]) -> PendingWithSums | None:
        """Prepare to count a matrix and look at all of it in one pass, where that can be."""
        if not self.fields:
            return None
        from weibnb.fitting.line_sums import can_count_and_sum

        can = can_count_and_sum(bits, dtype, shape)
        return PendingWithSums(cast("Bits", bits), dtype, shape, self) if can else None


class PendingWithSums:
    """Counts of a matrix that are made with the sums over its lines, by who waits for them.

    Parameters
    ----------
    bits : ndarray of unsigned int
        A matrix that `weibnb.fitting.line_sums.can_count_and_sum` takes.
    dtype, shape, structure
        As of `SecondLook`.
    """

    was_read = ready = False
    load = 1.0

    def __init__(
        self, bits: Bits, dtype: str, shape: tuple[int, int], structure: Structure
    ) -> None:
        self._matrix, self._structure = (bits, dtype, shape), structure
        self.lines: Lines | None = None
        self.sums: Sums | None = None

    def result(self) -> Counts:
        """Count, and sum."""
        from weibnb.fitting.line_sums import count_and_sum

        how = self._structure
        counts, self.lines, self.sums = count_and_sum(
            *self._matrix,
            trim=how.trim,
            estimator=how.estimator,
            workers=how.threads(self._matrix[2]),
        )
        return counts

    def in_place(self) -> None:
        """Nothing is on a device."""

    def abandon(self) -> bool:
        """Nothing was begun."""
        return False


def check_structure(*, structure: bool, fields: bool) -> None:
    """Raise if fields are asked for where nothing is looked at."""
    if fields and not structure:
        raise ValueError("`fields` must come with structure=True, got structure=False.")


@dataclass(frozen=True, slots=True)
class SecondLook:
    """A matrix that may be looked at again.

    Attributes
    ----------
    bits : ndarray of unsigned int, torch.Tensor or None
        Its bits, or the tensor on a device, if they are still what was counted.
    dtype : str
        Its format.
    shape : tuple of int
        Rows and columns as stored.
    transposed : bool
        Whether columns as stored are its output features.
    structure : Structure
        How the scan looks at it.
    pieces : PendingPieces or None
        What looked for lines of zeros while it counted, where the bits are let go.
    pending : PendingWithSums or None
        What summed over every line while it counted.
    """

    bits: Bits | torch.Tensor | None
    dtype: str
    shape: tuple[int, int]
    transposed: bool
    structure: Structure
    pieces: PendingPieces | None = None
    pending: PendingWithSums | None = None

    def __call__(self, counts: Counts, lines: Lines | None) -> dict[str, Any]:
        """Look again where it is due; give the attributes of `weibnb.fits.build.Matrix`."""
        fields: list[Any] = [None, None]
        if self.at_all and self.bits is not None:
            lines, fields = self._look_at_all(self.bits, counts, lines)
        if self.transposed:
            fields = fields[::-1]
        row_rms, col_rms = fields
        found = self.for_zeros(counts.zeros)
        return found | {"row_rms": row_rms, "col_rms": col_rms, "lines": lines}

    @property
    def takes_long(self) -> bool:
        """Whether every line of what is in memory is looked at."""
        return self.at_all and isinstance(self.bits, np.ndarray)

    @property
    def at_all(self) -> bool:
        """Whether all rows and columns are looked at, for which counts must be on the host."""
        return self.structure.fields and self.bits is not None and min(self.shape) > 0

    def for_zeros(self, zeros: int) -> dict[str, Any]:
        """Look for rows and columns of zeros; give what is known without counts and lines."""
        dead = self._dead(zeros)
        dead_rows, dead_cols = dead[::-1] if self.transposed else dead
        return {"dead_rows": dead_rows, "dead_cols": dead_cols, "transposed": self.transposed}

    def _dead(self, zeros: int) -> tuple[int, int]:
        """Count rows and columns of zeros, which only enough zeros can fill; -1 if unknown."""
        if zeros < max(min(self.shape), 1):
            return 0, 0
        if self.pieces is not None:
            found = self.pieces.zero_lines
            return found.rows, found.columns
        if self.bits is None:
            return -1, -1
        rows, columns = zero_lines(self.bits, self.dtype, self.shape)
        return int(np.count_nonzero(rows)), int(np.count_nonzero(columns))

    def _look_at_all(
        self, bits: Bits | torch.Tensor, counts: Counts, lines: Lines | None
    ) -> tuple[Lines | None, list[Any]]:
        """Look at every row and column."""
        from weibnb.fitting.full_look import look_at_all

        how = self.structure
        look = look_at_all(
            bits,
            self.dtype,
            self.shape,
            counts,
            trim=how.trim,
            estimator=how.estimator,
            workers=how.threads(self.shape),
            lines=lines,
            sums=None if self.pending is None else self.pending.sums,
        )
        if lines is not None:
            lines = replace(lines, products=look.products, scales=look.scales)
        with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite there
            return lines, [look.row_rms.astype(np.float32), look.column_rms.astype(np.float32)]
