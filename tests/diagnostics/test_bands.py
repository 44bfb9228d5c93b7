"""Bands: every edge from both sides, medians with their errors, and every error message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import weibnb as wb
from tests.diagnostics.simple_fits import DIMS, cells, make
from weibnb.diagnostics.bands import (
    BANDS,
    Band,
    coefficient_of_variation,
    judge,
    leaving,
    summarise,
)
from weibnb.diagnostics.drift import drift

GAUSSIAN = wb.anchor().k
FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
TRANSMISSION = BANDS["transmission-feed-forward"]


@pytest.mark.parametrize("band", BANDS.values(), ids=list(BANDS))
@pytest.mark.parametrize("se", [0.0, 1e-4, 1e-3])
def test_verdict_on_both_sides_of_every_edge(band: Band, se: float) -> None:
    def word(k: float) -> str:
        fits = cells(k, se=se, components=band.components[:1])
        return str(judge(fits, band).verdict.item())

    step = 1.65 * se + 1e-9
    assert word(band.lower - step) == "below"
    assert word(band.lower + step) == "in"
    assert word(band.upper - step) == "in"
    assert word(band.upper + step) == "above"
    for edge in (band.lower, band.upper):
        expected = "in" if se == 0 else "not resolved"
        assert word(edge) == expected
        if se:
            assert {word(edge - 1.64 * se), word(edge + 1.64 * se)} == {"not resolved"}


def test_far_above_is_lighter_than_any_gaussian_for_certain() -> None:
    edge = 1.01 * GAUSSIAN
    assert judge(cells(GAUSSIAN, se=1e-4)).verdict.item() == "above"
    assert judge(cells(edge + 0.0049, se=0.001)).verdict.item() == "above"
    assert judge(cells(edge + 0.0051, se=0.001)).verdict.item() == "far above"
    assert judge(cells(1.3751, se=0.001)).verdict.item() == "far above"
    own = Band("wide", "1", 1.0, 1.5, "cell", ("up_proj",), "this test")
    assert judge(cells(1.3751, se=0.001), own).verdict.item() == "in"


def test_an_error_wider_than_the_band_resolves_nothing_inside() -> None:
    middle = (TRANSMISSION.lower + TRANSMISSION.upper) / 2
    assert judge(cells(middle, se=0.02)).verdict.item() == "not resolved"


@given(
    st.lists(st.floats(0.3, 2.0), min_size=2, max_size=30),
    st.floats(0.0, 0.05),
    st.sampled_from(sorted(BANDS)),
)
def test_verdict_is_monotone_in_k(values: list[float], se: float, name: str) -> None:
    band = BANDS[name]
    ordered = np.sort(values)
    fits = make(ordered[None, :, None, None], se=se, components=band.components[:1])
    words = judge(fits, band).verdict.values.ravel()
    rank = {"below": 0, "in": 2, "above": 4, "far above": 5}
    middle = (band.lower + band.upper) / 2
    ranks = [rank.get(str(w), 1 if k < middle else 3) for k, w in zip(ordered, words, strict=True)]
    assert ranks == sorted(ranks)


def test_cells_without_a_fit_are_not_fitted() -> None:
    judged = judge(cells(np.nan))
    assert judged.verdict.item() == "not fitted"
    assert np.isnan(judged.distance.item())


def test_judge_keeps_the_components_of_the_band_in_every_tower() -> None:
    names = ["q_proj", "up_proj", "vision.up_proj", "shared_expert.down_proj", "gate_up_proj"]
    fits = make(np.full((1, 2, 5, 1), 1.195), components=names)
    judged = judge(fits)
    assert judged.component.values.tolist() == names[1:4]
    with pytest.raises(ValueError, match=r"one tower for by='model', got '', 'vision'. Select"):
        judge(fits, by="model")
    assert judge(fits.sel(component=fits.tower == ""), by="model").verdict.item() == "in"
    one = fits.isel(component=1, model=0)
    assert judge(one, by="model").verdict.item() == "in"
    assert judge(one).verdict.dims == DIMS
    assert drift(one).severity.dims == ("layer", "step")


@pytest.mark.parametrize("missing", [False, True])
def test_medians_are_those_of_numpy(missing: bool) -> None:
    rng = np.random.default_rng(0)
    k = rng.normal(1.195, 0.004, (3, 9, 3, 2))
    if missing:
        k[rng.random(k.shape) < 0.2] = np.nan
    fits = make(k, components=FEED_FORWARD, steps=(0, 1))
    layer, component = np.nanmedian(k, 2), np.nanmedian(k, 1)
    np.testing.assert_allclose(judge(fits, by="layer").k, layer)
    np.testing.assert_allclose(judge(fits, by="component").k, component)
    np.testing.assert_allclose(judge(fits, by="model").k, np.nanmedian(component, 1))
    some = judge(fits, by="component", layers=(2, 5)).k
    np.testing.assert_allclose(some, np.nanmedian(k[:, 2:6], 1))
    assert judge(fits, by="model").verdict.dims == ("model", "step")


def test_experts_are_reduced_before_layers() -> None:
    k = np.array([[1.1, 1.19, 1.2], [1.0, 1.195, 1.3]])
    fits = make(k[:, 0][None, :, None, None]).drop_vars(["k", "status", "k_se"])
    dims = ("model", "layer", "component", "step", "expert")
    fits["k"] = (dims, k[None, :, None, None, :])
    fits["k_se"] = fits["k"] * 0 + 0.001
    fits["status"] = xr.full_like(fits["k"], "ok", object)
    assert judge(fits, by="model").k.item() == pytest.approx((1.19 + 1.195) / 2)
    assert judge(fits).verdict.sizes["expert"] == 3


def test_standard_error_of_a_median_over_layers_agrees_with_simulation() -> None:
    rng = np.random.default_rng(0)
    for layers in (6, 24, 40):
        k = rng.normal(1.195, 0.004, (4000, layers, 1, 1))
        summary = summarise(make(k, se=1e-6), by="component")
        truth = summary.k.std("model").item()
        assert summary.standard_error.mean().item() == pytest.approx(truth, rel=0.15)


def test_standard_error_is_never_below_that_of_the_cells() -> None:
    equal = summarise(make(np.full((1, 8, 3, 1), 1.19), se=0.002, components=FEED_FORWARD))
    np.testing.assert_allclose(equal.standard_error, np.hypot(0.002, 0.002) / 2)
    single = summarise(make(np.full((1, 1, 3, 1), 1.19), se=0.002, components=FEED_FORWARD))
    np.testing.assert_allclose(single.standard_error, 0.002)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": "transmision"}, r"`band` must be one of .*got 'transmision'.*'transmission-"),
        ({"by": "modell"}, r"`by` must be one of 'cell', .*got 'modell'. Did you mean 'model'\?"),
        ({"band": "selection-gqa"}, r"must hold one of 'q_proj', 'k_proj', got up_proj"),
        ({"layers": (3, 1)}, r"`layers` must satisfy first <= last, got \(3, 1\)"),
        ({"layers": 3}, r"`layers` must satisfy first <= last, got 3"),
        ({"layers": (7, 9)}, r"`layers` must lie within 0 to 0, got \(7, 9\)"),
    ],
)
def test_judge_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        judge(cells(1.19), **options)


@pytest.mark.parametrize(
    "options",
    [{"trim": (0.05, 0.95)}, {"estimator": "maximum_likelihood", "trim": (0.0, 1.0)}],
)
def test_bands_hold_for_the_published_protocol_only(options: dict[str, Any]) -> None:
    fits = cells(1.19, components=("q_proj",), **options)
    with pytest.raises(ValueError, match=r"trim \(0.1, 0.9\), got .*weibnb.refit\(fits, trim"):
        judge(fits, "selection-gqa")


def test_bands_are_checked_when_made() -> None:
    with pytest.raises(ValueError, match="0 < lower < upper, got"):
        Band("b", "1", 1.2, 1.1, "cell", ("up_proj",), "this test")
    with pytest.raises(ValueError, match="`components` must be a tuple"):
        Band("b", "1", 1.0, 1.1, "cell", "up_proj", "this test")  # type: ignore[arg-type]
    assert all(name == band.name for name, band in BANDS.items())


def test_leaving_lists_what_is_out_for_certain_farthest_first() -> None:
    k = np.array([1.195, 1.1855, 1.17, 1.375, np.nan])[None, :, None, None]
    table = leaving(make(k))
    assert table.columns.tolist() == [*DIMS, "k", "standard_error", "distance", "verdict"]
    assert table[["layer", "verdict"]].values.tolist() == [[3, "far above"], [2, "below"]]
    assert table.distance.tolist() == pytest.approx([0.171, -0.016])
    assert len(leaving(make(k), layers=(0, 1))) == 0


def test_coefficient_of_variation_is_that_of_the_entry_statistic() -> None:
    values = np.array([1.18, 1.20, 1.19])
    spread = coefficient_of_variation(make(values[:, None, None, None]))
    expected = 100 * values.std(ddof=1) / values.mean()
    assert spread.coefficient_of_variation.item() == pytest.approx(expected)
    assert spread.standard_error.item() == pytest.approx(expected / 2)
    with pytest.raises(ValueError, match=r"at least two models .*got 1"):
        coefficient_of_variation(cells(1.19))
