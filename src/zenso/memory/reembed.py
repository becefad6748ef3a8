"""Re-embedding: give documents the embeddings of another model, or those that a repair has taken away.

A document is stale when it has no embedding, or one of another provenance than the encoder's. Its new embedding is
put aside in ``next_embeddings``, a batch in a transaction, while searches go on with the old ones. When no stale
document is left without a new one, a last transaction puts all of them in place; until then a search sees only old
embeddings, afterwards only new ones. A run that was killed is gone on with by the next: what was put aside is kept as
long as it is of the same provenance.
"""

import json
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from zenso.memory import store
from zenso.memory.database import Database

if TYPE_CHECKING:
    from zenso.zen import ZenEncoder

_BATCH_DOCUMENTS = 256
_BATCH_CHARACTERS = 4 * 2**20
# So many that other processes added meanwhile are embedded while they wait, so that a run ends though they go on.
_LAST_DOCUMENTS = 16

_STALE = """(documents.provenance NOT IN (SELECT value FROM json_each(:current))
    OR NOT EXISTS (SELECT 1 FROM embeddings WHERE embeddings.seq = documents.seq))"""
# The id of a chunk names its text, whatever the model, so it is kept: a text changed since is still told from others.
_MISSING = f"""SELECT documents.seq, documents.id, text, embeddings.chunk_id
    FROM documents JOIN texts USING (seq) LEFT JOIN embeddings USING (seq)
    WHERE documents.seq > :after AND {_STALE}
    AND NOT EXISTS (SELECT 1 FROM next_embeddings WHERE next_embeddings.seq = documents.seq)
    ORDER BY documents.seq LIMIT :limit"""  # noqa: S608 - our constants
_COUNT = f"SELECT count(*) FROM documents WHERE {_STALE}"  # noqa: S608

_FORGET_OTHERS = "DELETE FROM next_embeddings WHERE provenance NOT IN (SELECT value FROM json_each(?))"

OnProgress = Callable[[int, int], None]


class _Stale(NamedTuple):
    """A document that waits for its new embedding; no chunk id if it has none now."""

    seq: int
    id: str
    text: str
    chunk_id: bytes | None


def reembed(database: Database, encoder: "ZenEncoder", on_progress: OnProgress | None = None) -> int:
    """Give every stale document an embedding by ``encoder`` and return how many there were.

    ``on_progress`` is called with the number of stale documents that are done and their total.
    """
    database.require_writable()
    store.check_storable(encoder.provenance)
    with database.read() as connection:
        if not _stale_count(connection, _equal(connection, encoder)):
            return 0
    with database.write() as connection:
        target = store.provenance_id(connection, encoder.provenance)
        current = _equal(connection, encoder)
        connection.execute(_FORGET_OTHERS, (current,))
    while True:
        _put_aside(database, encoder, target, current, on_progress)
        with database.write() as connection:
            last = _missing(connection, current, 0, _LAST_DOCUMENTS + 1)
            if len(last) <= _LAST_DOCUMENTS:
                _insert(connection, _embed(last, encoder, target) if last else [])
                return _put_in_place(connection, current)


def _put_aside(
    database: Database, encoder: "ZenEncoder", target: int, current: str, on_progress: OnProgress | None
) -> None:
    """Embed the stale documents there are, in order, each batch outside of the transaction that stores it."""
    with database.read() as connection:
        total = _stale_count(connection, current)
        done = connection.execute("SELECT count(*) FROM next_embeddings").fetchone()[0]
    after = 0
    while True:
        with database.read() as connection:
            batch = _cut(_missing(connection, current, after, _BATCH_DOCUMENTS))
        if on_progress is not None:
            on_progress(min(done, total), total)
        if not batch:
            return
        rows = _embed(batch, encoder, target)
        with database.write() as connection:
            _insert(connection, rows)
        after = batch[-1].seq
        done += len(batch)


def _equal(connection: sqlite3.Connection, encoder: "ZenEncoder") -> str:
    """Return the rows of ``provenance`` whose embeddings are those of an encoder, as JSON."""
    return json.dumps(store.equal_provenances(connection, encoder.provenance))


def _stale_count(connection: sqlite3.Connection, current: str) -> int:
    count: int = connection.execute(_COUNT, {"current": current}).fetchone()[0]
    return count


def _missing(connection: sqlite3.Connection, current: str, after: int, limit: int) -> list[_Stale]:
    """Return the first stale documents after a row that nothing was put aside for."""
    parameters = {"current": current, "after": after, "limit": limit}
    return [_Stale(*row) for row in connection.execute(_MISSING, parameters)]


def _cut(documents: list[_Stale]) -> list[_Stale]:
    """Cut a batch to a bounded number of characters, but to at least one document."""
    characters = 0
    for index, document in enumerate(documents):
        characters += len(document.text)
        if index and characters > _BATCH_CHARACTERS:
            return documents[:index]
    return documents


def _embed(batch: Sequence[_Stale], encoder: "ZenEncoder", target: int) -> list[tuple[int | bytes | str, ...]]:
    """Return the rows of ``next_embeddings`` for documents."""
    from zenso.canonical import chunk_id  # noqa: PLC0415 - the encoder has loaded it

    texts = list(dict.fromkeys(document.text for document in batch))
    made = store.embedding_rows(texts, encoder.encode_documents(texts))
    rows: list[tuple[int | bytes | str, ...]] = []
    for document in batch:
        new = made[document.text]
        chunk = document.chunk_id or chunk_id(document.id, 0, document.text)
        hashes = (new.content_hash, chunk, new.code_hash)
        rows.append((document.seq, target, new.tokens, new.code, new.vector, *hashes, new.token_set))
    return rows


def _insert(connection: sqlite3.Connection, rows: Sequence[tuple[int | bytes | str, ...]]) -> None:
    """Put embeddings aside, but not those of documents that were deleted meanwhile."""
    connection.executemany(
        """INSERT OR REPLACE INTO next_embeddings
        SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 WHERE EXISTS (SELECT 1 FROM documents WHERE seq = ?1)""",
        rows,
    )


def _put_in_place(connection: sqlite3.Connection, current: str) -> int:
    """Make the embeddings put aside the current ones, and return their number."""
    connection.execute(_FORGET_OTHERS, (current,))
    store.begin_change(connection)
    store.begin_epoch(connection)
    # Deleted first: replacing a row would not call the trigger that counts its tokens.
    connection.execute("DELETE FROM embeddings WHERE seq IN (SELECT seq FROM next_embeddings)")
    connection.execute(
        """INSERT INTO embeddings (seq, code, vector, content_hash, chunk_id, code_hash, token_set)
        SELECT seq, code, vector, content_hash, chunk_id, code_hash, token_set FROM next_embeddings"""
    )
    connection.execute(
        """UPDATE documents SET (provenance, tokens) =
            (SELECT provenance, tokens FROM next_embeddings WHERE next_embeddings.seq = documents.seq)
        WHERE seq IN (SELECT seq FROM next_embeddings)"""
    )
    return connection.execute("DELETE FROM next_embeddings").rowcount
