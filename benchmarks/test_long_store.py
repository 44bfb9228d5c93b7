"""A long recording in a store: its size, opening it, reading of it, one record more.

Run with ``python -m pytest benchmarks/test_long_store.py --benchmark-only -s -p no:cacheprovider``;
``WEIBNB_RECORDS=10000`` takes that many records instead of 500.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pytest

import weibnb as wb
from weibnb.fits.store import Store
from weibnb.fits.store_reading import open_store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytest_benchmark.fixture import BenchmarkFixture

    Record = tuple[Any, Any, dict[str, Any]]

RECORDS = int(os.environ.get("WEIBNB_RECORDS", "500"))
# 112 matrices: seven in each of 16 layers, of which a quarter has each of these sides.
LAYERS, SIDES = 16, (64, 128, 256, 512)
# Records that are counted; the others repeat them, for neither bytes nor time depend on values.
COUNTED = 8
PROTOCOL: Any = {"trim": (0.1, 0.9), "estimator": "rank_regression", "experts": "median"}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Some records of a model in bfloat16 as a store takes them: source, matrices, columns."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)

    class Layer(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, side: int) -> None:
            super().__init__()
            self.self_attn, self.mlp = torch.nn.Module(), torch.nn.Module()
            for part, names in ((self.self_attn, "qkvo"), (self.mlp, ("gate", "up", "down"))):
                for name in names:
                    part.add_module(f"{name}_proj", torch.nn.Linear(side, side, bias=False))

    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(Layer(SIDES[layer % 4]) for layer in range(LAYERS))
    model.to(torch.bfloat16)
    begun: list[Any] = []
    added: list[Any] = []

    def begin(_: Store, source: Any, matrices: Any, **__: Any) -> Any:
        begun.append((source, matrices))
        return {(one.layer, one.component, one.expert) for one in matrices}

    def add(_: Store, columns: Any) -> None:
        added.append(columns)

    store = tmp_path_factory.mktemp("records") / "run.db"
    with (
        mock.patch.object(Store, "begin", begin),
        mock.patch.object(Store, "add", add),
        wb.Recorder(model, name="run", store=store, device="cpu") as recorder,
    ):
        for step in range(COUNTED):
            with torch.no_grad():
                for weight in model.parameters():
                    weight += (0.01 * weight.std() * torch.randn(weight.shape)).bfloat16()
            recorder.record(step)
    columns = {name: np.concatenate([some[name] for some in added]) for name in added[0]}
    steps = columns["step"]
    return [
        (*one, {name: column[steps == step] for name, column in columns.items()})
        for step, one in enumerate(begun)
    ]


def put(store: Store, record: Record, step: int) -> None:
    """Enter a record under another step."""
    source, matrices, columns = record
    source = replace(source, step=step)
    store.begin(source, matrices, rescan=True)
    store.add(columns | {"step": np.full_like(columns["step"], step)})


@pytest.mark.parametrize("thin_beyond", [None, 1000], ids=["all counts", "thinned"])
def test_a_long_recording(
    benchmark: BenchmarkFixture, tmp_path: Path, records: list[Record], thin_beyond: int | None
) -> None:
    path = tmp_path / "run.db"
    with Store(path, **PROTOCOL, keep_counts=True, fields=False, thin_beyond=thin_beyond) as store:
        took = [
            times(partial(put, store, records[step % COUNTED], step))[1] for step in range(RECORDS)
        ]
    fits = open_store(path)
    cell = {"model": 0, "layer": 3, "component": 2}
    one = partial(open_store, path, keys={("run", RECORDS - 1)})
    figures = {
        "MB": path.stat().st_size / 1e6,
        "a record, s of the processor, first and last hundred": (
            statistics.median(took[:100]),
            statistics.median(took[-100:]),
        ),
        "opened": times(partial(open_store, path)),
        "k of all": times(fits["k"].load),
        "rms of one matrix": times(fits["rms"].isel(cell).load),
        "the last record opened": times(one),
        "its k": times(one()["k"].load),
        "counts of one matrix": times(fits["counts"].isel(cell | {"step": 1}).load),
    }
    benchmark.extra_info |= figures
    print(f"\n{RECORDS} records, s (wall, processor): {figures}")
    benchmark.pedantic(lambda: None, rounds=1)


def times(job: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time of one call."""
    start, worked = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - start, time.process_time() - worked
