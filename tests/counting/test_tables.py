"""Tables of counters: rows, sums over parts, and memory that is short."""

from __future__ import annotations

import numpy as np
import pytest

from tests import oracle
from tests.counting.samples import UNSIGNED, reference, stored
from tests.oracle import same_counts as same
from tests.oracle import to_torch
from weibnb.counting.formats import FORMATS, NAMES

torch = pytest.importorskip("torch")

from tests.counting.on_devices import (
    CPU,
    counted,
    few_rows,
    short_of_memory,
    submit,
    tables_of,
)
from weibnb.counting.device import DeviceCounter


@pytest.mark.parametrize("tables", [1, 2])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("fed", [False, True])
def test_more_matrices_than_rows(kernel: str, fed: bool, rows: int, tables: int) -> None:
    limits = few_rows(rows, tables, buffer=4096, copied=1000)
    dtypes = ["float8_e4m3fn", "float8_e4m3fn", "bfloat16", "float8_e5m2"]
    arrays = [oracle.matrix("gaussian", dtypes[i % 4], 60 + 300 * i, i) for i in range(14)]
    matrices = [a if fed or i % 3 == 2 else to_torch(a) for i, a in enumerate(arrays)]
    for counts, array in zip(counted(*matrices, limits=limits), arrays, strict=True):
        same(counts, reference(array))


def test_tables_hold_as_many_rows_as_fit_and_are_emptied_when_all_are_full() -> None:
    weights = torch.ones(3).to(torch.float8_e4m3fn)
    with DeviceCounter([CPU], limits=few_rows(7, 2)) as counter:
        for filled in ([1], *([7, i] for i in (1, 7)), [1, 0]):
            while [len(table.owners) for table in tables_of(counter)] != filled:
                counter.submit(weights)
            assert all(len(table.counters) == 7 for table in tables_of(counter))


def test_fetch_takes_back_every_table() -> None:
    arrays = [oracle.matrix("gaussian", dtype, 100) for dtype in oracle.DTYPES]
    with DeviceCounter([CPU]) as counter:
        pending = [submit(counter, array) for array in arrays]
        counter.fetch()
        assert not any(table.owners or table.counters.any() for table in tables_of(counter))
        for one, array in zip(pending, arrays, strict=True):
            same(one.result(), reference(array))


def test_a_table_that_does_not_fit_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    short_of_memory(monkeypatch, "zeros", 8 * 20 * (FORMATS["F8_E5M2"].bins + 5))
    arrays = [oracle.matrix("gaussian", "float8_e5m2", 100, seed) for seed in range(40)]
    text = r"too little memory for 1,024 rows of counters on cpu: 16 must do"
    with pytest.warns(UserWarning, match=text):
        found = counted(*arrays[:20], *map(to_torch, arrays[20:]))
    for counts, array in zip(found, arrays, strict=True):
        same(counts, reference(array))


def test_a_further_table_that_does_not_fit_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = [oracle.matrix("gaussian", "float8_e4m3fn", 100, seed) for seed in range(9)]
    with DeviceCounter([CPU], limits=few_rows(2, 3)) as counter:
        pending = [submit(counter, to_torch(array)) for array in arrays[:4]]
        short_of_memory(monkeypatch, "zeros", 0)
        pending += [submit(counter, to_torch(array)) for array in arrays[4:]]
        assert len(tables_of(counter)) == 2
        for one, array in zip(pending, arrays, strict=True):
            same(one.result(), reference(array))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zeros", r"no memory for 1 rows of counters on cpu: no room"),
        ("empty", r"no memory for 1,048,576 bytes of a buffer for cpu: no room"),
    ],
)
def test_no_room_for_the_least_is_a_memory_error(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    short_of_memory(monkeypatch, name, 100)
    with pytest.raises(MemoryError, match=text):
        counted(np.ones(5, np.float16))


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_counters_do_not_wrap(kernel: str, dtype: str) -> None:
    ones = stored(np.ones(20), dtype)
    form = FORMATS[NAMES[dtype]]
    place = int(ones.view(UNSIGNED[ones.itemsize])[0]) >> form.shift
    with DeviceCounter([CPU]) as counter:
        pending = counter.submit(to_torch(ones))
        (table,) = tables_of(counter)
        for column in (place, form.bins, form.bins + 1, form.bins + 2):
            table.counters[0, column] = 2**32 - 3 + 2**40
        counts = pending.result()
    assert counts.counts.tolist() == [2**40 + 2**32 + 17]
    assert counts.zeros == counts.infinities == counts.nans == 2**40 + 2**32 - 3


@pytest.mark.parametrize("dtype", ["int8", "int64", "bool", "complex64", "float8_e4m3fnuz"])
def test_tensors_of_other_types_are_refused_and_leave_no_row(dtype: str) -> None:
    with DeviceCounter([CPU]) as counter:
        with pytest.raises(TypeError, match=f"`weights` must be of one of .* got {dtype}"):
            counter.submit(torch.zeros(3, dtype=getattr(torch, dtype)))
        assert not counter._tables
        same(counter.submit(torch.ones(3)).result(), reference(np.ones(3, np.float32)))


def test_counts_are_there_after_closing() -> None:
    with DeviceCounter([CPU]) as counter:
        pending = counter.submit(torch.ones(3))
        counter.fetch()
    same(pending.result(), reference(np.ones(3, np.float32)))


def test_counts_that_were_not_fetched_are_lost_in_words() -> None:
    with DeviceCounter([CPU]) as counter:
        pending = counter.submit(torch.ones(3))
    with pytest.raises(RuntimeError, match="was closed before the counts were fetched"):
        pending.result()


def test_half_of_the_counts_are_not_passed_off_as_all() -> None:
    with DeviceCounter([CPU]) as counter:
        pending = counter.submit(torch.ones(3))
        counter.fetch()
        pending.rows += 1  # as if another device held the rest
    with pytest.raises(RuntimeError, match="was closed before the counts were fetched"):
        pending.result()
