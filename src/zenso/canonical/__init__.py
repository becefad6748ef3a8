"""Bit-exact inference: the integer kernel, the model artifact it reads, and what its results are made of."""

from zenso.canonical.artifact import Artifact, open_artifact
from zenso.canonical.artifact_builder import ModelSpec, build_artifact
from zenso.canonical.encoder import CanonicalEncoder, Encoded, Role, SlotRule
from zenso.canonical.engine import engine_digest, engine_name
from zenso.canonical.identifiers import (
    EMBEDDING_NAMESPACE,
    ChunkId,
    ContentHash,
    EmbeddingId,
    ModelHash,
    chunk_id,
    content_hash,
    embedding_id,
    model_hash,
)
from zenso.canonical.kernel_call import Want
from zenso.canonical.provenance import ModelProvenance
from zenso.canonical.records import CanonicalEmbedding, rank, similarity
from zenso.canonical.soft_float import normalise, quantise
from zenso.canonical.tokenizer import check_texts, well_formed
from zenso.canonical.wasm_kernel import kernel_bytes, kernel_digest, kernel_version

__all__ = [
    "EMBEDDING_NAMESPACE",
    "Artifact",
    "CanonicalEmbedding",
    "CanonicalEncoder",
    "ChunkId",
    "ContentHash",
    "EmbeddingId",
    "Encoded",
    "ModelHash",
    "ModelProvenance",
    "ModelSpec",
    "Role",
    "SlotRule",
    "Want",
    "build_artifact",
    "check_texts",
    "chunk_id",
    "content_hash",
    "embedding_id",
    "engine_digest",
    "engine_name",
    "kernel_bytes",
    "kernel_digest",
    "kernel_version",
    "model_hash",
    "normalise",
    "open_artifact",
    "quantise",
    "rank",
    "similarity",
    "well_formed",
]
