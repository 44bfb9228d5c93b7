"""JupyterLab and Voilà servers of their own, on the loopback device."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS_WITHIN = 90.0  # seconds
_SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}


def _environment(home: Path) -> dict[str, str]:
    """Variables that keep the server away from the configuration of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "IPYTHON"))}
    settings = home / "config" / "labconfig"
    settings.mkdir(parents=True)
    (settings / "default_setting_overrides.json").write_text(json.dumps(_SETTINGS))
    places = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "run",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    package = str(__import__("weibnb").__path__[0]).removesuffix("/weibnb")
    return kept | {name: str(home / place) for name, place in places.items()} | {
        "JUPYTER_PLATFORM_DIRS": "1",
        "JUPYTER_PATH": str(Path(package, "weibnb", "data", "jupyter")),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "PYTHONPATH": os.pathsep.join([package, kept.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }  # fmt: skip


@contextlib.contextmanager
def serve(kind: str, root: Path, home: Path, notebook: str = "") -> Iterator[str]:
    """Run a server over a directory; give its address; stop it.

    Parameters
    ----------
    kind : {"lab", "voila", "notebook"}
        Which.
    root, home : Path
        What it serves, and an empty directory for its own files.
    notebook : str
        The one that Voilà serves.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m"]
    if kind == "voila":
        command += ["voila", notebook, "--no-browser", f"--port={port}", "--show_tracebacks=True"]
        command += ["--Voila.ip=127.0.0.1"]
    else:
        command += ["jupyterlab" if kind == "lab" else kind, "--no-browser", "--allow-root"]
        command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
        command += ["--IdentityProvider.token=", "--ServerApp.password="]
        command += ["--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={root}"]
        command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
        if kind == "notebook":
            command += ["--JupyterNotebookApp.expose_app_in_browser=True"]
    log = home / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, env=_environment(home), stdout=out, stderr=out, cwd=root,
            start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(server, f"{url}/voila/static/" if kind == "voila" else f"{url}/api/status", log)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _wait(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    limit = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < limit:
        if server.poll() is not None:
            raise RuntimeError(f"the server stopped:\n{log.read_text()}")
        try:
            urllib.request.urlopen(address, timeout=2)  # noqa: S310  (our own loopback address)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(
        f"the server did not answer within {STARTS_WITHIN:.0f} s:\n{log.read_text()}"
    )
