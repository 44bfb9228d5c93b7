"""``weibnb lab``: what is copied, what is kept, what is started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.command_line import DEMO, ROOT, Capture
from weibnb import cli_lab
from weibnb.cli import main
from weibnb.cli_lab import copy_tutorials


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """JupyterLab seems to be there; the commands that would take over are listed instead."""
    started: list[list[str]] = []
    monkeypatch.setattr(cli_lab, "find_spec", lambda name: name)
    monkeypatch.setattr(os, "execv", lambda program, words: started.append([program, *words]))
    return started


@pytest.fixture
def packaged() -> list[Path]:
    beside = (DEMO.parent / "notebooks", ROOT / "notebooks")
    return next(filter(None, (sorted(place.glob("*.ipynb")) for place in beside)))


def test_lab_copies_the_tutorials_and_opens_the_first(
    tmp_path: Path, lab: list[list[str]], packaged: list[Path], capsys: Capture
) -> None:
    directory = tmp_path / "new" / "place"
    main(["lab", str(directory)])
    main(["lab", str(directory), "--no-browser"])
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == {
        path.name: path.read_bytes() for path in packaged
    }
    first = packaged[0].name
    address = f"--LabApp.default_url=/lab/tree/{first}"
    command = [sys.executable, "-m", "jupyterlab", str(directory / first), address]
    assert lab == [[sys.executable, *command], [sys.executable, *command, "--no-browser"]]
    assert capsys.readouterr().out == ""


def test_lab_goes_to_a_directory_of_its_own_by_default(
    tmp_path: Path, lab: list[list[str]], packaged: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["lab"])
    assert [path.name for path in tmp_path.iterdir()] == ["weibnb-tutorials"]
    assert Path(lab[0][4]).resolve() == tmp_path / "weibnb-tutorials" / packaged[0].name


def test_lab_keeps_what_was_changed(
    tmp_path: Path, lab: list[list[str]], packaged: list[Path], capsys: Capture
) -> None:
    copy_tutorials(tmp_path)
    changed, lost = tmp_path / packaged[-1].name, tmp_path / packaged[0].name
    changed.write_text("mine")
    (tmp_path / "notes.txt").write_text("mine, too")
    if lost != changed:
        lost.unlink()
    main(["lab", str(tmp_path)])
    assert capsys.readouterr().out == (f"{changed.name} kept: it differs from the packaged one\n")
    assert changed.read_text() == "mine"
    assert (tmp_path / "notes.txt").read_text() == "mine, too"
    assert lost.exists()
    assert len(lab) == 1


def test_lab_without_jupyterlab_writes_nothing(
    tmp_path: Path, lab: list[list[str]], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_lab, "find_spec", lambda name: None)
    assert main(["lab", str(tmp_path / "new")]) == 1
    assert "pip install 'weibnb[lab]'" in capsys.readouterr().err
    assert not lab
    assert not (tmp_path / "new").exists()


def test_lab_where_a_file_is(tmp_path: Path, lab: list[list[str]], capsys: Capture) -> None:
    (tmp_path / "file").write_text("")
    assert main(["lab", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.startswith("weibnb: ")
    assert not lab
