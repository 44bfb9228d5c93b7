"""What the charts share: tables of cells, points on paper, colours, titles and notices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import altair as alt
import numpy as np
import pandas as pd
import xarray as xr
from scipy import special

from weibnb.dataset import DIMS, protocol_of, require, validate, with_all_dims
from weibnb.histogram import INTERVAL_WIDTH
from weibnb.weibull import ordinate, protocol_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Chart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart

#: Grey that can be read on white and on black.
INK = "#7a7a7a"
#: Okabe and Ito's colours, less black and yellow, which one of the two themes swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
SHAPES = ("circle", "triangle-up", "square", "diamond", "triangle-down", "cross")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 1], [10, 4])
#: Colour and shape of each class.
CLASSES = {
    "selection": (COLOURS[0], "circle"),
    "value": (COLOURS[2], "square"),
    "transmission": (COLOURS[1], "triangle-up"),
    "fused": (COLOURS[3], "diamond"),
    "other": (INK, "cross"),
}
#: Thirds of a model.
DEPTHS = ("shallow", "middle", "deep")
#: Most rows of data in a chart; altair refuses more than 5,000.
MAX_ROWS = 4_500
#: Most matrices, or small multiples, in a chart.
MAX_PANELS = 12
#: Most points of a curve.
MAX_POINTS = 400
_DESCRIPTIVE = ("weight_class", "status", "parameter", "n", "k", "k_se", "lam", "lam_se", "r2")


def clean(name: object) -> str:
    r"""Write a name from data so that nothing in it is invisible or breaks a line.

    Parameters
    ----------
    name : object
        A model, component or status.

    Returns
    -------
    str
        The same with its control characters escaped.

    Examples
    --------
    >>> clean("a\nb")
    'a\\nb'
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(name)
    )


def short(name: object, length: int = 48) -> str:
    """Cut a clean name to `length` characters.

    Parameters
    ----------
    name : object
        What to write.
    length : int
        Most characters.

    Returns
    -------
    str
        The name, with an ellipsis where it was cut.

    Examples
    --------
    >>> short("abcdef", 4)
    'abc…'
    """
    text = clean(name)
    return text if len(text) <= length else f"{text[: length - 1]}…"


def ready(fits: xr.Dataset) -> xr.Dataset:
    """Check fits, leave their counts behind and give them all dims.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`.

    Returns
    -------
    xarray.Dataset
        On (model, layer, component, step), and expert where k has it.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits by one protocol.
    """
    if isinstance(fits, xr.Dataset):
        fits = fits.drop_dims("bin", errors="ignore")
    return with_all_dims(validate(fits))


def cells(fits: xr.Dataset, extra: Mapping[str, xr.DataArray] | None = None) -> pd.DataFrame:
    """List the matrices that are there, a row each, in columns of fixed names.

    Parameters
    ----------
    fits : xarray.Dataset
        From `ready`.
    extra : Mapping of DataArray, optional
        Further columns.

    Returns
    -------
    pandas.DataFrame
        The coordinates, `weight_class`, `status`, `parameter`, `n`, the estimates and `extra`;
        `reason` is empty where k is known, else the status.
    """
    dims = [str(dim) for dim in fits["k"].dims]
    arrays = {name: fits[name] for name in _DESCRIPTIVE if name in fits} | dict(extra or {})
    columns: dict[str, Any] = {
        dim: array.ravel()
        for dim, array in zip(
            dims, np.meshgrid(*(fits[dim].values for dim in dims), indexing="ij"), strict=True
        )
    }
    for name, array in arrays.items():
        whole = array.reset_coords(drop=True).broadcast_like(fits["k"]).transpose(*dims)
        columns[name] = whole.values.ravel()
    table = pd.DataFrame(columns).reindex(
        columns=[*columns, *(name for name in _DESCRIPTIVE if name not in columns)]
    )
    table["weight_class"] = table["weight_class"].where(
        table["weight_class"].isin(CLASSES), "other"
    )
    for name in ("model", "component", "status", "parameter", "weight_class"):
        table[name] = table[name].map(clean).astype(object)
    unfitted = table["k"].isna()
    table["reason"] = table["status"].where(unfitted, "").replace("ok", "not fitted")
    return table[table["status"] != "absent"].reset_index(drop=True)


def last_step(fits: xr.Dataset) -> xr.Dataset:
    """Keep each model's last step that has fits.

    Parameters
    ----------
    fits : xarray.Dataset
        From `ready`.

    Returns
    -------
    xarray.Dataset
        Every other step of a model is absent; steps that no model needs are left out.
    """
    if fits.sizes["step"] < 2 or 0 in fits["k"].shape:
        return fits
    others = [dim for dim in fits["k"].dims if dim not in ("model", "step")]
    there = (fits["status"] != "absent").any(others)
    fitted = fits["k"].notnull().any(others)
    known = fitted.where(fitted.any("step"), there).transpose("model", "step").values.astype(bool)
    last = known.shape[1] - 1 - known[:, ::-1].argmax(1)
    kept = xr.DataArray(last, dims="model") == xr.DataArray(np.arange(known.shape[1]), dims="step")
    fits = fits.assign(status=fits["status"].where(kept, "absent"), k=fits["k"].where(kept))
    return fits.isel(step=np.unique(last))


def thinned(table: pd.DataFrame, *names: str, rows: int = MAX_ROWS) -> tuple[pd.DataFrame, str]:
    """Keep evenly spaced values of one column after another until a table has few rows.

    Parameters
    ----------
    table : pandas.DataFrame
        From `cells`.
    *names : str
        Columns to thin, in this order.
    rows : int
        Most rows.

    Returns
    -------
    tuple
        The table, and words that say what was left out (empty if nothing was).

    Examples
    --------
    >>> table = pd.DataFrame({"layer": range(100)})
    >>> kept, note = thinned(table, "layer", rows=10)
    >>> len(kept), note
    (10, '10 of 100 layers drawn')
    """
    notes = []
    for name in names:
        values = np.sort(table[name].unique())
        if len(table) <= rows or values.size < 3:
            continue
        share = max(int(values.size * rows / len(table)), 2)
        while True:
            at = np.unique(np.linspace(0, values.size - 1, share).round().astype(int))
            kept = table[table[name].isin(values[at])]
            if len(kept) <= rows or share <= 2:
                break
            share -= max(share // 20, 1)
        table = kept
        notes.append(f"{at.size} of {values.size} {name}s drawn")
    if len(table) > rows:
        notes.append(f"the first {rows:,} of {len(table):,} rows drawn")
        table = table.head(rows)
    return table.reset_index(drop=True), ", ".join(notes)


def excluded(fits: xr.Dataset, table: pd.DataFrame) -> list[str]:
    """Say why there is nothing to draw.

    Parameters
    ----------
    fits : xarray.Dataset
        The selection.
    table : pandas.DataFrame
        Its matrices, from `cells`.

    Returns
    -------
    list of str
        Lines.
    """
    empty = [dim for dim in (*DIMS, "expert") if fits.sizes.get(dim, 1) == 0]
    if empty:
        return [f"The selection has no {' and no '.join(empty)}."]
    if table.empty:
        number = fits["k"].size
        what = "the one selected cell is" if number == 1 else f"all {number:,} selected cells are"
        return ["Nothing to draw: no such matrix,", f"{what} absent from the model."]
    counts = table["reason"].value_counts()
    lines = [f"None of the {len(table):,} selected matrices is fitted:"]
    return lines + [f"{short(reason)}: {count:,}" for reason, count in counts.head(6).items()]


def notice(title: alt.TitleParams, lines: Sequence[str]) -> Chart:
    """Make a small chart that holds words only.

    Parameters
    ----------
    title : altair.TitleParams
        The title that the chart would have had.
    lines : sequence of str
        What to say.

    Returns
    -------
    altair.Chart
        The chart.
    """
    data = pd.DataFrame({"text": list(lines), "line": range(len(lines))})
    chart = (
        alt.Chart(data, width=420, height=22 * len(lines), title=title)
        .mark_text(align="left", color=INK, fontSize=12)
        .encode(x=alt.value(8), y=alt.Y("line:O", axis=None), text="text:N")
    )
    return dress(chart)


def heading(fits: xr.Dataset, text: str, *notes: str) -> alt.TitleParams:
    """Title with the models, their protocol and notes below it.

    Parameters
    ----------
    fits : xarray.Dataset
        From `ready`.
    text : str
        What the chart shows.
    *notes : str
        Further lines; empty ones are left out.

    Returns
    -------
    altair.TitleParams
        For ``title=``.
    """
    models = [short(name, 40) for name in np.atleast_1d(fits["model"].values)]
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    estimator, trim = protocol_of(fits)
    first = f"{named or 'no model'} · {protocol_text(trim, estimator)}"
    return alt.Title(text, subtitle=[first, *(note for note in notes if note)])


def dress(chart: Chart) -> Chart:
    """Give a chart a transparent background and greys that both themes can read.

    Parameters
    ----------
    chart : altair chart
        Without configuration.

    Returns
    -------
    altair chart
        The same kind.
    """
    text: dict[str, Any] = {"labelColor": INK, "titleColor": INK, "titleFontWeight": 400}
    # one call: each configure_* copies the whole chart again
    dressed = chart.configure(
        background="transparent",
        view=alt.ViewConfig(stroke=INK, strokeOpacity=0.4),
        axis=alt.AxisConfig(**text, gridColor=INK, gridOpacity=0.2, domainColor=INK, tickColor=INK),
        legend=alt.LegendConfig(**text, labelLimit=640, symbolOpacity=1),
        header=alt.HeaderConfig(labelColor=INK, titleColor=INK, labelLimit=260),
        title=alt.TitleConfig(
            color=INK, subtitleColor=INK, anchor="start", frame="group", fontSize=13, offset=10
        ),
    )
    return cast("Chart", dressed)


def class_scales(present: pd.Series[Any]) -> tuple[alt.Color, alt.Shape]:
    """Encode ``weight_class`` by colour and by shape.

    Parameters
    ----------
    present : pandas.Series
        The classes of a table.

    Returns
    -------
    tuple
        Both encodings; their legends merge.
    """
    legend = alt.Legend(title="class", symbolSize=60)
    names = [name for name in CLASSES if name in set(present)]
    colour = alt.Scale(domain=names, range=[CLASSES[name][0] for name in names])
    shape = alt.Scale(domain=names, range=[CLASSES[name][1] for name in names])
    return (
        alt.Color("weight_class:N", scale=colour, legend=legend),
        alt.Shape("weight_class:N", scale=shape, legend=legend),
    )


def model_scales(models: pd.Series[Any]) -> tuple[alt.Color, alt.Shape, alt.StrokeDash]:
    """Encode at most 6 models by colour, shape and dash.

    Parameters
    ----------
    models : pandas.Series
        Models of a table.

    Returns
    -------
    tuple
        The encodings; the legends of the first two merge.

    Raises
    ------
    ValueError
        If there are more models.
    """
    names = list(dict.fromkeys(models))
    if len(names) > len(COLOURS):
        raise ValueError(
            f"`fits` must hold at most {len(COLOURS)} models for this chart, got {len(names)}. "
            "Select some: fits.sel(model=[...])."
        )
    legend = alt.Legend(title="model", symbolSize=60)
    ranges: list[Any] = [list(values[: len(names)]) for values in (COLOURS, SHAPES, DASHES)]
    colour, shape, dash = (alt.Scale(domain=names, range=values) for values in ranges)
    return (
        alt.Color("model:N", scale=colour, legend=legend),
        alt.Shape("model:N", scale=shape, legend=legend),
        alt.StrokeDash("model:N", scale=dash, legend=None),
    )


def depth_words(table: pd.DataFrame) -> pd.Series[Any]:
    """Third of the model that each layer lies in.

    Parameters
    ----------
    table : pandas.DataFrame
        With column layer.

    Returns
    -------
    pandas.Series
        ``shallow``, ``middle`` or ``deep``.

    Examples
    --------
    >>> depth_words(pd.DataFrame({"layer": range(6)})).tolist()
    ['shallow', 'shallow', 'middle', 'middle', 'deep', 'deep']
    """
    layers = list(np.unique(table["layer"]))
    words = {layer: DEPTHS[3 * i // len(layers)] for i, layer in enumerate(layers)}
    return table["layer"].map(words)


def depth_scales(table: pd.DataFrame) -> list[Any]:
    """Encode the layer, or of many layers the third it lies in, by colour and by dash.

    Parameters
    ----------
    table : pandas.DataFrame
        With columns layer and depth.

    Returns
    -------
    list
        Both encodings.
    """
    stroke: dict[str, Any] = {"symbolType": "stroke", "symbolSize": 300, "symbolStrokeWidth": 2}
    layers = table["layer"].drop_duplicates().sort_values().tolist()
    if len(layers) <= len(COLOURS):
        legend = alt.Legend(title="layer", **stroke)
        count = len(layers)
        ranges = (list(COLOURS[:count]), [list(dash) for dash in DASHES[:count]])
        colour, dash = (alt.Scale(domain=layers, range=values) for values in ranges)
        return [
            alt.Color("layer:O", scale=colour, legend=legend),
            alt.StrokeDash("layer:O", scale=dash, legend=legend),
        ]
    words = [word for word in DEPTHS if word in set(table["depth"])]
    blend = alt.Scale(domain=words, range=list(COLOURS[: len(words)]))
    dash = alt.Scale(domain=words, range=[list(d) for d in DASHES[: len(words)]])
    legend = alt.Legend(title="third of the layers", **stroke)
    return [
        alt.Color("depth:N", scale=blend, legend=legend),
        alt.StrokeDash("depth:N", scale=dash, legend=legend),
    ]


def tooltips(*names: str) -> list[alt.Tooltip]:
    """Numbers of a cell for its tooltip.

    Parameters
    ----------
    *names : str
        Further columns, as ``"column"`` or ``"column=title"``.

    Returns
    -------
    list of altair.Tooltip
        Coordinates, k ± SE, λ ± SE, r2, n, status, then the further columns.
    """
    text = ["model", "component", "layer", "step", "status", "parameter"]
    numbers = ["k", "k_se=SE(k)", "lam=λ", "lam_se=SE(λ)", "r2", *names]
    found = [alt.Tooltip(field=name, type="nominal", title=name) for name in text]
    for entry in numbers:
        name, _, title = entry.partition("=")
        found.append(
            alt.Tooltip(field=name, type="quantitative", title=title or name, format=".5~g")
        )
    return [*found, alt.Tooltip(field="n", type="quantitative", format=",")]


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


_NUMBERS = ("k", "lam", "k_se", "lam_se", "k_lam_correlation", "r2", "ks", "n", "n_matrices")


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
    fits = with_all_dims(require(fits, "counts", "counts_exact"))
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
            name: clean(cell[name].item()) if name in ("model", "component") else cell[name].item()
            for name in (*DIMS, "expert")
            if name in cell.coords and cell[name].ndim == 0
        },
        numbers={
            name: float(cell[name].item()) if name in cell else float("nan") for name in _NUMBERS
        },
        status=clean(cell["status"].item()),
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
        text = f"{short(place['component'])} of layer {place['layer']}"
        text += f", step {place['step']}" if differs("step") else ""
        text += f", expert {place.get('expert')}" if differs("expert") else ""
        found.append(f"{short(place['model'])}: {text}" if differs("model") else text)
    seen: dict[str, int] = {}
    for i, text in enumerate(found):
        seen[text] = seen.get(text, 0) + 1
        found[i] = text if seen[text] == 1 else f"{text} ({seen[text]})"
    return found


def on_paper(curve: Curve, limit: int) -> pd.DataFrame:
    """Choose points of a matrix, evenly along the ordinate of Weibull paper.

    Parameters
    ----------
    curve : Curve
        The matrix.
    limit : int
        Most points.

    Returns
    -------
    pandas.DataFrame
        ``magnitude``, ``percent`` below it, ``y``; from 0.01 % on, and always the largest.
    """
    y = ordinate(curve.share)
    inside = np.flatnonzero(curve.share >= 1e-4)
    if not inside.size:
        return pd.DataFrame({"magnitude": [], "percent": [], "y": []}, dtype=float)
    targets = np.linspace(y[inside[0]], y[-1], limit)
    kept = np.unique(np.minimum(np.searchsorted(y, targets), y.size - 1))
    return pd.DataFrame(
        {"magnitude": curve.magnitude[kept], "percent": 100 * curve.share[kept], "y": y[kept]}
    )


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


def one_of(argument: str, value: object, valid: Iterable[str]) -> None:
    """Raise unless a value is one of the valid words.

    Parameters
    ----------
    argument : str
        The parameter.
    value : object
        What was given.
    valid : iterable of str
        What may be given.

    Raises
    ------
    ValueError
        If it is not; the message names the closest.
    """
    from weibnb.verdicts import unknown_name

    names = list(valid)
    if value not in names:
        raise unknown_name(argument, value, names)


def kind_is(kind: str) -> Any:
    """Predicate of rows whose column ``kind`` is this word."""
    return alt.FieldEqualPredicate(field="kind", equal=kind)


def rule_at(value: float, axis: Literal["x", "y"] = "y", words: str = "") -> alt.Chart:
    """Draw a dashed grey line at a value.

    Parameters
    ----------
    value : float
        Where.
    axis : {"x", "y"}
        On which axis.
    words : str
        What its tooltip says.

    Returns
    -------
    altair.Chart
        A layer.
    """
    data = pd.DataFrame({"at": [value], "words": [words]})
    mark = alt.Chart(data).mark_rule(strokeDash=[5, 3], color=INK, strokeWidth=1.5)
    tips = [alt.Tooltip("words:N", title="line"), alt.Tooltip("at:Q", format=".5~g", title="value")]
    return cast(
        "alt.Chart",
        mark.encode(**{axis: alt.Y("at:Q") if axis == "y" else alt.X("at:Q")}, tooltip=tips),
    )


def crosses(x: alt.X, name: str) -> alt.Chart:
    """Draw a cross at the foot for every row without a number.

    Parameters
    ----------
    x : altair.X
        Where along the axis.
    name : str
        The column.

    Returns
    -------
    altair.Chart
        A layer whose tooltip gives the status.
    """
    mark = alt.Chart().mark_text(
        text="×", fontSize=15, fontWeight=700, color=INK, baseline="bottom"
    )
    tips = [
        alt.Tooltip(f"{column}:N") for column in ("reason", "model", "component", "layer", "step")
    ]
    missing = alt.FieldValidPredicate(field=name, valid=False)
    return cast(
        "alt.Chart",
        mark.encode(x, y=alt.value("height"), tooltip=tips).transform_filter(missing),
    )


def optional(fits: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable, or NaN on the dims of k where the fits do not hold it.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits.
    name : str
        The variable.

    Returns
    -------
    xarray.DataArray
        On the dims of k.
    """
    found: xr.DataArray = fits[name] if name in fits else xr.full_like(fits["k"], np.nan)
    return found


def choose(fits: xr.Dataset, labels_: Mapping[str, Any], argument: str) -> xr.Dataset:
    """Select one model and one step.

    Parameters
    ----------
    fits : xarray.Dataset
        From `ready`.
    labels_ : Mapping
        As for ``fits.sel``.
    argument : str
        The parameter, for the message.

    Returns
    -------
    xarray.Dataset
        With all dims.

    Raises
    ------
    ValueError
        If a label is not there, or more than one model or step is left.
    """
    try:
        chosen: xr.Dataset = with_all_dims(fits.sel(dict(labels_)))
    except (KeyError, ValueError) as err:
        raise ValueError(f"`{argument}` must be labels of `fits`, got {dict(labels_)!r}.") from err
    for dim in ("model", "step"):
        if chosen.sizes[dim] != 1:
            known = ", ".join(map(repr, chosen[dim].values.tolist()[:6]))
            raise ValueError(f"`{argument}` must choose one {dim}, got {dict(labels_)!r}: {known}.")
    return chosen


def panels(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Give every row the small multiple that it belongs to.

    Parameters
    ----------
    table : pandas.DataFrame
        From `cells`.
    *names : str
        What a small multiple is made of.

    Returns
    -------
    pandas.DataFrame
        With columns ``panel``, named by what differs, and ``place``, the order.

    Raises
    ------
    ValueError
        If there are more than `MAX_PANELS`; components only are limited by twice that.
    """
    table = table.copy()
    keys = list(table[list(names)].itertuples(index=False, name=None))
    unique = list(dict.fromkeys(keys))
    limit = MAX_PANELS if names[-1] in ("model", "step") else 2 * MAX_PANELS
    if len(unique) > limit:
        raise ValueError(
            f"`fits` must hold at most {limit} pairs of {' and '.join(names)} for small multiples, "
            f"got {len(unique)}. Select some: fits.isel(step=-1)."
        )
    varies = [len({key[i] for key in unique}) > 1 for i in range(len(names))]
    words = {}
    for key in unique:
        parts = [
            f"step {part}" if name == "step" else clean(part)
            for name, part, differs in zip(names, key, varies, strict=True)
            if differs
        ]
        words[key] = ", ".join(parts) or clean(key[-1])
    places = {key: i for i, key in enumerate(unique)}
    table["panel"] = [words[key] for key in keys]
    table["place"] = [places[key] for key in keys]
    return table


def facet(layered: Chart, table: pd.DataFrame, title: alt.TitleParams, *, columns: int) -> Chart:
    """Make small multiples, or leave a chart that has one panel as it is.

    Parameters
    ----------
    layered : altair.LayerChart
        With `table` as its data.
    table : pandas.DataFrame
        From `panels`.
    title : altair.TitleParams
        Above all.
    columns : int
        Small multiples side by side.

    Returns
    -------
    altair chart
        With its title.
    """
    number = table["place"].nunique()
    if number < 2 or not isinstance(layered, alt.LayerChart):
        return layered.properties(title=title)
    order = alt.EncodingSortField(field="place", op="min", order="ascending")
    by = alt.Facet("panel:N", title=None, sort=order)
    multiples = layered.facet(facet=by, columns=min(columns, number)).properties(title=title)
    ragged = number > columns and number % columns
    return cast("Chart", multiples.resolve_axis(x="independent") if ragged else multiples)


def layer_medians(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Reduce experts, and layers in bins where a map has too many cells, to medians.

    Parameters
    ----------
    table : pandas.DataFrame
        From `panels`, with column ``value``.

    Returns
    -------
    tuple
        The table with ``band``, the label of its layers, and ``order``; and words that say what
        was reduced (empty if nothing was).
    """
    layers = np.unique(table["layer"])
    numbers, components = table["place"].nunique(), table["component"].nunique()
    most = max(min(2_000, MAX_ROWS // numbers) // components, 1)
    width = -(-layers.size // most)
    order = np.searchsorted(layers, table["layer"].to_numpy()) // width
    ends = [
        (layers[i], layers[min(i + width, layers.size) - 1]) for i in range(0, layers.size, width)
    ]
    names = [str(a) if a == b else f"{a}–{b}" for a, b in ends]
    table = table.assign(order=order, band=[names[i] for i in order])
    experts = "expert" in table and len(set(table["expert"])) > 1
    if width == 1 and not experts:
        return table, ""
    keys = ["place", "order", "component"]
    numeric = [c for c in table.columns if c not in keys and table[c].dtype.kind in "iuf"]
    rest = [c for c in table.columns if c not in (*keys, *numeric)]
    table = table.groupby(keys, sort=True, as_index=False).agg(
        dict.fromkeys(numeric, "median") | dict.fromkeys(rest, "first")
    )
    table["reason"] = table["reason"].where(table["value"].isna(), "")
    notes = [f"medians over bins of {width} layers"] if width > 1 else []
    return table, ", ".join([*notes, *(["medians over experts"] if experts else [])])


def heat(
    table: pd.DataFrame,
    title: alt.TitleParams,
    name: str,
    *,
    middle: float | None = None,
    tips: Sequence[str] = ("value",),
    digits: str = ".3~g",
) -> Chart:
    """Draw a map of layers and components.

    Parameters
    ----------
    table : pandas.DataFrame
        From `layer_medians`.
    title : altair.TitleParams
        Above.
    name : str
        Title of the colours.
    middle : float, optional
        Where they diverge.
    tips : sequence of str
        Further columns of the tooltip.
    digits : str
        Format of the numbers in the cells.

    Returns
    -------
    altair chart
        Dressed.
    """
    table = table.copy()
    value = table["value"]
    low, high, dark = _shades(value, middle)
    table["ink"] = np.where(dark, "white", "black")
    bands = table.sort_values("order")["band"].drop_duplicates().tolist()
    names = list(dict.fromkeys(table["component"]))
    few = len(bands) <= MAX_PANELS
    step = 38 if few else max(4, min(26, 700 // len(bands)))
    x = alt.X("band:O", scale=alt.Scale(domain=bands), title="layer",
              axis=alt.Axis(labelOverlap=True, labelAngle=0 if few else -90))  # fmt: skip
    y = alt.Y("component:N", scale=alt.Scale(domain=names), title=None)
    scheme: Any = "blueorange" if middle is not None else "viridis"
    colour = alt.Color("value:Q", title=name, scale=alt.Scale(domain=[low, high], scheme=scheme),
                       legend=alt.Legend(gradientLength=110, format=".3~g"))  # fmt: skip
    shown = tooltips(*tips)
    known = alt.FieldValidPredicate(field="value", valid=True)
    missing = alt.FieldValidPredicate(field="value", valid=False)
    box = alt.Chart().mark_rect().encode(x, y, colour, tooltip=shown).transform_filter(known)
    cross = alt.Chart().mark_text(text="×", fontSize=14, fontWeight=700, color=INK)
    reasons = [alt.Tooltip("reason:N"), *shown]
    layers = [box, cross.encode(x, y, tooltip=reasons).transform_filter(missing)]
    if few:
        ink = alt.condition(
            alt.FieldEqualPredicate(field="ink", equal="white"),
            alt.value("white"),
            alt.value("black"),
        )
        number = alt.Chart().mark_text(fontSize=9, dy=-2)
        text = alt.Text("value:Q", format=digits)
        layers.append(number.encode(x, y, text, color=ink, tooltip=shown).transform_filter(known))
    if "noise" in table:
        table["quiet"] = np.where(value.abs() < table["noise"], "yes", "no")
        dot = alt.Chart().mark_point(shape="circle", size=9, filled=True, color="black", yOffset=7)
        quiet = alt.FieldEqualPredicate(field="quiet", equal="yes")
        layers.append(dot.encode(x, y, tooltip=shown).transform_filter(quiet))
    layered = alt.layer(*layers, data=table).properties(width=alt.Step(step), height=alt.Step(24))
    across = max(1, min(4, 900 // (step * len(bands) + 60)))
    return dress(facet(layered, table, title, columns=across))


def _shades(value: pd.Series[Any], middle: float | None) -> tuple[float, float, pd.Series[Any]]:
    """Return the ends of the colours, and which cells are dark under their number."""
    low, high = float(value.min()), float(value.max())
    if middle is None:
        high = high if high > low else low + (abs(low) or 1.0)
        return low, high, value < low + 0.5 * (high - low)
    reach = max(abs(low - middle), abs(high - middle)) or 1.0
    return middle - reach, middle + reach, (value - middle).abs() > 0.6 * reach
