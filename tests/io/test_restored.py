"""Quantised weights: every element as the definition, or the library, restores it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest

import weibnb as wb
from tests.io.handmade import entry, pack
from weibnb.io.checkpoint import open_checkpoint
from weibnb.io.lazily import Computed
from weibnb.io.small_floats import SMALL, bfloat16_bits, values_of_bytes
from weibnb.testing import write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

UP = "model.layers.0.mlp.up_proj"
RNG = np.random.default_rng(0)
ML = {
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
    "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz,
    "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F4": ml_dtypes.float4_e2m1fn,
}


def write(path: Path, tensors: dict[str, Any]) -> None:
    """Write arrays, and bytes of a format with a shape."""
    spelling = {"uint8": "U8", "float32": "F32"}
    about, data = {}, []
    for name, one in tensors.items():
        if isinstance(one, np.ndarray):
            about[name] = spelling[one.dtype.name], one.shape
            data.append(one)
        else:
            about[name] = one[:2]
            data.append(np.frombuffer(one[2], np.uint8))
    write_safetensors(path, about, data)


def octets(*shape: int) -> NDArray[np.uint8]:
    return RNG.integers(0, 256, shape, np.uint8)


def fp4(packed: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Take bytes apart, low nibble first, with ml_dtypes' own values."""
    nibbles = np.stack([packed & 15, packed >> 4], -1).reshape(*packed.shape[:-1], -1)
    values: NDArray[np.float32] = nibbles.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    return values


def floats(checkpoint: Any, name: str) -> NDArray[np.float32]:
    """Read a restored tensor as float32, in its shape."""
    info, bits = checkpoint.tensors[name], np.asarray(checkpoint.raw(name))
    assert bits.nbytes == info.nbytes
    wide: Any = bits.view(np.float32) if info.dtype == "F32" else bits.view(ml_dtypes.bfloat16)
    values: NDArray[np.float32] = wide.astype(np.float32).reshape(info.shape)
    return values


@pytest.mark.parametrize("dtype", SMALL)
def test_the_value_of_every_byte(dtype: str) -> None:
    table = values_of_bytes(dtype)
    byte = np.arange(256, dtype=np.uint8)
    if dtype == "F4":
        np.testing.assert_array_equal(table, fp4(byte[:, None]))
        assert np.signbit(table[0x08, 0])
    else:
        np.testing.assert_array_equal(table[:, 0], byte.view(ML[dtype]).astype(np.float32))


def test_rounding_to_bfloat16() -> None:
    bits = RNG.integers(0, 2**32, 100_000, np.uint32)
    values = np.concatenate([bits, np.array([0x7F7FFFFF, 0x3F808000, 0x3F818000], "u4")]).view("f4")
    with np.errstate(invalid="ignore"):
        known = values.astype(ml_dtypes.bfloat16)
    mine = bfloat16_bits(values).view(ml_dtypes.bfloat16)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(mine.astype("f4"), known.astype("f4"))


@pytest.mark.parametrize(
    ("shape", "table", "block"),
    [
        ((256, 384), (2, 3), (128, 128)),
        ((576, 200), (5, 2), (128, 128)),  # cut at both ends
        ((130, 64), (2, 1), (128, 64)),
        ((40, 64), (), (40, 64)),
        ((40, 64), (1,), (40, 64)),
        ((40, 64), (40,), (1, 64)),
        ((40, 64), (40, 1), (1, 64)),
    ],
)
@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ"])
def test_fp8_with_scales(
    tmp_path: Path, shape: tuple[int, int], table: tuple[int, ...], block: Any, dtype: str
) -> None:
    codes = octets(*shape)
    scales = RNG.uniform(1e-4, 2, table).astype("f4")
    ending = "weight_scale_inv" if len(table) == 2 else "weight_scale"
    path = tmp_path / "m.safetensors"
    write(
        path,
        {f"{UP}.weight": (dtype, shape, codes.tobytes()), f"{UP}.{ending}": scales},
    )
    grid = scales.reshape((*table, 1) if len(table) == 1 else table or (1, 1))
    full = np.kron(grid, np.ones(block, "f4"))[: shape[0], : shape[1]]
    with open_checkpoint(path, dequantise=True) as checkpoint:
        assert set(checkpoint.tensors) == {f"{UP}.weight"}
        assert checkpoint.tensors[f"{UP}.weight"].dtype == "F32"
        found = floats(checkpoint, f"{UP}.weight")
    np.testing.assert_array_equal(found, codes.view(ML[dtype]).astype("f4") * full)


def test_fp8_as_transformers_restores_it() -> None:
    torch = pytest.importorskip("torch")
    fp8 = pytest.importorskip("transformers.integrations.finegrained_fp8")
    weights = torch.randn(256, 512, generator=torch.Generator().manual_seed(0))
    weights = weights.to(torch.float8_e4m3fn)
    scales = torch.rand(2, 4, generator=torch.Generator().manual_seed(1)) + 0.1
    known = fp8.Fp8Dequantize(None)._dequantize_one(weights, scales, torch.float32)
    with open_checkpoint({"w.weight": weights, "w.weight_scale_inv": scales}, dequantise=True) as c:
        np.testing.assert_array_equal(floats(c, "w.weight"), known.numpy())


def test_blocks_are_as_long_as_the_configuration_says(tmp_path: Path) -> None:
    import json

    codes, scales = octets(200, 200) & 0x77, RNG.uniform(1, 2, (3, 3)).astype("f4")
    write(
        tmp_path / "m.safetensors",
        {
            f"{UP}.weight": ("F8_E4M3", (200, 200), codes.tobytes()),
            f"{UP}.weight_scale_inv": scales,
        },
    )
    for side in (96, 99, None):
        told = {"quantization_config": {"weight_block_size": [side, side]}}
        (tmp_path / "config.json").write_text(json.dumps(told))
        full = np.kron(scales, np.ones([side or 128] * 2, "f4"))[:200, :200]
        with open_checkpoint(tmp_path, dequantise=True) as checkpoint:
            if side is None:  # a power of two is taken where nothing is told
                continue
            found = floats(checkpoint, f"{UP}.weight")
        np.testing.assert_array_equal(found, codes.view(ML["F8_E4M3"]).astype("f4") * full)


def test_stacks_of_fp8(tmp_path: Path) -> None:
    codes, name = octets(3, 256, 128) & 0x77, "model.layers.0.mlp.experts.down_proj"
    for table in [(3, 2, 1), (3, 1, 1), (3,), (3, 256, 1)]:
        scales = RNG.uniform(1, 2, table).astype("f4")
        path = tmp_path / "m.safetensors"
        write(
            path,
            {name: ("F8_E4M3", codes.shape, codes.tobytes()), f"{name}_scale_inv": scales},
        )
        grid = scales.reshape(3, 1, 1) if len(table) == 1 else scales
        full = np.repeat(grid, 256 // grid.shape[1], axis=1)
        with open_checkpoint(path, dequantise=True) as checkpoint:
            found = floats(checkpoint, name)
        np.testing.assert_array_equal(found, codes.view(ML["F8_E4M3"]).astype("f4") * full)


@pytest.mark.parametrize("shape", [(2, 96, 3, 16), (3, 64, 64 // 32, 16), (1, 1, 1, 16)])
def test_mxfp4_as_transformers_restores_it(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    blocks, scales = octets(*shape), RNG.integers(90, 160, shape[:-1], np.uint8)
    scales.reshape(-1)[0] = 0
    name = "model.layers.0.mlp.experts.gate_up_proj"
    path = tmp_path / "m.safetensors"
    write(path, {f"{name}_blocks": blocks, f"{name}_scales": scales})
    known = mxfp4.convert_moe_packed_tensors(torch.tensor(blocks), torch.tensor(scales))
    with open_checkpoint(path, dequantise=True) as checkpoint:
        assert checkpoint.tensors[name].shape == tuple(known.shape)
        np.testing.assert_array_equal(floats(checkpoint, name), known.float().numpy())
        bits = checkpoint.raw(name)
        whole = np.asarray(bits)
        for first, stop in [(0, 1), (5, 40), (31, 33), (bits.size // 3, bits.size), (7, 7)]:
            np.testing.assert_array_equal(np.asarray(bits[first:stop]), whole[first:stop])


def test_mxfp8(tmp_path: Path) -> None:
    codes, exponents = octets(64, 96) & 0x77, RNG.integers(110, 130, (64, 3), np.uint8)
    path = tmp_path / "m.safetensors"
    known = codes.view(ML["F8_E4M3"]).astype("f4")
    known *= np.repeat(np.ldexp(np.float32(1), exponents.astype(int) - 127), 32, 1)
    for dtype in ("U8", "F8_E8M0"):
        scale = (dtype, exponents.shape, exponents.tobytes())
        weight = ("F8_E4M3", codes.shape, codes.tobytes())
        write(path, {f"{UP}.weight": weight, f"{UP}.weight_scale": scale})
        with open_checkpoint(path, dequantise=True) as checkpoint:
            assert checkpoint.tensors[f"{UP}.weight"].dtype == "BF16"
            np.testing.assert_array_equal(floats(checkpoint, f"{UP}.weight"), known)


def test_nvfp4_of_both_libraries(tmp_path: Path) -> None:
    packed = octets(32, 40)
    small = RNG.integers(1, 0x7E, (32, 5), np.uint8)
    scales = ("F8_E4M3", small.shape, small.tobytes())
    factor = np.array([37.5], "f4")
    wide = small.view(ML["F8_E4M3"]).astype("f4")
    path = tmp_path / "m.safetensors"
    for tensors, one in (
        (  # compressed-tensors divides
            {
                f"{UP}.weight_packed": packed,
                f"{UP}.weight_scale": scales,
                f"{UP}.weight_global_scale": factor,
            },
            wide / factor,
        ),
        (  # ModelOpt multiplies
            {
                f"{UP}.weight": packed,
                f"{UP}.weight_scale": scales,
                f"{UP}.weight_scale_2": factor,
                f"{UP}.input_scale": factor,
            },
            wide * factor,
        ),
    ):
        write(path, tensors)
        with open_checkpoint(path, dequantise=True) as checkpoint:
            found = floats(checkpoint, f"{UP}.weight")
            assert "Restored 1 tensor from NVFP4, counted as F32." in checkpoint.notes
        np.testing.assert_array_equal(found, fp4(packed) * np.repeat(one, 16, 1))


def test_four_bits_of_safetensors_with_and_without_scales(tmp_path: Path) -> None:
    packed = octets(32, 40)
    path = tmp_path / "m.safetensors"
    header = {f"{UP}.weight": entry("F4", [32, 80], 0, packed.size)}
    path.write_bytes(pack(header, packed.tobytes()))
    with open_checkpoint(path, dequantise=True) as checkpoint:
        np.testing.assert_array_equal(floats(checkpoint, f"{UP}.weight"), fp4(packed))
    fits = wb.scan(path, progress=False)
    assert fits["status"].item() == "quantized"


def test_what_does_not_fit_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    codes = octets(100, 100) & 0x77
    write(
        path,
        {
            f"{UP}.weight": ("F8_E4M3", codes.shape, codes.tobytes()),
            f"{UP}.weight_scale_inv": np.ones((7, 3), "f4"),
        },
    )
    with open_checkpoint(path, dequantise=True) as checkpoint:
        assert checkpoint.tensors[f"{UP}.weight"].dtype == "F8_E4M3"
        assert "is not restored" in checkpoint.notes[0]
    assert wb.scan(path, dequantise=True, progress=False)["status"].item() == "scaled"


@pytest.mark.parametrize("structure", ["plain", "fields", "split"])
def test_a_scan_of_restored_weights_is_that_of_the_numbers(tmp_path: Path, structure: str) -> None:
    rng = np.random.default_rng(1)
    name = "model.layers.0.self_attn.q_proj.weight"
    values = rng.normal(0, 0.02, (512, 384)).astype("f4")
    values[5] = 0
    scales = rng.uniform(1e-3, 2e-3, (4, 3)).astype("f4")
    full = np.kron(scales, np.ones((128, 128), "f4"))
    codes = (values / full).astype(ml_dtypes.float8_e4m3fn)
    path = tmp_path / "q.safetensors"
    stored = ("F8_E4M3", codes.shape, codes.tobytes())
    write(path, {name: stored, f"{name}_scale_inv": scales})
    options: dict[str, Any] = {"fields": structure == "fields", "progress": False}
    fits = wb.scan(path, dequantise=True, **options)
    known = wb.scan({"q": {name: codes.astype("f4") * full}}, **options)
    assert fits["status"].item() == "ok"
    assert fits["dead_rows"].item() == 1
    names = ["k", "lam", "r2", "rms", "h_row", "h_col"]
    for one in [*names, *(["row_rms"] if structure == "fields" else [])]:
        np.testing.assert_array_equal(fits[one].values, known[one].values)
    stored_fits = wb.scan(path, **options)
    assert stored_fits["status"].item() == "scaled"
    assert stored_fits["fingerprint"].item() != fits["fingerprint"].item()


def test_experts_and_parts_of_mxfp4(tmp_path: Path) -> None:
    import json

    torch = pytest.importorskip("torch")
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    blocks, scales = octets(2, 128, 2, 16), RNG.integers(118, 122, (2, 128, 2), np.uint8)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    write(tmp_path / "m.safetensors", {f"{name}_blocks": blocks, f"{name}_scales": scales})
    config = {"model_type": "gpt_oss", "hidden_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config))
    known = mxfp4.convert_moe_packed_tensors(torch.tensor(blocks), torch.tensor(scales))
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps(config))
    bits = known.contiguous().view(torch.uint8).numpy().tobytes()
    write(plain / "m.safetensors", {name: ("BF16", tuple(known.shape), bits)})
    for fused in ("keep", "split"):
        options: Any = {"experts": "each", "fused": fused, "progress": False}
        fits = wb.scan(tmp_path, dequantise=True, **options)
        other = wb.scan(plain, **options)
        for one in ("k", "lam", "h_row", "h_col", "k_se"):
            np.testing.assert_array_equal(fits[one].values, other[one].values)
    listed = wb.scan({"q": {"layers.0.q_proj.weight": np.ones((9, 9))}, "m": tmp_path})
    assert "quantized" in wb.not_fitted(listed)["reason"].tolist()


def test_computed_arrays_are_cut_as_arrays_are() -> None:
    whole = np.arange(35).reshape(7, 5)
    asked: list[tuple[int, int]] = []

    def rows(first: int, stop: int) -> Any:
        asked.append((first, stop))
        return whole[first:stop]

    computed = Computed(7, 5, whole.dtype, rows)
    assert (computed.size, computed.shape, computed.ndim, len(computed)) == (35, (35,), 1, 35)
    for part in (slice(3, 9), slice(None), slice(10, 10), slice(-4, None)):
        np.testing.assert_array_equal(np.asarray(computed[part]), whole.reshape(-1)[part])
    matrix = computed.reshape(7, 5)
    assert (matrix.shape, matrix.ndim) == ((7, 5), 2)
    asked.clear()
    np.testing.assert_array_equal(np.asarray(matrix[2:4]), whole[2:4])
    assert asked == [(2, 4)]
    np.testing.assert_array_equal(matrix[np.array([1, 6])], whole[[1, 6]])
    np.testing.assert_array_equal(matrix.take(np.array([0, 3]), 1), whole.take([0, 3], 1))
    np.testing.assert_array_equal(np.asarray(computed[5:20].reshape(3, 5)), whole[1:4])
    np.testing.assert_array_equal(computed.reshape(5, 7), whole.reshape(5, 7))
    np.testing.assert_array_equal(np.asarray(matrix.reshape(-1)[7:9]), [7, 8])
