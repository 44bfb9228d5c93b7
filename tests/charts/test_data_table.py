"""`weibnb.charts.table`: what a chart draws, as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

import weibnb as wb

alt = pytest.importorskip("altair")

from tests.charts import helpers as show
from tests.charts.others import OTHERS
from weibnb import charts
from weibnb.charts.data_table import numbers_html


@pytest.mark.parametrize("name", sorted({*show.KINDS, *OTHERS}))
def test_the_table_holds_every_number_that_a_tooltip_tells(name: str) -> None:
    chart = OTHERS[name]() if name in OTHERS else show.usual(name, "run")
    found = charts.table(chart)
    rows = {tuple(row) for row in found.astype(object).where(found.notna(), None).to_numpy()}
    places = {column: i for i, column in enumerate(found.columns)}
    marks = [mark for mark in show.marks(chart) if mark.rows and "tooltip" in mark.encoding]
    assert marks
    for mark in marks:
        told = {
            tuple(sorted((places[words], row[field]) for words, field in mark.tips().items()))
            for row in mark.rows
        }
        at = sorted(places[words] for words in mark.tips())
        held = {tuple((i, row[i]) for i in at) for row in rows}
        assert {tuple((i, one_line(value)) for i, value in cells) for cells in told} <= held


def one_line(value: Any) -> Any:
    return value.replace("\n", ", ") if isinstance(value, str) else value


def test_the_numbers_of_a_map_are_those_of_the_fits() -> None:
    found = charts.table(charts.layer_map(show.run(), value="lam"))
    matrices = found[found["component"].notna()]
    assert len(matrices) == len(found) == show.run()["k"].size
    for row in matrices.to_dict("records"):
        cell = show.cell_of(show.run(), {str(name): value for name, value in row.items()})
        assert show.close(row["λ"], cell["lam"].item())
        assert show.close(row["SE(k)"], cell["k_se"].item())
        assert row["panel"] == f"step {row['step']:,}"


def test_rows_that_several_marks_draw_are_told_once() -> None:
    found = charts.table(charts.layer_map(show.holes()))
    assert len(found) == 6
    reasons = found.set_index(["component", "layer"])["reason"].dropna()
    assert reasons.to_dict() == {
        ("up_proj", 1): "constant",
        ("up_proj", 2): "all_zero",
        ("down_proj", 2): "too_few",
    }


def test_what_is_drawn_over_the_rest_comes_first() -> None:
    found = charts.table(charts.cohort(show.run()))
    assert found["model"].notna().tolist() == sorted(found["model"].notna(), reverse=True)
    assert found["model"].iloc[0] == "run"
    assert found["line"].iloc[-1] == "an untrained Gaussian matrix"
    assert show.close(found["value"].iloc[-1], wb.anchor().k)


def test_rows_and_columns_of_panels_are_named() -> None:
    both = wb.scan({name: show.run_weights() for name in ("a", "b")}).isel(step=[0, 3])
    found = charts.table(charts.layer_map(both))
    pairs = set(zip(found["panel down"], found["panel across"], strict=True))
    assert pairs == {(model, f"step {step:,}") for model in "ab" for step in (0, 2000)}


def test_where_nothing_is_drawn_the_table_says_why() -> None:
    empty = charts.table(charts.layer_map(show.run().isel(layer=[])))
    assert empty.to_dict("list") == {"note": ["The selection has no layer."]}


def test_a_specification_and_its_json_have_the_table_of_the_chart() -> None:
    expected = charts.table(show.usual("class_bands", "run"))
    pd.testing.assert_frame_equal(charts.table(charts.class_bands.spec(show.run())), expected)
    written = show.specification(show.usual("class_bands", "run"))
    pd.testing.assert_frame_equal(charts.table(written), expected)


def test_charts_that_are_joined_keep_their_own_numbers() -> None:
    parts = [charts.layer_map(show.run().isel(step=[at])) for at in (0, 3)]
    expected = [charts.table(part) for part in parts]
    for part in parts:
        part.config = alt.Undefined
    joined = alt.hconcat(*parts)
    found = charts.table(joined)
    assert len(found) == sum(map(len, expected))
    assert set(found["step"]) == {0, 2000}
    keys = ["step", "layer", "component"]
    k = pd.concat(expected).set_index(keys)["k"].sort_index()
    pd.testing.assert_series_equal(found.set_index(keys)["k"].sort_index(), k)


@pytest.mark.parametrize("chart", [3, None, {}, {"mark": "bar"}])
def test_what_is_no_chart_is_a_type_error(chart: Any) -> None:
    with pytest.raises(TypeError, match=r"`chart` must be a chart of weibnb\.charts, got"):
        charts.table(chart)


def test_a_page_gets_small_tables_with_names_as_text() -> None:
    fits = show.run().isel(step=[0]).assign_coords(model=["<b>"])
    written = numbers_html(charts.layer_map.spec(fits))
    assert written.startswith("<details><summary>")
    assert "&lt;b&gt;" in written
    assert "<b>" not in written
    plot = numbers_html(charts.weibull_plot.spec(fits.sel(component=["q_proj"], layer=[0])))
    assert "q_proj of layer 0: k " in plot
    assert "NaN" not in numbers_html(charts.layer_map.spec(show.holes()))
    assert numbers_html(charts.layer_map.spec(show.tall(60))) == ""
