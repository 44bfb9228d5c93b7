"""What a scan over the network costs: bytes, requests, memory, and its rate beside a download.

A server on this machine in a process of its own, unthrottled or with so many bytes a second for
each connection; the download is by four threads of httpx2, 16 MB a request, into memory that is
let go. Run ``python -m benchmarks.remote [GIGABYTES] [MEGABYTES_A_SECOND]``; ``sparse`` in place of
the rate makes a model of zeros with matrices of 470 MB, and looks at memory alone.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tests.hub_server import Content, FakeHub


def write_model(path: Path, gigabytes: float, *, sparse: bool) -> None:
    """Write a decoder in bfloat16, of zeros that take no disk, or of random bits."""
    rows, columns = (28672, 8192) if sparse else (4096, 4096)
    layers = max(round(gigabytes * 1e9 / (2 * rows * columns)), 1)
    size = 2 * rows * columns
    header: dict[str, Any] = {
        f"model.layers.{i:03}.mlp.gate_proj.weight": {
            "dtype": "BF16", "shape": [rows, columns], "data_offsets": [i * size, (i + 1) * size]
        }
        for i in range(layers)
    }  # fmt: skip
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    bits = np.random.default_rng(0).normal(0, 0.02, 4096 * 512).astype("f4")
    block = (bits.view("u4") >> 16).astype("u2").tobytes()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if sparse:
            file.truncate(8 + len(text) + layers * size)
        else:
            for _ in range(layers * 8):
                file.write(block)


def serve(path: str, rate: float, pipe: Any, delay: float = 0.0) -> None:
    """Run the server until it is told to end; answer with what was sent."""
    hub = FakeHub()
    hub.add("org/model", {"model.safetensors": Content(Path(path))})
    hub.faults.rate, hub.faults.delay = rate, delay
    content = hub.repositories["org/model"]["main"]["model.safetensors"]
    pipe.send((hub.endpoint, hub.link(content)))
    while pipe.recv() == "count":
        pipe.send((hub.bytes_sent, len(hub.requests), hub.most_in_flight))
        hub.requests.clear()
        hub.most_in_flight = 0
    hub.close()


def download(link: str, size: int) -> float:
    """Download a file by four threads; give the seconds."""
    import httpx2

    step = 16_000_000

    def part(start: int) -> None:
        last = min(start + step, size) - 1
        with client.stream("GET", link, headers={"range": f"bytes={start}-{last}"}) as answer:
            buffer, at = memoryview(bytearray(last - start + 1)), 0
            for chunk in answer.iter_raw():
                buffer[at : at + len(chunk)] = chunk
                at += len(chunk)

    began = time.perf_counter()
    with httpx2.Client() as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(part, range(0, size, step)))
    return time.perf_counter() - began


def main(gigabytes: float, rate: str) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        path = Path(folder) / "model.safetensors"
        write_model(path, gigabytes, sparse=rate == "sparse")
        size = path.stat().st_size
        here, there = multiprocessing.get_context("spawn").Pipe()
        throttle = 0.0 if rate == "sparse" else 1e6 * float(rate)
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(str(path), throttle, there)
        )
        process.start()
        endpoint, link = here.recv()
        os.environ |= {"HF_ENDPOINT": endpoint, "HF_HOME": folder, "HF_HUB_DISABLE_TELEMETRY": "1"}
        import weibnb as wb

        wb.scan({"m": {"layers.0.mlp.up_proj.weight": np.ones((64, 64), "f2")}}, progress=False)
        ratios = []
        for _ in range(1 if rate == "sparse" else 3):
            plain = download(link, size) if rate != "sparse" else float("nan")
            here.send("count")
            here.recv()
            began, cpu = time.perf_counter(), time.process_time()
            fits = wb.scan("hf://org/model", progress=False)
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            here.send("count")
            sent, requests, most = here.recv()
            ratios.append(plain / took)
            print(
                f"{size / 1e9:.2f} GB, {fits.k.size} matrices: "
                f"download {size / plain / 1e6:.0f} MB/s, "
                f"scan {size / took / 1e6:.0f} MB/s ({plain / took:.2f} of it, CPU {cpu:.1f} s), "
                f"{sent / size:.4f} of the bytes, {requests} requests, {most} at once"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"median of the rate {statistics.median(ratios):.2f}, peak memory {peak:.0f} MB")
        here.send("end")
        process.join()


if __name__ == "__main__":
    main(float((sys.argv[1:] or ["0.5"])[0]), (sys.argv[2:] or ["0"])[0])
