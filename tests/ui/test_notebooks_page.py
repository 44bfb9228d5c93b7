"""Tutorials in the real browser, and the app under Voilà."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.ui.servers import serve
from tests.ui.test_explorer_page import cell, drawn, legend_has

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.ui.conftest import Watched

pytestmark = [pytest.mark.browser, pytest.mark.slow]

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# What the page of Voilà itself fetches from elsewhere.
NOT_OURS = ("https://cdn.jsdelivr.net/npm/@fortawesome/",)


def only_known(watched: Watched) -> None:
    assert [url for url in watched.outside if not url.startswith(NOT_OURS)] == []


def test_quickstart(run_notebook: Callable[..., Watched]) -> None:
    watched = run_notebook(path=NOTEBOOKS / "01_quickstart.ipynb")
    drawn(watched.page, "main")
    cell(watched.page, "o_proj", 0).click(position={"x": 4, "y": 4})
    legend_has(watched.page, "numbers", "1.0066 ±")
    only_known(watched)


def test_the_app_in_voila(watched: Watched, tmp_path: Path) -> None:
    pytest.importorskip("voila")
    home = tmp_path / "home"
    home.mkdir()
    page = watched.page
    with serve("voila", tmp_path, home, str(NOTEBOOKS / "app.ipynb")) as url:
        page.goto(url, timeout=90_000)
        page.get_by_role("button", name="Open").click(timeout=90_000)
        page.locator(".wb-main svg.marks").first.wait_for(timeout=90_000)
        cell(page, "o_proj", 0).click(position={"x": 4, "y": 4})
        legend_has(page, "numbers", "1.0066 ±")
    only_known(watched)
