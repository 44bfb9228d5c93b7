"""Parts of the fits on the screen, fitted again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import weibnb as wb
from tests.explorer.conftest import from_page, slot, words

pytest.importorskip("anywidget")
pytest.importorskip("vl_convert")

from weibnb.explorer.widget import Explorer
from weibnb.exploring import explore

if TYPE_CHECKING:
    import xarray as xr


def test_moving_the_trim_is_a_refit(explorer: Explorer, fits: xr.Dataset) -> None:
    from_page(explorer, panel="weibull", selected=[["demo", 1, "v_proj", 7000]])
    from_page(explorer, trim=[0.05, 0.8])
    expected = wb.refit(fits, trim=(0.05, 0.8))
    k = expected["k"].sel(model="demo", layer=1, component="v_proj", step=7000).item()
    assert f"k {k:.4f}" in explorer._main
    whole = explorer.fits
    assert whole.attrs["trim_upper"] == 0.8
    np.testing.assert_allclose(whole["k"].values, expected["k"].sel(step=[7000]).values)
    from_page(explorer, estimator="maximum_likelihood", trim=[0.0, 1.0])
    likely = wb.refit(fits.sel(step=[7000]), estimator="maximum_likelihood", trim=(0, 1))
    np.testing.assert_allclose(explorer.fits["k"].values, likely["k"].values)


def test_without_counts(fits: xr.Dataset) -> None:
    explorer = explore(fits.drop_vars("counts"))
    assert "weibnb.scan(path)" in words(explorer)["no_refit"]
    assert "lines without points" in str(slot(explorer, "detail")["spec"])
    assert "spec" in slot(explorer)
    assert "spec" in slot(explorer, "side")


def test_not_fits() -> None:
    with pytest.raises(TypeError, match=r"must be an xarray.Dataset"):
        Explorer({"k": 1})  # type: ignore[arg-type]
