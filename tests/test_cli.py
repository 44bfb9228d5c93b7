"""The command line as a whole: usage, bad input, the demo, and as a program."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import weibnb as wb
from tests.command_line import DEMO, ROOT, rows, write
from weibnb.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.command_line import Capture


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scan", "nowhere"], "nowhere"),
        (["scan", "{}", "--device", "gpu"], "`device` must be"),
        (["scan", "{}", "-o", "no such folder/fits.nc"], "no such folder"),
        (["show", "nowhere.nc"], "nowhere.nc"),
        (["show", "{}/model.safetensors"], "model.safetensors"),
    ],
)
def test_bad_input_is_one_line_on_stderr(
    tmp_path: Path, capsys: Capture, arguments: list[str], message: str
) -> None:
    model = write(tmp_path / "tiny")
    assert main([argument.format(model) for argument in arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("weibnb: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("scan a --trim 0.9 0.1", "must ascend, got 0.9 0.1"),
        ("scan a --trim nan 1", "must be a number between 0 and 1, got 'nan'"),
        ("scan a --trim -1 2", "must be a number between 0 and 1, got '-1'"),
        ("scan a --precision nan", "must be a number above 0, got 'nan'"),
        ("scan a --precision inf", "must be a number above 0, got 'inf'"),
        ("scan a --sample 1", "must be a number between 0 and 1, got '1'"),
        ("scan a --max-tensors 0", "must be a whole number, at least 1, got '0'"),
        ("scan a --max-header 1e6", "must be a whole number, at least 1, got '1e6'"),
        ("quantisation a --bits -3", "must be a number above 0, got '-3'"),
        ("explore a --port 70000", "must be a whole number, from 1 to 65535, got '70000'"),
        ("watch a.db --last -1", "must be a whole number, at least 0, got '-1'"),
    ],
)
def test_values_that_no_command_takes(capsys: Capture, command: str, said: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_the_ends_of_an_interval_are_taken(tmp_path: Path, capsys: Capture) -> None:
    model = write(tmp_path / "tiny")
    assert main(["scan", str(model), "--trim", "0", "1", "--quiet"]) == 0
    assert "matrices in" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["scan"], ["scan", "a", "--trim", "1"], ["paint"]])
def test_bad_usage(capsys: Capture, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: weibnb" in capsys.readouterr().err


def test_version(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"weibnb {wb.__version__}\n"


@pytest.mark.skipif(not DEMO.is_dir(), reason="the demo is not packaged")
def test_demo(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "demo.nc"
    assert main(["demo", "-o", str(file)]) == 0
    text = capsys.readouterr().out
    steps = [int(name.name.removeprefix("step")) for name in DEMO.glob("step*")]
    assert "1.2054" in text
    assert str(file) in text
    with wb.open_fits(file) as fits:
        assert fits["step"].values.tolist() == sorted(steps)
        assert fits["k"].notnull().any(["layer", "component"]).all()
    for step in steps:
        assert rows(text, "demo", str(step), "q_proj") or rows(text, "demo", str(step), "qkv_proj")


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "weibnb", *arguments]
    return subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        timeout=60,
    )


def test_as_a_program(tmp_path: Path) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    done = run("scan", str(model), "-o", str(file))
    assert done.returncode == 0
    assert done.stderr == b""
    assert re.search(r"tiny +q_proj +selection +3 ", done.stdout.decode())
    assert file.exists()
    failed = run("scan", str(tmp_path / "nowhere"))
    assert failed.returncode == 1
    assert failed.stderr.startswith(b"weibnb: ")
    assert b"Traceback" not in failed.stderr


def test_an_empty_path_is_bad_usage(capsys: Capture) -> None:
    for arguments in (["scan", ""], ["scan", ".", "-o", ""]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
        assert "a path is empty; pass . for the current directory" in capsys.readouterr().err
