"""Trim and estimator of a saved page, on the panels that draw more than a map."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import weibnb as wb
from tests.ui.conftest import watch
from tests.ui.test_explorer_page import CORNER, WAIT, cell
from tests.ui.test_saved_page import slide, wait_for_k
from weibnb.explorer import saved_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from playwright.sync_api import Browser, Page

    from tests.ui.conftest import Watched

pytestmark = pytest.mark.browser
UPPER = "upper end of the trim, %"
DEMO = Path(wb.__file__).parent / "data" / "demo"


@pytest.fixture
def alone(browser: Browser) -> Iterator[Watched]:
    """Give a page without a network."""
    context = browser.new_context(offline=True, viewport={"width": 1440, "height": 1200})
    yield watch(context.new_page())
    context.close()


def opened(watched: Watched, path: Path) -> Page:
    watched.page.goto(path.as_uri())
    watched.page.locator(".wb-main svg.marks").wait_for(timeout=WAIT)
    return watched.page


def k_of(fits: xr.Dataset, component: str, layer: int, step: int) -> float:
    at = {"model": "demo", "component": component, "layer": layer, "step": step}
    return float(fits["k"].sel(at))


def test_the_density_follows_the_trim_and_the_step(
    alone: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    explorer = wb.explore(fits, panel="weibull")
    explorer.selected = [("demo", 0, "o_proj", 7000)]
    page = opened(alone, explorer.save(tmp_path / "view.html"))
    caption = page.locator(".wb-detail figcaption")
    caption.get_by_text(f"k {k_of(fits, 'o_proj', 0, 7000):.3f}").wait_for(timeout=WAIT)
    shapes = ".wb-detail svg.marks .mark-line path, .wb-detail svg.marks .mark-symbol path"
    drawn = "all => all.map((one) => one.getAttribute('d') + one.getAttribute('transform'))"
    before = page.locator(shapes).evaluate_all(drawn)
    slide(page, UPPER, 80)
    again = wb.refit(fits, trim=(0.1, 0.8))
    caption.get_by_text(f"k {k_of(again, 'o_proj', 0, 7000):.3f}").wait_for(timeout=WAIT)
    wait_for_k(page, again, "o_proj", 0, 7000)
    moved = set(page.locator(shapes).evaluate_all(drawn)) - set(before)
    assert len(moved) > 40, "the lines, and the points of the ratios that are in sight"
    page.get_by_role("combobox", name="estimator").select_option("maximum_likelihood")
    again = wb.refit(fits, trim=(0.1, 0.8), estimator="maximum_likelihood")
    for place, step in reversed(list(enumerate(fits["step"].values.tolist()))):
        slide(page, "step", place)
        caption.get_by_text(f"k {k_of(again, 'o_proj', 0, step):.3f}").wait_for(timeout=WAIT)
    alone.assert_clean()


def test_trajectories_and_paths_follow_the_trim(
    alone: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    page = opened(alone, wb.explore(fits, panel="trajectories").save(tmp_path / "view.html"))
    page.locator(".wb-main figcaption").get_by_text("published").wait_for(timeout=WAIT)
    slide(page, UPPER, 80)
    again = wb.refit(fits, trim=(0.1, 0.8))
    for step in fits["step"].values.tolist():
        k = f"{k_of(again, 'up_proj', 2, step):.5g}"
        for place in ("main", "side"):
            point = page.locator(f".wb-{place} .mark-symbol path[aria-label*=' k: {k}']")
            point.first.wait_for(state="attached", timeout=WAIT)
    page.locator(".wb-main figcaption").get_by_text("published").wait_for(
        state="detached", timeout=WAIT
    )
    assert alone.errors == []


def test_where_the_counts_of_all_steps_are_too_many_the_page_says_so(
    alone: Watched, fits: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_page, "_MOST_BYTES", 60_000)
    page = opened(alone, wb.explore(fits, panel="trajectories").save(tmp_path / "view.html"))
    page.locator(".wb-trim").get_by_text("need Python here").wait_for(timeout=WAIT)
    assert page.get_by_role("slider", name=UPPER).is_disabled()
    assert alone.errors == []


def test_inside_needs_python(alone: Watched, tmp_path: Path) -> None:
    explorer = wb.explore(DEMO)
    explorer.panel = "inside"
    page = opened(alone, explorer.save(tmp_path / "view.html"))
    page.locator(".wb-trim").get_by_text("drawn from the weights").wait_for(timeout=WAIT)
    assert page.get_by_role("slider", name=UPPER).is_disabled()
    assert alone.errors == []


def test_what_is_compared_follows_the_trim(
    alone: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    page = opened(alone, wb.explore(fits, panel="compare").save(tmp_path / "view.html"))
    medians = page.locator(".wb-more figcaption")
    medians.get_by_text("nearest").wait_for(timeout=WAIT)
    slide(page, UPPER, 70)
    again = wb.refit(fits, trim=(0.1, 0.7))
    ends = [k_of(again, "o_proj", 0, step) for step in (0, 7000)]
    written = f"{ends[1] - ends[0]:.3f}".replace("-", "−")
    page.locator(f".wb-main .mark-text text:text-is('{written}')").wait_for(timeout=WAIT)
    for k in ends:
        page.locator(f".wb-pane dd:text-is('{k:.4f}'), .wb-pane td:text-is('{k:.4f}')").wait_for(
            timeout=WAIT
        )
    medians.get_by_text("no published entries: they were fitted by").wait_for(timeout=WAIT)
    assert medians.get_by_text("nearest").count() == 0
    cell(page, "v_proj", 1).click(position=CORNER)
    wait_for_k(page, again, "v_proj", 1, 7000)
    page.locator(".wb-detail .concat_1_group .mark-symbol path").nth(25).wait_for(
        state="attached", timeout=WAIT
    )
    assert page.locator(".wb-detail").get_by_text("o_proj of layer 0").count() == 0
    slide(page, UPPER, 90)
    medians.get_by_text("nearest").wait_for(timeout=WAIT)
    assert alone.errors == []
