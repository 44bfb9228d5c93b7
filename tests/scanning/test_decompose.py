"""Whatever holds weights is taken apart, matrix by matrix, as its names and fits say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

STEM = "model.layers.{}.self_attn.{}.weight".format
NUMBERS = ("k_raw", "k_rows", "k_cols", "k_core", "h_row", "h_col", "share_rows", "below")


def unequal(height: int, width: int, seed: int = 0) -> Any:
    """Weights with unequal rows, a little unequal columns, that bfloat16 holds."""
    rng = np.random.default_rng(seed)
    scale = np.exp(rng.normal(0, 0.5, (height, 1)) + rng.normal(0, 0.1, width))
    bits = (rng.normal(0, 0.02, (height, width)) * scale).astype(np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFF0000)).view(np.float32)


def same(found: xr.Dataset, other: xr.Dataset, *names: str) -> None:
    for name in names or NUMBERS:
        np.testing.assert_allclose(found[name], other[name], rtol=1e-6, err_msg=name)


def test_an_array_a_tensor_and_a_mapping_are_one() -> None:
    torch = pytest.importorskip("torch")
    weights = unequal(64, 96)
    found = wb.decompose(weights)
    assert dict(found.sizes) == {"matrix": 1}
    assert found["k_raw"].item() == pytest.approx(wb.fit_weibull(weights).k)
    mapping = {STEM(3, "q_proj"): weights}
    for source in (
        torch.from_numpy(weights),
        torch.from_numpy(weights).bfloat16(),
        mapping,
        {"run": {7: mapping}},
        weights.astype(np.float64),
    ):
        same(wb.decompose(source), found)
    placed = wb.decompose({"run": {7: mapping}})
    place = {name: placed[name].item() for name in ("model", "layer", "component", "step")}
    assert place == {"model": "run", "layer": 3, "component": "q_proj", "step": 7}
    assert placed["parameter"].item() == STEM(3, "q_proj")


@pytest.mark.parametrize("form", ["float64", "float32", "float16", "bfloat16", "float8_e4m3fn"])
def test_every_format_is_read(form: str) -> None:
    torch = pytest.importorskip("torch")
    weights = (torch.from_numpy(unequal(96, 64)) * 8).to(getattr(torch, form))
    found = wb.decompose({STEM(0, "o_proj"): weights})
    fit = wb.fit_weibull(weights)
    for name in ("k", "lam", "r2"):
        assert found[f"{name}_raw"].item() == pytest.approx(getattr(fit, name), rel=1e-9)
    expected = wb.decompose(weights.double().numpy())
    same(found, expected, "k_rows", "k_cols", "k_core", "h_row", "h_col")


def test_a_live_module_is_a_source() -> None:
    torch = pytest.importorskip("torch")
    block = torch.nn.ModuleDict({"o_proj": torch.nn.Linear(64, 48, bias=False)})
    attention = torch.nn.ModuleDict({"self_attn": block})
    model = torch.nn.ModuleDict({"layers": torch.nn.ModuleList([attention])})
    weights = model["layers"][0]["self_attn"]["o_proj"].weight
    with torch.no_grad():
        weights.copy_(torch.from_numpy(unequal(48, 64)))
    found = wb.decompose(model)
    same(found, wb.decompose(unequal(48, 64)))
    assert found["component"].item() == "o_proj"


def test_k_and_its_errors_are_those_of_a_scan(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "tiny", layers=2, hidden=64)
    fits, found = wb.scan(path), wb.decompose(path)
    assert found.sizes["matrix"] == int((fits["status"] != "absent").sum())
    for i in range(found.sizes["matrix"]):
        one = found.isel(matrix=i)
        cell = fits.sel({dim: one[dim].item() for dim in ("model", "layer", "component", "step")})
        for name in ("k", "k_se", "lam", "r2"):
            assert one[f"{name}_raw"].item() == pytest.approx(cell[name].item(), rel=1e-9)
        assert (one["rows"].item(), one["cols"].item()) == (cell["rows"], cell["cols"])


def test_rows_are_output_features_however_they_are_stored() -> None:
    weights = unequal(96, 64)
    linear = wb.decompose({"model.layers.0.mlp.up_proj.weight": weights})
    conv1d = wb.decompose({"transformer.h.0.mlp.c_fc.weight": np.ascontiguousarray(weights.T)})
    same(linear, conv1d)
    assert linear["h_row"].item() > 3 * linear["h_col"].item()
    assert conv1d["rows"].item() == 96


def test_experts_are_taken_apart_one_by_one() -> None:
    experts = np.stack([unequal(64, 48, seed) for seed in range(3)])
    name = "model.layers.0.mlp.experts.down_proj"
    found = wb.decompose({name: experts})
    assert found["expert"].values.tolist() == [0, 1, 2]
    for expert in range(3):
        same(found.isel(matrix=[expert]), wb.decompose(experts[expert]))
    one = wb.decompose({name: experts}, select={"expert": 1})
    same(one, found.isel(matrix=[1]))


def fused_checkpoint(tmp_path: Path) -> tuple[Path, Any]:
    from safetensors.numpy import save_file

    parts = np.stack([unequal(64, 64, seed) for seed in range(3)])
    heads = parts.reshape(3, 4, 16, 64).transpose(1, 0, 2, 3).reshape(192, 64)
    save_file(
        {"gpt_neox.layers.0.attention.query_key_value.weight": np.ascontiguousarray(heads)},
        tmp_path / "model.safetensors",
    )
    (tmp_path / "config.json").write_text(
        '{"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4}', "utf-8"
    )
    return tmp_path, parts


def test_a_fused_matrix_is_whole_unless_its_part_is_named(tmp_path: Path) -> None:
    path, parts = fused_checkpoint(tmp_path)
    assert wb.decompose(path)["component"].values.tolist() == ["qkv_proj"]
    key = wb.decompose(path, select={"component": "k_proj"})
    same(key, wb.decompose(parts[1]))
    split = wb.decompose(path, fits=wb.scan(path, fused="split"))
    assert split["component"].values.tolist() == ["q_proj", "k_proj", "v_proj"]
    assert wb.decompose(path, fits=wb.scan(path))["component"].values.tolist() == ["qkv_proj"]


def test_fits_choose_the_matrices_and_the_protocol() -> None:
    run = {"run": {step: {STEM(i, "o_proj"): unequal(64, 64, i + step) for i in range(3)}
                   for step in (0, 5)}}  # fmt: skip
    fits = wb.scan(run)
    found = wb.decompose(run, fits=fits.sel(layer=[1, 2], step=[5]))
    assert found["layer"].values.tolist() == [1, 2]
    assert found["step"].values.tolist() == [5, 5]
    wider = wb.decompose(run, fits=wb.refit(fits.sel(layer=[0], step=[0]), trim=(0.05, 0.95)))
    expected = wb.fit_weibull(unequal(64, 64, 0), trim=(0.05, 0.95))
    assert wider["k_raw"].item() == pytest.approx(expected.k)
    assert wider["anchor"].item() == pytest.approx(wb.anchor(trim=(0.05, 0.95)).k)
    assert wider.attrs["trim_lower"] == 0.05
    likelihood = wb.refit(fits.sel(layer=[0], step=[0]), estimator="maximum_likelihood")
    by_likelihood = wb.decompose(run, fits=likelihood)
    weights = unequal(64, 64, 0)
    expected = wb.fit_weibull(weights, estimator="maximum_likelihood")
    assert by_likelihood["k_raw"].item() == pytest.approx(expected.k)
    assert by_likelihood["anchor"].item() == pytest.approx(1.2628, abs=1e-3)


def test_what_is_not_counted_is_listed_with_its_reason() -> None:
    source = {STEM(0, "q_proj"): np.ones((32, 32), np.int8), STEM(0, "k_proj"): unequal(32, 32)}
    found = wb.decompose(source)
    by_name = found.set_index(matrix="component")
    assert by_name["status"].sel(matrix="q_proj").item() == "quantized"
    assert "integers" in by_name["sentence"].sel(matrix="q_proj").item()
    assert by_name["status"].sel(matrix="k_proj").item() == "ok"


@pytest.mark.parametrize(
    ("select", "kind", "words"),
    [
        ({"component": "o_pro"}, ValueError, "Did you mean 'o_proj'?"),
        ({"layer": 9}, ValueError, r"must be one of 0, 1, got 9. The closest is 1."),
        ({"layer": "one"}, ValueError, "must be one of 0, 1, got 'one'."),
        ({"parameter": "model.layers.1.self_attn.o_proj"}, ValueError, "Did you mean 'model"),
        ({"layr": 0}, ValueError, "Did you mean 'layer'?"),
        ({"layer": [0], "component": "v_proj"}, ValueError, "must name a matrix that is there"),
        ({"layer": []}, ValueError, "must name a matrix that is there"),
        ("o_proj", TypeError, "must be a mapping like"),
    ],
)
def test_a_choice_of_nothing_names_what_is_there(
    select: Any, kind: type[Exception], words: str
) -> None:
    source = {STEM(i, "o_proj"): unequal(32, 32, i) for i in range(2)}
    source[STEM(1, "v_proj")] = unequal(32, 32, 5)
    with pytest.raises(kind, match=words):
        wb.decompose(source, select=select)


def test_other_bad_arguments(tmp_path: Path) -> None:
    source = {"a": {STEM(0, "o_proj"): unequal(32, 32)}}
    fits = wb.scan(source)
    with pytest.raises(TypeError, match=r"pass its path, .* and the fits as `fits=`"):
        wb.decompose(fits)
    with pytest.raises(ValueError, match=r"must have rows and columns, got an array of shape \(3,"):
        wb.decompose(np.ones((3, 4, 5)))
    with pytest.raises(ValueError, match="must hold a weight matrix"):
        wb.decompose({"a": {"model.norm.weight": np.ones(64)}})
    with pytest.raises(ValueError, match="must hold a matrix of `fits`"):
        wb.decompose({"a": {STEM(4, "o_proj"): unequal(32, 32)}}, fits=fits)
    with pytest.raises(ValueError, match="`workers` must be at least 1"):
        wb.decompose(source, workers=0)
    with pytest.raises(wb.CheckpointError):
        wb.decompose(tmp_path / "nothing")


def test_names_from_files_are_text() -> None:
    hostile = "model.layers.0.self_attn.o_proj.weight"
    found = wb.decompose({"<img src=x>\x1b[31m": {hostile: unequal(32, 32)}})
    assert "<img" not in found._repr_html_()
    assert "\x1b" not in repr(found)
    assert "'k_raw'" in str(list(found))


def test_a_run_is_taken_apart_step_by_step() -> None:
    source = {"run": {step: {STEM(0, "o_proj"): unequal(48, 48, step)} for step in (0, 10)}}
    found = wb.decompose(source)
    assert found["step"].values.tolist() == [0, 10]
    only = wb.decompose(source, select={"step": 10, "layer": range(1)})
    same(only, found.isel(matrix=[1]))
