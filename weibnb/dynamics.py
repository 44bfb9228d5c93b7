"""What training does to the fits: budget in AdamW timescales, trajectories, scaling."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import xarray as xr
from scipy import special, stats

from weibnb.checkpoint import find_steps
from weibnb.dataset import gaussian_anchor, require

if TYPE_CHECKING:
    import os
    from collections.abc import Hashable, Sequence

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

Convention = Literal["database", "library"]
Schedule: TypeAlias = "Callable[[int], float] | ArrayLike"

#: Words for T/τ by convention, each with the lowest T/τ it stands for, highest first.
STATES: dict[Convention, tuple[tuple[float, str], ...]] = {
    "database": (
        (1.2, "saturated"),
        (0.8, "near-saturated"),
        (0.4, "approaching"),
        (0.25, "partial"),
        (0.0, "transition"),
    ),
    "library": ((1.0, "saturated"), (0.2, "approaching"), (0.0, "transition")),
}
_KEYS = {
    "learning_rate": ("learning_rate", "peak_learning_rate", "max_lr", "lr"),
    "weight_decay": ("weight_decay", "weight-decay", "wd"),
    "steps": ("global_step", "steps", "train_steps", "train_iters", "max_iters", "max_steps"),
}
_SECTIONS = ("optimizer", "params", "training", "train")
_FILES = ("trainer_state.json", "training_args.json", "config.json")
_LARGEST_FILE = 100_000_000
# T/τ is compared with the edges of the states to this many decimals.
_DIGITS = 12


def timescale(learning_rate: ArrayLike, weight_decay: ArrayLike) -> Array:
    """AdamW timescale ``τ = 1 / (η·wd)``: over how many steps weight decay forgets.

    Parameters
    ----------
    learning_rate : array_like
        Learning rate η, dimensionless, at least 0.
    weight_decay : array_like
        Decoupled weight decay, dimensionless, at least 0.

    Returns
    -------
    ndarray of float64
        τ in steps, broadcast; infinite where either is 0.

    Raises
    ------
    ValueError
        If a value is negative, NaN or infinite.

    References
    ----------
    X. Wang and L. Aitchison, arXiv:2405.13698.

    Examples
    --------
    >>> float(timescale(3e-4, 0.1).round()), float(timescale(3e-4, 0.0))
    (33333.0, inf)
    """
    eta = _at_least_zero("learning_rate", learning_rate)
    decay = _at_least_zero("weight_decay", weight_decay)
    with np.errstate(divide="ignore"):
        return np.asarray(1 / (eta * decay))


def _at_least_zero(name: str, value: Any) -> Array:
    array = np.asarray(value, float)
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        raise ValueError(f"`{name}` must be finite and at least 0, got {array[bad].flat[0]:g}.")
    return array


def state_words(budget: ArrayLike, *, convention: Convention = "database") -> NDArray[np.object_]:
    """Word for a training budget T/τ.

    Parameters
    ----------
    budget : array_like
        T/τ, dimensionless.
    convention : {"database", "library"}
        Whose edges; see `training_budget`.

    Returns
    -------
    ndarray of object
        The words; "unknown" where the budget is NaN.

    Raises
    ------
    ValueError
        If the convention is unknown.

    Examples
    --------
    >>> state_words([1.2, 1.0, 0.2]).tolist()
    ['saturated', 'near-saturated', 'transition']
    >>> state_words([1.2, 1.0, 0.2], convention="library").tolist()
    ['saturated', 'saturated', 'approaching']
    """
    if convention not in get_args(Convention):
        valid = " or ".join(map(repr, get_args(Convention)))
        raise ValueError(f"`convention` must be {valid}, got {convention!r}.")
    value = np.round(np.asarray(budget, float), _DIGITS)
    words = np.full(value.shape, "unknown", object)
    for edge, word in reversed(STATES[convention]):
        words[value >= edge] = word
    return words


def training_budget(
    fits: xr.Dataset | None = None,
    *,
    learning_rate: Any = None,
    weight_decay: Any = None,
    steps: Any = None,
    convention: Convention = "database",
    schedule: Schedule | None = None,
) -> xr.Dataset:
    """Tell how many AdamW timescales a training run lasted, T/τ, and what state that is.

    Parameters
    ----------
    fits : xarray.Dataset, optional
        Fits. What is not given is taken from their coordinates ``learning_rate``,
        ``weight_decay``, ``steps``, then from the JSON files beside the checkpoints; the number
        of steps also from the coordinate ``step`` where it says more than 0.
    learning_rate, weight_decay, steps : float, Mapping of model to float, DataArray or array
        Peak learning rate η, decoupled weight decay, and optimiser steps T.
    convention : {"database", "library"}
        Edges and words of the state.
    schedule : callable or array_like, optional
        Learning rate of each step, a function of the step 0 ... T-1 or an array of at least T;
        instead of `learning_rate`.

    Returns
    -------
    xarray.Dataset
        ``learning_rate`` (the peak), ``weight_decay``, ``steps``, ``timescale`` τ in steps at the
        peak, ``budget`` T/τ, ``power_lines`` τ/T, ``state``; over ``model`` and ``step`` where
        there are fits.

    Raises
    ------
    TypeError
        If `fits` is no Dataset.
    ValueError
        If something is not known or not valid, or the schedule is shorter than the run.

    Notes
    -----
    ``T/τ = T·η·wd``, with a schedule ``Σ_t η(t)·wd`` over the T steps. The database of the paper
    calls T/τ >= 1.2 saturated, >= 0.8 near-saturated, >= 0.4 approaching, >= 0.25 partial and less
    transition; the library published with it >= 1.0 saturated, >= 0.2 approaching and less
    transition. ``power_lines`` is the AdamW timescale B/(η·λ·D) of the Power Lines paper (λ its
    weight decay, B and D batch and data in tokens), the inverse of T/τ.

    References
    ----------
    T. Ding, arXiv:2605.18898. X. Wang and L. Aitchison, arXiv:2405.13698. S. Bergsma et al.,
    "Power Lines", arXiv:2505.13738.

    Examples
    --------
    >>> pythia = training_budget(learning_rate=1e-3, weight_decay=0.01, steps=143_000)
    >>> float(pythia.budget), pythia.state.item(), round(float(pythia.power_lines), 3)
    (1.43, 'saturated', 0.699)
    """
    given = {"learning_rate": learning_rate, "weight_decay": weight_decay, "steps": steps}
    if schedule is not None and learning_rate is not None:
        raise ValueError("`learning_rate` must be omitted where a `schedule` is given.")
    rates = None if callable(schedule) or schedule is None else _per_step(schedule)
    if rates is not None and steps is None and fits is None:
        given["steps"] = rates.size
    if schedule is not None:
        given["learning_rate"] = 0.0
    known = _hyperparameters(fits, given)
    number, decay = known["steps"], known["weight_decay"]
    budget = number * known["learning_rate"] * decay
    if schedule is not None:
        rates = _evaluate(schedule, number) if rates is None else rates
        total, peak = _integrate(rates, number)
        budget, known["learning_rate"] = total * decay, peak
    tau = xr.apply_ufunc(timescale, known["learning_rate"], decay)
    with np.errstate(divide="ignore"):
        inverse = 1 / budget
    words = xr.apply_ufunc(lambda value: state_words(value, convention=convention), budget)
    columns = {
        "learning_rate": (known["learning_rate"], "Peak learning rate η", "1"),
        "weight_decay": (decay, "Weight decay", "1"),
        "steps": (number, "Optimiser steps T", "1"),
        "timescale": (tau, "AdamW timescale τ = 1/(η·wd)", "steps"),
        "budget": (budget, "Training budget T/τ", "1"),
        "power_lines": (inverse, "AdamW timescale B/(η·λ·D) of Power Lines, τ/T", "1"),
        "state": (words, f"State by the convention of the {convention}", ""),
    }
    result = xr.Dataset(attrs={"convention": convention})
    for name, (array, long_name, units) in columns.items():
        described = {"long_name": long_name} | ({"units": units} if units else {})
        result[name] = array.reset_coords(drop=True).assign_attrs(described)
    return result


def _per_step(schedule: Any) -> Array:
    rates = _at_least_zero("schedule", schedule)
    if rates.ndim != 1 or rates.size == 0:
        raise ValueError(f"`schedule` must be one learning rate a step, got shape {rates.shape}.")
    return rates


def _evaluate(schedule: Any, steps: xr.DataArray) -> Array:
    last = int(np.nanmax(steps.values, initial=0))
    return _at_least_zero("schedule", [float(schedule(step)) for step in range(last)])


def _integrate(rates: Array, steps: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Sum and largest of the learning rates of the first `steps` steps."""
    number = steps.values
    if not np.array_equal(number, np.round(number)):
        raise ValueError("`steps` must be whole numbers where a `schedule` is given.")
    if number.size and number.max() > rates.size:
        raise ValueError(
            f"`schedule` must give a learning rate for each of {int(number.max())} steps, "
            f"got {rates.size}."
        )
    at = number.astype(np.int64)
    total = np.concatenate([[0.0], np.cumsum(rates)])[at]
    peak = np.concatenate([[0.0], np.maximum.accumulate(rates)])[at]
    return steps.copy(data=total), steps.copy(data=peak)


def _hyperparameters(fits: xr.Dataset | None, given: dict[str, Any]) -> dict[str, xr.DataArray]:
    """Give η, wd and T as arrays over model (and step): from the user, the fits or the files."""
    if fits is None:
        known = {name: _as_array(name, value, None) for name, value in given.items()}
    else:
        fits = require(fits)
        known = {
            name: _as_array(name, fits.coords.get(name) if value is None else value, fits)
            for name, value in given.items()
        }
        if known["steps"] is None and bool((fits["step"] > 0).any()):
            known["steps"] = fits["step"].astype(float)
        for name in [name for name, value in known.items() if value is None]:
            known[name] = _from_files(fits, name)
    for name, array in known.items():
        if array is None:
            raise ValueError(f"`{name}` must be given; without `fits` it cannot be looked up.")
        _at_least_zero(name, array.values)
    return {name: array for name, array in known.items() if array is not None}


def _as_array(name: str, value: Any, fits: xr.Dataset | None) -> xr.DataArray | None:
    """Turn what a user may give into floats, over `model` where it names or counts models."""
    if value is None:
        return None
    if isinstance(value, xr.DataArray):
        return value.astype(float)
    models = [] if fits is None else np.atleast_1d(fits["model"].values).tolist()
    if isinstance(value, Mapping):
        models = models or list(value)
        missing = [model for model in models if model not in value]
        if missing:
            raise ValueError(f"`{name}` must have an entry for model {missing[0]!r}.")
        value = [value[model] for model in models]
    array = np.asarray(value, float)
    if array.ndim == 0:
        return xr.DataArray(array)
    if array.ndim != 1 or (models and array.size != len(models)):
        expected = f"one number for each of {len(models)} models" if models else "one-dimensional"
        raise ValueError(f"`{name}` must be {expected}, got shape {array.shape}.")
    return xr.DataArray(array, {"model": models} if models else None, dims="model")


def _from_files(fits: xr.Dataset, name: str) -> xr.DataArray:
    """Read a hyperparameter beside each checkpoint."""
    source = require(fits, "source")["source"]
    values = np.empty(source.shape)
    for position in np.ndindex(source.shape):
        path = str(source.values[position])
        found = read_hyperparameters(path) if Path(path).exists() else {}
        if name not in found:
            raise ValueError(_not_found(f"`{name}`", Path(path)))
        values[position] = found[name]
    return source.copy(data=values)


def _not_found(names: str, path: Path) -> str:
    directory = path if path.is_dir() else path.parent
    message = f"{names} must be given; no JSON file beside {str(path)!r} tells."
    if (directory / "training_args.bin").exists():
        message += " `training_args.bin` is a pickle, which can run code and is never opened here."
    return message


def read_hyperparameters(path: str | os.PathLike[str]) -> dict[str, float]:
    """Read learning rate, weight decay and steps from the JSON files of a training run.

    Parameters
    ----------
    path : path
        A checkpoint's directory, or a file in it.

    Returns
    -------
    dict
        Those of ``learning_rate`` (the peak), ``weight_decay`` and ``steps`` (done until this
        checkpoint if known, else planned) that were found.

    Raises
    ------
    FileNotFoundError
        If there is no such path.
    ValueError
        If no file tells anything, or one is not valid JSON. Pickles (``training_args.bin``) are
        never opened.

    Notes
    -----
    ``trainer_state.json`` (the log of what happened) comes before ``training_args.json``, and that
    before ``config.json``. The peak is the largest logged rate: of a checkpoint from within the
    warm-up it is the largest so far.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as run:
    ...     text = '{"learning_rate": 0.001, "weight_decay": 0.01, "max_steps": 500}'
    ...     _ = Path(run, "training_args.json").write_text(text)
    ...     read_hyperparameters(run)
    {'learning_rate': 0.001, 'weight_decay': 0.01, 'steps': 500.0}
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"`path` must name a checkpoint, got {str(place)!r}: not found.")
    directory = place if place.is_dir() else place.parent
    found = _read_directory(directory)
    if directory in find_steps(directory.parent).values():
        run = _read_directory(directory.parent)
        run.pop("steps", None)  # the whole run's, not this step's
        found = run | found
    if not found:
        raise ValueError(_not_found("`learning_rate`, `weight_decay` and `steps`", place))
    return {name: found[name] for name in _KEYS if name in found}


def _read_directory(directory: Path) -> dict[str, float]:
    found: dict[str, float] = {}
    for file in (directory / name for name in _FILES):
        if file.is_file():
            content = _read_json(file)
            logged = _logged(content) if file.name == "trainer_state.json" else {}
            found = _named(content) | logged | found
    return found


def _read_json(file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    if size > _LARGEST_FILE:
        raise ValueError(
            f"{str(file)!r}: at most {_LARGEST_FILE:,} bytes are read, it has {size:,}."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as err:
        raise ValueError(f"{str(file)!r} must be valid JSON: {err}.") from err
    if not isinstance(content, dict):
        raise ValueError(f"{str(file)!r} must hold a JSON object.")  # noqa: TRY004
    return content


def _number(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if usable and np.isfinite(value) and value >= 0 else None


def _logged(state: dict[str, Any]) -> dict[str, float]:
    """Peak learning rate of a log."""
    entries = state.get("log_history")
    rates = [
        rate
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and (rate := _number(entry.get("learning_rate"))) is not None
    ]
    return {"learning_rate": max(rates)} if rates else {}


def _named(content: dict[str, Any]) -> dict[str, float]:
    """Hyperparameters under any of their names, at the top or in a section for the training."""
    found: dict[str, float] = {}
    for section in _SECTIONS:
        if isinstance(content.get(section), dict):
            found = _named(content[section]) | found
    for name, keys in _KEYS.items():
        numbers = (_number(content.get(key)) for key in keys)
        value = next((number for number in numbers if number is not None), None)
        if value is not None and not (name == "steps" and value == 0):
            found[name] = value
    return found


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
    TypeError
        If `fits` is no Dataset.
    ValueError
        If ``rms`` or ``zero_fraction`` is missing.

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
    fits = require(fits, "rms", "zero_fraction")
    kept = fits["k"].notnull() & (fits["rms"] > 0)
    k, lam, rms = (fits[name].where(kept) for name in ("k", "lam", "rms"))
    share = (1 - fits["zero_fraction"]).where(kept)
    levels = {
        "growth": (np.log(rms), "Δ ln rms"),
        "from_lam": (np.log(lam), "Part of Δ ln rms from λ"),
        "from_k": (0.5 * xr.apply_ufunc(special.gammaln, 1 + 2 / k), "Part of Δ ln rms from k"),
        "from_zeros": (0.5 * np.log(share), "Part of Δ ln rms from zeros"),
    }
    result = xr.Dataset()
    for name, (level, long_name) in levels.items():
        result[name] = (level - _first(level)).assign_attrs(long_name=long_name, units="1")
    parts = result["from_lam"] + result["from_k"] + result["from_zeros"]
    result["residual"] = (result["growth"] - parts).assign_attrs(
        long_name="Part of Δ ln rms that is misfit", units="1"
    )
    return result


def _first(array: xr.DataArray) -> xr.DataArray:
    """Value of each cell at its first fitted step."""
    if "step" not in array.dims:
        return array
    return array.isel(step=array.notnull().argmax("step")).drop_vars("step")


def first_departure(
    fits: xr.Dataset,
    *,
    sigmas: float = 2,
    reference: Literal["own", "gaussian"] = "own",
    stays: bool = True,
) -> xr.DataArray:
    """Find the step at which the shape k of each matrix leaves its anchor.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of several steps.
    sigmas : float
        How many standard errors away counts as departed.
    reference : {"own", "gaussian"}
        The anchor: the first fitted step of the same matrix (step 0 of a whole run), or the
        population value of a Gaussian by the same protocol.
    stays : bool
        Whether k must stay away at all later steps that are fitted. Otherwise the first
        excursion counts, and of twenty steps without any change one is expected at 2 σ.

    Returns
    -------
    xarray.DataArray
        First such step; NaN if k never leaves, or the cell is not fitted. With `stays`, an
        excursion at the very last step counts: nothing after it contradicts.

    Raises
    ------
    TypeError
        If `fits` is no Dataset.
    ValueError
        If an argument is not valid or ``k_se`` is missing.

    Notes
    -----
    Departed is ``|k - anchor| > sigmas · error``, where the error is k_se, for an own anchor
    ``sqrt(k_se² + k_se(first)²)``. Standard errors assume independent weights.

    Examples
    --------
    >>> import weibnb as wb
    >>> draws = np.random.default_rng(0).normal(0, 0.02, (128, 128))
    >>> run = {s: {"model.layers.0.mlp.up_proj.weight": np.sign(draws) * np.abs(draws) ** p}
    ...        for s, p in ((0, 1.0), (10, 1.0), (20, 1.2))}
    >>> first_departure(wb.scan({"run": run})).values.ravel().tolist()
    [20.0]
    """
    if not sigmas >= 0:
        raise ValueError(f"`sigmas` must be at least 0, got {sigmas!r}.")
    if reference not in ("own", "gaussian"):
        raise ValueError(f"`reference` must be 'own' or 'gaussian', got {reference!r}.")
    fits = require(fits, "k_se")
    if "step" not in fits.dims:
        fits = fits.expand_dims("step")
    k, error = fits["k"], fits["k_se"].where(fits["k"].notnull())
    if reference == "own":
        distance, error = k - _first(k), xr.apply_ufunc(np.hypot, error, _first(error))
    else:
        distance = k - gaussian_anchor(fits).k
    departed = abs(distance) > sigmas * error
    if stays:
        back = (~departed & k.notnull()).isel(step=slice(None, None, -1))
        never_back = back.cumsum("step").isel(step=slice(None, None, -1)) == 0
        departed &= never_back
    found = departed.idxmax("step").where(departed.any("step")).astype(float)
    described = {"long_name": f"First step beyond {sigmas:g} standard errors", "units": "steps"}
    return found.rename("first_departure").assign_attrs(described)


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
    TypeError
        If `fits` is no Dataset.
    ValueError
        If a component is not there, or `confidence` is out of range.

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
    fits = require(fits)
    pair = [_level(fits, np.atleast_1d(names).tolist()) for names in (first, second)]
    x, y = (np.ravel(array) for array in xr.broadcast(*pair))
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    r, slope = np.nan, np.nan
    if x.size >= 4 and np.ptp(x) > 0 and np.ptp(y) > 0:
        line = stats.linregress(x, y)
        r, slope = float(line.rvalue), float(line.slope)
    lower, upper = _fisher(r, x.size, confidence)
    return xr.Dataset(
        {"r": r, "r_lower": lower, "r_upper": upper, "slope": slope, "n_pairs": x.size},
        attrs={"first": str(first), "second": str(second), "confidence": confidence},
    )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"`confidence` must lie between 0 and 1, got {confidence!r}.")


def _level(fits: xr.Dataset, components: list[str]) -> xr.DataArray:
    """Mean ln λ of the components over (model, step), each the median over the other dims."""
    logarithm: xr.DataArray = xr.apply_ufunc(np.log, _medians(fits, components))
    return logarithm.mean("component", skipna=False)


def _medians(table: xr.Dataset, components: Sequence[str]) -> xr.DataArray:
    """Median positive λ of the components over all dims but model, component and step."""
    known = np.atleast_1d(table["component"].values).tolist()
    for name in components:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"The component must be one of {', '.join(known)}, got {name!r}.{hint}"
            )
    lam = table["lam"] if "component" in table.dims else table["lam"].expand_dims("component")
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
    """Hold λ of several models against ``sqrt(η/wd)``, through the origin and freely.

    Parameters
    ----------
    lam : array_like or DataArray, shape (models,)
        Weibull scales, in the units of the weights. Models with a NaN are left out.
    learning_rate, weight_decay : array_like or DataArray, shape (models,)
        Peak learning rate η, and weight decay, which must not be 0.
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
        If shapes differ, a hyperparameter is negative or infinite, or a weight decay is 0.

    Notes
    -----
    Both lines are least squares with equal weights. The interval of r is NaN below four models.

    References
    ----------
    T. Ding, arXiv:2605.18898: five Pythia sizes, r = 0.94, λ = 0.087 sqrt(η/wd).

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
            f"`lam`, `learning_rate` and `weight_decay` must be one number a model, got {shapes}."
        )
    kept = np.isfinite(y) & ~np.isnan(eta) & ~np.isnan(decay)
    _at_least_zero("learning_rate", eta[kept])
    if (_at_least_zero("weight_decay", decay[kept]) == 0).any():
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
    n, spread, r = x.size, float(((x - x.mean()) ** 2).sum()) if x.size else 0.0, np.nan
    found: dict[Hashable, float] = {}

    def add(name: str, value: float, variance: float, freedom: int) -> None:
        half = np.nan
        if freedom > 0:
            half = float(stats.t.ppf(0.5 + confidence / 2, freedom) * np.sqrt(variance))
        found.update({name: value, f"{name}_lower": value - half, f"{name}_upper": value + half})

    square = float((x**2).sum())
    origin = float((x * y).sum() / square) if square > 0 else np.nan
    rest = float(((y - origin * x) ** 2).sum())
    add("slope_origin", origin, rest / max(n - 1, 1) / square if square > 0 else np.nan, n - 1)
    slope = intercept = variance = np.nan
    if n >= 2 and spread > 0:
        slope = float(((x - x.mean()) * y).sum() / spread)
        intercept = float(y.mean() - slope * x.mean())
        variance = float(((y - intercept - slope * x) ** 2).sum()) / max(n - 2, 1)
        height = float(((y - y.mean()) ** 2).sum())
        r = slope * np.sqrt(spread / height) if height > 0 else np.nan
    add("slope", slope, variance / spread if spread > 0 else np.nan, n - 2)
    at_zero = 1 / n + x.mean() ** 2 / spread if spread > 0 else np.nan
    add("intercept", intercept, variance * at_zero, n - 2)
    found["r"] = float(np.clip(r, -1, 1))
    found["r_lower"], found["r_upper"] = _fisher(float(r), n, confidence)
    return found


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
        the last that is fitted), and coordinates ``learning_rate`` and ``weight_decay``.
    components : sequence of str
        Averaged; a model that lacks one of them is left out.
    confidence : float
        Of the intervals.

    Returns
    -------
    xarray.Dataset
        As `scaling`.

    Raises
    ------
    ValueError
        If a coordinate or a component is missing, or a weight decay is 0.

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
    lam = _medians(fits, components).mean("component", skipna=False)
    if "step" in lam.dims:
        lam = _first(lam.isel(step=slice(None, None, -1)))
    return scaling(
        lam, fits["learning_rate"].values, fits["weight_decay"].values, confidence=confidence
    )
