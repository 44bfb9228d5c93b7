"""Charts of fits: pure functions from a Dataset to an Altair chart, for light and dark pages.

No chart needs a network, and none is shown: a notebook displays what a cell returns. Names from
checkpoints are only ever data, never part of a field's name or of an expression.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

try:
    import altair as alt
except ImportError as err:
    raise ImportError(
        "charts need altair, which is not installed: pip install 'weibnb[charts]'"
    ) from err

from weibnb import _marks
from weibnb._marks import (
    COLOURS,
    DASHES,
    INK,
    SHAPES,
    cells,
    dress,
    heading,
    notice,
    tooltips,
)
from weibnb.bands import BANDS, summarise
from weibnb.cohorts import compare as rank_entries
from weibnb.cohorts import reference_cohort
from weibnb.dataset import VARIABLES, gaussian_anchor, protocol_of, require, with_all_dims
from weibnb.outliers import FACTORS, expected_gaussian_maximum, outlier_strength
from weibnb.tails import body_tail
from weibnb.verdicts import require_protocol
from weibnb.weibull import DEFAULT_TRIM, ordinate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb._marks import Chart, Curve
    from weibnb.bands import Band

    Array = NDArray[np.float64]

MapValue = Literal["k", "lam", "r2", "ks", "z", "outlier"]
TrackValue = Literal["k", "lam"]
By = Literal["component", "weight_class"]
Scale = Literal["log", "linear"]

_PERCENT = np.array([0.01, 0.1, 1, 10, 30, 63.2, 90, 99, 99.99, 99.9999])
_RATIOS = [0.5, 1, 2, 3, 5, 10, 20, 50, 100, 1000]
_MAP_TITLES = {
    "k": "Weibull shape k",
    "lam": "Weibull scale λ (units of the weights)",
    "r2": "r² of the Weibull plot",
    "ks": "Kolmogorov-Smirnov distance over the trim",
    "z": "Distance of k from the Gaussian anchor, in standard errors",
    "outlier": "Largest |w| over what a Gaussian of this body gives",
}


def weibull_plot(
    fits: xr.Dataset, *, level: float = 0.95, compare: xr.Dataset | None = None
) -> Chart:
    """Draw matrices on Weibull paper, with their fitted lines and what these leave over.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts, at most 12 matrices.
    level : float
        Confidence level of the bands around the lines.
    compare : xarray.Dataset, optional
        Further fits by the same protocol; with them at most 12 matrices.

    Returns
    -------
    altair chart
        Above: magnitudes (units of the weights) and the percentage of weights below them, at
        most 400 points a matrix, from 0.01 % on. The lower panel has the same points less the
        line. The trim is shaded; λ is marked at 63.2 %; dotted: a half-normal with
        σ = λ / (λ/σ of the Gaussian anchor), for at most four matrices; rings: weights more than
        3 times as large as a Gaussian's expected maximum.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, there are more than 12 matrices, the
        protocols differ, or `level` is no probability.

    Notes
    -----
    With ``y = k (ln x - ln λ)`` the band is ``y ± z s``,
    ``s² = (ln x - ln λ)² SE(k)² + k² SE(ln λ)² - 2 k (ln x - ln λ) ρ SE(k) SE(ln λ)``.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> chart = weibull_plot(wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> len(chart.to_dict()["vconcat"])
    2
    """
    factor = _marks.check_level(level)
    curves = _both(fits, compare)
    title = heading(_marks.ready(fits), "Weibull plot", "shaded: the trim · dotted: a Gaussian")
    if not any(curve.share.size for curve in curves):
        light = _marks.ready(fits)
        return notice(title, _marks.excluded(light, cells(light)))
    anchor = gaussian_anchor(fits)
    names = _legend_names(curves)
    points, lines = [], []
    for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
        sigma = curve.numbers["lam"] / anchor.lam_over_rms
        points.append(_paper_points(curve, sigma).assign(matrix=name))
        if curve.fitted:
            lines.append(_paper_lines(curve, sigma, factor, dotted=i < 4).assign(matrix=name))
    table = pd.concat(points, ignore_index=True)
    line = pd.concat(lines, ignore_index=True) if lines else None
    upper = _paper_panel(table, line, names, _paper_trim(fits), title)
    return dress(alt.vconcat(upper, _residual_panel(table, line, names), spacing=8))


def _both(fits: xr.Dataset, compare: xr.Dataset | None) -> list[Curve]:
    curves = _marks.curves(fits)
    if compare is not None:
        if protocol_of(fits) != protocol_of(_marks.ready(compare)):
            raise ValueError(
                f"`compare` must have the protocol of `fits`, {protocol_of(fits)}, got "
                f"{protocol_of(compare)}. Fit again: weibnb.refit."
            )
        curves += _marks.curves(compare)
    if len(curves) > _marks.MAX_PANELS:
        raise ValueError(
            f"`fits` and `compare` must hold at most {_marks.MAX_PANELS} matrices, got "
            f"{len(curves)}."
        )
    return curves


def _legend_names(curves: Sequence[Curve]) -> list[str]:
    found = []
    for curve, name in zip(curves, _marks.labels([c.place for c in curves]), strict=True):
        n = curve.numbers
        if not curve.fitted:
            found.append(f"{name}: not fitted ({_marks.short(curve.status)})")
            continue
        text = f"{name}:  k {n['k']:.4f} ± {n['k_se']:.2g}   λ {n['lam']:.4g}   r² {n['r2']:.4f}"
        experts = f"   median of {n['n_matrices']:.0f} experts" if n["n_matrices"] > 1 else ""
        found.append(f"{text}   KS {n['ks']:.3f}   n {n['n']:,.0f}{experts}")
    return found


def _paper_points(curve: Curve, sigma: float) -> pd.DataFrame:
    table = _marks.on_paper(curve, _marks.MAX_POINTS * 5 // 8)
    x, n = table["magnitude"].to_numpy(float), curve.numbers
    fitted = curve.line(x) if curve.fitted else np.full(x.size, np.nan)
    known = curve.fitted and n["n"] > 0
    limit = FACTORS["gaussian"] * expected_gaussian_maximum(n["n"], sigma) if known else np.inf
    return table.assign(
        fitted=fitted, residual=table["y"] - fitted, detached=np.where(x > limit, "yes", "no")
    )


def _paper_lines(curve: Curve, sigma: float, factor: float, *, dotted: bool) -> pd.DataFrame:
    """Line with its band, Gaussian and λ of one matrix."""
    k, lam = curve.numbers["k"], curve.numbers["lam"]
    ends = np.array([np.log(1e-4), np.log(-np.log(1e-6))]) / k + np.log(lam)
    x = np.exp(np.linspace(ends[0], ends[1], 50))
    y, margin = curve.line(x), factor * curve.line_error(x)
    line = pd.DataFrame({"magnitude": x, "y": y, "low": y - margin, "high": y + margin})
    gaussian = ordinate(np.minimum(_marks.half_normal(x, sigma), 1 - 1e-12))
    curved = pd.DataFrame({"magnitude": x, "y": gaussian, "residual": gaussian - y})
    curved = curved[curved["y"] < ordinate(1 - 1e-6)] if dotted else curved[:0]
    scale = pd.DataFrame({"magnitude": [lam], "y": [0.0]})
    kinds = {"line": line.assign(residual=0.0, spread=margin), "gaussian": curved, "scale": scale}
    return pd.concat([part.assign(kind=kind) for kind, part in kinds.items()], ignore_index=True)


def _paper_trim(fits: xr.Dataset) -> pd.DataFrame:
    low, high = np.clip(protocol_of(fits)[1], 1e-4, 1 - 1e-6)
    return pd.DataFrame({"low": [ordinate(low).item()], "high": [ordinate(high).item()]})


def _matrix_scales(names: list[str]) -> dict[str, Any]:
    """Colour, shape and dash of each matrix, in one legend below the chart."""
    legend = alt.Legend(title=None, orient="bottom", columns=1, symbolSize=60)
    numbers = range(len(names))
    colours = [COLOURS[i % 6] for i in numbers]
    shapes = [SHAPES[(i + i // 6) % 6] for i in numbers]
    dashes = [DASHES[(i + i // 6) % 6] for i in numbers]

    def scale(values: list[Any]) -> alt.Scale:
        return alt.Scale(domain=names, range=values)

    return {
        "color": alt.Color("matrix:N", scale=scale(colours), legend=legend),
        "shape": alt.Shape("matrix:N", scale=scale(shapes), legend=legend),
        "strokeDash": alt.StrokeDash("matrix:N", scale=scale(dashes), legend=None),
    }


def _magnitude_axis(*, titled: bool) -> alt.X:
    axis = alt.Axis(tickCount=6, format="~g", labels=titled, ticks=titled, labelOverlap=True)
    title = "magnitude |w| (units of the weights)" if titled else None
    scale = alt.Scale(type="log", nice=False, padding=8)
    return alt.X("magnitude:Q", scale=scale, axis=axis, title=title)


def _point_tips() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("matrix:N"),
        alt.Tooltip("magnitude:Q", title="|w|", format=".4~g"),
        alt.Tooltip("percent:Q", title="% below", format=".6~g"),
        alt.Tooltip("residual:Q", title="residual in y", format=".3~g"),
        alt.Tooltip("detached:N", title="beyond 3 × a Gaussian's maximum"),
    ]


def _paper_panel(
    points: pd.DataFrame,
    lines: pd.DataFrame | None,
    names: list[str],
    trim: pd.DataFrame,
    title: alt.TitleParams,
) -> Chart:
    top = max(float(points["y"].max()), ordinate(0.9999).item()) + 0.3
    domain = [ordinate(1e-4).item(), top]
    axis = alt.Axis(
        values=[at for at in ordinate(_PERCENT / 100).tolist() if at <= top],
        tickCount=_PERCENT.size,
        labelExpr="format(100 * (1 - exp(-exp(datum.value))), '.6~g')",
    )
    y = alt.Y(
        "y:Q",
        scale=alt.Scale(domain=domain, nice=False),
        axis=axis,
        title="weights below |w| (%, Weibull paper)",
    )
    x, looks = _magnitude_axis(titled=False), _matrix_scales(names)
    colour, shape, dash = looks["color"], looks["shape"], looks["strokeDash"]
    shade = alt.Chart(trim).mark_rect(opacity=0.12, color=INK).encode(y="low:Q", y2="high:Q")
    tips = _point_tips()
    dots = alt.Chart(points).mark_point(size=11, filled=True, opacity=0.75, clip=True)
    ring = alt.Chart(points).mark_point(size=150, filled=False, shape="circle", strokeWidth=2)
    rings = ring.encode(x, y, colour, tooltip=tips).transform_filter(
        alt.FieldEqualPredicate(field="detached", equal="yes")
    )
    layers: list[Any] = [shade, _marks.rule_at(0.0, words="63.2 %: λ")]
    layers += [dots.encode(x, y, colour, shape, tooltip=tips), rings]
    if lines is not None:
        base = alt.Chart(lines)
        area = base.mark_area(opacity=0.25, clip=True).encode(x, colour, y="low:Q", y2="high:Q")
        fit = base.mark_line(strokeWidth=1.5, clip=True).encode(x, y, colour, dash)
        other = base.mark_line(strokeWidth=1.3, strokeDash=[1, 3], clip=True)
        cross = base.mark_point(shape="cross", size=130, filled=True)
        layers += [
            area.transform_filter(_marks.kind_is("line")),
            fit.transform_filter(_marks.kind_is("line")),
            other.encode(x, y, colour).transform_filter(_marks.kind_is("gaussian")),
            cross.encode(x, y, colour, tooltip=["matrix:N", alt.Tooltip("magnitude:Q", title="λ")])
            .transform_filter(_marks.kind_is("scale")),
        ]  # fmt: skip
    return alt.layer(*layers).properties(width=560, height=330, title=title)


def _residual_panel(points: pd.DataFrame, lines: pd.DataFrame | None, names: list[str]) -> Chart:
    body = points.loc[points["percent"].between(0.5, 99.99), "residual"].abs()
    reach = float(np.nan_to_num(body.max())) * 1.15 or 1.0
    y = alt.Y(
        "residual:Q",
        scale=alt.Scale(domain=[-reach, reach], nice=False),
        title="y − line",
        axis=alt.Axis(tickCount=5),
    )
    looks = _matrix_scales(names)
    x, colour, shape = _magnitude_axis(titled=True), looks["color"], looks["shape"]
    dots = alt.Chart(points).mark_point(size=9, filled=True, opacity=0.75, clip=True)
    layers: list[Any] = [
        _marks.rule_at(0.0, words="the fitted line"),
        dots.encode(x, y, colour, shape, tooltip=["matrix:N", "magnitude:Q", "residual:Q"]),
    ]
    if lines is not None:
        ends = {"low": lines["residual"] - lines["spread"], "high": lines["spread"]}
        base = alt.Chart(lines.assign(**ends))
        area = base.mark_area(opacity=0.25, clip=True).encode(x, colour, y="low:Q", y2="high:Q")
        other = base.mark_line(strokeWidth=1.3, strokeDash=[1, 3], clip=True).encode(x, y, colour)
        layers.append(area.transform_filter(_marks.kind_is("line")))
        layers.append(other.transform_filter(_marks.kind_is("gaussian")))
    return alt.layer(*layers).properties(width=560, height=110)


def density(fits: xr.Dataset, *, scale: Scale = "log") -> Chart:
    """Draw the distribution of magnitudes with the fitted Weibull and a half-normal over it.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts, at most 12 matrices.
    scale : {"log", "linear"}
        Density of ln|w|, or of |w| (up to its 99.9 % quantile).

    Returns
    -------
    altair chart
        A small multiple for each matrix: area counted, solid Weibull, dashed half-normal with
        σ = λ / (λ/σ of the Gaussian anchor).

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, holds more than 12 matrices, or `scale` is
        unknown.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> density(fits).to_dict()["title"]["text"]
    'Density of ln |w|'
    """
    _marks.one_of("scale", scale, get_args(Scale))
    curves = [curve for curve in _marks.curves(fits) if curve.share.size > 1]
    light = _marks.ready(fits)
    what = "ln |w|" if scale == "log" else "|w|"
    title = heading(light, f"Density of {what}", "area: counted weights")
    if not curves:
        return notice(title, _marks.excluded(light, cells(light)))
    ratio = gaussian_anchor(fits).lam_over_rms
    names = _marks.labels([curve.place for curve in curves])
    parts = [_densities(curve, ratio, scale=scale) for curve in curves]
    for i, (curve, name) in enumerate(zip(curves, names, strict=True)):
        text = f"{name}, k {curve.numbers['k']:.3f}" if curve.fitted else name
        parts[i] = parts[i].assign(panel=text, place=i)
    table = pd.concat(parts, ignore_index=True)
    kind = alt.Scale(domain=["Weibull", "half-normal"], range=[COLOURS[0], COLOURS[1]])
    dash = alt.Scale(domain=["Weibull", "half-normal"], range=[[1, 0], [5, 3]])
    legend = alt.Legend(title=None, orient="bottom")
    x = alt.X(
        "magnitude:Q",
        scale=alt.Scale(type=scale, nice=False),
        axis=alt.Axis(tickCount=4, format="~g", labelOverlap=True),
        title="|w| (units of the weights)",
    )
    unit = "a unit of ln |w|" if scale == "log" else "1 / unit of the weights"
    y = alt.Y("density:Q", title=f"density ({unit})")
    tips = ["panel:N", "kind:N", alt.Tooltip("magnitude:Q", format=".4~g"), "density:Q"]
    area = alt.Chart().mark_area(opacity=0.3, color=INK).encode(x, y, tooltip=tips)
    line = alt.Chart().mark_line(strokeWidth=1.8).encode(
        x, y, alt.Color("kind:N", scale=kind, legend=legend),
        alt.StrokeDash("kind:N", scale=dash, legend=legend), tooltip=tips,
    )  # fmt: skip
    layered = alt.layer(
        area.transform_filter(_marks.kind_is("counted")),
        line.transform_filter(alt.FieldOneOfPredicate("kind", oneOf=["Weibull", "half-normal"])),
        data=table,
    ).properties(width=230, height=150)
    return dress(_marks.facet(layered, table, title, columns=3))


def _densities(curve: Curve, ratio: float, *, scale: Scale) -> pd.DataFrame:
    """Densities in about 80 intervals: counted, and of both distributions."""
    x, share = curve.magnitude, curve.share
    lower, upper = np.interp([0.001, 0.999], share, x)
    if scale == "log":
        edges = np.geomspace(lower, max(x[-1], lower * 1.01), 81)
        middle, width = np.sqrt(edges[1:] * edges[:-1]), np.diff(np.log(edges))
    else:
        edges = np.linspace(0, upper, 81)
        middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    below = np.interp(edges, np.concatenate([[0.0], x]), np.concatenate([[0.0], share]))
    found = {"counted": np.diff(below) / width}
    if curve.fitted:
        k, lam = curve.numbers["k"], curve.numbers["lam"]
        z, u = (middle / lam) ** k, middle * ratio / lam
        found["Weibull"] = k * z * np.exp(-z)
        found["half-normal"] = np.sqrt(2 / np.pi) * u * np.exp(-(u**2) / 2)
        if scale == "linear":
            found = {name: v if name == "counted" else v / middle for name, v in found.items()}
    tables = [
        pd.DataFrame({"magnitude": middle, "density": value, "kind": kind})
        for kind, value in found.items()
    ]
    return pd.concat(tables, ignore_index=True)


def layer_map(fits: xr.Dataset, *, value: MapValue = "k") -> Chart:
    """Draw a number of every matrix as a map of layers and components.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: at most 12 pairs of model and step, a small multiple each.
    value : {"k", "lam", "r2", "ks", "z", "outlier"}
        An estimate; the distance of k from the Gaussian anchor in standard errors; or the largest
        |w| over the maximum that a Gaussian with the same body is expected to have.

    Returns
    -------
    altair chart
        The colours of k and z diverge from the Gaussian anchor. A cross is a matrix without the
        number; its status is in the tooltip. Experts, and layers where a map would have more than
        2,000 cells, are drawn as medians, which the title says.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits or has too many pairs, or `value` is unknown.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> chart = layer_map(reference_cohort().isel(model=[0, 1]), value="lam")
    """
    _marks.one_of("value", value, get_args(MapValue))
    fits = _marks.ready(fits)
    table = cells(fits, {"value": _map_values(fits, value)})
    title = _MAP_TITLES[value]
    if table.empty or table["value"].isna().all():
        return notice(heading(fits, title), _marks.excluded(fits, table))
    table = _marks.panels(table, "model", "step")
    middle = {"k": gaussian_anchor(fits).k, "z": 0.0}.get(value)
    table, note = _marks.layer_medians(table)
    digits = {"k": ".3f", "z": ".1f"}.get(value, ".3~g")
    anchor = f"{middle:.4f}" if value == "k" else ""
    notes = [note, f"middle of the colours: a Gaussian, {anchor}" if anchor else ""]
    return _marks.heat(
        table, heading(fits, title, *notes), _axis_title(value), middle=middle, digits=digits
    )


def _map_values(fits: xr.Dataset, value: MapValue) -> xr.DataArray:
    if value == "outlier":
        strength = outlier_strength(fits)["gaussian_max"]
        return fits["max_abs"] / strength.where(strength > 0)
    if value == "z":
        return (fits["k"] - gaussian_anchor(fits).k) / _marks.optional(fits, "k_se")
    return _marks.optional(fits, value)


def _axis_title(value: str) -> str:
    return {"lam": "λ", "r2": "r²", "ks": "KS", "outlier": "max ratio"}.get(value, value)


def difference(fits: xr.Dataset, first: Mapping[str, Any], second: Mapping[str, Any]) -> Chart:
    """Map how far k of one model or step differs from that of another, cell by cell.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits that hold both.
    first, second : Mapping
        Labels that choose one model and one step each, as for ``fits.sel``.

    Returns
    -------
    altair chart
        k of `second` less k of `first`; a dot stands in cells where the difference is below two
        standard errors, the noise floor. A cross: one of both has no k.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or a choice is not one model and step that are there.

    Notes
    -----
    The standard error takes both fits as independent; for two steps of a run it is too large.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> entries = reference_cohort()
    >>> chart = difference(entries, {"model": "pythia-70m"}, {"model": "llama-3-8b"})
    """
    fits = _marks.ready(fits)
    a, b = (
        _marks.choose(fits, pick, name) for pick, name in ((first, "first"), (second, "second"))
    )
    gone = (a["status"].values == "absent") | (b["status"].values == "absent")
    joined = b.assign(status=b["status"].copy(data=np.where(gone, "absent", b["status"])))
    delta = b["k"].values - a["k"].values
    error = np.hypot(_marks.optional(a, "k_se").values, _marks.optional(b, "k_se").values)
    extra = {
        name: b["k"].copy(data=data)
        for name, data in {
            "value": delta, "noise": 2 * error, "first_k": a["k"].values, "second_k": b["k"].values,
        }.items()
    }  # fmt: skip
    table = cells(joined, extra)
    lost = table["value"].isna() & (table["reason"] == "")
    table["reason"] = table["reason"].mask(lost, "not fitted in `first`")
    names = [
        ", ".join(f"{d} {_marks.short(s[d].item())}" for d in ("model", "step")) for s in (a, b)
    ]
    title = heading(
        joined, "Difference of k", f"{names[1]} less {names[0]}", "dot: below two standard errors"
    )
    if table.empty or table["value"].isna().all():
        return notice(title, _marks.excluded(joined, table))
    table, _ = _marks.layer_medians(_marks.panels(table, "model"))
    tips = ("value=difference", "noise=two standard errors", "first_k", "second_k")
    return _marks.heat(table, title, "Δk", middle=0.0, tips=tips, digits=".3f")


def class_bands(
    fits: xr.Dataset,
    *,
    band: str | Band = "transmission-feed-forward",
    reference: bool = True,
) -> Chart:
    """Draw k of every matrix by component, with medians, a published band and published entries.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 12 models.
    band : str or Band
        A name of `weibnb.bands.BANDS`, or a band of your own.
    reference : bool
        Whether the medians of the published entries are drawn, at the right edge.

    Returns
    -------
    altair chart
        Within a component the layers go from left to right. Band and entries are left out where
        the fits have another protocol, which the title says.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, has too many models, or the band is unknown.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> chart = class_bands(reference_cohort().isel(model=[0]), band="selection-gqa")
    """
    if isinstance(band, str):
        _marks.one_of("band", band, BANDS)
        band = BANDS[band]
    fits = _marks.last_step(_marks.ready(fits))
    table, note = _marks.thinned(cells(fits), "layer", rows=_marks.MAX_ROWS - 500)
    title = "Weibull shape k by component"
    if table.empty or table["k"].isna().all():
        return notice(heading(fits, title), _marks.excluded(fits, table))
    published = protocol_of(fits) == ("rank_regression", DEFAULT_TRIM["rank_regression"])
    words = (
        f"shaded: {_marks.short(band.name)}, {band.lower:g} to {band.upper:g} · dashed: a Gaussian"
    )
    bar = "bar: median over layers" + (" · diamonds: published entries" if reference else "")
    notes = [words, bar] if published else ["no band: published for another protocol", bar[:23]]
    heads = heading(fits, title, *notes, note)
    table = _marks.panels(table, "model")
    names = list(dict.fromkeys(table["component"]))
    rank = table.groupby(["model", "component"])["layer"].rank(method="dense")
    most = table.groupby(["model", "component"])["layer"].transform("nunique")
    table["offset"] = np.where(most > 1, (rank - 1) / (most - 1).clip(lower=1) - 0.5, 0.0) * 0.7
    table["median"] = table.groupby(["model", "component"])["k"].transform("median")
    layers = _band_layers(names, band, reference=reference) if published else []
    layers += _cell_layers(table, names, gaussian_anchor(fits).k)
    layered = alt.layer(*layers, data=table).properties(width=max(64 * len(names), 160), height=280)
    return dress(_marks.facet(layered, table, heads, columns=2))


def _component_axis(names: list[str]) -> alt.X:
    scale = alt.Scale(domain=names, paddingInner=0.25)
    return alt.X("component:N", scale=scale, title=None, axis=alt.Axis(labelAngle=-35))


def _offset() -> alt.XOffset:
    return alt.XOffset("offset:Q", scale=alt.Scale(domain=[-0.5, 0.5]))


def _k_axis() -> alt.Y:
    return alt.Y("k:Q", scale=alt.Scale(zero=False), title="Weibull shape k")


def _band_layers(names: list[str], band: Band, *, reference: bool) -> list[alt.Chart]:
    """Band over the components it was published for, and medians of the published entries."""
    x = _component_axis(names)
    held = [name for name in names if name.rpartition(".")[2] in band.components]
    box = pd.DataFrame({"component": held, "k": band.lower, "high": band.upper})
    tips = ["component:N", alt.Tooltip("k:Q", title="lower"), alt.Tooltip("high:Q", title="upper")]
    shade = alt.Chart(box).mark_bar(color=INK, opacity=0.35, size=50, orient="vertical")
    layers = [shade.encode(x, _k_axis(), y2="high:Q", tooltip=tips)] if held else []
    if not reference:
        return layers
    entries = cells(_marks.ready(reference_cohort()))
    entries = entries.loc[entries["component"].isin(names), ["model", "component", "k"]]
    entries = entries.assign(offset=0.46)
    open_ = alt.Chart(entries).mark_point(shape="diamond", size=22, color=INK, opacity=0.9)
    tips = [
        alt.Tooltip("model:N", title="published"),
        "component:N",
        alt.Tooltip("k:Q", format=".4f"),
    ]
    return [*layers, open_.encode(x, _k_axis(), _offset(), tooltip=tips)]


def _cell_layers(table: pd.DataFrame, names: list[str], anchor: float) -> list[alt.Chart]:
    """Matrices, their medians, and crosses at the foot for those without k."""
    x = _component_axis(names)
    colour, shape = _marks.class_scales(table["weight_class"])
    dot = alt.Chart().mark_point(size=42, filled=True, opacity=0.85, strokeWidth=0)
    tick = alt.Chart().mark_tick(thickness=2.5, color=INK, size=40)
    middle = alt.Y("median:Q", scale=alt.Scale(zero=False), title="Weibull shape k")
    layers = [
        _marks.rule_at(anchor, words="an untrained Gaussian matrix"),
        tick.encode(x, middle, tooltip=["component:N", alt.Tooltip("median:Q", format=".4f")]),
        dot.encode(x, _k_axis(), _offset(), colour, shape, tooltip=tooltips()),
    ]
    if table["k"].isna().any():
        layers.append(_marks.crosses(x, "k").encode(_offset()))
    return layers


def trajectories(
    fits: xr.Dataset,
    *,
    value: TrackValue = "k",
    by: By = "component",
    scale: Scale = "log",
) -> Chart:
    """Draw k or λ along the steps of a training run, a line for each matrix.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of at least two steps.
    value : {"k", "lam"}
        What is drawn; λ in units of the weights.
    by : {"component", "weight_class"}
        What makes a small multiple; with several models, each has its own.
    scale : {"log", "linear"}
        Of the steps; on the logarithmic one step 0 stands left of the first other step.

    Returns
    -------
    altair chart
        Layers, or of more than 6 the third they lie in, differ in colour and dash. With k:
        the Gaussian anchor as a rule, and shaded the published band of feed-forward medians
        where it applies. A matrix without fit is a cross at the foot.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a word is unknown, or there are too many panels.

    Examples
    --------
    >>> import weibnb as wb
    >>> rng = np.random.default_rng(0)
    >>> name = "model.layers.0.mlp.up_proj.weight"
    >>> run = {f"m/step{s}": {name: rng.normal(size=(64, 64))} for s in (0, 10)}
    >>> fits = wb.scan(run)
    """
    for argument, given, valid in (
        ("value", value, TrackValue),
        ("by", by, By),
        ("scale", scale, Scale),
    ):
        _marks.one_of(argument, given, get_args(valid))
    fits = _marks.ready(fits)
    table = cells(fits)
    text = f"{VARIABLES[value][0]} along training, a line a layer"
    if table.empty or table[value].isna().all():
        return notice(heading(fits, text), _marks.excluded(fits, table))
    if table["step"].nunique() < 2 or table["step"].dtype.kind not in "iuf":
        return notice(heading(fits, text), ["There is one step only: a line needs two."])
    table, note = _marks.thinned(_marks.panels(table, "model", by), "step", "layer")
    table["depth"] = _marks.depth_words(table)
    x, table["at"] = _step_axis(table["step"].to_numpy(float), scale)
    title = VARIABLES[value][0] + (" (units of the weights)" if value == "lam" else "")
    y = alt.Y(f"{value}:Q", scale=alt.Scale(zero=False, type="log" if value == "lam" else "linear"),
              title=title, axis=alt.Axis(tickCount=5))  # fmt: skip
    layers, words = _track_backdrop(fits, table) if value == "k" else ([], "")
    detail = ["model:N", "component:N", "layer:N", *(["expert:N"] if "expert" in table else [])]
    line = alt.Chart().mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=18))
    layers.append(line.encode(x, y, *_marks.depth_scales(table), detail=detail, tooltip=tooltips()))
    if table[value].isna().any():
        layers.append(_marks.crosses(x, value))
    layered = alt.layer(*layers, data=table).properties(width=200, height=150)
    return dress(_marks.facet(layered, table, heading(fits, text, words, note), columns=4))


def _track_backdrop(fits: xr.Dataset, table: pd.DataFrame) -> tuple[list[alt.Chart], str]:
    """Anchor, and the published band as a strip along the panels that it applies to."""
    layers = [_marks.rule_at(gaussian_anchor(fits).k, words="an untrained Gaussian matrix")]
    words = "dashed: a Gaussian"
    band = BANDS["transmission-feed-forward"]
    inside = table["component"].str.rpartition(".")[2].isin(band.components)
    table["low"], table["high"] = np.nan, np.nan
    own = ("rank_regression", DEFAULT_TRIM["rank_regression"])
    if protocol_of(fits) != own or not inside.any():
        return layers, words
    table.loc[inside, "low"], table.loc[inside, "high"] = band.lower, band.upper
    strip = alt.Chart().mark_rect(color=INK, opacity=0.35)
    low = alt.Y("low:Q", aggregate="min", scale=alt.Scale(zero=False), title="Weibull shape k")
    layers.insert(0, strip.encode(y=low, y2=alt.Y2("max(high):Q")))
    return layers, f"{words} · shaded: published feed-forward medians"


def _step_axis(steps: Array, scale: Scale) -> tuple[alt.X, Array]:
    """Axis of training steps, and where on it each step stands."""
    if scale == "linear":
        return alt.X("at:Q", title="training step", axis=alt.Axis(tickCount=4, format="~s")), steps
    positive = steps[steps > 0]
    zero = float(positive.min()) / 4
    powers = 10.0 ** np.arange(np.ceil(np.log10(positive.min())), np.log10(positive.max()) + 0.01)
    powers = powers[:: max(int(np.ceil(powers.size / 4)), 1)]
    values = ([zero] if (steps == 0).any() else []) + (powers.tolist() or [float(positive.max())])
    axis = alt.Axis(
        values=values, labelExpr=f"datum.value <= {zero!r} ? '0' : format(datum.value, '~s')"
    )
    x = alt.X("at:Q", scale=alt.Scale(type="log", nice=False), axis=axis, title="training step")
    return x, np.where(steps > 0, steps, zero)


def phase_portrait(fits: xr.Dataset) -> Chart:
    """Draw the path of every matrix in the plane of λ and k while it trains.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits of at least two steps.

    Returns
    -------
    altair chart
        A small multiple for each class, with several models for each model and class. Colour is
        the step; a ring is where a path begins, a triangle where it ends.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, or there are too many panels.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> "There is one step" in str(phase_portrait(reference_cohort()).to_dict())
    True
    """
    fits = _marks.ready(fits)
    table, text = cells(fits), "Paths in the plane of λ and k"
    if table.empty or table["k"].isna().all():
        return notice(heading(fits, text), _marks.excluded(fits, table))
    if table["step"].nunique() < 2 or table["step"].dtype.kind not in "iuf":
        return notice(heading(fits, text), ["There is one step only: a path needs two."])
    lost = table["reason"].loc[table["k"].isna()].value_counts()
    gaps = ", ".join(f"{count} {_marks.short(word)}" for word, count in lost.head(4).items())
    table = _marks.panels(table[table["k"].notna()], "model", "weight_class")
    table, note = _marks.thinned(table, "step", "layer")
    key = ["model", "layer", "component", *(["expert"] if "expert" in table else [])]
    groups = table.groupby(key, sort=False)["step"]
    table["role"] = np.select(
        [table["step"] == groups.transform("min"), table["step"] == groups.transform("max")],
        ["begin", "end"],
        "between",
    )
    words = "dashed: a Gaussian · ring: begin, triangle: end"
    heads = heading(fits, text, words, note, f"not fitted, not drawn: {gaps}" if gaps else "")
    layered = alt.layer(*_path_layers(table, key, gaussian_anchor(fits).k), data=table)
    layered = layered.properties(width=240, height=210)
    return dress(_marks.facet(layered, table, heads, columns=3))


def _path_layers(table: pd.DataFrame, key: list[str], anchor: float) -> list[alt.Chart]:
    x = alt.X("lam:Q", scale=alt.Scale(type="log", nice=False, padding=8),
              title="Weibull scale λ (units of the weights)",
              axis=alt.Axis(tickCount=4, format="~g", labelOverlap=True))  # fmt: skip
    first = float(table.loc[table["step"] > 0, "step"].min())
    values = [0, first, float(table["step"].max())]
    legend = alt.Legend(title="step", format=",d", values=values)
    steps = alt.Scale(type="symlog", constant=first, range=[COLOURS[0], INK, COLOURS[1]])
    colour = alt.Color("step:Q", scale=steps, legend=legend)
    roles = alt.Scale(domain=["begin", "between", "end"], range=["circle", "stroke", "triangle-up"])
    sizes = alt.Scale(domain=["begin", "between", "end"], range=[55, 12, 60])
    path = alt.Chart().mark_line(color=INK, opacity=0.6, strokeWidth=1)
    point = alt.Chart().mark_point(filled=False, strokeWidth=1.6)
    return [
        _marks.rule_at(anchor, words="an untrained Gaussian matrix"),
        path.encode(x, _k_axis(), alt.Order("step:Q"), detail=[f"{name}:N" for name in key]),
        point.encode(
            x, _k_axis(), colour, alt.Shape("role:N", scale=roles, legend=None),
            alt.Size("role:N", scale=sizes, legend=None), tooltip=tooltips(),
        ),
    ]  # fmt: skip


def depth_profile(fits: xr.Dataset) -> Chart:
    """Draw k along the layers of each component, with standard errors.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 6 models.

    Returns
    -------
    altair chart
        A small multiple for each component; models differ in colour, shape and dash.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, has more than 6 models, or too many components.

    Examples
    --------
    >>> from weibnb.cohorts import reference_cohort
    >>> chart = depth_profile(reference_cohort().isel(model=[0]))
    """
    fits = _marks.last_step(_marks.ready(fits))
    table, text = cells(fits), "Weibull shape k along the layers, ± one standard error"
    if table.empty or table["k"].isna().all():
        return notice(heading(fits, text), _marks.excluded(fits, table))
    table, note = _marks.thinned(_marks.panels(table, "component"), "layer")
    table["low"], table["high"] = table["k"] - table["k_se"], table["k"] + table["k_se"]
    x = alt.X("layer:O", title="layer", axis=alt.Axis(labelOverlap=True, labelAngle=0))
    colour, shape, dash = _marks.model_scales(table["model"])
    bars = alt.Chart().mark_rule(strokeWidth=1.5)
    line, dots = alt.Chart().mark_line(strokeWidth=1), alt.Chart().mark_point(filled=True, size=40)
    detail = ["model:N", *(["expert:N"] if "expert" in table else [])]
    layers = [
        _marks.rule_at(gaussian_anchor(fits).k, words="an untrained Gaussian matrix"),
        bars.encode(x, colour, y=alt.Y("low:Q", title="Weibull shape k"), y2="high:Q"),
        line.encode(x, _k_axis(), colour, dash, detail=detail),
        dots.encode(x, _k_axis(), colour, shape, tooltip=tooltips()),
    ]
    if table["k"].isna().any():
        layers.append(_marks.crosses(x, "k"))
    layered = alt.layer(*layers, data=table).properties(width=200, height=140)
    heads = heading(fits, text, "dashed: a Gaussian", note)
    return dress(_marks.facet(layered, table, heads, columns=4))


def cohort(fits: xr.Dataset) -> Chart:
    """Draw the medians of up to 6 models among the 12 published entries, component by component.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits by rank regression at trim 10-90 %: the last step of each model.

    Returns
    -------
    altair chart
        Ticks are the published entries, marks the models' medians over layers ± one standard
        error. The title names the entry that `weibnb.compare` finds nearest.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits by this protocol, or has more than 6 models.

    Examples
    --------
    >>> chart = cohort(reference_cohort().isel(model=[0]))
    """
    fits = _marks.ready(fits)
    text = "Medians of k among the published entries"
    require_protocol(fits, "The cohort")
    if fits["k"].size == 0 or not bool(fits["k"].notnull().any()):
        return notice(heading(fits, text), _marks.excluded(fits, cells(fits)))
    parts, notes = [], []
    for name in fits["model"].values:
        model = _marks.last_step(fits.sel(model=[name]))
        own = summarise(model).isel(model=0, step=-1)
        columns = {"component": own["component"].values, "k": own["k"].values}
        table = pd.DataFrame(columns | {"se": own["standard_error"].values})
        parts.append(table.dropna(subset="k").assign(model=_marks.clean(name)))
        notes.append(_nearest(model, _marks.short(name)))
    own_table = pd.concat(parts, ignore_index=True)
    own_table["component"] = own_table["component"].map(_marks.clean)
    names = list(dict.fromkeys(own_table["component"]))
    own_table["low"] = own_table["k"] - own_table["se"].fillna(0)
    own_table["high"] = own_table["k"] + own_table["se"].fillna(0)
    layers = _cohort_layers(own_table, names, gaussian_anchor(fits).k)
    heads = heading(fits, text, "ticks: published entries · dashed: a Gaussian", *notes[:3])
    layered = alt.layer(*layers).properties(
        width=max(64 * len(names), 240), height=280, title=heads
    )
    return dress(layered)


def _nearest(model: xr.Dataset, name: str) -> str:
    published = reference_cohort()["component"].values
    shared = model["k"].notnull() & model["component"].isin(published)
    if not bool(shared.any()):
        return f"{name}: no published entry has its components"
    first = rank_entries(model).iloc[0]
    note = f" ({first['note']})" if first["note"] else ""
    return f"{name}: nearest {first['entry']}, distance {first['distance']:.2f}{note}"


def _cohort_layers(own: pd.DataFrame, names: list[str], anchor: float) -> list[alt.Chart]:
    entries = cells(_marks.ready(reference_cohort()))
    entries = entries.loc[entries["component"].isin(names), ["model", "component", "k"]]
    x, (colour, shape, _) = _component_axis(names), _marks.model_scales(own["model"])
    tips = [alt.Tooltip("component:N"), alt.Tooltip("k:Q", format=".4f")]
    tick = alt.Chart(entries).mark_tick(color=INK, thickness=1.5, size=30)
    bars = alt.Chart(own).mark_rule(strokeWidth=2)
    dots = alt.Chart(own).mark_point(filled=True, size=90)
    error = alt.Tooltip("se:Q", title="standard error", format=".2g")
    low = alt.Y("low:Q", title="Weibull shape k")
    return [
        _marks.rule_at(anchor, words="an untrained Gaussian matrix"),
        tick.encode(x, _k_axis(), tooltip=[alt.Tooltip("model:N", title="published"), *tips]),
        bars.encode(x, colour, y=low, y2="high:Q"),
        dots.encode(x, _k_axis(), colour, shape, tooltip=["model:N", *tips, error]),
    ]


def body_tail_chart(fits: xr.Dataset) -> Chart:
    """Draw k of the central 80 %, 90 % and all of the weights, against that of a Gaussian.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits with counts: the last step of each model.

    Returns
    -------
    altair chart
        A line for each matrix, a small multiple for each component; dashed: a Gaussian. Lines
        that fall more steeply have a heavier tail, a Weibull's is level.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits with counts, or there are too many panels.

    Notes
    -----
    Cost: that of `weibnb.tails.body_tail`.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> chart = body_tail_chart(fits)
    """
    whole = with_all_dims(require(fits, "counts", "counts_exact"))
    light = _marks.last_step(_marks.ready(fits))
    table, text = cells(light), "k by the share of weights that is fitted"
    if table.empty or table["k"].isna().all():
        return notice(heading(light, text), _marks.excluded(light, table))
    table, note = _marks.thinned(_marks.panels(table, "model", "component"), "layer", rows=1_500)
    whole = whole.sel(step=light["step"]).isel(layer=whole["layer"].isin(table["layer"]).values)
    tail = body_tail(whole)
    dims = [*light["k"].dims, "trim"]
    values = tail[["k", "k_se"]].reset_coords(drop=True).to_dataframe(dim_order=dims).reset_index()
    for name in ("model", "component"):
        values[name] = values[name].map(_marks.clean)
    joined = table.drop(columns=["k", "k_se"]).merge(values, on=[str(dim) for dim in dims[:-1]])
    joined["share"], joined["depth"] = 100 * joined["trim"], _marks.depth_words(joined)
    layers = _tail_layers(joined, tail)
    layered = alt.layer(*layers, data=joined).properties(width=150, height=150)
    estimator = protocol_of(light)[0].replace("_", " ")
    heads = heading(light, text, f"dashed: a Gaussian by {estimator} of the same share", note)
    return dress(_marks.facet(layered, joined, heads, columns=4))


def _tail_layers(table: pd.DataFrame, tail: xr.Dataset) -> list[alt.Chart]:
    x = alt.X("share:O", title="central share (%)", axis=alt.Axis(labelAngle=0))
    ideal = {"share": 100 * tail["trim"].values, "k": tail["gaussian_k"].values}
    gaussian = alt.Chart(pd.DataFrame(ideal)).mark_line(color=INK, strokeDash=[5, 3])
    line = alt.Chart().mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=18))
    detail = ["layer:N", *(["expert:N"] if "expert" in table else [])]
    scales = _marks.depth_scales(table)
    return [
        gaussian.encode(x, _k_axis()),
        line.encode(x, _k_axis(), *scales, detail=detail, tooltip=tooltips()),
    ]


def outlier_strip(fits: xr.Dataset) -> Chart:
    """Draw how far the largest weight of every matrix lies beyond a Gaussian's.

    Parameters
    ----------
    fits : xarray.Dataset
        Fits from `weibnb.scan`: the last step of at most 12 models.

    Returns
    -------
    altair chart
        max |w| over the expected maximum of a Gaussian with the same body, on a logarithmic axis;
        beyond the rule at 3 `weibnb.find_outliers` looks, and a label names the layer.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, a variable is missing, or there are too many models.

    Examples
    --------
    >>> import weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> fits = wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}})
    >>> chart = outlier_strip(fits)
    """
    fits = _marks.last_step(_marks.ready(fits))
    table, text = cells(fits, {"value": _map_values(fits, "outlier")}), _MAP_TITLES["outlier"]
    if table.empty or table["value"].isna().all():
        return notice(heading(fits, text), _marks.excluded(fits, table))
    table = _marks.panels(table, "model")
    limit = FACTORS["gaussian"]
    table["flag"] = np.where(table["value"] > limit, "layer " + table["layer"].astype(str), "")
    far = table["value"].rank(ascending=False) > 12
    table.loc[far, "flag"] = ""
    table, note = _marks.thinned(table.sort_values("value", ascending=False), "layer")
    names = [name for name in map(_marks.clean, fits["component"].values)
             if name in set(table["component"])]  # fmt: skip
    scale = alt.Scale(type="log", nice=False, padding=14)
    x = alt.X("value:Q", scale=scale, title="largest |w| / expected largest of a Gaussian",
              axis=alt.Axis(values=_RATIOS, format="~g"))  # fmt: skip
    y = alt.Y("component:N", title=None, scale=alt.Scale(domain=names))
    colour, shape = _marks.class_scales(table["weight_class"])
    dots = alt.Chart().mark_point(filled=True, size=50, opacity=0.85)
    flags = alt.Chart().mark_text(align="left", dx=7, color=INK, fontSize=10)
    layers = [
        _marks.rule_at(limit, "x", "an outlier by weibnb.find_outliers"),
        _marks.rule_at(1.0, "x", "a Gaussian"),
        dots.encode(x, y, colour, shape, tooltip=tooltips("value=max ratio")),
        flags.encode(x, y, text="flag:N"),
    ]
    lost = table["reason"].loc[table["value"].isna()].value_counts()
    gaps = ", ".join(f"{count} {_marks.short(word)}" for word, count in lost.head(4).items())
    rules = "dashed: 1, a Gaussian; 3, an outlier"
    heads = heading(fits, text, rules, note, f"not fitted, not drawn: {gaps}" if gaps else "")
    layered = alt.layer(*layers, data=table).properties(width=380, height=max(26 * len(names), 80))
    return dress(_marks.facet(layered, table, heads, columns=2))
