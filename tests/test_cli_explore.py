"""``weibnb explore``: what is served, to whom, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import nbformat
import pytest
import xarray as xr

import weibnb as wb
from weibnb import cli, cli_explore

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = Path(wb.__file__).parent / "data"


class Server:
    """Stands in for Voilà: notes how it was called."""

    command: Sequence[str] = ()
    environment: dict[str, str] = {}  # noqa: RUF012  (replaced, never changed)
    status: int | None = 0
    ended = False

    def __init__(self, command: Sequence[str], env: dict[str, str]) -> None:
        Server.command, Server.environment, Server.ended = command, env, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait(self, _timeout: float | None = None) -> int:
        if Server.status is None and not Server.ended:
            raise KeyboardInterrupt
        return Server.status or 0

    def poll(self) -> int | None:
        return Server.status

    def terminate(self) -> None:
        Server.ended = True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Server]:
    monkeypatch.setattr(Server, "status", 0)
    monkeypatch.setattr("weibnb.cli_explore.subprocess.Popen", Server)
    monkeypatch.setattr(cli_explore, "find_spec", lambda _: True)
    return Server


def asked(server: type[Server]) -> Any:
    return json.loads(server.environment["WEIBNB_EXPLORE"])


@pytest.mark.parametrize(
    "name", ["plain", "<img src=x onerror=alert(1)>", "a'b\"c\n{{7*7}} $HOME", "é\udcff"]
)
def test_a_path_is_data(server: type[Server], tmp_path: Path, name: str) -> None:
    checkpoint = tmp_path / name
    checkpoint.mkdir()
    assert cli.main(["explore", str(checkpoint), "--no-browser", "--port", "9000"]) == 0
    assert asked(server) == str(checkpoint)
    assert not any(name in word for word in server.command)
    assert {"--no-browser", "--port=9000", "--token", "--Voila.ip=127.0.0.1"} <= set(server.command)
    ours = "--VoilaConfiguration.extension_denylist=weibnb"
    assert ours in server.command, "an extension of JupyterLab fails in Voilà"
    source = nbformat.read(server.command[3], as_version=4).cells[0].source
    assert 'json.loads(os.environ["WEIBNB_EXPLORE"])' in source


def test_what_the_kernel_gets_is_found_from_elsewhere(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["explore", "still/to/come.db"]) == 0
    assert asked(server) == str(tmp_path / "still/to/come.db")
    assert cli.main(["explore", "hf://org/name"]) == 0
    assert asked(server) == "hf://org/name"
    assert not server.environment["WEIBNB_DEQUANTISE"]
    assert cli.main(["explore", "hf://org/name", "--dequantise"]) == 0
    assert server.environment["WEIBNB_DEQUANTISE"]
    monkeypatch.setenv("JUPYTER_PATH", "/mine")
    assert cli.main(["explore", str(DATA / "demo")]) == 0
    assert server.environment["JUPYTER_PATH"] == os.pathsep.join([str(DATA / "jupyter"), "/mine"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["no.safetensors"], "no such file"),
        (["no.nc"], "must name a file of fits"),
        (["{}/other.nc"], "it is no file of fits"),
        (["{}/text.nc"], "it is no file of fits"),
    ],
)
def test_what_is_refused(
    server: type[Server],
    words: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    xr.Dataset({"t": ("x", [1.0])}).to_netcdf(tmp_path / "other.nc")
    (tmp_path / "text.nc").write_text("a text of some length " * 100)
    server.command = ()
    assert cli.main(["explore", *(word.format(tmp_path) for word in words)]) == 1
    assert said in capsys.readouterr().err
    assert server.command == ()


def test_without_voila(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli_explore, "find_spec", lambda _: None)
    assert cli.main(["explore", str(DATA / "demo")]) == 1
    assert "pip install 'weibnb[lab]'" in capsys.readouterr().err


def test_ctrl_c_ends_the_server(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "status", None)
    assert cli.main(["explore", str(DATA / "demo")]) == 130
    assert server.ended


def test_a_server_that_fails_is_told(server: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "status", 3)
    assert cli.main(["explore", str(DATA / "demo")]) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_real_server_ends_with_the_command(tmp_path: Path) -> None:
    pytest.importorskip("voila")
    command = [sys.executable, "-m", "weibnb.cli", "explore", str(DATA / "demo")]
    with subprocess.Popen(
        [*command, "--no-browser", "--port", "8987"], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines = iter(process.stderr)
        address = next(line for line in lines if "http://127.0.0.1" in line)
        assert "token=" in address
        process.send_signal(signal.SIGINT)
        rest = "".join(lines)
    assert process.returncode == 130, rest
    assert "weibnb: interrupted" in rest
