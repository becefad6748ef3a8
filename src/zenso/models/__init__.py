"""The models Zenso can run: a catalogue with the hash of every file, and fetching that trusts nothing else.

Text generation and the float engine for GGUF files need the extra ``llm``.
"""

from zenso.models.artifacts import load_artifact
from zenso.models.cache import cache_folder
from zenso.models.catalogue import CATALOGUE, HubSource, ModelEntry, ModelFile, WheelSource, lookup
from zenso.models.fetch import Source, fetch, find_verified, is_offline, locate, verify
from zenso.models.files import FileCheck, SourceError
from zenso.models.generation import (
    DEFAULT_GENERATOR,
    LARGEST_SEED,
    ChatOptions,
    Generation,
    Generator,
    Message,
    Usage,
    load_generator,
)
from zenso.models.gguf_embedding import GgufEmbedder, load_gguf_embedder
from zenso.models.progress import Note, OnProgress, Transfer, silent

__all__ = [
    "CATALOGUE",
    "DEFAULT_GENERATOR",
    "LARGEST_SEED",
    "ChatOptions",
    "FileCheck",
    "Generation",
    "Generator",
    "GgufEmbedder",
    "HubSource",
    "Message",
    "ModelEntry",
    "ModelFile",
    "Note",
    "OnProgress",
    "Source",
    "SourceError",
    "Transfer",
    "Usage",
    "WheelSource",
    "cache_folder",
    "fetch",
    "find_verified",
    "is_offline",
    "load_artifact",
    "load_generator",
    "load_gguf_embedder",
    "locate",
    "lookup",
    "silent",
    "verify",
]
