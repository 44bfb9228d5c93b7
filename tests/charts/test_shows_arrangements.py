"""Weibull plots of several matrices: in panels, as differences, without residuals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from weibnb import charts


def three() -> Any:
    return show.run().isel(layer=[0, 1, 2], component=[1], step=[-1])


def kind(chart: Any, name: str) -> show.Rows:
    """Rows of one kind, each once."""
    own = [row for part in show.marks(chart) for row in part.rows if row.get("kind") == name]
    return [row for i, row in enumerate(own) if row not in own[:i]]


def test_each_matrix_has_a_panel_with_its_own_line_and_points() -> None:
    chart = charts.weibull_plot(three(), arrangement="multiples")
    heads = show.panels(chart)
    assert [head.split("\n")[0] for head in heads] == [f"v_proj of layer {i}" for i in range(3)]
    for i, head in enumerate(heads):
        cell = three().isel(layer=i).squeeze()
        k, lam = cell["k"].item(), cell["lam"].item()
        assert head.split("\n")[1] == f"k {k:.3f} ± {cell['k_se'].item():.2g}"
        line = [row for row in kind(chart, "line") if row["panel"] == head]
        assert len(line) == 2
        for row in line:
            assert row["y"] == pytest.approx(k * np.log(row["magnitude"] / lam), abs=1e-5)
        points = [row for row in kind(chart, "points") if row["panel"] == head]
        assert len(points) > 50
        assert max(row["magnitude"] for row in points) == pytest.approx(cell["max_abs"].item())
        for row in points:
            assert row["percent"] == pytest.approx(100 * -np.expm1(-np.exp(row["y"])), rel=1e-5)
            assert row["percent"] >= 0.01


def test_the_line_of_the_first_matrix_is_in_all_other_panels() -> None:
    chart = charts.weibull_plot(three(), arrangement="multiples")
    heads = show.panels(chart)
    first = [(r["magnitude"], r["y"]) for r in kind(chart, "line") if r["panel"] == heads[0]]
    for head in heads[1:]:
        found = [row for row in kind(chart, "reference") if row["panel"] == head]
        assert [(row["magnitude"], row["y"]) for row in found] == first
    assert not [row for row in kind(chart, "reference") if row["panel"] == heads[0]]
    assert "dashed: the line of v_proj of layer 0" in show.subtitle(chart)


def test_small_multiples_draw_the_first_twelve_and_count_the_rest() -> None:
    many = show.run().isel(step=[-1])
    chart = charts.weibull_plot(many, arrangement="multiples")
    assert len(show.panels(chart)) == 12
    assert "12 of 15 matrices drawn" in show.subtitle(chart)
    assert "drawn" not in show.subtitle(charts.weibull_plot(three(), arrangement="multiples"))
    both = charts.weibull_plot(three(), compare=many, arrangement="multiples")
    assert "12 of 18 matrices drawn" in show.subtitle(both)


def test_differences_are_less_the_line_of_the_first() -> None:
    chart = charts.weibull_plot(three(), arrangement="difference")
    cell = three().isel(layer=0).squeeze()
    k, lam = cell["k"].item(), cell["lam"].item()
    rows = kind(chart, "points") + kind(chart, "line")
    assert {row["layer"] for row in rows} == {0, 1, 2}
    for row in rows:
        expected = row["y"] - k * np.log(row["magnitude"] / lam)
        assert row["gap"] == pytest.approx(expected, abs=1e-5)
        assert row["y"] >= np.log(-np.log1p(-1e-3)) - 1e-6
    own = [row["gap"] for row in kind(chart, "line") if row["layer"] == 0]
    assert own == pytest.approx([0, 0], abs=1e-6)
    line = show.mark(chart, "line")
    assert [part["field"] for part in [line.encoding["detail"]]] == ["matrix"]
    assert "v_proj of layer 0" in line.encoding["y"]["title"]


def test_a_matrix_twice_as_large_lies_below_by_k_times_ln_2() -> None:
    name = show.tensor("up_proj", 0)
    weights = show.run_weights()[0][name]
    fits = wb.scan({"one": {name: weights}, "two": {name: weights * np.float16(2)}})
    chart = charts.weibull_plot(fits, arrangement="difference")
    gaps = [row["gap"] for row in kind(chart, "line") if row["model"] == "two"]
    k = fits["k"].isel(model=0).item()
    assert gaps == pytest.approx([-k * np.log(2)] * 2, rel=1e-4)


def test_up_to_four_lines_are_named_where_they_end() -> None:
    chart = charts.weibull_plot(three(), arrangement="difference")
    names = show.mark(chart, "text")
    assert sorted(names.values("text")) == [f"v_proj of layer {i}" for i in range(3)]
    assert np.diff(names.values("y")).min() > 0
    assert not show.legends(chart)
    five = show.run().isel(layer=[0], component=slice(0, 5), step=[-1])
    assert show.legends(charts.weibull_plot(five, arrangement="difference"))


def test_what_is_not_fitted_is_not_the_one_compared_with() -> None:
    some = show.holes().sel(component="up_proj", layer=[1, 0])
    chart = charts.weibull_plot(some, arrangement="difference")
    assert "up_proj of layer 0" in show.subtitle(chart)
    heads = show.panels(charts.weibull_plot(some, arrangement="multiples"))
    assert heads[0] == "up_proj of layer 1\nnot fitted (constant)"


@pytest.mark.parametrize("arrangement", ["multiples", "difference"])
def test_fits_without_counts_are_lines_alone(arrangement: Any) -> None:
    chart = charts.weibull_plot(three().drop_vars("counts"), arrangement=arrangement)
    assert "lines without points" in show.subtitle(chart)
    assert kind(chart, "line")
    assert all(not np.isfinite(row["percent"] or np.nan) for row in kind(chart, "points"))


def test_residuals_can_be_left_out() -> None:
    chart = charts.weibull_plot(three(), residuals=False)
    assert "vconcat" not in show.specification(chart)
    (axis,) = show.axes(chart, "X")
    assert "magnitude |w| (units of the weights)" in axis
    assert len(show.specification(charts.weibull_plot(three()))["vconcat"]) == 2


def test_unknown_arrangements_and_estimators_beside_them_are_errors() -> None:
    word: Any = "multiple"
    with pytest.raises(ValueError, match=r"`arrangement` .*Did you mean 'multiples'"):
        charts.weibull_plot(three(), arrangement=word)
    with pytest.raises(ValueError, match="`estimators` must be empty"):
        charts.weibull_plot(three(), arrangement="difference", estimators=["maximum_likelihood"])
