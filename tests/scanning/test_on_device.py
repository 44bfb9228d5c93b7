"""What is fitted where it was counted equals what compiled code makes of it on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch")

import weibnb as wb
from tests import oracle
from tests.oracle import to_torch
from tests.scanning.helpers import EXPERT, Q, write
from weibnb.counting import dispatch
from weibnb.counting.blocks import Block, LinesOnDevice
from weibnb.counting.limits import Limits
from weibnb.fitting import torch_blocks, torch_statistics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALIKE = ("status", "se_kind", "n", "n_matrices", "nonfinite", "zero_fraction", "max_abs", "scaled")
# Differences that are allowed, as shares: `h` of lines is made of squares in float32.
CLOSE = {
    **dict.fromkeys(("k", "lam"), 1e-10),
    **dict.fromkeys(("rms", "mean_abs", "kurtosis", "magnitude_quantile"), 1e-12),
    **dict.fromkeys(("r2", "ks", "ks_full", "k_lam_correlation", "line_covariance"), 1e-8),
    **dict.fromkeys(("k_se", "lam_se", "k_design_effect", "lam_design_effect"), 1e-8),
    **dict.fromkeys(("h_row", "h_row_se", "h_col", "h_col_se"), 2e-4),
}


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put torch's CPU in the place of a device."""
    monkeypatch.setattr(dispatch, "resolve_devices", lambda device: [torch.device("cpu")])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def hold_equal(found: xr.Dataset, expected: xr.Dataset) -> None:
    assert set(found.data_vars) == set(expected.data_vars)
    for name in ALIKE:
        if name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    for name, close in CLOSE.items():
        assert found[name].dtype == expected[name].dtype
        np.testing.assert_allclose(
            found[name], expected[name], rtol=close, atol=1e-12, err_msg=name
        )


def unequal(dtype: str, shape: tuple[int, int], seed: int) -> Any:
    """Unequal rows and columns, a few zeros, infinities and NaN."""
    rng = np.random.default_rng([seed, *shape])
    weights = rng.normal(0, 0.1, shape) * np.exp(0.5 * rng.normal(size=(shape[0], 1)))
    weights *= np.exp(0.2 * rng.normal(size=shape[1]))
    weights[0, :2] = 0.0
    weights[seed % shape[0], -1] = np.nan if seed % 2 else 0.0
    if dtype != "float8_e4m3fn" and seed % 3 == 0:
        weights[1, 1] = np.inf
    with np.errstate(over="ignore"):
        return to_torch(weights.astype(oracle.DTYPES[dtype]))


def model() -> dict[str, Any]:
    """Matrices of every format, of several shapes, and of every outcome."""
    shapes = ((64, 96), (64, 96), (40, 33), (9, 300), (200, 8), (7, 90))
    layers = [unequal(d, s, i) for d in oracle.DTYPES for i, s in enumerate(shapes)]
    same = torch.full((20, 20), 0.5, dtype=torch.float16)
    layers += [torch.zeros(20, 20), torch.full((20, 20), torch.nan), same, torch.ones(6, 6)]
    layers += [to_torch(np.random.default_rng(0).normal(0, 2e-311, (30, 40)))]
    layers += [torch.rand(30, 40).bfloat16().float(), torch.rand(30, 40) * 1e-42]
    layers += [torch.rand(30, 40, dtype=torch.float64) * 1e300]
    layers += [torch.randn(30, 40) * (torch.arange(30) < 3)[:, None]]
    weights = {Q.format(i): tensor for i, tensor in enumerate(layers)}
    weights["h.0.mlp.c_fc.weight"] = unequal("float32", (48, 100), 1)
    for i in range(4):
        weights[EXPERT.format(1, i, "up_proj")] = unequal("bfloat16", (32, 48), i)
    return {"m": weights}


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("estimator", ["rank_regression", "maximum_likelihood"])
@pytest.mark.parametrize("keep_counts", [True, False])
@pytest.mark.parametrize("trim", [None, (0.2, 0.7)])
def test_a_live_model(estimator: Any, trim: Any, *, keep_counts: bool) -> None:
    torch.manual_seed(0)
    source = model()
    how: dict[str, Any] = {"estimator": estimator, "trim": trim, "keep_counts": keep_counts}
    found, expected = (wb.scan(source, backend=which, **how) for which in ("torch", "numba"))
    assert len(set(expected["status"].values.ravel())) >= 6
    assert set(expected["se_kind"].values.ravel()) == {"clustered", "independent", "none"}
    hold_equal(found, expected)
    if keep_counts:
        for one, other in zip(
            found["counts"].values.flat, expected["counts"].values.flat, strict=True
        ):
            assert one == other


def in_heads(seed: int, across: int) -> Any:
    """Weights in 16 blocks of rows, or of columns, of unequal scale."""
    rng = np.random.default_rng(seed)
    scale = np.repeat(np.exp(0.5 * rng.normal(size=16)), 16)
    weights = (rng.normal(size=(256, 96)) * scale[:, None]).astype(np.float32)
    return to_torch(np.ascontiguousarray(weights.T) if across else weights)


@pytest.mark.usefixtures("device")
def test_heads_and_what_follows_for_errors_of_refits() -> None:
    layers = [in_heads(0, 0), unequal("float32", (256, 96), 0), in_heads(1, 1), in_heads(2, 0)]
    source = {"m": {Q.format(i): weights for i, weights in enumerate(layers)}}
    found, expected = (wb.scan(source, backend=which) for which in ("torch", "numba"))
    effects = expected["k_design_effect"].values.ravel()
    assert (effects[[0, 2, 3]] > 2.0 * effects[1]).all()
    hold_equal(found, expected)


@pytest.mark.usefixtures("device")
def test_counts_that_are_not_kept_do_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError

    source = {"m": {Q.format(i): unequal("bfloat16", (40, 50), i) for i in range(3)}}
    monkeypatch.setattr(Block, "begin_copy", refuse)
    monkeypatch.setattr(LinesOnDevice, "on_host", refuse)
    fits = wb.scan(source, backend="torch", keep_counts=False)
    assert (fits["se_kind"] == "clustered").all()
    with pytest.raises(AssertionError):
        wb.scan(source, backend="torch")


@pytest.mark.usefixtures("device")
@pytest.mark.parametrize("fields", [False, True])
def test_files_that_pass_through_a_device(tmp_path: Path, *, fields: bool) -> None:
    """Fields are looked up on the host, which needs the counts there."""
    rng = np.random.default_rng(0)
    arrays = {Q.format(i): rng.normal(size=(30 + i, 50)).astype("f2") for i in range(3)}
    arrays[Q.format(0)][:, 3] = 0
    source = write(tmp_path / "m", arrays)
    found, expected = (wb.scan(source, backend=b, fields=fields) for b in ("torch", "numba"))
    hold_equal(found, expected)
    assert found["dead_cols"].values.ravel().tolist() == [1, 0, 0]
    assert ("row_rms" in found) == fields


@pytest.mark.usefixtures("device")
def test_a_store(tmp_path: Path) -> None:
    source, path = model(), tmp_path / "fits.db"
    expected = wb.scan(source, backend="torch")
    xr.testing.assert_identical(
        wb.scan(source, backend="torch", store=path).load().drop_attrs(),
        wb.open_fits(path).load().drop_attrs(),
    )
    hold_equal(wb.open_fits(path), expected)


def test_a_matrix_on_two_devices_is_fitted_on_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = [torch.device("cpu"), torch.device("cpu", 0)]
    monkeypatch.setattr(dispatch, "resolve_devices", lambda device: two)
    small = {"workers": None, "devices": None, "limits": Limits(buffer=4096, copied=1000)}
    monkeypatch.setattr(dispatch.Counting.__init__, "__kwdefaults__", small)
    weights = np.random.default_rng(0).normal(size=(60, 70)).astype("f2")
    source = write(tmp_path / "m", {Q.format(0): weights})
    found = wb.scan(source, backend="torch")
    monkeypatch.undo()
    hold_equal(found, wb.scan(source, backend="numba"))


@pytest.mark.usefixtures("device")
def test_a_device_with_little_memory_fits_fewer_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    source = model()
    expected = wb.scan(source, backend="torch")
    describe = torch_statistics.describe_batch

    def limited(counts: Any, *rest: Any, **options: Any) -> Any:
        if len(counts) > 2:
            raise torch.OutOfMemoryError("no room")
        return describe(counts, *rest, **options)

    monkeypatch.setattr(torch_blocks, "describe_batch", limited)
    with pytest.warns(UserWarning, match="too little memory for the fit of .* matrices at once"):
        found = wb.scan(source, backend="torch")
    for name in ("k", "lam", "k_se", "h_row", "rms"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-12, err_msg=name)


@pytest.mark.usefixtures("device")
def test_a_device_without_memory_is_an_error_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(torch_blocks, "describe_batch", fail)
    source = {"m": {Q.format(0): unequal("bfloat16", (40, 50), 0)}}
    with pytest.raises(MemoryError, match=r"no memory on cpu .*backend='numba'"):
        wb.scan(source, backend="torch")
