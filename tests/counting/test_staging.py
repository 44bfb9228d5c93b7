"""Arrays of the host on their way through the buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests import oracle
from tests.counting.samples import reference
from tests.oracle import same_counts as same
from weibnb.counting.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch")

from tests.counting.on_devices import CPU, SMALL_BUFFERS, counted, short_of_memory, submit
from weibnb.counting.bincount import count_by_bincount
from weibnb.counting.device import DeviceCounter
from weibnb.counting.staging import StagingBuffer


@pytest.fixture
def busy_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no buffer be free before it is waited for, as if its device were slow."""
    monkeypatch.setattr(StagingBuffer, "free", property(lambda buffer: False))


SIZES = [0, 1, 511, 512, 513, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 8193, 20_000, 1, 0, 3]


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_arrays_of_any_size_pass_through_the_buffers(kernel: str, dtype: str) -> None:
    drawn = oracle.matrix("gaussian", dtype, 20_000)
    width = drawn.itemsize
    arrays = [drawn[at : at + size // width] for at, size in enumerate(SIZES)]
    for counts, array in zip(counted(*arrays, limits=SMALL_BUFFERS), arrays, strict=True):
        same(counts, reference(array))


def test_arrays_of_several_formats_share_the_buffers(kernel: str) -> None:
    names = [*oracle.DTYPES, *reversed(oracle.DTYPES)]
    arrays = [oracle.matrix("gaussian", name, 99 + 200 * i, i) for i, name in enumerate(names)]
    for counts, array in zip(counted(*arrays, limits=SMALL_BUFFERS), arrays, strict=True):
        same(counts, reference(array))


def test_unaligned_read_only_memory_maps(kernel: str, tmp_path: Path) -> None:
    weights = oracle.matrix("gaussian", "float32", 5_000)
    (tmp_path / "weights").write_bytes(b"\0" + weights.tobytes())
    mapped = np.memmap(tmp_path / "weights", np.uint8, "r", offset=1).view(np.float32)
    assert not mapped.flags.aligned
    assert not mapped.flags.writeable
    same(counted(mapped, limits=SMALL_BUFFERS)[0], reference(weights))


def test_a_large_array_passes_through_every_buffer_of_every_device(busy_buffers: None) -> None:
    buffers: list[int] = []

    def note(items: Any, *rest: Any) -> None:
        buffers.extend(words.data_ptr() for words, _ in items)
        count_by_bincount(items, *rest)

    weights = oracle.matrix("gaussian", "bfloat16", 15 * 2048 - 8)
    given = {"limits": SMALL_BUFFERS, "choose": lambda *_: note}
    same(counted(weights, devices=[CPU, CPU], **given)[0], reference(weights))
    assert len(buffers) == 15
    assert sorted(buffers.count(buffer) for buffer in set(buffers)) == [3, 4, 4, 4]


def test_parts_of_a_matrix_on_different_devices_add_up(busy_buffers: None) -> None:
    arrays = [oracle.matrix("gaussian", "float32", size) for size in (5_000, 10, 9_000)]
    devices = [CPU, torch.device("cpu", 0)]  # the CPU again, by another name
    with DeviceCounter(devices, limits=SMALL_BUFFERS) as counter:
        pending = [submit(counter, array) for array in arrays]
        assert [key.device for key in counter._tables] == devices
        assert pending[0].rows == pending[2].rows == 2
        for one, array in zip(pending, arrays, strict=True):
            same(one.result(), reference(array))


def test_buffers_that_do_not_fit_are_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, "empty", 3 << 20)
    weights = np.resize(oracle.matrix("gaussian", "float32", 9_000), 2_000_003)
    text = r"too little memory for 8,388,608 bytes of a buffer for cpu: 2,097,152 must do"
    with pytest.warns(UserWarning, match=text):
        same(counted(weights, limits=Limits(buffer=8 << 20))[0], reference(weights))


def test_a_buffer_that_is_free_is_used_before_another_is_made() -> None:
    with DeviceCounter([CPU, CPU], limits=SMALL_BUFFERS) as counter:
        for _ in range(5):
            submit(counter, oracle.matrix("gaussian", "float32", 5_000))
        assert len(counter._buffers) == 1
