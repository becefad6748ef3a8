"""What the encoder gives: documents as vectors and codes, a query as weighted token states."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zenso.bitdelta import SlotBasis, SlotQuery, prepare_query


@dataclass(frozen=True)
class DocumentEmbeddings:
    """Embeddings of n documents, ready to be stored."""

    vectors: NDArray[np.int16]  # (n, 384): canonical pooled vectors, scale 32767
    codes: NDArray[np.uint8]  # (n, 964)
    token_counts: NDArray[np.int32]  # (n,): tokens read, special tokens included
    token_sets: list[NDArray[np.int32]]  # n arrays: distinct ids of these tokens, ascending


@dataclass(frozen=True)
class QueryEmbedding:
    """Embedding of a query."""

    vector: NDArray[np.int16]  # (384,): canonical pooled vector, scale 32767
    tokens: NDArray[np.int16]  # (tokens, 384): unit token states, scale 32767
    ids: NDArray[np.int32]  # (tokens,): special tokens included
    weights: NDArray[np.int32]  # (tokens,): 0 to 255
    basis: SlotBasis  # the one its documents were encoded with

    def prepare(self) -> SlotQuery:
        """Cut to bit planes, to score codes."""
        return prepare_query(self.tokens, self.weights, self.basis)
