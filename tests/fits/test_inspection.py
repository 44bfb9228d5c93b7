"""Files of fits from a stranger: refused with one cause, before they lead anywhere else."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

import weibnb as wb
from weibnb.fits.inspection import FitsError
from weibnb.fits.ragged import flattened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[h5py.File], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    weights = {
        f"model.layers.{i}.mlp.{name}.weight": rng.normal(0, 0.02, (48, 64)).astype(np.float16)
        for i in range(2)
        for name in ("up_proj", "down_proj")
    }
    file = tmp_path_factory.mktemp("good") / "fits.nc"
    return wb.save_fits(wb.scan({"tiny": weights | {"model.norm.weight": np.ones(8)}}), file)


def refused(path: Path) -> FitsError:
    with pytest.raises(FitsError) as caught:
        wb.open_fits(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000
    return caught.value


def edited(good: Path, target: Path, edit: Edit) -> FitsError:
    shutil.copy(good, target / "edited.nc")
    with h5py.File(target / "edited.nc", "r+") as file:
        edit(file)
    return refused(target / "edited.nc")


def replace(name: str, **how: Any) -> Edit:
    """Put a variable of the same shape, made otherwise, in the place of another."""

    def edit(file: h5py.File) -> None:
        shape, dtype = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, **{"shape": shape, "dtype": dtype} | how)

    return edit


def test_values_in_another_file_are_not_read(good: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"root:x:0:0:" * 1000)
    external = replace("k", external=[(str(secret), 0, h5py.h5f.UNLIMITED)])
    assert "another file" in str(edited(good, tmp_path, external))

    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout(shape=file["k"].shape, dtype="f8")
        layout[...] = h5py.VirtualSource(str(good), "lam", shape=file["k"].shape)
        del file["k"]
        file.create_virtual_dataset("k", layout)

    error = edited(good, tmp_path, virtual)
    assert (error.variable, error.cause) == ("k", "its values lie in another file")


@pytest.mark.parametrize(
    "link", [h5py.ExternalLink("other.nc", "/k"), h5py.SoftLink("/lam")], ids=["external", "soft"]
)
def test_links_are_not_followed(good: Path, tmp_path: Path, link: Any) -> None:
    def edit(file: h5py.File) -> None:
        del file["k"]
        file["k"] = link

    assert edited(good, tmp_path, edit).cause == "it is a link to another place"


@pytest.mark.parametrize("name", ["k", "n", "counts", "count_label", "count_number", "notes"])
def test_arrays_out_of_proportion_are_not_made(good: Path, tmp_path: Path, name: str) -> None:
    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        chunks = (1, 1 << 26) if name == "counts" else (1, 1000)
        file.create_dataset(name, (1 << 14, 1 << 26), "f8", chunks=chunks)

    error = edited(good, tmp_path, edit)
    assert error.variable == name
    assert "size" in error.cause or "chunks" in error.cause


def test_filters_of_plug_ins_are_not_loaded(good: Path, tmp_path: Path) -> None:
    def edit(file: h5py.File) -> None:
        shape = file["k"].shape
        del file["k"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk(shape)
        plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, b"k", h5py.h5t.IEEE_F64LE, space, plan)

    assert "filter" in edited(good, tmp_path, edit).cause


def test_groups_are_not_variables(good: Path, tmp_path: Path) -> None:
    error = edited(good, tmp_path, lambda file: file.create_group("more"))
    assert (error.variable, "group" in error.cause) == ("more", True)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("k", "i4"),
        ("status", "f8"),
        ("n", "f4"),
        ("layer", "f8"),
        ("count_size", "f8"),
        ("count_zeros", "f8"),
        ("count_largest", "i8"),
        ("count_exact", "i1"),
        ("count_label", "f4"),
        ("count_number", "i4"),
    ],
)
def test_types_are_those_of_the_schema(good: Path, tmp_path: Path, name: str, dtype: str) -> None:
    with wb.open_fits(good) as fits:
        fits = flattened(fits.load())
        values = np.zeros(fits[name].shape, dtype)
        other = fits.assign_coords if name in fits.coords else fits.assign
        other({name: (fits[name].dims, values)}).drop_encoding().to_netcdf(
            tmp_path / "other.nc", engine="h5netcdf"
        )
    error = refused(tmp_path / "other.nc")
    assert error.variable == name
    assert "expected" in error.cause


@pytest.mark.parametrize(
    "edit",
    [
        lambda file: file.attrs.__delitem__("estimator"),
        lambda file: file.attrs.__setitem__("estimator", 3),
        lambda file: file.attrs.__setitem__("estimator", "a guess"),
        lambda file: file.attrs.__setitem__("trim_lower", "low"),
        lambda file: file.attrs.__setitem__("trim_upper", [0.5, 0.9]),
        lambda file: file.__delitem__("status"),
        lambda file: file.__delitem__("layer"),
        lambda file: file["not_fitted"].__setitem__(..., "["),
        lambda file: file["not_fitted"].__setitem__(..., "[" * 100_000),
        lambda file: file["not_fitted"].__setitem__(..., '[{"tensor": 1}]'),
    ],
)
def test_edited_files_are_refused(good: Path, tmp_path: Path, edit: Edit) -> None:
    edited(good, tmp_path, edit)


def test_every_number_carries_a_checksum(good: Path) -> None:
    with h5py.File(good) as file:
        numbers = [
            item
            for name, item in file.items()
            if item.dtype.kind in "fiub" and name not in ("entry", "pair")
        ]
        assert len(numbers) > 20
        assert all(item.fletcher32 for item in numbers)


@pytest.mark.parametrize("name", ["k", "n", "layer"])
def test_a_flipped_bit_in_a_number_is_seen(good: Path, tmp_path: Path, name: str) -> None:
    with h5py.File(good) as file:
        chunk = file[name].id.get_chunk_info(0)
    content = bytearray(good.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    damaged = tmp_path / "damaged.nc"
    damaged.write_bytes(content)
    assert refused(damaged).variable == name


def test_damaged_files_are_read_right_or_refused(good: Path, tmp_path: Path) -> None:
    """Whatever is cut off or overwritten: the same fits, or an error of ours."""
    draw, content = random.Random(0), good.read_bytes()  # noqa: S311
    path = tmp_path / "damaged.nc"
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(content)
        if draw.random() < 0.3:
            damaged = damaged[: draw.randrange(len(damaged))]
        else:
            for _ in range(draw.choice([1, 4, 30])):
                damaged[draw.randrange(len(damaged))] = draw.choice([0, 1, 127, 255])
        path.write_bytes(damaged)
        try:
            with wb.open_fits(path) as fits:
                outcomes.add(type(fits.k.item(0)).__name__)
        except FitsError as err:
            outcomes.add(type(err).__name__)
    assert outcomes == {"float", "FitsError"}


def test_a_covariance_has_as_many_numbers_as_ours(good: Path, tmp_path: Path) -> None:
    fits = wb.open_fits(good).load()
    assert fits.sizes["pair"] == 15
    few = wb.save_fits(fits.isel(pair=slice(3)), tmp_path / "few.nc")
    assert "15 numbers of each cell" in str(refused(few))
