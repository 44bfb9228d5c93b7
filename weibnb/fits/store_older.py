"""Stores of older versions: their tables brought to those of today."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits import store_schema
from weibnb.fits.schema import DEAD, FORCES
from weibnb.fits.store_estimates import insert_estimates, share
from weibnb.fits.store_schema import APPLICATION, ESTIMATES, KNOWN, NOTHING, TABLES

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

# Matrices whose estimates are packed together, as in a batch of a scan.
_BATCH = 4096
_FIELDS = (
    "CREATE TABLE fields (matrix INTEGER PRIMARY KEY REFERENCES matrix (id) ON DELETE CASCADE, "
    "row_rms BLOB, col_rms BLOB)"
)
_SIXTH = ("blocks", "blocks_of")
# What holds the matrices since the fifth version, and what of the tables before is kept of them.
_OF_MATRICES = {
    "counts": "zeros, nans, infinities, largest, exact, bins",
    "fields": "row_rms, col_rms",
}


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Bring the tables of a version, 0 for none, to the latest."""
    latest = store_schema.LATEST
    if version == latest:
        return
    steps: Any = [store_schema.TABLES.values()]
    if version:
        steps = map(MIGRATIONS.__getitem__, range(version, latest))
    for step in chain.from_iterable(steps):
        if isinstance(step, str):
            connection.execute(step)
        else:
            step(connection)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {latest}")


def _to_columns(connection: sqlite3.Connection) -> None:
    """Put the estimates of rows of the fourth version, one for each matrix, into columns."""
    execute = connection.execute
    execute("PRAGMA defer_foreign_keys = ON")
    for name in ("checkpoint", "matrix", "counts", "fields"):
        execute(f"ALTER TABLE {name} RENAME TO older_{name}")
    for name, statement in TABLES.items():
        if name not in ("about", *_SIXTH):
            execute(statement)
    execute(
        "CREATE TEMP TABLE placed AS SELECT id AS matrix, checkpoint, row_number() OVER "
        "(PARTITION BY checkpoint ORDER BY id) - 1 AS place FROM older_matrix"
    )
    for at, model, step, *rest in execute(
        "SELECT id, model, step, path, place, identity, fingerprint, problem, config, not_fitted "
        "FROM older_checkpoint ORDER BY id"
    ).fetchall():
        *texts, config, not_fitted = rest
        names = ", ".join(KNOWN)
        query = f"SELECT {names} FROM older_matrix WHERE checkpoint = ? ORDER BY id"  # noqa: S608
        matrices = json.dumps(execute(query, (at,)).fetchall())
        shared = [share(execute, text) for text in (config, not_fitted, matrices)]
        marks = ", ".join("?" * 12)
        execute(
            f"INSERT INTO checkpoint VALUES ({marks})",  # noqa: S608  (marks alone)
            (at, model, step, *texts, *shared, 1),
        )
        _pack_estimates(connection, at)
    for name, kept in _OF_MATRICES.items():
        execute(
            f"INSERT INTO {name} (checkpoint, place, {kept}) "  # noqa: S608  (constants)
            f"SELECT checkpoint, place, {kept} FROM older_{name} NATURAL JOIN temp.placed"
        )
    execute("DROP TABLE temp.placed")
    for name in ("fields", "counts", "matrix", "checkpoint"):
        execute(f"DROP TABLE older_{name}")


def _pack_estimates(connection: sqlite3.Connection, checkpoint: int) -> None:
    """Pack the estimates of a checkpoint of the fourth version, of what is not open."""
    names = [name for name in ESTIMATES if name != "counted"]
    query = (
        f"SELECT place, older_counts.matrix IS NOT NULL, status, {', '.join(names)} "  # noqa: S608
        "FROM older_matrix JOIN temp.placed ON placed.matrix = older_matrix.id "
        "LEFT JOIN older_counts ON older_counts.matrix = older_matrix.id "
        "WHERE older_matrix.checkpoint = ? AND status IS NOT 'pending' ORDER BY place"
    )
    with closing(connection.cursor()) as cursor:
        cursor.execute(query, (checkpoint,))
        while rows := cursor.fetchmany(_BATCH):
            places, counted, _, *columns = zip(*rows, strict=True)
            values = {"place": np.array(places), "counted": np.array(counted)}
            values |= {
                name: _values(name, column) for name, column in zip(names, columns, strict=True)
            }
            insert_estimates(connection.execute, checkpoint, values)


def _values(name: str, column: Sequence[Any]) -> NDArray[Any]:
    """Make an array of a column of the fourth version."""
    kind = ESTIMATES[name]
    if kind in ("text", "integer"):
        nothing = NOTHING.get(name, 0)
        filled = [nothing if value is None else value for value in column]
        return np.array(filled, object if kind == "text" else np.int64)
    if kind == 1:
        return np.array([np.nan if value is None else value for value in column], float)
    unknown = np.full(int(kind), np.nan).tobytes()
    found = np.frombuffer(b"".join(value or unknown for value in column), "<f8")
    return found.reshape(len(column), int(kind))


#: What brings the tables of a version to the next one, by version: statements and functions.
MIGRATIONS: Mapping[int, tuple[str | Callable[[sqlite3.Connection], None], ...]] = {
    1: (
        "ALTER TABLE matrix ADD COLUMN k_design_effect REAL",
        "ALTER TABLE matrix ADD COLUMN lam_design_effect REAL",
        "ALTER TABLE matrix ADD COLUMN se_kind TEXT",
        "UPDATE matrix SET se_kind = 'independent' WHERE k_se IS NOT NULL",
    ),
    2: (
        *(f"ALTER TABLE matrix ADD COLUMN {name} REAL" for name in ("h_row", "h_row_se")),
        *(f"ALTER TABLE matrix ADD COLUMN {name} REAL" for name in ("h_col", "h_col_se")),
        *(f"ALTER TABLE matrix ADD COLUMN {name} INTEGER" for name in DEAD),
        "ALTER TABLE matrix ADD COLUMN line_covariance BLOB",
        _FIELDS,
    ),
    3: tuple(f"ALTER TABLE matrix ADD COLUMN {name} REAL" for name in FORCES),
    4: (_to_columns,),
    5: tuple(TABLES[name] for name in _SIXTH),
}
