"""Errors of SQLite and the operating system, said in one line that names the path and the remedy."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zenso.errors import InputError, IntegrityError, StorageError, ZensoError

BUSY_SECONDS = 60.0
"""How long a process waits for another one's lock."""

_FULL = "no space left for {path}: free some and try again; what was added before is safe"
_DAMAGED = "{path} is damaged ({error}): restore a snapshot with zenso restore, or index into a new folder"
NOT_A_MEMORY = "{path} is not a Zenso memory (not an SQLite database): move it away or restore a copy"
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

# By primary result code of SQLite.
_SQLITE_ERRORS: dict[int, tuple[type[ZensoError], str]] = {
    sqlite3.SQLITE_FULL: (StorageError, _FULL),
    sqlite3.SQLITE_IOERR: (
        StorageError,
        "the disk refused {path} ({error}): check its free space and health; what was added before is safe",
    ),
    sqlite3.SQLITE_NOTADB: (StorageError, NOT_A_MEMORY),
    sqlite3.SQLITE_CORRUPT: (
        IntegrityError,
        _DAMAGED,
    ),
    sqlite3.SQLITE_READONLY: (
        StorageError,
        "no permission to write {path}: change its mode and its folder's, or open it with read_only=True",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        StorageError,
        "cannot open {path}: check that it is a file and that it and its folder may be read and written",
    ),
    sqlite3.SQLITE_BUSY: (
        StorageError,
        f"{{path}} was locked by another process for {BUSY_SECONDS:.0f} s; try again when it is done",
    ),
    sqlite3.SQLITE_TOOBIG: (InputError, "a document is too large for {path} (SQLite's limit is 1 GB): split it"),
}
_OTHER = "{path}: {error}; check that the disk is sound, or restore a copy"


def as_zenso_error(error: sqlite3.Error | OSError, path: Path) -> ZensoError:
    """Say an error of SQLite or the operating system in one line that names the path and the remedy."""
    if isinstance(error, sqlite3.Error):
        kind, message = _SQLITE_ERRORS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, (StorageError, _OTHER))
        return kind(message.format(path=path, error=error))
    path = error.filename or path
    if error.errno in _DISK_FULL:
        return StorageError(_FULL.format(path=path))
    if error.errno in _DENIED:
        return StorageError(f"no permission for {path}: change its mode or choose another folder")
    if isinstance(error, FileExistsError | NotADirectoryError):
        return StorageError(f"{path} is a file where a folder is needed: choose another folder")
    return StorageError(_OTHER.format(path=path, error=error.strerror or error))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and the operating system inside the block into Zenso's."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise as_zenso_error(error, path) from error
    except UnicodeDecodeError as error:  # SQLite's own message may quote bytes of a damaged file
        raise IntegrityError(_DAMAGED.format(path=path, error=error)) from error
