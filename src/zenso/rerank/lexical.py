"""Lexical evidence in integers: BM25 (Robertson and Zaragoza, 2009) over the model's own tokens.

A token that a query and a candidate share counts its weight in the query (10 idf) times tf (k1 + 1) / (tf + k1 (1 - b +
b length / 130)), with k1 = 1.2, b = .75 and, so that a score does not depend on the other candidates, a fixed mean
length of 130 tokens.
"""

import numpy as np
from numpy.typing import NDArray

SATURATION_BITS = 16  # a token's share lies below 2.2 * 2^16


def distinct(ids: NDArray[np.int32], weights: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the distinct tokens of a query that have any weight, ascending, and their weights."""
    unique, first = np.unique(ids, return_index=True)
    heavy = weights[first].astype(np.int64)
    return unique[heavy > 0], heavy[heavy > 0]


def lexical_evidence(unique: NDArray[np.int32], weights: NDArray[np.int64], candidate: NDArray[np.int32]) -> int:
    """Score a candidate's tokens for the distinct tokens of a query.

    Parameters
    ----------
    unique : int32, shape (m,)
        As ``distinct`` gives them.
    weights : int64, shape (m,)
    candidate : int32, shape (n,)
        Every token of the text, special tokens left out.

    Returns
    -------
    int
        Below sum(weights) * 2.2 * 2^16.
    """
    place = np.searchsorted(unique, candidate)
    place[place == len(unique)] = 0
    counts = np.bincount(place[unique[place] == candidate], minlength=len(unique)).astype(np.int64)
    # Numerator and denominator times 1300, so that all parameters are whole.
    saturated = (2860 * counts << SATURATION_BITS) // (1300 * counts + 390 + 9 * len(candidate))
    return int(weights @ saturated)
