"""The SQLite schema of a memory, its version, its migration, and the checks made when a database is opened.

``documents`` carries what lists and filters read; texts and embeddings stand in tables of their own so that such
scans stay small. A ``seq`` is never used twice: a document whose text changes gets a new one, and the old one goes to
``removed``, which tells every process which rows of its code matrix are dead. Nothing but SQLite is ever trusted for
that.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from zenso.errors import StorageError

SCHEMA_VERSION = 2
APPLICATION_ID = 0x5A454E53  # "ZENS"

_TABLES = (
    # One row: the generation counts the write transactions, so that a reader knows when to look again.
    """CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        generation INTEGER NOT NULL,
        documents INTEGER NOT NULL DEFAULT 0
    )""",
    "INSERT INTO state (one, generation) VALUES (1, 0)",
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
    # that a text changed since can be told from an embedding changed since; token_set: the distinct token ids that were
    # read, ascending, uint32 little-endian.
    """CREATE TABLE embeddings (
        seq INTEGER PRIMARY KEY,
        code BLOB NOT NULL,
        vector BLOB NOT NULL,
        content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
        chunk_id BLOB NOT NULL CHECK (length(chunk_id) = 16),
        token_set BLOB NOT NULL DEFAULT x''
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

_WORDS = (
    # In how many documents (state.documents of them, all told) each token of the model stands.
    "CREATE TABLE frequencies (token INTEGER PRIMARY KEY, documents INTEGER NOT NULL)",
    """CREATE VIRTUAL TABLE words USING fts5 (
        text, content='texts', content_rowid='seq', tokenize='porter unicode61'
    )""",
    """CREATE TRIGGER texts_added AFTER INSERT ON texts BEGIN
        INSERT INTO words (rowid, text) VALUES (NEW.seq, NEW.text);
    END""",
    """CREATE TRIGGER texts_removed AFTER DELETE ON texts BEGIN
        INSERT INTO words (words, rowid, text) VALUES ('delete', OLD.seq, OLD.text);
    END""",
)

# Version 1 had neither words nor token frequencies. Its codes are of an older format, so its documents are embedded
# anew before they can be searched, and get their token sets then.
_FROM_VERSION_1 = (
    "ALTER TABLE state ADD COLUMN documents INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE embeddings ADD COLUMN token_set BLOB NOT NULL DEFAULT x''",
    *_WORDS,
    "INSERT INTO words (words) VALUES ('rebuild')",
)


def prepare(connection: sqlite3.Connection, file: Path, *, may_create: bool, patience: float) -> None:
    """Create the schema in an empty database, or check that the database is a memory this version can read.

    A memory of an older version is brought up to date, unless ``may_create`` is false or the file may not be written:
    then it can be read, but not searched.

    ``patience`` is how long to wait, in seconds, for another process that creates it at the same moment.

    Raises
    ------
    StorageError
        If the database belongs to another program, was made by a newer version, or is empty and may not be filled.
    """
    if _is_empty(connection):
        if not may_create:
            raise StorageError(f"{file} holds no memory yet; open it once without read_only to create it")
        _switch_to_wal(connection, patience)
        _change(connection, lambda: _is_empty(connection), (*_TABLES, *_WORDS))
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    if application != APPLICATION_ID:
        raise StorageError(f"{file} is an SQLite database but not a Zenso memory; choose another folder")
    if version > SCHEMA_VERSION:
        raise StorageError(
            f"{file} was made by a newer Zenso (memory version {version}; this one reads up to {SCHEMA_VERSION}); "
            "upgrade with: pip install --upgrade zenso"
        )
    if version < SCHEMA_VERSION and may_create:
        try:
            _change(connection, lambda: _pragma(connection, "user_version") < SCHEMA_VERSION, _FROM_VERSION_1)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_READONLY:
                raise


def _change(connection: sqlite3.Connection, due: Callable[[], bool], statements: Sequence[str]) -> None:
    """Make the schema current in one transaction."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if due():  # another process may have been first
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
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
    return tables == 0 and _pragma(connection, "application_id") == 0 and _pragma(connection, "user_version") == 0


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
