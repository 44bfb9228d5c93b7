"""``weibnb check``: exit status, formats and choices, as a shell sees them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from tests.diagnostics.rules.models import model, name_of
from tests.scanning.helpers import write
from weibnb.cli import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def paths(tmp_path: Path) -> tuple[str, str]:
    """A healthy checkpoint, and one with an error and a warning."""
    weights = model()
    sound = write(tmp_path / "sound", weights)
    weights[name_of(1)][...] = 0
    weights[name_of(2)][5] = 0
    return str(sound), str(write(tmp_path / "broken", weights))


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 1),
        (["--fail-on", "warning"], 1),
        (["--ignore", "all-zero"], 0),
        (["--ignore", "all-zero", "--fail-on", "warning"], 1),
        (["--ignore", "all-zero,dead-lines", "--fail-on", "note"], 0),
        (["--ignore", "all-zero", "--ignore", "dead-lines", "--fail-on", "note"], 0),
        (["--select", "comb"], 0),
    ],
)
def test_the_status_follows_the_findings(
    paths: tuple[str, str], options: list[str], status: int
) -> None:
    assert main(["check", "--quiet", *options, paths[0]]) == 0
    assert main(["check", "--quiet", *options, paths[1]]) == status


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--select", "all-zeros"], "Did you mean 'all-zero'"),
        (["--ignore", "combs"], "Did you mean 'comb'"),
        (["--format", "junit5"], "Did you mean 'junit'"),
        (["--fail-on", "warn"], "Did you mean 'warning'"),
        (["--baseline", "nothing.nc"], "nothing.nc"),
    ],
)
def test_what_cannot_be_checked_is_two(
    paths: tuple[str, str],
    options: list[str],
    cause: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--quiet", *options, paths[1]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert cause in captured.err


def test_a_checkpoint_that_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x80nothing")
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "fits.nc"):
        assert main(["check", "--quiet", str(path)]) == 2
        assert capsys.readouterr().err.startswith("weibnb: `")


def test_formats_and_fits(
    paths: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(wb.save_fits(wb.scan(paths[1]), tmp_path / "fits.nc"))
    assert main(["check", file, "--format", "json"]) == 1
    whole = json.loads(capsys.readouterr().out)
    assert {one["rule"] for one in whole["findings"]} == {"all-zero", "dead-lines"}
    assert {one["rule"] for one in whole["not_looked_at"]} >= {"nearly-dead-lines"}
    assert main(["check", "--quiet", paths[1], "--baseline", file]) == 0
    assert "all-zero" not in capsys.readouterr().out
    other = wb.scan({"n": {name_of(0): np.ones((20, 20))}})
    assert main(["check", file, "--baseline", str(wb.save_fits(other, tmp_path / "n.nc"))]) == 2
    assert "`baseline` must be of the same model" in capsys.readouterr().err


def test_a_scan_says_how_many_errors_there_are(
    paths: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scan", "--quiet", paths[1]]) == 0
    assert f"1 error. Which, and what else: weibnb check {paths[1]}" in capsys.readouterr().out
    assert main(["scan", "--quiet", *paths]) == 0
    assert "1 error. Which, and what else: weibnb check PATH" in capsys.readouterr().out
    assert main(["scan", "--quiet", paths[0]]) == 0
    assert "0 errors." in capsys.readouterr().out
