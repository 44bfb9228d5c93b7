"""Speed of refitting and size of saved fits.

Run with ``python -m pytest benchmarks --benchmark-only -s -p no:cacheprovider``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from benchmarks.conftest import in_fresh_process

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

OPEN = """
import json, sys, time
import contextlib
import xarray, h5netcdf  # what any user of the Dataset has imported
with contextlib.suppress(ImportError):
    import dask.array

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

before, begin = private(), time.perf_counter()
import weibnb as wb
fits = wb.open_fits(sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - begin, "MB": private() - before,
                  "cells": int(fits.k.size)}))
"""


def many(steps: int) -> xr.Dataset:
    """Fits of 1,000 matrices (100 layers, 10 components, bf16), repeated for every step."""
    rng = np.random.default_rng(0)
    parts = ["self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o"]
    for block in ("mlp", "mlp.shared_expert"):
        parts += [f"{block}.{name}" for name in ("gate", "up", "down")]
    weights = {
        f"model.layers.{layer}.{part}_proj.weight": rng.normal(0, 0.02, (256, 256)).astype(
            ml_dtypes.bfloat16
        )
        for layer in range(100)
        for part in parts
    }
    one = wb.scan({"run": weights}, progress=False)
    return xr.concat(
        [one.assign_coords(step=[step]) for step in range(steps)],
        "step",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        join="exact",
    )


@pytest.fixture(scope="module")
def ten_thousand() -> xr.Dataset:
    return many(10)


def test_refit_of_ten_thousand(benchmark: BenchmarkFixture, ten_thousand: xr.Dataset) -> None:
    ten_thousand.load()
    trims = iter([(0.05, 0.95), (0.1, 0.9), (0.08, 0.9), (0.2, 0.8)] * 100)
    benchmark.extra_info["cells"] = int(ten_thousand.k.size)
    benchmark.pedantic(lambda: wb.refit(ten_thousand, trim=next(trims)), rounds=9, warmup_rounds=1)
    assert benchmark.stats is not None
    print(f"\nrefit of {ten_thousand.k.size:,}: {benchmark.stats.stats.median:.3f} s")


def test_open_and_size_of_twenty_thousand(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    path = wb.save_fits(many(20), tmp_path / "fits.nc")
    per_matrix = path.stat().st_size / 20_000
    runs = [json.loads(in_fresh_process(OPEN, str(path))) for _ in range(5)]
    figures = {key: float(np.median([run[key] for run in runs])) for key in runs[0]}
    benchmark.extra_info |= figures | {"bytes a matrix": per_matrix}
    print(f"\nopen_fits: {figures}; {per_matrix:.0f} bytes a matrix")
    benchmark.pedantic(lambda: wb.open_fits(path).close(), rounds=3)
