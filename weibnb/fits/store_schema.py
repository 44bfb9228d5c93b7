"""The tables of a store, and whether a file has them and nothing else."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING

from weibnb.fits.inspection import FitsError
from weibnb.fits.schema import DEAD, EMPTY_TEXT, FORCES, SAMPLING, SCALES
from weibnb.fitting.estimates import COVARIANCE, COVARIANCES
from weibnb.fitting.weibull import QUANTILES

if TYPE_CHECKING:
    from pathlib import Path

    Columns = dict[str, frozenset[tuple[object, ...]]]

#: Endings of a store.
STORE_SUFFIXES = (".db", ".sqlite", ".sqlite3")
#: What marks an SQLite file as a store, and the version of its tables.
APPLICATION, LATEST = int.from_bytes(b"weib", "big"), 6
#: What is known of the matrices of a checkpoint before any is counted, in this order: the list
#: that `shared` holds once for all checkpoints with the same. The first three are its cell.
KNOWN: dict[str, type] = {
    "layer": int,
    "component": str,
    "expert": int,
    "parameter": str,
    "dtype": str,
    "rows": int,
    "cols": int,
}
#: Columns of estimates, as `weibnb.fits.build.estimate` names them, by what one value is: text,
#: an integer, a float or several. `counted` says whether there are counts.
ESTIMATES: dict[str, str | int] = {
    **dict.fromkeys(("status", "se_kind"), "text"),
    **dict.fromkeys(("scaled", "counted", "n", "nonfinite", *DEAD), "integer"),
    **dict.fromkeys(("zero_fraction", "max_abs", "rms", "mean_abs", "kurtosis"), 1),
    **dict.fromkeys(("k", "lam", "r2", "ks", "ks_full"), 1),
    **dict.fromkeys(("k_se", "lam_se", "k_lam_correlation"), 1),
    **dict.fromkeys(("k_design_effect", "lam_design_effect"), 1),
    "magnitude_quantile": len(QUANTILES),
    **dict.fromkeys(SCALES, 1),
    COVARIANCE: COVARIANCES,
    **dict.fromkeys(FORCES, 1),
    **dict.fromkeys(SAMPLING, 1),
}
#: What stands for a matrix that was not counted, where it is not NaN or 0.
NOTHING: dict[str, str | int] = {
    "status": "pending", "se_kind": EMPTY_TEXT["se_kind"], **dict.fromkeys(DEAD, -1),
}  # fmt: skip
_OF_MATRIX = (
    "id INTEGER PRIMARY KEY, checkpoint INTEGER NOT NULL REFERENCES checkpoint (id) "
    "ON DELETE CASCADE, place INTEGER NOT NULL"
)
#: The statements that make the tables. Those of matrices tell them by the place in the list of
#: their checkpoint; of estimates the later row holds.
TABLES = {
    "about": "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "shared": (
        "CREATE TABLE shared (id INTEGER PRIMARY KEY AUTOINCREMENT, digest TEXT NOT NULL UNIQUE, "
        "content TEXT NOT NULL)"
    ),
    "checkpoint": (
        "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, "
        "step INTEGER NOT NULL, path TEXT, place TEXT, identity TEXT, fingerprint TEXT, "
        "problem TEXT, config INTEGER NOT NULL, not_fitted INTEGER NOT NULL, "
        "matrices INTEGER NOT NULL, counts_kept INTEGER NOT NULL, UNIQUE (model, step))"
    ),
    "estimates": (
        "CREATE TABLE estimates (id INTEGER PRIMARY KEY AUTOINCREMENT, checkpoint INTEGER NOT NULL "
        "REFERENCES checkpoint (id) ON DELETE CASCADE, numbers BLOB NOT NULL, covariance BLOB)"
    ),
    "estimates_of": "CREATE INDEX estimates_of ON estimates (checkpoint)",
    "counts": (
        f"CREATE TABLE counts ({_OF_MATRIX}, zeros INTEGER, nans INTEGER, infinities INTEGER, "
        "largest REAL, exact INTEGER, bins BLOB, UNIQUE (checkpoint, place))"
    ),
    "fields": (
        f"CREATE TABLE fields ({_OF_MATRIX}, row_rms BLOB, col_rms BLOB, "
        "UNIQUE (checkpoint, place))"
    ),
    "blocks": f"CREATE TABLE blocks ({_OF_MATRIX}, dtype TEXT, height INTEGER, content BLOB)",
    "blocks_of": "CREATE INDEX blocks_of ON blocks (checkpoint, place)",
}


# What a stranger may have put into a store to be run.
_FOREIGN = "SELECT count(*) FROM sqlite_master WHERE type IN ('view', 'trigger')"


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
    if connection.execute(_FOREIGN).fetchone()[0]:
        raise FitsError(path, "its tables are not those of a store")
    if version > LATEST:
        raise FitsError(
            path, f"it was written by a newer weibnb (schema {version}, this one knows {LATEST})"
        )
    return int(version)


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
