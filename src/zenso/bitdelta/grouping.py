"""Gather the tokens of a text into few groups, each one bit a dimension: k-means whose centres are signs.

A group is a vector s of signs, and a token y is served by the group with the largest dot product y s, at most the sum
of |y|. Groups are chosen so that the sum over tokens of weight times best dot product is large: that sum is what late
interaction (MaxSim) gives a query made of the text's own tokens. All of it is integer, ties go to the lower position,
and there is nothing random in it.
"""

import numba
import numpy as np
from numpy.typing import NDArray

ROUNDS = 4


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _serve(tokens: NDArray[np.int32], signs: NDArray[np.int32], group: int, dots: NDArray[np.int32]) -> None:
    """Dot products of every token with one group."""
    for t in range(len(tokens)):
        total = np.int32(0)
        for i in range(tokens.shape[1]):
            total += tokens[t, i] * signs[group, i]
        dots[t, group] = total


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _seed(
    tokens: NDArray[np.int32], weights: NDArray[np.int64], signs: NDArray[np.int32], dots: NDArray[np.int32]
) -> int:
    """Make the token that is served worst a group of its own, until all are served perfectly; return their number."""
    lacking = np.zeros(len(tokens), np.int64)
    for t in range(len(tokens)):
        for i in range(tokens.shape[1]):
            lacking[t] += abs(tokens[t, i])
    whole = lacking.copy()
    for group in range(len(signs)):
        worst = np.argmax(weights * lacking)
        if weights[worst] * lacking[worst] == 0:
            return group
        for i in range(tokens.shape[1]):
            signs[group, i] = 1 if tokens[worst, i] > 0 else -1
        _serve(tokens, signs, group, dots)
        for t in range(len(tokens)):
            lacking[t] = min(lacking[t], whole[t] - dots[t, group])
    return len(signs)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _settle(
    tokens: NDArray[np.int32],
    weights: NDArray[np.int64],
    signs: NDArray[np.int32],
    dots: NDArray[np.int32],
    used: int,
) -> None:
    """One round of k-means: every group becomes the signs of its tokens' weighted sum."""
    sums = np.zeros((used, tokens.shape[1]), np.int64)
    members = np.zeros(used, np.int64)
    for t in range(len(tokens)):
        best = np.argmax(dots[t, :used])
        members[best] += 1
        for i in range(tokens.shape[1]):
            sums[best, i] += weights[t] * tokens[t, i]
    for group in range(used):
        changed = False
        for i in range(tokens.shape[1]):
            sign = np.int32(1 if sums[group, i] > 0 else -1)
            if members[group] and sign != signs[group, i]:
                signs[group, i] = sign
                changed = True
        if changed:
            _serve(tokens, signs, group, dots)


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _order(weights: NDArray[np.int64], dots: NDArray[np.int32], used: int) -> tuple[NDArray[np.int64], int]:
    """Put first the group that adds most to what those before it give; return the order, and the final sum.

    Groups that add nothing are left out.
    """
    best = np.zeros(len(dots), np.int64)
    order = np.empty(used, np.int64)
    reached = 0
    for place in range(used):
        chosen, gain = -1, 0
        for group in range(used):
            added = 0
            for t in range(len(dots)):
                added += weights[t] * max(0, dots[t, group] - best[t])
            if added > gain:
                chosen, gain = group, added
        if chosen < 0:
            return order[:place], reached
        order[place] = chosen
        reached += gain
        for t in range(len(dots)):
            best[t] = max(best[t], dots[t, chosen])
    return order, reached


@numba.njit(cache=True, nogil=True, boundscheck=False)
def group_tokens(
    tokens: NDArray[np.int32], weights: NDArray[np.int64], limit: int
) -> tuple[NDArray[np.int32], np.int64]:
    """Find at most ``limit`` groups, in order of importance, and how well they serve the tokens.

    Parameters
    ----------
    tokens : int32, shape (m, d)
        Magnitudes whose sum over a token is below 2^31.
    weights : int64, shape (m,)
        0 to 255; tokens of weight 0 need no group.

    Returns
    -------
    groups : int32, shape (at most ``limit``, d)
        Each number 1 or -1.
    served : int
        Sum over tokens of weight times best dot product.
    """
    signs = np.empty((limit, tokens.shape[1]), np.int32)
    dots = np.empty((len(tokens), limit), np.int32)
    used = _seed(tokens, weights, signs, dots)
    for _ in range(ROUNDS if used else 0):
        _settle(tokens, weights, signs, dots, used)
    order, served = _order(weights, dots, used)
    return signs[order], served
