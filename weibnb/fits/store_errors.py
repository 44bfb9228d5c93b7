"""What SQLite raises, as errors that name the store and say what is kept."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weibnb.fits.inspection import FitsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What SQLite reports of disks, permissions and other processes, not of what a file holds.
_NOT_THE_FILE = (
    sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_AUTH, sqlite3.SQLITE_PROTOCOL,
)  # fmt: skip


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
