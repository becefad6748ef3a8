"""``CanonicalEmbedding``: a vector with all that identifies it, as bytes and as JSON (CFS-010, section 10).

Bytes, little-endian, nothing padded:

======= ====== ==================================================================================
offset  bytes  content
======= ====== ==================================================================================
0       8      magic ``ZENSOEMB``
8       4      format version, 1
12      4      width d of the vector, 1 to 65,536
16      16     embedding id: the UUID's bytes in network order
32      16     chunk id
48      32     model hash
80      32     content hash
112     32     space: what the vector's bits depend on, see ``ModelProvenance.space``
144     32     provenance: digest of the ``ModelProvenance``
176     2 d    vector, int16, each number within -32767 and 32767
176+2d  32     BLAKE3 of all bytes before
======= ====== ==================================================================================

Id and content hash follow from the rest. A reader computes them anew and refuses a record where they differ, as it
refuses one byte too many or too few; so each embedding has exactly one form in bytes.
"""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.canonical.identifiers import (
    CHUNK_ID_BYTES,
    HASH_BYTES,
    ChunkId,
    ContentHash,
    EmbeddingId,
    ModelHash,
    content_hash,
    embedding_id,
)
from zenso.canonical.provenance import ModelProvenance
from zenso.errors import InputError, IntegrityError, ModelError

MAX_WIDTH = 65_536  # a dot product is then below 2^16 * 2^30 = 2^46, far within int64
VERSION = 1
SCALE = 32_767

_MAGIC = b"ZENSOEMB"
_HEAD = struct.Struct("<8sII16s16s32s32s32s32s")
_FORMAT = "zenso-embedding/1"
_LENGTHS = {"chunk_id": CHUNK_ID_BYTES, "model_hash": HASH_BYTES, "space": HASH_BYTES, "provenance": HASH_BYTES}


@dataclass(frozen=True, eq=False)
class CanonicalEmbedding:
    """The canonical vector of one chunk under one model. Equal embeddings have equal bytes.

    Raises
    ------
    InputError
        The vector is not int16 of shape (width,), with width 1 to 65,536 and numbers within -32767 and 32767, or an
        identifier has another length than it should.
    """

    chunk_id: ChunkId
    vector: NDArray[np.int16]  # (width,), scale 32767; a read-only copy
    model_hash: ModelHash
    space: bytes  # 32 bytes: equal where vectors may be compared
    provenance: bytes  # 32 bytes: digest of the ModelProvenance

    def __post_init__(self) -> None:
        for name, length in _LENGTHS.items():
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != length:
                raise InputError(f"{name} is {value!r}; give {length} bytes")
        object.__setattr__(self, "vector", _checked(self.vector))

    @classmethod
    def of(cls, chunk: ChunkId, vector: NDArray[np.int16], provenance: ModelProvenance) -> "CanonicalEmbedding":
        """Make the record of a vector that a model with this provenance computed for a chunk."""
        model = ModelHash(bytes.fromhex(provenance.model_hash))
        return cls(chunk, vector, model, provenance.space, provenance.digest)

    @cached_property
    def id(self) -> EmbeddingId:
        """The same for the same chunk and model, whatever computed the vector."""
        return embedding_id(self.chunk_id, self.model_hash)

    @cached_property
    def content_hash(self) -> ContentHash:
        """BLAKE3 of the vector as int16 little-endian."""
        return content_hash(self.vector)

    def __eq__(self, other: object) -> bool:
        return self.to_bytes() == other.to_bytes() if isinstance(other, CanonicalEmbedding) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the record of 208 + 2 d bytes."""
        names = (self.id.bytes, self.chunk_id, self.model_hash, self.content_hash, self.space, self.provenance)
        body = _HEAD.pack(_MAGIC, VERSION, len(self.vector), *names) + self.vector.astype("<i2").tobytes()
        return body + blake3(body).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> "CanonicalEmbedding":
        """Read a record.

        Raises
        ------
        IntegrityError
            The bytes are not exactly one record of this version.
        """
        if len(data) < _HEAD.size + HASH_BYTES or data[: len(_MAGIC)] != _MAGIC:
            raise _malformed(f"{len(data)} bytes that are no canonical embedding")
        _, version, width, identifier, chunk, model, content, space, provenance = _HEAD.unpack_from(data)
        if version != VERSION:
            raise _malformed(f"format version {version}, this Zenso reads {VERSION}")
        if len(data) != _HEAD.size + 2 * width + HASH_BYTES:
            raise _malformed(f"{len(data)} bytes with a width of {width}")
        if blake3(data[:-HASH_BYTES]).digest() != data[-HASH_BYTES:]:
            raise _malformed("a checksum that is not that of its bytes")
        vector = np.frombuffer(data, "<i2", width, _HEAD.size).astype(np.int16)
        return cls._read(UUID(bytes=identifier), content, (chunk, vector, model, space, provenance))

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, no spaces, hashes in lower-case hexadecimal, the vector as numbers."""
        value = {
            "format": _FORMAT,
            "id": str(self.id),
            "content_hash": self.content_hash.hex(),
            "vector": self.vector.tolist(),
            **{name: getattr(self, name).hex() for name in _LENGTHS},
        }
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "CanonicalEmbedding":
        """Read what ``to_json`` wrote; white space and the order of keys do not matter.

        Raises
        ------
        IntegrityError
            It is not JSON of exactly one embedding.
        """
        try:
            given: Any = json.loads(text, object_pairs_hook=_no_key_twice)
        except (ValueError, RecursionError) as error:
            raise _malformed(f"text that is not JSON: {error}") from error
        if type(given) is not dict or set(given) != {"format", "id", "content_hash", "vector", *_LENGTHS}:
            raise _malformed("other keys than an embedding has")
        if given["format"] != _FORMAT:
            raise _malformed(f"format {given['format']!r}, this Zenso reads {_FORMAT!r}")
        numbers = given["vector"]
        if type(numbers) is not list or any(type(n) is not int or abs(n) > SCALE for n in numbers):
            raise _malformed(f"a vector that is not a list of whole numbers within -{SCALE} and {SCALE}")
        chunk, model, space, provenance = (_from_hex(name, given[name]) for name in _LENGTHS)
        content = _from_hex("content_hash", given["content_hash"])
        try:
            identifier = UUID(given["id"])
        except (ValueError, AttributeError, TypeError) as error:
            raise _malformed(f"id {given['id']!r}, which is no UUID") from error
        return cls._read(identifier, content, (chunk, np.array(numbers, np.int16), model, space, provenance))

    @classmethod
    def _read(cls, identifier: UUID, content: bytes, parts: tuple[Any, ...]) -> "CanonicalEmbedding":
        """Construct, and compare what follows from the parts with what was written."""
        try:
            embedding = cls(*parts)
        except InputError as error:
            raise _malformed(str(error)) from error
        if embedding.content_hash != content:
            raise _malformed(f"content hash {content.hex()}, its vector has {embedding.content_hash.hex()}")
        if embedding.id != identifier:
            raise _malformed(f"id {identifier}, its chunk and model give {embedding.id}")
        return embedding


def similarity(a: CanonicalEmbedding, b: CanonicalEmbedding) -> int:
    """Dot product in int64; 32767^2 for a unit vector with itself, but for rounding.

    Raises
    ------
    ModelError
        The two are of different models, or of versions of one whose vectors differ.
    """
    _check_comparable(a, b)
    return int(a.vector.astype(np.int64) @ b.vector.astype(np.int64))


def rank(query: CanonicalEmbedding, records: Sequence[CanonicalEmbedding]) -> list[tuple[CanonicalEmbedding, int]]:
    """Return records with their similarity to a query, best first; ties by the bytes of their ids, ascending.

    Raises
    ------
    ModelError
        A record is of another model than the query.
    """
    scored = [(record, similarity(query, record)) for record in records]
    return sorted(scored, key=lambda pair: (-pair[1], pair[0].id.bytes))


def _check_comparable(a: CanonicalEmbedding, b: CanonicalEmbedding) -> None:
    if (a.model_hash, a.space, len(a.vector)) == (b.model_hash, b.space, len(b.vector)):
        return
    what = "models" if a.model_hash != b.model_hash else "weights, tokenizers or kernel versions of one model"
    message = (
        f"embeddings {a.id} and {b.id} come from different {what} (model hashes {a.model_hash.hex()[:16]}... and "
        f"{b.model_hash.hex()[:16]}..., widths {len(a.vector)} and {len(b.vector)}); embed both with one"
    )
    raise ModelError(message)


def _checked(vector: NDArray[np.int16]) -> NDArray[np.int16]:
    if not isinstance(vector, np.ndarray) or vector.dtype != np.int16 or vector.ndim != 1:
        kind = f"{vector.dtype} {vector.shape}" if isinstance(vector, np.ndarray) else type(vector).__name__
        raise InputError(f"a vector is {kind}; give int16 of shape (width,)")
    if not 1 <= len(vector) <= MAX_WIDTH:
        raise InputError(f"a vector has a width of {len(vector)}; it must be within 1 and {MAX_WIDTH}")
    if int(vector.min()) < -SCALE:
        raise InputError(f"a vector holds {int(vector.min())}; its scale is {SCALE}")
    copy = vector.copy()
    copy.flags.writeable = False
    return copy


def _no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _from_hex(name: str, value: object) -> bytes:
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if not data or data.hex() != value:
        raise _malformed(f"{name} {value!r}, which is not lower-case hexadecimal")
    return data


def _malformed(what: str) -> IntegrityError:
    return IntegrityError(f"a canonical embedding has {what}; get it again from where it came")
