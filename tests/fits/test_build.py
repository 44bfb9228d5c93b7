"""What a scan puts into the Dataset, against single fits and numpy."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import weibnb as wb
from tests.scanning.helpers import SHAPES, Q, llama, normal, only, write
from weibnb.counting.counts import Counts
from weibnb.fitting.estimates import ESTIMATES
from weibnb.fitting.weibull import QUANTILES

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]


def reals(fits: xr.Dataset) -> list[str]:
    return [str(name) for name, array in fits.data_vars.items() if array.dtype.kind == "f"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_estimates_are_those_of_fit_weibull(dtype: str) -> None:
    weights = llama(2, dtype=dtype)
    fits = wb.scan({"tiny": weights}, structure=False)
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
    counts = fits["counts"].item()
    assert counts.exact == (dtype == "f2")
    assert (counts.n, counts.largest) == (fits["n"].item(), fits["max_abs"].item())
    assert (counts.zeros, counts.nans, counts.infinities) == (np.count_nonzero(finite == 0), 1, 2)
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
    found = fits["counts"].sel(layer=0).item()
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.counts, counts)


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
    torch = pytest.importorskip("torch")
    save_torch = pytest.importorskip("safetensors.torch").save_file
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
    assert cell["counts"].item() == Counts()


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
