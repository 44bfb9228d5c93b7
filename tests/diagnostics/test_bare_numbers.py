"""Verdicts on bare numbers are those on fits with the same numbers; the library's words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import weibnb as wb
from weibnb.diagnostics.attention import storage_type
from weibnb.diagnostics.bands import BANDS
from weibnb.diagnostics.regimes import attribution, regimes
from weibnb.fitting import weibull

# judge


@pytest.mark.parametrize(
    ("storage", "band"),
    [
        ("GQA", "selection-gqa"), ("GQA 4:1", "selection-gqa"), ("fused", "selection-fused"),
        ("MHA", "selection-separate-mha"), ("separate MHA", "selection-separate-mha"),
    ],
)  # fmt: skip
def test_the_storage_chooses_the_band(storage: str, band: str) -> None:
    found = wb.judge(k=1.14, storage=storage)
    assert found.attrs["band"] == band
    assert found["verdict"].dims == ()


@pytest.mark.parametrize("storage", ["MQA", "MLA", "mixed", "unknown", "", "gqa", 3])
def test_storage_without_a_published_band(storage: Any) -> None:
    with pytest.raises(ValueError, match="'MHA', 'GQA' or 'fused'"):
        wb.judge(k=1.14, storage=storage)


def test_a_number_is_judged_as_the_cell_of_fits() -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.up_proj.weight"
    fits = wb.scan({"m": {name: rng.normal(size=(256, 256))}}, progress=False)
    k, k_se = fits["k"].item(), fits["k_se"].item()
    one, other = wb.judge(fits), wb.judge(k=k, k_se=k_se)
    for column in ("k", "standard_error", "distance", "verdict"):
        assert other[column].item() == one[column].item()
    drifted, alone = wb.drift(fits), wb.drift(k=k, k_se=k_se)
    for column in ("delta_k", "delta_k_percent", "z", "p_value", "severity"):
        assert alone[column].item() == drifted[column].item()


@given(st.floats(0.5, 1.5))
def test_without_an_error_the_value_decides(k: float) -> None:
    band = BANDS["transmission-feed-forward"]
    word = wb.judge(k=k)["verdict"].item()
    inside = band.lower <= k <= band.upper
    assert (word == "in") is inside
    assert word.endswith({True: "above", False: "below"}[k > band.upper]) or inside


def test_what_cannot_be_judged() -> None:
    cohort = wb.reference_cohort()
    with pytest.raises(TypeError, match="`fits` or `k` must be given"):
        wb.judge()
    with pytest.raises(TypeError, match="`fits` or `k` must be given"):
        wb.drift(n=1000)
    with pytest.raises(ValueError, match="`k` must be omitted where fits are given"):
        wb.judge(cohort, k=1.1)
    with pytest.raises(ValueError, match="`n` must be omitted where fits are given"):
        wb.drift(cohort, n=1000)
    with pytest.raises(ValueError, match="`band` must be omitted"):
        wb.judge(k=1.1, band="selection-gqa", storage="GQA")
    with pytest.raises(ValueError, match="`n` must be omitted where `k_se`"):
        wb.drift(k=1.1, k_se=0.1, n=1000)
    for n in (99, 1000.0, True, -5):
        with pytest.raises(ValueError, match="`n` must be at least 100"):
            wb.drift(k=1.1, n=n)  # type: ignore[arg-type]


# drift


def test_the_error_of_n_gaussian_weights() -> None:
    rng = np.random.default_rng(1)
    k = [wb.fit_weibull(rng.normal(size=4096)).k for _ in range(400)]
    z = wb.drift(k=1.2, n=4096)["z"].item()
    error = (1.2 - wb.anchor().k) / z
    assert error == pytest.approx(np.std(k), rel=0.12)
    assert error * math.sqrt(4096) == pytest.approx(1.364, abs=0.002)
    assert wb.drift(k=1.2, n=100)["severity"].item() == "not resolved"
    assert wb.drift(k=1.2)["severity"].item() == "invariant"


def test_an_anchor_brings_its_protocol() -> None:
    anchor = wb.anchor(trim=(0.05, 0.95))
    found = wb.drift(k=anchor.k, n=10_000, anchor=anchor)
    assert found["delta_k"].item() == 0
    assert found.attrs["trim_lower"] == 0.05
    with pytest.raises(ValueError, match="step 0 and another one"):
        wb.drift(k=1.1, anchor="step0")


# storage


def test_storage_of_heads() -> None:
    assert storage_type(n_heads=32, n_kv_heads=8) == "GQA 4:1"
    assert storage_type(n_heads=32, n_kv_heads=32) == "separate MHA"
    assert storage_type(n_heads=32, n_kv_heads=1) == "MQA"
    assert storage_type(n_heads=1, n_kv_heads=1) == "separate MHA"
    for heads in ((32, 5), (8, 32)):
        with pytest.raises(ValueError, match="multiple of `n_kv_heads`"):
            storage_type(n_heads=heads[0], n_kv_heads=heads[1])
    for heads in ((0, 1), (32, 0), (-8, 2)):
        with pytest.raises(ValueError, match="at least 1"):
            storage_type(n_heads=heads[0], n_kv_heads=heads[1])
    wrong: Any
    for wrong in (None, 8.0, True, "8"):
        with pytest.raises(TypeError, match="whole number"):
            storage_type(n_heads=32, n_kv_heads=wrong)
    with pytest.raises(ValueError, match="must be omitted"):
        storage_type(wb.reference_cohort(), n_heads=32)  # type: ignore[call-overload]


# mean, median, standard deviation


@given(st.floats(0.3, 50), st.floats(1e-6, 1e3))
def test_moments_are_those_of_scipy(k: float, lam: float) -> None:
    law = stats.weibull_min(k, scale=lam)
    assert float(weibull.mean(k, lam)) == pytest.approx(law.mean(), rel=1e-9)
    assert float(weibull.median(k, lam)) == pytest.approx(law.median(), rel=1e-9)
    assert float(weibull.standard_deviation(k, lam)) == pytest.approx(law.std(), rel=1e-6)


def test_moments_take_arrays() -> None:
    k = np.array([1.0, 2.0])
    for moment in (weibull.mean, weibull.median, weibull.standard_deviation):
        assert moment(k, 1.0).shape == (2,)
        assert float(moment(1e6, 1.0)) >= 0


# the published library's words


@pytest.mark.parametrize(
    ("k", "r2", "library", "own"),
    [
        (0.94, None, "strong_selection", "deep"),
        (0.95, None, "mild_selection", "deep"),
        (1.0, None, "mild_selection", "mild"),
        (1.1799, None, "mild_selection", "near-transmission"),
        (1.18, None, "transmission", "near-transmission"),
        (1.18, 0.95, "transmission", "near-transmission"),
        (1.18, 0.9499, "mild_selection", "near-transmission"),
        (1.21, None, "transmission", "above transmission"),
        (1.2101, None, "mild_selection", "above transmission"),
    ],
)
def test_regimes(k: float, r2: float | None, library: str, own: str) -> None:
    found = regimes(k=k, r2=r2)
    assert [found["library"].item(), found["weibnb"].item()] == [library, own]


def test_regimes_of_fits() -> None:
    table = pd.DataFrame(
        {"component": "q_proj", "step": [0, 5, 9], "k": [1.2054, 1.2054, np.nan], "lam": 0.1}
    )
    found = regimes(wb.read_table(table))
    assert found["library"].values.ravel().tolist() == [
        "init_baseline", "transmission", "not_given",
    ]  # fmt: skip
    assert found["weibnb"].values.ravel().tolist()[2] == "not_given"
    with pytest.raises(ValueError, match="must be compared with fits by rank_regression"):
        regimes(wb.read_table(table, trim=(0.2, 0.8)))
    assert (
        regimes(wb.reference_cohort())["library"].sel(model="olmo-1-7b", component="q_proj").item()
        == "strong_selection"
    )


def test_attribution() -> None:
    table = pd.DataFrame(
        {
            "component": ["a", "a", "b", "b", "c", "c", "d", "d"],
            "step": [0, 9] * 4,
            "k": [1.2, 1.2 * 1.0099, 1.2, 1.2 * 0.98, 1.2, 1.2 * 0.69, 1.2, np.nan],
            "lam": [0.1, 0.2] * 4,
        }
    )
    found = attribution(wb.read_table(table)).isel(step=1).squeeze()
    assert found["library"].values.tolist() == [
        "lambda_dominated", "mixed", "k_dominated", "not fitted",
    ]  # fmt: skip
    assert found["from_lam"].values[:3] == pytest.approx(math.log(2))
    ends = [0.5 * math.lgamma(1 + 2 / k) for k in (1.2, 1.2 * 0.69)]
    assert found["from_k"].values[2] == pytest.approx(ends[1] - ends[0])
    with pytest.raises(ValueError, match="several steps"):
        attribution(wb.reference_cohort())
