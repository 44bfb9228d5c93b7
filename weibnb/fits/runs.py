"""The steps that a store holds of a run, and those that a training left behind."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from weibnb.fits.schema import escape
from weibnb.fits.store import COUNT_CHANGES, failures

if TYPE_CHECKING:
    from pathlib import Path

# Seconds that a transaction of another process is waited for.
_PATIENCE = 60.0


def recorded_steps(path: Path, model: str) -> list[int]:
    """Give the steps of a model in a store, in the order in which they were written."""
    query = "SELECT step FROM checkpoint WHERE model = ? ORDER BY id"
    with failures(path), closing(_connect(path)) as connection:
        return [step for (step,) in connection.execute(query, (escape(model),))]


def forget(path: Path, model: str, step: int) -> None:
    """Take a checkpoint out of a store, whose writing was cut short."""
    with failures(path), closing(_connect(path)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        where = "DELETE FROM checkpoint WHERE model = ? AND step = ?"
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(where, (escape(model), step))
        connection.execute(COUNT_CHANGES)
        connection.execute("COMMIT")


def branch_off(path: Path, model: str, after: int) -> str:
    """Give the checkpoints after a step to a model of their own, and tell its name."""
    with failures(path), closing(_connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        taken = {name for (name,) in connection.execute("SELECT DISTINCT model FROM checkpoint")}
        name = branch_name(escape(model), taken)
        moved = "UPDATE checkpoint SET model = ? WHERE model = ? AND step > ?"
        connection.execute(moved, (name, escape(model), after))
        connection.execute(COUNT_CHANGES)
        connection.execute("COMMIT")
    return name


def branch_name(model: str, taken: set[str]) -> str:
    """Name the next branch of a run.

    Examples
    --------
    >>> branch_name("run", {"run", "run~1"})
    'run~2'
    """
    number = 1
    while f"{model}~{number}" in taken:
        number += 1
    return f"{model}~{number}"


def is_branch(name: str, of: str) -> bool:
    """Whether this is the name of a branch of a run.

    Examples
    --------
    >>> is_branch("run~2", of="run"), is_branch("run", of="run"), is_branch("run~a", of="run")
    (True, False, False)
    """
    root, _, number = name.rpartition("~")
    return root == of and number.isascii() and number.isdigit()


def _connect(path: Path) -> sqlite3.Connection:
    """Open a store, each statement its own transaction unless one is begun."""
    return sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
