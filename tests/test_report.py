"""The report: what it says, what it escapes, what it writes."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from tests.hostile import EXPERT, IMAGE, SCRIPT, UP, Q, hostile, mixture, normal
from weibnb.cli import main
from weibnb.diagnostics.bands import judge
from weibnb.diagnostics.cohorts import nearest_published, reference_cohort
from weibnb.diagnostics.drift import drift
from weibnb.diagnostics.pooling import pool_layers
from weibnb.fits.tables import tidy
from weibnb.report import summary, write_report

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.report_page import Summary

    State = dict[str, NDArray[Any]]

LLAMA = [
    *(f"model.layers.{{}}.self_attn.{name}_proj.weight" for name in "qkvo"),
    *(f"model.layers.{{}}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
]
TITLES = [
    "Findings",
    "By class",
    "By component",
    "Layers that stand out",
    "Outliers",
    "Transmission band",
    "Training budget",
    "Nearest published models",
    "Not fitted",
]
Capture = pytest.CaptureFixture[str]


def llama(*, layers: int = 6) -> State:
    return {
        name.format(i): normal(96, 80, seed=100 * i + j)
        for i in range(layers)
        for j, name in enumerate(LLAMA)
    }


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    return wb.scan(hostile())


@pytest.fixture(scope="module")
def gaussians() -> xr.Dataset:
    return wb.scan({"new": llama()})


# Reports of the fits above, made once; the fits are kept so that no other gets their id.
_told: dict[tuple[int, int | None], tuple[xr.Dataset, Summary]] = {}


def told(fits: xr.Dataset, step: int | None = None) -> Summary:
    """Give the report of fits, of a step."""
    key = (id(fits), step)
    if key not in _told:
        _told[key] = (fits, summary(fits, step=step))
    return _told[key][1]


def table(report: Summary, title: str) -> pd.DataFrame:
    content = report.sections[title][0]
    assert isinstance(content, pd.DataFrame), content
    return content


def sentence(report: Summary, title: str) -> str:
    content = report.sections[title][0]
    assert isinstance(content, str), content
    return content


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.cells: list[str] = []
        self.inside = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag in ("td", "th"):
            self.cells.append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.inside:
            self.cells[-1] += data


# --- the page


def check_page(text: str) -> Page:
    """Hold a page against what it must never do."""
    page = Page(text)
    assert text.lower().startswith("<!doctype html>")
    assert not page.tags & {
        "script",
        "img",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "image",
        "use",
    }
    assert {"html", "head", "style", "body", "table", "h2"} <= page.tags
    names = {name for name, _ in page.attributes}
    assert not [name for name in names if name.startswith("on")]
    assert not names & {"src", "href", "srcset", "action", "data"}
    assert not re.search(r"https?://|url\((?!#p\d)|@import|javascript:", text)
    for attack in (SCRIPT, IMAGE, "<img", "<script"):
        assert attack not in text
    return page


@pytest.mark.parametrize("step", [0, 10])
def test_names_from_a_checkpoint_cannot_act(run: xr.Dataset, step: int) -> None:
    report = told(run, step=step)
    page = check_page(report.to_html())
    assert page.text.count(SCRIPT) > 3
    assert page.text.count(IMAGE) > 3
    fragment = report._repr_html_()
    assert not Page(fragment).tags & {"script", "img"}
    assert SCRIPT not in fragment


def test_a_name_cannot_turn_the_text_of_the_page(tmp_path: Path) -> None:
    for name in ("\u202egnp.exe", "a\x1b[31m", "\u2066b"):
        place = tmp_path / name
        place.mkdir()
        save_file(mixture(0), place / "model.safetensors")
        told = summary(wb.scan(place))
        for text in (told.to_html(), told._repr_html_()):
            assert not set(text) & {"\u202e", "\x1b", "\u2066"}
            assert name.encode("unicode_escape").decode() in text


def test_a_path_cannot_act(tmp_path: Path) -> None:
    place = tmp_path / "<img src=x onerror=alert(3)>"
    place.mkdir()
    save_file(mixture(0), place / "model.safetensors")
    page = check_page(summary(wb.scan(place)).to_html())
    assert "<img src=x onerror=alert(3)>" in page.text


def test_the_page_suits_light_and_dark(run: xr.Dataset) -> None:
    text = told(run).to_html()
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert "color-scheme: light dark" in style
    assert "prefers-color-scheme: dark" in style
    assert 'charset="utf-8"' in text
    assert "viewport" in text


def test_the_page_holds_every_table_in_full(run: xr.Dataset) -> None:
    name = "model." + "x" * 200 + ".weight"
    report = summary(wb.scan({"m": mixture(0) | {name: normal(30, 30)}}))
    page = Page(report.to_html())
    for title in TITLES:
        assert title in page.text
    assert name in page.cells
    for row in table(report, "By component").itertuples():
        assert str(row.component) in page.cells
        assert any(_equals(cell, row.k) for cell in page.cells)
    layers, components = report.maps["m"].shape
    assert (layers, components) == (4, 3)
    k = run["k"].sel(model=SCRIPT, step=10).transpose("layer", "component")
    shown = told(run).maps[SCRIPT]
    np.testing.assert_array_equal(shown.to_numpy(), k.values)
    assert shown.columns.tolist() == k["component"].values.tolist()
    assert shown.index.tolist() == k["layer"].values.tolist()


def _equals(text: str, value: Any) -> bool:
    try:
        return float(text) == pytest.approx(value, rel=1e-3)
    except ValueError:
        return False


def test_the_map_is_blue_below_the_anchor_and_orange_above() -> None:
    rng = np.random.default_rng(0)
    state = {Q.format(0): rng.laplace(0, 1, (64, 64)), Q.format(1): rng.uniform(-1, 1, (64, 64))}
    text = summary(wb.scan({"m": state})).to_html()
    styles = re.findall(r'<td style="([^"]*)" title="([^"]*) %">(\d\.\d+)</td>', text)
    assert [(float(share) > 0, float(k) > 1.2054) for _, share, k in styles] == [
        (False, False),
        (True, True),
    ]
    (below, *_), (above, *_) = styles
    assert "26,133,255" in below
    assert "230,97,0" in above


# --- verdict and pictures first


@pytest.fixture(scope="module")
def broken() -> xr.Dataset:
    """Give a run of two steps with zeros, a NaN and a matrix of another shape at its end."""
    state = llama(layers=8)
    later = {name: array.copy() for name, array in state.items()}
    up = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(8)]
    later[up[5]] = 40 * later[up[5]] * np.abs(later[up[5]])
    later[up[2]][:] = 0
    later[up[3]][1, 1] = np.nan
    return wb.scan({SCRIPT: {10: state, 20: later}})


def test_the_findings_are_those_of_check_and_come_first(broken: xr.Dataset) -> None:
    report = told(broken)
    found = table(report, "Findings")
    check = wb.check(broken.sel(step=[20]))
    assert found["rule"].tolist() == [
        *(rule for _, rule, _ in check.lines()),
        *(one.rule for one in check.not_looked_at),
    ]
    assert next(iter(report.sections)) == "Findings"
    assert {"all-zero", "nonfinite", "far-layer"} <= set(found["rule"])
    assert "\nerror          all-zero: " in str(report), "sentences begin at the left"
    text = Page(report.to_html()).text
    assert text.index("Verdict: 2 errors") < text.index("Findings") < text.index("Map of k")
    assert text.index("Over the run") < text.index("By class")


def test_the_page_has_pictures_with_words_and_is_small(broken: xr.Dataset) -> None:
    text = told(broken).to_html()
    check_page(text)
    assert len(text.encode()) < 1_000_000
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', text)
    assert len(labels) == text.count("<figure>") == text.count("<figcaption>") == 4
    k = broken["k"].sel(step=20)
    assert f"lowest {float(k.min()):.3f} (up_proj of layer 5)" in labels[0]
    assert labels[0].endswith("1 hatched without a sound fit.")
    near = float(k.sel(component="up_proj", layer=4).item())
    assert (
        f"up_proj of layer 5 (k {float(k.min()):.3f}), beside layer 4 (k {near:.3f})" in labels[1]
    )
    assert "at step 10 to" in labels[3]
    assert "@media print" in text
    marks = re.findall(r' id="([^"]+)"', text)
    assert len(set(marks)) == len(marks)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(marks)


def test_a_healthy_scan_has_no_weibull_plot_and_one_step_no_course(gaussians: xr.Dataset) -> None:
    titles = [one.title for one in told(gaussians).pictures]
    assert titles == ["Map of k", "Classes"]


def test_a_cell_without_a_sound_fit_is_hatched(broken: xr.Dataset) -> None:
    text = told(broken).to_html()
    assert '<td class="unsound" title="all_zero">no fit</td>' in text
    assert re.search(r'<td class="unsound" title="nonfinite">1\.\d{3}</td>', text)
    healthy = told(broken, step=10)
    assert 'class="unsound"' not in healthy.to_html()


# --- the text


def test_text_holds_the_same_tables(run: xr.Dataset) -> None:
    report = told(run)
    text = str(report)
    assert repr(report) == text
    assert list(report.sections) == TITLES
    for line in report.headline:
        assert line in text
    for title in TITLES:
        assert f"{title}\n{'-' * len(title)}\n" in text
    for content, note in report.sections.values():
        assert note in text
        if isinstance(content, str):
            assert content in text
    for row in table(report, "By component").itertuples():
        (line,) = [
            line
            for line in text.splitlines()
            if f" {row.component} " in line and str(row.model) in line and f" {row[3]} " in line
        ]
        assert any(_equals(word, row.k) for word in line.split())


def test_headline_says_what_and_how(run: xr.Dataset) -> None:
    verdict, what, how_many, protocol = told(run).headline
    assert verdict.startswith("Verdict: 2 errors")
    assert what.startswith(f"{SCRIPT}, {IMAGE}; step 10 of 2, from 0 to 10.")
    # 4 + 4 + 12 matrices in each model
    assert how_many.startswith("40 matrices")
    assert "rank regression, trim 10–90 %" in protocol
    assert "k = 1.2054" in protocol
    assert "0.9977" in protocol


# --- the numbers


@pytest.mark.parametrize("step", [0, 10])
def test_numbers_by_component_are_medians_over_layers(run: xr.Dataset, step: int) -> None:
    report = table(told(run, step=step), "By component")
    fits = run.sel(step=step)
    present = (fits["status"] != "absent").any("layer")
    assert len(report) == int(present.sum())
    for row in report.to_dict("records"):
        cells = fits.sel(model=row["model"], component=row["component"])
        for name in ("k", "lam", "r2", "k_se"):
            assert row[name] == cells[name].median("layer").item()
        assert [row["k_min"], row["k_max"]] == [cells["k"].min().item(), cells["k"].max().item()]
        assert row["matrices"] == cells["n_matrices"].sum().item()
        assert row["class"] == cells["weight_class"].item()


def test_numbers_by_class_are_medians_over_cells(run: xr.Dataset) -> None:
    for row in table(told(run), "By class").to_dict("records"):
        kept = run["component"][run["weight_class"] == row["weight_class"]]
        cells = run.sel(step=10, model=row["model"], component=kept)
        assert row["k"] == cells["k"].median().item()
        assert row["lam"] == cells["lam"].median().item()
        assert row["Δk %"] == pytest.approx(100 * (row["k"] / wb.anchor().k - 1))
        assert row["matrices"] == cells["n_matrices"].sum().item()


def test_a_step_that_is_not_there(run: xr.Dataset) -> None:
    with pytest.raises(ValueError, match=r"`step` must be one of .*0, 10.*got 5"):
        summary(run, step=5)


@pytest.mark.parametrize("keep_counts", [True, False])
def test_every_expert_by_itself(*, keep_counts: bool) -> None:
    state = {
        EXPERT.format(i, e): normal(48, 48, seed=4 * i + e) for i in range(4) for e in range(4)
    }
    state[EXPERT.format(2, 1)] **= 3
    fits = wb.scan({"m": state}, experts="each", keep_counts=keep_counts)
    report = summary(fits)
    assert table(report, "By component")["matrices"].tolist() == [16]
    found = table(report, "Layers that stand out")
    assert found[["layer", "expert"]].values.tolist() == [[2, 1]]
    assert found["k"].item() == fits["k"].sel(layer=2, expert=1).item()
    assert found["nearest_shape"].tolist() == ["none"]
    flagged = table(report, "Outliers")
    assert flagged[["layer", "expert"]].values.tolist() == [[2, 1]]
    assert len(tidy(fits)) == 16
    check_page(report.to_html())
    median = table(summary(wb.scan({"m": state})), "By component")
    assert median["matrices"].tolist() == [16]


# --- what stands out


def planted() -> State:
    state = llama(layers=7)
    state[UP.format(3)] = np.sign(state[UP.format(3)]) * np.abs(state[UP.format(3)]) ** 1.5
    state[Q.format(5)] *= 3
    faint = state[LLAMA[6].format(1)]
    faint[:48] *= 1e-3
    return state


def test_planted_layers_stand_out_with_their_reasons() -> None:
    fits = wb.scan({"m": planted()})
    report = summary(fits)
    found = table(report, "Layers that stand out")
    rows = {row["component"]: row for row in found.to_dict("records")}
    places = {(component, row["layer"]) for component, row in rows.items()}
    assert places == {("up_proj", 3), ("q_proj", 5), ("down_proj", 1)}
    assert "k low" in rows["up_proj"]["why"]
    assert "λ high" in rows["q_proj"]["why"]
    assert "k low" not in rows["q_proj"]["why"]
    assert f"r2 {rows['down_proj']['r2']:.3f}" in rows["down_proj"]["why"]
    assert "not straight" in rows["down_proj"]["why"]
    shapes = drift(fits)["nearest_shape"]
    for component, row in rows.items():
        cell = fits.sel(component=component, layer=row["layer"])
        assert [row["k"], row["lam"]] == [cell["k"].item(), cell["lam"].item()]
        shape = shapes.sel(component=component, layer=row["layer"]).item()
        assert row["nearest_shape"] == shape
    # the farthest from the median k comes first
    assert (found["k"] - 1.2).abs().is_monotonic_decreasing
    note = report.sections["Layers that stand out"][1]
    for number in ("1 %", "0.95", "fewer than 3 layers"):
        assert number in note


def test_gaussians_do_not_stand_out(gaussians: xr.Dataset) -> None:
    report = told(gaussians)
    assert sentence(report, "Layers that stand out").startswith("None.")
    assert sentence(report, "Outliers").startswith("None.")
    assert sentence(report, "Not fitted") == "Nothing was left out."


def _nine(spread: float, error: float) -> xr.Dataset:
    """Nine layers of k = 1.2 and seven times ± spread; the last is free."""
    fits = wb.scan({"m": {UP.format(i): normal(20, 20, seed=i) for i in range(9)}})
    fits["k"][:] = 1.2 + spread * np.array([-1, -1, -1, -1, 0, 1, 1, 1, 9])[:, None, None]
    fits["lam"][:] = 0.02
    fits["k_se"][:], fits["lam_se"][:], fits["r2"][:] = error, 0.0, 0.99
    return fits


@pytest.mark.parametrize(("distance", "stands"), [(0.05, False), (0.3, True)])
def test_standing_out_is_what_the_pooled_model_says(distance: float, *, stands: bool) -> None:
    fits = _nine(0.01, 0.003)
    fits["k"][0, -1] = 1.2 + distance
    pooled = pool_layers(fits)
    assert pooled["stands_out"].values.ravel().tolist() == [False] * 8 + [stands]
    report = summary(fits)
    if not stands:
        assert sentence(report, "Layers that stand out").startswith("None.")
        return
    found = table(report, "Layers that stand out")
    assert found["layer"].tolist() == [8]
    low, high = (pooled[end][0, 8].item() for end in ("lower", "upper"))
    assert found["why"].item() == f"k high: {1.2 + distance:.4g}, expected {low:.4g} to {high:.4g}"


def test_lam_is_shown_as_lam() -> None:
    fits = _nine(0.01, 0.003)
    fits["k"][0, -1] = 1.21
    fits["lam"][:, :, 0, 0] = 0.02 * np.exp(fits["k"][:, :, 0, 0] - 1.2)
    fits["lam"][0, 4] = 0.2
    (row,) = table(summary(fits), "Layers that stand out").to_dict("records")
    assert row["layer"] == 4
    low, high = map(float, re.findall(r"λ high: 0.2, expected (\S+) to (\S+)", row["why"])[0])
    assert 0.018 < low < 0.02 < high < 0.022


@pytest.mark.parametrize(("layers", "stands"), [(2, False), (3, True)])
def test_of_two_layers_none_can_stand_out(layers: int, *, stands: bool) -> None:
    fits = wb.scan({"m": {UP.format(i): normal(20, 20, seed=i) for i in range(layers)}})
    fits["k"][:], fits["k_se"][:], fits["r2"][:] = 1.2, 1e-6, 0.99
    fits["k"][0, 0] = 2.0
    fits["lam"][:], fits["lam_se"][:] = 0.02, 1e-4
    content = summary(fits).sections["Layers that stand out"][0]
    assert isinstance(content, pd.DataFrame) == stands


@pytest.mark.parametrize(("r2", "stands"), [(0.95, False), (0.9499, True)])
def test_a_weibull_plot_that_is_not_straight(r2: float, *, stands: bool) -> None:
    fits = _nine(0.01, 0.0)
    fits["k"][0, -1] = 1.21
    fits["r2"][0, 4] = r2
    content = summary(fits).sections["Layers that stand out"][0]
    assert isinstance(content, pd.DataFrame) == stands


def test_long_tables_say_what_they_hide() -> None:
    fits = wb.scan({"m": {UP.format(i): normal(12, 12, seed=i) for i in range(30)}})
    fits["r2"][0, :25] = 0.5
    content, note = summary(fits).sections["Layers that stand out"]
    assert len(content) == 20
    assert "5 more" in note


# --- outliers


def test_a_planted_outlier_and_its_place(tmp_path: Path) -> None:
    state = llama(layers=2)
    state[UP.format(1)][7, 11] = -1.5
    save_file(state, tmp_path / "model.safetensors")
    fits = wb.scan({"m": tmp_path})
    report = summary(fits)
    seen = table(report, "Outliers").to_dict("records")
    assert [(row["layer"], row["component"], row["max_abs"]) for row in seen] == [
        (1, "up_proj", 1.5)
    ]
    assert "3 × the expected maximum of a Gaussian" in report.sections["Outliers"][1]
    (row,) = table(summary(fits, look=True), "Outliers").to_dict("records")
    assert (row["layer"], row["component"]) == (1, "up_proj")
    assert (row["row"], row["col"], row["value"]) == (7, 11, -1.5)


def test_looking_names_the_expert(tmp_path: Path) -> None:
    state = mixture(0)
    state[EXPERT.format(1, 2)][3, 4] = 2.0
    save_file(state, tmp_path / "model.safetensors")
    found = table(summary(wb.scan(tmp_path), look=True), "Outliers")
    assert found[["layer", "expert", "row", "col"]].values.tolist() == [[1, 2, 3, 4]]


def test_looking_needs_the_checkpoint() -> None:
    state = llama(layers=2)
    state[UP.format(1)][7, 11] = -1.5
    fits = wb.scan({"m": state})
    with pytest.raises(wb.CheckpointError, match="not there"):
        summary(fits, look=True)


# --- budget, band, published models


def test_budget_from_the_files_beside_the_checkpoint(tmp_path: Path) -> None:
    save_file(llama(layers=1), tmp_path / "model.safetensors")
    state = {"global_step": 5000, "log_history": [{"learning_rate": 1e-3}, {"learning_rate": 5e-4}]}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    (tmp_path / "training_args.json").write_text(json.dumps({"weight_decay": 0.1}))
    (row,) = table(summary(wb.scan({"m": tmp_path})), "Training budget").to_dict("records")
    assert row["model"] == "m"
    assert (row["learning_rate"], row["weight_decay"], row["steps"]) == (1e-3, 0.1, 5000)
    assert row["timescale"] == pytest.approx(10_000)
    assert row["budget"] == pytest.approx(0.5)
    assert row["state"] == "approaching"


def test_budget_that_is_not_known_says_what_is_missing(run: xr.Dataset) -> None:
    text = sentence(told(run), "Training budget")
    assert "Not available" in text
    assert "learning_rate" in text


def test_budget_of_one_model_is_not_hidden_by_another(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        save_file({UP.format(0): normal(40, 40)}, tmp_path / name / "model.safetensors")
    known = {"learning_rate": 1e-3, "weight_decay": 0.1, "max_steps": 5000}
    (tmp_path / "a" / "training_args.json").write_text(json.dumps(known))
    report = summary(wb.scan({name: tmp_path / name for name in "ab"}))
    rows = table(report, "Training budget").to_dict("records")
    assert [row["budget"] for row in rows if row["model"] == "a"] == [pytest.approx(0.5)]
    assert str(tmp_path / "b") in str(report)


def test_budget_of_the_chosen_step(run: xr.Dataset) -> None:
    known = run.assign_coords(
        learning_rate=("model", [1e-2, 2e-2]), weight_decay=("model", [0.1, 0.1])
    )
    rows = table(summary(known, step=10), "Training budget").set_index("model")
    assert rows.loc[SCRIPT, "budget"] == pytest.approx(0.01)
    assert rows.loc[IMAGE, "budget"] == pytest.approx(0.02)


def test_band_is_that_of_judge(gaussians: xr.Dataset) -> None:
    report = told(gaussians)
    judged = judge(gaussians, by="model")
    (row,) = table(report, "Transmission band").to_dict("records")
    assert row["k"] == judged["k"].item()
    assert row["verdict"] == judged["verdict"].item()
    assert "1.186–1.204" in report.sections["Transmission band"][1]


def test_nearest_published_models(gaussians: xr.Dataset) -> None:
    found = table(told(gaussians), "Nearest published models")
    expected = nearest_published(gaussians).head(3)
    assert found["entry"].tolist() == expected["entry"].tolist()
    assert found["distance"].tolist() == expected["distance"].tolist()
    assert found["shared_components"].tolist() == [7, 7, 7]


def test_a_model_that_shares_nothing_does_not_hide_the_others() -> None:
    router = "model.layers.{}.mlp.gate.weight"
    odd = {router.format(i): normal(16, 40, seed=i) for i in range(2)}
    fits = wb.scan({"m": llama(layers=2), "odd": odd})
    found = table(summary(fits), "Nearest published models")
    assert found["model"].tolist() == ["m"] * 3
    assert "Not available" in sentence(summary(fits.sel(model=["odd"])), "Nearest published models")


@pytest.mark.parametrize(
    "options", [{"trim": (0.05, 0.95)}, {"estimator": "maximum_likelihood"}], ids=["trim", "ml"]
)
def test_another_protocol_gives_sentences(run: xr.Dataset, options: dict[str, Any]) -> None:
    fits = wb.refit(run, **options)
    report = summary(fits)
    for title in ("Transmission band", "Nearest published models"):
        text = sentence(report, title)
        assert text.startswith("Not available")
        assert "weibnb.refit" in text
    estimator, trim = fits.attrs["estimator"], (fits.attrs["trim_lower"], fits.attrs["trim_upper"])
    reference = wb.anchor("gaussian", trim=trim, estimator=estimator)
    assert report.reference == reference.k
    assert f"k = {reference.k:.4f}" in report.headline[-1]
    check_page(report.to_html())


def test_what_is_not_fitted_is_counted_with_an_example(run: xr.Dataset) -> None:
    found = table(told(run), "Not fitted")
    assert set(found["model"]) == {SCRIPT}
    counts = dict(zip(found["reason"], found["tensors"], strict=True))
    assert counts == {"nonfinite": 1, "all_zero": 1, "quantized": 1, "unrecognised": 2, "norm": 1}
    example = dict(zip(found["reason"], found["for example"], strict=True))
    assert example["all_zero"] == UP.format(1)
    assert example["quantized"] == Q.format(2)
    assert example["norm"] == "model.norm.weight"
    assert example["unrecognised"] in (IMAGE, f"model.{SCRIPT}.weight")
    earlier = told(run, step=0).sections["Not fitted"][0]
    listed = wb.not_fitted(run.sel(step=[0]))
    assert isinstance(earlier, pd.DataFrame) == bool(len(listed))


def test_a_run_with_nothing_fitted() -> None:
    fits = wb.scan({"m": {Q.format(0): np.zeros((30, 30)), Q.format(1): np.ones((30, 30), "i1")}})
    report = summary(fits)
    check_page(report.to_html())
    assert sentence(report, "Layers that stand out").startswith("None.")
    assert table(report, "Not fitted")["reason"].tolist() == ["all_zero", "quantized"]
    assert "nan" not in str(report).lower()


def test_fits_without_counts_report_the_same(run: xr.Dataset) -> None:
    bare = summary(wb.scan(hostile(), keep_counts=False))
    whole = told(run)
    assert bare.headline[:2] == whole.headline[:2]
    for title in TITLES[1:]:  # without counts some rules are not looked at
        one, other = bare.sections[title][0], whole.sections[title][0]
        if isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame):
            pd.testing.assert_frame_equal(one, other)
        else:
            assert one == other


@pytest.mark.parametrize(
    "chosen",
    [{"step": 10}, {"model": SCRIPT}, {"component": "q_proj"}, {"layer": 1}],
    ids=lambda chosen: next(iter(chosen)),
)
def test_a_selection_is_reported_like_a_whole(run: xr.Dataset, chosen: dict[str, Any]) -> None:
    """`fits.sel(model=...)` drops the dim; the report is that of the dim with one label."""
    one = summary(run.sel(chosen))
    other = summary(run.sel({dim: [label] for dim, label in chosen.items()}))
    assert str(one) == str(other)
    assert one.to_html() == other.to_html()


def test_what_is_no_fits_is_refused(run: xr.Dataset) -> None:
    others: list[Any] = [None, {}, run["k"], tidy(run)]
    for wrong in others:
        with pytest.raises(TypeError, match="Dataset of fits"):
            summary(wrong)
    with pytest.raises(ValueError, match="lacks lam, status"):
        summary(run[["k"]])


def test_published_medians_are_no_scan() -> None:
    with pytest.raises(ValueError, match="must hold"):
        summary(reference_cohort())


def test_csv_there_and_back(run: xr.Dataset, tmp_path: Path) -> None:
    file = write_report(run, tmp_path / "fits.csv")
    back = pd.read_csv(file, keep_default_na=False, na_values=[""], dtype=str)
    rows = tidy(run)
    assert list(back.columns) == list(rows.columns)
    assert back["model"].unique().tolist() == [SCRIPT, IMAGE]
    assert back["parameter"].tolist() == rows["parameter"].tolist()
    for name in ("k", "lam", "r2", "n", "layer", "step"):
        np.testing.assert_array_equal([float(text) for text in back[name]], rows[name])
    assert (back["status"] == rows["status"]).all()


def test_parquet_without_pyarrow_names_the_install_line(
    run: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'weibnb\[parquet\]'"):
        write_report(run, tmp_path / "fits.parquet")
    wb.save_fits(run, tmp_path / "fits.nc")
    out = tmp_path / "out.parquet"
    assert main(["report", str(tmp_path / "fits.nc"), "-o", str(out)]) == 1
    assert "weibnb[parquet]" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.parquet"))


@pytest.mark.skipif(find_spec("pyarrow") is None, reason="pyarrow is not installed")
def test_parquet_there_and_back(run: xr.Dataset, tmp_path: Path) -> None:
    back = pd.read_parquet(write_report(run, tmp_path / "fits.parquet"))
    rows = tidy(run)
    assert list(back.columns) == list(rows.columns)
    for name in ("model", "k", "status", "n", "parameter"):
        np.testing.assert_array_equal(back[name].to_numpy(), rows[name].to_numpy())


# --- files


@pytest.mark.parametrize("name", ["n", "r2", "source", "problem"])
def test_what_fits_lack_is_named(run: xr.Dataset, tmp_path: Path, name: str) -> None:
    for report in (summary, lambda fits: write_report(fits, tmp_path / "report.html")):
        with pytest.raises(ValueError, match=f"`fits` must hold {name}"):
            report(run.drop_vars(name))
    assert not list(tmp_path.iterdir())


def test_html_is_the_page(run: xr.Dataset, tmp_path: Path) -> None:
    file = write_report(run, str(tmp_path / "report.html"), step=0)
    assert file == tmp_path / "report.html"
    assert file.read_text(encoding="utf-8") == told(run, step=0).to_html()


@pytest.mark.parametrize("name", ["report.txt", "report", "report.html.gz", "report.xlsx"])
def test_other_endings_are_refused(run: xr.Dataset, tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"`path` must end in \.html, \.csv or \.parquet"):
        write_report(run, tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- the command line


@pytest.fixture
def file(run: xr.Dataset, tmp_path: Path) -> Path:
    return wb.save_fits(run, tmp_path / "fits.nc")


@pytest.mark.parametrize("name", ["a.html", "a.csv"])
def test_report_writes_and_says_where(
    run: xr.Dataset, file: Path, tmp_path: Path, capsys: Capture, name: str
) -> None:
    out = tmp_path / name
    assert main(["report", str(file), "-o", str(out)]) == 0
    shown = capsys.readouterr()
    assert str(out) in shown.out
    assert shown.err == ""
    expected = write_report(run, tmp_path / f"expected-{name}")
    assert out.read_bytes() == expected.read_bytes()


def test_report_of_a_step(run: xr.Dataset, file: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "a.html"
    assert main(["report", str(file), "-o", str(out), "--step", "0"]) == 0
    assert out.read_text(encoding="utf-8") == told(run, step=0).to_html()
    capsys.readouterr()
    assert main(["report", str(file), "-o", str(out), "--step", "7"]) == 2
    steps = ", ".join(map(str, run["step"].values))
    assert f"--step must be one of {steps}, got 7." in capsys.readouterr().err


def test_report_looks_for_places(tmp_path: Path, capsys: Capture) -> None:
    state = llama(layers=1)
    state[UP.format(0)][7, 11] = -1.5
    place, out = tmp_path / "m.safetensors", tmp_path / "a.html"
    save_file(state, place)
    fits = wb.save_fits(wb.scan(place), tmp_path / "fits.nc")
    assert main(["report", str(fits), "-o", str(out), "--look"]) == 0
    cells = Page(out.read_text(encoding="utf-8")).cells
    assert {"7", "11", "-1.5"} <= {cell.strip() for cell in cells}
    place.unlink()
    capsys.readouterr()
    assert main(["report", str(fits), "-o", str(out), "--look"]) == 1
    assert "m.safetensors" in capsys.readouterr().err


def test_report_has_a_name_by_default(
    file: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    assert main(["report", str(file)]) == 0
    (written,) = place.iterdir()
    assert written.name == "report.html"
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize(("out", "status"), [("report.txt", 2), ("no such folder/report.html", 1)])
def test_report_that_cannot_be_written(
    file: Path, tmp_path: Path, capsys: Capture, out: str, status: int
) -> None:
    assert main(["report", str(file), "-o", str(tmp_path / out)]) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("weibnb: ")
    assert out in shown.err
    assert shown.err.count("\n") == 1


def test_report_of_what_is_no_file_of_fits(tmp_path: Path, capsys: Capture) -> None:
    assert main(["report", str(tmp_path / "gone.nc"), "-o", str(tmp_path / "a.html")]) == 1
    assert "gone.nc" in capsys.readouterr().err
