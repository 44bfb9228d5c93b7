"""What commands say where streams are closed, full, or cannot spell it."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import weibnb as wb
from tests.command_line import ROOT, write
from weibnb.cli import main


def shell(command: str, tmp_path: Path) -> subprocess.CompletedProcess[bytes]:
    program = f"'{sys.executable}' -m weibnb.cli"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("weibnb", program)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(
    ("command", "statuses", "said"),
    [
        ("weibnb show fits.nc >&-", {0}, ""),
        ("weibnb show fits.nc 2>&-", {0}, ""),
        ("weibnb show fits.nc >&- 2>&- <&-", {0}, ""),
        ("weibnb scan tiny -o again.nc >&- 2>&- <&-", {0}, ""),
        ("weibnb show gone.nc 2>&-", {1}, ""),
        ("weibnb show fits.nc --all | head -1", {0, 1}, ""),
        ("weibnb show fits.nc --all | true", {0, 1}, ""),
        ("weibnb show gone.nc 2>&1 | true", {0, 1}, ""),
        ("weibnb show gone.nc 2>/dev/full", {1}, ""),
        ("weibnb show fits.nc >/dev/full", {1}, "weibnb: .*No space left"),
        ("weibnb show gone.nc >/dev/full", {1}, "weibnb: "),
    ],
)
def test_streams_that_take_nothing(
    tmp_path: Path, command: str, statuses: set[int], said: str
) -> None:
    if "/dev/full" in command and not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    wb.save_fits(wb.scan(write(tmp_path / "tiny")), tmp_path / "fits.nc")
    done = shell(command, tmp_path)
    message = done.stderr.decode()
    assert done.returncode in statuses, message
    assert re.match(said, message) if said else not message
    assert len(message.splitlines()) <= 1
    if "again" in command:
        again, fits = (wb.open_fits(tmp_path / name) for name in ("again.nc", "fits.nc"))
        assert again["k"].equals(fits["k"])


@pytest.mark.skipif(os.name == "nt", reason="pipes close differently there")
def test_closed_pipe_does_not_lose_the_fits(tmp_path: Path) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-u", "-m", "weibnb.cli", "scan", str(model), "-o", str(file)]
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            command,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert file.exists()
    assert b"Traceback" not in done.stderr


def test_output_that_cannot_spell_greek_does_not_lose_the_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, file = write(tmp_path / "tiny"), tmp_path / "fits.nc"
    spelled = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(spelled, encoding="ascii"))
    assert main(["scan", str(model), "-o", str(file)]) == 0
    assert file.exists()
    assert b"q_proj" in spelled.getvalue()
