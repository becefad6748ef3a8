"""Score codes against a query in integers: bit planes, exclusive or, population count.

A query's score for a document estimates the weighted sum over its tokens of the largest cosine with a token of the
document (late interaction, MaxSim): what slot 0 says about a token, plus the largest that a group says. So there are
scores of different cost from the same code: slot 0 alone (``scan``, 48 bytes), the first 12 or 27 groups, or all 57.

Query vectors are cut to odd multiples of a step: with 4 planes the multiples are -15, -13, ..., 15 = sum of +-2^p.
A plane times a sign vector of width d is d - 2 * popcount(plane xor signs). Scores are int64: the same for any number
of threads.
"""

from dataclasses import dataclass

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from zenso.bitdelta.basis import SlotBasis
from zenso.bitdelta.format import (
    CODE_LENGTHS,
    DIMENSIONS,
    GROUP_BYTES,
    GROUP_WIDTH,
    HEADER_BYTES,
    SLOT_BYTES,
    SLOT_WIDTH,
    code_bytes,
    group_room,
)
from zenso.bitdelta.rotation import rotate
from zenso.bitdelta.slots import check_tokens, project
from zenso.errors import InputError

PLANES = 4
_LEVELS = 2**PLANES - 1
_SLOT_WORDS = SLOT_BYTES // 8  # 64-bit words in slot 0
_GROUP_WORDS = GROUP_BYTES // 8
# The rows of a stage lie far apart in memory: the first lines of a code are asked for eight codes before it is scored.
_AHEAD, _LINES, _LINE_BYTES = 8, 4, 64  # the prefix of 1,920 dimensions takes 244 bytes
_SCAN_UNIT = 53  # any number would give the same order


@dataclass(frozen=True)
class SlotQuery:
    """A query cut to bit planes."""

    slot_step: int  # value of the lowest plane of the weighted sum of its tokens
    slot_planes: NDArray[np.uint64]  # (planes, 6)
    token_steps: NDArray[np.int64]  # (tokens,): value of the lowest plane of a token, times its weight
    token_planes: NDArray[np.uint64]  # (tokens, planes, 2)
    weight: int  # sum of all weights, for ``similarity``
    units: NDArray[np.int32]  # (3, 2): of the basis

    def similarity(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """Estimate the weighted mean cosine of the query's tokens with their best matches, -1 to 1."""
        return np.clip(scores / (self.weight * 32767.0 * 32767.0), -1.0, 1.0)


def _planes(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Cut rows (n, d) to steps (n,) and bit planes (n, planes, d / 64)."""
    steps = np.maximum(1, -(-np.abs(rows).max(axis=1, keepdims=True) // (_LEVELS + 1)))
    index = np.clip((rows // steps + (_LEVELS + 1)) >> 1, 0, _LEVELS)  # odd multiple 2 * index - levels
    bits = (index[:, None, :] >> np.arange(PLANES)[None, :, None]) & 1
    return steps[:, 0], np.packbits(bits.astype(np.uint8), axis=2, bitorder="little").view(np.uint64)


def prepare_query(tokens: NDArray[np.int16], weights: NDArray[np.integer], basis: SlotBasis) -> SlotQuery:
    """Project a query's tokens and cut them to bit planes.

    Parameters
    ----------
    tokens : int16, shape (m, 384)
        Token directions, scale 32767.
    weights : integers, shape (m,)
        0 to 255; a token of weight 0 is left out.
    basis : SlotBasis
        The one that the documents were encoded with.

    Raises
    ------
    InputError
        A shape or type is another, a number is out of its range, or no token has any weight.
    """
    check_tokens(tokens, weights)
    heard = np.flatnonzero(weights)
    if not len(heard):
        message = "no token of the query has any weight: there is nothing to compare"
        raise InputError(message)
    tokens, heavy = tokens[heard], weights[heard].astype(np.int64)
    # At most 256 * 255 * 32767 < 2^31 for a text of 256 tokens, 384 times that after the rotation.
    slot_steps, slot_planes = _planes(rotate(heavy[None] @ tokens.astype(np.int64)))
    projected = project(np.ascontiguousarray(tokens), np.zeros(SLOT_WIDTH, np.int16), basis.projection)
    steps, planes = _planes(projected.astype(np.int64))
    return SlotQuery(int(slot_steps[0]), slot_planes[0], steps * heavy, planes, int(heavy.sum()), basis.units)


@intrinsic
def _popcount(typing_context, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@intrinsic
def _prefetch(typing_context, array, offset):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Ask for the cache line that holds the byte ``offset`` of an array, without waiting for it."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(prefetch, [address, number(0), number(3), number(1)])  # to read, into every cache, data
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _score_rows(
    codes: NDArray[np.uint8],
    rows: NDArray[np.int64],
    slot_step: int,
    slot_planes: NDArray[np.uint64],
    token_steps: NDArray[np.int64],
    token_planes: NDArray[np.uint64],
    room: int,
    out: NDArray[np.int64],
) -> None:
    """Score the rows given; with room for 0 groups by slot 0 alone. Both steps hold their unit."""
    flat = codes.reshape(-1)
    for place in range(len(rows)):
        if place + _AHEAD < len(rows):
            for line in range(_LINES):
                _prefetch(flat, rows[place + _AHEAD] * codes.shape[1] + line * _LINE_BYTES)
        code = codes[rows[place]]
        words = code[HEADER_BYTES:].view(np.uint64)
        part = np.int64(0)
        for p in range(PLANES):
            ones = np.uint64(0)
            for w in range(_SLOT_WORDS):
                ones += _popcount(words[w] ^ slot_planes[p, w])
            part += (SLOT_WIDTH - 2 * np.int64(ones)) << p
        total = slot_step * part
        groups = room if code[1] > room else int(code[1])
        for t in range(len(token_steps) if groups else 0):
            least = np.uint64(GROUP_WIDTH * _LEVELS)  # the best group differs in the fewest bits, weighted by plane
            for g in range(groups):
                first = _SLOT_WORDS + g * _GROUP_WORDS
                ones = np.uint64(0)
                for p in range(PLANES):
                    differing = np.uint64(0)
                    for w in range(_GROUP_WORDS):
                        differing += _popcount(words[first + w] ^ token_planes[t, p, w])
                    ones += differing << np.uint64(p)
                least = min(least, ones)
            total += token_steps[t] * (GROUP_WIDTH * _LEVELS - 2 * np.int64(least))
        out[place] = total


def _check_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] not in CODE_LENGTHS:
        lengths = " or ".join(map(str, CODE_LENGTHS))
        message = f"codes must be uint8 of shape (n, {lengths}), not {codes.dtype} {codes.shape}"
        raise InputError(message)
    return np.ascontiguousarray(codes)


def _check_rows(rows: NDArray[np.integer] | None, count: int) -> NDArray[np.int64]:
    if rows is None:
        return np.arange(count)
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        message = f"rows must be a list of whole numbers, not {rows.dtype} {rows.shape}"
        raise InputError(message)
    if len(rows) and (rows.min() < 0 or rows.max() >= count):
        message = f"rows lie within {rows.min()} to {rows.max()}, but there are {count} codes"
        raise InputError(message)
    return rows.astype(np.int64)


def scan(query: SlotQuery, codes: NDArray[np.uint8], rows: NDArray[np.integer] | None = None) -> NDArray[np.int64]:
    """Score codes by slot 0 alone.

    Parameters
    ----------
    codes : uint8, shape (n, 244), (n, 484) or (n, 964)
    rows : integers, shape (m,), optional
        Which codes to score; all by default.

    Returns
    -------
    int64, shape (m,)
        Comparable with each other, not with ``score``.

    Raises
    ------
    InputError
        A shape or type is another, or there is no such row.
    """
    return _scored(query, codes, rows, 0, (_SCAN_UNIT, 0))


def score(
    query: SlotQuery,
    codes: NDArray[np.uint8],
    rows: NDArray[np.integer] | None = None,
    *,
    dimensions: int | None = None,
) -> NDArray[np.int64]:
    """Score codes by slot 0 and the best group for each token of the query.

    Parameters
    ----------
    codes : uint8, shape (n, 244), (n, 484) or (n, 964)
    rows : integers, shape (m,), optional
        Which codes to score; all by default.
    dimensions : int, optional
        Read only so many: 1,920, 3,840 or 7,680; all that the codes have by default. The scores are those of
        ``prefix(codes, dimensions)``.

    Returns
    -------
    int64, shape (m,)
        Comparable with scores of the same dimensions.

    Raises
    ------
    InputError
        A shape or type is another, there is no such row, or the codes have fewer dimensions.
    """
    if dimensions is None:
        dimensions = DIMENSIONS[CODE_LENGTHS.index(_check_codes(codes).shape[1])]
    length = code_bytes(dimensions)
    if length > _check_codes(codes).shape[1]:
        message = f"codes of {codes.shape[1]} bytes have no {dimensions} dimensions"
        raise InputError(message)
    slot, group = query.units[DIMENSIONS.index(dimensions)].tolist()
    return _scored(query, codes, rows, group_room(length), (slot, group))


def _scored(
    query: SlotQuery, codes: NDArray[np.uint8], rows: NDArray[np.integer] | None, room: int, units: tuple[int, int]
) -> NDArray[np.int64]:
    codes = _check_codes(codes)
    chosen = _check_rows(rows, len(codes))
    out = np.empty(len(chosen), np.int64)
    _score_rows(
        codes,
        chosen,
        units[0] * query.slot_step,
        query.slot_planes,
        units[1] * query.token_steps,
        query.token_planes,
        room,
        out,
    )
    return out


def top_k(
    query: SlotQuery, codes: NDArray[np.uint8], k: int, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the k best codes: row indices and scores, best first, ties by lower row.

    Parameters
    ----------
    codes : uint8, shape (n, 244), (n, 484) or (n, 964)
    k : int
        At least 1; fewer are returned when fewer rows are allowed.
    mask : bool, shape (n,), optional
        Rows that may be returned; the others are not even scored.

    Raises
    ------
    InputError
        k is below 1, or shapes do not fit.
    """
    if k < 1:
        message = f"k is {k}; ask for at least 1"
        raise InputError(message)
    if mask is not None and mask.shape != (len(codes),):
        message = f"the mask has shape {mask.shape} for {len(codes)} codes"
        raise InputError(message)
    rows = np.arange(len(codes)) if mask is None else np.flatnonzero(mask)
    scores = score(query, codes, rows)
    if len(rows) > k:
        kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order].astype(np.int64), scores[order]
