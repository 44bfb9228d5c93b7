"""Fits by another protocol are those of a scan by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.scanning.helpers import EXPERT, Q, llama, moe, normal, same_estimates
from weibnb.counting.counts import Counts
from weibnb.fitting.estimates import ESTIMATES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

PROTOCOLS: list[tuple[tuple[float, float] | None, Any]] = [
    ((0.05, 0.95), "rank_regression"),
    ((0.0, 1.0), "rank_regression"),
    (None, "maximum_likelihood"),
    ((0.1, 0.9), "maximum_likelihood"),
]


def odd_weights() -> Weights:
    """Give matrices of every status beside experts."""
    strange = normal(40, 40, seed=3)
    strange[0, :2] = np.nan, np.inf
    return moe(3) | {
        Q.format(1): strange,
        Q.format(2): np.zeros((20, 20), "f2"),
        Q.format(3): np.full((20, 20), 0.5, "f2"),
        Q.format(4): normal(9, 9),
        Q.format(5): np.ones((20, 20), "i1"),
        Q.format(6): np.full((20, 20), np.nan, "f2"),
        Q.format(7): normal(40, 40, dtype="f4"),
        Q.format(8): normal(40, 40, seed=8),
        Q.format(8) + "_scale_inv": np.ones(1, "f4"),
    }


SOURCE: dict[str, Any] = {
    "a": odd_weights(),
    "b": {0: {Q.format(0): normal(30, 30)}, 10: {Q.format(1): normal(30, 30, seed=4)}},
}
WORDS = "ok nonfinite all_zero constant too_few quantized no_finite ok scaled"


@pytest.fixture(scope="module", params=["median", "each"])
def scanned(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[xr.Dataset, Path, Literal["median", "each"]]:
    experts: Literal["median", "each"] = request.param
    fits = wb.scan(SOURCE, experts=experts, structure=False)
    file = wb.save_fits(fits, tmp_path_factory.mktemp(experts) / "fits.nc")
    return fits, file, experts


@pytest.mark.parametrize(("trim", "estimator"), PROTOCOLS)
def test_refit_is_a_scan_by_that_protocol(
    scanned: tuple[xr.Dataset, Path, Literal["median", "each"]], trim: Any, estimator: Any
) -> None:
    fits, file, experts = scanned
    before = fits.copy(deep=True)
    expected = wb.scan(SOURCE, trim=trim, estimator=estimator, experts=experts, structure=False)
    with wb.open_fits(file) as lazy:
        for start in (fits, lazy):
            again = wb.refit(start, trim=trim, estimator=estimator)
            same_estimates(again, expected)
            assert {**again.attrs, "created": ""} == {**expected.attrs, "created": ""}
            assert again["k"].dims == expected["k"].dims
            assert again["k"].attrs == fits["k"].attrs
    assert not fits["k"].equals(expected["k"])
    xr.testing.assert_identical(fits, before)
    where: dict[str, Any] = {"model": "a", "component": "q_proj", "step": 0}
    where |= {"expert": -1} if experts == "each" else {}
    assert expected["status"].sel(where).values.tolist() == WORDS.split()


def test_refit_of_the_same_protocol_changes_nothing() -> None:
    fits = wb.scan({"a": odd_weights()})
    same_estimates(wb.refit(fits), fits)


def test_refit_keeps_the_estimator_of_the_fits() -> None:
    fits = wb.scan({"a": llama(1)}, estimator="maximum_likelihood")
    assert fits.attrs["trim_lower"] == 0
    assert wb.refit(fits, trim=(0.1, 0.9)).attrs["estimator"] == "maximum_likelihood"


@pytest.mark.parametrize("reservation", ["nonfinite", "scaled"])
def test_refit_remembers_a_reservation_that_the_first_protocol_hid(reservation: str) -> None:
    array = normal(40, 40)
    array[:16] = 0.015625  # 40 % of the weights share one value
    weights = {Q.format(0): array}
    if reservation == "nonfinite":
        array[20, 0] = np.nan
    else:
        weights[Q.format(0) + "_scale_inv"] = np.ones(1, "f4")
    narrow = wb.scan({"a": weights}, trim=(0.6, 0.62), structure=False)
    assert narrow["status"].item() == "degenerate"
    same_estimates(wb.refit(narrow, trim=(0.1, 0.9)), wb.scan({"a": weights}, structure=False))


def test_refit_of_a_selection() -> None:
    fits = wb.scan({"a": llama(3), "b": llama(3, seed=3)})
    expected = wb.refit(fits, trim=(0.2, 0.8))
    part = fits.sel(layer=[2, 1], component=["o_proj", "q_proj"], model=["b"])
    again = wb.refit(part, trim=(0.2, 0.8))
    same_estimates(again, expected.sel(layer=[2, 1], component=["o_proj", "q_proj"], model=["b"]))


def test_refit_refuses_what_it_cannot_use() -> None:
    fits = wb.scan({"a": {Q.format(0): normal(20, 20)}})
    with pytest.raises(TypeError, match=r"xarray\.Dataset"):
        wb.refit(fits["k"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lower < upper"):
        wb.refit(fits, trim=(0.9, 0.1))
    with pytest.raises(ValueError, match="rank_regression"):
        wb.refit(fits, estimator="rank_regresion")  # type: ignore[arg-type]


def test_fits_that_lack_a_variable_are_refitted_or_refused_by_its_name() -> None:
    fits = wb.scan({"tiny": llama(1)}, progress=False)
    for name in fits.data_vars:
        less = fits.drop_vars([name])
        for use in (lambda f: wb.refit(f, trim=(0.2, 0.8)), wb.not_fitted, wb.check):
            try:
                use(less)
            except ValueError as error:
                assert str(name) in str(error)  # noqa: PT017


@pytest.mark.parametrize("experts", ["median", "each"])
def test_refit_settles_what_a_stopped_scan_had_counted(experts: Any) -> None:
    fits = wb.scan(SOURCE, experts=experts, structure=False)
    stopped = fits.copy(deep=True)
    counted = fits["n"] > 0
    if experts == "median":  # of a cell of experts all are pending
        counted &= fits["status"] != "partial"
    for name in [*ESTIMATES, "rms", "mean_abs", "kurtosis", "max_abs", "zero_fraction"]:
        stopped[name] = fits[name].where(~counted)
    stopped["magnitude_quantile"] = fits["magnitude_quantile"].where(~counted)
    for name in ("n", "nonfinite"):
        stopped[name] = fits[name].where(~counted, 0)
    stopped["status"] = fits["status"].where(~counted, "pending")
    settled = wb.refit(stopped)
    same_estimates(settled, fits)
    for name in ("n", "nonfinite", "rms", "kurtosis", "max_abs", "zero_fraction"):
        np.testing.assert_array_equal(settled[name], fits[name], name)
        assert settled[name].dtype == fits[name].dtype
    xr.testing.assert_identical(settled["magnitude_quantile"], fits["magnitude_quantile"])


def test_what_was_not_counted_stays_pending() -> None:
    fits = wb.scan({"a": llama(1)})
    empty = fits["counts"].copy(data=np.full(fits["counts"].shape, Counts(), object))
    stopped = fits.assign(counts=empty, status=xr.full_like(fits["status"], "pending"))
    assert (wb.refit(stopped)["status"] == "pending").all()


def rows_scaled(*shape: int) -> Any:
    rng = np.random.default_rng(3)
    return (rng.normal(size=shape) * np.exp(0.5 * rng.normal(size=(shape[0], 1)))).astype("f2")


@pytest.mark.parametrize("experts", ["median", "each"])
@pytest.mark.parametrize(("trim", "estimator"), PROTOCOLS)
def test_errors_of_a_refit_are_nearly_those_of_a_scan(
    trim: Any, estimator: Any, experts: Any
) -> None:
    weights = {Q.format(0): rows_scaled(200, 180), Q.format(1): np.ones((100, 80), "f2")}
    weights |= {EXPERT.format(1, i, "gate_proj"): rows_scaled(160, 140 + i) for i in range(3)}
    fits = wb.scan({"a": weights}, experts=experts)
    scan = wb.scan({"a": weights}, experts=experts, trim=trim, estimator=estimator)
    again = wb.refit(fits, trim=trim, estimator=estimator)
    there = fits["k"].notnull()
    assert set(again["se_kind"].values[there.values]) == {"scaled"}
    assert set(again["se_kind"].values[~there.values]) == {"none"}
    for name in ("k", "lam"):
        np.testing.assert_allclose(again[f"{name}_se"], scan[f"{name}_se"], rtol=0.15)
        effect = again[f"{name}_design_effect"]
        assert effect.min() >= 1
        np.testing.assert_allclose(effect, scan[f"{name}_design_effect"], rtol=0.3)
        assert effect.attrs == fits[f"{name}_design_effect"].attrs
    for name in ("k_se", "k_design_effect", "se_kind", "line_covariance"):
        xr.testing.assert_identical(wb.refit(fits)[name], fits[name])


def blocks(seed: int, noise: float) -> Any:
    """Blocks on the diagonal before noise: no row or column stands out by its sum."""
    rng = np.random.default_rng(seed)
    weights = noise * rng.normal(size=(256, 256))
    for at in range(0, 256, 32):
        weights[at : at + 32, at : at + 32] = rng.normal(size=(32, 32))
    return weights.astype(np.float32)


@pytest.mark.parametrize("noise", [0.01, 0.02, 0.05])
def test_errors_of_a_refit_do_not_burst_where_the_covariance_is_noise(noise: float) -> None:
    weights = {Q.format(i): blocks(i, noise) for i in range(40)}
    refitted = wb.refit(wb.scan(weights, fields=True, progress=False), trim=(0.2, 0.8))
    scanned = wb.scan(weights, fields=True, trim=(0.2, 0.8), progress=False)
    ratio = (refitted["k_se"] / scanned["k_se"]).values
    assert 0.75 < ratio.min() < ratio.max() < 1.33


@pytest.mark.parametrize("experts", ["median", "each"])
def test_without_what_the_scan_kept_a_refit_is_independent(experts: Any) -> None:
    weights = {EXPERT.format(1, i, "gate_proj"): rows_scaled(60, 40 + i) for i in range(3)}
    fits = wb.scan({"a": weights}, experts=experts)
    naive = wb.refit(wb.scan({"a": weights}, experts=experts, structure=False), trim=(0.05, 0.95))
    unknown = fits.assign(line_covariance=np.nan * fits["line_covariance"])
    for poor in (fits.drop_vars("line_covariance"), unknown):
        again = wb.refit(poor, trim=(0.05, 0.95))
        for name in ("k_se", "lam_se", "k_design_effect", "se_kind"):
            np.testing.assert_array_equal(again[name], naive[name])
    assert set(naive["se_kind"].values.ravel()) <= {"independent", "none"}
