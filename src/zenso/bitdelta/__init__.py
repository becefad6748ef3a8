"""BitDelta: codes of 4 bytes of header and a bit for every step, and integer kernels that score them.

Two families share the format. ``slots`` codes are what a memory keeps of a document: `encode_slots`, `decode_slots`,
`prepare_query`, `top_k`. ``frame`` codes are for any vector of any width: `encode`, `decode`, `prefix`, with a
`FrameCodebook`. `score` scores codes of either.
"""

from zenso.bitdelta.codebook import FrameCodebook
from zenso.bitdelta.families import score
from zenso.bitdelta.format import CODE_BYTES, SLOT_WIDTH, SLOTS, CodeHeader, read_header
from zenso.bitdelta.frame import FrameQuery, decode, encode, prefix
from zenso.bitdelta.scoring import SlotQuery, prepare_query, top_k
from zenso.bitdelta.slots import decode_slots, encode_slots
from zenso.bitdelta.training import train_codebook

__all__ = [
    "CODE_BYTES",
    "SLOTS",
    "SLOT_WIDTH",
    "CodeHeader",
    "FrameCodebook",
    "FrameQuery",
    "SlotQuery",
    "decode",
    "decode_slots",
    "encode",
    "encode_slots",
    "prefix",
    "prepare_query",
    "read_header",
    "score",
    "top_k",
    "train_codebook",
]
