"""Charts that are drawn of something else than fits, each drawn once."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import weibnb as wb
from tests.charts import helpers as show
from weibnb import charts


@cache
def change_map() -> Any:
    return charts.change_map(wb.diff(*[show.run_weights()[step] for step in (0, 10)]))


@cache
def matrix() -> Any:
    return charts.matrix(wb.look_inside(np.random.default_rng(0).normal(size=(128, 128))))


@cache
def decomposition() -> Any:
    return charts.decomposition(wb.decompose(np.random.default_rng(0).normal(size=(128, 128))))


@cache
def quantisation() -> Any:
    return charts.quantisation(wb.quantisation(show.run().isel(step=[-1])))


@cache
def force_shares() -> Any:
    run = {"run": show.run_weights()}
    return charts.force_shares(wb.forces(run, learning_rate=1e-3, weight_decay=0.1))


#: Calls of these charts, by name.
OTHERS: dict[str, Any] = {
    "change_map": change_map,
    "matrix": matrix,
    "decomposition": decomposition,
    "quantisation": quantisation,
    "force_shares": force_shares,
}
