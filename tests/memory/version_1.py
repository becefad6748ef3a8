"""Makes a memory of version 1 as that version did, statement by statement: what migrations have to cope with."""

import sqlite3
from contextlib import closing

from blake3 import blake3

from zenso.canonical import chunk_id
from zenso.memory.database import FILE_NAME
from zenso.memory.metadata import field_rows, to_json

SCHEMA = """
    PRAGMA journal_mode = WAL;
    BEGIN;
    CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL);
    INSERT INTO state VALUES (1, 0);
    CREATE TABLE provenance (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, json TEXT NOT NULL);
    CREATE TABLE sources (path BLOB PRIMARY KEY, fingerprint TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE documents (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        source BLOB REFERENCES sources (path),
        provenance INTEGER NOT NULL REFERENCES provenance (id),
        tokens INTEGER NOT NULL,
        metadata TEXT NOT NULL
    );
    CREATE INDEX documents_source ON documents (source) WHERE source IS NOT NULL;
    CREATE INDEX documents_provenance ON documents (provenance);
    CREATE TABLE texts (seq INTEGER PRIMARY KEY, text TEXT NOT NULL);
    CREATE TABLE embeddings (
        seq INTEGER PRIMARY KEY,
        code BLOB NOT NULL,
        vector BLOB NOT NULL,
        content_hash BLOB NOT NULL CHECK (length(content_hash) = 32),
        chunk_id BLOB NOT NULL CHECK (length(chunk_id) = 16)
    );
    CREATE TABLE fields (
        seq INTEGER NOT NULL,
        name TEXT NOT NULL,
        value NOT NULL,
        PRIMARY KEY (seq, name, value)
    ) WITHOUT ROWID;
    CREATE INDEX fields_value ON fields (name, value);
    CREATE TABLE removed (seq INTEGER PRIMARY KEY, generation INTEGER NOT NULL);
    CREATE INDEX removed_generation ON removed (generation);
    CREATE TABLE segments (
        first_seq INTEGER PRIMARY KEY,
        last_seq INTEGER NOT NULL,
        rows INTEGER NOT NULL,
        checksum BLOB NOT NULL CHECK (length(checksum) = 32)
    );
    CREATE TRIGGER documents_removed AFTER DELETE ON documents BEGIN
        DELETE FROM texts WHERE seq = OLD.seq;
        DELETE FROM embeddings WHERE seq = OLD.seq;
        DELETE FROM fields WHERE seq = OLD.seq;
        INSERT INTO removed SELECT OLD.seq, generation FROM state;
    END;
    PRAGMA application_id = 0x5A454E53;
    PRAGMA user_version = 1;
    COMMIT;
"""


def make_memory(folder, encoder, documents):
    """Make a memory of (id, text, metadata, source or None)."""
    folder.mkdir(parents=True)
    embedded = encoder.encode_documents([text for _, text, _, _ in documents])
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        connection.execute("BEGIN")
        provenance = encoder.provenance
        connection.execute("INSERT INTO provenance VALUES (1, ?, ?)", (provenance.digest, provenance.to_json()))
        for index, (document_id, text, metadata, source) in enumerate(documents):
            seq = index + 1
            if source is not None:
                connection.execute("INSERT OR IGNORE INTO sources VALUES (?, 'v1')", (source,))
            tokens = int(embedded.token_counts[index])
            row = (seq, document_id, source, 1, tokens, to_json(metadata))
            connection.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", row)
            connection.execute("INSERT INTO texts VALUES (?, ?)", (seq, text))
            vector = embedded.vectors[index].astype("<i2").tobytes()
            chunk = chunk_id(document_id, 0, text)
            row = (seq, embedded.codes[index].tobytes(), vector, blake3(vector).digest(), chunk)
            connection.execute("INSERT INTO embeddings VALUES (?, ?, ?, ?, ?)", row)
            rows = [(seq, name, value) for name, value in field_rows(metadata)]
            connection.executemany("INSERT INTO fields VALUES (?, ?, ?)", rows)
        connection.execute("UPDATE state SET generation = 7")
        connection.execute("COMMIT")
