"""Notebooks are committed clean, and run from beginning to end in an empty directory."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

nbformat = pytest.importorskip("nbformat")

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BINDER = "https://mybinder.org/v2/gh/weibnb/weibnb/HEAD?urlpath=lab/tree/notebooks/"
SITE = "https://weibnb.github.io/weibnb/tutorials/"
# Torch is hidden from these: that they do without it is part of what they teach.
WITHOUT_TORCH = ("03_", "07_")
IN_THE_BROWSER = ("01_",)  # tests/ui runs it in JupyterLab
SECONDS_A_CELL = 240
# Run first in a kernel: torch is then nowhere to be found, also for importlib.util.find_spec.
HIDE_TORCH = """
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name.partition(".")[0] == "torch" else find(name, *rest)
)
"""


def read(path: Path) -> Any:
    """Read a notebook as it is, without upgrading it."""
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def execute(notebook: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a notebook in a kernel of its own that works in `place` and imports this checkout."""
    client = pytest.importorskip("nbclient", reason="executing notebooks needs nbclient")
    pytest.importorskip("ipykernel", reason="executing notebooks needs ipykernel")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setenv("IPYTHONDIR", str(place / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(place / "runtime"))
    work = place / "work"
    work.mkdir()
    client.NotebookClient(
        notebook,
        timeout=SECONDS_A_CELL,
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
    ).execute()
    assert list(work.iterdir()) == []


def outputs(cell: Mapping[str, Any]) -> list[Any]:
    """Give the outputs of a code cell, none for others."""
    return list(cell.get("outputs", []))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_clean(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.get("id", "") for cell in notebook.cells]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert not any(outputs(cell) for cell in notebook.cells)
    assert all(cell.execution_count is None for cell in notebook.cells if "outputs" in cell)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_first_cell_has_a_title_and_the_badge_of_its_own_notebook(path: Path) -> None:
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    links = re.findall(r"\]\(([^)]+)\)", first.source)
    assert [link for link in links if "/v2/" in link] == [f"{BINDER}{path.name}"]
    on_the_site = [f"{SITE}{path.stem}/"] if path.name[0].isdigit() else []
    assert [link for link in links if link.startswith(SITE)] == on_the_site


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_asserts_stand_in_collapsed_cells(path: Path) -> None:
    for cell in read(path).cells:
        checks = re.search(r"^assert ", cell.source, re.MULTILINE) is not None
        assert checks == ("check" in cell.metadata.get("tags", [])), cell.id
        assert not checks or cell.metadata["jupyter"]["source_hidden"], cell.id


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [path for path in NOTEBOOKS if not path.name.startswith(IN_THE_BROWSER)],
    ids=lambda path: path.stem,
)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = read(path)
    if path.name.startswith(WITHOUT_TORCH):
        notebook.cells.insert(0, nbformat.v4.new_code_cell(HIDE_TORCH))
    execute(notebook, tmp_path, monkeypatch)
    shown = [output for cell in notebook.cells for output in outputs(cell)]
    assert shown
    assert not [output for output in shown if output.output_type == "error"]
