"""The code format: 4 bytes of header and one bit a dimension.

====== ===== ==================================================================================
byte   bits  meaning
====== ===== ==================================================================================
0      7..4  family: 1 = ``slots``
0      3..0  version of the family: 1
1      7..0  base row: 0 = the zero vector
2, 3         scale, uint16 LE: magnitude of a rotated coordinate, see ``slots``
4..963       bits: slot s, coordinate i is bit ``i % 8`` of byte ``4 + 48 * s + i // 8``; 1 = positive
====== ===== ==================================================================================
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenso.errors import IntegrityError

SLOTS = 20
SLOT_WIDTH = 384
HEADER_BYTES = 4
SLOT_BYTES = SLOT_WIDTH // 8
CODE_BYTES = HEADER_BYTES + SLOTS * SLOT_BYTES  # 964
SLOTS_FAMILY = 1
SLOTS_VERSION = 1
FIRST_BYTE = SLOTS_FAMILY << 4 | SLOTS_VERSION


@dataclass(frozen=True)
class CodeHeader:
    """The first four bytes of a code."""

    family: int
    version: int
    base: int
    scale: int


def read_header(code: NDArray[np.uint8]) -> CodeHeader:
    """Read and check the header of one ``slots`` code.

    Parameters
    ----------
    code : uint8, shape (964,)

    Raises
    ------
    IntegrityError
        The length, family, version or base row is not one that this version knows.
    """
    if code.dtype != np.uint8 or code.shape != (CODE_BYTES,):
        message = f"a code is {CODE_BYTES} bytes (uint8), this is {code.dtype} of shape {code.shape}"
        raise IntegrityError(message)
    header = CodeHeader(int(code[0] >> 4), int(code[0] & 15), int(code[1]), int(code[2]) | int(code[3]) << 8)
    if (header.family, header.version, header.base) != (SLOTS_FAMILY, SLOTS_VERSION, 0):
        message = (
            f"a code of family {header.family}, version {header.version}, base row {header.base} is not known here"
        )
        raise IntegrityError(message)
    return header
