"""Zen embeddings: 7,680 dimensions as 20 slots, computed by the canonical kernel."""

from zenso.zen.aligner import Aligner, ModelFiles, load_aligner
from zenso.zen.embedding import DocumentEmbeddings, QueryEmbedding
from zenso.zen.encoder import Provenance, TokenStates, ZenEncoder, load_encoder
from zenso.zen.pairs import Pairs, TokenPairs, canonical_pairs, match_tokens

__all__ = [
    "Aligner",
    "DocumentEmbeddings",
    "ModelFiles",
    "Pairs",
    "Provenance",
    "QueryEmbedding",
    "TokenPairs",
    "TokenStates",
    "ZenEncoder",
    "canonical_pairs",
    "load_aligner",
    "load_encoder",
    "match_tokens",
]
