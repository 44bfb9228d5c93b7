"""What all verdicts share: withheld words, statuses, labels, and what is no Dataset of fits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from tests.diagnostics.simple_fits import cells, make
from weibnb.diagnostics.attention import selection, storage_type
from weibnb.diagnostics.bands import judge, leaving, summarise
from weibnb.diagnostics.drift import drift
from weibnb.diagnostics.verdicts import assemble, interval_words, status_where_unfitted


def test_a_word_is_withheld_near_an_edge() -> None:
    fits = make(np.array([0.5, 1.05, 1.3, 1.0])[:, None, None])
    error = xr.full_like(fits["k"], 0.1)
    words = interval_words(fits, fits["k"], error, (1.0,), ("low", "high"))
    assert words.dims == fits["k"].dims
    assert words.values.ravel().tolist() == ["low", "not resolved", "high", "not resolved"]
    sure = interval_words(fits, fits["k"], error * 0, (1.0,), ("low", "high"))
    assert sure.values.ravel().tolist() == ["low", "high", "high", "high"]


@pytest.mark.parametrize("size", [1, 10, 1000])
def test_a_single_word_among_many_needs_more_standard_errors(size: int) -> None:
    """One value beyond the edge among many that lie on it: Bonferroni is Benjamini-Hochberg."""
    enough = stats.norm.isf(0.05 / size)
    for distance, word in ((enough * 0.999, "not resolved"), (enough * 1.001, "high")):
        fits = make(1 + 0.1 * np.array([distance, *[0.0] * (size - 1)])[:, None, None])
        error = xr.full_like(fits["k"], 0.1)
        words = interval_words(fits, fits["k"], error, (1.0,), ("low", "high")).values.ravel()
        assert words[0] == word
        assert set(words[1:]) <= {"not resolved"}


def test_words_on_the_edge_are_wrong_as_seldom_as_promised() -> None:
    """The true value lies just below an edge or far from it; a word is wrong if it says above."""
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(400) < 200, 1 - 1e-9, 2.0)
    shares = []
    for _ in range(200):
        fits = make((truth + 0.1 * rng.normal(size=400))[:, None, None])
        error = xr.full_like(fits["k"], 0.1)
        words = interval_words(fits, fits["k"], error, (1.0,), ("low", "high")).values.ravel()
        given = words != "not resolved"
        shares.append((words[:200] == "high").sum() / max(given.sum(), 1))
    assert np.mean(shares) < 0.05


def test_errors_meet_values_by_their_dims() -> None:
    fits = make([[[[0.5, 1.5]]], [[[1.5, 0.5]]]], steps=(0, 1))
    error = xr.DataArray([[0.1, 9.0], [0.1, 0.1]], dims=("step", "model"))
    error = (error * xr.ones_like(fits["k"])).transpose("step", "component", "layer", "model")
    words = interval_words(fits, fits["k"], error, (1.0,), ("low", "high"))
    assert words.values.ravel().tolist() == ["low", "high", "not resolved", "low"]


def test_an_unknown_error_resolves_nothing_unless_there_are_none_at_all() -> None:
    for se, word in ((0.001, "not resolved"), (None, "high")):
        fits = cells(1.5, se=se)
        error = xr.full_like(fits["k"], np.nan)
        assert interval_words(fits, fits["k"], error, (1.0,), ("low", "high")).item() == word


def test_the_status_stands_where_there_is_no_estimate() -> None:
    fits = make([[[[1.0], [np.nan], [np.nan]]]], components=("a", "b", "c"))
    fits["status"][0, 0, :, 0] = ["ok", "all_zero", "ok"]
    words = status_where_unfitted(xr.full_like(fits["k"], "word", object), fits)
    assert words.values.ravel().tolist() == ["word", "all_zero", "not fitted"]


def test_results_carry_their_own_labels() -> None:
    k = cells(1.2)["k"].assign_attrs(long_name="Weibull shape k", units="1")
    result = assemble({"gap": (k - 1, "A gap", "%"), "flag": (k > 1, "A flag", "")}, {"a": 1})
    assert result.attrs == {"a": 1}
    assert result["gap"].attrs == {"long_name": "A gap", "units": "%"}
    assert result["flag"].attrs == {"long_name": "A flag"}
    assert k.attrs == {"long_name": "Weibull shape k", "units": "1"}


def test_results_save_and_open(tmp_path: Any) -> None:
    fits = cells(1.2)
    for result in (drift(fits), judge(fits), selection(cells(1.0, components=("q_proj",)))):
        result.to_netcdf(tmp_path / "result.nc", engine="h5netcdf")
        with xr.open_dataset(tmp_path / "result.nc", engine="h5netcdf") as again:
            xr.testing.assert_equal(result, again.load())


def test_arguments_that_are_no_fits() -> None:
    verbs: list[Any] = [drift, judge, leaving, selection, storage_type, summarise]
    for verb in verbs:
        with pytest.raises(TypeError, match=r"`fits` must be an xarray\.Dataset"):
            verb(3)
        with pytest.raises(ValueError, match="lacks"):
            verb(xr.Dataset({"k": 1.0}))
