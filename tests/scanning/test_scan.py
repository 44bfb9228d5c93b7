"""Scans: sources, cells, statistics, experts, interruption, progress; and refits from counts."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch
from torch import nn

import weibnb as wb
from weibnb.counting import dispatch as counting
from weibnb.counting.cpu import collect
from weibnb.fitting.estimates import ESTIMATES
from weibnb.fitting.statistics import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

HIDDEN, WIDE = 48, 96
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (WIDE, HIDDEN),
    "mlp.up_proj": (WIDE, HIDDEN),
    "mlp.down_proj": (HIDDEN, WIDE),
}
ORDER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
Q = "model.layers.{}.self_attn.q_proj.weight"
EXPERT = "model.layers.{}.mlp.experts.{}.{}.weight"


def normal(*shape: int, seed: int = 0, dtype: str = "f2") -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype(dtype)


def llama(layers: int = 2, *, seed: int = 0, dtype: str = "f2") -> Weights:
    weights = {
        f"model.layers.{layer}.{name}.weight": normal(*shape, seed=seed + 10 * layer + i)
        for layer in range(layers)
        for i, (name, shape) in enumerate(SHAPES.items())
    }
    weights |= {"model.embed_tokens.weight": normal(64, HIDDEN), "model.norm.weight": normal(48)}
    return {name: array.astype(dtype) for name, array in weights.items()}


def write(directory: Path, weights: Weights, config: Mapping[str, Any] | None = None) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / "model.safetensors")
    if config is not None:
        (directory / "config.json").write_text(json.dumps(config))
    return directory


def write_shards(directory: Path, parts: list[Weights], *, index: bool) -> Path:
    directory.mkdir()
    names = [f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        save_file(part, directory / name)
    if index:
        places = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
        text = json.dumps({"metadata": {}, "weight_map": places})
        (directory / "model.safetensors.index.json").write_text(text)
    return directory


def moe(experts: int = 4, *, layers: int = 1) -> Weights:
    """Give layers whose experts differ in spread and shape of distribution."""
    weights: Weights = {}
    for layer in range(layers):
        weights |= {Q.format(layer): normal(HIDDEN, HIDDEN, seed=layer)}
        for name in ("gate_proj", "down_proj"):
            for i in range(experts):
                draws = normal(32, HIDDEN, seed=100 + 10 * layer + i).astype(float)
                shaped = np.sign(draws) * np.abs(draws) ** (1 + 0.1 * i)
                weights[EXPERT.format(layer, i, name)] = shaped.astype("f2")
    return weights


def reals(fits: xr.Dataset) -> list[str]:
    return [str(name) for name, array in fits.data_vars.items() if array.dtype.kind == "f"]


def same_estimates(one: xr.Dataset, other: xr.Dataset) -> None:
    for name in ESTIMATES:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)
    assert one["status"].values.tolist() == other["status"].values.tolist()


def only(fits: xr.Dataset, name: str, **where: Any) -> Any:
    """Give the one value of a variable at a place."""
    return fits[name].sel(where).squeeze().item()


# --- sources


@pytest.mark.parametrize("kind", ["file", "directory", "index", "no index"])
def test_a_checkpoint_on_disk_is_one_model(tmp_path: Path, kind: str) -> None:
    weights = llama(12)
    names = sorted(weights, reverse=True)
    parts = [{name: weights[name] for name in names[i::3]} for i in range(3)]
    if kind in ("file", "directory"):
        path = write(tmp_path / "tiny", weights)
        path = path / "model.safetensors" if kind == "file" else path
    else:
        path = write_shards(tmp_path / "tiny", parts, index=kind == "index")
    fits = wb.scan(path)
    assert fits["k"].dims == ("model", "layer", "component", "step")
    assert fits["model"].values.tolist() == ["model" if kind == "file" else "tiny"]
    assert fits["layer"].values.tolist() == list(range(12))
    assert fits["component"].values.tolist() == ORDER
    assert fits["step"].values.tolist() == [0]
    assert (fits["status"] == "ok").all()
    assert fits["source"].item() == str(path)
    same_estimates(fits, wb.scan({"tiny": weights}))


def test_several_models_keep_their_order_and_share_a_grid(tmp_path: Path) -> None:
    folder, file = write(tmp_path / "x", llama(2)), write(tmp_path / "y", llama(3, seed=7))
    fits = wb.scan({"b": folder, "a": file / "model.safetensors"})
    assert fits["model"].values.tolist() == ["b", "a"]
    assert fits["layer"].values.tolist() == [0, 1, 2]
    assert (fits["status"].sel(model="b", layer=2) == "absent").all()
    assert fits["k"].sel(model="b", layer=2).isnull().all()
    assert (fits["counts"].sel(model="b", layer=2) == 0).all()
    same_estimates(fits.sel(model=["a"]), wb.scan({"a": llama(3, seed=7)}))


def test_run_given_as_a_mapping(tmp_path: Path) -> None:
    late = write(tmp_path / "late", llama(1, seed=1))
    fits = wb.scan({"run": {np.int64(1000): late, 0: llama(1)}})
    assert fits["step"].values.tolist() == [0, 1000]
    same_estimates(fits.sel(step=[1000]), wb.scan({"run": {1000: llama(1, seed=1)}}))


def test_run_directory(tmp_path: Path) -> None:
    for i, name in enumerate(["global_step3000", "step0", "checkpoint-2000", "step-1000"]):
        write(tmp_path / "run" / name, llama(1, seed=i))
    (tmp_path / "run" / "logs").mkdir()
    fits = wb.scan(tmp_path / "run")
    assert fits["model"].values.tolist() == ["run"]
    assert fits["step"].values.tolist() == [0, 1000, 2000, 3000]
    same_estimates(fits.sel(step=[3000]), wb.scan({"run": {3000: llama(1)}}))
    assert fits["source"].sel(step=2000).item() == str(tmp_path / "run" / "checkpoint-2000")
    assert len(set(fits["fingerprint"].values.ravel())) == 4


def test_final_weights_beside_the_steps_are_not_dropped_silently(tmp_path: Path) -> None:
    run = write(tmp_path / "run", llama(1))
    write(run / "checkpoint-500", llama(1, seed=1))
    fits = wb.scan(run)
    listed = wb.not_fitted(fits)
    reasons = " ".join(listed["reason"])
    assert fits.sizes["step"] == 2 or "model.safetensors" in reasons


def test_step_in_the_name_of_one_checkpoint(tmp_path: Path) -> None:
    assert wb.scan(write(tmp_path / "checkpoint-0250", llama(1)))["step"].item() == 250
    assert wb.scan(write(tmp_path / "step0", llama(1)))["step"].item() == 0


def test_hub_cache_gives_the_name_of_the_repository(tmp_path: Path) -> None:
    path = tmp_path / "models--org--name" / "snapshots" / "0a1b"
    assert wb.scan(write(path, llama(1)))["model"].item() == "org/name"


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attn = nn.ModuleDict(
            {name: nn.Linear(HIDDEN, HIDDEN, bias=False) for name in ("q_proj", "o_proj")}
        )
        self.mlp = nn.ModuleDict({"up_proj": nn.Linear(HIDDEN, WIDE)})


class Config:
    def to_dict(self) -> dict[str, Any]:
        return {"model_type": "tiny", "num_attention_heads": 6}


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([Block(), Block()])})
        self.config = Config()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_module_state_dict_and_file_agree(tmp_path: Path, dtype: torch.dtype) -> None:
    module = Decoder().to(dtype)
    save_torch(module.state_dict(), tmp_path / "module.safetensors")
    from_file = wb.scan(tmp_path / "module.safetensors")
    from_module, from_state = wb.scan(module), wb.scan({"module": module.state_dict()})
    assert from_module["model"].item() == "Decoder"
    assert from_module["n_heads"].item() == 6
    assert from_module["model_type"].item() == "tiny"
    assert from_file["component"].values.tolist() == ["q_proj", "o_proj", "up_proj"]
    for fits in (from_module, from_state, wb.scan(module.state_dict())):
        same_estimates(fits, from_file)
        np.testing.assert_array_equal(fits["counts"], from_file["counts"])
    weight = module.state_dict()["model.layers.1.mlp.up_proj.weight"]
    direct = wb.fit_weibull(weight)
    assert only(from_module, "k", layer=1, component="up_proj") == direct.k
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_meta_module_is_unreadable_beside_others() -> None:
    with torch.device("meta"):
        module = Decoder()
    fits = wb.scan({"meta": module, "real": llama(1)})
    assert (fits["status"].sel(model="meta", layer=1, component="q_proj") == "unreadable").all()
    assert fits["k"].sel(model="meta").isnull().all()
    assert (fits["status"].sel(model="real", layer=0) == "ok").all()
    listed = wb.not_fitted(fits)
    assert (listed["reason"] == "unreadable").sum() == 6


def test_meta_module_alone() -> None:
    with torch.device("meta"):
        fits = wb.scan(Decoder())
    assert (fits["status"] == "unreadable").all()
    assert fits["k"].isnull().all()


# --- what a cell says


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_estimates_are_those_of_fit_weibull(dtype: str) -> None:
    weights = llama(2, dtype=dtype)
    fits = wb.scan({"tiny": weights})
    for layer in range(2):
        for name in SHAPES:
            direct = wb.fit_weibull(weights[f"model.layers.{layer}.{name}.weight"])
            where = {"layer": layer, "component": name.rpartition(".")[2]}
            for estimate in ESTIMATES:
                assert only(fits, estimate, **where) == getattr(direct, estimate)
            assert only(fits, "n", **where) == direct.n
            assert only(fits, "status", **where) == direct.status == "ok"


def test_k_of_a_gaussian_is_the_anchor() -> None:
    weights = {Q.format(0): np.random.default_rng(0).normal(0, 0.02, (512, 512)).astype("f4")}
    fits = wb.scan({"gauss": weights})
    assert abs(fits["k"].item() - 1.205434) < 4 * fits["k_se"].item() < 0.02
    assert abs(fits["lam"].item() / 0.02 - 0.887487) < 0.006
    assert abs(fits["kurtosis"].item() - 3) < 0.05


@pytest.mark.parametrize(("dtype", "tolerance"), [("f2", 1e-12), ("f4", 3e-3), ("f8", 3e-3)])
def test_plain_statistics_are_those_of_numpy(dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(3)
    array = (rng.standard_t(5, (90, 70)) * 0.03).astype(dtype)
    array[:4] = 0
    array[5, :3] = np.nan, np.inf, -np.inf
    fits = wb.scan({"tiny": {Q.format(4): array, Q.format(5): normal(20, 30)}}).sel(layer=[4])
    finite = np.abs(array[np.isfinite(array)].astype(float))
    assert fits["status"].item() == "nonfinite"
    assert fits["n"].item() == np.count_nonzero(finite)
    assert fits["nonfinite"].item() == 3
    assert fits["zero_fraction"].item() == np.mean(finite == 0)
    assert fits["max_abs"].item() == finite.max()
    assert (fits["rows"].item(), fits["cols"].item()) == (90, 70)
    assert fits["parameter"].item() == Q.format(4)
    assert fits["dtype"].item() == {"f2": "F16", "f4": "F32", "f8": "F64"}[dtype]
    assert fits["n_matrices"].item() == 1
    assert fits["counts_exact"].item() == (dtype == "f2")
    assert fits["counts"].sum() == fits["n"]
    for name, value in {
        "rms": np.sqrt(np.mean(finite**2)),
        "mean_abs": finite.mean(),
        "kurtosis": np.mean(finite**4) / np.mean(finite**2) ** 2,
    }.items():
        assert fits[name].item() == pytest.approx(value, rel=tolerance)
    # a quantile lies between the order statistics beside it, within a bin's width
    ordered = np.sort(finite)
    for q in QUANTILES:
        value = fits["magnitude_quantile"].sel(quantile=q).item()
        at = q * finite.size
        low = ordered[max(int(np.floor(at)) - 1, 0)]
        high = ordered[min(int(np.ceil(at)), finite.size - 1)]
        assert low * (1 - 1 / 256) <= value <= high * (1 + 1 / 256), q


def test_counts_are_those_of_numpy() -> None:
    array = normal(60, 50)
    fits = wb.scan({"tiny": {Q.format(0): array, Q.format(1): normal(40, 40, seed=2)}})
    values, counts = np.unique(np.abs(array[array != 0]).astype(float), return_counts=True)
    row = fits["counts"].sel(layer=0).squeeze()
    there = row[row > 0]
    np.testing.assert_array_equal(there["magnitude"], values)
    np.testing.assert_array_equal(there, counts)
    assert (np.diff(fits["magnitude"]) > 0).all()


def test_coordinates_of_components_and_attributes() -> None:
    weights = {
        f"encoder.block.0.layer.0.SelfAttention.{leaf}.weight": normal(32, 32) for leaf in "qkvo"
    } | {"decoder.block.0.layer.1.EncDecAttention.q.weight": normal(32, 32)}
    fits = wb.scan({"t5": weights}, trim=(0.05, 0.95))
    classes = dict(zip(fits["component"].values, fits["weight_class"].values, strict=True))
    assert classes == {
        "decoder.cross.q_proj": "selection",
        "encoder.q_proj": "selection",
        "encoder.k_proj": "selection",
        "encoder.v_proj": "value",
        "encoder.o_proj": "transmission",
    }
    assert fits["tower"].values.tolist() == ["decoder", *["encoder"] * 4]
    assert (fits.attrs["trim_lower"], fits.attrs["trim_upper"]) == (0.05, 0.95)
    assert fits.attrs["estimator"] == "rank_regression"
    assert fits.attrs["weibnb_version"] == wb.__version__
    assert time.strptime(fits.attrs["created"][:19], "%Y-%m-%dT%H:%M:%S")
    assert fits["k"].attrs == {"long_name": "Weibull shape k", "units": "1"}
    assert fits["lam"].attrs["long_name"] == "Weibull scale λ"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {
                "model_type": "llama",
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "num_hidden_layers": 16,
                "hidden_size": 2048,
                "tie_word_embeddings": True,
            },
            ("llama", "yes", 32, 8, 16, 2048),
        ),
        (
            {"model_type": "gpt2", "n_head": 12, "n_layer": 6, "n_embd": 768},
            ("gpt2", "", 12, 12, 6, 768),
        ),
        (
            {"model_type": "gpt_bigcode", "n_head": 12, "multi_query": True},
            ("gpt_bigcode", "", 12, 1, np.nan, np.nan),
        ),
        (
            {
                "model_type": "qwen2_vl",
                "tie_word_embeddings": False,
                "vision_config": {"hidden_size": 1280, "num_attention_heads": 99},
                "text_config": {
                    "model_type": "qwen2",
                    "num_attention_heads": 28,
                    "num_key_value_heads": 4,
                    "num_hidden_layers": 28,
                    "hidden_size": 3584,
                },
            },
            ("qwen2_vl", "no", 28, 4, 28, 3584),
        ),
        (None, ("", "", np.nan, np.nan, np.nan, np.nan)),
        ({"text_config": "odd", "n_head": True}, ("", "", np.nan, np.nan, np.nan, np.nan)),
        ({"tie_word_embeddings": [1]}, ("", "", np.nan, np.nan, np.nan, np.nan)),
        ({"n_layers": 10**400}, ("", "", np.nan, np.nan, np.nan, np.nan)),
    ],
    ids=["llama", "gpt2", "multi-query", "multimodal", "none", "odd", "list", "huge"],
)
def test_config_in_coordinates(
    tmp_path: Path, config: dict[str, Any] | None, expected: tuple[Any, ...]
) -> None:
    fits = wb.scan(write(tmp_path / "m", {Q.format(0): normal(20, 20)}, config))
    names = ("model_type", "tied_embeddings", "n_heads", "n_kv_heads", "n_layers", "hidden_size")
    found = [fits[name].sel(model="m").item() for name in names]
    assert found[:2] == list(expected[:2])
    np.testing.assert_array_equal(found[2:], expected[2:])


def test_conv1d_rows_are_output_features() -> None:
    weights = {
        "h.0.attn.c_attn.weight": normal(32, 96),
        "h.0.mlp.c_fc.weight": normal(32, 128),
        "h.0.mlp.c_proj.weight": normal(128, 32),
    }
    fits = wb.scan({"gpt2": weights})
    shapes = {
        name: (only(fits, "rows", component=name), only(fits, "cols", component=name))
        for name in fits["component"].values
    }
    assert shapes == {"qkv_proj": (96, 32), "up_proj": (128, 32), "down_proj": (32, 128)}
    assert only(fits, "k", component="qkv_proj") == wb.fit_weibull(normal(32, 96)).k


@pytest.mark.parametrize("ending", ["weight_scale_inv", "weight_scale"])
def test_scaled_fp8(tmp_path: Path, ending: str) -> None:
    weight = torch.from_numpy(normal(64, 64, dtype="f4") * 50).to(torch.float8_e4m3fn)
    stem = Q.format(0).removesuffix("weight")
    tensors = {stem + "weight": weight, stem + ending: torch.ones(1), Q.format(1): weight.clone()}
    save_torch(tensors, tmp_path / "fp8.safetensors")
    fits = wb.scan(tmp_path / "fp8.safetensors")
    assert fits["status"].values.ravel().tolist() == ["scaled", "ok"]
    direct = wb.fit_weibull(weight.float().numpy())
    np.testing.assert_allclose(fits["k"].values.ravel(), direct.k, rtol=1e-12)
    assert fits["dtype"].values.ravel().tolist() == ["F8_E4M3"] * 2
    listed = wb.not_fitted(fits).set_index("tensor")["reason"]
    assert listed[stem + "weight"] == "scaled"
    assert listed[stem + ending] == "quantisation"


@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "?"])
def test_integers_are_quantized(dtype: str) -> None:
    whole = (normal(30, 30, dtype="f4") * 1000).astype(dtype)
    fits = wb.scan({"tiny": {Q.format(0): whole, Q.format(1): normal(30, 30)}})
    assert fits["status"].values.ravel().tolist() == ["quantized", "ok"]
    cell = fits.sel(layer=0)
    assert all(cell[name].isnull().all() for name in reals(fits))
    assert cell["rows"].item() == 30
    assert cell["n"].item() == 0
    assert cell["counts"].sum() == 0


def test_complex_is_an_unsupported_dtype() -> None:
    weights = {Q.format(0): np.ones((20, 20), "c8"), Q.format(1): normal(20, 20)}
    assert wb.scan({"tiny": weights})["status"].values.ravel().tolist() == [
        "unsupported_dtype",
        "ok",
    ]


def test_duplicates_of_a_cell_are_listed() -> None:
    first, second = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.attn.q_proj.weight"
    fits = wb.scan({"tiny": {first: normal(30, 30), second: normal(40, 40)}})
    used = fits["parameter"].item()
    (other,) = {first, second} - {used}
    listed = wb.not_fitted(fits)
    assert listed["tensor"].tolist() == [other]
    assert used in listed["reason"].item()


# --- experts


def test_median_over_experts() -> None:
    weights = moe(4, layers=2)
    fits = wb.scan({"moe": weights})
    assert fits["k"].dims == ("model", "layer", "component", "step")
    assert fits["counts"].sizes["expert"] == 5
    for layer in range(2):
        singles = [wb.fit_weibull(weights[EXPERT.format(layer, i, "gate_proj")]) for i in range(4)]
        where = {"layer": layer, "component": "gate_proj"}
        for name in ESTIMATES:
            expected = float(np.median([getattr(one, name) for one in singles]))
            assert only(fits, name, **where) == expected
        assert only(fits, "n_matrices", **where) == 4
        assert only(fits, "status", **where) == "ok"
        assert only(fits, "parameter", **where) == EXPERT.format(layer, "*", "gate_proj")
        arrays = [np.abs(weights[EXPERT.format(layer, i, "gate_proj")]) for i in range(4)]
        assert only(fits, "max_abs", **where) == max(array.max() for array in arrays)
        rms = np.median([np.sqrt(np.mean(array.astype(float) ** 2)) for array in arrays])
        assert only(fits, "rms", **where) == pytest.approx(rms, rel=1e-12)
    assert only(fits, "n_matrices", layer=0, component="q_proj") == 1
    assert only(fits, "parameter", layer=0, component="q_proj") == Q.format(0)
    assert only(fits, "k", layer=0, component="q_proj") == wb.fit_weibull(weights[Q.format(0)]).k


def test_each_expert() -> None:
    weights = moe(3)
    fits = wb.scan({"moe": weights}, experts="each")
    assert fits["k"].dims == ("model", "layer", "component", "step", "expert")
    assert fits["expert"].values.tolist() == [-1, 0, 1, 2]
    for i in range(3):
        where = {"component": "down_proj", "expert": i}
        array = weights[EXPERT.format(0, i, "down_proj")]
        assert only(fits, "k", **where) == wb.fit_weibull(array).k
        assert only(fits, "parameter", **where) == EXPERT.format(0, i, "down_proj")
    assert only(fits, "status", component="down_proj", expert=-1) == "absent"
    assert only(fits, "status", component="q_proj", expert=-1) == "ok"
    assert only(fits, "status", component="q_proj", expert=2) == "absent"


@pytest.mark.parametrize("experts", ["median", "each"])
def test_stacked_experts_equal_single_ones(experts: Literal["median", "each"]) -> None:
    single = {EXPERT.format(0, i, "gate_up_proj"): normal(32, 48, seed=i) for i in range(3)}
    stacked = {"model.layers.0.mlp.experts.gate_up_proj": np.stack(list(single.values()))}
    one, other = (
        wb.scan({"moe": weights | {Q.format(0): normal(20, 20)}}, experts=experts)
        for weights in (single, stacked)
    )
    same_estimates(one, other)
    np.testing.assert_array_equal(one["counts"], other["counts"])
    where = {"component": "gate_up_proj"} | ({"expert": 1} if experts == "each" else {})
    assert only(other, "parameter", **where) == "model.layers.0.mlp.experts.gate_up_proj"
    assert only(other, "n_matrices", **where) == (1 if experts == "each" else 3)
    assert (only(other, "rows", **where), only(other, "cols", **where)) == (32, 48)


def test_stack_and_single_expert_of_one_cell_do_not_overwrite() -> None:
    stack = "model.layers.0.mlp.experts.gate_up_proj"
    single = EXPERT.format(0, 1, "gate_up_proj")
    weights = {stack: normal(4, 32, 32), single: 3 * normal(32, 32, seed=9)}
    fits = wb.scan({"moe": weights}, experts="each")
    kept = set(fits["parameter"].values.ravel()) - {""}
    listed = set(wb.not_fitted(fits)["tensor"])
    assert kept | listed == {stack, single}


@pytest.mark.parametrize("experts", ["each", "median"])
def test_dense_matrix_is_not_pooled_with_experts_of_its_name(experts: Any) -> None:
    dense = "model.layers.0.mlp.gate_proj.weight"
    weights = moe(2) | {dense: 5 * normal(64, 48, seed=5)}
    fits = wb.scan({"moe": weights}, experts=experts)
    listed = wb.not_fitted(fits).set_index("tensor")["reason"]
    assert "taken by model.layers.0.mlp.experts.0.gate_proj.weight" in listed[dense]
    assert fits["n_matrices"].sel(component="gate_proj").sum() == 2


@pytest.mark.parametrize("bad", ["zeros", "nan", "int8"])
def test_one_bad_expert_makes_a_partial_cell(bad: str) -> None:
    weights = moe(4)
    name = EXPERT.format(0, 2, "gate_proj")
    if bad == "int8":
        weights[name] = np.ones((32, HIDDEN), "i1")
    else:
        weights[name] = np.full_like(weights[name], 0 if bad == "zeros" else np.nan)
    fits = wb.scan({"moe": weights})
    assert only(fits, "status", component="gate_proj") == "partial"
    assert only(fits, "status", component="down_proj") == "ok"
    good = [wb.fit_weibull(weights[EXPERT.format(0, i, "gate_proj")]).k for i in (0, 1, 3)]
    assert only(fits, "k", component="gate_proj") == float(np.median(good))
    each = wb.scan({"moe": weights}, experts="each")
    word = {"zeros": "all_zero", "nan": "no_finite", "int8": "quantized"}[bad]
    assert only(each, "status", component="gate_proj", expert=2) == word
    assert "partial" in wb.not_fitted(fits)["reason"].tolist()
    same_estimates(wb.refit(fits), fits)


# --- options


def test_without_counts() -> None:
    fits = wb.scan({"tiny": llama(1)}, keep_counts=False)
    assert not {"counts", "counts_exact", "bin", "magnitude"} & set(fits.variables)
    same_estimates(fits, wb.scan({"tiny": llama(1)}))
    with pytest.raises(ValueError, match="keep_counts=True"):
        wb.refit(fits)


def test_workers_do_not_change_results(tmp_path: Path) -> None:
    path = write(tmp_path / "tiny", llama(2) | moe(3))
    one, two = wb.scan(path, workers=1), wb.scan(path, workers=2)
    one.attrs["created"] = two.attrs["created"]
    xr.testing.assert_identical(one, two)


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pieces: Any) -> Any:
        time.sleep(0.25)
        return collect(pieces)

    monkeypatch.setattr(counting, "collect", slow)
    weights = {Q.format(layer): normal(30, 30) for layer in range(4)}
    wb.scan({"tiny": weights}, progress=True)
    shown = capsys.readouterr()
    assert "tiny" in shown.err
    assert Q.format(3) in shown.err
    assert "%" in shown.err
    assert shown.out == ""
    wb.scan({"tiny": weights}, progress=False)
    assert capsys.readouterr() == ("", "")


def test_quick_work_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    wb.scan({"tiny": {Q.format(0): normal(30, 30)}}, progress=True)
    assert "%" not in capsys.readouterr().err


def test_interrupt_keeps_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def stop(pieces: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return collect(pieces)

    monkeypatch.setattr(counting, "collect", stop)
    weights = llama(2)
    with pytest.raises(wb.ScanInterrupted, match="3 matrices") as caught:
        wb.scan({"tiny": weights})
    assert isinstance(caught.value, KeyboardInterrupt)
    fits = caught.value.fits
    assert fits is not None
    done = fits["status"].values == "ok"
    assert done.sum() == 3
    name = str(fits["parameter"].values[done][0])
    assert fits["k"].values[done][0] == wb.fit_weibull(weights[name]).k
    calls[:] = [1, 1, 1]
    with pytest.raises(wb.ScanInterrupted) as nothing:
        wb.scan({"tiny": weights})
    assert nothing.value.fits is None


# --- refit

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
    fits = wb.scan(SOURCE, experts=experts)
    file = wb.save_fits(fits, tmp_path_factory.mktemp(experts) / "fits.nc")
    return fits, file, experts


@pytest.mark.parametrize(("trim", "estimator"), PROTOCOLS)
def test_refit_is_a_scan_by_that_protocol(
    scanned: tuple[xr.Dataset, Path, Literal["median", "each"]], trim: Any, estimator: Any
) -> None:
    fits, file, experts = scanned
    before = fits.copy(deep=True)
    expected = wb.scan(SOURCE, trim=trim, estimator=estimator, experts=experts)
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
    narrow = wb.scan({"a": weights}, trim=(0.6, 0.62))
    assert narrow["status"].item() == "degenerate"
    same_estimates(wb.refit(narrow, trim=(0.1, 0.9)), wb.scan({"a": weights}))


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
