"""Where in a matrix its weights are large, held against plain sums over the whole matrix."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

import weibnb as wb
from weibnb.scanning import inside
from weibnb.scanning.inside import look_inside

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr

STEM = "model.layers.{}.self_attn.{}.weight".format


def gaussian(height: int, width: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 0.02, (height, width)).astype(np.float32)


def assert_is_a_map_of(found: xr.Dataset, weights: Any) -> None:
    """Hold every cell and line against the weights themselves."""
    weights = np.asarray(weights, float)
    ends = [
        list(zip(found[d].values, found[f"{d}_stop"].values, strict=True)) for d in ("row", "col")
    ]
    with np.errstate(all="ignore"):
        for i, rows in enumerate(ends[0]):
            for j, cols in enumerate(ends[1]):
                cell = weights[slice(*rows), slice(*cols)]
                cell = cell[np.isfinite(cell)]
                rms = np.sqrt((cell**2).mean()) if cell.size else np.nan
                most = np.abs(cell).max() if cell.size else np.nan
                np.testing.assert_allclose(found["rms"].values[i, j], rms, rtol=1e-6)
                np.testing.assert_allclose(found["largest"].values[i, j], most, rtol=1e-12)
    window = (ends[0][0][0], ends[0][-1][1]), (ends[1][0][0], ends[1][-1][1])
    part = weights[slice(*window[0]), slice(*window[1])]
    for dim, lines, spans, first in (
        ("row", part, ends[0], window[0][0]),
        ("col", part.T, ends[1], window[1][0]),
    ):
        for i, (start, stop) in enumerate(spans):
            some = np.where(np.isfinite(lines), lines, np.nan)[start - first : stop - first]
            rms = np.sqrt(np.nanmean(some**2))
            highest = np.sqrt(np.nanmean(some**2, axis=1)).max()
            np.testing.assert_allclose(found[f"{dim}_rms"].values[i], rms, rtol=1e-6)
            np.testing.assert_allclose(found[f"{dim}_highest"].values[i], highest, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 40),
    st.integers(2, 40),
    st.integers(1, 12),
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.integers(0, 99),
)
def test_every_cell_holds_its_weights(
    height: int, width: int, bins: int, top: float, left: float, seed: int
) -> None:
    weights = gaussian(height, width, seed)
    rows, cols = (int(top * height), height), (int(left * width), width)
    found = look_inside(weights, bins=bins, rows=rows, cols=cols)
    assert found.sizes["row"] == min(bins, height - rows[0])
    assert_is_a_map_of(found, weights)


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_pieces_of_any_size_give_the_same(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = gaussian(50, 70)
    whole = look_inside(weights, bins=7)
    monkeypatch.setattr(inside, "PIECE", size)
    for name, values in look_inside(weights, bins=7).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12, err_msg=str(name))


@pytest.mark.parametrize("form", ["float64", "float32", "float16", "bfloat16", "float8_e5m2"])
def test_every_format(form: str) -> None:
    torch = pytest.importorskip("torch")
    weights = torch.from_numpy(gaussian(48, 64)).to(getattr(torch, form))
    found = look_inside({STEM(0, "q_proj"): weights}, bins=6)
    assert_is_a_map_of(found, weights.double().numpy())


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_neither_vanish_nor_overflow(scale: float) -> None:
    weights = gaussian(32, 32) * np.float32(scale)
    found = look_inside(weights, bins=4)
    expected = look_inside(gaussian(32, 32), bins=4)
    np.testing.assert_allclose(found["rms"] / scale, expected["rms"], rtol=1e-5)


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    weights = gaussian(40, 40)
    weights[:10, :10] = np.nan
    weights[20, 30] = np.inf
    weights[39] = 0
    found = look_inside(weights, bins=4)
    assert np.isnan(found["rms"].values[0, 0])
    assert np.isnan(found["largest"].values[0, 0])
    assert found.attrs["nonfinite"] == 101
    assert found.attrs["zeros"] == 40
    assert found.attrs["n"] == 1600 - 141
    assert_is_a_map_of(found, weights)


def test_zeros_alone_are_a_map_of_zeros() -> None:
    found = look_inside(np.zeros((16, 16), np.float32), bins=4)
    assert (found["rms"] == 0).all()
    assert found.sizes["outlier"] == 0
    assert np.isnan(found.attrs["sigma"])


def test_outliers_stand_where_they_were_planted() -> None:
    weights = gaussian(200, 300)
    weights[17, 250], weights[180, 3] = -1.5, 0.9
    for rows in (None, (100, 120)):
        found = look_inside(weights, rows=rows)
        assert found["outlier_row"].values.tolist() == [17, 180]
        assert found["outlier_col"].values.tolist() == [250, 3]
        np.testing.assert_allclose(found["outlier_value"], [-1.5, 0.9], rtol=1e-6)
        np.testing.assert_allclose(found["outlier_z"], [-75, 45], rtol=0.02)
    assert look_inside(weights, top=1).attrs["outliers"] == 2
    assert look_inside(weights, top=1)["outlier_row"].values.tolist() == [17]


def test_sigma_is_that_of_the_body() -> None:
    weights = gaussian(300, 300)
    expected = np.median(np.abs(weights)) / 0.67449
    weights[0, :50] = 40
    assert look_inside(weights).attrs["sigma"] == pytest.approx(expected, rel=0.01)


def test_unequal_rows_and_columns_are_no_outliers() -> None:
    silent = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        scale = np.exp(rng.normal(0, 0.6, (256, 1)) + rng.normal(0, 0.4, 256))
        weights = gaussian(256, 256, seed) * scale
        assert np.abs(weights).max() > 8 * np.median(np.abs(weights))
        silent += look_inside(weights).attrs["outliers"] == 0
    assert silent >= 19
    row = int(np.argmax(np.square(weights).sum(axis=1)))
    weights[row, int(np.argmin(scale[row]))] = 30 * np.median(np.abs(weights[row]))
    assert row in look_inside(weights)["outlier_row"].values


def test_gaussian_matrices_are_silent() -> None:
    found = [look_inside(gaussian(128, 128, seed)).attrs["outliers"] for seed in range(60)]
    assert sum(number > 0 for number in found) <= 3  # 0.6 of 60 are expected


def test_transposed_storage_gives_output_features_as_rows() -> None:
    weights = gaussian(32, 96)
    weights[5, 70] = 3.0
    found = look_inside(
        {"h.3.attn.c_attn.weight": weights}, select={"component": "qkv_proj"}, bins=8, cols=(0, 16)
    )
    assert (found.attrs["rows"], found.attrs["cols"]) == (96, 32)
    assert found["outlier_row"].values.tolist() == [70]
    assert found["outlier_col"].values.tolist() == [5]
    assert_is_a_map_of(found, weights.T)


def fused(path: Path) -> Any:
    """Write a fused matrix whose heads follow each other, and give it back."""
    weights = gaussian(192, 64)
    weights[70, 11] = 2.0  # k of the second head
    config = {"model_type": "gpt_neox", "hidden_size": 64, "num_attention_heads": 4}
    name = "gpt_neox.layers.0.attention.query_key_value.weight"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    save_file({name: weights}, path / "model.safetensors")
    return weights


def test_a_part_of_a_fused_matrix_is_that_part(tmp_path: Path) -> None:
    weights = fused(tmp_path / "model")
    part = weights.reshape(4, 3, 16, 64)[:, 1].reshape(64, 64)
    source = str(tmp_path / "model")
    found = look_inside(source, select={"component": "k_proj"}, bins=5)
    assert (found.attrs["rows"], found.attrs["cols"]) == (64, 64)
    assert_is_a_map_of(found, part)
    assert found["outlier_row"].values.tolist() == [22]
    assert part[22, 11] == 2.0
    whole = look_inside(source, bins=5)
    assert whole["component"].item() == "qkv_proj"
    assert_is_a_map_of(whole, weights)
    fits = wb.scan(source, fused="split").sel(component=["k_proj"])
    assert look_inside(source, fits=fits, bins=5)["rms"].equals(found["rms"])


def test_one_expert_of_several() -> None:
    stack = np.stack([gaussian(32, 48, seed) for seed in range(3)])
    source = {"model.layers.0.mlp.experts.down_proj": stack}
    first = look_inside(source, bins=4)
    assert (first["expert"].item(), first.attrs["experts"]) == (0, 3)
    assert_is_a_map_of(first, stack[0])
    assert_is_a_map_of(look_inside(source, select={"expert": 2}, bins=4), stack[2])
    fits = wb.scan(source)
    assert look_inside(source, fits=fits, bins=4).identical(first)


def test_several_matrices_are_refused() -> None:
    source = {STEM(layer, "q_proj"): gaussian(32, 32) for layer in range(3)}
    with pytest.raises(
        ValueError, match=r"must name one matrix.*'layer': 0, 'component': 'q_proj'"
    ):
        look_inside(source)
    assert look_inside(source, select={"layer": 2})["layer"].item() == 2


def test_quantised_weights_are_refused_with_a_sentence() -> None:
    source = {STEM(0, "q_proj"): np.ones((32, 32), np.int8), STEM(1, "q_proj"): gaussian(32, 32)}
    with pytest.raises(ValueError, match=r"layer 0, q_proj .* is quantized\..*dequantise=True"):
        look_inside(source, select={"layer": 0})


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"bins": 0}, ValueError, "`bins` must be an integer from 1 to 1,000"),
        ({"bins": 2.5}, ValueError, "`bins` must be an integer"),
        ({"top": 0}, ValueError, "`top` must be an integer"),
        (
            {"rows": (3, 3)},
            ValueError,
            r"`rows` must satisfy 0 <= first < stop <= 16, got \(3, 3\)",
        ),
        ({"rows": (-1, 3)}, ValueError, "`rows` must satisfy"),
        ({"cols": (0, 25)}, ValueError, "first < stop <= 24"),
        ({"cols": 3}, TypeError, "`cols` must be two integers, got 3"),
        ({"cols": ("a", "b")}, TypeError, "`cols` must be two integers"),
    ],
)
def test_bad_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        look_inside(gaussian(16, 24), **options)
    assert look_inside(gaussian(16, 24), rows=(15, 16), cols=(23, 24)).sizes["row"] == 1


def test_a_file_is_read(tmp_path: Path) -> None:
    weights = {STEM(0, "q_proj"): gaussian(64, 64)}
    save_file(weights, tmp_path / "model.safetensors")
    assert_is_a_map_of(look_inside(tmp_path, bins=3), weights[STEM(0, "q_proj")])
