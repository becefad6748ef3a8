"""BitDelta: one bit a dimension, and integer kernels that score such codes."""

from zenso.bitdelta.format import CODE_BYTES, DIMENSIONS, SLOT_WIDTH, SLOTS, CodeHeader, read_header
from zenso.bitdelta.scoring import SlotQuery, prepare_query, scan, score, top_k
from zenso.bitdelta.slots import decode_slots, encode_slots, prefix, slot_bits

__all__ = [
    "CODE_BYTES",
    "DIMENSIONS",
    "SLOTS",
    "SLOT_WIDTH",
    "CodeHeader",
    "SlotQuery",
    "decode_slots",
    "encode_slots",
    "prefix",
    "prepare_query",
    "read_header",
    "scan",
    "score",
    "slot_bits",
    "top_k",
]
