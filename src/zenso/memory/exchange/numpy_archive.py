"""A NumPy archive (``.npz``) of the ids, vectors and codes of a memory, and of its texts so that it can be imported.

================ ============== ===================================================================
ids              <U, (n,)
vectors          int16 (n, 384)  scale 32767
codes            uint8 (n, 964)
tokens           int32 (n,)
content_hashes   uint8 (n, 32)   BLAKE3 of each vector
code_hashes      uint8 (n, 32)   BLAKE3 of each code
chunk_ids        uint8 (n, 16)   names id and text
texts            uint8 (bytes,)  UTF-8, one after the other; ``text_ends`` int64 (n,) says where each ends
metadata         uint8 (bytes,)  JSON, in the same way with ``metadata_ends``
provenance       <U, ()          canonical JSON
================ ============== ===================================================================

``numpy.load`` reads it. It is written and read here an array after the other, in pieces.
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy_format

from zenso.bitdelta import CODE_BYTES
from zenso.errors import InputError
from zenso.memory.exchange.records import (
    CHUNK_ID_BYTES,
    HASH_BYTES,
    VECTOR_BYTES,
    Contents,
    Documents,
    ExportedEmbedding,
    Record,
)

ENDINGS: Sequence[str] = (".npz",)

npy: Any = npy_format  # its functions have no types in NumPy below 2.3

# Name of the array, attribute of the embedding, type and bytes of a row.
_FIXED = (
    ("vectors", "vector", "<i2", VECTOR_BYTES),
    ("codes", "code", "|u1", CODE_BYTES),
    ("content_hashes", "content_hash", "|u1", HASH_BYTES),
    ("code_hashes", "code_hash", "|u1", HASH_BYTES),
    ("chunk_ids", "chunk_id", "|u1", CHUNK_ID_BYTES),
)
_FLEXIBLE = (("texts", "text_ends"), ("metadata", "metadata_ends"))


def write(path: Path, contents: Contents, documents: Documents) -> None:
    """Write a new file.

    Raises
    ------
    InputError
        An id ends with a null character, which NumPy's texts cannot hold, or a document has no embedding.
    """
    rows, provenance = contents.documents, contents.provenance or "null"
    with zipfile.ZipFile(path, "w") as archive:
        _member(archive, "ids", f"<U{max(1, contents.longest_id)}", (rows,), _ids(documents, contents.longest_id))
        for name, attribute, kind, width in _FIXED:
            shape = (rows, width // np.dtype(kind).itemsize)
            _member(archive, name, kind, shape, (getattr(_made(record), attribute) for record in documents()))
        _member(archive, "tokens", "<i4", (rows,), (_int(_made(record).tokens, 4) for record in documents()))
        for (name, ends), encoded in zip(_FLEXIBLE, (_text, _metadata), strict=True):
            places = np.fromiter(accumulate(len(encoded(record)) for record in documents()), "<i8", rows)
            _member(archive, ends, "<i8", (rows,), iter([places.tobytes()]))
            size = int(places[-1]) if rows else 0
            _member(archive, name, "|u1", (size,), map(encoded, documents()))
        _member(archive, "provenance", f"<U{len(provenance)}", (), iter([provenance.encode("utf-32-le")]))


class NumpyReader:
    """An opened file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive, archive.open("provenance.npy") as member:
                self.provenance: str | None = str(npy.read_array(member, allow_pickle=False))
            with zipfile.ZipFile(path) as archive, ExitStack() as stack:
                self.total = _open_all(archive, stack)["ids"].shape[0]
        except (KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not an archive of `zenso export` ({error})") from error

    def records(self) -> Iterator[Record]:
        """Yield every document."""
        number = 0
        try:
            with zipfile.ZipFile(self._path) as archive, ExitStack() as stack:
                arrays = _open_all(archive, stack)
                ends = {"texts": 0, "metadata": 0}
                for number in range(1, self.total + 1):
                    where = f"{self._path}, row {number}"
                    found: dict[str, bytes] = {}
                    for name, places in _FLEXIBLE:
                        end = int.from_bytes(arrays[places].take(1), "little")
                        found[name] = arrays[name].take(end - ends[name])
                        ends[name] = end
                    fixed = {attribute: arrays[name].take(1) for name, attribute, _, _ in _FIXED}
                    tokens = int.from_bytes(arrays["tokens"].take(1), "little")
                    document_id = arrays["ids"].take(1).decode("utf-32-le").rstrip("\0")
                    text, metadata = found["texts"].decode(), json.loads(found["metadata"])
                    yield Record(where, document_id, text, metadata, ExportedEmbedding(tokens=tokens, **fixed))
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self._path}: damaged after row {number} ({error})") from error


open_reader = NumpyReader


class _Array:
    """An array of an archive that is read from its beginning to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        self.shape, fortran, kind = read(file)
        if fortran or kind.hasobject:
            raise ValueError("an array of another layout")
        self._row = kind.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    def take(self, rows: int) -> bytes:
        wanted = rows * self._row
        data = self._file.read(wanted) if wanted >= 0 else b""
        if len(data) != wanted:
            raise EOFError("an array ends too early")
        return data


def _open_all(archive: zipfile.ZipFile, stack: ExitStack) -> dict[str, _Array]:
    names = ["ids", "tokens", *(name for name, *_ in _FIXED), *(name for pair in _FLEXIBLE for name in pair)]
    return {name: _Array(stack.enter_context(archive.open(f"{name}.npy"))) for name in names}


def _member(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...], rows: Iterator[bytes]) -> None:
    """Write one array from the bytes of its rows."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        npy.write_array_header_1_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
        for row in rows:
            file.write(row)


def _ids(documents: Documents, longest: int) -> Iterator[bytes]:
    for record in documents():
        document_id = str(record.id)
        if document_id.endswith("\0"):
            raise InputError(f"the id {document_id!r} ends with a null character, which NumPy drops; export to .jsonl")
        yield document_id.ljust(max(1, longest), "\0").encode("utf-32-le")


def _made(record: Record) -> ExportedEmbedding:
    if record.embedding is None:
        raise InputError(f"{record.id!r} has no embedding; run zenso reembed first, or export to .jsonl")
    return record.embedding


def _text(record: Record) -> bytes:
    return str(record.text).encode()


def _metadata(record: Record) -> bytes:
    return json.dumps(record.metadata, ensure_ascii=False, separators=(",", ":")).encode()


def _int(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")
