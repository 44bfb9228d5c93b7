"""Counting on the CPU, by format: beside `cat` of the same file, in memory, and many small ones.

Run with ``python -m pytest benchmarks/test_counting.py --benchmark-only -s -p no:cacheprovider``.
"""

from __future__ import annotations

import statistics
import subprocess
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from benchmarks.conftest import seconds, warm
from weibnb.counting.dispatch import Counting
from weibnb.counting.formats import FORMATS
from weibnb.io.sources import resolve_sources
from weibnb.scanning.matrices import begin_counting, list_matrices
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from pytest_benchmark.fixture import BenchmarkFixture

STORED: dict[str, Any] = {
    "BF16": ml_dtypes.bfloat16,
    "F16": np.float16,
    "F32": np.float32,
    "F64": np.float64,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
ROUNDS = 9
MATRICES, FILE_BYTES = 24, 1 << 29


def gaussian(dtype: str, size: int) -> NDArray[Any]:
    """Bit patterns of Gaussian weights in a storage format."""
    scale = 1.0 if dtype.startswith("F8") else 0.02
    weights = np.random.default_rng(0).normal(0, scale, size).astype(STORED[dtype])
    return weights.view(FORMATS[dtype].bits)


def medians(jobs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Run each job once, then all of them in turn; return the seconds of each round."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for job in jobs.values():
        job()
    for _ in range(ROUNDS):
        for name, job in jobs.items():
            times[name].append(seconds(job))
    return times


@pytest.fixture(params=STORED)
def checkpoint(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A format, and a directory with 24 matrices of it in one file of 0.54 GB."""
    dtype = request.param
    shape = (2048, FILE_BYTES // MATRICES // 2048 // FORMATS[dtype].bits.itemsize)
    names = [f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(MATRICES)]
    weights = gaussian(dtype, shape[0] * shape[1])
    file = tmp_path / "model.safetensors"
    about = dict.fromkeys(names, (dtype, shape))
    write_safetensors(file, about, (np.roll(weights, layer) for layer in range(MATRICES)))
    yield dtype, warm(tmp_path)
    file.unlink()


def count(path: Path, workers: int) -> None:
    """Count every matrix of a checkpoint, and fit nothing."""
    (planned,) = resolve_sources(path)
    with Counting("cpu", workers=workers) as counting:
        for item in list(begin_counting(list_matrices(planned), counting)):
            item.finish()


def test_every_format_against_cat(
    benchmark: BenchmarkFixture, checkpoint: tuple[str, Path]
) -> None:
    dtype, path = checkpoint
    file = str(path / "model.safetensors")
    times = medians(
        {
            "cat": lambda: subprocess.run(["cat", file], stdout=subprocess.DEVNULL, check=True),
            "counting, 1 thread": lambda: count(path, 1),
            "counting, 2 threads": lambda: count(path, 2),
            "scan": lambda: wb.scan(path, progress=False),
        }
    )
    line = [f"{dtype}: cat {statistics.median(times['cat']):.3f} s"]
    for name in list(times)[1:]:
        ratios = [ours / cat for ours, cat in zip(times[name], times["cat"], strict=True)]
        benchmark.extra_info[f"{name}, time over cat's"] = statistics.median(ratios)
        line.append(f"{name} {statistics.median(ratios):.2f} (best {min(ratios):.2f}) times")
    print("\n" + "; ".join(line))
    benchmark.pedantic(lambda: count(path, 2), rounds=1)


@pytest.mark.parametrize("dtype", STORED)
def test_nanoseconds_per_weight_in_memory(benchmark: BenchmarkFixture, dtype: str) -> None:
    bits = gaussian(dtype, 1 << 24)

    def count_twice(counting: Counting) -> None:
        for pending in [counting.submit_bits(bits, dtype) for _ in range(2)]:
            pending.result()

    with Counting("cpu", workers=1) as one, Counting("cpu", workers=2) as two:
        times = medians(
            {"1 thread": lambda: count_twice(one), "2 threads": lambda: count_twice(two)}
        )
    each = {name: np.array(spent) / (2 * bits.size) * 1e9 for name, spent in times.items()}
    benchmark.extra_info["ns per weight"] = {name: np.median(t) for name, t in each.items()}
    text = [f"{name} {np.median(t):.2f} (best {t.min():.2f})" for name, t in each.items()]
    print(f"\n{dtype}, ns per weight: {', '.join(text)}")
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("side", [16, 64, 128, 256, 512])
def test_microseconds_of_a_small_matrix(benchmark: BenchmarkFixture, dtype: str, side: int) -> None:
    many = gaussian(dtype, 200 * side * side).reshape(200, -1)
    with Counting("cpu") as counting:

        def count_all() -> None:
            for pending in [counting.submit_bits(bits, dtype) for bits in many]:
                pending.result()

        (times,) = medians({"": count_all}).values()
    each = np.array(times) / len(many) * 1e6
    benchmark.extra_info["us per matrix"] = np.median(each)
    print(f"\n{dtype}, {side} x {side}: {np.median(each):.0f} us (best {each.min():.0f})")
    benchmark.pedantic(lambda: None, rounds=1)
