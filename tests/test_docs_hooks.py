"""What the hooks of the documentation take out of pages, and what they warn of."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("latex2mathml")

from scripts.docs_hooks import (
    LIVE,
    ROOT,
    SIZE,
    Page,
    for_the_site,
    live_page,
    on_page_markdown,
    on_post_page,
)

LOADER = """<p>before</p><script>
(function() {
  function addWidgetsRenderer() {
    var source = 'https://unpkg.com/@jupyter-widgets/html-manager@*/dist/embed-amd.js';
  }
}());
</script><p>after</p>"""
STATE = '<script type="application/vnd.jupyter.widget-state+json">\n{"a": "</b>"}\n</script>'
VIEW = STATE.replace("state", "view")


@pytest.mark.parametrize("widget", [LOADER, STATE, VIEW])
def test_widgets_are_left_out_of_pages(widget: str) -> None:
    kept = "<script>let ours = 1;</script><p>text</p>"
    page = on_post_page(f"{kept}{widget}{kept}")
    assert page.count(kept) == 2
    assert "widget" not in page
    assert "unpkg" not in page


def test_a_script_that_loads_from_elsewhere_is_seen() -> None:
    assert [address.partition("@")[0] for address in Page(LOADER).loaded] == ["https://unpkg.com/"]
    assert (
        Page("<p>see https://unpkg.com/a</p><script>let a = 'https://a.org'</script>").loaded == []
    )


def test_a_page_does_not_link_to_itself() -> None:
    source = (
        "[![Binder](https://badge.svg)](https://mybinder.org/v2/gh/a)"
        " · [this page with its plots](https://weibnb.github.io/weibnb/tutorials/a/)\n\n"
        "[next](02_b.ipynb) and [rules](../docs/check.md#errors)"
    )
    cells = [{"cell_type": "markdown", "source": [source]}]
    shown = json.loads(for_the_site(json.dumps({"cells": cells})))["cells"][0]["source"]
    assert shown == (
        "[Binder](https://mybinder.org/v2/gh/a)\n\n"
        "[next](../02_b/) and [rules](../../check/#errors)"
    )


def test_the_explorer_of_the_front_page_is_alone_and_its_size_is_told() -> None:
    pytest.importorskip("vl_convert")
    front = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    assert f'src="{LIVE}"' in front
    assert Page(live_page()).loaded == []
    size = len(live_page().encode()) / 1e6
    assert 0.5 < size < 3
    assert f"{size:.1f} MB" in on_page_markdown(front)
    assert SIZE not in on_page_markdown(front)
    assert on_page_markdown("nothing of it") == "nothing of it"
