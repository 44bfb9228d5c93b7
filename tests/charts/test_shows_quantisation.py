"""The map of the SQNR: a panel for each format, numbers against its median, gaps with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")

from tests.charts import helpers as show
from tests.hostile import NAMES
from weibnb import charts

NAME = "model.layers.{}.mlp.{}_proj.weight".format


def weights() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {NAME(i, c): rng.normal(size=(64, 64)) for i in range(3) for c in ("up", "down")}
    found[NAME(1, "up")][0, 0] = 50
    found[NAME(2, "down")][:] = 0
    return found


def test_numbers_are_the_prediction_less_the_median_of_the_format() -> None:
    found = wb.quantisation(wb.scan({"m": weights()}, progress=False), formats=["int8", "nf4"])
    chart = charts.quantisation(found)
    chart.to_dict()  # held against the schema of Vega-Lite
    rects = [mark for mark in show.marks(chart) if mark.kind == "rect"]
    rows = [row for mark in rects for row in mark.rows]
    assert len(rows) == 12
    table = found.table.set_index(["component", "layer"])
    for name in ("int8", "nf4"):
        middle = table[name].median()
        own = [row for row in rows if row["panel"] == f"{name}: median {middle:.1f} dB"]
        assert len(own) == 6
        for row in own:
            expected = table[name].to_dict()[row["component"], row["layer"]]
            if np.isnan(expected):
                assert (row["value"], row["reason"]) == (None, "all_zero")
            else:
                assert row["value"] == pytest.approx(expected - middle, abs=1e-5)
                assert row["sqnr"] == pytest.approx(expected, rel=1e-6)
    assert "blue: below the median, wants more bits" in show.subtitle(chart)
    lowest = rects[0].scale("color")["range"][0]
    assert int(lowest[5:], 16) > int(lowest[1:3], 16), "it is blue"
    worst = min(rows, key=lambda row: row["value"] or 0)
    assert (worst["layer"], worst["component"]) == (1, "up_proj")


def test_without_counts_the_chart_says_so() -> None:
    found = wb.quantisation(wb.reference_cohort().isel(model=[0]))
    words = [row["text"] for row in show.mark(charts.quantisation(found), "text").rows]
    assert words == ["None of the 20 cells has a prediction:", "no counts: 20"]


def test_what_can_be_drawn() -> None:
    fits = wb.scan({"a": weights(), "b": weights()}, progress=False)
    with pytest.raises(TypeError, match=r"must come from weibnb.quantisation, got Dataset"):
        charts.quantisation(fits)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="of one model, got 2"):
        charts.quantisation(wb.quantisation(fits))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name: str) -> None:
    found = wb.quantisation(wb.scan({name: weights()}, progress=False))
    chart = charts.quantisation(found)
    assert all(part.isprintable() for part in chart.to_dict()["title"]["subtitle"])
