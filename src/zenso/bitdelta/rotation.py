"""The fixed rotation that spreads a slot's information evenly over its bits: sign flips, then a Hadamard matrix.

The matrix of order 384 is the Kronecker product of the Paley matrix of order 12 and the Sylvester matrix of order 32.
All entries are +1 or -1, so the rotation is integer and exact; it stretches lengths by sqrt(384).
"""

import numba
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.bitdelta.format import SLOT_WIDTH

_PALEY = 12
_SYLVESTER = SLOT_WIDTH // _PALEY


def paley_matrix() -> NDArray[np.int64]:
    """Return the Hadamard matrix of order 12 (Paley's first construction over the field of 11 elements)."""
    prime = _PALEY - 1
    squares = {x * x % prime for x in range(1, prime)}
    character = np.array([0 if x == 0 else 1 if x in squares else -1 for x in range(prime)])
    index = np.arange(prime)
    skew = np.zeros((_PALEY, _PALEY), np.int64)
    skew[0, 1:] = 1
    skew[1:, 0] = -1
    skew[1:, 1:] = character[(index[None, :] - index[:, None]) % prime]
    return skew + np.eye(_PALEY, dtype=np.int64)


def flips() -> NDArray[np.int64]:
    """Return the 384 signs that precede the matrix: bits of a BLAKE3 stream, 1 = negative."""
    stream = blake3(b"zenso bitdelta rotation 1").digest(length=SLOT_WIDTH // 8)
    return 1 - 2 * np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little").astype(np.int64)


PALEY = paley_matrix()
FLIPS = flips()


@numba.njit(cache=True, nogil=True)
def _butterflies(block: NDArray[np.int64]) -> None:
    step = 1
    while step < _SYLVESTER:
        for start in range(0, SLOT_WIDTH, 2 * step):
            for i in range(start, start + step):
                a, b = block[i], block[i + step]
                block[i], block[i + step] = a + b, a - b
        step *= 2


@numba.njit(cache=True, nogil=True)
def _rotate(rows: NDArray[np.int64], paley: NDArray[np.int64], signs: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.empty_like(rows)
    flipped = np.empty(SLOT_WIDTH, np.int64)
    for r in range(len(rows)):
        for i in range(SLOT_WIDTH):
            flipped[i] = rows[r, i] * signs[i]
        _butterflies(flipped)
        for a in range(_PALEY):
            for j in range(_SYLVESTER):
                total = 0
                for b in range(_PALEY):
                    total += paley[a, b] * flipped[b * _SYLVESTER + j]
                out[r, a * _SYLVESTER + j] = total
    return out


def rotate(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rotate integer vectors exactly; results are sqrt(384) times as long.

    Parameters
    ----------
    rows : int64, shape (n, 384)
        Magnitudes below 2^54.
    """
    rotated: NDArray[np.int64] = _rotate(np.ascontiguousarray(rows, np.int64), PALEY, FLIPS)
    return rotated


def rotate_back(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Apply the transposed rotation: ``rotate_back(rotate(x))`` is 384 x.

    Parameters
    ----------
    rows : int64, shape (n, 384)
        Magnitudes below 2^54.
    """
    turned: NDArray[np.int64] = _rotate(np.ascontiguousarray(rows, np.int64), PALEY.T.copy(), np.ones_like(FLIPS))
    return turned * FLIPS
