"""``weibnb explore``: the explorer in a browser, served by Voilà."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from weibnb.cli_arguments import as_source, whole

if TYPE_CHECKING:
    import argparse

    from weibnb.cli_arguments import AddCommand

_DATA = Path(__file__).parent / "data"
_STATUS = """\
The page is served to this machine alone, by an address that holds a secret; Ctrl-C ends it.
A tab that is opened or loaded again begins anew.

exit status: 0 if the server ended by itself; 1 if it could not start; 130, 143 and 129 after
Ctrl-C, SIGTERM and SIGHUP."""
_ENDS_WITHIN = 10.0  # seconds


def describe_explore(add: AddCommand) -> None:
    """Add the command to the parser."""
    explore = add("explore", help="open the explorer in a browser", epilog=_STATUS)
    explore.add_argument(
        "source",
        type=as_source,
        metavar="PATH",
        help="what `weibnb scan` takes, a file of fits (fits.nc) or a store (run.db)",
    )
    explore.add_argument(
        "--port", type=whole(1, 65535), default=8866, help="of the page (default: 8866)"
    )
    explore.add_argument(
        "--dequantise",
        action="store_true",
        help="read quantised weights (FP8, MXFP4, NVFP4) as the numbers that they stand for",
    )
    explore.add_argument("--no-browser", action="store_true", help="print the address instead")
    explore.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> int:
    """Serve the page until it is interrupted."""
    if find_spec("voila") is None:
        raise ImportError("Voilà is not installed: pip install 'weibnb[lab]'")
    command = [sys.executable, "-m", "voila", str(_DATA / "explore.ipynb"), "--token"]
    command += [f"--port={options.port}", "--template=weibnb", "--Voila.ip=127.0.0.1"]
    # our own extension of JupyterLab has nothing to hold on to in Voilà
    command.append("--VoilaConfiguration.extension_denylist=weibnb")
    if options.no_browser:
        command.append("--no-browser")
    paths = [str(_DATA / "jupyter"), os.environ.get("JUPYTER_PATH", "")]
    environment = {
        **os.environ,
        "WEIBNB_EXPLORE": json.dumps(_checked(options.source)),
        "WEIBNB_DEQUANTISE": "1" if options.dequantise else "",
        "JUPYTER_PATH": os.pathsep.join(filter(None, paths)),
    }
    with subprocess.Popen(command, env=environment) as server:  # noqa: S603  (no shell, own words)
        try:
            return min(server.wait(), 1)
        finally:
            if server.poll() is None:
                _end(server)


def _checked(source: Path | str) -> str:
    """Give a source as the page's kernel, which runs elsewhere, finds it; refuse what is not there.

    A store may be still to come; what is no path here may be a model of the Hub.
    """
    from weibnb.fits.store_schema import STORE_SUFFIXES

    if isinstance(source, str):
        return source
    if source.suffix.lower() in STORE_SUFFIXES:
        return str(source.absolute())
    if source.suffix == ".nc":
        if not source.exists():
            raise FileNotFoundError(f"{source} must name a file of fits; there is none.")
        from weibnb.fits.files import open_fits

        open_fits(source).close()
    else:
        from weibnb.scanning.background import BackgroundScan

        BackgroundScan(source)
    return str(source.absolute()) if source.exists() else str(source)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server, which has its kernels to end."""
    server.terminate()
    try:
        server.wait(_ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        server.kill()
