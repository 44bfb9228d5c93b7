"""The numbers that charts draw, what they say where there is nothing, and that they convert."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")
convert = pytest.importorskip("vl_convert")

from weibnb import charts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr

DEMO = Path(wb.__file__).parent / "data" / "demo"
HOSTILE = "<img src=x onerror=alert(1)>'];alert(datum['k\"]\n${1}"
EXPRESSIONS = ("labelExpr", "expr", "calculate", "signal", "field", "test")

DRAW: dict[str, Callable[[xr.Dataset], Any]] = {
    "weibull_plot": lambda fits: charts.weibull_plot(
        fits.isel(layer=[0], step=[-1], component=slice(0, 2))
    ),
    "weibull_plot_pair": lambda fits: charts.weibull_plot(
        fits.isel(layer=0, component=0, step=0),
        compare=fits.isel(layer=0, component=0, step=-1),
    ),
    "density": lambda fits: charts.density(fits.isel(layer=[0], step=[-1])),
    "density_linear": lambda fits: charts.density(
        fits.isel(layer=[0], step=[-1]), scale="linear"
    ),
    **{
        f"layer_map_{value}": lambda fits, value=value: charts.layer_map(fits, value=value)  # type: ignore[misc]
        for value in ("k", "lam", "r2", "ks", "z", "outlier")
    },
    "class_bands": charts.class_bands,
    "trajectories": charts.trajectories,
    "trajectories_lam": lambda fits: charts.trajectories(
        fits, value="lam", by="weight_class", scale="linear"
    ),
    "phase_portrait": charts.phase_portrait,
    "cohort": charts.cohort,
    "depth_profile": charts.depth_profile,
    "body_tail_chart": charts.body_tail_chart,
    "outlier_strip": charts.outlier_strip,
    "difference": lambda fits: charts.difference(fits, {"step": 0}, {"step": 7000}),
}  # fmt: skip


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"demo": DEMO})


def rows(spec: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """Give the rows of data that have these columns."""
    return [
        row
        for data in spec["datasets"].values()
        for row in data
        if all(name in row for name in names)
    ]


def texts(chart: Any) -> str:
    return " ".join(row["text"] for row in rows(chart.to_dict(), "text"))


def expressions(node: Any) -> list[str]:
    """Collect every field and expression of a spec."""
    if isinstance(node, list):
        return [text for child in node for text in expressions(child)]
    if not isinstance(node, dict):
        return []
    own = [str(node[name]) for name in EXPRESSIONS if isinstance(node.get(name), str)]
    return own + [
        text for name, child in node.items() if name != "datasets" for text in expressions(child)
    ]


@pytest.mark.parametrize("name", DRAW)
def test_converts_without_a_network(fits: xr.Dataset, name: str) -> None:
    chart = DRAW[name](fits)
    spec = chart.to_dict()
    assert sum(map(len, spec["datasets"].values())) <= 5_000
    assert spec["config"]["background"] == "white"
    subtitle = str((spec.get("title") or spec["vconcat"][0]["title"])["subtitle"])
    assert "demo" in subtitle
    assert "trim 10–90 %" in subtitle
    assert convert.vegalite_to_svg(spec).startswith("<svg")


@pytest.mark.parametrize("value", ["k", "lam", "r2", "ks"])
def test_map_draws_the_fits(fits: xr.Dataset, value: Any) -> None:
    drawn = rows(charts.layer_map(fits, value=value).to_dict(), "value")
    assert len(drawn) == fits["k"].size
    for row in drawn:
        place = {dim: row[dim] for dim in ("model", "layer", "component", "step")}
        assert row["value"] == pytest.approx(fits[value].sel(place).item(), rel=1e-6)


@pytest.mark.parametrize(
    "name", ["class_bands", "trajectories", "phase_portrait", "depth_profile", "outlier_strip"]
)
def test_charts_draw_the_fits(fits: xr.Dataset, name: str) -> None:
    drawn = rows(DRAW[name](fits).to_dict(), "k", "lam", "step")
    assert drawn
    for row in drawn:
        cell = fits.sel({dim: row[dim] for dim in ("model", "layer", "component", "step")})
        for column in ("k", "lam", "k_se"):
            assert row[column] == pytest.approx(cell[column].item(), rel=1e-6)
        assert row["n"] == cell.n.item()


def test_weibull_plot_draws_counts_and_line(fits: xr.Dataset) -> None:
    cell = fits.isel(layer=0, component=3, step=-1)
    spec = charts.weibull_plot(cell).to_dict()
    points = rows(spec, "percent")
    assert 50 < len(points) <= 200
    assert points[-1]["magnitude"] == pytest.approx(cell.max_abs.item(), rel=1e-6)
    counted = cell["counts"].item()
    counts = counted.counts.astype(float)
    share = (counts.cumsum() - counts / 2) / counts.sum()
    for point in points:
        at = int(np.abs(counted.values - point["magnitude"]).argmin())
        assert point["percent"] == pytest.approx(100 * share[at])
        line = cell.k.item() * np.log(point["magnitude"] / cell.lam.item())
        assert point["y"] - point["residual"] == pytest.approx(line, abs=1e-5)
    (scale,) = {row["magnitude"] for row in rows(spec, "kind") if row["kind"] == "scale"}
    assert scale == pytest.approx(cell.lam.item(), rel=1e-6)
    assert f"k {cell.k.item():.4f} ± {cell.k_se.item():.2g}" in points[0]["matrix"]


def test_confidence_band_is_the_delta_method(fits: xr.Dataset) -> None:
    cell = fits.isel(layer=0, component=3, step=-1)
    spec = charts.weibull_plot(cell, level=0.95).to_dict()
    line = [row for row in rows(spec, "kind", "y", "low") if row["kind"] == "line" and row["y"]]
    k, lam, rho = cell.k.item(), cell.lam.item(), cell.k_lam_correlation.item()
    errors = cell.k_se.item(), cell.lam_se.item() / lam
    slope = np.array([[row["y"] / k, -k] for row in line if "high" in row])
    mixed = rho * errors[0] * errors[1]
    covariance = np.array([[errors[0] ** 2, mixed], [mixed, errors[1] ** 2]])
    expected = 1.959964 * np.sqrt(np.einsum("ni,ij,nj->n", slope, covariance, slope))
    assert np.allclose([row["spread"] for row in line], expected, rtol=1e-5)


def test_detached_weight_is_marked() -> None:
    weights = np.random.default_rng(0).normal(0, 0.02, (256, 256)).astype(np.float16)
    weights[3, 5] = 1.0
    found = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": weights}})
    marked = [
        r for r in rows(charts.weibull_plot(found).to_dict(), "detached") if r["detached"] == "yes"
    ]
    assert {row["magnitude"] for row in marked} == {1.0}
    assert "layer 0" in {row["flag"] for row in rows(charts.outlier_strip(found).to_dict(), "flag")}


def test_density_has_area_one(fits: xr.Dataset) -> None:
    drawn = rows(charts.density(fits.isel(layer=0, component=0, step=-1)).to_dict(), "density")
    for kind in ("counted", "Weibull", "half-normal"):
        part = [row for row in drawn if row["kind"] == kind]
        x, y = (np.array([row[name] for row in part]) for name in ("magnitude", "density"))
        assert np.trapezoid(y, np.log(x)) == pytest.approx(1, abs=0.02)


def test_difference_and_body_tail_draw_their_numbers(fits: xr.Dataset) -> None:
    change = fits.k.sel(step=7000) - fits.k.sel(step=0)
    for row in rows(DRAW["difference"](fits).to_dict(), "value"):
        place = {dim: row[dim] for dim in ("model", "layer", "component")}
        assert row["value"] == pytest.approx(change.sel(place).item())
    tail = wb.refit(fits.isel(step=[-1]), trim=(0.0, 1.0))
    whole = [
        row for row in rows(DRAW["body_tail_chart"](fits).to_dict(), "trim") if row["trim"] == 1
    ]
    assert len(whole) == 21
    for row in whole:
        place = {dim: row[dim] for dim in ("model", "layer", "component", "step")}
        assert row["k"] == pytest.approx(tail.k.sel(place).item())


def test_cohort_draws_medians(fits: xr.Dataset) -> None:
    spec = charts.cohort(fits).to_dict()
    for row in rows(spec, "se"):
        median = fits.k.isel(step=-1).sel(component=row["component"]).median().item()
        assert row["k"] == pytest.approx(median)
    assert "nearest mistral-7b" in str(spec["title"]["subtitle"])


def scaled(spec: Any) -> Iterator[dict[str, Any]]:
    """Give every encoding that has a domain and ticks of its own."""
    if isinstance(spec, list):
        for part in spec:
            yield from scaled(part)
    if isinstance(spec, dict):
        scale, axis = spec.get("scale") or {}, spec.get("axis") or {}
        if {"domain"} <= set(scale) and {"values"} <= set(axis):
            yield spec
        for name, part in spec.items():
            if name != "datasets":
                yield from scaled(part)


@pytest.mark.parametrize("arrangement", ["overlay", "multiples", "difference"])
def test_ticks_of_weibull_paper_lie_on_it(fits: xr.Dataset, arrangement: Any) -> None:
    """One that lies beyond would be drawn at the edge, with its own number."""
    some = fits.isel(layer=[0], component=[0, 1], step=[-1])
    found = list(scaled(charts.weibull_plot(some, arrangement=arrangement).to_dict()))
    assert found
    for one in found:
        low, high = one["scale"]["domain"]
        values = one["axis"]["values"]
        assert low - 0.01 < min(values) < max(values) < high


@pytest.mark.parametrize("name", sorted(set(DRAW) - {"weibull_plot_pair", "difference"}))
def test_empty_selection_says_so(fits: xr.Dataset, name: str) -> None:
    empty = fits.isel(component=[])
    chart = charts.weibull_plot(empty) if name == "weibull_plot" else DRAW[name](empty)
    assert "no component" in texts(chart)
    convert.vegalite_to_svg(chart.to_dict())


@pytest.fixture(scope="module")
def holes() -> xr.Dataset:
    rng = np.random.default_rng(0)
    stem = "model.layers.{}.mlp.{}_proj.weight"
    weights = {
        stem.format(0, "up"): rng.normal(size=(64, 64)),
        stem.format(1, "up"): np.ones((64, 64)),
        stem.format(0, "down"): np.zeros((64, 64)),
    }
    return wb.scan({"m": weights})


def test_unfitted_cells_are_hatched_or_crosses_with_their_reason(holes: xr.Dataset) -> None:
    for chart in (charts.layer_map(holes), charts.depth_profile(holes), charts.class_bands(holes)):
        missing = [row for row in rows(chart.to_dict(), "reason") if row["reason"]]
        assert {row["reason"] for row in missing} == {"constant", "all_zero"}
        assert all(row["k"] is None for row in missing)
        svg = convert.vegalite_to_svg(chart.to_dict())
        assert ("hatched: 2 without a number" in svg) != ("×" in svg)
    plot = charts.weibull_plot(holes).to_dict()
    assert "not fitted (constant)" in str(plot)
    convert.vegalite_to_svg(plot)


@pytest.mark.parametrize("name", ["layer_map_k", "class_bands", "cohort", "depth_profile"])
def test_nothing_fitted_says_why(holes: xr.Dataset, name: str) -> None:
    assert "constant: 1" in texts(DRAW[name](holes.isel(layer=[1])))
    assert "absent" in texts(charts.layer_map(holes.sel(layer=1, component="down_proj")))


def test_hostile_names_are_only_data(fits: xr.Dataset) -> None:
    names = [HOSTILE, *fits["component"].values[1:].tolist()]
    hostile = fits.assign_coords(model=[HOSTILE], component=("component", names))
    for name, draw in DRAW.items():
        spec = draw(hostile).to_dict()
        assert not [text for text in expressions(spec) if "onerror" in text], name
        if name in ("weibull_plot_pair", "layer_map_k", "class_bands"):
            assert "<img" not in convert.vegalite_to_svg(spec), name


def test_long_runs_and_deep_models_stay_small(fits: xr.Dataset) -> None:
    last = fits.isel(step=[-1]).drop_dims("quantile").drop_vars("counts")
    deep = last.isel(layer=np.zeros(900, int)).assign_coords(layer=np.arange(900))
    spec = charts.layer_map(deep).to_dict()
    drawn = rows(spec, "value")
    assert len(drawn) <= 2_000
    assert "medians over bins of" in str(spec["title"])
    middle = fits.k.isel(step=-1, layer=0, model=0).sel(component=drawn[0]["component"]).item()
    assert drawn[0]["value"] == pytest.approx(middle)
    long = deep.isel(layer=range(80), step=np.zeros(300, int)).assign_coords(step=np.arange(300))
    for draw in (charts.trajectories, charts.phase_portrait, charts.class_bands):
        spec = draw(long).to_dict()
        assert sum(map(len, spec["datasets"].values())) <= 5_000
    assert "of 300 steps drawn" in str(charts.trajectories(long).to_dict()["title"])


def test_wrong_arguments_are_named(fits: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="at most 12 matrices for this chart, got 105"):
        charts.weibull_plot(fits)
    with pytest.raises(ValueError, match="`level` must satisfy"):
        charts.weibull_plot(fits.isel(layer=0, step=0), level=95)
    with pytest.raises(ValueError, match="`value` must be one of"):
        charts.layer_map(fits, value="lambda")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="you mean 'selection-gqa'"):
        charts.class_bands(fits, band="selection-gq")
    with pytest.raises(ValueError, match="`first` must choose one step"):
        charts.difference(fits, {}, {"step": 0})
    with pytest.raises(ValueError, match="`second` must be labels"):
        charts.difference(fits, {"step": 0}, {"step": 1})
    with pytest.raises(TypeError, match="must be an xarray"):
        charts.layer_map(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="The cohort must be compared"):
        charts.cohort(wb.refit(fits, trim=(0.05, 0.95)))
    other = wb.refit(fits.isel(layer=0, step=0), trim=(0.05, 0.95))
    with pytest.raises(ValueError, match="`compare` must have the protocol"):
        charts.weibull_plot(fits.isel(layer=0, component=0, step=0), compare=other)


def test_titles_follow_the_protocol(fits: xr.Dataset) -> None:
    other = wb.refit(fits, trim=(0.05, 0.95))
    spec = charts.class_bands(other).to_dict()
    assert "no band: it was published for another protocol" in str(spec["title"])
    assert not rows(spec, "high")


def test_row_of_every_matrix_names_it(fits: xr.Dataset) -> None:
    for name, column in {
        "layer_map_k": "value", "difference": "value", "class_bands": "median", "trajectories": "k",
        "phase_portrait": "lam", "depth_profile": "k_se", "body_tail_chart": "trim",
        "outlier_strip": "flag", "weibull_plot": "kind", "density": "kind",
    }.items():  # fmt: skip
        drawn = rows(DRAW[name](fits).to_dict(), column)
        assert drawn
        assert all({"model", "component", "layer", "step"} <= row.keys() for row in drawn), name


def test_a_chart_is_an_altair_chart_like_any_other(fits: xr.Dataset) -> None:
    chart = charts.trajectories(fits.isel(component=[0]))
    wide = chart.properties(width=500)
    assert wide.to_dict()["width"] == 500
    assert chart.to_dict()["width"] == 180
    assert "bind" in str(wide.interactive().to_dict()["params"])
    assert len(wide.to_dict()["datasets"]) == len(chart.to_dict()["datasets"]) > 1
    assert "rows0" in chart.to_json()


def test_estimators_stand_side_by_side(fits: xr.Dataset) -> None:
    some = fits.isel(layer=0, component=[0, 3], step=-1)
    spec = charts.weibull_plot(some, estimators=["maximum_likelihood"]).to_dict()
    again = wb.refit(some, estimator="maximum_likelihood")
    lines = [row for row in rows(spec, "kind") if row["kind"] == "other"]
    for component in some["component"].values:
        k, lam = (again[name].sel(component=component).item() for name in ("k", "lam"))
        own = [row for row in lines if row["component"] == component]
        assert own
        assert all(f"k {k:.4f}" in row["matrix"] for row in own)
        assert np.allclose(
            [row["y"] for row in own],
            [k * np.log(row["magnitude"] / lam) for row in own],
            atol=1e-5,
        )
    convert.vegalite_to_svg(spec)
    with pytest.raises(ValueError, match="at most 4 matrices to compare estimators, got 7"):
        charts.weibull_plot(fits.isel(layer=0, step=-1), estimators=["maximum_likelihood"])
    with pytest.raises(ValueError, match="`estimators` must be one of"):
        charts.weibull_plot(some, estimators=["mle"])  # type: ignore[list-item]


def test_estimators_of_matrices_without_fit(holes: xr.Dataset) -> None:
    spec = charts.weibull_plot(holes, estimators=["maximum_likelihood"]).to_dict()
    assert "maximum likelihood, trim 0–100 %: not fitted" in str(spec["vconcat"])
    convert.vegalite_to_svg(spec)


def test_density_names_and_draws_the_best_family() -> None:
    rng = np.random.default_rng(0)
    stem = "model.layers.0.mlp.{}_proj.weight"
    weights = {
        stem.format("up"): rng.standard_t(3, (200, 200)),
        stem.format("gate"): rng.weibull(0.8, (200, 200)),
        stem.format("down"): rng.normal(size=(200, 200)),
    }
    found = wb.scan({"m": weights})
    drawn = rows(charts.density(found).to_dict(), "density")
    titles = {row["component"]: row["panel"].split("\n")[1] for row in drawn}
    assert titles["up_proj"].startswith("best: Student's t, ν ")
    assert titles["gate_proj"] == "no rival beats Weibull"
    assert titles["down_proj"] == "best family: half-normal"
    best = [row for row in drawn if row["kind"] == "best family"]
    assert {row["component"] for row in best} == {"up_proj"}
    plain = charts.density(found, rival=False).to_dict()
    assert {row["kind"] for row in rows(plain, "kind")} == {"counted", "Weibull", "half-normal"}


def test_what_is_left_out_is_counted(holes: xr.Dataset) -> None:
    for draw in (charts.body_tail_chart, charts.outlier_strip, charts.density):
        lines = str(draw(holes).to_dict()["title"]["subtitle"])
        assert "not drawn: 1 all_zero, 1 constant" in lines


def test_hatches_fill_their_cells(holes: xr.Dataset) -> None:
    spec = charts.layer_map(holes).to_dict()
    (shape,) = {m["mark"]["shape"] for m in spec["layer"] if isinstance(m["mark"], dict)
                and str(m["mark"].get("shape")).startswith("M")}  # fmt: skip
    ends = np.array([float(part) for part in re.findall(r"-?[\d.]+", shape)]).reshape(-1, 2)
    assert np.abs(ends).max(0).tolist() == [21.5, 11.5]
    assert len(ends) % 2 == 0


def test_experts_are_drawn_apart() -> None:
    rng = np.random.default_rng(0)
    stem = "model.layers.{}.block_sparse_moe.experts.{}.{}.weight"
    weights = {
        stem.format(layer, expert, name): rng.weibull(1 + expert / 5, (64, 64))
        for layer in range(2) for expert in range(3) for name in ("w1", "w2", "w3")
    }  # fmt: skip
    found = wb.scan({"m": weights}, experts="each")
    for draw in (charts.depth_profile, charts.class_bands, charts.body_tail_chart):
        spec = draw(found).to_dict()
        drawn = [row for row in rows(spec, "k", "step") if row["k"] is not None]
        places = {(row["component"], row["layer"], row["expert"]) for row in drawn}
        assert len(places) == 18
        convert.vegalite_to_svg(spec)
    drawn = rows(charts.layer_map(found).to_dict(), "value")
    assert list(dict.fromkeys(row["component"] for row in drawn)) == list(found.component.values)
    for row in drawn:
        cell = found.k.sel(layer=row["layer"], component=row["component"])
        assert row["value"] == pytest.approx(cell.median().item(), rel=1e-6)


def test_redrawing_one_matrix_is_small(fits: xr.Dataset) -> None:
    one = fits.isel(layer=[0], component=[0], step=[-1])
    spec = charts.weibull_plot(one).to_dict(validate=False)
    assert len(json.dumps(spec)) < 100_000
    last = fits.isel(step=[-1]).drop_dims("quantile").drop_vars("counts")
    wide = last.isel(layer=np.zeros(280, int)).assign_coords(layer=np.arange(280))
    assert len(json.dumps(charts.layer_map(wide).to_dict(validate=False))) < 330_000
