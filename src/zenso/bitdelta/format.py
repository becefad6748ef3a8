"""The code format of the family ``slots``: 4 bytes of header and one bit a dimension.

====== ===== ==================================================================================
byte   bits  meaning
====== ===== ==================================================================================
0      7..4  family: 1 = ``slots``
0      3..0  version of the family: 2
1      7..0  token groups in use, at most as many as the code has room for
2, 3         scale, uint16 LE: mean size of a projected coordinate, see ``slots``
4..51        slot 0: coordinate i is bit ``i % 8`` of byte ``4 + i // 8``; 1 = positive
52..963      groups: group g, coordinate i is bit ``i % 8`` of byte ``52 + 16 * g + i // 8``; 1 = positive; groups
             that are not in use are zero
====== ===== ==================================================================================

7,680 dimensions are 20 slots of 384. Slot 0 stands for the whole text; each of the others holds three groups of tokens,
128 dimensions each. The groups stand in order of importance, so the first 1,920 dimensions (244 bytes, 12 groups) and
3,840 (484 bytes, 27 groups) are codes of their own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenso.errors import InputError, IntegrityError

SLOTS = 20
SLOT_WIDTH = 384
HEADER_BYTES = 4
SLOT_BYTES = SLOT_WIDTH // 8
CODE_BYTES = HEADER_BYTES + SLOTS * SLOT_BYTES  # 964
GROUP_WIDTH = 128
GROUP_BYTES = GROUP_WIDTH // 8
GROUPS = (CODE_BYTES - HEADER_BYTES - SLOT_BYTES) // GROUP_BYTES  # 57
DIMENSIONS = (1920, 3840, SLOTS * SLOT_WIDTH)
SLOTS_FAMILY = 1
SLOTS_VERSION = 2
FIRST_BYTE = SLOTS_FAMILY << 4 | SLOTS_VERSION


@dataclass(frozen=True)
class CodeHeader:
    """The first four bytes of a code."""

    family: int
    version: int
    groups: int
    scale: int


def code_bytes(dimensions: int) -> int:
    """Return the length of a code of 1,920, 3,840 or 7,680 dimensions: 244, 484 or 964.

    Raises
    ------
    InputError
        There are no codes of this many dimensions.
    """
    if dimensions not in DIMENSIONS:
        message = f"there are no codes of {dimensions} dimensions; choose one of {', '.join(map(str, DIMENSIONS))}"
        raise InputError(message)
    return HEADER_BYTES + dimensions // 8


CODE_LENGTHS = tuple(map(code_bytes, DIMENSIONS))


def group_room(length: int) -> int:
    """Return how many groups a code of this many bytes has room for."""
    return (length - HEADER_BYTES - SLOT_BYTES) // GROUP_BYTES


def read_header(code: NDArray[np.uint8]) -> CodeHeader:
    """Read and check the header of one ``slots`` code.

    Parameters
    ----------
    code : uint8, shape (244,), (484,) or (964,)

    Raises
    ------
    IntegrityError
        The length, family, version or number of groups is not one that this version knows.
    """
    if code.dtype != np.uint8 or code.ndim != 1 or len(code) not in CODE_LENGTHS:
        lengths = " or ".join(map(str, CODE_LENGTHS))
        message = f"a code is {lengths} bytes (uint8), this is {code.dtype} of shape {code.shape}"
        raise IntegrityError(message)
    header = CodeHeader(int(code[0] >> 4), int(code[0] & 15), int(code[1]), int(code[2]) | int(code[3]) << 8)
    if (header.family, header.version) != (SLOTS_FAMILY, SLOTS_VERSION) or header.groups > group_room(len(code)):
        message = (
            f"a code of {len(code)} bytes, family {header.family}, version {header.version}, {header.groups} groups "
            "is not known here"
        )
        raise IntegrityError(message)
    return header
