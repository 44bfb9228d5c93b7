"""Rows that a store is filled with: checkpoints, counts of matrices, scales of their lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weibnb.fits.packing import pack
from weibnb.fits.schema import escape
from weibnb.fits.store_estimates import share

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

    from weibnb.counting.counts import Counts
    from weibnb.fits.layout import Source


def place_of(source: Source) -> str:
    """Where a checkpoint lies; nothing for a live model."""
    return escape(str(Path(source.path).absolute())) if source.identity else ""


def insert_source(
    execute: Any, source: Source, not_fitted: int, matrices: int, *, counts_kept: bool
) -> int:
    """Enter a checkpoint; give its number."""
    values: dict[str, str | int] = {
        "model": escape(source.model),
        "step": source.step,
        "path": escape(source.path),
        "place": place_of(source),
        "identity": escape(source.identity),
        "fingerprint": escape(source.fingerprint),
        "problem": escape(source.problem),
        "config": share(execute, json.dumps(dict(source.config), default=str)),
        "not_fitted": not_fitted,
        "matrices": matrices,
        "counts_kept": counts_kept,
    }
    marks = ", ".join("?" * len(values))
    cursor = execute(
        f"INSERT INTO checkpoint ({', '.join(values)}) VALUES ({marks})",  # noqa: S608  (constants)
        list(values.values()),
    )
    return int(cursor.lastrowid)


def count_rows(
    checkpoint: int, places: Sequence[int], counts: Iterable[Counts]
) -> Iterator[tuple[Any, ...]]:
    """Make rows of the table of counts, for what was counted."""
    for place, c in zip(places, counts, strict=False):
        apart = c.zeros, c.nans, c.infinities
        if c.labels.size or any(apart):
            yield checkpoint, place, *apart, c.largest, c.exact, pack(c)


def insert_counts(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Enter counts, in the place of earlier ones."""
    connection.executemany(
        "INSERT OR REPLACE INTO counts "
        "(checkpoint, place, zeros, nans, infinities, largest, exact, bins) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def insert_fields(
    connection: sqlite3.Connection,
    checkpoint: int,
    places: Sequence[int],
    *fields: Iterable[Any],
) -> None:
    """Enter scales of rows and columns, empty for what was not looked at."""
    connection.executemany(
        "INSERT OR REPLACE INTO fields (checkpoint, place, row_rms, col_rms) VALUES (?, ?, ?, ?)",
        (
            (checkpoint, place, *(field.astype("<f4").tobytes() for field in both))
            for place, *both in zip(places, *fields, strict=True)
        ),
    )
