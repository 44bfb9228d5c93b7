"""Draw the pictures of the explorer: JupyterLab and Chromium, on the packaged run.

Writes docs/images/explorer.png, and explorer.gif for the head of the README. Needs Pillow, what
``pip install -e '.[test]'`` brings and a Chromium; run ``python -m scripts.explorer_picture``.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from playwright.sync_api import sync_playwright

from tests.ui.conftest import ARGUMENTS, CHROMIUM, RUN_ALL, write_notebook
from tests.ui.servers import serve
from tests.ui.test_explorer_page import CORNER, cell

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SCAN = "import weibnb as wb\nfits = wb.scan(wb.demo_checkpoints(), progress=False)"
SHOW = "wb.explore(fits, selected=[('demo', 0, 'o_proj', 7000)])"
HEIGHT, WIDTH = 980, 1000  # what a frame shows of the page, and how wide it becomes, in pixels
LARGEST = 1_500_000  # bytes


def main() -> None:
    """Write both pictures."""
    with (
        tempfile.TemporaryDirectory() as root,
        tempfile.TemporaryDirectory() as home,
        serve("lab", Path(root), Path(home)) as url,
        sync_playwright() as playwright,
    ):
        write_notebook(Path(root) / "a.ipynb", SCAN, SHOW)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1440, "height": 1400}, device_scale_factor=1.5)
        page.goto(f"{url}/lab/tree/a.ipynb?reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.evaluate(RUN_ALL)
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
        page.locator(".wb-detail svg.marks").wait_for()
        page.wait_for_timeout(500)
        page.locator(".wb").screenshot(path=IMAGES / "explorer.png")
        write_animation(frames(page), IMAGES / "explorer.gif")
        browser.close()


def frames(page: Page) -> list[tuple[Image.Image, int]]:
    """Go through the explorer as a reader would; return what it shows and for how long, in ms."""
    taken = [(frame(page), 1500)]
    cell(page, "o_proj", 1).click(position=CORNER)
    taken.append((frame(page), 1500))
    cell(page, "o_proj", 0).click(position=CORNER, modifiers=["Shift"])
    taken.append((frame(page), 2500))
    page.get_by_role("tab", name="Trajectories", exact=True).click()
    page.locator(".wb[data-panel=trajectories]").wait_for()
    taken.append((frame(page), 2500))
    page.get_by_role("tab", name="Classes", exact=True).click()
    page.locator(".wb[data-panel=classes]").wait_for()
    return [*taken, (frame(page), 2500)]


def frame(page: Page) -> Image.Image:
    """Return the upper part of the explorer as it stands, made smaller."""
    page.wait_for_timeout(500)
    page.locator(".wb:not(.wb-busy)").wait_for()
    page.wait_for_timeout(1500)  # the charts move into place
    image = Image.open(io.BytesIO(page.locator(".wb").screenshot())).convert("RGB")
    scale = image.width / page.locator(".wb").evaluate("(box) => box.clientWidth")
    canvas = Image.new("RGB", (image.width, round(HEIGHT * scale)), "white")
    canvas.paste(image, (0, 0))
    return canvas.resize(
        (WIDTH, round(WIDTH * canvas.height / canvas.width)), Image.Resampling.LANCZOS
    )


def write_animation(taken: list[tuple[Image.Image, int]], path: Path) -> None:
    """Write frames as a GIF that repeats, all in the colours that serve all of them best."""
    sheet = Image.new("RGB", (WIDTH, sum(image.height for image, _ in taken)))
    top = 0
    for image, _ in taken:
        sheet.paste(image, (0, top))
        top += image.height
    palette = sheet.quantize(method=Image.Quantize.FASTOCTREE)
    first, *rest = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image, _ in taken)
    shown = [duration for _, duration in taken]
    first.save(path, save_all=True, append_images=rest, duration=shown, loop=0, optimize=True)
    if path.stat().st_size > LARGEST:
        raise RuntimeError(f"{path} takes {path.stat().st_size:,} bytes, {LARGEST:,} may be.")


if __name__ == "__main__":
    main()
