"""What people come for takes at most three actions from opening."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.ui.test_explorer_page import CORNER, SCAN, SHOW, WAIT, cell, drawn, legend_has

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Locator, Page

    from tests.ui.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TWO_MODELS = """
import numpy as np, weibnb as wb
rng = np.random.default_rng(0)
part = "model.layers.{}.{}.weight"
weights = {
    part.format(layer, name): rng.normal(size=(64, 64)).astype("float32")
    for layer in range(4) for name in ("self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj")
}
broken = part.format(2, "mlp.up_proj")
other = weights | {broken: weights[broken] * np.where(rng.random((64, 64)) < 0.5, 30, 1)}
fits = wb.scan({"first": weights, "second": other}, progress=False)
"""


@dataclass
class Hand:
    """What a person does, counted."""

    actions: int = 0

    def click(self, there: Locator, *, shift: bool = False) -> None:
        self.actions += 1
        there.click(modifiers=["Shift"] if shift else [], position=CORNER)


def top(page: Page) -> float:
    """Where the plot in the pane begins, px."""
    box = page.locator(".wb-detail").bounding_box()
    assert box
    return box["y"]


@pytest.fixture
def hand() -> Hand:
    return Hand()


def test_find_the_worst_matrix_and_why(run_notebook: Callable[..., Watched], hand: Hand) -> None:
    page = run_notebook(TWO_MODELS, SHOW).page
    drawn(page, "main")
    hand.click(page.locator(".wb-found-line button").first)
    legend_has(page, "pane", "up_proj · layer 2")
    reason = page.locator(".wb-pane .wb-found li").first
    reason.wait_for(timeout=WAIT)
    assert (reason.text_content() or "").count(":") >= 1
    assert hand.actions == 1


def test_compare_a_layer_of_two_models(run_notebook: Callable[..., Watched], hand: Hand) -> None:
    page = run_notebook(TWO_MODELS, SHOW).page
    drawn(page, "main")
    of = '.wb-main .mark-rect path[aria-label*="component: up_proj;"][aria-label*="layer: 2;"]'
    ours = page.locator(of)
    ours.nth(1).wait_for(timeout=WAIT)
    assert ours.count() == 2
    hand.click(ours.nth(0))
    hand.click(ours.nth(1), shift=True)
    for name in ("first", "second"):
        legend_has(page, "detail", name)
        page.locator(".wb-numbers th small", has_text=name).wait_for(timeout=WAIT)
    assert hand.actions == 2


def test_see_when_a_matrix_left_its_neighbours(
    run_notebook: Callable[..., Watched], hand: Hand
) -> None:
    page = run_notebook(SCAN, SHOW).page
    drawn(page, "main")
    hand.click(cell(page, "v_proj", 0))
    hand.click(page.get_by_role("tab", name="Trajectories"))
    legend_has(page, "main", "k falls in layer 0 only")
    point = '.wb-main .mark-symbol [aria-label*="component: v_proj;"][aria-label*="step: {};"]'
    for step in (0, 7000):
        points = page.locator(point.format(step))
        points.nth(2).wait_for(timeout=WAIT)
        assert points.count() == 3
    assert hand.actions <= 3


def test_make_the_figure_for_a_paper(
    run_notebook: Callable[..., Watched], hand: Hand, tmp_path: Path
) -> None:
    page = run_notebook(SCAN, SHOW).page
    drawn(page, "main")
    hand.click(cell(page, "o_proj", 0))
    hand.click(page.get_by_role("tab", name="Weibull plot"))
    legend_has(page, "main", "magnitude |w|")
    with page.expect_download(timeout=WAIT) as download:
        hand.click(page.get_by_role("button", name="SVG"))
    download.value.save_as(tmp_path / "figure.svg")
    assert "magnitude |w|" in (tmp_path / "figure.svg").read_text(encoding="utf-8")
    assert hand.actions == 3


def test_a_click_shows_what_the_page_knows_before_the_kernel_answers(
    run_notebook: Callable[..., Watched],
) -> None:
    watched = run_notebook(SCAN, SHOW)
    page = watched.page
    drawn(page, "main")
    drawn(page, "detail")
    numbers = page.locator(".wb-pane .wb-numbers")
    assert "…" not in (numbers.text_content() or "")
    before = top(page)
    page.evaluate(
        """(code) => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
          .requestExecute({ code }); }""",
        "import time; time.sleep(10)",
    )
    cell(page, "down_proj", 1).click(position=CORNER)
    legend_has(page, "pane", "down_proj · layer 1")
    assert "…" in (numbers.text_content() or "")
    assert top(page) == before
    numbers.filter(has_text="128 × 344").wait_for(timeout=WAIT)
    assert "…" not in (numbers.text_content() or "")
    assert top(page) == before
    watched.assert_clean()
