"""What `weibnb.charts.depth_profile` shows: k along the layers, with its standard error."""

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


def dots(chart: Any) -> show.Mark:
    return show.mark(chart, "point")


def bars(chart: Any) -> show.Mark:
    """Standard errors."""
    return show.mark(chart, "rule", strokeDash=None)


def test_points_are_the_full_sort_of_the_last_weights() -> None:
    drawn = dots(charts.depth_profile(show.run()))
    assert len(drawn.rows) == 15
    for row in drawn.rows:
        name = show.tensor(row["component"], row["layer"])
        fit = full_sort(magnitudes(show.run_weights()[2000][name]), (0.1, 0.9))
        assert row["step"] == 2000
        assert row[drawn.field("x")] == row["layer"]
        assert row[drawn.field("y")] == pytest.approx(fit.k, rel=1e-6)
        assert row[drawn.tips()["parameter"]] == name


def test_bars_reach_one_standard_error_to_both_sides() -> None:
    drawn = bars(charts.depth_profile(show.run()))
    for row in drawn.rows:
        cell = show.cell_of(show.run(), row)
        k, error = cell["k"].item(), cell["k_se"].item()
        assert show.close(row[drawn.field("y")], k - error)
        assert show.close(row[drawn.field("y2")], k + error)
    assert "± one standard error" in show.title(charts.depth_profile(show.run()))


def test_a_panel_for_each_component_in_the_order_of_the_fits() -> None:
    chart = charts.depth_profile(show.run())
    assert show.panels(chart) == list(show.RUN_COMPONENTS)
    assert {row["panel"] == row["component"] for row in dots(chart).rows} == {True}


def test_components_keep_the_order_of_the_fits_where_the_first_model_lacks_some() -> None:
    fits = wb.scan(
        {
            "b": show.checkpoint(range(2), ("q_proj", "down_proj")),
            "a": show.checkpoint(range(2), ("q_proj", "up_proj", "down_proj"), 2),
        }
    )
    names = ["q_proj", "up_proj", "down_proj"]
    assert show.panels(charts.depth_profile(fits)) == names
    for call in (charts.class_bands, charts.cohort):
        for part in show.marks(call(fits)):
            if "x" in part.encoding:
                assert part.scale("x")["domain"] == names


def test_the_layers_are_whole_numbers_in_their_order() -> None:
    for layers in (1, 3, 11):
        chart = charts.depth_profile(show.tall(layers))
        names = [str(i) for i in range(layers)]
        for axis in show.axes(chart, "X"):
            assert axis.startswith("X-axis titled 'layer' for a discrete scale")
            listed = axis.split(": ")[1].split(", ending with ")[0].split(", ")
            assert listed == names[: len(listed)]
        picture = show.svg(chart)
        assert all(f">{name}<" in picture for name in (names[0], names[-1]))
        titles = re.findall(r"<text[^>]*>layer</text>", picture)
        seen = [title for title in titles if 'opacity="0"' not in title]
        assert len(seen) == 1, "an incomplete last row: one title below all panels"


def test_the_axis_of_k_does_not_start_at_zero_and_clips_nothing() -> None:
    for fits in (show.run(), show.demo(), show.pair(), wb.reference_cohort().isel(model=[0, 5])):
        chart = charts.depth_profile(fits)
        for axis in show.axes(chart, "Y"):
            assert axis.startswith("Y-axis titled 'Weibull shape k' for a linear scale")
            assert "from 0 " not in axis
            assert "from 0.0 " not in axis
        assert not show.outside(chart)


def test_models_have_a_colour_a_shape_and_a_dash_each() -> None:
    chart = charts.depth_profile(show.tall(3, models=6))
    names = [f"m{i}" for i in range(6)]
    line = show.mark(chart, "line")
    others = line.encoding["strokeDash"]["condition"]
    assert [one["test"]["equal"] for one in others] == names[1:]
    assert len({str(one["value"]) for one in others} | {str([1, 0])}) == 6
    for part, channel in ((dots(chart), "color"), (dots(chart), "shape")):
        assert part.scale(channel)["domain"] == names
        assert len({str(look) for look in part.scale(channel)["range"]}) == 6
    assert line.scale("color") == dots(chart).scale("color") == bars(chart).scale("color")
    assert any(text.endswith("6 values: m0, m1, m2, m3, m4, m5") for text in show.legends(chart))


def test_models_of_different_depth_share_the_panels() -> None:
    drawn = dots(charts.depth_profile(show.pair()))
    seen = {(row["model"], row["component"], row["layer"]) for row in drawn.rows}
    components = ("q_proj", "up_proj", "down_proj")
    assert seen == {
        *(("flat", name, layer) for name in components for layer in range(2)),
        *(("deep", name, layer) for name in (*components, "gate_proj") for layer in range(4)),
    }
    for row in drawn.rows:
        assert show.close(row["k"], show.cell_of(show.pair(), row)["k"].item())


def test_every_line_is_one_model() -> None:
    line = show.mark(charts.depth_profile(show.pair()), "line")
    assert [part["field"] for part in line.encoding["detail"]] == ["model"]
    apart = show.mark(charts.depth_profile(show.each_expert()), "line")
    assert [part["field"] for part in apart.encoding["detail"]] == ["model", "expert"]


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.2, 0.8)])
def test_the_rule_is_the_gaussian_by_the_protocol(estimator: Any, trim: Any) -> None:
    fits = wb.refit(show.run().isel(step=[-1]), trim=trim, estimator=estimator)
    expected = wb.anchor(trim=trim, estimator=estimator).k
    chart = charts.depth_profile(fits)
    assert show.anchors(chart) == [pytest.approx(expected, rel=show.ROUNDED)]
    assert "dashed: a Gaussian" in show.subtitle(chart)
    for row in dots(chart).rows:
        assert show.close(row["k"], show.cell_of(fits, row)["k"].item())


def test_matrices_without_fit_are_crosses_with_their_status() -> None:
    cross = show.mark(charts.depth_profile(show.holes()), "text")
    assert {(row["component"], row[cross.field("x")], row["reason"]) for row in cross.rows} == {
        ("up_proj", 1, "constant"),
        ("up_proj", 2, "all_zero"),
        ("down_proj", 2, "too_few"),
    }
    assert list(cross.tips()) == ["reason", "model", "component", "layer", "step"]
    whole = charts.depth_profile(show.run())
    assert not [part for part in show.marks(whole) if part.kind == "text"]


def test_experts_are_drawn_apart() -> None:
    fits = show.each_expert()
    drawn = dots(charts.depth_profile(fits))
    assert len(drawn.rows) == 2 * 3 * show.EXPERTS
    for row in drawn.rows:
        assert show.close(row["k"], show.cell_of(fits, row, "expert")["k"].item())


def test_published_entries_have_no_standard_error() -> None:
    entries = wb.reference_cohort().isel(model=[6, 7])
    chart = charts.depth_profile(entries)
    assert len(dots(chart).rows) == int(entries["k"].count())
    assert not [p for p in show.marks(chart) if p.kind == "rule" and "strokeDash" not in p.look]
    for row in dots(chart).rows:
        cell = entries["k"].sel(model=row["model"], component=row["component"])
        assert show.close(row["k"], cell.item())


def test_deep_models_are_thinned_evenly() -> None:
    fits = show.tall(2000)
    chart = charts.depth_profile(fits)
    layers = sorted({row["layer"] for row in dots(chart).rows})
    assert f"{len(layers)} of 2000 layers drawn" in show.subtitle(chart)
    assert 800 <= len(layers) <= 900
    assert (layers[0], layers[-1]) == (0, 1999)
    assert np.ptp(np.diff(layers)) <= 1


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(3)), kept=st.sets(st.integers(0, 4), min_size=1))
def test_a_part_in_any_order_is_a_part_of_the_whole(order: list[int], kept: set[int]) -> None:
    def seen(chart: Any) -> set[tuple[Any, ...]]:
        drawn = dots(chart)
        return {
            (row["component"], row["layer"], row["k"], row["low"], row["high"])
            for row in drawn.rows
        }

    whole = seen(charts.depth_profile(show.run()))
    part = seen(charts.depth_profile(show.run().isel(layer=order, component=sorted(kept))))
    names = {show.RUN_COMPONENTS[i] for i in kept}
    assert part == {row for row in whole if row[0] in names}


def test_errors_count_the_models() -> None:
    with pytest.raises(ValueError, match=r"at most 6 models for this chart, got 7.*fits\.sel"):
        charts.depth_profile(show.tall(2, models=7))
