"""BitDelta: one bit a dimension, and integer kernels that score such codes."""

from zenso.bitdelta.format import CODE_BYTES, SLOT_WIDTH, SLOTS, CodeHeader, read_header
from zenso.bitdelta.scoring import SlotQuery, prepare_query, score, top_k
from zenso.bitdelta.slots import decode_slots, encode_slots

__all__ = [
    "CODE_BYTES",
    "SLOTS",
    "SLOT_WIDTH",
    "CodeHeader",
    "SlotQuery",
    "decode_slots",
    "encode_slots",
    "prepare_query",
    "read_header",
    "score",
    "top_k",
]
