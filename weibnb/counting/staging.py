"""Buffers through which arrays of the host reach a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from weibnb.counting.tables import Table, allocate
from weibnb.parallel import slices

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

    from numpy.typing import NDArray

    from weibnb.counting.formats import Format
    from weibnb.counting.limits import Limits

# Where a matrix starts in a buffer.
_ALIGN = 512
# Integers that hold the patterns of weights, by their bytes.
WORDS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(slots=True, eq=False)
class StagingBuffer:
    """A buffer on the host and its twin on a device: filled, copied, counted, filled again."""

    device: torch.device
    host: torch.Tensor
    twin: torch.Tensor
    copied: int  # bytes that a thread copies at once
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

    def fill(self, octets: NDArray[np.uint8], pool: Executor) -> int:
        """Begin to copy bytes behind those that are here; return where they start."""
        start = self.filled
        target = self.host.numpy()[start : start + octets.size]
        for part in slices(octets.size, self.copied):
            self.copies.append(pool.submit(np.copyto, target[part], octets[part]))
        self.filled += -(-octets.size // _ALIGN) * _ALIGN
        return start

    def words(self, start: int, n: int, form: Format) -> torch.Tensor:
        """View what came to the device as words of a format."""
        width = form.bits.itemsize
        return self.twin[start : start + n * width].view(WORDS[width])


def new_buffer(device: torch.device, limits: Limits) -> StagingBuffer:
    """Allocate a buffer, pinned where the device is CUDA, as large as memory allows."""
    cuda = device.type == "cuda"

    def make(octets: int) -> tuple[torch.Tensor, torch.Tensor]:
        host = torch.empty(octets, dtype=torch.uint8, pin_memory=cuda)
        return host, torch.empty(octets, dtype=torch.uint8, device=device)

    what = f"bytes of a buffer for {device}"
    host, twin = allocate(make, limits.buffer, least=limits.smallest_buffer, what=what)
    buffer = StagingBuffer(device, host, twin, limits.copied)
    if cuda:
        buffer.stream, buffer.done = torch.cuda.Stream(device), torch.cuda.Event()
        buffer.stream.wait_stream(torch.cuda.current_stream(device))
    return buffer
