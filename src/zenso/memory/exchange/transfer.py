"""From a memory to a file and from a file into a memory."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from zenso.errors import InputError
from zenso.memory import store
from zenso.memory.database import Database
from zenso.memory.disk_errors import as_zenso_error, translated
from zenso.memory.documents import Entry, entries
from zenso.memory.exchange import json_lines, numpy_archive, parquet
from zenso.memory.exchange.records import Contents, ExportedEmbedding, Format, Reader, Record
from zenso.memory.metadata import from_json
from zenso.memory.snapshots import synchronise
from zenso.memory.store import Embeddings

if TYPE_CHECKING:
    from zenso.zen import ZenEncoder

OnProgress = Callable[[int, int], None]
Put = Callable[[list[Entry], Embeddings], int]

_BATCH = 256
_FORMATS: tuple[Format, ...] = (json_lines, parquet, numpy_archive)
_SELECT = """SELECT id, text, metadata, tokens, vector, code, content_hash, code_hash, chunk_id
    FROM documents JOIN texts USING (seq) LEFT JOIN embeddings USING (seq) ORDER BY documents.seq"""


@dataclass(slots=True)
class ImportReport:
    """What an import did: documents read, and of their texts those embedded; the others had an embedding already."""

    documents: int = 0
    embedded: int = 0


def export_documents(database: Database, path: Path, *, embeddings: bool, on_progress: OnProgress | None = None) -> int:
    """Write the documents of one state of a memory to a file, in place when it is complete; return their number."""
    chosen = _format(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{chosen.ENDINGS[0]}")
    if path.name.endswith(".gz"):
        temporary = temporary.with_name(f"{temporary.name}.gz")
    with database.read() as connection:
        contents = _contents(connection, embeddings=embeddings or chosen is numpy_archive)
        passes = _Passes(connection, contents, on_progress)
        try:
            chosen.write(temporary, contents, passes)
            synchronise(temporary)
            temporary.replace(path)
        except OSError as error:
            raise as_zenso_error(error, path) from error
        finally:
            temporary.unlink(missing_ok=True)
    return contents.documents


def import_documents(
    database: Database, encoder: "ZenEncoder", put: Put, path: Path, on_progress: OnProgress | None = None
) -> ImportReport:
    """Store the documents of a file, a batch at a time with ``put``, which returns how many texts it embedded."""
    with translated(path):
        if not path.is_file():
            raise InputError(f"no file {path}; check the path")
        reader = _format(path).open_reader(path)
    trusted = _is_same(reader, encoder)
    report = ImportReport()
    records = _translated(reader.records(), path)
    while batch := list(islice(records, _BATCH)):
        given, known = _read(batch, encoder if trusted else None)
        report.embedded += put(_with_sources(database, given), known)
        report.documents += len(batch)
        if on_progress is not None:
            on_progress(report.documents, reader.total)
    return report


def _translated(records: Iterator[Record], path: Path) -> Iterator[Record]:
    with translated(path):
        yield from records


def _format(path: Path) -> Format:
    for one in _FORMATS:
        if path.name.lower().endswith(tuple(one.ENDINGS)):
            return one
    endings = ", ".join(ending for one in _FORMATS for ending in one.ENDINGS)
    raise InputError(f"{path}: unknown format; give a name that ends with one of {endings}")


class _Passes:
    """Reads the documents of a transaction; the first pass is the one whose progress is told."""

    def __init__(self, connection: sqlite3.Connection, contents: Contents, on_progress: OnProgress | None) -> None:
        self._connection = connection
        self._contents = contents
        self._on_progress = on_progress

    def __call__(self) -> Iterator[Record]:
        tell, self._on_progress = self._on_progress, None
        for number, row in enumerate(self._connection.execute(_SELECT), start=1):
            document_id, text, metadata, tokens, *rest = row
            made = None
            if self._contents.provenance is not None and rest[0] is not None:
                vector, code, content_hash, code_hash, chunk_id = rest
                made = ExportedEmbedding(tokens, vector, code, content_hash, code_hash, chunk_id)
            yield Record(document_id, document_id, text, from_json(metadata), made)
            if tell is not None and (number % _BATCH == 0 or number == self._contents.documents):
                tell(number, self._contents.documents)


def _contents(connection: sqlite3.Connection, *, embeddings: bool) -> Contents:
    # Not SQLite's length(), which ends at a null character.
    longest = max((len(row[0]) for row in connection.execute("SELECT id FROM documents")), default=0)
    provenance = store.stored_provenance(connection) if embeddings else None
    return Contents(store.counts(connection)[0], longest, provenance)


def _is_same(reader: Reader, encoder: "ZenEncoder") -> bool:
    """Tell whether the embeddings in a file are those that the encoder would give."""
    if reader.provenance is None:
        return False
    try:
        return not encoder.provenance.differences(reader.provenance)
    except (ValueError, TypeError, AttributeError):
        return False


def _read(batch: list[Record], encoder: "ZenEncoder | None") -> tuple[list[Entry], Embeddings]:
    """Check the records of a batch; with an encoder, take over the embeddings that are whole and theirs."""
    given: list[Entry] = []
    for record in batch:
        try:
            ids = None if record.id is None else [record.id]
            # Whatever a file holds, which this checks.
            (entry,) = entries([record.text], ids, [record.metadata])  # type: ignore[list-item,arg-type]
        except InputError as error:
            raise InputError(f"{record.where}: {error}") from error
        given.append(entry)
    return given, {} if encoder is None else _taken_over(batch, given, encoder)


def _taken_over(batch: list[Record], given: list[Entry], encoder: "ZenEncoder") -> Embeddings:
    """Return the embeddings of a batch that are whole and those of their documents, by text."""
    known: Embeddings = {}
    with_one = [(record.embedding, entry) for record, entry in zip(batch, given, strict=True) if record.embedding]
    token_sets = encoder.token_sets([entry.text for _, entry in with_one]) if with_one else []
    for (exported, entry), tokens in zip(with_one, token_sets, strict=True):
        made = exported.of(entry.id, entry.text, store.token_set_json(tokens))
        if made is not None:
            known[entry.text] = made
    return known


def _with_sources(database: Database, given: list[Entry]) -> list[Entry]:
    """Leave documents that are stored already with the file they were indexed from."""
    with database.read() as connection:
        return [Entry(entry.id, entry.text, entry.metadata, store.source_of(connection, entry.id)) for entry in given]
