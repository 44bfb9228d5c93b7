"""The Dataset of fits: saving, opening, joining, listing what is not fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import UP, dense, experts, normal, round_trip
from weibnb.counting.counts import Counts
from weibnb.fits.schema import NO_EXPERT, prepare
from weibnb.fitting.estimates import ESTIMATES

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

JOIN: dict[str, Any] = {"join": "outer", "compat": "no_conflicts", "combine_attrs": "override"}
CONCAT: dict[str, Any] = JOIN | {"data_vars": "all", "coords": "different"}


def same_counts(one: xr.Dataset, other: xr.Dataset) -> None:
    """Compare the occupied bins of every cell, whatever the order of the coordinates."""
    aligned = one["counts"].reindex_like(other["counts"], fill_value=Counts())
    assert (aligned.transpose(*other["counts"].dims) == other["counts"]).all()
    assert one["counts"].sum().item() == other["counts"].sum().item()


def same_fits(one: xr.Dataset, other: xr.Dataset) -> None:
    same_counts(one, other)
    for name in (*ESTIMATES, "magnitude_quantile"):
        np.testing.assert_array_equal(one[name], other[name].transpose(*one[name].dims), name)
    for name in ("rms", "mean_abs", "kurtosis"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-14)
    for name in ("n", "n_matrices", "rows", "status", "parameter", "dtype", "problem"):
        assert one[name].values.tolist() == other[name].values.tolist(), name
    for name in ("weight_class", "tower", "model_type"):
        np.testing.assert_array_equal(one[name], other[name], name)


def test_concatenated_models_are_one_scan(tmp_path: Path) -> None:
    first, second = dense(2), {UP.format(i): normal(20, 28, seed=i) * 3 for i in (1, 3)}
    parts = [wb.scan({"a": first}), wb.scan({"b": second})]
    together = wb.scan({"a": first, "b": second})
    joined = prepare(xr.concat(parts, dim="model", **CONCAT))
    same_fits(joined, together)
    assert joined["n"].dtype.kind == "i"
    again = round_trip(joined, tmp_path / "fits.nc")
    same_fits(again, together)
    for fits in (joined, again, xr.concat(parts, dim="model", **CONCAT)):
        refitted = wb.refit(fits, trim=(0.05, 0.95))
        expected = wb.refit(together, trim=(0.05, 0.95))
        for name in (*ESTIMATES, "status"):
            np.testing.assert_array_equal(refitted[name], expected[name])
    assert wb.not_fitted(joined)["tensor"].tolist() == ["model.norm.weight"]


def test_concatenated_from_files(tmp_path: Path) -> None:
    sources: dict[str, Weights] = {"a": dense(2), "b": dense(3, seed=9)}
    files = [
        wb.save_fits(wb.scan({name: weights}), tmp_path / f"{name}.nc")
        for name, weights in sources.items()
    ]
    with wb.open_fits(files[0]) as one, wb.open_fits(files[1]) as two:
        joined = xr.concat([one, two], dim="model", **CONCAT)
        same_fits(round_trip(joined, tmp_path / "both.nc"), wb.scan(sources))


def test_concatenated_steps_are_one_run() -> None:
    parts = [wb.scan({"run": {step: dense(1, seed=step)}}) for step in (0, 10)]
    joined = prepare(xr.concat(parts, dim="step", **CONCAT))
    same_fits(joined, wb.scan({"run": {step: dense(1, seed=step) for step in (0, 10)}}))


def test_merged_models_are_one_scan(tmp_path: Path) -> None:
    sources: dict[str, Weights] = {"a": dense(2), "b": dense(3, seed=9)}
    parts = [wb.scan({name: weights}) for name, weights in sources.items()]
    merged = prepare(xr.merge(parts, **JOIN))
    same_fits(merged, wb.scan(sources))
    same_fits(round_trip(merged, tmp_path / "fits.nc"), wb.scan(sources))


@pytest.mark.parametrize("how", ["concat", "merge"])
def test_model_with_experts_joins_one_without(tmp_path: Path, how: str) -> None:
    sources = {"dense": dense(1), "moe": experts()}
    parts = [wb.scan({name: weights}) for name, weights in sources.items()]
    joined = xr.merge(parts, **JOIN) if how == "merge" else xr.concat(parts, "model", **CONCAT)
    together = wb.scan(sources)
    fits = prepare(joined)
    # each weight is counted once: the dense matrix is not repeated for every expert
    same_counts(fits, together)
    refitted = wb.refit(joined, trim=(0.05, 0.95))
    expected = wb.refit(together, trim=(0.05, 0.95))
    np.testing.assert_array_equal(refitted["k"], expected["k"])
    xr.testing.assert_identical(round_trip(fits, tmp_path / "fits.nc"), fits)


def test_models_with_other_numbers_of_experts_join() -> None:
    fewer = {name: array for name, array in experts(seed=7).items() if ".experts.2." not in name}
    parts = [wb.scan({"a": experts()}), wb.scan({"b": fewer})]
    same_fits(
        prepare(xr.concat(parts, dim="model", **CONCAT)), wb.scan({"a": experts(), "b": fewer})
    )


def test_joined_flags_stay_flags() -> None:
    exact = wb.scan({"a": dense(1)})
    grid = wb.scan({"b": {UP.format(2): normal(30, 30, dtype="f4")}})
    joined = prepare(xr.concat([exact, grid], dim="model", **CONCAT))
    assert joined["scaled"].dtype == bool
    assert not joined["counts"].sel(model="b", layer=2, component="up_proj").item().exact
    assert joined["counts"].sel(model="b", layer=0, component="q_proj").item() == Counts()


def test_counts_too_large_for_32_bits_survive(tmp_path: Path) -> None:
    fits = wb.scan({"a": dense(1)})
    counts = fits["counts"].item()
    large = fits.copy()
    large["counts"] = fits["counts"].copy(data=[[[[Counts(counts.labels, counts.counts * 2**33)]]]])
    again = round_trip(large, tmp_path / "fits.nc")
    assert again["counts"].item() == large["counts"].item()
    assert again["counts"].item().n == counts.n * 2**33
    np.testing.assert_allclose(wb.refit(again)["k"], fits["k"], rtol=1e-3)


def test_validate_orders_dims_and_keeps_what_is_right() -> None:
    fits = wb.scan({"moe": experts()}, experts="each")
    turned = fits.transpose(*reversed(list(fits.dims)))
    xr.testing.assert_identical(prepare(turned), fits)
    xr.testing.assert_identical(prepare(fits), fits)
    assert NO_EXPERT in fits["expert"].values


@pytest.mark.parametrize("missing", ["k", "status", "model", "layer"])
def test_validate_names_what_is_missing(missing: str) -> None:
    fits = wb.scan({"a": dense(1)})
    broken = fits.drop_vars("k") if missing == "k" else fits.drop_vars("status")
    if missing in ("model", "layer"):
        broken = fits.isel({missing: 0}, drop=True)
    with pytest.raises(ValueError, match=rf"lacks .*{missing}"):
        prepare(broken)


def test_validate_wants_the_protocol() -> None:
    fits = wb.scan({"a": dense(1)})
    fits.attrs.clear()
    with pytest.raises(ValueError, match="estimator"):
        prepare(fits)


def test_fits_of_two_protocols_are_refused_until_refitted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {"model.layers.0.mlp.up_proj.weight": rng.normal(size=(64, 64))}
    narrow = wb.scan({"a": weights})
    wide = wb.scan({"b": weights}, trim=(0.05, 0.95))
    both = xr.concat(
        [narrow, wide], "model", data_vars="all", coords="different", compat="equals", join="outer"
    )
    with pytest.raises(ValueError, match=r"one protocol, got .*10–90 % and .*5–95 %.*refit"):
        wb.save_fits(both, tmp_path / "fits.nc")
    assert not (tmp_path / "fits.nc").exists()
    one = wb.refit(both, trim=(0.1, 0.9))
    wb.save_fits(one, tmp_path / "fits.nc")
    assert one["k"].sel(model="a").item() == one["k"].sel(model="b").item()
    assert one["k"].sel(model="a").item() == narrow["k"].item()


def test_undecodable_names_are_escaped_in_memory_too() -> None:
    weights = {"model.layers.0.mlp.up_proj.weight": np.ones((20, 20))}
    fits = wb.scan({"a\udcff": weights, "b": {**weights, "x\udcfe": np.ones(3)}})
    assert fits["model"].values.tolist() == ["a\\udcff", "b"]
    assert wb.not_fitted(fits)["tensor"].tolist()[-1].encode()
    for variable in fits.variables.values():
        if variable.dtype.kind in "OUT":
            "".join(map(str, variable.values.ravel())).encode()


@pytest.mark.parametrize("dim", ["model", "layer", "component"])
def test_selections_of_one_label_that_are_joined_are_the_whole_again(
    tmp_path: Path, dim: str
) -> None:
    names = (UP, UP.replace("up_proj", "gate_proj"))
    two = [
        {name.format(i): normal(40, 40, seed=i) for name in names for i in range(2)} for _ in "ab"
    ]
    fits = wb.scan(dict(zip("ab", two, strict=True)), progress=False)
    parts = [fits.isel({dim: i}) for i in range(fits.sizes[dim])]
    joined = xr.concat(parts, dim, **CONCAT | {"join": "exact"})
    for one in (joined, wb.open_fits(wb.save_fits(joined, tmp_path / "fits.nc"))):
        again = prepare(one)
        for name in ("n_layers", "model_type", "weight_class", "source", "problem"):
            assert again[name].dims == fits[name].dims
            np.testing.assert_array_equal(again[name], fits[name])
        assert wb.check(one).findings == wb.check(fits).findings
