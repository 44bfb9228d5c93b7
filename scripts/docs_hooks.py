"""Hooks of the documentation: bring in the tutorials, refuse what a reader could not load.

MkDocs calls them by name (``hooks:`` in mkdocs.yml). A warning fails ``mkdocs build --strict``.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
import shutil
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from latex2mathml.converter import convert

import weibnb

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
TUTORIALS = ROOT / "docs" / "tutorials"
LOG = logging.getLogger("mkdocs.hooks.weibnb")
MATHEMATICS = re.compile(
    r"(?P<code>```.*?```|`[^`\n]+`)|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL
)
#: Widgets have no kernel here, and what would draw them comes from another server.
WIDGETS = re.compile(
    r"<script(?: type=\"application/vnd\.jupyter\.widget-\w+\+json\">"
    r"|>\s*\(function\(\) \{\s*function addWidgetsRenderer\b).*?</script>",
    re.DOTALL,
)
#: Where widgets would be loaded from (Mermaid is named too, and loaded for diagrams alone).
ELSEWHERE = re.compile(r"https?://unpkg\.com[\w./@-]*")
#: The explorer of the packaged run on the front page, and what stands there for its size.
LIVE, SIZE = "live.html", "SIZE_OF_THE_EXPLORER"
#: Attributes by which a page loads something as it opens.
LOADS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}


def on_config(config: Any) -> Any:
    """Copy the tutorials to where MkDocs sees them, and list them in the navigation."""
    TUTORIALS.mkdir(exist_ok=True)
    sources = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    for old in TUTORIALS.iterdir():
        if old.name not in {path.name for path in sources}:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    entries = []
    for path in sources:
        copy, text = TUTORIALS / path.name, for_the_site(path.read_text(encoding="utf-8"))
        if not copy.exists() or copy.read_text(encoding="utf-8") != text:
            copy.write_text(text, encoding="utf-8")
        entries.append({title_of(text) or path.stem: f"tutorials/{path.name}"})
    nav = [{"Tutorials": entries} if "Tutorials" in entry else entry for entry in config["nav"]]
    config["nav"] = [entry for entry in nav if entry != {"Tutorials": []}]
    return config


def for_the_site(text: str) -> str:
    """Let a notebook's Markdown cells link to pages instead of files, and need no network."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            source = "".join(cell["source"])
            # the table of contents would leave out what is code in a heading
            source = re.sub(
                r"^#+ .*$", lambda line: line[0].replace("`", ""), source, flags=re.MULTILINE
            )
            source = re.sub(r" · \[this page with its plots\]\([^)]*\)", "", source)
            source = re.sub(r"!\[(\w+)\]\(https?:[^)]*\)", r"\1", source)  # badges
            source = re.sub(r"\]\((\w+)\.ipynb", r"](../\1/", source)
            source = re.sub(r"\]\(\.\./docs/([\w/]+)\.md", r"](../../\1/", source)
            cell["source"] = MATHEMATICS.sub(formula, source)
    return json.dumps(notebook, ensure_ascii=False, indent=1)


def formula(match: re.Match[str]) -> str:
    """Write a formula as MathML, which browsers draw without a script; leave code alone."""
    if match["code"]:
        return match["code"]
    block = match["block"]
    text: str = convert(block or match["inline"], display="block" if block else "inline")
    return text


def title_of(text: str) -> str:
    """Give the first heading of a notebook."""
    cells = json.loads(text)["cells"]
    words = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    match = re.search(r"^# (.+)$", words, re.MULTILINE)
    return match[1].replace("`", "").strip() if match else ""


@cache
def live_page() -> str:
    """Save the explorer of the packaged run, which then needs no Python."""
    fits = weibnb.scan({"demo": weibnb.demo_checkpoints()}, progress=False)
    with tempfile.TemporaryDirectory() as where:
        path = weibnb.explore(fits).save(Path(where) / LIVE)
        return path.read_text(encoding="utf-8")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Tell how large the explorer of the front page is."""
    if SIZE not in markdown:
        return markdown
    return markdown.replace(SIZE, f"{len(live_page().encode()) / 1e6:.1f} MB")


def on_post_page(output: str, **_: Any) -> str:
    """Leave out what would bring a notebook's widgets to life; their pictures stay."""
    return WIDGETS.sub("", output)


class Page(HTMLParser):
    """What a page loads, links to and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.linked: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of one tag."""
        values = {name: value for name, value in attrs if value}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if LOADS.get(tag) in values and values.get("rel") != "canonical":
            self.loaded.append(values[LOADS[tag]])
        elif tag == "a" and "href" in values:
            self.linked.append(values["href"])

    def handle_data(self, data: str) -> None:
        """Take note of what a script would load."""
        if self.cdata_elem == "script":
            self.loaded += ELSEWHERE.findall(data)


def on_post_build(config: Any) -> None:
    """Warn of what comes from another server, of dead links and of names without a page."""
    site = Path(config["site_dir"])
    (site / LIVE).write_text(live_page(), encoding="utf-8")
    pages = {
        path: Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"  # its links count from the root of a server
    }
    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loaded:
            if urlsplit(address).netloc:
                LOG.warning("%s loads %s from another server", name, address)
        for address in (*page.linked, *page.loaded):
            if not leads_somewhere(address, path, pages):
                LOG.warning("%s links to %s, which is not there", name, address)
    for style in site.rglob("*.css"):
        if re.search(r"(@import|url\()\s*[\"']?(https?:)?//", style.read_text(encoding="utf-8")):
            LOG.warning("%s loads from another server", style.relative_to(site))
    warn_of_missing_names(
        set().union(*(page.anchors for path, page in pages.items() if "api" in path.parts))
    )


def warn_of_missing_names(listed: set[str]) -> None:
    """Warn of public names and charts that no API page has."""
    public = {name for name in dir(weibnb) if not inspect.ismodule(getattr(weibnb, name))}
    for name in sorted(public):
        if f"weibnb.{name}" not in listed:
            LOG.warning("weibnb.%s is not in the API pages", name)
    gallery = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    drawn = {anchor.rpartition(".")[2] for anchor in listed if anchor.startswith("weibnb.charts.")}
    for name in sorted(set(re.findall(r"\bcharts\.(\w+)(?=\()", gallery)) - drawn):
        LOG.warning("weibnb.charts.%s is not in the API pages", name)


def leads_somewhere(address: str, path: Path, pages: dict[Path, Page]) -> bool:
    """Tell whether a link from a page finds its file and its anchor; other servers count as found.

    Parameters
    ----------
    address : str
        As it stands in the page.
    path : Path
        The page.
    pages : dict
        All pages.

    Returns
    -------
    bool
    """
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.exists():
        return False
    anchor = unquote(parts.fragment)
    return not anchor or target not in pages or anchor in pages[target].anchors
