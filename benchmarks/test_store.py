"""What a store costs: beside the same scan into memory, and when there is nothing left to do.

Run with ``python -m pytest benchmarks/test_store.py --benchmark-only -s -p no:cacheprovider``.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import pytest

import weibnb as wb
from benchmarks.conftest import seconds, warm
from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 9


@pytest.mark.parametrize(("side", "layers"), [(1024, 40), (128, 150), (64, 400)])
def test_a_store_beside_memory(
    benchmark: BenchmarkFixture, tmp_path: Path, side: int, layers: int
) -> None:
    source = warm(write_checkpoint(tmp_path / "m", layers=layers, hidden=side, intermediate=side))
    store = tmp_path / "fits.db"
    matrices = int(wb.scan(source, progress=False)["n_matrices"].sum())
    wb.scan(source, progress=False, store=store)
    memory, kept, again = [], [], []
    for _ in range(ROUNDS):
        memory.append(seconds(lambda: wb.scan(source, progress=False)))
        kept.append(seconds(lambda: wb.scan(source, progress=False, store=store, rescan=True)))
        again.append(seconds(lambda: wb.scan(source, progress=False, store=store)))
    more = [one - other for one, other in zip(kept, memory, strict=True)]
    figures = {
        "into memory, s": statistics.median(memory),
        "a store more": f"{statistics.median(more) / statistics.median(memory):+.0%}",
        "a store more, ms per matrix": 1e3 * statistics.median(more) / matrices,
        "nothing to do, s per 1,000 matrices": 1e3 * statistics.median(again) / matrices,
    }
    benchmark.extra_info |= figures
    print(f"\n{matrices} of {side} x {side}: {figures}")
    benchmark.pedantic(lambda: None, rounds=1)
