"""Late interaction in integers: how well the tokens of a query find their like in a candidate, and how close together.

MaxSim is ColBERT's (Khattab and Zaharia, 2020): the sum over query tokens of the largest dot product with a token of
the candidate. A candidate that holds everything in one place answers better than one that has it scattered, so MaxSim
is also taken within passages of 16 and of 32 tokens, the best passage counting. Sums are integers, so a score does not
depend on the batch that a candidate was in.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

BLOCK = 8  # tokens; passages begin at its multiples
PASSAGES = (16, 32)  # tokens
_LOWEST = -(2**31 - 1)


@dataclass(frozen=True)
class Evidence:
    """What the windows of a candidate hold for a query's tokens; products of directions have scale 32767^2."""

    matches: NDArray[np.int32]  # (m,): largest dot product of each query token
    places: NDArray[np.int32]  # (m, 2): window and token where it is
    passages: tuple[int, int]  # weighted sum of largest dot products within the best 16 and the best 32 tokens
    best: tuple[int, int]  # window and first token of the best 32 tokens


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _match(
    query: NDArray[np.int16],
    candidate: NDArray[np.int16],
    by_block: NDArray[np.int32],
    matches: NDArray[np.int32],
    places: NDArray[np.int32],
) -> None:  # |dot| <= 2^30 by Cauchy-Schwarz
    """Find the largest dot product of each query token with any token, and with those of each block of 8."""
    for q in range(len(query)):
        best = np.int32(_LOWEST)
        for block in range(by_block.shape[1]):
            found = np.int32(_LOWEST)
            for c in range(block * BLOCK, min((block + 1) * BLOCK, len(candidate))):
                dot = np.int32(0)
                for i in range(query.shape[1]):
                    dot += np.int32(query[q, i]) * np.int32(candidate[c, i])
                found = max(found, dot)
                if dot > best:
                    best = dot
                    places[q] = c
            by_block[q, block] = found
        matches[q] = best


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _best_passage(
    by_block: NDArray[np.int32], weights: NDArray[np.int64], width: int
) -> tuple[np.int64, int]:  # weights up to 255 and 256 tokens: below 2^46
    """Find the ``width`` consecutive blocks with the largest weighted sum; of equal ones the first."""
    best, start = np.int64(-(2**62)), 0
    for first in range(max(1, by_block.shape[1] - width + 1)):
        total = np.int64(0)
        for q in range(len(by_block)):
            total += weights[q] * np.int64(by_block[q, first : first + width].max())
        if total > best:
            best, start = total, first
    return best, start


def find_evidence(
    query: NDArray[np.int16], weights: NDArray[np.integer], windows: Iterable[NDArray[np.int16]]
) -> Evidence:
    """Compare a query with a candidate.

    Parameters
    ----------
    query : int16, shape (m, d)
        Token directions, scale 32767.
    weights : integers, shape (m,)
        0 to 255.
    windows : iterable of int16, shapes (n, d)
        Token directions of the parts of the candidate's text, at least one part with at least one token.
    """
    heavy = weights.astype(np.int64)
    matches = np.full(len(query), _LOWEST, np.int32)
    places = np.zeros((len(query), 2), np.int32)
    passages, best = [np.int64(-(2**62))] * len(PASSAGES), (0, 0)
    for number, window in enumerate(windows):
        by_block = np.empty((len(query), -(-len(window) // BLOCK)), np.int32)
        found, where = np.empty(len(query), np.int32), np.empty(len(query), np.int32)
        _match(query, window, by_block, found, where)
        better = found > matches
        matches[better] = found[better]
        places[better, 0], places[better, 1] = number, where[better]
        for kind, width in enumerate(PASSAGES):
            total, start = _best_passage(by_block, heavy, width // BLOCK)
            if total > passages[kind]:
                passages[kind] = total
                best = (number, start * BLOCK) if kind else best
    return Evidence(matches, places, (int(passages[0]), int(passages[1])), best)
