"""What several tests of this folder use."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

import weibnb as wb
from weibnb.fits.schema import DEAD, FORCES, SCALES

if TYPE_CHECKING:
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
    """Take from the tables of a store what later versions brought."""
    new = [*FORCES]
    if version < 3:
        new += [*SCALES, *DEAD, "line_covariance"]
        change(store, "DROP TABLE fields")
    if version < 2:
        new += ["k_design_effect", "lam_design_effect", "se_kind"]
    dropped = (f"ALTER TABLE matrix DROP COLUMN {name}" for name in new)
    change(store, *dropped, f"PRAGMA user_version = {version}")
