"""The same fits by torch and by compiled code, through every door that takes a backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import weibnb as wb
from tests.fits.test_refit import SOURCE
from tests.scanning.helpers import Q, normal
from weibnb.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

EXACTLY = ("n", "status", "se_kind", "rms", "zero_fraction", "n_matrices", "magnitude_quantile")


def hold_equal(found: xr.Dataset, expected: xr.Dataset) -> None:
    """Fits by torch are those by compiled code."""
    assert (found.attrs["backend"], expected.attrs["backend"]) == ("torch", "numba")
    for name in EXACTLY:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    for name in ("k", "lam"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10, err_msg=name)
    for name in ("r2", "ks", "ks_full"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-8, err_msg=name)
    for name in ("k_se", "lam_se", "k_design_effect"):  # v is looked up in float32
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("experts", ["median", "each"])
@pytest.mark.parametrize("store", [False, True])
def test_a_scan(tmp_path: Path, estimator: Any, experts: Any, *, store: bool) -> None:
    how: dict[str, Any] = {"estimator": estimator, "experts": experts}
    expected = wb.scan(SOURCE, **how)
    how["store"] = tmp_path / "fits.db" if store else None
    hold_equal(wb.scan(SOURCE, backend="torch", **how), expected)
    assert not store or wb.open_fits(how["store"]).attrs["backend"] == "torch"


def test_a_refit() -> None:
    fits = wb.scan(SOURCE, experts="each")
    for protocol in ({"trim": (0.05, 0.95)}, {"estimator": "maximum_likelihood"}):
        how: dict[str, Any] = protocol
        hold_equal(wb.refit(fits, backend="torch", **how), wb.refit(fits, **how))
    assert wb.refit(wb.refit(fits, backend="torch")).attrs["backend"] == "numba"


def test_a_recorder() -> None:
    layer = torch.nn.TransformerEncoderLayer(64, 4, batch_first=True)
    model = torch.nn.TransformerEncoder(layer, 1)
    found = []
    for backend in ("torch", "auto"):
        with wb.Recorder(model, backend=backend) as recorder:
            recorder.record(0)
            found.append(recorder.fits())
    hold_equal(found[0].reset_coords(drop=True), found[1].reset_coords(drop=True))


@pytest.mark.parametrize("trim", [None, (0.3, 0.7)])
def test_one_matrix(trim: Any) -> None:
    weights = torch.from_numpy(normal(60, 50, dtype="f4"))
    expected = wb.fit_weibull(weights, trim=trim)
    for given in (weights, weights.numpy(), expected.counts):
        found = wb.fit_weibull(given, trim=trim, backend="torch")
        assert (found.k, found.lam) == pytest.approx((expected.k, expected.lam), rel=1e-10)
        assert (found.status, found.n, found.counts) == ("ok", 3000, expected.counts)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from safetensors.numpy import save_file

    save_file({Q.format(0): normal(40, 40)}, tmp_path / "model.safetensors")
    output = tmp_path / "fits.nc"
    command = ["scan", str(tmp_path / "model.safetensors"), "-o", str(output), "--quiet"]
    assert main([*command, "--backend", "torch"]) == 0
    assert wb.open_fits(output).attrs["backend"] == "torch"
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*command, "--backend", "cupy"])
    assert "invalid choice: 'cupy'" in capsys.readouterr().err


@pytest.mark.parametrize("door", ["scan", "refit", "fit_weibull", "Recorder"])
def test_an_unknown_backend(door: str) -> None:
    fits = wb.scan({"tiny": {Q.format(0): normal(40, 40)}})
    given = {
        "scan": {"tiny": {Q.format(0): normal(40, 40)}},
        "refit": fits,
        "fit_weibull": normal(40, 40),
        "Recorder": torch.nn.Linear(9, 9),
    }[door]
    with pytest.raises(ValueError, match="`backend` must be one of 'auto', 'numba', 'torch'"):
        getattr(wb, door)(given, backend="jax")


def test_a_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    fits = wb.scan({"tiny": {Q.format(0): normal(40, 40)}})
    for backend in ("auto", "torch"):
        with pytest.raises(RuntimeError, match=r"device 'cuda' is not available: .* finds no CUDA"):
            wb.refit(fits, device="cuda", backend=backend)
