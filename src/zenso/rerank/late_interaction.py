"""Late interaction in integers: weighted MaxSim over all tokens, mixed with the pooled cosine.

MaxSim is ColBERT's (Khattab and Zaharia, 2020): the sum over query tokens of the largest dot product with a token of
the candidate. Sums are integers, so a score does not depend on the batch that a candidate was in.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from zenso.zen import TokenStates

POOLED_SHARE, MAXSIM_SHARE = 3, 17  # .15 and .85, as in a query's slots
_UNIT = 32767 * 32767


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _weighted_max_sim(
    query: NDArray[np.int16], weights: NDArray[np.int32], candidate: NDArray[np.int16]
) -> np.int64:  # |dot| <= 2^30 by Cauchy-Schwarz; times 255 * 256 stays below 2^46
    total = np.int64(0)
    for q in range(len(query)):
        best = np.int32(-(2**31 - 1))
        for c in range(len(candidate)):
            dot = np.int32(0)
            for i in range(query.shape[1]):
                dot += np.int32(query[q, i]) * np.int32(candidate[c, i])
            best = max(best, dot)
        total += np.int64(weights[q]) * np.int64(best)
    return total


def late_interaction(query: TokenStates, candidate: TokenStates) -> float:
    """Score a candidate for a query.

    Returns
    -------
    float
        Weighted mean of cosines. Token directions are rounded, so a text and itself may pass 1 by about .0001.
    """
    weight = int(query.weights.sum())
    tokens = int(_weighted_max_sim(query.tokens, query.weights, candidate.tokens))
    pooled = int(query.vector.astype(np.int64) @ candidate.vector.astype(np.int64))
    mixed = MAXSIM_SHARE * tokens + POOLED_SHARE * weight * pooled
    return mixed / ((MAXSIM_SHARE + POOLED_SHARE) * weight * _UNIT)
