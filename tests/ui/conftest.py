"""A real browser before a real JupyterLab."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import weibnb as wb
from tests.ui.servers import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import xarray as xr
    from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize

CHROMIUM = os.environ.get("WEIBNB_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
]
# A command to run all cells is lost until the kernel's websocket is open.
RUN_ALL = """async () => {
  const app = window.jupyterapp;
  await app.restored;
  const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
  const notebook = () => [...app.shell.widgets('main')]
    .find((widget) => widget.sessionContext && widget.content?.widgets);
  for (let i = 0; i < 400 && !notebook(); i++) await pause();
  const panel = notebook();
  await panel.context.ready;
  await panel.sessionContext.ready;
  const kernel = () => panel.sessionContext.session?.kernel;
  for (let i = 0; i < 1200 && kernel()?.connectionStatus !== 'connected'; i++) await pause();
  await kernel().info;
  app.shell.activateById(panel.id);
  await app.commands.execute('notebook:run-all-cells');
  const failed = (cell) => !cell.model.executionCount
    || cell.model.outputs.toJSON().some((output) => output.output_type === 'error');
  return panel.content.widgets
    .filter((cell) => cell.model.type === 'code' && cell.model.sharedModel.getSource().trim())
    .filter(failed)
    .map((cell) => JSON.stringify(cell.model.outputs.toJSON()).slice(0, 2000));
}"""
# Close what is open, and open one notebook.
OPEN = """async (path) => {
  const app = window.jupyterapp;
  await app.restored;
  [...app.shell.widgets('main')].forEach((widget) => widget.dispose());
  await app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
}"""
# Whether the notebook that is open has its kernel.
ALIVE = """() => ['idle', 'busy'].includes(
  window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status)"""
WINDOW: ViewportSize = {"width": 1440, "height": 1400}


@dataclass
class Watched:
    """A page, its console errors, the requests that left the machine, and bytes received."""

    page: Page
    shown: tuple[object, ...] = ()
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    received: int = 0

    def forget(self) -> None:
        self.errors.clear()
        self.outside.clear()
        self.received = 0

    def assert_clean(self) -> None:
        assert self.errors == []
        assert self.outside == []


def watch(page: Page) -> Watched:
    watched = Watched(page)

    def on_console(message: Any) -> None:
        if message.type == "error":
            watched.errors.append(message.text)

    def on_request(request: Any) -> None:
        if re.match(r"https?://(?!127\.0\.0\.1)", request.url):
            watched.outside.append(request.url)

    def on_frame(payload: str | bytes) -> None:
        watched.received += len(payload)

    page.on("console", on_console)
    page.on("pageerror", lambda error: watched.errors.append(str(error)))
    page.on("request", on_request)
    page.on("websocket", lambda socket: socket.on("framereceived", on_frame))
    return watched


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Launch the browser, or skip with the reason."""
    api = pytest.importorskip("playwright.sync_api")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"no browser at {CHROMIUM}: install chromium, or name one in WEIBNB_CHROMIUM")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as launched:
        yield launched


@pytest.fixture(scope="session")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """Give what all pages share: JupyterLab's scripts are fetched once."""
    shared = browser.new_context(viewport=WINDOW, accept_downloads=True)
    yield shared
    shared.close()


@pytest.fixture
def watched(context: BrowserContext) -> Iterator[Watched]:
    """Give a page of one test."""
    page = context.new_page()
    yield watch(page)
    page.close()


@pytest.fixture(scope="session")
def desk(context: BrowserContext, lab: str) -> Watched:
    """Give the page of JupyterLab that stays open while notebooks come and go."""
    return watch(context.new_page())


@pytest.fixture(scope="session")
def fits() -> xr.Dataset:
    return wb.scan({"demo": Path(wb.__file__).parent / "data" / "demo"}, progress=False)


@pytest.fixture(scope="session")
def lab_root(tmp_path_factory: pytest.TempPathFactory, fits: xr.Dataset) -> Path:
    """Make the folder of notebooks, and of the fits that most of them show."""
    root = tmp_path_factory.mktemp("notebooks")
    wb.save_fits(fits, root / "demo.nc")
    return root


@pytest.fixture(scope="session")
def lab(lab_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("jupyterlab")
    with serve("lab", lab_root, tmp_path_factory.mktemp("lab")) as url:
        yield url


def write_notebook(path: Path, *cells: str) -> Path:
    """Write a notebook of code cells."""
    import nbformat

    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source, id=uuid.uuid4().hex[:8]) for source in cells],
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    path.write_text(json.dumps(notebook))
    return path


def end_kernels(lab: str) -> None:
    """End what runs on the server."""
    with urllib.request.urlopen(f"{lab}/api/kernels", timeout=60) as answer:  # noqa: S310
        kernels = json.load(answer)
    for kernel in kernels:
        address = f"{lab}/api/kernels/{kernel['id']}"
        asked = urllib.request.Request(address, method="DELETE")  # noqa: S310
        try:
            urllib.request.urlopen(asked, timeout=60).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            if error.code != HTTPStatus.NOT_FOUND:  # a page has ended it meanwhile
                raise


@pytest.fixture
def run_notebook(lab: str, lab_root: Path, desk: Watched) -> Callable[..., Watched]:
    """Run a notebook of these cells, or one by its path; the one that is open runs once more."""
    page = desk.page

    def go(*cells: str, path: Path | None = None) -> Watched:
        page.set_viewport_size(WINDOW)
        if desk.shown != (*cells, path) or not page.evaluate(ALIVE):
            end_kernels(lab)
            name = f"{uuid.uuid4().hex[:8]}.ipynb"
            if path is None:
                write_notebook(lab_root / name, *cells)
            else:
                shutil.copy(path, lab_root / name)
            if not page.url.startswith(lab) or not page.evaluate("!!window.jupyterapp"):
                page.goto(f"{lab}/lab?reset")
                page.wait_for_function("window.jupyterapp")
            page.evaluate(OPEN, name)
            page.wait_for_selector(".jp-NotebookPanel .jp-Cell")
        desk.forget()
        assert page.evaluate(RUN_ALL) == []
        desk.shown = (*cells, path)
        return desk

    return go
