"""How a scan on workers of Dask scales: seconds with 1, 2 and 4 processes of one thread each.

    nice python -m benchmarks.scaling [GB] [rounds] [MB/s]

With a rate a server of the tests sends the files, so fast to each of its connections.

Rounds are paired: each number of workers is measured in every round, and ratios are taken within.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import weibnb as wb
from tests.hub_server import Content, FakeHub
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (11008, 4096),
    "mlp.down_proj": (4096, 11008),
}
_WORKERS = (1, 2, 4)


def make(directory: Path, nbytes: float) -> None:
    """Write a model of bfloat16, one file a layer; its layers are the same bytes."""
    rng = np.random.default_rng(0)
    one = {
        name: (rng.normal(0, 0.02, shape).astype("f4").view("u4") >> 16).astype("u2")
        for name, shape in _SHAPES.items()
    }
    layers = max(round(nbytes / sum(bits.nbytes for bits in one.values())), 1)
    places: dict[str, str] = {}
    for layer in range(layers):
        about = {
            f"model.layers.{layer}.{name}.weight": ("BF16", bits.shape)
            for name, bits in one.items()
        }
        file = f"layer-{layer:03}.safetensors"
        write_safetensors(directory / file, about, list(one.values()))
        places |= dict.fromkeys(about, file)
    index = {"metadata": {}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


@contextmanager
def served(directory: Path, rate: float) -> Iterator[str]:
    """Give the URL of a model that is sent at so many bytes a second to each connection."""
    hub = FakeHub()
    hub.faults.rate = rate
    for file in directory.iterdir():
        hub.static[f"/model/{file.name}"] = Content(file)
    yield f"{hub.files}/model/model.safetensors.index.json"
    hub.close()


def measure(source: Path | str, rounds: int) -> dict[int, list[tuple[float, float, float]]]:
    """Scan by clusters of several sizes in turn: seconds, and CPU seconds there and here."""
    from distributed import Client, LocalCluster

    found: dict[int, list[tuple[float, float, float]]] = {number: [] for number in _WORKERS}
    for _ in range(rounds):
        for number in _WORKERS:
            with (
                LocalCluster(
                    n_workers=number, threads_per_worker=1, dashboard_address=":0"
                ) as cluster,
                Client(cluster) as client,
            ):
                wb.scan(source, client=client, workers=1, progress=False)  # loops are loaded
                there, here = sum(client.run(time.process_time).values()), time.process_time()
                begun = time.perf_counter()
                wb.scan(source, client=client, workers=1, progress=False)
                seconds = time.perf_counter() - begun
                here = time.process_time() - here
                there = sum(client.run(time.process_time).values()) - there
                found[number].append((seconds, there, here))
    return found


def main() -> None:
    """Make a model, measure, and print a table."""
    size, rounds = float((sys.argv[1:2] or ["4"])[0]), int((sys.argv[2:3] or ["5"])[0])
    rate = float((sys.argv[3:4] or ["0"])[0])
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), size * 1e9)
        if rate:
            with served(Path(folder), rate * 1e6) as url:
                measured = measure(url, rounds)
        else:
            measured = measure(Path(folder), rounds)
    print(f"{size:g} GB, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    for number, found in measured.items():
        ratios = [one[0] / this[0] for one, this in zip(measured[1], found, strict=True)]
        seconds, there, here = (statistics.median(one) for one in zip(*found, strict=True))
        print(
            f"{number} workers: {seconds:.2f} s, {statistics.median(ratios):.2f} times one; "
            f"CPU {there:.2f} s on workers, {here:.2f} s here"
        )


if __name__ == "__main__":
    main()
