"""``weibnb diff``: exit status, files and bad input, as a shell sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from tests.scanning.helpers import llama, write
from weibnb.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str, str]:
    """A checkpoint, a copy, and one with a matrix that changed."""
    base = llama()
    name = "model.layers.1.mlp.up_proj.weight"
    tuned = base | {name: (base[name] * 1.5).astype("f2")}
    places = [write(tmp_path / word, w) for word, w in (("a", base), ("b", base), ("c", tuned))]
    return str(places[0]), str(places[1]), str(places[2])


def test_the_status_is_that_of_diff(
    paths: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", "--quiet", paths[0], paths[1]]) == 0
    assert capsys.readouterr().out == "a → b: none of 16 tensors differs.\n"
    assert main(["diff", "--quiet", paths[0], paths[2]]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("a → c: 1 of 16 tensors differs.\n")
    assert "layer 1 up_proj" in captured.out
    assert captured.err == ""


def test_files(
    paths: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in (".csv", ".json", ".html", ".nc"):
        target = tmp_path / f"out{suffix}"
        assert main(["diff", "--quiet", paths[0], paths[2], "-o", str(target)]) == 1
        assert capsys.readouterr().out.endswith(f"Wrote {target}.\n")
        assert target.stat().st_size > 0
    fits = [str(wb.save_fits(wb.scan(path), tmp_path / f"{i}.nc")) for i, path in enumerate(paths)]
    assert main(["diff", fits[0], fits[1]]) == 0
    assert main(["diff", fits[0], fits[2], "-o", str(tmp_path / "fits.json")]) == 1
    read = json.loads((tmp_path / "fits.json").read_text())
    assert read["table"][0]["delta_ln_rms"] == pytest.approx(np.log(1.5), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["{a}", "{a}/nothing"], "nothing"),
        (["{a}", "nothing.nc"], "nothing.nc"),
        (["{run}", "{a}"], "`before` must be one checkpoint, got 2"),
        (["{a}", "{c}", "-o", "{a}/x.txt"], "must end in .csv, .json, .html or .nc"),
        (["{a}", "{c}", "-o", "{c}/config.json"], "must not be a file that is scanned"),
        (["{a}", "{c}", "-o", "{a}/none/x.csv"], "must lie in a directory that exists"),
        (["{a}", "{c}", "--max-tensors", "3"], "max_tensors"),
    ],
)
def test_what_cannot_be_compared_is_two(
    paths: tuple[str, str, str],
    tmp_path: Path,
    arguments: list[str],
    cause: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for path in paths:
        (tmp_path / path / "config.json").write_text("{}")
    for step in (1, 2):
        write(tmp_path / "run" / f"step{step}", llama(1))
    names = dict(zip("abc", paths, strict=True)) | {"run": str(tmp_path / "run")}
    assert main(["diff", "--quiet", *(text.format(**names) for text in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("weibnb: ")
    assert cause in captured.err
    assert (tmp_path / "c" / "config.json").read_text() == "{}"


def test_fits_of_the_change_are_not_those_of_fits(
    paths: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fits = str(wb.save_fits(wb.scan(paths[0]), tmp_path / "a.nc"))
    assert main(["diff", fits, fits, "-o", str(tmp_path / "b.nc")]) == 2
    assert "need the weights of both sides" in capsys.readouterr().err
    assert not (tmp_path / "b.nc").exists()
