"""What training does to the fits: trajectories along its steps, scaling across models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from scipy import special, stats

from weibnb.diagnostics.budget import at_least_zero
from weibnb.diagnostics.multiplicity import holm
from weibnb.diagnostics.verdicts import assemble
from weibnb.fits.schema import gaussian_anchor, prepare
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Chance that `first_departure` finds any in a model that does not change.
FALSE_ALARM = 0.01


def split_growth(fits: xr.Dataset) -> xr.Dataset:
    """Split the growth of the weights' spread along training into a part from λ and one from k.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of several steps; counts are not needed.

    Returns
    -------
    xarray.Dataset
        Since the first fitted step of each cell, cumulative and dimensionless: ``growth`` =
        Δ ln rms, and its parts ``from_lam`` = Δ ln λ, ``from_k`` = Δ ½ lnΓ(1+2/k),
        ``from_zeros`` = Δ ½ ln(1 - zero_fraction) and ``residual``, the change of the misfit.
        They add up exactly. NaN where a cell is not fitted.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or if ``rms`` or ``zero_fraction`` is missing.

    Notes
    -----
    A Weibull's mean square is σ² = λ²Γ(1+2/k), so ``ln σ = ln λ + ½ lnΓ(1+2/k)``: the two parts
    are differences of functions of the state, and their sums over consecutive steps telescope;
    the split does not depend on the order of the changes, nor on which steps were kept. A ``diff``
    along ``step`` gives the parts of each interval. Only non-zero weights are fitted, hence
    ``from_zeros``. Of a mixture-of-experts cell each factor is the median over experts.

    Examples
    --------
    >>> import weibnb as wb
    >>> draws = np.random.default_rng(0).normal(0, 0.02, (128, 128))
    >>> run = {s: {"model.layers.0.mlp.up_proj.weight": draws * (1 + s)} for s in (0, 1)}
    >>> parts = split_growth(wb.scan({"run": run})).isel(step=1).squeeze()
    >>> float(parts.from_lam.round(6)), abs(float(parts.residual)) < 1e-4
    (0.693147, True)
    """
    fits = prepare(fits, "rms", "zero_fraction", light=True)
    kept = fits["k"].notnull() & (fits["rms"] > 0)
    k, lam, rms = (fits[name].where(kept) for name in ("k", "lam", "rms"))
    gamma = xr.apply_ufunc(special.gammaln, 1 + 2 / k)
    share = (1 - fits["zero_fraction"]).where(kept)
    levels: list[Any] = [np.log(rms), np.log(lam), gamma / 2, np.log(share) / 2]
    growth, *parts = (level - first_known(level) for level in levels)
    from_lam, from_k, from_zeros = parts
    return assemble(
        {
            "growth": (growth, "Δ ln rms", "1"),
            "from_lam": (from_lam, "Part of Δ ln rms from λ", "1"),
            "from_k": (from_k, "Part of Δ ln rms from k", "1"),
            "from_zeros": (from_zeros, "Part of Δ ln rms from zeros", "1"),
            "residual": (growth - sum(parts), "Part of Δ ln rms that is misfit", "1"),
        }
    )


def first_known(array: xr.DataArray) -> xr.DataArray:
    """Value of each cell at its first fitted step."""
    if "step" not in array.dims:
        return array
    return array.isel(step=array.notnull().argmax("step")).drop_vars("step")


def first_departure(
    fits: xr.Dataset,
    *,
    sigmas: float | None = None,
    reference: Literal["own", "gaussian"] = "own",
    stays: bool = True,
) -> xr.DataArray:
    """Find the step at which the shape k of each matrix leaves its anchor.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of several steps.
    sigmas : float, optional
        How many standard errors away counts as departed. By default as many as leave a run
        without any change silent in 99 of 100 cases, whatever the number of matrices and steps.
    reference : {"own", "gaussian"}
        The anchor: the first fitted step of the same matrix (step 0 of a whole run), or the
        population value of a Gaussian by the same protocol.
    stays : bool
        Whether k must stay away at all later steps that are fitted. Otherwise the first
        excursion counts, and of twenty steps without any change one is expected at ``sigmas=2``.

    Returns
    -------
    xarray.DataArray
        First such step; NaN if k never leaves, or the cell is not fitted. With `stays`, an
        excursion at the very last step counts: nothing after it contradicts.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, an argument is not valid or ``k_se`` is missing.

    Notes
    -----
    Departed is ``|k - anchor| > sigmas · error``, where the error is k_se, for an own anchor
    ``sqrt(k_se² + k_se(first)²)``; without `sigmas`, a two-sided p-value below `FALSE_ALARM` after
    Holm's adjustment over all matrices and steps of a model.

    Examples
    --------
    >>> import weibnb as wb
    >>> draws = np.random.default_rng(0).normal(0, 0.02, (128, 128))
    >>> run = {s: {"model.layers.0.mlp.up_proj.weight": np.sign(draws) * np.abs(draws) ** p}
    ...        for s, p in ((0, 1.0), (10, 1.0), (20, 1.2))}
    >>> first_departure(wb.scan({"run": run})).values.ravel().tolist()
    [20.0]
    """
    if sigmas is not None and not sigmas >= 0:
        raise ValueError(f"`sigmas` must be at least 0, got {sigmas!r}.")
    check_choice("reference", reference, ("own", "gaussian"))
    fits = prepare(fits, "k_se", light=True, dims=("step",))
    k, error = fits["k"], fits["k_se"].where(fits["k"].notnull())
    if reference == "own":
        distance, error = k - first_known(k), xr.apply_ufunc(np.hypot, error, first_known(error))
    else:
        distance = k - gaussian_anchor(fits).k
    if sigmas is None:
        departed = _surely_departed(distance, error)
    else:
        departed = abs(distance) > sigmas * error
    if stays:
        back = (~departed & k.notnull()).isel(step=slice(None, None, -1))
        never_back = back.cumsum("step").isel(step=slice(None, None, -1)) == 0
        departed &= never_back
    found = departed.idxmax("step").where(departed.any("step")).astype(float)
    beyond = "the anchor for certain" if sigmas is None else f"{sigmas:g} standard errors"
    described = {"long_name": f"First step beyond {beyond}", "units": "steps"}
    return found.rename("first_departure").assign_attrs(described)


def _surely_departed(distance: xr.DataArray, error: xr.DataArray) -> xr.DataArray:
    """Tell where k has left its anchor, by Holm over all matrices and steps of each model."""
    away = abs(distance).where(distance != 0)  # a fit that is its own anchor is not looked at
    p = 2 * xr.apply_ufunc(special.ndtr, -away / error)
    models = ["model"] if "model" in p.dims else []
    rest = [dim for dim in p.dims if dim not in models]
    rows = p.transpose(*models, *rest)
    flat = rows.values.reshape(rows.sizes.get("model", 1), -1)
    adjusted = np.array([holm(row) for row in flat]).reshape(rows.shape)
    departed: xr.DataArray = rows.copy(data=adjusted < FALSE_ALARM).transpose(*p.dims)
    return departed


def paired_growth(
    fits: xr.Dataset,
    first: str | Sequence[str],
    second: str | Sequence[str],
    *,
    confidence: float = 0.95,
) -> xr.Dataset:
    """Correlate λ of two components over models and steps, in log-log.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of several models, steps or both.
    first, second : str or sequence of str
        Components; of several, the mean of their ln λ is taken.
    confidence : float
        Of the interval, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        ``r`` (Pearson), ``r_lower`` and ``r_upper`` of its confidence interval, ``slope`` of
        ln λ(second) on ln λ(first), all dimensionless, and ``n_pairs``. NaN below four pairs.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a component is missing, or `confidence` is not valid.

    Notes
    -----
    A pair is a (model, step): the median λ over layers (and experts) of each component. The
    interval is Fisher's, ``tanh(artanh r ± z/√(n-3))``; it takes pairs as independent, which the
    steps of one run are not.

    References
    ----------
    T. Ding, arXiv:2605.18898: r = 0.9967 of o_proj and the feed-forward output over 25 pairs.

    Examples
    --------
    >>> import weibnb as wb
    >>> draws = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> name = "model.layers.0.{}.weight"
    >>> run = {s: {name.format("self_attn.o_proj"): draws * (1 + s),
    ...            name.format("mlp.down_proj"): draws.T * (1 + s) ** 0.5} for s in range(5)}
    >>> growth = paired_growth(wb.scan({"run": run}), "o_proj", "down_proj")
    >>> round(float(growth.r), 4), round(float(growth.slope), 4), int(growth.n_pairs)
    (1.0, 0.5, 5)
    """
    _check_confidence(confidence)
    fits = prepare(fits, light=True)
    pair = (_mean_log(fits, "first", first), _mean_log(fits, "second", second))
    x, y = (np.ravel(array) for array in xr.broadcast(*pair))
    both = np.isfinite(x) & np.isfinite(y)
    pairs = int(both.sum())
    line = _free_line(x[both], y[both], fewest=4)
    lower, upper = _fisher(line.r, pairs, confidence)
    return xr.Dataset(
        {"r": line.r, "r_lower": lower, "r_upper": upper, "slope": line.slope, "n_pairs": pairs},
        attrs={"first": str(first), "second": str(second), "confidence": confidence},
    )


class _Line(NamedTuple):
    """A least-squares line: correlation, slope and intercept with their standard errors."""

    r: float = np.nan
    slope: float = np.nan
    slope_error: float = np.nan
    intercept: float = np.nan
    intercept_error: float = np.nan


def _free_line(x: Array, y: Array, *, fewest: int = 2) -> _Line:
    """Line of y on x; NaN below `fewest` points or where x does not vary."""
    if x.size < fewest or np.ptp(x) == 0:
        return _Line()
    line = stats.linregress(x, y)
    r = line.rvalue if np.ptp(y) > 0 else np.nan
    numbers = (r, line.slope, line.stderr, line.intercept, line.intercept_stderr)
    return _Line(*map(float, numbers))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1, got {confidence!r}.")


def _mean_log(fits: xr.Dataset, argument: str, names: str | Sequence[str]) -> xr.DataArray:
    """Mean ln λ of some components over (model, step), each the median over the other dims."""
    lam = _medians(fits, argument, np.atleast_1d(names).tolist())
    logarithm: xr.DataArray = xr.apply_ufunc(np.log, lam)
    return logarithm.mean("component", skipna=False)


def _medians(table: xr.Dataset, argument: str, components: Sequence[str]) -> xr.DataArray:
    """Median positive λ of the components over all dims but model, component and step."""
    lam = (
        table["lam"] if "component" in table["lam"].dims else table["lam"].expand_dims("component")
    )
    for name in components:
        check_choice(argument, name, lam["component"].values.tolist())
    lam = lam.sel(component=list(components))
    others = [dim for dim in lam.dims if dim not in ("model", "component", "step")]
    return lam.where(lam > 0).median(others)


def _fisher(r: float, n: int, confidence: float) -> tuple[float, float]:
    """Confidence interval of a correlation of n pairs."""
    if n < 4 or np.isnan(r):
        return np.nan, np.nan
    half = stats.norm.ppf(0.5 + confidence / 2) / np.sqrt(n - 3)
    with np.errstate(divide="ignore"):
        centre = np.arctanh(np.clip(r, -1, 1))
    return float(np.tanh(centre - half)), float(np.tanh(centre + half))


def scaling(
    lam: Any, learning_rate: Any, weight_decay: Any, *, confidence: float = 0.95
) -> xr.Dataset:
    """Hold λ of several models against ``sqrt(η/wd)``: the lines of `lambda_scaling`, of arrays.

    Examples
    --------
    >>> line = scaling([0.2, 0.4, 0.6], [1e-4, 4e-4, 9e-4], [0.01, 0.01, 0.01])
    >>> round(float(line.slope_origin), 9), round(float(line.r), 9)
    (2.0, 1.0)
    """
    _check_confidence(confidence)
    models = (
        lam["model"].values if isinstance(lam, xr.DataArray) and "model" in lam.coords else None
    )
    y, eta, decay = (np.asarray(value, float) for value in (lam, learning_rate, weight_decay))
    if not y.ndim == eta.ndim == decay.ndim == 1 or not y.size == eta.size == decay.size:
        shapes = f"{y.shape}, {eta.shape} and {decay.shape}"
        raise ValueError(
            "`lam`, `learning_rate` and `weight_decay` must hold one number for each model, "
            f"got shapes {shapes}."
        )
    kept = np.isfinite(y) & ~np.isnan(eta) & ~np.isnan(decay)
    at_least_zero("learning_rate", eta[kept])
    if (at_least_zero("weight_decay", decay[kept]) == 0).any():
        raise ValueError("`weight_decay` must be more than 0 for λ to have a scale, got 0.")
    x = np.full(y.size, np.nan)
    x[kept] = np.sqrt(eta[kept] / decay[kept])
    y = np.where(kept, y, np.nan)
    result = xr.Dataset(
        {"predictor": ("model", x), "lam": ("model", y)},
        {"model": np.arange(y.size) if models is None else models},
        {"confidence": confidence},
    )
    numbers = _two_lines(x[kept], y[kept], confidence) | {"n_models": int(kept.sum())}
    result = result.assign(numbers)
    result["residual_origin"] = result["lam"] - result["slope_origin"] * result["predictor"]
    free = result["intercept"] + result["slope"] * result["predictor"]
    return result.assign(residual=result["lam"] - free)


def _two_lines(x: Array, y: Array, confidence: float) -> dict[Hashable, float]:
    """Correlation, and the least-squares lines through the origin and free, with intervals."""
    n, square = x.size, float(x @ x)
    origin = float(x @ y) / square if square > 0 else np.nan
    rest = float(((y - origin * x) ** 2).sum())
    error = np.sqrt(rest / (n - 1) / square) if n > 1 and square > 0 else np.nan
    free = _free_line(x, y)
    found: dict[Hashable, float] = {}
    for name, value, its_error, freedom in (
        ("slope_origin", origin, error, n - 1),
        ("slope", free.slope, free.slope_error, n - 2),
        ("intercept", free.intercept, free.intercept_error, n - 2),
    ):
        half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * its_error
        found |= {name: value, f"{name}_lower": value - half, f"{name}_upper": value + half}
    lower, upper = _fisher(free.r, n, confidence)
    return found | {"r": free.r, "r_lower": lower, "r_upper": upper}


def lambda_scaling(
    fits: xr.Dataset,
    *,
    components: Sequence[str] = ("o_proj", "up_proj", "down_proj"),
    confidence: float = 0.95,
) -> xr.Dataset:
    """Hold the mean λ of some components against ``sqrt(η/wd)`` over the models of a cohort.

    Parameters
    ----------
    fits : xarray.Dataset
        ``lam`` over model and component (of further dims but step the median is taken, of steps
        the last that is fitted), and coordinates ``learning_rate`` η and ``weight_decay`` wd.
    components : sequence of str
        Averaged; a model that lacks one of them is left out.
    confidence : float
        Of the intervals, between 0 and 1.

    Returns
    -------
    xarray.Dataset
        ``r`` with ``r_lower``, ``r_upper`` (Fisher); ``slope_origin`` of the line through the
        origin, ``slope`` and ``intercept`` of the free one, each with ``_lower`` and ``_upper``
        (Student's t); over ``model``: ``predictor`` = sqrt(η/wd), ``lam``, ``residual_origin``
        and ``residual``; and ``n_models``. Slopes, intercept and residuals in the units of the
        weights. NaN where too few models are left: a slope takes 1 (free 2), an interval 1 more.

    Raises
    ------
    ValueError
        If a coordinate or a component is missing, a hyperparameter is negative or infinite, or a
        weight decay is 0.

    Notes
    -----
    Both lines are least squares with equal weights. The interval of r is NaN below four models.

    References
    ----------
    T. Ding, arXiv:2605.18898: five Pythia sizes, r = 0.94, λ = 0.087 sqrt(η/wd).

    Examples
    --------
    >>> table = xr.Dataset(
    ...     {"lam": (("model", "component"), [[0.1, 0.3], [0.2, 0.6]])},
    ...     {"model": ["a", "b"], "component": ["o_proj", "up_proj"],
    ...      "learning_rate": ("model", [1e-4, 4e-4]), "weight_decay": ("model", [0.01, 0.01])})
    >>> float(lambda_scaling(table, components=("o_proj", "up_proj")).slope_origin.round(9))
    2.0
    """
    needed = ("lam", "component", "model", "learning_rate", "weight_decay")
    missing = [name for name in needed if name not in fits.variables]
    if missing:
        raise ValueError(
            f"`fits` must hold {', '.join(missing)}; add coordinates over models, for example "
            'fits.assign_coords(learning_rate=("model", [3e-4])).'
        )
    lam = _medians(fits, "components", components).mean("component", skipna=False)
    if "step" in lam.dims:
        lam = first_known(lam.isel(step=slice(None, None, -1)))
    return scaling(
        lam, fits["learning_rate"].values, fits["weight_decay"].values, confidence=confidence
    )
