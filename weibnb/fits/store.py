"""Fits in one SQLite file, which survives whatever ends the process.

A checkpoint has a list of its matrices; those that no row of estimates has yet are ``pending``. A
batch of matrices is one such row, and one row of counts for each matrix: one transaction. The
write-ahead log lets others read.
"""

from __future__ import annotations

import json
import sqlite3
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from weibnb.fits.runs import branch_name
from weibnb.fits.schema import FIELDS, SAMPLING, escape
from weibnb.fits.store_blocks import KeptBlocks, pack_blocks, read_blocks
from weibnb.fits.store_errors import failures
from weibnb.fits.store_estimates import insert_estimates, read_estimates, share
from weibnb.fits.store_filling import (
    count_rows,
    insert_counts,
    insert_fields,
    insert_source,
    place_of,
)
from weibnb.fits.store_matrices import Matrices, matrices_of
from weibnb.fits.store_older import migrate
from weibnb.fits.store_protocol import agree, protocol, refined_after
from weibnb.fits.store_schema import ESTIMATES, STORE_SUFFIXES, check_tables, store_version
from weibnb.fits.store_thinning import Thinning
from weibnb.fitting.estimates import COVARIANCE
from weibnb.interrupts import held
from weibnb.messages import printable
from weibnb.writing import check_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from weibnb.fits.build import Matrix
    from weibnb.fits.layout import Source
    from weibnb.fits.store_blocks import NewBlocks

    Cell = tuple[int, str, int]
    Columns = Mapping[str, NDArray[Any]]

_CELL = ("layer", "component", "expert")
# Status of matrices that are counted when their checkpoint is scanned again.
_OPEN = ("pending", "unreadable")
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
    sampling : str
        How much of each matrix is read; empty for all. What the store was made with, or more: then
        blocks are added to those that it keeps.
    backend, names : str
        What fits, and names of the user's own as JSON: those of the last scan are recorded.
    thin_beyond : int, optional
        Records of a model from which on counts are kept of log-spaced ones alone; those of the
        others are let go of, a few with each further record (`weibnb.fits.store_thinning`).

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
        sampling: str = "",
        thin_beyond: int | None = None,
    ) -> None:
        self.path = check_target(path, STORE_SUFFIXES, "fits")
        self._keep_counts, self._fields = keep_counts, fields
        self._sampling = sampling or "none"
        self._thinning = Thinning(thin_beyond)
        self._checkpoints: dict[tuple[str, int], _Checkpoint] = {}
        self._matrices: dict[int, Matrices] = {}
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
                made = protocol(trim, estimator, keep_counts=keep_counts, sampling=self._sampling)
                with self._transaction() as execute:
                    agree(execute, made, last)
        except BaseException:
            self.close()
            raise

    def steps_of(self, model: str) -> list[int]:
        """Give the steps of a model, in the order in which they were written."""
        query = "SELECT step FROM checkpoint WHERE model = ? ORDER BY id"
        with failures(self.path):
            return [step for (step,) in self._connection.execute(query, (escape(model),))]

    def forget(self, model: str, step: int) -> None:
        """Take out a checkpoint, whose writing was cut short."""
        with self._transaction() as execute:
            where = "DELETE FROM checkpoint WHERE model = ? AND step = ?"
            execute(where, (escape(model), step))
            execute(_COUNT_CHANGES)
        self._checkpoints.pop((model, step), None)

    def branch_off(self, model: str, after: int) -> str:
        """Give the checkpoints after a step to a model of their own, and tell its name."""
        with self._transaction() as execute:
            taken = {name for (name,) in execute("SELECT DISTINCT model FROM checkpoint")}
            name = branch_name(escape(model), taken)
            moved = "UPDATE checkpoint SET model = ? WHERE model = ? AND step > ?"
            execute(moved, (name, escape(model), after))
            execute(_COUNT_CHANGES)
        self._thinning.forget(escape(model))
        return name

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
            If another checkpoint has this model and step, and not `rescan`, or the store has
            larger samples by now.
        """
        with self._transaction() as execute:
            after = refined_after(execute, self._sampling)
            found = execute(
                "SELECT id, place, identity, matrices, counts_kept FROM checkpoint "
                "WHERE model = ? AND step = ?",
                (escape(source.model), source.step),
            ).fetchone()
            if found is not None and source.problem:
                return set()
            if found is not None and self._is_changed(source, found[:3], rescan=rescan):
                execute("DELETE FROM checkpoint WHERE id = ?", found[:1])
                self._thinning.forget(escape(source.model))
                found = None
            kept = self._keep_counts and (found is None or found[4] == 1)
            before = Matrices() if found is None else self._matrices_at(execute, found[3])
            known = before.joined(matrices)
            shared = share(execute, known.text)
            known = self._matrices.setdefault(shared, known)
            not_fitted = share(execute, json.dumps(source.not_fitted))
            if found is None:
                kept = kept and self._thinning.keeps_next(execute, escape(source.model))
                at = insert_source(execute, source, not_fitted, shared, counts_kept=kept)
            else:
                at = found[0]
                execute(
                    "UPDATE checkpoint SET not_fitted = ?, matrices = ? WHERE id = ?",
                    (not_fitted, shared, at),
                )
            done = set() if found is None else self._done(at, len(known.places), after)
            execute(_COUNT_CHANGES)
        self._checkpoints[source.model, source.step] = _Checkpoint(at, known.places, kept)
        planned = {(matrix.layer, matrix.component, matrix.expert) for matrix in matrices}
        return {cell for cell in planned if known.places[cell] not in done}

    def blocks_of(self, key: tuple[str, int], cell: Cell, dtype: str) -> KeptBlocks:
        """Give the blocks that are kept of a matrix of a checkpoint that was begun."""
        checkpoint = self._checkpoints[key]
        with failures(self.path):
            execute = self._connection.execute
            place = checkpoint.places[cell]
            return read_blocks(execute, self.path, checkpoint.id, place, dtype)

    def keep_blocks(self, key: tuple[str, int], blocks: Iterable[NewBlocks]) -> None:
        """Keep more blocks of some matrices."""
        if not self._keep_counts:
            return
        checkpoint = self._checkpoints[key]
        rows = (
            (checkpoint.id, checkpoint.places[cell], dtype, height, pack_blocks(some))
            for cell, dtype, height, some in blocks
        )
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO blocks (checkpoint, place, dtype, height, content) "
                "VALUES (?, ?, ?, ?, ?)",
                rows,
            )

    def add(self, columns: Columns) -> None:
        """Write the estimates of a batch, and its counts, in one transaction."""
        keys = list(zip(columns["model"].tolist(), columns["step"].tolist(), strict=True))
        with self._transaction() as execute:
            for key in dict.fromkeys(keys):
                of_it = np.array([one == key for one in keys])
                some = {name: column[of_it] for name, column in columns.items()}
                self._add_to(execute, self._checkpoints[key], some)
            execute(_COUNT_CHANGES)

    def _add_to(self, execute: Callable[..., Any], checkpoint: _Checkpoint, columns: Any) -> None:
        """Write the estimates of matrices of one checkpoint, and their counts."""
        cells = zip(*(columns[name].tolist() for name in _CELL), strict=True)
        places = [checkpoint.places[cell] for cell in cells]
        counts = columns["counts"] if checkpoint.kept else ()
        rows = list(count_rows(checkpoint.id, places, counts))
        counted = np.isin(places, [place for _, place, *_ in rows])
        values = {name: columns[name] for name in ESTIMATES if name in columns}
        if self._keep_counts and not checkpoint.kept:
            values.pop(COVARIANCE)
        insert_estimates(
            execute, checkpoint.id, {"place": np.array(places), "counted": counted} | values
        )
        insert_counts(self._connection, rows)
        if self._fields:
            fields = (columns[name] for name in FIELDS)
            insert_fields(self._connection, checkpoint.id, places, *fields)

    def _matrices_at(self, execute: Callable[..., Any], shared: int) -> Matrices:
        """Give the list of matrices of a checkpoint, read once."""
        if shared not in self._matrices:
            query = "SELECT content FROM shared WHERE id = ?"
            (text,) = execute(query, (shared,)).fetchone() or ("",)
            self._matrices[shared] = matrices_of(self.path, text)
        return self._matrices[shared]

    def _done(self, checkpoint: int, size: int, after: int) -> set[int]:
        """Places of the matrices of a checkpoint that need not be counted again.

        Those are the ones in rows behind `after`, and those that were read as a whole.
        """
        execute = self._connection.execute
        query = "SELECT id FROM estimates WHERE checkpoint = ? ORDER BY id"
        ids = [at for (at,) in execute(query, (checkpoint,))]
        done: set[int] = set()
        for rows in (ids, [at for at in ids if at > after]):
            known = read_estimates(
                self._connection,
                self.path,
                {checkpoint: rows},
                {checkpoint: size},
                ("status", SAMPLING[0]),
            )
            ((_, columns),) = known
            closed = ~np.isin(columns["status"], _OPEN)
            if rows is ids and after:
                closed &= columns[SAMPLING[0]] == 1.0
            done |= set(np.flatnonzero(closed).tolist())
        if self._fields:
            query = "SELECT place FROM fields WHERE checkpoint = ?"
            done &= {place for (place,) in execute(query, (checkpoint,))}
        return done

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
            self._connection.execute(
                "DELETE FROM shared WHERE id NOT IN (SELECT config FROM checkpoint UNION "
                "SELECT not_fitted FROM checkpoint UNION SELECT matrices FROM checkpoint)"
            )

    def _is_changed(self, source: Source, found: tuple[int, str, str], *, rescan: bool) -> bool:
        """Whether a checkpoint must be scanned anew; an error if it is quite another one."""
        _, place, identity = found
        if rescan or not (source.identity and identity):
            return True
        if source.identity == identity:
            return False
        if place == place_of(source):
            return True
        raise ValueError(
            f"`store` holds another checkpoint as {printable(source.model)!r}, step {source.step}: "
            f"{printable(place)}, not {printable(place_of(source))}. Give this one another name "
            "with scan({name: path}), or replace the other with rescan=True (--rescan in a shell)."
        )


class _Checkpoint(NamedTuple):
    """A checkpoint that is being filled: its number, places of its cells, if it keeps counts."""

    id: int
    places: dict[Cell, int]
    kept: bool
