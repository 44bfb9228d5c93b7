"""The tables of a store, and whether a file has them and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from weibnb.fits.inspection import FitsError
from weibnb.fits.schema import DEAD, FORCES, SCALES
from weibnb.fitting.estimates import COVARIANCE, COVARIANCES
from weibnb.fitting.weibull import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    Columns = dict[str, frozenset[tuple[object, ...]]]

#: Endings of a store.
STORE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
#: What marks an SQLite file as a store, and the version of its tables.
APPLICATION, LATEST = int.from_bytes(b"weib", "big"), 4
#: What places a matrix in its checkpoint.
CELL = {"layer": "INTEGER", "component": "TEXT", "expert": "INTEGER"}
#: Everything else about a matrix, as `weibnb.fits.build.estimate` names it.
COLUMNS = {
    **dict.fromkeys(("parameter", "dtype", "status"), "TEXT"),
    **dict.fromkeys(("rows", "cols", "scaled", "n", "nonfinite"), "INTEGER"),
    **dict.fromkeys(("zero_fraction", "max_abs", "rms", "mean_abs", "kurtosis"), "REAL"),
    **dict.fromkeys(("k", "lam", "r2", "ks", "ks_full"), "REAL"),
    **dict.fromkeys(("k_se", "lam_se", "k_lam_correlation"), "REAL"),
    "magnitude_quantile": "BLOB",
    "k_design_effect": "REAL",
    "lam_design_effect": "REAL",
    "se_kind": "TEXT",
    **dict.fromkeys(SCALES, "REAL"),
    **dict.fromkeys(DEAD, "INTEGER"),
    COVARIANCE: "BLOB",
    **dict.fromkeys(FORCES, "REAL"),
}
#: What NULL stands for in a column of integers, where it is not 0.
NO_INTEGER = dict.fromkeys(DEAD, -1)
#: How many numbers of 8 bytes each BLOB holds.
NUMBERS = {"magnitude_quantile": len(QUANTILES), COVARIANCE: COVARIANCES}
_MATRIX = ", ".join(f"{name} {kind}" for name, kind in (CELL | COLUMNS).items())
_FIELDS = (
    "CREATE TABLE fields (matrix INTEGER PRIMARY KEY REFERENCES matrix (id) ON DELETE CASCADE, "
    "row_rms BLOB, col_rms BLOB)"
)
#: The statements that make the tables.
TABLES = {
    "about": "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "checkpoint": (
        "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, "
        "step INTEGER NOT NULL, path TEXT, place TEXT, identity TEXT, fingerprint TEXT, "
        "config TEXT, problem TEXT, not_fitted TEXT, UNIQUE (model, step))"
    ),
    "matrix": (
        "CREATE TABLE matrix (id INTEGER PRIMARY KEY AUTOINCREMENT, checkpoint INTEGER NOT NULL "
        f"REFERENCES checkpoint (id) ON DELETE CASCADE, {_MATRIX}, "
        "UNIQUE (checkpoint, layer, component, expert))"
    ),
    "counts": (
        "CREATE TABLE counts (matrix INTEGER PRIMARY KEY REFERENCES matrix (id) "
        "ON DELETE CASCADE, zeros INTEGER, nans INTEGER, infinities INTEGER, largest REAL, "
        "exact INTEGER, bins BLOB)"
    ),
    "fields": _FIELDS,
}
#: Statements that bring the tables of a version to the next one, by version.
MIGRATIONS: Mapping[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE matrix ADD COLUMN k_design_effect REAL",
        "ALTER TABLE matrix ADD COLUMN lam_design_effect REAL",
        "ALTER TABLE matrix ADD COLUMN se_kind TEXT",
        "UPDATE matrix SET se_kind = 'independent' WHERE k_se IS NOT NULL",
    ),
    2: (
        "ALTER TABLE matrix ADD COLUMN h_row REAL",
        "ALTER TABLE matrix ADD COLUMN h_row_se REAL",
        "ALTER TABLE matrix ADD COLUMN h_col REAL",
        "ALTER TABLE matrix ADD COLUMN h_col_se REAL",
        "ALTER TABLE matrix ADD COLUMN dead_rows INTEGER",
        "ALTER TABLE matrix ADD COLUMN dead_cols INTEGER",
        "ALTER TABLE matrix ADD COLUMN line_covariance BLOB",
        _FIELDS,
    ),
    3: tuple(f"ALTER TABLE matrix ADD COLUMN {name} REAL" for name in FORCES),
}


def store_version(connection: sqlite3.Connection, path: Path) -> int:
    """Give the version of a store's tables, 0 for an empty file; refuse every other file.

    Raises
    ------
    FitsError
        If it is no store, or one of a newer weibnb.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if (application, version, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION:
        raise FitsError(path, "it is an SQLite file, but no store of weibnb")
    if version > LATEST:
        raise FitsError(
            path, f"it was written by a newer weibnb (schema {version}, this one knows {LATEST})"
        )
    return int(version)


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables of a version, 0 for none, to the latest."""
    if version == LATEST:
        return
    steps = (
        [TABLES.values()] if version == 0 else map(MIGRATIONS.__getitem__, range(version, LATEST))
    )
    for statement in chain.from_iterable(steps):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {LATEST}")


def check_tables(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a store that has other tables than ours: views and triggers run code of a stranger.

    Raises
    ------
    FitsError
        With the name of the first difference.
    """
    ours, found = _columns_made_by(tuple(TABLES.values())), _columns(connection)
    for name in {**found, **ours}:
        if found.get(name) != ours.get(name):
            raise FitsError(path, "its tables are not those of a store", str(name))


@lru_cache(maxsize=2)
def _columns_made_by(statements: tuple[str, ...]) -> Columns:
    """Give the columns of the tables that statements make."""
    with closing(sqlite3.connect(":memory:")) as model:
        for statement in statements:
            model.execute(statement)
        return _columns(model)


def _columns(connection: sqlite3.Connection) -> Columns:
    """Name, type and kind of every column of every table, and every entry that is no table."""
    entries = connection.execute(
        "SELECT name, type FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    query = "SELECT name, type, hidden, ? FROM pragma_table_xinfo(?)"
    return {
        name: frozenset(connection.execute(query, (kind, name)).fetchall())
        for name, kind in entries
    }
