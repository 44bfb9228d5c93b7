"""The parts of the explorer as widgets of their own, and views that are kept, in a real browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.ui.test_explorer_page import CORNER, SCAN, WAIT, cell, drawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ui.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DASHBOARD = """
import ipywidgets
filters = wb.widgets.Filter(fits)
layers, plot = wb.widgets.LayerMap(fits), wb.widgets.WeibullPlot(fits)
wb.widgets.link(filters, layers, plot, traits=["filters", "layers", "step", "trim"])
ipywidgets.jslink((layers, "selected"), (plot, "selected"))
ipywidgets.HBox([filters, layers, plot])
"""


def test_a_dashboard(run_notebook: Callable[..., Watched]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched = run_notebook(SCAN, DASHBOARD)
    page = watched.page
    drawn(page, "main")
    plot = page.locator('.wb[data-panel="weibull"]')
    cell(page, "up_proj", 2).click(position=CORNER)
    plot.locator('figure[aria-label*="up_proj of layer 2"]').wait_for(timeout=WAIT)
    page.locator('.wb[data-panel="filter"]').get_by_role("checkbox", name="selection").uncheck()
    page.wait_for_function(
        "() => !document.querySelector('.wb[data-panel=map] path[aria-label*=q_proj]')"
    )
    plot.get_by_label("upper end of the trim, %").fill("80")
    plot.locator("output", has_text="10–80 %").wait_for(timeout=WAIT)
    widths = page.locator(".wb").evaluate_all("(all) => all.map((one) => one.clientWidth)")
    assert 180 <= widths[0] <= 240
    assert min(widths[1:]) >= 300
    found = axe.run(page, context=".wb", options={"resultTypes": ["violations"]})
    assert [one["id"] for one in found.response["violations"]] == []
    watched.assert_clean()


def test_views_are_kept(run_notebook: Callable[..., Watched]) -> None:
    watched = run_notebook(SCAN, "wb.explore(fits, keep='view.json')")
    page = watched.page
    drawn(page, "main")
    page.get_by_role("tab", name="Classes").click()
    page.locator('.wb[data-panel="classes"]').wait_for(timeout=WAIT)
    page.get_by_text("Views", exact=True).click()
    page.get_by_label("name of the view").fill("by <b>class</b>")
    page.get_by_role("button", name="keep", exact=True).click()
    views = page.get_by_role("list", name="Views")
    views.get_by_text("by <b>class</b>").wait_for(timeout=WAIT)
    assert re.search(r"state=\{'panel': 'classes'\}", page.locator(".wb-views pre").inner_text())
    page.get_by_role("tab", name="Overview").click()
    page.locator('.wb[data-panel="overview"]').wait_for(timeout=WAIT)
    page.get_by_role("button", name="open the view by <b>class</b>").click()
    page.locator('.wb[data-panel="classes"]').wait_for(timeout=WAIT)
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.wb')].some((one) => one.dataset.panel === 'classes'"
        " && !one.querySelector('.wb-views').open)"
    )
    page.get_by_text("Views", exact=True).click()
    page.get_by_role("button", name="forget the view by <b>class</b>").click()
    views.get_by_text("by <b>class</b>").wait_for(state="detached", timeout=WAIT)
    watched.assert_clean()
