"""``weibnb lab``: the tutorials, copied and opened in JupyterLab."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from weibnb.cli_output import say

if TYPE_CHECKING:
    import argparse

    from weibnb.cli_arguments import AddCommand


def describe_lab(add: AddCommand) -> None:
    """Add the command to the parser."""
    lab = add("lab", help="copy the tutorials and open them in JupyterLab")
    lab.add_argument(
        "directory",
        nargs="?",
        type=Path,
        default=Path("weibnb-tutorials"),
        metavar="DIR",
        help="where to; files that differ are kept (default: weibnb-tutorials)",
    )
    lab.add_argument("--no-browser", action="store_true", help="print the address instead")
    lab.set_defaults(run=_lab)


def _lab(options: argparse.Namespace) -> int:
    if find_spec("jupyterlab") is None:
        raise ImportError("JupyterLab is not installed: pip install 'weibnb[lab]'")
    first, kept = copy_tutorials(options.directory)
    for name in kept:
        say(f"{name} kept: it differs from the packaged one")
    address = f"--LabApp.default_url=/lab/tree/{first.name}"
    command = [sys.executable, "-m", "jupyterlab", str(first), address]
    if options.no_browser:
        command.append("--no-browser")
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  (no shell is wanted)


def copy_tutorials(directory: Path) -> tuple[Path, list[str]]:
    """Copy the tutorials into a directory; a file that is there already is never written to.

    Returns the copy to begin with, and the names of the files that were there with other content.
    """
    package = Path(__file__).parent
    places = (package / "data" / "notebooks", package.parent / "notebooks")  # wheel, clone
    found = (sorted(place.glob("*.ipynb")) for place in places)
    notebooks = next(filter(None, found), [])
    if not notebooks:
        raise FileNotFoundError(f"no tutorials in {places[0]}: install weibnb again")
    directory.mkdir(parents=True, exist_ok=True)
    kept = []
    for notebook in notebooks:
        target, content = directory / notebook.name, notebook.read_bytes()
        try:
            with target.open("xb") as file:
                file.write(content)
        except FileExistsError:
            if not target.is_file() or target.read_bytes() != content:
                kept.append(notebook.name)
    return directory / notebooks[0].name, kept
