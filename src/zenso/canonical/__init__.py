"""Bit-exact inference: the integer kernel, the model artifact it reads, and what its results are made of."""

from zenso.canonical.artifact import Artifact, open_artifact
from zenso.canonical.artifact_builder import build_artifact
from zenso.canonical.encoder import CanonicalEncoder, Encoded, SlotRule
from zenso.canonical.engine import Want, kernel_bytes, kernel_digest, kernel_version
from zenso.canonical.provenance import ModelProvenance, model_hash
from zenso.canonical.tokenizer import well_formed

__all__ = [
    "Artifact",
    "CanonicalEncoder",
    "Encoded",
    "ModelProvenance",
    "SlotRule",
    "Want",
    "build_artifact",
    "kernel_bytes",
    "kernel_digest",
    "kernel_version",
    "model_hash",
    "open_artifact",
    "well_formed",
]
