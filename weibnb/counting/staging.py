"""Buffers through which arrays of the host reach a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from weibnb.counting.tables import Table, allocate

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from numpy.typing import NDArray

    from weibnb.counting.formats import Format

# Bytes of a buffer, the fewest that will do, and those that a thread copies at once.
STAGE, LEAST, COPY = 1 << 26, 1 << 20, 1 << 22
# Integers that hold the patterns of weights, by their bytes.
SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(slots=True, eq=False)
class Stage:
    """A buffer on the host and its twin on a device: filled, copied, counted, filled again."""

    host: torch.Tensor
    twin: torch.Tensor
    stream: torch.cuda.Stream | None = None
    done: torch.cuda.Event | None = None
    work: list[tuple[Table, int, int, int]] = field(default_factory=list)
    copies: list[Future[None]] = field(default_factory=list)
    filled: int = 0

    @property
    def free(self) -> bool:
        """Whether the device has counted what was here."""
        return self.done is None or self.done.query()

    def wait(self) -> None:
        """Wait until it is free."""
        if self.done is not None:
            self.done.synchronize()

    @property
    def room(self) -> int:
        """Bytes that still fit."""
        return self.host.numel() - self.filled

    def copy(self, octets: NDArray[np.uint8], pool: ThreadPoolExecutor) -> None:
        """Begin to copy bytes behind those that are here."""
        target = self.host.numpy()[self.filled : self.filled + octets.size]
        for at in range(0, octets.size, COPY):
            part = slice(at, at + COPY)
            self.copies.append(pool.submit(np.copyto, target[part], octets[part]))

    def words(self, start: int, n: int, form: Format) -> torch.Tensor:
        """View what came to the device as words of a format."""
        width = form.bits.itemsize
        return self.twin[start : start + n * width].view(SIGNED[width])


def new_stage(device: torch.device) -> Stage:
    """Allocate a buffer, pinned where the device is CUDA, as large as memory allows."""
    cuda = device.type == "cuda"

    def make(octets: int) -> tuple[torch.Tensor, torch.Tensor]:
        host = torch.empty(octets, dtype=torch.uint8, pin_memory=cuda)
        return host, torch.empty(octets, dtype=torch.uint8, device=device)

    host, twin = allocate(make, STAGE, least=LEAST, what=f"bytes of a buffer for {device}")
    if not cuda:
        return Stage(host, twin)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    return Stage(host, twin, stream, done=torch.cuda.Event())
