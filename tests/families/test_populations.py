"""Two populations against weights built so, and built not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.families.known import (
    BF16,
    ONE,
    SIXTEEN_MILLION,
    density,
    draw,
    gaussians,
    row_scales,
)
from weibnb.families.populations import find_populations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@pytest.mark.parametrize("name", ONE)
def test_one_population_is_not_called_two(name: str) -> None:
    mass, rng = ONE[name](), np.random.default_rng(7)
    sizes = [SIXTEEN_MILLION] * 100 + [65_536] * 20
    found = [find_populations(draw(mass, n, rng)) for n in sizes]
    assert {each["verdict"].item() for each in found} == {"one population"}
    assert max(each["separation"].item() for each in found) < 0.02


@pytest.mark.parametrize("n", [65_536, 1 << 20, SIXTEEN_MILLION])
@pytest.mark.parametrize("share", [0.3, 0.45, 0.6])
@pytest.mark.parametrize("ratio", [20, 50, 100])
def test_two_populations_are_found(ratio: float, share: float, n: int) -> None:
    rng = np.random.default_rng(3)
    for _ in range(5):
        found = find_populations(draw(gaussians(share, ratio), n, rng))
        assert found["verdict"].item() == "two populations"
        assert found["separation"].item() > 0.3
        assert found["delta_bic"].item() > 1_000
        assert 0.02 / ratio < found["boundary"].item() < 0.02
        assert found["share"].sel(population="small").item() == pytest.approx(share, abs=0.07)
        assert found["share"].sum().item() == pytest.approx(1)
        np.testing.assert_allclose(found["k"], 1.25, atol=0.25)
        expected = np.array([0.02 / ratio, 0.02]) * 0.8554
        np.testing.assert_allclose(found["lam"], expected, rtol=0.25)


@pytest.mark.parametrize(
    "mass",
    [
        lambda: 0.4 * row_scales(0.5, 0.0007) + 0.6 * row_scales(0.15),
        lambda: 0.4 * density("student_t", 5.0, 0.0005) + 0.6 * density("half_normal"),
        lambda: 0.1 * density("half_normal", scale=2e-4) + 0.9 * density("student_t", 10.0),
    ],
)
def test_two_populations_of_other_shapes_are_found(mass: Callable[[], Array]) -> None:
    rng = np.random.default_rng(4)
    for n in (65_536, SIXTEEN_MILLION):
        found = [find_populations(draw(mass(), n, rng))["verdict"].item() for _ in range(5)]
        assert found == ["two populations"] * 5


def test_what_the_notes_promise_of_small_shares() -> None:
    rng = np.random.default_rng(5)
    found = [find_populations(draw(gaussians(0.05, 20), 1 << 20, rng)) for _ in range(5)]
    assert {each["verdict"].item() for each in found} == {"two populations"}
    found = [find_populations(draw(gaussians(0.5, 5), 1 << 20, rng)) for _ in range(5)]
    assert {each["verdict"].item() for each in found} == {"two populations"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, BF16])
def test_rows_that_nearly_died_in_every_format(dtype: Any) -> None:
    rng = np.random.default_rng(6)
    sigma = np.where(rng.random(256) < 0.4, 0.0004, 0.02)[:, None]
    weights = rng.normal(size=(256, 256)) * sigma
    assert find_populations(weights.astype(dtype))["verdict"].item() == "two populations"
    whole = rng.normal(size=(256, 256)).astype(dtype)
    assert find_populations(whole)["verdict"].item() == "one population"


def test_a_lattice_of_integers_is_one_population() -> None:
    x = np.random.default_rng(0).normal(size=1 << 19)
    for levels in (7, 31, 127):
        step = np.abs(x).max() / levels
        for dtype in (np.float32, BF16):
            found = find_populations((np.round(x / step) * step).astype(dtype))
            assert found["verdict"].item() == "one population"


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("group", [128, 512])
def test_restored_integers_are_no_two_populations(bits: int, group: int) -> None:
    found = []
    for seed in range(10):
        x = np.random.default_rng(seed).normal(size=(512, 512)).reshape(-1, group)
        step = np.abs(x).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
        found.append(find_populations((np.round(x / step) * step).astype(np.float16)))
    words = [each["verdict"].item() for each in found]
    assert set(words) <= {"comb", "one population"}
    assert bits == 3 or "comb" in words


def test_two_populations_survive_a_scale_for_each_row() -> None:
    """Half of the rows nearly dead, restored from 8 bits: both a comb and two populations."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(512, 512)) * np.where(np.arange(512) < 256, 1e-3, 1)[:, None]
    step = np.abs(x).max(axis=1, keepdims=True) / 127
    restored = (np.round(x / step) * step).astype(np.float32)
    assert find_populations(restored)["verdict"].item() == "two populations"


@pytest.mark.parametrize(
    ("share", "ratio", "found"),
    [(0.05, 20, 0.148), (0.1, 20, 0.17), (0.3, 20, 0.35), (0.3, 10, 0.394), (0.5, 50, 0.517)],
)
def test_shares_are_biased_as_the_documentation_says(
    share: float, ratio: float, found: float
) -> None:
    rng = np.random.default_rng(7)
    result = find_populations(draw(gaussians(share, ratio), 1 << 20, rng))
    assert result["share"].values[0] == pytest.approx(found, abs=0.01)


def test_populations_of_a_dataset(fits: xr.Dataset) -> None:
    found = find_populations(fits)
    verdict = found["verdict"].squeeze("step")
    assert verdict.sel(model="a", layer=0, component="gate_proj").item() == "two populations"
    assert (verdict == "two populations").sum() == 1
    assert (verdict == "one population").sum() == 4
    assert found["share"].dims == (*fits["k"].dims, "population")
    unfitted = found.where(found["verdict"] == "not fitted", drop=True)
    assert np.isnan(unfitted["share"]).all()
    assert found["status"].sel(model="b", layer=0, component="gate_proj").item() == "absent"
    assert found["status"].sel(model="a", layer=1, component="down_proj").item() == "constant"
    assert found["weight_class"].sel(component="gate_proj").item() == "transmission"


def test_one_matrix_gives_the_cell_of_the_dataset() -> None:
    weights = (0.02 * np.random.default_rng(1).standard_t(4, (256, 256))).astype(BF16)
    fits = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": weights}}, progress=False)
    xr.testing.assert_allclose(
        find_populations(fits).squeeze(drop=True).drop_vars("tower", errors="ignore"),
        find_populations(weights),
    )


def test_experts_one_by_one() -> None:
    rng = np.random.default_rng(0)
    name = "model.layers.0.mlp.experts.{}.up_proj.weight"
    weights = {
        name.format(i): (rng.normal(size=(128, 128)) * s).astype(BF16)
        for i, s in enumerate((0.0004, 0.02))
    }
    pooled = find_populations(wb.scan({"m": weights}, progress=False))
    each = find_populations(wb.scan({"m": weights}, experts="each", progress=False))
    assert pooled["verdict"].item() == "two populations"
    assert each["verdict"].dims[-1] == "expert"
    assert set(each["verdict"].values.ravel()) == {"one population", "not fitted"}


def test_fits_on_disk_give_the_same(fits: xr.Dataset, tmp_path: Path) -> None:
    with wb.open_fits(wb.save_fits(fits, tmp_path / "fits.nc")) as opened:
        xr.testing.assert_equal(find_populations(opened), find_populations(fits, workers=1))


def test_results_of_too_few_weights() -> None:
    few = np.random.default_rng(0).normal(size=50)
    found = find_populations(few)
    assert (found["verdict"].item(), found["status"].item()) == ("not fitted", "too_few")
    assert np.isnan(found["share"]).all()


def test_a_dataset_without_counts_names_the_option(fits: xr.Dataset) -> None:
    with pytest.raises(ValueError, match="keep_counts=True"):
        find_populations(fits.drop_vars("counts"))


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e307])
def test_extreme_magnitudes(scale: float) -> None:
    rng = np.random.default_rng(0)
    x = scale * rng.normal(size=20_000)
    assert find_populations(x)["verdict"].item() == "one population"
    if scale < 1e-3:
        x[:10_000] = 0.02 * rng.normal(size=10_000)
        found = find_populations(x)
        assert found["verdict"].item() == "two populations"
        np.testing.assert_allclose(found["share"], 0.5, atol=0.02)


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [1.0, 1.001, 1.002], [1e-310, 2e-310]])
def test_few_distinct_values_do_not_raise(values: list[float]) -> None:
    x = np.random.default_rng(0).choice(values, 1_000)
    assert find_populations(x)["verdict"].item() in ("one population", "not fitted")
