"""Matrices with their counts, as Weibull plots and densities draw them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.charts.tables import MAX_PANELS
from weibnb.counting.counts import merged
from weibnb.counting.formats import INTERVAL_WIDTH
from weibnb.fits.schema import DIMS, prepare
from weibnb.messages import TooManyError, grouped, printable, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_NUMBERS = ("k", "lam", "k_se", "lam_se", "k_lam_correlation", "r2", "ks", "n", "n_matrices")


@dataclass(frozen=True, slots=True)
class Curve:
    """One matrix: its coordinates, estimates and status, and the plotting position of each bin.

    `magnitude` is the middle of every occupied bin, in units of the weights, and `share` the
    share of the weights below that middle.
    """

    place: dict[str, Any]
    numbers: dict[str, float]
    status: str
    magnitude: Array
    share: Array

    @property
    def fitted(self) -> bool:
        """Whether there is a line to draw."""
        return all(0 < self.numbers[name] < np.inf for name in ("k", "lam"))

    def line(self, magnitude: Array) -> Array:
        """Ordinate of the fitted line, ``k (ln x - ln λ)``."""
        return self.numbers["k"] * np.log(magnitude / self.numbers["lam"])

    def line_error(self, magnitude: Array) -> Array:
        """Give the standard error of the ordinate, by the delta method."""
        n = self.numbers
        reach, error = np.log(magnitude / n["lam"]), n["k"] * n["lam_se"] / n["lam"]
        mixed = 2 * reach * n["k_lam_correlation"] * n["k_se"] * error
        return np.sqrt(np.maximum(reach**2 * n["k_se"] ** 2 + error**2 - mixed, 0.0))


def curves(fits: xr.Dataset, *, lines_alone: bool = False, first: int | None = None) -> list[Curve]:
    """Read the counts of all matrices of a model, or of the `first`; raise for very many.

    Fits without counts raise, or give curves without magnitudes if `lines_alone`.
    """
    fits = prepare(fits, *([] if lines_alone else ["counts"]), dims=DIMS)
    dims, present = fits["k"].dims, _present(fits)
    number = int(present.sum())
    if number > MAX_PANELS and first is None:
        select = "fits.sel(layer=0).isel(step=-1)"
        raise TooManyError(f"{MAX_PANELS} matrices", number, use="for this chart", select=select)
    return [
        _curve(fits.isel(dict(zip(dims, at, strict=True))))
        for at in np.argwhere(present)[:first].tolist()
    ]


def number_of(fits: xr.Dataset) -> int:
    """Count the matrices that `curves` would read."""
    return int(_present(prepare(fits, light=True, dims=DIMS)).sum())


def _present(fits: xr.Dataset) -> NDArray[np.bool_]:
    """Tell which cells hold a matrix, by the dims of k."""
    status = fits["status"].broadcast_like(fits["k"]).transpose(*fits["k"].dims)
    return np.asarray(status.values != "absent")


def _curve(cell: xr.Dataset) -> Curve:
    counts, magnitude = _counted(cell)
    total = counts.sum()
    return Curve(
        place={
            name: printable(cell[name].item())
            if name in ("model", "component")
            else cell[name].item()
            for name in (*DIMS, "expert")
            if name in cell.coords and cell[name].ndim == 0
        },
        numbers={
            name: float(cell[name].item()) if name in cell else float("nan") for name in _NUMBERS
        },
        status=printable(cell["status"].item()),
        magnitude=magnitude,
        share=(counts.cumsum() - counts / 2) / total if total else counts,
    )


def _counted(cell: xr.Dataset) -> tuple[Array, Array]:
    """Give the counts of a matrix and the middle of each bin; empty where there are none."""
    if "counts" not in cell:
        return np.zeros(0), np.zeros(0)
    counted = merged(cell["counts"].values.ravel())
    middle = counted.values if counted.exact else counted.values * (1 + INTERVAL_WIDTH / 2**11)
    return counted.counts.astype(np.float64), middle


def labels(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name matrices by component, layer and the coordinates in which they differ.

    Different matrices get different names.
    """

    def differs(name: str) -> bool:
        return len({place.get(name) for place in places}) > 1

    found = []
    for place in places:
        text = f"{shortened(place['component'])} of layer {place['layer']}"
        text += f", step {grouped(place['step'])}" if differs("step") else ""
        text += f", expert {place.get('expert')}" if differs("expert") else ""
        found.append(f"{shortened(place['model'])}: {text}" if differs("model") else text)
    seen: dict[str, int] = {}
    for i, text in enumerate(found):
        seen[text] = seen.get(text, 0) + 1
        found[i] = text if seen[text] == 1 else f"{text} ({seen[text]})"
    return found
