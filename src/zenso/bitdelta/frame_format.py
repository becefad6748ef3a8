"""The header of a ``frame`` code, to the bit; docs/bitdelta.md says what the rest means.

====== ===== ==================================================================================
byte   bits  meaning
====== ===== ==================================================================================
0      7..4  family: 2 = ``frame``
0      3..0  version of the family: 1
1      7..0  base row of the codebook
2      7..0  gain g, 0 to 183: what the base row leaves is M[g % 8] * 2^(g // 8) / 128 long, or up to 9% longer
3      7..0  correction c: what the bits say is multiplied by (128 + c) / 256
4..    7..0  bits: visit v of the codebook is bit ``v % 8`` of byte ``4 + v // 8``
====== ===== ==================================================================================
"""

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.format import HEADER_BYTES
from zenso.errors import InputError, IntegrityError

FRAME_FAMILY = 2
FRAME_VERSION = 1
FRAME_FIRST_BYTE = FRAME_FAMILY << 4 | FRAME_VERSION

# round(128 * 2^(m / 8)): lengths are told to an eighth of an octave. Two int16 vectors of 4,096 numbers are less than
# 2^22 apart, so 23 octaves are enough.
MANTISSAS = np.array([128, 140, 152, 166, 181, 197, 215, 235], np.int64)
GAINS = 23 * len(MANTISSAS)

CORRECTION_ONE = 256
CORRECTION_LEAST = 128


def check_headers(codes: NDArray[np.uint8], base_rows: int) -> None:
    """Check the first four bytes of every code.

    Parameters
    ----------
    codes : uint8, shape (n, size)
    base_rows : int
        Base rows of the codebook.

    Raises
    ------
    InputError
        The codes have another type or shape.
    IntegrityError
        A code is of another family or version, or names a base row or gain that there is not.
    """
    if codes.ndim != 2 or codes.dtype != np.uint8 or codes.shape[1] < HEADER_BYTES:
        message = f"codes must be uint8 of shape (n, size), not {codes.dtype} {codes.shape}"
        raise InputError(message)
    wrong = np.flatnonzero((codes[:, 0] != FRAME_FIRST_BYTE) | (codes[:, 1] >= base_rows) | (codes[:, 2] >= GAINS))
    if len(wrong):
        row = int(wrong[0])
        first, base, gain = codes[row, :3].tolist()
        message = (
            f"code {row} is of family {first >> 4}, version {first & 15}, base row {base}, gain {gain}; this codebook "
            f"reads family {FRAME_FAMILY}, version {FRAME_VERSION}, base rows below {base_rows} and gains below "
            f"{GAINS}: the code is damaged, or was made with another codebook"
        )
        raise IntegrityError(message)
