"""Zen embeddings: 7,680 dimensions as 20 slots, computed by the canonical kernel."""

from zenso.zen.embedding import DocumentEmbeddings, QueryEmbedding
from zenso.zen.encoder import Provenance, TokenStates, ZenEncoder, load_encoder

__all__ = ["DocumentEmbeddings", "Provenance", "QueryEmbedding", "TokenStates", "ZenEncoder", "load_encoder"]
