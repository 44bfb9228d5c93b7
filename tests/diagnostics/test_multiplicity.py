"""Adjusted p-values, against their definitions and the rates they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weibnb.diagnostics.multiplicity import benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


def by_rejecting(p: list[float], level: float, *, step_up: bool) -> list[bool]:
    """Reject one after the other, as the papers say it."""
    order = sorted(range(len(p)), key=p.__getitem__)
    m, passed = len(p), 0
    for i, at in enumerate(order):
        if step_up and p[at] <= (i + 1) * level / m:
            passed = i + 1
        if not step_up:
            if p[at] > level / (m - i):
                break
            passed = i + 1
    return [at in order[:passed] for at in range(m)]


@given(P_VALUES, st.sampled_from([0.003, 0.0517, 0.31]))
def test_a_threshold_rejects_what_the_procedure_does(p: list[float], level: float) -> None:
    assert (holm(p) <= level).tolist() == by_rejecting(p, level, step_up=False)
    assert (benjamini_hochberg(p) <= level).tolist() == by_rejecting(p, level, step_up=True)


@given(P_VALUES)
def test_holm_is_the_stricter_and_both_lie_above_the_p_value(p: list[float]) -> None:
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
    assert (benjamini_hochberg(p) >= np.array(p) * (1 - 1e-12)).all()
    assert (holm(p) <= 1).all()


def test_what_is_not_known_does_not_count() -> None:
    for adjust in (holm, benjamini_hochberg):
        with_gaps = adjust([[0.01, np.nan], [0.04, 0.03]])
        assert np.isnan(with_gaps[0, 1])
        np.testing.assert_array_equal(with_gaps[[0, 1, 1], [0, 0, 1]], adjust([0.01, 0.04, 0.03]))
        assert np.isnan(adjust([np.nan])).all()
        assert adjust([]).shape == (0,)


@pytest.mark.parametrize("wrong", [-0.1, 1.5])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match=f"between 0 and 1, got {wrong}"):
            adjust([0.5, wrong])
