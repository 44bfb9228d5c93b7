"""What a store holds of matrices, read by their numbers: estimates, fields, counts."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.fits.inspection import FitsError
from weibnb.fits.lazy import LazyColumn, as_objects
from weibnb.fits.packing import unpack
from weibnb.fits.schema import DEAD, FIELDS
from weibnb.fits.store_errors import failures
from weibnb.fits.store_estimates import changed, empty_column, read_estimates
from weibnb.fits.store_schema import KNOWN
from weibnb.fitting.estimates import COVARIANCE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from weibnb.fits.layout import Source
    from weibnb.fits.store import Cell
    from weibnb.fits.store_matrices import Matrices

    Rows = NDArray[np.int64]

_COUNTS = "place, zeros, nans, infinities, largest, exact, bins"
_ROWS_AT_ONCE = 500
# The variable that tells how long a field is.
_SIDES = dict(zip(FIELDS, ("rows", "cols"), strict=True))
# Columns that fits hold as another type than a store.
_AS = {"scaled": np.bool_, **dict.fromkeys((*DEAD, "rows", "cols"), np.int32)}


class Checkpoint(NamedTuple):
    """A checkpoint of a store: its number, what it is, its matrices, whether it keeps counts."""

    id: int
    source: Source
    matrices: Matrices
    counts_kept: bool


class Opened:
    """Matrices of some checkpoints of a store, as they were when it was opened.

    They are numbered in the order of the checkpoints and of their lists. Rows of estimates are
    never changed, so that what is read later agrees with what was read before, or is refused.

    Attributes
    ----------
    size : int
        How many there are.
    known : dict
        The columns of what is known before they are counted.

    Parameters
    ----------
    path : path
        The store.
    connect : callable
        Opens it.
    connection : sqlite3.Connection
        The store, open.
    checkpoints : sequence of Checkpoint
        What is looked at.
    cells : Mapping
        For some (model, step), the only cells that are looked at.
    """

    def __init__(
        self,
        path: Path,
        connect: Callable[[Path], sqlite3.Connection],
        connection: sqlite3.Connection,
        checkpoints: Sequence[Checkpoint],
        cells: Mapping[tuple[str, int], set[Cell]],
    ) -> None:
        self._path, self._connect = path.absolute(), connect
        self._sizes = {one.id: len(one.matrices.rows) for one in checkpoints}
        self._kept = {one.id: one.counts_kept for one in checkpoints}
        self._ids = np.array([one.id for one in checkpoints], np.int64)
        self._rows: dict[int, list[int]] = {one.id: [] for one in checkpoints}
        query = "SELECT checkpoint, id FROM estimates WHERE checkpoint IN ({}) ORDER BY id"
        for checkpoint, row in _asked(connection, query, self._ids.tolist()):
            self._rows[checkpoint].append(row)
        self._places = [
            _places(one.matrices, cells.get((one.source.model, one.source.step)))
            for one in checkpoints
        ]
        sizes = [places.size for places in self._places]
        self._starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.size = int(self._starts[-1])
        self.known = _known(checkpoints, self._places)

    def lazy(self, name: str) -> LazyColumn:
        """Give a column that is read when it is asked for."""
        if name in self.known:
            column = self.known[name]
            return LazyColumn(column.shape, column.dtype, column.__getitem__)
        empty = empty_column(name, 0)
        kind = np.dtype(_AS.get(name, empty.dtype))
        return LazyColumn((self.size, *empty.shape[1:]), kind, partial(self.column, name))

    def column(self, name: str, rows: Rows) -> NDArray[Any]:
        """Read a column of some matrices from the file."""
        with failures(self._path), closing(self._connect(self._path)) as connection:
            return self.read([name], rows, connection)[name]

    def read(
        self, names: Sequence[str], rows: Rows, connection: sqlite3.Connection
    ) -> dict[str, NDArray[Any]]:
        """Read columns of some matrices."""
        groups = dict(self._by_checkpoint(rows))
        if COVARIANCE in names:
            self._check_kept(connection, groups)
        found = {name: empty_column(name, rows.size) for name in names}
        wanted = {at: self._rows[at] for at in groups}
        for at, columns in read_estimates(connection, self._path, wanted, self._sizes, names):
            where, places = groups[at]
            for name in names:
                found[name][where] = columns[name][places]
        return {name: column.astype(_AS.get(name, column.dtype)) for name, column in found.items()}

    def counts(self, rows: Rows) -> list[Counts]:
        """Read the counts of some matrices; empty ones where nothing was counted or is kept."""
        found = as_objects([Counts()]).repeat(rows.size)
        with failures(self._path), closing(self._connect(self._path)) as connection:
            connection.execute("BEGIN")
            counted = self.read(["counted"], rows, connection)["counted"]
            groups = {
                at: (where[there], places[there])
                for at, (where, places) in self._by_checkpoint(rows)
                if self._kept[at]
                for there in [counted[where] > 0]
            }
            self._check_kept(connection, groups)
            for at, (where, places) in groups.items():
                query = f"SELECT {_COUNTS} FROM counts WHERE checkpoint = {at} AND place IN ({{}})"  # noqa: S608
                known = {row[0]: row[1:] for row in _asked(connection, query, places.tolist())}
                for cell, place in zip(where.tolist(), places.tolist(), strict=True):
                    if place not in known:
                        raise changed(self._path, "counts")
                    found[cell] = self._of_row(*known[place])
        return list(found)

    def fields(self, connection: sqlite3.Connection) -> dict[str, Any]:
        """Read the scales of rows and columns of all matrices; no columns if none has them."""
        query = (
            f"SELECT checkpoint, place, {', '.join(FIELDS)} FROM fields "  # noqa: S608
            "WHERE checkpoint IN ({})"
        )
        known = {row[:2]: row[2:] for row in _asked(connection, query, self._ids.tolist())}
        if not known:
            return {}
        if not all(isinstance(field, bytes) for both in known.values() for field in both):
            raise FitsError(self._path, "values of another type than ours", "fields")
        cells = (
            (at, place)
            for at, places in zip(self._ids.tolist(), self._places, strict=True)
            for place in places.tolist()
        )
        both = zip(*(known.get(cell, (b"", b"")) for cell in cells), strict=True)
        fields = {}
        for (name, side), column in zip(_SIDES.items(), both, strict=True):
            for field, size in zip(column, self.known[side].tolist(), strict=True):
                if len(field) not in (0, 4 * size):
                    raise FitsError(self._path, f"{4 * size} bytes are expected", name)
            fields[name] = as_objects([np.frombuffer(field, "<f4") for field in column])
        return fields

    def _by_checkpoint(self, rows: Rows) -> Iterator[tuple[int, tuple[Rows, Rows]]]:
        """Yield each checkpoint of matrices: where they stand among `rows`, and their places."""
        if not rows.size:
            return
        numbers = np.searchsorted(self._starts, rows, "right") - 1
        order = np.argsort(numbers, kind="stable")
        breaks = np.flatnonzero(np.diff(numbers[order])) + 1
        for where in np.split(order, breaks):
            number = int(numbers[where[0]])
            yield (
                int(self._ids[number]),
                (where, self._places[number][rows[where] - self._starts[number]]),
            )

    def _check_kept(self, connection: sqlite3.Connection, checkpoints: Iterable[int]) -> None:
        """Refuse to go on if a checkpoint let go of its counts since the store was opened."""
        wanted = [at for at in checkpoints if self._kept[at]]
        query = "SELECT id FROM checkpoint WHERE counts_kept = 1 AND id IN ({})"
        if len(_asked(connection, query, wanted)) < len(wanted):
            raise changed(self._path, "counts")

    def _of_row(
        self, zeros: Any, nans: Any, infinities: Any, largest: Any, exact: Any, bins: Any
    ) -> Counts:
        """Make counts of a row."""
        apart = (zeros, nans, infinities, exact)
        if not all(isinstance(n, int) and n >= 0 for n in apart) or not isinstance(bins, bytes):
            raise FitsError(self._path, "values of another type than ours", "counts")
        try:
            labels, counts = unpack(bins)
            return Counts(labels, counts, zeros, nans, infinities, float(largest), bool(exact))
        except (ValueError, TypeError) as err:
            raise FitsError(self._path, str(err), "counts") from err


def _asked(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[Any]:
    """Ask for rows with some of many values, a few hundred at once."""
    found = []
    for start in range(0, len(values), _ROWS_AT_ONCE):
        some = values[start : start + _ROWS_AT_ONCE]
        found += connection.execute(query.format(", ".join("?" * len(some))), some).fetchall()
    return found


def _places(matrices: Matrices, cells: set[Cell] | None) -> Rows:
    """Places of the cells of a list of matrices, or of some."""
    if cells is None:
        return np.arange(len(matrices.rows))
    return np.array([at for cell, at in matrices.places.items() if cell in cells], np.int64)


def _known(checkpoints: Sequence[Checkpoint], places: Sequence[Rows]) -> dict[str, NDArray[Any]]:
    """Columns of what is known of matrices before they are counted, and of their checkpoints."""
    both = list(zip(checkpoints, places, strict=True))
    sizes = [at.size for at in places]
    columns: dict[str, NDArray[Any]] = {
        name: np.concatenate(
            [
                np.empty(0, object if kind is str else np.int64),
                *(one.matrices.columns[name][at] for one, at in both),
            ]
        ).astype(_AS.get(name, object if kind is str else np.int64))
        for name, kind in KNOWN.items()
    }
    models = as_objects([one.source.model for one in checkpoints])
    columns["model"] = np.repeat(models, sizes)
    columns["step"] = np.repeat(np.array([one.source.step for one in checkpoints], np.int64), sizes)
    return columns
