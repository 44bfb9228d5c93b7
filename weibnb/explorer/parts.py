"""Parts of the fits, fitted again where the trim or the estimator was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import xarray as xr

from weibnb.explorer.filters import Cells
from weibnb.fits.schema import DIMS, prepare, protocol_of
from weibnb.parallel import slices

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from weibnb.fitting.weibull import Estimator, Trim

_MOST_PARTS = 16  # that are kept
_MANY, _PIECE = 4_000, 1_000  # matrices whose refit takes a while, and that are fitted at once
_MOST_IN_MEMORY = 20_000  # matrices whose counts are loaded so that a refit is quick: 3-50 kB each


class Parts:
    """Fits, and the last few parts of them that were asked for."""

    @classmethod
    def of(cls, fits: xr.Dataset) -> Parts:
        """Give the parts of some fits: the same to every widget that shows them."""
        for parts in list(_IN_USE):
            if parts.are_of(fits):
                return parts
        made = cls(fits)
        _IN_USE.add(made)
        return made

    def __init__(self, fits: xr.Dataset) -> None:
        self.whole = prepare(fits, dims=DIMS)
        self.light = prepare(self.whole, light=True)  # without counts
        self.cells = Cells.of(self.light)
        self.protocol = protocol_of(self.whole)  # that they were made by
        self._made_of = fits, dict(fits.variables), fits["status"].values.copy()
        self.sizes = {dim: self.light.sizes[dim] for dim in DIMS}
        self._kept: dict[str, xr.Dataset] = {}

    def are_of(self, fits: xr.Dataset) -> bool:
        """Whether they were made of these fits, and these are as they were."""
        given, variables, statuses = self._made_of
        if fits is not given or set(variables) != set(fits.variables):
            return False
        same = all(array is variables[name] for name, array in fits.variables.items())
        return same and np.array_equal(fits["status"].values, statuses)

    @property
    def have_counts(self) -> bool:
        """Whether they can be fitted again."""
        return "counts" in self.whole

    def select(self, query: Mapping[str, Any], protocol: tuple[Estimator, Trim]) -> xr.Dataset:
        """Select a part, fitted by a protocol where there are counts."""
        asked = repr((query, protocol))
        part = self._kept.pop(asked, None)
        if part is None:
            part = self._fitted(query, protocol)
        self._kept[asked] = part  # asked for last
        for old in list(self._kept)[:-_MOST_PARTS]:
            self._kept.pop(old, None)
        return part

    def is_slow(self, query: Mapping[str, Any], protocol: tuple[Estimator, Trim]) -> bool:
        """Whether a part is still to be fitted by a protocol, and has very many matrices."""
        if (
            protocol == self.protocol
            or not self.have_counts
            or repr((query, protocol)) in self._kept
        ):
            return False
        return self.whole["counts"].sel(query).size > _MANY

    def refit_by_pieces(
        self, query: Mapping[str, Any], protocol: tuple[Estimator, Trim]
    ) -> Iterator[float]:
        """Fit a part again, some matrices at a time, and keep it; yield how much is done."""
        part = self.whole.sel(query)
        dim = max(DIMS, key=lambda one: part.sizes[one])
        length = part.sizes[dim]
        at_once = max(_PIECE * length // part["counts"].size, 1)
        found = []
        for piece in slices(length, at_once):
            found.append(self._refitted(part.isel({dim: piece}), protocol))
            yield piece.stop / length
        self._kept[repr((query, protocol))] = xr.concat(
            found, dim, data_vars="minimal", coords="minimal", compat="override", join="override"
        )

    def _fitted(self, query: Mapping[str, Any], protocol: tuple[Estimator, Trim]) -> xr.Dataset:
        if protocol == self.protocol or not self.have_counts:
            return self.whole.sel(query)
        return self._refitted(self.whole.sel(query), protocol)

    def _refitted(self, part: xr.Dataset, protocol: tuple[Estimator, Trim]) -> xr.Dataset:
        """Fit a part again."""
        from weibnb.fits.refit import refit  # brings numba

        if self.whole["counts"].size <= _MOST_IN_MEMORY:
            self.whole["counts"].load()
        estimator, trim = protocol
        return refit(part, trim=trim, estimator=estimator)


_IN_USE: WeakSet[Parts] = WeakSet()  # by the widgets that there are
