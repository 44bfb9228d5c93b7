"""Published bands of k: what lies in them, what leaves them, and how far models spread.

Verdicts are given and withheld as `weibnb.diagnostics.verdicts` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import xarray as xr

from weibnb.diagnostics.verdicts import (
    NOT_FITTED,
    assemble,
    errors_of,
    interval_words,
    number_alone,
    require_protocol,
)
from weibnb.fits.schema import prepare
from weibnb.fitting import weibull
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

By = Literal["cell", "layer", "component", "model"]

#: A verdict is "far above" where k - 5 standard errors exceeds the Gaussian anchor by 1 %.
FAR_ABOVE = (5.0, 1.01)


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


_PAPER = "T. Ding, arXiv:2605.18898, and its database v9.1"
_RELEASE, _ABSTRACT, _DATABASE = "August 2026 release", "arXiv abstract", "database v9.1"
_MEDIANS, _ENTRY = "median over the layers of each matrix", "median of the feed-forward medians"
_FEED_FORWARD, _QK = ("gate_proj", "up_proj", "down_proj"), ("q_proj", "k_proj")
_ALL = ("o_proj", *_FEED_FORWARD)
_PUBLISHED = (
    Band("transmission-feed-forward", _RELEASE, 1.186, 1.204, _ENTRY, _FEED_FORWARD, _PAPER),
    Band("transmission-abstract", _ABSTRACT, 1.186, 1.204, _MEDIANS, _ALL, _PAPER),
    Band("selection-separate-mha", _DATABASE, 0.76, 0.99, _MEDIANS, _QK, _PAPER),
    Band("selection-gqa", _DATABASE, 1.10, 1.16, _MEDIANS, _QK, _PAPER),
    Band("selection-fused", _DATABASE, 1.05, 1.18, _MEDIANS, ("qkv_proj",), _PAPER),
)
#: Published bands by name.
BANDS = MappingProxyType({band.name: band for band in _PUBLISHED})
# Bands of queries and keys by the first word of their storage.
_OF_STORAGE = {
    "MHA": "selection-separate-mha", "GQA": "selection-gqa", "fused": "selection-fused"
}  # fmt: skip


def summarise(
    fits: xr.Dataset,
    *,
    by: By = "component",
    components: Iterable[str] | None = None,
    layers: tuple[int, int] | None = None,
) -> xr.Dataset:
    """Reduce k to one value for each cell, layer, component or model, with its standard error.

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
    in its middle: these matrices are all there are. A median over layers takes the larger of that
    and half the distance between the order statistics at 1/2 ± 1/(2 sqrt(m)) of m layers (Hazen
    positions), a distribution-free standard error: how much other layers of the same kind would
    change the median. Cost: a sort.

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
    check_choice("by", by, get_args(By))
    fits = _restrict(prepare(fits, light=True, dims=("model", "component")), components, layers)
    k, error = fits["k"], errors_of(fits)
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
        k, error = _median(k, error, "layer", drawn=True)
    if by in ("layer", "model"):
        k, error = _median(k, error, "component")
    columns = {
        "k": (k, "Weibull shape k", "1"),
        "standard_error": (error, "Standard error of k", "1"),
    }
    return assemble(columns, fits.attrs | {"by": by})


def judge(
    fits: xr.Dataset | None = None,
    band: str | Band | None = None,
    *,
    by: By = "cell",
    layers: tuple[int, int] | None = None,
    k: float | None = None,
    k_se: float | None = None,
    storage: str | None = None,
) -> xr.Dataset:
    """Tell whether k lies in a band.

    Parameters
    ----------
    fits : xarray.Dataset, optional
        Fits by rank regression at trim 10-90 %, the protocol of the bands.
    band : str or Band, optional
        A name of `BANDS`, by default ``"transmission-feed-forward"``, or a band of your own.
    by : {"cell", "layer", "component", "model"}
        What is judged, as in `summarise`. The feed-forward band was published for ``"model"``,
        the others for ``"component"``.
    layers : tuple of int, optional
        First and last layer to judge.
    k, k_se : float, optional
        A number in place of fits, by that protocol, and its standard error; without one the value
        alone decides.
    storage : str, optional
        In place of a band, that of queries and keys stored so: a word of
        `weibnb.diagnostics.attention.storage_type`, or ``"MHA"`` or ``"GQA"`` in short.

    Returns
    -------
    xarray.Dataset
        Of a number without dims: ``judge(k=1.14, storage="GQA").verdict.item()``. ``k`` and
        ``standard_error`` as in `summarise`; ``distance``, how far k lies outside the band
        (negative below it, 0 inside); and ``verdict``:

        - ``"in"``, ``"below"``, ``"above"``: so far from both edges that 5 % at most of all words
          given are expected to be wrong; for a single one, 1.645 standard errors;
        - ``"far above"``: k less 5 standard errors is above 1.01 times the Gaussian anchor
          (1.2175): tails lighter than any Gaussian's, as of a uniform initialisation or of
          clipped weights. A Gaussian, 1.2054, is ``"above"``;
        - ``"not resolved"``: too near an edge for that;
        - ``"not fitted"``: k is NaN.

    Raises
    ------
    TypeError, ValueError
        If an argument is not valid, there are neither fits nor k or both, no component of the band
        is there, the protocol is not the bands', or no band was published for the storage.

    References
    ----------
    T. Ding, arXiv:2605.18898: transmission band [1.186, 1.204].

    Examples
    --------
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> judge(reference_cohort(), by="model").verdict.sel(model="llama-3-8b").item()
    'in'
    >>> judge(k=1.18, storage="GQA").verdict.item(), judge(k=0.9, storage="MHA").verdict.item()
    ('above', 'in')
    """
    band = _chosen_band(band, storage)
    if fits is None or k is not None or k_se is not None:
        from weibnb.fits.imported import fits_of_numbers

        number = number_alone(fits, k=k, k_se=k_se)
        alone = fits_of_numbers(k=number, k_se=k_se, component=band.components[0])
        return judge(alone, band).squeeze(drop=True)
    result = summarise(fits, by=by, components=band.components, layers=layers)
    require_protocol(result, f"Band {band.name!r}")
    found, error = result["k"], result["standard_error"]
    edges = (band.lower, float(np.nextafter(band.upper, np.inf)))
    words = interval_words(fits, found, error, edges, ("below", "in", "above"))
    errors, factor = FAR_ABOVE
    far = found.values - errors * np.nan_to_num(error.values) > factor * weibull.anchor().k
    verdict = np.where((words.values == "above") & far, "far above", words.values)
    outside = found.values - np.clip(found.values, band.lower, band.upper)
    result = result.assign(
        distance=(found.dims, outside, {"long_name": "Distance of k from the band", "units": "1"}),
        verdict=(found.dims, np.where(np.isnan(found.values), NOT_FITTED, verdict)),
    )
    about = ("version", "lower", "upper", "statistic", "source")
    return result.assign_attrs(
        {"band": band.name} | {f"band_{name}": getattr(band, name) for name in about}
    )


def _chosen_band(band: str | Band | None, storage: str | None) -> Band:
    """Give a band by its name, or that of a kind of storage."""
    if storage is not None:
        if band is not None:
            raise ValueError("`band` must be omitted where `storage` is given.")
        word = storage.split()[0] if isinstance(storage, str) and storage.strip() else ""
        found = _OF_STORAGE.get(word if word != "separate" else "MHA")
        if found is None:
            raise ValueError(
                f"`storage` must be 'MHA', 'GQA' or 'fused', for which bands were published, got "
                f"{storage!r}. Pass a band of your own: weibnb.diagnostics.bands.Band(...)."
            )
        return BANDS[found]
    if isinstance(band, Band):
        return band
    name = "transmission-feed-forward" if band is None else band
    check_choice("band", name, BANDS)
    return BANDS[name]


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
    >>> from weibnb.diagnostics.cohorts import reference_cohort
    >>> table = leaving(reference_cohort(), "transmission-abstract", by="component")
    >>> table.query("component == 'o_proj'").model.tolist()[:2]
    ['olmo-1-7b', 'qwen2.5-7b']
    """
    judged = judge(fits, band, by=by, layers=layers)
    verdict = judged["verdict"]
    columns = [*map(str, verdict.dims), "k", "standard_error", "distance", "verdict"]
    table = judged.reset_coords(drop=True).to_dataframe(dim_order=list(verdict.dims)).reset_index()
    table = table.loc[table["verdict"].isin(["below", "above", "far above"]), columns]
    return table.sort_values("distance", key=abs, ascending=False, kind="stable", ignore_index=True)


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
    >>> from weibnb.diagnostics.cohorts import reference_cohort
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
    known = models.where(models > 1)
    value = 100 * (k.where(models > 1).std("model", ddof=1) / k.mean("model"))
    return assemble(
        {
            "coefficient_of_variation": (value, "Spread of k across models over its mean", "%"),
            "standard_error": (value / np.sqrt(2 * (known - 1)), "Its standard error", "%"),
            "models": (models, "Models that have the statistic", "1"),
        }
    )


def _restrict(
    fits: xr.Dataset, components: Iterable[str] | None, layers: tuple[int, int] | None
) -> xr.Dataset:
    """Keep some components, whatever their tower, and a range of layers."""
    if components is not None:
        names, wanted = fits["component"].values.astype(str).tolist(), list(components)
        kept = np.isin([name.rpartition(".")[2] for name in names], wanted)
        if not kept.any():
            raise ValueError(
                f"`fits` must hold one of {', '.join(map(repr, wanted))}, got {', '.join(names)}."
            )
        fits = fits.isel(component=kept)
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


def _median(
    k: xr.DataArray, error: xr.DataArray, dim: str, *, drawn: bool = False
) -> tuple[xr.DataArray, xr.DataArray]:
    """Median over a dim, with its standard error: see the Notes of `summarise`.

    `drawn` adds the spread of the values, as of a sample from many.
    """
    if dim not in k.dims:
        return k, error

    def reduce(values: Array, errors: Array) -> tuple[Array, Array]:
        order = np.argsort(values, -1)
        values, errors = (np.take_along_axis(a, order, -1) for a in (values, errors))
        count = np.isfinite(values).sum(-1, keepdims=True)
        middle = np.concatenate([np.maximum(count - 1, 0) // 2, count // 2], -1)
        one, two = np.moveaxis(np.take_along_axis(errors, middle, -1), -1, 0)
        sampling = np.where(middle[..., 0] == middle[..., 1], one, np.hypot(one, two) / 2)
        if drawn:
            ends = (count - 1) / 2 + np.array([-0.5, 0.5]) * np.sqrt(count)
            low, high = np.moveaxis(_at_ranks(values, ends, count), -1, 0)
            sampling = np.fmax(sampling, np.where(count[..., 0] > 1, (high - low) / 2, np.nan))
        return np.take_along_axis(values, middle, -1).mean(-1), sampling

    median, spread = xr.apply_ufunc(
        reduce, k, error, input_core_dims=[[dim], [dim]], output_core_dims=[[], []]
    )
    return median, spread


def _at_ranks(ordered: Array, ranks: Array, count: NDArray[np.int_]) -> Array:
    """Values at fractional ranks of sorted rows of which the first `count` are numbers."""
    last = np.maximum(count - 1, 0)
    ranks = np.clip(ranks, 0, last)
    low = np.floor(ranks).astype(int)
    below, above = (np.take_along_axis(ordered, at, -1) for at in (low, np.minimum(low + 1, last)))
    return np.asarray(below + (ranks - low) * (above - below))
