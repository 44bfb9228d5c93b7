"""What `weibnb.charts.density` shows: the counted weights, and the distributions over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import magnitudes
from weibnb import charts

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

SCALES = ["log", "linear"]


def one_matrix(values: NDArray[Any]) -> xr.Dataset:
    return wb.scan({"m": {show.tensor("up_proj", 0): values}})


def area(chart: Any) -> show.Mark:
    return show.mark(chart, "area")


def curve(chart: Any, kind: str, component: str | None = None) -> tuple[Array, Array]:
    """Magnitudes and densities of one of the lines, or of the area ``"counted"``."""
    every = [
        part
        for part in show.marks(chart)
        if part.kind == "area" or (part.kind == "line" and part.look["strokeWidth"] == 1.8)
    ]
    drawn = every[0]
    rows = [
        row
        for part in every
        if (part.kind == "area") == (kind == "counted")
        for row in part.rows
        if row["kind"] == kind and (component is None or row["component"] == component)
    ]
    x, y = ([row[drawn.field(channel)] for row in rows] for channel in ("x", "y"))
    return np.array(x, float), np.array(y, float)


def edges_of(middle: Array, scale: str) -> Array:
    """Edges of the intervals whose middles are drawn."""
    x = np.log(middle) if scale == "log" else middle
    step = (x[-1] - x[0]) / (x.size - 1)
    edges = np.append(x - step / 2, x[-1] + step / 2)
    return np.exp(edges) if scale == "log" else edges


@pytest.fixture(scope="module")
def values() -> NDArray[np.float16]:
    return show.draw(1.1, seed=4, side=200)


@pytest.mark.parametrize("scale", SCALES)
def test_the_area_is_the_histogram_of_the_weights(values: NDArray[Any], scale: Any) -> None:
    x, density = curve(charts.density(one_matrix(values), scale=scale, rival=False), "counted")
    edges = edges_of(x, scale)
    width = np.diff(np.log(edges) if scale == "log" else edges)
    ordered = magnitudes(values)
    expected, _ = np.histogram(ordered, edges)
    assert np.abs(density * width * ordered.size - expected).max() < 12
    assert np.abs(np.cumsum(density * width * ordered.size - expected)).max() < 50
    assert (density * width).sum() == pytest.approx(0.999, abs=2e-4)


def test_the_axis_spans_the_weights(values: NDArray[Any]) -> None:
    ordered = magnitudes(values)
    fits = one_matrix(values)
    x, _ = curve(charts.density(fits, rival=False), "counted")
    edges = edges_of(x, "log")
    assert edges[0] == pytest.approx(np.quantile(ordered, 0.001), rel=0.02)
    assert edges[-1] == pytest.approx(ordered[-1], rel=1e-5)
    x, _ = curve(charts.density(fits, scale="linear", rival=False), "counted")
    edges = edges_of(x, "linear")
    assert edges[0] == pytest.approx(0, abs=1e-6)
    assert edges[-1] == pytest.approx(np.quantile(ordered, 0.999), rel=0.01)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.0, 1.0)])
def test_the_lines_are_the_densities_of_scipy(
    values: NDArray[Any], scale: Any, trim: tuple[float, float]
) -> None:
    fits = wb.refit(one_matrix(values), trim=trim)
    k, lam = fits["k"].item(), fits["lam"].item()
    sigma = lam / wb.anchor(trim=trim).lam_over_rms
    chart = charts.density(fits, scale=scale, rival=False)
    for kind, there in {
        "Weibull": stats.weibull_min(k, scale=lam),
        "half-normal": stats.halfnorm(scale=sigma),
    }.items():
        x, y = curve(chart, kind)
        assert np.allclose(y, there.pdf(x) * (x if scale == "log" else 1), rtol=2e-5, atol=1e-12)


@pytest.mark.parametrize("scale", SCALES)
def test_every_curve_encloses_its_share_of_the_weights(values: NDArray[Any], scale: Any) -> None:
    fits = one_matrix(values)
    chart = charts.density(fits, scale=scale, rival=False)
    there = stats.weibull_min(fits["k"].item(), scale=fits["lam"].item())
    x, y = curve(chart, "Weibull")
    edges = edges_of(x, scale)
    width = np.diff(np.log(edges) if scale == "log" else edges)
    assert (y * width).sum() == pytest.approx(np.diff(there.cdf(edges[[0, -1]])).item(), abs=2e-3)
    assert (y * width).sum() == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize(("scale", "unit"), [("log", "per ln |w|"), ("linear", "per unit of w")])
def test_axes_say_their_units(values: NDArray[Any], scale: Any, unit: str) -> None:
    chart = charts.density(one_matrix(values), scale=scale, rival=False)
    x, below = sorted(show.axes(chart, "X"), reverse=True)
    assert below.startswith(f"X-axis for a {scale} scale"), "the strip below has the title"
    assert x.startswith(f"X-axis titled '|w| (units of the weights)' for a {scale} scale")
    y, strip = sorted(show.axes(chart, "Y"), key=lambda text: "Weibull" in text)
    assert strip.startswith("Y-axis titled '÷ Weibull' for a log scale with values from 0.25 to 4")
    assert y.startswith(f"Y-axis titled 'density {unit}' for a linear scale with values from 0")
    assert show.title(chart) == f"Density of {'ln |w|' if scale == 'log' else '|w|'}"
    for part in show.marks(chart):
        if part.encoding["y"].get("field") == "ratio":
            ratios = part.values("y")
            assert 0.25 <= min(ratios) <= max(ratios) <= 4, "far ratios are left out of the strip"


def test_the_legend_names_what_is_drawn(values: NDArray[Any]) -> None:
    chart = charts.density(one_matrix(values), rival=False)
    line = show.mark(chart, "line", strokeWidth=1.8)
    assert line.scale("color")["domain"] == ["Weibull", "half-normal"]
    assert line.scale("strokeDash")["domain"] == ["Weibull", "half-normal"]
    assert len(set(line.scale("color")["range"])) == 2
    (legend,) = show.legends(chart)
    assert legend.endswith("with 2 values: Weibull, half-normal")
    assert "area: counted weights" in show.subtitle(chart)


@pytest.mark.parametrize("scale", SCALES)
def test_the_best_family_is_drawn_where_it_is_neither(scale: Any) -> None:
    rng = np.random.default_rng(2)
    fits = wb.scan(
        {
            "m": {
                show.tensor("up_proj", 0): rng.standard_t(3, (150, 150)).astype(np.float16),
                show.tensor("down_proj", 0): rng.normal(0, 1, (150, 150)).astype(np.float16),
            }
        }
    )
    chart = charts.density(fits, scale=scale)
    table = wb.rank_families(fits)
    best = table[(table["rank"] == 1) & (table["component"] == "up_proj")].iloc[0]
    assert best["family"] == "student_t"
    shape, scale_ = float(best["shape"]), float(best["scale"])
    x, y = curve(chart, "best family", "up_proj")
    there = stats.t(shape, scale=scale_)
    assert np.allclose(y, 2 * there.pdf(x) * (x if scale == "log" else 1), rtol=2e-5)
    assert not curve(chart, "best family", "down_proj")[0].size
    heads = show.panels(chart)
    k = fits["k"].squeeze()
    assert heads == [
        f"{name} of layer 0, k {k.sel(component=name).item():.3f}\n{verdict}"
        for name, verdict in {
            "up_proj": f"best: Student's t, ν {shape:.3g}",
            "down_proj": "best family: half-normal",
        }.items()
    ]
    assert show.mark(chart, "line", strokeWidth=1.8).scale("color")["domain"][-1] == "best family"


def test_without_rival_no_family_is_named() -> None:
    chart = charts.density(show.first_cells(show.run()), rival=False)
    k = show.first_cells(show.run())["k"].squeeze().values
    assert show.panels(chart) == [
        f"{name}_proj of layer 0, k {value:.3f}" for name, value in zip("qv", k, strict=True)
    ]


def test_one_matrix_is_named_below_the_title() -> None:
    cell = show.run().sel(layer=2, component="v_proj", step=10)
    chart = charts.density(cell, rival=False)
    assert not show.panels(chart)
    assert f"v_proj of layer 2, k {cell['k'].item():.3f}" in show.subtitle(chart)


def test_panels_hold_the_curves_of_their_matrix() -> None:
    twelve = show.run().isel(component=slice(0, 4), step=-1)
    chart = charts.density(twelve, rival=False)
    assert len(show.panels(chart)) == 12
    for layer in range(3):
        for name in show.RUN_COMPONENTS[:4]:
            own = charts.density(twelve.sel(layer=layer, component=name), rival=False)
            here = [row for part in show.marks(chart) if part.look.get("strokeWidth") == 1.8
                    for row in part.rows
                    if (row["layer"], row["component"]) == (layer, name)]  # fmt: skip
            there = show.mark(own, "line", strokeWidth=1.8).rows
            assert [row["density"] for row in here] == [row["density"] for row in there]
            assert {row["panel"].split(",")[0] for row in here} == {f"{name} of layer {layer}"}


def test_the_one_in_the_last_row_is_named() -> None:
    fits = show.run().isel(step=[0], component=[0, 1], layer=[0, 1])
    chart = charts.density(fits, rival=False)
    assert len(show.panels(chart)) == 4
    picture = show.svg(chart)
    for name in show.panels(chart):
        assert name in picture


def test_experts_have_a_panel_each() -> None:
    some = show.each_expert().isel(layer=0, component=0).sel(expert=[0, 1, 2])
    heads = show.panels(charts.density(some, rival=False))
    assert [f"expert {i}" in head for i, head in enumerate(heads)] == [True] * 3


def test_matrices_without_density_are_counted() -> None:
    chart = charts.density(show.holes(), rival=False)
    assert "not drawn: 1 all_zero, 1 constant" in show.subtitle(chart)
    heads = show.panels(chart)
    assert not [head for head in heads if head.startswith("up_proj of layer 1")]
    alone = charts.density(show.holes().sel(layer=2, component="up_proj"), rival=False)
    assert "all_zero: 1" in show.words(alone)


def test_a_matrix_with_counts_but_no_fit_has_an_area_and_no_line() -> None:
    small = np.arange(1, 13).reshape(3, 4).astype(np.float16)
    chart = charts.density(one_matrix(small), rival=False)
    assert area(chart).rows
    assert not [part for part in show.marks(chart) if part.kind == "line"]


@settings(max_examples=6, deadline=None)
@given(power=st.integers(-4, 4), seed=st.integers(0, 50))
def test_scaling_the_weights_shifts_the_density_of_the_logarithm(power: int, seed: int) -> None:
    weights = show.draw(1.2, seed=seed)
    weights[np.abs(weights) < 2e-3] = np.float16(2e-3)
    drawn = [
        charts.density(one_matrix(part), rival=False)
        for part in (weights, weights * np.float16(2.0**power))
    ]
    for kind in ("counted", "Weibull", "half-normal"):
        (x, y), (u, v) = (curve(chart, kind) for chart in drawn)
        assert np.allclose(u / x, 2.0**power, rtol=1e-6)
        assert np.allclose(y, v, rtol=1e-5, atol=1e-9)


def test_errors_name_the_argument_and_the_remedy() -> None:
    bad: Any = "linaer"
    with pytest.raises(ValueError, match=r"`scale` must be one of .*Did you mean 'linear'"):
        charts.density(show.first_cells(show.run()), scale=bad)
    with pytest.raises(ValueError, match="`fits` must hold counts; scan with keep_counts=True"):
        charts.density(show.run().isel(step=0).drop_vars("counts"))
    with pytest.raises(ValueError, match=r"at most 12 matrices for this chart, got 15.*fits\.sel"):
        charts.density(show.run().isel(step=0))


@pytest.mark.parametrize("scale", SCALES)
def test_the_strip_below_is_the_ratio_to_the_weibull(scale: Any) -> None:
    fits = show.demo().sel(component=["o_proj", "up_proj"], layer=[0], step=[7000])
    chart = charts.density(fits, scale=scale, rival=False)
    dots, line = show.mark(chart, "point"), show.mark(chart, "line", strokeWidth=1.3)
    for component in ("o_proj", "up_proj"):
        _x, weibull = curve(chart, "Weibull", component)
        for mark, kind in ((dots, "counted"), (line, "half-normal")):
            _x, own = curve(chart, kind, component)
            found = [row["ratio"] for row in mark.rows
                     if (row["component"], row["kind"]) == (component, kind)]  # fmt: skip
            known = (own > 0) & (weibull > 1e-9)
            ratios = own[known] / weibull[known]
            shown = ratios[(ratios >= 0.25) & (ratios <= 4)]
            assert found == pytest.approx(shown, rel=1e-5)
    assert {row["kind"] for row in dots.rows} == {"counted"}
    assert dots.scale("y")["domain"] == [0.25, 4]
