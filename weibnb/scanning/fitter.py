"""How a scan fits what it counted: here, or on the workers that count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.fits.build import estimate, pending
from weibnb.fits.lazy import as_objects

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from numpy.typing import NDArray

    from weibnb.fits.build import Matrix
    from weibnb.fits.layout import Source
    from weibnb.fitting.weibull import Estimator

    Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Fitter:
    """Fits matrices, and drops the columns that were not asked for.

    Attributes
    ----------
    trim, estimator
        As of `weibnb.scan`.
    fitted_on : torch.device or None
        Where torch fits; None for compiled code.
    left_out : frozenset of str
        Columns of `weibnb.fits.build.estimate` that are dropped.
    """

    trim: tuple[float, float]
    estimator: Estimator
    fitted_on: torch.device | None
    left_out: frozenset[str]

    def fit(self, matrices: Sequence[Matrix], *, workers: int, counted: bool = True) -> Columns:
        """Fit matrices on so many threads; give columns with one entry for each."""
        how = estimate if counted else pending
        columns = how(
            matrices,
            trim=self.trim,
            estimator=self.estimator,
            workers=workers,
            fitted_on=self.fitted_on,
        )
        return self.chosen(columns)

    def chosen(self, columns: Columns) -> Columns:
        """Drop the columns that were not asked for."""
        return {name: column for name, column in columns.items() if name not in self.left_out}


class Fitted(NamedTuple):
    """A matrix that was fitted where it was counted: columns of one entry."""

    columns: Columns

    def of(self, source: Source) -> Fitted:
        """Give the same fit to another checkpoint that holds the same bytes there."""
        place = {"model": as_objects([source.model]), "step": np.array([source.step])}
        return Fitted(self.columns | place)
