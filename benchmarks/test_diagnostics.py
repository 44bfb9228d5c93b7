"""Speed of the diagnostics on 10,000 matrices.

Run with ``python -m pytest benchmarks --benchmark-only -s -p no:cacheprovider``.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from benchmarks.conftest import seconds
from benchmarks.test_refit import many
from weibnb.diagnostics.pooling import pool_layers
from weibnb.diagnostics.tails import body_tail, closure, heaviness

if TYPE_CHECKING:
    from collections.abc import Callable

    import xarray as xr
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture(scope="module")
def ten_thousand() -> xr.Dataset:
    return many(10).load()


def test_everything_on_ten_thousand(benchmark: BenchmarkFixture, ten_thousand: xr.Dataset) -> None:
    jobs: dict[str, Callable[[xr.Dataset], object]] = {
        "pool_layers": pool_layers,
        "drift": wb.drift,
        "judge": wb.judge,
        "selection": wb.selection,
        "body_tail": body_tail,
        "closure": closure,
        "heaviness": heaviness,
        "rank_families": wb.rank_families,
    }
    figures = {}
    for name, job in jobs.items():
        job(ten_thousand.isel(layer=slice(2)))
        runs = [seconds(lambda job=job: job(ten_thousand)) for _ in range(3)]  # type: ignore[misc]
        figures[name] = round(statistics.median(runs), 3)
    figures["all"] = round(sum(figures.values()), 3)
    benchmark.extra_info["seconds"] = figures
    print(f"\n{ten_thousand.k.size:,} matrices, seconds: {figures}")
    benchmark.pedantic(lambda: body_tail(ten_thousand), rounds=1)


def test_decompose(benchmark: BenchmarkFixture) -> None:
    """One large matrix with unequal rows, its shuffled control included."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((4096, 4096), dtype=np.float32)
    weights *= np.exp(rng.normal(0, 0.5, (4096, 1))).astype(np.float32)
    wb.decompose(weights[:512])
    figures = {
        workers: statistics.median(
            seconds(lambda workers=workers: wb.decompose(weights, workers=workers))  # type: ignore[misc]
            for _ in range(5)
        )
        for workers in (1, 2)
    }
    benchmark.extra_info["seconds"] = figures
    print(f"\n4096 x 4096, seconds by threads: {figures}")
    benchmark.pedantic(lambda: wb.decompose(weights), rounds=1)
