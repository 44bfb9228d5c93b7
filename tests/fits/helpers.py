"""What several tests of this folder use."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

import weibnb as wb
from weibnb.fits.schema import DEAD, FORCES, SCALES
from weibnb.fits.store_schema import ESTIMATES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    Weights = dict[str, NDArray[Any]]

Q = "model.layers.{}.self_attn.q_proj.weight"
UP = "model.layers.{}.mlp.up_proj.weight"
EXPERT = "model.layers.{}.mlp.experts.{}.up_proj.weight"


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


def change(store: Path, *statements: str) -> None:
    """Write to a store as nobody should."""
    with closing(sqlite3.connect(store)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def back_to_version(store: Path, version: int) -> None:
    """Take from a store what later versions brought."""
    if version < 5:
        _back_to_the_fourth(store)
    change(store, "DROP TABLE blocks", f"PRAGMA user_version = {version}")
    if version > 3:
        return
    new = [*FORCES] if version < 4 else []
    if version < 3:
        new += [*SCALES, *DEAD, "line_covariance"]
        change(store, "DROP TABLE fields")
    if version < 2:
        new += ["k_design_effect", "lam_design_effect", "se_kind"]
    dropped = (f"ALTER TABLE matrix DROP COLUMN {name}" for name in new)
    change(store, *dropped, f"PRAGMA user_version = {version}")


_FOURTH_CHECKPOINT = (
    "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, "
    "step INTEGER NOT NULL, path TEXT, place TEXT, identity TEXT, fingerprint TEXT, "
    "config TEXT, problem TEXT, not_fitted TEXT, UNIQUE (model, step))"
)
_FOURTH_MATRIX = (
    "id INTEGER PRIMARY KEY AUTOINCREMENT, checkpoint INTEGER NOT NULL "
    "REFERENCES checkpoint (id) ON DELETE CASCADE, layer INTEGER, component TEXT, expert INTEGER"
)
_OF_A_MATRIX = "matrix INTEGER PRIMARY KEY REFERENCES matrix (id) ON DELETE CASCADE"
_FOURTH_COUNTS = (
    "zeros INTEGER, nans INTEGER, infinities INTEGER, largest REAL, exact INTEGER, bins BLOB"
)


def _back_to_the_fourth(store: Path) -> None:
    """Give each matrix a row with a column for every estimate, as stores had until then."""
    fits = wb.open_fits(store).load()
    kinds = {"parameter": "TEXT", "dtype": "TEXT", "rows": "INTEGER", "cols": "INTEGER"}
    words = {"text": "TEXT", "integer": "INTEGER", 1: "REAL"}
    kinds |= {n: words.get(k, "BLOB") for n, k in ESTIMATES.items() if n != "counted"}
    columns = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
    with closing(sqlite3.connect(store, isolation_level=None)) as connection:
        execute = connection.execute
        text = "(SELECT content FROM shared WHERE id = {})"
        config, not_fitted, matrices = map(text.format, ("config", "not_fitted", "matrices"))
        query = f"{config}, problem, {not_fitted}, {matrices} FROM checkpoint"
        query = f"SELECT id, model, step, path, place, identity, fingerprint, {query}"
        old = execute(query).fetchall()
        counts = execute(
            "SELECT checkpoint, place, zeros, nans, infinities, largest, exact, bins FROM counts"
        ).fetchall()
        fields = execute("SELECT checkpoint, place, row_rms, col_rms FROM fields").fetchall()
        execute("PRAGMA foreign_keys = OFF")
        for name in ("fields", "counts", "estimates", "checkpoint", "shared"):
            execute(f"DROP TABLE {name}")
        execute(_FOURTH_CHECKPOINT)
        execute(
            f"CREATE TABLE matrix ({_FOURTH_MATRIX}, {columns}, "
            "UNIQUE (checkpoint, layer, component, expert))"
        )
        execute(f"CREATE TABLE counts ({_OF_A_MATRIX}, {_FOURTH_COUNTS})")
        execute(f"CREATE TABLE fields ({_OF_A_MATRIX}, row_rms BLOB, col_rms BLOB)")
        ids = {}
        for *checkpoint, matrices in old:
            _insert(execute, "checkpoint", checkpoint)
            for place, (layer, component, expert, *known) in enumerate(json.loads(matrices)):
                cell = {"layer": layer, "component": component, "step": checkpoint[2]}
                cell |= {"model": checkpoint[1]}
                if "expert" in fits["k"].dims:
                    cell["expert"] = expert
                values = [_of_the_fourth(fits.sel(cell), name) for name in list(kinds)[4:]]
                row = (checkpoint[0], layer, component, expert, *known, *values)
                ids[checkpoint[0], place] = _insert(execute, "matrix", (None, *row))
        for of, place, *row in counts:
            _insert(execute, "counts", (ids[of, place], *row))
        for of, place, *row in fields:
            _insert(execute, "fields", (ids[of, place], *row))
        execute("VACUUM")


def _of_the_fourth(cell: xr.Dataset, name: str) -> Any:
    """Value of a matrix as a row held it."""
    if name not in cell:
        return None
    value = cell[name].values
    if value.ndim:
        return value.astype("<f8").tobytes()
    found = value.item()
    return None if isinstance(found, float) and np.isnan(found) else found


def _insert(execute: Any, table: str, row: Sequence[Any]) -> Any:
    """Enter a row; give its number."""
    marks = ", ".join("?" * len(row))
    return execute(f"INSERT INTO {table} VALUES ({marks})", row).lastrowid  # noqa: S608
