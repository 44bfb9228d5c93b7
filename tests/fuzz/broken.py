"""Targets that are wrong on purpose, to try the harness itself."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from tests.fuzz.harness import Target, work

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from tests.fuzz.corpus import Files

_HELD: list[bytearray] = []


def _draw(chance: Random) -> Files:
    return {"word": chance.choice([b"fine", b"wrong"])}


def _read(directory: Path) -> bool:
    """Do what the name of the target says where the case says so."""
    kind, word = sys.argv[1], (directory / "word").read_text()
    if word == "wrong" and kind == "raises":
        raise KeyError(word)
    if word == "wrong" and kind == "dies":
        os.abort()
    if word == "wrong" and kind == "hangs":
        time.sleep(3600)
    if word == "wrong" and kind == "grows":
        _HELD[:] = [bytearray(b"x") * 150_000_000]
    if word == "wrong" and kind == "bursts":
        _HELD[:] = [bytearray(10_000_000_000)]
    return word == "fine"


if __name__ == "__main__":
    broken = Target(lambda: {"word": b"fine"}, _draw, _read)
    work(dict.fromkeys(("raises", "dies", "hangs", "grows", "bursts"), broken))
