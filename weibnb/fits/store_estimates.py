"""Estimates in a store: a row for each batch of matrices of a checkpoint, read by their places."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from weibnb.fits.inspection import FitsError
from weibnb.fits.schema import FORCES, SAMPLING
from weibnb.fits.store_columns import pack_columns, unpack_columns
from weibnb.fits.store_schema import ESTIMATES, NOTHING
from weibnb.fitting.estimates import COVARIANCE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

# Rows of a table that are asked for at once.
_ROWS_AT_ONCE = 500


def share(execute: Callable[..., Any], content: str) -> int:
    """Enter a text that many checkpoints have, once; give its number."""
    digest = hashlib.sha256(content.encode()).hexdigest()
    found = execute("SELECT id FROM shared WHERE digest = ?", (digest,)).fetchone()
    if found is None:
        query = "INSERT INTO shared (digest, content) VALUES (?, ?)"
        return int(execute(query, (digest, content)).lastrowid)
    return int(found[0])


def insert_estimates(execute: Callable[..., Any], checkpoint: int, columns: Arrays) -> None:
    """Enter `ESTIMATES` of some matrices of a checkpoint, and their `place`.

    Forces, what is known of samples, and covariances, which only a refit needs, are left out if
    none is known.
    """
    numbers = dict(columns)
    if SAMPLING[0] in columns and not np.isfinite(columns[SAMPLING[0]]).any():
        numbers = {name: column for name, column in numbers.items() if name not in SAMPLING}
    if any(np.isfinite(columns[name]).any() for name in FORCES if name in columns):
        execute("INSERT OR IGNORE INTO about VALUES ('forces', 'true')")
    else:
        numbers = {name: column for name, column in numbers.items() if name not in FORCES}
    covariance = numbers.pop(COVARIANCE, np.empty(0))
    known = bool(np.isfinite(covariance).any())
    apart = {"place": columns["place"], COVARIANCE: covariance}
    execute(
        "INSERT INTO estimates (checkpoint, numbers, covariance) VALUES (?, ?, ?)",
        (checkpoint, pack_columns(numbers), pack_columns(apart) if known else None),
    )


def empty_column(name: str, size: int) -> NDArray[Any]:
    """Make a column of what stands for matrices that were not counted."""
    kind = ESTIMATES[name]
    if kind == "text":
        return np.full(size, NOTHING[name], object)
    if kind == "integer":
        return np.full(size, NOTHING.get(name, 0), np.int64)
    return np.full((size,) if kind == 1 else (size, int(kind)), np.nan)


def read_estimates(
    connection: sqlite3.Connection,
    path: Path,
    rows: Mapping[int, Sequence[int]],
    sizes: Mapping[int, int],
    names: Collection[str],
) -> Iterator[tuple[int, Arrays]]:
    """Yield checkpoints with columns of their matrices, in the order of their places.

    `rows` are the numbers of the rows of each checkpoint, `sizes` how many matrices it has.

    Raises
    ------
    FitsError
        If a row is damaged, or gone.
    """
    wanted = [at for several in rows.values() for at in several]
    blobs = _blobs(connection, path, wanted, names)
    for checkpoint, several in rows.items():
        columns = {name: empty_column(name, sizes[checkpoint]) for name in names}
        for _ in several:
            for blob in next(blobs):
                _put(path, blob, columns)
        yield checkpoint, columns


def _blobs(
    connection: sqlite3.Connection, path: Path, wanted: Sequence[int], names: Collection[str]
) -> Iterator[list[bytes]]:
    """Yield what holds some columns of the wanted rows, in their order."""
    parts = ["numbers"] * bool(set(names) - {COVARIANCE}) + ["covariance"] * (COVARIANCE in names)
    for start in range(0, len(wanted), _ROWS_AT_ONCE):
        some = wanted[start : start + _ROWS_AT_ONCE]
        found = {
            at: [blob for blob in blobs if blob is not None]
            for at, *blobs in connection.execute(
                f"SELECT id, {', '.join(parts)} FROM estimates "  # noqa: S608  (constants)
                f"WHERE id IN ({', '.join('?' * len(some))})",
                some,
            )
        }
        for at in some:
            if at not in found:
                raise changed(path, "estimates")
            if not all(isinstance(blob, bytes) for blob in found[at]):
                raise FitsError(path, "values of another type than ours", "estimates")
            yield found.pop(at)


def changed(path: Path, table: str) -> FitsError:
    """Say that what was there when a store was opened is there no more."""
    return FitsError(path, "it was changed since it was opened: open it again", table)


def _put(path: Path, blob: bytes, columns: Arrays) -> None:
    """Put the columns of a row where the places say."""
    size = len(next(iter(columns.values())))
    try:
        found = unpack_columns(blob, {"place", *columns}, most=size)
        place = found.pop("place")
    except (ValueError, KeyError) as err:
        raise FitsError(path, f"{err}", "estimates") from err
    if not _are_places(place, size):
        raise FitsError(path, "places of matrices are expected", "estimates")
    for name, column in found.items():
        target = columns[name]
        same = column.dtype == target.dtype and column.shape[1:] == target.shape[1:]
        if not same:
            raise FitsError(path, "values of another type than ours", name)
        target[place] = column


def _are_places(place: NDArray[Any], size: int) -> bool:
    """Whether a column holds different places of so many matrices."""
    if place.dtype != np.int64 or place.ndim != 1 or not place.size:
        return False
    return bool(place.min() >= 0 and place.max() < size and np.bincount(place).max() == 1)
