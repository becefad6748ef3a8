"""Zen embeddings: 20 slots of 384 numbers, of documents and of queries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta import SLOTS, SlotQuery, prepare_query

# A query's score is .15 of its pooled cosine and .85 of its tokens' (chosen on SQuAD paragraphs): 3 / 17 = .15 / .85.
POOLED_NUMERATOR, POOLED_DENOMINATOR = 3, 17


@dataclass(frozen=True)
class DocumentEmbeddings:
    """Embeddings of n documents, ready to be stored."""

    vectors: NDArray[np.int16]  # (n, 384): canonical pooled vectors, scale 32767
    codes: NDArray[np.uint8]  # (n, 964)
    token_counts: NDArray[np.int32]  # (n,): tokens read, special tokens included


@dataclass(frozen=True)
class QueryEmbedding:
    """Embedding of a query: the plain dot product with a document's 20 slots is its score."""

    vector: NDArray[np.int16]  # (384,): canonical pooled vector, scale 32767
    slots: NDArray[
        np.int64
    ]  # (20, 384): slot 0 the weighted pooled vector, the others sums of weighted token directions
    weight: int  # sum of all weights in the slots

    def prepare(self) -> SlotQuery:
        """Cut to bit planes, to score codes."""
        return prepare_query(self.slots, self.weight)


def document_slots(pooled: NDArray[np.int16], cells: NDArray[np.int32]) -> NDArray[np.int16]:
    """Put slot 0 before the others: (n, 384) and (n, 19, 384) to (n, 20, 384)."""
    return np.concatenate([pooled[:, None, :], cells.astype(np.int16)], axis=1)


def query_embedding(pooled: NDArray[np.int16], cells: NDArray[np.int32], token_weight: int) -> QueryEmbedding:
    """Weigh slot 0 against the token slots: (384,) and (19, 384)."""
    pooled_weight = max(1, token_weight * POOLED_NUMERATOR // POOLED_DENOMINATOR)
    slots = np.empty((SLOTS, len(pooled)), np.int64)
    slots[0] = pooled.astype(np.int64) * pooled_weight
    slots[1:] = cells
    return QueryEmbedding(pooled, slots, token_weight + pooled_weight)
