"""DAG-CBOR, the form of IPLD data in bytes, and the content ids made of it.

Decoding is libipld's, which refuses what DAG-CBOR does: unsorted or repeated keys, other tags, indefinite lengths.
It takes a byte string that looks like a content id for a link, though, when it encodes, so encoding is done here: each
value has exactly one form (https://ipld.io/specs/codecs/dag-cbor/spec/).
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import libipld

# CIDv1, DAG-CBOR, SHA-256 of 32 bytes: what comes before the digest.
CID_PREFIX = b"\x01\x71\x12\x20"
DIGEST_BYTES = 32
CID_BYTES = len(CID_PREFIX) + DIGEST_BYTES


class Link(bytes):
    """A content id in bytes that is encoded as a link."""

    __slots__ = ()


def content_id(data: bytes) -> bytes:
    """Return the content id of DAG-CBOR bytes: 36 bytes."""
    return CID_PREFIX + hashlib.sha256(data).digest()


def is_content_id(cid: bytes) -> bool:
    """Tell whether bytes are a content id of the one kind used here."""
    return len(cid) == CID_BYTES and cid.startswith(CID_PREFIX)


def cid_text(cid: bytes) -> str:
    """Return a content id as text: ``bafyrei...``."""
    text: str = libipld.encode_cid(cid)
    return text


def encode(value: object) -> bytes:
    """Return the one form of a value of dicts, lists, strings, bytes, links, whole numbers, floats, booleans and None.

    Raises
    ------
    TypeError
        For values of other types.
    """
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


def decode(data: bytes) -> Any:  # noqa: ANN401 - whatever was sent
    """Return the value of bytes that may come from anyone; links and byte strings both become bytes.

    Raises
    ------
    ValueError
        They are not DAG-CBOR, or nested too deeply.
    """
    try:
        return libipld.decode_dag_cbor(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _encode(value: object, out: list[bytes]) -> None:
    if value is None:
        out.append(b"\xf6")
    elif isinstance(value, bool):
        out.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        out.append(_head(0, value) if value >= 0 else _head(1, -1 - value))
    elif isinstance(value, float):
        out.append(struct.pack(">Bd", 0xFB, value))
    elif isinstance(value, str):
        encoded = value.encode("utf-8")
        out += (_head(3, len(encoded)), encoded)
    elif isinstance(value, Link):
        out += (b"\xd8\x2a", _head(2, len(value) + 1), b"\x00", value)
    elif isinstance(value, bytes):
        out += (_head(2, len(value)), value)
    elif isinstance(value, Mapping):
        out.append(_head(5, len(value)))
        for key in sorted(value, key=lambda name: (len(name.encode("utf-8")), name.encode("utf-8"))):
            _encode(key, out)
            _encode(value[key], out)
    elif isinstance(value, Sequence):
        out.append(_head(4, len(value)))
        for item in value:
            _encode(item, out)
    else:
        raise TypeError(f"a value of type {type(value).__name__} has no form in DAG-CBOR")


def _head(kind: int, number: int) -> bytes:
    """Return the shortest head of a major type."""
    if number < 24:
        return bytes([kind << 5 | number])
    for code, size in ((24, 1), (25, 2), (26, 4)):
        if number < 1 << (8 * size):
            return bytes([kind << 5 | code]) + number.to_bytes(size, "big")
    return bytes([kind << 5 | 27]) + number.to_bytes(8, "big")
