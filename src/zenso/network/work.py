"""Proof of work: a number that makes the BLAKE3 digest of a record begin with zero bits.

It costs the sender 2^bits hashes on average, and the receiver one. A key of unknown or good reputation owes the bits of
a newcomer, and no key less, so that a record made for one node passes at another that does not know its creator yet;
below a newcomer's score each halving costs ``BITS_PER_HALVING`` more, up to ``MAX_BITS``: the first at a score of .16.
"""

from math import log2
from secrets import randbits

import numba
import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from zenso.errors import InputError
from zenso.robust.reputation import NEWCOMER

NEWCOMER_BITS = 18  # about 30 ms of one core, here
BITS_PER_HALVING = 3
MAX_BITS = 26
SEED_BYTES = 32
MAX_NONCE = 2**63 - 1  # as SQLite stores it

# BLAKE3's constants (https://github.com/BLAKE3-team/BLAKE3-specs, section 2.2): for one block that is all of the input.
_KEY = np.array(
    [0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], np.uint32
)
_ORDER = np.array([2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8])
_ONE_BLOCK = 1 | 2 | 8  # CHUNK_START, CHUNK_END, ROOT
_ROUNDS = 7
_MIXED = np.array(
    [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13],
     [3, 4, 9, 14]]
)  # fmt: skip
_AT_ONCE = 1 << 20  # nonces tried between two looks at the caller


def required_bits(score: float, newcomer_bits: int = NEWCOMER_BITS) -> int:
    """Return the zero bits that a creator of a reputation score, above 0 to 1, owes."""
    missing = max(0.0, log2(NEWCOMER / max(score, 1e-9)))
    return max(newcomer_bits, min(MAX_BITS, newcomer_bits + int(BITS_PER_HALVING * missing)))


def work_bits(seed: bytes, nonce: int) -> int:
    """Return the zero bits at the beginning of BLAKE3(seed, nonce as 8 bytes little-endian)."""
    digest = int.from_bytes(blake3(seed + nonce.to_bytes(8, "little")).digest()[:8], "big")
    return 64 - digest.bit_length()


def mine(seed: bytes, bits: int) -> int:
    """Return a nonce that gives at least so many zero bits, found from a random start.

    Raises
    ------
    InputError
        The seed has not 32 bytes, or the bits are not within 0 to 40.
    """
    if len(seed) != SEED_BYTES or not 0 <= bits <= 40:
        raise InputError(f"a seed of {len(seed)} bytes and {bits} bits of work; give 32 bytes, and 0 to 40 bits")
    words = np.frombuffer(seed, "<u4").astype(np.uint32)
    start = randbits(62)
    while True:
        found = int(_search(words, start, _AT_ONCE, np.uint64(2 ** (64 - bits) - 1)))
        if found >= 0:
            return found
        start += _AT_ONCE


@numba.njit(cache=True, nogil=True)
def _rotate(word: np.uint32, by: int) -> np.uint32:
    return np.uint32((word >> np.uint32(by)) | (word << np.uint32(32 - by)))


@numba.njit(cache=True, nogil=True)
def _swapped(word: np.uint32) -> np.uint32:
    return np.uint32((_rotate(word, 8) & np.uint32(0xFF00FF00)) | (_rotate(word, 24) & np.uint32(0x00FF00FF)))


@numba.njit(cache=True, nogil=True)
def _search(seed: NDArray[np.uint32], start: int, count: int, limit: np.uint64) -> int:
    """Return the first nonce whose digest begins with a 64-bit number up to a limit, or -1."""
    block, permuted, state = np.zeros(16, np.uint32), np.zeros(16, np.uint32), np.zeros(16, np.uint32)
    for nonce in range(start, start + count):
        block[:] = 0
        block[:8] = seed
        block[8] = np.uint32(nonce & 0xFFFFFFFF)
        block[9] = np.uint32((nonce >> 32) & 0xFFFFFFFF)
        state[:8] = _KEY
        state[8:12] = _KEY[:4]
        state[12], state[13], state[14], state[15] = 0, 0, 40, _ONE_BLOCK
        for step in range(_ROUNDS):
            for g in range(8):
                a, b, c, d = _MIXED[g, 0], _MIXED[g, 1], _MIXED[g, 2], _MIXED[g, 3]
                state[a] = np.uint32(state[a] + state[b] + block[2 * g])
                state[d] = _rotate(state[d] ^ state[a], 16)
                state[c] = np.uint32(state[c] + state[d])
                state[b] = _rotate(state[b] ^ state[c], 12)
                state[a] = np.uint32(state[a] + state[b] + block[2 * g + 1])
                state[d] = _rotate(state[d] ^ state[a], 8)
                state[c] = np.uint32(state[c] + state[d])
                state[b] = _rotate(state[b] ^ state[c], 7)
            if step < _ROUNDS - 1:
                for i in range(16):
                    permuted[i] = block[_ORDER[i]]
                block[:] = permuted
        # The first 64 bits of the digest; its bytes stand least significant first within a word.
        high, low = _swapped(state[0] ^ state[8]), _swapped(state[1] ^ state[9])
        if ((np.uint64(high) << np.uint64(32)) | np.uint64(low)) <= limit:
            return nonce
    return -1
