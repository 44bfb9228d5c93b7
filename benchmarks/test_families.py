"""Time of ranking families and of finding populations, a matrix, on one thread and on all.

Run with ``python -m pytest benchmarks --benchmark-only -s -p no:cacheprovider``.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from benchmarks.conftest import seconds
from weibnb.families.populations import find_populations
from weibnb.families.rank import rank_families

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture

    from weibnb.counting.counts import Counts

VERBS: dict[str, Callable[..., Any]] = {"rank": rank_families, "populations": find_populations}


def magnitudes(kind: str, rng: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
    weights = 0.02 * (rng.standard_t(4, n) if kind == "student t" else rng.normal(size=n))
    if kind == "two populations":
        weights[: n // 2] /= 50
    return weights.astype(ml_dtypes.bfloat16)


@pytest.fixture(scope="module")
def matrices() -> list[Counts]:
    rng = np.random.default_rng(0)
    kinds = ("gaussian", "student t", "two populations")
    sizes = (1 << 16, 1 << 20, 1 << 24)
    return [wb.count_magnitudes(magnitudes(kind, rng, n)) for kind in kinds for n in sizes]


@pytest.mark.parametrize("verb", VERBS)
def test_one_matrix(benchmark: BenchmarkFixture, matrices: list[Counts], verb: str) -> None:
    job = VERBS[verb]
    job(matrices[0])
    times = [[seconds(lambda m=m: job(m)) for _ in range(9)] for m in matrices]  # type: ignore[misc]
    milliseconds = (1e3 * np.median(times, axis=1)).round(1)
    benchmark.extra_info["milliseconds a matrix"] = milliseconds.tolist()
    print(f"\n{verb}: median {np.median(milliseconds):.1f} ms a matrix, each {milliseconds}")
    benchmark.pedantic(lambda: job(matrices[4]), rounds=9)


@pytest.mark.parametrize("verb", VERBS)
def test_a_dataset(benchmark: BenchmarkFixture, verb: str) -> None:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.{layer}.mlp.{part}_proj.weight": (
            magnitudes("student t", rng, 1 << 16).reshape(256, 256)
        )
        for layer in range(32)
        for part in ("gate", "up", "down")
    }
    fits = wb.scan({"run": weights}, progress=False)
    VERBS[verb](fits)
    spent = float(np.median([seconds(lambda: VERBS[verb](fits)) for _ in range(5)]))
    print(f"\n{verb}: {1e3 * spent / fits.k.size:.1f} ms a matrix on all cores")
    benchmark.pedantic(lambda: VERBS[verb](fits), rounds=1)


def test_ten_thousand_matrices(benchmark: BenchmarkFixture) -> None:
    """CPU and wall time of the whole call, table included, on 1,440 layers of bf16 matrices."""
    rng = np.random.default_rng(0)
    names = [f"self_attn.{part}_proj" for part in "qkvo"]
    names += [f"mlp.{part}_proj" for part in ("gate", "up", "down")]
    weights = {
        f"model.layers.{layer}.{name}.weight": magnitudes(
            ("gaussian", "student t")[(layer + i) % 2], rng, 1 << 16
        ).reshape(256, 256)
        for layer in range(20)
        for i, name in enumerate(names)
    }
    few = wb.scan({"run": weights}, progress=False)
    fits = few.isel(layer=np.tile(np.arange(20), 72)).assign_coords(layer=np.arange(1440))
    rank_families(few)
    start = time.process_time()
    walls = [seconds(lambda: rank_families(fits)) for _ in range(5)]
    microseconds = 1e6 * (time.process_time() - start) / 5 / fits.k.size
    occupied = int(np.median([counts.labels.size for counts in few["counts"].values.flat]))
    benchmark.extra_info["CPU microseconds a matrix"] = microseconds
    print(f"\n{fits.k.size} matrices, {occupied} bins of a matrix occupied:")
    print(f"{microseconds:.0f} µs CPU a matrix, {np.median(walls):.2f} s wall on all cores")
    benchmark.pedantic(lambda: rank_families(fits), rounds=1)
