"""Draw the README's picture of the explorer: JupyterLab and Chromium, on the packaged demo.

Needs ``pip install 'weibnb[test]'`` and a Chromium; run ``python -m scripts.explorer_picture``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.ui.conftest import ARGUMENTS, CHROMIUM, RUN_ALL, write_notebook
from tests.ui.servers import serve

IMAGES = Path(__file__).parents[1] / "docs" / "images"
SCAN = """from importlib.resources import files
import weibnb as wb
fits = wb.scan({'demo': files('weibnb') / 'data' / 'demo'}, progress=False)"""
SHOW = "wb.explore(fits, selected=[('demo', 0, 'o_proj', 7000)])"


def main() -> None:
    """Write docs/images/explorer.png."""
    with (
        tempfile.TemporaryDirectory() as root,
        tempfile.TemporaryDirectory() as home,
        serve("lab", Path(root), Path(home)) as url,
        sync_playwright() as playwright,
    ):
        write_notebook(Path(root) / "a.ipynb", SCAN, SHOW)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1240, "height": 1400}, device_scale_factor=1.5)
        page.goto(f"{url}/lab/tree/a.ipynb?reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        page.evaluate(RUN_ALL)
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
        page.locator(".wb-detail svg.marks").wait_for()
        page.wait_for_timeout(500)
        page.locator(".wb").screenshot(path=IMAGES / "explorer.png")
        browser.close()


if __name__ == "__main__":
    main()
