"""Stores: what is in them, who may open them, and what becomes of strangers' files."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import weibnb as wb
from tests.fits.helpers import back_to_version, change
from weibnb.fits import store_older, store_schema
from weibnb.fits.schema import FORCES
from weibnb.fits.store import Store
from weibnb.fits.store_reading import changes
from weibnb.io.sources import Planned
from weibnb.scanning.matrices import list_matrices
from weibnb.testing import write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("up", "down")
SHARED = "UPDATE shared SET content"


def weights(layers: int = 2, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        f"model.layers.{layer}.mlp.{name}_proj.weight": rng.normal(0, 0.02, (40, 60)).astype("f2")
        for layer in range(layers)
        for name in NAMES
    }


@pytest.fixture
def store(tmp_path: Path) -> Path:
    wb.scan({"tiny": weights()}, store=tmp_path / "fits.db")
    return tmp_path / "fits.db"


def test_opened_fits_are_those_of_the_scan(store: Path) -> None:
    opened = wb.open_fits(store)
    scanned = wb.scan({"tiny": weights()})
    assert opened.attrs.pop("created") <= scanned.attrs.pop("created")
    xr.testing.assert_identical(opened.load(), scanned)


def test_no_file_is_left_beside_it_but_the_lock(store: Path) -> None:
    wb.open_fits(store).load()
    assert sorted(path.name for path in store.parent.iterdir()) == ["fits.db", "fits.db.lock"]


def test_changes_grow_with_what_is_written_and_not_with_what_is_read(store: Path) -> None:
    before = changes(store)
    wb.open_fits(store).load()
    with pytest.raises(ValueError, match="must be used with the trim"):
        wb.scan({"tiny": weights()}, store=store, trim=(0.2, 0.8))
    assert changes(store) == before > 0
    wb.scan({"more": weights()}, store=store)
    after = changes(store)
    assert after > before
    wb.scan({"more": weights()}, store=store, rescan=True)
    assert changes(store) > after


def test_changes_of_what_is_no_store(store: Path, tmp_path: Path) -> None:
    change(store, "UPDATE about SET value = 'many' WHERE name = 'changes'")
    with pytest.raises(wb.FitsError, match="counts its changes as 'many'"):
        changes(store)
    change(store, "DELETE FROM about WHERE name = 'changes'")
    assert changes(store) == 0
    with pytest.raises(OSError, match="cannot be used"):
        changes(tmp_path / "nowhere.db")
    (tmp_path / "text.db").write_bytes(b"no database at all, but a text of some length" * 30)
    with pytest.raises(wb.FitsError, match="it is no store"):
        changes(tmp_path / "text.db")


def test_counts_are_read_when_they_are_asked_for(store: Path) -> None:
    fits = wb.open_fits(store)
    one = fits["counts"].isel(model=0, layer=1, component=0, step=0)
    change(store, "DELETE FROM counts WHERE place = 0")
    name = "model.layers.1.mlp.up_proj.weight"
    assert one.item() == wb.count_magnitudes(weights()[name])
    with pytest.raises(wb.FitsError, match="changed since it was opened"):
        fits["counts"].isel(layer=0).load()


def test_fits_of_a_store_are_saved_refitted_and_drawn(store: Path, tmp_path: Path) -> None:
    fits = wb.open_fits(store)
    saved = wb.save_fits(fits, tmp_path / "fits.nc")
    with wb.open_fits(saved) as again:
        xr.testing.assert_identical(again.load(), wb.open_fits(store).load())
    wider = wb.refit(fits, trim=(0.05, 0.95))
    direct = wb.scan({"tiny": weights()}, trim=(0.05, 0.95))
    xr.testing.assert_identical(wider["k"], direct["k"])
    assert wb.charts.weibull_plot(fits).to_dict()["$schema"]


def test_a_store_is_read_where_nothing_can_be_written(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite cannot make the files that it wants beside a database that others may write to."""
    connect = sqlite3.connect

    def refuse(place: str, **options: Any) -> Any:
        if "mode" in place and "immutable" not in place:
            place = "file:/nowhere/at/all?mode=ro"
        return connect(place, **options)

    monkeypatch.setattr(sqlite3, "connect", refuse)
    assert wb.open_fits(store)["k"].notnull().all()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"trim": (0.05, 0.95)}, "trim"),
        ({"estimator": "maximum_likelihood"}, "estimator"),
        ({"keep_counts": False}, "keep_counts"),
    ],
)
def test_another_protocol_is_refused(store: Path, options: Any, named: str) -> None:
    before = store.read_bytes()
    with pytest.raises(ValueError, match=f"must be used with the {named} that it was made with"):
        wb.scan({"tiny": weights()}, store=store, **options)
    assert store.read_bytes() == before


def test_the_name_decides(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in \.db, \.sqlite or \.sqlite3"):
        wb.scan({"tiny": weights()}, store=tmp_path / "fits.nc")
    with pytest.raises(ValueError, match="a store is filled by"):
        wb.save_fits(wb.scan({"tiny": weights()}), tmp_path / "fits.db")
    with pytest.raises(ValueError, match="`rescan` must come with a store"):
        wb.scan({"tiny": weights()}, rescan=True)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"no database at all, but a text of some length" * 30, "it is no store, or is damaged"),
        (b"SQLite format 3\0" + b"\xff" * 500, "it is no store, or is damaged"),
        (b"", "it does not say"),
    ],
    ids=["text", "damaged", "empty"],
)
def test_what_is_no_store_cannot_be_opened(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "fits.db"
    path.write_bytes(content)
    with pytest.raises(wb.FitsError, match=cause):
        wb.open_fits(path)


def test_a_foreign_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "mail.db"
    change(path, "CREATE TABLE mail (text TEXT)", "INSERT INTO mail VALUES ('keep me')")
    before = path.read_bytes()
    with pytest.raises(wb.FitsError, match="an SQLite file, but no store"):
        wb.open_fits(path)
    with pytest.raises(wb.FitsError, match="an SQLite file, but no store"):
        wb.scan({"tiny": weights()}, store=path)
    assert path.read_bytes() == before


def test_a_newer_store_is_refused(store: Path) -> None:
    change(store, f"PRAGMA user_version = {store_schema.LATEST + 1}")
    with pytest.raises(wb.FitsError, match="written by a newer weibnb"):
        wb.open_fits(store)
    with pytest.raises(wb.FitsError, match="written by a newer weibnb"):
        wb.scan({"tiny": weights()}, store=store)


def test_an_older_store_is_read_as_it_is_and_migrated_for_writing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next version has one column more."""
    older = store_schema.LATEST
    tables = dict(store_schema.TABLES)
    tables["checkpoint"] = tables["checkpoint"].replace("path TEXT,", "path TEXT, note TEXT,")
    step = "ALTER TABLE checkpoint ADD COLUMN note TEXT"
    monkeypatch.setattr(store_schema, "LATEST", older + 1)
    monkeypatch.setattr(store_schema, "TABLES", tables)
    monkeypatch.setattr(store_older, "MIGRATIONS", {older: (step,)})
    before = store.read_bytes()
    assert wb.open_fits(store)["k"].notnull().all()
    assert store.read_bytes() == before
    wb.scan({"tiny": weights(3)}, store=store)
    assert wb.open_fits(store)["k"].notnull().sum() == 6
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (older + 1,)
        assert connection.execute("SELECT note FROM checkpoint").fetchall() == [(None,)]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW extra AS SELECT * FROM about",
        "CREATE TRIGGER extra AFTER INSERT ON about BEGIN DELETE FROM counts; END",
        "CREATE TABLE extra (x)",
        "DROP TABLE counts",
        "ALTER TABLE checkpoint ADD COLUMN extra TEXT",
    ],
)
def test_other_tables_than_ours_are_refused(store: Path, statement: str) -> None:
    change(store, statement)
    with pytest.raises(wb.FitsError, match="its tables are not those of a store"):
        wb.open_fits(store)


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("UPDATE estimates SET numbers = 'text'", "variable `estimates`"),
        ("UPDATE estimates SET numbers = x'0011'", "packed columns are damaged"),
        (f"{SHARED} = '[1]' WHERE id = 2", "variable `not_fitted`"),
        (f"{SHARED} = '[1]' WHERE id = 1", "a JSON list of matrices"),
        (f"{SHARED} = 'none' WHERE id = 1", "a JSON list of matrices"),
        (f'{SHARED} = \'[[0, "q", -1, "q", "F16", 40, 1e3]]\' WHERE id = 1', "matrices"),
        (f'{SHARED} = \'[[0, "q", -1, "q", "F16", 40, 60]]\' WHERE id = 1', "most 1 are"),
        (f"{SHARED} = replace(content, 'down', 'up') WHERE id = 1", "different matrices"),
        (f"{SHARED} = x'00'", "a text is expected"),
        ("DELETE FROM shared", "a text is expected"),
        ("UPDATE checkpoint SET counts_kept = 2", "variable `checkpoint`"),
        ("UPDATE checkpoint SET model = x'ff'", "variable `checkpoint`"),
        ("UPDATE about SET value = '[0.9, 0.1]' WHERE name = 'trim'", "`trim` must"),
        ("UPDATE about SET value = 'guess' WHERE name = 'estimator'", "`estimator` must"),
        ("UPDATE about SET value = '1e' WHERE name = 'trim'", "do not make fits"),
        ("DELETE FROM about WHERE name = 'experts'", "does not say experts"),
    ],
)
def test_values_of_strangers_are_checked(store: Path, statement: str, cause: str) -> None:
    change(store, statement)
    with pytest.raises(wb.FitsError, match=cause) as caught:
        wb.open_fits(store)
    assert caught.value.path == str(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE counts SET bins = x'00ff00ff00ff00ff00ff00ff'",
        "UPDATE counts SET bins = 'text'",
        "UPDATE counts SET zeros = -1",
        "UPDATE counts SET exact = NULL",
        "UPDATE counts SET largest = 'much'",
        "DELETE FROM counts WHERE place = 2",
    ],
)
def test_counts_of_strangers_are_checked(store: Path, statement: str) -> None:
    change(store, statement)
    fits = wb.open_fits(store)
    with pytest.raises(wb.FitsError, match="variable `counts`"):
        fits["counts"].load()


def test_names_are_kept_as_text(tmp_path: Path) -> None:
    named = {"a'); DROP TABLE matrix; --": weights(1), "=cmd\x1b[2J\0": weights(1, 1)}
    fits = wb.scan(named, store=tmp_path / "fits.db")
    assert fits["model"].values.tolist() == ["a'); DROP TABLE matrix; --", "=cmd\x1b[2J\\x00"]
    assert wb.open_fits(tmp_path / "fits.db")["k"].notnull().all()


def test_a_full_disk_is_an_error_and_keeps_what_was_there(tmp_path: Path) -> None:
    """Pages beyond a limit stand for the disk."""
    path = tmp_path / "fits.db"
    wb.scan({"tiny": weights()}, store=path)
    protocol: dict[str, Any] = {"trim": (0.1, 0.9), "estimator": "rank_regression"}
    with Store(path, **protocol, experts="median", keep_counts=True, fields=False) as store:
        pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        listing = list_matrices(Planned("more", 0, weights(200)))
        with pytest.raises(OSError, match="what was committed is kept"):
            store.begin(listing.source, listing.matrices(), rescan=False)
    assert wb.open_fits(path)["model"].values.tolist() == ["tiny"]


def test_a_store_is_a_private_file_as_the_user_wants(store: Path) -> None:
    assert stat.S_IMODE(store.stat().st_mode) & stat.S_IWUSR


@pytest.mark.parametrize(
    "column", ["checkpoint SET path", "checkpoint SET model", "shared SET content"]
)
def test_text_that_is_no_text_is_damage(store: Path, column: str) -> None:
    change(store, f"UPDATE {column} = CAST(x'ff' AS TEXT)")
    with pytest.raises(wb.FitsError, match="is damaged"):
        wb.open_fits(store)


def test_a_store_of_the_first_version_has_independent_errors(tmp_path: Path) -> None:
    """It is read as it is, and gets the new columns when a scan goes on with it."""
    checkpoint, store = write_checkpoint(tmp_path / "a", layers=1, hidden=32), tmp_path / "fits.db"
    number = wb.scan({"tiny": checkpoint}, store=store)["k"].size
    back_to_version(store, 1)
    change(store, "UPDATE matrix SET status = 'pending', k = NULL, k_se = NULL WHERE id = 1")
    before = store.read_bytes()
    opened = wb.open_fits(store)
    kinds = opened["se_kind"].values.ravel().tolist()
    assert sorted(kinds) == ["independent"] * (number - 1) + ["none"]
    assert opened["k_design_effect"].isnull().all()
    assert store.read_bytes() == before
    fits = wb.scan({"tiny": checkpoint}, store=store)
    kinds = fits["se_kind"].values.ravel().tolist()
    assert sorted(kinds) == ["clustered"] + ["independent"] * (number - 1)
    assert int(fits["k_design_effect"].notnull().sum()) == 1
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (store_schema.LATEST,)


def test_a_store_of_the_second_version_keeps_its_errors(tmp_path: Path) -> None:
    """It did not keep what errors by another protocol are made from: those are independent."""
    checkpoint, store = write_checkpoint(tmp_path / "a", layers=1, hidden=32), tmp_path / "fits.db"
    scanned = wb.scan({"tiny": checkpoint}, store=store)
    back_to_version(store, 2)
    opened = wb.open_fits(store)
    again = wb.scan({"tiny": checkpoint}, store=store)
    for fits in (opened, again):
        for name in ("k_se", "k_design_effect", "se_kind"):
            np.testing.assert_array_equal(fits[name], scanned[name])
        assert fits["line_covariance"].isnull().all()
        assert set(wb.refit(fits, trim=(0.2, 0.8))["se_kind"].values.ravel()) == {"independent"}


def test_a_store_of_the_third_version_has_no_forces_and_goes_on(tmp_path: Path) -> None:
    checkpoint, store = write_checkpoint(tmp_path / "a", layers=1, hidden=32), tmp_path / "fits.db"
    scanned = wb.scan({"tiny": checkpoint}, store=store)
    back_to_version(store, 3)
    for fits in (wb.open_fits(store), wb.scan({"tiny": checkpoint}, store=store)):
        assert not set(FORCES) & set(fits.variables)
        for name in ("k_se", "h_row", "line_covariance"):
            np.testing.assert_array_equal(fits[name], scanned[name])
    with closing(sqlite3.connect(store)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (store_schema.LATEST,)
