"""Segment files: pieces of the code matrix as a checked, memory-mapped cache of what SQLite holds.

One file, little-endian:

====== ========= =================================================================
offset bytes     content
====== ========= =================================================================
0      8         magic ``ZENCODES``
8      4         format version, 2
12     4         bytes per code, 964
16     8         rows n
24     8         first row number (seq) that the segment stands for
32     8         last row number that the segment stands for
40     32        BLAKE3 of bytes 0 to 39 and of everything from byte 72 on
72     56        zeros, so that what follows begins on a cache line
128    768 b     slot 0 of all codes again, as ``bitdelta.table.column`` lays it out in
                 b = ceil(n / 16) blocks, for the scan that a search begins with
...    8 n       row numbers, int64, ascending
...    964 n     codes, in the same order
====== ========= =================================================================

Files of version 1 had no column; they are taken for damaged, and so written anew from the database.

The database keeps the checksum of every current segment, so a file that is intact but belongs to another state of the
memory (an old copy, a restored backup) is as little trusted as a torn one.
"""

import math
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3

from zenso.atomic_file import replacing
from zenso.bitdelta import CODE_BYTES
from zenso.bitdelta.table import COLUMN_BLOCK_BYTES, LANES, column, column_shape
from zenso.errors import IntegrityError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER_NAME = "codes"
SUFFIX = ".codes"

_MAGIC = b"ZENCODES"
_VERSION = 2
_FIELDS = struct.Struct("<8sIIQqq")
_CHECKSUM_BYTES = 32
_HEADER_BYTES = _FIELDS.size + _CHECKSUM_BYTES
_COLUMN_AT = 128


@dataclass(frozen=True, slots=True)
class Segment:
    """What the database knows of one segment file: the rows it stands for, how many it holds, and its checksum."""

    first_seq: int
    last_seq: int
    rows: int
    checksum: bytes

    @property
    def file_name(self) -> str:
        """Name made of place and content, so that a name never comes to mean other bytes."""
        return f"{self.first_seq:015d}-{self.checksum[:8].hex()}{SUFFIX}"

    @property
    def fields(self) -> bytes:
        """The header of the file without its checksum."""
        return _FIELDS.pack(_MAGIC, _VERSION, CODE_BYTES, self.rows, self.first_seq, self.last_seq)


def write_segment(
    folder: Path, first_seq: int, last_seq: int, seqs: "NDArray[np.int64]", codes: "NDArray[np.uint8]"
) -> Segment:
    """Write rows (n,) and codes (n, 964) as one file, complete or not at all; OSError if the disk refuses."""
    padding = bytes(_COLUMN_AT - _HEADER_BYTES)
    body = (padding, column(codes).astype("<u8").tobytes(), seqs.astype("<i8").tobytes(), codes.tobytes())
    unsigned = Segment(first_seq, last_seq, len(seqs), b"")
    digest = blake3(unsigned.fields, max_threads=blake3.AUTO)
    for part in body:
        digest.update(part)
    segment = Segment(first_seq, last_seq, len(seqs), digest.digest())
    folder.mkdir(exist_ok=True)
    with replacing(folder / segment.file_name) as file:
        for part in (segment.fields, segment.checksum, *body):
            file.write(part)
    return segment


def map_segment(folder: Path, segment: Segment) -> "tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint64]]":
    """Map a file read-only and return its rows (n,), codes (n, 964) and column (ceil(n / 16), 6, 16).

    Raises
    ------
    IntegrityError
        If the file is shorter or longer than it should be, or is not what the database says it is.
    OSError
        If it is missing or cannot be read.
    """
    path = folder / segment.file_name
    with path.open("rb") as file:
        seqs_at = _COLUMN_AT + COLUMN_BLOCK_BYTES * -(-segment.rows // LANES)
        codes_at = seqs_at + 8 * segment.rows
        expected = codes_at + CODE_BYTES * segment.rows
        size = os.fstat(file.fileno()).st_size
        if size != expected:
            raise IntegrityError(f"{path} has {size} bytes instead of {expected}")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    content = memoryview(mapped)
    digest = blake3(content[: _FIELDS.size], max_threads=blake3.AUTO).update(content[_HEADER_BYTES:]).digest()
    if digest != segment.checksum or content[:_HEADER_BYTES] != segment.fields + segment.checksum:
        raise IntegrityError(f"{path} does not hash to {segment.checksum.hex()}")
    shape = column_shape(segment.rows)
    of_codes = np.frombuffer(mapped, "<u8", math.prod(shape), _COLUMN_AT).reshape(shape)
    seqs = np.frombuffer(mapped, "<i8", segment.rows, seqs_at)
    codes = np.frombuffer(mapped, np.uint8, segment.rows * CODE_BYTES, codes_at)
    return seqs, codes.reshape(segment.rows, CODE_BYTES), of_codes
