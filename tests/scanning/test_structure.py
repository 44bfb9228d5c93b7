"""What a scan says of rows and columns, against numpy over the matrices, as they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests import oracle
from tests.scanning.helpers import EXPERT, Q, write
from weibnb.counting import dispatch
from weibnb.fits.schema import DEAD, SCALES, prepare
from weibnb.scanning.locate import dead_lines

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Array = NDArray[Any]

FIELDS = ("row_rms", "col_rms")
GPT2 = "h.{}.mlp.c_fc.weight"
SHAPE = (56, 40)


def drawn(shape: tuple[int, int] = SHAPE, dtype: str = "float16", seed: int = 0) -> Array:
    """Unequal rows and columns, three dead rows, two dead columns."""
    rng = np.random.default_rng([seed, *shape])
    weights = rng.normal(0, 0.1, shape) * np.exp(0.5 * rng.normal(size=(shape[0], 1)))
    weights *= np.exp(0.3 * rng.normal(size=shape[1]))
    weights[[1, 4, 7]] = 0.0
    weights[:, [0, 9]] = -0.0
    return weights.astype(oracle.DTYPES[dtype])


def rms(matrix: Array, axis: int) -> Array:
    values = matrix.astype(float)
    finite = np.isfinite(values)
    total = (np.where(finite, values, 0.0) ** 2).sum(axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(total / finite.sum(axis)))


def agrees(cell: xr.Dataset, matrix: Array, *, fields: bool = True) -> None:
    """Hold one cell against its matrix, by output and input features."""
    values = matrix.astype(float)
    assert cell["dead_rows"].item() == (values == 0).all(1).sum()
    assert cell["dead_cols"].item() == (values == 0).all(0).sum()
    assert cell["dead_rows"].dtype == cell["dead_cols"].dtype == np.int32
    for axis, (name, side) in enumerate((("col_rms", "col"), ("row_rms", "row"))):
        scale = rms(matrix, axis)
        logs = np.log(scale[scale > 0])
        h, error = cell[f"h_{side}"].item(), cell[f"h_{side}_se"].item()
        assert abs(h - logs.std(ddof=1)) < 4 * error + 0.02
        if fields:
            assert h < logs.std(ddof=1)
            found = cell[name].values.ravel()
            assert cell[name].dtype == np.float32
            np.testing.assert_allclose(found[: scale.size], scale, rtol=1e-6)
            assert np.isnan(found[scale.size :]).all()
        else:
            assert name not in cell


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", sorted(oracle.DTYPES))
def test_rows_are_output_features(dtype: str, transposed: bool, fields: bool) -> None:
    matrix = drawn(dtype=dtype)
    stored = {GPT2.format(0): np.ascontiguousarray(matrix.T)} if transposed else {}
    fits = wb.scan({"m": stored or {Q.format(0): matrix}}, fields=fields)
    agrees(fits, matrix, fields=fields)
    assert fits["se_kind"].item() == "clustered"


def test_fields_are_padded_to_the_longest_and_joined(tmp_path: Path) -> None:
    matrices = [drawn((40, 56)), drawn((64, 30)), drawn((9, 100))]
    weights = {Q.format(i): matrix for i, matrix in enumerate(matrices)}
    fits = wb.scan(write(tmp_path / "m", weights), fields=True)
    assert fits["row_rms"].dims == (*fits["k"].dims, "row")
    assert (fits.sizes["row"], fits.sizes["col"]) == (64, 100)
    for layer, matrix in enumerate(matrices):
        cell = fits.sel(layer=layer)
        if min(matrix.shape) > 11:
            agrees(cell, matrix)
        np.testing.assert_allclose(
            cell["col_rms"].values.ravel()[: matrix.shape[1]], rms(matrix, 0), rtol=1e-6
        )


def test_the_full_look_knows_the_scales_better_and_agrees_with_the_sample() -> None:
    rng = np.random.default_rng(3)
    matrix = (rng.normal(size=(500, 400)) * np.exp(0.5 * rng.normal(size=(500, 1)))).astype("f4")
    some, every = (wb.scan({"m": {Q.format(0): matrix}}, fields=how) for how in (False, True))
    for name in ("k_se", "lam_se", "h_row"):
        assert every[name].item() == pytest.approx(some[name].item(), rel=0.5)
        assert every[name].item() != some[name].item()
    assert every["h_row_se"].item() < 0.5 * some["h_row_se"].item()
    for name in ("k", "lam", "r2", "rms", *DEAD):
        assert every[name].item() == some[name].item()


def test_a_refit_of_a_full_look_has_nearly_the_error_of_a_full_look() -> None:
    """By another estimator, of rows whose scales differ; of 32 lines it is some 15 % off."""
    rng = np.random.default_rng(5)
    drawn = (rng.normal(size=(400, 300)) * np.exp(0.5 * rng.normal(size=(400, 1))) for _ in "abcd")
    source = {"m": {Q.format(i): matrix.astype("f4") for i, matrix in enumerate(drawn)}}
    direct = wb.scan(source, fields=True, estimator="maximum_likelihood")
    composed, sampled = (
        wb.refit(wb.scan(source, fields=how), estimator="maximum_likelihood")
        for how in (True, False)
    )
    for name in ("k_se", "lam_se"):
        np.testing.assert_allclose(composed[name], direct[name], rtol=0.08)
    assert np.abs(sampled["k_se"] / direct["k_se"] - 1).max() > 0.08


@pytest.mark.parametrize("experts", ["median", "each"])
@pytest.mark.parametrize("stacked", [False, True])
def test_experts(experts: Any, stacked: bool) -> None:
    matrices = [drawn(seed=seed) for seed in range(3)]
    matrices[2][:, 20] = 0.0
    name = EXPERT.format(0, "{}", "up_proj")
    weights = {name.format(i): matrix for i, matrix in enumerate(matrices)}
    if stacked:
        weights = {"model.layers.0.mlp.experts.up_proj": np.stack(matrices)}
    fits = wb.scan({"m": weights | {Q.format(0): drawn()}}, experts=experts, fields=True)
    dense, cell = fits.sel(component="q_proj"), fits.sel(component="up_proj")
    if experts == "each":
        for expert, matrix in enumerate(matrices):
            agrees(cell.sel(expert=expert), matrix)
        assert (dense["dead_rows"].sel(expert=[0, 1, 2]) == -1).all()
        agrees(dense.sel(expert=-1), drawn())
        return
    agrees(dense, drawn())
    assert (cell["dead_rows"].item(), cell["dead_cols"].item()) == (9, 7)
    assert cell["row_rms"].isnull().all()
    each = wb.scan({"m": weights}, experts="each", fields=True)
    for scale in SCALES:
        assert cell[scale].item() == np.nanmedian(each[scale])


@pytest.mark.parametrize("where", ["file", "live"])
def test_parts_of_a_fused_matrix(tmp_path: Path, where: str) -> None:
    """GPT-NeoX: rows of q, k and v lie in groups, one for each head."""
    fused = drawn((144, 48))
    config = {"model_type": "gpt_neox", "hidden_size": 48, "num_attention_heads": 4}
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    source = write(tmp_path / "m", {name: fused}, config)
    if where == "live":
        torch = pytest.importorskip("torch")
        tensors = {name: torch.from_numpy(fused.astype("f4"))}
        fused = fused.astype("f4")
        source = _with_config(tensors, config)
    fits = wb.scan({"m": source}, fused="split", fields=True)
    for i, component in enumerate(("q_proj", "k_proj", "v_proj")):
        matrix = fused.reshape(4, 3, 12, 48)[:, i].reshape(48, 48)
        agrees(fits.sel(component=component), matrix)


def _with_config(tensors: dict[str, Any], config: dict[str, Any]) -> Any:
    """Make a module of tensors with a configuration."""
    import torch

    class Leaf(torch.nn.Module):
        pass

    root: Any = Leaf()
    root.config = type("Config", (), {"to_dict": lambda self: config})()
    for name, tensor in tensors.items():
        at = root
        *path, last = name.split(".")
        for word in path:
            if not hasattr(at, word):
                at.add_module(word, Leaf())
            at = getattr(at, word)
        at.register_parameter(last, torch.nn.Parameter(tensor))
    return root


def test_a_live_tensor_with_gaps() -> None:
    torch = pytest.importorskip("torch")
    matrix = drawn(dtype="float32")
    wide = torch.zeros(56, 80)
    wide[:, ::2] = torch.from_numpy(matrix)
    fits = wb.scan({"m": {Q.format(0): wide[:, ::2]}}, fields=True)
    agrees(fits, matrix)


NAMES = (*SCALES, *DEAD, *FIELDS, "k", "k_se", "lam_se", "line_covariance", "se_kind")


@pytest.mark.parametrize("fields", [False, True])
@pytest.mark.parametrize("where", ["file", "live", "parts"])
def test_a_device_looks_as_the_host_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, fields: bool
) -> None:
    torch = pytest.importorskip("torch")
    source: Any = {Q.format(0): drawn(), Q.format(1): np.abs(drawn()) + 1, Q.format(2): drawn()}
    options: dict[str, Any] = {"fields": fields}
    if where == "file":
        source = write(tmp_path / "m", source)
    if where == "live":
        source = {"m": {name: torch.from_numpy(array.copy()) for name, array in source.items()}}
    if where == "parts":
        config = {"model_type": "gpt_neox", "hidden_size": 48, "num_attention_heads": 4}
        name = "gpt_neox.layers.0.attention.query_key_value.weight"
        source = _with_config({name: torch.from_numpy(drawn((144, 48)))}, config)
        options["fused"] = "split"
    host = wb.scan(source, device="cpu", **options)
    monkeypatch.setattr(dispatch, "resolve_devices", lambda device: [torch.device("cpu")])
    device = wb.scan(source, **options)
    assert (host["se_kind"] == "clustered").all()
    for name in (name for name in NAMES if name in host):
        if host[name].dtype.kind == "f":
            np.testing.assert_allclose(device[name], host[name], rtol=2e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(device[name], host[name], err_msg=name)


def test_what_changed_on_a_device_since_a_record_is_not_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(dispatch, "resolve_devices", lambda device: [torch.device("cpu")])
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.normal(size=(2, 40, 50)).astype("f4"))
    weights[1, :, 3] = 0.0
    model = _with_config({Q.format(i): weights[i] for i in range(2)}, {})
    with wb.Recorder(model, fields=True) as recorder:
        recorder.record(0)
        weights.fill_(7.0)
        fits = recorder.fits()
    assert fits["dead_rows"].values.ravel().tolist() == [0, -1]
    assert fits["dead_cols"].values.ravel().tolist() == [0, -1]
    assert fits["row_rms"].isnull().all()
    assert (fits["se_kind"] == "clustered").all()
    with pytest.raises(ValueError, match="must hold row_rms; scan with fields=True"):
        prepare(fits, "row_rms")


@pytest.mark.parametrize("lines", ["rows", "cols", "none", "both"])
@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (25, 25)])
def test_dead_lines_are_those_that_are_listed(lines: str, shape: tuple[int, int]) -> None:
    matrix = np.abs(drawn(shape)) + np.float16(0.01)
    if lines in ("rows", "both"):
        matrix[[2, 3]] = 0
    if lines in ("cols", "both"):
        matrix[:, [5, 6, 11]] = 0
    matrix.ravel()[np.random.default_rng(0).permutation(matrix.size)[: matrix.size // 4]] *= 0
    source = {"m": {Q.format(0): matrix}}
    fits = wb.scan(source)
    listed = dead_lines(fits, source=source)["axis"].tolist()
    assert fits["dead_rows"].item() == listed.count("row") == (matrix == 0).all(1).sum()
    assert fits["dead_cols"].item() == listed.count("col") == (matrix == 0).all(0).sum()


@pytest.mark.parametrize("beside", [0, 1])
def test_the_zeros_that_a_dead_line_takes_are_just_enough(beside: int) -> None:
    """A dead column of the shorter side, and one weight of it that lives."""
    matrix = np.ones((10, 40), np.float16)
    matrix[:, 7] = 0
    matrix[0, 7] = beside
    fits = wb.scan({"m": {Q.format(0): matrix}})
    assert (fits["dead_rows"].item(), fits["dead_cols"].item()) == (0, 1 - beside)


@pytest.mark.parametrize("shape", [(2, 300), (300, 2), (7, 60), (60, 7)])
def test_few_rows_or_columns_have_fields_but_no_spread(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(0).normal(size=shape)
    matrix[0, 0] = 0.0
    fits = wb.scan({"m": {Q.format(0): matrix}}, fields=True)
    assert np.isnan([fits[name].item() for name in SCALES]).all()
    assert fits["se_kind"].item() == "independent"
    np.testing.assert_allclose(fits["row_rms"].values.ravel(), rms(matrix, 1), rtol=1e-6)
    np.testing.assert_allclose(fits["col_rms"].values.ravel(), rms(matrix, 0), rtol=1e-6)
    assert (fits["dead_rows"].item(), fits["dead_cols"].item()) == (0, 0)


def test_all_rows_dead_but_one() -> None:
    matrix = np.zeros((50, 300), np.float32)
    matrix[17] = np.random.default_rng(0).normal(size=300)
    fits = wb.scan({"m": {Q.format(0): matrix}}, fields=True)
    assert (fits["dead_rows"].item(), fits["dead_cols"].item()) == (49, 0)
    assert np.isnan(fits["h_row"].item())
    assert fits["row_rms"].values.ravel().nonzero()[0].tolist() == [17]
    assert np.isfinite(fits["k_se"].item())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fields_leave_out_what_is_not_finite(value: float) -> None:
    matrix = drawn(dtype="float32")
    matrix[3, 5], matrix[11], matrix[:, 30] = value, value, value
    fits = wb.scan({"m": {Q.format(0): matrix}}, fields=True)
    assert fits["status"].item() == "nonfinite"
    np.testing.assert_allclose(fits["row_rms"].values.ravel(), rms(matrix, 1), rtol=1e-6)
    np.testing.assert_allclose(fits["col_rms"].values.ravel(), rms(matrix, 0), rtol=1e-6)
    assert np.isnan(fits["row_rms"].values.ravel()[11])
    assert fits["dead_rows"].item() == (matrix == 0).all(1).sum() == 0
    assert np.isfinite(fits["h_row"].item())


def test_a_matrix_of_zeros() -> None:
    fits = wb.scan({"m": {Q.format(0): np.zeros((20, 30), np.float32)}}, fields=True)
    assert (fits["dead_rows"].item(), fits["dead_cols"].item()) == (20, 30)
    assert not fits["row_rms"].values.any()
    assert np.isnan(fits["h_row"].item())


def test_a_scan_that_does_not_look() -> None:
    source = {"m": {Q.format(0): drawn()}}
    fits = wb.scan(source, structure=False)
    assert (fits["dead_rows"].item(), fits["dead_cols"].item()) == (-1, -1)
    for name, option in (("h_col", "structure"), ("dead_rows", "structure"), ("row_rms", "fields")):
        with pytest.raises(ValueError, match=f"must hold {name}; scan with {option}=True"):
            prepare(fits, name)
    assert prepare(wb.scan(source), "h_row", "dead_cols")
    with pytest.raises(ValueError, match="`fields` must come with structure=True"):
        wb.scan(source, structure=False, fields=True)


@pytest.mark.parametrize("fields", [False, True])
def test_a_recorder_looks_at_the_weights_of_the_step(fields: bool) -> None:
    torch = pytest.importorskip("torch")
    model = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 1, enable_nested_tensor=False
    )
    up = model.layers[0].linear1.weight
    with wb.Recorder(model, name="tiny", fields=fields, device="cpu") as recorder:
        recorder.record(0)
        with torch.no_grad():
            up[3] = 0.0
            up[:, ::2] *= 3
        recorder.record(1)
        with torch.no_grad():
            up.fill_(7.0)
        fits = recorder.fits().sel(component="up_proj")
    assert fits["dead_rows"].values.ravel().tolist() == [0, 1]
    before, after = fits["h_col"].values.ravel()
    assert before < 0.1
    assert after == pytest.approx(np.log(3) / 2, abs=0.1)
    assert ("row_rms" in fits) == fields
    with pytest.raises(ValueError, match="`fields` must come with"):
        wb.Recorder(model, structure=False, fields=True)


def test_dead_lines_of_a_cell_are_unknown_where_those_of_one_expert_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(dispatch, "resolve_devices", lambda device: [torch.device("cpu")])
    name = EXPERT.format(0, "{}", "up_proj")
    experts = {name.format(i): torch.from_numpy(np.abs(drawn(seed=i)) + 1) for i in range(3)}
    for i, dead in enumerate((0, -1, -1)):
        if i:
            experts[name.format(i)][:, 3] = 0.0
        with wb.Recorder(_with_config(experts, {})) as recorder:
            recorder.record(0)
            assert recorder.fits()["dead_cols"].item() == dead
