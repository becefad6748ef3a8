"""Put a snapshot back: into a new folder, or in one transaction in the place of what a memory holds now."""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from zenso.errors import StorageError
from zenso.memory import store
from zenso.memory.database import FILE_NAME, Database
from zenso.memory.disk_errors import BUSY_SECONDS, translated
from zenso.memory.migrations import BACKUP_FOLDER
from zenso.memory.snapshots import CopyProgress, Snapshot, check_snapshot, read_manifest, synchronise
from zenso.memory.upkeep import tidy

_PAGES_AT_ONCE = 1024  # 4 MiB between two reports of progress
_DAMAGED = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def restore(
    snapshot: str | Path, path: str | Path, *, force: bool = False, on_progress: CopyProgress | None = None
) -> Snapshot:
    """Make a memory hold what it held when a snapshot was taken, and return what the snapshot says of itself.

    A memory that other processes have open may be restored: each sees the old state or the new one, never a mixture.
    A snapshot of an older version is brought up to date on the way. After a crash the folder is as it was before, or
    restored.

    Parameters
    ----------
    snapshot
        The folder of one snapshot.
    path
        The folder of the memory, made with its parents when missing.
    force
        Replace what the memory holds, even if its database is damaged.
    on_progress
        Called with the pages copied into a memory that is replaced, and their total.

    Raises
    ------
    InputError
        ``snapshot`` is no snapshot.
    IntegrityError
        The snapshot is damaged. Nothing has been changed then.
    StorageError
        There is something at ``path`` and ``force`` is not given, or the disk refuses.
    """
    source, folder = Path(snapshot).absolute(), Path(path).absolute()
    manifest = read_manifest(source)
    with translated(folder):
        file = check_snapshot(manifest)
        occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
        if occupied and not force:
            raise StorageError(f"{folder} is not empty; use --force (force=True) to replace what it holds")
        if occupied and not (folder / FILE_NAME).exists():
            raise StorageError(f"{folder} is not empty and holds no memory; choose another folder")
        staging = folder.with_name(f".{folder.name}.{os.getpid()}.restore.tmp")
        staging.mkdir(parents=True)
        try:
            _prepare(file, staging)
            if occupied:
                _replace(staging, folder, on_progress)
            else:
                staging.rename(folder)  # also over an empty folder
                synchronise(folder.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    with closing(Database(folder, read_only=False)) as database:
        tidy(database, (), closing=True)
    return manifest


def _prepare(file: Path, staging: Path) -> None:
    """Make a memory out of a snapshot, of which every process reads the code matrix anew."""
    shutil.copyfile(file, staging / FILE_NAME)
    with closing(_connect(staging)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
    with closing(Database(staging, read_only=False)) as database, database.write() as connection:  # it is migrated
        store.begin_change(connection)
        store.begin_epoch(connection)
    shutil.rmtree(staging / BACKUP_FOLDER, ignore_errors=True)  # of the migration: the snapshot itself is still there
    synchronise(staging / FILE_NAME)
    synchronise(staging)


def _replace(staging: Path, folder: Path, on_progress: CopyProgress | None) -> None:
    """Replace the database of a memory in one transaction; one that is no database any more is replaced as a file."""
    began = time.monotonic()

    def report(status: int, remaining: int, total: int) -> None:
        if status == sqlite3.SQLITE_BUSY and time.monotonic() - began > BUSY_SECONDS:
            raise StorageError(f"{folder} is locked by another process; try again when it is done")
        if on_progress is not None:
            on_progress(total - remaining, total)

    try:
        with closing(_connect(staging)) as source, closing(_connect(folder)) as target:
            target.execute("SELECT count(*) FROM sqlite_master").fetchone()  # reads what the log holds
            source.backup(target, pages=_PAGES_AT_ONCE, progress=report, sleep=0.05)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _DAMAGED:
            raise
        # The log first: it belongs to the damaged file and must never be applied to the new one.
        for suffix in ("-wal", "-shm"):
            (folder / f"{FILE_NAME}{suffix}").unlink(missing_ok=True)
        synchronise(folder)
        (staging / FILE_NAME).replace(folder / FILE_NAME)
        synchronise(folder)


def _connect(folder: Path) -> sqlite3.Connection:
    uri = f"{(folder / FILE_NAME).as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_SECONDS)
