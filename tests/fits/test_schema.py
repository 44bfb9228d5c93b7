"""The Dataset of fits: saving, opening, joining, listing what is not fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from weibnb.counting.formats import label_values
from weibnb.fits.schema import NO_EXPERT, prepare
from weibnb.fitting.estimates import ESTIMATES
from weibnb.testing import encode, write_checkpoint, write_safetensors

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"
EXPERT = "model.layers.{}.mlp.experts.{}.up_proj.weight"
JOIN: dict[str, Any] = {"join": "outer", "compat": "no_conflicts", "combine_attrs": "override"}
CONCAT: dict[str, Any] = JOIN | {"data_vars": "all", "coords": "different"}


def normal(*shape: int, seed: int = 0, dtype: str = "f2") -> NDArray[Any]:
    return np.random.default_rng([seed, *shape]).normal(0, 0.02, shape).astype(dtype)


def dense(layers: int = 2, *, seed: int = 0) -> Weights:
    weights = {Q.format(i): normal(24, 24, seed=seed + i) for i in range(layers)}
    return weights | {"model.norm.weight": normal(24)}


def experts(*, seed: int = 0) -> Weights:
    return {EXPERT.format(0, i): normal(20, 20, seed=seed + i) for i in range(3)} | dense(1)


def round_trip(fits: xr.Dataset, file: Path) -> xr.Dataset:
    with wb.open_fits(wb.save_fits(fits, file)) as opened:
        return opened.load()


def same_counts(one: xr.Dataset, other: xr.Dataset) -> None:
    """Compare the occupied bins of every cell, whatever the order of the coordinates."""
    assert one["counts"].sum() == other["counts"].sum()
    aligned = one["counts"].reindex_like(other["counts"], fill_value=0)
    assert (aligned.transpose(*other["counts"].dims) == other["counts"]).all()


def same_fits(one: xr.Dataset, other: xr.Dataset) -> None:
    same_counts(one, other)
    for name in (*ESTIMATES, "magnitude_quantile"):
        np.testing.assert_array_equal(one[name], other[name].transpose(*one[name].dims), name)
    for name in ("rms", "mean_abs", "kurtosis"):
        np.testing.assert_allclose(one[name], other[name], rtol=1e-14)
    for name in ("n", "n_matrices", "rows", "status", "parameter", "dtype", "problem"):
        assert one[name].values.tolist() == other[name].values.tolist(), name
    for name in ("weight_class", "tower", "magnitude", "model_type"):
        np.testing.assert_array_equal(one[name], other[name], name)


# --- saving and opening


@pytest.mark.parametrize(
    ("source", "how"),
    [
        ({"run": {0: dense(1), 2000: dense(1, seed=5)}, "other": experts()}, "median"),
        ({"moe": experts()}, "each"),
        ({"zeros": {Q.format(0): np.zeros((20, 20), "f2")}}, "median"),
        ({"whole": {Q.format(0): np.ones((20, 20), "i1")}}, "each"),
    ],
    ids=["run and experts", "each expert", "all zero", "quantized"],
)
def test_what_is_opened_is_what_was_saved(tmp_path: Path, source: Any, how: Any) -> None:
    fits = wb.scan(source, experts=how)
    again = round_trip(fits, tmp_path / "fits.nc")
    xr.testing.assert_identical(again, fits)
    assert again["counts"].dtype == fits["counts"].dtype == np.uint32
    assert again["k"].dims[:4] == ("model", "layer", "component", "step")
    assert wb.not_fitted(again).equals(wb.not_fitted(fits))


def test_without_counts(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": dense()}, keep_counts=False)
    xr.testing.assert_identical(round_trip(fits, tmp_path / "fits.nc"), fits)


def test_counts_stay_on_disk(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense()}), tmp_path / "fits.nc")
    with wb.open_fits(file) as fits:
        assert not fits["counts"].variable._in_memory
        assert fits["k"].variable._in_memory
        wb.not_fitted(fits)
        part = fits.sel(layer=[1])
        wb.refit(part, trim=(0.2, 0.8))
        assert not fits["counts"].variable._in_memory
        assert part["counts"].sum() == np.count_nonzero(dense()[Q.format(1)])


UNUSUAL = ["org/name", "模型-🐍", "<script>alert(1)</script>", "a b\n\t\"'", "", "../../etc"]


def test_unusual_names(tmp_path: Path) -> None:
    source = {
        name: {f"{name}.{Q.format(0)}": normal(20, 20), f"{name}.norm.weight": normal(20)}
        for name in UNUSUAL
    }
    again = round_trip(wb.scan(source), tmp_path / "fits.nc")
    assert again["model"].values.tolist() == UNUSUAL
    for name in UNUSUAL:
        row = again.sel(model=name)
        assert row["parameter"].item() == f"{name}.{Q.format(0)}"
        assert row["k"].item() == wb.fit_weibull(normal(20, 20)).k
    listed = wb.not_fitted(again)
    assert listed["tensor"].tolist() == [f"{name}.norm.weight" for name in UNUSUAL]


def test_null_in_a_tensor_name(tmp_path: Path) -> None:
    fits = wb.scan({"a": {f"x\0y.{Q.format(0)}": normal(20, 20)}})
    again = round_trip(fits, tmp_path / "fits.nc")
    assert again["parameter"].item().endswith(Q.format(0))
    assert again["k"].item() == fits["k"].item()


@pytest.mark.parametrize("text", ["a\udcff", "a\0b"], ids=["surrogate", "null"])
def test_names_that_no_file_can_hold_do_not_lose_the_fits(tmp_path: Path, text: str) -> None:
    fits = wb.scan({"a": dense(1)})
    fits["source"][:] = text
    fits = fits.assign_coords(model_type=("model", [text]))
    again = round_trip(fits, tmp_path / "fits.nc")
    assert again["source"].item().startswith("a")
    np.testing.assert_array_equal(again["k"], fits["k"])


def test_saving_over_the_file_that_is_open(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense()}), tmp_path / "fits.nc")
    with wb.open_fits(file) as fits:
        wider = wb.refit(fits, trim=(0.05, 0.95))
        wb.save_fits(wider, file)
        wider.load()
    with wb.open_fits(file) as again:
        xr.testing.assert_identical(again.load(), wider)
        assert again.attrs["trim_lower"] == 0.05
    assert [path.name for path in tmp_path.iterdir()] == ["fits.nc"]


def test_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits = wb.scan({"tiny": dense()})
    file = wb.save_fits(fits, tmp_path / "fits.nc")
    before = file.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_netcdf", fail)
        with pytest.raises(OSError, match="No space left"):
            wb.save_fits(wb.refit(fits, trim=(0, 1)), file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["fits.nc"]


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense(1)}), tmp_path / "fits.nc")
    plain = tmp_path / "plain"
    plain.touch()
    assert file.stat().st_mode == plain.stat().st_mode


def test_size_of_a_file(tmp_path: Path) -> None:
    shape = (512, 512)
    names = [UP.format(i) for i in range(16)]
    data = [encode(normal(*shape, seed=i, dtype="f4"), "BF16") for i in range(16)]
    described = dict.fromkeys(names, ("BF16", shape))
    path = write_safetensors(tmp_path / "m.safetensors", described, data)
    small = wb.save_fits(wb.scan(path, keep_counts=False), tmp_path / "small.nc").stat().st_size
    size = wb.save_fits(wb.scan(path), tmp_path / "fits.nc").stat().st_size
    assert (size - small) / len(names) < 8192
    assert size < 16 * 8192 + 100_000


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, FileNotFoundError, "not found"),
        (b"hello", ValueError, "that weibnb.save_fits wrote"),
        (b"", ValueError, "that weibnb.save_fits wrote"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 50, ValueError, "that weibnb.save_fits wrote"),
    ],
    ids=["missing", "text", "empty", "broken"],
)
def test_open_refuses(
    tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "fits.nc"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        wb.open_fits(path)
    assert "fits.nc" in str(caught.value)


def test_open_names_the_netcdf_file_that_holds_no_fits(tmp_path: Path) -> None:
    path = tmp_path / "other.nc"
    xr.Dataset({"temperature": ("time", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(ValueError, match="lacks k, lam, status") as caught:
        wb.open_fits(path)
    assert "other.nc" in str(caught.value)


def test_truncated_file(tmp_path: Path) -> None:
    file = wb.save_fits(wb.scan({"tiny": dense()}), tmp_path / "fits.nc")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"fits\.nc"):
        wb.open_fits(file)


def test_save_refuses(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": dense(1)})
    with pytest.raises(TypeError, match=r"xarray\.Dataset of fits, got DataArray"):
        wb.save_fits(fits["k"], tmp_path / "fits.nc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lacks k"):
        wb.save_fits(fits.drop_vars("k"), tmp_path / "fits.nc")
    with pytest.raises(ValueError, match="netCDF"):
        wb.save_fits(fits, tmp_path / "fits.zarr")
    assert not list(tmp_path.iterdir())


def test_save_into_a_missing_directory_names_it(tmp_path: Path) -> None:
    fits = wb.scan({"tiny": dense(1)})
    with pytest.raises(OSError, match="missing") as caught:
        wb.save_fits(fits, tmp_path / "missing" / "fits.nc")
    assert "tmp" not in str(caught.value).replace(str(tmp_path), "")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder") as caught:
        wb.save_fits(fits, tmp_path / "folder")
    assert ".nc'" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# --- joining


def test_concatenated_models_are_one_scan(tmp_path: Path) -> None:
    first, second = dense(2), {UP.format(i): normal(20, 28, seed=i) * 3 for i in (1, 3)}
    parts = [wb.scan({"a": first}), wb.scan({"b": second})]
    together = wb.scan({"a": first, "b": second})
    joined = prepare(xr.concat(parts, dim="model", **CONCAT))
    same_fits(joined, together)
    assert joined["counts"].dtype == np.uint32
    assert joined["n"].dtype.kind == "i"
    np.testing.assert_array_equal(joined["magnitude"], label_values(joined["bin"]))
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
    assert fits["counts"].sum() == together["counts"].sum()
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
    assert joined["counts_exact"].dtype == bool
    cell = joined["counts_exact"].sel(model="b", layer=2, component="up_proj")
    assert not cell.item()
    wide = prepare(joined.assign(counts=joined["counts"].astype(float) * 2.0**33))
    assert wide["counts"].dtype == np.uint64


def test_counts_too_large_for_32_bits_survive(tmp_path: Path) -> None:
    fits = wb.scan({"a": dense(1)})
    large = fits.assign(counts=fits["counts"].astype(np.uint64) * 2**33)
    again = round_trip(large, tmp_path / "fits.nc")
    assert again["counts"].dtype == np.uint64
    assert again["counts"].sum() == fits["counts"].sum() * 2**33


# --- validate


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


# --- not_fitted


def test_not_fitted_lists_tensors_and_cells_with_reasons() -> None:
    weights = {
        Q.format(0): np.zeros((20, 20), "f2"),
        Q.format(1): normal(20, 20),
        "model.embed_tokens.weight": normal(64, 20),
        "model.layers.0.input_layernorm.weight": normal(20),
        "model.layers.0.mystery.weight": normal(4, 5),
        "model.layers.0.self_attn.q_proj.bias": normal(20),
        "lm_head.weight": normal(64, 20),
    }
    listed = wb.not_fitted(wb.scan({"run": {5: weights}}))
    assert listed.columns.tolist() == ["model", "step", "tensor", "shape", "dtype", "reason"]
    assert dict(zip(listed["tensor"], listed["reason"], strict=True)) == {
        Q.format(0): "all_zero",
        "model.embed_tokens.weight": "embedding",
        "model.layers.0.input_layernorm.weight": "norm",
        "model.layers.0.mystery.weight": "unrecognised",
        "model.layers.0.self_attn.q_proj.bias": "bias",
        "lm_head.weight": "head",
    }
    assert set(listed["model"]) == {"run"}
    assert set(listed["step"]) == {5}
    rows = listed.set_index("tensor")
    assert rows.loc["model.layers.0.mystery.weight", "shape"] == (4, 5)
    assert rows.loc[Q.format(0), "shape"] == (20, 20)
    assert set(rows["dtype"]) == {"F16"}


def test_not_fitted_of_nothing_and_of_a_selection() -> None:
    assert wb.not_fitted(wb.scan({"a": {Q.format(0): normal(20, 20)}})).empty
    fits = wb.scan({"a": dense(1), "b": dense(1)})
    assert wb.not_fitted(fits.sel(model="b"))["model"].tolist() == ["b"]
    with pytest.raises(TypeError, match=r"xarray\.Dataset"):
        wb.not_fitted(fits["k"])  # type: ignore[arg-type]


def test_every_tensor_of_a_checkpoint_is_in_a_cell_or_listed(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "tiny", layers=1, hidden=32, shards=2)
    with wb.open_checkpoint(path) as checkpoint:
        names = set(checkpoint.tensors)
    fits = wb.scan(path)
    found = set(fits["parameter"].values.ravel()) - {""}
    listed = set(wb.not_fitted(fits)["tensor"])
    assert found | listed == names
    assert not found & listed
    assert listed == {"model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"}


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
