"""What is read from and written to the database of a memory, each inside a transaction that the caller holds."""

import json
import secrets
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from blake3 import blake3

from zenso.bitdelta import CODE_BYTES, SLOT_WIDTH
from zenso.errors import IntegrityError, ModelError
from zenso.memory.documents import Document, Entry, Page, source_path
from zenso.memory.filters import Condition
from zenso.memory.metadata import Metadata, field_rows, from_json, to_json

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zenso.zen import DocumentEmbeddings, Provenance

_VECTORS_AT_ONCE = 4096

_DOCUMENT = """SELECT documents.id, texts.text, documents.metadata, documents.source
    FROM documents JOIN texts USING (seq)"""


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text's row of ``embeddings``: a 964-byte code, the canonical vector as int16 LE, and its BLAKE3 hash.

    ``token_set`` are the distinct ids of its tokens, as a JSON array.
    """

    code: bytes
    vector: bytes
    content_hash: bytes
    token_set: str
    tokens: int

    @property
    def code_hash(self) -> bytes:
        """BLAKE3 of the code."""
        return blake3(self.code).digest()


Embeddings: TypeAlias = dict[str, Embedding]  # by text


@dataclass(frozen=True, slots=True)
class Source:
    """A file (or other origin) that was indexed, the fingerprint of its content then, and its number of documents."""

    path: str
    fingerprint: str
    documents: int


def token_set_json(tokens: "NDArray[np.int32]") -> str:
    """Return the distinct token ids of a document as they are stored."""
    return json.dumps(tokens.tolist(), separators=(",", ":"))


def embedding_rows(texts: Sequence[str], embedded: "DocumentEmbeddings") -> Embeddings:
    """Turn what the encoder gave for n texts into rows, by text."""
    rows: Embeddings = {}
    for index, text in enumerate(texts):
        vector = embedded.vectors[index].astype("<i2").tobytes()
        code = embedded.codes[index].tobytes()
        token_set = token_set_json(embedded.token_sets[index])
        rows[text] = Embedding(code, vector, blake3(vector).digest(), token_set, int(embedded.token_counts[index]))
    return rows


def generation(connection: sqlite3.Connection) -> int:
    """Return the number of write transactions so far."""
    value: int = connection.execute("SELECT generation FROM state").fetchone()[0]
    return value


def epoch(connection: sqlite3.Connection) -> int:
    """Return the number that is drawn anew when rows of the code matrix come to mean other codes."""
    value: int = connection.execute("SELECT epoch FROM state").fetchone()[0]
    return value


def begin_epoch(connection: sqlite3.Connection) -> None:
    """Make every process read the code matrix anew, and forget its segments; called in a write transaction."""
    connection.execute("UPDATE state SET epoch = ?", (secrets.randbits(62),))
    connection.execute("DELETE FROM segments")
    connection.execute("DELETE FROM removed")


def begin_change(connection: sqlite3.Connection) -> None:
    """Count a write transaction; called first in each, because deletes are stamped with the generation."""
    connection.execute("UPDATE state SET generation = generation + 1")


# --- provenance -------------------------------------------------------------------------------------------------


def stored_provenance(connection: sqlite3.Connection) -> str | None:
    """Return the canonical JSON of the provenance that all documents share, or None while there are none."""
    row = connection.execute(
        """SELECT json FROM provenance
        WHERE EXISTS (SELECT 1 FROM documents WHERE documents.provenance = provenance.id)"""
    ).fetchone()
    return None if row is None else str(row[0])


def check_provenance(connection: sqlite3.Connection, provenance: "Provenance", folder: Path) -> None:
    """Refuse to mix models.

    Raises
    ------
    ModelError
        If documents are stored whose embeddings were made in another way than ``provenance`` says.
    """
    stored = stored_provenance(connection)
    different = provenance.differences(stored) if stored is not None else []
    if different:
        made_with = json.loads(stored or "{}")["model"]["model_id"]
        raise ModelError(
            f"the documents in {folder} were embedded with {made_with}, the model loaded is "
            f"{provenance.model.model_id} (they differ in {', '.join(different)}); open the memory with the model it "
            f"was made with, or move it to this one with: zenso reembed {folder}"
        )


def check_storable(provenance: "Provenance") -> None:
    """Refuse embeddings that another model made by way of an aligner: they come near to native ones, no more.

    Raises
    ------
    ModelError
        If the provenance is that of an aligned encoder.
    """
    if not provenance.native:
        raise ModelError(
            f"embeddings of {provenance.model.model_id} through an aligner are for searching, a memory does not store "
            "them; open it with its own model to add documents"
        )


def provenance_id(connection: sqlite3.Connection, provenance: "Provenance") -> int:
    """Return the row of ``provenance``, made when missing."""
    connection.execute(
        "INSERT INTO provenance (digest, json) VALUES (?, ?) ON CONFLICT (digest) DO NOTHING",
        (provenance.digest, provenance.to_json()),
    )
    row: tuple[int] = connection.execute("SELECT id FROM provenance WHERE digest = ?", (provenance.digest,)).fetchone()
    return row[0]


def equal_provenances(connection: sqlite3.Connection, provenance: "Provenance") -> list[int]:
    """Return the rows of ``provenance`` whose embeddings are the same as those that ``provenance`` gives."""
    return [
        row
        for row, stored in connection.execute("SELECT id, json FROM provenance")
        if not provenance.differences(stored)
    ]


# --- documents --------------------------------------------------------------------------------------------------


def known_embeddings(connection: sqlite3.Connection, entries: Collection[Entry]) -> Embeddings:
    """Return the embeddings of the texts that are stored already under the same id or in the same source."""
    known: Embeddings = {}
    select = """SELECT code, vector, content_hash, token_set, tokens
        FROM documents JOIN texts USING (seq) JOIN embeddings USING (seq)"""
    for entry in entries:
        row = connection.execute(f"{select} WHERE id = ? AND text = ?", (entry.id, entry.text)).fetchone()
        if row:
            known[entry.text] = Embedding(*row)
    wanted = {entry.text for entry in entries} - set(known)
    for source in {entry.source for entry in entries} - {None}:
        rows = connection.execute(f"{select.replace('code', 'text, code', 1)} WHERE source = ?", (source,))
        known |= {text: Embedding(*row) for text, *row in rows if text in wanted}
    return known


def put(
    connection: sqlite3.Connection, entries: Collection[Entry], embeddings: Mapping[str, Embedding], provenance: int
) -> None:
    """Store documents in order, each replacing one of the same id.

    A document whose text is the same and has an embedding keeps both and its place; any other replaced document
    counts as new.
    """
    from zenso.canonical import chunk_id  # noqa: PLC0415 - reading and deleting do not wait for it

    for entry in entries:
        row = connection.execute(
            """SELECT seq, text = ? AND EXISTS (SELECT 1 FROM embeddings WHERE embeddings.seq = documents.seq),
            metadata, source FROM documents JOIN texts USING (seq) WHERE id = ?""",
            (entry.text, entry.id),
        ).fetchone()
        if row and row[1]:
            _describe(connection, entry, row[0], unchanged=row[2:] == (to_json(entry.metadata), entry.source))
            continue
        if row:
            connection.execute("DELETE FROM documents WHERE seq = ?", (row[0],))
        embedding = embeddings[entry.text]
        seq = connection.execute(
            "INSERT INTO documents (id, source, provenance, tokens, metadata) VALUES (?, ?, ?, ?, ?)",
            (entry.id, entry.source, provenance, embedding.tokens, to_json(entry.metadata)),
        ).lastrowid
        connection.execute("INSERT INTO texts VALUES (?, ?)", (seq, entry.text))
        chunk = chunk_id(entry.id, 0, entry.text)
        connection.execute(
            """INSERT INTO embeddings (seq, code, vector, content_hash, chunk_id, code_hash, token_set)
            VALUES (?, ?, ?, ?, ?, ?, ?)""",
            (
                seq,
                embedding.code,
                embedding.vector,
                embedding.content_hash,
                chunk,
                embedding.code_hash,
                embedding.token_set,
            ),
        )
        _put_fields(connection, seq, entry.metadata)


def _describe(connection: sqlite3.Connection, entry: Entry, seq: int, *, unchanged: bool) -> None:
    """Give a stored text its new metadata and source."""
    if unchanged:
        return
    connection.execute(
        "UPDATE documents SET metadata = ?, source = ? WHERE seq = ?", (to_json(entry.metadata), entry.source, seq)
    )
    connection.execute("DELETE FROM fields WHERE seq = ?", (seq,))
    _put_fields(connection, seq, entry.metadata)


def _put_fields(connection: sqlite3.Connection, seq: int | None, metadata: Metadata) -> None:
    # A list may hold a value twice, or 1 and 1.0, which are one value to a filter.
    connection.executemany(
        "INSERT OR IGNORE INTO fields VALUES (?, ?, ?)", [(seq, name, value) for name, value in field_rows(metadata)]
    )


def delete(connection: sqlite3.Connection, ids: Collection[str]) -> int:
    """Delete documents and return how many there were; ids that are not stored count for nothing."""
    return sum(connection.execute("DELETE FROM documents WHERE id = ?", (value,)).rowcount for value in ids)


def delete_matching(connection: sqlite3.Connection, condition: Condition) -> int:
    """Delete the documents for which a filter holds and return how many there were."""
    statement = f"DELETE FROM documents WHERE {condition.sql}"  # noqa: S608 - values are bound
    return connection.execute(statement, condition.parameters).rowcount


def frequencies(connection: sqlite3.Connection, tokens: "NDArray[np.int32]") -> "tuple[int, NDArray[np.int64]]":
    """Return the number of embeddings, and how many of them hold each token, (m,) as ``tokens``."""
    total: int = connection.execute("SELECT embeddings FROM state").fetchone()[0]
    select = "SELECT token, documents FROM frequencies WHERE token IN (SELECT value FROM json_each(?))"
    known = dict(connection.execute(select, (json.dumps(tokens.tolist()),)))
    return total, np.array([known.get(token, 0) for token in tokens.tolist()], np.int64)


def codes_of(connection: sqlite3.Connection, ids: Collection[str]) -> dict[str, "NDArray[np.uint8]"]:
    """Return codes by id, each (964,); ids that are not stored are left out."""
    select = """SELECT id, code FROM documents JOIN embeddings USING (seq)
        WHERE id IN (SELECT value FROM json_each(?))"""
    rows = connection.execute(select, (json.dumps(list(ids)),))
    return {name: np.frombuffer(code, np.uint8) for name, code in rows}


def counts(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the numbers of documents and of sources."""
    row = connection.execute("SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM sources)").fetchone()
    return int(row[0]), int(row[1])


def document(connection: sqlite3.Connection, document_id: str) -> Document | None:
    """Return one document, or None."""
    row = connection.execute(f"{_DOCUMENT} WHERE id = ?", (document_id,)).fetchone()
    return _document(row) if row else None


def source_of(connection: sqlite3.Connection, document_id: str) -> bytes | None:
    """Return the source of a document, or None if it has none or is not stored."""
    row = connection.execute("SELECT source FROM documents WHERE id = ?", (document_id,)).fetchone()
    return row[0] if row else None


def documents(connection: sqlite3.Connection, condition: Condition | None = None) -> Iterator[Document]:
    """Yield the documents for which a filter holds, or every one, in insertion order."""
    where, parameters = (f"WHERE {condition.sql}", condition.parameters) if condition else ("", ())
    for row in connection.execute(f"{_DOCUMENT} {where} ORDER BY documents.seq", parameters):
        yield _document(row)


def page(connection: sqlite3.Connection, condition: Condition | None, after: int, limit: int, characters: int) -> Page:
    """Return up to ``limit`` documents that come after row ``after``; fewer once texts have so many characters."""
    where, parameters = (f"AND {condition.sql}", condition.parameters) if condition else ("", ())
    select = _DOCUMENT.replace("SELECT", "SELECT documents.seq,", 1)
    found: list[Document] = []
    last = after
    rows = connection.execute(f"{select} WHERE documents.seq > ? {where} ORDER BY documents.seq", (after, *parameters))
    for seq, *row in rows:
        if len(found) == limit or characters <= 0:
            return Page(found, last)
        found.append(_document(tuple(row)))
        last = seq
        characters -= len(found[-1].text)
    return Page(found, None)


def ids(connection: sqlite3.Connection) -> list[str]:
    """Return every id in insertion order."""
    return [row[0] for row in connection.execute("SELECT id FROM documents ORDER BY seq")]


def document_at(connection: sqlite3.Connection, seq: int) -> Document:
    """Return the document of a row of the code matrix, which the caller has found to be alive."""
    row = connection.execute(f"{_DOCUMENT} WHERE documents.seq = ?", (seq,)).fetchone()
    if row is None:
        raise IntegrityError(f"document row {seq} has a code but no text: the memory is damaged; restore a copy")
    return _document(row)


def ids_at(connection: sqlite3.Connection, seqs: "NDArray[np.int64]") -> list[str]:
    """Return the ids of rows of the code matrix, which the caller has found to be alive, in order."""
    found = []
    for seq in seqs.tolist():
        row = connection.execute("SELECT id FROM documents WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            raise IntegrityError(f"document row {seq} has a code but no document: the memory is damaged")
        found.append(str(row[0]))
    return found


def matching(connection: sqlite3.Connection, condition: Condition) -> "NDArray[np.int64]":
    """Return the rows (seq, ascending) of the documents for which a filter holds."""
    query = f"SELECT seq FROM documents WHERE {condition.sql} ORDER BY seq"  # noqa: S608 - values are bound
    return np.fromiter((row[0] for row in connection.execute(query, condition.parameters)), np.int64)


def codes(
    connection: sqlite3.Connection, first: int, last: int, limit: int = -1
) -> "tuple[NDArray[np.int64], NDArray[np.uint8]]":
    """Return rows (n,) and codes (n, 964) of the documents alive from ``first`` to ``last``, both included."""
    rows = connection.execute(
        "SELECT seq, code FROM embeddings WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?", (first, last, limit)
    ).fetchall()
    wrong = [seq for seq, code in rows if len(code) != CODE_BYTES]
    if wrong:
        raise IntegrityError(f"the code of document row {wrong[0]} is not {CODE_BYTES} bytes long; restore a copy")
    joined = np.frombuffer(b"".join(code for _, code in rows), np.uint8).reshape(len(rows), CODE_BYTES)
    return np.array([seq for seq, _ in rows], np.int64), joined


def vectors(
    connection: sqlite3.Connection, condition: Condition | None
) -> "Iterator[tuple[NDArray[np.int64], NDArray[np.int16]]]":
    """Yield rows (n,) and canonical vectors (n, 384), in blocks, of the documents that a filter leaves, or of all."""
    where, parameters = (f"WHERE {condition.sql}", condition.parameters) if condition else ("", ())
    select = f"SELECT seq, vector FROM documents JOIN embeddings USING (seq) {where}"  # noqa: S608 - values are bound
    found = connection.execute(select, parameters)
    while block := found.fetchmany(_VECTORS_AT_ONCE):
        seqs = np.array([seq for seq, _ in block], np.int64)
        wrong = [seq for seq, vector in block if len(vector) != 2 * SLOT_WIDTH]
        if wrong:
            raise IntegrityError(
                f"the vector of document row {wrong[0]} is not {2 * SLOT_WIDTH} bytes long; restore a copy"
            )
        yield seqs, np.frombuffer(b"".join(vector for _, vector in block), "<i2").reshape(-1, SLOT_WIDTH)


def vector(connection: sqlite3.Connection, document_id: str) -> "NDArray[np.int16] | None":
    """Return the canonical vector (384,) of a document, or None if it is not stored or has none."""
    select = "SELECT vector FROM documents JOIN embeddings USING (seq) WHERE id = ?"
    row = connection.execute(select, (document_id,)).fetchone()
    return np.frombuffer(row[0], "<i2") if row else None


def _document(row: tuple[str, str, str, bytes | None]) -> Document:
    document_id, text, metadata, source = row
    return Document(document_id, text, from_json(metadata), None if source is None else source_path(source))


# --- sources ----------------------------------------------------------------------------------------------------


def source_fingerprint(connection: sqlite3.Connection, path: bytes) -> str | None:
    """Return the fingerprint a source had when it was indexed, or None if it was not."""
    row = connection.execute("SELECT fingerprint FROM sources WHERE path = ?", (path,)).fetchone()
    return None if row is None else str(row[0])


def set_source(connection: sqlite3.Connection, path: bytes, fingerprint: str) -> None:
    """Make or renew a source and delete the documents it had."""
    connection.execute("DELETE FROM documents WHERE source = ?", (path,))
    connection.execute(
        "INSERT INTO sources VALUES (?, ?) ON CONFLICT (path) DO UPDATE SET fingerprint = excluded.fingerprint",
        (path, fingerprint),
    )


def remove_source(connection: sqlite3.Connection, path: bytes) -> int:
    """Delete a source with its documents and return how many documents it had."""
    removed = connection.execute("DELETE FROM documents WHERE source = ?", (path,)).rowcount
    connection.execute("DELETE FROM sources WHERE path = ?", (path,))
    return removed


def sources(connection: sqlite3.Connection) -> list[Source]:
    """Return every source, by path."""
    rows = connection.execute(
        """SELECT path, fingerprint, (SELECT count(*) FROM documents WHERE source = sources.path)
        FROM sources ORDER BY path"""
    )
    return [Source(source_path(path), fingerprint, documents) for path, fingerprint, documents in rows]
