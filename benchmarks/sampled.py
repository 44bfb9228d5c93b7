"""What `weibnb.scan(precision=...)` costs beside a whole scan: bytes and time, here and remotely.

Layers of a decoder of 8 billion weights (4,096 wide, 14,336 in the feed-forward, 8 key-value heads)
in bfloat16, with rows of equal scale or of unequal scale; every layer is alike, so that shares of
the bytes are those of the whole model of 16 GB. The server is the one of the tests, in a process of
its own. Run ``python -m benchmarks.sampled [LAYERS] [H]``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.remote import serve

SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
# Bytes a second of a connection and seconds until an answer, of a server that is not beside us.
FAR = 25e6, 0.05


def write_layers(path: Path, layers: int, spread: float) -> int:
    """Write layers of a decoder, whose rows have ln scales of this spread; give the bytes."""
    header: dict[str, Any] = {}
    at = 0
    for layer in range(layers):
        for name, shape in SHAPES.items():
            stop = at + 2 * shape[0] * shape[1]
            tensor = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, stop]}
            header[f"model.layers.{layer}.{name}.weight"], at = tensor, stop
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 0.02, 1 << 22).astype("f4")
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(layers):
            for rows, columns in SHAPES.values():
                for first in range(0, rows, 256):
                    number = min(256, rows - first)
                    start = int(rng.integers(0, drawn.size - number * columns))
                    some = drawn[start : start + number * columns].reshape(number, columns)
                    some = some * np.exp(rng.normal(0, spread, (number, 1))).astype("f4")
                    file.write((some.view("u4") >> 16).astype("u2").tobytes())
    return at


def forget(path: Path) -> None:
    """Let the system forget what it holds of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(what: str, source: Any, **how: Any) -> Any:
    """Scan, print what it took, and give the fits."""
    import weibnb as wb

    began, busy = time.perf_counter(), time.process_time()
    fits = wb.scan(source, progress=False, **how)
    taken, busy = time.perf_counter() - began, time.process_time() - busy
    text = f"{what:<30} {taken:7.2f} s, {busy:7.2f} s of processor time"
    if "sampled_fraction" in fits:
        size = fits["rows"] * fits["cols"]
        share = float((fits["sampled_fraction"] * size).sum() / size.sum())
        text += f", {100 * share:5.2f} % read, largest error {float(fits.k_sampling_se.max()):.5f}"
    print(text, flush=True)
    return fits


def main(layers: int = 2, spread: float = 0.0) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.safetensors"
        size = write_layers(path, layers, spread)
        print(f"{layers} layers, {size / 1e9:.2f} GB, H = {spread:g}")
        measure("warm-up", path, sample=0.001)
        for _ in range(2):
            for what, forget_it in (("from the disk", forget), ("from memory", lambda _: None)):
                forget_it(path)
                whole = measure(f"whole, {what}", path)
                forget_it(path)
                part = measure(f"precision=0.002, {what}", path, precision=0.002)
        z = (part.k - whole.k) / part.k_sampling_se
        print(f"differences over their errors: {np.sort(z.values.ravel()).round(2).tolist()}")
        os.environ["HF_HOME"] = directory
        for rate, delay in ((0.0, 0.0), FAR):
            print(f"{rate / 1e6:g} MB/s a connection (0: all it can), {delay:g} s away", flush=True)
            # A process of its own: where the Hub is, is read once.
            args = str(path), size, rate, delay
            process = multiprocessing.get_context("spawn").Process(target=over_http, args=args)
            process.start()
            process.join()


def over_http(path: str, size: int, rate: float, delay: float) -> None:
    """Measure against a server in a process of its own."""
    pipe, other = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(path, rate, other, delay))
    server.start()
    try:
        os.environ["HF_ENDPOINT"], _ = pipe.recv()
        for _ in range(2):
            for what, how in (("whole", {}), ("precision=0.002", {"precision": 0.002})):
                measure(f"{what}, test server", "hf://org/model", **how)
                pipe.send("count")
                sent, asked, flying = pipe.recv()
                shares = f"{sent / size:.2%} of the bytes, {asked} requests, {flying} at once"
                print(f"  {shares}", flush=True)
    finally:
        pipe.send("end")
        server.join()


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False)))
