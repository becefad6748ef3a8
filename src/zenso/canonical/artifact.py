"""The model artifact: one file with everything that canonical inference reads, memory-mapped.

Layout: 8 bytes of magic, format version (u32 LE), header length (u32 LE), a JSON header (UTF-8, sorted keys), then
sections at multiples of 4,096 bytes. The header names each section's offset, length and BLAKE3 digest.

=============  ====================================================================================
``kernel``     the model as the kernel reads it: see ``Model`` in ``kernel/kernel.c``
``words``      int16 LE (vocabulary, hidden): rows of the word embedding; looked up by the host
``shifts``     uint8 (vocabulary,): left shift that gives a row 20 fraction bits
``tokenizer``  ``tokenizer.json`` as published with the model
=============  ====================================================================================
"""

import json
import mmap
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.atomic_file import replacing
from zenso.errors import IntegrityError, StorageError

MAGIC = b"ZENSOMDL"
FORMAT_VERSION = 1
_ALIGNMENT = 4096
_MAX_HEADER = 1 << 20
SECTIONS = ("kernel", "words", "shifts", "tokenizer")
_NUMBERS = {"hidden": 1024, "vocabulary": 1 << 22, "max_tokens": 512}  # least 1, and the most that is taken
_TEXTS = ("model_id", "pooling", "query_prefix", "document_prefix", "weights_blake3", "tokenizer_blake3")
_MAX_TEXT = 1000  # characters
_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can carry one, UTF-8 cannot
_MALFORMED = (ValueError, TypeError, KeyError, OverflowError, RecursionError)  # what a header from elsewhere may cause


@dataclass(frozen=True)
class Artifact:
    """An opened artifact; arrays are read-only views of the mapped file."""

    path: Path
    digest: bytes  # BLAKE3 of the file, 32 bytes
    config: dict[str, Any]
    kernel: NDArray[np.uint8]
    words: NDArray[np.int16]  # (vocabulary, hidden)
    shifts: NDArray[np.uint8]  # (vocabulary,)
    tokenizer: bytes

    @property
    def hidden(self) -> int:
        """Width of a token state."""
        return int(self.config["hidden"])


def write_artifact(path: Path, config: Mapping[str, Any], sections: Mapping[str, bytes]) -> bytes:
    """Write an artifact in one step (a half-written file is never seen under ``path``); return its BLAKE3 digest.

    Raises
    ------
    StorageError
        The folder cannot be written or is full.
    """
    # Offsets count from the end of the header, so that the header's own length does not enter it.
    entries: dict[str, dict[str, Any]] = {}
    offset = 0
    for name in SECTIONS:
        data = sections[name]
        entries[name] = {"offset": offset, "length": len(data), "blake3": blake3(data).hexdigest()}
        offset += -(-len(data) // _ALIGNMENT) * _ALIGNMENT
    header = json.dumps({"config": dict(config), "sections": entries}, sort_keys=True, separators=(",", ":")).encode()
    prefix = MAGIC + FORMAT_VERSION.to_bytes(4, "little") + len(header).to_bytes(4, "little") + header
    digest = blake3()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as out:
            for data in (prefix, *(sections[name] for name in SECTIONS)):
                padded = data + bytes(-len(data) % _ALIGNMENT)
                out.write(padded)
                digest.update(padded)
    except OSError as error:
        message = f"cannot write the model artifact {path}: {error.strerror or error}; free space or set ZENSO_CACHE"
        raise StorageError(message) from error
    return digest.digest()


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(f"model artifact {path} {what}; delete it and it is built again")


def _read_header(path: Path, data: memoryview) -> tuple[dict[str, Any], int]:
    if len(data) < 16 or bytes(data[:8]) != MAGIC:
        raise _damaged(path, "is not a Zenso model artifact")
    version = int.from_bytes(data[8:12], "little")
    if version != FORMAT_VERSION:
        raise _damaged(path, f"has format version {version}, this Zenso reads {FORMAT_VERSION}")
    length = int.from_bytes(data[12:16], "little")
    if length > _MAX_HEADER or 16 + length > len(data):
        raise _damaged(path, f"claims a header of {length} bytes")
    try:
        header = json.loads(bytes(data[16 : 16 + length]))
        config, sections = header["config"], header["sections"]
        if not isinstance(sections, dict) or set(sections) != set(SECTIONS) or not isinstance(config, dict):
            raise _damaged(path, f"has sections {sorted(sections)}")
    except _MALFORMED as error:
        raise _damaged(path, "has a header that cannot be read") from error
    return header, -(-(16 + length) // _ALIGNMENT) * _ALIGNMENT


def _check_config(path: Path, config: dict[str, Any]) -> None:
    """Refuse values that what reads them would not bear: the file may come from anywhere."""
    for name, most in _NUMBERS.items():
        value = config.get(name)
        if type(value) is not int or not 1 <= value <= most:  # True is an int too
            raise _damaged(path, f"has {name} = {value!r:.40}, not a number of 1 to {most}")
    for name in _TEXTS:
        value = config.get(name)
        if not isinstance(value, str) or len(value) > _MAX_TEXT or _SURROGATE.search(value):
            raise _damaged(path, f"has {name} = {value!r:.40}, not a text of at most {_MAX_TEXT} characters")


def _sections(path: Path, header: dict[str, Any], base: int, data: memoryview) -> dict[str, memoryview]:
    views = {}
    for name, entry in header["sections"].items():
        try:
            start, length, expected = base + int(entry["offset"]), int(entry["length"]), str(entry["blake3"])
        except _MALFORMED as error:
            raise _damaged(path, f"has a section {name!r} that cannot be read") from error
        if start < base or length < 0 or start + length > len(data):
            raise _damaged(path, f"is truncated: section {name!r} ends at byte {start + length} of {len(data)}")
        view = data[start : start + length]
        if blake3(view).hexdigest() != expected:
            raise _damaged(path, f"has a section {name!r} that does not match its digest")
        views[name] = view
    return views


def open_artifact(path: Path, *, expected_digest: bytes | None = None) -> Artifact:
    """Map an artifact and check every byte of it against its digests.

    Raises
    ------
    IntegrityError
        The file is not an artifact, is truncated or damaged, or is not the one expected.
    StorageError
        The file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise _damaged(path, "is empty")
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except OSError as error:
        message = f"cannot open the model artifact {path}: {error.strerror or error}"
        raise StorageError(message) from error
    digest = blake3(data).digest()
    if expected_digest is not None and digest != expected_digest:
        raise _damaged(path, f"has digest {digest.hex()}, expected {expected_digest.hex()}")
    header, base = _read_header(path, data)
    views = _sections(path, header, base, data)
    config = header["config"]
    _check_config(path, config)
    try:
        words = np.frombuffer(views["words"], dtype="<i2").reshape(config["vocabulary"], config["hidden"])
        shifts = np.frombuffer(views["shifts"], dtype=np.uint8).reshape(config["vocabulary"])
    except _MALFORMED as error:
        raise _damaged(path, "has tables of the wrong shape") from error
    kernel = np.frombuffer(views["kernel"], dtype=np.uint8)
    return Artifact(path, digest, config, kernel, words, shifts, bytes(views["tokenizer"]))
