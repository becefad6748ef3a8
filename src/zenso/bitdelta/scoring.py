"""Score codes against a query in integers: bit planes, exclusive or, population count.

A query's slots are rotated as the documents' were, and each is cut to odd multiples of a step: with 4 planes the
multiples are -15, -13, ..., 15 = sum of +-2^p. A plane times a sign vector is 384 - 2 * popcount(plane xor signs).
Slots in which the query has no token cost nothing. Scores are int64: the same for any number of threads.
"""

from dataclasses import dataclass

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from zenso.bitdelta.format import CODE_BYTES, HEADER_BYTES, SLOT_BYTES, SLOT_WIDTH, SLOTS
from zenso.bitdelta.rotation import rotate
from zenso.errors import InputError

PLANES = 4
_WORDS = SLOT_BYTES // 8  # 64-bit words in a slot
# A step is at most 384 * 2^40 / 16 < 2^45, and 20 slots of 384 multiples of at most 15 steps stay below 2^62.
_MAX_MAGNITUDE = 1 << 40
_SIGN_TO_DIRECTION = float(np.sqrt(np.pi / 2))  # a Gaussian coordinate is this much longer than the mean of its size


@dataclass(frozen=True)
class SlotQuery:
    """A query cut to bit planes."""

    slots: NDArray[np.int64]  # (active,): which slots the query fills
    steps: NDArray[np.int64]  # (active,): value of the lowest plane
    planes: NDArray[np.uint64]  # (active, planes, 6)
    norm: float  # score of a document whose rotated slots equal the query's, for `similarity`

    def similarity(self, scores: NDArray[np.int64]) -> NDArray[np.float64]:
        """Estimate the weighted mean cosine of the query's directions with a document's slots, -1 to 1."""
        return np.clip(scores * (_SIGN_TO_DIRECTION / self.norm), -1.0, 1.0)


def prepare_query(slots: NDArray[np.integer], weight: int) -> SlotQuery:
    """Rotate a query and cut it to bit planes.

    Parameters
    ----------
    slots : integers, shape (20, 384)
        Sums of token directions (scale 32767 times weight), at most 2^40.
    weight : int
        Sum of the weights of all directions that went into the slots.

    Raises
    ------
    InputError
        The shape is another, all slots are zero, or a magnitude is above 2^40.
    """
    if slots.shape != (SLOTS, SLOT_WIDTH) or not np.issubdtype(slots.dtype, np.integer):
        message = f"query slots must be integers of shape ({SLOTS}, {SLOT_WIDTH}), not {slots.dtype} {slots.shape}"
        raise InputError(message)
    peak = max(-int(slots.min()), int(slots.max()))
    if peak > _MAX_MAGNITUDE:
        message = f"query slots hold a magnitude of {peak}; at most 2^40 can be scored exactly"
        raise InputError(message)
    active = np.flatnonzero(np.any(slots != 0, axis=1))
    if not len(active) or weight < 1:
        message = "the query's slots are all zero: there is nothing to compare"
        raise InputError(message)
    rotated = rotate(slots[active].astype(np.int64))
    levels = (1 << PLANES) - 1
    peaks = np.abs(rotated).max(axis=1, keepdims=True)
    steps = np.maximum(1, -(-peaks // (levels + 1)))
    index = np.clip((rotated // steps + (levels + 1)) >> 1, 0, levels)  # odd multiple 2 * index - levels
    bits = (index[:, None, :] >> np.arange(PLANES)[None, :, None]) & 1
    planes = np.packbits(bits.astype(np.uint8), axis=2, bitorder="little").view(np.uint64)
    norm = float(weight) * 32767.0 * SLOT_WIDTH
    return SlotQuery(active.astype(np.int64), steps[:, 0].astype(np.int64), planes, norm)


@intrinsic
def _popcount(typing_context, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _score_rows(
    codes: NDArray[np.uint8],
    slots: NDArray[np.int64],
    steps: NDArray[np.int64],
    planes: NDArray[np.uint64],
    mask: NDArray[np.bool_],
    out: NDArray[np.int64],
) -> None:
    for row in range(len(codes)):
        if len(mask) and not mask[row]:
            continue
        words = codes[row, HEADER_BYTES:].view(np.uint64)
        total = np.int64(0)
        for a in range(len(slots)):
            first = slots[a] * _WORDS
            part = np.int64(0)
            for p in range(PLANES):
                ones = np.uint64(0)
                for w in range(_WORDS):
                    ones += _popcount(words[first + w] ^ planes[a, p, w])
                part += (SLOT_WIDTH - 2 * np.int64(ones)) << p
            total += steps[a] * part
        out[row] = total


def _check_codes(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != CODE_BYTES:
        message = f"codes must be uint8 of shape (n, {CODE_BYTES}), not {codes.dtype} {codes.shape}"
        raise InputError(message)
    return np.ascontiguousarray(codes)


def score(query: SlotQuery, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Score every code.

    Parameters
    ----------
    codes : uint8, shape (n, 964)

    Returns
    -------
    int64, shape (n,)
    """
    codes = _check_codes(codes)
    out = np.zeros(len(codes), np.int64)
    _score_rows(codes, query.slots, query.steps, query.planes, np.empty(0, np.bool_), out)
    return out


def top_k(
    query: SlotQuery, codes: NDArray[np.uint8], k: int, mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the k best codes: row indices and scores, best first, ties by lower row.

    Parameters
    ----------
    codes : uint8, shape (n, 964)
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
    codes = _check_codes(codes)
    if mask is not None and mask.shape != (len(codes),):
        message = f"the mask has shape {mask.shape} for {len(codes)} codes"
        raise InputError(message)
    scores = np.full(len(codes), np.iinfo(np.int64).min, np.int64)
    _score_rows(codes, query.slots, query.steps, query.planes, np.empty(0, np.bool_) if mask is None else mask, scores)
    allowed = np.arange(len(codes)) if mask is None else np.flatnonzero(mask)
    if len(allowed) > k:
        kept = scores[allowed]
        threshold = np.partition(kept, len(kept) - k)[len(kept) - k]
        allowed = allowed[kept >= threshold]
    order = allowed[np.lexsort((allowed, -scores[allowed]))][:k]
    return order.astype(np.int64), scores[order]
