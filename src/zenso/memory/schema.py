"""The SQLite schema of a memory and the checks made when a database is opened.

``documents`` carries what lists and filters read; texts and embeddings stand in tables of their own so that such
scans stay small. A ``seq`` is never used twice: a document whose text changes gets a new one, and the old one goes to
``removed``, which tells every process which rows of its code matrix are dead. Nothing but SQLite is ever trusted for
that.
"""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from zenso.errors import StorageError
from zenso.memory.migrations import SCHEMA_VERSION, migrate, take_step, version_of

APPLICATION_ID = 0x5A454E53  # "ZENS"

# Version 1, as it was released; what has changed since stands in migrations.py.
_TABLES = (
    # One row: the generation counts the write transactions, so that a reader knows when to look again.
    "CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL)",
    "INSERT INTO state VALUES (1, 0)",
    "CREATE TABLE provenance (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, json TEXT NOT NULL)",
    "CREATE TABLE sources (path BLOB PRIMARY KEY, fingerprint TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE documents (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        source BLOB REFERENCES sources (path),
        provenance INTEGER NOT NULL REFERENCES provenance (id),
        tokens INTEGER NOT NULL,
        metadata TEXT NOT NULL
    )""",
    "CREATE INDEX documents_source ON documents (source) WHERE source IS NOT NULL",
    "CREATE INDEX documents_provenance ON documents (provenance)",
    "CREATE TABLE texts (seq INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    # vector: int16 little-endian; content_hash: BLAKE3 of those bytes; chunk_id: names the text that was embedded, so
    # that a text changed since can be told from an embedding changed since.
    """CREATE TABLE embeddings (
        seq INTEGER PRIMARY KEY,
        code BLOB NOT NULL,
        vector BLOB NOT NULL,
        content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
        chunk_id BLOB NOT NULL CHECK (length(chunk_id) = 16)
    )""",
    # value has no declared type, so that numbers, texts and blobs stay what they are (see metadata.py).
    """CREATE TABLE fields (
        seq INTEGER NOT NULL,
        name TEXT NOT NULL,
        value NOT NULL,
        PRIMARY KEY (seq, name, value)
    ) WITHOUT ROWID""",
    "CREATE INDEX fields_value ON fields (name, value)",
    "CREATE TABLE removed (seq INTEGER PRIMARY KEY, generation INTEGER NOT NULL)",
    "CREATE INDEX removed_generation ON removed (generation)",
    # Which segment files of the code matrix are current, and what they must hash to.
    """CREATE TABLE segments (
        first_seq INTEGER PRIMARY KEY,
        last_seq INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        checksum BLOB NOT NULL CHECK (length(checksum) = 32)
    )""",
    """CREATE TRIGGER documents_removed AFTER DELETE ON documents BEGIN
        DELETE FROM texts WHERE seq = OLD.seq;
        DELETE FROM embeddings WHERE seq = OLD.seq;
        DELETE FROM fields WHERE seq = OLD.seq;
        INSERT INTO removed SELECT OLD.seq, generation FROM state;
    END""",
)


def prepare(connection: sqlite3.Connection, file: Path, *, may_create: bool, patience: float) -> None:
    """Create the schema in an empty database, or see to it that the database is a memory of this version.

    One of an older version is migrated. ``patience`` is how long to wait, in seconds, for another process that creates
    it at the same moment.

    Raises
    ------
    StorageError
        If the database belongs to another program, was made by a newer version, or is empty or of an older version
        and may not be written.
    """
    if _is_empty(connection):
        if not may_create:
            raise StorageError(f"{file} holds no memory yet; open it once without read_only to create it")
        _switch_to_wal(connection, patience)
        _create(connection)
    application, version = _pragma(connection, "application_id"), version_of(connection)
    if application != APPLICATION_ID:
        raise StorageError(f"{file} is an SQLite database but not a Zenso memory; choose another folder")
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{file} was made by a newer Zenso (memory version {version}; this one reads up to {SCHEMA_VERSION}); "
            "upgrade with: pip install --upgrade zenso"
        )
    if version < SCHEMA_VERSION:
        if not may_create:
            raise StorageError(
                f"{file} was made by an older Zenso (memory version {version}, this one reads {SCHEMA_VERSION}); open "
                f"it once for writing to bring it up to date, for example with: zenso compact {file.parent}"
            )
        migrate(connection, file)


def expected() -> dict[tuple[str, str], str]:
    """Return the SQL of every table, index and trigger of this version, by kind and name, in one normal form."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _create(connection)
        return found(connection)


def found(connection: sqlite3.Connection) -> dict[tuple[str, str], str]:
    """Return the same of a database."""
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name): " ".join(sql.split()) for kind, name, sql in rows}


def full_text_tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of the full-text indexes (FTS5) of a database."""
    return [name for (_, name), sql in found(connection).items() if "USING fts5" in sql]


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        if _is_empty(connection):  # another process may have been first
            for statement in _TABLES:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute("PRAGMA user_version = 1")
            while version_of(connection) < SCHEMA_VERSION:
                take_step(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _switch_to_wal(connection: sqlite3.Connection, patience: float) -> None:
    """Set the write-ahead log; SQLite does not wait for locks here, so we do."""
    deadline = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Tell whether nothing was ever committed: a new file, or one whose creation was interrupted."""
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return tables == 0 and _pragma(connection, "application_id") == 0 and version_of(connection) == 0


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
