"""Connections to the SQLite file of a memory: one writer and a pool of readers."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zenso.errors import InputError, StorageError
from zenso.memory import schema
from zenso.memory.disk_errors import BUSY_SECONDS, NOT_A_MEMORY, translated
from zenso.memory.filters import add_functions

FILE_NAME = "memory.sqlite3"

_SQLITE_HEADER_BYTES = 100


class _Connection(sqlite3.Connection):
    """A connection that remembers whether it reads the file as it stood when opened (``frozen``)."""

    frozen = False


class Database:
    """The SQLite file of one memory, safe to use from several threads.

    Parameters
    ----------
    folder
        Created with its parents when missing, unless ``read_only``.
    read_only
        Never create or write anything; writing raises StorageError.

    Raises
    ------
    StorageError
        If the folder or file cannot be opened, or is not a memory this version can read.
    """

    def __init__(self, folder: Path, *, read_only: bool) -> None:
        self.folder = folder.absolute()
        self.file = self.folder / FILE_NAME
        self.read_only = read_only
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._readers: list[_Connection] = []
        self._writer: _Connection | None = None
        self._closed = False
        with translated(self.file):
            exists = self._exists()
            if exists and 0 < self.file.stat().st_size < _SQLITE_HEADER_BYTES:
                raise StorageError(NOT_A_MEMORY.format(path=self.file))  # SQLite would take it for empty
            if read_only and not exists:
                raise StorageError(f"no memory at {self.folder}; check the path, or open it without read_only")
            if not exists:
                self.folder.mkdir(parents=True, exist_ok=True)
            connection = self._connect("ro" if read_only else "rw" if exists else "rwc")
            try:
                schema.prepare(connection, self.file, may_create=not read_only, patience=BUSY_SECONDS)
            finally:
                connection.close()

    def require_writable(self) -> None:
        """Raise StorageError if writing is bound to fail, before any work is done for it."""
        if self.read_only:
            raise StorageError(f"{self.file} was opened with read_only=True; open it without to change it")
        if not os.access(self.file, os.W_OK):
            raise StorageError(f"no permission to write {self.file}: change its mode, or copy the folder and use that")

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give a connection inside a read transaction: every query of the block sees one state of the memory."""
        with translated(self.file):
            connection = self._take_reader()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the writing connection inside a transaction: durable when the block ends, undone if it raises."""
        self.require_writable()
        with self._write_lock, translated(self.file):
            connection = self._writing()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # After some failures SQLite has rolled back by itself; then this says so, and all is well.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def vacuum(self) -> None:
        """Write the file anew without free space, and empty the write-ahead log as far as readers let it."""
        self.require_writable()
        with self._write_lock, translated(self.file):
            connection = self._writing()
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def close(self) -> None:
        """Close every connection; those in use are closed when they are given back."""
        with self._write_lock, self._lock:
            self._closed = True
            if os.getpid() != self._process:
                return  # a forked child must not touch its parent's connections
            for connection in self._readers:
                connection.close()
            self._readers.clear()
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _writing(self) -> sqlite3.Connection:
        """Return the connection that writes, opened when first needed; the caller holds the lock."""
        self._check_usable()
        if self._writer is None:
            self._writer = self._open("mode=rw")
        return self._writer

    def _exists(self) -> bool:
        try:
            self.file.stat()
        except FileNotFoundError:
            return False
        return True

    def _log_holds_anything(self) -> bool:
        log = Path(f"{self.file}-wal")
        return log.exists() and log.stat().st_size > 0

    def _check_usable(self) -> None:
        if self._closed:
            raise InputError(f"the memory {self.folder} is closed; open it again")
        if os.getpid() != self._process:
            raise InputError(f"the memory {self.folder} was opened before a fork; open it again in each process")

    def _take_reader(self) -> _Connection:
        with self._lock:
            self._check_usable()
            if self._readers:
                return self._readers.pop()
        return self._connect("ro" if self.read_only else "rw")

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if self._closed or connection.frozen:
                connection.close()
            else:
                self._readers.append(connection)

    def _connect(self, mode: str) -> _Connection:
        """Open a connection; a folder that may not be written is opened as it stands, without a write-ahead log."""
        try:
            return self._open(f"mode={mode}")
        except sqlite3.OperationalError as error:
            refused = error.sqlite_errorcode in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY_DIRECTORY)
            # Without a log every commit is in the database itself, so nothing is missed by not reading one.
            if refused and self._exists() and not self._log_holds_anything():
                connection = self._open("mode=ro&immutable=1")
                connection.frozen = True
                return connection
            raise

    def _open(self, options: str) -> _Connection:
        connection = sqlite3.connect(
            f"{self.file.as_uri()}?{options}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")  # a finished add survives a power cut
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # opens the log, checks the file
            add_functions(connection)
        except BaseException:
            connection.close()
            raise
        return connection
