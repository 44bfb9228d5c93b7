"""Samples in a store that a larger sample, or a smaller precision, adds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from safetensors.numpy import save_file

import weibnb as wb
from tests.fits.helpers import back_to_version, change
from tests.io.hub import hub, saved
from weibnb.counting.sampling import count_block
from weibnb.fits.store import Store
from weibnb.scanning import sampled
from weibnb.scanning import sampling as of_scans

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hub_server import FakeHub

__all__ = ["hub"]
ROWS, COLUMNS = 640, 160
UPDATE = "UPDATE blocks SET"
ONE_ZERO = "x'0100000000000000' || substr(content, 17)"  # behind the number of the first block
Weights = list[int]


def state() -> dict[str, Any]:
    """Make three matrices: two of rows of unequal scale, the last with a NaN and zeros."""
    rng = np.random.default_rng(0)
    scales = np.exp(rng.normal(0, 0.4, (3, ROWS, 1)))
    weights = (rng.normal(size=(3, ROWS, COLUMNS)) * scales).astype("f2")
    weights[2, :, 3], weights[2, 40, 5] = 0.0, np.nan
    return {f"model.layers.{i}.mlp.up_proj.weight": one for i, one in enumerate(weights)}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small matrices as if they were large: 160 blocks of four rows."""
    monkeypatch.setattr(of_scans, "BLOCK", 4 * COLUMNS * 2)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """Weights of each block that is read and counted."""
    sizes: Weights = []

    def count(bits: Any, dtype: str, *, first: bool) -> Any:
        sizes.append(bits.size)
        return count_block(bits, dtype, first=first)

    monkeypatch.setattr(sampled, "count_block", count)
    return sizes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    save_file(state(), tmp_path / "model" / "model.safetensors")
    return tmp_path / "model"


def number_read(counted: Weights, scan: Callable[[], xr.Dataset]) -> tuple[int, xr.Dataset]:
    """Scan, and tell how many weights were read."""
    counted.clear()
    fits = scan().load()
    return sum(counted), fits


def same(fits: xr.Dataset, fresh: xr.Dataset) -> None:
    """Hold fits against those of another scan, bit for bit."""
    xr.testing.assert_identical(fits.drop_attrs(), fresh.drop_attrs())
    assert fits.attrs["sampling"] == fresh.attrs["sampling"]


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ({"precision": 0.02}, {"precision": 0.01}),
        ({"sample": 0.125}, {"sample": 0.3}),
        ({"precision": 0.012, "sample": 0.12}, {"precision": 0.01, "sample": 0.4}),
        ({"precision": 0.012, "sample": 0.12}, {"precision": 0.012}),
    ],
)
@pytest.mark.filterwarnings("ignore:`precision` of")
def test_more_is_added_to_what_was_read(
    folder: Path, tmp_path: Path, counted: Weights, less: Any, more: Any
) -> None:
    store = tmp_path / "fits.db"
    before, _ = number_read(counted, lambda: wb.scan(folder, **less, store=store))
    whole, fresh = number_read(counted, lambda: wb.scan(folder, **more))
    added, fits = number_read(counted, lambda: wb.scan(folder, **more, store=store))
    assert added == whole - before > 0
    same(fits, fresh)
    same(wb.open_fits(store).load(), fresh)
    again, _ = number_read(counted, lambda: wb.scan(folder, **more, store=store))
    assert again == 0


def test_what_was_read_elsewhere_is_not_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    hub.add("org/model", {"model.safetensors": saved(state())})
    store = tmp_path / "fits.db"

    def sent(precision: float, **how: Any) -> tuple[int, xr.Dataset]:
        before = hub.bytes_sent
        fits = wb.scan("hf://org/model", precision=precision, **how).load()
        return hub.bytes_sent - before, fits

    nothing, _ = sent(0.03, store=tmp_path / "other.db")
    again, _ = sent(0.03, store=tmp_path / "other.db")
    before, _ = sent(0.03, store=store)
    whole, fresh = sent(0.018)
    added, fits = sent(0.018, store=store)
    assert before == nothing > again
    assert added - again == whole - before > 0
    same(fits, fresh)


def test_larger_blocks_elsewhere_stay_as_they_were_cut(
    hub: FakeHub, tmp_path: Path, counted: Weights
) -> None:
    """A sample of more would be cut into larger blocks there, and read places of its own."""
    hub.add("org/model", {"model.safetensors": saved(state())})
    store = tmp_path / "fits.db"
    wb.scan("hf://org/model", sample=0.125, store=store)
    heights = {size // COLUMNS for size in counted}
    added, fits = number_read(counted, lambda: wb.scan("hf://org/model", sample=0.25, store=store))
    assert {size // COLUMNS for size in counted} == heights
    assert added < 0.14 * 3 * ROWS * COLUMNS
    assert fits.sampled_fraction.values == pytest.approx(0.25, rel=0.05)


def test_a_scan_that_was_stopped_goes_on(
    folder: Path, tmp_path: Path, counted: Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrices that it did not reach keep their fits until they have better ones."""
    store = tmp_path / "fits.db"
    monkeypatch.setattr(sampled, "_TOGETHER", 1)
    before, coarse = number_read(counted, lambda: wb.scan(folder, precision=0.02, store=store))
    whole, fresh = number_read(counted, lambda: wb.scan(folder, precision=0.01))

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    counted.clear()
    with pytest.raises(wb.ScanInterrupted):
        wb.scan(folder, precision=0.01, store=store, progress=stop)
    until_then = sum(counted)
    mixed = wb.open_fits(store).load()
    done = (mixed.sampled_fraction > coarse.sampled_fraction).values.ravel().tolist()
    assert done == [True, False, False]
    for layer, there in enumerate(done):
        xr.testing.assert_equal(
            mixed.sel(layer=layer), (fresh if there else coarse).sel(layer=layer)
        )
    rest, fits = number_read(counted, lambda: wb.scan(folder, precision=0.01, store=store))
    assert 0 < rest < whole - before
    assert before + until_then + rest == whole
    same(fits, fresh)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_blocks_of_a_scan_that_was_stopped_are_kept(
    where: str,
    hub: FakeHub,
    folder: Path,
    tmp_path: Path,
    counted: Weights,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing was fitted yet: all matrices are sampled together."""
    hub.add("org/model", {"model.safetensors": saved(state())})
    source = {"m": folder if where == "here" else "hf://org/model"}
    store = tmp_path / "fits.db"
    whole, fresh = number_read(counted, lambda: wb.scan(source, precision=0.01))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    counted.clear()
    with monkeypatch.context() as patch:
        patch.setattr(sampled, "judge", stop)
        with pytest.raises(wb.ScanInterrupted):
            wb.scan(source, precision=0.01, store=store)
    first = sum(counted)
    assert 0 < first < whole
    assert (wb.open_fits(store)["status"] == "pending").all()
    rest, fits = number_read(counted, lambda: wb.scan(source, precision=0.01, store=store))
    assert first + rest == whole
    same(fits, fresh)


def test_blocks_are_kept_while_they_are_counted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where none of the matrices is done."""
    kept: list[int] = []
    real = Store.keep_blocks

    def keep(store: Store, key: tuple[str, int], blocks: Any) -> None:
        new = list(blocks)
        kept.append(sum(len(found) for *_, found in new))
        real(store, key, new)

    monkeypatch.setattr(Store, "keep_blocks", keep)
    monkeypatch.setattr(sampled, "_KEEP_SECONDS", 0.0)
    fits = wb.scan(folder, sample=0.25, store=tmp_path / "fits.db")
    assert len(kept) > 10
    assert max(kept) < sum(kept) / 2
    assert sum(kept) == 0.25 * len(fits.layer) * ROWS / 4


def test_blocks_are_of_one_file(folder: Path, tmp_path: Path, counted: Weights) -> None:
    store = tmp_path / "fits.db"
    wb.scan(folder, sample=0.125, store=store)
    turned = {name: weights[::-1].copy() for name, weights in state().items()}
    save_file(turned, folder / "model.safetensors")
    whole, fresh = number_read(counted, lambda: wb.scan(folder, sample=0.25))
    read, fits = number_read(counted, lambda: wb.scan(folder, sample=0.25, store=store))
    assert read == whole
    same(fits, fresh)


def test_without_counts_no_blocks_are_kept(folder: Path, tmp_path: Path, counted: Weights) -> None:
    store = tmp_path / "fits.db"
    how: Any = {"keep_counts": False, "store": store}
    wb.scan(folder, sample=0.125, **how)
    whole, fresh = number_read(counted, lambda: wb.scan(folder, sample=0.25, keep_counts=False))
    read, fits = number_read(counted, lambda: wb.scan(folder, sample=0.25, **how))
    assert read == whole
    same(fits, fresh)


def test_matrices_that_were_read_as_a_whole_stay(
    folder: Path, tmp_path: Path, counted: Weights
) -> None:
    store = tmp_path / "fits.db"
    _, first = number_read(counted, lambda: wb.scan(folder, precision=1e-8, store=store))
    assert first.sampled_fraction.values == pytest.approx(1.0)
    read, fits = number_read(counted, lambda: wb.scan(folder, precision=1e-9, store=store))
    assert read == 0
    xr.testing.assert_identical(fits.drop_attrs(), first.drop_attrs())


def test_stores_of_before_are_read_anew(folder: Path, tmp_path: Path, counted: Weights) -> None:
    """They have the sums of blocks alone."""
    store = tmp_path / "fits.db"
    wb.scan(folder, sample=0.125, store=store)
    back_to_version(store, 5)
    same(wb.open_fits(store).load(), wb.scan(folder, sample=0.125))
    whole, fresh = number_read(counted, lambda: wb.scan(folder, sample=0.25))
    read, fits = number_read(counted, lambda: wb.scan(folder, sample=0.25, store=store))
    assert read == whole
    same(fits, fresh)


def test_rows_that_are_looked_at_are_spread_over_all() -> None:
    """The errors by rows are of rows of all parts, however many are read at once."""
    rng = np.random.default_rng(0)
    scales = np.repeat([0.1, 10.0], ROWS // 2)[:, None]
    weights = rng.normal(size=(ROWS, COLUMNS)) * scales
    fits = wb.scan({"m": {"model.layers.0.mlp.up_proj.weight": weights}}, sample=0.5)
    assert fits.h_row.item() == pytest.approx(np.log(10.0), rel=0.1)


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("content = 'text'", "another type"),
        ("height = 0", "one height"),
        ("height = 'much'", "another type"),
        ("height = 5", "block"),
        ("content = x'00'", "requires a buffer"),
        ("content = substr(content, 1, length(content) - 7)", "buffer"),
        ("content = CAST(x'ff' || content AS BLOB)", "no block"),
        (f"content = CAST(substr(content, 1, 8) || {ONE_ZERO} AS BLOB)", "does not have 640"),
    ],
)
def test_blocks_of_strangers_are_checked(
    folder: Path, tmp_path: Path, statement: str, cause: str
) -> None:
    store = tmp_path / "fits.db"
    wb.scan(folder, sample=0.125, store=store)
    change(store, f"{UPDATE} {statement} WHERE place = 1")
    with pytest.raises(wb.FitsError, match=f"variable `blocks`.*{cause}"):
        wb.scan(folder, sample=0.25, store=store)
