"""BitDelta: codes of 4 bytes of header and then bits, and integer kernels that score them.

Two families share the header. ``slots`` codes are what a memory keeps of a document: `encode_slots`, `decode_slots`,
`prepare_query`, `scan`, `top_k`, with a `SlotBasis`. ``frame`` codes are for any vectors: `encode`, `decode`, with a
`FrameCodebook`.
`score` and `prefix` take codes of either.
"""

from zenso.bitdelta.basis import SlotBasis
from zenso.bitdelta.codebook import FrameCodebook
from zenso.bitdelta.families import prefix, score
from zenso.bitdelta.format import CODE_BYTES, DIMENSIONS, SLOT_WIDTH, SLOTS, CodeHeader, read_header
from zenso.bitdelta.frame import FrameQuery, decode, encode
from zenso.bitdelta.scoring import SlotQuery, prepare_query, scan, top_k
from zenso.bitdelta.slots import decode_slots, encode_slots, slot_bits
from zenso.bitdelta.training import train_codebook

__all__ = [
    "CODE_BYTES",
    "DIMENSIONS",
    "SLOTS",
    "SLOT_WIDTH",
    "CodeHeader",
    "FrameCodebook",
    "FrameQuery",
    "SlotBasis",
    "SlotQuery",
    "decode",
    "decode_slots",
    "encode",
    "encode_slots",
    "prefix",
    "prepare_query",
    "read_header",
    "scan",
    "score",
    "slot_bits",
    "top_k",
    "train_codebook",
]
