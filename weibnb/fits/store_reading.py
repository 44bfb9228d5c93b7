"""A store read into the usual Dataset; the counts stay on disk until they are asked for."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from weibnb.counting.counts import Counts
from weibnb.fits import store_schema
from weibnb.fits.inspection import FitsError, is_list_of_tensors
from weibnb.fits.layout import Source, lay_out
from weibnb.fits.lazy import LazyCounts, as_objects
from weibnb.fits.packing import unpack
from weibnb.fits.schema import DEAD, EMPTY_TEXT, FIELDS, FORCES
from weibnb.fits.store import failures
from weibnb.fits.store_schema import (
    CELL,
    COLUMNS,
    NO_INTEGER,
    NUMBERS,
    check_tables,
    migrate,
    store_version,
)
from weibnb.fitting.weibull import Estimator, Trim, check_protocol
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

    from weibnb.fits.store import Cell

    Key = tuple[str, int]

# Bytes that a text or a row of counts may have.
_LARGEST_VALUE = 1 << 27
# Types that a column of numbers or text may hold.
_TYPES: dict[str, set[type]] = {
    "INTEGER": {int, type(None)},
    "REAL": {float, int, type(None)},
    "TEXT": {str, type(None)},
    "BLOB": {bytes, type(None)},
}
_COUNTS = "matrix, zeros, nans, infinities, largest, exact, bins"
_ROWS_AT_ONCE = 500
# The variable that tells how long a field is.
_SIDES = dict(zip(FIELDS, ("rows", "cols"), strict=True))


def open_store(
    path: Path,
    *,
    wanted: Callable[[Key], bool] | None = None,
    cells: Mapping[Key, set[Cell]] | None = None,
    experts: Literal["median", "each"] | None = None,
) -> xr.Dataset:
    """Open a store as fits, all of them or the `wanted` (model, step).

    Of those among the keys of `cells`, only these cells.

    Raises
    ------
    FitsError
        If the file is no store, or damaged.
    """
    with failures(path), closing(_connect(path)) as connection:
        about = _read_about(connection, path)
        sources = _read_sources(connection, path)
        chosen = {at: s for at, s in sources.items() if wanted is None or wanted((s.model, s.step))}
        columns, ids, counted = _read_matrices(connection, path, chosen, cells or {})
        columns |= _read_fields(connection, path, ids, columns)
    try:
        keep_counts, trim, estimator, recorded = _protocol(about)
        backend = about.get("backend", "numba")  # older stores do not say
        check_choice("backend", backend, ("numba", "torch"))
        if keep_counts:
            columns["counts"] = LazyCounts(ids.shape, _CountsInStore(path, ids, counted))
        fits = lay_out(
            columns,
            list(chosen.values()),
            trim=trim,
            estimator=estimator,
            experts=experts or recorded,
        )
    except (ValueError, TypeError) as err:
        raise FitsError(path, f"its entries do not make fits ({err})") from err
    fits.attrs |= {name: about[name] for name in ("created", "weibnb_version")}
    fits.attrs["backend"] = backend
    if about.get("names"):
        fits.attrs["names"] = about["names"]
    return fits


def changes(path: Path) -> int:
    """Tell how often a store was written to: a number that grows with each commit.

    It costs less than a millisecond, whatever the store holds; 0 for one of an older weibnb that
    nobody writes to. Ask before `open_store`, so that what comes in between is seen as new.

    Raises
    ------
    FitsError
        If the file is no store, or damaged.
    OSError
        If it is not there, or cannot be read.
    """
    with failures(path), closing(_open(path)) as connection:
        if not store_version(connection, path):
            return 0
        found = connection.execute("SELECT value FROM about WHERE name = 'changes'").fetchone()
    try:
        return int(found[0]) if found else 0
    except (ValueError, TypeError) as err:
        raise FitsError(path, f"it counts its changes as {found[0]!r}", "about") from err


def _connect(path: Path) -> sqlite3.Connection:
    """Open a store for reading; one of an older weibnb is read from a migrated copy in memory."""
    connection = _open(path)
    try:
        version = store_version(connection, path)
        if version < store_schema.LATEST:
            with closing(connection) as older:
                connection = sqlite3.connect(":memory:")
                older.backup(connection)
            migrate(connection, version)
        check_tables(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open(path: Path) -> sqlite3.Connection:
    """Open the file to read; the last way serves where nothing can be written beside it."""
    uri, last = path.absolute().as_uri(), "mode=ro&immutable=1"
    for how in ("mode=rw", "mode=ro", last):
        try:
            return _try_to_open(f"{uri}?{how}")
        except sqlite3.OperationalError:
            log = path.with_name(f"{path.name}-wal")
            if how == last or (how == "mode=ro" and log.exists() and log.stat().st_size):
                raise
    raise AssertionError  # pragma: no cover  (the last way returns or raises)


def _try_to_open(uri: str) -> sqlite3.Connection:
    """Open a file and look at its first page."""
    connection = sqlite3.connect(uri, uri=True, timeout=60.0, isolation_level=None)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
        for pragma in ("trusted_schema = OFF", "query_only = ON", "schema_version"):
            connection.execute(f"PRAGMA {pragma}").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _read_about(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """Read how the fits were made."""
    about = dict(connection.execute("SELECT name, value FROM about"))
    names = ("trim", "estimator", "keep_counts", "experts", "created", "weibnb_version")
    if missing := [name for name in names if not isinstance(about.get(name), str)]:
        raise FitsError(path, f"it does not say {', '.join(missing)}", "about")
    return about


def _protocol(
    about: dict[str, str],
) -> tuple[bool, Trim, Estimator, Literal["median", "each"]]:
    """Read whether counts are kept, the trim, the estimator and the layout of experts."""
    lower, upper = json.loads(about["trim"])
    trim, estimator = check_protocol((lower, upper), about["estimator"])
    check_choice("experts", about["experts"], ("median", "each"))
    experts: Literal["median", "each"] = "each" if about["experts"] == "each" else "median"
    return json.loads(about["keep_counts"]) is True, trim, estimator, experts


def _read_sources(connection: sqlite3.Connection, path: Path) -> dict[int, Source]:
    """Read the checkpoints, by their numbers."""
    rows = connection.execute(
        "SELECT id, model, step, path, fingerprint, config, problem, not_fitted, identity "
        "FROM checkpoint ORDER BY id"
    )
    sources = {}
    for at, model, step, place, fingerprint, config, problem, not_fitted, identity in rows:
        texts = (model, place, fingerprint, config, problem, not_fitted, identity)
        if not (isinstance(step, int) and all(isinstance(text, str) for text in texts)):
            raise FitsError(path, "values of another type than ours", "checkpoint")
        if not is_list_of_tensors(not_fitted):
            raise FitsError(path, "a JSON list of tensors is expected", "not_fitted")
        described = _config(config)
        left = json.loads(not_fitted)
        about = (fingerprint, described, problem, left, identity)
        sources[at] = Source(model, step, place, *about)
    return sources


def _config(text: str) -> dict[str, Any]:
    """Read the configuration of a checkpoint; nothing if it is damaged, as for a checkpoint."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}


def _read_matrices(
    connection: sqlite3.Connection,
    path: Path,
    sources: dict[int, Source],
    cells: Mapping[Key, set[Cell]],
) -> tuple[dict[str, Any], NDArray[np.int64], NDArray[np.bool_]]:
    """Read the columns of matrices of some checkpoints, with row numbers and who has counts."""
    counted = {at for (at,) in connection.execute("SELECT matrix FROM counts")}
    kinds = {"checkpoint": "INTEGER", "id": "INTEGER", **CELL, **COLUMNS}
    selected = ", ".join(kinds)
    first = list(kinds).index("layer")
    rows = [
        row
        for number, source in sources.items()
        for some in [cells.get((source.model, source.step))]
        for row in connection.execute(
            f"SELECT {selected} FROM matrix WHERE checkpoint = ? ORDER BY id",  # noqa: S608
            (number,),
        )
        if some is None or row[first : first + len(CELL)] in some
    ]
    lists = list(zip(*rows, strict=True)) or [()] * len(kinds)
    columns: dict[str, Any] = {
        name: _column(path, name, kind, values)
        for (name, kind), values in zip(kinds.items(), lists, strict=True)
    }
    owners = [sources[number] for number in columns.pop("checkpoint").tolist()]
    columns["model"] = np.array([source.model for source in owners], object)
    columns["step"] = np.array([source.step for source in owners], np.int64)
    columns["scaled"] = columns["scaled"].astype(bool)
    columns |= {name: columns[name].astype(np.int32) for name in DEAD}
    if not any(np.isfinite(columns[name]).any() for name in FORCES):
        columns = {name: column for name, column in columns.items() if name not in FORCES}
    ids = columns.pop("id")
    return columns, ids, np.array([at in counted for at in ids.tolist()], bool)


def _column(path: Path, name: str, kind: str, values: Sequence[Any]) -> NDArray[Any]:
    """Make an array of a column; NULL is NaN, zero, or no text."""
    if not set(map(type, values)) <= _TYPES[kind]:
        raise FitsError(path, "values of another type than ours", name)
    if kind == "REAL":
        return np.array([np.nan if value is None else value for value in values], float)
    if kind == "INTEGER":
        missing = NO_INTEGER.get(name, 0)
        return np.array([missing if value is None else value for value in values], np.int64)
    if kind == "TEXT":
        return np.array([value or EMPTY_TEXT.get(name, "") for value in values], object)
    numbers = NUMBERS[name]
    nothing, size = np.full(numbers, np.nan).tobytes(), 8 * numbers
    if any(value is not None and len(value) != size for value in values):
        raise FitsError(path, f"{size} bytes are expected in each row", name)
    joined = b"".join(value or nothing for value in values)
    return np.frombuffer(joined, "<f8").reshape(len(values), numbers).astype(float)


def _read_fields(
    connection: sqlite3.Connection, path: Path, ids: NDArray[np.int64], columns: dict[str, Any]
) -> dict[str, Any]:
    """Read the scales of rows and columns of matrices; no columns if none has them."""
    found = dict.fromkeys(ids.tolist(), (b"", b""))
    known = False
    for at, *both in connection.execute(f"SELECT matrix, {', '.join(FIELDS)} FROM fields"):  # noqa: S608
        if at not in found:
            continue
        if not all(isinstance(field, bytes) for field in both):
            raise FitsError(path, "values of another type than ours", "fields")
        found[at], known = (both[0], both[1]), True
    if not known:
        return {}
    fields = {}
    for (name, side), column in zip(_SIDES.items(), zip(*found.values(), strict=True), strict=True):
        for field, size in zip(column, columns[side].tolist(), strict=True):
            if len(field) not in (0, 4 * size):
                raise FitsError(path, f"{4 * size} bytes are expected", name)
        fields[name] = as_objects([np.frombuffer(field, "<f4") for field in column])
    return fields


class _CountsInStore:
    """Counts of the matrices of a store, read by their place in the columns."""

    def __init__(self, path: Path, ids: NDArray[np.int64], counted: NDArray[np.bool_]) -> None:
        self._path, self._ids, self._counted = path.absolute(), ids, counted

    def __call__(self, places: NDArray[np.int64]) -> list[Counts]:
        """Read the counts of some matrices; empty ones where nothing was counted."""
        wanted = [int(self._ids[at]) for at in places if self._counted[at]]
        found: dict[int, Counts] = {}
        with failures(self._path), closing(_connect(self._path)) as connection:
            for start in range(0, len(wanted), _ROWS_AT_ONCE):
                part = wanted[start : start + _ROWS_AT_ONCE]
                query = (
                    f"SELECT {_COUNTS} FROM counts WHERE matrix IN ({', '.join('?' * len(part))})"  # noqa: S608
                )
                for row in connection.execute(query, part):
                    found[row[0]] = self._counts(*row[1:])
        if len(found) < len(set(wanted)):
            raise FitsError(
                self._path, "it was changed since it was opened: open it again", "counts"
            )
        return [found.get(int(self._ids[at]), Counts()) for at in places]

    def _counts(
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
