"""A document on its way out of a memory or into one, and what every format needs of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from blake3 import blake3

from zenso.bitdelta import SLOT_WIDTH, read_header
from zenso.errors import IntegrityError
from zenso.memory.store import Embedding

if TYPE_CHECKING:
    from pathlib import Path

VECTOR_BYTES = 2 * SLOT_WIDTH
HASH_BYTES, CHUNK_ID_BYTES = 32, 16


@dataclass(frozen=True, slots=True)
class ExportedEmbedding:
    """An embedding with the hashes that tell whether it is whole and whose it is."""

    tokens: int
    vector: bytes  # int16 little-endian
    code: bytes
    content_hash: bytes  # BLAKE3 of the vector
    code_hash: bytes  # BLAKE3 of the code
    chunk_id: bytes  # names document id and text

    def of(self, document_id: str, text: str, token_set: str) -> Embedding | None:
        """Return it for storing, or None if it is damaged or not of this document.

        ``token_set`` is made of the text anew: see ``Embedding``.
        """
        from zenso.canonical import chunk_id  # noqa: PLC0415 - exporting does not wait for it

        whole = blake3(self.vector).digest() == self.content_hash and blake3(self.code).digest() == self.code_hash
        if not whole or len(self.vector) != VECTOR_BYTES or chunk_id(document_id, 0, text) != self.chunk_id:
            return None
        try:
            read_header(np.frombuffer(self.code, np.uint8))
        except IntegrityError:
            return None
        return Embedding(self.code, self.vector, self.content_hash, token_set, self.tokens)


@dataclass(frozen=True, slots=True)
class Record:
    """A document; ``where`` is its place in the file, for messages, and id and metadata may be absent in a file."""

    where: str
    id: object
    text: object
    metadata: object
    embedding: ExportedEmbedding | None = None


@dataclass(frozen=True, slots=True)
class Contents:
    """What is written: how many documents, the widest id, and the provenance of the embeddings if they go with them."""

    documents: int
    longest_id: int
    provenance: str | None


class Documents(Protocol):
    """Gives the documents of one state of a memory, in order, as often as asked."""

    def __call__(self) -> Iterator[Record]:
        """Begin anew."""
        ...


class Reader(Protocol):
    """An opened file."""

    provenance: str | None
    """Of the embeddings in it, as canonical JSON; None without any."""
    total: int

    def records(self) -> Iterator[Record]:
        """Yield every document; InputError names the place of one that cannot be read."""
        ...


class Format(Protocol):
    """One file format: a module with these functions."""

    ENDINGS: Sequence[str]

    def write(self, path: "Path", contents: Contents, documents: Documents) -> None:
        """Write a new file."""
        ...

    def open_reader(self, path: "Path") -> Reader:
        """Open a file; InputError if it is of another format."""
        ...
