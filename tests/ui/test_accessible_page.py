"""The explorer in a real JupyterLab: by axe, in both themes, narrow and wide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.ui.test_explorer_page import SCAN, SHOW, WAIT, drawn

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.ui.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

THEME = "(name) => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})"
# Vertical scrollbars around the explorer.
SCROLLED = """() => [...document.querySelectorAll('.jp-OutputArea, .jp-OutputArea-output')]
  .filter((box) => /auto|scroll/.test(getComputedStyle(box).overflowY))
  .map((box) => box.scrollHeight - box.clientHeight).filter((more) => more > 0)"""
# Red, green and blue of what paints the first element that is found, on average.
LEVEL = """([where, kind]) => {
  const found = document.querySelector(where);
  const colour = getComputedStyle(found)[kind].match(/[0-9.]+/g).slice(0, 3).map(Number);
  return colour.reduce((sum, part) => sum + part) / 3;
}"""


def panels(page: Page) -> list[str]:
    """Ids of the tabs."""
    tabs = page.locator(".wb-tabs [role=tab]")
    return [str(tabs.nth(i).get_attribute("id")) for i in range(tabs.count())]


def open_panel(page: Page, tab: str) -> None:
    page.locator(f"#{tab}").click()
    page.locator(f".wb:not(.wb-busy)[data-panel={tab.rpartition('-')[2]}]").wait_for(timeout=WAIT)


def test_every_panel_is_accessible_and_calm(run_notebook: Callable[..., Watched]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched = run_notebook(SCAN, SHOW)
    page = watched.page
    drawn(page, "main")
    drawn(page, "detail")
    warned: list[str] = []
    page.on("console", lambda message: warned.append(message.text) if message.type == "warning"
            else None)  # fmt: skip
    found: dict[str, Any] = {}
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(THEME, theme)
        page.locator(f".wb[data-theme={theme.split()[1].lower()}]").wait_for(timeout=WAIT)
        for tab in panels(page):
            open_panel(page, tab)
            results = axe.run(page, context=".wb", options={"resultTypes": ["violations"]})
            found |= {
                f"{theme}, {tab}: {one['id']}": [node["html"][:200] for node in one["nodes"]]
                for one in results.response["violations"]
            }
            assert page.evaluate(SCROLLED) == [], tab
    page.evaluate(THEME, "JupyterLab Light")
    page.locator(".wb[data-theme=light]").wait_for(timeout=WAIT)
    assert found == {}
    assert [text for text in warned if text.startswith("WARN")] == []
    watched.assert_clean()


def test_a_dark_page_has_charts_of_its_own(run_notebook: Callable[..., Watched]) -> None:
    page = run_notebook(SCAN, SHOW).page
    drawn(page, "main")
    page.evaluate(THEME, "JupyterLab Light")  # the server keeps the theme of another test
    page.locator(".wb[data-theme=light]").wait_for(timeout=WAIT)
    title = (".wb-main .role-axis-title text", "fill")
    page.wait_for_function(f"(about) => ({LEVEL})(about) < 60", arg=title, timeout=WAIT)
    page.locator(".wb-main .wb-picked .wb-ring").wait_for(state="attached", timeout=WAIT)
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_function(f"(about) => ({LEVEL})(about) > 200", arg=title, timeout=WAIT)
    # an outline that is light has a dark one around it
    page.wait_for_function(
        f"({LEVEL})(['.wb-ring', 'stroke']) > 200 && ({LEVEL})(['.wb-halo', 'stroke']) < 60",
        timeout=WAIT,
    )
    page.evaluate(THEME, "JupyterLab Light")
    page.locator(".wb[data-theme=light]").wait_for(timeout=WAIT)


def test_filters_fold_where_it_is_narrow(run_notebook: Callable[..., Watched]) -> None:
    page = run_notebook(SCAN, SHOW).page
    drawn(page, "main")
    assert page.locator(".wb-filters[open]").count() == 1
    page.set_viewport_size({"width": 800, "height": 1200})
    page.locator(".wb-filters:not([open])").wait_for(timeout=WAIT)
    page.set_viewport_size({"width": 1440, "height": 1200})
    page.locator(".wb-filters[open]").wait_for(timeout=WAIT)


def test_the_table_sorts_more_rows_than_it_lists(run_notebook: Callable[..., Watched]) -> None:
    copies = (
        "import xarray as xr\n"
        "light = fits.drop_vars('counts')\n"
        "fits = xr.concat([light.assign_coords(model=[f'm{i}']) for i in range(26)], 'model')\n"
        "smallest = float(fits.k.sel(step=7000).min())\n"
    )
    show = (
        "explorer = wb.explore(fits, panel='table')\nexplorer.filters = {}\n"
        "assert 26 * 21 == 546\nexplorer"
    )
    page = run_notebook(SCAN + copies, show).page
    page.get_by_text("500 of 546 rows").wait_for(timeout=WAIT)
    page.locator("th[data-column=k] button").click()
    page.wait_for_function(
        """() => {
          const head = [...document.querySelectorAll('.wb th')].map((cell) => cell.dataset.column);
          const rows = [...document.querySelectorAll('.wb tbody tr')]
            .map((row) => row.children[head.indexOf('k')].textContent);
          return rows.slice(0, 26).every((k) => k === rows[0]) && rows[0] === '1.0066';
        }""",
        timeout=WAIT,
    )
    row = page.locator(".wb tbody tr").first
    row.focus()
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement === document.querySelector('.wb tbody tr:nth-child(2)')"
    page.wait_for_function(focused)
    assert page.locator(".wb tbody tr[tabindex='0']").count() == 1
