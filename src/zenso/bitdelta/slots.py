"""Family ``slots``: 20 slots of 384 numbers become 7,680 sign bits and one scale.

A slot x is rotated (``rotation``), y = R x with |y| = sqrt(384) |x|; bit i says whether y_i > 0, and the code's scale
is the mean of |y_i| over all 7,680 coordinates, which minimises the squared error of y ~ scale * sign (for directions
of length 32767 it is about 26,000). Everything is integer, so a code can be made again anywhere and compared byte for
byte.
"""

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.format import CODE_BYTES, FIRST_BYTE, HEADER_BYTES, SLOT_BYTES, SLOT_WIDTH, SLOTS, read_header
from zenso.bitdelta.rotation import FLIPS, PALEY, rotate
from zenso.errors import InputError


def encode_slots(slots: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Encode documents.

    Parameters
    ----------
    slots : integers, shape (n, 20, 384)
        Directions, scale 32767.

    Returns
    -------
    uint8, shape (n, 964)

    Raises
    ------
    InputError
        The shape is another, or a number does not fit 16 bits.
    """
    if slots.ndim != 3 or slots.shape[1:] != (SLOTS, SLOT_WIDTH) or not np.issubdtype(slots.dtype, np.integer):
        message = f"slots must be integers of shape (n, {SLOTS}, {SLOT_WIDTH}), not {slots.dtype} {slots.shape}"
        raise InputError(message)
    if len(slots) and max(-int(slots.min()), int(slots.max())) > 32767:
        message = f"slots hold a magnitude of {max(-int(slots.min()), int(slots.max()))}; directions have at most 32767"
        raise InputError(message)
    rotated = rotate(slots.reshape(-1, SLOT_WIDTH).astype(np.int64)).reshape(len(slots), SLOTS * SLOT_WIDTH)
    scale = np.minimum(np.abs(rotated).sum(axis=1) // (SLOTS * SLOT_WIDTH), 0xFFFF)
    codes = np.empty((len(slots), CODE_BYTES), np.uint8)
    codes[:, 0] = FIRST_BYTE
    codes[:, 1] = 0
    codes[:, 2] = scale & 255
    codes[:, 3] = scale >> 8
    codes[:, HEADER_BYTES:] = np.packbits(rotated > 0, axis=1, bitorder="little")
    return codes


def decode_slots(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode to the nearest slots that the code can say, as unit-scale floats.

    Parameters
    ----------
    codes : uint8, shape (n, 964)

    Returns
    -------
    float32, shape (n, 20, 384)

    Raises
    ------
    IntegrityError
        A code is of an unknown family or version.
    """
    out = np.empty((len(codes), SLOTS, SLOT_WIDTH), np.float32)
    matrix = np.kron(PALEY, _sylvester(SLOT_WIDTH // len(PALEY)))
    for code, target in zip(codes, out, strict=True):
        header = read_header(code)
        bits = np.unpackbits(code[HEADER_BYTES:], bitorder="little").reshape(SLOTS, SLOT_BYTES * 8)
        signs = 2 * bits.astype(np.int64) - 1
        target[:] = (signs @ matrix) * FLIPS * (header.scale / 32767 / SLOT_WIDTH)
    return out


def _sylvester(order: int) -> NDArray[np.int64]:
    matrix = np.ones((1, 1), np.int64)
    while len(matrix) < order:
        matrix = np.kron(matrix, np.array([[1, 1], [1, -1]]))
    return matrix
