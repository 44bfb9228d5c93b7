"""Tables of matrices, thinned and named."""

from __future__ import annotations

import pandas as pd

from weibnb.charts.marks import counted
from weibnb.charts.tables import depth_words, thinned


def test_thinning_keeps_evenly_spaced_values_and_says_so() -> None:
    kept, note = thinned(pd.DataFrame({"layer": range(100)}), "layer", rows=10)
    assert kept["layer"].tolist() == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert note == "10 of 100 layers drawn"


def test_thirds_of_the_layers() -> None:
    words = depth_words(pd.DataFrame({"layer": range(6)}))
    assert words.tolist() == ["shallow", "shallow", "middle", "middle", "deep", "deep"]


def test_what_is_not_drawn_is_counted_by_reason() -> None:
    words = counted(pd.Series(["", "constant", "all_zero", "constant"]))
    assert words == "not fitted, not drawn: 2 constant, 1 all_zero"
