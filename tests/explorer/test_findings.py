"""What the explorer tells of a check: the badge, the list, and where each finding is."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import weibnb as wb
from tests.explorer.conftest import slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.explorer import content, widget
from weibnb.explorer.labels import LOOKING
from weibnb.exploring import explore
from weibnb.scanning.background import BackgroundCheck, BackgroundScan

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

    from weibnb.explorer.widget import Explorer
    from weibnb.scanning.progress import Progress

NAME = "model.layers.{}.mlp.{}_proj.weight"


def broken() -> xr.Dataset:
    """Give a model with a matrix of zeros, a NaN, a layer that is missing, and a hostile name."""
    rng = np.random.default_rng(0)
    weights = {
        NAME.format(layer, name): rng.normal(0, 0.02, (48, 48))
        for layer in (0, 1, 2, 4)
        for name in ("up", "down")
    }
    weights[NAME.format(1, "up")][:] = 0
    weights[NAME.format(2, "down")][3, 3] = np.nan
    return wb.scan({"m\x1b<b>": weights})


def found(explorer: Explorer) -> dict[str, Any]:
    explorer.set_state({"_pages": 1})  # a page shows it
    listed: dict[str, Any] = json.loads(explorer._findings)
    return listed


def test_the_findings_are_those_of_check() -> None:
    fits = broken()
    explorer = explore(fits)
    quick = found(explorer)
    explorer.panel = "findings"
    listed, check = found(explorer), wb.check(fits)
    rules = [one.rule for one in check.findings] + [one.rule for one in check.not_looked_at]
    assert [row["rule"] for row in listed["rows"]] == rules
    assert listed["severity"] == "error"
    assert quick["badge"] == listed["badge"] == "3 errors"
    assert "weibnb.check(path)" in listed["note"]
    assert "\x1b" not in "".join(row["text"] for row in listed["rows"])


def test_the_charts_do_not_wait_for_the_findings() -> None:
    explorer = explore(broken())
    assert explorer._main
    assert not explorer._findings
    assert found(explorer)["badge"] == "3 errors"


def test_a_finding_of_matrices_selects_them_and_one_of_a_layer_does_not() -> None:
    explorer = explore(broken())
    cells = {row["rule"]: row["cells"] for row in found(explorer)["rows"]}
    ((model, layer, component, step),) = cells["all-zero"]
    assert (layer, component, step) == (1, "up_proj", 0)
    assert cells["layer-gap"] == []
    explorer.panel = "findings"
    explorer.selected = cells["nonfinite"]
    assert "down_proj of layer 2" in json.dumps(slot(explorer, "detail"))
    assert model == "m\\x1b<b>"
    assert words(explorer)["chosen"] == [list(cell) for cell in cells["nonfinite"]]


def test_a_healthy_model_says_so(explorer: Explorer) -> None:
    explorer.step = 7000
    explorer.panel = "findings"
    rows = found(explorer)["rows"]
    assert {row["severity"] for row in rows} <= {"warning", "not looked at"}
    assert {row["rule"] for row in rows if row["severity"] == "warning"} == {"untrained"}
    assert found(explorer)["badge"] == "1 warning"  # the known one, of step 0


def test_a_layer_far_from_its_neighbours_is_looked_for_when_the_panel_is_opened() -> None:
    rng = np.random.default_rng(2)
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(6)]
    weights = {
        name: rng.normal(0, 0.02 * (1 + 0.1 * at) * (8 if at == 3 else 1), (128, 128))
        for at, name in enumerate(names)
    }
    explorer = explore(wb.scan({"far": weights}))
    assert found(explorer)["badge"] == ""
    assert found(explorer)["headline"] == "No finding by the rules tried."
    explorer.panel = "findings"
    assert "far-layer" in {row["rule"] for row in found(explorer)["rows"]}
    assert found(explorer)["severity"] == "warning"


def test_published_medians_are_not_checked() -> None:
    listed = found(explore(wb.reference_cohort()))
    assert listed["headline"] == "Not checked."
    assert "published medians are of no matrix" in listed["note"]
    assert not listed["badge"]


def test_very_many_matrices_are_checked_when_the_panel_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(widget, "_CHECKED_AT_ONCE", 7)
    explorer = explore(broken())
    explorer.set_state({"_pages": 1})
    assert not explorer._findings
    explorer.panel = "findings"
    assert found(explorer)["badge"] == "3 errors"


def test_the_line_above_the_map_says_how_many_and_where() -> None:
    fits = broken()
    listed, check = found(explore(fits)), wb.check(fits)
    assert listed["headline"] == f"{len(check.findings)} findings:"
    where = {row["rule"]: row["where"] for row in listed["rows"]}
    assert where["all-zero"] == "layer 1 up_proj"
    assert where["layer-gap"].startswith("layer ") or "m\\x1b<b>" in where["layer-gap"]
    assert "\x1b" not in "".join(where.values())


def tensors(**more: np.ndarray[Any, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Give a healthy model of four layers, and further tensors."""
    rng = np.random.default_rng(5)
    names = [NAME.format(layer, name) for layer in range(4) for name in ("up", "down")]
    return {name: rng.standard_t(5, (64, 64)).astype("f4") * 0.02 for name in names} | more


def listed_after(explorer: Explorer, rest: str) -> dict[str, Any]:
    """Wait until the note below the list begins otherwise."""
    end = time.monotonic() + 60
    while (now := found(explorer))["note"].startswith(rest):
        assert time.monotonic() < end
        time.sleep(0.01)
    return now


def test_of_a_path_the_weights_are_looked_at_as_well(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    norm = np.full(64, np.nan, np.float32)
    save_file(tensors(**{"model.norm.weight": norm}), path)
    explorer = explore(path).wait()
    listed, check = listed_after(explorer, LOOKING), wb.check(wb.scan(path), source=path)
    rules = [one.rule for one in check.findings] + [one.rule for one in check.not_looked_at]
    assert [row["rule"] for row in listed["rows"]] == rules
    where = {row["rule"]: row["where"] for row in listed["rows"]}
    assert where["nonfinite"] == "model.norm.weight"
    assert listed["severity"] == "error"
    assert not listed["note"]
    assert json.loads(content.findings(wb.scan(path), at_once=False))["severity"] != "error"
    explorer.panel = "findings"
    assert found(explorer) == listed
    explorer.close()


def test_weights_that_are_gone_are_told_below_what_the_fits_say(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    broken = tensors()
    broken[NAME.format(1, "up")][:] = 0
    save_file(broken, path)
    explorer = explore(path).wait()
    path.unlink()
    listed = listed_after(explorer, LOOKING)
    assert listed["note"].startswith("The weights were not looked at: ")
    assert "model.safetensors" in listed["note"]
    assert "all-zero" in {row["rule"] for row in listed["rows"]}
    explorer.close()


def test_weights_of_very_many_matrices_are_looked_at_when_the_panel_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(widget, "_CHECKED_AT_ONCE", 7)
    path = tmp_path / "model.safetensors"
    save_file(tensors(**{"model.norm.weight": np.full(64, np.nan, np.float32)}), path)
    explorer = explore(path).wait()
    explorer.set_state({"_pages": 1})
    assert not explorer._findings
    explorer.panel = "findings"
    assert listed_after(explorer, LOOKING)["badge"] == "1 error"
    explorer.close()


def test_a_scan_that_was_cancelled_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors(), path)
    cancelled, heard = threading.Event(), BackgroundScan._heard

    def later(scan: BackgroundScan, at: Progress) -> None:
        assert cancelled.wait(60)
        heard(scan, at)

    monkeypatch.setattr(BackgroundScan, "_heard", later)
    explorer = explore(path)
    explorer.follow = False
    cancelled.set()
    work = explorer._work
    assert work is not None
    assert work.wait(60)
    assert explorer._looks_at_weights() is None
    explorer.close()


def test_a_check_that_is_cancelled_ends_between_two_matrices(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(tensors(), path)
    taken: list[Any] = []
    work = BackgroundCheck(path)
    fits = wb.scan(path)
    work.cancel()
    work.start(fits, taken.append)
    for thread in threading.enumerate():
        if thread.name == "weibnb-check":
            thread.join(60)
            assert not thread.is_alive()
    assert not taken
    other = BackgroundCheck(path)
    other.start(fits, taken.append)
    end = time.monotonic() + 60
    while not taken and time.monotonic() < end:
        time.sleep(0.01)
    assert [type(one).__name__ for one in taken] == ["Check"]
