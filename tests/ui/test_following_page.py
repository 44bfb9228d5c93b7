"""The explorer beside a training, in a real JupyterLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ui.conftest import RUN_ALL, Watched, write_notebook
from tests.ui.test_explorer_page import CORNER, WAIT, cell, drawn, legend_has
from tests.writer import writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def step_shown(page: Page, step: str) -> None:
    page.wait_for_function(
        "(step) => document.querySelector('.wb-step output')?.value === step",
        arg=step,
        timeout=WAIT,
    )


def test_a_store_that_another_process_writes(
    run_notebook: Callable[..., Watched], tmp_path: Path
) -> None:
    store = tmp_path / "run.db"
    show = f"import weibnb as wb\nexplorer = wb.explore({str(store)!r})\nexplorer"
    watched = run_notebook(show)
    page = watched.page
    page.locator(".wb-follow-problem", has_text="not there yet").wait_for(timeout=WAIT)
    with writer(store) as run:
        run.record(0)
        drawn(page, "main")
        assert page.locator(".wb-follow-problem").text_content() == ""
        run.record(1)
        step_shown(page, "1")
        cell(page, "up_proj", 2).click(position=CORNER)
        legend_has(page, "pane", "up_proj · layer 2")
        page.get_by_role("checkbox", name="o_proj").uncheck()
        page.get_by_role("tab", name="Weibull plot").click()
        page.locator(".wb[data-panel=weibull]").wait_for(timeout=WAIT)
        page.get_by_label("upper end of the trim, %").fill("80")
        page.get_by_text("trim 10–80 %").first.wait_for(timeout=WAIT)

        run.record(1000)
        step_shown(page, "1,000")
        legend_has(page, "main", "up_proj of layer 2")
        page.get_by_text("trim 10–80 %").first.wait_for(timeout=WAIT)

        page.get_by_label("step", exact=True).fill("1")
        step_shown(page, "1")
        run.record(2000)
        page.wait_for_function("document.querySelector('.wb-step input').max === '3'", timeout=WAIT)
        step_shown(page, "1")

        page.get_by_role("checkbox", name="follow run.db").uncheck()
    watched.assert_clean()


def test_a_recorder_while_the_cell_that_trains_runs(
    lab: str, lab_root: Path, watched: Watched, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    train = (
        "import pathlib, time, torch, weibnb as wb\n"
        "layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)\n"
        "model = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)\n"
        "recorder = wb.Recorder(model, name='run')\n"
        "recorder.record(0)\n"
        "wb.explore(recorder)"
    )
    loop = (
        "recorder.record(5)\n"
        f"while not pathlib.Path({str(go)!r}).exists():\n"
        "    time.sleep(0.02)\n"
        "print('the cell has ended')"
    )
    write_notebook(lab_root / "train.ipynb", train, loop)
    page = watched.page
    page.goto(f"{lab}/lab/tree/train.ipynb?reset")
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
    page.evaluate("(run) => { window.done = eval(run)(); }", RUN_ALL)
    drawn(page, "main")
    step_shown(page, "5")
    assert page.get_by_text("the cell has ended", exact=True).count() == 0
    go.touch()
    assert page.evaluate("window.done") == []
    watched.assert_clean()
