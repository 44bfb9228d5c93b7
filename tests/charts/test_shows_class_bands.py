"""What `weibnb.charts.class_bands` shows: every matrix, medians, a band, published entries."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from tests.oracle import full_sort, magnitudes
from weibnb import charts
from weibnb.diagnostics.bands import BANDS, Band


def dots(chart: Any) -> show.Mark:
    """The matrices."""
    return show.mark(chart, "point", filled=True, strokeWidth=0)


def ticks(chart: Any) -> dict[tuple[str, str], float]:
    """The drawn medians by model and component."""
    drawn = show.mark(chart, "tick")
    return {(row["model"], row["component"]): row[drawn.field("y")] for row in drawn.rows}


def diamonds(chart: Any) -> list[show.Mark]:
    return [part for part in show.marks(chart) if part.look.get("shape") == "diamond"]


def test_points_are_the_full_sort_of_the_last_weights() -> None:
    drawn = dots(charts.class_bands(show.run()))
    assert len(drawn.rows) == 15
    for row in drawn.rows:
        assert row["step"] == 2000
        name = show.tensor(row["component"], row["layer"])
        fit = full_sort(magnitudes(show.run_weights()[2000][name]), (0.1, 0.9))
        assert row[drawn.field("y")] == pytest.approx(fit.k, rel=1e-6)
        assert row[drawn.tips()["λ"]] == pytest.approx(fit.lam, rel=1e-6)
        assert row[drawn.tips()["parameter"]] == name


def test_bars_are_the_medians_over_layers() -> None:
    for fits in (show.run(), show.pair(), show.holes()):
        drawn = ticks(charts.class_bands(fits))
        last = fits["k"].isel(step=-1)
        for (model, component), value in drawn.items():
            k = last.sel(model=model, component=component)
            assert value == pytest.approx(k.median().item(), rel=1e-6)
        assert "bar: median over layers" in show.subtitle(charts.class_bands(fits))


def test_each_model_shows_its_own_last_step() -> None:
    weights = show.run_weights()
    fits = wb.scan({"long": weights, "short": {step: weights[step] for step in (0, 10)}})
    drawn = dots(charts.class_bands(fits))
    assert {(row["model"], row["step"]) for row in drawn.rows} == {("long", 2000), ("short", 10)}
    assert show.panels(charts.class_bands(fits)) == ["long", "short"]


def test_layers_go_from_left_to_right_within_a_component() -> None:
    drawn = dots(charts.class_bands(show.tall(9)))
    low, high = drawn.scale("xOffset")["domain"]
    for component in show.RUN_COMPONENTS:
        own = sorted((row["layer"], row[drawn.field("xOffset")])
                     for row in drawn.rows if row["component"] == component)  # fmt: skip
        offsets = [offset for _, offset in own]
        assert np.allclose(np.diff(offsets), offsets[1] - offsets[0])
        assert offsets[1] > offsets[0]
        assert low < offsets[0] == pytest.approx(-offsets[-1])
        assert offsets[-1] < high
    (alone,) = {row["offset"] for row in dots(charts.class_bands(show.run().isel(layer=[1]))).rows}
    assert alone == 0


def test_components_keep_the_order_of_the_fits_on_every_layer_of_the_chart() -> None:
    chart = charts.class_bands(show.run())
    for part in show.marks(chart):
        if "x" in part.encoding:
            assert part.scale("x")["domain"] == list(show.RUN_COMPONENTS)
    (axis,) = show.axes(chart, "X")
    assert axis.startswith(
        "X-axis titled 'component; its layers from left to right' for a discrete scale "
        "with 5 values: q_proj, v_proj, o_proj, up_proj, down_proj"
    )
    (axis,) = show.axes(chart, "Y")
    assert axis.startswith("Y-axis titled 'Weibull shape k' for a linear scale with values from ")
    assert "from 0 " not in axis


def test_classes_have_a_colour_and_a_shape_each() -> None:
    chart = charts.class_bands(show.run())
    drawn = dots(chart)
    classes = {row["component"]: row[drawn.field("color")] for row in drawn.rows}
    assert classes == {
        name: show.run()["weight_class"].sel(component=name).item() for name in show.RUN_COMPONENTS
    }
    for channel in ("color", "shape"):
        assert drawn.scale(channel)["domain"] == ["selection", "value", "transmission"]
        assert len(set(drawn.scale(channel)["range"])) == 3
    (legend,) = show.legends(chart)
    assert legend.startswith("Symbol legend titled 'class'")
    assert legend.endswith("with 3 values: selection, value, transmission")


def test_a_class_has_one_colour_in_every_chart() -> None:
    whole = dots(charts.class_bands(show.run()))
    looks = dict(zip(whole.scale("color")["domain"], whole.scale("color")["range"], strict=True))
    part = dots(charts.class_bands(show.run().sel(component=["o_proj"])))
    assert part.scale("color")["range"] == [looks["transmission"]]


@pytest.mark.parametrize("name", sorted(BANDS))
def test_the_band_stands_behind_the_components_it_was_published_for(name: str) -> None:
    band = BANDS[name]
    fits = wb.scan({"m": show.checkpoint(range(2), ("q_proj", "v_proj", "o_proj", "up_proj"))})
    chart = charts.class_bands(fits, band=name)
    bars = [part for part in show.marks(chart) if part.kind == "bar"]
    held = [c for c in fits["component"].values if c in band.components]
    assert [row["component"] for part in bars for row in part.rows] == held
    for part in bars:
        for row in part.rows:
            assert (row[part.field("y")], row[part.field("y2")]) == (band.lower, band.upper)
            assert row[part.tips()["lower"]] == band.lower
            assert row[part.tips()["upper"]] == band.upper
    assert f"shaded: {name}, {band.lower:g} to {band.upper:g}" in show.subtitle(chart)


def test_a_band_of_ones_own_is_drawn_and_named() -> None:
    band = Band("mine", "1", 1.1, 1.3, "none", ("v_proj",), "here")
    chart = charts.class_bands(show.run(), band=band)
    shade = show.mark(chart, "bar")
    assert [(r["component"], r["k"], r["high"]) for r in shade.rows] == [("v_proj", 1.1, 1.3)]
    assert "shaded: mine, 1.1 to 1.3" in show.subtitle(chart)


def test_diamonds_are_the_published_entries() -> None:
    entries = wb.reference_cohort()["k"]
    chart = charts.class_bands(show.run())
    (drawn,) = diamonds(chart)
    shared = [name for name in show.RUN_COMPONENTS if name in entries["component"]]
    below = show.mark(chart, "point", shape="triangle-down")
    assert len(drawn.rows) + len(below.rows) == int(entries.sel(component=shared).count())
    floor, top = drawn.scale("y")["domain"]
    assert floor < min(row["k"] for row in dots(chart).rows)
    assert top > max(row["k"] for row in dots(chart).rows)
    assert max(row["k"] for row in below.rows) < floor <= min(drawn.values("y"))
    assert f"arrows: {len(below.rows)} published entries below the axis" in show.subtitle(chart)
    for row in below.rows:
        cell = entries.sel(model=row["model"], component=row["component"])
        assert row["k"] == pytest.approx(cell.item(), abs=1e-9)
    for row in drawn.rows:
        cell = entries.sel(model=row["model"], component=row["component"])
        assert row[drawn.field("y")] == pytest.approx(cell.item(), abs=1e-9)
    offsets = set(drawn.values("xOffset"))
    assert min(offsets) > max(dots(chart).values("xOffset"))
    assert max(offsets) <= drawn.scale("xOffset")["domain"][1]
    assert "diamonds: published entries" in show.subtitle(chart)
    without = charts.class_bands(show.run(), reference=False)
    assert not diamonds(without)
    assert "diamonds" not in show.subtitle(without)
    assert show.mark(without, "bar").rows


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.05, 0.95), (0.0, 1.0)])
def test_another_protocol_has_its_own_gaussian_and_nothing_published(
    estimator: Any, trim: Any
) -> None:
    fits = wb.refit(show.run().isel(step=[-1]), estimator=estimator, trim=trim)
    chart = charts.class_bands(fits)
    expected = wb.anchor(estimator=estimator, trim=trim).k
    assert show.anchors(chart) == [pytest.approx(expected, rel=show.ROUNDED)]
    own = (estimator, trim) == ("rank_regression", (0.1, 0.9))
    assert bool(diamonds(chart)) is own
    assert bool([part for part in show.marks(chart) if part.kind == "bar"]) is own
    assert ("no band: it was published for another protocol" in show.subtitle(chart)) is not own


def test_nothing_lies_outside_of_the_panels() -> None:
    for fits in (show.run(), show.demo(), show.pair(), wb.reference_cohort().isel(model=[0, 5])):
        assert not show.outside(charts.class_bands(fits))


def far_away(**k: float) -> Any:
    """The last step of the packaged run, with other k of single components of layer 0."""
    fits = show.demo().isel(step=[-1])
    changed = fits["k"].copy()
    for name, value in k.items():
        changed.loc[{"layer": 0, "component": name}] = value
    return fits.assign(k=changed)


def test_a_few_values_far_outside_do_not_squash_the_rest() -> None:
    chart = charts.class_bands(far_away(k_proj=0.76, v_proj=0.81, up_proj=1.9))
    floor, top = dots(chart).scale("y")["domain"]
    assert (floor, top) == ends_of(far_away())
    below, above = (
        next(part for part in show.marks(chart) if part.look.get("shape") == shape and
             "color" in part.encoding)
        for shape in ("triangle-down", "triangle-up")
    )  # fmt: skip
    assert sorted((row["component"], row["k"]) for row in below.rows) == [
        ("k_proj", 0.76), ("v_proj", 0.81)
    ]  # fmt: skip
    assert [(row["component"], row["k"]) for row in above.rows] == [("up_proj", 1.9)]
    assert below.encoding["y"] == {"value": "height"}
    assert above.encoding["y"] == {"value": 0}
    assert "k" in below.tips()
    assert len(dots(chart).rows) == 21 - 3
    assert show.svg(chart).count('aria-roledescription="point"') >= 21
    words = "triangles at the bottom: 2 matrices below, to 0.760"
    assert f"{words} · triangles at the top: 1 matrix above, to 1.900" in show.subtitle(chart)
    assert "lowest 0.76 " in show.specification(chart)["description"]
    assert "triangles" not in show.subtitle(charts.class_bands(far_away()))


def ends_of(fits: Any) -> tuple[float, float]:
    low, high = dots(charts.class_bands(fits)).scale("y")["domain"]
    return low, high


def test_what_is_spread_out_is_no_outlier() -> None:
    chart = charts.class_bands(show.tall(30))
    assert len(dots(chart).rows) == 30 * 5
    assert "triangles" not in show.subtitle(chart)


def test_matrices_without_fit_are_crosses_with_their_status() -> None:
    chart = charts.class_bands(show.holes())
    cross = show.mark(chart, "text")
    assert {
        (row["component"], row["layer"], row[cross.tips()["reason"]]) for row in cross.rows
    } == {
        ("up_proj", 1, "constant"),
        ("up_proj", 2, "all_zero"),
        ("down_proj", 2, "too_few"),
    }
    assert cross.encoding["y"] == {"value": "height"}
    assert show.svg(chart).count(">×<") == 3


def test_experts_are_drawn_apart_and_their_median_over_all() -> None:
    fits = show.each_expert()
    chart = charts.class_bands(fits)
    drawn = dots(chart)
    assert len(drawn.rows) == 2 * 3 * show.EXPERTS
    for row in drawn.rows:
        assert show.close(row["k"], show.cell_of(fits, row, "expert")["k"].item())
    for (_, component), value in ticks(chart).items():
        k = fits["k"].sel(component=component)
        assert value == pytest.approx(float(np.nanmedian(k.values)), rel=1e-6)


def test_deep_models_are_thinned_evenly() -> None:
    fits = show.tall(1500)
    chart = charts.class_bands(fits)
    drawn = dots(chart)
    layers = sorted({row["layer"] for row in drawn.rows})
    assert f"{len(layers)} of 1500 layers drawn" in show.subtitle(chart)
    assert (layers[0], layers[-1]) == (0, 1499)
    assert np.ptp(np.diff(layers)) <= 1
    for row in drawn.rows[::100]:
        assert show.close(row["k"], show.cell_of(fits, row)["k"].item())
    whole = fits["k"].median(["layer", "step"]).squeeze("model")
    for (_, component), value in ticks(chart).items():
        assert show.close(value, whole.sel(component=component).item())


def test_a_published_entry_is_a_chart_of_its_own() -> None:
    entries = wb.reference_cohort().isel(model=[7])
    chart = charts.class_bands(entries)
    drawn = {row["component"]: row["k"] for row in dots(chart).rows}
    for component, value in drawn.items():
        assert show.close(value, entries["k"].sel(component=component).item())
    assert set(ticks(chart).values()) == set(drawn.values())


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(3)))
def test_the_order_of_the_layers_does_not_matter(order: list[int]) -> None:
    def seen(chart: Any) -> set[tuple[Any, ...]]:
        drawn = dots(chart)
        return {(r["component"], r["layer"], r["offset"], r["k"]) for r in drawn.rows}

    shuffled = charts.class_bands(show.run().isel(layer=order))
    assert seen(shuffled) == seen(charts.class_bands(show.run()))
    assert ticks(shuffled) == ticks(charts.class_bands(show.run()))


def test_errors_name_the_argument_and_the_closest_band() -> None:
    with pytest.raises(ValueError, match=r"`band` must be one of .*mean 'selection-fused'"):
        charts.class_bands(show.run(), band="selection-fuse")
    for wrong in (None, 3, ("selection-gqa",)):
        none: Any = wrong
        with pytest.raises(ValueError, match=r"`band` must be one of .*'selection-gqa'.*, got "):
            charts.class_bands(show.run(), band=none)
    with pytest.raises(ValueError, match=r"at most 12 models .* got 13"):
        charts.class_bands(show.tall(1, models=13))


@pytest.mark.parametrize("models", [4, 6, 8])
def test_k_is_titled_once_beside_several_rows_and_for_screen_readers_in_each(models: int) -> None:
    chart = charts.class_bands(wb.reference_cohort().isel(model=slice(0, models)))
    (axis,) = show.axes(chart, "Y")
    assert axis.startswith("Y-axis titled 'Weibull shape k'")
    titles = re.findall(r"<text[^>]*>Weibull shape k</text>", show.svg(chart))
    hidden = [title for title in titles if 'opacity="0"' in title]
    assert (len(titles), len(hidden)) == (models // 2, models // 2 - 1)
