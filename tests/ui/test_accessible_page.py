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
# Where the tabs begin and end.
PLACES = """() => [...document.querySelectorAll('.wb-tabs [role=tab]')]
  .map((tab) => tab.getBoundingClientRect()).map(({ left, right }) => [left, right])"""
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


def test_every_panel_is_accessible_and_calm(
    run_notebook: Callable[..., Watched],
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched = run_notebook(SCAN, SHOW)
    page = watched.page
    drawn(page, "main")
    drawn(page, "detail")
    assert page.locator(".wb-filters[open]").count() == 1
    page.set_viewport_size({"width": 800, "height": 1200})
    page.locator(".wb-filters:not([open])").wait_for(timeout=WAIT)
    page.set_viewport_size({"width": 1440, "height": 1200})
    page.locator(".wb-filters[open]").wait_for(timeout=WAIT)
    warned: list[str] = []
    page.on("console", lambda message: warned.append(message.text) if message.type == "warning"
            else None)  # fmt: skip
    found: dict[str, Any] = {}
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(THEME, theme)
        page.locator(f".wb[data-theme={theme.split()[1].lower()}]").wait_for(timeout=WAIT)
        places = page.evaluate(PLACES)
        for tab in panels(page):
            open_panel(page, tab)
            assert page.evaluate(PLACES) == places, f"{tab}: another tab that is open moves none"
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


# How many px of its place each chart that is shown leaves empty.
EMPTY = """() => [...document.querySelectorAll('.wb figure:not([hidden])')]
  .filter((place) => place.clientWidth && place.querySelector('svg.marks'))
  .map((place) => place.clientWidth
    - place.querySelector('svg.marks').getBoundingClientRect().width)"""


def test_a_dark_page_has_charts_of_its_own(run_notebook: Callable[..., Watched]) -> None:
    page = run_notebook(SCAN, SHOW).page
    drawn(page, "main")
    page.evaluate(THEME, "JupyterLab Light")  # the server keeps the theme of another test
    page.locator(".wb[data-theme=light]").wait_for(timeout=WAIT)
    title = (".wb-main .role-axis-title text", "fill")
    page.wait_for_function(f"(about) => ({LEVEL})(about) < 100", arg=title, timeout=WAIT)
    page.locator(".wb-main .wb-picked .wb-ring").wait_for(state="attached", timeout=WAIT)
    page.evaluate(THEME, "JupyterLab Dark")
    page.wait_for_function(f"(about) => ({LEVEL})(about) > 180", arg=title, timeout=WAIT)
    # an outline that is light has a dark one around it
    page.wait_for_function(
        f"({LEVEL})(['.wb-ring', 'stroke']) > 200 && ({LEVEL})(['.wb-halo', 'stroke']) < 60",
        timeout=WAIT,
    )
    # nothing has a width while JupyterLab changes its theme
    page.wait_for_function(f"({EMPTY})().every((px) => px < 40)", timeout=WAIT)
    assert len(page.evaluate(EMPTY)) == 3
    page.evaluate(THEME, "JupyterLab Light")
    page.locator(".wb[data-theme=light]").wait_for(timeout=WAIT)


# The text of the first cells of a column of the table, in the order of the page.
CELLS = """(column) => {
  const heads = [...document.querySelectorAll('.wb-grid th')].map((cell) => cell.dataset.column);
  return [...document.querySelectorAll('.wb-grid tbody tr')]
    .sort((a, b) => a.dataset.at - b.dataset.at).slice(0, 9)
    .map((row) => row.children[heads.indexOf(column)].textContent);
}"""


def test_a_table_of_many_rows_is_used_by_keys_alone(run_notebook: Callable[..., Watched]) -> None:
    copies = (
        "import numpy as np, xarray as xr\n"
        "light = fits.drop_vars('counts').isel(step=[-1])\n"
        "fits = xr.concat([light.assign_coords(model=[f'm{i}']) for i in range(98)], 'model')\n"
        "k = np.random.default_rng(0).permutation(np.linspace(1.1711, 1.3, fits.k.size))\n"
        "fits['k'] = fits.k.copy(data=k.reshape(fits.k.shape))\n"
    )
    show = "explorer = wb.explore(fits, panel='table')\nexplorer.filters = {}\nexplorer"
    watched = run_notebook(SCAN + copies, show)
    page = watched.page
    grid = page.locator(".wb-grid")
    page.get_by_text("2,058 rows").wait_for(timeout=WAIT)
    assert grid.get_attribute("aria-rowcount") == "2060"
    assert grid.locator("tbody tr").count() < 100
    assert grid.locator("[tabindex='0'], button, a").count() == 0, "one stop of the tab key"

    grid.focus()
    for key in ("Control+Home", "ArrowUp", "ArrowUp", *["ArrowRight"] * 3, "Enter"):
        page.keyboard.press(key)  # the head of k
    page.locator("th[data-column=k][aria-sort=ascending]").wait_for(timeout=WAIT)
    assert page.evaluate(CELLS, "k")[:2] == ["1.1711", "1.1712"]
    page.keyboard.press("Enter")
    page.locator("th[data-column=k][aria-sort=descending]").wait_for(timeout=WAIT)
    assert page.evaluate(CELLS, "k")[0] == "1.3000"

    page.keyboard.press("ArrowDown")
    page.keyboard.type(">= 1.299")
    page.get_by_text("16 of 2,058 rows pass the column filters").wait_for(timeout=WAIT)
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.matches('.wb-grid')")
    page.keyboard.press("Enter")
    for _ in range(2):
        page.keyboard.press("Shift+ArrowDown")
    page.get_by_text("3 selected").wait_for(timeout=WAIT)
    page.keyboard.press("Space")
    page.get_by_text("2 selected").wait_for(timeout=WAIT)
    assert grid.locator("tbody tr[aria-selected=true]").count() == 2
    active = page.evaluate("document.activeElement.getAttribute('aria-activedescendant')")
    assert page.locator(f"#{active}").evaluate("(cell) => cell.closest('tr').dataset.at") == "2"

    page.get_by_role("button", name="clear filters").click()
    grid.focus()
    page.keyboard.press("Control+End")
    page.locator("tbody tr[data-at='2057']").wait_for(timeout=WAIT)
    assert page.locator("tbody tr[data-at='2057'] td").nth(3).inner_text() == "1.1711"
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy all rows").click()
    page.get_by_text("2,058 rows copied").wait_for(timeout=WAIT)
    lines = page.evaluate("navigator.clipboard.readText()").split("\n")
    assert len(lines) == 2059
    assert lines[0].split("\t")[:4] == ["model", "component", "layer", "k"]
    assert lines[0].split("\t")[-1] == "step", "which all rows share"
    assert lines[1].split("\t")[3] == "1.3"
    watched.assert_clean()
