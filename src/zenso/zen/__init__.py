"""Zen embeddings: 7,680 dimensions as 20 slots, computed by the canonical kernel."""

from zenso.zen.embedding import DocumentEmbeddings, QueryEmbedding
from zenso.zen.encoder import Provenance, TokenStates, ZenEncoder, load_encoder
from zenso.zen.frequencies import Lookup
from zenso.zen.windows import Windows

__all__ = [
    "DocumentEmbeddings",
    "Lookup",
    "Provenance",
    "QueryEmbedding",
    "TokenStates",
    "Windows",
    "ZenEncoder",
    "load_encoder",
]
