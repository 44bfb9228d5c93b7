"""The Weibull plot: at most 12 matrices, each with its counts and its line, in one plot."""

from __future__ import annotations

from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from scipy import special

from weibnb.charts.chart_functions import as_chart
from weibnb.charts.curves import curves, labels, number_of
from weibnb.charts.marks import (
    DASHES,
    SHAPES,
    heading,
    nothing_drawn,
)
from weibnb.charts.sentences import listed
from weibnb.charts.tables import MAX_PANELS, cells, joined
from weibnb.charts.vega import COLOURS
from weibnb.charts.weibull_arrangements import differences, first_fitted, multiples
from weibnb.charts.weibull_paper import (
    LINE_ENDS,
    chosen_points,
    matrix_scales,
    paper_panel,
    residual_panel,
    top_of,
    trim_of,
)
from weibnb.diagnostics.outliers import FACTORS, expected_gaussian_maximum
from weibnb.fits.schema import DIMS, gaussian_anchor, prepare, protocol_of
from weibnb.fitting.weibull import Estimator, ordinate, protocol_text
from weibnb.messages import TooManyError, check_choice, shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.charts.curves import Curve
    from weibnb.charts.vega import Spec

    Array = NDArray[np.float64]

Arrangement = Literal["overlay", "multiples", "difference"]

# Most matrices with a dotted Gaussian, and for which estimators are compared.
_DOTTED, _COMPARED = 4, 4
# A bar that stands for a line in a legend of filled symbols, broken.
_BAR = "M-1.4,-0.2H-0.3V0.2H-1.4ZM0.3,-0.2H1.4V0.2H0.3Z"


@as_chart
def weibull_plot(
    fits: xr.Dataset,
    *,
    level: float = 0.95,
    compare: xr.Dataset | None = None,
    estimators: Sequence[Estimator] = (),
    arrangement: Arrangement = "overlay",
    residuals: bool = True,
) -> Spec:
    """Draw matrices on Weibull paper, with their fitted lines and the residuals.

    Parameters
    ----------
    fits : xarray.Dataset
        At most 12 matrices; of more, ``"multiples"`` draw the first 12. Of fits without counts,
        as published ones, the lines alone are drawn.
    level : float
        Confidence level of the bands around the lines.
    compare : xarray.Dataset, optional
        Further fits by the same protocol; at most 12 matrices in both together.
    estimators : sequence of {"rank_regression", "maximum_likelihood"}
        Further estimators, drawn as broken lines beside those of `fits`, for at most 4 matrices.
        Each refits at its own trim (see `weibnb.refit`). In an overlay alone.
    arrangement : {"overlay", "multiples", "difference"}
        All matrices in one plot; one small multiple each, with the line of the first one in all;
        or, over the quantiles, how far each lies above the line of the first one.
    residuals : bool
        Whether an overlay has a lower panel.

    Returns
    -------
    altair chart
        Above: magnitudes (units of the weights) and the percentage of weights below them, at
        most 100 points per matrix, from 0.01 % on. The lower panel has the same points less the
        line. The trim is shaded; λ is marked at 63.2 %; dotted: a half-normal with
        σ = λ / (λ/σ of the Gaussian anchor), for at most four matrices; rings: weights more than
        3 times as large as a Gaussian's expected maximum.

    Raises
    ------
    TypeError, ValueError
        If `fits` is not a Dataset of fits, there are too many matrices, the protocols
        differ, `level` is not a probability, or an estimator or arrangement is unknown.

    Notes
    -----
    With ``y = k (ln x - ln λ)`` the band is ``y ± z s``,
    ``s² = (ln x - ln λ)² SE(k)² + k² SE(ln λ)² - 2 k (ln x - ln λ) ρ SE(k) SE(ln λ)``.

    Examples
    --------
    >>> import numpy as np, weibnb as wb
    >>> weights = np.random.default_rng(0).normal(0, 0.02, (64, 64))
    >>> chart = weibull_plot(wb.scan({"tiny": {"model.layers.0.mlp.up_proj.weight": weights}}))
    >>> len(chart.to_dict()["vconcat"])
    2
    """
    if not isinstance(level, Real) or not 0 < level < 1:
        raise ValueError(f"`level` must satisfy 0 < level < 1, got {level!r}. Try level=0.95.")
    check_choice("arrangement", arrangement, get_args(Arrangement))
    if estimators and arrangement != "overlay":
        raise ValueError(
            f"`estimators` must be empty where `arrangement` is not 'overlay', got {estimators!r}."
        )
    drawn = _both(fits, compare, first=MAX_PANELS if arrangement == "multiples" else None)
    text, note = "Weibull plot", _note(fits, drawn, arrangement, estimators)
    if not any(curve.share.size or ("counts" not in fits and curve.fitted) for curve in drawn):
        light = prepare(fits, light=True, dims=DIMS)
        return nothing_drawn(light, cells(light), text, note)
    short = labels([curve.place for curve in drawn])
    title = heading(fits, text, note, _left_out([fits, compare], drawn))
    names = [_legend_name(curve, label) for curve, label in zip(drawn, short, strict=True)]
    told = {"description": f"Weibull plot. {listed(names)}"}
    if arrangement == "multiples":
        return multiples(drawn, short, title) | told
    if arrangement == "difference":
        return differences(drawn, short, names, title) | told
    factor = float(special.ndtri(0.5 + level / 2))
    ratio = gaussian_anchor(fits).lam_over_rms
    points, lines = _overlaid(drawn, names, ratio, factor)
    looks = [
        (COLOURS[i % 6], SHAPES[(i + i // 6) % 6], DASHES[(i + i // 6) % 6])
        for i in range(len(names))
    ]
    for words, i, part in _others([fits, compare], drawn, short, estimators):
        names.append(words)
        looks.append((looks[i][0], _BAR, [7, 4]))
        lines.append(part | drawn[i].place | {"matrix": words})
    table, line = joined(points), joined(lines) if lines else None
    encodings = matrix_scales(names, looks)
    upper = paper_panel(table, line, encodings, trim_of(fits), top_of(drawn), titled=not residuals)
    if not residuals:
        return upper | told | {"title": title}
    return told | {
        "vconcat": [upper | {"title": title}, residual_panel(table, line, encodings)],
        "spacing": 8,
    }


def _note(
    fits: xr.Dataset,
    drawn: Sequence[Curve],
    arrangement: Arrangement,
    estimators: Sequence[Estimator],
) -> str:
    """Say what the lines and shades of an arrangement are."""
    short = labels([curve.place for curve in drawn])
    first = first_fitted(drawn)
    if arrangement == "overlay":
        note = "shaded: the trim · dotted: a Gaussian"
        note += " · broken: other estimators" if estimators else ""
    elif first is None:
        note = ""
    elif arrangement == "multiples":
        note = f"dashed: the line of {short[first]}" if len(drawn) > 1 else ""
    else:
        note = f"above 0: weights are smaller than by the line of {short[first]}"
    if "counts" not in fits:
        note += f"{' · ' * bool(note)}these fits hold k and λ alone: lines without points"
    return note


def _left_out(parts: Sequence[xr.Dataset | None], drawn: Sequence[Curve]) -> str:
    """Say how many of the matrices are drawn, unless all are."""
    number = sum(number_of(part) for part in parts if part is not None)
    return f"{len(drawn)} of {number:,} matrices drawn" if number > len(drawn) else ""


def _overlaid(
    drawn: Sequence[Curve], names: Sequence[str], ratio: float, factor: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Compute points and lines of the matrices of one plot."""
    points, lines = [], []
    for i, (curve, label) in enumerate(zip(drawn, names, strict=True)):
        sigma = curve.numbers["lam"] / ratio
        points.append(_points(curve, sigma) | {"matrix": label})
        if curve.fitted:
            own = _lines(curve, sigma, factor, dotted=i < _DOTTED)
            lines += [part | curve.place | {"matrix": label} for part in own]
    return points, lines


def _both(fits: xr.Dataset, compare: xr.Dataset | None, first: int | None) -> list[Curve]:
    """Read the matrices, or the `first`, of both Datasets, which must have one protocol."""
    found = curves(fits, lines_alone=True, first=first)
    if compare is not None:
        try:
            others = curves(compare, lines_alone=True, first=first)
        except (TypeError, ValueError) as err:
            kind = TypeError if isinstance(err, TypeError) else ValueError
            raise kind(str(err).replace("`fits`", "`compare`", 1)) from err
        if protocol_of(fits) != protocol_of(compare):
            raise ValueError(
                f"`compare` must have the protocol of `fits`, {protocol_of(fits)}, got "
                f"{protocol_of(compare)}. Fit again: weibnb.refit."
            )
        found = (found + others)[:first]
    if len(found) > MAX_PANELS:
        raise ValueError(
            f"`fits` and `compare` must hold at most {MAX_PANELS} matrices, got {len(found)}."
        )
    return found


def _legend_name(curve: Curve, label: str) -> str:
    n = curve.numbers
    if not curve.fitted:
        return f"{label}: not fitted ({shortened(curve.status)})"
    if np.isnan(n["n"]):
        return f"{label}:  k {n['k']:.4f}   λ {n['lam']:.4g}"
    text = f"{label}:  k {n['k']:.4f} ± {n['k_se']:.2g}   λ {n['lam']:.4g}   r² {n['r2']:.4f}"
    experts = f"   median of {n['n_matrices']:.0f} experts" if n["n_matrices"] > 1 else ""
    return f"{text}   KS {n['ks']:.3f}   n {n['n']:,.0f}{experts}"


def _points(curve: Curve, sigma: float) -> dict[str, Any]:
    """Give points of a matrix from 0.01 % on, and how far each lies from the line."""
    kept = chosen_points(curve, 1e-4)
    x, y, n = curve.magnitude[kept], ordinate(curve.share[kept]), curve.numbers
    fitted = curve.line(x) if curve.fitted else np.full(x.size, np.nan)
    known = curve.fitted and n["n"] > 0
    limit = FACTORS["gaussian"] * expected_gaussian_maximum(n["n"], sigma) if known else np.inf
    return {
        "magnitude": x,
        "percent": 100 * curve.share[kept],
        "y": y,
        "residual": y - fitted,
        "detached": np.where(x > limit, "yes", "no"),
    }


def _span(k: float, lam: float) -> Array:
    """Return magnitudes along a line, over the plotted percentages."""
    ends = ordinate(np.array(LINE_ENDS)) / k + np.log(lam)
    return np.asarray(np.exp(np.linspace(ends[0], ends[1], 50)))


def _lines(curve: Curve, sigma: float, factor: float, *, dotted: bool) -> list[dict[str, Any]]:
    """Compute the line of one matrix with its band, its Gaussian, and λ."""
    lam = curve.numbers["lam"]
    x = _span(curve.numbers["k"], lam)
    y, margin = curve.line(x), factor * curve.line_error(x)
    line = {"kind": "line", "magnitude": x, "y": y, "low": y - margin, "high": y + margin}
    line |= {"residual": np.zeros(x.size), "spread": margin, "under": -margin}
    scale = {"kind": "scale", "magnitude": np.array([lam]), "y": np.zeros(1)}
    if not dotted:
        return [line, scale]
    below = special.erf(x / (sigma * np.sqrt(2)))
    gaussian = ordinate(np.minimum(below, 1 - 1e-12))
    kept = gaussian < ordinate(LINE_ENDS[1])
    curved = {"magnitude": x[kept], "y": gaussian[kept], "residual": (gaussian - y)[kept]}
    return [line, curved | {"kind": "gaussian"}, scale]


def _others(
    parts: Sequence[xr.Dataset | None],
    drawn: Sequence[Curve],
    short: Sequence[str],
    estimators: Sequence[Estimator],
) -> list[tuple[str, int, dict[str, Any]]]:
    """Give the lines of further estimators: words for the legend, which matrix, and the line."""
    for estimator in estimators:
        check_choice("estimators", estimator, get_args(Estimator))
    if estimators and len(drawn) > _COMPARED:
        room, select = f"{_COMPARED} matrices", "fits.sel(layer=0).isel(step=-1)"
        raise TooManyError(room, len(drawn), use="to compare estimators", select=select)
    found = []
    for estimator in dict.fromkeys(estimators):
        from weibnb.fits.refit import refit

        again = [refit(part, estimator=estimator) for part in parts if part is not None]
        fresh = [curve for part in again for curve in curves(part)]
        words = protocol_text(protocol_of(again[0])[1], estimator)
        for i, (curve, own, label) in enumerate(zip(fresh, drawn, short, strict=True)):
            if not curve.fitted:
                nothing = {"kind": "other", "y": np.zeros(0)}
                found.append((f"{label}, {words}: not fitted", i, nothing))
                continue
            n = curve.numbers
            x = _span(n["k"], n["lam"])
            y = curve.line(x)
            residual = y - own.line(x) if own.fitted else np.full(x.size, np.nan)
            text = f"{label}, {words}:  k {n['k']:.4f} ± {n['k_se']:.2g}   λ {n['lam']:.4g}"
            line = {"kind": "other", "magnitude": x, "y": y, "residual": residual}
            found.append((text, i, line))
    return found
