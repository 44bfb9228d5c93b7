"""Counting and fitting on a GPU, each speed beside something that runs on the same machine.

Run with ``python benchmarks/bench_gpu.py``, under 8 minutes on one GPU; ``--sweep`` tries constants
of the kernel instead, and ``--device cpu --small`` only tries the script out.
The exit status is 1 if a measurement failed or a count is wrong.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import operator
import subprocess
import sys
import tempfile
import time
import warnings
from collections import OrderedDict, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial, reduce
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import weibnb as wb
from weibnb.counting.bincount import count_by_bincount
from weibnb.counting.device import DeviceCounter, choose_kernel
from weibnb.counting.formats import FORMATS
from weibnb.counting.limits import DEFAULTS
from weibnb.fitting.estimates import fit_counts
from weibnb.fitting.rows import CountRows
from weibnb.fitting.torch_blocks import BlockFits
from weibnb.parallel import usable_cores
from weibnb.testing import llama_shapes, write_safetensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.blocks import Block, CountsOnDevice, LinesOnDevice
    from weibnb.counting.counts import Counts
    from weibnb.counting.device import Kernel
    from weibnb.counting.tables import PendingOnDevice
    from weibnb.fitting.weibull import Estimator

REPEATS, WARM_UPS, SCANS, BLOCK = 7, 1, 3, 5
SIGMA = 0.02
DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
# Weights that are compared bin by bin, that are drawn at once, and that rivals take at once.
SLICE, DRAWN, PART = 1 << 22, 1 << 26, 1 << 28
FILES = 5
INDEX = "model.safetensors.index.json"


class WrongCountError(Exception):
    """A device counted something else than the CPU."""


@dataclass(frozen=True)
class Row:
    """One measured value, or why there is none; `seconds` are the repeats behind it."""

    name: str
    aim: str = ""
    value: float | None = None
    unit: str = ""
    seconds: list[float] = field(default_factory=list)
    note: str = ""
    failed: bool = False

    def __str__(self) -> str:
        value = "" if self.value is None else f"{self.value:.4g} {self.unit} "
        return f"{self.name:<71} | {self.aim:<18} | {value}{'FAILED: ' * self.failed}{self.note}"


def rate(name: str, octets: int, times: list[float]) -> Row:
    return Row(name, "", octets / median(times) / 1e9, "GB/s", times)


def duration(name: str, times: list[float], aim: str = "") -> Row:
    return Row(name, aim, median(times) * 1e3, "ms", times)


def ratio(name: str, over: list[float], under: list[float], aim: str = "") -> Row:
    return Row(name, aim, median(over) / median(under), "x")


def share(name: str, yardstick: list[float], ours: list[float], aim: str = "") -> Row:
    return Row(name, aim, 100 * median(yardstick) / median(ours), "%")


class Bench:
    """The device, the sizes, and how time is taken."""

    def __init__(self, device: torch.device, directory: Path, *, small: bool) -> None:
        self.device, self.directory, self.small = device, directory, small
        self.cuda = device.type == "cuda"
        self.octets = 1 << 20 if small else 1 << 30
        self.matrices = (32, 64) if small else (1000, 256)
        self._other = torch.ones(1 << 27 if self.cuda else 1, device=device)

    def wait(self) -> None:
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def lead(self) -> None:
        """Read other memory: the L2 cache forgets the inputs, and the host runs ahead."""
        for _ in range(4 if self.cuda else 0):
            self._other.sum()

    def device_seconds(
        self, job: Callable[[], object], after: Callable[[], object] = lambda: None
    ) -> list[float]:
        """Time of the device between two events around a job, `after` not included."""
        times = []
        for _ in range(WARM_UPS + REPEATS):
            self.lead()
            times.append(between_events(job) if self.cuda else seconds(job))
            after()
        return times[WARM_UPS:]

    def wall_seconds(self, job: Callable[[], object], repeats: int = REPEATS) -> list[float]:
        """Wall time of a job until the device has done with it."""
        times = []
        for _ in range(WARM_UPS + repeats):
            self.lead()
            self.wait()
            times.append(seconds(job, self.wait))
        return times[WARM_UPS:]

    def counter(self, choose: Callable[..., Kernel] = choose_kernel) -> DeviceCounter:
        return DeviceCounter([self.device], workers=usable_cores(), choose=choose)

    def gaussian(self, n: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
        made = torch.empty(n, dtype=dtype, device=self.device)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        for part in made.split(DRAWN):
            part.copy_(torch.empty(len(part), dtype=wide, device=self.device).normal_(0, SIGMA))
        return made


def between_events(job: Callable[[], object]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    job()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1e3


def seconds(*jobs: Callable[[], object]) -> float:
    begin = time.perf_counter()
    for job in jobs:
        job()
    return time.perf_counter() - begin


def find_kernel(device: torch.device) -> tuple[Kernel, str]:
    """Find what counts on a device, and the warning that came with it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kernel = choose_kernel(device, FORMATS["BF16"])
    return kernel, " ".join(str(one.message) for one in caught)


def start(counter: DeviceCounter, tensors: Sequence[torch.Tensor]) -> list[PendingOnDevice]:
    waiting = [counter.submit(tensor) for tensor in tensors]
    counter.launch()
    return waiting


def results(counter: DeviceCounter, tensors: Sequence[torch.Tensor]) -> list[Counts]:
    return [pending.result() for pending in start(counter, tensors)]


def compare(ours: Counts, theirs: Counts, what: str) -> None:
    for name in ("labels", "counts", "zeros", "nans", "infinities", "largest", "exact"):
        if not np.array_equal(getattr(ours, name), getattr(theirs, name)):
            raise WrongCountError(f"{what}: expected {theirs!r}, got {ours!r}; {name} differ")


def check(counter: DeviceCounter, weights: torch.Tensor, what: str) -> None:
    """Compare a slice with the CPU's counts, that of bf16 with numpy's, and the total."""
    part = weights[:SLICE]
    ours, whole = results(counter, [part, weights])
    compare(ours, wb.count_magnitudes(part.cpu(), device="cpu"), what)
    if weights.dtype == torch.bfloat16:
        magnitudes = part.cpu().view(torch.int16).numpy() & 0x7FFF
        expected = np.bincount(magnitudes, minlength=1 << 15)[1:0x7F80]
        if not np.array_equal(ours.counts, expected[expected > 0]):
            raise WrongCountError(f"{what}: numpy counts otherwise than {ours!r}")
    if whole.n + whole.zeros + whole.nans + whole.infinities != weights.numel():
        raise WrongCountError(f"{what}: {weights.numel():,} weights, got {whole!r}")


def count(
    bench: Bench,
    weights: torch.Tensor,
    what: str,
    choose: Callable[..., Kernel] = choose_kernel,
) -> list[float]:
    """Time the count of a tensor where it is, and check it."""
    with bench.counter(choose) as counter:
        times = bench.device_seconds(lambda: start(counter, [weights]), counter.fetch)
        check(counter, weights, what)
    return times


def copy(bench: Bench, weights: torch.Tensor) -> list[float]:
    target = torch.empty_like(weights)
    return bench.device_seconds(lambda: target.copy_(weights))


def measure_kernel(bench: Bench) -> Iterator[Row]:
    kernel, problem = find_kernel(bench.device)
    missing = bench.cuda and kernel is count_by_bincount
    note = problem or ("Triton is missing" if missing else kernel.__module__)
    yield Row("what counts", "the Triton kernel", note=note, failed=missing)


def measure_format(bench: Bench, name: str) -> Iterator[Row]:
    weights = bench.gaussian(bench.octets // DTYPES[name].itemsize, DTYPES[name])
    ours, copied = count(bench, weights, name), copy(bench, weights)
    yield rate(f"{name}: counted on the device", bench.octets, ours)
    yield rate(f"{name}: copied on the device, (read + written) / 2", bench.octets, copied)
    yield share(f"{name}: share of the copy", copied, ours, "≥ 50 %" * (name == "bf16"))


def bincount(weights: torch.Tensor) -> None:
    for part in weights.view(torch.int16).split(PART):
        torch.bincount(part.int() & 0x7FFF, minlength=1 << 15)


def histc(weights: torch.Tensor) -> None:
    for part in weights.split(PART):
        torch.histc(part.float(), 2048, min=-10 * SIGMA, max=10 * SIGMA)


def measure_rivals(bench: Bench) -> Iterator[Row]:
    weights = bench.gaussian(bench.octets // 2)
    ours = count(bench, weights, "bf16")
    for name, rival, aim in (("bincount", bincount, "≥ 10 x"), ("histc, 2048 bins", histc, "")):
        theirs = bench.device_seconds(partial(rival, weights))
        yield rate(f"bf16: torch.{name}, conversion included", bench.octets, theirs)
        yield ratio(f"bf16: torch.{name}, its time over ours", theirs, ours, aim)


def measure_inputs(bench: Bench) -> Iterator[Row]:
    weights = bench.gaussian(bench.octets // 2)
    patterns = torch.empty_like(weights, dtype=torch.int16).random_(-(1 << 15), 1 << 15)
    usual = count(bench, weights, "bf16")
    inputs = {
        "constant": torch.full_like(weights, SIGMA),
        "all zero": torch.zeros_like(weights),
        "half of them zero": torch.empty_like(weights).bernoulli_(0.5).mul_(weights),
        "uniform bit patterns": patterns.view(torch.bfloat16),
    }
    for name, tensor in inputs.items():
        ours = count(bench, tensor, name)
        yield rate(f"bf16, {name}: counted on the device", bench.octets, ours)
        yield ratio(f"bf16, {name}: time over Gaussian", ours, usual, "must not collapse")


def launches(bench: Bench, tensors: Sequence[torch.Tensor]) -> list[float]:
    """Time of the kernel alone, without submits and without emptying tables."""
    kernel, form, rows = find_kernel(bench.device)[0], FORMATS["BF16"], 256
    table = torch.zeros(rows, form.bins + 5, dtype=torch.int64, device=bench.device)
    items = [(one.view(torch.int16).view(-1), i % rows) for i, one in enumerate(tensors)]

    def launch() -> None:
        for at in range(0, len(items), rows):
            kernel(items[at : at + rows], table, form, form.bins + 4)

    return bench.device_seconds(launch)


def measure_small_matrices(bench: Bench) -> Iterator[Row]:
    number, side = bench.matrices
    whole = bench.gaussian(number * side**2)
    what = f"{number:,} matrices {side} x {side}"
    cases = (list(whole.view(number, side, side).unbind()), [whole])
    with bench.counter() as counter:
        compare(
            reduce(operator.add, results(counter, cases[0])), results(counter, cases[1])[0], what
        )
        around = [
            bench.device_seconds(partial(start, counter, tensors), counter.fetch)
            for tensors in cases
        ]
        wall = [bench.wall_seconds(partial(results, counter, tensors)) for tensors in cases]
    alone = [launches(bench, tensors) for tensors in cases]
    for name, (many, one), aim in (
        ("events around submits and launch", around, "≤ 2 x"),
        ("launches alone", alone, "≤ 2 x"),
        ("wall time to all counts", wall, ""),
    ):
        yield duration(f"{what}: {name}", many)
        yield ratio(f"{what}: {name}, over one tensor", many, one, aim)


def pinned_copy(bench: Bench, octets: int) -> list[float]:
    """Time to copy bytes to the device through one pinned buffer."""
    size = min(DEFAULTS.buffer, octets)
    host = torch.empty(size, dtype=torch.uint8, pin_memory=bench.cuda).random_()
    twin = torch.empty(size, dtype=torch.uint8, device=bench.device)

    def copy() -> None:
        for at in range(0, octets, size):
            length = min(size, octets - at)
            twin[:length].copy_(host[:length], non_blocking=True)

    return bench.device_seconds(copy)


def fill_pinned(bench: Bench, source: NDArray[np.uint16]) -> list[float]:
    """Time to copy pageable memory to a pinned buffer, on as many threads as weibnb does."""
    octets = source.view(np.uint8)
    size = min(DEFAULTS.buffer, octets.size)
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=bench.cuda).numpy()

    def fill(at: int) -> None:
        part = octets[at : at + DEFAULTS.copied]
        np.copyto(buffer[at % size :][: part.size], part)

    with ThreadPoolExecutor(usable_cores()) as pool:
        return bench.wall_seconds(
            lambda: list(pool.map(fill, range(0, octets.size, DEFAULTS.copied)))
        )


def host_patterns(bench: Bench, n: int) -> NDArray[np.uint16]:
    """Bit patterns of Gaussian bf16 weights in pageable memory."""
    return bench.gaussian(n).cpu().view(torch.int16).numpy().view(np.uint16)


def measure_host(bench: Bench) -> Iterator[Row]:
    bits = host_patterns(bench, (1 << 22 if bench.small else 1 << 30) // 2)
    part = bits[:SLICE]
    with bench.counter() as counter:
        expected = wb.count_magnitudes(torch.from_numpy(part).view(torch.bfloat16), device="cpu")
        compare(counter.submit_bits(part, "BF16").result(), expected, "bf16 on the host")
        ours = bench.wall_seconds(lambda: counter.submit_bits(bits, "BF16").result())
    pinned, filled = pinned_copy(bench, bits.nbytes), fill_pinned(bench, bits)
    yield rate("bf16 on the host: to the counts, wall time", bits.nbytes, ours)
    yield rate("pinned memory copied to the device", bits.nbytes, pinned)
    yield rate("pageable memory copied to pinned, on weibnb's threads", bits.nbytes, filled)
    yield share("bf16 on the host: share of the pinned copy to the device", pinned, ours)
    yield share("bf16 on the host: share of the copy to pinned memory", filled, ours)


def write_checkpoint(bench: Bench) -> None:
    """Write names and shapes of Llama-3-8B, or something tiny like it, unless it is there."""
    if (bench.directory / INDEX).exists():
        return
    bench.directory.mkdir(parents=True, exist_ok=True)
    layers, hidden, wide, words = (2, 128, 448, 1000) if bench.small else (32, 4096, 14336, 128256)
    shapes = llama_shapes(
        layers=layers, hidden=hidden, intermediate=wide, kv_share=4, vocabulary=words
    )
    for layer in range(layers):
        shapes[f"model.layers.{layer}.post_attention_layernorm.weight"] = (hidden,)
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (words, hidden)}
    names, index = list(shapes), dict[str, str]()
    length = math.ceil(len(names) / FILES)
    for i in range(FILES):
        part = names[i * length : (i + 1) * length]
        file = f"model-{i + 1:05d}-of-{FILES:05d}.safetensors"
        weights = (host_patterns(bench, math.prod(shapes[name])) for name in part)
        about = {name: ("BF16", shapes[name]) for name in part}
        write_safetensors(bench.directory / file, about, weights)
        index |= dict.fromkeys(part, file)
    (bench.directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))


def read_files(directory: Path) -> int:
    """Read a checkpoint's files through one buffer; return their bytes."""
    buffer, octets = bytearray(1 << 24), 0
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb", buffering=0) as file:
            while length := file.readinto(buffer):
                octets += length
    return octets


def measure_checkpoint(bench: Bench) -> Iterator[Row]:
    write_checkpoint(bench)
    octets = read_files(bench.directory)
    scan = partial(wb.scan, bench.directory, progress=False)
    fits = scan(device=str(bench.device))
    weights = fits["rows"].astype(np.int64) * fits["cols"] * (fits["n_matrices"] > 0)
    scanned = 2 * int(weights.sum())
    left = wb.not_fitted(fits)["reason"].value_counts().to_dict()
    note = f"of {octets / 1e9:.4g} GB; the figures below are of these; not scanned: {left}"
    yield Row("checkpoint: scanned matrices", "", scanned / 1e9, "GB", note=note)
    ours = bench.wall_seconds(partial(scan, device=str(bench.device)), SCANS)
    pinned = pinned_copy(bench, scanned)
    yield duration("checkpoint: scan on the device", ours)
    yield duration("checkpoint: pinned copy of the scanned bytes to the device", pinned)
    yield ratio("checkpoint: scan over this copy", ours, pinned, "≤ 1.3 x")
    jobs: dict[str, Callable[[], object]] = {
        "scan on the CPU": partial(scan, device="cpu"),
        "plain read of the whole files, one thread": partial(read_files, bench.directory),
        "the fits alone (refit)": partial(wb.refit, fits),
    }
    for name, job in jobs.items():
        yield duration(f"checkpoint: {name}", bench.wall_seconds(job, SCANS))


def measure_memory(bench: Bench) -> Iterator[Row]:
    if not bench.cuda:
        yield Row("memory", note="only CUDA keeps account of it")
        return

    def reset() -> Callable[[], float]:
        bench.wait()
        torch.cuda.reset_peak_memory_stats(bench.device)
        before = torch.cuda.memory_allocated(bench.device)
        return lambda: (torch.cuda.max_memory_allocated(bench.device) - before) / 2**20

    number, side = bench.matrices
    many = list(bench.gaussian(number * side**2).view(number, side, side).unbind())
    cases = {"one tensor": [bench.gaussian(bench.octets // 2)], f"{number:,} matrices": many}
    for name, tensors in cases.items():
        with bench.counter() as counter:
            peak = reset()
            start(counter, tensors)
            started = peak()
            counter.fetch()
        aim = f"≤ {DEFAULTS.table >> 20} MiB + fetch"
        yield Row(f"memory above the weights, {name}: before the fetch", aim, started, "MiB")
        yield Row(f"memory above the weights, {name}: fetch included", aim, peak(), "MiB")
    write_checkpoint(bench)
    peak = reset()
    wb.scan(bench.directory, device=str(bench.device), progress=False)
    yield Row("memory of the checkpoint's scan", "< 954 MiB (1 GB)", peak(), "MiB")


class Layer(nn.Module):
    """A layer of a Llama-style decoder, without positions, which its speed does not need."""

    def __init__(self, hidden: int, wide: int, heads: int) -> None:
        super().__init__()
        self.width = hidden // heads
        narrow = hidden // 4
        attention = {"q": (hidden, hidden), "k": (hidden, narrow), "v": (hidden, narrow)}
        feed_forward = {"gate": (hidden, wide), "up": (hidden, wide), "down": (wide, hidden)}
        self.self_attn, self.mlp = (
            nn.ModuleDict(
                {f"{name}_proj": nn.Linear(*size, bias=False) for name, size in of.items()}
            )
            for of in (attention | {"o": (hidden, hidden)}, feed_forward)
        )
        self.input_layernorm = nn.RMSNorm(hidden)
        self.post_attention_layernorm = nn.RMSNorm(hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attention, feed, normed = self.self_attn, self.mlp, self.input_layernorm(x)
        q, k, v = (
            attention[name](normed).unflatten(-1, (-1, self.width)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + attention["o_proj"](mixed.transpose(1, 2).flatten(2))
        normed = self.post_attention_layernorm(x)
        gated = functional.silu(feed["gate_proj"](normed)) * feed["up_proj"](normed)
        out: torch.Tensor = x + feed["down_proj"](gated)
        return out


def training(bench: Bench) -> tuple[nn.Module, Callable[[], None]]:
    """Build a decoder of a billion weights and what trains it by one step."""
    layers, hidden, wide, heads, words = 16, 2048, 8192, 32, 32000
    batch, length = 4, 1024
    if bench.small:
        layers, hidden, wide, heads, words, batch, length = 2, 128, 448, 4, 1000, 2, 32
    with bench.device:
        body = nn.Sequential()
        body.add_module("embed_tokens", nn.Embedding(words, hidden))
        stack = nn.Sequential(*(Layer(hidden, wide, heads) for _ in range(layers)))
        body.add_module("layers", stack)
        body.add_module("norm", nn.RMSNorm(hidden))
        head = nn.Linear(hidden, words, bias=False)
        model = nn.Sequential(OrderedDict(model=body, lm_head=head)).to(torch.bfloat16)
        tokens = torch.randint(words, (batch, length + 1))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, 0, SIGMA)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step() -> None:
        logits = model(tokens[:, :-1]).flatten(0, 1)
        functional.cross_entropy(logits, tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()

    return model, step


def measure_recording(bench: Bench) -> Iterator[Row]:
    from weibnb.scanning.recorder import Recorder

    model, step = training(bench)
    numbers = itertools.count()
    with Recorder(model) as recorder:

        def record() -> None:
            recorder.record(next(numbers))

        def block(*jobs: Callable[[], None]) -> float:
            bench.wait()
            return seconds(*jobs * BLOCK, bench.wait) / BLOCK

        pairs = [(block(step), block(step, record)) for _ in range(WARM_UPS + REPEATS)][WARM_UPS:]
        returned = []
        for _ in range(REPEATS):
            bench.wait()
            returned.append(seconds(record))
        done = bench.wall_seconds(record)
        matrices = int((recorder.fits()["n_matrices"].isel(step=0) > 0).sum())
    plain, recorded = (list(times) for times in zip(*pairs, strict=True))
    added = 100 * median([b - a for a, b in pairs]) / median(plain)
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e9
    note = f"({weights:.3g} billion weights, {matrices} matrices)"
    yield duration("training: a step", plain)
    yield duration("training: a step and a record", recorded)
    yield Row("training: share of a step that a record adds", "", added, "%", note=note)
    yield duration("training: record() alone, until it returns", returned)
    yield duration("training: record() alone, until the device is done", done)


def need_triton(bench: Bench) -> None:
    kernel, problem = find_kernel(bench.device)
    if kernel is count_by_bincount:
        raise RuntimeError(problem or "the Triton kernel does not count here")


def sweep(bench: Bench) -> Iterator[Row]:
    """Try constants of the kernel; a combination that fails is passed over."""
    from weibnb.counting import triton_kernel

    need_triton(bench)
    weights = bench.gaussian(bench.octets // 2)
    copied = copy(bench, weights)
    for warps, tile, piece in itertools.product((8, 16, 32), (13, 14, 15), (16, 18, 20)):
        name = f"{warps} | 2^{tile} | 2^{piece}"
        log(name)
        kernel = partial(triton_kernel.launch, warps=warps, tile=1 << tile, piece=1 << piece)
        try:
            yield share(name, copied, count(bench, weights, name, lambda *_, kernel=kernel: kernel))
        except WrongCountError:
            raise
        except Exception as err:  # noqa: BLE001  (the reason is a row of the table)
            yield Row(name, note=f"passed over: {reason(err)}")


def as_markdown(rows: Sequence[Row]) -> str:
    """Lay a sweep out as a table of docs/performance.md, the best first."""
    head = ["| warps | tile | piece | share of the copy |", "|---|---|---|---|"]
    ordered = sorted(rows, key=lambda row: -(row.value or 0.0))
    return "\n".join(
        [
            *head,
            *(
                f"| {row.name} | {f'{row.value:.0f} %' if row.value else row.note} |"
                for row in ordered
            ),
        ]
    )


def many_rows(number: int, side: int) -> CountRows:
    """Counts of many matrices in bfloat16: some that were drawn, over and over."""
    generator = torch.Generator().manual_seed(0)
    some = [
        wb.count_magnitudes(
            (torch.randn(side, side, generator=generator) * SIGMA * (1 + i % 7)).bfloat16(),
            device="cpu",
        )
        for i in range(100)
    ]
    return CountRows.of(list(itertools.islice(itertools.cycle(some), number)))


def measure_fits(bench: Bench) -> Iterator[Row]:
    """Fits from counts in the host's memory, by torch on the device and by compiled code."""
    cases: list[tuple[int, int, Estimator, str]] = [
        (10_000, 256, "rank_regression", "< 20 ms"),
        (10_000, 256, "maximum_likelihood", ""),
        (46_848, 64, "rank_regression", ""),
    ]
    for number, side, estimator, aim in cases:
        rows = many_rows(number // 100 if bench.small else number, side)
        fit = partial(fit_counts, rows, estimator=estimator)
        ours, theirs = fit(device=bench.device), fit()
        worst = np.nanmax(np.abs(ours["k"] / theirs["k"] - 1))
        if (ours["status"] != theirs["status"]).any() or worst > 1e-10:
            raise WrongCountError(f"k of torch and of compiled code differ by {worst:.1e}")
        by_torch = [seconds(partial(fit, device=bench.device)) for _ in range(SCANS)]
        compiled = [seconds(fit) for _ in range(SCANS)]
        what = f"{rows.exact.size:,} matrices of {side} x {side}, {estimator}"
        yield duration(f"fits by torch, {what}", by_torch, aim if bench.cuda else "")
        yield duration(f"fits by compiled code on {usable_cores()} cores, {what}", compiled)
        yield ratio(
            f"torch over compiled code, {what}", by_torch, compiled, "" if bench.cuda else "<= 3"
        )
        speed = rows.exact.size / median(by_torch)
        yield Row(f"matrices per second by torch, {what}", "", speed, "1/s", by_torch)


def fit_in_place(
    counter: DeviceCounter, tensors: Sequence[torch.Tensor], *, lines: bool = True
) -> NDArray[np.float64]:
    """Count and fit where the tensors are; give k of each, by block."""
    blocks: dict[Block, list[CountsOnDevice]] = defaultdict(list)
    looked: dict[Block, list[LinesOnDevice | None]] = defaultdict(list)
    shape = tensors[0].shape[0], tensors[0].shape[1]
    pending = [counter.submit(tensor, shape if lines else None) for tensor in tensors]
    counter.fetch()
    for one in pending:
        there = one.in_place()
        if there is not None:
            blocks[there[0].block].append(there[0])
            looked[there[0].block].append(there[1])
    how: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression", "ask": True}
    fits = [
        BlockFits(block, np.array([one.row for one in rows]), looked[block], **how)
        for block, rows in blocks.items()
    ]
    return np.concatenate([one.columns()["k"] for one in fits])


def check_fits(counter: DeviceCounter, tensors: Sequence[torch.Tensor], what: str) -> None:
    """Compare fits in place with those of compiled code from the same counts."""
    expected = fit_counts(CountRows.of(results(counter, tensors)))["k"]
    worst = np.nanmax(np.abs(fit_in_place(counter, tensors) / expected - 1))
    if not worst < 1e-10:
        raise WrongCountError(f"{what}: k on the device and of compiled code differ by {worst:.1e}")


def measure_live_model(bench: Bench) -> Iterator[Row]:
    """Matrices of a model of 8 billion weights on the device: counted, looked at, fitted."""
    side, number = (256, 4) if bench.small else (4096, 224)
    weights = [bench.gaussian(side * side).view(side, side) for _ in range(number)]
    octets, what = number * side * side * 2, f"{number} matrices of {side} x {side} on the device"
    state = {f"model.layers.{i}.mlp.up_proj.weight": one for i, one in enumerate(weights)}

    with bench.counter() as counter:
        check_fits(counter, weights[:8], what)

        def counts(shape: tuple[int, int] | None) -> None:
            for tensor in weights:
                counter.submit(tensor, shape)
            counter.fetch()

        jobs: dict[str, Callable[[], object]] = {
            "counted": partial(counts, None),
            "counted, with rows and columns": partial(counts, (side, side)),
            "counted, with rows and columns, and fitted": partial(fit_in_place, counter, weights),
            "all of that by wb.scan": partial(
                wb.scan, {"m": state}, device=str(bench.device), keep_counts=False, progress=False
            ),
        }
        times = {name: bench.wall_seconds(job, SCANS) for name, job in jobs.items()}
    for name, found in times.items():
        yield rate(f"{what}: {name}", octets, found)
    alone, *_, fitted, scanned = times.values()
    yield ratio(f"{what}: fitted over counted alone", fitted, alone, "<= 1.5")
    yield ratio(f"{what}: wb.scan over counted alone", scanned, alone)


def measure_experts(bench: Bench) -> Iterator[Row]:
    """Many small matrices on the device: counted and fitted there, and by compiled code."""
    number, side = (200 if bench.small else 46_848), 64
    weights = list(bench.gaussian(number * side * side).view(number, side, side).unbind())
    what = f"{number:,} experts of {side} x {side} on the device"
    with bench.counter() as counter:
        check_fits(counter, weights[:200], what)
        there = bench.wall_seconds(lambda: fit_in_place(counter, weights), SCANS)
        host = bench.wall_seconds(
            lambda: fit_counts(CountRows.of(results(counter, weights))), SCANS
        )
    yield duration(f"{what}: counted and fitted there, with rows and columns", there)
    yield Row(f"{what}: per second", "", number / median(there), "1/s", there)
    yield duration(f"{what}: counted there, fitted by compiled code, without them", host)


def log(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def reason(err: Exception) -> str:
    return f"{type(err).__name__}: {' '.join(str(err).split())[:300]}"


def ask_driver(device: torch.device) -> dict[str, str | None]:
    """What nvidia-smi says of a device: its driver, and its clocks as found."""
    fields = ["driver_version", "clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem"]
    if device.type != "cuda":
        return dict.fromkeys(fields)
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    which = str(device.index or 0) if uuid is None else f"GPU-{uuid}"
    query = f"--query-gpu={','.join(fields)}"
    command = ["nvidia-smi", "-i", which, query, "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return dict.fromkeys(fields)
    return dict(zip(fields, (word.strip() for word in said.split(",")), strict=False))


def describe(bench: Bench) -> dict[str, Any]:
    """What the figures were measured on and with."""
    properties = torch.cuda.get_device_properties(bench.device) if bench.cuda else None
    kernel: Any = find_kernel(bench.device)[0]
    return {
        "device": getattr(properties, "name", "CPU"),
        "compute_capability": properties and [properties.major, properties.minor],
        "nvidia_smi_before": ask_driver(bench.device),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": version("triton") if find_spec("triton") else None,
        "kernel": f"{kernel.__module__}.{kernel.__name__}",
        "weibnb": wb.__version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "small": bench.small,
    }


def measure(bench: Bench, *, only_sweep: bool) -> Iterator[Row]:
    """Run one measurement after the other; a failed one leaves a row, a wrong count ends all."""
    jobs: dict[str, Callable[[Bench], Iterator[Row]]] = {"what counts": measure_kernel}
    jobs |= {f"counting {name}": partial(measure_format, name=name) for name in DTYPES}
    jobs |= {
        "rivals": measure_rivals,
        "harder inputs": measure_inputs,
        "small matrices": measure_small_matrices,
        "host to counts": measure_host,
        "fits": measure_fits,
        "live model": measure_live_model,
        "experts": measure_experts,
        "checkpoint": measure_checkpoint,
        "memory": measure_memory,
        "recording": measure_recording,
    }
    if only_sweep:
        jobs = {"constants of the kernel": sweep}
    begin = time.monotonic()
    for name, job in jobs.items():
        log(name)
        try:
            yield from job(bench)
        except WrongCountError as err:
            yield Row(name, "exact counts", note=reason(err), failed=True)
            return
        except Exception as err:  # noqa: BLE001  (the reason is a row of the table)
            yield Row(name, note=reason(err), failed=True)
    aim = "< 120 s" if bench.small else "< 480 s"
    yield Row("this benchmark as a whole", aim, time.monotonic() - begin, "s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", type=torch.device, default="cuda:0")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script out")
    parser.add_argument("--json", type=Path, default=Path("bench_gpu.json"))
    parser.add_argument("--checkpoint", type=Path, help="keep the checkpoint here, use it again")
    parser.add_argument(
        "--sweep", action="store_true", help="only try constants of the kernel: a markdown table"
    )
    given = parser.parse_args()
    if given.device.type == "cuda":
        torch.cuda.set_device(given.device)
    else:
        torch.set_num_threads(1)  # threads inside operations wait for each other beside other work
    torch.manual_seed(0)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(given.device, given.checkpoint or Path(temporary), small=given.small)
        about = describe(bench)
        for row in measure(bench, only_sweep=given.sweep):
            rows.append(row)
            about["rows"] = [asdict(one) for one in rows]
            given.json.write_text(json.dumps(about, indent=1))
    about["nvidia_smi_after"] = ask_driver(bench.device)
    given.json.write_text(json.dumps(about, indent=1))
    print("weibnb {weibnb} on {device}, torch {torch}, {kernel}".format_map(about))
    if bench.small or not bench.cuda:
        print("A trial of the script: these figures mean nothing.")
    if given.sweep:
        print(as_markdown(rows[:-1]))
    else:
        print(f"{'what':<71} | {'aim':<18} | measured", *rows, sep="\n")
    return int(any(row.failed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
