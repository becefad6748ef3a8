"""JSON Lines: an object a document, with ``text``, and optionally ``id``, ``metadata`` and ``embedding``.

Where embeddings go with them, the first line is an object with ``zenso_export`` (1) and their ``provenance``. In
``embedding`` the vector is a list of whole numbers, the code is base64, hashes are hexadecimal.
"""

import base64
import binascii
import gzip
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from zenso.errors import InputError
from zenso.memory.exchange.records import Contents, Documents, ExportedEmbedding, Record

ENDINGS: Sequence[str] = (".jsonl", ".jsonl.gz")

_VERSION = 1
_MOST_BYTES = 64 * 2**20  # of a line
_KEYS = {"id", "text", "metadata", "embedding"}


def write(path: Path, contents: Contents, documents: Documents) -> None:
    """Write a new file; compressed if its name ends so."""
    with _open(path, "wb") as file:
        if contents.provenance is not None:
            _write(file, {"zenso_export": _VERSION, "provenance": json.loads(contents.provenance)})
        for record in documents():
            line = {"id": record.id, "text": record.text, "metadata": record.metadata}
            _write(file, line if record.embedding is None else {**line, "embedding": _to_json(record.embedding)})


class JsonLinesReader:
    """An opened file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.provenance: str | None = None
        self._first = 1
        with self._lines() as lines:
            self.total = 0
            for number, line in lines:
                if number == 1:
                    self._read_header(line)
                self.total += bool(line.strip())
        self.total -= self._first - 1

    def records(self) -> Iterator[Record]:
        """Yield every document; blank lines are passed over."""
        with self._lines() as lines:
            for number, line in lines:
                if number >= self._first and line.strip():
                    where = f"{self._path}, line {number}"
                    yield _record(_object(line, where), where)

    def _read_header(self, line: bytes) -> None:
        if b'"zenso_export"' not in line[:100]:
            return
        where = f"{self._path}, line 1"
        header = _object(line, where)
        if header.get("zenso_export") != _VERSION:
            raise InputError(f"{where}: an export of version {header.get('zenso_export')!r}; upgrade zenso to read it")
        self.provenance = json.dumps(header.get("provenance"), sort_keys=True, separators=(",", ":"))
        self._first = 2

    @contextmanager
    def _lines(self) -> Iterator[Iterator[tuple[int, bytes]]]:
        with _open(self._path, "rb") as file:
            yield enumerate(self._bounded(file), start=1)

    def _bounded(self, file: IO[bytes]) -> Iterator[bytes]:
        try:
            number = 0
            while line := file.readline(_MOST_BYTES + 1):
                number += 1
                if len(line) > _MOST_BYTES:
                    raise InputError(f"{self._path}, line {number}: longer than {_MOST_BYTES} bytes; split the text")
                yield line
        except (gzip.BadGzipFile, EOFError) as error:
            raise InputError(f"{self._path}: not a whole gzip file ({error}); get it again") from error


open_reader = JsonLinesReader


def _open(path: Path, mode: str) -> IO[bytes]:
    if path.name.endswith(".gz"):
        return gzip.open(path, mode, 6)  # type: ignore[return-value]
    return path.open(mode)


def _write(file: IO[bytes], value: dict[str, object]) -> None:
    file.write(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def _to_json(embedding: ExportedEmbedding) -> dict[str, object]:
    return {
        "tokens": embedding.tokens,
        "vector": np.frombuffer(embedding.vector, "<i2").tolist(),
        "code": base64.b64encode(embedding.code).decode(),
        "content_hash": embedding.content_hash.hex(),
        "code_hash": embedding.code_hash.hex(),
        "chunk_id": embedding.chunk_id.hex(),
    }


def _object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from error
    if not isinstance(value, dict):
        raise InputError(f"{where}: {type(value).__name__} where an object with a key 'text' is expected")
    return value


def _record(value: dict[str, Any], where: str) -> Record:
    unknown = sorted(value.keys() - _KEYS)
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; put what describes a document into 'metadata'")
    if "text" not in value:
        raise InputError(f"{where}: no 'text'")
    embedding = value.get("embedding")
    made = None if embedding is None else _from_json(embedding, where)
    return Record(where, value.get("id"), value["text"], value.get("metadata"), made)


def _from_json(value: Any, where: str) -> ExportedEmbedding:  # noqa: ANN401 - whatever the file holds
    try:
        return ExportedEmbedding(
            tokens=int(value["tokens"]),
            vector=np.array(value["vector"], "<i2").tobytes(),
            code=base64.b64decode(value["code"], validate=True),
            content_hash=bytes.fromhex(value["content_hash"]),
            code_hash=bytes.fromhex(value["code_hash"]),
            chunk_id=bytes.fromhex(value["chunk_id"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, binascii.Error) as error:
        raise InputError(f"{where}: an embedding that cannot be read ({error!r}); leave it out") from error
