"""Range-based set reconciliation: two nodes find out what differs between their sets of ids.

Source: Meyer, "Range-Based Set Reconciliation" (2023). Ids are 32-byte digests, ordered as bytes. A message covers the
whole order by ranges from left to right; each is *settled*, a *fingerprint* of one side's ids in it, or a *list* of
them. Equal fingerprints settle a range; else it is cut into pieces, down to a list. The bytes exchanged grow with the
difference times the logarithm of the size, not with the size.

The side that begins learns both differences. The other keeps nothing between messages, so a peer cannot make it hold
anything. A message is a DAG-CBOR list of ``[upper end, content]``: null where settled, 16 bytes of fingerprint, or a
list of ids. Upper ends rise strictly; the last one is empty and stands for the end of the order. What does not fit in
a message is left as one fingerprint for the rest.

Fingerprints are BLAKE3 of the ids one after the other: unlike sums, nobody can find ids that make two sets look equal.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from blake3 import blake3

from zenso.errors import IntegrityError
from zenso.network.dag_cbor import DIGEST_BYTES, decode, encode

MAX_MESSAGE_BYTES = 262_144
MAX_ROUNDS = 200
_FINGERPRINT_BYTES = 16
_LISTED = 32  # a range of so few ids is listed
_PIECES = 16  # that a longer one is cut into
# A range in CBOR: head, upper end and fingerprint take at most 54 bytes; an id takes 34; the rest range and heads 80.
_RANGE_BYTES, _ID_BYTES, _REST_BYTES = 60, 34, 80

_Content: TypeAlias = bytes | list[bytes] | None


class SyncError(IntegrityError):
    """A peer's message of the reconciliation is not one, or there is no end to them."""


@dataclass(frozen=True, slots=True)
class _Range:
    upper: bytes  # exclusive; empty for the end of the order
    content: _Content


class Reconciler:
    """One side's set of ids as it stands now, and what was learned about the other's.

    The side that begins sends ``begin()``, and ``advance(reply)`` until that is None; then ``missing`` are the ids that
    only the other has, ``surplus`` those that only this side has. The other side answers with ``answer(message)``.

    Parameters
    ----------
    ids : iterable of bytes
        Digests of 32 bytes.
    """

    def __init__(self, ids: Iterable[bytes], *, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._ids: Sequence[bytes] = sorted(set(ids))
        self._flat = memoryview(b"".join(self._ids))
        self._limit = max_message_bytes
        self._rounds = 0
        self.missing: set[bytes] = set()
        self.surplus: set[bytes] = set()

    def begin(self) -> bytes:
        """Return the first message."""
        draft = _Draft(self._limit)
        self._put(draft, b"", b"", 0, len(self._ids))
        return draft.encoded()

    def answer(self, message: bytes) -> bytes:
        """Return the reply to a message of the side that began.

        Raises
        ------
        SyncError
            It is no such message.
        """
        return self._reply(message, learn=False).encoded()

    def advance(self, reply: bytes) -> bytes | None:
        """Learn from a reply and return the next message, or None when all is known.

        Raises
        ------
        SyncError
            It is no reply, or there were too many.
        """
        self._rounds += 1
        if self._rounds > MAX_ROUNDS:
            raise SyncError(f"{MAX_ROUNDS} rounds of reconciliation and no end; leave this peer")
        draft = self._reply(reply, learn=True)
        return None if draft.is_settled else draft.encoded()
