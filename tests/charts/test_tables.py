"""Tables of matrices, thinned and named."""

from __future__ import annotations

import pandas as pd

from weibnb.charts.marks import counted
from weibnb.charts.tables import depth_words, thinned


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
