"""Why k is low: what unequal rows and columns take from it, and what is left without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from weibnb.counting.dispatch import count_magnitudes
from weibnb.counting.formats import as_bits
from weibnb.counting.lines import FEWEST, lines_of
from weibnb.diagnostics.balance import (
    balance,
    divide,
    finite_part,
    line_squares,
    log_sums,
    shuffled,
)
from weibnb.diagnostics.explanation import explain
from weibnb.families.populations import find_populations
from weibnb.fits.schema import protocol_attributes
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.status import FITTED, status_after_fit
from weibnb.fitting.weibull import anchor, fit_quantiles
from weibnb.parallel import on_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.counting.lines import Lines
    from weibnb.diagnostics.balance import Balance
    from weibnb.fitting.weibull import Estimator, Trim

    Array = NDArray[np.float64]
    Matrix = NDArray[np.float32]
    Protocol = tuple[Estimator, Trim]
    Found = dict[str, Any]

#: What is fitted, and what is divided by its root mean square before.
STAGES = {"raw": "nothing", "rows": "rows", "cols": "columns", "core": "rows and columns"}
_OF_STAGES = {
    "k": ("Weibull shape k", "1"),
    "k_se": ("Standard error of k", "1"),
    "lam": ("Weibull scale λ", "units of the weights; 1 where divided"),
    "r2": ("Coefficient of determination of the Weibull plot", "1"),
}
_NUMBERS = {
    "anchor": ("k of a Gaussian", "1"),
    "anchor_r2": ("r2 of a Gaussian", "1"),
    "anchor_core": ("k of a Gaussian of this size, rows and columns divided", "1"),
    "anchor_r2_core": ("r2 of a Gaussian of this size, rows and columns divided", "1"),
    "k_shuffled": ("k of the shuffled weights, rows and columns divided", "1"),
    "below": ("How far k lies below the anchor", "1"),
    "from_rows": ("Of this by unequal rows", "1"),
    "from_cols": ("Of this by unequal columns", "1"),
    "from_dividing": ("Of this made good by dividing alone, as in shuffled weights", "1"),
    "from_core": ("Of this left in the core", "1"),
    "share_rows": ("Share of var ln|w| that rows carry", "1"),
    "share_cols": ("Share of var ln|w| that columns carry", "1"),
    "share_core": ("Share of var ln|w| that the core carries", "1"),
    "h_row": ("Standard deviation of ln scale over rows, sampling noise taken off", "1"),
    "h_col": ("Standard deviation of ln scale over columns, sampling noise taken off", "1"),
    "bridge": ("k_raw^-2 - k_core^-2", "1"),
    "alpha": ("Bridge over h_row^2 + h_col^2", "1"),
    "alpha_gaussian": ("The same of a Gaussian with lognormal scales of this spread", "1"),
    "imbalance": ("How far from 1 the rms of a row of the core is", "1"),
}
_WHOLE = {
    "rows": "Output features",
    "cols": "Input features",
    "dead_rows": "Rows of zeros, NaN and infinities alone, left out",
    "dead_cols": "Columns of zeros, NaN and infinities alone, left out",
    "nonfinite": "NaN and infinite weights, left out",
    "rounds": "How often rows and columns were divided",
}
_WORDS = {
    "populations": "Verdict on two populations among the weights",
    "core_populations": "The same of the core",
    "status": "ok, or why there is no fit",
    "status_core": "The same of the core",
    "sentence": "The cause in one sentence",
}
#: Variables of the result: long name and units.
VARIABLES: dict[str, tuple[str, str]] = {
    **{
        f"{name}_{stage}": (f"{words}, {what} divided", units)
        for name, (words, units) in _OF_STAGES.items()
        for stage, what in STAGES.items()
    },
    **_NUMBERS,
    **{name: (words, "1") for name, words in _WHOLE.items()},
    "converged": ("Whether all rows and columns of the core have one rms", ""),
    **{name: (words, "") for name, words in _WORDS.items()},
}
# Weights that are shuffled in all, and orders of a small matrix at most.
_SHUFFLED, _MOST_ORDERS = 1 << 18, 16
# Spread of w² (over its mean) below which the weights of a core have one magnitude.
_ONE_MAGNITUDE = 1e-4
# Spread of scales below which alpha would be noise.
_LEAST_SPREAD = 0.08


def take_apart(weights: Any, protocol: Protocol, *, workers: int | None = None) -> Found:
    """Take k of one matrix apart into rows, columns and a core.

    Parameters
    ----------
    weights : ndarray of float32 or float64, shape (rows, columns)
        The weights; rows are output features.
    protocol : tuple
        Estimator and trim.
    workers : int, optional
        Threads; two have work.

    Returns
    -------
    dict
        By the names of `VARIABLES`; NaN for what cannot be divided.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> weights = rng.normal(size=(256, 256)) * np.exp(rng.normal(0, 0.5, (256, 1)))
    >>> take_apart(weights, ("rank_regression", (0.1, 0.9)))["sentence"]
    '0.13 of the 0.13 below the anchor is unequal rows; the core is Gaussian.'
    """
    found = nothing("ok", weights.shape, protocol)
    counts, lines = _counted(weights)
    fitted = _fits([counts], [lines], protocol)
    nonfinite = counts.nans + counts.infinities
    words = status_after_fit("ok", fitted["status"], zeros=counts.zeros, nonfinite=nonfinite)
    found |= {"status": str(words[0]), "nonfinite": nonfinite}
    if found["status"] in FITTED:
        found |= _stage("raw", fitted, 0)
        found["below"] = found["anchor"] - found["k_raw"]
        found["populations"] = _populations(counts)
        found |= _causes(weights, counts, found, protocol, workers)
    return found | {"sentence": explain(found)}


def nothing(status: str, shape: tuple[int, ...], protocol: Protocol) -> Found:
    """Say that nothing is known of a matrix but its size and status."""
    estimator, trim = protocol
    found: Found = dict.fromkeys(VARIABLES, np.nan)
    found |= dict.fromkeys((*_WHOLE, "converged"), 0) | dict.fromkeys(_WORDS, "")
    found |= {"rows": shape[0], "cols": shape[1], "status": status, "converged": False}
    ideal = anchor(trim=trim, estimator=estimator)
    found |= {"anchor": ideal.k, "anchor_r2": ideal.r2}
    return found | {"sentence": explain(found)}


def _counted(weights: Any) -> tuple[Counts, Lines | None]:
    """Count a matrix, and copy some of its rows and columns for clustered errors."""
    bits, dtype = as_bits(weights)
    few = min(weights.shape) < FEWEST
    lines = None if few else lines_of(bits, dtype, weights.shape)
    return count_magnitudes(weights, device="cpu", workers=1), lines


def _fits(
    counts: Sequence[Counts], lines: Sequence[Lines | None], protocol: Protocol
) -> dict[str, Any]:
    """Fit matrices, with clustered errors where there are lines."""
    estimator, trim = protocol
    rows = CountRows.of(counts)
    return fit_counts(rows, trim=trim, estimator=estimator, workers=1, lines=lines)


def _stage(stage: str, fitted: Mapping[str, Any], at: int) -> Found:
    """Name the estimates of one stage."""
    return {f"{name}_{stage}": float(fitted[name][at]) for name in _OF_STAGES}


def _populations(counts: Counts) -> str:
    """Give the verdict on two populations."""
    return str(find_populations(counts, workers=1)["verdict"].item())


def _causes(
    weights: Any, counts: Counts, found: Found, protocol: Protocol, workers: int | None
) -> Found:
    """Divide a fitted matrix and its shuffled weights, and say what came of it."""
    finite: Matrix = np.empty(weights.shape, np.float32)
    exponent = int(np.frexp(counts.largest)[1]) if weights.dtype == np.float64 else 0
    finite_part(weights, weights.dtype.type(2.0 ** -min(max(exponent, -1000), 1000)), finite)
    if np.count_nonzero(finite) < counts.n:
        return {"status_core": "subnormal"}
    core = _alive(finite)
    dead = {
        "dead_rows": finite.shape[0] - core.shape[0],
        "dead_cols": finite.shape[1] - core.shape[1],
    }
    if min(core.shape) < FEWEST:
        return dead
    jobs: list[Callable[[], Found]] = [
        lambda: _divided(core, protocol),
        lambda: _control(core, protocol),
    ]
    real, control = on_threads(lambda job: job(), jobs, workers)
    real |= dead
    if real["status_core"] not in FITTED:
        return real
    gains = _gains(found["k_raw"], real)
    by_chance = _gains(found["k_raw"], control) if np.isfinite(control["k_core"]) else (0.0, 0.0)
    ideal_k, _, ideal_r2 = _gaussian_core(core.shape, protocol)
    real |= {
        "anchor_core": ideal_k,
        "anchor_r2_core": ideal_r2,
        "k_shuffled": control["k_core"],
        "from_rows": gains[0] - by_chance[0],
        "from_cols": gains[1] - by_chance[1],
        "from_dividing": sum(by_chance),
        "from_core": found["anchor"] - real["k_core"],
        "bridge": found["k_raw"] ** -2 - real["k_core"] ** -2,
    }
    spread = float(np.hypot(real["h_row"], real["h_col"]))
    if spread >= _LEAST_SPREAD:
        real["alpha"] = real["bridge"] / spread**2
        real["alpha_gaussian"] = gaussian_alpha(spread, protocol)
    return real


def _alive(weights: Matrix) -> Matrix:
    """Leave out rows and columns of zeros."""
    rows, cols = line_squares(weights)
    if rows.all() and cols.all():
        return weights
    return np.ascontiguousarray(weights[rows > 0][:, cols > 0])


def _gains(raw: float, found: Found) -> tuple[float, float]:
    """Give what dividing rows and columns adds to k: the mean of both orders (Shapley)."""
    rows, cols, core = (found[f"k_{stage}"] for stage in ("rows", "cols", "core"))
    return ((rows - raw) + (core - cols)) / 2, ((cols - raw) + (core - rows)) / 2


def _stages(weights: Matrix, scales: Balance) -> Iterator[tuple[str, Matrix, float]]:
    """Divide a matrix in three ways, each in place of the last, and give mean fourth powers."""
    height, width = weights.shape
    ones, out = (np.ones(height), np.ones(width)), np.empty_like(weights)
    for stage, by_row, by_col in (
        ("rows", 1 / scales.rows, ones[1]),
        ("cols", ones[0], 1 / scales.cols),
        ("core", 1 / scales.a, 1 / scales.b),
    ):
        yield stage, out, divide(weights, by_row, by_col, out)


def _divided(weights: Matrix, protocol: Protocol) -> Found:
    """Fit a matrix with its rows, columns and both divided, and describe its scales."""
    scales = balance(weights)
    stages = [(*_counted(matrix), fourth) for _, matrix, fourth in _stages(weights, scales)]
    counts, lines, (*_, kurtosis) = zip(*stages, strict=True)
    fitted = _fits(counts, lines, protocol)
    found: Found = {}
    for at, stage in enumerate(("rows", "cols", "core")):
        found |= _stage(stage, fitted, at)
    found |= {"rounds": scales.rounds, "imbalance": scales.imbalance}
    found |= {"converged": scales.converged, "status_core": ""}
    if min(one.n for one in counts) < np.count_nonzero(weights):
        found["status_core"] = "subnormal"
    elif scales.converged:
        one_magnitude = kurtosis * counts[-1].n / weights.size <= 1 + _ONE_MAGNITUDE**2
        found["status_core"] = "constant" if one_magnitude else str(fitted["status"][-1])
    if found["status_core"] not in FITTED:
        return found | dict.fromkeys((f"{name}_core" for name in _OF_STAGES), np.nan)
    height, width = weights.shape
    found |= {
        "core_populations": _populations(counts[-1]),
        "h_row": _spread(scales.a, (kurtosis - 1) / (4 * width)),
        "h_col": _spread(scales.b, (kurtosis - 1) / (4 * height)),
    }
    return found | _shares(weights, scales)


def _spread(scales: Array, noise: float) -> float:
    """Give the standard deviation of ln scale without the variance that sampling adds."""
    return float(np.sqrt(max(np.log(scales).var(ddof=1) - noise, 0.0)))


def _shares(weights: Matrix, scales: Balance) -> Found:
    """Part var ln|w| by covariance: ln|w| = ln a + ln b + ln|z|."""
    rows, cols, squares = log_sums(weights)
    n = rows[1].sum()
    mean = rows[0].sum() / n
    variance = squares / n - mean**2
    of_rows = (np.log(scales.a) * (rows[0] - rows[1] * mean)).sum() / n / variance
    of_cols = (np.log(scales.b) * (cols[0] - cols[1] * mean)).sum() / n / variance
    return {
        "share_rows": float(of_rows),
        "share_cols": float(of_cols),
        "share_core": float(1 - of_rows - of_cols),
    }


def _control(weights: Matrix, protocol: Protocol) -> Found:
    """Fit the shuffled weights in the same way: means over several orders of a small matrix."""
    rng = np.random.default_rng(0)
    orders = min(max(_SHUFFLED // weights.size, 1), _MOST_ORDERS)
    counts = []
    for _ in range(orders):
        mixed = _alive(shuffled(weights, rng))
        scales = balance(mixed)
        if min(mixed.shape) < FEWEST or not scales.converged:
            return dict.fromkeys(("k_rows", "k_cols", "k_core"), np.nan)
        counts += [_counted(matrix)[0] for _, matrix, _ in _stages(mixed, scales)]
    k = _fits(counts, [None] * len(counts), protocol)["k"].reshape(orders, 3).mean(axis=0)
    return dict(zip(("k_rows", "k_cols", "k_core"), k.tolist(), strict=True))


def _gaussian_core(shape: tuple[int, int], protocol: Protocol) -> tuple[float, float, float]:
    """Fit a Gaussian matrix with rows and columns divided: its k is a little above the anchor.

    A line of m weights of one length is a point on a sphere, whose squares follow a Beta law.
    """
    from scipy import special

    estimator, trim = protocol
    m = 1 / (1 / shape[0] + 1 / shape[1])
    return fit_quantiles(
        lambda p, _: np.log(special.betaincinv(0.5, (m - 1) / 2, p)) / 2, trim, estimator
    )


def gaussian_alpha(spread: float, protocol: Protocol) -> float:
    """Give (k^-2 - anchor^-2) / H^2 of a Gaussian with lognormal scales of spread H.

    Of an exact Weibull it is 6/π² for small H: var ln|w| is π²/(6 k²).

    Examples
    --------
    >>> protocol = "rank_regression", (0.1, 0.9)
    >>> [round(gaussian_alpha(h, protocol), 2) for h in (0.1, 0.2, 0.35, 0.5)]
    [0.61, 0.62, 0.65, 0.68]
    """
    from scipy import special

    estimator, trim = protocol
    nodes, weights = special.roots_hermitenorm(60)
    x = np.linspace(-30.0, 3.0 + 8 * spread, 6000)
    below = special.erf(np.exp(x[:, None] - spread * nodes) / np.sqrt(2)) @ (
        weights / weights.sum()
    )
    k = fit_quantiles(lambda p, _: np.interp(p, below, x), trim, estimator)[0]
    return float((k**-2 - anchor(trim=trim, estimator=estimator).k ** -2) / spread**2)


def as_dataset(
    found: Sequence[Found], places: Sequence[Mapping[str, Any]], protocol: Protocol
) -> xr.Dataset:
    """Lay matrices that were taken apart along the dim ``matrix``.

    Parameters
    ----------
    found : sequence of dict
        From `take_apart`.
    places : sequence of mapping
        Coordinates of each.
    protocol : tuple
        Estimator and trim.

    Returns
    -------
    xarray.Dataset
        `VARIABLES` over ``matrix``, with the coordinates of each matrix.
    """
    columns = {name: ("matrix", [one[name] for one in found]) for name in VARIABLES}
    coords = {name: ("matrix", [place[name] for place in places]) for name in places[0]}
    result = xr.Dataset(columns, coords)
    for name, (long_name, units) in VARIABLES.items():
        result[name].attrs = {"long_name": long_name} | ({"units": units} if units else {})
    estimator, trim = protocol
    result.attrs = protocol_attributes(trim, estimator) | {"title": "Why k is low"}
    return result
