"""One matrix with its counts: the points and lines that Weibull paper and densities draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special

from weibnb.charts.tables import MAX_PANELS
from weibnb.counting.formats import INTERVAL_WIDTH
from weibnb.fits.schema import DIMS, prepare
from weibnb.fitting.weibull import ordinate
from weibnb.messages import printable, shortened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.families.distributions import Family

    Array = NDArray[np.float64]

_NUMBERS = ("k", "lam", "k_se", "lam_se", "k_lam_correlation", "r2", "ks", "n", "n_matrices")


def check_level(level: float) -> float:
    """Two-sided normal quantile of a confidence level.

    Parameters
    ----------
    level : float
        Probability.

    Returns
    -------
    float
        Standard errors to either side.

    Raises
    ------
    ValueError
        If `level` does not lie between 0 and 1.

    Examples
    --------
    >>> round(check_level(0.95), 2)
    1.96
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must satisfy 0 < level < 1, got {level!r}.")
    return float(special.ndtri(0.5 + level / 2))


@dataclass(frozen=True, slots=True)
class Curve:
    """One matrix with its counts.

    Attributes
    ----------
    place : dict
        Its coordinates.
    numbers : dict
        Its estimates.
    status : str
        Why it may be without.
    magnitude, share : ndarray
        Middle of each occupied bin (units of the weights), and its plotting position.
    """

    place: dict[str, Any]
    numbers: dict[str, float]
    status: str
    magnitude: Array
    share: Array

    @property
    def fitted(self) -> bool:
        """Whether there is a line to draw."""
        return bool(np.isfinite(self.numbers["k"]) and np.isfinite(self.numbers["lam"]))

    def line(self, magnitude: Array) -> Array:
        """Ordinate of the fitted line, ``k (ln x - ln λ)``."""
        return self.numbers["k"] * np.log(magnitude / self.numbers["lam"])

    def line_error(self, magnitude: Array) -> Array:
        """Give the standard error of the ordinate, by the delta method."""
        n = self.numbers
        reach, error = np.log(magnitude / n["lam"]), n["k"] * n["lam_se"] / n["lam"]
        mixed = 2 * reach * n["k_lam_correlation"] * n["k_se"] * error
        return np.sqrt(np.maximum(reach**2 * n["k_se"] ** 2 + error**2 - mixed, 0.0))


def curves(fits: xr.Dataset) -> list[Curve]:
    """Read the counts of at most `MAX_PANELS` matrices.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts.

    Returns
    -------
    list of Curve
        Those that are there.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, or holds too many matrices.
    """
    fits = prepare(fits, "counts", "counts_exact", dims=DIMS)
    dims = fits["k"].dims
    present = fits["status"].broadcast_like(fits["k"]).transpose(*dims).values != "absent"
    number = int(present.sum())
    if number > MAX_PANELS:
        raise ValueError(
            f"`fits` must hold at most {MAX_PANELS} matrices for this chart, got {number}. "
            "Select some: fits.sel(layer=0).isel(step=-1)."
        )
    return [
        _curve(fits.isel(dict(zip(dims, at, strict=True)))) for at in np.argwhere(present).tolist()
    ]


def _curve(cell: xr.Dataset) -> Curve:
    counts = cell["counts"].transpose(..., "bin").values
    counts = counts.reshape(-1, counts.shape[-1]).sum(0).astype(np.float64)
    inside = counts > 0
    counts, magnitude = counts[inside], cell["magnitude"].values[inside]
    if not cell["counts_exact"].values.all():
        magnitude = magnitude * (1 + INTERVAL_WIDTH / 2**11)
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


def labels(places: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name matrices by the coordinates in which they differ, and by component and layer.

    Parameters
    ----------
    places : sequence of Mapping
        Coordinates of each.

    Returns
    -------
    list of str
        Names, all different if the places are.

    Examples
    --------
    >>> labels([{"component": "q_proj", "layer": 0, "step": s} for s in (0, 10)])
    ['q_proj of layer 0, step 0', 'q_proj of layer 0, step 10']
    """

    def differs(name: str) -> bool:
        return len({place.get(name) for place in places}) > 1

    found = []
    for place in places:
        text = f"{shortened(place['component'])} of layer {place['layer']}"
        text += f", step {place['step']}" if differs("step") else ""
        text += f", expert {place.get('expert')}" if differs("expert") else ""
        found.append(f"{shortened(place['model'])}: {text}" if differs("model") else text)
    seen: dict[str, int] = {}
    for i, text in enumerate(found):
        seen[text] = seen.get(text, 0) + 1
        found[i] = text if seen[text] == 1 else f"{text} ({seen[text]})"
    return found


def on_paper(curve: Curve, limit: int) -> dict[str, Array]:
    """Choose points of a matrix, evenly along the ordinate of Weibull paper.

    Parameters
    ----------
    curve : Curve
        The matrix.
    limit : int
        Most points.

    Returns
    -------
    dict
        ``magnitude``, ``percent`` below it, ``y``; from 0.01 % on, and always the largest.
    """
    y = ordinate(curve.share)
    inside = np.flatnonzero(curve.share >= 1e-4)
    kept = inside
    if inside.size:
        targets = np.linspace(y[inside[0]], y[-1], limit)
        kept = np.unique(np.minimum(np.searchsorted(y, targets), y.size - 1))
    return {"magnitude": curve.magnitude[kept], "percent": 100 * curve.share[kept], "y": y[kept]}


def half_normal(magnitude: Array, sigma: float) -> Array:
    """Probability that a half-normal magnitude is at most `magnitude`.

    Parameters
    ----------
    magnitude : ndarray
        Where.
    sigma : float
        Its σ.

    Returns
    -------
    ndarray
        Probabilities.

    Examples
    --------
    >>> half_normal(np.array([1.0]), 1.0).round(4).tolist()
    [0.6827]
    """
    return np.asarray(special.erf(magnitude / (sigma * np.sqrt(2))))


def density_of(family: Family, magnitude: Array, shape: float, scale: float) -> Array:
    """Density of ln|w| by a family of `weibnb.families.distributions`.

    Parameters
    ----------
    family : str
        One of `weibnb.families.distributions.FAMILIES`.
    magnitude : ndarray
        Where (units of the weights).
    shape, scale : float
        Its parameters, as `weibnb.families.rank.rank_families` gives them.

    Returns
    -------
    ndarray
        Densities a unit of ln|w|.

    Examples
    --------
    >>> density_of("weibull", np.array([1.0]), 2.0, 1.0).round(4).tolist()
    [0.7358]
    """
    u = magnitude / scale
    log_u = np.log(u)
    if family == "lognormal":
        found = -((log_u / shape) ** 2) / 2 - np.log(shape * np.sqrt(2 * np.pi))
    elif family == "gamma":
        found = shape * log_u - u - special.gammaln(shape)
    elif family == "student_t":
        found = np.log(2) - special.betaln(shape / 2, 0.5) - np.log(shape) / 2 + log_u
        found -= (shape + 1) / 2 * np.log1p(u**2 / shape)
    elif family == "half_normal":
        found = np.log(2 / np.pi) / 2 + log_u - u**2 / 2
    elif family == "generalised_gaussian":
        found = np.log(shape) - special.gammaln(1 / shape) + log_u - u**shape
    else:
        found = np.log(shape) + shape * log_u - u**shape
    return np.asarray(np.exp(found))
