"""Names of models, chunks, vectors and embeddings, each computed from what it names (CFS-010, sections 1 and 10).

==================  ======================================================================================
``ModelHash``       BLAKE3 of the lower-case model id in UTF-8, 32 bytes
``ChunkId``         first 16 bytes of BLAKE3 over: u32 LE length of the document id in UTF-8, those bytes,
                    u32 LE sequence, and the text in UTF-8
``ContentHash``     BLAKE3 of the vector as int16 LE, 32 bytes
``EmbeddingId``     UUID version 5 (RFC 9562) of the 48 bytes ChunkId || ModelHash in ``EMBEDDING_NAMESPACE``
==================  ======================================================================================

The text ends the chunk's framing, so its length needs no field: no two different triples give the same bytes.
"""

import hashlib
from typing import NewType
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.errors import InputError

ModelHash = NewType("ModelHash", bytes)
ChunkId = NewType("ChunkId", bytes)
ContentHash = NewType("ContentHash", bytes)
EmbeddingId = NewType("EmbeddingId", UUID)

HASH_BYTES = 32
CHUNK_ID_BYTES = 16
MAX_SEQUENCE = 0xFFFF_FFFF

# CFS-010 leaves the namespace open; this is ours, derived so that anyone can make it again.
EMBEDDING_NAMESPACE = uuid5(NAMESPACE_URL, "urn:zenso:embedding:1")  # 588eb8b7-af8a-5b72-9edf-e0b6ba6194f3


def model_hash(model_id: str) -> ModelHash:
    """BLAKE3 of the lower-case model id, 32 bytes (CFS-010, section 1)."""
    return ModelHash(blake3(model_id.lower().encode("utf-8")).digest())


def chunk_id(document_id: str, sequence: int, text: str) -> ChunkId:
    """Name chunk number ``sequence`` (from 0) of a document by all of its text, 16 bytes.

    Raises
    ------
    InputError
        The sequence is not within 0 to 2^32 - 1, or a string holds a lone surrogate, which UTF-8 cannot carry.
    """
    if not 0 <= sequence <= MAX_SEQUENCE:
        raise InputError(f"the sequence of a chunk is {sequence}; it must be within 0 to {MAX_SEQUENCE}")
    try:
        document, content = document_id.encode("utf-8"), text.encode("utf-8")
    except UnicodeEncodeError as error:
        message = f"chunk {sequence} of {document_id!r} holds a lone surrogate; pass it through well_formed first"
        raise InputError(message) from error
    parts = (len(document).to_bytes(4, "little"), document, sequence.to_bytes(4, "little"), content)
    return ChunkId(blake3(b"".join(parts)).digest(length=CHUNK_ID_BYTES))


def content_hash(vector: NDArray[np.int16]) -> ContentHash:
    """BLAKE3 of a vector of shape (width,) as int16 little-endian, 32 bytes."""
    return ContentHash(blake3(vector.astype("<i2").tobytes()).digest())


def embedding_id(chunk: ChunkId, model: ModelHash) -> EmbeddingId:
    """UUID version 5 of a chunk under a model: SHA-1 of the namespace's bytes and the 48 bytes of the two.

    Raises
    ------
    InputError
        One of them has another length.
    """
    if len(chunk) != CHUNK_ID_BYTES or len(model) != HASH_BYTES:
        message = f"a chunk id of {len(chunk)} and a model hash of {len(model)} bytes; give {CHUNK_ID_BYTES} and 32"
        raise InputError(message)
    # Names, not secrets: RFC 9562 says SHA-1. uuid.uuid5 itself takes bytes only from Python 3.12 on.
    digest = hashlib.sha1(EMBEDDING_NAMESPACE.bytes + chunk + model, usedforsecurity=False).digest()
    return EmbeddingId(UUID(bytes=digest[:16], version=5))
