"""The README's links lead somewhere from any page that shows it, and its commands are true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RAW = "https://raw.githubusercontent.com/weibnb/weibnb/main/"
SOURCES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "notebooks").glob("*.ipynb")),
]


def test_pictures_have_absolute_addresses() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    ours = [address for address in pictures if "mybinder" not in address]
    assert len(ours) >= 2
    for address in ours:
        assert address.startswith(RAW)
        assert (ROOT / address.removeprefix(RAW)).is_file()


def test_links_lead_to_files() -> None:
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", README)]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_animation_is_light() -> None:
    assert (ROOT / "docs" / "images" / "explorer.gif").stat().st_size < 1_500_000


def test_the_example_is_python() -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    names = {node.attr for node in ast.walk(ast.parse(example)) if isinstance(node, ast.Attribute)}
    assert {"scan", "check", "explore", "tidy", "save"} <= names


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_package_index_is_promised(path: Path) -> None:
    assert not re.search(r"pip install (-U )?weibnb\b", path.read_text(encoding="utf-8"))
