"""Predicted quantisation noise, held against really quantising."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import weibnb as wb
from scripts.quantisation_errors import rounded, sqnr
from tests.hostile import NAMES
from weibnb.diagnostics.number_formats import NUMBER_FORMATS
from weibnb.diagnostics.rounding import PER_OCTAVE, row_scales

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.diagnostics.quantisation import Block

    Array = NDArray[Any]

FORMATS = list(NUMBER_FORMATS)
SYMMETRIC = ["int8", "int4", "fp8_e4m3"]
NAME = "model.layers.{}.mlp.{}_proj.weight".format


def draws(seed: int = 0, shape: tuple[int, int] = (256, 256)) -> Array:
    return np.random.default_rng(seed).normal(0, 0.02, shape)


def fits_of(weights: Array, **options: Any) -> xr.Dataset:
    return wb.scan({"m": {NAME(0, "up"): weights}}, progress=False, **options)


def predicted(weights: Array, block: Block = None, **options: Any) -> dict[str, float]:
    found = wb.quantisation(fits_of(weights, **options), block=block).predicted["sqnr"]
    return dict(zip(FORMATS, found.values.ravel().tolist(), strict=True))


def real(weights: Array, block: Block = None) -> dict[str, float]:
    found = {name: sqnr(weights, form, block) for name, form in NUMBER_FORMATS.items()}
    return {name: math.inf if value > 150 else value for name, value in found.items()}


# what the referee itself is


def test_the_referee_rounds_to_levels_by_hand() -> None:
    weights = np.array([[7.5, -7.5, 0.4, 1.6]])
    assert rounded(weights, NUMBER_FORMATS["int4"], None).tolist() == [[7, -7, 0, 2]]  # or -8
    # the largest lies in [4, 8): scale 1; 7.5 becomes the last level, 6
    assert rounded(weights, NUMBER_FORMATS["mxfp4"], None).tolist() == [[6, -6, 0.5, 1.5]]
    assert rounded(weights / 8, NUMBER_FORMATS["mxfp4"], None).tolist() == [
        [0.75, -0.75, 0.0625, 0.1875]
    ]
    assert rounded(weights, NUMBER_FORMATS["nf4"], None)[0, 0] == 7.5


def test_levels_are_those_of_the_formats() -> None:
    e4m3 = np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(float)
    assert np.array_equal(NUMBER_FORMATS["fp8_e4m3"].levels, np.unique(e4m3[np.isfinite(e4m3)]))
    e2m1 = np.arange(16, dtype=np.uint8).view(ml_dtypes.float4_e2m1fn).astype(float)
    assert np.array_equal(NUMBER_FORMATS["mxfp4"].levels, np.unique(e2m1))
    assert [NUMBER_FORMATS[name].levels.size for name in ("int8", "int4", "nf4")] == [256, 16, 16]
    assert [form.symmetric for form in NUMBER_FORMATS.values()] == [True, True, True, False, True]


# one scale for a matrix


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, ml_dtypes.float8_e4m3fn])
def test_one_scale_and_few_bits_are_exact(dtype: Any) -> None:
    weights = (draws() * 100).astype(dtype)
    found, truth = predicted(weights), real(weights)
    for name in SYMMETRIC:
        assert found[name] == pytest.approx(truth[name], abs=1e-9)
    assert found["nf4"] == pytest.approx(truth["nf4"], abs=0.05)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.floats(-65504, 65504, width=16),
        min_size=2,
        max_size=60,
    ).filter(any)
)
def test_one_scale_is_exact_whatever_the_weights(values: list[float]) -> None:
    weights = np.array([values, values], np.float16)
    found, truth = predicted(weights), real(weights)
    for name in SYMMETRIC:
        assert found[name] == pytest.approx(truth[name], abs=1e-6)


def test_float32_is_known_to_the_width_of_a_bin() -> None:
    weights = draws().astype(np.float32)
    found, truth = predicted(weights), real(weights)
    for name in SYMMETRIC:
        assert found[name] == pytest.approx(truth[name], abs=0.01)


def test_the_sign_of_skewed_weights_is_not_known() -> None:
    weights = (draws() + 15 * draws() ** 2).astype(ml_dtypes.bfloat16)
    found, truth = predicted(weights), real(weights)
    assert found["int4"] == pytest.approx(truth["int4"], abs=1e-9)
    assert 0.05 < abs(found["nf4"] - truth["nf4"]) < 1


@pytest.mark.parametrize("factor", [2.0**-20, 2.0**7])
def test_scaling_by_a_power_of_two_changes_nothing(factor: float) -> None:
    weights = draws().astype(np.float32)
    for block in (None, "row", 32):
        one, other = predicted(weights, block), predicted(weights * np.float32(factor), block)
        assert one == pytest.approx(other, abs=1e-9)


# rows and blocks


@pytest.mark.parametrize("block", ["row", 128, 32, 100, 1])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float32])
def test_blocks_follow_from_the_largest_weight_of_each(block: Block, dtype: Any) -> None:
    weights = draws(1, (512, 512)).astype(dtype)
    found, truth = predicted(weights, block), real(weights, block)
    for name in FORMATS:
        assert found[name] == pytest.approx(truth[name], abs=0.06), name


@pytest.mark.parametrize("block", ["row", 32])
def test_heavy_tails_and_outliers(block: Block) -> None:
    rng = np.random.default_rng(3)
    heavy = (rng.standard_t(4, (512, 512)) * 0.02).astype(ml_dtypes.bfloat16)
    spiky = draws(4, (512, 512))
    spiky[rng.integers(0, 512, 20), rng.integers(0, 512, 20)] *= 30
    for weights in (heavy, spiky.astype(ml_dtypes.bfloat16)):
        found, truth = predicted(weights, block), real(weights, block)
        for name in FORMATS:
            assert found[name] == pytest.approx(truth[name], abs=0.2), name


@pytest.mark.parametrize("block", ["row", 128, 32])
def test_scales_of_rows_are_taken_out_where_they_are_known(block: Block) -> None:
    rng = np.random.default_rng(5)
    weights = draws(6, (1024, 512)) * np.exp(0.5 * rng.normal(size=(1024, 1)))
    weights = weights.astype(ml_dtypes.bfloat16)
    truth = real(weights, block)
    known = predicted(weights, block, fields=True)
    blind = predicted(weights, block, structure=False)
    for name in FORMATS:
        assert known[name] == pytest.approx(truth[name], abs=0.25), name
    assert blind["int8"] < truth["int8"] - 2  # taken for heavy tails
    assert predicted(weights, block)["int8"] > blind["int8"]  # the spread of rows alone


@given(st.floats(0.05, 1.0), st.integers(32, 4096))
def test_scales_of_rows_have_the_spread_that_is_free_of_noise(h: float, number: int) -> None:
    rng = np.random.default_rng(number)
    noisy = np.exp(h * 1.3 * rng.normal(size=number))
    for rms in (None, noisy):
        scales = row_scales(h, rms)
        assert scales is not None
        octaves = np.arange(-scales.reach, scales.reach + 1) / PER_OCTAVE
        mean = (scales.share * octaves).sum()
        spread = np.sqrt((scales.share * (octaves - mean) ** 2).sum()) * np.log(2)
        assert spread == pytest.approx(min(h, np.log(noisy).std()) if rms is noisy else h, rel=0.05)
    assert row_scales(0.01, noisy) is None
    assert row_scales(float("nan"), None) is None


def test_rows_of_zeros_alone_are_no_part_of_the_others() -> None:
    weights = draws(7, (512, 256)) * np.exp(0.4 * np.random.default_rng(7).normal(size=(512, 1)))
    weights[::4] = 0
    truth, found = real(weights, 32), predicted(weights, 32, fields=True)
    for name in FORMATS:
        assert found[name] == pytest.approx(truth[name], abs=0.25), name


def test_the_basis_says_what_a_number_rests_on() -> None:
    rows = draws() * np.exp(0.5 * np.random.default_rng(0).normal(size=(256, 1)))

    def basis(weights: Array, block: Block, **options: Any) -> list[str]:
        found = wb.quantisation(fits_of(weights, **options), block=block).predicted
        return [str(word) for word in found["basis"].values.ravel()]

    half = rows.astype(np.float16)
    assert basis(half, None) == ["exact", "exact", "exact", "even signs", "h_row"]
    assert basis(rows.astype(np.float32), None)[:4] == ["bins"] * 3 + ["even signs"]
    assert basis(half, "row") == ["h_row"] * 5
    assert basis(half, 32, fields=True) == ["row_rms"] * 5
    assert basis(half, 32, structure=False) == ["equal rows"] * 5


# what there is no number for


def test_nothing_is_silently_nan() -> None:
    nothing, bad = np.zeros((20, 20)), draws(8, (20, 20)).astype(np.float32)
    bad[0, 0] = np.nan
    source = {
        NAME(0, "up"): nothing,
        NAME(1, "up"): np.full((20, 20), -0.5),
        NAME(2, "up"): bad,
        NAME(3, "up"): draws(9, (4, 4)),
        NAME(4, "up"): np.arange(400).reshape(20, 20),
    }
    found = wb.quantisation(wb.scan({"m": source}, progress=False), formats=["fp8_e4m3", "int4"])
    words = found.predicted["status"].isel(model=0, step=0, component=0).values.tolist()
    assert [one[0] for one in words[:4]] == ["all_zero", "lossless", "nonfinite", "ok"]
    assert words[1] == ["lossless", "ok"]  # -0.5 is a level of fp8, and lies between those of int4
    sqnr_of = found.predicted["sqnr"].isel(model=0, step=0, component=0).values
    assert np.isnan(sqnr_of[0]).all()
    assert np.isinf(sqnr_of[1, 0])
    assert np.isfinite(sqnr_of[2:]).all() | np.isin(words[4][0], ["quantized"])


def test_published_tables_have_no_counts() -> None:
    found = wb.quantisation(wb.reference_cohort())
    there = found.predicted["status"].values != "absent"
    assert set(found.predicted["status"].values[there]) == {"no counts"}
    assert np.isnan(found.predicted["sqnr"]).all()
    assert set(found.table["status"]) == {"no counts"}
    with pytest.raises(ValueError, match="must hold counts of at least one matrix"):
        wb.quantisation(wb.reference_cohort().isel(model=[0])).recommend(4.5)


def test_experts_add_their_signal_and_noise_up() -> None:
    name = "model.layers.0.mlp.experts.{}.up_proj.weight".format
    weights = [(draws(i, (64, 64)) * (1 + i)).astype(np.float16) for i in range(3)]
    fits = wb.scan({"m": {name(i): one for i, one in enumerate(weights)}}, progress=False)
    found = wb.quantisation(fits, formats=["int8"]).predicted
    form = NUMBER_FORMATS["int8"]
    exact = [one.astype(float) for one in weights]
    noise = sum(((one - rounded(one, form, None)) ** 2).sum() for one in exact)
    expected = 10 * np.log10(sum((one**2).sum() for one in exact) / noise)
    assert found["sqnr"].item() == pytest.approx(expected, abs=1e-9)
    assert found["weights"].item() == 3 * 64 * 64
    assert found["bits"].item() == pytest.approx(8 + 32 / 64**2)


# the table, the texts, the arguments


def test_bits_count_the_scales() -> None:
    fits = fits_of(draws(0, (64, 100)))

    def bits(block: Block) -> dict[str, float]:
        found = wb.quantisation(fits, block=block).predicted["bits"]
        return dict(zip(FORMATS, found.values.ravel().tolist(), strict=True))

    assert bits(None)["int4"] == pytest.approx(4 + 32 / 6400)
    assert bits("row")["nf4"] == pytest.approx(4 + 32 / 100)
    assert bits(32)["int8"] == pytest.approx(8 + 32 * 4 / 100)  # four blocks, the last of 4
    assert bits(None)["mxfp4"] == pytest.approx(4 + 8 * 4 / 100)


def test_the_worst_matrices_come_first() -> None:
    spiky = draws(1)
    spiky[0, 0] = 5
    fits = wb.scan({"m": {NAME(0, "up"): draws(0), NAME(1, "up"): spiky}}, progress=False)
    found = wb.quantisation(fits, formats=["int8", "int4"])
    assert found.table["layer"].tolist() == [1, 0]
    assert list(found.table) == [
        "model", "layer", "component", "step", "weights", "int8", "int4", "status",
    ]  # fmt: skip
    assert "Predicted SQNR of 2 matrices, one scale per matrix" in str(found)
    assert "mxfp4 per 32" in str(wb.quantisation(fits))


@pytest.mark.parametrize("name", NAMES)
def test_names_are_text(name: str) -> None:
    found = wb.quantisation(wb.scan({name: {NAME(0, "up"): draws()}}, progress=False))
    page = found._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert all(line.isprintable() for line in str(found).splitlines())


def test_bad_arguments() -> None:
    fits = fits_of(draws(0, (20, 20)))
    with pytest.raises(ValueError, match="Did you mean 'fp8_e4m3'"):
        wb.quantisation(fits, formats=["fp8_e4m4"])
    with pytest.raises(ValueError, match="at least one of int8"):
        wb.quantisation(fits, formats=[])
    assert list(wb.quantisation(fits, formats="int8").predicted["format"].values) == ["int8"]
    for block in (0, -32):
        with pytest.raises(ValueError, match="at least 1 weight"):
            wb.quantisation(fits, block=block)
    for wrong in ("rows", 32.0, True):
        with pytest.raises(TypeError, match="None, 'row' or a number"):
            wb.quantisation(fits, block=wrong)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1e200, 1e300])
def test_a_matrix_outside_the_squares_of_float64_does_not_stop_the_others(unit: float) -> None:
    name = "model.layers.{}.self_attn.q_proj.weight"
    weights = draws(shape=(64, 96))
    fits = wb.scan({name.format(0): 50 * weights * unit, name.format(1): weights})
    table: Any = wb.quantisation(fits).table.set_index("layer")
    alone: Any = wb.quantisation(wb.scan({name.format(1): weights})).table.set_index("layer")
    assert table.loc[0, "status"] == "out of range"
    assert np.isnan(table.loc[0, "int8"])
    assert table.loc[1, "status"] == "ok"
    assert table.loc[1, "int8"] == alone.loc[1, "int8"]
