"""Family ``slots``: a text's pooled vector and its tokens become 7,680 bits.

Slot 0 is the pooled vector x, rotated (``rotation``): bit i says whether coordinate i of R x is positive. The tokens
are coded by their difference from it: from each token's direction a share of the direction that slot 0 decodes to is
taken away, what is left is projected to 128 learned dimensions, and the projected tokens gather in at most 57 groups of
128 signs (``grouping``). Everything is integer, so a code can be made again anywhere and compared byte for byte.

The scale in the header is what a group's signs are to be multiplied with to come nearest to its tokens (least squares,
by weight), in units of 1/16384 of a direction's length.
"""

from collections.abc import Callable, Iterator, Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta.basis import PROJECTION_UNIT, SlotBasis
from zenso.bitdelta.format import (
    CODE_BYTES,
    FIRST_BYTE,
    GROUP_WIDTH,
    GROUPS,
    HEADER_BYTES,
    SLOT_BYTES,
    SLOT_WIDTH,
    code_bytes,
    group_room,
    read_header,
)
from zenso.bitdelta.grouping import group_tokens
from zenso.bitdelta.rotation import rotate, rotate_back
from zenso.errors import InputError

_PROJECTION_SHIFT = 15
_LONGEST = 32767 + 20  # a direction of 384 rounded coordinates; 384 ** .5 / 2 is below 10
_SIGN_COSINE = float(np.sqrt(2 / np.pi))
Map = Callable[..., Iterator[NDArray[np.uint8]]]


def slot_bits(vectors: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the bytes of slot 0 for pooled vectors: integers (n, 384) to uint8 (n, 48)."""
    return np.packbits(rotate(vectors.astype(np.int64)) > 0, axis=1, bitorder="little")


def slot_base(first: NDArray[np.uint8], share: int) -> NDArray[np.int16]:
    """Return what is taken from each token of a text: a share of the direction that slot 0, uint8 (48,), decodes to."""
    signs = 2 * np.unpackbits(first, bitorder="little").astype(np.int64) - 1
    base: NDArray[np.int16] = (share * rotate_back(signs[None])[0]).astype(np.int16)
    return base


def check_tokens(tokens: NDArray[np.int16], weights: NDArray[np.integer]) -> None:
    """Refuse token states that are no directions, and weights that do not fit them.

    Raises
    ------
    InputError
        A shape or type is another, a token is longer than 32767 (with 20 units for rounding), or a weight is not 0 to
        255.
    """
    if tokens.dtype != np.int16 or tokens.ndim != 2 or tokens.shape[1] != SLOT_WIDTH:
        message = f"tokens must be int16 of shape (m, {SLOT_WIDTH}), not {tokens.dtype} {tokens.shape}"
        raise InputError(message)
    if not np.issubdtype(weights.dtype, np.integer) or weights.shape != tokens.shape[:1]:
        message = f"{len(tokens)} tokens need as many whole weights, not {weights.dtype} {weights.shape}"
        raise InputError(message)
    if not len(tokens):
        return
    longest = int(np.einsum("ij,ij->i", tokens, tokens, dtype=np.int64).max())
    if longest > _LONGEST**2:
        message = f"a token has squared length {longest}; directions have 32767^2"
        raise InputError(message)
    if weights.min() < 0 or weights.max() > 255:
        message = f"token weights are {weights.min()} to {weights.max()}; they must lie within 0 to 255"
        raise InputError(message)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def project(tokens: NDArray[np.int16], base: NDArray[np.int16], projection: NDArray[np.int16]) -> NDArray[np.int32]:
    """Project differences of tokens from a base: (m, 384) and (384,) to (m, 128).

    |difference| <= 32767 + 53 * 384 and |row| <= 16384, so a sum stays below 2^30 by Cauchy-Schwarz, and a result
    below 2^15.
    """
    out = np.empty((len(tokens), len(projection)), np.int32)
    for j in range(len(projection)):
        offset = np.int32(0)
        for i in range(projection.shape[1]):
            offset += np.int32(projection[j, i]) * np.int32(base[i])
        for t in range(len(tokens)):
            total = np.int32(0)
            for i in range(projection.shape[1]):
                total += np.int32(projection[j, i]) * np.int32(tokens[t, i])
            out[t, j] = (total - offset) >> _PROJECTION_SHIFT
    return out


def _encode_one(
    first: NDArray[np.uint8], tokens: NDArray[np.int16], weights: NDArray[np.integer], basis: SlotBasis
) -> NDArray[np.uint8]:
    check_tokens(tokens, weights)
    heavy = weights.astype(np.int64)
    differences = project(np.ascontiguousarray(tokens), slot_base(first, basis.share), basis.projection)
    groups, served = group_tokens(differences, heavy, GROUPS)
    scale = min(int(served) // max(1, GROUP_WIDTH * int(heavy.sum())), 0xFFFF)
    code = np.zeros(CODE_BYTES, np.uint8)
    code[:HEADER_BYTES] = FIRST_BYTE, len(groups), scale & 255, scale >> 8
    code[HEADER_BYTES : HEADER_BYTES + SLOT_BYTES] = first
    packed = np.packbits(groups > 0, axis=1, bitorder="little").reshape(-1)
    code[HEADER_BYTES + SLOT_BYTES :][: len(packed)] = packed
    return code


def encode_slots(
    vectors: NDArray[np.integer],
    tokens: Sequence[NDArray[np.int16]],
    weights: Sequence[NDArray[np.integer]],
    basis: SlotBasis,
    *,
    spread: Map = map,
) -> NDArray[np.uint8]:
    """Encode documents.

    Parameters
    ----------
    vectors : integers, shape (n, 384)
        Pooled vectors, scale 32767.
    tokens : n arrays int16, shape (m, 384)
        Token directions, scale 32767.
    weights : n arrays of integers, shape (m,)
        How much each token matters, 0 to 255.
    basis : SlotBasis
    spread : callable, optional
        Runs a function over the documents as ``map`` does, such as the ``map`` of a thread pool: most of the work
        leaves the interpreter's lock.

    Returns
    -------
    uint8, shape (n, 964)

    Raises
    ------
    InputError
        A shape or type is another, or a number is out of its range.
    """
    if vectors.ndim != 2 or vectors.shape[1] != SLOT_WIDTH or not np.issubdtype(vectors.dtype, np.integer):
        message = f"vectors must be integers of shape (n, {SLOT_WIDTH}), not {vectors.dtype} {vectors.shape}"
        raise InputError(message)
    if not len(vectors) == len(tokens) == len(weights):
        message = f"{len(vectors)} vectors, tokens of {len(tokens)} texts and weights of {len(weights)} do not fit"
        raise InputError(message)
    codes = np.empty((len(vectors), CODE_BYTES), np.uint8)
    one = spread(_encode_one, slot_bits(vectors), tokens, weights, [basis] * len(vectors))
    for row, code in enumerate(one):
        codes[row] = code
    return codes


def prefix(codes: NDArray[np.uint8], dimensions: int) -> NDArray[np.uint8]:
    """Shorten codes to their first dimensions: codes of their own.

    Parameters
    ----------
    codes : uint8, shape (n, 244), (n, 484) or (n, 964)
    dimensions : int
        1,920, 3,840 or 7,680, at most as many as the codes have.

    Returns
    -------
    uint8, shape (n, 244), (n, 484) or (n, 964)

    Raises
    ------
    InputError
        There are no codes of this many dimensions, or these are shorter.
    IntegrityError
        A code is of an unknown family or version.
    """
    length = code_bytes(dimensions)
    for code in codes:
        read_header(code)
    if length > codes.shape[1]:
        message = f"codes of {codes.shape[1]} bytes have no {dimensions} dimensions"
        raise InputError(message)
    short = codes[:, :length].copy()
    short[:, 1] = np.minimum(short[:, 1], group_room(length))
    return short


def decode_slots(codes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Decode to the embeddings that codes stand for, in units of a direction's length.

    Parameters
    ----------
    codes : uint8, shape (n, 244), (n, 484) or (n, 964)

    Returns
    -------
    float32, shape (n, 1920), (n, 3840) or (n, 7680)
        384 numbers of slot 0 and 128 of each group: what the projection gives for the difference of its tokens from
        the share of slot 0. Groups that are not in use are zero.

    Raises
    ------
    IntegrityError
        A code is of an unknown family or version.
    """
    out = np.zeros((len(codes), (codes.shape[1] - HEADER_BYTES) * 8), np.float32)
    for code, target in zip(codes, out, strict=True):
        header = read_header(code)
        signs = 2 * np.unpackbits(code[HEADER_BYTES:], bitorder="little").astype(np.int64) - 1
        target[:SLOT_WIDTH] = rotate_back(signs[None, :SLOT_WIDTH])[0] * (_SIGN_COSINE / SLOT_WIDTH)
        end = SLOT_WIDTH + GROUP_WIDTH * header.groups
        target[SLOT_WIDTH:end] = signs[SLOT_WIDTH:end] * (header.scale / PROJECTION_UNIT)
    return out
