"""Experiences shared between nodes that do not trust each other: section 9 of the design, docs/network.md."""

from zenso.network.admission import Admission, Verdict
from zenso.network.experiences import Experience, Experiences, Update, prompt_block
from zenso.network.identity import Identity
from zenso.network.inbox import Inbox, Offer
from zenso.network.reasons import Blame, Reason, RecordError
from zenso.network.recomputation import Recomputer
from zenso.network.reconciliation import Reconciler, SyncError
from zenso.network.records import Operation, Record, decode_record, parse_id, sign_record
from zenso.network.store import RecordStore

__all__ = [
    "Admission",
    "Blame",
    "Experience",
    "Experiences",
    "Identity",
    "Inbox",
    "Offer",
    "Operation",
    "Reason",
    "Recomputer",
    "Reconciler",
    "Record",
    "RecordError",
    "RecordStore",
    "SyncError",
    "Update",
    "Verdict",
    "decode_record",
    "parse_id",
    "prompt_block",
    "sign_record",
]
