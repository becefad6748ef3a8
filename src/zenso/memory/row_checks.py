"""Checks of one document's rows that need no model: what can be told from hashes, lengths and what belongs together."""

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from blake3 import blake3

from zenso.bitdelta import CODE_BYTES, SLOT_WIDTH, read_header
from zenso.errors import InputError, IntegrityError
from zenso.memory.metadata import SqlValue, check_metadata, field_rows, to_json


class RowFault(StrEnum):
    """What may be wrong with a document."""

    TEXT_MISSING = "text missing"
    TEXT_CHANGED = "text changed"
    NOT_EMBEDDED = "not embedded"
    CORRUPTED_VECTOR = "corrupted vector"
    CORRUPTED_CODE = "corrupted code"
    CORRUPTED_METADATA = "corrupted metadata"
    WRONG_FIELDS = "wrong fields"


class Row(NamedTuple):
    """What is stored of a document, as bytes; None where a row of another table is missing."""

    seq: int
    id: bytes
    metadata: bytes
    text: bytes | None
    code: bytes | None
    vector: bytes | None
    content_hash: bytes | None
    chunk_id: bytes | None
    code_hash: bytes | None


SELECT = """SELECT documents.seq, CAST(id AS BLOB), CAST(metadata AS BLOB), CAST(text AS BLOB), CAST(code AS BLOB),
    CAST(vector AS BLOB), CAST(content_hash AS BLOB), CAST(chunk_id AS BLOB), CAST(code_hash AS BLOB)
    FROM documents LEFT JOIN texts USING (seq) LEFT JOIN embeddings USING (seq)"""


def faults(row: Row, fields: set[tuple[str, SqlValue]]) -> Iterator[tuple[RowFault, str]]:
    """Yield every fault of a document and its detail; ``fields`` are the rows by which filters find it."""
    intact = row.text is not None
    if row.text is None:
        yield RowFault.TEXT_MISSING, "it has no text"
    elif row.chunk_id is not None and not _is_text_embedded(row):
        intact = False
        yield RowFault.TEXT_CHANGED, "text or id are not those that were embedded"
    yield from _embedding_faults(row, intact=intact)
    expected = _fields(row.metadata)
    if expected is None:
        yield RowFault.CORRUPTED_METADATA, "its metadata is not what Zenso writes"
    elif expected != fields:
        yield RowFault.WRONG_FIELDS, "filters would not find it by its metadata"


def _embedding_faults(row: Row, *, intact: bool) -> Iterator[tuple[RowFault, str]]:
    if row.code is None or row.vector is None or row.code_hash is None:
        if intact:
            yield RowFault.NOT_EMBEDDED, "searches do not find it"
        return
    if len(row.vector) != 2 * SLOT_WIDTH or blake3(row.vector).digest() != row.content_hash:
        yield RowFault.CORRUPTED_VECTOR, "it does not hash to the stored hash"
    if blake3(row.code).digest() != row.code_hash:
        yield RowFault.CORRUPTED_CODE, "it does not hash to the stored hash"
    elif len(row.code) != CODE_BYTES:
        yield RowFault.CORRUPTED_CODE, f"it has {len(row.code)} bytes instead of {CODE_BYTES}"
    else:
        try:
            read_header(np.frombuffer(row.code, np.uint8))
        except IntegrityError as error:
            yield RowFault.CORRUPTED_CODE, str(error)


def _is_text_embedded(row: Row) -> bool:
    from zenso.canonical import chunk_id  # noqa: PLC0415 - a memory without documents does not wait for it

    try:
        return chunk_id(row.id.decode(), 0, (row.text or b"").decode()) == row.chunk_id
    except UnicodeDecodeError:
        return False


def _fields(stored: bytes) -> set[tuple[str, SqlValue]] | None:
    """Return the rows of ``fields`` that metadata should have, or None if it is damaged."""
    try:
        metadata = check_metadata(json.loads(stored), "a document")
        return set(field_rows(metadata)) if to_json(metadata).encode() == stored else None
    except (ValueError, InputError, RecursionError):
        return None
