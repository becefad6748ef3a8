"""Zen embeddings: 7,680 dimensions as 20 slots, computed by the canonical kernel."""

from zenso.zen.aligned_encoder import AlignedEncoder, AlignedProvenance
from zenso.zen.aligner import Aligner, ModelFiles, load_aligner
from zenso.zen.dense import DENSE_DIMENSIONS, DenseEmbeddings, cut_dense
from zenso.zen.embedding import DocumentEmbeddings, QueryEmbedding
from zenso.zen.encoder import Provenance, TokenStates, ZenEncoder, code_version, load_encoder
from zenso.zen.fallback import FallbackResult, FallbackWarning, encode_with_fallback, load_with_fallback
from zenso.zen.frequencies import Lookup
from zenso.zen.pairs import Pairs, TokenPairs, canonical_pairs, match_tokens
from zenso.zen.windows import Windows

__all__ = [
    "DENSE_DIMENSIONS",
    "AlignedEncoder",
    "AlignedProvenance",
    "Aligner",
    "DenseEmbeddings",
    "DocumentEmbeddings",
    "FallbackResult",
    "FallbackWarning",
    "Lookup",
    "ModelFiles",
    "Pairs",
    "Provenance",
    "QueryEmbedding",
    "TokenPairs",
    "TokenStates",
    "Windows",
    "ZenEncoder",
    "canonical_pairs",
    "code_version",
    "cut_dense",
    "encode_with_fallback",
    "load_aligner",
    "load_encoder",
    "load_with_fallback",
    "match_tokens",
]
