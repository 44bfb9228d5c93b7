"""Status words once what was left out of the fit is known."""

from __future__ import annotations

import numpy as np

from weibnb.fitting.status import MINIMUM_WEIGHTS, final_status


def test_the_fewest_weights_are_a_hundred() -> None:
    assert MINIMUM_WEIGHTS == 100


def test_final_status_keeps_the_reason_of_the_fit() -> None:
    words = ["ok", "ok", "constant", "too_few", "degenerate", "no_convergence"]
    kept = final_status(words, [0] * 6, [0, 1, 1, 1, 1, 1])
    assert kept.tolist() == ["ok", "nonfinite", *words[2:]]
    none = final_status(["all_zero"] * 4, [1, 1, 0, 0], [0, 1, 0, 1])
    assert none.tolist() == ["all_zero", "all_zero", "empty", "no_finite"]
    given_words = np.array(["ok"], object)
    final_status(given_words, [0], [1])
    assert given_words.tolist() == ["ok"]
