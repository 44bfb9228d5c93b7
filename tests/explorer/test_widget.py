"""The explorer without a browser: traits set as the page sets them, what it answers, its files."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from traitlets import TraitError

from weibnb.diagnostics.cohorts import reference_cohort
from weibnb.explorer.export import last_view_html
from weibnb.explorer.widget import Explorer
from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr

DEMO = Path(wb.__file__).parent / "data" / "demo"
HOSTILE = "<img src=x onerror=alert(1)></script>'];\n${1}"


@pytest.fixture(scope="module")
def fits() -> xr.Dataset:
    return wb.scan({"demo": DEMO})


@pytest.fixture
def explorer(fits: xr.Dataset) -> Explorer:
    return explore(fits)


def words(explorer: Explorer) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(explorer._words)
    return found


def slot(explorer: Explorer, name: str = "main") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(getattr(explorer, f"_{name}"))
    return found


def rows_of(spec: Any) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows]


def from_page(explorer: Explorer, **state: Any) -> None:
    """Do what a message from the page does."""
    explorer.set_state(state | {"_asked": explorer._asked + 1})


def test_first_view(explorer: Explorer, fits: xr.Dataset) -> None:
    assert explorer.query == {"step": [7000]}
    assert repr(explorer) == "<Explorer: 21 of 105 matrices, panel 'overview'>"
    drawn = {(row["component"], row["layer"]): row["value"]
             for row in rows_of(slot(explorer)["spec"]) if "value" in row}  # fmt: skip
    k = fits["k"].sel(model="demo", step=7000)
    assert len(drawn) == 21
    for (component, layer), value in drawn.items():
        expected = k.sel(component=component, layer=layer).item()
        assert value == pytest.approx(expected, rel=1e-5)
    assert words(explorer)["chosen"] == [["demo", 0, "q_proj", 7000]]


def test_a_click_draws_that_matrix(explorer: Explorer, fits: xr.Dataset) -> None:
    before = explorer._main
    from_page(explorer, selected=[["demo", 2, "up_proj", 7000]])
    assert explorer._main == before, "the map is not sent again"
    k = fits["k"].sel(model="demo", layer=2, component="up_proj", step=7000).item()
    text = explorer._detail
    assert f"k {k:.4f}" in text
    assert "up_proj of layer 2" in slot(explorer, "detail")["label"]
    assert explorer._answered == explorer._asked == 1
    table = json.loads(explorer._rows)
    assert table["total"] == 1
    assert table["rows"][0][table["columns"].index("k")] == pytest.approx(k)


def test_moving_the_trim_is_a_refit(explorer: Explorer, fits: xr.Dataset) -> None:
    from_page(explorer, panel="weibull", selected=[["demo", 1, "v_proj", 7000]])
    from_page(explorer, trim=[0.05, 0.8])
    expected = wb.refit(fits, trim=(0.05, 0.8))
    k = expected["k"].sel(model="demo", layer=1, component="v_proj", step=7000).item()
    assert f"k {k:.4f}" in explorer._main
    whole = explorer.fits
    assert whole.attrs["trim_upper"] == 0.8
    np.testing.assert_allclose(whole["k"].values, expected["k"].sel(step=[7000]).values)
    from_page(explorer, estimator="maximum_likelihood", trim=[0.0, 1.0])
    likely = wb.refit(fits.sel(step=[7000]), estimator="maximum_likelihood", trim=(0, 1))
    np.testing.assert_allclose(explorer.fits["k"].values, likely["k"].values)


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


def test_filters(explorer: Explorer, fits: xr.Dataset) -> None:
    from_page(explorer, filters={"weight_class": ["selection"]}, layers=[1, 2])
    assert explorer.query == {
        "layer": slice(1, 2),
        "component": ["q_proj", "k_proj"],
        "step": [7000],
    }
    expected = fits.sel(layer=slice(1, 2), component=["q_proj", "k_proj"], step=[7000])
    assert explorer.fits.equals(expected)
    assert words(explorer)["count"].startswith("4 of 105")
    assert words(explorer)["counts"]["weight_class"] == [4, 2, 8]


def test_empty_filters_say_why(explorer: Explorer) -> None:
    from_page(explorer, filters={"component": []})
    assert words(explorer)["empty"] == ["Components excludes every matrix."]
    assert explorer._main == explorer._detail == explorer._rows == ""
    assert explorer.chart is None
    from_page(explorer, filters={})
    assert words(explorer)["empty"] == []
    assert explorer._main


def test_status_is_a_filter(fits: xr.Dataset) -> None:
    zero = {f"model.layers.{i}.mlp.up_proj.weight": np.full((16, 16), float(i)) for i in range(3)}
    zero["model.layers.2.mlp.up_proj.weight"] = np.random.default_rng(0).normal(size=(16, 16))
    explorer = explore(wb.scan({"a": zero}), filters={"status": ["ok"]})
    assert (explorer.fits["status"].values.ravel() == ["absent", "absent", "ok"]).all()
    assert "keep_status(view, ['ok'])" in explorer.code
    explorer.filters = {"status": ["all_zero", "constant"]}
    assert not explorer.fits["k"].notnull().any()


def test_an_extra_coordinate_is_a_filter(fits: xr.Dataset) -> None:
    both = wb.scan({"a": DEMO / "step0", "b": DEMO / "step7000"})
    both = both.assign_coords(optimiser=("model", ["adamw", "muon"]))
    explorer = explore(both, filters={"optimiser": ["muon"]})
    assert explorer.query["model"] == ["b"]


def test_steps(explorer: Explorer, fits: xr.Dataset) -> None:
    from_page(explorer, step=500)
    assert explorer.query == {"step": [500]}
    assert (explorer.fits["step"] == [500]).all()
    from_page(explorer, panel="trajectories")
    assert explorer.query == {}
    steps = {row["step"] for row in rows_of(slot(explorer)["spec"]) if "step" in row}
    assert steps == set(fits["step"].values.tolist())


@pytest.mark.parametrize("panel", ["overview", "weibull", "classes", "trajectories", "compare"])
@pytest.mark.parametrize("trim", [(0.1, 0.9), (0.2, 0.7)])
def test_the_code_redoes_the_view(fits: xr.Dataset, panel: str, trim: tuple[float, float]) -> None:
    explorer = explore(fits, panel=panel, trim=trim, layers=(0, 1))
    explorer.side_by_side = True
    drawn = {name: chart.to_dict() for name, chart in explorer.charts.items()}
    assert drawn
    namespace: dict[str, Any] = {"fits": fits}
    made = []
    for line in explorer.code.splitlines():
        if line.startswith("charts."):
            made.append(eval(line, namespace).to_dict())  # noqa: S307  (our own text)
        else:
            exec(line, namespace)  # noqa: S102  (our own text)
    assert made == list(drawn.values())


def test_the_code_of_the_table(explorer: Explorer, fits: xr.Dataset) -> None:
    explorer.panel = "table"
    namespace: dict[str, Any] = {"fits": fits}
    *lines, last = explorer.code.splitlines()
    exec("\n".join(lines), namespace)  # noqa: S102  (our own text)
    table = eval(last, namespace)  # noqa: S307  (our own text)
    assert len(table) == 21
    assert explorer.chart is None


def test_without_counts(fits: xr.Dataset) -> None:
    explorer = explore(fits.drop_dims("bin").drop_vars("counts_exact", errors="ignore"))
    assert "keep_counts=True" in words(explorer)["no_refit"]
    assert "keep_counts=True" in slot(explorer, "detail")["problem"]
    assert "spec" in slot(explorer)
    assert "spec" in slot(explorer, "side")


def test_published_entries() -> None:
    explorer = explore(reference_cohort())
    assert len(explorer.filters["model"]) == 6
    assert "spec" in slot(explorer)


def test_many_models_have_trajectories_by_class() -> None:
    explorer = explore(wb.load_cohort("stdlib"), panel="trajectories")
    assert "by='weight_class'" in explorer.code
    assert "spec" in slot(explorer)
    explorer.filters = {"model": ["gqa", "seed1"]}
    assert "by=" not in explorer.code
    assert "spec" in slot(explorer)


def test_a_model_without_the_step_is_named(fits: xr.Dataset) -> None:
    both = wb.scan({"run": DEMO, "other": DEMO / "step0"})
    explorer = explore(both)
    assert words(explorer)["left_out"] == "No matrix at step 7000: other."


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


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ({"panle": "overview"}, TypeError, "no trait 'panle'"),
        ({"panel": "map"}, TraitError, "overview"),
        ({"filters": {"component": ["q"]}}, ValueError, "must be one of"),
        ({"trim": (0.9, 0.1)}, ValueError, "trim"),
        ({"step": 1}, ValueError, "`step` must be one of"),
    ],
)
def test_bad_state(
    fits: xr.Dataset, state: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Explorer(fits, **state)


def test_bad_traits_are_refused(explorer: Explorer) -> None:
    for name, value in (("filters", {"x": []}), ("trim", (0.5, 0.5)), ("step", 3)):
        with pytest.raises(TraitError):
            setattr(explorer, name, value)
    assert explorer.step == 7000


def test_a_failure_is_shown(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of ink")

    monkeypatch.setattr(explorer, "_draw", fail)
    from_page(explorer, panel="classes")
    assert words(explorer)["problem"] == "RuntimeError: out of ink"
    assert explorer._answered == explorer._asked


def test_a_chart_that_cannot_be_drawn_leaves_the_others(fits: xr.Dataset) -> None:
    explorer = explore(fits, trim=(0.2, 0.8), panel="compare")
    assert "spec" in slot(explorer)
    assert "trim" in slot(explorer, "detail")["problem"]


def test_files(explorer: Explorer, tmp_path: Path) -> None:
    page = explorer.save(tmp_path / "view.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']https?:", page)
    assert page.count("<figure>") == 3
    assert explorer.save(tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in explorer.save(tmp_path / "a.svg").read_bytes()[:200]
    rows = list(csv.DictReader(io.StringIO(explorer.save(tmp_path / "a.csv").read_text())))
    assert len(rows) == 21
    with pytest.raises(ValueError, match=r"must end with \.html"):
        explorer.save(tmp_path / "a.pdf")
    explorer.panel = "table"
    with pytest.raises(ValueError, match="has no chart"):
        explorer.save(tmp_path / "b.png")


def test_a_button_gets_its_file(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(
        explorer, "send", lambda content, buffers=None: sent.append((content, buffers))
    )
    explorer._handle_custom_msg({"save": "csv"}, [])
    explorer._handle_custom_msg({"save": "exe"}, [])
    assert sent[0][0] == {"name": "weibnb-overview.csv", "type": "text/csv"}
    assert sent[0][1][0].startswith(b"model,")
    assert "must end with" in sent[1][0]["problem"]


def test_hostile_names(tmp_path: Path) -> None:
    weights = {"model.layers.0.mlp.up_proj.weight": np.random.default_rng(0).normal(size=(32, 32))}
    explorer = explore(wb.scan({HOSTILE: weights, "b": weights}))
    explorer.selected = [[HOSTILE, 0, "up_proj", 0]]
    assert words(explorer)["chosen"][0][0] == HOSTILE.replace("\n", "\\n")
    from_page(explorer, selected=words(explorer)["chosen"])
    assert len(words(explorer)["chosen"]) == 1
    page = explorer.save(tmp_path / "view.html").read_text()
    assert HOSTILE.partition("\n")[0] not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    namespace: dict[str, Any] = {"fits": wb.scan({HOSTILE: weights, "b": weights})}
    exec(explorer.code, namespace)  # noqa: S102  (our own text)


def test_the_picture_for_later(explorer: Explorer) -> None:
    assert explorer.chart is not None
    text = last_view_html(explorer.chart.to_dict(), "weibnb-x", HOSTILE)
    assert 'class="weibnb-still weibnb-x"' in text
    assert "data:image/png;base64," in text
    assert "<img src=x" not in text
    assert "<img" not in last_view_html(None, "weibnb-x", "")
