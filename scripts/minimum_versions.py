"""Print the lowest versions that pyproject.toml allows, as constraints for pip.

python scripts/minimum_versions.py [EXTRA ...] > constraints-minimum.txt
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,-]+)\])?(?P<rest>.*)")


def floors(*extras: str) -> dict[str, str]:
    """Give package -> lowest allowed version, for a plain install and the named extras."""
    found: dict[str, str] = {}
    wanted = list(PROJECT["dependencies"])
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    for requirement in wanted:
        match = REQUIREMENT.match(requirement)
        if match is None:
            continue
        if match["name"] == PROJECT["name"]:
            found |= floors(*(match["extras"] or "").split(","))
        elif lowest := re.search(r"[>=]=\s*([\w.]+)", match["rest"]):
            found[match["name"]] = lowest[1]
    return found


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}=={low}\n" for name, low in sorted(floors(*sys.argv[1:]).items()))
