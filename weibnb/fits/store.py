"""Fits in one SQLite file, which survives whatever ends the process.

A matrix is a row: ``pending`` until it was counted and fitted, then its estimates, with its
counts in a table of their own. A batch is a transaction; the write-ahead log lets others read.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from weibnb.fits.inspection import FitsError
from weibnb.fits.packing import pack
from weibnb.fits.schema import FIELDS, escape, package_version, protocol_attributes
from weibnb.fits.store_schema import (
    CELL,
    COLUMNS,
    STORE_SUFFIXES,
    check_tables,
    migrate,
    store_version,
)
from weibnb.interrupts import held
from weibnb.messages import printable
from weibnb.writing import check_target

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from weibnb.counting.counts import Counts
    from weibnb.fits.build import Matrix
    from weibnb.fits.layout import Source

    Cell = tuple[int, str, int]
    Columns = Mapping[str, NDArray[Any]]

# Status of matrices that are counted when their checkpoint is scanned again.
_OPEN = ("pending", "unreadable")
# What SQLite reports of disks, permissions and other processes, not of what a file holds.
_NOT_THE_FILE = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_AUTH, sqlite3.SQLITE_PROTOCOL,
)  # fmt: skip
# What tells readers that there is something new.
_COUNT_CHANGES = (
    "INSERT INTO about VALUES ('changes', '1') "
    "ON CONFLICT (name) DO UPDATE SET value = CAST(value AS INTEGER) + 1"
)
# Seconds that a transaction of another process is waited for.
_PATIENCE = 60.0


class Store:
    """A store that is open for writing; best used in a ``with`` block.

    Parameters
    ----------
    path : path
        The file, ending in ``.db``, ``.sqlite`` or ``.sqlite3``; made if it is not there.
    trim, estimator, experts, keep_counts, fields
        As in `weibnb.scan`; all but `experts` and `fields` must be those that the store was made
        with. Matrices without fields are counted again where fields are asked for.
    backend, names : str
        What fits, and names of the user's own as JSON: those of the last scan are recorded.

    Raises
    ------
    ValueError
        If the name ends otherwise, or the store was made with other values of these.
    FitsError
        If the file is no store, damaged, or of a newer weibnb.
    OSError
        If it cannot be written.

    Notes
    -----
    SQLite's write-ahead log needs memory that all processes share: a store is not for a network
    file system. Keep it on a local disk and copy it, or ``save_fits(open_fits(store), "fits.nc")``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        trim: tuple[float, float],
        estimator: str,
        experts: str,
        keep_counts: bool,
        fields: bool,
        backend: str = "numba",
        names: str = "",
    ) -> None:
        self.path = check_target(path, STORE_SUFFIXES, "fits")
        self._keep_counts, self._fields = keep_counts, fields
        self._ids: dict[tuple[str, int], dict[Cell, int]] = {}
        fresh = not self.path.exists() or self.path.stat().st_size == 0
        with failures(self.path):
            self._connection = sqlite3.connect(
                self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
        try:
            with failures(self.path), held():
                if fresh:
                    self._connection.execute("PRAGMA journal_mode = WAL")
                for pragma in ("synchronous = NORMAL", "foreign_keys = ON", "trusted_schema = OFF"):
                    self._connection.execute(f"PRAGMA {pragma}")
                self._make_or_migrate()
                last = {"experts": experts, "backend": backend, "names": names}
                self._agree(_protocol(trim, estimator, keep_counts=keep_counts), last)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin(self, source: Source, matrices: Sequence[Matrix], *, rescan: bool) -> set[Cell]:
        """Enter a checkpoint and its matrices; give the cells that are still to be counted.

        A checkpoint that is there already keeps what was counted if it has not changed; one that
        cannot be read now is kept as it is.

        Raises
        ------
        ValueError
            If another checkpoint has this model and step, and not `rescan`.
        """
        key = source.model, source.step
        with self._transaction() as execute:
            found = execute(
                "SELECT id, place, identity FROM checkpoint WHERE model = ? AND step = ?",
                (escape(source.model), source.step),
            ).fetchone()
            if found is not None and source.problem:
                return set()
            if found is not None and self._is_changed(source, found, rescan=rescan):
                execute("DELETE FROM checkpoint WHERE id = ?", found[:1])
                found = None
            if found is None:
                checkpoint = _insert_source(execute, source)
            else:
                checkpoint, left = found[0], json.dumps(source.not_fitted)
                execute("UPDATE checkpoint SET not_fitted = ? WHERE id = ?", (left, checkpoint))
            _insert_pending(self._connection, checkpoint, matrices)
            execute(_COUNT_CHANGES)
            rows = execute(
                f"SELECT {', '.join(CELL)}, id, "  # noqa: S608  (constants)
                f"status IN {_OPEN} OR (? AND NOT EXISTS (SELECT 1 FROM fields WHERE matrix = id)) "
                "FROM matrix WHERE checkpoint = ?",
                (self._fields, checkpoint),
            ).fetchall()
        self._ids[key] = {(layer, name, expert): at for layer, name, expert, at, _ in rows}
        planned = {(matrix.layer, matrix.component, matrix.expert) for matrix in matrices}
        return planned & {(row[0], row[1], row[2]) for row in rows if row[4]}

    def add(self, columns: Columns) -> None:
        """Write the estimates of a batch, and its counts, in one transaction."""
        cells = zip(*(columns[name].tolist() for name in CELL), strict=True)
        places = zip(columns["model"].tolist(), columns["step"].tolist(), strict=True)
        ids = [self._ids[place][cell] for place, cell in zip(places, cells, strict=True)]
        values = (_storable(columns[name], kind) for name, kind in COLUMNS.items())
        assigned = ", ".join(f"{name} = ?" for name in COLUMNS)
        with self._transaction() as execute:
            execute(_COUNT_CHANGES)
            self._connection.executemany(
                f"UPDATE matrix SET {assigned} WHERE id = ?",  # noqa: S608  (constants)
                zip(*values, ids, strict=True),
            )
            if self._keep_counts:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO counts "
                    "(matrix, zeros, nans, infinities, largest, exact, bins) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    _count_rows(ids, columns["counts"]),
                )
            if self._fields:
                self._connection.executemany(
                    "INSERT OR REPLACE INTO fields (matrix, row_rms, col_rms) VALUES (?, ?, ?)",
                    _field_rows(ids, *(columns[name] for name in FIELDS)),
                )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until no other scan writes to this store, then keep others waiting."""
        from filelock import FileLock, Timeout

        lock = FileLock(f"{self.path}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            text = f"Another scan writes to {printable(str(self.path))}; waiting until it ends."
            warnings.warn(text, stacklevel=4)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Write all or nothing; signals wait until it is done."""
        with failures(self.path), held():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection.execute
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _make_or_migrate(self) -> None:
        """Make the tables of a new file, or bring those of an older weibnb up to date."""
        with self._transaction():
            version = store_version(self._connection, self.path)
            migrate(self._connection, version)
            check_tables(self._connection, self.path)

    def _agree(self, protocol: dict[str, str], last: dict[str, str]) -> None:
        """Record how the fits are made, or check that it is how those in the store were made."""
        with self._transaction() as execute:
            known = dict(execute("SELECT name, value FROM about").fetchall())
            if not known:
                created = str(protocol_attributes((0.0, 1.0), "")["created"])
                made = {"created": created, "weibnb_version": package_version()}
                rows = list((protocol | made).items())
                self._connection.executemany("INSERT INTO about VALUES (?, ?)", rows)
            for name, value in protocol.items():
                if known and known.get(name) != value:
                    raise ValueError(
                        f"`store` must be used with the {name} that it was made with, "
                        f"{known.get(name)}, got {value}. Use another store, or open this one and "
                        "refit: weibnb.refit(weibnb.open_fits(store), trim=..., estimator=...)."
                    )
            for name, value in last.items():
                execute("INSERT OR REPLACE INTO about VALUES (?, ?)", (name, value))

    def _is_changed(self, source: Source, found: tuple[int, str, str], *, rescan: bool) -> bool:
        """Whether a checkpoint must be scanned anew; an error if it is quite another one."""
        _, place, identity = found
        if rescan or not (source.identity and identity):
            return True
        if source.identity == identity:
            return False
        if place == _place(source):
            return True
        raise ValueError(
            f"`store` holds another checkpoint as {printable(source.model)!r}, step {source.step}: "
            f"{printable(place)}, not {printable(_place(source))}. Give this one another name with "
            "scan({name: path}), or replace the other with rescan=True (--rescan in a shell)."
        )


@contextmanager
def failures(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into errors that name the file."""
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as err:
        code = getattr(err, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code not in _NOT_THE_FILE:
            raise FitsError(path, f"it is no store, or is damaged ({err})") from err
        full = code == sqlite3.SQLITE_FULL
        kept = "; what was committed is kept, and a scan with this store goes on from there"
        cut_short = full or code == sqlite3.SQLITE_IOERR
        cause = f"the store cannot be used: {err}{kept if cut_short else ''}"
        raise OSError(errno.ENOSPC if full else errno.EIO, cause, str(path)) from err


def _protocol(trim: tuple[float, float], estimator: str, *, keep_counts: bool) -> dict[str, str]:
    """Describe how fits are made, as a store records it."""
    return {
        "estimator": estimator,
        "trim": json.dumps([float(end) for end in trim]),
        "keep_counts": json.dumps(keep_counts),
    }


def _place(source: Source) -> str:
    """Where a checkpoint lies; nothing for a live model."""
    return escape(str(Path(source.path).absolute())) if source.identity else ""


def _insert_source(execute: Any, source: Source) -> int:
    """Enter a checkpoint; give its number."""
    not_fitted = json.dumps(source.not_fitted)
    config = json.dumps(dict(source.config), default=str)
    values: dict[str, str | int] = {
        "model": source.model,
        "step": source.step,
        "path": source.path,
        "place": _place(source),
        "identity": source.identity,
        "fingerprint": source.fingerprint,
        "config": config,
        "problem": source.problem,
        "not_fitted": not_fitted,
    }
    texts = [escape(value) if isinstance(value, str) else value for value in values.values()]
    marks = ", ".join("?" * len(values))
    cursor = execute(
        f"INSERT INTO checkpoint ({', '.join(values)}) VALUES ({marks})",  # noqa: S608  (constants)
        texts,
    )
    return int(cursor.lastrowid)


def _insert_pending(
    connection: sqlite3.Connection, checkpoint: int, matrices: Sequence[Matrix]
) -> None:
    """Enter matrices that are not there yet, as open."""
    rows = (
        (checkpoint, m.layer, m.component, m.expert, escape(m.parameter), m.dtype, m.rows, m.cols)
        for m in matrices
    )
    connection.executemany(
        "INSERT OR IGNORE INTO matrix (checkpoint, layer, component, expert, parameter, dtype, "
        "rows, cols, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
        rows,
    )


def _storable(column: NDArray[Any], kind: str) -> list[Any]:
    """Values of a column as SQLite takes them; NaN becomes NULL."""
    if kind == "BLOB":
        return [row.tobytes() for row in column.astype("<f8")]
    if kind == "TEXT":
        return [escape(str(text)) for text in column.tolist()]
    return list(column.astype(np.int64 if kind == "INTEGER" else np.float64).tolist())


def _count_rows(ids: Sequence[int], counts: Iterable[Counts]) -> Iterator[tuple[Any, ...]]:
    """Rows of the table of counts, for what was counted."""
    for at, c in zip(ids, counts, strict=True):
        apart = c.zeros, c.nans, c.infinities
        if c.labels.size or any(apart):
            yield at, *apart, c.largest, c.exact, pack(c)


def _field_rows(ids: Sequence[int], *fields: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Rows of the table of fields, empty for what was not looked at."""
    for at, *both in zip(ids, *fields, strict=True):
        yield at, *(field.astype("<f4").tobytes() for field in both)
