"""Speed and memory of a scan, each beside something that runs on the same machine.

Run with ``python -m pytest benchmarks --benchmark-only -s -p no:cacheprovider``.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from benchmarks.conftest import in_fresh_process, paired_ratio, seconds

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

PUBLISHED = """
import json, sys, time
import numpy as np
from npm_weibull import weibull_fit
from npm_weibull.utils.histogram import extract_to_histogram
from safetensors import safe_open
import ml_dtypes

with open(sys.argv[1], "rb") as file:
    start = 8 + int.from_bytes(file.read(8), "little")
    file.seek(8)
    header = json.loads(file.read(start - 8))
name = next(n for n in header if n.endswith("gate_proj.weight"))
low, high = header[name]["data_offsets"]

def published():
    raw = np.memmap(sys.argv[1], np.uint16, "r", start + low, ((high - low) // 2,))
    weights = (raw.astype(np.uint32) << 16).view(np.float32)
    return weibull_fit(extract_to_histogram(weights))

published()
times = []
for _ in range(5):
    begin = time.perf_counter()
    published()
    times.append(time.perf_counter() - begin)
print(sorted(times)[2] / ((high - low) // 2))
"""

OURS = """
import os, sys, time
import weibnb as wb

wb.scan(sys.argv[1], progress=False)
times = []
for _ in range(9):
    begin = time.perf_counter()
    wb.scan(sys.argv[1], progress=False)
    times.append(time.perf_counter() - begin)
weights = os.path.getsize(sys.argv[1] + "/model.safetensors") // 2
print(sorted(times)[4] / weights)
"""

MEMORY = """
import sys, threading, time
import weibnb as wb
from weibnb.testing import write_checkpoint
import tempfile

def private():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024

with tempfile.TemporaryDirectory() as tiny:
    wb.scan(write_checkpoint(tiny + "/c", layers=1), progress=False)  # imports and compiled code
before, peak, stop = private(), 0.0, threading.Event()

def watch():
    global peak
    while not stop.wait(0.002):
        peak = max(peak, private())

thread = threading.Thread(target=watch)
thread.start()
begin = time.perf_counter()
fits = wb.scan(sys.argv[1], progress=False)
elapsed = time.perf_counter() - begin
stop.set()
thread.join()
print(peak - before, elapsed)
"""


@pytest.mark.parametrize("cores", [1, 2])
def test_against_the_published_library(
    benchmark: BenchmarkFixture, gigabyte: Path, cores: int
) -> None:
    file = str(gigabyte / "model.safetensors")
    ratios = []
    for _ in range(3):
        theirs = float(in_fresh_process(PUBLISHED, file, cores=cores))
        ours = float(in_fresh_process(OURS, str(gigabyte), cores=cores))
        ratios.append(theirs / ours)
    benchmark.extra_info["times as fast as npm-weibull-py, per weight"] = ratios
    print(f"\n{cores} core(s): {np.median(ratios):.0f} times as fast per weight")
    benchmark.pedantic(lambda: wb.scan(gigabyte, progress=False, workers=cores), rounds=3)


def test_against_cat(benchmark: BenchmarkFixture, gigabyte: Path) -> None:
    file = gigabyte / "model.safetensors"
    ratio, ours, cat = paired_ratio(
        lambda: wb.scan(gigabyte, progress=False),
        lambda: subprocess.run(["cat", str(file)], stdout=subprocess.DEVNULL, check=True),
    )
    benchmark.extra_info["time over cat's"] = ratio
    print(f"\nscan {ours:.3f} s, cat {cat:.3f} s, ratio {ratio:.2f}")
    benchmark.pedantic(lambda: wb.scan(gigabyte, progress=False), rounds=3)


def test_time_is_linear_and_memory_constant(
    benchmark: BenchmarkFixture, gigabyte: Path, four_gigabytes: Path
) -> None:
    figures = {}
    for name, path in (("1 GB", gigabyte), ("4 GB", four_gigabytes)):
        subprocess.run(
            ["cat", str(path / "model.safetensors")], stdout=subprocess.DEVNULL, check=True
        )
        runs = [list(map(float, in_fresh_process(MEMORY, str(path)).split())) for _ in range(3)]
        figures[name] = np.median(runs, axis=0).round(3).tolist()
    benchmark.extra_info["private MB above the imports, seconds"] = figures
    print(f"\nprivate MB above the imports, seconds: {json.dumps(figures)}")
    benchmark.pedantic(lambda: wb.scan(gigabyte, progress=False), rounds=1)


def test_first_scan_of_a_process(benchmark: BenchmarkFixture, gigabyte: Path) -> None:
    code = "import sys, weibnb as wb; wb.scan(sys.argv[1], progress=False)"
    in_fresh_process(code, str(gigabyte))
    benchmark.pedantic(lambda: in_fresh_process(code, str(gigabyte)), rounds=3)


def test_import(benchmark: BenchmarkFixture) -> None:
    empty = [seconds(lambda: in_fresh_process("pass")) for _ in range(9)]
    ours = [seconds(lambda: in_fresh_process("import weibnb")) for _ in range(9)]
    spent = float(np.median(ours) - np.median(empty))
    benchmark.extra_info["import seconds above an empty interpreter"] = spent
    print(f"\nimport weibnb: {spent:.3f} s above an empty interpreter")
    benchmark.pedantic(lambda: in_fresh_process("import weibnb"), rounds=3)
