"""Where fits lie: drift from an anchor, published bands, selection severity, with their errors.

A verdict is a word, and every word is given only where the estimate lies at least `RESOLUTION`
standard errors from the edges that could change it; elsewhere it is ``"not resolved"``. Where
the Dataset holds no standard errors at all, as published medians do not, the verdict is that of
the value alone and the standard error is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import xarray as xr

from weibnb import weibull
from weibnb.dataset import DIMS, protocol_of, validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Words = NDArray[np.str_]

By = Literal["cell", "layer", "component", "model"]

#: Standard errors that an estimate must lie from an edge for its verdict to be given.
RESOLUTION = 1.0
NOT_RESOLVED, NOT_FITTED = "not resolved", "not fitted"
#: Estimator and trim of every published figure.
PUBLISHED_PROTOCOL = ("rank_regression", (0.1, 0.9))

#: Severity of drift by \|Δk\| in percent of the anchor.
DRIFT_CONVENTION = "weibnb drift 1: invariant < 1 %, mild 1-30 %, strong > 30 %"
DRIFT_EDGES = (1.0, float(np.nextafter(30.0, np.inf)))
DRIFT_WORDS = ("invariant", "mild", "strong")

#: Severity of selection by k, set in the gaps of the published ranges: separately stored MHA
#: 0.76-0.99, GQA 1.10-1.16, fused 1.05-1.18; 1.204 is the upper edge of the transmission band.
SELECTION_CONVENTION = "weibnb selection 1: deep < 1.0, mild < 1.15, near-transmission <= 1.204"
SELECTION_EDGES = (1.0, 1.15, float(np.nextafter(1.204, np.inf)))
SELECTION_WORDS = ("deep", "mild", "near-transmission", "above transmission")

#: A verdict is "far above" where k - 5 standard errors exceeds the Gaussian anchor by 1 %.
FAR_ABOVE = (5.0, 1.01)

#: Shapes that `drift` knows by name.
NAMED_SHAPES: dict[str, tuple[weibull.Initialisation, float | None]] = {
    "gaussian": ("gaussian", None),
    "uniform": ("uniform", None),
    "laplace": ("laplace", None),
    "truncated_gaussian(2)": ("truncated_gaussian", 2.0),
    "truncated_gaussian(3)": ("truncated_gaussian", 3.0),
    "student_t(3)": ("student_t", 3.0),
    "student_t(5)": ("student_t", 5.0),
    "student_t(10)": ("student_t", 10.0),
    "student_t(30)": ("student_t", 30.0),
}
#: Tolerances in k, λ/rms and r2 that make one unit of `shape_distance`, before sampling noise.
SHAPE_TOLERANCES = (0.0075, 0.015, 0.0004)
#: Distance beyond which no named shape is close.
SHAPE_CLOSE = 3.0
# Standard deviation of r2 times sqrt(n): 0.06 for Gaussian, 0.15 for uniform weights (simulated).
_R2_NOISE = 0.1


@dataclass(frozen=True, slots=True)
class Band:
    """A published interval of k.

    Attributes
    ----------
    name, version : str
        What it is called, and the release that defines it.
    lower, upper : float
        Edges of k; both belong to the band.
    statistic : str
        What the interval was published for.
    components : tuple of str
        Components it applies to, in any tower.
    source : str
        Where it was published.

    Raises
    ------
    ValueError
        If the edges do not satisfy ``0 < lower < upper`` or no component is named.

    Examples
    --------
    >>> BANDS["transmission-feed-forward"].upper
    1.204
    """

    name: str
    version: str
    lower: float
    upper: float
    statistic: str
    components: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if not 0 < self.lower < self.upper < np.inf:
            raise ValueError(
                f"A band must satisfy 0 < lower < upper, got {(self.lower, self.upper)}."
            )
        if isinstance(self.components, str) or not self.components:
            raise ValueError(
                f"`components` must be a tuple of component names, got {self.components!r}."
            )


def _published(
    name: str, version: str, lower: float, upper: float, components: str, statistic: str
) -> Band:
    return Band(name, version, lower, upper, statistic, tuple(components.split()), _PAPER)


_PAPER = "T. Ding, arXiv:2605.18898, and its database v9.1"
_MEDIANS, _ENTRY = "median over the layers of each matrix", "median of the feed-forward medians"
_RELEASE, _ABSTRACT, _DATABASE = "August 2026 release", "arXiv abstract", "database v9.1"
_FEED_FORWARD = "gate_proj up_proj down_proj"
#: Published bands by name.
BANDS = MappingProxyType(
    {
        band.name: band
        for band in (
            _published("transmission-feed-forward", _RELEASE, 1.186, 1.204, _FEED_FORWARD, _ENTRY),
            _published(
                "transmission-abstract",
                _ABSTRACT,
                1.186,
                1.204,
                f"o_proj {_FEED_FORWARD}",
                _MEDIANS,
            ),
            _published("selection-separate-mha", _DATABASE, 0.76, 0.99, "q_proj k_proj", _MEDIANS),
            _published("selection-gqa", _DATABASE, 1.10, 1.16, "q_proj k_proj", _MEDIANS),
            _published("selection-fused", _DATABASE, 1.05, 1.18, "qkv_proj", _MEDIANS),
        )
    }
)


def drift(
    fits: xr.Dataset,
    *,
    anchor: str | weibull.Anchor = "gaussian",
    parameter: float | None = None,
) -> xr.Dataset:
    """Tell how far k has moved from where an untrained matrix stands.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`, by any protocol: the anchor is computed for the same one.
    anchor : str or Anchor
        A distribution that `weibnb.anchor` knows (``"gaussian"``, ``"uniform"``,
        ``"truncated_gaussian"``, ...), an `Anchor` of the same protocol, or ``"step0"``: the
        same cell at step 0.
    parameter : float, optional
        As in `weibnb.anchor`: where the Gaussian is cut (in σ), or the degrees of freedom.

    Returns
    -------
    xarray.Dataset
        On the dims of k:

        - ``delta_k``, ``delta_k_percent``: distance from the anchor, in k and in % of it;
        - ``z``: the distance in its standard errors (NaN at step 0 itself);
        - ``severity``: ``"invariant"`` below 1 %, ``"mild"`` from 1 % to 30 %, ``"strong"``
          above; ``"not resolved"`` where ``|Δk %|`` lies less than one standard error from 1 %
          or from 30 %; ``"no anchor"`` where step 0 has no fit; the cell's status, or
          ``"not fitted"``, where k is NaN;
        - ``lam_over_rms``: λ over the root mean square of the non-zero weights,
          ``rms / sqrt(1 - zero_fraction)``;
        - ``nearest_shape``: the closest of `NAMED_SHAPES`; ``"none"`` beyond `SHAPE_CLOSE`,
          ``"unknown"`` where λ/rms or r2 is not known;
        - ``shape_distance``: how close, in the units below;
        - ``shape_resolved``: whether the second closest shape is at least one standard error
          farther, measured along the line between both in (k, λ/rms).

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, the anchor is unknown or of another protocol, or
        there is no step 0 or no other step.

    Notes
    -----
    ``shape_distance`` is Euclidean in (k, λ/rms, r2), each divided by its tolerance (0.0075,
    0.015 and 0.0004) and its sampling noise added in quadrature (``k_se``, ``lam_se / rms`` and
    ``0.1 / sqrt(n)``). On large matrices 1 is thus a difference of 0.0075 in k. The standard error
    against ``"step0"`` takes both fits as independent; they are not soon after initialisation,
    so that ``z`` is too small there.

    References
    ----------
    T. Ding, arXiv:2605.18898 (k0 = 1.2054). The edges: `DRIFT_CONVENTION`.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> weights = {"model.layers.0.mlp.up_proj.weight": rng.normal(0, 0.02, (512, 512))}
    >>> moved = drift(wb.scan({"new": weights}))
    >>> moved.severity.item(), moved.nearest_shape.item(), bool(abs(moved.z.item()) < 4)
    ('invariant', 'gaussian', True)
    """
    fits = _ready(fits)
    k, error = fits["k"], _errors(fits)
    start, start_error, label = _start(fits, error, anchor, parameter)
    delta = k - start
    total = np.hypot(error, start_error)
    percent = 100 * delta / start
    percent_error = 100 / start * np.hypot(error, k / start * start_error)
    if label == "step0":
        total = total.where(total["step"] != 0, 0.0)
        percent_error = percent_error.where(percent_error["step"] != 0, 0.0)
    words = _interval_words(
        abs(percent).values, _margin(fits, percent_error).values, DRIFT_EDGES, DRIFT_WORDS
    )
    words = np.where(np.isnan(delta.values), "no anchor", words)
    result = xr.Dataset(
        {
            "delta_k": delta,
            "delta_k_percent": percent.assign_attrs(units="%"),
            "z": delta / total,
            "severity": (k.dims, _unfitted(words, k, fits["status"])),
            **_shapes(fits, error),
        },
        attrs=fits.attrs | {"anchor": label, "convention": DRIFT_CONVENTION},
    )
    result["delta_k"].attrs = {"long_name": "Distance of k from the anchor", "units": "1"}
    result["delta_k_percent"].attrs["long_name"] = "Distance of k from the anchor"
    result["z"].attrs = {"long_name": "Distance of k in standard errors", "units": "1"}
    return result


def summarise(
    fits: xr.Dataset,
    *,
    by: By = "component",
    components: Iterable[str] | None = None,
    layers: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Reduce k to one value a cell, layer, component or model, with a standard error.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.
    by : {"cell", "layer", "component", "model"}
        Every cell; the median over the components of each layer; the median over the layers of
        each component; or the median over components of these.
    components : iterable of str, optional
        Components to keep, without their tower; all by default.
    layers : tuple of int, optional
        First and last layer, both kept.

    Returns
    -------
    xarray.Dataset
        ``k`` and ``standard_error``, both dimensionless. What has no fit is left out of a median.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, an argument is not valid, nothing is left, or
        components of several towers would be reduced to one value.

    Notes
    -----
    The standard error of a median over components (or experts) is that of the one or two cells
    in its middle: the matrices are these and no others. A median over layers takes the larger of
    that and half the distance between the order statistics at 1/2 ± 1/(2 sqrt(m)) of m layers
    (Hazen positions), a distribution-free standard error of a median: it tells how much another
    draw of layers would change it. Cost: a sort.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> name = "model.layers.{}.mlp.up_proj.weight"
    >>> fits = wb.scan({"new": {name.format(i): rng.normal(size=(256, 256)) for i in range(4)}})
    >>> middle = summarise(fits, by="model")
    >>> dict(middle.k.sizes), bool(abs(middle.k.item() - 1.2054) < 4 * middle.standard_error.item())
    ({'model': 1, 'step': 1}, True)
    """
    if by not in get_args(By):
        raise unknown_name("by", by, get_args(By))
    fits = _restrict(_tabular(fits), components, layers)
    k, error = fits["k"], _errors(fits)
    if by in ("layer", "model") and "tower" in fits.coords:
        towers = sorted(set(map(str, np.atleast_1d(fits["tower"].values))))
        if len(towers) > 1:
            raise ValueError(
                f"`fits` must hold one tower for by={by!r}, got {', '.join(map(repr, towers))}. "
                f"Select one: fits.sel(component=fits.tower == {towers[0]!r})."
            )
    if by != "cell":
        k, error = _median(k, error, "expert")
    if by in ("component", "model"):
        k, error = _median_over_layers(k, error)
    if by in ("layer", "model"):
        k, error = _median(k, error, "component")
    result = xr.Dataset({"k": k, "standard_error": error}, attrs=fits.attrs | {"by": by})
    result["k"].attrs = {"long_name": "Weibull shape k", "units": "1"}
    result["standard_error"].attrs = {"long_name": "Standard error of k", "units": "1"}
    return result


def judge(
    fits: xr.Dataset,
    band: str | Band = "transmission-feed-forward",
    *,
    by: By = "cell",
    layers: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Tell whether k lies in a band.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by rank regression at trim 10-90 %, the protocol of the bands.
    band : str or Band
        A name of `BANDS`, or a band of your own.
    by : {"cell", "layer", "component", "model"}
        What is judged, as in `summarise`. The feed-forward band was published for ``"model"``,
        the others for ``"component"``.
    layers : tuple of int, optional
        First and last layer to judge.

    Returns
    -------
    xarray.Dataset
        ``k`` and ``standard_error`` as in `summarise`; ``distance``, how far k lies outside the
        band (negative below it, 0 inside); and ``verdict``:

        - ``"in"``, ``"below"``, ``"above"``: at least one standard error from both edges;
        - ``"far above"``: k less 5 standard errors is above 1.01 times the Gaussian anchor
          (1.2175): tails lighter than any Gaussian's, as of a uniform initialisation or of
          clipped weights. A Gaussian, 1.2054, is ``"above"``;
        - ``"not resolved"``: less than one standard error from an edge;
        - ``"not fitted"``: k is NaN.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, no component of the band is there, or the protocol is not
        the bands'.

    References
    ----------
    T. Ding, arXiv:2605.18898: transmission band [1.186, 1.204].

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> judge(reference_cohort(), by="model").verdict.sel(model="llama-3-8b").item()
    'in'
    """
    chosen = _find_band(band)
    summary = summarise(fits, by=by, components=chosen.components, layers=layers)
    require_protocol(summary, f"Band {chosen.name!r}")
    k, error = summary["k"].values, _margin(fits, summary["standard_error"]).values
    edges = (chosen.lower, float(np.nextafter(chosen.upper, np.inf)))
    words = _interval_words(k, error, edges, ("below", "in", "above"))
    errors, factor = FAR_ABOVE
    far = (words == "above") & (k - errors * error > factor * weibull.anchor().k)
    words = np.where(far, "far above", words)
    outside = k - np.clip(k, chosen.lower, chosen.upper)
    dims = summary["k"].dims
    result = summary.assign(
        distance=(dims, outside, {"long_name": "Distance of k from the band", "units": "1"}),
        verdict=(dims, np.where(np.isnan(k), NOT_FITTED, words)),
    )
    result.attrs |= {
        "band": chosen.name,
        "band_version": chosen.version,
        "band_lower": chosen.lower,
        "band_upper": chosen.upper,
        "band_statistic": chosen.statistic,
        "band_source": chosen.source,
    }
    return result


def leaving(
    fits: xr.Dataset,
    band: str | Band = "transmission-feed-forward",
    *,
    by: By = "cell",
    layers: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """List what lies outside a band for certain, the farthest first.

    Parameters
    ----------
    fits, band, by, layers
        As in `judge`.

    Returns
    -------
    pandas.DataFrame
        One row for each verdict ``"below"``, ``"above"`` or ``"far above"``: the coordinates of
        the dims, then ``k``, ``standard_error``, ``distance`` (in k) and ``verdict``. What is not
        resolved or not fitted is not listed.

    Raises
    ------
    TypeError, ValueError
        As `judge`.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> table = leaving(reference_cohort(), "transmission-abstract", by="component")
    >>> table.query("component == 'o_proj'").model.tolist()[:2]
    ['olmo-1-7b', 'qwen2.5-7b']
    """
    judged = judge(fits, band, by=by, layers=layers)
    verdict = judged["verdict"]
    columns = [*map(str, verdict.dims), "k", "standard_error", "distance", "verdict"]
    table = judged.reset_coords(drop=True).to_dataframe(dim_order=list(verdict.dims)).reset_index()
    table = table.loc[table["verdict"].isin(["below", "above", "far above"]), columns]
    order = table["distance"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def coefficient_of_variation(
    fits: xr.Dataset,
    band: str | Band = "transmission-feed-forward",
    *,
    layers: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Spread of a band's statistic across models, relative to its mean.

    Parameters
    ----------
    fits, band, layers
        As in `judge`; at least two models.

    Returns
    -------
    xarray.Dataset
        ``coefficient_of_variation`` (%), the sample standard deviation over the mean of the
        models' k as ``judge(..., by="model")`` has it; its ``standard_error`` (%); ``models``.

    Raises
    ------
    TypeError, ValueError
        As `judge`, and where there are fewer than two models.

    Notes
    -----
    The standard error is that of normally distributed models, ``CV / sqrt(2 (models - 1))``.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> coefficient_of_variation(reference_cohort()).coefficient_of_variation.round(2).item()
    0.48
    """
    k = judge(fits, band, by="model", layers=layers)["k"]
    if k.sizes["model"] < 2:
        raise ValueError(
            "`fits` must hold at least two models for a spread across models, got "
            f"{k.sizes['model']}. Scan several, or concatenate with weibnb.reference_cohort()."
        )
    models = k.count("model")
    enough = models > 1
    value = 100 * (k.where(enough).std("model", ddof=1) / k.mean("model"))
    return xr.Dataset(
        {
            "coefficient_of_variation": value.assign_attrs(units="%"),
            "standard_error": (value / np.sqrt(2 * (models.where(enough) - 1))).assign_attrs(
                units="%"
            ),
            "models": models,
        }
    )


def storage_type(fits: xr.Dataset) -> xr.DataArray:
    """Tell how each model stores queries, keys and values.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Returns
    -------
    xarray.DataArray
        On dim model: ``"MLA"`` (multi-head latent attention: low-rank factors), ``"fused"`` (one
        matrix), ``"separate MHA"``, ``"GQA n:1"``, ``"MQA"``, ``"mixed"`` where layers differ, or
        ``"unknown"``.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits.

    Notes
    -----
    Query heads per key-value head are those of config.json where it tells of more than one, else
    the rows of ``q_proj`` over those of ``k_proj``. Where there is a tower without a prefix it
    decides. A single key-value head is known from config.json only: from shapes it is GQA.

    Examples
    --------
    >>> import tempfile, weibnb as wb
    >>> from weibnb.testing import write_checkpoint
    >>> with tempfile.TemporaryDirectory() as place:
    ...     file = write_checkpoint(f"{place}/tiny", hidden=512, kv_share=4)
    ...     storage_type(wb.scan(file)).item()
    'GQA 4:1'
    """
    fits = _tabular(fits)
    others = [dim for dim in fits["status"].dims if dim not in ("model", "component")]
    present = (fits["status"] != "absent").any(others).transpose("model", "component").values
    names = [str(name) for name in fits["component"].values]
    plain = np.array(["." not in name for name in names])
    words = []
    for index, row in enumerate(present):
        chosen = row & plain if (row & plain).any() else row
        parts = {name.rpartition(".")[2] for name in np.array(names)[chosen]}
        at = [name for name, here in zip(names, chosen, strict=True) if here]
        words.append(_storage_word(fits.isel(model=index), parts, at))
    return xr.DataArray(
        words,
        {"model": fits["model"]},
        "model",
        name="storage_type",
        attrs={"long_name": "Storage of queries, keys and values"},
    )


def selection(fits: xr.Dataset) -> xr.Dataset:
    """Tell how far queries and keys have moved away from transmission.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by rank regression at trim 10-90 %.

    Returns
    -------
    xarray.Dataset
        For every cell of class selection or fused: ``k``, ``standard_error`` and ``severity``:
        ``"deep"`` (k < 1.0), ``"mild"`` (1.0 to 1.15), ``"near-transmission"`` (1.15 to 1.204),
        ``"above transmission"`` (a Gaussian, 1.2054, is there); ``"not resolved"`` less than one
        standard error from one of these edges; the cell's status where k is NaN. `storage_type`
        is a coord: severities of different storage are not comparable.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits by this protocol, or has no such component.

    References
    ----------
    T. Ding, arXiv:2605.18898: separately stored MHA 0.76-0.99, GQA 1.10-1.16, fused 1.05-1.18.
    The edges between them: `SELECTION_CONVENTION`.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> selection(reference_cohort()).severity.sel(model="olmo-1-7b", component="q_proj").item()
    'deep'
    """
    fits = _tabular(fits)
    require_protocol(fits, "Selection severity")
    if "weight_class" not in fits.coords:
        raise ValueError("`fits` must have the coordinate weight_class, as weibnb.scan gives it.")
    kept = np.isin(fits["weight_class"].values.astype(str), ("selection", "fused"))
    if not kept.any():
        raise ValueError(
            "`fits` must hold queries or keys (q_proj, k_proj, qkv_proj, ...), got "
            f"{', '.join(map(str, fits['component'].values))}."
        )
    fits = fits.assign_coords(storage_type=storage_type(fits)).isel(component=kept)
    k, error = fits["k"], _errors(fits)
    words = _interval_words(k.values, _margin(fits, error).values, SELECTION_EDGES, SELECTION_WORDS)
    return xr.Dataset(
        {
            "k": k,
            "standard_error": error,
            "severity": (k.dims, _unfitted(words, k, fits["status"])),
        },
        attrs=fits.attrs | {"convention": SELECTION_CONVENTION},
    )


def unknown_name(argument: str, value: object, valid: Iterable[str]) -> ValueError:
    """Error for a name that is none of the valid ones, with the closest of them.

    Parameters
    ----------
    argument : str
        The parameter.
    value : object
        What was given.
    valid : iterable of str
        What may be given.

    Returns
    -------
    ValueError
        To be raised.

    Examples
    --------
    >>> unknown_name("by", "modell", ("layer", "model"))
    ValueError("`by` must be one of 'layer', 'model', got 'modell'. Did you mean 'model'?")
    """
    names = {name.lower(): name for name in valid}
    close = get_close_matches(str(value).lower(), names, n=1, cutoff=0.4)
    hint = f" Did you mean {names[close[0]]!r}?" if close else ""
    return ValueError(
        f"`{argument}` must be one of {', '.join(map(repr, names.values()))}, got {value!r}.{hint}"
    )


def require_protocol(
    fits: xr.Dataset, what: str, *, like: tuple[str, tuple[float, float]] = PUBLISHED_PROTOCOL
) -> None:
    """Raise unless fits were made by the protocol that a figure belongs to.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits, or anything with their attrs.
    what : str
        What needs the protocol, for the message.
    like : tuple
        Estimator and trim.

    Raises
    ------
    ValueError
        If estimator or trim differ.
    """
    own = protocol_of(fits)
    if own[0] != like[0] or not np.allclose(own[1], like[1], rtol=0, atol=1e-9):
        raise ValueError(
            f"{what} must be compared with fits by {like[0]} at trim {like[1]}, got {own[0]} at "
            f"trim {own[1]}. Fit again: weibnb.refit(fits, trim={like[1]}, estimator={like[0]!r})."
        )


def _ready(fits: xr.Dataset) -> xr.Dataset:
    """Check fits and leave their counts behind."""
    if isinstance(fits, xr.Dataset):
        fits = fits.drop_dims(("bin", "quantile"), errors="ignore")
    return validate(fits)


def _tabular(fits: xr.Dataset) -> xr.Dataset:
    """Check fits and give `model` and `component` a dim where one of them was selected."""
    fits = _ready(fits)
    scalar = [name for name in ("model", "component") if name not in fits["k"].dims]
    if not scalar:
        return fits
    return fits.expand_dims(scalar).transpose(*DIMS, ..., missing_dims="ignore")


def _errors(fits: xr.Dataset) -> xr.DataArray:
    return fits["k_se"] if "k_se" in fits else xr.full_like(fits["k"], np.nan)


def _margin(fits: xr.Dataset, error: xr.DataArray) -> xr.DataArray:
    """Error that a verdict must respect: none where the fits bring none with them."""
    return error if "k_se" in fits else error.fillna(0.0)


def _interval_words(
    value: Array, error: Array, edges: Sequence[float], words: Sequence[str]
) -> Words:
    """Word of the interval a value lies in; an unknown error, as a large one, resolves nothing."""
    bounds = np.asarray(edges)
    found = np.asarray(words)[np.searchsorted(bounds, value, side="right")]
    far = np.abs(np.asarray(value)[..., None] - bounds).min(-1) >= RESOLUTION * error
    return np.where(far, found, NOT_RESOLVED)


def _unfitted(words: Words, k: xr.DataArray, status: xr.DataArray) -> Words:
    """Put the status in place of the word where there is no estimate."""
    reason = status.broadcast_like(k).transpose(*k.dims).values.astype(str)
    reason = np.where(np.isin(reason, ("", "ok")), NOT_FITTED, reason)
    return np.where(np.isnan(k.values), reason, words)


def _start(
    fits: xr.Dataset, error: xr.DataArray, anchor: str | weibull.Anchor, parameter: float | None
) -> tuple[Any, Any, str]:
    """Return k of the anchor, its standard error and its name."""
    estimator, trim = protocol_of(fits)
    if parameter is not None and (anchor == "step0" or isinstance(anchor, weibull.Anchor)):
        raise ValueError(f"`parameter` must be omitted for this anchor, got {parameter!r}.")
    if isinstance(anchor, weibull.Anchor):
        require_protocol(fits, "`anchor`", like=(anchor.estimator, anchor.trim))
        return anchor.k, 0.0, anchor.initialisation
    if anchor != "step0":
        valid = (*get_args(weibull.Initialisation), "step0")
        if anchor not in valid:
            raise unknown_name("anchor", anchor, valid)
        name = cast("weibull.Initialisation", anchor)
        found = weibull.anchor(name, trim=trim, estimator=estimator, parameter=parameter)
        return found.k, 0.0, anchor if parameter is None else f"{anchor}({parameter:g})"
    steps = np.atleast_1d(fits["step"].values).tolist()
    if "step" not in fits["k"].dims or len(steps) < 2 or 0 not in steps:
        raise ValueError(
            f"`fits` must hold step 0 and another one for anchor='step0', got {steps}. "
            "Scan the run with its initial checkpoint, or use anchor='gaussian'."
        )
    return fits["k"].sel(step=0, drop=True), error.sel(step=0, drop=True), "step0"


def _shapes(fits: xr.Dataset, error: xr.DataArray) -> dict[str, Any]:
    """Compare every cell with the named shapes, in (k, λ/rms, r2)."""
    k, nan = fits["k"], xr.full_like(fits["k"], np.nan)
    rms = fits.get("rms", nan) / np.sqrt(1 - fits.get("zero_fraction", xr.zeros_like(nan)))
    ratio = (fits["lam"] / rms).transpose(*k.dims)
    n = fits.get("n", nan).transpose(*k.dims)
    point = np.stack([k.values, ratio.values, fits.get("r2", nan).values], -1)
    noise = np.stack(
        [
            error.values,
            (fits.get("lam_se", nan) / rms).transpose(*k.dims).values,
            (_R2_NOISE * n.where(n > 0) ** -0.5).values,
        ],
        -1,
    )
    estimator, trim = protocol_of(fits)
    known = [
        weibull.anchor(name, trim=trim, estimator=estimator, parameter=value)
        for name, value in NAMED_SHAPES.values()
    ]
    shapes = np.array([(shape.k, shape.lam_over_rms, shape.r2) for shape in known])
    unit = np.hypot(SHAPE_TOLERANCES, np.nan_to_num(noise))
    away = (point[..., None, :] - shapes) / unit[..., None, :]
    distance = np.sqrt((away**2).sum(-1))
    order = np.argsort(distance, -1)
    nearest = np.take_along_axis(distance, order[..., :1], -1)[..., 0]
    words = np.array(list(NAMED_SHAPES))[order[..., 0]]
    words = np.where(nearest > SHAPE_CLOSE, "none", words)
    words = np.where(np.isnan(nearest), "unknown", words)
    first, second = shapes[order[..., 0]], shapes[order[..., 1]]
    resolved = _lead(point, noise, first, second) >= RESOLUTION
    return {
        "lam_over_rms": ratio.assign_attrs(long_name="λ over rms of non-zero weights", units="1"),
        "nearest_shape": (k.dims, _unfitted(words, k, fits["status"])),
        "shape_distance": (k.dims, nearest, {"long_name": "Distance to the nearest shape"}),
        "shape_resolved": (k.dims, resolved & (nearest <= SHAPE_CLOSE)),
    }


def _lead(point: Array, noise: Array, first: Array, second: Array) -> Array:
    """Distance from the bisector of two shapes in (k, λ/rms), in standard errors of the point."""
    with np.errstate(divide="ignore", invalid="ignore"):
        x, a, b = ((array / noise)[..., :2] for array in (point, first, second))
        gap = np.sqrt(((a - b) ** 2).sum(-1))
        lead = (((x - b) ** 2).sum(-1) - ((x - a) ** 2).sum(-1)) / (2 * gap)
    return np.asarray(lead)


def _restrict(
    fits: xr.Dataset, components: Iterable[str] | None, layers: tuple[int, int] | None
) -> xr.Dataset:
    """Keep some components, whatever their tower, and a range of layers."""
    if components is not None:
        names, wanted = [str(name) for name in fits["component"].values], tuple(components)
        kept = [name.rpartition(".")[2] in wanted for name in names]
        if not any(kept):
            raise ValueError(
                f"`fits` must hold one of {', '.join(map(repr, wanted))}, got {', '.join(names)}."
            )
        fits = fits.isel(component=np.array(kept))
    if layers is None:
        return fits
    try:
        first, last = layers
        valid = bool(first <= last)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f"`layers` must satisfy first <= last, got {layers!r}.")
    if "layer" not in fits["k"].dims:
        raise ValueError("`layers` must be omitted where `fits` has no dim layer.")
    known = fits["layer"].values
    kept_layers = (known >= first) & (known <= last)
    if not kept_layers.any():
        raise ValueError(
            f"`layers` must lie within {int(known.min())} to {int(known.max())}, got {layers!r}."
        )
    return fits.isel(layer=kept_layers)


def _find_band(band: str | Band) -> Band:
    if isinstance(band, Band):
        return band
    if band not in BANDS:
        raise unknown_name("band", band, BANDS)
    return BANDS[band]


def _median(k: xr.DataArray, error: xr.DataArray, dim: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Median over a dim, with the standard error of the one or two cells in the middle."""
    if dim not in k.dims:
        return k, error

    def middle(values: Array, errors: Array) -> tuple[Array, Array]:
        order = np.argsort(values, -1)
        count = np.isfinite(values).sum(-1, keepdims=True)
        pair = np.concatenate([np.maximum(count - 1, 0) // 2, count // 2], -1)
        pair = np.minimum(pair, values.shape[-1] - 1)
        chosen = np.take_along_axis(order, pair, -1)
        two = np.take_along_axis(errors, chosen, -1)
        mean = np.take_along_axis(values, chosen, -1).mean(-1)
        single = pair[..., 0] == pair[..., 1]
        return mean, np.where(single, two[..., 0], np.hypot(two[..., 0], two[..., 1]) / 2)

    return _reduce(middle, k, error, dim)


def _median_over_layers(k: xr.DataArray, error: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Median over layers, with the larger of the middle's standard error and the layers' spread."""
    if "layer" not in k.dims:
        return k, error
    median, sampling = _median(k, error, "layer")

    def spread(values: Array, errors: Array) -> tuple[Array, Array]:
        ordered = np.sort(values, -1)
        count = np.isfinite(values).sum(-1)
        reach = np.sqrt(count) / 2
        ends = [_between(ordered, (count - 1) / 2 + side * reach, count) for side in (1, -1)]
        return (ends[0] - ends[1]) / 2, errors[..., 0]

    half, _ = _reduce(spread, k, error, "layer")
    return median, xr.DataArray(np.fmax(half, sampling))


def _between(ordered: Array, position: Array, count: NDArray[np.int_]) -> Array:
    """Value at a fractional rank of sorted rows of which the first `count` are numbers."""
    position = np.clip(position, 0, np.maximum(count - 1, 0))
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    values = [np.take_along_axis(ordered, rank[..., None], -1)[..., 0] for rank in (low, high)]
    between = values[0] + (position - low) * (values[1] - values[0])
    return np.where(count > 1, between, np.nan)


def _reduce(
    function: Any, k: xr.DataArray, error: xr.DataArray, dim: str
) -> tuple[xr.DataArray, xr.DataArray]:
    first, second = xr.apply_ufunc(
        function, k, error, input_core_dims=[[dim], [dim]], output_core_dims=[[], []]
    )
    return first, second


def _storage_word(model: xr.Dataset, parts: set[str], components: list[str]) -> str:
    """Storage of one model, from the words of its components, its heads and its shapes."""
    if parts & {"kv_a_proj", "kv_b_proj", "q_a_proj", "q_b_proj"}:
        return "MLA"
    if "qkv_proj" in parts:
        return "fused"
    heads, shared = (float(model.get(name, np.nan)) for name in ("n_heads", "n_kv_heads"))
    if heads > shared > 0:
        return "MQA" if shared == 1 else _share_word(heads / shared)
    stems = [name.removesuffix("q_proj") for name in components if name.endswith("q_proj")]
    pairs = [(f"{stem}q_proj", f"{stem}k_proj") for stem in stems if f"{stem}k_proj" in components]
    if not pairs or "rows" not in model:
        return (
            "separate MHA" if heads == shared > 0 and {"q_proj", "k_proj"} <= parts else "unknown"
        )
    rows = model["rows"]
    wide, narrow = (rows.sel(component=list(names)).values for names in zip(*pairs, strict=True))
    both = (wide > 0) & (narrow > 0)
    shares = np.unique(wide[both] / narrow[both])
    if shares.size > 1:
        return "mixed"
    return _share_word(float(shares[0])) if shares.size else "unknown"


def _share_word(share: float) -> str:
    if share == 1:
        return "separate MHA"
    return f"GQA {share:.0f}:1" if share > 1 and share.is_integer() else "unknown"
