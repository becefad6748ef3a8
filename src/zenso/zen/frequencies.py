"""How much a token matters, from the share of documents that hold it: inverse document frequency, in integers.

    idf = log2((documents + 1) / (documents with the token + 1))

A query's tokens weigh by the idf of the collection that is searched, so that words which every document there holds
count for nothing. A small collection knows little, so counts from shipped text are added as if they were
``PRIOR_DOCUMENTS`` further documents. A document's own tokens weigh by the square root of the shipped idf alone,
because a code must not depend on what else is stored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.typing import NDArray

PRIOR_DOCUMENTS = 128
_FRACTION_BITS = 16
_QUERY_UNIT = 10  # weight of an idf of 1; 255 is reached where one of 47 million documents holds the token
_DOCUMENT_UNIT = 27
_LARGEST = 255

# Given token ids (m,), returns the number of documents and how many of them hold each, (m,).
Lookup = Callable[[NDArray[np.int32]], tuple[int, NDArray[np.int64]]]


@dataclass(frozen=True)
class ShippedCounts:
    """Document counts of the text that a slot artifact was made from."""

    documents: int
    counts: NDArray[np.int64]  # (vocabulary,): documents that hold the token


def log2_fixed(value: int) -> int:
    """Return the base-2 logarithm of a whole number of at least 1, in units of 2^-16, rounded down (or one less)."""
    whole = value.bit_length() - 1
    mantissa = value << 62 >> whole  # 1 to 2, in units of 2^-62
    result = whole
    for _ in range(_FRACTION_BITS):
        mantissa = mantissa * mantissa >> 62
        bit = mantissa >> 63
        mantissa >>= bit
        result = 2 * result + bit
    return result


def _idf(documents: int, count: int) -> int:
    """Return the idf of a token in units of 2^-16."""
    return max(0, log2_fixed(documents + 1) - log2_fixed(count + 1))


def document_weights(shipped: ShippedCounts) -> NDArray[np.int32]:
    """Return the weight of every token of the vocabulary in a document: 27 sqrt(idf), 1 to 255."""
    distinct, places = np.unique(shipped.counts, return_inverse=True)
    # Twice the root in whole numbers, so that adding 1 and halving rounds to nearest.
    doubled = [isqrt((4 * _DOCUMENT_UNIT**2 * _idf(shipped.documents, count)) >> 16) for count in distinct.tolist()]
    weights = [min(_LARGEST, max(1, (root + 1) // 2)) for root in doubled]
    return np.array(weights, np.int32)[places]


def query_weights(ids: NDArray[np.int32], shipped: ShippedCounts, lookup: Lookup | None) -> NDArray[np.int32]:
    """Return the weights of a query's tokens: 10 idf, 0 to 255, or 1 for each where none has any.

    Parameters
    ----------
    ids : int32, shape (m,)
    shipped : ShippedCounts
    lookup : callable, optional
        Counts of the collection that is searched.
    """
    documents, counts = (0, np.zeros(len(ids), np.int64)) if lookup is None else lookup(ids)
    # Counts times the number of shipped documents, so that the prior's share of them is a whole number.
    unit = shipped.documents
    total = (documents + PRIOR_DOCUMENTS) * unit + unit - 1
    held = counts * unit + PRIOR_DOCUMENTS * shipped.counts[ids] + unit - 1
    weights = [min(_LARGEST, (_QUERY_UNIT * _idf(total, count) + (1 << 15)) >> 16) for count in held.tolist()]
    return np.array(weights if any(weights) else [1] * len(ids), np.int32)
