"""Matrices are handed on in their order, whatever their second look takes."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.scanning.finishing import Finishing


class Item:
    """A matrix whose second look takes some time."""

    def __init__(self, number: int, seconds: float, *, takes_long: bool = True) -> None:
        self.number, self.seconds, self.takes_long = number, seconds, takes_long
        self.thread = ""

    def finish(self) -> int:
        self.thread = threading.current_thread().name
        time.sleep(self.seconds)
        return self.number


def finish_all(items: list[Any], workers: int, found: list[int]) -> None:

    def finish(item: Any) -> None:
        found.append(item.finish())

    def take(_: Any, number: Any) -> None:
        found.append(number)

    with Finishing(finish, take, workers) as finishing:
        for item in items:
            finishing.add(item)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_order_stays(workers: int) -> None:
    times = [0.05, 0.0, 0.03, 0.0, 0.02, 0.01, 0.0]
    items = [Item(i, seconds, takes_long=i % 3 != 1) for i, seconds in enumerate(times)]
    found: list[int] = []
    finish_all(items, workers, found)
    assert found == list(range(7))
    on_threads = {item.number for item in items if item.thread.startswith("weibnb-look")}
    assert on_threads == (set() if workers == 1 else {0, 2, 3, 5, 6})


def test_what_was_begun_is_handed_on_when_another_fails() -> None:
    found: list[int] = []
    with pytest.raises(AttributeError):
        finish_all([Item(0, 0.05), Item(1, 0.0), None], 2, found)
    assert found == [0, 1]


def test_fields_do_not_depend_on_the_threads() -> None:
    rng = np.random.default_rng(0)
    sizes = [(512, 768), (64, 64), (1024, 256), (40, 2048)]
    source = {
        "m": {
            f"model.layers.{i}.mlp.up_proj.weight": rng.normal(size=size).astype("f2")
            for i, size in enumerate(sizes)
        }
    }
    one = wb.scan(source, fields=True, workers=1, progress=False)
    many = wb.scan(source, fields=True, workers=4, progress=False)
    for name in ("k", "k_se", "row_rms", "col_rms", "line_covariance", "dead_rows", "counts"):
        np.testing.assert_array_equal(one[name].values, many[name].values, err_msg=name)
