"""Tables of matrices, thinned and named."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from weibnb.charts.marks import counted
from weibnb.charts.tables import depth_words, reasons, thinned, with_few_steps
from weibnb.fits.schema import DIMS


def test_thinning_keeps_evenly_spaced_values_and_says_so() -> None:
    kept, note = thinned(pd.DataFrame({"layer": range(100)}), "layer", rows=10)
    assert kept["layer"].tolist() == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert note == "10 of 100 layers drawn"


def test_thirds_of_the_layers_of_each_model() -> None:
    layers = {"tall": range(6), "flat": range(3)}
    table = pd.DataFrame([(m, layer) for m, own in layers.items() for layer in own])
    words = depth_words(table.set_axis(["model", "layer"], axis=1))
    assert words.tolist() == [
        *("shallow", "shallow", "middle", "middle", "deep", "deep"),
        *("shallow", "middle", "deep"),
    ]


def test_thinning_keeps_what_it_must() -> None:
    table = pd.DataFrame({"layer": range(100)}, index=range(7, 107))
    kept, _ = thinned(table, "layer", rows=10, keep=table["layer"].isin([41, 42]))
    assert {0, 41, 42, 99} <= set(kept["layer"])
    assert len(kept) <= 10


def test_what_is_not_drawn_is_counted_by_reason() -> None:
    words = counted(pd.Series(["", "constant", "all_zero", "constant"]))
    assert words == "not drawn: 2 constant, 1 all_zero"


def test_a_long_run_is_cut_as_its_table_would_be() -> None:
    shape = (1, 2, 3, 100)
    status = np.full(shape, "ok", object)
    status[..., 5], status[0, 0, 0, :50], status[0, 1, 1, 60:] = "absent", "absent", "constant"
    fits = xr.Dataset(
        {"status": (DIMS, status), "k": (DIMS, np.where(status == "ok", 1.2, np.nan))},
        {"step": np.arange(100)[::-1]},
    )
    there = np.argwhere(status != "absent")
    table = pd.DataFrame({"step": fits["step"].values[there[:, 3]]})
    for rows in (600, 529, 80, 11, 6, 1):
        kept, note = with_few_steps(fits, fits["status"] != "absent", rows=rows)
        expected, told = thinned(table, "step", rows=rows)
        assert note == told.partition(", the first")[0]
        steps = set(kept["step"].values.tolist()) - {94}
        if ", the first" in told:  # of two steps the table holds not all rows
            assert steps == {0, 99} >= set(expected["step"])
        else:
            assert steps == set(expected["step"])
    assert counted(reasons(fits)) == "not drawn: 40 constant"
