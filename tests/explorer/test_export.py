"""Files, and the picture that outlives the kernel."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import from_page, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.explorer.export import last_view_html, runs_unattended
from weibnb.explorer.labels import LAST_VIEW
from weibnb.exploring import explore

if TYPE_CHECKING:
    from weibnb.explorer.widget import Explorer


HOSTILE = "<img src=x onerror=alert(1)></script>'];\n${1}"


def test_files(explorer: Explorer, tmp_path: Path) -> None:
    page = explorer.save(tmp_path / "view.html").read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']https?:", page)
    assert page.count('<script type="application/json" id="saved">') == 1
    assert explorer.save(tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in explorer.save(tmp_path / "a.svg").read_bytes()[:200]
    rows = list(csv.DictReader(io.StringIO(explorer.save(tmp_path / "a.csv").read_text())))
    assert len(rows) == 21
    with pytest.raises(ValueError, match=r"must end in \.html"):
        explorer.save(tmp_path / "a.pdf")
    explorer.filters = {"component": ()}
    with pytest.raises(ValueError, match="no chart to save"):
        explorer.save(tmp_path / "b.png")


def test_hostile_names(tmp_path: Path) -> None:
    weights = {"model.layers.0.mlp.up_proj.weight": np.random.default_rng(0).normal(size=(32, 32))}
    explorer = explore(wb.scan({HOSTILE: weights, "b": weights}))
    explorer.selected = [[HOSTILE, 0, "up_proj", 0]]
    assert words(explorer)["chosen"][0][0] == HOSTILE.replace("\n", "\\n")
    from_page(explorer, selected=words(explorer)["chosen"])
    assert len(words(explorer)["chosen"]) == 1
    page = explorer.save(tmp_path / "view.html").read_text()
    assert HOSTILE.partition("\n")[0] not in page
    assert "<img src=x" not in page
    assert page.count("</script>") == 2
    namespace: dict[str, Any] = {"fits": wb.scan({HOSTILE: weights, "b": weights})}
    exec(explorer.code, namespace)  # noqa: S102  (our own text)


def test_the_picture_for_later(explorer: Explorer) -> None:
    assert explorer.chart is not None
    text = last_view_html([explorer.chart.to_dict()] * 2, "weibnb-x", HOSTILE)
    assert text.count("<img") == 2
    assert 'class="weibnb-still weibnb-x"' in text
    assert "data:image/png;base64," in text
    assert "<img src=x" not in text
    assert "<img" not in last_view_html([], "weibnb-x", "")


def test_the_pictures_for_later_are_all_charts_in_the_colours_of_the_page(
    explorer: Explorer,
) -> None:
    light, _words = explorer._picture()
    from_page(explorer, _theme="dark")
    dark, _words = explorer._picture()
    assert len(light) == len(dark) == 3
    for one, other in zip(light, dark, strict=True):
        assert one["config"]["background"] == "white"
        assert other["config"]["background"] == "#111111"
        assert one["datasets"] == other["datasets"]


def run_in_a_notebook(*cells: str) -> list[Any]:
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    notebook = nbformat.v4.new_notebook(cells=made)
    client.NotebookClient(notebook, kernel_name="python3", timeout=240).execute()
    return [[output for output in cell.outputs if "data" in output] for cell in notebook.cells]


@pytest.mark.slow
def test_a_notebook_that_a_program_runs_keeps_the_picture(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(wb.__file__).parents[1]))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    scan = "import weibnb as wb\nfits = wb.scan(wb.demo_checkpoints(), progress=False)"
    _, (still, _) = run_in_a_notebook(scan, "wb.explore(fits)")
    assert "data:image/png;base64," in still["data"]["text/html"]
    assert LAST_VIEW in still["data"]["text/html"]


def test_without_a_picture_no_picture_is_spoken_of() -> None:
    assert LAST_VIEW not in last_view_html([], "weibnb-x", "")


@pytest.mark.parametrize(("allowed", "alone"), [(True, False), (False, True), (None, False)])
def test_who_runs_the_notebook(allowed: bool | None, alone: bool) -> None:
    content = {} if allowed is None else {"allow_stdin": allowed}
    kernel = SimpleNamespace(get_parent=lambda channel: {"content": content})
    assert runs_unattended(SimpleNamespace(kernel=kernel)) is alone
    for shell in (None, SimpleNamespace(kernel=None), SimpleNamespace(kernel=SimpleNamespace())):
        assert not runs_unattended(shell)
