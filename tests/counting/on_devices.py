"""Counting with torch's CPU in the place of a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tests import oracle
from tests.counting.samples import SIGNED, UNSIGNED
from weibnb.counting.device import DeviceCounter
from weibnb.counting.formats import FORMATS, NAMES
from weibnb.counting.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest
    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts

CPU, F32 = torch.device("cpu"), FORMATS["F32"]
SMALL_BUFFERS = Limits(buffer=4096, copied=1000)


def submit(counter: DeviceCounter, weights: Any) -> Any:
    if isinstance(weights, np.ndarray):
        bits = weights.view(UNSIGNED[weights.itemsize])
        return counter.submit_bits(bits, NAMES[weights.dtype.name])
    return counter.submit(weights)


def counted(*matrices: Any, devices: Sequence[Any] = (CPU,), **given: Any) -> list[Counts]:
    """Count tensors and arrays in one counter; `given` are its arguments."""
    with DeviceCounter(devices, workers=2, **given) as counter:
        pending = [submit(counter, weights) for weights in matrices]
        return [one.result() for one in pending]


def to_numpy(tensor: Any) -> NDArray[Any]:
    word = getattr(torch, SIGNED[tensor.element_size()].__name__)
    dense: NDArray[Any] = tensor.detach().cpu().contiguous().view(word).numpy()
    return dense.view(oracle.DTYPES[str(tensor.dtype).removeprefix("torch.")])


def few_rows(rows: int, tables: int = 1, **others: int) -> Limits:
    """Leave room for `rows` matrices in a table of float8, and for one in any other."""
    return Limits(table=rows * 8 * (FORMATS["F8_E4M3"].bins + 5), tables=tables, **others)


def tables_of(counter: DeviceCounter) -> list[Any]:
    return [table for tables in counter._tables.values() for table in tables]


def short_of_memory(monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    """Let `torch.zeros` or `torch.empty` fail for more than `most` bytes."""
    real = getattr(torch, name)

    def limited(*shape: int, dtype: Any, **rest: Any) -> Any:
        if np.prod(shape) * dtype.itemsize > most:
            raise torch.OutOfMemoryError("no room")
        return real(*shape, dtype=dtype, **rest)

    monkeypatch.setattr(torch, name, limited)
