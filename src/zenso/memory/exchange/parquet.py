"""Parquet: a row a document. Needs the extra ``zenso[parquet]``.

============= ======================== =====================================================
id            string
text          string
metadata      string                   JSON
tokens        int32                    this and what follows only with embeddings
vector        fixed_size_list<int16>   384 numbers, scale 32767
code          fixed_size_binary        964 bytes
content_hash  fixed_size_binary        BLAKE3 of the vector as int16 little-endian
code_hash     fixed_size_binary        BLAKE3 of the code
chunk_id      fixed_size_binary        names id and text
============= ======================== =====================================================

The provenance of the embeddings stands in the file's metadata under ``zenso.provenance``. A file made by another
program may have a struct as ``metadata``, and needs only ``text``.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from zenso.bitdelta import CODE_BYTES, SLOT_WIDTH
from zenso.errors import InputError
from zenso.memory.exchange.records import (
    CHUNK_ID_BYTES,
    HASH_BYTES,
    Contents,
    Documents,
    ExportedEmbedding,
    Record,
)

ENDINGS: Sequence[str] = (".parquet",)

_ROWS_AT_ONCE = 1024
_PROVENANCE = b"zenso.provenance"
_EMBEDDING = ("tokens", "vector", "code", "content_hash", "code_hash", "chunk_id")
_COLUMNS = {"id", "text", "metadata", *_EMBEDDING}


def write(path: Path, contents: Contents, documents: Documents) -> None:
    """Write a new file."""
    arrow, parquet = _load()
    columns = [("id", arrow.string()), ("text", arrow.string()), ("metadata", arrow.string())]
    if contents.provenance is not None:
        columns += [
            ("tokens", arrow.int32()),
            ("vector", arrow.list_(arrow.int16(), SLOT_WIDTH)),
            ("code", arrow.binary(CODE_BYTES)),
            ("content_hash", arrow.binary(HASH_BYTES)),
            ("code_hash", arrow.binary(HASH_BYTES)),
            ("chunk_id", arrow.binary(CHUNK_ID_BYTES)),
        ]
    notes = {_PROVENANCE: contents.provenance.encode()} if contents.provenance is not None else None
    schema = arrow.schema(columns, metadata=notes)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        rows = documents()
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            arrays = [arrow.array(values, kind) for values, (_, kind) in zip(_values(part), columns, strict=False)]
            writer.write_batch(arrow.record_batch(arrays, schema=schema))


class ParquetReader:
    """An opened file."""

    def __init__(self, path: Path) -> None:
        arrow, parquet = _load()
        self._path = path
        try:
            with parquet.ParquetFile(path) as file:
                names, notes = file.schema_arrow.names, file.schema_arrow.metadata or {}
                self.total: int = file.metadata.num_rows
        except arrow.ArrowInvalid as error:
            raise InputError(f"{path}: not a Parquet file ({error})") from error
        if "text" not in names:
            raise InputError(f"{path}: no column 'text'; it has {', '.join(names)}")
        unknown = sorted(set(names) - _COLUMNS)
        if unknown:
            raise InputError(f"{path}: unknown column {unknown[0]!r}; put what describes a document into 'metadata'")
        whole = set(_EMBEDDING) <= set(names) and _PROVENANCE in notes
        self.provenance = notes[_PROVENANCE].decode("utf-8", "replace") if whole else None

    def records(self) -> Iterator[Record]:
        """Yield every document."""
        arrow, parquet = _load()
        number = 0
        try:
            with parquet.ParquetFile(self._path) as file:
                for batch in file.iter_batches(_ROWS_AT_ONCE):
                    for row in batch.to_pylist():
                        number += 1
                        yield self._record(row, f"{self._path}, row {number}")
        except (arrow.ArrowException, OSError) as error:
            raise InputError(f"{self._path}: damaged after row {number} ({error})") from error

    def _record(self, row: dict[str, Any], where: str) -> Record:
        metadata = row.get("metadata")
        if isinstance(metadata, str):
            try:
                metadata = json.loads(metadata)
            except ValueError as error:
                raise InputError(f"{where}: metadata that is not JSON ({error})") from error
        embedding = None
        if self.provenance is not None and all(row[name] is not None for name in _EMBEDDING):
            try:
                vector = np.array(row["vector"], "<i2").tobytes()
            except (TypeError, ValueError, OverflowError) as error:
                raise InputError(f"{where}: a vector that cannot be read ({error})") from error
            embedding = ExportedEmbedding(**{name: row[name] for name in _EMBEDDING if name != "vector"}, vector=vector)
        return Record(where, row.get("id"), row["text"], metadata, embedding)


open_reader = ParquetReader


def _values(part: list[Record]) -> Iterator[Any]:
    """Yield the values of each column."""
    yield [record.id for record in part]
    yield [record.text for record in part]
    yield [json.dumps(record.metadata, ensure_ascii=False) for record in part]
    made = [record.embedding for record in part]
    yield [None if one is None else one.tokens for one in made]
    yield [None if one is None else np.frombuffer(one.vector, "<i2") for one in made]
    for name in ("code", "content_hash", "code_hash", "chunk_id"):
        yield [getattr(one, name, None) for one in made]


def _load() -> tuple[Any, Any]:
    try:
        import pyarrow as arrow  # noqa: ICN001, PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as error:
        raise InputError("Parquet needs pyarrow; install it with: pip install 'zenso[parquet]'") from error
    return arrow, parquet
