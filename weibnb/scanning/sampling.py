"""How much of each matrix is read where not all is: blocks of rows, and more until it suffices."""

from __future__ import annotations

import math
import warnings
import zlib
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.counting.counts import merged
from weibnb.counting.sampling import FEWEST_BLOCKS, RowBlocks, lines_of_blocks
from weibnb.fitting.estimates import influences
from weibnb.fitting.rows import CountRows
from weibnb.fitting.sampling import BetweenBlocks
from weibnb.messages import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.lines import Lines
    from weibnb.counting.sampling import CountedBlock
    from weibnb.fitting.weibull import Estimator

#: Bytes of a block of a file on this machine, and most of one on another.
BLOCK, LARGEST_BLOCK = 1 << 16, 1 << 20
# Root of n times the standard error of k of independent weights, with room for 16 blocks.
_ERROR_OF_ONE = 1.55


@dataclass(frozen=True, slots=True)
class Sampling:
    """How much of each matrix is read.

    Attributes
    ----------
    share : float or None
        Share of the blocks of a matrix; together with `precision` the most.
    precision : float or None
        Standard error of k, against the fit to the whole matrix, at which it is enough.
    trim, estimator
        As of `weibnb.scan`.
    """

    share: float | None
    precision: float | None
    trim: tuple[float, float]
    estimator: Estimator

    def __str__(self) -> str:
        both = (("sample", self.share), ("precision", self.precision))
        return ", ".join(f"{name}={value:g}" for name, value in both if value is not None)

    def cut(
        self,
        shape: tuple[int, int],
        itemsize: int,
        name: str,
        *,
        away: bool = False,
        height: int = 0,
    ) -> RowBlocks:
        """Cut a matrix into blocks; those on other machines are larger where many are needed.

        Blocks have the `height` of those that were counted before, if there are some. The order
        depends on the name alone: matrices of two steps are read at the same places.
        """
        nbytes, size = height * shape[1] * itemsize or BLOCK, math.prod(shape)
        if away and not height:
            of_share = size if self.share is None else self.share * size
            of_error = size if self.precision is None else (_ERROR_OF_ONE / self.precision) ** 2
            wanted = min(of_share, of_error) * itemsize / FEWEST_BLOCKS
            nbytes = int(min(max(wanted, BLOCK), LARGEST_BLOCK))
        if not shape[1]:
            shape = 0, 0  # nothing to read
        seed = zlib.crc32(name.encode("utf-8", "surrogateescape"))
        return RowBlocks.of(shape, itemsize=itemsize, nbytes=nbytes, seed=seed)

    def at_first(self, blocks: int) -> int:
        """Tell how many of the blocks of a matrix are read before anything is known of it."""
        if self.precision is None:
            return self.most(blocks)
        return min(FEWEST_BLOCKS, blocks)

    def most(self, blocks: int) -> int:
        """Tell how many of the blocks of a matrix may be read."""
        share = 1.0 if self.share is None else self.share
        return min(max(math.ceil(share * blocks), FEWEST_BLOCKS), blocks)


def check_sampling(
    sample: float | None,
    precision: float | None,
    trim: tuple[float, float],
    estimator: Estimator,
    *,
    fields: bool,
    device: Any,
) -> Sampling | None:
    """Check what was asked for; None if whole matrices are."""
    for name, value, beyond in (("sample", sample, 1.0), ("precision", precision, math.inf)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise TypeError(f"`{name}` must be a number, got {value!r}.")
        if not 0.0 < value < beyond:
            if name == "precision":
                raise ValueError(f"`precision` must be finite and > 0, got {value!r}.")
            raise ValueError(
                f"`sample` must be > 0 and < 1, got {value!r}. Leave it out to read all."
            )
    if sample is None and precision is None:
        return None
    asked = "sample" if precision is None else "precision"
    if fields:
        raise ValueError(f"`fields` must come without `{asked}`: it looks at every row and column.")
    names = [device] if isinstance(device, str) else list(device)
    if names not in (["auto"], ["cpu"]):
        raise ValueError(
            f"`device` must be 'auto' or 'cpu' with `{asked}`, got {device!r}: samples are counted "
            "on the CPU."
        )
    given = [None if value is None else float(value) for value in (sample, precision)]
    return Sampling(given[0], given[1], trim, estimator)


def with_precision_reached(fits: xr.Dataset, sampling: Sampling) -> xr.Dataset:
    """Record the largest error of a sample, and warn where it is more than was asked for."""
    if sampling.precision is None:
        return fits
    errors = fits["k_sampling_se"]
    largest = float(errors.max())
    missed = int((errors > sampling.precision).sum())
    if missed:
        warnings.warn(
            f"`precision` of {sampling.precision:g} is not reached for "
            f"{counted(missed, 'cell', 'cells')} of {int(errors.notnull().sum()):,} within "
            f"sample={sampling.share:g}: the largest k_sampling_se is {largest:.2g}. Ask for a "
            "larger sample.",
            stacklevel=3,
        )
    return fits.assign_attrs(precision_reached=largest)


@dataclass(slots=True)
class Sample:
    """Blocks of one matrix: those that were counted, and how many are wanted.

    Attributes
    ----------
    blocks : RowBlocks
        How it is cut.
    dtype : str
        Its format.
    wanted : int
        How many of the blocks are to be counted.
    counted : dict of int to CountedBlock
        Those that were, by their numbers: the first ones of `blocks.order`.
    whole : Counts or None
        Their sum.
    errors : ndarray of float64, shape (3,)
        Variance of k and of ln λ and their covariance, against the fit to all blocks.
    between : BetweenBlocks or None
        How much blocks differ, as far as was measured.
    """

    blocks: RowBlocks
    dtype: str
    wanted: int
    counted: dict[int, CountedBlock] = field(default_factory=dict)
    whole: Counts | None = None
    errors: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    between: BetweenBlocks | None = None
    _added: int = 0

    @property
    def share(self) -> float:
        """Share of the rows that were counted."""
        if not self.blocks.rows:
            return 1.0
        return sum(block.height for block in self.counted.values()) / self.blocks.rows

    def still_wanted(self) -> list[int]:
        """Give the blocks that are to be counted next, by their places."""
        return sorted(self.blocks.order[len(self.counted) : self.wanted].tolist())

    def add_up(self) -> Counts:
        """Add up the counts of all blocks."""
        new = [block.counts for block in islice(self.counted.values(), self._added, None)]
        if new or self.whole is None:
            self.whole = merged([*([] if self.whole is None else [self.whole]), *new])
            self._added = len(self.counted)
        return self.whole

    def lines(self) -> Lines | None:
        """Give some rows and columns of the blocks."""
        if not self.counted:
            return None
        return lines_of_blocks(self._in_order(), self.dtype, self.blocks.rows)

    def _in_order(self) -> list[CountedBlock]:
        """Give the blocks in the order of the rows."""
        return [self.counted[block] for block in sorted(self.counted)]

    def judge(self, influence: NDArray[np.float64], sampling: Sampling) -> None:
        """Measure the errors by the influence (2, bins), and say whether more blocks are wanted.

        What cannot be fitted is read to its end: neither zeros nor anything else is claimed of a
        matrix by a part of it.
        """
        number, of = len(self.counted), len(self.blocks.order)
        if number >= of:
            self.errors = np.zeros(3)
            return
        if np.isnan(influence).any() or not influence.size:
            self.wanted = of
            return
        drawn = [block.counts for block in self._in_order()]
        between = BetweenBlocks.measured(drawn, self.add_up(), influence, of)
        self.between = between = between.at_least(self.between)
        self.errors = between.covariance
        if sampling.precision is not None and self.errors[0] > sampling.precision**2:
            more = max(between.needed(sampling.precision), number + max(number // 8, 1))
            self.wanted = max(min(more, sampling.most(of)), number)


def judge(samples: Sequence[Sample], sampling: Sampling) -> list[Sample]:
    """Fit samples, measure their errors, and give those of which more blocks are wanted."""
    if not samples:
        return []
    rows = CountRows.of([one.add_up() for one in samples])
    v = influences(rows, trim=sampling.trim, estimator=sampling.estimator)[1]
    for one, start, stop in zip(samples, rows.starts[:-1], rows.starts[1:], strict=True):
        one.judge(v[:, start:stop], sampling)
    return [one for one in samples if one.wanted > len(one.counted)]
