"""What `weibnb.charts.weibull_plot` shows: plotting positions, lines, bands, and residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes, maximum_likelihood
from weibnb import charts

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

CELL = {"layer": 1, "component": "up_proj", "step": 300}


def cell() -> xr.Dataset:
    return show.run().sel(CELL)


def weights() -> Array:
    return magnitudes(show.run_weights()[300][show.tensor("up_proj", 1)])


def ordinate(share: Any) -> Array:
    return np.asarray(np.log(-np.log1p(-np.asarray(share))))


def points(chart: Any) -> list[show.Mark]:
    """The points of the upper and the lower panel."""
    found = [part for part in show.marks(chart) if part.look.get("size") in (9, 11)]
    assert len(found) == 2
    return found


def lines(chart: Any, kind: str) -> show.Rows:
    """Rows of the upper panel's lines: ``line``, ``gaussian``, ``other`` or ``scale``."""
    return [
        row
        for part in show.marks(chart)
        if part.kind in ("line", "point") and part.field("y") == "y"
        for row in part.rows
        if row.get("kind") == kind
    ]


def one_matrix(values: NDArray[Any]) -> xr.Dataset:
    return wb.scan({"m": {show.tensor("up_proj", 0): values}})


def test_points_stand_at_the_plotting_positions_of_a_full_sort() -> None:
    ordered = weights()
    upper, _ = points(charts.weibull_plot(cell()))
    assert 70 <= len(upper.rows) <= 100
    for row in upper.rows:
        x = row[upper.field("x")]
        at = np.isclose(ordered, x, rtol=1e-6)
        rank = np.flatnonzero(at).mean() + 1
        share = (rank - 0.5) / ordered.size
        assert row[upper.tips()["% below"]] == pytest.approx(100 * share, rel=1e-6)
        assert row[upper.field("y")] == pytest.approx(ordinate(share), rel=1e-5, abs=1e-6)


def test_points_go_from_a_hundredth_of_a_percent_to_the_largest_weight() -> None:
    rng = np.random.default_rng(0)
    large = one_matrix(rng.normal(0, 0.02, (200, 200)).astype(np.float16))
    upper, _ = points(charts.weibull_plot(large))
    assert max(upper.values("x")) == pytest.approx(large["max_abs"].item(), rel=1e-6)
    shares = [row[upper.tips()["% below"]] for row in upper.rows]
    assert 0.01 <= min(shares) < 0.03
    y = np.sort(upper.values("y"))
    assert np.diff(y[y > -5]).max() < 0.15


def test_points_less_the_line_are_the_residuals() -> None:
    k, lam = cell()["k"].item(), cell()["lam"].item()
    upper, lower = points(charts.weibull_plot(cell()))
    reach = lower.scale("y")["domain"][1]
    found = [
        (row["magnitude"], row["y"] - k * np.log(row["magnitude"] / lam)) for row in upper.rows
    ]
    expected = [(x, residual) for x, residual in found if abs(residual) <= reach]
    assert 0 < len(expected) < len(found)
    assert np.allclose(list(zip(lower.values("x"), lower.values("y"), strict=True)), expected,
                       atol=3e-6)  # fmt: skip


def test_nothing_is_drawn_beyond_a_panel() -> None:
    for arrangement in ("overlay", "multiples", "difference"):
        chart = charts.weibull_plot(show.run().isel(layer=[0], step=[-1]), arrangement=arrangement)
        dots = [part for part in show.marks(chart) if part.kind == "point"]
        assert dots
        assert not show.outside(chart, margin=8)


def test_the_line_is_the_fit_of_a_full_sort() -> None:
    fit = full_sort(weights(), (0.1, 0.9))
    chart = charts.weibull_plot(cell())
    drawn = lines(chart, "line")
    x = np.array([row["magnitude"] for row in drawn])
    assert np.allclose([row["y"] for row in drawn], fit.k * np.log(x / fit.lam), atol=2e-6)
    (scale,) = lines(chart, "scale")
    assert scale["magnitude"] == pytest.approx(fit.lam, rel=1e-6)
    assert scale["y"] == 0
    assert show.anchors(chart) == [0, 0]
    ends = 1 - np.exp(-np.exp([drawn[0]["y"], drawn[-1]["y"]]))
    assert ends == pytest.approx([1e-4, 1 - 1e-6], rel=1e-3)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_band_grows_with_the_level(level: float) -> None:
    usual = [part for part in show.marks(charts.weibull_plot(cell(), level=0.6826895))
             if part.kind == "area"]  # fmt: skip
    found = [part for part in show.marks(charts.weibull_plot(cell(), level=level))
             if part.kind == "area"]  # fmt: skip
    for one, part in zip(usual, found, strict=True):
        widths = [
            np.subtract(band.values("y2"), band.values("y")).astype(float) for band in (one, part)
        ]
        assert np.allclose(widths[1], widths[0] * stats.norm.ppf(0.5 + level / 2), rtol=1e-4)
    line = np.array([row["y"] for row in found[0].rows])
    middle = np.add(found[0].values("y"), found[0].values("y2")) / 2
    assert np.allclose(middle, line, atol=2e-6)
    assert np.allclose(np.add(found[1].values("y"), found[1].values("y2")), 0)


def test_the_dotted_curve_is_a_half_normal_of_the_same_body() -> None:
    sigma = cell()["lam"].item() / wb.anchor().lam_over_rms
    drawn = lines(charts.weibull_plot(cell()), "gaussian")
    assert len(drawn) > 30
    x = np.array([row["magnitude"] for row in drawn])
    assert np.allclose([row["y"] for row in drawn], ordinate(stats.halfnorm.cdf(x, scale=sigma)),
                       atol=1e-4)  # fmt: skip


def test_only_four_matrices_have_a_dotted_curve() -> None:
    six = show.run().isel(layer=slice(0, 2), component=slice(0, 3), step=-1)
    drawn = lines(charts.weibull_plot(six), "gaussian")
    assert len({row["matrix"] for row in drawn}) == 4
    assert len({row["matrix"] for row in lines(charts.weibull_plot(six), "line")}) == 6


@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.05, 0.95), (0.3, 0.6)])
def test_the_trim_is_shaded(trim: tuple[float, float]) -> None:
    chart = charts.weibull_plot(wb.refit(cell(), trim=trim))
    shade = show.mark(chart, "rect")
    (row,) = shade.rows
    assert (row[shade.field("y")], row[shade.field("y2")]) == pytest.approx(
        ordinate(trim), rel=1e-6
    )


def test_all_weights_are_shaded_where_none_is_trimmed() -> None:
    shade = show.mark(charts.weibull_plot(wb.refit(cell(), trim=(0.0, 1.0))), "rect")
    assert np.isfinite([shade.rows[0][shade.field(side)] for side in ("y", "y2")]).all()


def test_axes_are_weibull_paper() -> None:
    chart = charts.weibull_plot(cell())
    upper, lower = points(chart)
    assert upper.scale("x")["type"] == lower.scale("x")["type"] == "log"
    bottom, top = upper.scale("y")["domain"]
    assert bottom <= min(upper.values("y"))
    assert max(upper.values("y")) < top
    axis = upper.encoding["y"]["axis"]
    assert all(bottom <= at <= top for at in axis["values"])
    shares = 100 * -np.expm1(-np.exp(axis["values"]))
    assert shares.round(6).tolist() == [0.01, 0.1, 1, 10, 30, 63.2, 90, 99, 99.99]
    picture = show.svg(chart)
    assert all(f">{label}<" in picture for label in ("0.01", "0.1", "63.2", "99.99"))
    titles = " ".join(show.axes(chart, "Y") | show.axes(chart, "X"))
    assert "'magnitude |w| (units of the weights)' for a log scale" in titles
    assert "'weights below |w| (%, Weibull paper)'" in titles
    assert "'y − line'" in titles


def test_the_axis_reaches_as_far_as_the_weights() -> None:
    weights_ = np.random.default_rng(1).normal(0, 1, (1100, 1100)).astype(np.float16)
    upper, _ = points(charts.weibull_plot(one_matrix(weights_)))
    assert max(upper.values("y")) > ordinate(0.999999)
    assert max(upper.values("y")) < upper.scale("y")["domain"][1]
    shares = 100 * -np.expm1(-np.exp(upper.encoding["y"]["axis"]["values"]))
    assert shares.max() == pytest.approx(99.9999)


def test_the_lower_panel_holds_the_residuals_of_all_but_the_extremes() -> None:
    for fits in (cell(), show.first_cells(show.demo()), show.run().isel(layer=0, step=0)):
        _, lower = points(charts.weibull_plot(fits))
        low, high = lower.scale("y")["domain"]
        assert low == -high
        inside = [row for row in lower.rows if 0.5 <= row["percent"] <= 99.99]
        assert all(low < row[lower.field("y")] < high for row in inside)


def test_the_legend_says_the_estimates_of_every_matrix() -> None:
    three = show.run().isel(step=-1, component=0)
    chart = charts.weibull_plot(three)
    upper, _ = points(chart)
    names = upper.scale("color")["domain"]
    assert list(dict.fromkeys(upper.values("color"))) == names
    assert len(names) == 3
    for layer, text in enumerate(names):
        own = three.isel(layer=layer)
        assert text.startswith(f"q_proj of layer {layer}:")
        for part in (
            f"k {own['k'].item():.4f} ± {own['k_se'].item():.2g} ",
            f"λ {own['lam'].item():.4g} ",
            f"r² {own['r2'].item():.4f} ",
            f"KS {own['ks'].item():.3f} ",
            f"n {own['n'].item():,.0f}",
        ):
            assert part in text
    (legend,) = show.legends(chart)
    assert legend.endswith(", ".join(names))
    for channel in ("color", "shape"):
        assert upper.scale(channel)["domain"] == names
        assert len({str(look) for look in upper.scale(channel)["range"]}) == 3


def test_twelve_matrices_look_different() -> None:
    twelve = show.run().isel(component=slice(0, 4), step=-1)
    upper, _ = points(charts.weibull_plot(twelve))
    looks = list(zip(upper.scale("color")["range"], upper.scale("shape")["range"], strict=True))
    assert len(set(looks)) == 12
    assert upper.rows[0]["matrix"] == upper.scale("color")["domain"][0]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"layer": [0, 1], "component": [0]}, ["q_proj of layer 0", "q_proj of layer 1"]),
        (
            {"layer": [0], "component": [0], "step": [0, 3]},
            ["q_proj of layer 0, step 0", "q_proj of layer 0, step 2,000"],
        ),
    ],
)
def test_names_say_in_what_matrices_differ(choice: Any, expected: list[str]) -> None:
    upper, _ = points(charts.weibull_plot(show.run().isel({"step": [0]} | choice)))
    assert [text.split(":")[0] for text in upper.scale("color")["domain"]] == expected


def test_compare_adds_matrices_of_other_fits() -> None:
    other = wb.scan({"other": show.run_weights()}).sel(CELL)
    chart = charts.weibull_plot(cell(), compare=other)
    names = points(chart)[0].scale("color")["domain"]
    assert [text.split(":")[0] for text in names] == ["run", "other"]
    alone = [row["y"] for row in points(charts.weibull_plot(cell()))[0].rows]
    for name in names:
        assert [row["y"] for row in points(chart)[0].rows if row["matrix"] == name] == alone


def test_a_matrix_compared_with_itself_has_two_names() -> None:
    names = points(charts.weibull_plot(cell(), compare=cell()))[0].scale("color")["domain"]
    assert len(set(names)) == 2


def test_the_other_estimator_is_a_broken_line_of_the_same_colour() -> None:
    fit = maximum_likelihood(weights())
    chart = charts.weibull_plot(cell(), estimators=["maximum_likelihood"])
    drawn = lines(chart, "other")
    x = np.array([row["magnitude"] for row in drawn])
    assert np.allclose([row["y"] for row in drawn], fit.k * np.log(x / fit.lam), atol=2e-5)
    upper, _ = points(chart)
    own, other = upper.scale("color")["domain"]
    assert len(set(upper.scale("color")["range"])) == 1
    assert "maximum likelihood, trim 0–100 %" in other
    assert f"k {fit.k:.4f}" in other
    assert "maximum likelihood" not in own
    dashes = next(_dashes(part) for part in show.marks(chart) if "strokeDash" in part.encoding)
    assert dashes[0] != dashes[1]
    assert "broken: other estimators" in show.subtitle(chart)
    assert "broken" not in show.subtitle(charts.weibull_plot(cell()))


def test_an_estimator_named_twice_is_drawn_once() -> None:
    twice = charts.weibull_plot(cell(), estimators=["maximum_likelihood"] * 2)
    assert len(points(twice)[0].scale("color")["domain"]) == 2


@pytest.mark.parametrize("factor", [2.5, 3.5])
def test_rings_are_weights_beyond_three_times_a_gaussians_maximum(factor: float) -> None:
    values = np.random.default_rng(3).normal(0, 0.02, (200, 200)).astype(np.float16)
    tail = np.exp(-np.euler_gamma) / (2 * values.size)
    edge = 0.02 * -special.ndtri(tail)
    values[7, 9] = factor * edge
    chart = charts.weibull_plot(one_matrix(values))
    upper, _ = points(chart)
    tip = upper.tips()["beyond 3 × a Gaussian's maximum"]
    flagged = [row["magnitude"] for row in upper.rows if row[tip] == "yes"]
    rings = [part for part in show.marks(chart) if part.look.get("filled") is False]
    if factor < 3:
        assert not flagged
        assert not rings
    else:
        assert flagged == [pytest.approx(float(values[7, 9]))]
        (ring,) = rings
        assert ring.values("x") == flagged


def test_float32_points_are_within_their_bin() -> None:
    values = np.random.default_rng(5).normal(0, 0.02, (100, 100)).astype(np.float32)
    ordered = magnitudes(values)
    upper, _ = points(charts.weibull_plot(one_matrix(values)))
    for row in upper.rows:
        around = row["magnitude"] * np.array([1 - 1 / 256, 1 + 1 / 256])
        low, high = np.searchsorted(ordered, around) / ordered.size * 100
        assert low - 0.01 <= row["percent"] <= high + 0.01


def test_experts_of_one_cell_are_drawn_as_one_matrix() -> None:
    found = wb.scan({"moe": show.expert_weights()}).isel(layer=0, component=[0])
    chart = charts.weibull_plot(found)
    (name,) = points(chart)[0].scale("color")["domain"]
    assert f"median of {show.EXPERTS} experts" in name
    stem = "model.layers.0.block_sparse_moe.experts.{}.w1.weight"
    pooled = np.concatenate(
        [show.expert_weights()[stem.format(i)].ravel() for i in range(show.EXPERTS)]
    )
    ordered = magnitudes(pooled)
    for row in points(chart)[0].rows:
        rank = np.flatnonzero(np.isclose(ordered, row["magnitude"], rtol=1e-6)).mean() + 1
        assert row["percent"] == pytest.approx(100 * (rank - 0.5) / ordered.size, rel=1e-6)


def test_single_experts_are_named() -> None:
    some = show.each_expert().sel(expert=[0, 2]).isel(layer=0, component=0)
    names = points(charts.weibull_plot(some))[0].scale("color")["domain"]
    assert ["expert 0" in names[0], "expert 2" in names[1]] == [True, True]


def test_a_matrix_without_fit_has_points_but_no_line() -> None:
    chart = charts.weibull_plot(show.holes().sel(component="up_proj", layer=[0, 1]))
    upper, lower = points(chart)
    fitted, broken = upper.scale("color")["domain"]
    assert broken == "up_proj of layer 1: not fitted (constant)"
    assert {row["matrix"] for row in lines(chart, "line")} == {fitted}
    (row,) = [row for row in lower.rows if row["matrix"] == broken]
    assert row["magnitude"] == 0.5
    assert row["percent"] == 50
    assert row[lower.field("y")] is None


def test_only_zeros_are_no_plot() -> None:
    chart = charts.weibull_plot(show.holes().sel(component="up_proj", layer=2))
    assert "all_zero: 1" in show.words(chart)


@settings(max_examples=8, deadline=None)
@given(power=st.integers(-4, 4), seed=st.integers(0, 50))
def test_scaling_the_weights_shifts_the_plot(power: int, seed: int) -> None:
    values = show.draw(1.3, seed=seed)
    values[np.abs(values) < 2e-3] = np.float16(2e-3)
    shifted = values * np.float16(2.0**power)
    plots = [points(charts.weibull_plot(one_matrix(part)))[0] for part in (values, shifted)]
    assert plots[0].values("y") == plots[1].values("y")
    ratio = np.divide(plots[1].values("x"), plots[0].values("x"))
    assert np.allclose(ratio, 2.0**power, rtol=1e-6)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 50))
def test_signs_and_order_do_not_matter(seed: int) -> None:
    values = show.draw(0.9, seed=seed)
    rng = np.random.default_rng(seed)
    other = rng.permutation(np.abs(values).ravel()).reshape(values.shape)
    name = show.tensor("up_proj", 0)
    fits = [wb.scan({"m": {name: part}}, structure=False) for part in (values, other)]
    plots = [points(charts.weibull_plot(each))[0].rows for each in fits]
    assert plots[0] == plots[1]


def test_errors_name_the_argument_and_the_closest_word() -> None:
    for level in (0, 1, -0.1, 95, np.nan, "a", None, [0.9]):
        probability: Any = level
        with pytest.raises(ValueError, match=r"`level` must satisfy 0 < level < 1, got"):
            charts.weibull_plot(cell(), level=probability)
    other: Any = 3
    with pytest.raises(TypeError, match=r"`compare` must be an xarray\.Dataset of fits, got int"):
        charts.weibull_plot(cell(), compare=other)
    bad: Any = ["maximum_likelyhood"]
    with pytest.raises(ValueError, match=r"`estimators` .*Did you mean 'maximum_likelihood'"):
        charts.weibull_plot(cell(), estimators=bad)
    lines = charts.weibull_plot(cell().drop_vars("counts"))
    assert "lines without points" in show.subtitle(lines)
    twelve = show.run().isel(component=slice(0, 4), step=-1)
    with pytest.raises(ValueError, match=r"`fits` and `compare` must hold at most 12 .* got 13"):
        charts.weibull_plot(twelve, compare=cell())
    with pytest.raises(ValueError, match=r"`fits` must hold at most 12 matrices .* got 15"):
        charts.weibull_plot(show.run().isel(step=-1))
    with pytest.raises(ValueError, match=r"`compare` must have the protocol .*weibnb\.refit"):
        charts.weibull_plot(cell(), compare=wb.refit(cell(), trim=(0.2, 0.8)))


def _dashes(part: show.Mark) -> list[Any]:
    """Dashes of the matrices, of the first one first."""
    look = part.encoding["strokeDash"]
    return [look["value"], *(one["value"] for one in look.get("condition", []))]
