"""How the standard errors of a cell were made: through scans, experts, joins and files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import EXPERT, Q, normal, round_trip
from weibnb.fits.schema import DEAD, SCALES, prepare

if TYPE_CHECKING:
    from pathlib import Path

NEW = ["k_design_effect", "lam_design_effect", "se_kind", "line_covariance"]


def scaled_rows(*shape: int) -> Any:
    """Weights whose rows have lognormal scales of H = 0.5."""
    rng = np.random.default_rng(3)
    return (rng.normal(size=shape) * np.exp(0.5 * rng.normal(size=(shape[0], 1)))).astype("f2")


def weights() -> dict[str, Any]:
    return {Q.format(0): scaled_rows(200, 300), Q.format(1): normal(7, 300)} | {
        Q.format(2): np.zeros((30, 30), "f2")
    }


def test_a_scan_says_how_its_errors_were_made() -> None:
    fits, plain = (wb.scan({"a": weights()}, structure=how) for how in (True, False))
    assert fits["se_kind"].values.ravel().tolist() == ["clustered", "independent", "none"]
    assert plain["se_kind"].values.ravel().tolist() == ["independent", "independent", "none"]
    assert plain["k_design_effect"].isnull().all()
    effect = fits["k_design_effect"].values.ravel()
    assert effect[0] > 3
    assert np.isnan(effect[1:]).all()
    for name in ("k", "lam"):
        ratio = (fits[f"{name}_se"] / plain[f"{name}_se"]).values.ravel() ** 2
        expected = fits[f"{name}_design_effect"].fillna(1.0).values.ravel()
        np.testing.assert_allclose(ratio[:2], expected[:2])
    looked_at = [*NEW, *SCALES, *DEAD, "k_se", "lam_se", "k_lam_correlation"]
    assert fits.drop_vars(looked_at).equals(plain.drop_vars(looked_at))


def test_errors_do_not_depend_on_the_way_that_a_matrix_is_stored() -> None:
    """A transposed tensor (GPT-2), a stack of experts, and single ones."""
    matrix = scaled_rows(64, 48)
    straight = wb.scan({"a": {Q.format(0): matrix[:, :32].copy()}})
    assert straight["se_kind"].item() == "clustered"
    names = [EXPERT.format(0, i) for i in range(3)]
    single = wb.scan({"a": dict.fromkeys(names, matrix)}, experts="each")
    stacked = {"model.layers.0.mlp.experts.up_proj": np.stack([matrix] * 3)}
    together = wb.scan({"a": stacked}, experts="each")
    np.testing.assert_allclose(together["k_se"], single["k_se"])
    assert set(together["se_kind"].sel(expert=[0, 1, 2]).values.ravel()) == {"clustered"}
    transposed = wb.scan({"a": {"h.0.mlp.c_fc.weight": scaled_rows(32, 32)}})
    as_stored = wb.scan({"a": {Q.format(0): scaled_rows(32, 32)}})
    assert transposed["k_se"].item() == as_stored["k_se"].item()


def test_a_cell_of_experts_has_the_error_of_a_typical_one() -> None:
    parts = {EXPERT.format(0, i): scaled_rows(40, 40 + i) for i in range(4)}
    parts[EXPERT.format(0, 4)] = np.zeros((40, 40), "f2")
    each = wb.scan({"a": parts}, experts="each")
    cell = wb.scan({"a": parts})
    assert cell["se_kind"].item() == "clustered"
    for name in ("k_se", "lam_se", *NEW[:2]):
        assert cell[name].item() == np.nanmedian(each[name])
    mean = each["line_covariance"].mean("expert").squeeze()
    np.testing.assert_allclose(cell["line_covariance"].squeeze(), mean)


@pytest.mark.parametrize("join", ["concat", "merge"])
def test_joins_with_fits_that_do_not_say_it(join: str) -> None:
    new = wb.scan({"new": weights()})
    old = wb.scan({"old": weights()}, structure=False).drop_vars(NEW)
    if join == "concat":
        both = xr.concat([old, new], "model", data_vars="all")
    else:
        both = xr.merge([old, new], join="outer", compat="no_conflicts")
    mended = prepare(both)
    kinds = mended["se_kind"].sel(model=["new", "old"]).values.reshape(2, 3).tolist()
    assert kinds == [["clustered", "independent", "none"], ["independent"] * 2 + ["none"]]
    refitted = wb.refit(both, trim=(0.05, 0.95))["se_kind"].sel(model=["new", "old"])
    assert refitted.values.ravel().tolist() == ["scaled", "independent", "none", *kinds[1]]


def test_files_keep_it_and_older_ones_are_independent(tmp_path: Path) -> None:
    fits = wb.scan({"a": weights()})
    xr.testing.assert_identical(round_trip(fits, tmp_path / "new.nc"), fits)
    older = wb.scan({"a": weights()}, structure=False)
    opened = round_trip(older.drop_vars(NEW), tmp_path / "old.nc")
    xr.testing.assert_identical(opened[NEW[:3]], older[NEW[:3]])
