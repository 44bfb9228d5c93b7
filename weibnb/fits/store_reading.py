"""A store read into the usual Dataset; the counts stay on disk until they are asked for."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from weibnb.fits import store_schema
from weibnb.fits.inspection import FitsError, is_list_of_tensors
from weibnb.fits.layout import Source, lay_out
from weibnb.fits.lazy import LazyCounts
from weibnb.fits.schema import FORCES, NO_EXPERT, SAMPLING
from weibnb.fits.store_errors import failures
from weibnb.fits.store_matrices import Matrices, matrices_of
from weibnb.fits.store_older import migrate
from weibnb.fits.store_opened import Checkpoint, Opened
from weibnb.fits.store_schema import ESTIMATES, check_tables, store_version
from weibnb.fitting.weibull import Estimator, Trim, check_protocol
from weibnb.messages import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    import xarray as xr

    from weibnb.fits.store import Cell

    Key = tuple[str, int]

# Bytes that a text or a row of counts may have.
_LARGEST_VALUE = 1 << 27
# Matrices whose estimates are read when a store is opened; of more each variable when asked for.
AT_ONCE = 1 << 16


def open_store(
    path: Path,
    *,
    wanted: Callable[[Key], bool] | None = None,
    keys: Collection[Key] | None = None,
    cells: Mapping[Key, set[Cell]] | None = None,
    experts: Literal["median", "each"] | None = None,
) -> xr.Dataset:
    """Open a store as fits, all of them or the `wanted` (model, step).

    Of those among the keys of `cells`, only these cells. With `keys`, only these (model, step), in
    a time that does not depend on what else there is.

    Raises
    ------
    FitsError
        If the file is no store, or damaged.
    """
    with failures(path), closing(_connect(path)) as connection:
        connection.execute("BEGIN")  # what is read is of one moment
        about = _read_about(connection, path)
        checkpoints = _read_checkpoints(connection, path, wanted, keys)
        opened = Opened(path, _connect, connection, checkpoints, cells or {})
        sampled = about.get("sampling", "none") != "none"
        columns = _columns(opened, connection, forces="forces" in about, sampled=sampled)
    try:
        keep_counts, trim, estimator, recorded = _protocol(about)
        backend = about.get("backend", "numba")  # older stores do not say
        check_choice("backend", backend, ("numba", "torch"))
        if keep_counts:
            columns["counts"] = LazyCounts((opened.size,), opened.counts)
        fits = lay_out(
            columns,
            [checkpoint.source for checkpoint in checkpoints],
            trim=trim,
            estimator=estimator,
            experts=experts or recorded,
        )
    except (ValueError, TypeError) as err:
        raise FitsError(path, f"its entries do not make fits ({err})") from err
    fits.attrs |= {name: about[name] for name in ("created", "weibnb_version")}
    fits.attrs["backend"] = backend
    if sampled:
        fits.attrs["sampling"] = about["sampling"]
    if about.get("names"):
        fits.attrs["names"] = about["names"]
    if keep_counts:
        fits.attrs |= about_counts([checkpoint.counts_kept for checkpoint in checkpoints])
    return fits


def about_counts(kept: Collection[bool]) -> dict[str, str]:
    """Say of how many records counts are kept, if not of all."""
    if all(kept):
        return {}
    return {"counts_kept": f"{sum(kept)} of {len(kept)} records, log-spaced"}


def _columns(
    opened: Opened, connection: sqlite3.Connection, *, forces: bool, sampled: bool
) -> dict[str, Any]:
    """Give the columns of the matrices of a store; where they are many, read when asked for."""
    columns: dict[str, Any] = opened.known | opened.fields(connection)
    unwanted = {"counted", *(() if forces else FORCES), *(() if sampled else SAMPLING)}
    names = [name for name in ESTIMATES if name not in unwanted]
    if opened.size > AT_ONCE and not (columns["expert"] != NO_EXPERT).any():
        return columns | {name: opened.lazy(name) for name in (*names, "parameter", "dtype")}
    found = opened.read(names, np.arange(opened.size), connection)
    if forces and not any(np.isfinite(found[name]).any() for name in FORCES):
        found = {name: column for name, column in found.items() if name not in FORCES}
    return columns | found


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


class Entry(NamedTuple):
    """A checkpoint of a store: what it is of, and whether its counts are kept."""

    model: str
    step: int
    counts_kept: bool


def checkpoints(path: Path) -> dict[int, Entry]:
    """Give every checkpoint of a store by its number.

    One that is scanned or recorded anew gets a new number. There is nothing in a store that is
    only being made.

    Raises
    ------
    FitsError, OSError
        As `changes`.
    """
    with failures(path), closing(_open(path)) as connection:
        if not store_version(connection, path):
            return {}
    with failures(path), closing(_connect(path)) as connection:
        rows = connection.execute("SELECT id, model, step, counts_kept FROM checkpoint ORDER BY id")
        return {number: Entry(model, step, kept == 1) for number, model, step, kept in rows}


def _connect(path: Path) -> sqlite3.Connection:
    """Open a store for reading; one of an older weibnb is read from a migrated copy in memory."""
    connection = _open(path)
    try:
        version = store_version(connection, path)
        if version < store_schema.LATEST:
            connection.close()
            content = _migrated(path, version, _stamp(path))
            connection = sqlite3.connect(":memory:", isolation_level=None)
            connection.deserialize(content)
        check_tables(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


@lru_cache(maxsize=1)
def _migrated(path: Path, version: int, _: tuple[int, ...]) -> bytes:
    """Bring a copy of an older store up to date, in memory."""
    with closing(_open(path)) as connection, closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)
        copy.isolation_level = None
        try:
            migrate(copy, version)
        except (ValueError, TypeError, OverflowError) as err:
            raise FitsError(path, f"its entries do not make fits ({err})") from err
        content = bytearray(copy.serialize())
    content[18:20] = b"\1\1"  # the header's flags of a write-ahead log, which memory has not
    return bytes(content)


def _stamp(path: Path) -> tuple[int, ...]:
    """Size and time of a store, which change when it is written to."""
    files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    return tuple(n for file in files for n in (file.stat().st_size, file.stat().st_mtime_ns))


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


def _read_checkpoints(
    connection: sqlite3.Connection, path: Path, wanted: Callable[[Key], bool] | None, keys: Any
) -> list[Checkpoint]:
    """Read checkpoints: all, the `wanted`, or those of some keys."""
    query = (
        "SELECT id, model, step, path, fingerprint, problem, identity, config, not_fitted, "
        "matrices, counts_kept FROM checkpoint"
    )
    if keys is None:
        rows = connection.execute(f"{query} ORDER BY id").fetchall()
    else:
        query = f"{query} WHERE model = ? AND step = ?"
        rows = sorted(row for key in set(keys) for row in connection.execute(query, key))
    shared = _Shared(connection, path)
    found = []
    for at, model, step, *texts, config, not_fitted, matrices, kept in rows:
        good = isinstance(step, int) and all(isinstance(text, str) for text in (model, *texts))
        if not good or kept not in (0, 1):
            raise FitsError(path, "values of another type than ours", "checkpoint")
        if wanted is None or wanted((model, step)):
            place, fingerprint, problem, identity = texts
            about = (fingerprint, shared.config(config), problem, shared.not_fitted(not_fitted))
            source = Source(model, step, place, *about, identity)
            found.append(Checkpoint(at, source, shared.matrices(matrices), kept == 1))
    return found


class _Shared:
    """Texts that checkpoints have in common, each read and decoded once."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self._known: dict[tuple[str, Any], Any] = {}

    def config(self, at: Any) -> dict[str, Any]:
        """Read the configuration of a checkpoint."""
        found: dict[str, Any] = self._decoded("config", at, _config)
        return found

    def not_fitted(self, at: Any) -> list[dict[str, Any]]:
        """Read what is in no cell."""
        found: list[dict[str, Any]] = self._decoded("not_fitted", at, self._tensors)
        return found

    def matrices(self, at: Any) -> Matrices:
        """Read the list of matrices."""
        found: Matrices = self._decoded("matrices", at, partial(matrices_of, self._path))
        return found

    def _tensors(self, text: str) -> Any:
        if not is_list_of_tensors(text):
            raise FitsError(self._path, "a JSON list of tensors is expected", "not_fitted")
        return json.loads(text)

    def _decoded(self, name: str, at: Any, decode: Callable[[str], Any]) -> Any:
        if (name, at) not in self._known:
            query = "SELECT content FROM shared WHERE id = ?"
            row = self._connection.execute(query, (at,)).fetchone()
            if row is None or not isinstance(row[0], str):
                raise FitsError(self._path, "a text is expected", name)
            self._known[name, at] = decode(row[0])
        return self._known[name, at]


def _config(text: str) -> dict[str, Any]:
    """Read the configuration of a checkpoint; nothing if it is damaged, as for a checkpoint."""
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
