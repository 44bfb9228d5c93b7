"""What the panels draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import DEMO, rows_of, slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

    from weibnb.explorer.widget import Explorer


def test_overlay_of_cells_that_are_no_box(explorer: Explorer) -> None:
    cells = [["demo", 0, "q_proj", 7000], ["demo", 2, "up_proj", 7000]]
    explorer.selected = cells
    explorer.panel = "weibull"
    text = explorer._main
    assert "q_proj of layer 0" in text
    assert "up_proj of layer 2" in text
    assert "up_proj of layer 0" not in text
    assert "keep_cells" in explorer.code


def test_more_cells_than_a_plot_holds(explorer: Explorer) -> None:
    explorer.panel = "weibull"
    components = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
    explorer.selected = [("demo", layer, c, 7000) for layer in range(3) for c in components]
    assert "problem" not in slot(explorer)
    assert len(words(explorer)["chosen"]) == 15
    assert "12 of 15" in words(explorer)["left_out"]


def test_many_models_have_trajectories_by_class() -> None:
    explorer = explore(wb.load_cohort("stdlib"), panel="trajectories")
    assert "by='weight_class'" in explorer.code
    assert "spec" in slot(explorer)
    explorer.filters = {"model": ["gqa", "seed1"]}
    assert "by=" not in explorer.code
    assert "spec" in slot(explorer)


def test_experts() -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.{layer}.block_sparse_moe.experts.{e}.w1.weight": rng.normal(size=(16, 16))
        for layer in range(2)
        for e in range(16)
    }
    for experts in ("median", "each"):
        explorer = explore(wb.scan({"moe": weights}, experts=experts))
        for name in ("main", "detail", "side"):
            assert "spec" in slot(explorer, name), slot(explorer, name)


def test_a_chart_that_cannot_be_drawn_leaves_the_others(fits: xr.Dataset) -> None:
    explorer = explore(fits, trim=(0.2, 0.8), panel="compare")
    assert "spec" in slot(explorer)
    assert "trim" in slot(explorer, "more")["problem"]
    assert "spec" in slot(explorer, "detail")


def test_why_k_is_low_is_read_from_the_weights(fits: xr.Dataset) -> None:
    explorer = explore(fits, source=DEMO, panel="weibull", selected=[("demo", 0, "o_proj", 7000)])
    assert explorer._side == ""
    explorer.causes = True
    spec = slot(explorer, "side")["spec"]
    one = fits.sel(layer=[0], component=["o_proj"], step=[7000])
    assert spec["title"]["subtitle"][0] == wb.decompose(DEMO, fits=one)["sentence"].item()
    assert slot(explorer, "side")["label"] == "Why k is low of o_proj of layer 0"
    explorer.trim = (0.2, 0.8)
    other = wb.decompose(DEMO, fits=wb.refit(one, trim=(0.2, 0.8)))["sentence"].item()
    assert slot(explorer, "side")["spec"]["title"]["subtitle"][0] == other
    explorer.panel = "overview"
    assert "from_rows" not in explorer._side


def test_cells_that_are_no_box_are_read_alone(fits: xr.Dataset) -> None:
    cells = [("demo", 0, "o_proj", 7000), ("demo", 1, "v_proj", 7000)]
    explorer = explore(fits, source={"demo": DEMO}, panel="weibull", selected=cells)
    explorer.causes = True
    drawn = {row["panel"] for row in rows_of(slot(explorer, "side")["spec"]) if "panel" in row}
    assert drawn == {"o_proj of layer 0", "v_proj of layer 1"}


def test_the_code_takes_the_same_apart(fits: xr.Dataset) -> None:
    explorer = explore(fits, source=DEMO, panel="weibull")
    explorer.causes = True
    assert list(explorer.charts) == ["weibull_plot", "density", "decomposition"]
    names: dict[str, Any] = {"fits": fits}
    *_, last = explorer.code.split("\n\n")
    *before, call = last.splitlines()
    exec("import weibnb as wb\nfrom weibnb import charts\n" + "\n".join(before), names)  # noqa: S102
    chart = eval(call, names)  # noqa: S307
    drawn, shown = chart.to_dict()["title"], slot(explorer, "side")["spec"]["title"]
    assert drawn["text"] == shown["text"]
    assert drawn["subtitle"][0] == shown["subtitle"][0]


def test_of_two_compared_models_a_matrix_that_both_have_is_looked_at() -> None:
    explorer = explore(wb.reference_cohort(), panel="compare")
    first, second = explorer.first[0], explorer.second[0]
    ((model, _layer, component, _step),) = words(explorer)["chosen"]
    assert model in (first, second)
    both = wb.reference_cohort()["k"].sel(model=[first, second], component=component)
    assert both.notnull().all()
    (row,) = [row for row in words(explorer)["matrices"]["rows"] if row[0] == "k"]
    assert "not fitted" not in row
    notes = slot(explorer)["spec"]["title"]["subtitle"]
    assert not any("rank regression" in note for note in notes), "it stands above the charts"


def test_fits_without_a_source_say_what_to_run(fits: xr.Dataset) -> None:
    moved = fits.assign(source=fits["source"].str.replace(str(DEMO), "moved"))
    explorer = explore(moved, panel="weibull")
    explorer.causes = True
    assert "spec" in slot(explorer)
    problem = slot(explorer, "side")["problem"]
    assert "which are not at hand. Run charts.decomposition(wb.decompose(" in problem
    assert "step7000" in problem
    gone = explore(fits, source="no/such/place", panel="weibull")
    gone.causes = True
    assert "no such file" in slot(gone, "side")["problem"]
    assert "spec" in slot(gone)


def test_what_is_scanned_can_be_read_again() -> None:
    explorer = explore(DEMO / "step7000", panel="weibull").wait()
    explorer.causes = True
    assert "spec" in slot(explorer, "side")


def test_one_matrix_is_looked_into_and_zoomed(fits: xr.Dataset) -> None:
    explorer = explore(fits, source=DEMO, panel="inside", selected=[("demo", 1, "up_proj", 7000)])
    spec = slot(explorer)["spec"]
    assert spec["title"]["text"].startswith("up_proj of layer 1: ")
    one = fits.sel(layer=[1], component=["up_proj"], step=[7000])
    found = wb.look_inside(DEMO, fits=one)
    places = next(rows for rows in spec["datasets"].values() if "row_stop" in rows[0])
    assert max(row["largest"] for row in places) == pytest.approx(float(one["max_abs"].item()))
    assert max(row["row_stop"] for row in places) == found.attrs["rows"]
    assert "why k is low" in slot(explorer, "side")["spec"]["title"]["text"]
    assert "up_proj of layer 1" in slot(explorer, "detail")["label"]
    explorer.window = (8, 24, 0, 40)
    assert slot(explorer)["spec"]["title"]["subtitle"][0].startswith("16 × 40 weights of ")
    assert "fits=view, rows=(8, 24), cols=(0, 40))" in explorer.code
    explorer.window = (0, 10**6, 0, 4)
    assert "`rows` must satisfy 0 <= first < stop" in slot(explorer)["problem"]
    assert "spec" in slot(explorer, "detail")


@pytest.mark.parametrize("experts", ["median", "each"])
def test_one_of_the_experts_is_looked_into(experts: Any) -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.0.block_sparse_moe.experts.{e}.w1.weight": rng.normal(0, e + 1, (24, 16))
        for e in range(14)
    } | {"model.layers.0.self_attn.q_proj.weight": rng.normal(size=(16, 16))}
    fits = wb.scan({"moe": weights}, experts=experts)
    cell, single = (("moe", 0, name, 0) for name in ("gate_proj", "q_proj"))
    explorer = explore(fits, source={"moe": weights}, panel="inside", selected=[cell])
    assert words(explorer)["experts"] == 14
    for expert, shown in ((0, 0), (13, 13), (99, 13)):
        explorer.expert = expert
        spec = slot(explorer)["spec"]
        assert f"layer 0, expert {shown}:" in spec["title"]["text"]
        places = next(rows for rows in spec["datasets"].values() if "row_stop" in rows[0])
        name = f"model.layers.0.block_sparse_moe.experts.{shown}.w1.weight"
        largest = max(row["largest"] for row in places)
        assert largest == pytest.approx(np.abs(weights[name]).max(), rel=1e-6)
        assert f"'expert': {shown}" in explorer.code
        causes = slot(explorer, "side")["spec"]["title"]["subtitle"][0]
        assert causes.startswith(f"k {wb.fit_weibull(weights[name]).k:.3f} ")
    explorer.selected = [single]
    assert words(explorer)["experts"] == 0
    assert slot(explorer)["spec"]["title"]["text"].startswith("q_proj of layer 0: ")


def test_weights_that_are_gone_say_what_to_run(fits: xr.Dataset) -> None:
    gone = fits.assign_coords(source=fits["source"].astype(object).where(False, "/not/there"))
    explorer = explore(gone, panel="inside")
    assert "wb.explore(fits, source='/not/there')" in slot(explorer)["problem"]
    assert "wb.decompose('/not/there', fits=fits)" in slot(explorer, "side")["problem"]
    assert "spec" in slot(explorer, "detail")
    there = explore(fits, panel="inside")
    assert "spec" in slot(there), "the path that was scanned is still there"
