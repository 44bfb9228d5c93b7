"""Published entries and packaged fits to compare a scan with, and how near each of them is."""

from __future__ import annotations

import warnings
from collections import defaultdict
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.diagnostics.bands import summarise
from weibnb.diagnostics.verdicts import require_protocol
from weibnb.fits.files import open_fits
from weibnb.fits.schema import DIMS, VARIABLES, prepare, protocol_of
from weibnb.fits.select import last_step
from weibnb.fitting import weibull
from weibnb.messages import unknown_name

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

#: Distance, in spreads between entries, beyond which nothing is close.
CLOSE = 2.0
CITATION = (
    'T. Ding, "A Two-Parameter Weibull Framework for Diagnosing Transformer Weight '
    'Distributions", arXiv:2605.18898, database v9.1 (CC BY 4.0)'
)
# Class of each published component that is not transmission.
_CLASSES = {"qkv_proj": "fused", "q_proj": "selection", "k_proj": "selection", "v_proj": "value"}
# Columns of `nearest_published`.
_RANKED = ["model", "entry", "distance", "standard_error", "shared_components", "note"]
# Columns that stay variables; the others describe the model and become coords.
_MEASURED = ("low_r2_layers", "shallow_median_k_gate", "shallow_min_k", "deep_median_k_gate")
_DESCRIPTIONS = {
    "learning_rate": "Peak learning rate η",
    "tau": "AdamW timescale τ = 1/(η·weight decay), in steps",
    "t_over_tau": "Length of the run in timescales, T/τ",
    "low_r2_layers": "Layers with r2 < 0.95 in q_proj (qkv_proj where fused)",
    "hyperparameter_source": "Whether learning rate, weight decay and steps were published",
}


class _Entries(NamedTuple):
    """Entries of a cohort to be compared with, over the shared components."""

    names: NDArray[np.str_]  # (entries,)
    k: Array  # (entries, components), as the errors
    error: Array
    spread: Array  # (components,)
    selects: NDArray[np.bool_]  # (components,)
    gaussian: float


def reference_cohort() -> xr.Dataset:
    """Load the 12 published entries of 7 families: median k and λ of every matrix.

    Returns
    -------
    xarray.Dataset
        Dims (model, component). ``k`` and ``lam`` are medians over layers of terminal
        checkpoints, without standard errors; ``low_r2_layers`` on model. Coords of model:
        ``family, size, storage, n_heads, n_kv_heads, n_layers, qk_norm, tokens, learning_rate,
        weight_decay, steps, tau, t_over_tau, hyperparameter_source``. It passes for fits:
        ``judge(reference_cohort(), by="component")`` works.

    References
    ----------
    T. Ding, arXiv:2605.18898, database v9.1 (CC BY 4.0). τ = 1/(η·weight decay): Wang and
    Aitchison, arXiv:2405.13698.

    Examples
    --------
    >>> cohort = reference_cohort()
    >>> cohort.k.sel(model="olmo-1-7b", component="q_proj").item()
    0.8123
    >>> cohort.t_over_tau.sel(model="pythia-70m").item()
    1.43
    """
    return _load("reference_cohort")


def qwen_cohort() -> xr.Dataset:
    """Load the 11 published Qwen entries; in regime B shallow feed-forward layers are bimodal.

    Returns
    -------
    xarray.Dataset
        As `reference_cohort`. Coords of model: ``n_layers, tokens, maths_continued_pretraining,
        regime``; variables on model: ``shallow_median_k_gate, shallow_min_k,
        deep_median_k_gate``.

    References
    ----------
    T. Ding, arXiv:2605.18898, database v9.1 (CC BY 4.0).

    Examples
    --------
    >>> qwen_cohort().regime.sel(model="Qwen2.5-14B").item()
    'B'
    """
    return _load("qwen_cohort")


def load_cohort(name: str) -> xr.Dataset:
    """Load the fits of a packaged cohort of small models, with the counts of every matrix.

    Parameters
    ----------
    name : str
        ``"stdlib"``: byte-level decoders that learned the Python standard library's source, at 4
        steps; ``"stdlib-recorded"``: one of these runs at 60 steps, with the forces of its
        optimiser (see `weibnb.forces`) and without counts.

    Returns
    -------
    xarray.Dataset
        As from `weibnb.scan`, in memory. Further coords of model: ``learning_rate,
        weight_decay, steps, batch, context, attention`` ("separate", "gqa" or "fused"), ``mlp``
        ("gated" or "gelu"), ``init`` ("normal" or "uniform") and ``seed``. Variables over
        (model, step): ``train_loss`` (not of the recorded run) and ``eval_loss``, in nats per byte.

    Raises
    ------
    ValueError
        If there is no such cohort; the message names the existing ones.

    Notes
    -----
    The models are small and undertrained beside published ones: see ``README.md`` in the
    package's ``data/cohort`` for how they were made and which findings they show. The weights
    are not shipped; ``scripts/train_cohort.py`` trains them again. `nearest_published` takes the
    cohort as it is; one Dataset of it and of your own comes from ``xarray.merge([cohort, fits],
    join="outer", compat="no_conflicts")``, since ``xarray.concat`` wants all coords on both sides.

    Examples
    --------
    >>> cohort = load_cohort("stdlib")
    >>> fused = cohort.isel(model=cohort.attention.values == "fused")
    >>> bool((fused.eval_loss.diff("step") < 0).all())
    True
    """
    folder = resources.files("weibnb") / "data" / "cohort"
    names = (path.name for path in folder.iterdir())
    known = sorted(file.removesuffix(".nc") for file in names if file.endswith(".nc"))
    if name not in known:
        raise unknown_name("name", name, known)
    with resources.as_file(folder / f"{name}.nc") as path, open_fits(path) as fits:
        return fits.load()


def nearest_published(
    fits: xr.Dataset, cohort: xr.Dataset | None = None, *, step: int | None = None
) -> pd.DataFrame:
    """Rank the entries of a cohort by their distance from each model.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by the protocol of the cohort.
    cohort : xarray.Dataset, optional
        Entries: `reference_cohort` by default, `qwen_cohort`, or fits of your own models.
    step : int, optional
        Step to compare; by default the last one with fits, for each model.

    Returns
    -------
    pandas.DataFrame
        One row for each model and entry, nearest first:

        - ``model``, ``entry``;
        - ``distance``: root mean square over the shared components of the difference in median
          k, in units of the spread between the entries;
        - ``standard_error`` of the distance, NaN where neither side has one;
        - ``shared_components``: how many, and thus what the distance is about;
        - ``note``: ``"tied"`` with the nearest entry, where the two distances differ by less
          than the standard error of their difference; ``"no shared selection component"``; in
          the first row of a model also ``"nothing close"``, where the distance less its standard
          error is above 2 (`CLOSE`), and ``"untrained is closer"``, where the Gaussian anchor is
          nearer than that entry.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a protocol differs, there is no such step, the cohort
        has fewer than two entries, or a model shares no component with it.

    Notes
    -----
    ``d² = mean over c of ((k_c - k_c,entry) / s_c)²`` with s_c the standard deviation of k_c
    across the entries that have the component. λ is left out: it follows the width of the model
    and the optimiser's budget. Components count only where both sides store them, so that
    ``qkv_proj`` meets only ``qkv_proj``; entries that share no query, key or fused matrix say
    nothing of selection and come after those that do. Standard errors follow to first order
    from those of `summarise`; the noise itself makes a distance larger, never smaller.

    References
    ----------
    T. Ding, arXiv:2605.18898 (the entries). The distance is weibnb's own.

    Examples
    --------
    >>> table = nearest_published(reference_cohort())
    >>> table.query("model == 'mistral-7b'").entry.tolist()[:2]
    ['mistral-7b', 'qwen2.5-14b']
    """
    table, lonely = nearest(reference_cohort() if cohort is None else cohort, fits, step=step)
    if lonely:
        raise ValueError(
            f"{next(iter(lonely.values()))}; {', '.join(lonely)} does not. "
            "Leave it out: fits.sel(model=[...])."
        )
    return table


def compare(
    fits: xr.Dataset, cohort: xr.Dataset | None = None, *, step: int | None = None
) -> pd.DataFrame:
    """Rank published models: the former name of `nearest_published`.

    Parameters
    ----------
    fits, cohort, step
        As of `nearest_published`.

    Returns
    -------
    pandas.DataFrame
        The same.

    Raises
    ------
    TypeError, ValueError
        As `nearest_published`; two models are compared by `weibnb.diff`.

    Warns
    -----
    FutureWarning
        The name says something else to most people, and will go.

    Examples
    --------
    >>> compare("base", "tuned")
    Traceback (most recent call last):
    TypeError: `fits` must be an xarray.Dataset of fits, got str. Use wb.diff(before, after) to \
compare two models.
    """
    for name, given in (("fits", fits), ("cohort", cohort)):
        if not isinstance(given, xr.Dataset | None):
            raise TypeError(
                f"`{name}` must be an xarray.Dataset of fits, got {type(given).__name__}. "
                "Use wb.diff(before, after) to compare two models."
            )
    warnings.warn(
        "weibnb.compare is weibnb.nearest_published now; wb.diff(before, after) compares two "
        "models.",
        FutureWarning,
        stacklevel=2,
    )
    return nearest_published(fits, cohort, step=step)


def nearest(
    cohort: xr.Dataset, fits: xr.Dataset, *, step: int | None = None
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Rank the entries as `nearest_published` does; a model that shares none has a reason instead.

    Returns the table of the others, and the reasons by model.
    """
    entries = _medians(cohort)
    own = _medians(fits, step)
    require_protocol(own, "The cohort", like=protocol_of(entries))
    entries = entries.isel(component=(entries["k"].count("model") > 1).values)
    spread = entries["k"].std("model", ddof=1)
    differ = (spread > 0).values
    if not differ.any():
        raise ValueError(
            "`cohort` must hold at least two entries that differ in a component, got "
            f"{', '.join(map(str, entries['model'].values))}. Use wb.diff(before, after) to "
            "compare two models."
        )
    known = ", ".join(map(str, entries["component"].values[differ]))
    both = differ & entries["component"].isin(own["component"]).values
    entries, spread = entries.isel(component=both), spread.isel(component=both)
    own = own.sel(component=entries["component"])
    shared = own["k"].notnull() & entries["k"].notnull().any("model")
    joins = shared.any("component").values
    reason = f"`fits` must share a fitted component with the cohort ({known})"
    against = _against(entries, spread.values)
    columns: defaultdict[str, list[Any]] = defaultdict(list)
    models = own["model"].values.astype(str)
    for model, k, error in zip(
        models[joins], own["k"].values[joins], own["standard_error"].values[joins], strict=True
    ):
        for name, values in _rank(k, error, against).items():
            columns[name] += values
        columns["model"] += [model] * (len(columns["entry"]) - len(columns["model"]))
    return pd.DataFrame(columns, columns=_RANKED), dict.fromkeys(models[~joins].tolist(), reason)


def _medians(fits: xr.Dataset, step: int | None = None) -> xr.Dataset:
    """Median k of every component at one step: the given one, or each model's last with fits."""
    fits = prepare(fits, light=True, dims=DIMS)
    known = fits["step"].values.tolist()
    if step is not None and step not in known:
        raise ValueError(f"`step` must be one of {', '.join(map(str, known))}, got {step!r}.")
    medians = summarise(last_step(fits) if step is None else fits.sel(step=[step]))
    fitted = medians["k"].notnull().any("component").argmax("step")
    return medians.isel(step=fitted).transpose("model", "component")


def _against(entries: xr.Dataset, spread: Array) -> _Entries:
    """Take what `_rank` needs from the entries of a cohort."""
    estimator, trim = protocol_of(entries)
    return _Entries(
        entries["model"].values.astype(str),
        entries["k"].values,
        entries["standard_error"].values,
        spread,
        selects(entries),
        weibull.anchor(estimator=estimator, trim=trim).k,
    )


def _rank(k: Array, error: Array, entries: _Entries) -> dict[str, list[Any]]:
    """Distances of one model from every entry, nearest first, in columns."""
    z = (k - entries.k) / entries.spread
    shared = np.isfinite(z)
    count, z = shared.sum(-1), np.where(shared, z, 0.0)
    distance = np.sqrt((z**2).sum(-1) / np.maximum(count, 1))
    blind = ~np.asarray((shared & entries.selects).any(-1))
    order = np.lexsort((distance, blind))
    order = order[count[order] > 0]
    first = order[0]
    margin, tied = _uncertainty(error, entries, shared, z, first)
    tied &= shared.any(-1) & (blind == blind[first])
    gaussian = (k - entries.gaussian) / entries.spread
    untrained = np.sqrt((gaussian[shared[first]] ** 2).mean())
    notes = []
    for i in order:
        flags = {
            "tied": tied[i] and tied.sum() > 1,
            "nothing close": i == first and distance[i] - np.nan_to_num(margin[i]) > CLOSE,
            "untrained is closer": i == first and untrained < distance[i],
            "no shared selection component": blind[i],
        }
        notes.append("; ".join(note for note, flag in flags.items() if flag))
    return {
        "entry": entries.names[order].tolist(),
        "distance": distance[order].tolist(),
        "standard_error": margin[order].tolist(),
        "shared_components": count[order].tolist(),
        "note": notes,
    }


def _uncertainty(
    own: Array, entries: _Entries, shared: NDArray[np.bool_], z: Array, first: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Return standard errors of the distances, and which do not surely exceed the first's."""

    def root(terms: Array) -> Array:
        return np.asarray(np.sqrt((terms**2).sum(-1)))

    errors = [part / entries.spread for part in (own, entries.error)]
    known = (shared & (np.isfinite(errors[0]) | np.isfinite(errors[1]))).any(-1)
    ours, theirs = (np.where(shared, np.nan_to_num(part), 0.0) for part in errors)
    count = np.maximum(shared.sum(-1), 1)
    distance = root(z) / np.sqrt(count)
    slope = z / np.where(distance > 0, distance * count, 1.0)[:, None]
    error = np.hypot(root(slope * ours), root(slope * theirs))
    error = np.where(distance > 0, error, np.hypot(root(ours), root(theirs)) / count)
    part = root(slope * theirs)
    gap = np.hypot(root((slope - slope[first]) * ours.max(0)), np.hypot(part, part[first]))
    return np.where(known, error, np.nan), distance - distance[first] <= gap


def selects(entries: xr.Dataset) -> NDArray[np.bool_]:
    """Which components are queries, keys or both with values."""
    if "weight_class" not in entries.coords:
        return np.zeros(entries.sizes["component"], bool)
    return np.isin(entries["weight_class"].values.astype(str), ("selection", "fused"))


def _load(name: str) -> xr.Dataset:
    """Read a packaged table: k and λ by (model, component), the rest by model."""
    file = resources.files("weibnb") / "data" / "published" / f"{name}.csv"
    with file.open(encoding="utf-8") as text:
        table = pd.read_csv(text, comment="#")
    components = [column[2:] for column in table.columns if column.startswith("k.")]
    cells = ("model", "component")
    variables: dict[Hashable, Any] = {}
    for short in ("k", "lam"):
        medians = table[[f"{short}.{component}" for component in components]].to_numpy(float)
        long_name, units = VARIABLES[short]
        described = {"long_name": f"{long_name}, median over layers", "units": units}
        variables[short] = (cells, medians, described)
    stored = np.isfinite(variables["k"][1])
    variables["status"] = (cells, np.where(stored, "ok", "absent").astype(object))
    words = weibull.protocol_text((0.1, 0.9), "rank_regression")
    variables["protocol"] = ("model", np.full(len(table), words, object))
    about = [column for column in table.columns.drop("entry") if "." not in column]
    for column in about:
        described = {"long_name": _DESCRIPTIONS[column]} if column in _DESCRIPTIONS else {}
        variables[column] = ("model", np.array(table[column].tolist()), described)
    coords: dict[Hashable, Any] = {
        "model": table["entry"].to_numpy().astype(str),
        "component": components,
        "weight_class": ("component", [_CLASSES.get(name, "transmission") for name in components]),
        "layer": "median",
        "step": "last",
    }
    attributes = {
        "title": "Published medians over layers of Weibull fits of weight matrices",
        "estimator": "rank_regression",
        "trim_lower": 0.1,
        "trim_upper": 0.9,
        "citation": CITATION,
        "version": "9.1",
    }
    result = xr.Dataset(variables, coords, attributes)
    return prepare(result.set_coords([column for column in about if column not in _MEASURED]))
