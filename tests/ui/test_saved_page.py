"""A page that is saved, in a browser alone: no Python, no kernel, no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from tests.ui.conftest import watch
from tests.ui.test_explorer_page import CORNER, DEMO, WAIT, cell

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr
    from playwright.sync_api import Browser, Page

    from tests.ui.conftest import Watched

pytestmark = pytest.mark.browser
SITE = "http://site.test"


@pytest.fixture(scope="module")
def saved(
    browser: Browser, fits: xr.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    pytest.importorskip("anywidget")
    path = wb.explore(fits).save(tmp_path_factory.mktemp("page") / "view.html")
    context = browser.new_context(offline=True, viewport={"width": 1440, "height": 900})
    watched = watch(context.new_page())
    watched.page.goto(path.as_uri())
    watched.page.locator(".wb-pane dd").first.wait_for(timeout=WAIT)
    yield watched
    context.close()


@pytest.fixture
def served(browser: Browser) -> Iterator[Watched]:
    """Give a page of which each address is answered by the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 1200})
    yield watch(context.new_page())
    context.close()


def number(page: Page, label: str) -> str:
    """What the pane says of the selected matrix."""
    return page.locator(f".wb-pane dl div:has(dt:text-is('{label}')) dd").inner_text()


def wait_for_k(page: Page, fits: xr.Dataset, component: str, layer: int, step: int) -> None:
    """Wait until the pane has the k that Python gives a matrix."""
    k = fits["k"].sel(model="demo", component=component, layer=layer, step=step).item()
    page.locator(f".wb-pane dd:text-matches('^{k:.4f}')").wait_for(timeout=WAIT)


def test_k_along_the_layers_follows_the_component(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    page = served.page
    page.goto(wb.explore(fits).save(tmp_path / "view.html").as_uri())
    wait_for_k(page, fits, "o_proj", 0, 7000)
    cell(page, "up_proj", 2).click(position=CORNER)
    page.get_by_role("figure", name="k of up_proj along the layers").wait_for(timeout=WAIT)
    points = page.locator(".wb-side .mark-symbol path")
    own = fits["k"].sel(model="demo", component="up_proj", step=7000).values
    told = " ".join(points.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))"))
    shown = [float(k) for k in re.findall(r"shape k: ([\d.]+)", told)]
    assert shown == pytest.approx(own, abs=1e-6)
    slide(page, "upper end of the trim, %", 80)
    refitted = wb.refit(fits.sel(step=[7000]), trim=(0.1, 0.8))["k"]
    k = refitted.sel(component="up_proj", layer=2).item()
    page.locator(f".wb-side .mark-symbol path[aria-label*='{k:.4f}']").wait_for(timeout=WAIT)
    assert served.errors == []


def slide(page: Page, name: str, value: int) -> None:
    page.get_by_role("slider", name=name).fill(str(value))


def test_step_trim_filters_and_selection(saved: Watched, fits: xr.Dataset) -> None:
    page = saved.page
    wait_for_k(page, fits, "o_proj", 0, 7000)
    cell(page, "up_proj", 2).click(position=CORNER)
    wait_for_k(page, fits, "up_proj", 2, 7000)
    assert number(page, "n") == f"{fits['n'].sel(component='up_proj').max().item():,.0f}"

    residuals = page.locator(".wb-detail .concat_1_group .mark-symbol path")
    residuals.nth(25).wait_for(state="attached", timeout=WAIT)
    heights = residuals.evaluate_all("points => points.map((one) => one.getAttribute('transform'))")
    assert len({text.partition(",")[2] for text in heights}) > 25

    step = fits["step"].values.tolist()[2]
    slide(page, "step", 2)
    wait_for_k(page, fits, "up_proj", 2, step)
    slide(page, "upper end of the trim, %", 80)
    refitted = wb.refit(fits, trim=(0.1, 0.8))
    wait_for_k(page, refitted, "up_proj", 2, step)
    expected = refitted["k"].sel(component="gate_proj", layer=1, step=step).item()
    page.locator(f".wb-main .mark-text text:text-is('{expected:.3f}')").first.wait_for()

    cell(page, "gate_proj", 1).hover(position=CORNER)
    page.locator(f".wb-card:visible dd:text-matches('^{expected:.4f}')").wait_for(timeout=WAIT)

    page.get_by_role("checkbox", name="transmission").uncheck()
    page.get_by_text("9 of 105 matrices").wait_for(timeout=WAIT)
    assert page.locator(".wb-main .role-axis-label text", has_text="up_proj").count() == 0
    assert page.locator(".wb-main .mark-rect path[aria-label*=component]").count() == 9
    # the selected one is gone: that which stands out of the others is looked at
    assert re.match("[qkv]_proj", page.locator(".wb-title").inner_text())
    # what was found in all of them is not said of some
    titles = page.locator("figcaption strong").all_inner_texts()
    assert not [title for title in titles if "only" in title]
    page.get_by_label("none: Components").click()
    page.get_by_text("Components excludes every matrix.").wait_for(timeout=WAIT)
    page.get_by_label("all: Components").click()
    page.get_by_role("checkbox", name="transmission").check()
    wait_for_k(page, refitted, "up_proj", 2, step)
    saved.assert_clean()


def test_the_crosshair_tells_what_lies_beyond(saved: Watched, fits: xr.Dataset) -> None:
    page = saved.page
    page.locator(".wb-detail").focus()
    page.keyboard.press("ArrowRight")
    words = page.locator(".wb-cross-words p")
    words.nth(1).wait_for(timeout=WAIT)
    before = float(words.nth(0).inner_text().removeprefix("|w| "))
    told = re.fullmatch(
        r"([\d.]+) % below · ([\d,]+) of ([\d,]+) beyond", words.nth(1).inner_text()
    )
    assert told is not None
    percent, beyond, number = (float(word.replace(",", "")) for word in told.groups())
    component = page.locator(".wb-title").inner_text().partition(" ")[0]
    assert number == fits["n"].sel(component=component).max().item()
    assert beyond == pytest.approx(number * (1 - percent / 100), rel=0.02, abs=1)
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function(
        "low => Number(document.querySelector('.wb-cross-words p').textContent.slice(4)) > low",
        arg=before,
    )
    page.keyboard.press("Escape")
    page.locator(".wb-cross").wait_for(state="detached", timeout=WAIT)
    saved.assert_clean()


def test_of_several_selected_matrices_another_has_its_own_plot(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    explorer = wb.explore(fits)
    explorer.selected = [("demo", 0, "q_proj", 7000), ("demo", 0, "up_proj", 7000)]
    page = served.page
    page.goto(explorer.save(tmp_path / "view.html").as_uri())
    page.locator(".wb-detail").get_by_text("up_proj of layer 0").wait_for(timeout=WAIT)
    cell(page, "o_proj", 1).click(position=CORNER)
    wait_for_k(page, fits, "o_proj", 1, 7000)
    points = page.locator(".wb-detail .concat_1_group .mark-symbol path")
    points.nth(25).wait_for(state="attached", timeout=WAIT)
    assert page.locator(".wb-detail").get_by_text("up_proj of layer 0").count() == 0
    cell(page, "q_proj", 1).click(position=CORNER)
    wait_for_k(page, fits, "q_proj", 1, 7000)
    assert served.errors == []


def test_a_bin_of_layers_shows_the_matrix_of_the_nearest(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    layers = np.arange(300)
    deep = fits.isel(step=[-1], layer=layers % 3).assign_coords(layer=layers)
    page = served.page
    page.goto(wb.explore(deep).save(tmp_path / "view.html").as_uri())
    wait_for_k(page, fits, "o_proj", 0, 7000)
    bins = page.locator(".wb-main .mark-rect path[aria-label*='component: up_proj']")
    bins.nth(2).click()
    page.get_by_text("up_proj · layer 4").wait_for(timeout=WAIT)
    wait_for_k(page, fits, "up_proj", 4 % 3, 7000)
    page.locator(".wb-side").get_by_text("needs Python here").wait_for(timeout=WAIT)
    assert served.errors == []


def test_a_map_of_many_layers_is_seen_whole_with_its_legend_below(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    layers = np.arange(200)
    deep = fits.isel(step=[-1], layer=layers % 3).assign_coords(layer=layers)
    page = served.page
    page.set_viewport_size({"width": 620, "height": 900})
    page.goto(wb.explore(deep).save(tmp_path / "view.html").as_uri())
    wide = "document.querySelector('.wb-main').scrollWidth"
    page.locator(".wb-main svg.marks").wait_for(timeout=WAIT)
    page.wait_for_function(f"{wide} <= document.querySelector('.wb-main').clientWidth + 3")
    cells, legend = (
        page.locator(f".wb-main svg.marks {part}").first.bounding_box()
        for part in (".mark-rect", ".role-legend")
    )
    assert cells
    assert legend
    assert legend["y"] > cells["y"] + cells["height"]
    assert served.errors == []


def test_long_names_stay_in_their_places(served: Watched, tmp_path: Path) -> None:
    names = ["n" * 300, "m" * 300]
    long = wb.scan(dict.fromkeys(names, DEMO / "step7000"), progress=False)
    explorer = wb.explore(long, panel="compare")
    explorer.selected = [(name, 0, "q_proj", 7000) for name in names]
    page = served.page
    page.set_viewport_size({"width": 900, "height": 900})
    page.goto(explorer.save(tmp_path / "view.html").as_uri())
    page.locator(".wb-more svg.marks").wait_for(timeout=WAIT)
    page.locator(".wb-detail svg.marks").wait_for(timeout=WAIT)
    page.wait_for_function("""[...document.querySelectorAll('.wb figure:not([hidden])')]
      .every((place) => place.scrollWidth <= place.clientWidth + 3)""")


def test_where_filters_need_python_the_page_says_so(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    page = served.page
    page.goto(wb.explore(fits, panel="weibull").save(tmp_path / "view.html").as_uri())
    page.locator(".wb-filters").get_by_text("Filters need Python here").wait_for(timeout=WAIT)
    assert page.locator(".wb-filters fieldset").count() == 0
    assert served.errors == []


def test_trajectories_are_filtered(served: Watched, fits: xr.Dataset, tmp_path: Path) -> None:
    path = wb.explore(fits, panel="trajectories").save(tmp_path / "view.html")
    page = served.page
    page.goto(path.as_uri())
    page.locator(".wb-main").get_by_text("q_proj", exact=True).wait_for(timeout=WAIT)
    page.locator(".wb-side figcaption strong").wait_for(timeout=WAIT)
    heads = page.locator("figcaption strong").all_inner_texts()
    assert "only" in heads[0]
    assert len(set(heads)) == len(heads), "what one chart finds is not said again by the next"
    page.get_by_role("checkbox", name="transmission").uncheck()
    page.get_by_text("45 of 105 matrices").wait_for(timeout=WAIT)
    page.locator(".wb-main").get_by_text("up_proj", exact=True).wait_for(
        state="detached", timeout=WAIT
    )
    assert page.locator(".wb-main").get_by_text("q_proj", exact=True).count() == 1
    # what was found in all of them is not said of some
    heads = page.locator("figcaption strong").all_inner_texts()
    assert heads[0] == "Weibull shape k during training, one line per matrix"
    assert served.errors == []


def medians(page: Page) -> dict[str, float]:
    """Bars of the chart of classes: the median of each component."""
    bars = page.locator(".wb-main .mark-rect path[aria-label*=median]")
    told = bars.evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    found = [re.search(r"component: (\w+).*median: ([\d.]+)", text) for text in told]
    return {one[1]: float(one[2]) for one in found if one is not None}


def test_classes_are_filtered_and_fitted_again(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    page = served.page
    page.goto(wb.explore(fits, panel="classes").save(tmp_path / "view.html").as_uri())
    last = fits.sel(model="demo", step=7000)
    page.locator(".wb-main").get_by_text("k is low in layer 0 only").wait_for(timeout=WAIT)
    page.get_by_label("first layer").fill("1")
    page.get_by_label("first layer").press("Enter")
    page.get_by_text("14 of 105 matrices").wait_for(timeout=WAIT)
    page.locator(".wb-main").get_by_text("Weibull shape k by component").wait_for(timeout=WAIT)
    expected = last["k"].sel(layer=[1, 2]).median("layer").to_series().to_dict()
    assert medians(page) == pytest.approx(expected, abs=1e-4)
    page.get_by_role("checkbox", name="transmission").uncheck()
    page.get_by_text("6 of 105 matrices").wait_for(timeout=WAIT)
    kept = ["q_proj", "k_proj", "v_proj"]
    slide(page, "upper end of the trim, %", 80)
    page.locator(".wb-main").get_by_text("no band").wait_for(timeout=WAIT)
    k = wb.refit(fits.sel(step=[7000], component=kept), trim=(0.1, 0.8))["k"]
    expected = k.squeeze(["model", "step"]).sel(layer=[1, 2]).median("layer").to_series().to_dict()
    assert medians(page) == pytest.approx(expected, abs=1e-4)
    strip = page.locator(".wb-side .role-axis-label text")
    assert [text for text in strip.all_text_contents() if "_proj" in text] == kept
    page.locator(".wb-main .mark-symbol path[aria-label*='v_proj']").last.click()
    page.locator(".wb-title", has_text="v_proj · layer 2").wait_for(timeout=WAIT)
    assert served.errors == []


def test_what_is_compared_is_filtered(served: Watched, fits: xr.Dataset, tmp_path: Path) -> None:
    explorer = wb.explore(fits, panel="compare")
    page = served.page
    page.goto(explorer.save(tmp_path / "view.html").as_uri())
    page.get_by_text("42 of 105 matrices compared").wait_for(timeout=WAIT)
    page.get_by_role("checkbox", name="transmission").uncheck()
    page.get_by_text("18 of 105 matrices compared").wait_for(timeout=WAIT)
    for place in ("main", "side"):
        cells = page.locator(f".wb-{place} .mark-rect path[aria-label*=component]")
        page.locator(f".wb-{place} .role-axis-label text", has_text="up_proj").wait_for(
            state="detached", timeout=WAIT
        )
        assert cells.count() == 9
    explorer.filters = {"weight_class": ("selection", "value")}
    said = explorer.charts["cohort"].to_dict()["title"]["subtitle"]
    (nearest,) = (line for line in said if line.startswith("demo: nearest"))
    page.locator(".wb-more").get_by_text(nearest).wait_for(timeout=WAIT)
    assert served.errors == []


def test_on_the_site_it_follows_the_switch_of_the_page_around_it(
    served: Watched, fits: xr.Dataset, tmp_path: Path
) -> None:
    live = wb.explore(fits.isel(step=[-1])).save(tmp_path / "live.html")
    script = (Path(__file__).parents[2] / "docs" / "live.js").read_text()
    home = (
        '<body data-md-color-scheme="slate"><iframe class="live" src="live.html" width="1200">'
        f"</iframe><script>{script}</script></body>"
    )
    page = served.page
    page.route(f"{SITE}/", lambda route: route.fulfill(body=home, content_type="text/html"))
    page.route(f"{SITE}/live.html", lambda route: route.fulfill(path=live))
    page.goto(f"{SITE}/")
    frame = page.frame_locator("iframe")
    frame.locator(".wb[data-theme=dark]").wait_for(timeout=WAIT)
    paper = "() => getComputedStyle(frames[0].document.body).backgroundColor"
    assert page.evaluate(paper) == "rgb(17, 17, 17)"
    page.evaluate("document.body.dataset.mdColorScheme = 'default'")
    frame.locator(".wb[data-theme=light]").wait_for(timeout=WAIT)
    assert page.evaluate(paper) == "rgb(255, 255, 255)"
    assert served.errors == []
