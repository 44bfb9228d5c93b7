"""The explorer in a real JupyterLab, used as people use it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import weibnb as wb
from tests.ui.conftest import Watched, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from playwright.sync_api import Browser, Locator, Page, Position

pytestmark = [pytest.mark.browser, pytest.mark.slow]

DEMO = Path(wb.__file__).parent / "data" / "demo"
SCAN = "import weibnb as wb\nfits = wb.open_fits('demo.nc')\n"  # `lab_root` holds it
SHOW = "explorer = wb.explore(fits)\nexplorer"
WAIT = 60_000  # ms: a slow machine is no failure
CORNER: Position = {"x": 4, "y": 4}  # of a cell: its number covers the middle


@pytest.fixture
def opened(run_notebook: Callable[..., Watched]) -> Watched:
    watched = run_notebook(SCAN, SHOW)
    drawn(watched.page, "main")
    drawn(watched.page, "detail")
    return watched


def drawn(page: Page, slot: str) -> Locator:
    chart = page.locator(f".wb-{slot} svg.marks").first
    chart.wait_for(timeout=WAIT)
    return chart


def cell(page: Page, component: str, layer: int) -> Locator:
    """The map's rectangle of a matrix: its description begins with its coordinates."""
    words = f'[aria-label*="component: {component};"][aria-label*="layer: {layer};"]'
    return page.locator(f".wb-main .mark-rect path{words}").first


def run_code(page: Page, code: str) -> None:
    """Run code in the kernel of the notebook that is open, as another cell would."""
    page.evaluate(
        """(code) => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
          .requestExecute({ code }).done.then(() => null)""",
        code,
    )


def legend_has(page: Page, slot: str, text: str) -> None:
    page.locator(f".wb-{slot}").get_by_text(text).first.wait_for(timeout=WAIT)


def k_of(fits: xr.Dataset, component: str, layer: int, step: int = 7000) -> str:
    k = fits["k"].sel(model="demo", component=component, layer=layer, step=step).item()
    return f"k {k:.4f}"


def test_click_filter_and_trim(opened: Watched, fits: xr.Dataset) -> None:
    page = opened.page
    cell(page, "up_proj", 2).click(position=CORNER)
    legend_has(page, "pane", k_of(fits, "up_proj", 2).removeprefix("k "))

    page.get_by_role("checkbox", name="selection").uncheck()
    page.get_by_text("15 of 105 matrices").first.wait_for(timeout=WAIT)
    assert page.locator('.wb-main .mark-rect path[aria-label*="q_proj"]').count() == 0

    page.get_by_role("tab", name="Weibull plot").click()
    legend_has(page, "main", k_of(fits, "up_proj", 2))
    upper = page.get_by_label("upper end of the trim, %")
    upper.fill("80")
    expected = wb.refit(fits, trim=(0.1, 0.8))
    assert k_of(expected, "up_proj", 2) != k_of(fits, "up_proj", 2)
    legend_has(page, "main", k_of(expected, "up_proj", 2))
    opened.assert_clean()


def test_brush_and_shift_click(opened: Watched) -> None:
    page = opened.page
    first, last = cell(page, "q_proj", 0), cell(page, "v_proj", 1)
    first.scroll_into_view_if_needed()
    a, b = first.bounding_box(), last.bounding_box()
    assert a
    assert b
    page.mouse.move(a["x"] + 4, a["y"] + 4)
    page.mouse.down()
    page.mouse.move(b["x"] + b["width"] - 4, b["y"] + b["height"] - 4, steps=5)
    page.mouse.up()
    page.locator(".wb-table tbody tr").nth(5).wait_for(timeout=WAIT)
    assert page.locator(".wb-table tbody tr").count() == 6
    cell(page, "down_proj", 2).click(modifiers=["Shift"], position=CORNER)
    page.locator(".wb-table tbody tr").nth(6).wait_for(timeout=WAIT)
    legend_has(page, "detail", "down_proj of layer 2")
    cell(page, "o_proj", 1).click(position=CORNER)
    page.wait_for_function("document.querySelectorAll('.wb-table tbody tr').length === 1")
    opened.assert_clean()


def test_keyboard(opened: Watched, fits: xr.Dataset) -> None:
    page = opened.page
    cell(page, "v_proj", 0).click(position=CORNER)
    legend_has(page, "pane", k_of(fits, "v_proj", 0).removeprefix("k "))
    page.locator(".wb-main").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")  # sooner than the answer to the first
    legend_has(page, "pane", k_of(fits, "o_proj", 1).removeprefix("k "))
    page.locator(".wb-spoken", has_text="o_proj of layer 1").wait_for(state="attached")
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".wb[data-panel=findings]").wait_for(timeout=WAIT)
    page.keyboard.press("ArrowRight")
    page.locator(".wb[data-panel=weibull]").wait_for(timeout=WAIT)
    opened.assert_clean()


def test_every_control_has_a_name(opened: Watched) -> None:
    unnamed = opened.page.evaluate("""() => {
      const named = (e) => e.getAttribute('aria-label') || e.textContent.trim()
        || e.closest('label')?.textContent.trim();
      return [...document.querySelectorAll('.wb button, .wb input, .wb select')]
        .filter((e) => !named(e)).map((e) => e.outerHTML);
    }""")
    assert unnamed == []


def test_play_the_steps(opened: Watched) -> None:
    page = opened.page
    page.get_by_label("play the steps").click()
    for step in ("0", "500", "7,000"):
        page.wait_for_function(
            "(step) => document.querySelector('.wb-step output').value === step", arg=step
        )
    page.locator(".wb-play[aria-pressed=false]").wait_for(timeout=WAIT)
    page.get_by_role("tab", name="Trajectories").click()
    page.locator(".wb-main svg").get_by_text("training step").first.wait_for(timeout=WAIT)
    opened.assert_clean()


def test_an_empty_filter_says_why(opened: Watched) -> None:
    page = opened.page
    page.get_by_label("none: Components").click()
    page.get_by_text("Components excludes every matrix.").wait_for(timeout=WAIT)
    page.get_by_label("all: Components").click()
    drawn(page, "main")
    opened.assert_clean()


def test_the_page_that_is_saved_needs_no_network(
    opened: Watched, browser: Browser, tmp_path: Path
) -> None:
    with opened.page.expect_download() as download:
        opened.page.get_by_label("save as HTML").click()
    path = tmp_path / "view.html"
    download.value.save_as(path)
    context = browser.new_context(offline=True)
    fresh = watch(context.new_page())
    fresh.page.goto(path.as_uri())
    fresh.page.locator("figure svg.marks").nth(2).wait_for(timeout=WAIT)
    fresh.assert_clean()
    context.close()
    opened.assert_clean()


def test_state_set_in_python_reaches_the_page_and_so_does_a_failure(opened: Watched) -> None:
    page = opened.page
    run_code(page, "explorer.panel = 'classes'; explorer.layers = (1, 2)")
    page.locator(".wb[data-panel=classes]").wait_for(timeout=WAIT)
    page.get_by_text("14 of 105 matrices").first.wait_for(timeout=WAIT)
    opened.assert_clean()
    run_code(page, "explorer._parts = None; explorer.panel = 'overview'")
    alert = page.locator(".wb-problem")
    alert.get_by_text(re.compile("AttributeError")).wait_for(timeout=WAIT)


def test_reopened_while_its_kernel_runs(opened: Watched, lab: str) -> None:
    page = opened.page
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    name = page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    lost = page.get_by_text("Error displaying widget: model not found")
    for _ in range(10):
        page.goto(f"{lab}/lab/tree/{name}?reset")
        drawn_or_lost = page.locator(".wb-main svg.marks").first.or_(lost)
        drawn_or_lost.first.wait_for(state="attached", timeout=WAIT)
        if not lost.count():  # JupyterLab waits 2 s for the widgets of a kernel, and no longer
            break
    drawn(page, "main")
    cell(page, "gate_proj", 1).click(position=CORNER)
    legend_has(page, "pane", "gate_proj · layer 1")
    assert opened.outside == []


def test_a_saved_notebook_without_a_kernel(opened: Watched, lab: str, lab_root: Path) -> None:
    page = opened.page
    name = page.evaluate("window.jupyterapp.shell.currentWidget.context.path")
    picture = page.locator(".weibnb-still img").first
    picture.wait_for(state="attached", timeout=WAIT)
    assert not picture.is_visible(), "the live explorer hides it"
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.wait_for_function("!window.jupyterapp.shell.currentWidget.context.model.dirty")
    saved = json.loads((lab_root / name).read_text())
    assert "image/png;base64" in json.dumps(saved)

    page.evaluate("""async () => {
      const session = window.jupyterapp.shell.currentWidget.sessionContext;
      await session.shutdown();
      for (const running of window.jupyterapp.serviceManager.sessions.running())
        await window.jupyterapp.serviceManager.sessions.shutdown(running.id);
    }""")
    settings = saved["metadata"] | {"kernelspec": {"name": "", "display_name": ""}}
    (lab_root / f"still-{name}").write_text(json.dumps(saved | {"metadata": settings}))
    page.goto(f"{lab}/lab/tree/still-{name}?reset")
    page.locator(".weibnb-still img").nth(2).wait_for(timeout=WAIT)
    page.get_by_text("run this cell for the live explorer").first.wait_for(timeout=WAIT)
    assert opened.outside == []

    # with a new kernel, JupyterLab's words of a model that is not found are hidden
    (lab_root / f"fresh-{name}").write_text(json.dumps(saved))
    page.goto(f"{lab}/lab/tree/fresh-{name}?reset")
    lost = page.get_by_text("Error displaying widget")
    lost.wait_for(state="attached", timeout=WAIT)
    assert not lost.is_visible()
    assert page.locator(".weibnb-still img").nth(2).is_visible()


def test_why_is_k_low_is_drawn_and_taken_away(run_notebook: Callable[..., Watched]) -> None:
    show = f"import weibnb as wb\nwb.explore({{'demo': {str(DEMO)!r}}}, panel='weibull')"
    page = run_notebook(show).page
    drawn(page, "main")
    assert page.locator(".wb-side svg.marks").count() == 0
    page.get_by_role("checkbox", name="why is k low").check()
    drawn(page, "side")
    legend_has(page, "side", "why k is low")
    legend_has(page, "side", "method: what dividing adds")
    page.get_by_role("checkbox", name="why is k low").uncheck()
    page.locator(".wb-side svg.marks").wait_for(state="detached", timeout=WAIT)


def test_findings_select_their_matrices(run_notebook: Callable[..., Watched]) -> None:
    plant = (
        "import numpy as np, weibnb as wb\n"
        "name = 'model.layers.{}.mlp.up_proj.weight'\n"
        "w = {name.format(i): np.random.default_rng(i).normal(size=(32, 32)) for i in range(3)}\n"
        "w[name.format(1)][0, 0] = np.nan\n"
        "fits = wb.scan({'m': w}, progress=False)\n"
    )
    watched = run_notebook(plant, SHOW)
    page = watched.page
    drawn(page, "main")
    page.locator(".wb-badge", has_text="1 error").wait_for(timeout=WAIT)
    place = page.locator(".wb-main svg.marks").bounding_box()
    run_code(page, "explorer._findings, told = '', explorer._findings")
    page.locator(".wb-found-line", has_text="Not checked yet.").wait_for(timeout=WAIT)
    assert page.locator(".wb-main svg.marks").bounding_box() == place
    run_code(page, "explorer._findings = told")
    page.locator(".wb-badge", has_text="1 error").wait_for(timeout=WAIT)
    assert page.locator(".wb-main svg.marks").bounding_box() == place
    assert not page.locator(".wb-findings").is_visible()
    page.get_by_role("tab", name="Findings").click()
    page.get_by_role("button", name=re.compile("nonfinite: .*layer 1, up_proj")).click()
    page.locator(".wb-spoken", has_text="up_proj of layer 1").wait_for(
        state="attached", timeout=WAIT
    )
    legend_has(page, "pane", "up_proj · layer 1")
    assert page.locator(".wb-findings li", has_text="not looked at").count() > 0
    watched.assert_clean()


def test_a_kernel_that_ends_is_told_at_once(run_notebook: Callable[..., Watched]) -> None:
    page = run_notebook(SCAN, SHOW).page
    drawn(page, "main")
    lost = page.locator(".wb-lost")
    assert not lost.is_visible()
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    lost.wait_for(timeout=WAIT)
    assert page.locator(".wb-main svg.marks").is_visible()
    again = run_notebook(SCAN, SHOW)
    drawn(page, "main")
    assert not lost.is_visible()
    again.assert_clean()


def test_hostile_names_are_text(run_notebook: Callable[..., Watched]) -> None:
    hostile = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>" + 300 * "x"
    code = (
        "import numpy as np, weibnb as wb\n"
        "rng = np.random.default_rng(0)\n"
        "w = {'model.layers.0.mlp.up_proj.weight': rng.normal(size=(32, 32))}\n"
        f"fits = wb.scan({{{hostile!r}: w, 'b': w}}, progress=False)"
    )
    watched = run_notebook(code, SHOW)
    page = watched.page
    drawn(page, "main")
    page.get_by_role("tab", name="Findings").click()
    listed = page.locator(".wb-findings")
    listed.locator("li").first.wait_for(timeout=WAIT)
    assert listed.evaluate("list => list.scrollWidth <= list.clientWidth")
    for tab in ("Classes", "Compare", "Table", "Weibull plot"):
        page.get_by_role("tab", name=tab, exact=True).click()
        page.locator(".wb [role=tab][aria-selected=true]", has_text=tab).wait_for(timeout=WAIT)
    page.locator(".wb-name", has_text="<img src=x").wait_for(timeout=WAIT)
    assert page.evaluate("window.pwned") is None
    watched.assert_clean()
