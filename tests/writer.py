"""A process that trains nothing, but records a model into a store: a step per line of its input."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCRIPT = """
import sys, torch
from weibnb.scanning.recorder import Recorder
torch.manual_seed(0)
layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
model = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
with Recorder(model, name="run", store=sys.argv[1]) as recorder:
    print("ready", flush=True)
    for line in sys.stdin:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.1).add_(0.01 * torch.randn_like(parameter))
        recorder.record(int(line))
        recorder.fits()
        print(line.strip(), flush=True)
"""


class Writer:
    """Records steps in a process of its own; `process` is that."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def record(self, *steps: int) -> None:
        """Record steps, and wait until they are in the store."""
        for step in steps:
            self._stdin.write(f"{step}\n")
            self._stdin.flush()
            self.wait_for(str(step))

    def wait_for(self, line: str) -> None:
        """Wait until the process says something."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        assert said == line, f"{said!r}, not {line!r}"

    @property
    def _stdin(self) -> IO[str]:
        assert self.process.stdin is not None
        return self.process.stdin


@contextmanager
def writer(store: Path) -> Iterator[Writer]:
    """Start a process that records into a store, and end it."""
    command = [sys.executable, "-c", _SCRIPT, str(store)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        found = Writer(process)
        try:
            found.wait_for("ready")
            yield found
        finally:
            process.kill()
