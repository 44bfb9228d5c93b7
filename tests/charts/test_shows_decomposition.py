"""The waterfall of why k is low: its bars add up to the core, each panel has its own matrix."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from tests.charts import helpers as show
from weibnb import charts

if TYPE_CHECKING:
    import xarray as xr

CAUSES = ["raw", "rows", "columns", "method", "core"]


def weights(seed: int, rows: float, cols: float) -> Any:
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, rows, (96, 1)) + rng.normal(0, cols, 128))
    return (rng.normal(size=(96, 128)) * scale).astype(np.float32)


@cache
def found() -> xr.Dataset:
    """Three matrices: unequal rows, unequal columns, and one that cannot be taken apart."""
    name = "model.layers.{}.self_attn.{}.weight".format
    source = {
        name(0, "q_proj"): weights(0, 0.5, 0.05),
        name(1, "q_proj"): weights(1, 0.05, 0.5),
        name(1, "o_proj"): weights(2, 0, 0)[:3],
    }
    return wb.decompose({"run": source})


def matrix(label: str) -> xr.Dataset:
    """One of them, by its name."""
    component, layer = label.split(" of layer ")
    whole = found()
    at = (whole["component"] == component) & (whole["layer"] == int(layer))
    return whole.isel(matrix=int(np.flatnonzero(at)[0]))


def test_bars_lead_from_k_as_it_is_to_the_core() -> None:
    chart = charts.decomposition(found())
    chart.to_dict()  # held against the schema of Vega-Lite
    bars = show.mark(chart, "bar")
    assert [bars.field("y"), bars.encoding["y2"]["field"]] == ["k", "reaches"]
    for i in range(2):
        label = f"q_proj of layer {i}"
        one = matrix(label)
        steps = [row for row in bars.rows if row["panel"] == label]
        assert [row["cause"] for row in steps] == CAUSES[1:-1]
        assert show.close(steps[0]["k"], one["k_raw"].item())
        for before, after in pairwise(steps):
            assert show.close(before["reaches"], after["k"])
        assert steps[-1]["reaches"] == pytest.approx(one["k_core"].item(), rel=1e-6)
        for row, name in zip(steps, ("from_rows", "from_cols", "from_dividing"), strict=True):
            assert row["gain"] == pytest.approx(one[name].item(), abs=1e-7)
            assert row["sentence"] == one["sentence"].item()


def test_points_are_k_with_its_errors() -> None:
    chart = charts.decomposition(found())
    points, spans = show.mark(chart, "point"), show.mark(chart, "rule", strokeWidth=2)
    assert len(points.rows) == 4
    for row in points.rows:
        one = matrix(row["panel"])
        k, se = (one[f"{name}_{row['cause']}"].item() for name in ("k", "k_se"))
        assert show.close(row["k"], k)
        assert show.close(row["high"], k + se)
        assert show.close(row["low"], k - se)
    assert [spans.field("y"), spans.encoding["y2"]["field"]] == ["low", "high"]
    ticks = show.mark(chart, "tick")
    assert {row["cause"] for row in ticks.rows} == {"core"}
    assert show.close(ticks.rows[0]["ideal"], matrix("q_proj of layer 0")["anchor_core"].item())
    assert show.anchors(chart) == pytest.approx([wb.anchor().k], rel=1e-6)


def test_panels_and_axes() -> None:
    chart = charts.decomposition(found())
    assert show.panels(chart) == ["q_proj of layer 0", "q_proj of layer 1"]
    assert show.title(chart) == "Why k is low"
    assert "run · rank regression, trim 10–90 %" in show.subtitle(chart)
    assert "not drawn: o_proj of layer 1" in show.subtitle(chart)
    assert "method: what dividing adds to the same weights in a random order" in show.subtitle(
        chart
    )
    for part in show.marks(chart):
        if "x" in part.encoding:
            assert part.scale("x")["domain"] == CAUSES
    assert not show.outside(chart)
    for axis in show.axes(chart, "Y"):
        assert axis.startswith("Y-axis titled 'Weibull shape k' for a linear scale")
        assert "from 0 " not in axis


def test_one_matrix_has_its_sentence_for_a_subtitle() -> None:
    one = matrix("q_proj of layer 0")
    for part in (one, one.expand_dims("matrix")):
        chart = charts.decomposition(part)
        assert show.title(chart) == "q_proj of layer 0: why k is low"
        assert show.subtitle(chart).startswith(one["sentence"].item())
        assert show.panels(chart) == []


def test_what_cannot_be_taken_apart_says_why() -> None:
    chart = charts.decomposition(matrix("o_proj of layer 1"))
    assert "3 x 128 hold weights" in show.words(chart)
    bare = charts.decomposition(wb.decompose(weights(0, 0.5, 0)))
    assert show.title(bare) == "weights of layer 0: why k is low"


def test_names_are_text() -> None:
    source = {show.HOSTILE: {"model.layers.0.self_attn.q_proj.weight": weights(0, 0.5, 0)}}
    chart = charts.decomposition(wb.decompose(source))
    assert "\x1b" not in show.svg(chart)
    assert "<img" not in show.svg(chart)


def test_fits_are_told_what_to_run() -> None:
    with pytest.raises(ValueError, match=r"Run charts.decomposition\(wb.decompose\(.*, fits=fits"):
        charts.decomposition(show.run())
    with pytest.raises(TypeError, match="Dataset, got list"):
        charts.decomposition([])  # type: ignore[arg-type]
    many = found().isel(matrix=[0] * 13)
    with pytest.raises(ValueError, match="must hold 1 to 12 matrices for this chart, got 13"):
        charts.decomposition(many)


def test_what_to_run_names_a_file_but_not_weights_in_memory() -> None:
    fits = show.run().isel(step=[0])
    for source, called in (("models/a", "'models/a'"), ("dict", "source")):
        with pytest.raises(ValueError, match=rf"wb\.decompose\({called}, fits=fits"):
            charts.decomposition(fits.assign(source=fits["source"].copy(data=[[source]])))
