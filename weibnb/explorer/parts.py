"""Parts of the fits, fitted again where the trim or the estimator was changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np

from weibnb.explorer.filters import Cells
from weibnb.fits.schema import DIMS, prepare, protocol_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

    from weibnb.fitting.weibull import Estimator, Trim

_MOST_PARTS = 16  # that are kept
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

    def _fitted(self, query: Mapping[str, Any], protocol: tuple[Estimator, Trim]) -> xr.Dataset:
        if protocol == self.protocol or not self.have_counts:
            return self.whole.sel(query)
        from weibnb.fits.refit import refit  # brings numba

        if self.whole["counts"].size <= _MOST_IN_MEMORY:
            self.whole["counts"].load()
        estimator, trim = protocol
        return refit(self.whole.sel(query), trim=trim, estimator=estimator)


_IN_USE: WeakSet[Parts] = WeakSet()  # by the widgets that there are
