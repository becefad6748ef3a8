"""Steps that bring a memory's database from one version of the schema to the next.

A new memory is made as version 1 and taken through the same steps, so that old and new ones cannot differ. Before the
first step on a memory that holds something, a snapshot of it is put into its folder ``backups``. Each step is a
transaction of its own: a process killed on the way leaves a memory of the version it had reached, and the next to open
it goes on from there.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from blake3 import blake3

from zenso.memory.snapshots import take_snapshot

BACKUP_FOLDER = "backups"


def _to_version_2(connection: sqlite3.Connection) -> None:
    """Add what re-embedding, restoring and checking need."""
    # A number drawn anew whenever rows of the code matrix come to mean other codes (re-embedded, restored), which
    # tells every process to read the whole matrix again.
    connection.execute("ALTER TABLE state ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0")
    # BLAKE3 of the code: a bit that flipped on the disk is found without the model.
    connection.execute("ALTER TABLE embeddings ADD COLUMN code_hash BLOB NOT NULL DEFAULT x''")
    connection.create_function("blake3", 1, lambda code: blake3(code).digest(), deterministic=True)
    connection.execute("UPDATE embeddings SET code_hash = blake3(code)")
    # Embeddings of the model that the memory is being moved to; they take the place of the others all at once.
    connection.execute(
        """CREATE TABLE next_embeddings (
            seq INTEGER PRIMARY KEY,
            provenance INTEGER NOT NULL REFERENCES provenance (id),
            tokens INTEGER NOT NULL,
            code BLOB NOT NULL,
            vector BLOB NOT NULL,
            content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
            chunk_id BLOB NOT NULL CHECK (length(chunk_id) = 16),
            code_hash BLOB NOT NULL CHECK (length(code_hash) = 32)
        )"""
    )
    connection.execute(
        """CREATE TRIGGER next_embeddings_removed AFTER DELETE ON documents BEGIN
            DELETE FROM next_embeddings WHERE seq = OLD.seq;
        END"""
    )


def _to_version_3(connection: sqlite3.Connection) -> None:
    """Add the words of texts, and the frequencies of tokens."""
    # The distinct ids of the tokens that were read, as a JSON array. Documents of an older version have none until they
    # are embedded anew, which their codes ask for as well.
    connection.execute("ALTER TABLE embeddings ADD COLUMN token_set TEXT NOT NULL DEFAULT '[]'")
    connection.execute("ALTER TABLE next_embeddings ADD COLUMN token_set TEXT NOT NULL DEFAULT '[]'")
    # How many embeddings there are, and how many of them hold each token.
    connection.execute("ALTER TABLE state ADD COLUMN embeddings INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE TABLE frequencies (token INTEGER PRIMARY KEY, documents INTEGER NOT NULL)")
    connection.execute("UPDATE state SET embeddings = (SELECT count(*) FROM embeddings)")
    connection.execute(
        """CREATE TRIGGER embeddings_added AFTER INSERT ON embeddings BEGIN
            UPDATE state SET embeddings = embeddings + 1;
            INSERT INTO frequencies SELECT value, 1 FROM json_each(NEW.token_set) WHERE type = 'integer'
            ON CONFLICT (token) DO UPDATE SET documents = documents + 1;
        END"""
    )
    connection.execute(
        """CREATE TRIGGER embeddings_removed AFTER DELETE ON embeddings BEGIN
            UPDATE state SET embeddings = embeddings - 1;
            UPDATE frequencies SET documents = documents - 1
            WHERE json_valid(OLD.token_set) AND token IN (SELECT value FROM json_each(OLD.token_set));
        END"""
    )
    connection.execute(
        """CREATE VIRTUAL TABLE words USING fts5 (
            text, content='texts', content_rowid='seq', tokenize='porter unicode61'
        )"""
    )
    connection.execute("INSERT INTO words (words) VALUES ('rebuild')")
    connection.execute(
        """CREATE TRIGGER texts_added AFTER INSERT ON texts BEGIN
            INSERT INTO words (rowid, text) VALUES (NEW.seq, NEW.text);
        END"""
    )
    connection.execute(
        """CREATE TRIGGER texts_removed AFTER DELETE ON texts BEGIN
            INSERT INTO words (words, rowid, text) VALUES ('delete', OLD.seq, OLD.text);
        END"""
    )


# From version n, counted from 1, to n + 1. Add at the end; never change one that has been released.
_STEPS: tuple[Callable[[sqlite3.Connection], None], ...] = (_to_version_2, _to_version_3)

SCHEMA_VERSION = 1 + len(_STEPS)


def version_of(connection: sqlite3.Connection) -> int:
    """Return the version of the schema that a database has; 0 if it has none."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def take_step(connection: sqlite3.Connection) -> None:
    """Take the next step inside the caller's transaction."""
    version = version_of(connection)
    _STEPS[version - 1](connection)
    connection.execute(f"PRAGMA user_version = {version + 1}")


def migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Bring a memory of an older version to ``SCHEMA_VERSION``; nothing is done to one that has it.

    Several processes may try at once: the first does it, the others wait for its lock.

    Raises
    ------
    sqlite3.Error, OSError
        The database or the folder cannot be written; the memory then has the version of the last step that was done.
    """
    saved = False
    while version_of(connection) < SCHEMA_VERSION:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version_of(connection) < SCHEMA_VERSION:  # another process may have been first
                if not saved:
                    _save(file)
                    saved = True
                take_step(connection)
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise


def _save(file: Path) -> None:
    """Take a snapshot of a memory that the caller keeps from being written, if it holds documents."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        if reader.execute("SELECT EXISTS (SELECT 1 FROM documents)").fetchone()[0]:
            take_snapshot(reader, file.parent.name, file.parent / BACKUP_FOLDER)
