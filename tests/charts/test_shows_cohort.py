"""What `weibnb.charts.cohort` shows: medians of models among the published entries."""

from __future__ import annotations

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
from weibnb.diagnostics.bands import summarise


def own(chart: Any) -> show.Mark:
    """The models' medians."""
    return show.mark(chart, "point", filled=True)


def bars(chart: Any) -> show.Mark:
    """Their standard errors."""
    return show.mark(chart, "rule", strokeDash=None)


def entries(chart: Any) -> show.Mark:
    """The published entries."""
    return show.mark(chart, "tick")


def test_points_are_the_medians_of_the_last_weights() -> None:
    drawn = own(charts.cohort(show.run()))
    assert [row["component"] for row in drawn.rows] == list(show.RUN_COMPONENTS)
    for row in drawn.rows:
        k = [
            full_sort(
                magnitudes(show.run_weights()[2000][show.tensor(row["component"], layer)]),
                (0.1, 0.9),
            ).k
            for layer in range(3)
        ]
        assert row[drawn.field("y")] == pytest.approx(np.median(k), rel=1e-6)


def test_bars_reach_one_standard_error_to_both_sides() -> None:
    expected = summarise(show.run().isel(step=[-1])).squeeze()
    chart = charts.cohort(show.run())
    drawn, points = bars(chart), own(chart)
    for row in drawn.rows:
        error = expected["standard_error"].sel(component=row["component"]).item()
        k = expected["k"].sel(component=row["component"]).item()
        assert row[drawn.field("y")] == pytest.approx(k - error, rel=1e-6)
        assert row[drawn.field("y2")] == pytest.approx(k + error, rel=1e-6)
        assert row[points.tips()["standard error"]] == pytest.approx(error, rel=1e-6)


def test_ticks_are_the_published_entries_of_the_same_components() -> None:
    published = wb.reference_cohort()["k"]
    drawn = entries(charts.cohort(show.run()))
    shared = [name for name in show.RUN_COMPONENTS if name in published["component"]]
    assert {row["component"] for row in drawn.rows} == set(shared)
    below = show.mark(charts.cohort(show.run()), "point", shape="triangle-down")
    assert len(drawn.rows) + len(below.rows) == int(published.sel(component=shared).count())
    assert max(row["k"] for row in below.rows) < drawn.scale("y")["domain"][0]
    for row in drawn.rows:
        cell = published.sel(model=row["model"], component=row["component"])
        assert row[drawn.field("y")] == pytest.approx(cell.item(), abs=1e-9)
        assert row[drawn.tips()["published"]] == row["model"]


def test_an_entry_lies_on_its_own_tick() -> None:
    some = wb.reference_cohort().isel(model=[1, 7])
    chart = charts.cohort(some)
    ticks = {(row["model"], row["component"]): row["k"] for row in entries(chart).rows}
    for row in own(chart).rows:
        assert row["k"] == ticks[row["model"], row["component"]]
    assert len(own(chart).rows) == int(some["k"].count())
    assert "distance 0.00" not in show.subtitle(chart), "an entry is not its own neighbour"
    for name in ("pythia-160m", "llama-3-8b"):
        assert f"{name}: nearest " in show.subtitle(chart)
        assert f"{name}: nearest {name}" not in show.subtitle(chart)


@pytest.mark.parametrize("name", ["run", "pair", "demo"])
def test_the_title_names_the_nearest_entry(name: str) -> None:
    fits = getattr(show, name)()
    table = wb.nearest_published(fits)
    for model in fits["model"].values:
        first = table[table["model"] == model].iloc[0]
        expected = f"{model}: nearest {first['entry']}, distance {first['distance']:.2f}"
        assert expected in show.subtitle(charts.cohort(fits))
        if first["note"]:
            assert f"{expected} ({first['note']})" in show.subtitle(charts.cohort(fits))


def test_a_model_without_published_components_is_drawn_without_neighbour() -> None:
    fits = show.run().isel(step=[-1], component=[0, 1])
    fits = fits.assign_coords(component=["encoder.q_proj", "encoder.v_proj"])
    chart = charts.cohort(fits)
    assert "run: no published entry has its components" in show.subtitle(chart)
    assert len(own(chart).rows) == 2
    assert not entries(chart).rows


def test_models_have_a_colour_a_shape_and_a_place_each() -> None:
    weights = show.run_weights()[0]
    fits = wb.scan({f"m{i}": show.scaled(weights, 2.0**-i) for i in range(6)})
    chart = charts.cohort(fits)
    drawn = own(chart)
    names = [f"m{i}" for i in range(6)]
    for channel in ("color", "shape"):
        assert drawn.scale(channel)["domain"] == names
        assert len(set(drawn.scale(channel)["range"])) == 6
    assert drawn.scale("xOffset")["domain"] == names
    assert bars(chart).scale("xOffset") == drawn.scale("xOffset")
    assert bars(chart).scale("color") == drawn.scale("color")
    (legend,) = show.legends(chart)
    assert legend.startswith("Symbol legend titled 'model'")
    assert legend.endswith("with 6 values: m0, m1, m2, m3, m4, m5")
    assert "xOffset" not in own(charts.cohort(show.run())).encoding


def test_each_model_shows_its_own_last_step() -> None:
    weights = show.run_weights()
    fits = wb.scan({"long": weights, "short": {step: weights[step] for step in (0, 10)}})
    drawn = own(charts.cohort(fits))
    for row in drawn.rows:
        step = {"long": 2000, "short": 10}[row["model"]]
        k = fits["k"].sel(model=row["model"], component=row["component"], step=step)
        assert show.close(row["k"], k.median().item())


def test_components_keep_the_order_of_the_fits() -> None:
    chart = charts.cohort(show.run())
    for part in show.marks(chart):
        if "x" in part.encoding:
            assert part.scale("x")["domain"] == list(show.RUN_COMPONENTS)
    (axis,) = show.axes(chart, "Y")
    assert axis.startswith("Y-axis titled 'Weibull shape k' for a linear scale")
    assert show.title(chart) == "Medians of k among the published entries"


def test_the_rule_is_the_gaussian_and_nothing_lies_outside() -> None:
    for fits in (show.run(), show.pair(), wb.reference_cohort().isel(model=slice(0, 6))):
        chart = charts.cohort(fits)
        assert show.anchors(chart) == [pytest.approx(wb.anchor().k, rel=show.ROUNDED)]
        assert not show.outside(chart)


def test_what_is_not_fitted_is_left_out_of_the_medians() -> None:
    fits = show.holes()
    for row in own(charts.cohort(fits)).rows:
        k = fits["k"].sel(component=row["component"])
        assert show.close(row["k"], k.median().item())
    nothing = charts.cohort(fits.sel(layer=[2]))
    assert "all_zero: 1" in show.words(nothing)
    assert "too_few: 1" in show.words(nothing)


@settings(max_examples=4, deadline=None)
@given(power=st.integers(-3, 3), order=st.permutations(range(3)))
def test_neither_the_unit_nor_the_order_of_layers_matters(power: int, order: list[int]) -> None:
    weights = show.checkpoint(range(3), ("q_proj", "up_proj"), 41)
    for values in weights.values():
        values[np.abs(values) < 1e-3] = np.float16(1e-3)
    drawn = [
        {row["component"]: row["k"] for row in own(charts.cohort(fits)).rows}
        for fits in (
            wb.scan({"m": weights}),
            wb.scan({"m": show.scaled(weights, 2.0**power)}).isel(layer=order),
        )
    ]
    assert drawn[0] == pytest.approx(drawn[1], rel=1e-6)


def test_errors_name_the_protocol_and_the_number_of_models() -> None:
    for words in ({"trim": (0.0, 1.0)}, {"estimator": "maximum_likelihood"}):
        other: Any = words
        with pytest.raises(ValueError, match=r"The cohort must be compared .*"):
            charts.cohort(wb.refit(show.run().isel(step=[-1]), **other))
    with pytest.raises(ValueError, match=r"at most 6 models for this chart, got 7.*fits\.sel"):
        charts.cohort(wb.reference_cohort().isel(model=slice(0, 7)))


def test_medians_of_one_model_need_no_legend() -> None:
    assert show.legends(charts.cohort(show.run())) == []
