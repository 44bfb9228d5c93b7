"""The extension of JupyterLab and Jupyter Notebook: a double click opens the explorer."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import weibnb as wb
from tests.ui.servers import serve
from tests.ui.test_explorer_page import WAIT, drawn

if TYPE_CHECKING:
    from tests.ui.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

WEIGHTS = Path(wb.__file__).parent / "data" / "demo" / "step7000" / "model.safetensors"
NAME = """it's <b> "q" é.safetensors"""
SAVE = """async () => {
  const tab = window.jupyterapp.shell.currentWidget;
  try { await tab.context.save(); } catch (error) { return error.message; }
  return 'saved';
}"""


def await_no_kernel(lab: str) -> None:
    """Wait until the server runs no kernel in the folder of this test."""
    limit = time.monotonic() + 60
    while True:
        with urllib.request.urlopen(f"{lab}/api/sessions", timeout=60) as answer:  # noqa: S310
            sessions: list[dict[str, Any]] = json.load(answer)
        if not any(session["path"].startswith("opened/") for session in sessions):
            return
        assert time.monotonic() < limit, sessions
        time.sleep(0.1)


def test_a_double_click_opens_the_explorer(lab: str, lab_root: Path, watched: Watched) -> None:
    folder = lab_root / "opened"
    folder.mkdir()
    shutil.copy(WEIGHTS, folder / NAME)
    page, asked = watched.page, list[str]()
    page.on("request", lambda request: asked.append(f"{request.method} {request.url}"))
    page.goto(f"{lab}/lab?reset")
    page.locator(".jp-LauncherCard", has_text="Weibull explorer").wait_for(timeout=WAIT)
    page.locator(".jp-DirListing-item", has_text="opened").dblclick(timeout=WAIT)
    page.locator(".jp-DirListing-item", has_text=".safetensors").dblclick(timeout=WAIT)
    drawn(page, "main")
    page.get_by_text("21 of 21 matrices").first.wait_for(timeout=WAIT)

    assert "only looked at" in page.evaluate(SAVE)
    page.keyboard.press("Escape")
    assert (folder / NAME).read_bytes() == WEIGHTS.read_bytes()
    mine = [text for text in asked if "/api/contents" in text and ".safetensors" in text]
    assert mine
    assert not [text for text in mine if not text.startswith("GET ")]  # no copy, nothing written
    assert not [text for text in mine if "content=1" in text]
    assert [path.name for path in folder.rglob("*") if path.is_file()] == [NAME]

    page.evaluate("() => window.jupyterapp.shell.currentWidget.close()")
    await_no_kernel(lab)
    watched.assert_clean()


def test_the_launcher_asks_for_a_path(lab: str, lab_root: Path, watched: Watched) -> None:
    page = watched.page
    page.goto(f"{lab}/lab?reset")
    page.locator(".jp-LauncherCard", has_text="Weibull explorer").click(timeout=WAIT)
    page.locator(".jp-Dialog input").fill('no "such" <i>file</i>.nc')
    page.locator(".jp-Dialog").get_by_role("button", name="Open").click()
    page.get_by_text("must name a file of fits").first.wait_for(timeout=WAIT)
    page.evaluate("() => window.jupyterapp.shell.currentWidget.close()")
    watched.assert_clean()


def test_a_double_click_in_jupyter_notebook(
    lab_root: Path, watched: Watched, tmp_path: Path
) -> None:
    pytest.importorskip("notebook", reason="Jupyter Notebook 7 is not installed")
    folder = lab_root / "in_notebook"
    folder.mkdir()
    shutil.copy(WEIGHTS, folder / NAME)
    with serve("notebook", lab_root, tmp_path) as address:
        watched.page.goto(f"{address}/tree/in_notebook")
        file = watched.page.locator(".jp-DirListing-item", has_text=".safetensors")
        with watched.page.expect_popup(timeout=WAIT) as opened:  # a page of its own
            file.dblclick(timeout=WAIT)
        page = opened.value
        drawn(page, "main")
        page.get_by_text("21 of 21 matrices").first.wait_for(timeout=WAIT)
        page.close()
    assert (folder / NAME).read_bytes() == WEIGHTS.read_bytes()
