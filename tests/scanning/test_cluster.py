"""Counting on workers of Dask: the same Dataset bit for bit, whatever happens to workers."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.hub_server import Content, FakeHub
from tests.io.hub import hub, saved, weights
from tests.io.test_restored import write as write_formats
from tests.scanning.helpers import llama, moe, normal, write
from weibnb.io.files import CheckpointError, UnreadableWarning
from weibnb.io.limits import Limits
from weibnb.io.sources import resolve_sources
from weibnb.scanning import cluster, tasks
from weibnb.scanning.matrices import list_matrices

distributed = pytest.importorskip("distributed")

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["hub"]
UP, DOWN = (f"model.layers.{{}}.mlp.{name}_proj.weight" for name in ("up", "down"))


@pytest.fixture(scope="module")
def local() -> Iterator[Any]:
    """Start two processes of one thread each."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as found:
        yield found


@pytest.fixture(scope="module")
def client(local: Any) -> Iterator[Any]:
    with distributed.Client(local) as found:
        yield found


@pytest.fixture(scope="module")
def nobody() -> Iterator[Any]:
    """Connect to a scheduler without workers."""
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as empty,
        distributed.Client(empty) as found,
    ):
        yield found


@pytest.fixture(autouse=True)
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small checkpoints as large ones are."""
    monkeypatch.setattr(cluster, "_LEAST", 20_000)
    monkeypatch.setattr(cluster, "TASK", 20_000)


def scan(source: Any, **options: Any) -> xr.Dataset:
    fits: xr.Dataset = wb.scan(source, progress=False, **options)
    return fits.drop_attrs(deep=False).assign_attrs(
        {name: value for name, value in fits.attrs.items() if name != "created"}
    )


def hard(layers: int = 2) -> dict[str, Any]:
    """Give a model with zeros, numbers that are none, several formats, small and large matrices."""
    weights: dict[str, Any] = llama(layers) | moe(3, layers=layers)
    weights[UP.format(0)] = normal(700, 40, dtype="f4")  # two tasks and more
    weights[UP.format(0)][:, 7] = 0
    weights[UP.format(0)][[3, 699]] = -0.0
    weights[UP.format(0)][40, 5] = np.nan
    weights[UP.format(1)] = normal(700, 40, dtype="f4").astype("f2").astype("f4")
    weights[UP.format(1)][500:, 9] = 0  # zero in the last rows alone
    weights[UP.format(1)][:690, 11] = np.float32(0.1) ** 20  # of a finer grid, and subnormal
    weights[DOWN.format(0)] = normal(6, 9000)  # too few rows for lines
    weights[DOWN.format(1)] = np.zeros((300, 90), "f8")
    weights["model.layers.1.self_attn.k_proj.weight"] = np.zeros((64, 64), "i1")
    return weights


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"structure": False, "keep_counts": False},
        {"fields": True, "experts": "each"},
    ],
)
def test_it_is_the_same_dataset(client: Any, tmp_path: Path, options: dict[str, Any]) -> None:
    write(tmp_path / "run" / "step10", hard())
    write(tmp_path / "run" / "step20", llama(1, seed=3))
    expected = scan(tmp_path / "run", **options)
    assert {"ok", "zeros", "quantized"} & set(expected["status"].values.ravel().tolist())
    xr.testing.assert_identical(scan(tmp_path / "run", client=client, **options), expected)


@pytest.mark.parametrize("fused", ["split", "both"])
def test_parts_of_fused_matrices(client: Any, tmp_path: Path, fused: Any) -> None:
    name = "gpt_neox.layers.{}.attention.query_key_value.weight"
    state = {name.format(i): normal(192, 64, seed=i, dtype="f4") for i in range(2)}
    state["gpt_neox.layers.0.mlp.experts.down_proj"] = np.stack([normal(96, 80, seed=8)] * 3)
    config = {"model_type": "gpt_neox", "num_attention_heads": 4, "hidden_size": 64}
    write(tmp_path, state, config)
    expected = scan(tmp_path, fused=fused)
    assert "q_proj" in expected["component"]
    xr.testing.assert_identical(scan(tmp_path, fused=fused, client=client), expected)


def test_restored_weights(client: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 0x70, (400, 64), "u1").tobytes()
    scales = rng.uniform(0.1, 2, (25, 4)).astype("f4")
    stored = {UP.format(0): ("F8_E4M3", (400, 64), codes), f"{UP.format(0)}_scale_inv": scales}
    write_formats(tmp_path / "model.safetensors", stored)
    for restored in (True, False):
        expected = scan(tmp_path, dequantise=restored)
        found = scan(tmp_path, dequantise=restored, client=client)
        xr.testing.assert_identical(found, expected)


def test_what_is_on_other_machines_is_fetched_by_workers(client: Any) -> None:
    hub = FakeHub()
    try:
        data = saved({name: one for name, one in hard().items() if one.dtype != "i1"})
        hub.static["/runs/big/model.safetensors"] = Content(data)
        url = f"{hub.files}/runs/big/model.safetensors"
        expected = scan(url)
        before = hub.bytes_sent
        xr.testing.assert_identical(scan(url, client=client), expected)
        assert len(data) / 2 < hub.bytes_sent - before < 2 * len(data) + 300_000
    finally:
        hub.close()


@pytest.mark.parametrize("task", [20_000, 10_000_000])
def test_files_that_revisions_share_are_fitted_once_for_all_of_them(
    task: int, hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrices that are cut, which are fitted here, and whole ones, which workers fit."""
    monkeypatch.setattr(cluster, "TASK", task)
    for step, seed in ((0, 1), (1000, 0), (143000, 1)):
        hub.add("org/run", {"model.safetensors": saved(weights(seed, side=256))}, f"step{step}")
    state = weights(side=256)
    matrices = sum(one.nbytes for name, one in state.items() if "proj" in name)
    expected = scan("org/run", revision="step*")
    with (  # in this process, which alone knows where the Hub is
        distributed.LocalCluster(processes=False, dashboard_address=":0") as local,
        distributed.Client(local) as client,
    ):
        for options in ({}, {"store": tmp_path / "fits.db"}):
            before = hub.bytes_sent
            found = scan("org/run", revision="step*", client=client, **options)
            for name in ("k", "k_se", "h_row", "counts", "status"):
                np.testing.assert_array_equal(found[name].values, expected[name].values)
            assert (hub.bytes_sent - before) / matrices < 2.7  # two of three, and headers
    assert expected["k"].sel(step=0).equals(expected["k"].sel(step=143000).assign_coords(step=0))


@pytest.mark.parametrize("how", [{"sample": 0.1}, {"precision": 0.008}])
def test_samples_are_read_by_workers(client: Any, tmp_path: Path, how: dict[str, Any]) -> None:
    write(tmp_path / "model", hard() | long())
    expected = scan(tmp_path / "model", **how)
    assert 0 < expected["sampled_fraction"].min() < 0.5
    xr.testing.assert_identical(scan(tmp_path / "model", client=client, **how), expected)


def long() -> dict[str, Any]:
    """Give matrices of some 64 blocks of 64 kB."""
    name = "model.layers.{}.self_attn.o_proj.weight"
    return {name.format(i): normal(2048, 1024, seed=i) for i in range(2)}


def test_workers_add_to_the_samples_of_a_store(client: Any, tmp_path: Path) -> None:
    hub = FakeHub()
    try:
        hub.static["/big/model.safetensors"] = Content(saved(long()))
        url = f"{hub.files}/big/model.safetensors"

        def sent(sample: float, **options: Any) -> tuple[int, xr.Dataset]:
            before = hub.bytes_sent
            fits = scan(url, sample=sample, **options).load()
            return hub.bytes_sent - before, fits

        store = tmp_path / "fits.db"
        before, _ = sent(0.3, client=client, store=store)
        added, found = sent(0.5, client=client, store=store)
        assert 0 < added < 0.7 * before  # two thirds as much, gaps between ranges included
        here = tmp_path / "here.db"
        for sample in (0.3, 0.5):
            _, expected = sent(sample, store=here)
        xr.testing.assert_identical(found, expected)
        assert blocks_of(store) == blocks_of(here)
    finally:
        hub.close()


def blocks_of(store: Path) -> list[Any]:
    """Read what a store keeps of blocks."""
    with closing(sqlite3.connect(store)) as connection:
        query = "SELECT place, dtype, height, content FROM blocks ORDER BY place, id"
        return connection.execute(query).fetchall()


def test_live_models_are_counted_here(client: Any, tmp_path: Path) -> None:
    write(tmp_path, llama(1))
    source = {"live": llama(1, seed=5), "file": tmp_path}
    xr.testing.assert_identical(scan(source, client=client), scan(source))


def test_a_store_is_filled_and_completed(client: Any, tmp_path: Path) -> None:
    write(tmp_path / "model", hard())
    expected = scan(tmp_path / "model", store=tmp_path / "here.db")
    store = tmp_path / "there.db"
    for _ in range(2):  # the second finds all of it
        found = scan(tmp_path / "model", store=store, client=client)
        xr.testing.assert_identical(found.load(), expected.load())


def test_a_relative_path_is_that_of_this_process(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "model", llama(1))
    monkeypatch.chdir(tmp_path)
    xr.testing.assert_identical(scan("model", client=client), scan("model"))


def test_a_killed_worker_costs_its_task(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "model", llama(3))
    flag = tmp_path / "killed"

    def dies_once(task: Any, *how: Any) -> Any:
        from weibnb.scanning.tasks import count_task

        if task.tensors[0].role.layer and not flag.exists():
            flag.write_text(str(os.getpid()))
            os.kill(os.getpid(), signal.SIGKILL)
        return count_task(task, *how)

    monkeypatch.setattr(cluster, "count_task", dies_once)
    found = scan(tmp_path / "model", client=client)
    assert int(flag.read_text()) != os.getpid()
    xr.testing.assert_identical(found, scan(tmp_path / "model"))


def test_what_kills_every_worker_is_told(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "model", llama(2) | {UP.format(1): normal(700, 40)})

    def gives_up(task: Any, *how: Any) -> Any:
        from types import SimpleNamespace

        from distributed import KilledWorker

        from weibnb.scanning.tasks import count_task

        if task.rows is not None and task.rows.start:
            last: Any = SimpleNamespace(address="tcp://gone")
            raise KilledWorker("count_task", last, 3)
        return count_task(task, *how)

    monkeypatch.setattr(cluster, "count_task", gives_up)
    with pytest.warns(UnreadableWarning, match="died while running"):
        found = scan(tmp_path / "model", client=client)
    assert found["status"].sel(layer=1, component="up_proj").item() == "unreadable"
    assert (found["status"].sel(layer=0) == "ok").all()


def test_ctrl_c_cancels_the_tasks(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "model", llama(4))
    waiting = distributed.Event("weibnb-test", client=client)

    def waits(task: Any, *how: Any) -> Any:
        from distributed import Event

        from weibnb.scanning.tasks import count_task

        if task.tensors[0].role.layer:
            Event("weibnb-test").wait()
        return count_task(task, *how)

    monkeypatch.setattr(cluster, "count_task", waits)
    finish = wb.scanning.under_way.ScanUnderWay._finish

    def finish_and_stop(self: Any, item: Any) -> None:
        finish(self, item)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(wb.scanning.under_way.ScanUnderWay, "_finish", finish_and_stop)
    with pytest.raises(wb.ScanInterrupted) as caught:
        scan(tmp_path / "model", client=client)
    waiting.set()
    assert caught.value.matrices == 1
    fits = caught.value.fits
    assert fits is not None
    assert sorted(set(fits["status"].values.ravel().tolist())) == ["ok", "pending"]
    assert not client.futures


def test_another_file_on_the_worker_is_an_error(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "one", llama(1))
    write(tmp_path / "two", llama(1, seed=7))
    monkeypatch.setattr(
        tasks, "_from_root", lambda path: str(path).replace("two", "one"), raising=True
    )
    with pytest.raises(CheckpointError, match="a worker finds there is not what was listed"):
        scan(tmp_path / "two", client=client)
    with pytest.warns(UnreadableWarning, match="a worker finds there"):
        found = scan({"one": tmp_path / "one", "two": tmp_path / "two"}, client=client)
    assert (found["status"].sel(model="one") == "ok").all()
    assert (found["status"].sel(model="two") == "unreadable").all()


def test_a_failure_of_a_worker_is_no_finding(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, llama(1))
    monkeypatch.setattr(cluster, "count_task", lambda task, *how: 1 / 0)
    with pytest.raises(RuntimeError, match=r"ZeroDivisionError.*same versions"):
        scan(tmp_path, client=client)
    assert not client.futures


def test_a_cluster_that_lost_its_workers_is_given_up(
    nobody: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, llama(1))
    monkeypatch.setattr(cluster, "_PATIENCE", 0.01)
    monkeypatch.setattr(cluster, "_LOOK", 0.01)
    monkeypatch.setattr(wb.scanning.scan, "check_client", lambda client, device: "cpu")
    with pytest.raises(RuntimeError, match="no workers for 0 seconds"):
        scan(tmp_path, client=nobody)


def test_bad_clients(client: Any, nobody: Any, tmp_path: Path) -> None:
    write(tmp_path, llama(1))
    with pytest.raises(ValueError, match="must have workers, got none"):
        scan(tmp_path, client=nobody)
    with pytest.raises(TypeError, match="Client, got str"):
        scan(tmp_path, client="tcp://127.0.0.1:8786")
    with pytest.raises(ValueError, match="'auto' or 'cpu' with a client, got 'cuda'"):
        scan(tmp_path, client=client, device="cuda")
    closed = distributed.Client(client.scheduler.address)
    closed.close()
    with pytest.raises(ValueError, match="got one that is closed"):
        scan(tmp_path, client=closed)


@pytest.mark.parametrize("size", [1, 5_000, 20_000, 10**9])
def test_every_cell_is_in_one_task_and_rows_make_whole_matrices(tmp_path: Path, size: int) -> None:
    write(tmp_path, hard())
    [planned] = resolve_sources(tmp_path)
    listing = list_matrices(planned)
    opening = tasks.opening_of(planned, listing, Limits(), "a")
    cells = {cell for cell in listing.cells() if cell[:2] != (0, "v_proj")}
    planned_tasks = list(tasks.plan_tasks(opening, listing, cells, size=size, fields=False))
    whole = [cell for task in planned_tasks if task.rows is None for cell in task.cells]
    rows: dict[Any, list[int]] = {}
    for task in planned_tasks:
        if task.rows is not None:
            [cell] = task.cells
            rows.setdefault(cell, []).extend(task.rows)
    counted = {
        (t.role.layer, t.role.component, e): t
        for t in listing.tensors
        for e in t.experts
        if t.status == "ok"
    }
    assert sorted([*whole, *rows]) == sorted(cells & set(counted))
    for cell, found in rows.items():
        assert found == list(range(counted[cell].stored_shape[0]))
    assert bool(rows) == (size < 10**9)
    if size == 10**9:
        assert len(planned_tasks) == 1
    for task in planned_tasks:  # not beyond their size, but for one matrix, or row, that is
        held = [counted[cell].nbytes for cell in task.cells]
        assert sum(held) <= size or len(held) == 1
        if task.rows is not None:
            row = held[0] // counted[next(iter(task.cells))].stored_shape[0]
            assert len(task.rows) * row <= size or len(task.rows) == 1
